//! Sockets: what clients connect by, and what servers are reached by.
//!
//! A [`Socket`] is a connected stream of bytes, TCP or Unix; whoever reads and writes it need not know which. A
//! [`ListeningSocket`] is where such connections come from: it is opened for an address, or comes from another process;
//! an [`Acceptor`] gives its connections one by one, each with its [`Peer`]. A proxy may say first for
//! whom it forwards a connection ([`read_proxy_header`]). What stands above, TLS or HTTP, is not this module's business, but
//! for one thing: of HTTP/2, which can be flooded, the heads of frames are counted in passing ([`Metered`]).

mod frames;
mod listening;
mod metered;
mod peer;
mod proxied;
mod socket;

pub use frames::{End, FrameBudget};
pub use listening::{Acceptor, Address, ListeningSocket};
pub use metered::{Flooded, Metered};
pub use peer::Peer;
pub use proxied::{ProxyHeaderError, ProxyProtocol, Relayed, read_proxy_header};
pub use socket::{Socket, StdSocket};

/// An error with all its causes, on one line.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
