//! How many requests each server of an upstream takes at one time, all workers together, and who waits for a place.
//!
//! A [`Place`] is one request at one endpoint. Where all places are taken, requests wait in a queue, first come, first
//! served: a place that is given back is handed on, and nobody who comes later gets it. There is one gate for each
//! upstream's name, and it outlives generations. Upstreams without a limit never come here.

use super::endpoint::Endpoint;
use crate::config::{Balancing, Queue};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// The gate of one upstream.
#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    /// Requests that were answered 503, by reason.
    refused: [AtomicU64; 3],
}

#[derive(Default)]
struct State {
    /// Most requests at an endpoint; `None`: any number.
    limit: Option<u32>,
    queue: Queue,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

/// Why a request found no server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// All servers are out.
    Out,
    /// All have as many requests as they may, and as many wait as may.
    QueueFull,
    /// It waited for as long as it may.
    QueueTimeout,
}

impl Refused {
    /// As metrics have it.
    pub const ALL: [(Refused, &'static str); 3] = [
        (Refused::Out, "all_out"),
        (Refused::QueueFull, "queue_full"),
        (Refused::QueueTimeout, "queue_timeout"),
    ];
}

/// One request's place at an endpoint. Given back, or handed on, when dropped.
pub struct Place(Option<Arc<Endpoint>>);

impl Place {
    /// Where it is.
    pub(super) fn endpoint(&self) -> &Endpoint {
        self.0
            .as_ref()
            .expect("a place is whole until it is dropped")
    }
}

/// What came of asking for a place in the queue.
pub(super) enum Queued {
    /// There is one after all.
    Place(Place),
    /// It will come by this.
    Waiting(oneshot::Receiver<Place>),
    /// As many wait as may.
    Full,
}

impl Gate {
    /// Other settings are in force.
    pub(super) fn follow(&self, balancing: &Balancing, endpoints: &[Arc<Endpoint>]) {
        let mut state = self.state();
        state.limit = balancing.connections;
        state.queue = balancing.queue;
        drop(state);
        for endpoint in endpoints {
            self.fill(endpoint);
        }
    }

    /// Counts a request that found no server.
    pub(super) fn refuse(&self, why: Refused) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many requests found no server, for this reason.
    pub fn refused(&self, why: Refused) -> u64 {
        self.refused[why as usize].load(Ordering::Relaxed)
    }

    /// How many requests wait for a place.
    pub fn waiting(&self) -> usize {
        let state = self.state();
        state.waiting.iter().filter(|w| !w.is_closed()).count()
    }

    /// A place at this endpoint, if it has one and nobody waits.
    pub(super) fn enter(&self, endpoint: &Arc<Endpoint>) -> Option<Place> {
        let mut state = self.state();
        state.forget_the_gone();
        if !state.waiting.is_empty() {
            return None;
        }
        state.take(endpoint)
    }

    /// A place at any of these endpoints, now or by waiting.
    pub(super) fn join<'e>(&self, endpoints: impl Iterator<Item = &'e Arc<Endpoint>>) -> Queued {
        let mut state = self.state();
        state.forget_the_gone();
        if state.waiting.is_empty() {
            // One may have been given back since the caller looked.
            for endpoint in endpoints {
                if endpoint.share() > 0
                    && let Some(place) = state.take(endpoint)
                {
                    return Queued::Place(place);
                }
            }
        }
        if state.waiting.len() >= state.queue.size {
            return Queued::Full;
        }
        let (sender, receiver) = oneshot::channel();
        state.waiting.push_back(sender);
        Queued::Waiting(receiver)
    }

