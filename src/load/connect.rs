//! Connections to the target.

use crate::net::Socket;
use crate::tls::{Alpn, ClientTls, Stream};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// How connections are made.
pub(super) struct Dialer {
    /// Tried in this order; never empty.
    pub(super) addresses: Vec<SocketAddr>,
    /// For TLS: whom to believe, and the name that the certificate must have.
    pub(super) tls: Option<(ClientTls, String)>,
    pub(super) alpn: Alpn,
    pub(super) timeout: Duration,
}

impl Dialer {
    /// A connection, with TLS where the target has it.
    pub(super) async fn dial(&self) -> io::Result<Stream> {
        match tokio::time::timeout(self.timeout, self.connected()).await {
            Ok(connected) => connected,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "no connection in time",
            )),
        }
    }

    async fn connected(&self) -> io::Result<Stream> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in &self.addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let socket = Socket::Tcp(stream);
                    let Some((tls, host)) = &self.tls else {
                        return Ok(socket.into());
                    };
                    let stream = tls.connect(host, socket, self.alpn).await?;
                    if self.alpn == Alpn::H2 && stream.alpn() != Some(b"h2") {
                        return Err(io::Error::other("the server does not speak HTTP/2"));
                    }
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
