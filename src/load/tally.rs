//! What one thread counts, and how the counts of several become one.

use hdrhistogram::Histogram;
use std::time::Duration;

/// The longest latency that is told apart, in nanoseconds: ten minutes.
const LONGEST: u64 = 600_000_000_000;

/// Why a request has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// There was no connection in time.
    Connect,
    /// The connection ended before the answer did.
    Closed,
    /// The answer was not there in time.
    Timeout,
    /// What came was no answer.
    Nonsense,
    /// The run was over, and its answer not there.
    Abandoned,
}

impl Failure {
    const KINDS: usize = 5;
    pub(super) const ALL: [(Failure, &'static str); Failure::KINDS] = [
        (Failure::Connect, "connect"),
        (Failure::Closed, "closed"),
        (Failure::Timeout, "timeout"),
        (Failure::Nonsense, "nonsense"),
        (Failure::Abandoned, "abandoned"),
    ];
}

/// Latencies, in nanoseconds.
pub(super) type Latencies = Histogram<u64>;

pub(super) fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are good ones")
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The counts of one step.
pub(super) struct StepTally {
    /// Of right answers, by the outcome that was expected.
    pub(super) by_outcome: Vec<Latencies>,
    pub(super) wrong: u64,
    pub(super) failures: [u64; Failure::KINDS],
    /// How much later than due requests of an open loop were sent.
    pub(super) lag: Latencies,
    /// How many of them had to wait for a connection.
    pub(super) queued: u64,
    /// Bytes of the bodies of answers.
    pub(super) body_bytes: u64,
}

impl StepTally {
    pub(super) fn new(outcomes: usize) -> Self {
        StepTally {
            by_outcome: (0..outcomes).map(|_| latencies()).collect(),
            wrong: 0,
            failures: [0; Failure::KINDS],
            lag: latencies(),
            queued: 0,
            body_bytes: 0,
        }
    }

    /// Adds another thread's.
    pub(super) fn add(&mut self, other: &StepTally) {
        for (own, theirs) in self.by_outcome.iter_mut().zip(&other.by_outcome) {
            own.add(theirs).expect("all have the same bounds");
        }
        self.wrong += other.wrong;
        for (own, theirs) in self.failures.iter_mut().zip(other.failures) {
            *own += theirs;
        }
        self.lag.add(&other.lag).expect("all have the same bounds");
        self.queued += other.queued;
        self.body_bytes += other.body_bytes;
    }

    /// All right answers together.
    pub(super) fn all(&self) -> Latencies {
        let mut all = latencies();
        for one in &self.by_outcome {
            all.add(one).expect("all have the same bounds");
        }
        all
    }
}

/// A wrong answer, or a request without one, as the report shows it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Sample {
    /// Method and target.
    pub request: String,
    /// The kind of its key.
    pub key: String,
    pub mark: String,
    pub expected: String,
    pub got: String,
}
