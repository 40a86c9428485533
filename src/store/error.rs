//! What can be wrong with a key store, each with a sentence that names the file and says what to do.

use crate::key::CommandError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why the key store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no store.
    #[error(
        "the key store {path:?} does not exist: `keygate run` or `keygate keys create` makes a new one; if there was one, restore it from a backup"
    )]
    Missing { path: PathBuf },
    /// The store has no content, or its making was broken off.
    #[error(
        "the key store {path:?} is empty or was not made to its end: `keygate run` or `keygate keys create` finishes it"
    )]
    Unfinished { path: PathBuf },
    /// Another process keeps the lock.
    #[error(
        "the key store {path:?} is locked by another process for too long: end what holds it (a backup, a `sqlite3` shell) and try again"
    )]
    Locked { path: PathBuf },
    /// The file or its file system does not take writes.
    #[error(
        "the key store {path:?} cannot be written: the file, its folder or its file system is read-only for this user"
    )]
    ReadOnly { path: PathBuf },
    /// No room.
    #[error(
        "the key store {path:?} cannot be written: the disk is full; nothing was changed, free some space and try again"
    )]
    Full { path: PathBuf },
    /// Damaged, or not SQLite at all.
    #[error(
        "the key store {path:?} is damaged or not a SQLite database ({detail}): restore it from a backup (its `-wal` and `-shm` files belong to it)"
    )]
    Corrupt { path: PathBuf, detail: String },
    /// A database of another program.
    #[error(
        "{path:?} is a SQLite database, but not a key store of keygate: name another file in `[keys] store`"
    )]
    Foreign { path: PathBuf },
    /// Written by a later keygate.
    #[error(
        "the key store {path:?} has schema {found}, this keygate knows up to {known}: use the keygate that wrote it, or a later one"
    )]
    Newer {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    /// Written by an earlier keygate and not migrated yet.
    #[error(
        "the key store {path:?} has schema {found}, this keygate needs {known}: `keygate run` migrates it"
    )]
    Older {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    /// SQLite does not take a setting that keeping changes rests on.
    #[error(
        "the key store {path:?} cannot be kept safe: SQLite answers {found:?} for `{pragma}`, not {expected:?}; use a local file system"
    )]
    NotDurable {
        path: PathBuf,
        pragma: &'static str,
        expected: &'static str,
        found: String,
    },
    /// Another file was put in the store's place, but not in the place of its log.
    #[error(
        "another file was put in the place of the key store {path:?} while `-wal` and `-shm` beside it belong to the former one, which would damage it: stop all that uses it, put the file there again, move these two away, and start"
    )]
    Replaced { path: PathBuf },
    /// The path cannot be used.
    #[error("the key store {path:?} cannot be opened: {source}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The disk failed under the store.
    #[error("the key store {path:?} met an input/output error ({detail}): look at its disk")]
    Io { path: PathBuf, detail: String },
    /// Whether a change was written could not be found out.
    #[error(
        "it is unknown whether the change to the key store {path:?} was written: {source}; look at the key before trying again"
    )]
    CommitUnknown {
        path: PathBuf,
        #[source]
        source: Box<StoreError>,
    },
    /// Others came first, and the store took too long for them.
    #[error(
        "the change waited {:.1} s behind others that the key store has not taken, and was not begun: see what it says of them",
        .waited.as_secs_f64()
    )]
    Behind { waited: Duration },
    /// The handle was closed.
    #[error("the key store is closed: the process is stopping")]
    Closed,
    /// Anything else that SQLite says.
    #[error("the key store {path:?} failed: {source}")]
    Database {
        path: PathBuf,
        #[source]
        source: sqlx::Error,
    },

    /// Two secrets are given.
    #[error(
        "the master secret is given twice, by KEYGATE_SECRET and by the file {file:?}: remove one of them"
    )]
    SecretDoubled { file: PathBuf },
    /// No secret is given, and the store has one.
    #[error(
        "the master secret of the key store {store:?} is missing: put its file back at {file:?} or set KEYGATE_SECRET; without it no key can be recognized"
    )]
    SecretMissing { file: PathBuf, store: PathBuf },
    /// A secret is given, but not the store's.
    #[error("the master secret from {place} is not the one of the key store {store:?}")]
    SecretWrong { place: String, store: PathBuf },
    /// There is a secret's file, but no store.
    #[error(
        "the master secret {file:?} exists but its key store {store:?} does not: if the store was lost, restore it from a backup; to begin anew, move the secret away"
    )]
    SecretWithoutStore { file: PathBuf, store: PathBuf },
    /// Others may read the secret's file.
    #[error(
        "the master secret {file:?} has mode {mode:04o}, so that others may read it: `chmod 600` it"
    )]
    SecretOpen { file: PathBuf, mode: u32 },
    /// The secret does not have its form.
    #[error("the master secret from {place} is not 64 hexadecimal digits")]
    SecretMalformed { place: String },
    /// The secret's file could not be read or made.
    #[error("the master secret {file:?} cannot be {action}: {source}")]
    SecretFile {
        file: PathBuf,
        action: &'static str,
        #[source]
        source: io::Error,
    },
}

