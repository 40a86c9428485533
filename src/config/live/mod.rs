//! The snapshot in force, kept equal to the files.
//!
//! The watcher is a hint, the files are the truth. One task, the [`follower`], looks at the files after each hint and four
//! times a second. What differs in content and holds together becomes the next generation, swapped in whole; what does
//! not leaves the last good one in force, with the reason in the log and in [`Live::status`].
//!
//! Two things keep good files from being in force. Where `reload.widening = "confirm"` is, what has to be confirmed
//! ([`Waiting`]) waits for [`Ask::Reload`] with its hash. And a generation that an operator went back to is pinned: it stays until
//! [`Ask::Reload`], whatever the files hold. What it takes from elsewhere, secrets and certificates, is followed all the
//! while.
//!
//! Cold settings stay as they were at the start; a change to one is said to be waiting, once. A generation that was
//! replaced is dropped by the follower, when no worker holds it any more: workers never pay for it.

mod ask;
mod follower;

use super::hints::Hints;
use super::history::History;
use super::load::Loaded;
use super::settings::{Snapshot, Widening};
use super::start::Start;
use super::waiting::Waiting;
use crate::clock::Timestamp;
use arc_swap::ArcSwap;
pub use ask::{Answer, Ask, Stopped};
use ask::{Asked, Order};
use follower::Follower;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// How many may wait for an answer.
const ASKS: usize = 16;

/// Keeps a configuration in force and current. Owns its task; [`Live::stop`] or dropping it ends that.
pub struct Live {
    shared: Arc<ArcSwap<Snapshot>>,
    state: Arc<State>,
    orders: mpsc::Sender<Order>,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What became of the files' last changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReloadStatus {
    /// The generation in force, counted from 1.
    pub generation: u64,
    /// Of its files, in hexadecimal.
    pub hash: String,
    pub loaded_at: Timestamp,
    /// Reloads that became a generation; the one at the start is not counted.
    pub accepted: u64,
    /// Reloads that were refused.
    pub refused: u64,
    /// Why the files as they are now are not in force, if they are not valid.
    pub last_error: Option<String>,
    /// When files were last read because they had changed, or because someone asked.
    pub last_attempt: Option<Timestamp>,
    /// Generations in memory: the one in force, and replaced ones that someone still holds.
    pub generations_held: usize,
    /// Cold settings whose change waits for a restart.
    pub waiting: Vec<String>,
    /// What happens to a change that lets someone do more.
    pub widening: Widening,
    /// The files, where they wait to be confirmed.
    pub unconfirmed: Option<Waiting>,
    /// Whether the generation in force stays until an operator asks for the files.
    pub pinned: bool,
    /// Why the generation in force is not kept on disk, if it is not.
    pub kept_error: Option<String>,
    /// The last generations.
    pub history: History,
}

/// What the task and its owner share.
struct State {
    status: Mutex<ReloadStatus>,
    /// Ticks after each reading that was judged: (readings judged, generation).
    judged: watch::Sender<(u64, u64)>,
    /// The system says that files may have changed.
    hint: Arc<Notify>,
    /// Someone wants the files read, changed or not (SIGHUP).
    read: Notify,
}

impl State {
    fn status(&self) -> std::sync::MutexGuard<'_, ReloadStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    /// Puts a configuration in force and follows its files on the given runtime.
    pub fn start(main_file: &Path, start: Start, runtime: &Handle) -> Arc<Live> {
        let Start {
            loaded,
            history,
            pinned,
            waiting,
            files_error,
            kept,
            kept_error,
            before,
            known,
            is_new,
        } = start;
        let Loaded {
            cold,
            hot,
            hash,
            files,
            texts,
            mark,
            ..
        } = loaded;
        let last = history.last();
        let generation = last.map_or(1, |past| past.generation);
        let loaded_at = last.map_or_else(Timestamp::now, |past| past.loaded_at);
        let widening = hot.widening;
        // Where the files are not what is in force, they are news to the task.
        let follows_files = waiting.is_none() && !pinned;
        let shared = Arc::new(ArcSwap::from_pointee(Snapshot {
            generation,
            hash: hash.clone(),
            loaded_at,
            // Counts are of this process.
            shadow_since: Timestamp::now(),
            hot,
        }));
        let state = Arc::new(State {
            status: Mutex::new(ReloadStatus {
                generation,
                hash,
                loaded_at,
                accepted: 0,
                refused: 0,
                last_error: files_error,
                last_attempt: None,
                generations_held: 1,
                waiting: Vec::new(),
                widening,
                unconfirmed: waiting,
                pinned,
                kept_error,
                history,
            }),
            judged: watch::Sender::new((0, generation)),
            hint: Arc::default(),
            read: Notify::new(),
        });
        let (stop, stopped) = watch::channel(false);
        let (orders, ordered) = mpsc::channel(ASKS);
        let follower = Follower {
            main_file: main_file.to_owned(),
            cold,
            shared: Arc::clone(&shared),
            state: Arc::clone(&state),
            ordered,
            files,
            seen: None,
            judged: follows_files.then_some(mark),
            in_force: follower::InForce { mark, texts },
            kept,
            known,
            unkept: is_new,
            retired: Vec::new(),
            watcher: Hints::new(&state.hint),
            stopped,
        };
        follower.tell_start(before, runtime);
        let task = runtime.spawn(follower.follow());
        Arc::new(Live {
            shared,
            state,
            orders,
            stop,
            task: Mutex::new(Some(task)),
        })
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.load_full()
    }

    /// Where the snapshot in force is found, for workers to cache.
    pub fn shared(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.shared)
    }

    /// Asks for the files to be read now, changed or not (SIGHUP). It neither confirms anything nor lifts a pin: what
    /// renews certificates sends it, too.
    pub fn reload(&self) {
        self.state.read.notify_one();
    }

    /// The gateway serves now: what it began with is kept as what was accepted last. A start that fails changes nothing
    /// of what was.
    pub async fn serves(&self) {
        let (kept, done) = oneshot::channel();
        // Without the task there is nothing to be kept any more.
        if self.orders.send(Order::Serves(kept)).await.is_ok() {
            let _ = done.await;
        }
    }

    /// Does what an operator asks, and says what became of it.
    ///
    /// # Errors
    /// When the gateway stops.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, Stopped> {
        let (answer, answered) = oneshot::channel();
        let order = Order::Asked(Asked { ask, answer });
        self.orders.send(order).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }

    /// What became of the files' last changes.
    pub fn status(&self) -> ReloadStatus {
        self.state.status().clone()
    }

    /// Ticks after each reading: how many were judged, and which generation is in force.
    pub fn judged(&self) -> watch::Receiver<(u64, u64)> {
        self.state.judged.subscribe()
    }

    /// Ends the task, and waits for its end.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task
            && let Err(error) = task.await
            && error.is_panic()
        {
            tracing::error!("the task that follows the configuration panicked");
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
