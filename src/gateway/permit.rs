//! `Routed` and `Identity` → `Permitted`: the policy's own judgement, see [`crate::policy`]. Where another policy is tried, what it says is
//! noted beside it, and nothing comes of it: see `shadow`.

use super::identify::Identified;
use super::{Exchange, Generation, Reject};
use crate::http::Admitted;
use crate::policy::Permitted;
use std::rc::Rc;

/// A request that the policy permits.
pub struct Allowed {
    pub(super) admitted: Admitted,
    pub(super) permitted: Permitted,
}

pub(super) fn permit(exchange: Exchange<Identified>) -> Result<Exchange<Allowed>, Reject> {
    let generation = Rc::clone(&exchange.generation);
    match &generation.trial {
        None => decide(exchange, &generation),
        Some(trial) => trial.beside(exchange, |exchange| decide(exchange, &generation)),
    }
}

fn decide(
    exchange: Exchange<Identified>,
    generation: &Generation,
) -> Result<Exchange<Allowed>, Reject> {
    exchange.try_map(|identified| {
        let Identified {
            admitted,
            routed,
            identity,
        } = identified;
        let permitted = generation.snapshot.hot.policy.permit(routed, identity)?;
        Ok(Allowed {
            admitted,
            permitted,
        })
    })
}
