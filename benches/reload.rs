//! What a reload costs: the reading alone, and at a gateway that serves.
//!
//! `cargo bench --bench reload`; a name behind `--` picks benchmarks and leaves the gateway out: `read`.
//!
//! The policy has the shape of a large API: resources beside each other below one prefix, three routes each, a tail that
//! takes the rest, and an expectation for every tenth route.
//!
//! - **read**: from the files to what can be put in force, with 10, 1,000 and 10,000 routes: read, parsed, compiled, all
//!   expectations run. It happens on a thread of its own; what of it is the compiling alone is in `decision`.
//! - **served**: a gateway with one worker and 10,000 routes, each of which was used before, so that it has all that a route
//!   can have, and clients that ask for them one after another on kept connections. Twenty times the routes are edited
//!   (written beside, renamed), `/status` is asked until they are in force, and a request shows that they are; after each
//!   comes as long a time without an edit, in which `/status` is asked as often. Told is how long an edit takes, and how
//!   the slowest request beside a reload compares with the slowest without.
//!
//! It fails where an answer is wrong or a reload does not happen, and never because of a time: what was promised is printed
//! beside what is.

mod support {
    pub mod gateway;
    pub mod store;
}

use divan::Bencher;
use keygate::config::{Secrets, load};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::gateway::{Running, configure, free_port, wait};
use support::store::store_of;

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MOST: usize = 10_000;
const BOUND: &str =
    "10,000 routes compiled and swapped in at most 50 ms, no request delayed by more than 5 ms";

/// Clients, each with a connection on which it asks as soon as it has its answer.
const CLIENTS: usize = 2;
const RELOADS: usize = 20;
/// How long after a reload requests still count as beside it: what was replaced is put away later.
const AFTERWARDS: Duration = Duration::from_millis(600);
/// Between two questions to `/status`.
const PAUSE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let picked = std::env::args().skip(1).any(|word| word != "--bench");
    if !picked {
        served();
    }
    println!("promised: {BOUND}");
    divan::main();
}

#[divan::bench(args = [10, 1_000, MOST], sample_count = 30, sample_size = 1)]
fn read(bencher: Bencher, routes: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    configure(folder.path(), 1, 2, 3, "");
    write_routes(folder.path(), routes, 0);
    let main_file = folder.path().join("keygate.toml");
    let read = || match load(&main_file, Secrets::Required) {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{problems}"),
    };
    let loaded = read();
    assert_eq!(loaded.routes, routes);
    assert_eq!(loaded.expectations.len(), routes.div_ceil(10));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    // What was read ends outside of what is measured, as it does in the gateway.
    bencher.bench_local(read);
}

/// Writes this many routes in place of those that are there, at once. One route has the edition's number.
fn write_routes(folder: &Path, routes: usize, edition: usize) {
    let mut text = format!(
        "[scopes]\nauthOnly = []\nfullAccess = [\"authOnly\"]\n[defaults]\nupstream = \"chat\"\n\
         [[routes]]\npath = \"/v3/{{*rest}}\"\nscope = \"fullAccess\"\n\
         [[routes]]\npath = \"/edition/{edition}\"\naccess = \"public\"\n"
    );
    for number in 0..routes - 2 {
        let (method, path) = route(number, "{id}");
        let _ = write!(
            text,
            "[[routes]]\npath = \"{path}\"\nmethods = [\"{method}\"]\nscope = \"fullAccess\"\n"
        );
    }
    for number in 0..routes.div_ceil(10) {
        let (method, path) = route(number * 10 % (routes - 2), "item");
        let _ = write!(
            text,
            "[[expect]]\nrequest = \"{method} {path}\"\nallow = [\"fullAccess\"]\ndeny = [\"authOnly\", \"anyone\"]\n"
        );
    }
    let beside = folder.join("routes.new");
    fs::write(&beside, text).expect("write");
    fs::rename(beside, folder.join("routes.toml")).expect("rename");
}

