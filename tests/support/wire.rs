//! A client and a server of every wire that the gateway speaks: HTTP/1.1 and HTTP/2, in clear text, over TLS, over Unix
//! sockets; they stream, break off, send trailers and say GOAWAY.
//!
//! hyper does the protocols, on one runtime beside the test; what a test calls blocks, so that it reads from top to
//! bottom. A [`Caller`] is one connection to the gateway, an [`Exchange`] one request on it whose two bodies are
//! written and read piece by piece. A [`Server`] runs a script for each request, a [`Call`], on a thread of its own, and
//! remembers of each what came: how many bytes, their hash, the trailers, and whether it came to its end.

use super::PATIENCE;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1 as client1, http2 as client2};
use hyper::server::conn::{http1 as server1, http2 as server2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Where the protocols run.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime")
    })
}

/// Waits for this, for as long as anything may take.
///
/// # Panics
/// When it takes longer.
pub fn wait<T>(what: &str, future: impl Future<Output = T>) -> T {
    runtime()
        .block_on(async { tokio::time::timeout(PATIENCE, future).await })
        .unwrap_or_else(|_| panic!("it never came: {what}"))
}

/// Something that bytes go through.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A protocol and what it runs over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    /// HTTP/1.1 over TCP.
    Http1,
    /// HTTP/2 over TCP, both sides knowing that.
    Http2,
    /// HTTP/1.1 over TLS.
    TlsHttp1,
    /// HTTP/2 over TLS, agreed on by ALPN.
    TlsHttp2,
    /// HTTP/1.1 over a Unix socket.
    Unix,
    /// HTTP/2 over a Unix socket.
    UnixHttp2,
}

impl Wire {
    pub fn is_http2(self) -> bool {
        match self {
            Wire::Http2 | Wire::TlsHttp2 | Wire::UnixHttp2 => true,
            Wire::Http1 | Wire::TlsHttp1 | Wire::Unix => false,
        }
    }

    pub fn is_tls(self) -> bool {
        match self {
            Wire::TlsHttp1 | Wire::TlsHttp2 => true,
            Wire::Http1 | Wire::Http2 | Wire::Unix | Wire::UnixHttp2 => false,
        }
    }

    pub fn is_unix(self) -> bool {
        match self {
            Wire::Unix | Wire::UnixHttp2 => true,
            Wire::Http1 | Wire::Http2 | Wire::TlsHttp1 | Wire::TlsHttp2 => false,
        }
    }

    fn alpn(self) -> Vec<Vec<u8>> {
        vec![if self.is_http2() { "h2" } else { "http/1.1" }.into()]
    }
}

/// A certificate authority of the test's own, and a server's certificate from it for `localhost`, `gateway.test` and
/// 127.0.0.1.
pub struct Authority {
    /// The authority's certificate, as PEM.
    pub ca: String,
    /// The server's certificate, as PEM.
    pub cert: String,
    /// Its key, as PEM.
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca_key = KeyPair::generate().expect("a key");
        let ca = params.self_signed(&ca_key).expect("a certificate");
        let issuer = Issuer::new(params, ca_key);
        let names = ["localhost", "gateway.test", "127.0.0.1"].map(str::to_owned);
        let key = KeyPair::generate().expect("a key");
        let cert = CertificateParams::new(names)
            .expect("names")
            .signed_by(&key, &issuer)
            .expect("a certificate");
        Authority {
            ca: ca.pem(),
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }

    /// Writes `ca.pem`, `cert.pem` and `key.pem` to this folder.
    pub fn write(&self, folder: &Path) {
        for (name, text) in [
            ("ca.pem", &self.ca),
            ("cert.pem", &self.cert),
            ("key.pem", &self.key),
        ] {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("write");
            // A key that others can read is refused.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(path, mode).expect("a mode");
        }
    }

    /// What a client needs that trusts this authority only.
    pub fn client(&self, alpn: Vec<Vec<u8>>) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.ca.as_bytes()).expect("PEM");
        roots.add(ca).expect("a root");
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn;
        Arc::new(config)
    }

    /// What a server with this certificate needs.
    pub fn server(&self, alpn: Vec<Vec<u8>>) -> Arc<rustls::ServerConfig> {
        let cert = CertificateDer::from_pem_slice(self.cert.as_bytes()).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("PEM");
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .expect("a certificate");
        config.alpn_protocols = alpn;
        Arc::new(config)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The hash by which bodies are compared.
pub fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_owned()
}

