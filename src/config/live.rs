//! The snapshot in force, kept equal to the files.
//!
//! The watcher is a hint, the files are the truth. One task looks at the files after each hint and four times a second:
//! path, device, inode, size, times, through links. When a look differs from the last one, the task waits until two
//! looks 150 ms apart agree, reads everything off the async threads, and looks once more, so that what was read is what
//! was seen. What then differs in content and holds together becomes the next generation, swapped in whole; what does
//! not leaves the last good one in force, with the reason in the log and in [`Live::status`].
//!
//! Cold settings stay as they were at the start; a change to one is said to be waiting, once. A generation that was
//! replaced is dropped here, when no worker holds it any more: workers never pay for it.

use super::hints::Hints;
use super::history::{AccessChange, History, Past, Trigger};
use super::load::{self, Loaded, Mark, Reading};
use super::problem::Severity;
use super::secret::Secrets;
use super::settings::{Cold, Snapshot};
use super::{FileSet, Look};
use crate::clock::Timestamp;
use arc_swap::ArcSwap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// How often the files are looked at without a hint.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long hints are collected before the files are looked at, so that a busy folder costs little.
const COLLECT: Duration = Duration::from_millis(20);
/// How long the files must look the same before they are read.
const SETTLE: Duration = Duration::from_millis(150);

/// Keeps a configuration in force and current. Owns its task; [`Live::stop`] or dropping it ends that.
pub struct Live {
    shared: Arc<ArcSwap<Snapshot>>,
    state: Arc<State>,
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
    /// Why the files as they are now are not in force, if they are not.
    pub last_error: Option<String>,
    /// When files were last read because they had changed, or because someone asked.
    pub last_attempt: Option<Timestamp>,
    /// Generations in memory: the one in force, and replaced ones that someone still holds.
    pub generations_held: usize,
    /// Cold settings whose change waits for a restart.
    pub waiting: Vec<String>,
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
    /// Someone wants the files read, changed or not.
    ask: Notify,
}

