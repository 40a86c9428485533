//! Whom a key identifies, and why it does not.

use super::entries::Entry;
use crate::clock::Timestamp;
use crate::key::{KeyDigest, KeyId, KeyRecord};
use std::rc::Rc;
use std::sync::Arc;

/// The proof that a request's key is known and in force: [`super::Verifier`] and [`super::KeyCache::identify`] alone make
/// one. Cheap to clone, and of one thread: its holders are counted without a write to memory that others use.
#[derive(Clone)]
pub struct Principal(Rc<Seen>);

/// An entry as it was found, with what its stripe's counter showed before that.
pub(super) struct Seen {
    pub entry: Arc<Entry>,
    pub stamp: u64,
}

impl Principal {
    /// Who holds this key, if it is in force. What time it is, is asked only where that matters: of a key that has an end.
    ///
    /// # Errors
    /// When it is not in force.
    pub(super) fn prove(
        seen: Rc<Seen>,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Self, Unidentified> {
        let record = &seen.entry.record;
        if !record.enabled {
            return Err(Unidentified::Disabled(record.id));
        }
        if record.expires_at.is_some() && !record.is_in_force(now()) {
            return Err(Unidentified::Expired(record.id));
        }
        Ok(Principal(seen))
    }

    /// The digest that it was found by.
    pub fn digest(&self) -> KeyDigest {
        self.0.entry.digest
    }

    /// The key, as it was when it was identified.
    pub fn record(&self) -> &KeyRecord {
        &self.0.entry.record
    }
}

impl std::ops::Deref for Principal {
    type Target = KeyRecord;

    fn deref(&self) -> &KeyRecord {
        self.record()
    }
}

impl std::fmt::Debug for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Principal").field(&self.record().id).finish()
    }
}

/// Why a key identifies nobody. For the log: clients hear one answer for all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unidentified {
    #[error("what was sent cannot be a key")]
    Malformed,
    #[error("no such key")]
    Unknown,
    #[error("the key {0} is disabled")]
    Disabled(KeyId),
    #[error("the key {0} has expired")]
    Expired(KeyId),
}
