//! What an operator asks of a gateway that runs, and what becomes of it.

use crate::clock::Timestamp;
use crate::config::hash::{HashPrefix, Wanted};
use crate::config::history::AccessChange;
use tokio::sync::oneshot;

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// That the files be in force, whatever is pinned; where they let someone do more, only if they have this hash.
    Reload { confirm: Option<HashPrefix> },
    /// That an earlier generation be in force and stay so, without a name the one before; where it lets someone do more,
    /// only if it has this hash.
    Rollback {
        to: Option<Wanted>,
        confirm: Option<HashPrefix>,
    },
}

/// What became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It was in force already.
    Unchanged,
    /// It is in force.
    Accepted,
    /// It lets someone do more, and was not confirmed.
    Waiting(Waiting),
    /// What was to be confirmed has another hash.
    OtherHash { hash: String },
    /// It is not valid, and why.
    Refused(String),
    /// There is no such generation, or it is not kept any more, and why.
    NotKept(String),
}

/// A configuration that lets someone do more, and waits for an operator to confirm that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// By which it is confirmed.
    pub hash: String,
    pub since: Timestamp,
    /// What it would change.
    pub access: AccessChange,
    /// Whether it says that later changes need not be confirmed.
    pub lifts_confirm: bool,
}

/// The task that could answer has ended: the gateway stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the gateway stops")]
pub struct Stopped;

/// What was asked, and whom to answer.
pub(super) struct Asked {
    pub(super) ask: Ask,
    pub(super) answer: oneshot::Sender<Answer>,
}
