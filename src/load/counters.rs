//! What threads count for all to see while a run goes on.

use super::tally::Sample;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many wrong answers and failures are shown.
const SAMPLES: usize = 10;

/// What one thread has done so far, for the live display. On a line of the cache of its own.
#[repr(align(128))]
#[derive(Default)]
pub(super) struct Counters {
    pub(super) answers: AtomicU64,
    pub(super) wrong: AtomicU64,
    pub(super) failures: AtomicU64,
    /// Connections that were made in place of others.
    pub(super) reconnects: AtomicU64,
    /// Connections that could not be made.
    pub(super) connect_failures: AtomicU64,
    /// Requests that were sent again, on another connection.
    pub(super) resent: AtomicU64,
}

impl Counters {
    /// Each counter has one writer.
    pub(super) fn bump(counter: &AtomicU64) {
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// The first wrong answers and failures, from all threads.
#[derive(Default)]
pub(super) struct Samples(Mutex<Vec<Sample>>);

impl Samples {
    pub(super) fn add(&self, sample: impl FnOnce() -> Sample) {
        let mut samples = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if samples.len() < SAMPLES {
            samples.push(sample());
        }
    }

    pub(super) fn take(&self) -> Vec<Sample> {
        std::mem::take(
            &mut *self
                .0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

/// The counts of all threads together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Counts {
    pub(super) answers: u64,
    pub(super) wrong: u64,
    pub(super) failures: u64,
    pub(super) reconnects: u64,
    pub(super) connect_failures: u64,
    pub(super) resent: u64,
}

impl Counts {
    /// As they are now.
    pub(super) fn of(counters: &[Counters]) -> Self {
        let sum = |of: fn(&Counters) -> &AtomicU64| -> u64 {
            counters.iter().map(|c| of(c).load(Ordering::Relaxed)).sum()
        };
        Counts {
            answers: sum(|c| &c.answers),
            wrong: sum(|c| &c.wrong),
            failures: sum(|c| &c.failures),
            reconnects: sum(|c| &c.reconnects),
            connect_failures: sum(|c| &c.connect_failures),
            resent: sum(|c| &c.resent),
        }
    }
}