impl State {
    fn status(&self) -> std::sync::MutexGuard<'_, ReloadStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    /// Puts a configuration in force as generation 1 and follows its files on the given runtime.
    pub fn start(main_file: &Path, loaded: Loaded, runtime: &Handle) -> Arc<Live> {
        let Loaded {
            cold,
            hot,
            hash,
            files,
            mark,
            ..
        } = loaded;
        let loaded_at = Timestamp::now();
        let mut history = History::default();
        history.push(Past {
            generation: 1,
            hash: hash.clone(),
            loaded_at,
            trigger: Trigger::Start,
            routes: hot.policy.routes().len(),
            access: None,
        });
        let shared = Arc::new(ArcSwap::from_pointee(Snapshot {
            generation: 1,
            hash: hash.clone(),
            loaded_at,
            hot,
        }));
        let state = Arc::new(State {
            status: Mutex::new(ReloadStatus {
                generation: 1,
                hash,
                loaded_at,
                accepted: 0,
                refused: 0,
                last_error: None,
                last_attempt: None,
                generations_held: 1,
                waiting: Vec::new(),
                history,
            }),
            judged: watch::Sender::new((0, 1)),
            hint: Arc::default(),
            ask: Notify::new(),
        });
        let (stop, stopped) = watch::channel(false);
        let follower = Follower {
            main_file: main_file.to_owned(),
            cold,
            shared: Arc::clone(&shared),
            state: Arc::clone(&state),
            files,
            seen: None,
            judged: mark,
            in_force: mark,
            retired: Vec::new(),
            watcher: Hints::new(&state.hint),
            stopped,
        };
        let task = runtime.spawn(follower.follow());
        Arc::new(Live {
            shared,
            state,
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

    /// Asks for the files to be read now, changed or not (SIGHUP).
    pub fn reload(&self) {
        self.state.ask.notify_one();
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

/// The task.
struct Follower {
    main_file: PathBuf,
    /// As it was at the start.
    cold: Cold,
    shared: Arc<ArcSwap<Snapshot>>,
    state: Arc<State>,
    files: FileSet,
    /// The look that was last read; `None` before the first, so that nothing written since the start is missed.
    seen: Option<Look>,
    /// What was last judged, good or bad.
    judged: Mark,
    /// What is in force.
    in_force: Mark,
    retired: Vec<Arc<Snapshot>>,
    watcher: Hints,
    stopped: watch::Receiver<bool>,
}

/// Why the task woke.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wake {
    Look,
    Hint,
    Asked,
    Stop,
}

impl Follower {
    async fn follow(mut self) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let state = Arc::clone(&self.state);
        loop {
            let wake = tokio::select! {
                biased;
                _ = self.stopped.wait_for(|stopped| *stopped) => Wake::Stop,
                () = state.ask.notified() => Wake::Asked,
                () = state.hint.notified() => Wake::Hint,
                _ = tick.tick() => Wake::Look,
            };
            self.drop_retired();
            if wake == Wake::Stop {
                return;
            }
            if wake == Wake::Hint {
                tokio::time::sleep(COLLECT).await;
            }
            let Some(look) = self.look().await else {
                return;
            };
            if wake != Wake::Asked && self.seen.as_ref() == Some(&look) {
                continue;
            }
            let Some(reading) = self.settled_reading(look).await else {
                return;
            };
            self.judge(reading, wake);
        }
    }

    /// Drops the replaced generations that nobody holds any more.
    fn drop_retired(&mut self) {
        self.retired.retain(|old| Arc::strong_count(old) > 1);
        self.state.status().generations_held = 1 + self.retired.len();
    }

    /// What the files look like. `None` when the runtime ends.
    async fn look(&mut self) -> Option<Look> {
        let files = self.files.clone();
        let mut hints = std::mem::take(&mut self.watcher);
        let looked = tokio::task::spawn_blocking(move || {
            hints.follow(&files);
            (files.look(), hints)
        });
        let (look, hints) = looked.await.ok()?;
        self.watcher = hints;
        Some(look)
    }

    /// Reads when the files hold still, until what was read is what was seen. `None` when it is time to stop.
    async fn settled_reading(&mut self, mut look: Look) -> Option<Reading> {
        loop {
            tokio::select! {
                biased;
                _ = self.stopped.wait_for(|stopped| *stopped) => return None,
                () = tokio::time::sleep(SETTLE) => {}
            }
            let again = self.look().await?;
            if again != look {
                look = again;
                continue;
            }
            let main_file = self.main_file.clone();
            let reading =
                tokio::task::spawn_blocking(move || load::read(&main_file, Secrets::Required))
                    .await
                    .ok()?;
            let same_files = reading.files == self.files;
            self.files = reading.files.clone();
            let after = self.look().await?;
            if same_files && after == look {
                self.seen = Some(after);
                return Some(reading);
            }
            // The set of files is another one now, or one was written while it was read.
            look = after;
        }
    }

    fn judge(&mut self, reading: Reading, wake: Wake) {
        let Reading { mark, outcome, .. } = reading;
        let news = mark != self.judged;
        let now = Timestamp::now();
        if news || wake == Wake::Asked {
            self.state.status().last_attempt = Some(now);
        }
        if news {
            match outcome {
                Ok(loaded) if mark == self.in_force => self.returned(&loaded),
                Ok(loaded) => self.accept(loaded, now, wake),
                Err(problems) => {
                    tracing::error!(
                        generation = self.state.status().generation,
                        "the configuration was changed and is refused; the last good one stays in force\n{problems}"
                    );
                    let mut status = self.state.status();
                    status.refused += 1;
                    status.last_error = Some(problems.to_string());
                }
            }
            self.judged = mark;
        } else if wake == Wake::Asked {
            tracing::info!("asked to reload: the configuration's files are unchanged");
        }
        let generation = self.state.status().generation;
        self.state
            .judged
            .send_modify(|(count, g)| (*count, *g) = (*count + 1, generation));
    }

    /// The files hold again what is in force.
    fn returned(&mut self, loaded: &Loaded) {
        tracing::info!("the configuration's files hold again what is in force");
        self.state.status().last_error = None;
        self.note_waiting(&loaded.cold);
    }

    fn accept(&mut self, loaded: Loaded, now: Timestamp, wake: Wake) {
        for problem in &loaded.warnings {
            match problem.severity {
                Severity::Note => tracing::info!("{problem}"),
                Severity::Warning | Severity::Error => tracing::warn!("{problem}"),
            }
        }
        self.note_waiting(&loaded.cold);
        let generation = self.state.status().generation + 1;
        let mut hot = loaded.hot;
        hot.keep_sessions(&self.shared.load().hot);
        let next = Arc::new(Snapshot {
            generation,
            hash: loaded.hash.clone(),
            loaded_at: now,
            hot,
        });
        let trigger = if wake == Wake::Asked {
            Trigger::Asked
        } else {
            Trigger::Files
        };
        let past = Past {
            generation,
            hash: loaded.hash.clone(),
            loaded_at: now,
            trigger,
            routes: next.hot.policy.routes().len(),
            access: None,
        };
        let old = self.shared.swap(Arc::clone(&next));
        self.retired.push(Arc::clone(&old));
        self.in_force = loaded.mark;
        self.note_accepted(past);
        let trigger = trigger.as_str();
        tracing::info!(generation, trigger, "the changed configuration is in force");
        // In force already: what it changed may take a moment to find out, and nothing waits for it.
        let state = Arc::clone(&self.state);
        tokio::task::spawn_blocking(move || {
            let access = AccessChange::between(&old.hot, &next.hot);
            state.status().history.learn(generation, access);
            tracing::info!(
                generation,
                access = access.as_str(),
                widened = access.widened,
                narrowed = access.narrowed,
                rerouted = access.rerouted,
                "what the configuration changed"
            );
        });
    }

    /// The status of a generation that is in force now.
    fn note_accepted(&self, past: Past) {
        let mut status = self.state.status();
        status.generation = past.generation;
        status.hash.clone_from(&past.hash);
        status.loaded_at = past.loaded_at;
        status.accepted += 1;
        status.generations_held = 1 + self.retired.len();
        status.last_error = None;
        status.history.push(past);
    }

    /// Says which cold settings differ from those at the start, where that was not said yet.
    fn note_waiting(&self, cold: &Cold) {
        let waiting = differences(&self.cold, cold);
        let mut status = self.state.status();
        if !waiting.is_empty() && status.waiting != waiting {
            tracing::warn!(
                fields = waiting.join(", "),
                "changes to these settings wait for a restart"
            );
        }
        status.waiting = waiting;
    }
}

/// The cold settings that differ, by name.
fn differences(now: &Cold, new: &Cold) -> Vec<String> {
    // Taken apart, so that a new field cannot be forgotten here.
    let Cold {
        listen,
        workers,
        dumpable,
        trusted_proxies,
        forwarded,
        underscores,
        handover,
        admin,
        keys,
    } = now;
    [
        ("server.listen", *listen != new.listen),
        ("server.workers", *workers != new.workers),
        ("server.dumpable", *dumpable != new.dumpable),
        (
            "server.trusted_proxies",
            *trusted_proxies != new.trusted_proxies,
        ),
        ("server.forwarded", *forwarded != new.forwarded),
        ("server.underscores", *underscores != new.underscores),
        ("server.handover", *handover != new.handover),
        ("admin.listen", admin.listen != new.admin.listen),
        ("keys.header", keys.header != new.keys.header),
        ("keys.store", keys.store != new.keys.store),
        ("keys.secret", keys.secret != new.keys.secret),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(name, _)| name.to_owned())
    .collect()
}
