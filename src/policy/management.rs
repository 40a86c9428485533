//! Where the management API stands: the paths that no route can have.
//!
//! A management path owns itself and everything below it, with every method and for every host, and is looked at before
//! the tree. Below `/apikeys`: the path itself lists (GET) and creates (POST), one segment more is a key that can be
//! shown (GET), changed (PUT) and deleted (DELETE); HEAD goes where GET goes, as for any route. Another method there is
//! 405, anything else below is 404: `/apikeys/`, `/apikeys/a/b`. The operations are ordinary routes in the policy's list.

use super::methods::ByMethod;

/// One management path.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    /// Canonical, without a slash at its end.
    pub path: Box<str>,
    /// The operations on the path itself.
    pub on_path: ByMethod,
    /// The operations on one key below it.
    pub on_key: ByMethod,
}

/// What a management path says of a request's path.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ownership<'m> {
    /// An operation, by its method.
    Operations(&'m ByMethod),
    /// Nothing is here, and nothing else may answer.
    Nothing,
}

impl Owned {
    /// What this path says of a canonical path; `None`: it does not own it.
    pub fn claim(&self, path: &str) -> Option<Ownership<'_>> {
        let below = path.strip_prefix(&*self.path)?;
        match below.strip_prefix('/') {
            None if below.is_empty() => Some(Ownership::Operations(&self.on_path)),
            None => None,
            Some(key) if !key.is_empty() && !key.contains('/') => {
                Some(Ownership::Operations(&self.on_key))
            }
            Some(_) => Some(Ownership::Nothing),
        }
    }
}

/// The place of the key in the pattern of the operations on one key.
pub(super) const KEY_SEGMENT: &str = "/{apiKey}";
