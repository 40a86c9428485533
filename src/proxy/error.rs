//! Why a request was not answered by its upstream.

use crate::deadline::Wait;
use crate::upstream::{ConnectError, LeaseError, Refused, Unsuccessful};
use std::time::Duration;

/// Why a request was not answered by its upstream.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error("no server of the upstream can be reached")]
    Connect(#[source] ConnectError),
    #[error("the upstream has no server for the request")]
    Refused(Refused, Duration),
    #[error("the upstream did not accept a connection in time")]
    ConnectTimeout,
    #[error("the upstream did not answer in time")]
    ResponseTimeout,
    #[error("the connection to the upstream broke before its answer")]
    BrokenOff(#[source] Unsuccessful),
    #[error("the upstream's answer is not HTTP")]
    Nonsense(#[source] Unsuccessful),
    #[error("the upstream's answer has no single length: one `Content-Length`, or `chunked` alone")]
    Framing,
    #[error("the upstream switched protocols unasked")]
    UnaskedUpgrade,
    #[error("the upstream's answer to a request for WebSocket is no handshake")]
    NoHandshake,
    #[error("the key lost its access while the request was served")]
    Revoked,
    #[error("the request's body is larger than the limit")]
    BodyTooLarge,
    #[error("the request's body did not progress in time")]
    BodyTooSlow,
    #[error("the client broke off its request's body")]
    ClientGone,
    #[error("the rewritten target is not a valid one")]
    Target,
}

impl ForwardError {
    /// Whether it is the upstream that failed, and not the client or the policy.
    pub fn is_the_upstreams(&self) -> bool {
        match self {
            ForwardError::Connect(_)
            | ForwardError::Refused(..)
            | ForwardError::ConnectTimeout
            | ForwardError::ResponseTimeout
            | ForwardError::BrokenOff(_)
            | ForwardError::Nonsense(_)
            | ForwardError::Framing
            | ForwardError::UnaskedUpgrade
            | ForwardError::NoHandshake => true,
            ForwardError::BodyTooLarge
            | ForwardError::BodyTooSlow
            | ForwardError::ClientGone
            | ForwardError::Revoked
            | ForwardError::Target => false,
        }
    }
}

impl From<LeaseError> for ForwardError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Connect(error) => ForwardError::Connect(error),
            LeaseError::ConnectTimeout => ForwardError::ConnectTimeout,
            LeaseError::Refused(why, retry_after) => ForwardError::Refused(why, retry_after),
        }
    }
}

impl From<Wait> for ForwardError {
    /// What it means that this was waited for too long.
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::RequestBody => ForwardError::BodyTooSlow,
            Wait::Queue => ForwardError::Refused(Refused::QueueTimeout, Duration::from_secs(1)),
            Wait::Connect => ForwardError::ConnectTimeout,
            Wait::Response | Wait::Stream => ForwardError::ResponseTimeout,
            Wait::Revoked => ForwardError::Revoked,
            Wait::Head | Wait::Idle | Wait::ClientWrite | Wait::Linger => ForwardError::ClientGone,
        }
    }
}
