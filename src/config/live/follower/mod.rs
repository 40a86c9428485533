//! The task that keeps the snapshot in force equal to the files.
//!
//! When a look at the files differs from the last one, it waits until two looks 150 ms apart agree, reads everything off
//! the async threads, and looks once more, so that what was read is what was seen. An edit, walked through:
//! [`Follower::settled_reading`] gives what the files hold; [`Follower::judge`] finds that it is valid and that nothing
//! speaks against it; [`Follower::accept`] writes it to the folder of kept generations, swaps the snapshot and says so;
//! and what it changed is found out afterwards, while it is in force, unless that had to be known before.
//!
//! Here is the task: what wakes it, and how files are read that may be moving. What comes of them is decided in `judge` and
//! done in `accept`; the way back is `rollback`; what the log hears is in `tell`.

mod accept;
mod judge;
mod rollback;
mod tell;

use super::ask::{Answer, Ask, Asked, Order};
use super::{ASKS, State};
use crate::config::hash::WholeHash;
use crate::config::hints::Hints;
use crate::config::kept::Kept;
use crate::config::load::{self, Mark, Reading};
use crate::config::secret::Secrets;
use crate::config::settings::{Cold, Snapshot};
use crate::config::texts::Texts;
use crate::config::{FileSet, Look};
use arc_swap::ArcSwap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;

/// How often the files are looked at without a hint.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long hints are collected before the files are looked at, so that a busy folder costs little.
const COLLECT: Duration = Duration::from_millis(20);
/// How long the files must look the same before they are read.
const SETTLE: Duration = Duration::from_millis(150);
/// How long someone who asks waits for files that keep changing.
const UNSETTLED: Duration = Duration::from_secs(5);

/// The task.
pub(super) struct Follower {
    pub(super) main_file: PathBuf,
    /// As it was at the start.
    pub(super) cold: Cold,
    pub(super) shared: Arc<ArcSwap<Snapshot>>,
    pub(super) state: Arc<State>,
    pub(super) ordered: mpsc::Receiver<Order>,
    pub(super) files: FileSet,
    /// The look that was last read; `None` before the first, so that nothing written since the start is missed.
    pub(super) seen: Option<Look>,
    /// What was last judged, good or bad; `None` where the files were not read yet.
    pub(super) judged: Option<Mark>,
    pub(super) in_force: InForce,
    /// Where accepted generations are kept; `None`: nowhere.
    pub(super) kept: Option<Arc<Kept>>,
    /// The last generation that was kept when the process began.
    pub(super) known: Option<u64>,
    /// Whether what is in force is to be kept once the gateway serves.
    pub(super) unkept: bool,
    pub(super) retired: Vec<Arc<Snapshot>>,
    pub(super) watcher: Hints,
    pub(super) stopped: watch::Receiver<bool>,
}

/// What the snapshot in force was read from.
pub(super) struct InForce {
    pub(super) mark: Mark,
    pub(super) texts: Texts,
}

/// Why the task woke.
enum Wake {
    Look,
    Hint,
    /// SIGHUP.
    Read,
    Ordered(Order),
    Stop,
}

/// Who wants the files judged.
enum By {
    /// They changed.
    Files,
    /// SIGHUP.
    Signal,
    Operator {
        confirm: Option<WholeHash>,
    },
}

/// What a generation is made of.
#[derive(Clone, Copy)]
enum Of {
    /// The files, or what an operator wants in their place: what was said of them is settled.
    Files,
    /// What is in force, with other secrets: what is said of the files stays.
    Held,
}

/// For how long files that keep changing are waited for.
enum Haste {
    /// Until there is an order.
    OrdersFirst,
    Until(Instant),
}

/// The runtime ends, or it is time to stop.
struct End;

impl Follower {
    pub(super) async fn follow(mut self) {
        if self.kept.is_some() && !self.wait_until_it_serves().await {
            return;
        }
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let state = Arc::clone(&self.state);
        loop {
            let wake = tokio::select! {
                biased;
                _ = self.stopped.wait_for(|stopped| *stopped) => Wake::Stop,
                order = self.ordered.recv() => order.map_or(Wake::Stop, Wake::Ordered),
                () = state.read.notified() => Wake::Read,
                () = state.hint.notified() => Wake::Hint,
                _ = tick.tick() => Wake::Look,
            };
            self.drop_retired();
            let turn = match wake {
                Wake::Stop => return,
                Wake::Ordered(Order::Serves(kept)) => {
                    let done = self.keep_first().await;
                    let _ = kept.send(());
                    done
                }
                Wake::Ordered(Order::Asked(asked)) => self.obey(asked).await,
                Wake::Read => self.read_files(By::Signal).await.map(drop),
                Wake::Look => self.look_for_changes().await,
                Wake::Hint => {
                    tokio::time::sleep(COLLECT).await;
                    self.look_for_changes().await
                }
            };
            if turn.is_err() {
                return;
            }
        }
    }

