//! Which generation a start puts in force: what the files hold, or what was accepted last.
//!
//! The files are in force where nothing speaks against it. Two things do. A generation that an operator went back to is
//! pinned until `keygate reload`, over restarts too. And where what was accepted last has `reload.widening = "confirm"`,
//! files that let someone do more than it does wait until they are confirmed: else a restart would be the way around.

use super::alone::load_kept_folder;
use super::hash::WholeHash;
use super::history::{AccessChange, History, Past, Trigger};
use super::kept::{Index, Kept, KeptError, UnreadableError};
use super::load::{self, Loaded};
use super::problem::Problems;
use super::secret::Secrets;
use super::settings::Widening;
use super::waiting::Waiting;
use crate::clock::Timestamp;
use std::path::Path;
use std::sync::Arc;

/// What a start puts in force, and what is known besides.
pub struct Start {
    /// What is in force.
    pub loaded: Loaded,
    pub(super) history: History,
    pub(super) pinned: bool,
    /// What the files hold, where it waits.
    pub(super) waiting: Option<Waiting>,
    /// Why the files cannot be used, where a pinned generation is in force.
    pub(super) files_error: Option<String>,
    pub(super) kept: Option<Arc<Kept>>,
    pub(super) kept_error: Option<String>,
    /// What was in force before, where that was something else and it is not known yet what changed.
    pub(super) before: Option<Past>,
    /// The last generation that was kept.
    pub(super) known: Option<u64>,
    /// Whether it is in force for the first time, and to be kept once the gateway serves.
    pub(super) is_new: bool,
}

/// Why there is nothing to put in force.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the configuration is not valid")]
    Config(Problems),
    #[error("the files have the hash {0}, not the one that --confirm names")]
    OtherHash(String),
    #[error(
        "what was accepted last cannot be found out; if the files shall be in force as they are, start with --confirm {hash}"
    )]
    Kept {
        hash: String,
        #[source]
        source: KeptError,
    },
    #[error("accepted configurations cannot be kept, which `reload.widening = \"confirm\"` needs")]
    NotKept(#[source] KeptError),
    #[error(
        "generation {generation} is pinned, and cannot be read; `run --confirm HASH` runs the files"
    )]
    Pinned {
        generation: u64,
        #[source]
        source: UnreadableError,
    },
    #[error(
        "what was accepted last has `reload.widening = \"confirm\"` and cannot be read, so it is not known whether the files need to be confirmed; if they shall be in force as they are, start with --confirm {hash}"
    )]
    Last {
        hash: String,
        #[source]
        source: UnreadableError,
    },
}

impl Start {
    /// Of a configuration that was read, with nothing known of earlier ones and nothing kept.
    pub fn of(loaded: Loaded) -> Self {
        let mut start = Start::plain(loaded);
        start.begin(1, Trigger::Start);
        start
    }