/// Bytes that repeat with no short period: this many.
pub fn noise(count: usize) -> Vec<u8> {
    let mut state = 1_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(count)
    .collect()
}

/// Why a body of a test ends before its end.
#[derive(Debug)]
pub struct Abandoned;

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the test breaks it off")
    }
}

impl Error for Abandoned {}

/// A body that a test writes piece by piece.
pub struct Written {
    pieces: Option<mpsc::Receiver<Result<Frame<Bytes>, Abandoned>>>,
    left: Option<u64>,
}

impl Body for Written {
    type Data = Bytes;
    type Error = Abandoned;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Abandoned>>> {
        let Some(pieces) = &mut self.pieces else {
            return Poll::Ready(None);
        };
        let piece = std::task::ready!(pieces.poll_recv(cx));
        if let (Some(Ok(frame)), Some(left)) = (&piece, self.left) {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            self.left = Some(left.saturating_sub(length));
        }
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.pieces, self.left) {
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Some(left)) => SizeHint::with_exact(left),
            (Some(_), None) => SizeHint::default(),
        }
    }
}

/// How a body is announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// There is none.
    Empty,
    /// Of this many bytes.
    Length(u64),
    /// It ends when it ends.
    Open,
}

/// The writing end of a body. Dropped, the body is whole.
pub struct Writing(Option<mpsc::Sender<Result<Frame<Bytes>, Abandoned>>>);

fn body(framing: Framing) -> (Writing, Written) {
    let left = match framing {
        Framing::Empty => {
            let none = Written {
                pieces: None,
                left: None,
            };
            return (Writing(None), none);
        }
        Framing::Length(bytes) => Some(bytes),
        Framing::Open => None,
    };
    let (sender, receiver) = mpsc::channel(1);
    let written = Written {
        pieces: Some(receiver),
        left,
    };
    (Writing(Some(sender)), written)
}

impl Writing {
    fn put(&mut self, piece: Result<Frame<Bytes>, Abandoned>) -> bool {
        match &self.0 {
            Some(sender) => wait("room for a piece", sender.send(piece)).is_ok(),
            None => false,
        }
    }

    /// Sends these bytes; false when nobody takes them.
    pub fn send(&mut self, bytes: impl Into<Bytes>) -> bool {
        self.put(Ok(Frame::data(bytes.into())))
    }

    /// Sends trailers and ends the body.
    pub fn trailers(mut self, trailers: &[(&str, &str)]) {
        self.put(Ok(Frame::trailers(map(trailers))));
    }

    /// Breaks the body off.
    pub fn abort(mut self) {
        self.put(Err(Abandoned));
    }
}

/// Headers from pairs.
pub fn map(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            HeaderValue::from_str(value).expect("a value"),
        );
    }
    headers
}

/// A client's connection. Closes when dropped.
pub struct Caller {
    sender: Sender,
    task: JoinHandle<()>,
    scheme: &'static str,
}

