//! The trail: one row for each change, written in the change's own transaction.

use super::row::column;
use crate::clock::Timestamp;
use crate::key::{Actor, KeyId, Origin, Revision};
use crate::store::{AuditAction, AuditEntry, AuditQuery};
use serde_json::Value;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

/// A row to be written.
pub(super) struct Entry<'a> {
    pub revision: Revision,
    pub token: &'a [u8; 16],
    pub time: Timestamp,
    pub origin: &'a Origin,
    pub action: AuditAction,
    pub key: &'a KeyId,
    pub changes: Value,
}

/// Writes one row.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    entry: &Entry<'_>,
) -> Result<(), sqlx::Error> {
    let actor = match &entry.origin.actor {
        Actor::Operator => "operator",
        Actor::Key(_, id) => id.as_str(),
    };
    sqlx::query(
        "INSERT INTO audit (revision, token, time, actor, client, request_id, action, key_id, changes) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(column(entry.revision))
    .bind(entry.token.as_slice())
    .bind(entry.time.unix_seconds())
    .bind(actor)
    .bind(entry.origin.client.map(|client| client.to_string()))
    .bind(entry.origin.request_id.as_deref())
    .bind(entry.action.as_str())
    .bind(entry.key.as_str())
    .bind(entry.changes.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether the transaction of this token was committed under this revision.
pub(super) async fn was_committed(
    connection: &mut SqliteConnection,
    revision: Revision,
    token: &[u8; 16],
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM audit WHERE revision = ? AND token = ?)")
        .bind(column(revision))
        .bind(token.as_slice())
        .fetch_one(connection)
        .await
}

/// The newest rows that the query asks for, newest first.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    query: &AuditQuery,
) -> Result<Vec<AuditEntry>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT revision, time, actor, client, request_id, action, key_id, changes FROM audit \
         WHERE (?1 IS NULL OR key_id = ?1) AND (?2 IS NULL OR time >= ?2) ORDER BY revision DESC LIMIT ?3",
    )
    .bind(query.key.map(|id| id.as_str().to_owned()))
    .bind(query.since.map(Timestamp::unix_seconds))
    .bind(i64::try_from(query.limit).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    rows.iter().map(entry).collect()
}

fn entry(row: &SqliteRow) -> Result<AuditEntry, sqlx::Error> {
    let action = match row.try_get::<&str, _>(5)? {
        "create" => AuditAction::Create,
        "update" => AuditAction::Update,
        "delete" => AuditAction::Delete,
        other => {
            let text = format!("`{other}` is no action of the trail");
            return Err(sqlx::Error::Decode(text.into()));
        }
    };
    let changes: &str = row.try_get(7)?;
    Ok(AuditEntry {
        time: row.try_get(1)?,
        revision: super::row::revision(row.try_get(0)?)?.0,
        actor: row.try_get(2)?,
        client: row.try_get(3)?,
        request_id: row.try_get(4)?,
        action,
        key_id: row.try_get(6)?,
        changes: serde_json::from_str(changes).map_err(|e| sqlx::Error::Decode(Box::new(e)))?,
    })
}
