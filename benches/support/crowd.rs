//! A gateway, and many connections to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

/// What bytes go through.
pub trait Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Io for T {}

pub type Stream = Box<dyn Io>;

pub async fn in_tls_of(stream: TcpStream, trusted: &Trusted, protocol: &str) -> Stream {
    let mut config = trusted.0.clone();
    config.alpn_protocols = vec![protocol.into()];
    let name = rustls::pki_types::ServerName::try_from("gateway.test").expect("a name");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    Box::new(connector.connect(name, stream).await.expect("TLS"))
}

/// What trusts the gateway's certificate.
#[derive(Clone)]
pub struct Trusted(pub rustls::ClientConfig);

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

/// From one of many source addresses, each of which has its own ports.
pub async fn connect(to: SocketAddr, n: usize) -> TcpStream {
    connect_with(to, n, |_| {}).await
}

/// The same, with a socket that was made ready in this way.
pub async fn connect_with(to: SocketAddr, n: usize, ready: impl Fn(&TcpSocket)) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    ready(&socket);
    let from = Ipv4Addr::new(127, 0, 1, u8::try_from(n % 16).expect("small"));
    socket.bind((from, 0).into()).expect("a loopback address");
    let stream = socket.connect(to).await.expect("connect");
    stream.set_nodelay(true).expect("nodelay");
    stream
}

pub async fn head_of(stream: &mut BufReader<Stream>) -> (u16, usize) {
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

pub async fn answer(stream: &mut BufReader<Stream>, path: &str, key: &str, more: &str) {
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

pub struct Latency {
    pub median: Duration,
    pub p99: Duration,
}

/// How this program is told to be a neighbour, and nothing else.
const NEIGHBOUR: &str = "--neighbour";

/// So many requests, one after another, on four connections in turns, from addresses of their own: by a process of their
/// own, which shares the cores with the crowd and not its threads. The program must [`be_neighbour`] first of all.
pub async fn probe(gateway: &Gateway, count: usize) -> Latency {
    let mut neighbour = Command::new(std::env::current_exe().expect("a program"));
    neighbour
        .args([NEIGHBOUR, &gateway.address.to_string(), &gateway.key])
        .arg(count.to_string())
        .stderr(Stdio::inherit());
    let ran = tokio::task::spawn_blocking(move || neighbour.output());
    let output = ran.await.expect("it runs").expect("it starts");
    assert!(output.status.success(), "a neighbour's request failed");
    let told = String::from_utf8(output.stdout).expect("text");
    let mut told = told.split_whitespace().map(|ns| ns.parse().expect("ns"));
    let mut next = || Duration::from_nanos(told.next().expect("a figure"));
    Latency {
        median: next(),
        p99: next(),
    }
}

/// Is a neighbour to its end, if that is what this process was started for; else does nothing, and says so.
pub fn be_neighbour() -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, what, address, key, count] = &arguments[..] else {
        return false;
    };
    if what != NEIGHBOUR {
        return false;
    }
    let address = address.parse().expect("an address");
    let count = count.parse().expect("a number");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let told = runtime.block_on(ask(address, key, count));
    println!("{} {}", told.median.as_nanos(), told.p99.as_nanos());
    true
}

/// How long a connection may rest before it is made anew: less than the gateways here keep one.
const LANE_TIME: Duration = Duration::from_secs(2);

async fn lane(address: SocketAddr, n: usize) -> BufReader<Stream> {
    let stream: Stream = Box::new(connect(address, 12 + n).await);
    BufReader::new(stream)
}

async fn ask(address: SocketAddr, key: &str, count: usize) -> Latency {
    let mut lanes = Vec::new();
    for n in 0..4 {
        lanes.push((lane(address, n).await, Instant::now()));
    }
    let mut took = Vec::with_capacity(count);
    for n in 0..count {
        let (stream, used) = &mut lanes[n % 4];
        // Where this process did not run for seconds, its connections are too old to be kept.
        if used.elapsed() > LANE_TIME {
            *stream = lane(address, n % 4).await;
        }
        let begun = Instant::now();
        answer(stream, "/v3/small", key, "").await;
        *used = Instant::now();
        took.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    took.sort_unstable();
    Latency {
        median: took[count / 2],
        p99: took[count * 99 / 100],
    }
}

/// A gateway of its own for each kind.
pub struct Gateway {
    pub child: Child,
    pub address: SocketAddr,
    pub in_tls: SocketAddr,
    pub tls: Trusted,
    pub key: String,
    _folder: tempfile::TempDir,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    /// A gateway before this upstream, with these lines more in its file.
    pub async fn start(upstream: SocketAddr, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tls = certificate(folder.path());
        let main = format!(
            "include = [\"routes.toml\"]\n[server]\nlisten = [{{ address = \"127.0.0.1:0\", tls = false }}, \"127.0.0.1:0\"]\n\
             tls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\nworkers = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [log]\nformat = \"json\"\naccess = \"off\"\n{more}\
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
    pub async fn settled(&self) -> u64 {
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

pub fn anonymous_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find(|l| l.starts_with("RssAnon:"));
    line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok())
        .expect("a number of KiB")
}

pub fn raise_descriptors() {
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
