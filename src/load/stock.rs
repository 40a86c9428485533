//! Keys out of a key store: their texts as far as it shows them, and what keys from elsewhere are to it.

use super::keys::{Kind, LoadedKey};
use crate::clock::Timestamp;
use crate::key::{Digester, KeyDigest, KeyRecord, ShownKey, StoredKey};
use crate::store::{KeyStore, Sink, StoreError};
use std::collections::HashMap;
use zeroize::Zeroizing;

/// What a store shows.
pub struct Stock {
    /// The keys whose texts it can show.
    pub keys: Vec<LoadedKey>,
    /// How many there are besides.
    pub hidden: usize,
}

/// All keys of a store, the oldest first. Kinds are as of `now`.
///
/// # Errors
/// When the store cannot be read.
pub async fn from_store(store: &dyn KeyStore, now: Timestamp) -> Result<Stock, StoreError> {
    let mut stock = Stock {
        keys: Vec::new(),
        hidden: 0,
    };
    let mut sink = |key: StoredKey| match &key.shown {
        ShownKey::Whole(text) => stock.keys.push(LoadedKey {
            text: Zeroizing::new(text.expose().to_owned()),
            kind: kind_of(&key.record, now),
        }),
        ShownKey::Masked(_) => stock.hidden += 1,
    };
    store.reveal(&mut sink).await?;
    Ok(stock)
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
