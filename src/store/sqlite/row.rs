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

/// The same columns as one line of text, as [`Reader::record_of_line`] takes it: the digest in hexadecimal, fields
/// parted by U+001F.
macro_rules! record_line {
    () => {
        "concat_ws(char(31), id, hex(digest), name, scope, enabled, created_at, ifnull(expires_at, ''), revision)"
    };
}

/// The columns of a key with what can be shown of it, in the order that [`Reader::key`] takes them.
macro_rules! key_columns {
    () => {
        "id, digest, name, scope, enabled, created_at, expires_at, revision, masked, sealed"
    };
}

pub(super) use {key_columns, record_columns, record_line};

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

/// A record's fields before they are checked.
struct Fields<'a> {
    id: &'a str,
    digest: Option<[u8; 32]>,
    name: &'a str,
    scope: &'a str,
    enabled: bool,
    created_at: i64,
    expires_at: Option<i64>,
    revision: i64,
}

impl Reader {
    /// A record, from [`record_columns`].
    ///
    /// # Errors
    /// When a field does not have its form: the row was not written by us.
    pub fn record(&mut self, row: &SqliteRow) -> Result<(KeyDigest, KeyRecord), sqlx::Error> {
        let digest: &[u8] = row.try_get_unchecked(1)?;
        let fields = Fields {
            id: row.try_get_unchecked(0)?,
            digest: digest.try_into().ok(),
            name: row.try_get_unchecked(2)?,
            scope: row.try_get_unchecked(3)?,
            enabled: row.try_get_unchecked::<i64, _>(4)? != 0,
            created_at: row.try_get_unchecked(5)?,
            expires_at: row.try_get_unchecked(6)?,
            revision: row.try_get_unchecked(7)?,
        };
        self.checked(fields)
    }

    /// A record, from [`record_line`].
    ///
    /// # Errors
    /// As [`Reader::record`].
    pub fn record_of_line(&mut self, line: &str) -> Result<(KeyDigest, KeyRecord), sqlx::Error> {
        let mut parts = line.split('\x1f');
        let mut next = || parts.next().unwrap_or_default();
        let id = next();
        let number = |text: &str| text.parse::<i64>().map_err(|e| unreadable(id, e));
        let fields = Fields {
            id,
            digest: digest_of_hex(next()),
            name: next(),
            scope: next(),
            enabled: next() != "0",
            created_at: number(next())?,
            expires_at: match next() {
                "" => None,
                end => Some(number(end)?),
            },
            revision: number(next())?,
        };
        match parts.next() {
            None => self.checked(fields),
            Some(_) => Err(unreadable(id, "a field has a control character")),
        }
    }

    fn checked(&mut self, fields: Fields<'_>) -> Result<(KeyDigest, KeyRecord), sqlx::Error> {
        let id = KeyId::from_str(fields.id).map_err(|e| unreadable(fields.id, e))?;
        let digest = fields
            .digest
            .ok_or_else(|| unreadable(fields.id, "a digest has 32 bytes"))?;
        let scope = match self.scopes.get(fields.scope) {
            Some(known) => known.clone(),
            None => {
                let new = ScopeName::parse(fields.scope).map_err(|e| unreadable(fields.id, e))?;
                self.scopes.insert(fields.scope.into(), new.clone());
                new
            }
        };
        let record = KeyRecord {
            id,
            enabled: fields.enabled,
            name: KeyName::parse(fields.name).map_err(|e| unreadable(fields.id, e))?,
            scope,
            created_at: Timestamp::from_unix_seconds(fields.created_at),
            expires_at: fields.expires_at.map(Timestamp::from_unix_seconds),
            revision: revision(fields.revision)?,
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

/// 32 bytes from 64 hexadecimal digits.
fn digest_of_hex(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    };
    let mut bytes = [0u8; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
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
