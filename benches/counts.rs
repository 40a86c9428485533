//! What a request costs, counted: instructions, allocations, system calls. No clock is looked at.
//!
//! `cargo bench --bench counts` prints the counts of this tree beside those that are kept in `benches/counts.json`, and
//! fails where a request became dearer by more than [`Tolerance`] allows; `cargo bench --bench counts -- --keep` keeps the
//! new ones, for whoever means them to be so. A change that costs something says so in its commit.
//!
//! Each kind of request is asked for again and again on one kept connection, one request at a time, of a gateway with
//! one worker, 10,000 keys and a hundred routes:
//!
//! - **instructions** of the worker's thread outside the kernel, by callgrind: the mean of 2,000 requests. It repeats within
//!   1 % on one machine, and changes with the compiler and with what the processor can do: keep anew before you compare.
//! - **allocations**, reallocations included, and their bytes, all threads: the median of 200 requests, each counted for
//!   itself, so that ticks and what is paid once in many requests are not in it.
//! - **system calls** of the worker's thread, by strace: the median, as before, of each call.
//!
//! Where valgrind or strace is missing (Debian: valgrind, strace), that is said, and the rest is counted.

mod support {
    pub mod gateway;
    pub mod instruments;
    pub mod store;
}

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use std::collections::BTreeMap;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;
use support::gateway::{configure, free_port};
use support::instruments::{Allocations, Callgrind, Strace, has};
use support::store::store_of;
use tokio::net::{TcpListener, TcpStream};

/// Counts in the gateway that this program is when its first argument is `run`.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const KEYS: usize = 10_000;
/// Requests before any is counted.
const WARM_UP: usize = 600;
/// Requests whose instructions are counted together.
const TOGETHER: usize = 2_000;
/// Requests that are counted each for itself.
const APART: usize = 200;
/// For what a worker does after an answer: so long is waited before a count is read.
const REST: Duration = Duration::from_millis(2);

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/counts.json");

/// By how many per cent a request may become dearer.
struct Tolerance {
    instructions: f64,
    allocations: f64,
    bytes: f64,
    syscalls: f64,
}

impl Tolerance {
    fn of(request: &str) -> Self {
        let asks_the_store = request == MANAGEMENT;
        Tolerance {
            instructions: if asks_the_store { 10.0 } else { 3.0 },
            allocations: if asks_the_store { 10.0 } else { 0.0 },
            bytes: 2.0,
            syscalls: 0.0,
        }
    }
}

/// It asks the store on other threads, and what that costs hangs on which of them waits for which.
const MANAGEMENT: &str = "management GET";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == "run") {
        std::thread::spawn(tell_allocations);
        return keygate::cli::main();
    }
    let keep = arguments.iter().any(|argument| argument == "--keep");
    let now = Kept {
        profile: profile(),
        architecture: std::env::consts::ARCH.to_owned(),
        requests: runtime().block_on(measure()),
    };
    let kept: Option<Kept> = std::fs::read(KEPT)
        .ok()
        .map(|text| serde_json::from_slice(&text).expect("benches/counts.json is ours"));
    let kept = kept.filter(|kept| {
        let same = kept.profile == now.profile && kept.architecture == now.architecture;
        if !same {
            println!(
                "NOT COMPARED: kept are the counts of a {} build on {}, these are of {} on {}",
                kept.profile, kept.architecture, now.profile, now.architecture
            );
        }
        same
    });
    let dearer = compare(
        &now.requests,
        kept.as_ref().map_or(&[], |kept| &kept.requests),
    );
    if keep {
        let now = now.or(kept);
        let text = serde_json::to_string_pretty(&now).expect("numbers and names");
        std::fs::write(KEPT, text + "\n").expect("benches/counts.json can be written");
        println!("kept in benches/counts.json");
        return ExitCode::SUCCESS;
    }
    if dearer.is_empty() {
        return ExitCode::SUCCESS;
    }
    for line in dearer {
        println!("DEARER: {line}");
    }
    ExitCode::FAILURE
}

/// Answers each byte of standard input with what was allocated up to then. Allocates nothing for that.
fn tell_allocations() {
    let mut asked = [0];
    while std::io::stdin().read_exact(&mut asked).is_ok() {
        let stats = ALLOCATOR.stats();
        println!(
            "{} {}",
            stats.allocations + stats.reallocations,
            stats.bytes_allocated
        );
    }
}

