//! `Routed` → with an `Identity`: exactly one key, looked up in the key cache, unless the route is public.
//!
//! A key comes in one header line and is not split at commas; it is not read from a query, a cookie, a body or a
//! trailer. Failures are counted against the client's network after the lookup, so that a good key always passes.

use super::failures::ClientNetwork;
use super::route::Matched;
use super::{Exchange, Reject, Request};
use crate::clock::Timestamp;
use crate::http::Admitted;
use crate::keycache::Principal;
use crate::policy::{Identity, Routed};
use std::time::Instant;

/// A routed request and who makes it.
pub struct Identified {
    pub(super) admitted: Admitted,
    pub(super) routed: Routed,
    pub(super) identity: Identity,
}

pub(super) fn identify(exchange: Exchange<Matched>) -> Result<Exchange<Identified>, Reject> {
    let identity = if exchange.proof.routed.needs_key() {
        match holder(&exchange) {
            Ok(principal) => {
                exchange.observation.identified(&principal);
                Identity::Key(principal)
            }
            Err(failure) => {
                if let Some(trial) = &exchange.generation.trial {
                    trial.unidentified(&exchange.proof);
                }
                return Err(count_failure(&exchange, failure));
            }
        }
    } else {
        Identity::Anonymous
    };
    exchange.try_map(|Matched { admitted, routed }| {
        Ok(Identified {
            admitted,
            routed,
            identity,
        })
    })
}

/// Who holds the one key that a request brings.
///
/// # Errors
/// When there is none, or it is not one that is in force.
pub(super) fn holder(request: &Request) -> Result<Principal, Reject> {
    let context = &request.link.context;
    let mut values = request.headers.get_all(&context.cold.keys.header).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Err(Reject::NoKey),
        (Some(_), Some(_)) => return Err(Reject::SeveralKeys),
        (Some(value), None) if value.is_empty() => return Err(Reject::NoKey),
        (Some(value), None) => value,
    };
    context
        .verifier
        .identify(value.as_bytes(), Timestamp::now)
        .map_err(Reject::Unidentified)
}

fn count_failure(exchange: &Exchange<Matched>, failure: Reject) -> Reject {
    let limit = exchange.generation.snapshot.hot.limits.failed_auth;
    let network = ClientNetwork::of(exchange.client.address);
    let failures = &exchange.link.context.shared.failures;
    match failures.count(network, limit, Instant::now()) {
        Ok(()) => failure,
        Err(over) => Reject::TooManyFailures(over),
    }
}
