//! A request that was drawn and is not settled.
//!
//! It is settled when it is answered or failed. One that is dropped before counts as unsent, or as abandoned where it was
//! sent, so that none is lost, whatever becomes of the task that held it.

use super::super::counters::Counters;
use super::super::judge::{self, Answer};
use super::super::source::Ticket;
use super::super::tally::{Failure, nanoseconds};
use super::{Seat, Turn};
use std::rc::Rc;
use std::time::Instant;

/// A request on its way.
pub(in crate::load) struct Asked {
    pub(super) seat: Rc<Seat>,
    pub(super) turn: Turn,
    pub(in crate::load) ticket: Ticket,
    /// How often it was sent.
    pub(in crate::load) sendings: u8,
    pub(super) is_settled: bool,
}

impl Asked {
    /// Until when it may be sent and answered, where that begins now.
    pub(in crate::load) fn deadline(&self, now: Instant) -> Instant {
        now + self.seat.timeout
    }

    /// The request as HTTP/2 has it, and its body.
    pub(in crate::load) fn request(&self) -> (http::Request<()>, bytes::Bytes) {
        self.seat.source.borrow().request(&self.ticket)
    }

    /// Notes that it is sent, and how late where that is for the first time.
    pub(in crate::load) fn sent(&mut self, now: Instant) {
        self.sendings = self.sendings.saturating_add(1);
        if self.sendings > 1 {
            Counters::bump(&self.seat.counters.resent);
        } else if let (true, Some(step)) = (self.turn.paced, self.turn.step) {
            let step = &mut self.seat.steps.borrow_mut()[step];
            let late = nanoseconds(now.saturating_duration_since(self.turn.due));
            step.lag.saturating_record(late);
            step.queued += u64::from(self.turn.queued);
        }
    }

    /// Judges and counts its answer.
    pub(in crate::load) fn answered(mut self, answer: &Answer<'_>, now: Instant) {
        self.settle(now);
        let (seat, ticket) = (&*self.seat, &self.ticket);
        Counters::bump(&seat.counters.answers);
        let is_right = seat.is_right(ticket, answer);
        if let Some(step) = self.turn.step {
            let step = &mut seat.steps.borrow_mut()[step];
            step.body_bytes += answer.body_bytes;
            if is_right {
                let latency = nanoseconds(now.saturating_duration_since(self.turn.due));
                step.by_outcome[usize::from(ticket.outcome)].saturating_record(latency);
            } else {
                step.wrong += 1;
            }
        }
        if !is_right {
            Counters::bump(&seat.counters.wrong);
            seat.samples.add(|| seat.sample(ticket, judge::got(answer)));
        }
    }

    /// Counts it as one without an answer.
    pub(in crate::load) fn failed(mut self, failure: Failure, why: &str) {
        self.settle(Instant::now());
        self.count(failure, why);
    }

    fn settle(&mut self, now: Instant) {
        self.is_settled = true;
        self.seat.settled.set(now);
        self.seat.open.set(self.seat.open.get() - 1);
    }

    fn count(&self, failure: Failure, why: &str) {
        let seat = &*self.seat;
        Counters::bump(&seat.counters.failures);
        if let Some(step) = self.turn.step {
            seat.steps.borrow_mut()[step].failures[failure as usize] += 1;
        }
        seat.samples
            .add(|| seat.sample(&self.ticket, why.to_owned()));
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        self.settle(Instant::now());
        let seat = &*self.seat;
        match (self.sendings, seat.stopped.get()) {
            (0, None) => seat.unsent.set(seat.unsent.get() + 1),
            // Whoever ends a run early wants no more of it.
            (0, Some(_)) => {}
            _ => self.count(Failure::Abandoned, "no answer until the end of the run"),
        }
    }
}
