//! How one upstream is met.

use super::identity::{Certificate, Identity, Roots};
use super::stream::Stream;
use super::{Print, provider};
use crate::net::Socket;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// How many servers' sessions are remembered, to be resumed.
const SESSIONS: usize = 256;

/// Which versions of HTTP are offered to a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alpn {
    /// HTTP/2, else HTTP/1.1.
    Both,
    /// HTTP/2 alone.
    H2,
    /// HTTP/1.1 alone.
    Http1,
}

impl Alpn {
    /// As a handshake has them, the most wanted first.
    fn protocols(self) -> Vec<Vec<u8>> {
        let (h2, http1) = (b"h2".to_vec(), b"http/1.1".to_vec());
        match self {
            Alpn::Both => vec![h2, http1],
            Alpn::H2 => vec![h2],
            Alpn::Http1 => vec![http1],
        }
    }
}

/// What cannot be the name in a certificate.
#[derive(Debug, thiserror::Error)]
#[error("no certificate can be for this name; expected a host name or an address")]
pub struct NotAName;

/// How one upstream is met: whom to believe, as whom to appear, which name its certificate must have.
#[derive(Clone)]
pub struct ClientTls {
    both: Arc<ClientConfig>,
    h2: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    /// In place of the server's own.
    server_name: Option<ServerName<'static>>,
    certificate: Option<Certificate>,
    print: Print,
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// By what they were made of.
impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.print == other.print
    }
}

impl Eq for ClientTls {}

impl ClientTls {
    /// With these settings, which come from what `print` stands for. `server_name` is asked for and verified in place
    /// of each server's own.
    ///
    /// # Errors
    /// When rustls cannot be set up.
    pub fn new(
        roots: &Roots,
        identity: Option<Identity>,
        server_name: Option<ServerName<'static>>,
        print: Print,
    ) -> Result<Self, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_root_certificates(Arc::clone(&roots.0));
        let certificate = identity.as_ref().map(|own| own.certificate.clone());
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(Arc::new(
                rustls::sign::SingleCertAndKey::from(identity.certified),
            )),
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        let offering = |alpn: Alpn| {
            let mut config = config.clone();
            config.alpn_protocols = alpn.protocols();
            Arc::new(config)
        };
        Ok(ClientTls {
            both: offering(Alpn::Both),
            h2: offering(Alpn::H2),
            http1: offering(Alpn::Http1),
            server_name,
            certificate,
            print,
        })
    }

    /// The certificate that is shown to servers that ask for one.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// What it was made of.
    pub fn print(&self) -> Print {
        self.print
    }

    /// The name that is asked for and that the certificate of a server must have.
    ///
    /// # Errors
    /// When the server's own is none that a certificate can have.
    pub fn name_of(&self, host: &str) -> Result<ServerName<'static>, NotAName> {
        match &self.server_name {
            Some(name) => Ok(name.clone()),
            None => server_name(host),
        }
    }

    /// Does the handshake with a server of this host on a socket that is connected to it. What was settled on is the
    /// stream's [`Stream::alpn`].
    ///
    /// # Errors
    /// As rustls or the socket says: `rustls::Error` is the inner error where the server cannot be believed.
    pub async fn connect(&self, host: &str, socket: Socket, alpn: Alpn) -> io::Result<Stream> {
        let name = self.name_of(host).map_err(io::Error::other)?;
        let config = match alpn {
            Alpn::Both => &self.both,
            Alpn::H2 => &self.h2,
            Alpn::Http1 => &self.http1,
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(name, socket).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

/// A host as a name that a certificate can have.
///
/// # Errors
/// When it is none.
pub fn server_name(host: &str) -> Result<ServerName<'static>, NotAName> {
    let host = host.strip_suffix('.').unwrap_or(host);
    ServerName::try_from(host.to_owned()).map_err(|_| NotAName)
}
