//! How many open exchanges a new policy has ended, over all workers: one line in the log for a reload, not one for each
//! worker.
//!
//! Each worker judges its own exchanges within a tenth of a second and says how many it has ended. When all have spoken the
//! sum is told. A worker that was kept from running for longer may pass over a generation; then the sum is told when the
//! next generation begins, so that it is told once in any case.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};

/// What the workers have said of the newest generation.
#[derive(Default)]
pub(super) struct Endings(Mutex<Tally>);

#[derive(Default)]
struct Tally {
    generation: u64,
    /// How many workers have judged by it.
    workers: usize,
    /// Exchanges that it has ended, not told yet.
    ended: usize,
}

/// What is to be told.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Ended {
    pub(super) generation: u64,
    pub(super) exchanges: usize,
}

impl Endings {
    /// One of so many workers has judged its exchanges by this generation and ended some, or none: what is to be told now.
    pub(super) fn judged(
        &self,
        generation: u64,
        ended: usize,
        workers: NonZero<usize>,
    ) -> Option<Ended> {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = None;
        if generation > tally.generation {
            told = tally.take();
            *tally = Tally {
                generation,
                workers: 0,
                ended: 0,
            };
        }
        tally.ended += ended;
        // One that is behind comes again, with the newest.
        if generation == tally.generation {
            tally.workers += 1;
        }
        if tally.workers >= workers.get() {
            told = told.or_else(|| tally.take());
        }
        told
    }
}

impl Tally {
    fn take(&mut self) -> Option<Ended> {
        let exchanges = std::mem::take(&mut self.ended);
        (exchanges > 0).then_some(Ended {
            generation: self.generation,
            exchanges,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_generation_ended_is_told_once_and_none_is_lost() {
        let said = |generation, exchanges| {
            Some(Ended {
                generation,
                exchanges,
            })
        };
        let workers = NonZero::new(2).unwrap();
        let endings = Endings::default();
        for (row, generation, ended, told) in [
            ("the start", 1, 0, None),
            ("nothing to tell", 1, 0, None),
            ("the first of two", 2, 3, None),
            ("the second", 2, 4, said(2, 7)),
            ("the second alone has some", 3, 0, None),
            ("and it is told", 3, 1, said(3, 1)),
            ("the other never comes", 4, 5, None),
            ("the next begins", 6, 1, said(4, 5)),
            ("one comes late", 5, 2, None),
            ("and again, with the newest", 6, 1, said(6, 4)),
            ("nothing is left", 7, 0, None),
        ] {
            assert_eq!(endings.judged(generation, ended, workers), told, "{row}");
        }
        let alone = NonZero::new(1).unwrap();
        let endings = Endings::default();
        assert_eq!(endings.judged(1, 0, alone), None);
        assert_eq!(endings.judged(2, 3, alone), said(2, 3));
    }
}
