//! From a path to connections that can be relied on.
//!
//! A new store comes to be in three steps, each of which leaves something that a later start can finish, whenever the
//! process is killed: an empty file of mode 0600, the tables, the secret with its check value. Only when the third is
//! committed can a key be written. A secret's file beside a store that is missing or empty is never one of these states:
//! then a store was lost, and making a new one would hide it.

use super::{Tuning, schema};
use crate::private::{make_parent, sync_folder};
use crate::store::cipher::{Cipher, SECRET_NUMBER};
use crate::store::secret::SecretSource;
use crate::store::{OpenMode, StoreError};
use aws_lc_rs::rand::SystemRandom;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Connections to one file.
pub(super) struct Live {
    pub identity: FileIdentity,
    /// The log beside it, as long as connections that write are open.
    wal: Option<FileIdentity>,
    /// One connection; `None` where the store is only read.
    pub writer: Option<SqlitePool>,
    pub readers: SqlitePool,
    /// Which file in the life of the handle this is.
    pub opening: u32,
}

/// Tells a file from another that was put in its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// Of the file at this path.
    pub fn of(path: &Path) -> Result<Self, StoreError> {
        match fs::metadata(path) {
            Ok(meta) => Ok(FileIdentity {
                device: meta.dev(),
                inode: meta.ino(),
            }),
            Err(e) => Err(cannot_open(path, e)),
        }
    }
}

fn cannot_open(path: &Path, source: io::Error) -> StoreError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => StoreError::Missing { path },
        _ => StoreError::File { path, source },
    }
}

/// Makes the store if that is asked for and needed, and checks everything that can be checked before it is used.
pub(super) async fn prepare(
    path: &Path,
    secret: &SecretSource,
    mode: OpenMode,
    tuning: &Tuning,
) -> Result<Cipher, StoreError> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => {}
        Ok(_) => {
            let source = io::Error::other("it is not a file");
            return Err(cannot_open(path, source));
        }
        Err(e) => {
            let error = cannot_open(path, e);
            if !error.is_missing() {
                return Err(error);
            }
            secret.refuse_orphan(path)?;
            match mode {
                OpenMode::ReadOnly | OpenMode::ReadWrite => return Err(error),
                OpenMode::CreateOrMigrate => {
                    secret.read()?;
                    make_empty(path).map_err(|source| StoreError::File {
                        path: path.to_owned(),
                        source,
                    })?;
                }
            }
        }
    }
    let mut connection = connect(path, mode, tuning).await?;
    let prepared = prepare_on(&mut connection, path, secret, mode, tuning).await;
    let _ = connection.close().await; // whatever it says, the answer is `prepared`
    prepared
}

async fn prepare_on(
    connection: &mut SqliteConnection,
    path: &Path,
    secret: &SecretSource,
    mode: OpenMode,
    tuning: &Tuning,
) -> Result<Cipher, StoreError> {
    match mode {
        OpenMode::ReadOnly => schema::check(connection, path).await?,
        OpenMode::ReadWrite => {
            schema::check(connection, path).await?;
            use_wal(connection, path, tuning).await?;
        }
        OpenMode::CreateOrMigrate => {
            schema::migrate(connection, path, || secret.refuse_orphan(path)).await?;
            use_wal(connection, path, tuning).await?;
        }
    }
    bind_secret(connection, path, secret, mode).await
}

/// Makes the file before SQLite does, so that nobody else can read it; `-wal` and `-shm` take their mode from it.
fn make_empty(path: &Path) -> io::Result<()> {
    let folder = make_parent(path)?;
    let made = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(file) => file.sync_all()?,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {} // another process was faster
        Err(e) => return Err(e),
    }
    sync_folder(&folder)
}

/// How connections to this file are made.
fn connect_options(path: &Path, mode: OpenMode, tuning: &Tuning) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(tuning.busy_timeout)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .disable_statement_logging();
    match mode {
        // A reader of a file in WAL mode makes `-wal` and `-shm` beside it. Where there is no `-wal`, nobody has the
        // store open and all of it is in the file: then it is read as one that does not change.
        OpenMode::ReadOnly => options.read_only(true).immutable(!wal_of(path).exists()),
        OpenMode::ReadWrite | OpenMode::CreateOrMigrate => options,
    }
}

fn wal_of(path: &Path) -> PathBuf {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    PathBuf::from(wal)
}

/// One connection outside any pool.
pub(super) async fn connect(
    path: &Path,
    mode: OpenMode,
    tuning: &Tuning,
) -> Result<SqliteConnection, StoreError> {
    connect_options(path, mode, tuning)
        .connect()
        .await
        .map_err(|e| StoreError::from_sqlx(path, e))
}

