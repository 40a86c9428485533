//! How a gateway fares while it is attacked: its neighbours, its memory, and when the attackers are let go.
//!
//! `cargo bench --bench attacks` (`KEYGATE_BENCH_SCALE=10` makes a tenth of all; a name behind `--` picks attacks). Three kinds:
//!
//! - **slow**: thousands of clients at once that begin something and do not go on. Told is when they were closed, measured
//!   from when each began to wait, against the deadline that is set for it. One that is open long after its deadline fails the run.
//! - **floods**: frames of HTTP/2 that cost the client nothing, on several connections, which come again when they are ended.
//! - **guesses**: requests with keys that nobody has. Told is the processor time of a refusal against that of a request that
//!   is permitted, and how the memory grew.
//!
//! Beside each a neighbour asks one request after another, before and meanwhile. All of its requests must succeed; the figure to quote
//! is the ratio of its latencies. Attackers, gateway, neighbour and upstream are
//! processes of their own, and share the machine's cores.

mod support {
    #[expect(dead_code, reason = "nobody here speaks TLS to its end")]
    pub mod crowd;
}

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::crowd::{
    Gateway, Latency, be_neighbour, connect, connect_with, probe, raise_descriptors,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

const CLIENTS: usize = 5_000;
const GUESSES: usize = 1_000_000;
const PROBES: usize = 1_000;

/// What is waited for at most, set short so that a run is.
const DEADLINE: Duration = Duration::from_secs(4);

/// So late after its deadline, and after the five seconds in which an answer is waited to be read, nobody may be there.
const GRACE: Duration = Duration::from_secs(20);

/// How long a flood lasts.
const FLOOD: Duration = Duration::from_secs(5);

const BIG: usize = 8 << 20;

fn more(failed_auth: &str) -> String {
    format!(
        "[limits]\nconnections = 20000\n{failed_auth}[timeouts]\nhead = \"4s\"\nbody = \"4s\"\nidle = \"4s\"\n"
    )
}

fn main() {
    if be_neighbour() || be_upstream() {
        return;
    }
    let scale = std::env::var("KEYGATE_BENCH_SCALE").ok();
    let scale: usize = scale.and_then(|s| s.parse().ok()).unwrap_or(1).max(1);
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let is_wanted =
        |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str()));
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (_upstream, upstream) = Upstream::start();
        println!(
            "slow: {} clients at once, deadlines of {DEADLINE:?}",
            CLIENTS / scale
        );
        for slow in Slow::ALL {
            if is_wanted(slow.name()) {
                slowly(slow, CLIENTS / scale, upstream).await;
            }
        }
        println!("floods: 8 connections for {FLOOD:?}");
        for flood in Flood::ALL {
            if is_wanted(flood.name()) {
                flooded(flood, upstream).await;
            }
        }
        if is_wanted("guesses") {
            guesses(GUESSES / scale, upstream).await;
        }
    });
}

#[derive(Clone, Copy)]
enum Slow {
    Silence,
    Heads,
    Bodies,
    Readers,
    HalfPrefaces,
    HalfHellos,
}

impl Slow {
    const ALL: [Slow; 6] = [
        Slow::Silence,
        Slow::Heads,
        Slow::Bodies,
        Slow::Readers,
        Slow::HalfPrefaces,
        Slow::HalfHellos,
    ];

