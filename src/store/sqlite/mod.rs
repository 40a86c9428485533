//! The store in one SQLite file.
//!
//! WAL mode with `synchronous = FULL`: a commit that was answered is on the disk, and readers never wait for a writer.
//! One connection writes, each time from `BEGIN IMMEDIATE`, so that two processes take turns instead of failing halfway;
//! a few others read, each answer in one read transaction. A connection on which a statement failed inside a transaction
//! is closed, not used again.
//!
//! Before anything is asked or written, the path is compared with the file that is open: after a restore from a backup
//! SQLite would go on with the old file that nobody sees any more. Then the new one is opened, and the feed loads all.

mod audit;
mod changes;
mod command;
mod open;
mod read;
mod row;
mod schema;
#[cfg(test)]
mod tests;

use super::cipher::Cipher;
use super::secret::SecretSource;
use super::{
    AuditEntry, AuditQuery, BoxFuture, Changes, Executed, KeyStore, OpenMode, OpenOptions,
    Position, Sink, StoreError,
};
use crate::clock::Timestamp;
use crate::key::{
    Actor, Command, CommandError, Denial, Digester, KeySelector, ListQuery, Origin, Page, Reveal,
    Revision, StoredKey,
};
use arc_swap::ArcSwap;
use aws_lc_rs::rand::SystemRandom;
use command::{Outcome, Work};
use open::{FileIdentity, Live};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{Sqlite, SqliteConnection};
use sqlx::{Acquire, Connection};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What tests set otherwise.
pub(super) struct Tuning {
    /// How long a lock of another process is waited for.
    pub busy_timeout: Duration,
    /// What time it is.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            busy_timeout: Duration::from_secs(5),
            clock: Arc::new(Timestamp::now),
        }
    }
}

/// An open store.
pub(super) struct SqliteStore {
    path: PathBuf,
    mode: OpenMode,
    tuning: Tuning,
    cipher: Cipher,
    random: SystemRandom,
    live: ArcSwap<Live>,
    reopening: tokio::sync::Mutex<()>,
    closed: AtomicBool,
}

/// Why something inside a transaction went no further.
#[derive(Debug)]
pub(super) enum Fault {
    Denied(Denial),
    Sql(sqlx::Error),
}

impl From<Denial> for Fault {
    fn from(denial: Denial) -> Self {
        Fault::Denied(denial)
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Fault::Sql(error)
    }
}