/// A resource has three routes.
fn route(number: usize, id: &str) -> (&'static str, String) {
    let resource = number / 3;
    match number % 3 {
        0 => ("GET", format!("/v3/resource-{resource}")),
        1 => ("GET", format!("/v3/resource-{resource}/{id}")),
        _ => ("POST", format!("/v3/resource-{resource}/{id}/parts")),
    }
}

/// A stretch of time, in which requests are looked at.
#[derive(Clone, Copy)]
struct Stretch {
    begun: Instant,
    ended: Instant,
}

/// A request: when it was sent, and how long its answer took.
type Asked = (Instant, Duration);

fn served() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let (port, admin) = (free_port(), free_port());
    configure(folder, port, admin, upstream(), "");
    write_routes(folder, MOST, 0);
    let waiting = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let key = waiting.block_on(async {
        let (texts, keys) = store_of(folder, 100).await;
        keys.close().await;
        texts[7].clone()
    });
    let _gateway = start(folder);
    wait(port);
    wait(admin);

    let stop = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (stop, rounds, key) = (Arc::clone(&stop), Arc::clone(&rounds), key.clone());
            thread::spawn(move || ask_on(port, &key, &stop, &rounds))
        })
        .collect();
    let pause = || waiting.block_on(async { tokio::time::sleep(PAUSE).await });
    let mut gateway = Told {
        admin,
        requests: Client::new(port),
    };
    let living = || {
        assert!(
            !clients.iter().any(thread::JoinHandle::is_finished),
            "a client ended"
        );
    };
    let begun = Instant::now();
    while rounds.load(Ordering::Relaxed) < CLIENTS {
        living();
        assert!(begun.elapsed() < PATIENCE, "every route is asked for once");
        pause();
    }

    let mut edits = Vec::new();
    let (mut beside, mut without) = (Vec::new(), Vec::new());
    for edition in 1..=RELOADS {
        let before = gateway.generation();
        let begun = Instant::now();
        write_routes(folder, MOST, edition);
        let edited = Instant::now();
        while gateway.generation() == before {
            living();
            assert!(edited.elapsed() < PATIENCE, "edition {edition} is in force");
            pause();
        }
        edits.push(edited.elapsed());
        gateway.check(edition);
        beside.push(gateway.watch(begun, edits[edition - 1] + AFTERWARDS, &pause));
        without.push(gateway.watch(Instant::now(), edits[edition - 1] + AFTERWARDS, &pause));
        assert_eq!(gateway.generation(), before + 1, "one edit, one reload");
    }
    stop.store(true, Ordering::Relaxed);
    let asked: Vec<Asked> = clients
        .into_iter()
        .flat_map(|client| client.join().expect("every answer is right"))
        .collect();
    edits.sort_unstable();
    println!(
        "{RELOADS} reloads of {MOST} routes, {CLIENTS} clients; from the edit until it is in force: median {:.0?}, most {:.0?}; \
         of that the files are left to settle for 170 ms",
        edits[RELOADS / 2],
        edits[RELOADS - 1]
    );
    report("beside a reload", &beside, &asked);
    report("as long without", &without, &asked);
    println!();
}

/// Prints how long the requests of these stretches took.
fn report(what: &str, stretches: &[Stretch], asked: &[Asked]) {
    let mut slowest = Vec::new();
    let mut all = Vec::new();
    for stretch in stretches {
        let of_it = asked
            .iter()
            .filter(|(sent, took)| *sent < stretch.ended && *sent + *took > stretch.begun);
        let before = all.len();
        all.extend(of_it.map(|(_, took)| *took));
        let most = all[before..].iter().max();
        slowest.push(*most.expect("requests are sent all the time"));
    }
    all.sort_unstable();
    slowest.sort_unstable();
    println!(
        "{what}: {} requests, median {:.2?}, 99.9 % {:.2?}; slowest {:.2?}, the slowest of a stretch in the median {:.2?}",
        all.len(),
        all[all.len() / 2],
        all[all.len() * 999 / 1000],
        slowest[slowest.len() - 1],
        slowest[slowest.len() / 2],
    );
}

