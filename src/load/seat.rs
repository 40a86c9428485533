//! What the connections of one thread share: whose turn it is, what is right, what was counted.

use super::expect::Outcome;
use super::mark;
use super::pacer::{Due, Pacer};
use super::schedule::Schedule;
use super::source::{Source, Ticket};
use super::tally::{Failure, Sample, StepTally, nanoseconds};
use serde::Deserialize;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many wrong answers and failures are shown.
const SAMPLES: usize = 10;
/// How much of a wrong answer's body is shown.
const SHOWN_BYTES: usize = 200;

/// What one thread has done so far, for the live display. On a line of the cache of its own.
#[repr(align(128))]
#[derive(Default)]
pub(super) struct Counters {
    pub(super) answers: AtomicU64,
    pub(super) wrong: AtomicU64,
    pub(super) failures: AtomicU64,
}

impl Counters {
    /// Each counter has one writer.
    fn bump(counter: &AtomicU64) {
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// The first wrong answers and failures, from all threads.
#[derive(Default)]
pub(super) struct Samples(Mutex<Vec<Sample>>);

impl Samples {
    fn add(&self, sample: impl FnOnce() -> Sample) {
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

/// A phase, by the clock.
struct Span {
    ends: Instant,
    step: Option<usize>,
}

/// One thread's share of a run.
pub(super) struct Seat<'r> {
    source: RefCell<Source>,
    pacer: Option<Pacer>,
    spans: Vec<Span>,
    span: Cell<usize>,
    /// Requests that may still be sent.
    left: Cell<u64>,
    stopped: Cell<bool>,
    steps: RefCell<Vec<StepTally>>,
    /// By outcome, the body of the last refusal that was found right.
    right: RefCell<Vec<Vec<u8>>>,
    counters: &'r Counters,
    samples: &'r Samples,
    pub(super) timeout: Duration,
}

/// Leave to send a request.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    /// From when its latency counts.
    pub(super) due: Instant,
    queued: bool,
    paced: bool,
    step: Option<usize>,
}

/// An answer as far as it is judged.
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) digest: Option<[u8; mark::LEN]>,
    /// The first of the body.
    pub(super) body: &'a [u8],
    pub(super) body_bytes: u64,
}

impl<'r> Seat<'r> {
    pub(super) fn new(
        source: Source,
        pacer: Option<Pacer>,
        (schedule, start): (&Schedule, Instant),
        requests: Option<u64>,
        timeout: Duration,
        (counters, samples): (&'r Counters, &'r Samples),
    ) -> Self {
        let outcomes = source.stuff().expectations.outcomes().len();
        let spans = schedule.phases().iter().map(|phase| Span {
            ends: start + Duration::from_secs_f64(phase.ends),
            step: phase.step,
        });
        let steps = schedule.rates.iter().map(|_| StepTally::new(outcomes));
        Seat {
            spans: spans.collect(),
            span: Cell::new(0),
            left: Cell::new(requests.unwrap_or(u64::MAX)),
            stopped: Cell::new(false),
            steps: RefCell::new(steps.collect()),
            right: RefCell::new(vec![Vec::new(); outcomes]),
            source: RefCell::new(source),
            pacer,
            counters,
            samples,
            timeout,
        }
    }

    pub(super) fn pacer(&self) -> Option<&Pacer> {
        self.pacer.as_ref()
    }

    /// Gives no more turns.
    pub(super) fn stop(&self) {
        self.stopped.set(true);
        if let Some(pacer) = &self.pacer {
            pacer.stop();
        }
    }

    /// Whether there is nothing more to send.
    pub(super) fn is_over(&self) -> bool {
        self.stopped.get() || self.left.get() == 0
    }

    /// Waits for leave to send; `None` when the run is over. `now` is when the connection became free.
    pub(super) async fn turn(&self, now: Instant) -> Option<Turn> {
        if self.is_over() {
            return None;
        }
        let (due, paced) = match &self.pacer {
            None => (
                Due {
                    at: now,
                    queued: false,
                },
                false,
            ),
            Some(pacer) => (pacer.next().await?, true),
        };
        if self.is_over() {
            return None;
        }
        let mut at = self.span.get();
        while self.spans.get(at)?.ends <= due.at {
            at += 1;
            self.span.set(at);
        }
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0 {
            self.stop();
        }
        Some(Turn {
            due: due.at,
            queued: due.queued,
            paced,
            step: self.spans[at].step,
        })
    }