enum Sender {
    One(client1::SendRequest<Written>),
    Two(client2::SendRequest<Written>),
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Caller {
    /// Connects to this address over this wire (not [`Wire::Unix`]).
    pub fn connect(address: SocketAddr, wire: Wire, authority: &Authority) -> Self {
        wait("a connection", async {
            let stream = TcpStream::connect(address).await.expect("connect");
            stream.set_nodelay(true).expect("nodelay");
            let socket: Box<dyn Socket> = if wire.is_tls() {
                let config = authority.client(wire.alpn());
                let name = ServerName::try_from("gateway.test").expect("a name");
                let stream = tokio_rustls::TlsConnector::from(config)
                    .connect(name, stream)
                    .await
                    .expect("a TLS handshake");
                assert_eq!(
                    stream.get_ref().1.alpn_protocol(),
                    Some(wire.alpn()[0].as_slice()),
                    "{wire:?}"
                );
                Box::new(stream)
            } else {
                Box::new(stream)
            };
            Self::on(socket, wire).await
        })
    }

    async fn on(socket: Box<dyn Socket>, wire: Wire) -> Self {
        let io = TokioIo::new(socket);
        let scheme = if wire.is_tls() { "https" } else { "http" };
        if wire.is_http2() {
            let (sender, connection) = client2::Builder::new(TokioExecutor::new())
                .handshake(io)
                .await
                .expect("a handshake");
            let task = tokio::spawn(async move {
                let _ = connection.await;
            });
            Caller {
                sender: Sender::Two(sender),
                task,
                scheme,
            }
        } else {
            let (sender, connection) = client1::handshake(io).await.expect("a handshake");
            let task = tokio::spawn(async move {
                let _ = connection.await;
            });
            Caller {
                sender: Sender::One(sender),
                task,
                scheme,
            }
        }
    }

    /// Whether it can take no more requests.
    pub fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::One(sender) => sender.is_closed(),
            Sender::Two(sender) => sender.is_closed(),
        }
    }

    /// Begins a request, whose body is still to be written.
    pub fn open(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        framing: Framing,
    ) -> Exchange {
        let (writing, written) = body(framing);
        let mut request = Request::new(written);
        *request.method_mut() = Method::from_bytes(method.as_bytes()).expect("a method");
        *request.headers_mut() = map(headers);
        let sent = async {
            match &mut self.sender {
                Sender::One(sender) => {
                    *request.uri_mut() = path.parse().expect("a target");
                    let host = HeaderValue::from_static("gateway.test");
                    request.headers_mut().insert(http::header::HOST, host);
                    if framing == Framing::Open {
                        // hyper drops a GET's body of unknown length unless it is told to send it.
                        let chunked = HeaderValue::from_static("chunked");
                        let name = http::header::TRANSFER_ENCODING;
                        request.headers_mut().insert(name, chunked);
                    }
                    sender.ready().await?;
                    Ok(tokio::spawn(sender.send_request(request)))
                }
                Sender::Two(sender) => {
                    let uri = format!("{}://gateway.test{path}", self.scheme);
                    *request.uri_mut() = uri.parse().expect("a target");
                    sender.ready().await?;
                    Ok(tokio::spawn(sender.send_request(request)))
                }
            }
        };
        let answer: Result<_, hyper::Error> = wait("a free connection", async {
            let _runtime = runtime().enter();
            sent.await
        });
        Exchange {
            writing: Some(writing),
            answer: match answer {
                Ok(task) => Answering::Awaited(task),
                Err(error) => Answering::Broken(error.to_string()),
            },
        }
    }

    /// One request with this body (none if it is empty), and its outcome.
    pub fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Outcome {
        let framing = match body.len() {
            0 => Framing::Empty,
            length => Framing::Length(length as u64),
        };
        let mut exchange = self.open(method, path, headers, framing);
        if !body.is_empty() {
            exchange.send(body.to_vec());
        }
        exchange.outcome()
    }
}

/// A request of a [`Caller`] whose two bodies are under way.
pub struct Exchange {
    writing: Option<Writing>,
    answer: Answering,
}

enum Answering {
    Awaited(JoinHandle<hyper::Result<Response<Incoming>>>),
    Begun(Box<(StatusCode, HeaderMap, Incoming)>),
    Broken(String),
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Answering::Awaited(task) = &self.answer {
            task.abort();
        }
    }
}

impl Exchange {
    /// Sends a piece of the body; false when nobody takes it.
    pub fn send(&mut self, bytes: impl Into<Bytes>) -> bool {
        self.writing.as_mut().is_some_and(|w| w.send(bytes))
    }

    /// The writing end of the body, to be written elsewhere.
    pub fn take_writing(&mut self) -> Writing {
        self.writing.take().expect("it was not taken yet")
    }

    /// Ends the body with trailers.
    pub fn trailers(&mut self, trailers: &[(&str, &str)]) {
        self.take_writing().trailers(trailers);
    }

    /// Ends the body.
    pub fn finish(&mut self) {
        self.writing = None;
    }

    /// Breaks the body off: HTTP/1.1 closes the connection, HTTP/2 resets the stream.
    pub fn abort(&mut self) {
        self.take_writing().abort();
    }

