//! What an operator asks of a gateway that runs, and what becomes of it.

use crate::config::hash::{Wanted, WholeHash};
use crate::config::waiting::Waiting;
use tokio::sync::oneshot;

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// That the files be in force, whatever is pinned; where they have to be confirmed, only if they have this hash.
    Reload { confirm: Option<WholeHash> },
    /// That an earlier generation be in force and stay so, without a name the one before; where it has to be confirmed,
    /// only if it has this hash.
    Rollback {
        to: Option<Wanted>,
        confirm: Option<WholeHash>,
    },
}

/// What became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It was in force already.
    Unchanged,
    /// It is in force.
    Accepted,
    /// It has to be confirmed, and was not.
    Waiting(Waiting),
    /// What was to be confirmed has another hash.
    OtherHash { hash: String },
    /// It is not valid, and why.
    Refused(String),
    /// The files keep changing.
    Unsettled,
    /// There is no such generation, or it is not kept any more, and why.
    NotKept(String),
}

/// The task that could answer has ended: the gateway stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the gateway stops")]
pub struct Stopped;

/// What the task is told.
pub(super) enum Order {
    /// The gateway serves: what it began with is now what was accepted last. Answered when it is kept.
    Serves(oneshot::Sender<()>),
    Asked(Asked),
}

/// What was asked, and whom to answer.
pub(super) struct Asked {
    pub(super) ask: Ask,
    pub(super) answer: oneshot::Sender<Answer>,
}
