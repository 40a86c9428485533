//! Sockets: what clients connect by, and what servers are reached by.
//!
//! A [`Socket`] is a connected stream of bytes, TCP or Unix; whoever reads and writes it need not know which. What stands
//! above it, TLS or HTTP, is not this module's business.

mod socket;

pub use socket::Socket;
