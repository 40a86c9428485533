//! Making a connection to one server.

use crate::config::UpstreamServer;
use crate::net::Socket;
use std::io;
use tokio::net::TcpStream;

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
}

/// Resolves the server's name and connects to the first of its addresses that answers. The caller holds the deadline.
pub(super) async fn connect(server: &UpstreamServer) -> Result<Socket, ConnectError> {
    let refused = |source| ConnectError::Connect {
        authority: format!("{}:{}", server.host, server.port),
        source,
    };
    let stream = match server.host.parse::<std::net::IpAddr>() {
        Ok(address) => TcpStream::connect((address, server.port))
            .await
            .map_err(refused)?,
        Err(_) => {
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