    /// Waits for the head of the answer; `None` when there is none.
    pub fn head(&mut self) -> Option<(StatusCode, HeaderMap)> {
        if let Answering::Awaited(task) = &mut self.answer {
            let answered = wait("an answer", task).expect("the task lives");
            self.answer = match answered {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    Answering::Begun(Box::new((head.status, head.headers, body)))
                }
                Err(error) => Answering::Broken(causes(&error)),
            };
        }
        match &self.answer {
            Answering::Begun(begun) => Some((begun.0, begun.1.clone())),
            Answering::Awaited(_) | Answering::Broken(_) => None,
        }
    }

    /// Waits for the next frame of the answer: `None` at its end, an error where it breaks off.
    pub fn read(&mut self) -> Option<Result<Frame<Bytes>, String>> {
        self.head();
        match &mut self.answer {
            Answering::Begun(begun) => {
                let frame = wait("more of an answer", begun.2.frame());
                frame.map(|frame| frame.map_err(|error| causes(&error)))
            }
            Answering::Broken(why) => Some(Err(why.clone())),
            Answering::Awaited(_) => unreachable!("the head was waited for"),
        }
    }

    /// Waits for the next piece of the answer's body.
    ///
    /// # Panics
    /// When there is none.
    pub fn piece(&mut self) -> Bytes {
        let frame = self.read().expect("a piece").expect("a piece");
        frame.into_data().expect("data")
    }

    /// Ends the request's body, and reads the answer to its end.
    pub fn outcome(mut self) -> Outcome {
        self.finish();
        self.rest()
    }

    /// Reads the answer to its end.
    pub fn rest(&mut self) -> Outcome {
        let Some((status, headers)) = self.head() else {
            let Answering::Broken(why) = &self.answer else {
                unreachable!("there was no head")
            };
            return Outcome::nothing(why.clone());
        };
        let mut outcome = Outcome {
            status: status.as_u16(),
            headers,
            body: Vec::new(),
            trailers: None,
            broken: None,
        };
        loop {
            match self.read() {
                None => return outcome,
                Some(Err(why)) => {
                    outcome.broken = Some(why);
                    return outcome;
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => outcome.body.extend_from_slice(&data),
                    Err(frame) => outcome.trailers = frame.into_trailers().ok(),
                },
            }
        }
    }
}

/// An error with what caused it.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What came of a request.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// 0 where there was no answer.
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    /// Why it broke off, if it did.
    pub broken: Option<String>,
}

