//! Deadlines that cost a request nothing: numbers in cells, swept once a tick.
//!
//! A timer for each request, made and dropped unfired, is work on the request path for something that nearly never
//! happens. Here a connection owns one [`Deadline`] for its whole life; what waits says on whom it waits and how long
//! ([`Deadline::arm`]: two stores). Once a tick the worker's [`Sweeper`] looks at all of them and wakes the tasks whose
//! time is over; the woken task asks [`Deadline::fired`] and acts.
//!
//! Time here is the worker's own: it advances by sweeps, and by at most two ticks for each. A worker that was kept from
//! running does not find, when it wakes, that everyone's time is over; a deadline may come late by the time that the
//! worker lost, and never comes early.
//!
//! Everything in this file lives on one thread.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

/// How often deadlines are looked at: how late one may come.
pub const TICK: Duration = Duration::from_millis(50);

/// On whom something waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// On the client, for the whole head of a request that has begun (or for the first byte of a new connection).
    Head,
    /// On the client, for a next request.
    Idle,
    /// On the client, for more of a request's body.
    RequestBody,
    /// On the client, to take what was written.
    ClientWrite,
    /// On the client, to close after it was told.
    Linger,
    /// On a place among the requests that the upstream takes at one time.
    Queue,
    /// On the upstream, to accept a connection.
    Connect,
    /// On the upstream, for the head of its answer.
    Response,
    /// On the upstream, for more of its answer's body.
    Stream,
    /// On nobody: what was permitted is not permitted any more.
    Revoked,
}

struct Entry {
    /// In milliseconds of the sweeper's time; `u64::MAX`: none.
    due: Cell<u64>,
    wait: Cell<Wait>,
    woken: Cell<bool>,
    /// Fired for good, whatever is armed, until it is renewed.
    revoked: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// One deadline, shared by all that may wait on behalf of one connection. The last one to arm it decides.
#[derive(Clone)]
pub struct Deadline {
    entry: Rc<Entry>,
    clock: Rc<Cell<u64>>,
}

impl Deadline {
    /// From now on `wait` may last this long.
    pub fn arm(&self, wait: Wait, after: Duration) {
        let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let tick = TICK.as_millis() as u64;
        self.entry.wait.set(wait);
        self.entry.woken.set(false);
        self.entry
            .due
            .set(self.clock.get().saturating_add(after).saturating_add(tick));
    }

    /// Nothing is waited for, or not for a limited time.
    pub fn disarm(&self) {
        self.entry.due.set(u64::MAX);
    }

    /// What is being waited for, if anything.
    pub fn waits(&self) -> Option<Wait> {
        (self.entry.due.get() != u64::MAX).then(|| self.entry.wait.get())
    }

    /// What was waited for too long, if anything.
    pub fn fired(&self) -> Option<Wait> {
        if self.entry.revoked.get() {
            return Some(Wait::Revoked);
        }
        (self.entry.due.get() <= self.clock.get()).then(|| self.entry.wait.get())
    }

    /// Fires at once and for good: whoever waits, for whatever, is to give up.
    pub fn revoke(&self) {
        self.entry.revoked.set(true);
        wake(&self.entry);
    }

    /// Begins anew, for a next request: nothing is waited for.
    pub fn renew(&self) {
        self.entry.revoked.set(false);
        self.disarm();
    }

    /// Wakes the task at once: what it waits for may have come.
    pub fn wake(&self) {
        wake(&self.entry);
    }

    /// The task to wake when time is over.
    pub fn wake_by(&self, waker: &Waker) {
        let mut slot = self.entry.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|w| w.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }
}

/// All deadlines of one worker.
#[derive(Clone)]
pub struct Sweeper {
    clock: Rc<Cell<u64>>,
    last: Rc<Cell<Instant>>,
    entries: Rc<RefCell<Vec<Weak<Entry>>>>,
}

impl Sweeper {
    /// A sweeper without deadlines, whose time starts at `now`.
    pub fn new(now: Instant) -> Self {
        Sweeper {
            clock: Rc::new(Cell::new(0)),
            last: Rc::new(Cell::new(now)),
            entries: Rc::default(),
        }
    }

