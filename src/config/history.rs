//! What was in force: the last generations, what each changed, and who asked for it.
//!
//! An edit that opens `/reports` to authOnly is the second generation: trigger `files`, access `widened`, one region.

use super::settings::{Hot, Widening};
use crate::clock::Timestamp;
use crate::policy::diff::{Change, Difference, Side, Verdict, compare};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// How many generations are remembered.
pub(super) const MOST: usize = 20;

/// One generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Past {
    /// Counted from 1 in each folder of kept generations.
    pub generation: u64,
    /// Of its files, in hexadecimal.
    pub hash: String,
    pub loaded_at: Timestamp,
    pub trigger: Trigger,
    /// Routes of upstreams and of the management API, one for each path.
    pub routes: usize,
    /// What it says of changes to it.
    pub widening: Widening,
    /// What it changed; `None` for the first, and while that is not known yet.
    pub access: Option<AccessChange>,
}

/// Why a generation was loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// The process began with it.
    Start,
    /// Its files changed.
    Files,
    /// Someone asked by SIGHUP.
    Asked,
    /// An operator asked for the files (`keygate reload`).
    Reload,
    /// An operator confirmed that they let someone do more (`keygate reload --confirm`).
    Confirmed,
    /// An operator went back to one that was in force (`keygate rollback`).
    Rollback,
}

impl Trigger {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Trigger::Start => "start",
            Trigger::Files => "files",
            Trigger::Asked => "asked",
            Trigger::Reload => "reload",
            Trigger::Confirmed => "confirmed",
            Trigger::Rollback => "rollback",
        }
    }
}

/// What became of access, by the regions of [`crate::policy::diff`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccessChange {
    /// `None`: the two policies overlap in too many ways to be compared.
    pub verdict: Option<Verdict>,
    pub widened: usize,
    pub narrowed: usize,
    pub rerouted: usize,
}

impl AccessChange {
    /// What changes from one generation to the next. Milliseconds for usual edits, seconds at most.
    pub fn between(old: &Hot, new: &Hot) -> Self {
        let names = |hot: &Hot| -> Vec<std::sync::Arc<str>> {
            let upstreams = hot.upstreams.iter();
            upstreams.map(|upstream| upstream.name.clone()).collect()
        };
        let (old_names, new_names) = (names(old), names(new));
        let old_names: Vec<&str> = old_names.iter().map(|name| &**name).collect();
        let new_names: Vec<&str> = new_names.iter().map(|name| &**name).collect();
        let difference = compare(
            Side {
                policy: &old.policy,
                upstreams: &old_names,
            },
            Side {
                policy: &new.policy,
                upstreams: &new_names,
            },
        );
        match difference {
            Ok(difference) => Self::of(&difference),
            Err(_) => AccessChange {
                verdict: None,
                widened: 0,
                narrowed: 0,
                rerouted: 0,
            },
        }
    }

    fn of(difference: &Difference) -> Self {
        let count = |change| {
            let regions = difference.regions.iter();
            regions.filter(|region| region.change == change).count()
        };
        AccessChange {
            verdict: Some(difference.verdict()),
            widened: count(Change::Widened),
            narrowed: count(Change::Narrowed),
            rerouted: count(Change::Rerouted),
        }
    }

    /// Whether someone may do more; where that is not known, yes.
    pub fn may_widen(&self) -> bool {
        match self.verdict {
            Some(Verdict::Widened) | None => true,
            Some(Verdict::Unchanged | Verdict::Narrowed) => false,
        }
    }

    /// In a word.
    pub fn as_str(&self) -> &'static str {
        match self.verdict {
            Some(Verdict::Unchanged) => "unchanged",
            Some(Verdict::Narrowed) => "narrowed",
            Some(Verdict::Widened) => "widened",
            None => "unknown",
        }
    }
}

/// The last generations, the one in force at the end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History(VecDeque<Past>);

impl History {
    /// Those that were kept.
    pub(super) fn of(accepted: Vec<Past>) -> Self {
        History(accepted.into())
    }

    /// The one in force; none before the first.
    pub(super) fn last(&self) -> Option<&Past> {
        self.0.back()
    }

    pub(super) fn push(&mut self, past: Past) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(past);
    }

    /// Says what one changed.
    pub(super) fn learn(&mut self, generation: u64, access: AccessChange) {
        if let Some(past) = self.0.iter_mut().find(|past| past.generation == generation) {
            past.access = Some(access);
        }
    }

    /// The oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Past> {
        self.0.iter()
    }
}
