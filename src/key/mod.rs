//! Keys as data: what a key is, how it is named, digested and masked, and what may be asked of a store of them.
//!
//! Nothing here does I/O. A key's life: a client sends the text of an [`ApiKey`] in a header; the [`Digester`] turns it
//! into a [`KeyDigest`]; the key cache finds the [`KeyRecord`] of that digest; the record says which [`ScopeName`] the
//! key has and whether it is in force at this second. The text itself is a secret: it has no `Debug`, no `Display` and
//! no `Serialize`, and is wiped when dropped. What may be shown of it is [`mask`]ed; what may be logged is its [`KeyId`].

mod api_key;
mod command;
mod digest;
mod id;
mod name;
mod record;
mod scope;

pub use api_key::{ApiKey, KeyFormatError, mask};
pub use command::{
    Actor, Authority, Command, CommandError, Denial, KeyChange, KeySelector, ListQuery, NewKey,
    Origin, Page, Reveal, ShownKey, StoredKey,
};
pub use digest::{Digester, KeyDigest};
pub use id::{KeyId, KeyIdError};
pub use name::{KeyName, KeyNameError};
pub use record::{KeyRecord, Revision};
pub use scope::{ScopeError, ScopeName, ScopeNameError, Scopes};