/// Lower case, character by character, so that a part of a name is in lower case what it is in the whole.
fn lower_case(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

impl SqliteStore {
    /// Opens the store.
    pub async fn open(options: OpenOptions, tuning: Tuning) -> Result<Self, StoreError> {
        let path = std::path::absolute(&options.path).map_err(|source| StoreError::File {
            path: options.path.clone(),
            source,
        })?;
        let secret = SecretSource::choose(options.secret_file, options.secret_env)?;
        let cipher = open::prepare(&path, &secret, options.mode, &tuning).await?;
        let live = open::pools(&path, options.mode, 0, &tuning).await?;
        Ok(SqliteStore {
            path,
            mode: options.mode,
            tuning,
            cipher,
            random: SystemRandom::new(),
            live: ArcSwap::from_pointee(live),
            reopening: tokio::sync::Mutex::new(()),
            closed: AtomicBool::new(false),
        })
    }

    /// Connections to the file that stands at the path now.
    async fn live(&self) -> Result<Arc<Live>, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        let live = self.live.load_full();
        if FileIdentity::of(&self.path)? == live.identity {
            return Ok(live);
        }
        let _one_at_a_time = self.reopening.lock().await;
        let live = self.live.load_full();
        if FileIdentity::of(&self.path)? == live.identity {
            return Ok(live);
        }
        let opened = open::reopen(&self.path, self.mode, &self.cipher, &live, &self.tuning).await?;
        tracing::warn!("another file stands in the place of the key store: it is read from now on");
        let opened = Arc::new(opened);
        self.live.store(Arc::clone(&opened));
        Ok(opened)
    }

    fn sql(&self, error: sqlx::Error) -> StoreError {
        StoreError::from_sqlx(&self.path, error)
    }

    fn fault(&self, fault: Fault) -> CommandError {
        match fault {
            Fault::Denied(denial) => CommandError::Denied(denial),
            Fault::Sql(error) => self.sql(error).into(),
        }
    }

    async fn run(
        &self,
        command: Command,
        origin: Origin,
        reveal: Reveal,
    ) -> Result<Executed, CommandError> {
        let (live, mut connection) = self.begin().await?;
        let outcome = self
            .attempt(&live, &mut connection, command, &origin, reveal)
            .await;
        // After a failed statement SQLite may have ended the transaction by itself, unseen by the pool.
        if matches!(outcome, Err(CommandError::Store(_))) {
            let _ = connection.close().await; // it is given up either way
        }
        outcome
    }

    /// The writing connection, inside a transaction on the file that stands at the path.
    async fn begin(&self) -> Result<(Arc<Live>, PoolConnection<Sqlite>), StoreError> {
        let live = self.live().await?;
        let Some(writer) = &live.writer else {
            return Err(StoreError::ReadOnly {
                path: self.path.clone(),
            });
        };
        let connection = writer.acquire().await.map_err(|e| self.sql(e))?;
        Ok((live, connection))
    }

    async fn attempt(
        &self,
        live: &Live,
        connection: &mut SqliteConnection,
        command: Command,
        origin: &Origin,
        reveal: Reveal,
    ) -> Result<Executed, CommandError> {
        let mut tx = connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(|e| self.sql(e))?;
        // The lock may have been waited for while the file was replaced: what would be written now, nobody would see.
        if FileIdentity::of(&self.path)? != live.identity {
            return Err(StoreError::Locked {
                path: self.path.clone(),
            }
            .into());
        }
        schema::check_again(&mut tx, &self.path).await?;
        let work = Work {
            connection: &mut tx,
            cipher: &self.cipher,
            random: &self.random,
            origin,
            reveal,
            now: (self.tuning.clock)(),
        };
        match work.run(command).await {
            Ok(Outcome::Same(key)) => {
                tx.rollback().await.map_err(|e| self.sql(e))?;
                Ok(Executed { key, change: None })
            }
            Ok(Outcome::Changed {
                key,
                change,
                epoch,
                token,
            }) => {
                let committed = tx.commit().await;
                self.settle(live, committed, change.revision(), &token)
                    .await?;
                let position = Position {
                    epoch,
                    revision: change.revision(),
                    opening: live.opening,
                };
                Ok(Executed {
                    key,
                    change: Some((change, position)),
                })
            }
            Err(fault) => {
                let undone = tx.rollback().await;
                match (fault, undone) {
                    (Fault::Denied(denial), Ok(())) => Err(denial.into()),
                    (Fault::Denied(_), Err(e)) => Err(self.sql(e).into()),
                    (Fault::Sql(e), _) => Err(self.sql(e).into()),
                }
            }
        }
    }

    /// What a COMMIT came to: one that failed may be on the disk all the same, so it is looked for.
    async fn settle(
        &self,
        live: &Live,
        committed: Result<(), sqlx::Error>,
        revision: Revision,
        token: &[u8; 16],
    ) -> Result<(), StoreError> {
        let Err(error) = committed else {
            return Ok(());
        };
        let looked = async {
            let mut reader = live.readers.acquire().await?;
            audit::was_committed(&mut reader, revision, token).await
        };
        match looked.await {
            Ok(true) => {
                tracing::warn!(%error, "a COMMIT reported an error, but the change is in the key store");
                Ok(())
            }
            Ok(false) => Err(self.sql(error)),
            Err(_) => Err(StoreError::CommitUnknown {
                path: self.path.clone(),
                source: Box::new(self.sql(error)),
            }),
        }
    }

    /// A connection for one answer, and which file it reads.
    async fn reader(&self) -> Result<(u32, PoolConnection<Sqlite>), StoreError> {
        let live = self.live().await?;
        let connection = live.readers.acquire().await.map_err(|e| self.sql(e))?;
        Ok((live.opening, connection))
    }
}

impl KeyStore for SqliteStore {
    fn digester(&self) -> &Digester {
        self.cipher.digester()
    }

