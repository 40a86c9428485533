//! Gives out the requests of an open loop when they are due.
//!
//! One pacing task a thread puts a permit into a semaphore for each request that has become due; connections with nothing
//! to do wait there, first come, first served. A connection that finds a permit without waiting sends late, and the
//! latency of that request counts from when it was due.
//!
//! tokio's timers know milliseconds, in which a fast rate has many requests; the system's know nanoseconds.

use super::schedule::Schedule;
use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Requests that are due sooner than this are sent now: to sleep for less costs more than it gives.
const GRAIN: Duration = Duration::from_micros(5);

/// How often it is looked, after the end, whether all that was late is sent.
const LATE_LOOK: Duration = Duration::from_millis(1);

/// The requests of one thread of several: of all requests of a run every so manyth is its own.
pub(super) struct Pacer {
    schedule: Arc<Schedule>,
    start: Instant,
    threads: u64,
    thread: u64,
    due: Semaphore,
    taken: Cell<u64>,
    released: Cell<u64>,
}

/// A request that is to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) at: Instant,
    /// Whether it had to wait for a connection.
    pub(super) queued: bool,
}

impl Pacer {
    pub(super) fn new(
        schedule: Arc<Schedule>,
        start: Instant,
        threads: usize,
        thread: usize,
    ) -> Self {
        Pacer {
            schedule,
            start,
            threads: threads as u64,
            thread: thread as u64,
            due: Semaphore::new(0),
            taken: Cell::new(0),
            released: Cell::new(0),
        }
    }

    fn due_at(&self, own: u64) -> Option<Instant> {
        let seconds = self.schedule.due(own * self.threads + self.thread)?;
        Some(self.start + Duration::from_secs_f64(seconds))
    }

    /// Waits for a request that is due; whether there was one already. `None` at the end.
    pub(super) async fn ready(&self) -> Option<bool> {
        let queued = self.due.available_permits() > 0;
        self.due.acquire().await.ok()?.forget();
        Some(queued)
    }

    /// The request that is ready.
    pub(super) fn take(&self, queued: bool) -> Option<Due> {
        let number = self.taken.get();
        let at = self.due_at(number)?;
        self.taken.set(number + 1);
        Some(Due { at, queued })
    }

    /// Releases requests until the last one, then sends who waits away: at the end, or once what was late by then is
    /// sent, at `latest`.
    ///
    /// # Errors
    /// When the system gives no timer.
    pub(super) async fn pace(&self, latest: Instant) -> io::Result<()> {
        let timer = timer::Timer::new()?;
        while let Some(at) = self.due_at(self.released.get()) {
            let now = Instant::now();
            if at > now + GRAIN {
                timer.sleep(at - now).await?;
            }
            let ready = self.release(Instant::now() + GRAIN);
            self.due.add_permits(ready);
            tokio::task::yield_now().await;
        }
        let mut until = self.start + Duration::from_secs_f64(self.schedule.ends());
        loop {
            tokio::time::sleep_until(until.into()).await;
            until = Instant::now() + LATE_LOOK;
            if self.taken.get() == self.released.get() || until > latest {
                break;
            }
        }
        self.stop();
        Ok(())
    }

    /// Counts what is due by then as released; how many that are.
    fn release(&self, by: Instant) -> usize {
        let mut ready = 0;
        while self.due_at(self.released.get()).is_some_and(|at| at <= by) {
            self.released.set(self.released.get() + 1);
            ready += 1;
        }
        ready
    }

    /// Gives out nothing more.
    pub(super) fn stop(&self) {
        self.due.close();
    }

    /// How many requests were due by then, of at most so many, and were not taken.
    pub(super) fn untaken(&self, by: Instant, most: u64) -> u64 {
        self.release(by);
        // Where a run was ended early, some that were due later than this may have been taken.
        self.released
            .get()
            .min(most)
            .saturating_sub(self.taken.get())
    }
}

#[cfg(target_os = "linux")]
mod timer {
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// A timer of the kernel's own resolution.
    pub(super) struct Timer(AsyncFd<OwnedFd>);

    impl Timer {
        pub(super) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            #[expect(
                deprecated,
                reason = "sound for an `OwnedFd`, which is one descriptor for all its life; its successor is unsafe"
            )]
            AsyncFd::with_interest(fd, Interest::READABLE).map(Timer)
        }

        pub(super) async fn sleep(&self, time: Duration) -> io::Result<()> {
            let never = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let once = Itimerspec {
                it_interval: never,
                it_value: Timespec {
                    tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
                    // 0 would switch the timer off.
                    tv_nsec: time.subsec_nanos().max(1).into(),
                },
            };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            let mut count = [0; 8];
            let read = |fd: &OwnedFd| rustix::io::read(fd, &mut count).map_err(io::Error::from);
            self.0.async_io(Interest::READABLE, read).await.map(drop)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod timer {
    use std::io;
    use std::time::Duration;

    /// tokio's timer, in milliseconds: sends in bursts at fast rates.
    pub(super) struct Timer;

    impl Timer {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Timer)
        }

        pub(super) async fn sleep(&self, time: Duration) -> io::Result<()> {
            tokio::time::sleep(time).await;
            Ok(())
        }
    }
}
