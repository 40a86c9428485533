//! Who is at the other end of a connection.

use std::fmt;
use std::net::IpAddr;

/// Who is at the other end of a connection, as far as the system says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// An address; one that is mapped into IPv6 is IPv4.
    Ip(IpAddr),
    /// A process on this machine, on a Unix socket. It has no address.
    Unix,
}

impl Peer {
    /// Its address, if it has one.
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Peer::Ip(address) => Some(address),
            Peer::Unix => None,
        }
    }
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        Peer::Ip(address.to_canonical())
    }
}

/// The address, or `unix:`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Ip(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix:"),
        }
    }
}