    fn name(self) -> &'static str {
        match self {
            Slow::Silence => "silent connections",
            Slow::Heads => "slow heads, a byte a second",
            Slow::Bodies => "slow bodies",
            Slow::Readers => "slow readers",
            Slow::HalfPrefaces => "half prefaces",
            Slow::HalfHellos => "half TLS hellos",
        }
    }

    /// Begins, and waits until it is closed; how long that took.
    async fn wait(self, gateway: &Aim, n: usize) -> Duration {
        let to = match self {
            Slow::HalfHellos => gateway.in_tls,
            _ => gateway.address,
        };
        // Else the kernel would take megabytes for each reader that reads nothing.
        let small = |socket: &TcpSocket| socket.set_recv_buffer_size(4096).expect("a size");
        let mut stream = match self {
            Slow::Readers => connect_with(to, n, small).await,
            _ => connect(to, n).await,
        };
        let key = &gateway.key;
        let first = match self {
            Slow::Silence => String::new(),
            Slow::Heads => "GET /v3/small HTTP/1.1\r\nHost: a\r\nX-Slow: ".to_owned(),
            Slow::Bodies => format!(
                "POST /v3/small HTTP/1.1\r\nHost: a\r\napikey: {key}\r\nContent-Length: 100\r\n\r\nhalf"
            ),
            Slow::Readers => format!("GET /v3/big HTTP/1.1\r\nHost: a\r\napikey: {key}\r\n\r\n"),
            Slow::HalfPrefaces => "PRI * HTTP/2.0\r\n\r\nSM".to_owned(),
            Slow::HalfHellos => "\u{16}\u{3}\u{1}\u{2}".to_owned(),
        };
        let begun = Instant::now();
        stream
            .write_all(first.as_bytes())
            .await
            .expect("it is accepted");
        match self {
            Slow::Readers => {
                // Nothing is read; that it was closed shows in what is written.
                loop {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    if stream.write_all(b"\r\n").await.is_err() {
                        return begun.elapsed();
                    }
                }
            }
            Slow::Heads => {
                let (mut read, mut write) = stream.into_split();
                let drip = async {
                    loop {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        if write.write_all(b"x").await.is_err() {
                            std::future::pending::<()>().await;
                        }
                    }
                };
                tokio::select! {
                    () = drip => unreachable!("it has no end"),
                    () = until_closed(&mut read) => begun.elapsed(),
                }
            }
            _ => {
                until_closed(&mut stream).await;
                begun.elapsed()
            }
        }
    }
}

/// Where attackers go.
struct Aim {
    address: SocketAddr,
    in_tls: SocketAddr,
    key: String,
}

impl Aim {
    fn at(gateway: &Gateway) -> Arc<Self> {
        Arc::new(Aim {
            address: gateway.address,
            in_tls: gateway.in_tls,
            key: gateway.key.clone(),
        })
    }
}

async fn until_closed(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut buffer = [0; 4096];
    while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
}

async fn slowly(slow: Slow, clients: usize, upstream: SocketAddr) {
    let gateway = Gateway::start(upstream, &more("")).await;
    let before = quiet(&gateway).await;
    let memory = gateway.settled().await;
    let aim = Aim::at(&gateway);
    let mut tasks = JoinSet::new();
    for n in 0..clients {
        let aim = Arc::clone(&aim);
        tasks.spawn(async move { slow.wait(&aim, n).await });
    }
    let during = probe(&gateway, PROBES).await;
    let mut took = Vec::with_capacity(clients);
    while let Some(closed) = tasks.join_next().await {
        took.push(closed.expect("it began"));
    }
    took.sort_unstable();
    let (median, last) = (took[clients / 2], took[clients - 1]);
    let grown = gateway.settled().await.saturating_sub(memory);
    println!(
        "  {}: closed after {median:.1?} (median), {last:.1?} (last); {}; {grown} KiB more when all was over",
        slow.name(),
        beside(&during, &before),
    );
    assert!(
        last < DEADLINE + GRACE,
        "{}: open after {last:?}",
        slow.name()
    );
}

async fn quiet(gateway: &Gateway) -> Latency {
    probe(gateway, PROBES / 4).await;
    probe(gateway, PROBES).await
}

fn beside(during: &Latency, before: &Latency) -> String {
    let ratio = |now: Duration, then: Duration| now.as_secs_f64() / then.as_secs_f64();
    format!(
        "neighbour's median {:.2} ×, p99 {:.2} × (from {:?} and {:?})",
        ratio(during.median, before.median),
        ratio(during.p99, before.p99),
        before.median,
        before.p99
    )
}

#[derive(Clone, Copy)]
enum Flood {
    RapidReset,
    ProvokedReset,
    Continuations,
    EmptyData,
    Pings,
    Settings,
    Windows,
    Bomb,
}

impl Flood {
    const ALL: [Flood; 8] = [
        Flood::RapidReset,
        Flood::ProvokedReset,
        Flood::Continuations,
        Flood::EmptyData,
        Flood::Pings,
        Flood::Settings,
        Flood::Windows,
        Flood::Bomb,
    ];