/// Puts the file into WAL mode, where it is not: SQLite does not wait for the lock that this takes, so we do.
async fn use_wal(
    connection: &mut SqliteConnection,
    path: &Path,
    tuning: &Tuning,
) -> Result<(), StoreError> {
    let deadline = Instant::now() + tuning.busy_timeout;
    loop {
        let mode: Result<String, _> = sqlx::query_scalar("PRAGMA journal_mode = WAL")
            .fetch_one(&mut *connection)
            .await;
        match mode.map_err(|e| StoreError::from_sqlx(path, e)) {
            Err(StoreError::Locked { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            other => return other.map(drop),
        }
    }
}

/// Reads back what keeping changes rests on.
async fn check_settings(pool: &SqlitePool, path: &Path) -> Result<(), StoreError> {
    let sql = |e| StoreError::from_sqlx(path, e);
    let mut connection = pool.acquire().await.map_err(sql)?;
    for (pragma, expected) in [
        ("PRAGMA journal_mode", "wal"),
        ("PRAGMA synchronous", "2"),
        ("PRAGMA foreign_keys", "1"),
    ] {
        let row = sqlx::query(pragma)
            .fetch_one(&mut *connection)
            .await
            .map_err(sql)?;
        let found: String = sqlx::Row::try_get::<String, _>(&row, 0)
            .or_else(|_| sqlx::Row::try_get::<i64, _>(&row, 0).map(|n| n.to_string()))
            .map_err(sql)?;
        if found != expected {
            return Err(StoreError::NotDurable {
                path: path.to_owned(),
                pragma,
                expected,
                found,
            });
        }
    }
    Ok(())
}

/// The cipher of the store's own secret; for a store that has none yet, its first one.
async fn bind_secret(
    connection: &mut SqliteConnection,
    path: &Path,
    source: &SecretSource,
    mode: OpenMode,
) -> Result<Cipher, StoreError> {
    let sql = |e| StoreError::from_sqlx(path, e);
    if let Some(stored) = check_value(connection).await.map_err(sql)? {
        let Some(secret) = source.read()? else {
            return Err(missing(source, path));
        };
        let cipher = Cipher::new(&secret);
        return if stored == cipher.check_value() {
            Ok(cipher)
        } else {
            Err(StoreError::SecretWrong {
                place: source.place(),
                store: path.to_owned(),
            })
        };
    }
    if mode != OpenMode::CreateOrMigrate {
        return Err(StoreError::Unfinished {
            path: path.to_owned(),
        });
    }
    let mut tx = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(sql)?;
    // Another process may have done it while this one waited: then its secret is the store's, or ours is the wrong one.
    let stored = check_value(&mut tx).await.map_err(sql)?;
    let secret = match stored {
        Some(_) => source.read()?.ok_or_else(|| missing(source, path))?,
        None => source.read_or_make(&SystemRandom::new())?,
    };
    let cipher = Cipher::new(&secret);
    match stored {
        Some(stored) if stored != cipher.check_value() => Err(StoreError::SecretWrong {
            place: source.place(),
            store: path.to_owned(),
        }),
        Some(_) => Ok(cipher),
        None => {
            sqlx::query("INSERT INTO secrets (number, check_value) VALUES (?, ?)")
                .bind(SECRET_NUMBER)
                .bind(cipher.check_value().as_slice())
                .execute(&mut *tx)
                .await
                .map_err(sql)?;
            tx.commit().await.map_err(sql)?;
            Ok(cipher)
        }
    }
}

fn missing(source: &SecretSource, store: &Path) -> StoreError {
    match source {
        SecretSource::File(file) => StoreError::SecretMissing {
            file: file.clone(),
            store: store.to_owned(),
        },
        SecretSource::Env(_) => StoreError::SecretMalformed {
            place: source.place(),
        },
    }
}

async fn check_value(connection: &mut SqliteConnection) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar("SELECT check_value FROM secrets WHERE number = ?")
        .bind(SECRET_NUMBER)
        .fetch_optional(connection)
        .await
}

/// Opens the pools that a prepared store is used through.
pub(super) async fn pools(
    path: &Path,
    mode: OpenMode,
    opening: u32,
    tuning: &Tuning,
) -> Result<Live, StoreError> {
    let identity = FileIdentity::of(path)?;
    let pool = |connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(tuning.busy_timeout * 2)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(connect_options(path, mode, tuning))
    };
    let mut live = Live {
        identity,
        wal: None,
        writer: (mode != OpenMode::ReadOnly).then(|| pool(1)),
        readers: pool(4),
        opening,
    };
    if let Some(writer) = &live.writer {
        check_settings(writer, path).await?;
        check_settings(&live.readers, path).await?;
        live.wal = FileIdentity::of(&wal_of(path)).ok();
    }
    Ok(live)
}

/// Opens another file that stands in the store's place now, if it is a store under the same secret.
///
/// Where the log of the former file still stands beside it, SQLite would lay the former's pages over the new ones and
/// damage them. Then nothing is opened: what is right, only the operator knows.
pub(super) async fn reopen(
    path: &Path,
    mode: OpenMode,
    cipher: &Cipher,
    former: &Live,
    tuning: &Tuning,
) -> Result<Live, StoreError> {
    if former.wal.is_some() && FileIdentity::of(&wal_of(path)).ok() == former.wal {
        return Err(StoreError::Replaced {
            path: path.to_owned(),
        });
    }
    let opening = former.opening.wrapping_add(1);
    let mode = match mode {
        OpenMode::ReadOnly => OpenMode::ReadOnly,
        OpenMode::ReadWrite | OpenMode::CreateOrMigrate => OpenMode::ReadWrite,
    };
    let mut connection = connect(path, mode, tuning).await?;
    let checked = async {
        schema::check(&mut connection, path).await?;
        if mode == OpenMode::ReadWrite {
            use_wal(&mut connection, path, tuning).await?;
        }
        check_value(&mut connection)
            .await
            .map_err(|e| StoreError::from_sqlx(path, e))
    }
    .await;
    let _ = connection.close().await; // whatever it says, the answer is `checked`
    match checked? {
        Some(stored) if stored == cipher.check_value() => pools(path, mode, opening, tuning).await,
        Some(_) => Err(StoreError::SecretWrong {
            place: "the start of this process".to_owned(),
            store: path.to_owned(),
        }),
        None => Err(StoreError::Unfinished {
            path: path.to_owned(),
        }),
    }
}
