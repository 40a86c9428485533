//! The task that keeps the snapshot in force equal to the files.
//!
//! When a look at the files differs from the last one, it waits until two looks 150 ms apart agree, reads everything off
//! the async threads, and looks once more, so that what was read is what was seen. An edit, walked through:
//! [`Follower::settled_reading`] gives what the files hold; [`Follower::judge`] finds that it is valid and that nothing
//! speaks against it; [`Follower::accept`] writes it to the folder of kept generations, swaps the snapshot and says so;
//! and what it changed is found out afterwards, while it is in force, unless that had to be known before.

use super::ask::{Answer, Ask, Asked, Order};
use super::{ASKS, State};
use crate::clock::Timestamp;
use crate::config::hash::{Wanted, WholeHash};
use crate::config::hints::Hints;
use crate::config::history::{AccessChange, Past, Trigger};
use crate::config::kept::{Kept, UnreadableError};
use crate::config::load::{self, Loaded, Mark, Reading};
use crate::config::problem::{Problems, Severity};
use crate::config::secret::Secrets;
use crate::config::settings::{Cold, Snapshot, Widening};
use crate::config::texts::Texts;
use crate::config::waiting::{Waiting, differences};
use crate::config::{FileSet, Look};
use crate::net::causes;
use arc_swap::ArcSwap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
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
    /// Says how the first generation came to be in force, and finds out what it changed.
    pub(super) fn tell_start(&self, before: Option<Past>, runtime: &Handle) {
        let status = self.state.status().clone();
        let generation = status.generation;
        if let Some(error) = &status.kept_error {
            tracing::error!(
                error,
                "the configuration is not kept, so it cannot be gone back to"
            );
        }
        if status.pinned {
            tracing::warn!(
                generation,
                hash = status.hash,
                "a generation that was gone back to is pinned; `keygate reload` puts the files in force"
            );
        }
        if let Some(error) = &status.last_error {
            tracing::error!("the files cannot be used\n{error}");
        }
        if let Some(waiting) = &status.unconfirmed {
            tell_waiting(waiting, generation);
        }
        let (Some(before), Some(kept)) = (before, self.kept.clone()) else {
            return;
        };
        let (state, main_file) = (Arc::clone(&self.state), self.main_file.clone());
        let new = self.shared.load_full();
        // Nothing waits for it.
        runtime.spawn_blocking(move || {
            // What cannot be read any more cannot be compared with either.
            if let Ok(old) = kept.load(&main_file, &before) {
                let access = AccessChange::between(&old.hot, &new.hot);
                learn(&state, Some(&kept), generation, access);
            }
        });
    }

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

    /// Decides what becomes of what the files hold.
    async fn judge(&mut self, reading: Reading, by: By) -> Result<Answer, End> {
        let Reading { mark, outcome, .. } = reading;
        let news = self.judged != Some(mark);
        let now = Timestamp::now();
        if news || !matches!(by, By::Files) {
            self.state.status().last_attempt = Some(now);
        }
        let answer = match outcome {
            Err(problems) => self.refuse(&problems, news),
            Ok(loaded) => match &by {
                By::Operator {
                    confirm: Some(confirm),
                } if !confirm.is(&loaded.hash) => Answer::OtherHash { hash: loaded.hash },
                _ if mark == self.in_force.mark => self.returned(&loaded, news, &by).await,
                _ => self.admit(loaded, now, news, by).await?,
            },
        };
        if let Answer::OtherHash { .. } = answer {
            // It was not decided about: as if it had not been read.
            self.seen = None;
        } else {
            self.judged = Some(mark);
        }
        if self.is_held() {
            self.refresh(now).await?;
        }
        let generation = self.state.status().generation;
        self.state
            .judged
            .send_modify(|(count, g)| (*count, *g) = (*count + 1, generation));
        Ok(answer)
    }

    fn refuse(&self, problems: &Problems, news: bool) -> Answer {
        let mut status = self.state.status();
        if news {
            tracing::error!(
                generation = status.generation,
                "the configuration was changed and is refused; the last good one stays in force\n{problems}"
            );
            status.refused += 1;
            status.last_error = Some(problems.to_string());
            status.unconfirmed = None;
        }
        Answer::Refused(problems.to_string())
    }

    /// The files hold what is in force.
    async fn returned(&self, loaded: &Loaded, news: bool, by: &By) -> Answer {
        if matches!(by, By::Operator { .. }) {
            self.unpin().await;
        }
        if news {
            tracing::info!("the configuration's files hold again what is in force");
        } else if !matches!(by, By::Files) {
            tracing::info!("asked to reload: the configuration's files are unchanged");
        }
        {
            let mut status = self.state.status();
            status.last_error = None;
            status.unconfirmed = None;
        }
        self.note_waiting(&loaded.cold);
        Answer::Unchanged
    }

    /// Puts valid files in force, unless something speaks against it.
    async fn admit(
        &mut self,
        loaded: Loaded,
        now: Timestamp,
        news: bool,
        by: By,
    ) -> Result<Answer, End> {
        let (trigger, confirm) = match by {
            By::Files => (Trigger::Files, None),
            By::Signal => (Trigger::Asked, None),
            By::Operator { confirm: None } => (Trigger::Reload, None),
            By::Operator { confirm } => (Trigger::Confirmed, confirm),
        };
        let by_operator = matches!(trigger, Trigger::Reload | Trigger::Confirmed);
        if self.state.status().pinned && !by_operator {
            if news || trigger == Trigger::Asked {
                let mut status = self.state.status();
                status.last_error = None;
                tracing::warn!(
                    generation = status.generation,
                    hash = loaded.hash,
                    "the files hold something else; the pinned generation stays in force until `keygate reload`"
                );
            }
            return Ok(Answer::Unchanged);
        }
        let widening = self.shared.load().hot.widening;
        if widening == Widening::Allow && !by_operator {
            // What it changed is found out when it is in force.
            return self.accept(loaded, now, trigger, None).await;
        }
        let (access, loaded) = self.compare(loaded).await?;
        let waiting = match (widening, confirm) {
            (Widening::Allow, _) | (Widening::Confirm, Some(_)) => None,
            (Widening::Confirm, None) => self.waiting(&loaded, access, now),
        };
        match waiting {
            Some(waiting) => Ok(self.wait(waiting, &loaded, news, by_operator).await),
            None => self.accept(loaded, now, trigger, Some(access)).await,
        }
    }

    /// What has to be confirmed of a configuration.
    fn waiting(&self, loaded: &Loaded, access: AccessChange, now: Timestamp) -> Option<Waiting> {
        let in_force = self.shared.load();
        Waiting::of((&self.cold, &in_force.hot), loaded, access, now)
    }

    /// What a configuration would change of what is in force.
    async fn compare(&self, loaded: Loaded) -> Result<(AccessChange, Loaded), End> {
        let old = self.shared.load_full();
        let compared =
            spawn_blocking(move || (AccessChange::between(&old.hot, &loaded.hot), loaded));
        compared.await.map_err(|_| End)
    }

    /// Has the files wait to be confirmed.
    async fn wait(&self, mut waiting: Waiting, loaded: &Loaded, news: bool, unpin: bool) -> Answer {
        if unpin {
            self.unpin().await;
        }
        let generation = self.state.status().generation;
        if news {
            tell_waiting(&waiting, generation);
        }
        {
            let mut status = self.state.status();
            status.last_error = None;
            match &status.unconfirmed {
                Some(known) if known.hash == waiting.hash => waiting.since = known.since,
                _ => {}
            }
            status.unconfirmed = Some(waiting.clone());
        }
        self.note_waiting(&loaded.cold);
        Answer::Waiting(waiting)
    }

    /// Goes back to an earlier generation, which then stays.
    async fn roll_back(
        &mut self,
        to: Option<Wanted>,
        confirm: Option<WholeHash>,
    ) -> Result<Answer, End> {
        let Some(kept) = self.kept.clone() else {
            return Ok(Answer::NotKept("no generations are kept".to_owned()));
        };
        let past = match self.past(to) {
            Ok(past) => past,
            Err(why) => return Ok(Answer::NotKept(why)),
        };
        let main_file = self.main_file.clone();
        if let Some(confirm) = &confirm
            && !confirm.is(&past.hash)
        {
            return Ok(Answer::OtherHash { hash: past.hash });
        }
        let loaded = spawn_blocking(move || {
            kept.load(&main_file, &past).map_err(|error| match error {
                UnreadableError::Config(problems) => Answer::Refused(problems.to_string()),
                error => Answer::NotKept(causes(&error)),
            })
        });
        let loaded = match loaded.await.map_err(|_| End)? {
            Ok(loaded) => loaded,
            Err(answer) => return Ok(answer),
        };
        let now = Timestamp::now();
        let (access, loaded) = self.compare(loaded).await?;
        let widening = self.shared.load().hot.widening;
        if widening == Widening::Confirm
            && confirm.is_none()
            && let Some(waiting) = self.waiting(&loaded, access, now)
        {
            return Ok(Answer::Waiting(waiting));
        }
        let files = self.files.clone();
        self.files = files.with_secrets_of(&loaded.files);
        // The files are judged again, against this one, and what is wrong with them is said again.
        self.seen = None;
        self.judged = None;
        self.accept(loaded, now, Trigger::Rollback, Some(access))
            .await
    }

    /// The generation that is meant.
    fn past(&self, to: Option<Wanted>) -> Result<Past, String> {
        let status = self.state.status();
        let mut known: Vec<&Past> = status.history.iter().collect();
        known.reverse();
        let found = match &to {
            None => known[original(&known)..]
                .iter()
                .find(|past| past.hash != status.hash),
            Some(Wanted::Number(number)) => known.iter().find(|past| past.generation == *number),
            Some(Wanted::Hash(hash)) => known.iter().find(|past| hash.is_of(&past.hash)),
        };
        match (found, to) {
            (Some(past), _) => Ok((*past).clone()),
            (None, Some(wanted)) => Err(format!(
                "there is no generation {wanted}; `keygate history` shows those that there are"
            )),
            (None, None) => Err("there is no other generation to go back to".to_owned()),
        }
    }

    /// Reads what is in force anew where the files are not to be: its secrets and certificates may have changed.
    async fn refresh(&mut self, now: Timestamp) -> Result<(), End> {
        let (main_file, texts) = (self.main_file.clone(), self.in_force.texts.clone());
        let loaded = spawn_blocking(move || {
            let loaded = load::load_kept(&main_file, &texts, Secrets::Required);
            loaded.map(|loaded| (loaded.texts == texts, loaded))
        });
        let loaded = loaded.await.map_err(|_| End)?;
        if let Ok((_, loaded)) = &loaded {
            let files = self.files.clone();
            self.files = files.with_secrets_of(&loaded.files);
        }
        match loaded {
            Ok((_, loaded)) if loaded.mark == self.in_force.mark => {}
            Ok((false, _)) => {
                tracing::error!(
                    "what is in force cannot be read again as it was: its secrets are not followed"
                );
            }
            Ok((true, loaded)) => {
                let pinned = self.state.status().pinned;
                let how = (Trigger::Files, pinned, Of::Held);
                self.replace(loaded, now, how, None).await?;
            }
            Err(problems) => tracing::error!(
                "what the generation in force takes its secrets from has changed and cannot be used\n{problems}"
            ),
        }
        Ok(())
    }

    async fn accept(
        &mut self,
        loaded: Loaded,
        now: Timestamp,
        trigger: Trigger,
        access: Option<AccessChange>,
    ) -> Result<Answer, End> {
        for problem in &loaded.warnings {
            match problem.severity {
                Severity::Note => tracing::info!("{problem}"),
                Severity::Warning | Severity::Error => tracing::warn!("{problem}"),
            }
        }
        self.note_waiting(&loaded.cold);
        let pinned = trigger == Trigger::Rollback;
        let refused = self
            .replace(loaded, now, (trigger, pinned, Of::Files), access)
            .await?;
        Ok(refused.map_or(Answer::Accepted, Answer::NotKept))
    }

    /// Puts a configuration in force as the next generation; or says why it cannot be kept, where what is in force wants
    /// confirmations, which need that.
    async fn replace(
        &mut self,
        loaded: Loaded,
        now: Timestamp,
        (trigger, pinned, of): (Trigger, bool, Of),
        access: Option<AccessChange>,
    ) -> Result<Option<String>, End> {
        let generation = self.state.status().generation + 1;
        let mut past = Past::of(generation, &loaded, trigger, now);
        past.access = access;
        let kept_error = self.keep(&past, &loaded.texts, pinned).await?;
        let guarded = self.shared.load().hot.widening == Widening::Confirm;
        if let (Some(error), true, Of::Files) = (&kept_error, guarded, of) {
            // A restart would compare with what was accepted before this one.
            self.state.status().kept_error = Some(error.clone());
            return Ok(Some(error.clone()));
        }
        self.unkept = false;
        let mut hot = loaded.hot;
        let before = self.shared.load_full();
        hot.keep_sessions(&before.hot);
        let shadow_since = match hot.keep_shadow(&before.hot) {
            true => before.shadow_since,
            false => now,
        };
        drop(before);
        let next = Arc::new(Snapshot {
            generation,
            hash: loaded.hash.clone(),
            loaded_at: now,
            shadow_since,
            hot,
        });
        let old = self.shared.swap(Arc::clone(&next));
        self.retired.push(Arc::clone(&old));
        self.in_force = InForce {
            mark: loaded.mark,
            texts: loaded.texts,
        };
        self.note_accepted(past, pinned, kept_error, of);
        tracing::info!(
            generation,
            hash = next.hash,
            trigger = trigger.as_str(),
            "the changed configuration is in force"
        );
        let (state, kept) = (Arc::clone(&self.state), self.kept.clone());
        match access {
            Some(access) => tell_access(generation, access),
            // In force already: what it changed may take a moment to find out, and nothing waits for it.
            None => drop(spawn_blocking(move || {
                let access = AccessChange::between(&old.hot, &next.hot);
                learn(&state, kept.as_deref(), generation, access);
            })),
        }
        Ok(None)
    }

    /// Keeps what the gateway began with; unless the process whose place it took has accepted something since, which then
    /// is in force here too, and pinned if it was.
    async fn keep_first(&mut self) -> Result<(), End> {
        let Some(kept) = self.kept.clone() else {
            return Ok(());
        };
        let (known, main_file) = (self.known, self.main_file.clone());
        let hash = self.state.status().hash.clone();
        let newer = spawn_blocking(move || {
            let index = kept.index().ok()?;
            let last = index.accepted.last()?;
            if Some(last.generation) == known || last.hash == hash && !index.pinned {
                return None;
            }
            let loaded = kept.load(&main_file, last).ok()?;
            Some((last.generation, index.pinned, loaded))
        });
        if let Some((generation, pinned, loaded)) = newer.await.map_err(|_| End)? {
            tracing::warn!(
                generation,
                pinned,
                "the process before this one accepted a generation meanwhile, which is in force"
            );
            let now = Timestamp::now();
            let trigger = match pinned {
                true => Trigger::Rollback,
                false => Trigger::Start,
            };
            let files = self.files.clone();
            self.files = files.with_secrets_of(&loaded.files);
            self.replace(loaded, now, (trigger, pinned, Of::Files), None)
                .await?;
            (self.seen, self.judged) = (None, None);
            return Ok(());
        }
        let last = self.state.status().history.last().cloned();
        if let (true, Some(past)) = (std::mem::take(&mut self.unkept), last) {
            let error = self.keep(&past, &self.in_force.texts, false).await?;
            self.state.status().kept_error = error;
        }
        Ok(())
    }

    /// Writes a generation to the disk; what went wrong, if something did.
    async fn keep(&self, past: &Past, texts: &Texts, pinned: bool) -> Result<Option<String>, End> {
        let Some(kept) = self.kept.clone() else {
            return Ok(None);
        };
        let (past, texts) = (past.clone(), texts.clone());
        let written = spawn_blocking(move || kept.accept(&past, &texts, pinned));
        let error = written.await.map_err(|_| End)?.err();
        Ok(error.map(|error| {
            let error = causes(&error);
            tracing::error!(error, "the configuration is not kept: a restart does not know of it, and it cannot be gone back to");
            error
        }))
    }

    async fn unpin(&self) {
        if !std::mem::take(&mut self.state.status().pinned) {
            return;
        }
        let Some(kept) = self.kept.clone() else {
            return;
        };
        let written = spawn_blocking(move || kept.unpin()).await;
        if let Ok(Err(error)) = written {
            let error = causes(&error);
            tracing::error!(
                error,
                "the pin is lifted, but a restart does not know of it"
            );
            self.state.status().kept_error = Some(error);
        }
    }

    /// The status of a generation that is in force now.
    fn note_accepted(&self, past: Past, pinned: bool, kept_error: Option<String>, of: Of) {
        let mut status = self.state.status();
        match of {
            Of::Files => (status.last_error, status.unconfirmed) = (None, None),
            Of::Held => {}
        }
        status.generation = past.generation;
        status.hash.clone_from(&past.hash);
        status.loaded_at = past.loaded_at;
        status.accepted += 1;
        status.generations_held = 1 + self.retired.len();
        status.widening = past.widening;
        status.pinned = pinned;
        status.kept_error = kept_error;
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
        status.waiting = waiting.into_iter().map(str::to_owned).collect();
    }
}

