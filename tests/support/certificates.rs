//! Certificates made for a test, and a client of TLS that says what became of its handshake.

use super::{Answer, Folder, PATIENCE};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

/// Someone who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
}

/// A certificate and its key, as two files hold them.
#[derive(Clone)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

/// The kind of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    Ecdsa,
    Rsa,
    Ed25519,
}

impl Key {
    fn make(self) -> KeyPair {
        match self {
            Key::Ecdsa => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Key::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
            Key::Rsa => KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256),
        }
        .expect("a key")
    }
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = Key::Ecdsa.make();
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = parameters.self_signed(&key).expect("a certificate");
        Authority {
            pem: certificate.pem(),
            issuer: Issuer::new(parameters, key),
        }
    }

    /// A certificate for these names, of a month.
    pub fn sign(&self, names: &[&str]) -> Pair {
        self.sign_with(names, Key::Ecdsa, (-1, 30))
    }

    /// The same with a key of this kind, from and to these days from now.
    pub fn sign_with(&self, names: &[&str], key: Key, (from, to): (i64, i64)) -> Pair {
        let key = key.make();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names.clone()).expect("names");
        let subject = names.first().map_or("nobody", String::as_str);
        parameters
            .distinguished_name
            .push(DnType::CommonName, subject);
        let now = keygate::clock::Timestamp::now().unix_seconds();
        let at = |days: i64| {
            let seconds = u64::try_from(now + days * 24 * 3600).expect("a time after 1970");
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        parameters.not_before = at(from).into();
        parameters.not_after = at(to).into();
        let certificate = parameters
            .signed_by(&key, &self.issuer)
            .expect("a certificate");
        Pair {
            cert: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Pair {
    /// Writes `NAME.pem` and `NAME.key` into a folder, the key first and kept from others.
    pub fn write(&self, folder: &Path, name: &str) {
        put(folder, &format!("{name}.key"), &self.key, 0o600);
        put(folder, &format!("{name}.pem"), &self.cert, 0o644);
    }
}

/// Writes a file with this mode in place of an old one, by renaming.
pub fn put(folder: &Path, name: &str, text: &str, mode: u32) {
    let path = folder.join(name);
    let beside = folder.join(format!("{name}.new"));
    std::fs::write(&beside, text).expect("write");
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(mode)).expect("a mode");
    std::fs::rename(beside, path).expect("rename");
}

/// A configuration for this upstream, whose `[server]` has these lines besides, and which ends with `main`.
pub fn folder(upstream: SocketAddr, server: &str, main: &str, routes: &str) -> Folder {
    Folder::with_main(&config(upstream, server, main), routes)
}

/// The text of its `keygate.toml`.
pub fn config(upstream: SocketAddr, server: &str, main: &str) -> String {
    format!(
        r#"
include = ["routes.toml"]
[server]
listen = ["127.0.0.1:0"]
workers = 2
{server}
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
level = "debug"
[keys]
store = "sqlite:data/keygate.db"
secret = "secret/master"
[upstreams.chat]
servers = ["http://{upstream}"]
{main}
"#
    )
}

/// How a client comes.
pub struct Caller {
    config: ClientConfig,
    name: ServerName<'static>,
}

/// Its connection.
pub struct TlsClient {
    pub stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Caller {
    /// One who believes this authority and asks for this name.
    pub fn of(authority: &Authority, name: &str) -> Self {
        Self::with(authority, name, rustls::DEFAULT_VERSIONS, None)
    }

    /// The same with these versions, and with a certificate of its own.
    pub fn with(
        authority: &Authority,
        name: &str,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Pair>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("PEM");
        roots.add(root).expect("a root");
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(pair) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(pair.cert.as_bytes()).expect("PEM")],
                    PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM"),
                )
                .expect("an identity"),
        };
        config.resumption = Resumption::in_memory_sessions(16);
        Caller {
            config,
            name: ServerName::try_from(name.to_owned()).expect("a name"),
        }
    }

    /// The same, asking for no name.
    pub fn nameless(mut self) -> Self {
        self.config.enable_sni = false;
        self
    }

    /// The same, offering these protocols.
    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        self
    }

    /// The same, with these suites only.
    pub fn suites(mut self, wanted: impl Fn(rustls::CipherSuite) -> bool) -> Self {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|suite| wanted(suite.suite()));
        let old = self.config;
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone))
            .with_no_client_auth();
        config.alpn_protocols = old.alpn_protocols;
        self.config = config;
        self
    }

    /// What other libraries of TLS want of it.
    pub fn parts(&self) -> (Arc<ClientConfig>, ServerName<'static>) {
        (Arc::new(self.config.clone()), self.name.clone())
    }

    /// A connection, its handshake done.
    ///
    /// # Errors
    /// When either side refuses the other, as far as that shows before anything is sent.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TlsClient> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let connection = ClientConnection::new(Arc::new(self.config.clone()), self.name.clone())
            .map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(TlsClient { stream })
    }
}