    fn name(self) -> &'static str {
        match self {
            Flood::RapidReset => "rapid reset",
            Flood::ProvokedReset => "resets provoked from us",
            Flood::Continuations => "continuations",
            Flood::EmptyData => "empty data",
            Flood::Pings => "pings",
            Flood::Settings => "settings",
            Flood::Windows => "windows opened by a byte",
            Flood::Bomb => "HPACK bombs",
        }
    }

    /// The frames number `n` of a connection.
    fn frames(self, n: u32) -> Vec<u8> {
        let id = 2 * n + 1;
        let get = block("GET");
        match self {
            Flood::RapidReset => [frame(1, 5, id, &get), frame(3, 0, id, &[0, 0, 0, 8])].concat(),
            Flood::ProvokedReset => [
                frame(1, 4, id, &get),
                frame(8, 0, id, &[0x7f, 0xff, 0xff, 0xff]),
            ]
            .concat(),
            Flood::Continuations if n == 0 => frame(1, 1, 1, &get),
            Flood::Continuations => frame(9, 0, 1, b"\x00\x06x-more\x01y"),
            Flood::EmptyData if n == 0 => frame(1, 4, 1, &block("POST")),
            Flood::EmptyData => frame(0, 0, 1, &[]),
            Flood::Pings => frame(6, 0, 0, b"12345678"),
            Flood::Settings => frame(4, 0, 0, &[0, 3, 0, 0, 0, 9]),
            Flood::Windows => frame(8, 0, 0, &[0, 0, 0, 1]),
            // One long field that is remembered, then pointed at four thousand times a head.
            Flood::Bomb => {
                let mut head = get;
                if n == 0 {
                    head.extend([0x40, 1, b'x', 127, 0x81, 0x1e]);
                    head.extend([b'y'; 4000]);
                } else {
                    head.extend([0xbe; 4000]);
                }
                frame(1, 5, id, &head)
            }
        }
    }
}

/// A request's head without a key: fields as literals that are not remembered (RFC 7541, section 6.2.2).
fn block(method: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", method),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/v3/small"),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend(text.as_bytes());
        }
    }
    block
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short");
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