    /// Draws a request and writes it; a large body comes back.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> (Ticket, bytes::Bytes) {
        let mut source = self.source.borrow_mut();
        let ticket = source.draw();
        let body = source.write(&ticket, out);
        (ticket, body)
    }

    /// Draws a request for HTTP/2.
    pub(super) fn request(&self) -> (Ticket, http::Request<()>, bytes::Bytes) {
        let mut source = self.source.borrow_mut();
        let ticket = source.draw();
        let (request, body) = source.request(&ticket);
        (ticket, request, body)
    }

    /// Notes how late a request is sent.
    pub(super) fn sent(&self, turn: &Turn, now: Instant) {
        if let (true, Some(step)) = (turn.paced, turn.step) {
            let step = &mut self.steps.borrow_mut()[step];
            let late = nanoseconds(now.saturating_duration_since(turn.due));
            step.lag.saturating_record(late);
            step.queued += u64::from(turn.queued);
        }
    }

    /// Judges and counts an answer.
    pub(super) fn answered(&self, turn: &Turn, ticket: &Ticket, answer: &Answer<'_>, now: Instant) {
        Counters::bump(&self.counters.answers);
        let is_right = self.is_right(ticket, answer);
        if let Some(step) = turn.step {
            let step = &mut self.steps.borrow_mut()[step];
            step.body_bytes += answer.body_bytes;
            if is_right {
                let latency = nanoseconds(now.saturating_duration_since(turn.due));
                step.by_outcome[usize::from(ticket.outcome)].saturating_record(latency);
            } else {
                step.wrong += 1;
            }
        }
        if !is_right {
            Counters::bump(&self.counters.wrong);
            self.samples.add(|| self.sample(ticket, got(answer)));
        }
    }

    /// Counts a request without an answer.
    pub(super) fn failed(&self, turn: &Turn, ticket: &Ticket, failure: Failure, why: &str) {
        Counters::bump(&self.counters.failures);
        if let Some(step) = turn.step {
            self.steps.borrow_mut()[step].failures[failure as usize] += 1;
        }
        self.samples.add(|| self.sample(ticket, why.to_owned()));
    }

    fn is_right(&self, ticket: &Ticket, answer: &Answer<'_>) -> bool {
        let source = self.source.borrow();
        let at = usize::from(ticket.outcome);
        let outcome: &Outcome = &source.stuff().expectations.outcomes()[at];
        if answer.status != outcome.status {
            return false;
        }
        if outcome.marked {
            let has_body = !ticket.is_head && answer.body_bytes > 0;
            let header = answer.digest.as_ref();
            return (has_body || header.is_some())
                && (!has_body || answer.body.starts_with(&ticket.digest))
                && header.is_none_or(|digest| *digest == ticket.digest);
        }
        match &outcome.code {
            None => true,
            // It has no body.
            Some(_) if ticket.is_head => true,
            Some(code) => {
                // One after the other is the same to the byte, so that few are parsed.
                if self.right.borrow()[at] == answer.body {
                    return true;
                }
                let is_whole = answer.body.len() as u64 == answer.body_bytes;
                let is_right = is_whole && code_of(answer.body).is_some_and(|told| told == *code);
                if is_right {
                    let mut right = self.right.borrow_mut();
                    right[at].clear();
                    right[at].extend_from_slice(answer.body);
                }
                is_right
            }
        }
    }

    fn sample(&self, ticket: &Ticket, got: String) -> Sample {
        let source = self.source.borrow();
        let (request, key, mark) = source.shown(ticket);
        let outcome = &source.stuff().expectations.outcomes()[usize::from(ticket.outcome)];
        let expected = if outcome.marked {
            let digest = String::from_utf8_lossy(&ticket.digest);
            format!("{outcome}, digest {digest}")
        } else {
            outcome.to_string()
        };
        Sample {
            request,
            key,
            mark,
            expected,
            got,
        }
    }

    /// What was counted, and how many requests were due and not sent.
    /// To be asked for once, at the end.
    pub(super) fn take_counts(&self) -> (Vec<StepTally>, u64) {
        let unsent = self.pacer.as_ref().map_or(0, Pacer::unsent);
        (self.steps.take(), unsent)
    }
}

/// `error.code` of a refusal.
fn code_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Outer<'a> {
        #[serde(borrow)]
        error: Inner<'a>,
    }
    #[derive(Deserialize)]
    struct Inner<'a> {
        #[serde(borrow)]
        code: Cow<'a, str>,
    }
    let outer: Outer<'_> = serde_json::from_slice(body).ok()?;
    Some(outer.error.code.into_owned())
}

/// An answer in a sample.
fn got(answer: &Answer<'_>) -> String {
    let shown = &answer.body[..answer.body.len().min(SHOWN_BYTES)];
    let digest = answer.digest.map(|digest| {
        format!(
            ", digest {}",
            String::from_utf8_lossy(&digest).escape_debug()
        )
    });
    format!(
        "{}{}, body of {} bytes: {}",
        answer.status,
        digest.unwrap_or_default(),
        answer.body_bytes,
        String::from_utf8_lossy(shown).escape_debug()
    )
}