    /// Until the gateway serves nothing is accepted: a start that fails changes nothing of what was. Whether it came to that.
    async fn wait_until_it_serves(&mut self) -> bool {
        // The admin listener may be asked already: no more wait than may stand in the queue.
        let mut early = Vec::new();
        let kept = loop {
            let order = tokio::select! {
                biased;
                _ = self.stopped.wait_for(|stopped| *stopped) => return false,
                order = self.ordered.recv() => order,
            };
            match order {
                Some(Order::Serves(kept)) => break kept,
                Some(Order::Asked(asked)) if early.len() < ASKS => early.push(asked),
                // Whom nobody answers hears that the gateway does not do it now.
                Some(Order::Asked(_)) => {}
                None => return false,
            }
        };
        let done = self.keep_first().await;
        let _ = kept.send(());
        for asked in early {
            if self.obey(asked).await.is_err() {
                return false;
            }
        }
        done.is_ok()
    }

    /// Drops the replaced generations that nobody holds any more.
    fn drop_retired(&mut self) {
        self.retired.retain(|old| Arc::strong_count(old) > 1);
        self.state.status().generations_held = 1 + self.retired.len();
    }

    async fn look_for_changes(&mut self) -> Result<(), End> {
        let look = self.look().await?;
        if self.seen.as_ref() == Some(&look) {
            return Ok(());
        }
        match self.settled_reading(look, Haste::OrdersFirst).await? {
            Some(reading) => self.judge(reading, By::Files).await.map(drop),
            None => Ok(()),
        }
    }

    async fn read_files(&mut self, by: By) -> Result<Answer, End> {
        let look = self.look().await?;
        let haste = Haste::Until(Instant::now() + UNSETTLED);
        match self.settled_reading(look, haste).await? {
            Some(reading) => self.judge(reading, by).await,
            None => Ok(Answer::Unsettled),
        }
    }

    async fn obey(&mut self, asked: Asked) -> Result<(), End> {
        if asked.answer.is_closed() {
            // Who asked has gone, and has told so: nothing happens behind their back.
            return Ok(());
        }
        let answer = match asked.ask {
            Ask::Reload { confirm } => self.read_files(By::Operator { confirm }).await?,
            Ask::Rollback { to, confirm } => self.roll_back(to, confirm).await?,
        };
        // Who asked may have gone.
        let _ = asked.answer.send(answer);
        Ok(())
    }

    /// What the files look like.
    async fn look(&mut self) -> Result<Look, End> {
        let files = self.files.clone();
        let mut hints = std::mem::take(&mut self.watcher);
        let looked = spawn_blocking(move || {
            hints.follow(&files);
            (files.look(), hints)
        });
        let (look, hints) = looked.await.map_err(|_| End)?;
        self.watcher = hints;
        Ok(look)
    }

    /// Reads when the files hold still, until what was read is what was seen; `None` where they do not, and something
    /// else is to be done first.
    async fn settled_reading(
        &mut self,
        mut look: Look,
        haste: Haste,
    ) -> Result<Option<Reading>, End> {
        loop {
            let enough = match haste {
                Haste::OrdersFirst => !self.ordered.is_empty(),
                Haste::Until(time) => Instant::now() > time,
            };
            if enough {
                return Ok(None);
            }
            tokio::select! {
                biased;
                _ = self.stopped.wait_for(|stopped| *stopped) => return Err(End),
                () = tokio::time::sleep(SETTLE) => {}
            }
            let again = self.look().await?;
            if again != look {
                look = again;
                continue;
            }
            let main_file = self.main_file.clone();
            let reading = spawn_blocking(move || load::read(&main_file, Secrets::Required));
            let reading = reading.await.map_err(|_| End)?;
            let files = reading.files.clone();
            let files = match self.is_held() {
                // What is in force takes its certificates and secrets from there.
                true => files.with_secrets_of(&self.files),
                false => files,
            };
            let same_files = files == self.files;
            self.files = files;
            let after = self.look().await?;
            if same_files && after == look {
                self.seen = Some(after);
                return Ok(Some(reading));
            }
            // The set of files is another one now, or one was written while it was read.
            look = after;
        }
    }

    /// Whether what is in force is not meant to be what the files hold.
    fn is_held(&self) -> bool {
        let status = self.state.status();
        status.pinned || status.unconfirmed.is_some()
    }
}
