//! A configuration that nothing speaks against: kept on disk, swapped in, told.

use super::tell::{learn, tell_access};
use super::{End, Follower, InForce, Of};
use crate::clock::Timestamp;
use crate::config::history::{AccessChange, Past, Trigger};
use crate::config::live::ask::Answer;
use crate::config::load::Loaded;
use crate::config::problem::Severity;
use crate::config::settings::{Cold, Snapshot, Widening};
use crate::config::texts::Texts;
use crate::config::waiting::differences;
use crate::net::causes;
use std::sync::Arc;
use tokio::task::spawn_blocking;

impl Follower {
    pub(super) async fn accept(
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
    pub(super) async fn replace(
        &mut self,
        loaded: Loaded,
        now: Timestamp,
        (trigger, pinned, of): (Trigger, bool, Of),
        access: Option<AccessChange>,
    ) -> Result<Option<String>, End> {
        if *self.stopped.borrow() {
            // A successor may have looked already what was accepted last.
            return Err(End);
        }
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
    pub(super) async fn keep_first(&mut self) -> Result<(), End> {
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

    pub(super) async fn unpin(&self) {
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
    pub(super) fn note_waiting(&self, cold: &Cold) {
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