fn start(folder: &Path) -> Running {
    let log = fs::File::create(folder.join("keygate.log")).expect("a log");
    let started = Command::new(env!("CARGO_BIN_EXE_keygate"))
        .args(["run", "--config"])
        .arg(folder.join("keygate.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    Running(started.expect("keygate starts"))
}

/// What is asked of the gateway beside the load.
struct Told {
    admin: u16,
    requests: Client,
}

impl Told {
    fn generation(&mut self) -> u64 {
        let (status, body) = Client::new(self.admin).ask("GET", "/status", "");
        assert_eq!(status, 200);
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let policy = &body["policy"];
        assert_eq!(policy["last_error"], serde_json::Value::Null);
        policy["generation"].as_u64().expect("a number")
    }

    /// This edition decides, and the one before does not: its route is public, and without a key there is no other.
    fn check(&mut self, edition: usize) {
        for (edition, right) in [(edition, 200), (edition - 1, 401)] {
            let path = format!("/edition/{edition}");
            assert_eq!(self.requests.ask("GET", &path, "").0, right, "{path}");
        }
    }

    /// Asks for the status for so long, as it is asked when a reload is waited for.
    fn watch(&mut self, begun: Instant, long: Duration, pause: &impl Fn()) -> Stretch {
        while begun.elapsed() < long {
            self.generation();
            pause();
        }
        Stretch {
            begun,
            ended: Instant::now(),
        }
    }
}

/// A connection that stays.
struct Client(BufReader<TcpStream>);

impl Client {
    fn new(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a TCP socket");
        Client(BufReader::new(stream))
    }

    /// The answer's status and body. More lines of the head end in CRLF.
    fn ask(&mut self, method: &str, path: &str, lines: &str) -> (u16, Vec<u8>) {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: gateway.test\r\n{lines}\r\n");
        let sent = self.0.get_mut().write_all(request.as_bytes());
        sent.expect("the connection stays");
        let head = head(&mut self.0).expect("an answer");
        let length = head.to_ascii_lowercase();
        let length = length.split("\r\ncontent-length: ").nth(1);
        let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        let mut body = vec![0; length.expect("an answer says how long it is")];
        self.0.read_exact(&mut body).expect("a whole answer");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.expect("a status"), body)
    }
}

/// The head of a message, with its empty line; `None` at the end of the connection.
fn head(stream: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// Asks for one route after the other until it is told to stop, and counts one when it has asked for each.
fn ask_on(port: u16, key: &str, stop: &AtomicBool, rounds: &AtomicUsize) -> Vec<Asked> {
    let mut client = Client::new(port);
    let lines = format!("apikey: {key}\r\n");
    let routes: Vec<_> = (0..MOST - 2).map(|number| route(number, "item")).collect();
    let mut asked = Vec::new();
    for (method, path) in routes.iter().cycle() {
        let begun = Instant::now();
        let (status, body) = client.ask(method, path, &lines);
        asked.push((begun, begun.elapsed()));
        assert_eq!(status, 200, "{method} {path}");
        assert_eq!(body, format!("{method} {path}").as_bytes());
        if asked.len() % routes.len() == 0 {
            rounds.fetch_add(1, Ordering::Relaxed);
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    asked
}

/// Starts a server that answers with the request's method and path, a thread for each connection, and gives its port.
fn upstream() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || serve(stream.expect("a connection")));
        }
    });
    port
}

/// Until the connection ends; one that breaks off is seen by who asks.
fn serve(stream: TcpStream) {
    stream.set_nodelay(true).expect("a TCP socket");
    let mut stream = BufReader::new(stream);
    while let Some(head) = head(&mut stream) {
        let asked = head.split(" HTTP/1.1").next().unwrap_or_default();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{asked}",
            asked.len()
        );
        if stream.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
