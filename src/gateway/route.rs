//! `Admitted` → `Routed`: what this snapshot's policy has for the request. Nothing is said of it yet.

use super::{Exchange, Reject};
use crate::http::Admitted;
use crate::policy::Routed;

/// A request and what was found for it.
pub struct Matched {
    pub(super) admitted: Admitted,
    pub(super) routed: Routed,
}

pub(super) fn route(exchange: Exchange<Admitted>) -> Result<Exchange<Matched>, Reject> {
    let policy = &exchange.generation.snapshot.hot.policy;
    let routed = policy.route(&exchange.proof);
    match routed.route_index() {
        Some(index) => exchange.observation.routed(index.as_u32()),
        None if policy.is_managements(exchange.proof.path()) => {
            exchange.observation.fell_to_management();
        }
        None => {}
    }
    exchange.try_map(|admitted| Ok(Matched { admitted, routed }))
}
