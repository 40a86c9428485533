//! `Permitted` → `Cleared`: the last check before anything is done for the request.
//!
//! First the key's rate on this route, so that every answer from here on can say how it stands, also where one of the
//! later limits refuses; then whether the route serves at all; then how many exchanges the key has open; then what the body says of its length. A route without
//! `rate` and `streams` takes no lock here.

use super::open::Who;
use super::permit::Allowed;
use super::{Exchange, Reject};
use crate::http::Admitted;
use crate::key::KeyId;
use crate::policy::{Permitted, Route, Target};
use http::header;
use std::sync::Arc;
use std::time::Instant;

/// Most bytes of a management request's body.
const MANAGEMENT_BODY_BYTES: u64 = 64 * 1024;

/// A request that may be dispatched. Made by this layer alone.
pub struct Cleared {
    admitted: Admitted,
    permitted: Permitted,
    body_bytes: u64,
}

impl Cleared {
    /// What is asked for.
    pub fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    /// Why it may be done.
    pub fn permitted(&self) -> &Permitted {
        &self.permitted
    }

    /// Most bytes that its body may have; a body that says it has more was refused already.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }
}

pub(super) fn limit(exchange: Exchange<Allowed>) -> Result<Exchange<Cleared>, Reject> {
    let hot = &exchange.generation.snapshot.hot;
    let route = exchange.proof.permitted.route(&hot.policy);
    let body_bytes = match route.target {
        Target::Management(_) => MANAGEMENT_BODY_BYTES,
        Target::Upstream(_) => route.settings.body_bytes.unwrap_or(hot.limits.body_bytes),
    };
    take_of_rate(&exchange, route)?;
    if let Some(maintenance) = &route.settings.maintenance {
        return Err(Reject::Maintenance(Arc::clone(maintenance)));
    }
    take_seats(&exchange, route)?;
    let said = exchange
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|bytes| bytes > body_bytes) {
        return Err(Reject::BodyTooLarge);
    }
    exchange.observation.cleared();
    exchange.try_map(
        |Allowed {
             admitted,
             permitted,
         }| {
            Ok(Cleared {
                admitted,
                permitted,
                body_bytes,
            })
        },
    )
}

/// The key whose use of this route is counted. Management routes have no limits of this kind.
fn counted(exchange: &Exchange<Allowed>, route: &Route) -> Option<KeyId> {
    match route.target {
        Target::Upstream(_) => exchange.proof.permitted.principal().map(|p| p.record().id),
        Target::Management(_) => None,
    }
}

fn take_of_rate(exchange: &Exchange<Allowed>, route: &Route) -> Result<(), Reject> {
    let (Some(rate), Some(key)) = (route.settings.rate, counted(exchange, route)) else {
        return Ok(());
    };
    let rates = &exchange.link.context.shared.rates;
    match rates.take((key, route.identity), rate, Instant::now()) {
        Ok(standing) => exchange.observation.stands(standing),
        Err(over) => {
            exchange.observation.stands(over.standing);
            return Err(Reject::RateLimited(over));
        }
    }
    Ok(())
}

fn take_seats(exchange: &Exchange<Allowed>, route: &Route) -> Result<(), Reject> {
    let in_all = exchange.generation.snapshot.hot.limits.streams_per_key;
    for (most, of) in [
        (route.settings.streams, Some(route.identity)),
        (in_all, None),
    ] {
        if let Some(most) = most
            && let Some(key) = counted(exchange, route)
        {
            let open = &exchange.link.context.shared.open;
            let seat = open.enter(Who::Key(key, of), most);
            exchange
                .observation
                .sits(seat.ok_or(Reject::TooManyStreams)?);
        }
    }
    Ok(())
}
