//! One thread of a run: makes its connections, has them send, and comes back with what it counted.

use super::connect::Dialer;
use super::http1::Connection;
use super::http2;
use super::machine;
use super::pacer::Pacer;
use super::plan::{LoadError, Plan, Protocol};
use super::report::Thread;
use super::run::{Order, Said, Shared};
use super::seat::Seat;
use super::source::Source;
use super::tally::StepTally;
use crate::tls::Stream;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// How many connections of a thread are made at once before the run.
const DIALS: usize = 64;
/// How long requests under way are waited for at most when a run is ended early.
const EARLY_GRACE: Duration = Duration::from_secs(1);
/// How long connections stay open after the last answer, to see whether more comes than was asked for.
const LINGER: Duration = Duration::from_millis(50);

/// What a thread comes back with.
pub(super) struct Done {
    pub(super) steps: Vec<StepTally>,
    pub(super) unsent: u64,
    pub(super) thread: Thread,
    pub(super) ended: Instant,
}

/// One thread.
pub(super) struct Worker {
    pub(super) plan: Arc<Plan>,
    pub(super) shared: &'static Shared,
    pub(super) number: usize,
    pub(super) first_mark: u64,
}

impl Worker {
    pub(super) fn work(self, saying: &mpsc::Sender<Said>, order: watch::Receiver<Order>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default());
        let said = match runtime {
            Ok(runtime) => runtime.block_on(self.run(saying, order)),
            Err(error) => Err(LoadError::Thread(error)),
        };
        let said = match said {
            Ok(done) => Said::Done(Box::new(done)),
            Err(error) => Said::Failed(error),
        };
        // Whoever no longer listens has ended the run.
        let _ = saying.blocking_send(said);
    }

    async fn run(
        &self,
        saying: &mpsc::Sender<Said>,
        mut order: watch::Receiver<Order>,
    ) -> Result<Done, LoadError> {
        let plan = &*self.plan;
        let dialer = Rc::new(plan.dialer());
        let streams = self.connect(&dialer).await?;
        let _ = saying.send(Said::Ready).await;
        let begun = order.wait_for(|order| *order != Order::Wait).await;
        let start = match begun.map(|order| *order) {
            Ok(Order::Begin(start)) => start,
            Ok(Order::Stop | Order::Wait) | Err(_) => Instant::now(),
        };
        let is_stopped = *order.borrow() == Order::Stop;
        let seat = Rc::new(self.seat(start));
        if is_stopped {
            seat.stop();
        }
        let mut tasks: JoinSet<Option<Connection>> = JoinSet::new();
        for (at, stream) in streams.into_iter().enumerate() {
            // In a closed loop a ramp lets connections begin one by one.
            let begins = match plan.is_open {
                true => start,
                false => {
                    let at = at * plan.threads + self.number;
                    start + plan.ramp.mul_f64(at as f64 / plan.connections as f64)
                }
            };
            let (seat, dialer) = (Rc::clone(&seat), Rc::clone(&dialer));
            let protocol = plan.protocol;
            tasks.spawn_local(async move {
                if begins > Instant::now() {
                    tokio::time::sleep_until(begins.into()).await;
                }
                match protocol {
                    Protocol::Http1 => Some(Connection::new(stream).run(&seat, &dialer).await),
                    Protocol::Http2 { streams } => {
                        http2::run(stream, streams.get(), seat, dialer).await;
                        None
                    }
                }
            });
        }
        let pacing = Rc::clone(&seat);
        let pacing = tokio::task::spawn_local(async move { pacing.pace().await });
        let clock = tokio::task::spawn_local(measured_cpu(
            start + Duration::from_secs_f64(measured_from(plan)),
        ));
        let mut idle = Vec::new();
        let all_done = async {
            while let Some(done) = tasks.join_next().await {
                idle.extend(done.ok().flatten());
            }
        };
        // Past it nothing is sent; what is owed then is waited for so long.
        let grace_over = tokio::time::sleep_until((seat.latest() + plan.grace).into());
        let stopped = async {
            // Without a sender nobody stops it.
            if order.wait_for(|order| *order == Order::Stop).await.is_err() {
                std::future::pending::<()>().await;
            }
            seat.stop();
            tokio::time::sleep(plan.grace.min(EARLY_GRACE)).await;
        };
        tokio::select! {
            () = all_done => {}
            () = grace_over => {}
            () = stopped => {}
        }
        let cpu_now = machine::thread_cpu();
        let now = Instant::now();
        tasks.shutdown().await;
        // The lanes of a connection are tasks of their own, which end in the runtime's next turns.
        while seat.open() > 0 {
            tokio::task::yield_now().await;
        }
        if !idle.is_empty() {
            tokio::time::sleep(LINGER).await;
        }
        for connection in idle {
            connection.finish(&seat).await;
        }
        if pacing.is_finished() {
            if let Ok(Err(error)) = pacing.await {
                return Err(LoadError::Thread(error));
            }
        } else {
            pacing.abort();
            let _ = pacing.await;
        }
        let (since, cpu_then) = match clock.is_finished() {
            true => clock.await.unwrap_or((now, cpu_now)),
            false => {
                clock.abort();
                (now, cpu_now)
            }
        };
        let time = now.saturating_duration_since(since).as_secs_f64();
        let cpu = cpu_now.saturating_sub(cpu_then).as_secs_f64();
        let (steps, unsent) = seat.take_counts();
        Ok(Done {
            ended: seat.ended_early().unwrap_or(now),
            steps,
            unsent,
            thread: Thread {
                number: self.number,
                cpu_seconds: cpu,
                cpu_share: if time > 0.0 {
                    (cpu / time).min(1.0)
                } else {
                    0.0
                },
            },
        })
    }

    fn seat(&self, start: Instant) -> Seat {
        let plan = &*self.plan;
        let (threads, number) = (plan.threads as u64, self.number as u64);
        let share = |all: u64| all / threads + u64::from(number < all % threads);
        let seed = plan
            .seed
            .wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let pacer = plan
            .is_open
            .then(|| Pacer::new(Arc::clone(&plan.schedule), start, plan.threads, self.number));
        Seat::new(
            Source::new(Arc::clone(&plan.stuff), seed, self.first_mark),
            pacer,
            (&plan.schedule, start),
            plan.requests.map(share),
            plan.timeout,
            (&self.shared.counters[self.number], &self.shared.samples),
        )
    }

    /// Makes this thread's share of the connections.
    async fn connect(&self, dialer: &Rc<Dialer>) -> Result<Vec<Stream>, LoadError> {
        let plan = &*self.plan;
        let mine = plan.connections / plan.threads
            + usize::from(self.number < plan.connections % plan.threads);
        let unreachable = |error| LoadError::Connect(plan.target.to_string(), error);
        let mut dials: JoinSet<io::Result<Stream>> = JoinSet::new();
        let mut streams = Vec::with_capacity(mine);
        let mut begun = 0;
        while streams.len() < mine {
            while begun < mine && dials.len() < DIALS {
                let dialer = Rc::clone(dialer);
                dials.spawn_local(async move { dialer.dial().await });
                begun += 1;
            }
            match dials.join_next().await {
                Some(Ok(dialled)) => streams.push(dialled.map_err(unreachable)?),
                Some(Err(_)) | None => return Err(LoadError::Died),
            }
        }
        Ok(streams)
    }
}

/// When measuring begins, in seconds since the start.
fn measured_from(plan: &Plan) -> f64 {
    let phases = plan.schedule.phases();
    let first = phases.iter().find(|phase| phase.step.is_some());
    first.map_or(0.0, |phase| phase.begins)
}

/// What this thread's processor time was at this instant.
async fn measured_cpu(at: Instant) -> (Instant, Duration) {
    if at > Instant::now() {
        tokio::time::sleep_until(at.into()).await;
    }
    (Instant::now(), machine::thread_cpu())
}
