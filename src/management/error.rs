//! Why a management request was not carried out. The gateway turns these into HTTP; no text here holds a key.

use super::faults::Faults;
use crate::key::{CommandError, Denial};

/// Why a management request was not carried out; `shown` is the key of the path, masked.
#[derive(Debug, thiserror::Error)]
pub enum ManagementError {
    /// 400 `ERR_BAD_REQUEST` with `details`. The details repeat names that the client wrote: for the client only, not for the log.
    #[error("the request has faults in {} fields", .0.len())]
    Invalid(Faults),
    /// 401 `AUTH_ERR_APIKEY_NOT_FOUND`: the key that asks went out of force after it was identified.
    #[error("the key that asks is unknown, disabled or expired by now")]
    ActorGone,
    /// 403 `AUTH_ERR_NO_ACCESS`: the key that asks lost the scope that managing keys needs.
    #[error("the key that asks no longer has the scope that managing keys needs")]
    ActorTooWeak,
    /// 403 `AUTH_ERR_NO_ACCESS`: keys act downwards only.
    #[error("the scope of the key that asks does not include the other key's")]
    TargetAbove,
    /// 403 `ERR_APIKEY_NO_SELF_ACTION`.
    #[error("the key {shown} asked to change or delete itself")]
    SelfAction { shown: String },
    /// 404 `ERR_APIKEY_NOT_FOUND`.
    #[error("no key is named by {shown}")]
    KeyNotFound { shown: String },
    /// 503 `ERR_STORE_UNAVAILABLE`.
    #[error("the key store failed")]
    StoreUnavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ManagementError {
    /// Of a command on the key that `shown` names; empty where none is named.
    pub(super) fn of(error: CommandError, shown: &str) -> Self {
        let shown = || shown.to_owned();
        match error {
            CommandError::Store(source) => ManagementError::StoreUnavailable(source),
            CommandError::Denied(denial) => match denial {
                Denial::ActorGone => ManagementError::ActorGone,
                Denial::ActorTooWeak => ManagementError::ActorTooWeak,
                Denial::TargetAbove => ManagementError::TargetAbove,
                Denial::SelfAction => ManagementError::SelfAction { shown: shown() },
                Denial::NotFound => ManagementError::KeyNotFound { shown: shown() },
                // Only a key that is brought in can exist already, and none is brought in over HTTP: the store is at fault.
                Denial::Duplicate => ManagementError::StoreUnavailable(Box::new(denial)),
            },
        }
    }
}