    /// A new deadline, not armed.
    pub fn deadline(&self) -> Deadline {
        let entry = Rc::new(Entry {
            due: Cell::new(u64::MAX),
            wait: Cell::new(Wait::Idle),
            woken: Cell::new(false),
            revoked: Cell::new(false),
            waker: RefCell::new(None),
        });
        self.entries.borrow_mut().push(Rc::downgrade(&entry));
        Deadline {
            entry,
            clock: Rc::clone(&self.clock),
        }
    }

    /// Milliseconds of this worker's own time.
    pub fn now_ms(&self) -> u64 {
        self.clock.get()
    }

    /// Advances time and wakes whoever waited too long.
    pub fn sweep(&self, now: Instant) {
        let passed = now
            .saturating_duration_since(self.last.replace(now))
            .min(2 * TICK);
        self.clock
            .set(self.clock.get() + u64::try_from(passed.as_millis()).unwrap_or(0));
        let clock = self.clock.get();
        self.each(|entry| {
            if entry.due.get() <= clock && !entry.woken.replace(true) {
                wake(entry);
            }
        });
    }

    /// Wakes every task that owns a deadline: something that concerns all of them has changed.
    pub fn wake_all(&self) {
        self.each(wake);
    }

    /// Sweeps once a tick, for ever.
    pub async fn run(&self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.sweep(Instant::now());
        }
    }

    fn each(&self, mut act: impl FnMut(&Entry)) {
        self.entries
            .borrow_mut()
            .retain(|weak| match weak.upgrade() {
                Some(entry) => {
                    act(&entry);
                    true
                }
                None => false,
            });
    }
}

fn wake(entry: &Entry) {
    if let Some(waker) = entry.waker.borrow().as_ref() {
        waker.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_deadline_wakes_its_task_once_and_says_what_was_waited_for() {
        let start = Instant::now();
        let sweeper = Sweeper::new(start);
        let deadline = sweeper.deadline();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        deadline.wake_by(&Waker::from(Arc::clone(&count)));
        deadline.arm(Wait::Head, Duration::from_millis(100));
        for tick in 1..=2 {
            sweeper.sweep(start + TICK * tick);
            assert_eq!(deadline.fired(), None, "tick {tick}");
        }
        sweeper.sweep(start + TICK * 3);
        assert_eq!(deadline.fired(), Some(Wait::Head));
        sweeper.sweep(start + TICK * 4);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        deadline.arm(Wait::Idle, Duration::from_millis(50));
        assert_eq!(deadline.fired(), None);
        deadline.disarm();
        sweeper.sweep(start + TICK * 9);
        assert_eq!((deadline.fired(), deadline.waits()), (None, None));
    }

    #[test]
    fn what_is_revoked_stays_so_whatever_is_armed_until_it_is_renewed() {
        let sweeper = Sweeper::new(Instant::now());
        let deadline = sweeper.deadline();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        deadline.wake_by(&Waker::from(Arc::clone(&count)));
        deadline.arm(Wait::Stream, Duration::from_secs(60));
        deadline.revoke();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        deadline.arm(Wait::Stream, Duration::from_secs(60));
        assert_eq!(deadline.fired(), Some(Wait::Revoked));
        deadline.disarm();
        assert_eq!(deadline.fired(), Some(Wait::Revoked));
        deadline.renew();
        assert_eq!((deadline.fired(), deadline.waits()), (None, None));
    }

    #[test]
    fn a_worker_that_did_not_run_ends_nobody() {
        let start = Instant::now();
        let sweeper = Sweeper::new(start);
        let deadline = sweeper.deadline();
        deadline.arm(Wait::Response, Duration::from_secs(1));
        sweeper.sweep(start + Duration::from_secs(3600));
        assert_eq!(deadline.fired(), None);
    }

    #[test]
    fn a_dropped_deadline_is_forgotten() {
        let start = Instant::now();
        let sweeper = Sweeper::new(start);
        drop(sweeper.deadline());
        sweeper.sweep(start);
        assert_eq!(sweeper.entries.borrow().len(), 0);
    }
}