impl Outcome {
    fn nothing(why: String) -> Self {
        Outcome {
            status: 0,
            headers: HeaderMap::new(),
            body: Vec::new(),
            trailers: None,
            broken: Some(why),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    pub fn trailer(&self, name: &str) -> Option<&str> {
        let trailers = self.trailers.as_ref()?;
        trailers.get(name).and_then(|v| v.to_str().ok())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `error.code` of an error's body; empty if there is none.
    pub fn code(&self) -> String {
        let json: Result<serde_json::Value, _> = serde_json::from_slice(&self.body);
        json.ok()
            .and_then(|json| json["error"]["code"].as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}

/// A request as a server got it.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Which connection it came on, counted from 0.
    pub connection: usize,
    pub version: Version,
    pub method: String,
    /// Path and query.
    pub target: String,
    /// What `Host` or `:authority` said.
    pub host: String,
    pub headers: HeaderMap,
    /// How many bytes of its body were read.
    pub bytes: usize,
    /// Their hash.
    pub hash: String,
    pub trailers: Option<HeaderMap>,
    /// How the body ended, once it did.
    pub end: Option<End>,
}

/// How a body ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Whole,
    Broken,
}

/// An upstream of any wire. Stops when dropped.
pub struct Server {
    pub wire: Wire,
    /// As `servers` in the configuration has it: `http://…`, `h2c://…`, `https://…`, `unix:…`.
    pub url: String,
    /// `None` for a Unix socket.
    pub address: Option<SocketAddr>,
    state: Arc<State>,
    leave: watch::Sender<bool>,
    task: JoinHandle<()>,
    _folder: Option<tempfile::TempDir>,
}

#[derive(Default)]
struct State {
    heard: Mutex<Vec<Heard>>,
    connections: Mutex<usize>,
    more: Condvar,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Door {
    async fn accept(&self) -> std::io::Result<Box<dyn Socket>> {
        match self {
            Door::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Door::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

impl Server {
    /// Runs the script for each request, on a thread of its own.
    pub fn start(
        wire: Wire,
        authority: &Authority,
        script: impl Fn(Call) + Send + Sync + 'static,
    ) -> Self {
        let _runtime = runtime().enter();
        let mut folder = None;
        let (door, address, url) = if wire.is_unix() {
            let made = tempfile::tempdir().expect("a folder");
            let path: PathBuf = made.path().join("upstream.sock");
            let door = Door::Unix(UnixListener::bind(&path).expect("a socket"));
            let h2c = if wire.is_http2() { "h2c+" } else { "" };
            let url = format!("{h2c}unix:{}", path.display());
            folder = Some(made);
            (door, None, url)
        } else {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.set_nonblocking(true).expect("nonblocking");
            let address = listener.local_addr().expect("an address");
            let door = Door::Tcp(TcpListener::from_std(listener).expect("a listener"));
            let scheme = match wire {
                Wire::Http1 => "http",
                Wire::Http2 => "h2c",
                Wire::TlsHttp1 | Wire::TlsHttp2 => "https",
                Wire::Unix | Wire::UnixHttp2 => unreachable!("it has a path"),
            };
            (door, Some(address), format!("{scheme}://{address}"))
        };
        let state = Arc::new(State::default());
        let (leave, leaves) = watch::channel(false);
        let task = tokio::spawn(accept(
            door,
            wire,
            wire.is_tls().then(|| authority.server(wire.alpn())),
            Arc::clone(&state),
            Arc::new(script),
            leaves,
        ));
        Server {
            wire,
            url,
            address,
            state,
            leave,
            task,
            _folder: folder,
        }
    }

    /// Answers each request with 200 and what it got: `method target bytes hash`.
    pub fn telling(wire: Wire, authority: &Authority) -> Self {
        Self::start(wire, authority, |mut call| {
            if call.read_all().is_ok() {
                let text = call.told();
                call.answer(200, &[], text);
            }
        })
    }

    /// Says GOAWAY (HTTP/1.1: closes after the next answer) on every connection that is open now.
    pub fn go_away(&self) {
        self.leave.send_replace(true);
        self.leave.send_replace(false);
    }

    /// All requests so far, in the order in which they came.
    pub fn heard(&self) -> Vec<Heard> {
        self.state.heard.lock().unwrap().clone()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        *self.state.connections.lock().unwrap()
    }

    /// Waits until what was heard is as wanted, and gives it.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&[Heard]) -> bool) -> Vec<Heard> {
        let deadline = Instant::now() + PATIENCE;
        let mut heard = self.state.heard.lock().unwrap();
        while !wanted(&heard) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it never came: {what}; {heard:#?}");
            heard = self.state.more.wait_timeout(heard, left).unwrap().0;
        }
        heard.clone()
    }
}

async fn accept(
    door: Door,
    wire: Wire,
    tls: Option<Arc<rustls::ServerConfig>>,
    state: Arc<State>,
    script: Arc<dyn Fn(Call) + Send + Sync>,
    leaves: watch::Receiver<bool>,
) {
    let mut tasks = tokio::task::JoinSet::new();
    while let Ok(socket) = door.accept().await {
        while tasks.try_join_next().is_some() {}
        let connection = {
            let mut connections = state.connections.lock().unwrap();
            *connections += 1;
            *connections - 1
        };
        let (state, script) = (Arc::clone(&state), Arc::clone(&script));
        let (tls, leaves) = (tls.clone(), leaves.clone());
        tasks.spawn(async move {
            let socket: Box<dyn Socket> = match tls {
                None => socket,
                Some(config) => {
                    let acceptor = tokio_rustls::TlsAcceptor::from(config);
                    match acceptor.accept(socket).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => return,
                    }
                }
            };
            serve(socket, wire, connection, state, script, leaves).await;
        });
    }
}

async fn serve(
    socket: Box<dyn Socket>,
    wire: Wire,
    connection: usize,
    state: Arc<State>,
    script: Arc<dyn Fn(Call) + Send + Sync>,
    mut leaves: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        let host = match head.headers.get(http::header::HOST) {
            Some(host) => host.to_str().unwrap_or("?").to_owned(),
            None => head.uri.authority().map_or("", |a| a.as_str()).to_owned(),
        };
        let heard = Heard {
            connection,
            version: head.version,
            method: head.method.to_string(),
            target: head.uri.path_and_query().map_or("", |t| t.as_str()).into(),
            host,
            headers: head.headers,
            bytes: 0,
            hash: hash(&[]),
            trailers: None,
            end: None,
        };
        let number = {
            let mut all = state.heard.lock().unwrap();
            all.push(heard.clone());
            state.more.notify_all();
            all.len() - 1
        };
        let (respond, response) = oneshot::channel();
        let call = Call {
            heard,
            body,
            hasher: blake3::Hasher::new(),
            number,
            respond: Some(respond),
            state: Arc::clone(&state),
        };
        let script = Arc::clone(&script);
        tokio::task::spawn_blocking(move || script(call));
        async move { response.await.map_err(|_| Abandoned) }
    });
    let io = TokioIo::new(socket);
    leaves.mark_unchanged();
    if wire.is_http2() {
        let mut serving = std::pin::pin!(
            server2::Builder::new(TokioExecutor::new()).serve_connection(io, service)
        );
        tokio::select! {
            _ = serving.as_mut() => return,
            _ = leaves.changed() => serving.as_mut().graceful_shutdown(),
        }
        let _ = serving.await;
    } else {
        let mut serving = std::pin::pin!(
            server1::Builder::new()
                .half_close(true)
                .serve_connection(io, service)
        );
        tokio::select! {
            _ = serving.as_mut() => return,
            _ = leaves.changed() => serving.as_mut().graceful_shutdown(),
        }
        let _ = serving.await;
    }
}

/// A request at a [`Server`]. Dropped without an answer, it ends the connection or the stream.
pub struct Call {
    pub heard: Heard,
    body: Incoming,
    hasher: blake3::Hasher,
    number: usize,
    respond: Option<oneshot::Sender<Response<Written>>>,
    state: Arc<State>,
}

impl Call {
    /// Waits for the next piece of the body: `None` at its end, an error where it breaks off.
    pub fn read(&mut self) -> Option<Result<Bytes, String>> {
        loop {
            let frame = wait("more of a request", self.body.frame());
            let read = match frame {
                None => {
                    self.heard.end = Some(End::Whole);
                    None
                }
                Some(Err(error)) => {
                    self.heard.end = Some(End::Broken);
                    Some(Err(causes(&error)))
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.heard.bytes += data.len();
                        self.hasher.update(&data);
                        self.heard.hash = self.hasher.finalize().to_hex()[..16].to_owned();
                        Some(Ok(data))
                    }
                    Err(frame) => {
                        self.heard.trailers = frame.into_trailers().ok();
                        continue;
                    }
                },
            };
            self.state.heard.lock().unwrap()[self.number] = self.heard.clone();
            self.state.more.notify_all();
            return read;
        }
    }

    /// Reads the body to its end.
    ///
    /// # Errors
    /// Where it breaks off.
    pub fn read_all(&mut self) -> Result<Vec<u8>, String> {
        let mut all = Vec::new();
        while let Some(piece) = self.read() {
            all.extend_from_slice(&piece?);
        }
        Ok(all)
    }

    /// What was got so far: `method target bytes hash`.
    pub fn told(&self) -> String {
        let Heard {
            method,
            target,
            bytes,
            hash,
            ..
        } = &self.heard;
        format!("{method} {target} {bytes} {hash}")
    }

    /// Sends the head of the answer; its body is still to be written.
    pub fn begin(&mut self, status: u16, headers: &[(&str, &str)], framing: Framing) -> Writing {
        let (writing, written) = body(framing);
        let mut response = Response::new(written);
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        *response.headers_mut() = map(headers);
        let respond = self.respond.take().expect("it is answered once");
        let _ = respond.send(response);
        writing
    }

    /// Answers by a head alone, as to HEAD.
    pub fn begin_and_leave(mut self, status: u16, headers: &[(&str, &str)]) {
        self.begin(status, headers, Framing::Empty);
    }

    /// Answers whole.
    pub fn answer(mut self, status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) {
        let body = body.into();
        let framing = match body.len() {
            0 => Framing::Empty,
            length => Framing::Length(length as u64),
        };
        let mut writing = self.begin(status, headers, framing);
        if !body.is_empty() {
            writing.send(body);
        }
    }
}
