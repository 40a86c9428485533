//! A run: threads that connect, begin at one instant, and come back with what they counted.

use super::connect::Dialer;
use super::http1::Connection;
use super::http2;
use super::machine;
use super::pacer::Pacer;
use super::plan::{LoadError, Plan, Protocol};
use super::progress::Progress;
use super::report::{Report, Thread};
use super::seat::{Counters, Samples, Seat};
use super::source::Source;
use super::tally::StepTally;
use crate::tls::Stream;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// How many connections of a thread are made at once before the run.
const DIALS: usize = 64;
/// How long requests under way are waited for when a run is ended early.
const GRACE: Duration = Duration::from_secs(1);
/// How often the display changes.
const TICK: Duration = Duration::from_millis(200);

/// Whether what happens is shown while it happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Display {
    /// On standard error.
    Live,
    None,
}

/// What a thread says to the one that started it.
enum Said {
    /// All its connections are there.
    Ready,
    Failed(LoadError),
    Done(Box<Done>),
}

struct Done {
    steps: Vec<StepTally>,
    unsent: u64,
    thread: Thread,
}

/// What the threads are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Wait,
    Begin(Instant),
    Stop,
}

/// Counters and samples that the live display and the threads share for as long as any of them lives.
struct Shared {
    counters: Vec<Counters>,
    samples: Samples,
}

/// Carries a plan out. Ends early, with what was measured so far, when `interrupted` comes true.
///
/// # Errors
/// When the target cannot be reached before the run, or a thread cannot be started.
pub async fn run(
    plan: Plan,
    display: Display,
    interrupted: impl Future<Output = ()>,
) -> Result<Report, LoadError> {
    let plan = Arc::new(plan);
    let counters = (0..plan.threads).map(|_| Counters::default());
    // Lives as long as the process, so that the threads can share it without counting: there is one run in a process.
    let shared: &'static Shared = Box::leak(Box::new(Shared {
        counters: counters.collect(),
        samples: Samples::default(),
    }));
    let (orders, order) = watch::channel(Order::Wait);
    let (saying, mut said) = mpsc::channel(plan.threads * 2);
    let first_mark = RandomState::new().hash_one("marks");
    for number in 0..plan.threads {
        let worker = Worker {
            plan: Arc::clone(&plan),
            shared,
            number,
            first_mark: first_mark.wrapping_add((number as u64) << 48),
        };
        let (saying, order) = (saying.clone(), order.clone());
        thread::Builder::new()
            .name(format!("load-{number}"))
            .spawn(move || worker.work(&saying, order))
            .map_err(LoadError::Thread)?;
    }
    drop(saying);
    tokio::pin!(interrupted);
    let mut is_interrupted = false;
    for _ in 0..plan.threads {
        tokio::select! {
            said = said.recv() => match said {
                Some(Said::Ready) => {}
                Some(Said::Failed(error)) => return Err(error),
                Some(Said::Done(_)) | None => return Err(LoadError::Died),
            },
            () = &mut interrupted, if !is_interrupted => {
                is_interrupted = true;
                break;
            }
        }
    }
    let start = Instant::now();
    let _ = orders.send(if is_interrupted {
        Order::Stop
    } else {
        Order::Begin(start)
    });
    let progress = match display {
        Display::Live => Some(Progress::new(&plan)),
        Display::None => None,
    };
    let mut ticks = tokio::time::interval(TICK);
    let mut done: Vec<Done> = Vec::new();
    while done.len() < plan.threads {
        tokio::select! {
            said = said.recv() => match said {
                Some(Said::Done(one)) => done.push(*one),
                Some(Said::Ready) => {}
                Some(Said::Failed(error)) => return Err(error),
                None => return Err(LoadError::Died),
            },
            () = &mut interrupted, if !is_interrupted => {
                is_interrupted = true;
                let _ = orders.send(Order::Stop);
            }
            _ = ticks.tick(), if progress.is_some() => {
                if let Some(progress) = &progress {
                    progress.show(start.elapsed(), &shared.counters);
                }
            }
        }
    }
    let ran = start.elapsed();
    if let Some(progress) = progress {
        progress.clear();
    }
    let mut steps: Option<Vec<StepTally>> = None;
    let (mut threads, mut unsent) = (Vec::new(), 0);
    for one in done {
        threads.push(one.thread);
        unsent += one.unsent;
        match &mut steps {
            None => steps = Some(one.steps),
            Some(all) => all
                .iter_mut()
                .zip(&one.steps)
                .for_each(|(all, one)| all.add(one)),
        }
    }
    threads.sort_by_key(|thread| thread.number);
    let counted = |count: fn(&Counters) -> u64| shared.counters.iter().map(count).sum();
    Ok(Report::new(
        &plan,
        &steps.unwrap_or_default(),
        super::report::Totals {
            ran,
            is_interrupted,
            unsent,
            wrong: counted(|c| c.wrong.load(std::sync::atomic::Ordering::Relaxed)),
            failures: counted(|c| c.failures.load(std::sync::atomic::Ordering::Relaxed)),
            answers: counted(|c| c.answers.load(std::sync::atomic::Ordering::Relaxed)),
            samples: shared.samples.take(),
            threads,
        },
    ))
}

/// One thread.
struct Worker {
    plan: Arc<Plan>,
    shared: &'static Shared,
    number: usize,
    first_mark: u64,
}

impl Worker {
    fn work(self, saying: &mpsc::Sender<Said>, order: watch::Receiver<Order>) {
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
        let mut tasks = JoinSet::new();
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
                    Protocol::Http1 => Connection::new(stream).run(&seat, &dialer).await,
                    Protocol::Http2 { streams } => {
                        http2::run(stream, streams.get(), seat, dialer).await;
                    }
                }
            });
        }
        let pacing = Rc::clone(&seat);
        let pacing = tokio::task::spawn_local(async move {
            match pacing.pacer() {
                Some(pacer) => pacer.pace().await,
                None => Ok(()),
            }
        });
        let clock = tokio::task::spawn_local(measured_cpu(
            start + Duration::from_secs_f64(measured_from(plan)),
        ));
        let all_done = async { while tasks.join_next().await.is_some() {} };
        let stopped = async {
            // Without a sender nobody stops it.
            if order.wait_for(|order| *order == Order::Stop).await.is_err() {
                std::future::pending::<()>().await;
            }
            seat.stop();
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            () = all_done => {}
            () = stopped => {}
        }
        let cpu_now = machine::thread_cpu();
        let now = Instant::now();
        tasks.shutdown().await;
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

    fn seat(&self, start: Instant) -> Seat<'static> {
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
