//! Making a connection to one server.

use crate::config::UpstreamServer;
use crate::net::Socket;
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::{TcpStream, UnixStream};

/// Why there is no connection to a server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the name `{host}` could not be resolved")]
    Resolve {
        host: Box<str>,
        #[source]
        source: io::Error,
    },
    #[error("{authority} refused the connection or cannot be reached")]
    Connect {
        authority: String,
        #[source]
        source: io::Error,
    },
    #[error("the HTTP/1.1 connection could not be set up")]
    Handshake(#[source] hyper::Error),
    #[error("TLS with {authority} could not be set up")]
    Tls {
        authority: String,
        #[source]
        source: io::Error,
    },
    #[error("the upstream has no TLS settings")]
    NoTls,
    #[error("the server does not speak HTTP/2, and `http2 = true` wants nothing else")]
    NotHttp2,
    #[error("the HTTP/2 connection could not be set up")]
    Http2(#[source] h2::Error),
    #[error("the server takes no stream on a new HTTP/2 connection")]
    NoStreams,
}

/// Connects to the server's socket; else to this address; without one, resolves its name and connects to the first
/// address that answers. The caller holds the deadline.
pub(super) async fn connect(
    server: &UpstreamServer,
    address: Option<SocketAddr>,
) -> Result<Socket, ConnectError> {
    let refused = |source| ConnectError::Connect {
        authority: server.to_string(),
        source,
    };
    if let Some(path) = &server.socket {
        let stream = UnixStream::connect(path).await.map_err(refused)?;
        return Ok(Socket::Unix(stream));
    }
    let literal = || server.host.parse::<IpAddr>().ok();
    let stream = match address.or_else(|| Some((literal()?, server.port).into())) {
        Some(address) => TcpStream::connect(address).await.map_err(refused)?,
        None => {
            let addresses = tokio::net::lookup_host((&*server.host, server.port))
                .await
                .map_err(|source| ConnectError::Resolve {
                    host: server.host.clone(),
                    source,
                })?;
            let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
            let mut connected = None;
            for address in addresses {
                match TcpStream::connect(address).await {
                    Ok(stream) => {
                        connected = Some(stream);
                        break;
                    }
                    Err(error) => last = error,
                }
            }
            connected.ok_or_else(|| refused(last))?
        }
    };
    stream.set_nodelay(true).map_err(refused)?;
    Ok(Socket::Tcp(stream))
}
