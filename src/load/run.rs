//! A run: threads that connect, begin at one instant, and come back with what they counted.

use super::counters::{Counters, Counts, Samples};
use super::plan::{LoadError, Plan};
use super::progress::Progress;
use super::report::{Report, Totals};
use super::tally::StepTally;
use super::worker::{Done, Worker};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// How often the display changes.
const TICK: Duration = Duration::from_millis(200);

/// Whether what happens is shown while it happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Display {
    /// On standard error, one line written over and over.
    Live,
    /// On standard error, a line now and then.
    Lines,
    None,
}

/// What a thread says to the one that started it.
pub(super) enum Said {
    /// All its connections are there.
    Ready,
    Failed(LoadError),
    Done(Box<Done>),
}

/// What the threads are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    Wait,
    Begin(Instant),
    Stop,
}

/// Counters and samples that the live display and the threads share for as long as any of them lives.
pub(super) struct Shared {
    pub(super) counters: Vec<Counters>,
    pub(super) samples: Samples,
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
    let mut progress = Progress::new(&plan, display);
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
            _ = ticks.tick(), if display != Display::None => {
                progress.show(start.elapsed(), Counts::of(&shared.counters));
            }
        }
    }
    progress.clear();
    let ended = done.iter().map(|one| one.ended).max();
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
    Ok(Report::new(
        &plan,
        &steps.unwrap_or_default(),
        Totals {
            ran: ended.map_or(Duration::ZERO, |ended| {
                ended.saturating_duration_since(start)
            }),
            is_interrupted,
            unsent,
            counts: Counts::of(&shared.counters),
            samples: shared.samples.take(),
            threads,
        },
    ))
}