/// Where among generations, the newest first, the one in force was edited: it itself, or what it went back to.
fn original(newest_first: &[&Past]) -> usize {
    let mut at = 0;
    while let Some(past) = newest_first
        .get(at)
        .filter(|p| p.trigger == Trigger::Rollback)
    {
        let older = newest_first[at + 1..].iter();
        match older.clone().position(|older| older.hash == past.hash) {
            Some(distance) => at += 1 + distance,
            None => break,
        }
    }
    at
}

fn tell_waiting(waiting: &Waiting, generation: u64) {
    let AccessChange {
        widened,
        narrowed,
        rerouted,
        ..
    } = waiting.access;
    tracing::warn!(
        generation,
        hash = waiting.hash,
        access = waiting.access.as_str(),
        widened,
        narrowed,
        rerouted,
        why = waiting.reasons(),
        "the configuration was changed and waits: `keygate diff` shows what it would change, `keygate reload --confirm HASH` puts it in force"
    );
}

fn tell_access(generation: u64, access: AccessChange) {
    tracing::info!(
        generation,
        access = access.as_str(),
        widened = access.widened,
        narrowed = access.narrowed,
        rerouted = access.rerouted,
        "what the configuration changed"
    );
}

/// Adds what a generation changed to all that tells of it.
fn learn(state: &State, kept: Option<&Kept>, generation: u64, access: AccessChange) {
    state.status().history.learn(generation, access);
    if let Some(Err(error)) = kept.map(|kept| kept.learn(generation, access)) {
        let error = causes(&error);
        tracing::warn!(error, "what the configuration changed is not kept");
    }
    tell_access(generation, access);
}
