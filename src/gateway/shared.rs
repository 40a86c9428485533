//! What the workers of a process share, besides the key cache and the snapshot: what is counted by network and by
//! key, how the servers of upstreams are, and the way to the log.

use super::endings::Endings;
use super::failures::Failures;
use super::floods::Floods;
use super::gcra::Buckets;
use super::open::Register;
use crate::key::KeyId;
use crate::log::LogQueue;
use crate::policy::RouteIdentity;
use crate::upstream::Fleet;
use std::sync::Arc;
use std::time::Instant;

/// Most buckets of rates that are remembered: about 64 bytes each.
const BUCKETS: usize = 1 << 20;

/// What all workers count and know. Routes without a limit never come to its counts.
pub struct Shared {
    pub(super) failures: Failures,
    pub(super) floods: Floods,
    /// Of `rate`, by key and route.
    pub(super) rates: Buckets<(KeyId, RouteIdentity)>,
    /// Of `streams`, `streams_per_key` and `connections_per_network`.
    pub(super) open: Arc<Register>,
    /// Of open exchanges, by the policy.
    pub(super) endings: Endings,
    pub(super) fleet: Arc<Fleet>,
    pub(super) log: LogQueue,
}

impl Shared {
    /// Nothing counted yet.
    pub fn new(now: Instant, fleet: Arc<Fleet>, log: LogQueue) -> Self {
        Shared {
            failures: Failures::new(now),
            floods: Floods::new(now),
            rates: Buckets::new(now, BUCKETS),
            open: Arc::default(),
            endings: Endings::default(),
            fleet,
            log,
        }
    }

    /// The upstreams' servers.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// How many buckets of rates are remembered.
    pub fn rate_buckets(&self) -> usize {
        self.rates.len()
    }
}
