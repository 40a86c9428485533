//! Opening what the configuration says to listen on.

use crate::config::ListenAddress;
use crate::net::{Address, ListeningSocket};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

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
        _ => "",
    }
}

/// A socket that listens as the configuration says.
#[derive(Debug)]
pub struct Listening {
    socket: ListeningSocket,
    /// Where it is.
    address: Address,
    /// Its file goes when this goes.
    _file: Option<SocketFile>,
}

impl Listening {
    /// Opens a socket for this address.
    ///
    /// # Errors
    /// As the system says.
    pub fn open(of: &ListenAddress) -> Result<Self, ListenError> {
        let opened = || {
            let (socket, file) = match of {
                ListenAddress::Tcp(address) => (ListeningSocket::tcp(*address)?, None),
                ListenAddress::Unix { path, mode } => {
                    let socket = ListeningSocket::unix(path, *mode)?;
                    (socket, Some(SocketFile::at(path.clone())?))
                }
            };
            Ok(Listening {
                address: socket.address()?,
                socket,
                _file: file,
            })
        };
        opened().map_err(|source| ListenError {
            address: of.clone(),
            source,
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
}

/// The file of a Unix socket. Removed when dropped, unless another took its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn at(path: PathBuf) -> io::Result<Self> {
        let found = std::fs::symlink_metadata(&path)?;
        Ok(SocketFile {
            path,
            device: found.dev(),
            inode: found.ino(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
