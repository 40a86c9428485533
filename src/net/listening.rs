//! Listening sockets: opened for an address, and accepted from.

use super::{Peer, StdSocket};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, Waker};

/// How many connections may wait to be accepted. The kernel has a limit of its own (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// Where a socket listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// `127.0.0.1:8080`, or `unix:/run/keygate.sock`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A socket that listens, and belongs to no runtime yet.
#[derive(Debug)]
pub enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl ListeningSocket {
    /// A socket that listens on this address. `[::]` is every IPv6 address of the machine and no IPv4 one, whatever the
    /// system's default (`net.ipv6.bindv6only`) says.
    ///
    /// # Errors
    /// As the system says.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        use socket2::{Domain, Protocol, Socket, Type};
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // A port whose last owner's connections linger in TIME_WAIT can be used again; one that is in use cannot.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(ListeningSocket::Tcp(socket.into()))
    }

    /// A socket that listens at this path, for whom these permissions let in. A socket that a process left there when it
    /// died is replaced; one that somebody listens on is not, nor is a file of another kind.
    ///
    /// # Errors
    /// As the system says; [`io::ErrorKind::AddrInUse`] when somebody listens there,
    /// [`io::ErrorKind::AlreadyExists`] when something else is there.
    pub fn unix(path: &Path, mode: u32) -> io::Result<Self> {
        use rustix::fs::{FlockOperation, Mode, OFlags, chmod, flock, open};
        use socket2::{Domain, SockAddr, Socket, Type};
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        // Two processes that start at once must not take each other's new socket for one that was left.
        let folder = open(
            folder,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        flock(&folder, FlockOperation::LockExclusive)?;
        remove_if_left(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Nobody can connect before it listens, so nobody can before its permissions are right.
        chmod(path, Mode::from_raw_mode(mode))?;
        socket.listen(BACKLOG)?;
        Ok(ListeningSocket::Unix(socket.into()))
    }

    /// A socket that came from another process, if it is one that listens.
    ///
    /// # Errors
    /// As the system says; [`io::ErrorKind::InvalidInput`] when it does not listen, or is of another kind.
    pub fn received(socket: OwnedFd) -> io::Result<Self> {
        use rustix::net::AddressFamily;
        use rustix::net::sockopt::{socket_acceptconn, socket_domain};
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        if !socket_acceptconn(&socket)? {
            return Err(wrong("the socket does not listen"));
        }
        let socket = match socket_domain(&socket)? {
            AddressFamily::INET | AddressFamily::INET6 => {
                let socket = TcpListener::from(socket);
                socket.set_nonblocking(true)?;
                ListeningSocket::Tcp(socket)
            }
            AddressFamily::UNIX => {
                let socket = UnixListener::from(socket);
                socket.set_nonblocking(true)?;
                ListeningSocket::Unix(socket)
            }
            _ => return Err(wrong("the socket is of a kind that is not served")),
        };
        Ok(socket)
    }

    /// The listening sockets that a service manager passed (sd_listen_fds(3)), each with its name; the first call has
    /// them. Must come before this process has a second thread: it takes them out of the environment.
    ///
    /// # Errors
    /// When what was passed is not a socket that listens.
    pub fn inherited() -> io::Result<Vec<(String, Self)>> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = listenfd::ListenFd::from_env();
        (0..passed.len())
            .map(|at| {
                // systemd's own word for a socket without a name.
                let name = names.next().filter(|name| !name.is_empty());
                let name = name.unwrap_or("unknown").to_owned();
                let socket = match passed.take_tcp_listener(at) {
                    Ok(Some(socket)) => OwnedFd::from(socket),
                    Ok(None) | Err(_) => match passed.take_unix_listener(at)? {
                        Some(socket) => OwnedFd::from(socket),
                        None => return Err(io::ErrorKind::InvalidInput.into()),
                    },
                };
                Ok((name, Self::received(socket)?))
            })
            .collect()
    }

    /// Where it listens; a port that was 0 is filled in.
    ///
    /// # Errors
    /// As the system says.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            ListeningSocket::Tcp(socket) => socket.local_addr().map(Address::Tcp),
            ListeningSocket::Unix(socket) => {
                let address = socket.local_addr()?;
                let path = address.as_pathname().unwrap_or(Path::new(""));
                Ok(Address::Unix(path.to_owned()))
            }
        }
    }

    /// Another handle of the same socket.
    ///
    /// # Errors
    /// As the system says.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            ListeningSocket::Tcp(socket) => ListeningSocket::Tcp(socket.try_clone()?),
            ListeningSocket::Unix(socket) => ListeningSocket::Unix(socket.try_clone()?),
        })
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            ListeningSocket::Tcp(socket) => socket.as_fd(),
            ListeningSocket::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Removes a socket on which nobody listens any more.
fn remove_if_left(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let kind = match std::fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !kind.is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let asking = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    // One whose queue is full must not keep us waiting: it is in use.
    asking.set_nonblocking(true)?;
    match asking.connect(&socket2::SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Ok(()) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// A listening socket on the current runtime.
pub enum Acceptor {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Acceptor {
    /// Accepts on the current runtime.
    ///
    /// # Errors
    /// As the system says.
    pub fn new(socket: ListeningSocket) -> io::Result<Self> {
        Ok(match socket {
            ListeningSocket::Tcp(socket) => {
                Acceptor::Tcp(tokio::net::TcpListener::from_std(socket)?)
            }
            ListeningSocket::Unix(socket) => {
                Acceptor::Unix(tokio::net::UnixListener::from_std(socket)?)
            }
        })
    }

    /// The next connection. Nothing is lost when this is given up.
    ///
    /// # Errors
    /// As the system says.
    pub async fn accept(&self) -> io::Result<(StdSocket, Peer)> {
        match self {
            Acceptor::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                Ok((StdSocket::Tcp(stream.into_std()?), peer.ip().into()))
            }
            Acceptor::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                Ok((StdSocket::Unix(stream.into_std()?), Peer::Unix))
            }
        }
    }

    /// A connection that waits already, if there is one.
    pub fn accept_waiting(&self) -> Option<(StdSocket, Peer)> {
        let mut context = Context::from_waker(Waker::noop());
        match std::pin::pin!(self.accept()).poll(&mut context) {
            Poll::Ready(Ok(accepted)) => Some(accepted),
            Poll::Ready(Err(_)) | Poll::Pending => None,
        }
    }
}
