//! What is compared: a configuration on the disk, or the policy that a running gateway has in force.

use crate::cli::check::{Format, refuse};
use crate::config::{self, Secrets};
use crate::policy::Policy;
use crate::policy::form::{FormError, PolicyForm};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How long a gateway may take for each step.
const PATIENCE: Duration = Duration::from_secs(10);

/// More than the policy of 100,000 routes takes.
const MOST_BYTES: u64 = 256 << 20;

/// One of the two.
pub(super) struct Subject {
    pub policy: Policy,
    /// By position.
    pub upstreams: Vec<String>,
}

/// Reads it; says on standard error what is wrong with it, and gives the exit code.
pub(super) fn read(named: &str) -> Result<Subject, ExitCode> {
    match named.strip_prefix("http://") {
        Some(address) => ask(address.trim_end_matches('/')).map_err(|error| {
            eprintln!("keygate: {named}: {}", crate::cli::chain(&error));
            ExitCode::FAILURE
        }),
        None => load(Path::new(named)),
    }
}

fn load(named: &Path) -> Result<Subject, ExitCode> {
    let main = if named.is_dir() {
        named.join("keygate.toml")
    } else {
        named.to_owned()
    };
    let loaded = config::load(&main, Secrets::Skipped)
        .map_err(|problems| refuse(&main, &problems, Format::Text))?;
    let upstreams = loaded.hot.upstreams.iter();
    Ok(Subject {
        upstreams: upstreams.map(|u| u.name.to_string()).collect(),
        policy: loaded.hot.policy,
    })
}

/// Why a gateway's policy is not known.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("the admin listener cannot be asked")]
    Io(#[source] io::Error),
    #[error("this is not the admin listener of a keygate that tells its policy: {0}")]
    Answer(String),
    #[error("the answer is not a policy")]
    Json(#[source] serde_json::Error),
    #[error("the policy cannot be read")]
    Form(#[source] FormError),
}

/// Asks an admin listener for the policy in force.
fn ask(address: &str) -> Result<Subject, AskError> {
    let answer = exchange(address).map_err(AskError::Io)?;
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let Some(head) = head else {
        return Err(AskError::Answer("no answer in HTTP".to_owned()));
    };
    let status = String::from_utf8_lossy(&answer[..head]);
    let status = status.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(AskError::Answer(status.chars().take(60).collect()));
    }
    let form: PolicyForm = serde_json::from_slice(&answer[head + 4..]).map_err(AskError::Json)?;
    let (policy, upstreams) = form.read().map_err(AskError::Form)?;
    Ok(Subject { policy, upstreams })
}

fn exchange(address: &str) -> io::Result<Vec<u8>> {
    let mut failed = io::Error::other("the name has no address");
    for socket in address.to_socket_addrs()? {
        let mut stream = match TcpStream::connect_timeout(&socket, PATIENCE) {
            Ok(stream) => stream,
            Err(error) => {
                failed = error;
                continue;
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // In HTTP/1.0 an answer has no chunks, and ends with the connection.
        stream.write_all(format!("GET /policy HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        stream.take(MOST_BYTES).read_to_end(&mut answer)?;
        return Ok(answer);
    }
    Err(failed)
}
