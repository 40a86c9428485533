//! The store of keys: what was acknowledged survives.
//!
//! It keeps every key's record, the keyed digest by which the key is found, its text sealed (where it must be shown
//! again), and who changed what. It knows nothing of HTTP or policies; it does not answer the question whether a request
//! may pass, which the key cache does from memory.
//!
//! A change, walked through: `execute` takes a [`Command`] and its [`Origin`] and begins the one transaction that may
//! write. In it, the key that asks is read again and the keys that are named are judged; then the row, the audit row and
//! the next revision are written and committed together. What comes back, [`Executed`], is what the key cache needs to
//! be right without asking. Another process learns of it by the feed: [`KeyStore::position`] says that the revision
//! moved, [`KeyStore::changes`] what moved it. The revision belongs to an epoch, which is made with the store: another
//! epoch, a lower revision or a gap that the kept tombstones do not cover mean that all must be loaded again.
//!
//! [`KeyStore`] is the same for every database; SQLite is the one that there is. PostgreSQL is to come.

mod cipher;
mod error;
mod secret;
mod sqlite;

pub use error::StoreError;
pub use secret::MasterSecret;
pub use sqlite::{Peek, peek};

use crate::clock::Timestamp;
use crate::key::{
    Actor, Command, CommandError, Digester, KeyDigest, KeyId, KeyRecord, KeySelector, ListQuery,
    Origin, Page, Reveal, Revision, StoredKey,
};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A boxed future, so that stores can stand behind one pointer.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What there is to know to open a store.
pub struct OpenOptions {
    /// The SQLite file.
    pub path: PathBuf,
    /// Where the master secret is, or will be made together with a new store.
    pub secret_file: PathBuf,
    /// The master secret's text from the environment: [`secret_from_env`].
    pub secret_env: Option<Zeroizing<String>>,
    pub mode: OpenMode,
}

/// What opening may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// Read what exists; makes no file.
    ReadOnly,
    /// The store must exist and have the schema of this keygate.
    ReadWrite,
    /// A missing store is made, with its secret; an older schema is brought up to date.
    CreateOrMigrate,
}

/// The master secret's text in `KEYGATE_SECRET`, if it is set. The one place that reads it.
pub fn secret_from_env() -> Option<Zeroizing<String>> {
    // Bytes that are no text are handed on, to be refused as a malformed secret rather than taken for none.
    std::env::var_os("KEYGATE_SECRET")
        .map(|text| Zeroizing::new(text.to_string_lossy().into_owned()))
}

/// Opens a store. Must be called on a tokio runtime, and so must what comes back.
///
/// # Errors
/// See [`StoreError`]: each case says what to do.
pub async fn open(options: OpenOptions) -> Result<Arc<dyn KeyStore>, StoreError> {
    let store = sqlite::SqliteStore::open(options, sqlite::Tuning::default()).await?;
    Ok(Arc::new(store))
}

/// A store of keys. All of it may be called from several tasks at once.
pub trait KeyStore: Send + Sync {
    /// What digests keys for this store.
    fn digester(&self) -> &Digester;

    /// Carries out a command in one transaction: it is on the disk when this returns, or nothing was changed.
    /// For a deletion the key comes back as it was.
    ///
    /// `reveal` says whether a new key's text is kept sealed; with [`Reveal::Once`] only the answer to create has it.
    fn execute(
        &self,
        command: Command,
        origin: Origin,
        reveal: Reveal,
    ) -> BoxFuture<'_, Result<Executed, CommandError>>;

    /// One key, if the actor may see it.
    fn get<'a>(
        &'a self,
        actor: &'a Actor,
        selector: &'a KeySelector,
    ) -> BoxFuture<'a, Result<StoredKey, CommandError>>;

    /// The keys that the actor may see, newest first.
    fn list<'a>(
        &'a self,
        actor: &'a Actor,
        query: &'a ListQuery,
    ) -> BoxFuture<'a, Result<Page, CommandError>>;

    /// Hands every key with its text, as far as that can be shown, to `sink`, as of one instant, in the order in which they
    /// were made.
    fn reveal<'a>(
        &'a self,
        sink: &'a mut (dyn FnMut(StoredKey) + Send),
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The trail of changes, newest first.
    fn audit<'a>(
        &'a self,
        query: &'a AuditQuery,
    ) -> BoxFuture<'a, Result<Vec<AuditEntry>, StoreError>>;

    /// Where the store is: the cheap question that the feed asks.
    fn position(&self) -> BoxFuture<'_, Result<Position, StoreError>>;

    /// What was changed after `since`, oldest first, and where that leads.
    fn changes(&self, since: Position) -> BoxFuture<'_, Result<Changes, StoreError>>;

    /// Hands every key to `sink`, as of one instant, and says which.
    fn load<'a>(&'a self, sink: &'a mut dyn Sink) -> BoxFuture<'a, Result<Position, StoreError>>;

    /// Ends all connections, once what runs has ended.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// What a command did.
pub struct Executed {
    /// The key as it is now; for a deletion, as it was.
    pub key: StoredKey,
    /// What a copy of the store must do, and where the store was then; `None` where nothing was changed.
    pub change: Option<(Change, Position)>,
}

/// One step of the feed.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// The key of this digest is now this.
    Put {
        digest: KeyDigest,
        record: KeyRecord,
    },
    /// The key of this digest was deleted at this revision.
    Gone {
        digest: KeyDigest,
        revision: Revision,
    },
}

impl Change {
    /// The digest of the key that was changed.
    pub fn digest(&self) -> &KeyDigest {
        match self {
            Change::Put { digest, .. } | Change::Gone { digest, .. } => digest,
        }
    }

    /// The revision that made the change.
    pub fn revision(&self) -> Revision {
        match self {
            Change::Put { record, .. } => record.revision,
            Change::Gone { revision, .. } => *revision,
        }
    }
}

/// Made with a store and never changed: revisions of two epochs cannot be compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub(crate) [u8; 16]);

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Epoch({self})")
    }
}

/// A point in the life of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    pub epoch: Epoch,
    pub revision: Revision,
    /// Counts how often this handle found another file in the place of its store and opened that.
    pub opening: u32,
}

/// What the feed found.
pub enum Changes {
    /// These steps lead to `position`; where `more`, there are others after it.
    Steps {
        steps: Vec<Change>,
        position: Position,
        more: bool,
    },
    /// The store went another way than the copy knows: load all.
    Reload,
}

/// Takes the keys of a store, one by one.
pub trait Sink: Send {
    /// How many keys are to come.
    fn expect(&mut self, keys: usize);
    /// One of them.
    fn key(&mut self, digest: KeyDigest, record: KeyRecord);
}

/// Which part of the trail is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditQuery {
    /// Only changes of this key.
    pub key: Option<KeyId>,
    /// Only changes at this second or later.
    pub since: Option<Timestamp>,
    /// At most so many, the newest.
    pub limit: u64,
}

/// One change, as the trail keeps it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Unix seconds.
    pub time: i64,
    pub revision: u64,
    /// `operator`, or the id of the key that asked.
    pub actor: String,
    /// The client's address, for a change over HTTP.
    pub client: Option<String>,
    /// The request's id, for a change over HTTP.
    pub request_id: Option<String>,
    pub action: AuditAction,
    /// The id of the key that was changed.
    pub key_id: String,
    /// Each changed field with `old` and `new`; never a key.
    pub changes: serde_json::Value,
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditAction {
    Create,
    Update,
    Delete,
}

impl AuditAction {
    /// The word that the trail has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            AuditAction::Create => "create",
            AuditAction::Update => "update",
            AuditAction::Delete => "delete",
        }
    }
}
