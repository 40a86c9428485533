//! What happens inside the one transaction of a command.
//!
//! First the key that asks is read again and judged, then the key that is named is found, then it must be another than
//! the one that asks, then the scopes are compared, before and after the change. Only then something is written: the row,
//! a tombstone for a deletion, the audit row, all under the next revision.

use super::audit::{self, Entry};
use super::read::{admitted, find};
use super::row::{KeyRow, Reader, column, epoch, key_columns, revision};
use super::{Fault, lower_case};
use crate::clock::Timestamp;
use crate::key::{
    Actor, ApiKey, Command, Denial, KeyChange, KeyDigest, KeyId, KeyRecord, KeySelector, NewKey,
    Origin, Reveal, Revision, ScopeName, ShownKey, StoredKey,
};
use crate::store::cipher::{Cipher, SECRET_NUMBER};
use crate::store::{AuditAction, Change, Epoch};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use serde_json::{Map, Value, json};
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

/// How long the feed can tell of a deletion.
const TOMBSTONES_KEPT_SECONDS: i64 = 7 * 24 * 60 * 60;

/// What a command came to, before it is committed.
pub(super) enum Outcome {
    /// Nothing to write.
    Same(StoredKey),
    /// Written.
    Changed {
        key: StoredKey,
        change: Change,
        epoch: Epoch,
        token: [u8; 16],
    },
}

/// One command and all that it needs.
pub(super) struct Work<'a> {
    pub connection: &'a mut SqliteConnection,
    pub cipher: &'a Cipher,
    pub random: &'a SystemRandom,
    pub origin: &'a Origin,
    pub reveal: Reveal,
    pub now: Timestamp,
}