impl StoreError {
    /// Whether the store could not take a change just now: a client hears 503 and may come again.
    pub fn is_unwritable(&self) -> bool {
        match self {
            StoreError::Missing { .. }
            | StoreError::Locked { .. }
            | StoreError::ReadOnly { .. }
            | StoreError::Full { .. }
            | StoreError::Replaced { .. }
            | StoreError::File { .. }
            | StoreError::Io { .. }
            | StoreError::CommitUnknown { .. }
            | StoreError::Behind { .. }
            | StoreError::Closed => true,
            StoreError::Unfinished { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Foreign { .. }
            | StoreError::Newer { .. }
            | StoreError::Older { .. }
            | StoreError::NotDurable { .. }
            | StoreError::Database { .. }
            | StoreError::SecretDoubled { .. }
            | StoreError::SecretMissing { .. }
            | StoreError::SecretWrong { .. }
            | StoreError::SecretWithoutStore { .. }
            | StoreError::SecretOpen { .. }
            | StoreError::SecretMalformed { .. }
            | StoreError::SecretFile { .. } => false,
        }
    }

    /// Whether there simply is no store yet, which `run` would make.
    pub fn is_missing(&self) -> bool {
        matches!(self, StoreError::Missing { .. })
    }

    /// The store's error inside a command's, if that is what it is.
    pub fn of(error: &CommandError) -> Option<&StoreError> {
        match error {
            CommandError::Denied(_) => None,
            CommandError::Store(inner) => inner.downcast_ref(),
        }
    }

    /// What SQLite or sqlx said, as one of the cases above.
    pub(super) fn from_sqlx(path: &Path, error: sqlx::Error) -> StoreError {
        let path = path.to_owned();
        let detail = error.to_string();
        let code = match &error {
            sqlx::Error::Database(db) => db.code().and_then(|code| code.parse::<i32>().ok()),
            sqlx::Error::PoolTimedOut => return StoreError::Locked { path },
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => return StoreError::Closed,
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                return StoreError::Corrupt { path, detail };
            }
            _ => None,
        };
        // The primary result code is the low byte of the extended one: https://www.sqlite.org/rescode.html
        // One extended code says more: the index beside the log could not grow, which is what a full disk says to a start.
        match code.map(|code| if code == 4874 { 13 } else { code & 0xff }) {
            Some(5 | 6) => StoreError::Locked { path },
            Some(8) => StoreError::ReadOnly { path },
            Some(10) => StoreError::Io { path, detail },
            Some(11 | 26) => StoreError::Corrupt { path, detail },
            Some(13) => StoreError::Full { path },
            Some(14) => StoreError::File {
                path,
                source: io::Error::other(detail),
            },
            _ => StoreError::Database {
                path,
                source: error,
            },
        }
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        CommandError::Store(Box::new(error))
    }
}
