//! `Permitted` → `Cleared`: the last check before anything is done for the request.

use super::permit::Allowed;
use super::{Exchange, Reject};
use crate::http::Admitted;
use crate::policy::{Permitted, Target};
use http::header;

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
    let said = exchange
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|bytes| bytes > body_bytes) {
        return Err(Reject::BodyTooLarge);
    }
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
