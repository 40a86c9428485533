//! What clients are met with.

use super::identity::{Certificate, Identity, Roots};
use super::{Print, provider};
use rustls::server::{
    ClientHello, ResolvesServerCert, ServerSessionMemoryCache, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureAlgorithm};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is offered to clients that ask for a protocol, the most wanted first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How many sessions of TLS 1.2 clients without tickets are remembered; the others bring theirs along.
const SESSIONS: usize = 4096;

/// Whether clients show certificates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientAuth {
    /// Those that do must show a good one.
    Optional,
    /// All must.
    Required,
}

/// The oldest version that is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MinVersion {
    #[default]
    Tls12,
    Tls13,
}

/// The clients that show certificates.
#[derive(Debug)]
pub struct Clients {
    /// Who vouches for them.
    pub roots: Roots,
    /// Where that was read from.
    pub file: PathBuf,
    pub auth: ClientAuth,
}

/// What a [`ServerTls`] is made of.
#[derive(Debug)]
pub struct ServerSettings {
    /// The first is shown to clients that ask for no name, or one that no certificate has.
    pub identities: Vec<Identity>,
    /// `None`: no client is asked for a certificate.
    pub clients: Option<Clients>,
    pub min_version: MinVersion,
}

/// Why there can be no such server.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    #[error("there is no certificate")]
    Empty,
    #[error(
        "two certificates with the same kind of key are for the name `{name}`; expected one of each kind (RSA, ECDSA, Ed25519)"
    )]
    SameName {
        /// Positions in the list.
        first: usize,
        second: usize,
        name: String,
    },
    #[error("the clients' root certificates cannot be used: {0}")]
    ClientRoots(#[source] rustls::client::VerifierBuilderError),
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] rustls::Error),
}

/// What clients are met with: one for all workers, and with it the sessions that clients may resume.
pub struct ServerTls {
    config: Arc<ServerConfig>,
    certificates: Vec<Certificate>,
    clients: Option<(PathBuf, ClientAuth)>,
    print: Print,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls")
            .field("certificates", &self.certificates)
            .finish_non_exhaustive()
    }
}

impl ServerTls {
    /// A server with these settings, which come from what `print` stands for.
    ///
    /// # Errors
    /// When the certificates do not go together, or the clients' roots cannot be used.
    pub fn new(settings: ServerSettings, print: Print) -> Result<Self, ServerTlsError> {
        let ServerSettings {
            identities,
            clients,
            min_version,
        } = settings;
        let resolver = BySni::new(&identities)?;
        let versions: &[_] = match min_version {
            MinVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            MinVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(ServerTlsError::Setup)?;
        let asked = clients.as_ref().map(|c| (c.file.clone(), c.auth));
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(Clients { roots, auth, .. }) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.0, provider());
                let verifier = match auth {
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                    ClientAuth::Required => verifier,
                };
                builder.with_client_cert_verifier(
                    verifier.build().map_err(ServerTlsError::ClientRoots)?,
                )
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        // Its keys are random, live twelve hours and are replaced every six.
        config.ticketer =
            rustls::crypto::aws_lc_rs::Ticketer::new().map_err(ServerTlsError::Setup)?;
        Ok(ServerTls {
            config: Arc::new(config),
            certificates: identities
                .into_iter()
                .map(|identity| identity.certificate)
                .collect(),
            clients: asked,
            print,
        })
    }

    /// Whether clients are asked for certificates, and which file says who vouches for them.
    pub fn clients(&self) -> Option<(&Path, ClientAuth)> {
        let (file, auth) = self.clients.as_ref()?;
        Some((file, *auth))
    }

    /// For handshakes.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Its certificates, in the order of the configuration.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Whether this was made of the same settings and files: then its clients can resume what they began with the other.
    pub fn is_same(&self, other: &ServerTls) -> bool {
        self.print == other.print
    }
}

/// Certificates by the name that a client asks for.
#[derive(Debug)]
struct BySni {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// The first, and those that share a name with it.
    default: Vec<Arc<CertifiedKey>>,
}

impl BySni {
    fn new(identities: &[Identity]) -> Result<Self, ServerTlsError> {
        let first = identities.first().ok_or(ServerTlsError::Empty)?;
        let mut owners: HashMap<(&str, Kind), usize> = HashMap::new();
        let mut found = BySni {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            default: Vec::new(),
        };
        for (at, identity) in identities.iter().enumerate() {
            let kind = Kind(identity.certified.key.algorithm());
            for name in &identity.certificate.names {
                let owner = *owners.entry((name, kind)).or_insert(at);
                if owner != at {
                    return Err(ServerTlsError::SameName {
                        first: owner,
                        second: at,
                        name: name.clone(),
                    });
                }
                let list = match name.strip_prefix("*.") {
                    Some(parent) => found.wildcard.entry(parent.to_owned()),
                    None => found.exact.entry(name.clone()),
                }
                .or_default();
                list.push(Arc::clone(&identity.certified));
            }
            let shares = identity
                .certificate
                .names
                .iter()
                .any(|n| first.certificate.names.contains(n));
            if at == 0 || shares {
                found.default.push(Arc::clone(&identity.certified));
            }
        }
        Ok(found)
    }

    /// The certificates for a name; those that are for it exactly come before those by wildcard.
    fn of(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let Some(name) = name else {
            return &self.default;
        };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Some(exact) = self.exact.get(&name) {
            return exact;
        }
        // A wildcard stands for one label (RFC 6125, section 6.4.3).
        name.split_once('.')
            .and_then(|(_, parent)| self.wildcard.get(parent))
            .unwrap_or(&self.default)
    }
}

/// The kind of a key; rustls' own has no hash.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind(SignatureAlgorithm);

impl std::hash::Hash for Kind {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        u8::from(self.0).hash(state);
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let candidates = self.of(hello.server_name());
        candidates
            .iter()
            .find(|c| c.key.choose_scheme(hello.signature_schemes()).is_some())
            // rustls says to the client what does not fit.
            .or(candidates.first())
            .cloned()
    }
}
