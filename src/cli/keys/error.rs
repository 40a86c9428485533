//! Why `keygate keys` did not do what was asked, and with which exit status it says so.

use crate::key::{CommandError, Denial};
use crate::store::StoreError;
use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeysError {
    /// The configuration cannot be used; its problems as text.
    #[error("{0}")]
    Configuration(String),
    /// The arguments, or what came on standard input, cannot be used.
    #[error("{0}")]
    Usage(String),
    /// What was asked for cannot be done as things stand.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("standard input cannot be read")]
    Input(#[source] std::io::Error),
    #[error("the result cannot be printed")]
    Output(#[source] std::io::Error),
    #[error("no runtime can be started")]
    Runtime(#[source] std::io::Error),
    #[error("{0}")]
    Command(Box<dyn Error + Send + Sync>),
}

impl KeysError {
    /// Of a command on the key that `shown` names.
    pub(super) fn of(error: CommandError, shown: &str) -> Self {
        match error {
            CommandError::Store(source) => match source.downcast::<StoreError>() {
                Ok(error) => KeysError::Store(*error),
                Err(error) => KeysError::Command(error),
            },
            CommandError::Denied(Denial::NotFound) => KeysError::Refused(format!(
                "no key is named by {shown}; `keygate keys list` shows all that there are"
            )),
            CommandError::Denied(Denial::Duplicate) => KeysError::Refused(format!(
                "the key {shown} exists already; `keygate keys get -` shows it, given the key on standard input"
            )),
            // The other denials are for keys that ask; an operator has none.
            CommandError::Denied(denial) => KeysError::Command(Box::new(denial)),
        }
    }

    /// 2 for what the caller can mend by calling otherwise, 1 for what failed.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            KeysError::Configuration(_) | KeysError::Usage(_) => ExitCode::from(2),
            KeysError::Refused(_)
            | KeysError::Store(_)
            | KeysError::Input(_)
            | KeysError::Output(_)
            | KeysError::Runtime(_)
            | KeysError::Command(_) => ExitCode::from(1),
        }
    }

    /// The whole chain of causes; each once, since some say their cause themselves.
    pub(super) fn report(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let said = error.to_string();
            if !text.contains(&said) {
                // Writing to a String cannot fail.
                let _ = write!(text, ": {said}");
            }
            cause = error.source();
        }
        text
    }
}
