//! The tables, and how an older store becomes a newer one.
//!
//! SQLite's own header fields say what a file is: `application_id` that it is ours, `user_version` which schema it has.
//! Both change in the transaction that changes the tables.

use crate::store::StoreError;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, raw_sql};
use std::path::Path;

/// `kgat`, in the header of every store.
const APPLICATION_ID: i64 = 0x6b67_6174;

/// The first makes a store; each that follows leads from the schema of its position to the next.
const MIGRATIONS: [&str; 1] = [r"
PRAGMA application_id = 0x6b676174;
PRAGMA user_version = 1;

-- One row. The epoch is made with the store, the revision grows by one with each change, and the floor is the highest
-- revision of a deletion that is no longer remembered.
CREATE TABLE meta (
    one             INTEGER PRIMARY KEY CHECK (one = 1),
    epoch           BLOB    NOT NULL CHECK (length(epoch) = 16),
    revision        INTEGER NOT NULL,
    tombstone_floor INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES (1, randomblob(16), 0, 0);

-- The master secrets that keys are digested and sealed under, each by a value that tells it from others.
CREATE TABLE secrets (
    number      INTEGER PRIMARY KEY,
    check_value BLOB NOT NULL CHECK (length(check_value) = 32)
) STRICT;

CREATE TABLE keys (
    id         TEXT    NOT NULL UNIQUE,
    digest     BLOB    NOT NULL UNIQUE CHECK (length(digest) = 32),
    sealed     BLOB,
    masked     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    name_lower TEXT    NOT NULL,
    scope      TEXT    NOT NULL,
    enabled    INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revision   INTEGER NOT NULL UNIQUE,
    secret     INTEGER NOT NULL REFERENCES secrets (number)
) STRICT;
CREATE INDEX keys_newest_first ON keys (created_at, revision);
CREATE INDEX keys_of_a_scope ON keys (scope, created_at, revision);
CREATE INDEX keys_of_a_name ON keys (name, created_at, revision);

-- What was deleted, kept for a while so that the feed can tell.
CREATE TABLE tombstones (
    revision   INTEGER PRIMARY KEY,
    digest     BLOB    NOT NULL CHECK (length(digest) = 32),
    deleted_at INTEGER NOT NULL
) STRICT;
CREATE INDEX tombstones_by_age ON tombstones (deleted_at);

-- Who changed what. The token tells the transaction that wrote a row from any other that took the same revision.
CREATE TABLE audit (
    revision   INTEGER PRIMARY KEY,
    token      BLOB    NOT NULL CHECK (length(token) = 16),
    time       INTEGER NOT NULL,
    actor      TEXT    NOT NULL,
    client     TEXT,
    request_id TEXT,
    action     TEXT    NOT NULL CHECK (action IN ('create', 'update', 'delete')),
    key_id     TEXT    NOT NULL,
    changes    TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_of_a_key ON audit (key_id, revision);
"];

/// The schema of this keygate.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// What a file is.
enum Shape {
    Empty,
    Ours { version: i64 },
    Foreign,
}

async fn shape(connection: &mut SqliteConnection) -> Result<Shape, sqlx::Error> {
    let (application, version, things): (i64, i64, i64) = sqlx::query_as(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema) \
         FROM pragma_application_id, pragma_user_version",
    )
    .fetch_one(connection)
    .await?;
    Ok(match (application, version, things) {
        (APPLICATION_ID, version, _) => Shape::Ours { version },
        (0, 0, 0) => Shape::Empty,
        _ => Shape::Foreign,
    })
}

/// Refuses any file but a store of this keygate's schema.
pub(super) async fn check(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), StoreError> {
    let shape = shape(connection)
        .await
        .map_err(|e| StoreError::from_sqlx(path, e))?;
    match usable(shape, path)? {
        VERSION => Ok(()),
        0 => Err(StoreError::Unfinished {
            path: path.to_owned(),
        }),
        found => Err(StoreError::Older {
            path: path.to_owned(),
            found,
            known: VERSION,
        }),
    }
}

/// Refuses a store that a later keygate brought up to date since it was opened: what its tables need, only that one knows.
pub(super) async fn check_again(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), StoreError> {
    let found: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(connection)
        .await
        .map_err(|e| StoreError::from_sqlx(path, e))?;
    usable(Shape::Ours { version: found }, path).map(drop)
}

/// Makes the tables of an empty file, or brings an older store up to date, in one transaction that excludes all others.
///
/// `may_make` is asked before an empty file becomes a store.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
    may_make: impl Fn() -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let sql = |e| StoreError::from_sqlx(path, e);
    let mut tx = connection
        .begin_with("BEGIN EXCLUSIVE")
        .await
        .map_err(sql)?;
    let version = usable(shape(&mut tx).await.map_err(sql)?, path)?;
    if version == 0 {
        may_make()?;
    }
    let done = usize::try_from(version).unwrap_or(MIGRATIONS.len());
    for migration in MIGRATIONS.iter().copied().skip(done) {
        raw_sql(migration).execute(&mut *tx).await.map_err(sql)?;
    }
    tx.commit().await.map_err(sql)
}

/// The version of a file that this keygate can work with or make work; 0 for an empty one.
fn usable(shape: Shape, path: &Path) -> Result<i64, StoreError> {
    match shape {
        Shape::Empty => Ok(0),
        Shape::Ours { version } if version > VERSION => Err(StoreError::Newer {
            path: path.to_owned(),
            found: version,
            known: VERSION,
        }),
        Shape::Ours { version } => Ok(version),
        Shape::Foreign => Err(StoreError::Foreign {
            path: path.to_owned(),
        }),
    }
}
