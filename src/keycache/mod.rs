//! Every key, in memory: what a request is checked against.
//!
//! The cache is complete, so an unknown key costs one lookup and the store may be down. It does not ask the store, does
//! not decide what a key may do, and holds no key's text.
//!
//! A request, walked through: the worker's [`Verifier`] takes the bytes of the header; what cannot be a key is refused before
//! it is digested; the digest finds the key's entry, among those that the worker remembers or in the shared map; the entry is
//! judged at the instant of the request, enabled and not yet expired; what comes out is a [`Principal`], which nothing else can make. A change, walked through: [`Keys::execute`]
//! hands a command to the keeper, the one task that writes to the cache; it is committed in the store, then put into the
//! cache, then answered. So a change that was answered is in force. What other processes change, the keeper learns from
//! the store's feed: it asks for the revision four times a second and reads rows only when that moved.
//!
//! ```compile_fail,E0423
//! // A principal comes out of a check alone.
//! fn forge(entry: std::rc::Rc<()>) -> keygate::keycache::Principal {
//!     keygate::keycache::Principal(entry)
//! }
//! ```

mod entries;
mod keeper;
mod keys;
mod principal;
#[cfg(test)]
mod tests;
mod verifier;

pub use entries::KeyCache;
pub use keys::{FeedStatus, Keys};
pub use principal::{Principal, Unidentified};
pub use verifier::Verifier;