/// The profile of cargo that this was built with: the folder above that of benchmarks.
fn profile() -> String {
    let program = std::env::current_exe().expect("this program has a path");
    let folder = program.ancestors().nth(2).and_then(Path::file_name);
    folder.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

#[derive(Serialize, Deserialize)]
struct Kept {
    profile: String,
    architecture: String,
    requests: Vec<Counts>,
}

impl Kept {
    /// What was not counted now stays as it was kept.
    fn or(mut self, kept: Option<Kept>) -> Kept {
        for old in kept.into_iter().flat_map(|kept| kept.requests) {
            let mut all = self.requests.iter_mut();
            if let Some(new) = all.find(|new| new.request == old.request) {
                new.instructions = new.instructions.or(old.instructions);
                new.syscalls = new.syscalls.take().or(old.syscalls);
            }
        }
        self
    }
}

/// What one request costs.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Counts {
    request: String,
    instructions: Option<u64>,
    allocations: u64,
    allocated_bytes: u64,
    syscalls: Option<BTreeMap<String, u64>>,
}

impl Counts {
    fn syscalls(&self) -> Option<u64> {
        self.syscalls.as_ref().map(|calls| calls.values().sum())
    }
}

/// A kind of request.
struct Kind {
    name: &'static str,
    version: Version,
    method: Method,
    path: String,
    key: Option<String>,
    body: Bytes,
    status: StatusCode,
}

/// The kinds, in the order of the table: what is asked for with which key, and the answer.
fn kinds(key: &str, lesser: &str) -> Vec<Kind> {
    let unknown = "0".repeat(40);
    let user = "/v3/users/cyclops1";
    let own = format!("/v3/apikeys/{lesser}");
    let (get, post, h1, h2) = (Method::GET, Method::POST, Version::HTTP_11, Version::HTTP_2);
    [
        ("proxied GET", h1, &get, user, Some(key), 0, 200),
        ("proxied POST 1 KiB", h1, &post, user, Some(key), 1024, 200),
        ("refused key", h1, &get, user, Some(&unknown), 0, 401),
        ("refused scope", h1, &get, user, Some(lesser), 0, 403),
        ("public GET", h1, &get, "/v3/public", None, 0, 200),
        (MANAGEMENT, h1, &get, &own, Some(key), 0, 200),
        ("HTTP/2 GET", h2, &get, user, Some(key), 0, 200),
    ]
    .map(|(name, version, method, path, key, body, status)| Kind {
        name,
        version,
        method: method.clone(),
        path: path.to_owned(),
        key: key.map(str::to_owned),
        body: vec![b'a'; body].into(),
        status: StatusCode::from_u16(status).expect("a status"),
    })
    .into()
}

async fn measure() -> Vec<Counts> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let (keys, handle) = store_of(folder, KEYS).await;
    handle.close().await;
    drop(handle);
    let (port, upstream) = (free_port(), upstream());
    let public = "[[routes]]\npath = \"/v3/public\"\naccess = \"public\"\n";
    configure(folder, port, free_port(), upstream, public);
    let kinds = kinds(&keys[7], &lesser_key(folder));

    let named = |kind: &Kind| Counts {
        request: kind.name.to_owned(),
        ..Counts::default()
    };
    let mut counts: Vec<Counts> = kinds.iter().map(named).collect();
    let mut gateway = Allocations::start(folder, port);
    for (kind, count) in kinds.iter().zip(&mut counts) {
        let mut client = Client::warm(port, kind).await;
        let mut places = vec![gateway.so_far()];
        for _ in 0..APART {
            client.ask(kind).await;
            tokio::time::sleep(REST).await;
            places.push(gateway.so_far());
        }
        let steps = || places.iter().zip(&places[1..]);
        count.allocations = median(steps().map(|(a, b)| b.0 - a.0));
        count.allocated_bytes = median(steps().map(|(a, b)| b.1 - a.1));
    }
    drop(gateway);

    if has("strace", "system calls") {
        let gateway = Strace::start(folder, port);
        for (kind, count) in kinds.iter().zip(&mut counts) {
            let mut client = Client::warm(port, kind).await;
            let mut places = vec![gateway.at()];
            for _ in 0..APART {
                client.ask(kind).await;
                tokio::time::sleep(REST).await;
                places.push(gateway.at());
            }
            let steps = gateway.between(&places);
            let names = steps.iter().flat_map(BTreeMap::keys);
            let calls = names.map(|name| {
                let each = steps.iter().map(|step| step.get(name).copied());
                (name.clone(), median(each.map(Option::unwrap_or_default)))
            });
            count.syscalls = Some(calls.filter(|(_, times)| *times > 0).collect());
        }
    }

    if has("valgrind", "instructions") {
        let mut gateway = Callgrind::start(folder, port);
        for (kind, count) in kinds.iter().zip(&mut counts) {
            let mut client = Client::warm(port, kind).await;
            gateway.zero();
            for _ in 0..TOGETHER {
                client.ask(kind).await;
            }
            count.instructions = Some(gateway.instructions() / TOGETHER as u64);
        }
    }
    counts
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// A key that may not use the route.
fn lesser_key(folder: &Path) -> String {
    let made = Command::new(env!("CARGO_BIN_EXE_keygate"))
        .args(["keys", "create", "--name", "lesser", "--scope", "authOnly"])
        .arg("--config")
        .arg(folder.join("keygate.toml"))
        .output()
        .expect("keygate runs");
    assert!(made.status.success(), "{made:?}");
    let text = String::from_utf8(made.stdout).expect("text");
    text.trim().to_owned()
}

