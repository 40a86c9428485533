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

    /// The next request, when it is due; `None` at the end.
    pub(super) async fn next(&self) -> Option<Due> {
        let queued = self.due.available_permits() > 0;
        self.due.acquire().await.ok()?.forget();
        let number = self.taken.get();
        self.taken.set(number + 1);
        self.due_at(number).map(|at| Due { at, queued })
    }

    /// Releases requests until the last one, then sends who waits away.
    ///
    /// # Errors
    /// When the system gives no timer.
    pub(super) async fn pace(&self) -> io::Result<()> {
        let timer = timer::Timer::new()?;
        while let Some(at) = self.due_at(self.released.get()) {
            let mut now = Instant::now();
            if at > now + GRAIN {
                timer.sleep(at - now).await?;
                now = Instant::now();
            }
            let mut ready = 0;
            while self
                .due_at(self.released.get())
                .is_some_and(|at| at <= now + GRAIN)
            {
                self.released.set(self.released.get() + 1);
                ready += 1;
            }
            self.due.add_permits(ready);
            tokio::task::yield_now().await;
        }
        // Whoever still holds a permit is served; then there is nothing to wait for.
        let end = self.start + Duration::from_secs_f64(self.schedule.ends());
        tokio::time::sleep_until(end.into()).await;
        self.stop();
        Ok(())
    }

    /// Gives out nothing more.
    pub(super) fn stop(&self) {
        self.due.close();
    }

    /// How many requests were due and found no connection before the end.
    pub(super) fn unsent(&self) -> u64 {
        self.released.get() - self.taken.get()
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
