//! What the connections of one thread share: whose turn it is, what is right, what was counted.
//!
//! A connection is given a [`Turn`], draws a request with it, and holds an [`Asked`] until that is settled.

mod asked;

pub(super) use asked::Asked;

use super::counters::{Counters, Samples};
use super::judge::{self, Answer};
use super::pacer::{Due, Pacer};
use super::schedule::Schedule;
use super::source::{Source, Ticket};
use super::tally::{Failure, Sample, StepTally};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How much later than the last step ends a request may be sent that was due before. What the scheduler of the system does
/// to the last requests of a run is no fault of anybody; what is later than this is.
const SLACK: Duration = Duration::from_millis(100);

/// A phase, by the clock.
struct Span {
    ends: Instant,
    step: Option<usize>,
}

/// One thread's share of a run.
pub(super) struct Seat {
    source: RefCell<Source>,
    pacer: Option<Pacer>,
    spans: Vec<Span>,
    span: Cell<usize>,
    /// Nothing is sent from then on.
    latest: Instant,
    /// How many requests may be sent at all.
    requests: u64,
    /// Requests that may still be sent.
    left: Cell<u64>,
    stopped: Cell<Option<Instant>>,
    /// Requests that were begun and found no connection before the end.
    unsent: Cell<u64>,
    /// Requests that are not settled.
    open: Cell<u64>,
    /// When the last one was.
    settled: Cell<Instant>,
    steps: RefCell<Vec<StepTally>>,
    /// By outcome, the body of the last refusal that was found right.
    right: RefCell<Vec<Vec<u8>>>,
    counters: &'static Counters,
    samples: &'static Samples,
    pub(super) timeout: Duration,
}

/// Leave to send a request.
pub(super) struct Turn {
    /// From when its latency counts.
    due: Instant,
    queued: bool,
    paced: bool,
    step: Option<usize>,
}

impl Seat {
    pub(super) fn new(
        source: Source,
        pacer: Option<Pacer>,
        (schedule, start): (&Schedule, Instant),
        requests: Option<u64>,
        timeout: Duration,
        (counters, samples): (&'static Counters, &'static Samples),
    ) -> Self {
        let outcomes = source.stuff().expectations.outcomes().len();
        let spans = schedule.phases().iter().map(|phase| Span {
            ends: start + Duration::from_secs_f64(phase.ends),
            step: phase.step,
        });
        let steps = schedule.rates.iter().map(|_| StepTally::new(outcomes));
        let requests = requests.unwrap_or(u64::MAX);
        Seat {
            spans: spans.collect(),
            span: Cell::new(0),
            latest: start + Duration::from_secs_f64(schedule.ends()) + SLACK,
            requests,
            left: Cell::new(requests),
            stopped: Cell::new(None),
            unsent: Cell::new(0),
            open: Cell::new(0),
            settled: Cell::new(start),
            steps: RefCell::new(steps.collect()),
            right: RefCell::new(vec![Vec::new(); outcomes]),
            source: RefCell::new(source),
            pacer,
            counters,
            samples,
            timeout,
        }
    }

    pub(super) fn is_paced(&self) -> bool {
        self.pacer.is_some()
    }

    /// Releases the requests of an open loop when they are due; does nothing in a closed one.
    ///
    /// # Errors
    /// When the system gives no timer.
    pub(super) async fn pace(&self) -> std::io::Result<()> {
        match &self.pacer {
            Some(pacer) => pacer.pace(self.latest).await,
            None => Ok(()),
        }
    }

    /// Gives no more turns.
    pub(super) fn stop(&self) {
        if self.stopped.get().is_none() {
            self.stopped.set(Some(Instant::now()));
        }
        if let Some(pacer) = &self.pacer {
            pacer.stop();
        }
    }

    /// Whether there is nothing more to send.
    pub(super) fn is_over(&self) -> bool {
        self.left.get() == 0 || self.is_ended()
    }

    /// Whether nothing may be sent any more, not even what has been begun.
    pub(super) fn is_ended(&self) -> bool {
        self.stopped.get().is_some() || Instant::now() >= self.latest
    }

    /// Nothing is sent from then on.
    pub(super) fn latest(&self) -> Instant {
        self.latest
    }

    /// Waits for leave to send; `None` when the run is over. `now` is when the connection became free.
    pub(super) async fn turn(&self, now: Instant) -> Option<Turn> {
        let is_over = || self.left.get() == 0 || self.stopped.get().is_some();
        if is_over() {
            return None;
        }
        let due = match &self.pacer {
            None => Due {
                at: now,
                queued: false,
            },
            Some(pacer) => {
                let queued = pacer.ready().await?;
                if is_over() || Instant::now() >= self.latest {
                    return None;
                }
                pacer.take(queued)?
            }
        };
        let mut at = self.span.get();
        while self.spans.get(at)?.ends <= due.at {
            at += 1;
            self.span.set(at);
        }
        self.left.set(self.left.get() - 1);
        if let (0, Some(pacer)) = (self.left.get(), &self.pacer) {
            pacer.stop();
        }
        Some(Turn {
            due: due.at,
            queued: due.queued,
            paced: self.pacer.is_some(),
            step: self.spans[at].step,
        })
    }

    fn asked(self: &Rc<Self>, turn: Turn, ticket: Ticket) -> Asked {
        self.open.set(self.open.get() + 1);
        Asked {
            seat: Rc::clone(self),
            turn,
            ticket,
            sendings: 0,
            is_settled: false,
        }
    }

    /// Draws a request and writes it; a large body comes back.
    pub(super) fn write(self: &Rc<Self>, turn: Turn, out: &mut Vec<u8>) -> (Asked, bytes::Bytes) {
        let mut source = self.source.borrow_mut();
        let ticket = source.draw();
        let body = source.write(&ticket, out);
        (self.asked(turn, ticket), body)
    }