/// A connection that stays.
enum Client {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    /// After the first requests.
    async fn warm(port: u16, kind: &Kind) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        let stream = stream.expect("the gateway listens");
        stream.set_nodelay(true).expect("a TCP socket");
        let io = TokioIo::new(stream);
        let mut client = if kind.version == Version::HTTP_2 {
            let made = http2::handshake(TokioExecutor::new(), io).await;
            let (sender, connection) = made.expect("HTTP/2");
            tokio::spawn(connection);
            Client::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.expect("HTTP/1.1");
            tokio::spawn(connection);
            Client::Http1(sender)
        };
        for _ in 0..WARM_UP {
            client.ask(kind).await;
        }
        client
    }

    async fn ask(&mut self, kind: &Kind) {
        let mut request = Request::new(Full::new(kind.body.clone()));
        *request.method_mut() = kind.method.clone();
        if let Some(key) = &kind.key {
            let key = HeaderValue::from_str(key).expect("a key is text");
            request.headers_mut().insert("apikey", key);
        }
        let sent = match self {
            Client::Http1(sender) => {
                *request.uri_mut() = kind.path.parse().expect("a path");
                let host = HeaderValue::from_static("gateway.test");
                request.headers_mut().insert(HOST, host);
                sender.ready().await.expect("the connection stays");
                sender.send_request(request).await
            }
            Client::Http2(sender) => {
                let uri = format!("http://gateway.test{}", kind.path);
                *request.uri_mut() = uri.parse().expect("a URI");
                sender.ready().await.expect("the connection stays");
                sender.send_request(request).await
            }
        };
        let answer = sent.expect("an answer");
        assert_eq!(answer.status(), kind.status, "{}", kind.name);
        answer.into_body().collect().await.expect("a whole answer");
    }
}

/// Starts a server behind the gateway, on a thread of its own, and gives its port.
fn upstream() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    listener.set_nonblocking(true).expect("a socket");
    std::thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::from_std(listener).expect("a socket");
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("a TCP socket");
                let server = hyper::server::conn::http1::Builder::new();
                let io = TokioIo::new(stream);
                // A connection that breaks off is seen by who asks.
                tokio::spawn(server.serve_connection(io, service_fn(answer)));
            }
        });
    });
    port
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    request.into_body().collect().await?;
    let body = Bytes::from_static(br#"{"data":{"uid":"cyclops1","name":"Cyclops"}}"#);
    let mut response = Response::new(Full::new(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Prints what each kind costs, beside what is kept, and gives a line for each that became too dear.
fn compare(now: &[Counts], kept: &[Counts]) -> Vec<String> {
    let mut dearer = Vec::new();
    println!(
        "{:<20}{:>22}{:>20}{:>22}{:>18}  by call",
        "by request, change", "instructions", "allocations", "bytes", "system calls"
    );
    for count in now {
        let name = &count.request;
        let old = kept.iter().find(|old| old.request == *name);
        let tolerance = Tolerance::of(name);
        let mut cell = |what: &str, now: Option<u64>, old: Option<u64>, percent: f64| {
            let (Some(now), Some(old)) = (now, old) else {
                return now.map_or_else(|| "-".to_owned(), |now| now.to_string());
            };
            let change = 100.0 * (now as f64 / old as f64 - 1.0);
            if change > percent {
                dearer.push(format!(
                    "{name}: {what}: {old} are kept, now {now}, more than {percent} % above"
                ));
            }
            format!("{now} {change:+.1} %")
        };
        let figures = [
            cell(
                "instructions",
                count.instructions,
                old.and_then(|old| old.instructions),
                tolerance.instructions,
            ),
            cell(
                "allocations",
                Some(count.allocations),
                old.map(|old| old.allocations),
                tolerance.allocations,
            ),
            cell(
                "allocated bytes",
                Some(count.allocated_bytes),
                old.map(|old| old.allocated_bytes),
                tolerance.bytes,
            ),
            cell(
                "system calls",
                count.syscalls(),
                old.and_then(Counts::syscalls),
                tolerance.syscalls,
            ),
        ];
        let calls = count.syscalls.iter().flatten();
        let calls: Vec<String> = calls.map(|(call, n)| format!("{call} {n}")).collect();
        let [instructions, allocations, bytes, syscalls] = figures;
        println!(
            "{name:<20}{instructions:>22}{allocations:>20}{bytes:>22}{syscalls:>18}  {}",
            calls.join(", ")
        );
    }
    dearer
}