async fn flooded(flood: Flood, upstream: SocketAddr) {
    let gateway = Gateway::start(upstream, &more("")).await;
    let before = quiet(&gateway).await;
    let memory = gateway.settled().await;
    let (over, ended, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut tasks = JoinSet::new();
    for n in 0..8 {
        let (over, ended, sent) = (Arc::clone(&over), Arc::clone(&ended), Arc::clone(&sent));
        let address = gateway.address;
        tasks.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let (mut read, mut write) = connect(address, n % 8).await.into_split();
                let mut first = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
                first.extend(frame(4, 0, 0, &[]));
                let writing = async {
                    let mut frames = first;
                    let mut n = 0;
                    while !over.load(Ordering::Relaxed) {
                        while frames.len() < 16 * 1024 {
                            frames.extend(flood.frames(n));
                            n += 1;
                        }
                        if write.write_all(&frames).await.is_err() {
                            break;
                        }
                        sent.fetch_add(frames.len() as u64, Ordering::Relaxed);
                        frames.clear();
                    }
                };
                tokio::select! {
                    () = writing => {}
                    () = until_closed(&mut read) => {}
                }
                ended.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let until = Instant::now() + FLOOD;
    let cpu = cpu(&gateway);
    let during = probe(&gateway, PROBES).await;
    tokio::time::sleep_until(until.into()).await;
    let spent = self::cpu(&gateway) - cpu;
    over.store(true, Ordering::Relaxed);
    while tasks.join_next().await.is_some() {}
    let grown = gateway.settled().await.saturating_sub(memory);
    println!(
        "  {}: {} MiB sent, {} connections ended, {spent:.1?} of the processor; {}; {grown} KiB more when all was over",
        flood.name(),
        sent.load(Ordering::Relaxed) >> 20,
        ended.load(Ordering::Relaxed),
        beside(&during, &before),
    );
}

/// Requests with keys that nobody has, on 64 connections.
async fn guesses(count: usize, upstream: SocketAddr) {
    let unlimited = "failed_auth = { rate = \"1000000/s\", burst = 1000000000 }\n";
    let gateway = Gateway::start(upstream, &more(unlimited)).await;
    let before = quiet(&gateway).await;
    let permitted = each(&gateway, count / 10, true).await;
    let memory = gateway.settled().await;
    let attack = async {
        let refused = each(&gateway, count, false).await;
        (refused, gateway.settled().await)
    };
    let ((refused, after), during) = tokio::join!(attack, probe(&gateway, PROBES));
    println!(
        "guesses: {count} with unknown keys, {refused:.1?} of the processor each, {:.2} × a permitted request's ({permitted:.1?}); {}; {} KiB more when all was over",
        refused.as_secs_f64() / permitted.as_secs_f64(),
        beside(&during, &before),
        after.saturating_sub(memory),
    );
    // And under the limit that is in force without a word in the file.
    let gateway = Gateway::start(upstream, &more("")).await;
    let before = quiet(&gateway).await;
    let memory = gateway.settled().await;
    let attack = async {
        let refused = each(&gateway, count / 10, false).await;
        (refused, gateway.settled().await)
    };
    let ((refused, after), during) = tokio::join!(attack, probe(&gateway, PROBES));
    println!(
        "guesses under the default limit: {} with unknown keys, {refused:.1?} each, a new connection for each 429; {}; {} KiB more",
        count / 10,
        beside(&during, &before),
        after.saturating_sub(memory),
    );
}

/// The processor time of the gateway for one of so many requests.
async fn each(gateway: &Gateway, count: usize, good: bool) -> Duration {
    const CONNECTIONS: usize = 64;
    let before = cpu(gateway);
    let mut tasks = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let aim = Aim::at(gateway);
        tasks.spawn(async move {
            let mut stream: Option<BufReader<TcpStream>> = None;
            for n in 0..count / CONNECTIONS {
                let key = match good {
                    true => aim.key.clone(),
                    false => format!("{connection:020}{n:020}"),
                };
                let head = format!("GET /v3/small HTTP/1.1\r\nHost: a\r\napikey: {key}\r\n\r\n");
                let mut open = match stream.take() {
                    Some(open) => open,
                    None => BufReader::new(connect(aim.address, connection).await),
                };
                open.get_mut()
                    .write_all(head.as_bytes())
                    .await
                    .expect("sent");
                let (status, closes) = answered(&mut open).await;
                let expected: &[u16] = if good { &[200] } else { &[401, 429] };
                assert!(expected.contains(&status), "{status}");
                if !closes {
                    stream = Some(open);
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("all are answered");
    }
    (cpu(gateway) - before) / u32::try_from(count).expect("not so many")
}

/// Reads an answer: its status, and whether the connection ends with it.
async fn answered(stream: &mut BufReader<TcpStream>) -> (u16, bool) {
    let (mut status, mut length, mut closes) = (0, 0, false);
    loop {
        let mut line = String::new();
        let read = stream.read_line(&mut line).await.expect("a line");
        assert!(read > 0, "the connection ended without an answer");
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(rest) = line.strip_prefix("http/1.1 ") {
            status = rest[..3].parse().expect("a status");
        } else if let Some(rest) = line.strip_prefix("content-length:") {
            length = rest.trim().parse().expect("a length");
        } else if line == "connection: close" {
            closes = true;
        } else if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.expect("a body");
    (status, closes)
}

/// The processor time of all threads of the gateway so far.
fn cpu(gateway: &Gateway) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.child.id())).expect("it lives");
    let nanoseconds = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// Small answers, and a big one.
/// How this program is told to be the upstream, and nothing else.
const UPSTREAM: &str = "--upstream";

/// The upstream, a process of its own: what attackers do with their threads does not make it slower. Ended when dropped.
struct Upstream(Child);

impl Upstream {
    fn start() -> (Self, SocketAddr) {
        let mut child = Command::new(std::env::current_exe().expect("a program"))
            .arg(UPSTREAM)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let told = child.stdout.take().expect("stdout is piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(told), &mut line).expect("a line");
        (Upstream(child), line.trim().parse().expect("an address"))
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Is the upstream to its end, if that is what this process was started for; else does nothing, and says so.
fn be_upstream() -> bool {
    if std::env::args().nth(1).as_deref() != Some(UPSTREAM) {
        return false;
    }
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let socket = TcpSocket::new_v4().expect("a socket");
        // Taken over by what is accepted: else thousands of big answers that nobody reads fill what the kernel has for TCP.
        socket.set_send_buffer_size(64 << 10).expect("a size");
        socket
            .bind(([127, 0, 0, 1], 0).into())
            .expect("a free port");
        let listener = socket.listen(1024).expect("it listens");
        println!("{}", listener.local_addr().expect("an address"));
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = serve(stream).await; // whoever it served has gone
            });
        }
    });
    true
}

async fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(1024, stream);
    loop {
        let (mut line, mut big) = (String::new(), false);
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            big |= line.contains(" /v3/big ");
        }
        let length = if big { BIG } else { 5 };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        stream.get_mut().write_all(head.as_bytes()).await?;
        let piece = [b'x'; 16 * 1024];
        let mut rest = length;
        while rest > 0 {
            let part = rest.min(piece.len());
            stream.get_mut().write_all(&piece[..part]).await?;
            rest -= part;
        }
    }
}
