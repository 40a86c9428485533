//! The feed: where the store is, what was changed after a revision, and everything at once.

use super::row::{Reader, column, epoch, record_columns, record_line, revision};
use crate::key::{KeyDigest, Revision};
use crate::store::{Change, Changes, Epoch, Position, Sink};
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

/// Most rows of one kind in one answer.
pub(super) const BATCH: usize = 10_000;

/// The single row of `meta`.
struct Meta {
    epoch: Epoch,
    revision: Revision,
    tombstone_floor: Revision,
}

async fn meta(connection: &mut SqliteConnection) -> Result<Meta, sqlx::Error> {
    let row = sqlx::query("SELECT epoch, revision, tombstone_floor FROM meta")
        .fetch_one(connection)
        .await?;
    Ok(Meta {
        epoch: epoch(row.try_get(0)?)?,
        revision: revision(row.try_get(1)?)?,
        tombstone_floor: revision(row.try_get(2)?)?,
    })
}

/// Where the store is.
pub(super) async fn position(
    connection: &mut SqliteConnection,
    opening: u32,
) -> Result<Position, sqlx::Error> {
    let meta = meta(connection).await?;
    Ok(Position {
        epoch: meta.epoch,
        revision: meta.revision,
        opening,
    })
}

/// What was changed after `since`; inside one read transaction.
pub(super) async fn changes(
    connection: &mut SqliteConnection,
    since: Position,
    opening: u32,
) -> Result<Changes, sqlx::Error> {
    let meta = meta(connection).await?;
    if meta.epoch != since.epoch
        || opening != since.opening
        || meta.revision < since.revision
        || since.revision < meta.tombstone_floor
    {
        return Ok(Changes::Reload);
    }
    let batch = i64::try_from(BATCH).expect("the batch is small");
    let put = sqlx::query(concat!(
        "SELECT ",
        record_columns!(),
        " FROM keys WHERE revision > ? ORDER BY revision LIMIT ?"
    ))
    .bind(column(since.revision))
    .bind(batch)
    .fetch_all(&mut *connection)
    .await?;
    let gone = sqlx::query(
        "SELECT digest, revision FROM tombstones WHERE revision > ? ORDER BY revision LIMIT ?",
    )
    .bind(column(since.revision))
    .bind(batch)
    .fetch_all(&mut *connection)
    .await?;

    let mut reader = Reader::default();
    let put = put
        .iter()
        .map(|row| {
            let (digest, record) = reader.record(row)?;
            Ok(Change::Put { digest, record })
        })
        .collect::<Result<Vec<_>, sqlx::Error>>()?;
    let gone = gone
        .iter()
        .map(|row| {
            let digest: &[u8] = row.try_get(0)?;
            let digest = digest
                .try_into()
                .map_err(|_| sqlx::Error::Decode("a digest has 32 bytes".into()))?;
            Ok(Change::Gone {
                digest: KeyDigest::from_bytes(digest),
                revision: revision(row.try_get(1)?)?,
            })
        })
        .collect::<Result<Vec<_>, sqlx::Error>>()?;

    // Where one kind was cut off, the steps are complete only up to there.
    let complete = |steps: &[Change]| match steps.last() {
        Some(last) if steps.len() == BATCH => last.revision(),
        _ => meta.revision,
    };
    let end = complete(&put).min(complete(&gone));
    let mut steps = put;
    steps.extend(gone);
    steps.retain(|step| step.revision() <= end);
    steps.sort_by_key(Change::revision);
    Ok(Changes::Steps {
        steps,
        position: Position {
            revision: end,
            ..since
        },
        more: end < meta.revision,
    })
}

/// Hands over every key; inside one read transaction.
///
/// Every value of every row that sqlx hands over is an allocation of its own and every row a message between threads,
/// which made up most of the time. So SQLite puts some thousand records into one text, a line each: no field can have
/// a control character.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    opening: u32,
    sink: &mut dyn Sink,
) -> Result<Position, sqlx::Error> {
    let position = position(connection, opening).await?;
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM keys")
        .fetch_one(&mut *connection)
        .await?;
    sink.expect(usize::try_from(count).unwrap_or(0));
    let mut reader = Reader::default();
    let mut after = i64::MIN;
    loop {
        let row = sqlx::query(concat!(
            "SELECT max(row), group_concat(line, char(10)) FROM (SELECT rowid AS row, ",
            record_line!(),
            " AS line FROM keys WHERE rowid > ? ORDER BY rowid LIMIT 4096)"
        ))
        .bind(after)
        .fetch_one(&mut *connection)
        .await?;
        let Some(last) = row.try_get::<Option<i64>, _>(0)? else {
            return Ok(position);
        };
        after = last;
        let lines: &str = row.try_get(1)?;
        for line in lines.split('\n') {
            let (digest, record) = reader.record_of_line(line)?;
            sink.key(digest, record);
        }
    }
}
