//! Opening what the configuration says to listen on, or taking it from whoever has it open.

use crate::config::ListenAddress;
use crate::net::{Address, ListeningSocket};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}{}", hint(.address, .source))]
pub struct ListenError {
    address: ListenAddress,
    #[source]
    source: io::Error,
}

/// What to do about it, where that is known.
fn hint(address: &ListenAddress, error: &io::Error) -> &'static str {
    use io::ErrorKind::*;
    match (address, error.kind()) {
        (ListenAddress::Tcp(_), AddrInUse) => {
            ": another process uses this port; choose another one, or port 0 for a free one"
        }
        (ListenAddress::Tcp(_), PermissionDenied) => {
            ": ports below 1024 need a privilege (CAP_NET_BIND_SERVICE)"
        }
        (ListenAddress::Tcp(_), AddrNotAvailable) => {
            ": no interface of this machine has this address"
        }
        (ListenAddress::Unix { .. }, AddrInUse) => ": another process listens there",
        (ListenAddress::Unix { .. }, AlreadyExists) => {
            ": something that is no socket is there; remove it, or choose another path"
        }
        (ListenAddress::Unix { .. }, NotFound) => ": its folder does not exist; make it",
        (ListenAddress::Unix { .. }, PermissionDenied) => {
            ": whoever runs keygate may not write to its folder"
        }
        (ListenAddress::Systemd(_), NotFound) => {
            ": systemd passed no socket of this name; its socket unit needs `FileDescriptorName=`"
        }
        _ => "",
    }
}

/// What a listening socket is for.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    Gateway,
    Admin,
    Handover,
}

/// A socket on its way from one gateway to the next.
#[derive(Debug)]
pub struct Handed {
    pub r#use: Use,
    /// The address in the configuration.
    pub of: String,
    /// Whether it has a file that is the gateway's to remove.
    pub file: bool,
    pub socket: ListeningSocket,
}

impl Handed {
    /// What it is known by.
    fn label(&self) -> String {
        label(self.r#use, &self.of)
    }
}

fn label(r#use: Use, of: &str) -> String {
    match r#use {
        Use::Gateway => format!("gateway {of}"),
        Use::Admin => format!("admin {of}"),
        Use::Handover => format!("handover {of}"),
    }
}

/// Sockets that were open before this process began.
#[derive(Default)]
pub struct Given {
    /// By the gateway whose place this one takes.
    handed: Vec<Handed>,
    /// By systemd, with their names.
    inherited: Vec<(String, ListeningSocket)>,
    kept: Vec<String>,
}

impl Given {
    pub fn new(handed: Vec<Handed>, inherited: Vec<(String, ListeningSocket)>) -> Self {
        Given {
            handed,
            inherited,
            kept: Vec::new(),
        }
    }

    /// Sockets for this address: those that were given for it, else a new one. Only systemd gives several for one.
    ///
    /// # Errors
    /// When none can be had.
    pub fn listening(
        &mut self,
        r#use: Use,
        of: &ListenAddress,
    ) -> Result<Vec<Listening>, ListenError> {
        self.find(r#use, of).map_err(|source| ListenError {
            address: of.clone(),
            source,
        })
    }

    fn find(&mut self, r#use: Use, of: &ListenAddress) -> io::Result<Vec<Listening>> {
        let wanted = label(r#use, &of.to_string());
        let mut found = Vec::new();
        while let Some(at) = self.handed.iter().position(|h| h.label() == wanted) {
            let handed = self.handed.remove(at);
            let file = match of {
                ListenAddress::Unix { path, .. } if handed.file => {
                    Some(SocketFile::at(path.clone())?)
                }
                ListenAddress::Unix { .. } | ListenAddress::Tcp(_) | ListenAddress::Systemd(_) => {
                    None
                }
            };
            self.kept.push(wanted.clone());
            found.push(Listening::new(r#use, of, handed.socket, file)?);
            if !matches!(of, ListenAddress::Systemd(_)) {
                return Ok(found);
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
        let (socket, file) = match of {
            ListenAddress::Tcp(address) => (ListeningSocket::tcp(*address)?, None),
            ListenAddress::Unix { path, mode } => {
                let socket = ListeningSocket::unix(path, *mode)?;
                (socket, Some(SocketFile::at(path.clone())?))
            }
            ListenAddress::Systemd(name) => {
                let (ours, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.inherited)
                    .into_iter()
                    .partition(|(given, _)| **given == **name);
                self.inherited = others;
                if ours.is_empty() {
                    return Err(io::ErrorKind::NotFound.into());
                }
                return ours
                    .into_iter()
                    .map(|(_, socket)| Listening::new(r#use, of, socket, None))
                    .collect();
            }
        };
        Ok(vec![Listening::new(r#use, of, socket, file)?])
    }

    /// Names of sockets from systemd that nobody has taken.
    pub fn unclaimed(&self) -> Vec<&str> {
        self.inherited.iter().map(|(name, _)| &**name).collect()
    }

    /// What was taken of the gateway before this one; the rest is closed.
    pub fn kept(self) -> Vec<String> {
        self.kept
    }
}

/// A socket that listens as the configuration says.
#[derive(Debug)]
pub struct Listening {
    r#use: Use,
    /// As the configuration has it.
    of: String,
    socket: ListeningSocket,
    /// Where it is.
    address: Address,
    /// Its file, where that is ours to remove.
    file: Option<SocketFile>,
}

impl Listening {
    fn new(
        r#use: Use,
        of: &ListenAddress,
        socket: ListeningSocket,
        file: Option<SocketFile>,
    ) -> io::Result<Self> {
        Ok(Listening {
            r#use,
            of: of.to_string(),
            address: socket.address()?,
            socket,
            file,
        })
    }

    /// Where it listens; a port that was 0 is filled in.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The socket, for whoever accepts from it; this keeps a handle.
    ///
    /// # Errors
    /// As the system says.
    pub fn socket(&self) -> io::Result<ListeningSocket> {
        self.socket.try_clone()
    }

    /// The socket, for another gateway.
    ///
    /// # Errors
    /// As the system says.
    pub fn to_hand(&self) -> io::Result<Handed> {
        Ok(Handed {
            r#use: self.r#use,
            of: self.of.clone(),
            file: self.file.is_some(),
            socket: self.socket()?,
        })
    }

    /// Leaves the file to another gateway, if this socket is among those that it keeps; whether it is.
    pub fn let_go(&self, kept: &[String]) -> bool {
        let is_kept = kept.contains(&label(self.r#use, &self.of));
        if let Some(file) = self.file.as_ref().filter(|_| is_kept) {
            file.ours.store(false, Ordering::Relaxed);
        }
        is_kept
    }
}

/// The file of a Unix socket. Removed when dropped, unless another took its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    ours: AtomicBool,
}

impl SocketFile {
    fn at(path: PathBuf) -> io::Result<Self> {
        let found = std::fs::symlink_metadata(&path)?;
        Ok(SocketFile {
            path,
            device: found.dev(),
            inode: found.ino(),
            ours: AtomicBool::new(true),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_there = || {
            std::fs::symlink_metadata(&self.path)
                .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode))
        };
        if *self.ours.get_mut() && is_there() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
