//! What connections cost that do nothing, or little: memory by connection, and how requests fare beside them.
//!
//! `cargo bench --bench connections` (`KEYGATE_BENCH_SCALE=10` makes a tenth of all). Ten thousand idle connections
//! after one request each, over HTTP/1.1 and over HTTP/2, in clear text and in TLS; a thousand WebSockets and a thousand event streams, each with
//! a message a second. Each kind meets a gateway of its own, and what is told is the growth of its anonymous memory by
//! connection: the kernel's own buffers are not in it. At the end everything is open at once, and a prober's requests
//! are timed before and meanwhile. All of them must succeed; the figure to quote is the ratio of their latencies.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const IDLE: usize = 10_000;
const STREAMS: usize = 1_000;
const PROBES: usize = 3_000;
/// Between two messages of a stream.
const PACE: Duration = Duration::from_secs(1);

fn main() {
    let scale = std::env::var("KEYGATE_BENCH_SCALE").ok();
    let scale: usize = scale.and_then(|s| s.parse().ok()).unwrap_or(1).max(1);
    let (idle, streams) = (IDLE / scale, STREAMS / scale);
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let upstream = upstream().await;
        for (kind, count) in [
            (Kind::Http1, idle),
            (Kind::Http2, idle),
            (Kind::TlsHttp1, idle),
            (Kind::TlsHttp2, idle),
            (Kind::WebSocket, streams),
            (Kind::Events, streams),
        ] {
            let gateway = Gateway::start(upstream).await;
            let before = gateway.settled().await;
            let held = open(kind, count, &gateway).await;
            let after = gateway.settled().await;
            let each = after.saturating_sub(before) as f64 / count as f64;
            println!("{}: {count}, {each:.1} KiB each", kind.name());
            drop(held);
        }
        together(upstream, idle, streams).await;
    });
}

/// Everything at once, and requests beside it.
async fn together(upstream: SocketAddr, idle: usize, streams: usize) {
    let gateway = Gateway::start(upstream).await;
    probe(&gateway, PROBES / 4).await;
    let before = probe(&gateway, PROBES).await;
    let memory = gateway.settled().await;
    let mut held = Vec::new();
    for (kind, count) in [
        (Kind::Http1, idle),
        (Kind::WebSocket, streams),
        (Kind::Events, streams),
    ] {
        held.push(open(kind, count, &gateway).await);
    }
    let during = probe(&gateway, PROBES).await;
    let grown = gateway.settled().await.saturating_sub(memory);
    let still: u64 = held
        .iter()
        .map(|held| held.passed.load(Ordering::Relaxed))
        .sum();
    assert!(still > 0, "messages pass");
    println!(
        "at once: {idle} idle, {streams} WebSockets, {streams} event streams: {} MiB; {still} messages passed",
        grown / 1024
    );
    println!(
        "{PROBES} requests beside them, all answered: median {:.2} × (from {:?} to {:?}), p99 {:.2} × (from {:?} to {:?})",
        ratio(during.median, before.median),
        before.median,
        during.median,
        ratio(during.p99, before.p99),
        before.p99,
        during.p99
    );
}

fn ratio(now: Duration, then: Duration) -> f64 {
    now.as_secs_f64() / then.as_secs_f64()
}

#[derive(Clone, Copy)]
enum Kind {
    Http1,
    Http2,
    TlsHttp1,
    TlsHttp2,
    WebSocket,
    Events,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Http1 => "idle HTTP/1.1 connections",
            Kind::Http2 => "idle HTTP/2 connections",
            Kind::TlsHttp1 => "idle HTTP/1.1 connections in TLS",
            Kind::TlsHttp2 => "idle HTTP/2 connections in TLS",
            Kind::WebSocket => "WebSockets, a message a second each",
            Kind::Events => "event streams, an event a second each",
        }
    }
}

/// Open connections. They close when it is dropped.
struct Held {
    _tasks: tokio::task::JoinSet<()>,
    /// Messages that came.
    passed: Arc<AtomicU64>,
}

