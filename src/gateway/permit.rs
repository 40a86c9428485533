//! `Routed` and `Identity` → `Permitted`: the policy's own judgement, see [`crate::policy`].

use super::identify::Identified;
use super::{Exchange, Reject};
use crate::http::Admitted;
use crate::policy::Permitted;

/// A request that the policy permits.
pub struct Allowed {
    pub(super) admitted: Admitted,
    pub(super) permitted: Permitted,
}

pub(super) fn permit(exchange: Exchange<Identified>) -> Result<Exchange<Allowed>, Reject> {
    let snapshot = std::sync::Arc::clone(&exchange.generation.snapshot);
    exchange.try_map(|identified| {
        let Identified {
            admitted,
            routed,
            identity,
        } = identified;
        let permitted = snapshot.hot.policy.permit(routed, identity)?;
        Ok(Allowed {
            admitted,
            permitted,
        })
    })
}
