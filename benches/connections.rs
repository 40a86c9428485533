//! What connections cost that do nothing, or little: memory by connection, and how requests fare beside them.
//!
//! `cargo bench --bench connections` (`KEYGATE_BENCH_SCALE=10` makes a tenth of all). Ten thousand idle connections
//! after one request each, over HTTP/1.1 and over HTTP/2, in clear text and in TLS; a thousand WebSockets and a thousand event streams, each with
//! a message a second. Each kind meets a gateway of its own, and what is told is the growth of its anonymous memory by
//! connection: the kernel's own buffers are not in it. At the end everything is open at once, and a prober's requests
//! are timed before and meanwhile. All of them must succeed; the figure to quote is the ratio of their latencies.

mod support {
    pub mod crowd;
}

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::crowd::{
    Gateway, Stream, answer, be_neighbour, connect, head_of, in_tls_of, probe, raise_descriptors,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const IDLE: usize = 10_000;
const STREAMS: usize = 1_000;
const PROBES: usize = 3_000;
/// More than are open; none of them ends while it is measured.
const MORE: &str = "[limits]\nconnections = 20000\n[timeouts]\nidle = \"10m\"\nstream = \"10m\"\n";

/// Between two messages of a stream.
const PACE: Duration = Duration::from_secs(1);

fn main() {
    if be_neighbour() {
        return;
    }
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
            let gateway = Gateway::start(upstream, MORE).await;
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
    let gateway = Gateway::start(upstream, MORE).await;
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

async fn hold(mut stream: BufReader<Stream>) {
    let read = stream.read(&mut [0]).await;
    panic!("an idle connection ended: {read:?}");
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
