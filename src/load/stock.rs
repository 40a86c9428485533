//! Keys out of a key store: their texts as far as it shows them, and what keys from elsewhere are to it.

use super::keys::{Kind, LoadedKey};
use crate::clock::Timestamp;
use crate::key::{Actor, CommandError, Digester, KeyDigest, KeyRecord, ListQuery, ShownKey};
use crate::store::{KeyStore, Sink, StoreError};
use std::collections::{HashMap, HashSet};
use zeroize::Zeroizing;

/// Keys that are read from the store at once.
const PER_PAGE: u64 = 1_000;

/// All keys of a store whose texts it can show. Kinds are as of `now`.
///
/// # Errors
/// When the store cannot be read.
pub async fn from_store(
    store: &dyn KeyStore,
    now: Timestamp,
) -> Result<Vec<LoadedKey>, CommandError> {
    let mut query = ListQuery {
        scope: None,
        search: None,
        page: 1,
        per_page: PER_PAGE,
    };
    let (mut keys, mut seen) = (Vec::new(), HashSet::new());
    loop {
        let page = store.list(&Actor::Operator, &query).await?;
        let is_last = page.keys.is_empty() || query.page.saturating_mul(PER_PAGE) >= page.total;
        for key in page.keys {
            // A key that was made meanwhile moves the others down, onto the next page.
            if let ShownKey::Whole(text) = &key.shown
                && seen.insert(key.record.id)
            {
                keys.push(LoadedKey {
                    text: Zeroizing::new(text.expose().to_owned()),
                    kind: kind_of(&key.record, now),
                });
            }
        }
        if is_last {
            return Ok(keys);
        }
        query.page += 1;
    }
}

fn kind_of(record: &KeyRecord, now: Timestamp) -> Kind {
    if !record.enabled {
        Kind::Disabled
    } else if record.is_in_force(now) {
        Kind::Valid(Some(record.scope.clone()))
    } else {
        Kind::Expired
    }
}

/// What a store knows of each key, without the texts.
pub struct Records {
    digester: Digester,
    kinds: HashMap<KeyDigest, Kind>,
}

impl Records {
    /// Of all keys of a store, as of `now`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: &dyn KeyStore, now: Timestamp) -> Result<Self, StoreError> {
        struct Kinds(HashMap<KeyDigest, Kind>, Timestamp);
        impl Sink for Kinds {
            fn expect(&mut self, keys: usize) {
                self.0.reserve(keys);
            }
            fn key(&mut self, digest: KeyDigest, record: KeyRecord) {
                self.0.insert(digest, kind_of(&record, self.1));
            }
        }
        let mut kinds = Kinds(HashMap::new(), now);
        store.load(&mut kinds).await?;
        Ok(Records {
            digester: store.digester().clone(),
            kinds: kinds.0,
        })
    }

    /// Gives the scope to keys that are said to be valid and nothing more.
    pub fn complete(&self, keys: &mut [LoadedKey]) {
        for key in keys {
            if key.kind == Kind::Valid(None) {
                let digest = self.digester.digest(key.text.as_bytes());
                key.kind = self.kinds.get(&digest).cloned().unwrap_or(Kind::Unknown);
            }
        }
    }
}
