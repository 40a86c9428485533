//! What the log is told of generations, and when it is found out.

use super::Follower;
use crate::config::history::{AccessChange, Past};
use crate::config::kept::Kept;
use crate::config::live::State;
use crate::config::waiting::Waiting;
use crate::net::causes;
use std::sync::Arc;
use tokio::runtime::Handle;

impl Follower {
    /// Says how the first generation came to be in force, and finds out what it changed.
    pub(in crate::config::live) fn tell_start(&self, before: Option<Past>, runtime: &Handle) {
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
}

pub(super) fn tell_waiting(waiting: &Waiting, generation: u64) {
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

pub(super) fn tell_access(generation: u64, access: AccessChange) {
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
pub(super) fn learn(state: &State, kept: Option<&Kept>, generation: u64, access: AccessChange) {
    state.status().history.learn(generation, access);
    if let Some(Err(error)) = kept.map(|kept| kept.learn(generation, access)) {
        let error = causes(&error);
        tracing::warn!(error, "what the configuration changed is not kept");
    }
    tell_access(generation, access);
}
