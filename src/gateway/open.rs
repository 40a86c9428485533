//! How much of one kind is open at once: exchanges of a key (`streams` of a route, `streams_per_key` over all of them),
//! connections of a client network (`connections_per_network`).
//!
//! What counts of a key is an exchange as its [`Observation`](super::observe::Observation) has it: from the moment it is
//! cleared to the last byte of its answer, or of its tunnel. For a short request that is no time; for a WebSocket, an
//! event stream, a gRPC stream or a long poll it is as long as it is open. A [`Seat`] is given back by being dropped, so
//! no end of an exchange can be forgotten. Only what is open is remembered, so the memory is bounded by the connections.

use super::failures::ClientNetwork;
use crate::key::KeyId;
use crate::policy::RouteIdentity;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 16;

/// What is counted together.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// The exchanges of a key, on one route or on all.
    Key(KeyId, Option<RouteIdentity>),
    /// The connections of a network.
    Network(ClientNetwork),
}

/// What is open at all workers, of what has a limit.
#[derive(Default)]
pub(super) struct Register {
    spread: RandomState,
    shards: [Mutex<HashMap<Who, u32>>; SHARDS],
}

/// One that is open among those that are counted together.
pub struct Seat {
    who: Who,
    of: Arc<Register>,
}

impl Register {
    /// A seat for one more; `None` where `most` are open already.
    pub(super) fn enter(self: &Arc<Self>, who: Who, most: u32) -> Option<Seat> {
        let mut shard = self.shard(&who);
        let open = shard.entry(who).or_insert(0);
        if *open >= most {
            if *open == 0 {
                shard.remove(&who);
            }
            return None;
        }
        *open += 1;
        drop(shard);
        Some(Seat {
            who,
            of: Arc::clone(self),
        })
    }

    fn shard(&self, who: &Who) -> MutexGuard<'_, HashMap<Who, u32>> {
        let place = self.spread.hash_one(who) as usize % SHARDS;
        self.shards[place]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut shard = self.of.shard(&self.who);
        if let Some(open) = shard.get_mut(&self.who) {
            *open -= 1;
            if *open == 0 {
                shard.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Methods;

    #[test]
    fn a_seat_is_free_again_when_it_is_dropped_and_nothing_is_left_behind() {
        let open = Arc::new(Register::default());
        let key = |c: &str| c.repeat(20).parse::<KeyId>().unwrap();
        let route = |path| Some(RouteIdentity::of(None, &Methods::Default, [path]));
        let one = open.enter(Who::Key(key("a"), route("/x")), 2).unwrap();
        let two = open.enter(Who::Key(key("a"), route("/x")), 2).unwrap();
        assert!(open.enter(Who::Key(key("a"), route("/x")), 2).is_none());
        let other_key = open.enter(Who::Key(key("b"), route("/x")), 2);
        let other_route = open.enter(Who::Key(key("a"), route("/y")), 2);
        let in_all = open.enter(Who::Key(key("a"), None), 2);
        assert!(other_key.is_some() && other_route.is_some() && in_all.is_some());
        drop(two);
        let again = open.enter(Who::Key(key("a"), route("/x")), 2);
        assert!(again.is_some());
        // A smaller limit ends nothing that is open and lets nothing more in.
        assert!(open.enter(Who::Key(key("a"), route("/x")), 1).is_none());
        drop((one, again, other_key, other_route, in_all));
        assert!(open.shards.iter().all(|s| s.lock().unwrap().is_empty()));
    }
}
