//! `Routed` and `Identity` → `Permitted`: the policy's own judgement, see [`crate::policy`].

use super::identify::Identified;
use super::{Exchange, Reject};
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
