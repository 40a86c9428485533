//! Client networks whose connections were ended for floods: those that go on with it get no new ones for a while.
//!
//! Ending a flooded connection costs more than making one costs the client. So each one that is ended is counted against the
//! client's network, and a network that has had many in a short time is refused at its next connection, before a byte is
//! read. Connections that are open stay open.

use super::failures::ClientNetwork;
use super::gcra::Buckets;
use crate::policy::Rate;
use std::time::{Duration, Instant};

/// Most networks remembered.
const NETWORKS: usize = 65_536;

/// How many flooded connections a network may have.
const RATE: Rate = Rate {
    interval: Duration::from_secs(1),
    burst: 10,
};

/// Remembers flooded connections of all workers.
pub(super) struct Floods(Buckets<ClientNetwork>);

impl Floods {
    /// Nothing remembered yet.
    pub(super) fn new(now: Instant) -> Self {
        Floods(Buckets::new(now, NETWORKS))
    }

    /// A connection of this network was ended for a flood.
    pub(super) fn count(&self, network: ClientNetwork, now: Instant) {
        let _ = self.0.take(network, RATE, now); // over the limit already, then
    }

    /// Whether a new connection of this network is to be refused.
    pub(super) fn refuses(&self, network: ClientNetwork, now: Instant) -> bool {
        self.0.is_exhausted(&network, RATE, now)
    }
}
