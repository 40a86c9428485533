//! The map from digests to keys.
//!
//! An entry is one allocation: digest, record and count of holders. The map's own slots hold a pointer each, so that the
//! empty ones, of which a hash table has many, cost nine bytes and not fifty. The digest is random, so its first bytes
//! are its hash. All shards together are replaced by one pointer when everything is loaded again.

use super::principal::{Principal, Seen, Unidentified};
use crate::clock::Timestamp;
use crate::key::{ApiKey, Digester, KeyDigest, KeyRecord, Revision, ScopeName};
use crate::store::{Change, Sink};
use arc_swap::ArcSwap;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Slot;
use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shards of the map: many more than cores, so that two rarely meet in one.
const SHARDS: usize = 256;

/// Counters of changes, one for each first byte of a digest: a change makes one in so many remembered entries old.
const STRIPES: usize = 256;

type Map = DashMap<Held, (), BuildHasherDefault<FirstBytes>>;

/// A key with its digest.
pub(super) struct Entry {
    pub digest: KeyDigest,
    pub record: KeyRecord,
}

/// A slot of the map: found by the entry's digest.
#[derive(Clone)]
struct Held(Arc<Entry>);

impl Borrow<KeyDigest> for Held {
    fn borrow(&self) -> &KeyDigest {
        &self.0.digest
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}

impl Eq for Held {}

impl Hash for Held {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.digest.hash(state);
    }
}

/// Takes the number that a digest hashes to as it is.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Digests hash by `write_u64` alone; whatever else comes is spread well enough not to be wrong.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

/// The in-memory copy of every key.
pub struct KeyCache {
    digester: Digester,
    map: ArcSwap<Map>,
    revision: AtomicU64,
    /// Counts what was brought in, whatever it was.
    changes: AtomicU64,
    /// The same, by the digest's first byte: who remembers an entry knows by its stripe whether to look again.
    stripes: Box<[AtomicU64; STRIPES]>,
}

impl KeyCache {
    /// An empty copy for keys under this digester.
    pub(super) fn new(digester: Digester) -> Self {
        KeyCache {
            digester,
            map: ArcSwap::from_pointee(empty(0)),
            revision: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            stripes: Box::new([const { AtomicU64::new(0) }; STRIPES]),
        }
    }

    /// Whose key this is, if it is one that is in force now. For who asks seldom; a worker asks its [`super::Verifier`].
    ///
    /// # Errors
    /// When it is not: the log may hear why, a client must not.
    pub fn identify(
        &self,
        value: &[u8],
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Principal, Unidentified> {
        let digest = self.digest(value)?;
        let stamp = self.stamp(&digest);
        let entry = self.entry(&digest).ok_or(Unidentified::Unknown)?;
        Principal::prove(Rc::new(Seen { entry, stamp }), now)
    }

    /// The digest of what may be a key.
    ///
    /// # Errors
    /// When it cannot be one.
    pub(super) fn digest(&self, value: &[u8]) -> Result<KeyDigest, Unidentified> {
        if ApiKey::check(value).is_err() {
            return Err(Unidentified::Malformed);
        }
        Ok(self.digester.digest(value))
    }

    /// The entry of this digest, in force or not.
    pub(super) fn entry(&self, digest: &KeyDigest) -> Option<Arc<Entry>> {
        let map = self.map.load();
        map.get(digest).map(|slot| Arc::clone(&slot.key().0))
    }

    /// Moves on whenever this digest's entry may have changed. To be read before the entry is.
    pub(super) fn stamp(&self, digest: &KeyDigest) -> u64 {
        self.stripe(digest).load(Ordering::Acquire)
    }

    fn stripe(&self, digest: &KeyDigest) -> &AtomicU64 {
        &self.stripes[usize::from(digest.as_bytes()[0])]
    }

    /// The key of this digest as it is now, if it is in force.
    pub fn look_up(&self, digest: &KeyDigest, now: Timestamp) -> Option<KeyRecord> {
        let map = self.map.load();
        let slot = map.get(digest)?;
        let record = &slot.key().0.record;
        record.is_in_force(now).then(|| record.clone())
    }

    /// Counts up whenever anything in the cache may have changed: who remembers it knows whether to look again.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// How many keys there are, in force or not.
    pub fn len(&self) -> usize {
        self.map.load().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every change up to this one is in the cache.
    pub fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::Acquire))
    }

    /// Brings one change in; where the cache knows a later one of the same key, that stays.
    pub(super) fn apply(&self, change: Change, scopes: &mut ScopeNames) {
        let map = self.map.load();
        let changed = *change.digest();
        match change {
            Change::Put { digest, mut record } => {
                record.scope = scopes.one(record.scope);
                let revision = record.revision;
                match map.entry(Held(Arc::new(Entry { digest, record }))) {
                    // The slot's key is the entry itself, so the slot is replaced whole, under the shard's lock.
                    Slot::Occupied(slot) if slot.key().0.record.revision < revision => {
                        slot.replace_entry(());
                    }
                    Slot::Occupied(_) => {}
                    Slot::Vacant(slot) => {
                        slot.insert(());
                    }
                }
            }
            Change::Gone { digest, revision } => {
                map.remove_if(&digest, |held, ()| held.0.record.revision < revision);
            }
        }
        self.stripe(&changed).fetch_add(1, Ordering::Release);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Says that every change up to this one is in.
    pub(super) fn reached(&self, revision: Revision) {
        self.revision.store(revision.0, Ordering::Release);
    }

    /// Puts what was loaded in the place of everything, at once.
    pub(super) fn replace(&self, loaded: Loaded, revision: Revision) {
        self.map.store(Arc::new(loaded.map));
        for stripe in self.stripes.iter() {
            stripe.fetch_add(1, Ordering::Release);
        }
        self.changes.fetch_add(1, Ordering::Release);
        self.reached(revision);
    }

    /// Every digest and record, for tests that compare with a store.
    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<(KeyDigest, KeyRecord)> {
        let map = self.map.load();
        map.iter()
            .map(|slot| (slot.key().0.digest, slot.key().0.record.clone()))
            .collect()
    }
}

fn empty(keys: usize) -> Map {
    DashMap::with_capacity_and_hasher_and_shard_amount(keys, BuildHasherDefault::default(), SHARDS)
}

/// The scopes of the cache's keys: equal names share one allocation.
#[derive(Default)]
pub(super) struct ScopeNames(HashSet<ScopeName>);

impl ScopeNames {
    fn one(&mut self, scope: ScopeName) -> ScopeName {
        if let Some(known) = self.0.get(&scope) {
            return known.clone();
        }
        self.0.insert(scope.clone());
        scope
    }
}

/// All keys of a store, on their way into the cache.
pub(super) struct Loaded {
    map: Map,
    pub scopes: ScopeNames,
}

impl Loaded {
    /// Nothing yet.
    pub fn new() -> Self {
        Loaded {
            map: empty(0),
            scopes: ScopeNames::default(),
        }
    }
}

impl Sink for Loaded {
    fn expect(&mut self, keys: usize) {
        // A little more than there are, so that the fullest shard does not have to grow.
        self.map = empty(keys + keys / 32);
    }

    fn key(&mut self, digest: KeyDigest, mut record: KeyRecord) {
        record.scope = self.scopes.one(record.scope);
        self.map
            .insert(Held(Arc::new(Entry { digest, record })), ());
    }
}
