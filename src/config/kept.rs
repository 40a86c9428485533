//! Accepted generations on disk: what a start compares its files with, and what a rollback goes back to.
//!
//! One folder, of mode 0700 when it is made: `index.json` has the last twenty, the one in force at the end, and whether
//! that is pinned; `HASH.json` has the texts of one. Each is written whole, beside its name, synced, and renamed; a
//! generation's texts come before the index that names them, so an index never names what is not there. Other files of the
//! folder are left alone.
//!
//! Two processes may have the folder at one time, while one takes over from the other: each locks it and reads the index
//! again before it writes, and adds to what it finds. What is read again must be, by its hash, what was in force.

use super::files::folder_of;
use super::history::{AccessChange, MOST, Past, Trigger};
use super::load::{self, Loaded};
use super::problem::Problems;
use super::secret::Secrets;
use super::settings::Widening;
use super::texts::Texts;
use crate::clock::Timestamp;
use crate::policy::diff::Verdict;
use crate::private;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The form that is written and read here; another one is refused.
const VERSION: u32 = 1;

/// Why what was kept cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    #[error("{0:?} cannot be read")]
    Read(PathBuf, #[source] io::Error),
    #[error("{0:?} cannot be written")]
    Write(PathBuf, #[source] io::Error),
    #[error("{0:?} is not what keygate writes there")]
    Form(PathBuf, #[source] serde_json::Error),
    #[error("{path:?} is of form {version}, this keygate reads form {VERSION}")]
    Version { path: PathBuf, version: u32 },
    #[error("the texts of generation {0} are not kept")]
    NotKept(u64),
    #[error("{path:?} is of another configuration, {of:?}; give each its own `[reload] folder`")]
    Others {
        path: PathBuf,
        of: PathBuf,
        /// Whether it says what may be in force: by a pin, or by wanting confirmations.
        guarded: bool,
    },
    #[error("{0:?} can be written to by others (mode {1:04o}); expected at most 0755")]
    Open(PathBuf, u32),
}

/// Why a generation that was in force cannot be read again.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableError {
    #[error(transparent)]
    Kept(#[from] KeptError),
    #[error("it is not valid any more\n{0}")]
    Config(Problems),
    #[error("what is kept of generation {0} is not what was in force")]
    Altered(u64),
}

/// The folder.
pub(super) struct Kept {
    folder: PathBuf,
    /// The main file, absolute.
    of: PathBuf,
    /// Whether an index that cannot be used is begun anew.
    anew: AtomicBool,
    /// Held while the index is written, together with the lock on a file of the folder that other processes hold.
    writing: Mutex<()>,
}

/// What is known of accepted generations.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Index {
    /// The oldest first.
    pub(super) accepted: Vec<Past>,
    /// Whether the last one stays in force whatever the files hold.
    pub(super) pinned: bool,
}

impl Kept {
    pub(super) fn at(folder: PathBuf, main_file: &Path) -> Self {
        Kept {
            folder,
            of: std::path::absolute(main_file).unwrap_or_else(|_| main_file.to_owned()),
            anew: AtomicBool::new(false),
            writing: Mutex::default(),
        }
    }

    /// What was accepted until now; nothing where there is no folder.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub(super) fn index(&self) -> Result<Index, KeptError> {
        let path = self.folder.join("index.json");
        match std::fs::read(&path) {
            Ok(bytes) => {
                let form: IndexForm = read(&path, &bytes)?;
                if !is_of_one_folder(&form.of, &self.of) {
                    let (of, index) = (form.of.clone(), Index::from(form));
                    let last = index.accepted.last();
                    let confirms = last.is_some_and(|past| past.widening == Widening::Confirm);
                    let guarded = index.pinned || confirms;
                    return Err(KeptError::Others { path, of, guarded });
                }
                Ok(form.into())
            }
            Err(error) if private::is_absent(&error) => Ok(Index::default()),
            Err(error) => Err(KeptError::Read(path, error)),
        }
    }

    /// From now on an index that cannot be used is begun anew: an operator has confirmed what is in force.
    pub(super) fn begin_anew(&self) {
        self.anew.store(true, Ordering::Relaxed);
    }

    /// Makes the folder, if there is none, and sees whether it can be written to.
    ///
    /// # Errors
    /// When not.
    pub(super) fn prepare(&self) -> Result<(), KeptError> {
        self.lock().map(drop)
    }

    /// Reads a generation that was in force, exactly, with secrets and hosts as they are now.
    ///
    /// # Errors
    /// When what is kept of it cannot be read, is not what it was, or is not valid any more.
    pub(super) fn load(&self, main_file: &Path, past: &Past) -> Result<Loaded, UnreadableError> {
        self.load_with(main_file, past, Secrets::Required)
    }

    /// The same, with secrets or without: to be compared with, all but TLS can be known without.
    ///
    /// # Errors
    /// As [`Kept::load`].
    pub(super) fn load_with(
        &self,
        main_file: &Path,
        past: &Past,
        secrets: Secrets,
    ) -> Result<Loaded, UnreadableError> {
        let texts = self.texts(past)?;
        match load::load_kept(main_file, &texts, secrets) {
            Ok(loaded) if loaded.hash == past.hash && loaded.texts == texts => Ok(loaded),
            Ok(_) => Err(UnreadableError::Altered(past.generation)),
            Err(problems) => Err(UnreadableError::Config(problems)),
        }
    }

    fn texts(&self, past: &Past) -> Result<Texts, KeptError> {
        let path = self.path(&past.hash);
        match std::fs::read(&path) {
            Ok(bytes) => {
                let form: TextsForm = read(&path, &bytes)?;
                Ok(Texts {
                    files: form.files,
                    aliases: form.aliases,
                    main: form.main,
                })
            }
            Err(error) if private::is_absent(&error) => Err(KeptError::NotKept(past.generation)),
            Err(error) => Err(KeptError::Read(path, error)),
        }
    }

    /// Keeps a generation as the one in force, and lets go of those beyond the last twenty.
    ///
    /// # Errors
    /// When it cannot be written; what was kept before still is.
    pub(super) fn accept(&self, past: &Past, texts: &Texts, pinned: bool) -> Result<(), KeptError> {
        let _writing = self.lock()?;
        let path = self.path(&past.hash);
        let form = TextsForm {
            version: VERSION,
            main: texts.main.clone(),
            files: texts.files.clone(),
            aliases: texts.aliases.clone(),
        };
        write(&path, &form)?;
        let mut index = match self.index() {
            Ok(index) => index,
            Err(KeptError::Others { guarded: false, .. }) => Index::default(),
            Err(_) if self.anew.load(Ordering::Relaxed) => Index::default(),
            Err(error) => return Err(error),
        };
        // The same files again, with other secrets, or judged by a process that takes over.
        index.accepted.pop_if(|last| last.hash == past.hash);
        index.accepted.push(past.clone());
        let beyond = index.accepted.len().saturating_sub(MOST);
        index.accepted.drain(..beyond);
        index.pinned = pinned;
        self.write_index(&index)?;
        self.anew.store(false, Ordering::Relaxed);
        self.tidy(&index);
        Ok(())
    }

    /// Removes the texts of generations that are not known any more, and what killed processes left half written. What
    /// stays costs space and nothing else.
    fn tidy(&self, index: &Index) {
        let known: BTreeSet<&str> = index.accepted.iter().map(|past| &*past.hash).collect();
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some((hash, kind)) = name.to_str().and_then(|name| name.split_once('.')) else {
                continue;
            };
            let is_hash = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
            let is_left = match kind {
                "json" => is_hash && !known.contains(hash),
                kind => kind.starts_with("json.new-") && (is_hash || hash == "index"),
            };
            if is_left {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Adds what a generation changed.
    ///
    /// # Errors
    /// As [`Kept::accept`].
    pub(super) fn learn(&self, generation: u64, access: AccessChange) -> Result<(), KeptError> {
        let _writing = self.lock()?;
        let mut index = self.index()?;
        let mut accepted = index.accepted.iter_mut();
        if let Some(past) = accepted.find(|past| past.generation == generation) {
            past.access = Some(access);
            self.write_index(&index)?;
        }
        Ok(())
    }

    /// Lifts the pin of the generation in force.
    ///
    /// # Errors
    /// As [`Kept::accept`].
    pub(super) fn unpin(&self) -> Result<(), KeptError> {
        let _writing = self.lock()?;
        let mut index = self.index()?;
        if index.pinned {
            index.pinned = false;
            self.write_index(&index)?;
        }
        Ok(())
    }

    fn write_index(&self, index: &Index) -> Result<(), KeptError> {
        let form = IndexForm {
            version: VERSION,
            of: self.of.clone(),
            pinned: index.pinned,
            accepted: index.accepted.iter().map(PastForm::from).collect(),
        };
        write(&self.folder.join("index.json"), &form)
    }

    fn path(&self, hash: &str) -> PathBuf {
        self.folder.join(format!("{hash}.json"))
    }

    /// Keeps this and other processes from writing until the lock is dropped.
    fn lock(&self) -> Result<(MutexGuard<'_, ()>, File), KeptError> {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.folder.join("lock");
        if let Ok(meta) = std::fs::metadata(&self.folder)
            && meta.mode() & 0o022 != 0
        {
            return Err(KeptError::Open(self.folder.clone(), meta.mode() & 0o7777));
        }
        let file = private::make_parent(&path).and_then(|_| {
            let mut options = File::options();
            let file = options.create(true).append(true).mode(0o600).open(&path)?;
            file.lock()?;
            Ok(file)
        });
        match file {
            Ok(file) => Ok((writing, file)),
            Err(error) => Err(KeptError::Write(path, error)),
        }
    }
}

/// Whether two main files are in the same folder, as it is named or as it is found.
fn is_of_one_folder(a: &Path, b: &Path) -> bool {
    let (a, b) = (folder_of(a), folder_of(b));
    let found = |folder: &Path| std::fs::canonicalize(folder).ok();
    a == b || found(&a).is_some_and(|a| Some(a) == found(&b))
}

#[derive(Serialize, Deserialize)]
struct IndexForm {
    version: u32,
    /// The main file whose generations these are, absolute.
    of: PathBuf,
    pinned: bool,
    accepted: Vec<PastForm>,
}

#[derive(Serialize, Deserialize)]
struct PastForm {
    generation: u64,
    hash: String,
    /// Seconds since the Unix epoch.
    accepted_at: i64,
    trigger: Trigger,
    routes: usize,
    widening: Widening,
    access: Option<AccessForm>,
}

#[derive(Serialize, Deserialize)]
struct AccessForm {
    verdict: Option<VerdictForm>,
    widened: usize,
    narrowed: usize,
    rerouted: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum VerdictForm {
    Unchanged,
    Narrowed,
    Widened,
}

#[derive(Serialize, Deserialize)]
struct TextsForm {
    version: u32,
    main: PathBuf,
    files: BTreeMap<PathBuf, String>,
    aliases: BTreeMap<PathBuf, PathBuf>,
}

/// The version alone, which is read first.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path, bytes: &[u8]) -> Result<T, KeptError> {
    let form = |error| KeptError::Form(path.to_owned(), error);
    let Versioned { version } = serde_json::from_slice(bytes).map_err(form)?;
    if version != VERSION {
        return Err(KeptError::Version {
            path: path.to_owned(),
            version,
        });
    }
    serde_json::from_slice(bytes).map_err(form)
}

fn write(path: &Path, form: &impl Serialize) -> Result<(), KeptError> {
    let bytes = serde_json::to_vec_pretty(form);
    let bytes = bytes.map_err(|error| KeptError::Write(path.to_owned(), error.into()))?;
    private::replace(path, &bytes).map_err(|error| KeptError::Write(path.to_owned(), error))
}

impl From<IndexForm> for Index {
    fn from(form: IndexForm) -> Self {
        Index {
            accepted: form.accepted.into_iter().map(Past::from).collect(),
            pinned: form.pinned,
        }
    }
}

impl From<PastForm> for Past {
    fn from(form: PastForm) -> Self {
        Past {
            generation: form.generation,
            hash: form.hash,
            loaded_at: Timestamp::from_unix_seconds(form.accepted_at),
            trigger: form.trigger,
            routes: form.routes,
            widening: form.widening,
            access: form.access.map(AccessChange::from),
        }
    }
}

impl From<&Past> for PastForm {
    fn from(past: &Past) -> Self {
        PastForm {
            generation: past.generation,
            hash: past.hash.clone(),
            accepted_at: past.loaded_at.unix_seconds(),
            trigger: past.trigger,
            routes: past.routes,
            widening: past.widening,
            access: past.access.map(AccessForm::from),
        }
    }
}

impl From<AccessForm> for AccessChange {
    fn from(form: AccessForm) -> Self {
        AccessChange {
            verdict: form.verdict.map(|verdict| match verdict {
                VerdictForm::Unchanged => Verdict::Unchanged,
                VerdictForm::Narrowed => Verdict::Narrowed,
                VerdictForm::Widened => Verdict::Widened,
            }),
            widened: form.widened,
            narrowed: form.narrowed,
            rerouted: form.rerouted,
        }
    }
}

impl From<AccessChange> for AccessForm {
    fn from(change: AccessChange) -> Self {
        AccessForm {
            verdict: change.verdict.map(|verdict| match verdict {
                Verdict::Unchanged => VerdictForm::Unchanged,
                Verdict::Narrowed => VerdictForm::Narrowed,
                Verdict::Widened => VerdictForm::Widened,
            }),
            widened: change.widened,
            narrowed: change.narrowed,
            rerouted: change.rerouted,
        }
    }
}
