//! A worker: one thread, one runtime, its own connections, pools and counters.

use super::accept::Accepted;
use super::connection::{self, Drain};
use crate::config::{Cold, Snapshot};
use crate::deadline::Sweeper;
use crate::gateway::{
    Context, Decision, LOOK_EVERY, Report, ShadowReport, Shared, WantedDecisions, stack,
};
use crate::keycache::Keys;
use arc_swap::ArcSwap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::{Notify, mpsc, oneshot};

/// How many messages may wait for a worker.
const QUEUE: usize = 1024;

enum Message {
    Connection(Accepted),
    Report(oneshot::Sender<Report>),
    Decisions(WantedDecisions, oneshot::Sender<Vec<Decision>>),
    Shadow(oneshot::Sender<Option<ShadowReport>>),
    Leave,
    Drain,
    Stop,
}

/// The control side of a worker.
pub(super) struct Worker {
    messages: mpsc::Sender<Message>,
    open: Arc<AtomicUsize>,
    thread: std::sync::Mutex<Option<thread::JoinHandle<()>>>,
}

impl Worker {
    pub(super) fn start(
        number: usize,
        cold: &Arc<Cold>,
        keys: &Keys,
        snapshots: Arc<ArcSwap<Snapshot>>,
        shared: &Arc<Shared>,
        ended: &Arc<Notify>,
    ) -> io::Result<Self> {
        let (messages, inbox) = mpsc::channel(QUEUE);
        let open = Arc::new(AtomicUsize::new(0));
        let seat = Seat {
            cold: Arc::clone(cold),
            keys: keys.clone(),
            snapshots,
            shared: Arc::clone(shared),
            open: Arc::clone(&open),
            ended: Arc::clone(ended),
        };
        // A local runtime stays on the thread that made it; whether it could be made is heard from there.
        let (made, is_made) = std::sync::mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || match new_runtime() {
                Ok(runtime) => {
                    let _ = made.send(Ok(()));
                    runtime.block_on(seat.work(inbox));
                }
                Err(error) => {
                    let _ = made.send(Err(error));
                }
            })?;
        is_made.recv().map_err(io::Error::other)??;
        Ok(Worker {
            messages,
            open,
            thread: std::sync::Mutex::new(Some(thread)),
        })
    }

    /// Connections that it has, those on their way to it included.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether it takes connections. One whose thread died has none open and would else be given every new one.
    pub(super) fn is_alive(&self) -> bool {
        !self.messages.is_closed()
    }

    /// Hands it a connection.
    pub(super) async fn take(&self, accepted: Accepted) {
        self.open.fetch_add(1, Ordering::Relaxed);
        let message = Message::Connection(accepted);
        if self.messages.send(message).await.is_err() {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// What it has counted; `None` when it has ended.
    pub(super) async fn report(&self) -> Option<Report> {
        let (answer, answered) = oneshot::channel();
        self.messages.send(Message::Report(answer)).await.ok()?;
        answered.await.ok()
    }

    /// The refusals that are wanted; none when it has ended.
    pub(super) async fn decisions(&self, wanted: WantedDecisions) -> Vec<Decision> {
        let (answer, answered) = oneshot::channel();
        let asked = self.messages.send(Message::Decisions(wanted, answer)).await;
        match asked {
            Ok(()) => answered.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// What it has counted of the shadow policy; `None` when there is none, or it has ended.
    pub(super) async fn shadow_report(&self) -> Option<ShadowReport> {
        let (answer, answered) = oneshot::channel();
        self.messages.send(Message::Shadow(answer)).await.ok()?;
        answered.await.ok()?
    }

    /// Asks it to send its clients elsewhere, each with its next answer.
    pub(super) async fn leave(&self) {
        let _ = self.messages.send(Message::Leave).await;
    }

    /// Asks it to end its connections as soon as they can be ended.
    pub(super) async fn drain(&self) {
        let _ = self.messages.send(Message::Drain).await;
    }

    /// Ends it, and whatever it still does.
    pub(super) async fn stop(&self) {
        let _ = self.messages.send(Message::Stop).await;
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

fn new_runtime() -> io::Result<LocalRuntime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
}

/// What a worker's thread begins with.
struct Seat {
    cold: Arc<Cold>,
    keys: Keys,
    snapshots: Arc<ArcSwap<Snapshot>>,
    shared: Arc<Shared>,
    open: Arc<AtomicUsize>,
    ended: Arc<Notify>,
}

/// Counts a connection that a worker has, until it ends.
struct Held {
    open: Arc<AtomicUsize>,
    ended: Arc<Notify>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.ended.notify_one();
    }
}

impl Seat {
    async fn work(self, mut inbox: mpsc::Receiver<Message>) {
        let sweeper = Sweeper::new(Instant::now());
        let context = Rc::new(Context::new(
            self.cold,
            self.keys,
            self.snapshots,
            self.shared,
            sweeper.clone(),
        ));
        let drain = Drain::default();
        let line = stack();
        // These end with the runtime.
        tokio::task::spawn_local(async move { sweeper.run().await });
        let tidied = Rc::clone(&context);
        tokio::task::spawn_local(async move {
            let mut seconds = tokio::time::interval(Duration::from_secs(1));
            loop {
                seconds.tick().await;
                tidied.tidy();
            }
        });
        let watching = Rc::clone(&context);
        tokio::task::spawn_local(async move {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                watching.look_again();
                watching.flush_access_lines();
            }
        });
        let counting = Rc::clone(&context);
        tokio::task::spawn_local(async move { counting.fold_counters().await });
        while let Some(message) = inbox.recv().await {
            match message {
                Message::Connection(accepted) => {
                    let held = Held {
                        open: Arc::clone(&self.open),
                        ended: Arc::clone(&self.ended),
                    };
                    let (context, drain, line) = (Rc::clone(&context), drain.clone(), line.clone());
                    tokio::task::spawn_local(async move {
                        let _held = held;
                        connection::serve(context, accepted, drain, line).await;
                    });
                }
                Message::Report(answer) => {
                    let open = self.open.load(Ordering::Relaxed);
                    let _ = answer.send(context.report(open as u64));
                }
                Message::Decisions(wanted, answer) => {
                    let _ = answer.send(context.decisions(&wanted));
                }
                Message::Shadow(answer) => {
                    let _ = answer.send(context.shadow_report());
                }
                Message::Leave => {
                    context.leave();
                    drain.leave();
                    context.sweeper().wake_all();
                }
                Message::Drain => {
                    context.leave();
                    drain.begin();
                    context.sweeper().wake_all();
                }
                Message::Stop => return,
            }
        }
    }
}
