//! Asks the admin listener of a gateway that runs: one request, one answer, one connection.

use crate::admin::Token;
use serde_json::Value;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long a gateway may take for each step.
const PATIENCE: Duration = Duration::from_secs(20);

/// More than the policy of 100,000 routes takes.
const MOST_BYTES: u64 = 256 << 20;

/// Where an admin listener is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AdminAddress {
    /// `HOST:PORT`.
    Tcp(String),
    Unix(PathBuf),
}

/// Text that is no address of an admin listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected http://HOST:PORT or unix:PATH")]
pub struct NoAddress;

impl FromStr for AdminAddress {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return match path.as_os_str().is_empty() {
                true => Err(NoAddress),
                false => Ok(AdminAddress::Unix(path)),
            };
        }
        let address = text.strip_prefix("http://").ok_or(NoAddress)?;
        let address = address.strip_suffix('/').unwrap_or(address);
        let fine = !address.is_empty() && !address.contains(['/', '@', '?', '#', ' ']);
        fine.then(|| AdminAddress::Tcp(address.to_owned()))
            .ok_or(NoAddress)
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminAddress::Tcp(address) => write!(f, "http://{address}"),
            AdminAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the admin listener cannot be asked")]
    Io(#[source] io::Error),
    #[error("no answer came within {} seconds", PATIENCE.as_secs())]
    Late,
    #[error("this does not answer as the admin listener of a keygate does: {0}")]
    Answer(String),
    #[error("the answer cannot be read")]
    Json(#[source] serde_json::Error),
}

impl ClientError {
    fn of(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Late,
            _ => ClientError::Io(error),
        }
    }
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    /// Its body as JSON.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(&self) -> Result<Value, ClientError> {
        serde_json::from_slice(&self.body).map_err(ClientError::Json)
    }
}

impl AdminAddress {
    /// Asks for what only tells, or with the token for what needs it.
    ///
    /// # Errors
    /// When there is no answer in HTTP.
    pub fn get(&self, target: &str, token: Option<&Token>) -> Result<Answer, ClientError> {
        self.ask("GET", target, token)
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// When there is no answer in HTTP.
    pub fn post(&self, target: &str, token: &Token) -> Result<Answer, ClientError> {
        self.ask("POST", target, Some(token))
    }

    fn ask(
        &self,
        method: &str,
        target: &str,
        token: Option<&Token>,
    ) -> Result<Answer, ClientError> {
        let answer = match self {
            AdminAddress::Tcp(address) => {
                let stream = connect(address).map_err(ClientError::of)?;
                // An address: a name may be anyone's, and is refused where something changes.
                let host = stream.peer_addr().map_err(ClientError::Io)?.to_string();
                exchange(stream, &host, method, target, token)
            }
            AdminAddress::Unix(path) => UnixStream::connect(path)
                .and_then(|stream| {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    Ok(stream)
                })
                .and_then(|stream| exchange(stream, "localhost", method, target, token)),
        };
        let answer = answer.map_err(ClientError::of)?;
        let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let Some(head) = head else {
            return Err(ClientError::Answer("no answer in HTTP".to_owned()));
        };
        let line = String::from_utf8_lossy(&answer[..head]);
        let line = line.lines().next().unwrap_or_default();
        match line.split(' ').nth(1).map(str::parse) {
            Some(Ok(status)) => Ok(Answer {
                status,
                body: answer[head + 4..].to_vec(),
            }),
            _ => Err(ClientError::Answer(line.chars().take(60).collect())),
        }
    }
}

/// Connects to the first address of the name that lets it.
fn connect(address: &str) -> io::Result<TcpStream> {
    let mut failed = io::Error::other("the name has no address");
    for socket in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&socket, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// In HTTP/1.0 an answer has no chunks, and ends with the connection.
fn exchange(
    mut stream: impl Read + Write,
    host: &str,
    method: &str,
    target: &str,
    token: Option<&Token>,
) -> io::Result<Vec<u8>> {
    let proof = match token {
        Some(token) => Zeroizing::new(format!("Authorization: Bearer {}\r\n", token.expose())),
        None => Zeroizing::default(),
    };
    let head = Zeroizing::new(format!(
        "{method} {target} HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\n{}\r\n",
        proof.as_str()
    ));
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_a_listener_and_nothing_more() {
        for (text, shown) in [
            ("http://127.0.0.1:9901", Some("http://127.0.0.1:9901")),
            ("http://[::1]:9901/", Some("http://[::1]:9901")),
            ("unix:/run/k.sock", Some("unix:/run/k.sock")),
            ("http://", None),
            ("http://a/b", None),
            ("http://user@a", None),
            ("https://a", None),
            ("unix:", None),
            ("127.0.0.1:9901", None),
        ] {
            let read: Result<AdminAddress, _> = text.parse();
            assert_eq!(read.ok().map(|a| a.to_string()).as_deref(), shown, "{text}");
        }
    }
}