impl TlsClient {
    pub fn version(&self) -> ProtocolVersion {
        self.stream.conn.protocol_version().expect("a version")
    }

    pub fn kind(&self) -> HandshakeKind {
        self.stream.conn.handshake_kind().expect("a handshake")
    }

    pub fn alpn(&self) -> Option<String> {
        let protocol = self.stream.conn.alpn_protocol()?;
        Some(String::from_utf8_lossy(protocol).into_owned())
    }

    /// The certificate that was shown, as PEM has it between its lines.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.stream.conn.peer_certificates().expect("certificates")[0].clone()
    }

    /// Whether this was the certificate that was shown.
    pub fn was_shown(&self, pair: &Pair) -> bool {
        self.certificate() == CertificateDer::from_pem_slice(pair.cert.as_bytes()).expect("PEM")
    }

    /// Sends a GET and reads the answer, which has a length.
    ///
    /// # Errors
    /// When the connection breaks off.
    pub fn get(&mut self, path: &str, headers: &[&str]) -> io::Result<Answer> {
        let mut text = format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n");
        for header in headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        self.stream.write_all(text.as_bytes())?;
        self.stream.flush()?;
        self.answer()
    }

    /// Reads an answer that has a length.
    ///
    /// # Errors
    /// When the connection breaks off.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let mut answer = Answer {
            status: status.and_then(|s| s.parse().ok()).expect("a status"),
            headers: lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect(),
            body: Vec::new(),
        };
        let length = answer.header("content-length").unwrap_or("0").parse();
        answer.body = vec![0; length.expect("a length")];
        self.stream.read_exact(&mut answer.body)?;
        Ok(answer)
    }
}

/// Believes anyone: for tests in which not the certificate is in question.
#[derive(Debug)]
struct Anyone;

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A server of HTTP/1.1 in TLS, which answers every request with 200 and a body that says whom it was asked as.
pub struct SecureServer {
    pub address: SocketAddr,
    state: Arc<Mutex<ServerState>>,
}

#[derive(Default)]
struct ServerState {
    connections: usize,
    resumed: usize,
    names: Vec<Option<String>>,
    /// The first certificate that each client showed.
    clients: Vec<Option<CertificateDer<'static>>>,
}

impl SecureServer {
    /// One that shows this, and wants certificates of this authority, if any.
    pub fn start(pair: &Pair, clients: Option<&Authority>) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)
            .expect("versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                let root = CertificateDer::from_pem_slice(authority.pem.as_bytes());
                roots.add(root.expect("PEM")).expect("a root");
                let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                    Arc::new(roots),
                    provider,
                );
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let config = builder
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(pair.cert.as_bytes()).expect("PEM")],
                PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM"),
            )
            .expect("an identity");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(ServerState::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(socket) = socket else { return };
                let (config, state) = (Arc::clone(&config), Arc::clone(&shared));
                thread::spawn(move || serve(config, socket, &state));
            }
        });
        SecureServer { address, state }
    }

    /// How many handshakes came to their end, and how many of them resumed an earlier one.
    pub fn connections(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.connections, state.resumed)
    }

    /// The name that the last client asked for.
    pub fn name(&self) -> Option<String> {
        self.state.lock().unwrap().names.last().cloned().flatten()
    }

    /// Whether the last client showed this.
    pub fn was_shown(&self, pair: &Pair) -> bool {
        let shown = self.state.lock().unwrap().clients.last().cloned().flatten();
        shown == Some(CertificateDer::from_pem_slice(pair.cert.as_bytes()).expect("PEM"))
    }
}

fn serve(
    config: Arc<rustls::ServerConfig>,
    mut socket: TcpStream,
    state: &Mutex<ServerState>,
) -> io::Result<()> {
    let mut connection = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    {
        let mut state = state.lock().unwrap();
        state.connections += 1;
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        state.resumed += usize::from(resumed);
        let name = connection.server_name().map(str::to_owned);
        state.names.push(name);
        let shown = connection.peer_certificates().and_then(|c| c.first());
        state.clients.push(shown.map(|c| c.clone().into_owned()));
    }
    let mut stream = io::BufReader::new(StreamOwned::new(connection, socket));
    loop {
        let mut close = false;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            close |= line.to_ascii_lowercase().starts_with("x-close:");
            if line.trim_end().is_empty() {
                break;
            }
        }
        let inner = stream.get_mut();
        let end = if close { "connection: close\r\n" } else { "" };
        write!(inner, "HTTP/1.1 200 OK\r\n{end}content-length: 2\r\n\r\nok")?;
        inner.flush()?;
        if close {
            inner.conn.send_close_notify();
            inner.flush()?;
            return Ok(());
        }
    }
}
