//! Reading keys: one, or a page of them, as far down as the one who asks may see.

use super::row::{KeyRow, Reader, key_columns};
use super::{Fault, lower_case};
use crate::clock::Timestamp;
use crate::key::{Actor, Denial, KeyId, KeyRecord, KeySelector, ListQuery, Page, StoredKey};
use crate::store::cipher::Cipher;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

/// The key that asks, read again and found in force and strong enough; `None` for the operator.
pub(super) async fn admitted(
    connection: &mut SqliteConnection,
    actor: &Actor,
    now: Timestamp,
) -> Result<Option<KeyRecord>, Fault> {
    match actor {
        Actor::Operator => Ok(None),
        Actor::Key(authority, id) => {
            let asking = by_id(connection, id).await?.map(|row| row.record);
            Ok(Some(authority.admits(asking.as_ref(), now)?.clone()))
        }
    }
}

/// The key that a selector names: by its text first, since an existing key may look like an id.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    selector: &KeySelector,
) -> Result<Option<KeyRow>, sqlx::Error> {
    let row = sqlx::query(concat!(
        "SELECT ",
        key_columns!(),
        " FROM keys WHERE digest = ?"
    ))
    .bind(selector.digest.as_bytes().as_slice())
    .fetch_optional(&mut *connection)
    .await?;
    match (row, &selector.id) {
        (Some(row), _) => Reader::default().key(&row).map(Some),
        (None, Some(id)) => by_id(connection, id).await,
        (None, None) => Ok(None),
    }
}

async fn by_id(
    connection: &mut SqliteConnection,
    id: &KeyId,
) -> Result<Option<KeyRow>, sqlx::Error> {
    let row = sqlx::query(concat!(
        "SELECT ",
        key_columns!(),
        " FROM keys WHERE id = ?"
    ))
    .bind(id.as_str())
    .fetch_optional(connection)
    .await?;
    row.map(|row| Reader::default().key(&row)).transpose()
}

/// One key, if the actor may see it.
pub(super) async fn get(
    connection: &mut SqliteConnection,
    cipher: &Cipher,
    actor: &Actor,
    selector: &KeySelector,
    now: Timestamp,
) -> Result<StoredKey, Fault> {
    let asking = admitted(connection, actor, now).await?;
    let found = find(connection, selector).await?.ok_or(Denial::NotFound)?;
    match (actor, asking) {
        (Actor::Key(authority, _), Some(asking))
            if !authority.permits(&asking.scope, &found.record.scope) =>
        {
            Err(Denial::TargetAbove.into())
        }
        _ => Ok(found.unsealed(cipher)),
    }
}

/// A page of keys; what the actor may not see is neither shown nor counted.
pub(super) async fn list(
    connection: &mut SqliteConnection,
    cipher: &Cipher,
    actor: &Actor,
    query: &ListQuery,
    now: Timestamp,
) -> Result<Page, Fault> {
    let asking = admitted(connection, actor, now).await?;
    let visible = match (actor, &asking) {
        (Actor::Key(authority, _), Some(asking)) => {
            let names = authority.scopes.included_by(&asking.scope);
            Some(serde_json::json!(names.map(|s| s.as_str()).collect::<Vec<_>>()).to_string())
        }
        _ => None,
    };
    let scope = query.scope.as_ref().map(|scope| scope.as_str());
    let search = query.search.as_deref().filter(|text| !text.is_empty());
    let search = search.map(lower_case);
    let size = query.per_page.clamp(1, 1000);
    let offset = query.page.saturating_sub(1).saturating_mul(size);
    let size = i64::try_from(size).expect("it was clamped to 1000");
    let offset = i64::try_from(offset).unwrap_or(i64::MAX);

    // Two forms, so that counting without a search is answered from an index alone.
    let count: i64 = match &search {
        None => {
            sqlx::query_scalar(
                "SELECT count(*) FROM keys WHERE (?1 IS NULL OR scope = ?1) \
                 AND (?2 IS NULL OR scope IN (SELECT value FROM json_each(?2)))",
            )
            .bind(scope)
            .bind(&visible)
            .fetch_one(&mut *connection)
            .await?
        }
        Some(search) => {
            sqlx::query_scalar(
                "SELECT count(*) FROM keys WHERE (?1 IS NULL OR scope = ?1) \
                 AND (?2 IS NULL OR scope IN (SELECT value FROM json_each(?2))) AND instr(name_lower, ?3) > 0",
            )
            .bind(scope)
            .bind(&visible)
            .bind(search)
            .fetch_one(&mut *connection)
            .await?
        }
    };
    let rows: Vec<SqliteRow> = if offset >= count {
        Vec::new()
    } else {
        sqlx::query(concat!(
            "SELECT ",
            key_columns!(),
            " FROM keys WHERE (?1 IS NULL OR scope = ?1) \
             AND (?2 IS NULL OR scope IN (SELECT value FROM json_each(?2))) \
             AND (?3 IS NULL OR instr(name_lower, ?3) > 0) \
             ORDER BY created_at DESC, revision DESC LIMIT ?4 OFFSET ?5"
        ))
        .bind(scope)
        .bind(&visible)
        .bind(&search)
        .bind(size)
        .bind(offset)
        .fetch_all(&mut *connection)
        .await?
    };
    let mut reader = Reader::default();
    let keys = rows
        .iter()
        .map(|row| Ok(reader.key(row)?.unsealed(cipher)))
        .collect::<Result<Vec<_>, sqlx::Error>>()?;
    Ok(Page {
        keys,
        total: u64::try_from(count).unwrap_or(0),
    })
}

/// Every key with its text, oldest first. By pages that begin where the last one ended, so that a million keys take as long
/// for each as a thousand.
pub(super) async fn all(
    connection: &mut SqliteConnection,
    cipher: &Cipher,
    sink: &mut (dyn FnMut(StoredKey) + Send),
) -> Result<(), sqlx::Error> {
    let mut reader = Reader::default();
    let mut after = i64::MIN;
    loop {
        let rows = sqlx::query(concat!(
            "SELECT ",
            key_columns!(),
            ", rowid FROM keys WHERE rowid > ? ORDER BY rowid LIMIT 1024"
        ))
        .bind(after)
        .fetch_all(&mut *connection)
        .await?;
        let Some(last) = rows.last() else {
            return Ok(());
        };
        after = last.try_get("rowid")?;
        for row in &rows {
            sink(reader.key(row)?.unsealed(cipher));
        }
    }
}