    /// Hands places of this endpoint to those who wait, as long as it has some.
    pub(super) fn fill(&self, endpoint: &Arc<Endpoint>) {
        if endpoint.share() == 0 {
            return;
        }
        loop {
            let mut state = self.state();
            state.forget_the_gone();
            if state.waiting.is_empty() {
                return;
            }
            let Some(place) = state.take(endpoint) else {
                return;
            };
            let next = state.waiting.pop_front();
            // What cannot be handed on is given back, which takes the lock.
            drop(state);
            if let Some(next) = next {
                let _ = next.send(place);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, endpoint: &Arc<Endpoint>) -> Option<Place> {
        let in_use = endpoint.in_use.load(Ordering::Relaxed);
        if self.limit.is_some_and(|limit| in_use >= limit) {
            return None;
        }
        endpoint.in_use.store(in_use + 1, Ordering::Relaxed);
        Some(Place(Some(Arc::clone(endpoint))))
    }

    /// Those at the front whose clients have left, or whose time is over.
    fn forget_the_gone(&mut self) {
        self.waiting.retain(|waiting| !waiting.is_closed());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(endpoint) = self.0.take() else {
            return;
        };
        let state = endpoint.gate.state();
        endpoint.in_use.fetch_sub(1, Ordering::Relaxed);
        drop(state);
        endpoint.gate.fill(&endpoint);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::endpoint_with;
    use super::*;

    fn gate(limit: u32, size: usize) -> (Arc<Gate>, Arc<Endpoint>) {
        let balancing = Balancing {
            connections: Some(limit),
            queue: Queue {
                size,
                ..Queue::default()
            },
            ..Balancing::default()
        };
        let gate = Arc::new(Gate::default());
        gate.follow(&balancing, &[]);
        (Arc::clone(&gate), endpoint_with(&balancing, &gate))
    }

    #[test]
    fn places_are_handed_on_in_the_order_of_coming_and_never_more_than_there_are() {
        let (gate, endpoint) = gate(2, 2);
        let first = gate.enter(&endpoint).expect("a place");
        let second = gate.enter(&endpoint).expect("a place");
        assert!(gate.enter(&endpoint).is_none());
        let join = || gate.join([&endpoint].into_iter());
        let (Queued::Waiting(mut a), Queued::Waiting(mut b)) = (join(), join()) else {
            panic!("they wait");
        };
        assert!(matches!(join(), Queued::Full));
        drop(first);
        let of_a = a.try_recv().expect("the first has a place");
        assert!(b.try_recv().is_err());
        assert!(gate.enter(&endpoint).is_none(), "one waits");
        drop(a);
        drop(second);
        let of_b = b.try_recv().expect("the second has a place");
        assert_eq!(endpoint.in_use.load(Ordering::Relaxed), 2);
        drop((of_a, of_b));
        assert_eq!(endpoint.in_use.load(Ordering::Relaxed), 0);
        assert!(matches!(join(), Queued::Place(_)));
    }

    #[test]
    fn who_has_left_gets_no_place_and_keeps_none() {
        let (gate, endpoint) = gate(1, 2);
        let held = gate.enter(&endpoint).expect("a place");
        let join = || gate.join([&endpoint].into_iter());
        let (Queued::Waiting(gone), Queued::Waiting(mut here)) = (join(), join()) else {
            panic!("they wait");
        };
        drop(gone);
        drop(held);
        let place = here.try_recv().expect("the place passed the one who left");
        // Handed to one who leaves before looking: it goes to the next.
        let (Queued::Waiting(late), Queued::Waiting(mut next)) = (join(), join()) else {
            panic!("they wait");
        };
        drop(place);
        drop(late);
        assert!(next.try_recv().is_ok());
        assert_eq!(gate.waiting(), 0);
    }

    #[test]
    fn a_limit_that_is_lifted_lets_everybody_in() {
        let (gate, endpoint) = gate(1, 9);
        let _held = gate.enter(&endpoint).expect("a place");
        let Queued::Waiting(mut waiting) = gate.join([&endpoint].into_iter()) else {
            panic!("it waits");
        };
        gate.follow(&Balancing::default(), std::slice::from_ref(&endpoint));
        assert!(waiting.try_recv().is_ok());
    }
}
