//! A policy that is named: by its configuration on the disk, or by the running gateway that has it in force.

use super::check::{Format, refuse};
use super::operator::{AdminAddress, ClientError};
use crate::config::{self, Loaded, Secrets};
use crate::policy::Policy;
use crate::policy::form::{FormError, PolicyForm};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

/// A policy, and what its upstreams are called.
pub(super) struct Subject {
    pub policy: Policy,
    /// By position.
    pub upstreams: Vec<String>,
}

/// Reads it; says on standard error what is wrong with it, and gives the exit code.
pub(super) fn read(named: &str) -> Result<Subject, ExitCode> {
    match named.parse() {
        Ok(address) => ask(&address).map_err(|error| {
            say!("keygate: {named}: {}", super::chain(&error));
            ExitCode::FAILURE
        }),
        Err(_) if named.parse::<SocketAddr>().is_ok() => {
            say!("keygate: {named}: a gateway's admin listener is named http://{named}");
            Err(ExitCode::from(2))
        }
        Err(_) => load(Path::new(named)).map(Subject::from),
    }
}

/// The configuration of a main file, or of the folder that holds it.
pub(super) fn load(named: &Path) -> Result<Loaded, ExitCode> {
    let main = if named.is_dir() {
        named.join("keygate.toml")
    } else {
        named.to_owned()
    };
    config::load(&main, Secrets::Skipped).map_err(|problems| refuse(&main, &problems, Format::Text))
}

/// Reads what the files have in force, and what they try beside it.
pub(super) fn with_shadow(named: &str) -> (Result<Subject, ExitCode>, Result<Subject, ExitCode>) {
    let refuse = |message: &str| {
        say!("keygate: {named}: {message}");
        let code = ExitCode::from(2);
        (Err(code), Err(code))
    };
    if named.parse::<AdminAddress>().is_ok() {
        return refuse("a gateway tells the policy in force alone; name its files");
    }
    let loaded = match load(Path::new(named)) {
        Ok(loaded) => loaded,
        Err(code) => return (Err(code), Err(code)),
    };
    match loaded.hot.shadow.clone() {
        Some(shadow) => {
            let old = Subject::from(loaded);
            let new = Subject {
                policy: shadow.policy.clone(),
                upstreams: old.upstreams.clone(),
            };
            (Ok(old), Ok(new))
        }
        None => refuse("these files try no policy in shadow"),
    }
}

impl From<Loaded> for Subject {
    fn from(loaded: Loaded) -> Self {
        let upstreams = loaded.hot.upstreams.iter();
        Subject {
            upstreams: upstreams.map(|u| u.name.to_string()).collect(),
            policy: loaded.hot.policy,
        }
    }
}

/// Why a gateway's policy is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("this is not the admin listener of a keygate that tells its policy: it answers {0}")]
    Status(u16),
    #[error("the answer is not a policy")]
    Json(#[source] serde_json::Error),
    #[error("the policy cannot be read")]
    Form(#[source] FormError),
}

/// Asks an admin listener for the policy in force.
pub(super) fn ask(address: &AdminAddress) -> Result<Subject, AskError> {
    let answer = address.get("/policy", None)?;
    if answer.status != 200 {
        return Err(AskError::Status(answer.status));
    }
    let form: PolicyForm = serde_json::from_slice(&answer.body).map_err(AskError::Json)?;
    let (policy, upstreams) = form.read().map_err(AskError::Form)?;
    Ok(Subject { policy, upstreams })
}