impl Work<'_> {
    /// Judges and writes; the transaction around it is the caller's.
    pub async fn run(mut self, command: Command) -> Result<Outcome, Fault> {
        let asking = admitted(self.connection, &self.origin.actor, self.now).await?;
        match command {
            Command::Create(new) => self.create(asking.as_ref(), new).await,
            Command::Update(target, change) => self.update(asking.as_ref(), &target, change).await,
            Command::Delete(target) => self.delete(asking.as_ref(), &target).await,
        }
    }

    async fn create(&mut self, asking: Option<&KeyRecord>, new: NewKey) -> Result<Outcome, Fault> {
        self.permits(asking, &new.scope)?;
        if new.if_absent
            && let Some(found) = self.oldest_of_name(new.name.as_str()).await?
        {
            self.permits(asking, &found.record.scope)?;
            return Ok(Outcome::Same(self.shown(found)));
        }
        let key = match new.brought {
            Some(key) => {
                self.refuse_known(&key).await?;
                key
            }
            None => ApiKey::generate(self.random),
        };
        let (revision, epoch) = self.next_revision().await?;
        let record = KeyRecord {
            id: KeyId::generate(self.random),
            enabled: new.enabled,
            name: new.name,
            scope: new.scope,
            created_at: self.now,
            expires_at: new.expires_at,
            revision,
        };
        let digest = self.cipher.digester().digest(key.expose().as_bytes());
        let sealed = match self.reveal {
            Reveal::Always => Some(self.cipher.seal(&record.id, &key)),
            Reveal::Once => None,
        };
        sqlx::query(
            "INSERT INTO keys (id, digest, sealed, masked, name, name_lower, scope, enabled, created_at, expires_at, \
             revision, secret) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(record.id.as_str())
        .bind(digest.as_bytes().as_slice())
        .bind(sealed)
        .bind(key.masked())
        .bind(record.name.as_str())
        .bind(lower_case(record.name.as_str()))
        .bind(record.scope.as_str())
        .bind(record.enabled)
        .bind(record.created_at.unix_seconds())
        .bind(record.expires_at.map(Timestamp::unix_seconds))
        .bind(column(revision))
        .bind(SECRET_NUMBER)
        .execute(&mut *self.connection)
        .await?;
        let token = self
            .audit(
                AuditAction::Create,
                revision,
                &record.id,
                differences(None, Some(&record)),
            )
            .await?;
        Ok(Outcome::Changed {
            change: Change::Put {
                digest,
                record: record.clone(),
            },
            key: StoredKey {
                record,
                shown: ShownKey::Whole(key),
            },
            epoch,
            token,
        })
    }

    async fn update(
        &mut self,
        asking: Option<&KeyRecord>,
        target: &KeySelector,
        wanted: KeyChange,
    ) -> Result<Outcome, Fault> {
        let found = self.other_key(asking, target).await?;
        self.permits(asking, &found.record.scope)?;
        let before = found.record.clone();
        let mut after = before.clone();
        if let Some(name) = wanted.name {
            after.name = name;
        }
        if let Some(scope) = wanted.scope {
            after.scope = scope;
        }
        if let Some(enabled) = wanted.enabled {
            after.enabled = enabled;
        }
        if let Some(expires_at) = wanted.expires_at {
            after.expires_at = expires_at;
        }
        self.permits(asking, &after.scope)?;
        if after == before {
            return Ok(Outcome::Same(self.shown(found)));
        }
        let (revision, epoch) = self.next_revision().await?;
        after.revision = revision;
        sqlx::query(
            "UPDATE keys SET name = ?, name_lower = ?, scope = ?, enabled = ?, expires_at = ?, revision = ? WHERE id = ?",
        )
        .bind(after.name.as_str())
        .bind(lower_case(after.name.as_str()))
        .bind(after.scope.as_str())
        .bind(after.enabled)
        .bind(after.expires_at.map(Timestamp::unix_seconds))
        .bind(column(after.revision))
        .bind(after.id.as_str())
        .execute(&mut *self.connection)
        .await?;
        let changes = differences(Some(&before), Some(&after));
        let token = self
            .audit(AuditAction::Update, after.revision, &after.id, changes)
            .await?;
        let digest = found.digest;
        let shown = self.shown(found).shown;
        Ok(Outcome::Changed {
            change: Change::Put {
                digest,
                record: after.clone(),
            },
            key: StoredKey {
                record: after,
                shown,
            },
            epoch,
            token,
        })
    }

    async fn delete(
        &mut self,
        asking: Option<&KeyRecord>,
        target: &KeySelector,
    ) -> Result<Outcome, Fault> {
        let found = self.other_key(asking, target).await?;
        self.permits(asking, &found.record.scope)?;
        let (revision, epoch) = self.next_revision().await?;
        sqlx::query("DELETE FROM keys WHERE id = ?")
            .bind(found.record.id.as_str())
            .execute(&mut *self.connection)
            .await?;
        sqlx::query("INSERT INTO tombstones (revision, digest, deleted_at) VALUES (?, ?, ?)")
            .bind(column(revision))
            .bind(found.digest.as_bytes().as_slice())
            .bind(self.now.unix_seconds())
            .execute(&mut *self.connection)
            .await?;
        let changes = differences(Some(&found.record), None);
        let token = self
            .audit(AuditAction::Delete, revision, &found.record.id, changes)
            .await?;
        Ok(Outcome::Changed {
            change: Change::Gone {
                digest: found.digest,
                revision,
            },
            key: self.shown(found),
            epoch,
            token,
        })
    }

    /// The named key, which must not be the one that asks.
    async fn other_key(
        &mut self,
        asking: Option<&KeyRecord>,
        target: &KeySelector,
    ) -> Result<KeyRow, Fault> {
        let found = find(self.connection, target)
            .await?
            .ok_or(Denial::NotFound)?;
        if asking.is_some_and(|asking| asking.id == found.record.id) {
            return Err(Denial::SelfAction.into());
        }
        Ok(found)
    }

    /// Whether the actor may act on a key of this scope.
    fn permits(&self, asking: Option<&KeyRecord>, scope: &ScopeName) -> Result<(), Denial> {
        match (&self.origin.actor, asking) {
            (Actor::Operator, _) => Ok(()),
            (Actor::Key(authority, _), Some(asking)) if authority.permits(&asking.scope, scope) => {
                Ok(())
            }
            (Actor::Key(..), Some(_)) => Err(Denial::TargetAbove),
            (Actor::Key(..), None) => Err(Denial::ActorGone),
        }
    }

    fn shown(&self, row: KeyRow) -> StoredKey {
        match self.reveal {
            Reveal::Always => row.unsealed(self.cipher),
            Reveal::Once => row.masked(),
        }
    }

    async fn oldest_of_name(&mut self, name: &str) -> Result<Option<KeyRow>, Fault> {
        let row = sqlx::query(concat!(
            "SELECT ",
            key_columns!(),
            " FROM keys WHERE name = ? ORDER BY created_at, revision LIMIT 1"
        ))
        .bind(name)
        .fetch_optional(&mut *self.connection)
        .await?;
        Ok(row.map(|row| Reader::default().key(&row)).transpose()?)
    }

    /// A brought key must be new, and must not be the id of another key: paths name keys by either.
    async fn refuse_known(&mut self, key: &ApiKey) -> Result<(), Fault> {
        let digest: KeyDigest = self.cipher.digester().digest(key.expose().as_bytes());
        let known: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM keys WHERE digest = ? OR id = ?)")
                .bind(digest.as_bytes().as_slice())
                .bind(key.expose())
                .fetch_one(&mut *self.connection)
                .await?;
        if known {
            Err(Denial::Duplicate.into())
        } else {
            Ok(())
        }
    }

    /// Takes the next revision, and forgets deletions that are old enough.
    async fn next_revision(&mut self) -> Result<(Revision, Epoch), Fault> {
        let horizon = self
            .now
            .unix_seconds()
            .saturating_sub(TOMBSTONES_KEPT_SECONDS);
        let forgotten: Option<i64> =
            sqlx::query_scalar("SELECT max(revision) FROM tombstones WHERE deleted_at < ?")
                .bind(horizon)
                .fetch_one(&mut *self.connection)
                .await?;
        if let Some(floor) = forgotten {
            sqlx::query("UPDATE meta SET tombstone_floor = max(tombstone_floor, ?)")
                .bind(floor)
                .execute(&mut *self.connection)
                .await?;
            sqlx::query("DELETE FROM tombstones WHERE deleted_at < ?")
                .bind(horizon)
                .execute(&mut *self.connection)
                .await?;
        }
        let row = sqlx::query("UPDATE meta SET revision = revision + 1 RETURNING revision, epoch")
            .fetch_one(&mut *self.connection)
            .await?;
        Ok((revision(row.try_get(0)?)?, epoch(row.try_get(1)?)?))
    }

    async fn audit(
        &mut self,
        action: AuditAction,
        revision: Revision,
        key: &KeyId,
        changes: Value,
    ) -> Result<[u8; 16], Fault> {
        let mut token = [0u8; 16];
        self.random
            .fill(&mut token)
            .expect("the system's random generator works");
        let entry = Entry {
            revision,
            token: &token,
            time: self.now,
            origin: self.origin,
            action,
            key,
            changes,
        };
        audit::write(self.connection, &entry).await?;
        Ok(token)
    }
}

/// What differs between two states of a key, field by field; a key that is not there has `null` in each.
fn differences(before: Option<&KeyRecord>, after: Option<&KeyRecord>) -> Value {
    let fields = |record: Option<&KeyRecord>| {
        let Some(record) = record else {
            return [Value::Null, Value::Null, Value::Null, Value::Null];
        };
        [
            json!(record.name.as_str()),
            json!(record.scope.as_str()),
            json!(record.enabled),
            json!(record.expires_at.map(Timestamp::unix_seconds)),
        ]
    };
    let names = ["name", "scope", "enabled", "expiresAt"];
    let mut changed = Map::new();
    for ((name, old), new) in names.into_iter().zip(fields(before)).zip(fields(after)) {
        if old != new {
            changed.insert(name.to_owned(), json!({ "old": old, "new": new }));
        }
    }
    Value::Object(changed)
}
