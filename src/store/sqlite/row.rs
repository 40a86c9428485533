//! From rows to keys.

use crate::clock::Timestamp;
use crate::key::{KeyDigest, KeyId, KeyName, KeyRecord, Revision, ScopeName, ShownKey, StoredKey};
use crate::store::Epoch;
use crate::store::cipher::Cipher;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::collections::HashMap;
use std::str::FromStr;

/// The columns of a record, in the order that [`Reader::record`] takes them.
macro_rules! record_columns {
    () => {
        "id, digest, name, scope, enabled, created_at, expires_at, revision"
    };
}

/// The columns of a key with what can be shown of it, in the order that [`Reader::key`] takes them.
macro_rules! key_columns {
    () => {
        "id, digest, name, scope, enabled, created_at, expires_at, revision, masked, sealed"
    };
}

pub(super) use {key_columns, record_columns};

/// Reads rows; equal scopes come out as one.
#[derive(Default)]
pub(super) struct Reader {
    scopes: HashMap<Box<str>, ScopeName>,
}

/// A key as its row has it.
pub(super) struct KeyRow {
    pub digest: KeyDigest,
    pub record: KeyRecord,
    masked: String,
    sealed: Option<Vec<u8>>,
}

impl KeyRow {
    /// With its text, where that is kept and opens.
    pub fn unsealed(self, cipher: &Cipher) -> StoredKey {
        let opened = self
            .sealed
            .map(|sealed| cipher.unseal(&self.record.id, &sealed));
        let shown = match opened {
            Some(Some(key)) => ShownKey::Whole(key),
            Some(None) => {
                tracing::error!(key.id = %self.record.id, "what is sealed of a key does not open: the row was changed");
                ShownKey::Masked(self.masked)
            }
            None => ShownKey::Masked(self.masked),
        };
        StoredKey {
            record: self.record,
            shown,
        }
    }

    /// Without its text.
    pub fn masked(self) -> StoredKey {
        StoredKey {
            record: self.record,
            shown: ShownKey::Masked(self.masked),
        }
    }
}

impl Reader {
    /// A record, from [`record_columns`].
    ///
    /// # Errors
    /// When a field does not have its form: the row was not written by us.
    pub fn record(&mut self, row: &SqliteRow) -> Result<(KeyDigest, KeyRecord), sqlx::Error> {
        let id: &str = row.try_get_unchecked(0)?;
        let id = KeyId::from_str(id).map_err(|e| unreadable(id, e))?;
        let wrong = |e: Box<dyn std::error::Error + Send + Sync>| unreadable(id.as_str(), e);
        let digest: &[u8] = row.try_get_unchecked(1)?;
        let digest = digest
            .try_into()
            .map_err(|_| wrong("a digest has 32 bytes".into()))?;
        let name: &str = row.try_get_unchecked(2)?;
        let name = KeyName::parse(name).map_err(|e| wrong(e.into()))?;
        let scope: &str = row.try_get_unchecked(3)?;
        let scope = match self.scopes.get(scope) {
            Some(known) => known.clone(),
            None => {
                let new = ScopeName::parse(scope).map_err(|e| wrong(e.into()))?;
                self.scopes.insert(scope.into(), new.clone());
                new
            }
        };
        let record = KeyRecord {
            id,
            enabled: row.try_get_unchecked::<i64, _>(4)? != 0,
            name,
            scope,
            created_at: Timestamp::from_unix_seconds(row.try_get_unchecked(5)?),
            expires_at: row
                .try_get_unchecked::<Option<i64>, _>(6)?
                .map(Timestamp::from_unix_seconds),
            revision: revision(row.try_get_unchecked(7)?)?,
        };
        Ok((KeyDigest::from_bytes(digest), record))
    }

    /// A key, from [`key_columns`].
    ///
    /// # Errors
    /// As [`Reader::record`].
    pub fn key(&mut self, row: &SqliteRow) -> Result<KeyRow, sqlx::Error> {
        let (digest, record) = self.record(row)?;
        Ok(KeyRow {
            digest,
            record,
            masked: row.try_get(8)?,
            sealed: row.try_get(9)?,
        })
    }
}

/// A revision, as a column has it.
pub(super) fn revision(value: i64) -> Result<Revision, sqlx::Error> {
    u64::try_from(value)
        .map(Revision)
        .map_err(|e| sqlx::Error::Decode(Box::new(e)))
}

/// An epoch, as a column has it.
pub(super) fn epoch(bytes: &[u8]) -> Result<Epoch, sqlx::Error> {
    match bytes.try_into() {
        Ok(bytes) => Ok(Epoch(bytes)),
        Err(_) => Err(sqlx::Error::Decode("an epoch has 16 bytes".into())),
    }
}

/// A revision, as a column takes it.
pub(super) fn column(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

fn unreadable(id: &str, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Decode(format!("the row of the key {id:?}: {}", why.into()).into())
}