/// Opens so many, a few at a time, each of them after its first answer.
async fn open(kind: Kind, count: usize, gateway: &Gateway) -> Held {
    let mut tasks = tokio::task::JoinSet::new();
    let passed = Arc::new(AtomicU64::new(0));
    let (ready, mut readies) = tokio::sync::mpsc::channel(1);
    let at_once = Arc::new(tokio::sync::Semaphore::new(64));
    for n in 0..count {
        let turn = Arc::clone(&at_once).acquire_owned().await.expect("open");
        let (ready, key, passed) = (ready.clone(), gateway.key.clone(), Arc::clone(&passed));
        let (clear, in_tls, tls) = (gateway.address, gateway.in_tls, gateway.tls.clone());
        tasks.spawn(async move {
            let mut stream: Stream = match kind {
                Kind::TlsHttp1 => in_tls_of(connect(in_tls, n).await, &tls, "http/1.1").await,
                Kind::TlsHttp2 => in_tls_of(connect(in_tls, n).await, &tls, "h2").await,
                Kind::Http1 | Kind::Http2 | Kind::WebSocket | Kind::Events => {
                    Box::new(connect(clear, n).await)
                }
            };
            match kind {
                Kind::Http1 | Kind::TlsHttp1 => {
                    let mut stream = BufReader::new(stream);
                    answer(&mut stream, "/v3/small", &key, "").await;
                    drop(turn);
                    let _ = ready.send(()).await;
                    hold(stream).await;
                }
                Kind::Http2 | Kind::TlsHttp2 => {
                    let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
                    let driven = tokio::spawn(connection);
                    let mut sender = sender.ready().await.expect("room");
                    let request = http::Request::builder()
                        .uri("http://gateway.test/v3/small")
                        .header("apikey", &key)
                        .body(())
                        .expect("a request");
                    let (response, _) = sender.send_request(request, true).expect("sent");
                    let response = response.await.expect("an answer");
                    assert_eq!(response.status(), 200);
                    let mut body = response.into_body();
                    while body.data().await.is_some() {}
                    drop((body, turn));
                    let _ = ready.send(()).await;
                    std::future::pending::<()>().await;
                    drop((sender, driven));
                }
                Kind::WebSocket => {
                    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
                    let head = format!("GET /v3/ws HTTP/1.1\r\nHost: a\r\napikey: {key}\r\n{upgrade}\r\n");
                    stream.write_all(head.as_bytes()).await.expect("sent");
                    let mut stream = BufReader::new(stream);
                    assert_eq!(head_of(&mut stream).await.0, 101);
                    drop(turn);
                    let _ = ready.send(()).await;
                    // A frame of text, masked by zeros; back comes the same.
                    let frame = *b"\x81\x85\0\0\0\0hello";
                    loop {
                        stream.get_mut().write_all(&frame).await.expect("sent");
                        let mut back = [0; 11];
                        stream.read_exact(&mut back).await.expect("it came back");
                        assert_eq!(back, frame);
                        passed.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(PACE).await;
                    }
                }
                Kind::Events => {
                    let head = format!("GET /v3/events HTTP/1.1\r\nHost: a\r\napikey: {key}\r\n\r\n");
                    stream.write_all(head.as_bytes()).await.expect("sent");
                    let mut stream = BufReader::with_capacity(512, stream);
                    assert_eq!(head_of(&mut stream).await.0, 200);
                    drop(turn);
                    let _ = ready.send(()).await;
                    let mut line = String::new();
                    loop {
                        line.clear();
                        let read = stream.read_line(&mut line).await.expect("it goes on");
                        assert!(read > 0, "an event stream ended");
                        if line.starts_with("data:") {
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            }
        });
    }
    let all = async {
        for _ in 0..count {
            readies.recv().await.expect("a connection");
        }
    };
    // `ready` lives here: a connection that fails is seen by its task, not by the end of the channel.
    tokio::select! {
        () = all => {}
        failed = tasks.join_next() => failed.expect("a task").expect("a connection stays"),
    }
    Held {
        _tasks: tasks,
        passed,
    }
}

/// What bytes go through.
trait Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Io for T {}

type Stream = Box<dyn Io>;

async fn in_tls_of(stream: TcpStream, trusted: &Trusted, protocol: &str) -> Stream {
    let mut config = trusted.0.clone();
    config.alpn_protocols = vec![protocol.into()];
    let name = rustls::pki_types::ServerName::try_from("gateway.test").expect("a name");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    Box::new(connector.connect(name, stream).await.expect("TLS"))
}

/// What trusts the gateway's certificate.
#[derive(Clone)]
struct Trusted(rustls::ClientConfig);

/// Makes a certificate in this folder.
fn certificate(folder: &Path) -> Trusted {
    let made = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).expect("made");
    write(folder, "cert.pem", &made.cert.pem());
    write(folder, "key.pem", &made.signing_key.serialize_pem());
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(folder.join("key.pem"), mode).expect("a mode");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Trusted(config)
}

async fn hold(mut stream: BufReader<Stream>) {
    let read = stream.read(&mut [0]).await;
    panic!("an idle connection ended: {read:?}");
}

/// From one of many source addresses, each of which has its own ports.
async fn connect(to: SocketAddr, n: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let from = Ipv4Addr::new(127, 0, 1, u8::try_from(n % 16).expect("small"));
    socket.bind((from, 0).into()).expect("a loopback address");
    let stream = socket.connect(to).await.expect("connect");
    stream.set_nodelay(true).expect("nodelay");
    stream
}

async fn head_of(stream: &mut BufReader<Stream>) -> (u16, usize) {
    let (mut status, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        let read = stream.read_line(&mut line).await.expect("a line");
        assert!(read > 0, "the connection ended");
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(rest) = line.strip_prefix("http/1.1 ") {
            status = rest[..3].parse().expect("a status");
        } else if let Some(rest) = line.strip_prefix("content-length:") {
            length = rest.trim().parse().expect("a length");
        } else if line.is_empty() {
            return (status, length);
        }
    }
}

async fn answer(stream: &mut BufReader<Stream>, path: &str, key: &str, more: &str) {
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\napikey: {key}\r\n{more}\r\n");
    stream
        .get_mut()
        .write_all(head.as_bytes())
        .await
        .expect("sent");
    let (status, length) = head_of(stream).await;
    assert_eq!(status, 200);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.expect("a body");
}

struct Latency {
    median: Duration,
    p99: Duration,
}

/// So many requests, one after another, on four connections in turns.
async fn probe(gateway: &Gateway, count: usize) -> Latency {
    let mut streams = Vec::new();
    for n in 0..4 {
        let stream: Stream = Box::new(connect(gateway.address, n).await);
        streams.push(BufReader::new(stream));
    }
    let mut took = Vec::with_capacity(count);
    for n in 0..count {
        let begun = Instant::now();
        answer(&mut streams[n % 4], "/v3/small", &gateway.key, "").await;
        took.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    took.sort_unstable();
    Latency {
        median: took[count / 2],
        p99: took[count * 99 / 100],
    }
}

/// Small answers, event streams, and sockets that send back what came.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = serve(stream).await;
            });
        }
    });
    address
}

async fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(1024, stream);
    loop {
        let mut first = String::new();
        if stream.read_line(&mut first).await? == 0 {
            return Ok(());
        }
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
        }
        let out = stream.get_mut();
        if first.contains(" /v3/ws ") {
            out.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            )
            .await?;
            let mut buffer = [0; 256];
            loop {
                let n = stream.read(&mut buffer).await?;
                if n == 0 {
                    return Ok(());
                }
                stream.get_mut().write_all(&buffer[..n]).await?;
            }
        } else if first.contains(" /v3/events ") {
            out.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
            .await?;
            loop {
                out.write_all(b"d\r\ndata: hello\n\n\r\n").await?;
                tokio::time::sleep(PACE).await;
            }
        } else {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                .await?;
        }
    }
}

/// A gateway of its own for each kind.
struct Gateway {
    child: Child,
    address: SocketAddr,
    in_tls: SocketAddr,
    tls: Trusted,
    key: String,
    _folder: tempfile::TempDir,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    async fn start(upstream: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tls = certificate(folder.path());
        let main = format!(
            "include = [\"routes.toml\"]\n[server]\nlisten = [{{ address = \"127.0.0.1:0\", tls = false }}, \"127.0.0.1:0\"]\n\
             tls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [log]\nformat = \"json\"\naccess = \"off\"\n[limits]\nconnections = 20000\n\
             [timeouts]\nidle = \"10m\"\nstream = \"10m\"\n\
             [upstreams.chat]\nservers = [\"http://{upstream}\"]\n"
        );
        let routes = "[scopes]\nfullAccess = []\n[defaults]\nupstream = \"chat\"\n\
                      [[routes]]\npath = \"/v3/{*rest}\"\nscope = \"fullAccess\"\n";
        write(folder.path(), "keygate.toml", &main);
        write(folder.path(), "routes.toml", routes);
        let config = folder.path().join("keygate.toml");
        let program = env!("CARGO_BIN_EXE_keygate");
        let made = Command::new(program)
            .args([
                "keys",
                "create",
                "--name",
                "bench",
                "--scope",
                "fullAccess",
                "--config",
            ])
            .arg(&config)
            .output()
            .expect("keygate runs");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let mut child = Command::new(program)
            .args(["run", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("keygate starts");
        let log = child.stderr.take().expect("stderr is piped");
        let (said, is_said) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            use std::io::BufRead;
            let mut said = Some(said);
            for line in std::io::BufReader::new(log).lines() {
                let Ok(line) = line else { return };
                let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if line["message"] == "ready"
                    && let (Some(said), Some(address)) = (said.take(), line["gateway"].as_str())
                {
                    let all: Result<Vec<SocketAddr>, _> =
                        address.split(',').map(str::parse).collect();
                    let _ = said.send(all);
                }
            }
        });
        let addresses = is_said.await.expect("it is ready").expect("addresses");
        Gateway {
            child,
            address: addresses[0],
            in_tls: addresses[1],
            tls,
            key: String::from_utf8(made.stdout)
                .expect("text")
                .trim()
                .to_owned(),
            _folder: folder,
        }
    }

    /// Its anonymous memory in KiB, once it stays the same for some seconds: connections come to rest, and the allocator
    /// gives back what they held.
    async fn settled(&self) -> u64 {
        let (mut last, mut same) = (0, 0);
        for _ in 0..100 {
            let now = anonymous_kib(self.child.id());
            same = if now.abs_diff(last) < 64 { same + 1 } else { 0 };
            last = now;
            if same == 10 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        last
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("write");
}

fn anonymous_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find(|l| l.starts_with("RssAnon:"));
    line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok())
        .expect("a number of KiB")
}

fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the hard limit");
    let enough = limit.current.is_none_or(|n| n > 16_000);
    assert!(
        enough,
        "16,000 descriptors are needed: ulimit -Hn, or KEYGATE_BENCH_SCALE=10"
    );
}