    fn execute(
        &self,
        command: Command,
        origin: Origin,
        reveal: Reveal,
    ) -> BoxFuture<'_, Result<Executed, CommandError>> {
        Box::pin(self.run(command, origin, reveal))
    }

    fn get<'a>(
        &'a self,
        actor: &'a Actor,
        selector: &'a KeySelector,
    ) -> BoxFuture<'a, Result<StoredKey, CommandError>> {
        Box::pin(async move {
            let (_, mut reader) = self.reader().await?;
            let mut tx = reader.begin().await.map_err(|e| self.sql(e))?;
            let now = (self.tuning.clock)();
            let found = read::get(&mut tx, &self.cipher, actor, selector, now).await;
            tx.rollback().await.map_err(|e| self.sql(e))?;
            found.map_err(|fault| self.fault(fault))
        })
    }

    fn list<'a>(
        &'a self,
        actor: &'a Actor,
        query: &'a ListQuery,
    ) -> BoxFuture<'a, Result<Page, CommandError>> {
        Box::pin(async move {
            let (_, mut reader) = self.reader().await?;
            let mut tx = reader.begin().await.map_err(|e| self.sql(e))?;
            let now = (self.tuning.clock)();
            let page = read::list(&mut tx, &self.cipher, actor, query, now).await;
            tx.rollback().await.map_err(|e| self.sql(e))?;
            page.map_err(|fault| self.fault(fault))
        })
    }

    fn reveal<'a>(
        &'a self,
        sink: &'a mut (dyn FnMut(StoredKey) + Send),
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let (_, mut reader) = self.reader().await?;
            let mut tx = reader.begin().await.map_err(|e| self.sql(e))?;
            let read = read::all(&mut tx, &self.cipher, sink).await;
            tx.rollback().await.map_err(|e| self.sql(e))?;
            read.map_err(|e| self.sql(e))
        })
    }

    fn audit<'a>(
        &'a self,
        query: &'a AuditQuery,
    ) -> BoxFuture<'a, Result<Vec<AuditEntry>, StoreError>> {
        Box::pin(async move {
            let (_, mut reader) = self.reader().await?;
            let entries = audit::read(&mut reader, query).await;
            entries.map_err(|e| self.sql(e))
        })
    }

    fn position(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move {
            let (opening, mut reader) = self.reader().await?;
            let position = changes::position(&mut reader, opening).await;
            position.map_err(|e| self.sql(e))
        })
    }

    fn changes(&self, since: Position) -> BoxFuture<'_, Result<Changes, StoreError>> {
        Box::pin(async move {
            let (opening, mut reader) = self.reader().await?;
            let mut tx = reader.begin().await.map_err(|e| self.sql(e))?;
            let found = changes::changes(&mut tx, since, opening).await;
            tx.rollback().await.map_err(|e| self.sql(e))?;
            found.map_err(|e| self.sql(e))
        })
    }

    fn load<'a>(&'a self, sink: &'a mut dyn Sink) -> BoxFuture<'a, Result<Position, StoreError>> {
        Box::pin(async move {
            let (opening, mut reader) = self.reader().await?;
            let mut tx = reader.begin().await.map_err(|e| self.sql(e))?;
            let loaded = changes::load(&mut tx, opening, sink).await;
            tx.rollback().await.map_err(|e| self.sql(e))?;
            loaded.map_err(|e| self.sql(e))
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.closed.store(true, Ordering::Release);
            let live = self.live.load_full();
            live.readers.close().await;
            if let Some(writer) = &live.writer {
                writer.close().await;
            }
        })
    }
}

/// What can be told of a store without its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peek {
    /// Where it is.
    pub position: Position,
    /// How many keys it has of each scope, by the scope's name.
    pub scopes: Vec<(String, u64)>,
}

impl Peek {
    /// How many keys it has.
    pub fn keys(&self) -> u64 {
        self.scopes.iter().map(|(_, keys)| keys).sum()
    }
}

/// Looks into a store without its secret: it reads, makes no file, and asks for no environment.
///
/// # Errors
/// When there is no store, or it is not one that this keygate can use.
pub async fn peek(path: &Path) -> Result<Peek, StoreError> {
    let path = std::path::absolute(path).map_err(|source| StoreError::File {
        path: path.to_owned(),
        source,
    })?;
    FileIdentity::of(&path)?;
    let tuning = Tuning::default();
    let mut connection = open::connect(&path, OpenMode::ReadOnly, &tuning).await?;
    let looked = async {
        schema::check(&mut connection, &path).await?;
        let sql = |e| StoreError::from_sqlx(&path, e);
        let position = changes::position(&mut connection, 0).await.map_err(sql)?;
        let by_scope = "SELECT scope, count(*) FROM keys GROUP BY scope ORDER BY scope";
        let scopes: Vec<(String, i64)> = sqlx::query_as(by_scope)
            .fetch_all(&mut connection)
            .await
            .map_err(sql)?;
        let counted = |(scope, keys)| (scope, u64::try_from(keys).unwrap_or(0));
        let scopes = scopes.into_iter().map(counted).collect();
        Ok(Peek { position, scopes })
    }
    .await;
    let _ = connection.close().await; // whatever it says, the answer is `looked`
    looked
}
