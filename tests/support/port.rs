//! A port that stays a test's own while nothing listens on it.
//!
//! A port that was closed may be anyone's at the next moment: the kernel gives it to whatever connects or binds. Here a
//! socket that is bound and never listens keeps it, so that connections are refused, and listeners come and go beside it.

use socket2::{Domain, SockAddr, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// The port, kept until dropped.
pub struct Port {
    pub address: SocketAddr,
    _kept: Socket,
}

impl Port {
    /// A free one of the loopback address.
    pub fn keep() -> Self {
        let kept = bound((Ipv4Addr::LOCALHOST, 0).into());
        let address = kept.local_addr().ok().and_then(|a| a.as_socket());
        Port {
            address: address.expect("an address"),
            _kept: kept,
        }
    }

    /// Listens on it, until the listener is dropped.
    pub fn listen(&self) -> TcpListener {
        let socket = bound(self.address);
        socket.listen(1024).expect("listen");
        socket.into()
    }
}

/// Both sockets must allow to share the port. Without `SO_REUSEADDR`, which would let others bind it as well.
fn bound(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    rustix::net::sockopt::set_socket_reuseport(&socket, true).expect("share the port");
    socket.bind(&SockAddr::from(address)).expect("the port");
    socket
}