    /// Reads the files and what was kept, and decides; writes nothing. What is in force for the first time is kept once the gateway serves.
    /// `folder` is where generations are kept, whatever the files say of that.
    ///
    /// # Errors
    /// When nothing can be put in force.
    pub fn decide(
        main_file: &Path,
        folder: Option<&Path>,
        confirm: Option<&WholeHash>,
    ) -> Result<Self, StartError> {
        let files = load::load(main_file, Secrets::Required);
        let folder = match (folder, &files) {
            (Some(folder), _) => folder.to_owned(),
            (None, Ok(loaded)) => loaded.cold.kept.clone(),
            (None, Err(problems)) => match load_kept_folder(main_file) {
                Ok(folder) => folder,
                Err(_) => return Err(StartError::Config(problems.clone())),
            },
        };
        let kept = Arc::new(Kept::at(folder, main_file));
        if let Some(confirm) = confirm {
            let loaded = files.map_err(StartError::Config)?;
            if !confirm.is(&loaded.hash) {
                return Err(StartError::OtherHash(loaded.hash));
            }
            kept.begin_anew();
            let index = kept.index().unwrap_or_default();
            return Ok(Start::files(loaded, kept, index, Trigger::Confirmed));
        }
        let index = match (kept.index(), &files) {
            (Ok(index), _) => index,
            // Neither has a say in what may be in force: the folder is the newer one's.
            (Err(KeptError::Others { guarded: false, .. }), Ok(loaded))
                if loaded.hot.widening == Widening::Allow =>
            {
                Index::default()
            }
            (Err(_), Err(problems)) => return Err(StartError::Config(problems.clone())),
            (Err(source), Ok(loaded)) => {
                let hash = loaded.hash.clone();
                return Err(StartError::Kept { hash, source });
            }
        };
        let Some(last) = index.accepted.last().cloned() else {
            let loaded = files.map_err(StartError::Config)?;
            return Ok(Start::files(loaded, kept, index, Trigger::Start));
        };
        if index.pinned {
            let generation = last.generation;
            let loaded = kept.load(main_file, &last);
            let loaded = loaded.map_err(|source| StartError::Pinned { generation, source })?;
            let files_error = files.err().map(|problems| problems.to_string());
            return Ok(Start {
                known: Some(last.generation),
                history: History::of(index.accepted),
                pinned: true,
                files_error,
                kept: Some(kept),
                ..Start::plain(loaded)
            });
        }
        let loaded = files.map_err(StartError::Config)?;
        if loaded.hash == last.hash {
            return Ok(Start {
                known: Some(last.generation),
                history: History::of(index.accepted),
                kept: Some(kept),
                ..Start::plain(loaded)
            });
        }
        if last.widening == Widening::Allow {
            return Ok(Start::files(loaded, kept, index, Trigger::Start));
        }
        let now = Timestamp::now();
        let old = match kept.load(main_file, &last) {
            Ok(old) => old,
            // What it took secrets from may have gone with what used them. To be compared with, it needs none.
            Err(source) => match kept.load_with(main_file, &last, Secrets::Skipped) {
                Ok(old)
                    if Waiting::of(
                        (&old.cold, &old.hot),
                        &loaded,
                        AccessChange::between(&old.hot, &loaded.hot),
                        now,
                    )
                    .is_none() =>
                {
                    return Ok(Start::files(loaded, kept, index, Trigger::Start));
                }
                _ => {
                    let hash = loaded.hash;
                    return Err(StartError::Last { hash, source });
                }
            },
        };
        let access = AccessChange::between(&old.hot, &loaded.hot);
        match Waiting::of((&old.cold, &old.hot), &loaded, access, now) {
            None => Ok(Start::files(loaded, kept, index, Trigger::Start)),
            Some(waiting) => Ok(Start {
                known: Some(last.generation),
                history: History::of(index.accepted),
                waiting: Some(waiting),
                kept: Some(kept),
                ..Start::plain(old)
            }),
        }
    }

    fn plain(loaded: Loaded) -> Self {
        Start {
            loaded,
            history: History::default(),
            pinned: false,
            waiting: None,
            files_error: None,
            kept: None,
            kept_error: None,
            before: None,
            known: None,
            is_new: false,
        }
    }

    /// Makes the folder of kept generations, if there is none, and sees whether it can be written to.
    ///
    /// # Errors
    /// When it cannot, and what is in force asks for confirmations: they would hold until the next start only.
    pub fn prepare(&mut self) -> Result<(), StartError> {
        let prepared = self.kept.as_ref().map(|kept| kept.prepare());
        match (prepared, self.loaded.hot.widening) {
            (None | Some(Ok(())), _) => Ok(()),
            (Some(Err(source)), Widening::Confirm) => Err(StartError::NotKept(source)),
            (Some(Err(error)), Widening::Allow) => {
                self.kept_error = Some(crate::net::causes(&error));
                Ok(())
            }
        }
    }

    /// The number of the generation that is pinned, if one is.
    pub fn pinned(&self) -> Option<u64> {
        let last = self.history.last().filter(|_| self.pinned);
        last.map(|past| past.generation)
    }

    /// What the files hold, where it has to be confirmed.
    pub fn waiting(&self) -> Option<&Waiting> {
        self.waiting.as_ref()
    }

    /// Puts the files in force, as a generation of its own.
    fn files(loaded: Loaded, kept: Arc<Kept>, index: Index, trigger: Trigger) -> Self {
        let before = index.accepted.last().cloned();
        let number = before.as_ref().map_or(1, |past| past.generation + 1);
        let mut start = Start::plain(loaded);
        start.history = History::of(index.accepted);
        start.begin(number, trigger);
        start.kept = Some(kept);
        start.known = before.as_ref().map(|past| past.generation);
        start.before = before;
        start.is_new = true;
        start
    }

    fn begin(&mut self, number: u64, trigger: Trigger) {
        let past = Past::of(number, &self.loaded, trigger, Timestamp::now());
        self.history.push(past);
    }
}

impl Past {
    /// A generation that comes into force.
    pub(super) fn of(number: u64, loaded: &Loaded, trigger: Trigger, now: Timestamp) -> Self {
        Past {
            generation: number,
            hash: loaded.hash.clone(),
            loaded_at: now,
            trigger,
            routes: loaded.hot.policy.routes().len(),
            widening: loaded.hot.widening,
            access: None,
        }
    }
}
