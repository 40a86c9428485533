//! What the key cache holds of each key.

use super::{KeyId, KeyName, ScopeName};
use crate::clock::Timestamp;

/// A point in the life of a store: every change makes the next one. Compared only within one epoch of the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Revision(pub u64);

/// One key without its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRecord {
    /// The public identifier.
    pub id: KeyId,
    /// False: refused as if unknown.
    pub enabled: bool,
    /// The label; sent to the upstream in `X-Keygate-Key-Name`.
    pub name: KeyName,
    /// The one scope of the key.
    pub scope: ScopeName,
    /// When it was made.
    pub created_at: Timestamp,
    /// The first second in which it is refused, if there is one.
    pub expires_at: Option<Timestamp>,
    /// The change that made this record what it is; the higher one wins.
    pub revision: Revision,
}

impl KeyRecord {
    /// Whether the key opens anything at this second.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.enabled && self.expires_at.is_none_or(|end| now < end)
    }
}