    /// Draws a request.
    pub(super) fn draw(self: &Rc<Self>, turn: Turn) -> Asked {
        let ticket = self.source.borrow_mut().draw();
        self.asked(turn, ticket)
    }

    /// Counts a connection that was made in place of another.
    pub(super) fn reconnected(&self) {
        Counters::bump(&self.counters.reconnects);
    }

    /// Counts a connection that could not be made.
    pub(super) fn connect_failed(&self) {
        Counters::bump(&self.counters.connect_failures);
    }

    /// Counts bytes that came after an answer and belong to none: a failure beside the answer that was counted.
    pub(super) fn stray(&self, after: &Ticket, why: &str) {
        Counters::bump(&self.counters.failures);
        let at = self.span.get().min(self.spans.len() - 1);
        if let Some(step) = self.spans[at].step {
            self.steps.borrow_mut()[step].failures[Failure::Nonsense as usize] += 1;
        }
        self.samples.add(|| self.sample(after, why.to_owned()));
    }

    fn sample(&self, ticket: &Ticket, got: String) -> Sample {
        let source = self.source.borrow();
        let (request, key, mark) = source.shown(ticket);
        let outcome = &source.stuff().expectations.outcomes()[usize::from(ticket.outcome)];
        Sample {
            request,
            key,
            mark,
            expected: judge::expected(outcome, ticket),
            got,
        }
    }

    fn is_right(&self, ticket: &Ticket, answer: &Answer<'_>) -> bool {
        let source = self.source.borrow();
        let at = usize::from(ticket.outcome);
        let outcome = &source.stuff().expectations.outcomes()[at];
        judge::is_right(outcome, ticket, answer, &mut self.right.borrow_mut()[at])
    }

    /// How many requests are neither answered nor given up.
    pub(super) fn open(&self) -> u64 {
        self.open.get()
    }

    /// When what was to be sent was done with; `None` where the run ended by the clock.
    pub(super) fn ended_early(&self) -> Option<Instant> {
        self.is_done_early().then(|| self.settled.get())
    }

    fn is_done_early(&self) -> bool {
        self.left.get() == 0 || self.stopped.get().is_some()
    }

    /// What was counted, and how many requests were due and not sent.
    /// To be asked for once, at the end.
    pub(super) fn take_counts(&self) -> (Vec<StepTally>, u64) {
        let by = match self.stopped.get() {
            // No more are due.
            _ if self.left.get() == 0 => None,
            // The last ones had no time.
            Some(stopped) => stopped.checked_sub(SLACK),
            None => Some(Instant::now()),
        };
        let untaken = match (&self.pacer, by) {
            (Some(pacer), Some(by)) => pacer.untaken(by, self.requests),
            _ => 0,
        };
        (self.steps.take(), untaken + self.unsent.get())
    }
}

#[cfg(test)]
mod tests {
    use super::super::schedule::{Pace, Phases};
    use super::super::source::tests::source;
    use super::*;
    use std::sync::Arc;

    /// A seat of a run of one second at ten requests a second, that began so long ago.
    fn seat(ago: Duration, requests: Option<u64>) -> Rc<Seat> {
        let phases = Phases {
            ramp: Duration::ZERO,
            warmup: Duration::ZERO,
            step: Duration::from_secs(1),
        };
        let schedule = Arc::new(Schedule::new(&Pace::Open(vec![10.0]), phases));
        let start = Instant::now()
            .checked_sub(ago)
            .expect("the machine runs for longer");
        let pacer = Pacer::new(Arc::clone(&schedule), start, 1, 0);
        Rc::new(Seat::new(
            source("GET /"),
            Some(pacer),
            (&schedule, start),
            requests,
            Duration::from_secs(1),
            (Box::leak(Box::default()), Box::leak(Box::default())),
        ))
    }

    #[tokio::test]
    async fn nothing_is_sent_after_the_end_and_what_was_due_is_unsent() {
        let seat = seat(Duration::from_secs(2), None);
        // All are released at once, and the end is over.
        let (turn, paced) = tokio::join!(seat.turn(Instant::now()), seat.pace());
        paced.expect("a timer");
        assert!(turn.is_none());
        assert_eq!(seat.take_counts().1, 10);
    }

    #[tokio::test]
    async fn what_is_late_before_the_end_is_still_sent() {
        let seat = seat(Duration::from_millis(1_000), None);
        let turns = async {
            let mut count = 0;
            while let Some(turn) = seat.turn(Instant::now()).await {
                drop(seat.draw(turn));
                count += 1;
            }
            count
        };
        let (count, paced) = tokio::join!(turns, seat.pace());
        paced.expect("a timer");
        // A slow machine may need longer than the slack; then they are counted as unsent. Those that were drawn and
        // dropped are, too.
        assert!(count <= 10, "{count}");
        assert_eq!(seat.take_counts().1, 10);
    }

    #[tokio::test]
    async fn a_request_is_counted_whatever_becomes_of_it() {
        let seat = seat(Duration::from_millis(900), Some(3));
        let turns = async {
            for sendings in 0..3 {
                let turn = seat.turn(Instant::now()).await.expect("it is due");
                let mut asked = seat.draw(turn);
                assert_eq!(seat.open(), 1);
                for _ in 0..sendings {
                    asked.sent(Instant::now());
                }
                drop(asked);
            }
        };
        let (turns, paced) = tokio::join!(turns, seat.pace());
        paced.expect("a timer");
        let () = turns;
        assert_eq!(seat.open(), 0);
        let (steps, unsent) = seat.take_counts();
        assert_eq!(
            (unsent, steps[0].failures[Failure::Abandoned as usize]),
            (1, 2)
        );
    }
}
