//! What may be asked of a store of keys, by whom, and what comes back.
//!
//! One shape for both doors: the management API makes these from HTTP, `keygate keys` from arguments. A [`Command`]
//! changes something and runs in one transaction, in which the [`Actor`]'s own key is read again. Whether it may is
//! decided by one pure function, [`Authority::permits`], that sees the rows as the transaction sees them.

use super::{ApiKey, Digester, KeyDigest, KeyId, KeyName, KeyRecord, ScopeName, Scopes};
use crate::clock::Timestamp;
use std::str::FromStr;
use std::sync::Arc;

/// A change to the store.
pub enum Command {
    /// Make this key.
    Create(NewKey),
    /// Change this key so.
    Update(KeySelector, KeyChange),
    /// Delete this key.
    Delete(KeySelector),
}

/// A key to be made.
pub struct NewKey {
    pub name: KeyName,
    pub scope: ScopeName,
    pub enabled: bool,
    pub expires_at: Option<Timestamp>,
    /// An existing key to be brought in; otherwise one is made.
    pub brought: Option<ApiKey>,
    /// Return the oldest key of this name, unchanged, if there is one.
    pub if_absent: bool,
}

/// What an update changes; `None` leaves a field as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyChange {
    pub name: Option<KeyName>,
    pub scope: Option<ScopeName>,
    pub enabled: Option<bool>,
    /// `Some(None)` removes the end.
    pub expires_at: Option<Option<Timestamp>>,
}

/// Names a key by what a client wrote: its secret text or its id. Holds neither a secret nor a promise that it exists.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySelector {
    /// The digest of the text, as if it were a key. Looked up first: an existing key may look like an id.
    pub digest: KeyDigest,
    /// The text, if it has the form of an id.
    pub id: Option<KeyId>,
    /// The text as an answer may show it: an id as it is, all else masked.
    pub shown: String,
}

impl KeySelector {
    /// Reads what stands in a path or on a command line.
    pub fn parse(text: &str, digester: &Digester) -> Self {
        let id = KeyId::from_str(text).ok();
        KeySelector {
            digest: digester.digest(text.as_bytes()),
            id,
            shown: super::mask(text),
        }
    }
}

/// Who asks.
#[derive(Clone)]
pub enum Actor {
    /// Someone with access to the store's files; may do everything.
    Operator,
    /// A client of the management API.
    Key(Arc<Authority>, KeyId),
}

/// Where a change came from, for the audit trail.
#[derive(Clone)]
pub struct Origin {
    /// Who asks.
    pub actor: Actor,
    /// The client, for a change over HTTP.
    pub client: Option<crate::net::Peer>,
    /// The request's id, for a change over HTTP.
    pub request_id: Option<String>,
}

/// What keys may do to keys, under the policy in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authority {
    /// The declared scopes.
    pub scopes: Scopes,
    /// The scope that the management API asks for.
    pub management: ScopeName,
}

impl Authority {
    /// Whether the key `actor`, as it stands in the transaction, may act on keys at all.
    ///
    /// # Errors
    /// [`Denial::ActorGone`] when it is not in the store or not in force, [`Denial::ActorTooWeak`] when its scope does
    /// not include the one of the management API.
    pub fn admits<'a>(
        &self,
        actor: Option<&'a KeyRecord>,
        now: Timestamp,
    ) -> Result<&'a KeyRecord, Denial> {
        let actor = actor
            .filter(|key| key.is_in_force(now))
            .ok_or(Denial::ActorGone)?;
        if self.scopes.includes(&actor.scope, &self.management) {
            Ok(actor)
        } else {
            Err(Denial::ActorTooWeak)
        }
    }

    /// Whether a key of scope `actor` may list, show, create, change or delete one of scope `other`: downwards only.
    pub fn permits(&self, actor: &ScopeName, other: &ScopeName) -> bool {
        self.scopes.includes(actor, other)
    }
}

/// Which keys a list shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListQuery {
    /// Only keys of this scope.
    pub scope: Option<ScopeName>,
    /// Only keys whose name has this part, letter case ignored.
    pub search: Option<String>,
    /// Counted from 1.
    pub page: u64,
    /// 1 to 1000.
    pub per_page: u64,
}

/// A stretch of a list, newest first.
pub struct Page {
    /// The keys of this page.
    pub keys: Vec<StoredKey>,
    /// How many keys match in all.
    pub total: u64,
}

/// A key with as much of its text as the store can still show.
#[derive(Clone)]
pub struct StoredKey {
    /// What it is.
    pub record: KeyRecord,
    /// Its text, as far as it is shown.
    pub shown: ShownKey,
}

/// Whether a store keeps what GET must show again (`reveal` in the configuration).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reveal {
    /// Sealed beside the digest, and shown whenever the key is asked for.
    Always,
    /// Shown in the answer to create; nothing is kept to unseal.
    Once,
}

/// What can be shown of a stored key.
#[derive(Clone)]
pub enum ShownKey {
    /// The secret itself: just made, or unsealed.
    Whole(ApiKey),
    /// Nothing is kept to unseal (`reveal = "once"`): the masked form.
    Masked(String),
}

impl ShownKey {
    /// The masked form, whatever is known.
    pub fn masked(&self) -> String {
        match self {
            ShownKey::Whole(key) => key.masked(),
            ShownKey::Masked(text) => text.clone(),
        }
    }
}

/// Why a command was not carried out though the store works.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denial {
    #[error("the key that asks is unknown, disabled or expired by now")]
    ActorGone,
    #[error("the key that asks no longer has the scope that managing keys needs")]
    ActorTooWeak,
    #[error("the key that asks is the key that it names")]
    SelfAction,
    #[error("no such key")]
    NotFound,
    #[error(
        "the scope of the key that asks does not include the scope of the key that it names or makes"
    )]
    TargetAbove,
    #[error("this key exists already")]
    Duplicate,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Denied(#[from] Denial),
    #[error("the key store failed")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}
