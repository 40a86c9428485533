//! What the integration tests share: a gateway of the real binary in a folder of its own, an upstream that records every
//! byte, and a client that sends exactly what it is told to.
//!
//! Everything here blocks, on threads: what a test does is what stands in it. No port is fixed; a gateway says in its
//! `ready` line which ones it has.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub mod certificates;
pub mod fault_proxy;
pub mod fleet;
pub mod frames;
pub mod house;
pub mod lasting;
pub mod local;
pub mod operated;
pub mod port;
pub mod process;
pub mod scripted;
pub mod tools;
pub mod trial;
pub mod wire;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test fails. Never waited for in a test that passes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub const KEYGATE: &str = env!("CARGO_BIN_EXE_keygate");

/// A folder with a configuration: `keygate.toml` and `routes.toml`. Removed when dropped.
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// A configuration for this upstream: `main` is added to `keygate.toml`, `routes` is `routes.toml`.
    ///
    /// Listeners take free ports, everything is logged as JSON. `main` must not repeat the tables `server`, `admin`,
    /// `log`, `keys` and `upstreams.chat`; use [`Folder::with_main`] for a file of one's own.
    pub fn new(upstream: SocketAddr, main: &str, routes: &str) -> Self {
        Self::with_main(
            &format!(
                r#"
include = ["routes.toml"]
[server]
listen = ["127.0.0.1:0"]
workers = 2
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
[keys]
store = "sqlite:data/keygate.db"
secret = "secret/master"
[upstreams.chat]
servers = ["http://{upstream}"]
{main}
"#
            ),
            routes,
        )
    }

    /// A configuration of these two texts.
    pub fn with_main(main: &str, routes: &str) -> Self {
        let folder = Folder(tempfile::tempdir().expect("a temporary folder"));
        folder.write("keygate.toml", main);
        folder.write("routes.toml", routes);
        folder
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn config(&self) -> PathBuf {
        self.path().join("keygate.toml")
    }

    /// Writes a file in place of an old one, by renaming.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        let beside = path.with_extension("new");
        std::fs::write(&beside, text).expect("write");
        std::fs::rename(beside, path).expect("rename");
    }

    /// Runs a command of keygate on this folder's configuration, to its end.
    pub fn keygate(&self, arguments: &[&str]) -> Output {
        let output = Command::new(KEYGATE)
            .args(arguments)
            .arg("--config")
            .arg(self.config())
            .env_remove("KEYGATE_SECRET")
            .output()
            .expect("keygate runs");
        Output {
            status: output.status,
            stdout: String::from_utf8(output.stdout).expect("stdout is text"),
            stderr: String::from_utf8(output.stderr).expect("stderr is text"),
        }
    }

    /// Makes a key with `keygate keys create`; its text.
    pub fn new_key(&self, name: &str, scope: &str) -> String {
        let made = self.keygate(&["keys", "create", "--name", name, "--scope", scope]);
        assert!(made.status.success(), "{}", made.stderr);
        made.stdout.trim().to_owned()
    }

    /// Starts the gateway.
    pub fn start(&self) -> Gateway {
        Gateway::run(&self.config())
    }
}

/// What a command printed.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// A running gateway. Killed when dropped.
pub struct Gateway {
    child: Child,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    log: Arc<Lines>,
}

/// Lines of a process's standard error, as they come.
#[derive(Default)]
struct Lines {
    all: Mutex<(Vec<String>, bool)>,
    more: Condvar,
}

impl Gateway {
    /// Starts a gateway on this configuration, which logs as JSON.
    pub fn run(config: &Path) -> Self {
        let mut command = Command::new(KEYGATE);
        command
            .args(["run", "--config"])
            .arg(config)
            .env_remove("KEYGATE_SECRET");
        Self::of(command)
    }

    /// The gateway that this command becomes.
    pub fn of(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self::with_streams(command)
    }

    /// The same, with the command's own standard input and output.
    pub fn with_streams(mut command: Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .expect("keygate starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::new(Lines::default());
        let lines = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let Ok(line) = line else { break };
                lines.all.lock().unwrap().0.push(line);
                lines.more.notify_all();
            }
            lines.all.lock().unwrap().1 = true;
            lines.more.notify_all();
        });
        let mut gateway = Gateway {
            child,
            address: ([127, 0, 0, 1], 0).into(),
            admin: ([127, 0, 0, 1], 0).into(),
            log,
        };
        let ready = gateway.wait_for_log(|line| line.contains(r#""message":"ready""#));
        let ready: serde_json::Value = serde_json::from_str(&ready).expect("a line of JSON");
        // The first with a port; what listens on Unix sockets alone keeps port 0.
        let address = |name: &str| {
            let all = ready[name].as_str().expect("addresses").split(',');
            all.filter_map(|a| a.parse().ok()).next()
        };
        gateway.address = address("gateway").unwrap_or(gateway.address);
        gateway.admin = address("admin").unwrap_or(gateway.admin);
        gateway
    }

    /// Waits for a line of the log (from its beginning) and gives it.
    pub fn wait_for_log(&self, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.all.lock().unwrap();
        loop {
            if let Some(line) = lines.0.iter().find(|line| wanted(line)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !lines.1 && !left.is_zero(),
                "no such line in the log:\n{}",
                lines.0.join("\n")
            );
            lines = self.log.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// All that was logged so far.
    pub fn log(&self) -> String {
        self.log.all.lock().unwrap().0.join("\n")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, `TERM`, `HUP`, `KILL`…
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "keygate does not end:\n{}",
                self.log()
            );
            thread::yield_now();
        }
    }

    /// A connection to the gateway.
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own: `GET /path`, headers as `name: value` lines, a body.
    pub fn call(&self, request_line: &str, headers: &[&str], body: &str) -> Answer {
        self.connect().call(request_line, headers, body)
    }

    /// What the admin listener answers to GET.
    pub fn admin(&self, path: &str) -> Answer {
        Client::connect(self.admin).call(&format!("GET {path}"), &[], "")
    }

    /// Asks again until the answer is as wanted.
    pub fn eventually<T>(&self, mut ask: impl FnMut() -> T, wanted: impl Fn(&T) -> bool) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = ask();
            if wanted(&answer) {
                return answer;
            }
            assert!(
                Instant::now() < deadline,
                "it never came; the log:\n{}",
                self.log()
            );
            thread::yield_now();
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client connection that sends exactly what it is told to.
pub struct Client {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header; letter case of the name does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// `error.code` of an error's body; empty if there is none.
    pub fn code(&self) -> String {
        let json: Result<serde_json::Value, _> = serde_json::from_slice(&self.body);
        json.ok()
            .and_then(|json| json["error"]["code"].as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
        let reader = BufReader::new(stream.try_clone().expect("clone"));
        Client { stream, reader }
    }

    /// Sends these bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("send");
    }

    /// Sends a request with `Host` and, where there is a body, `Content-Length`; reads the answer.
    pub fn call(&mut self, request_line: &str, headers: &[&str], body: &str) -> Answer {
        let mut text = format!("{request_line} HTTP/1.1\r\nHost: gateway.test\r\n");
        for header in headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        if !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(body);
        self.send(text);
        self.answer(request_line.starts_with("HEAD "))
    }

    /// Reads one answer; panics when there is none.
    pub fn answer(&mut self, to_head: bool) -> Answer {
        self.try_answer(to_head).expect("an answer")
    }

    /// Reads one answer; `None` when the connection ends before one begins.
    ///
    /// # Panics
    /// When an answer breaks off.
    pub fn try_answer(&mut self, to_head: bool) -> Option<Answer> {
        loop {
            let (status, headers) = self.try_head()?;
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let mut answer = Answer {
                status,
                headers,
                body: Vec::new(),
            };
            if to_head || status == 204 || status == 304 || status == 101 {
                return Some(answer);
            }
            let chunked = answer
                .header("transfer-encoding")
                .is_some_and(|v| v.contains("chunked"));
            let length = answer
                .header("content-length")
                .map(|v| v.parse::<u64>().expect("a length"));
            if chunked {
                answer.body = self.chunks().expect("a whole chunked body");
            } else if let Some(length) = length {
                answer.body = vec![0; length as usize];
                self.reader
                    .read_exact(&mut answer.body)
                    .expect("a whole body");
            } else {
                self.reader
                    .read_to_end(&mut answer.body)
                    .expect("a body up to the end");
            }
            return Some(answer);
        }
    }

    /// Reads the head of an answer: status and headers.
    pub fn try_head(&mut self) -> Option<(u16, Vec<(String, String)>)> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .unwrap_or_else(|| panic!("{line:?}"));
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).expect("a header line");
            let line = line.trim_end();
            if line.is_empty() {
                return Some((status, headers));
            }
            let (name, value) = line.split_once(':').expect("a header");
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// Reads a chunked body to its end; an error when it breaks off.
    pub fn chunks(&mut self) -> std::io::Result<Vec<u8>> {
        let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(|_| broken())?;
            let mut chunk = vec![0; size + 2];
            self.reader.read_exact(&mut chunk)?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    /// Reads some raw bytes of what comes; 0 at the end.
    pub fn read_some(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.reader.read(buffer)
    }

    /// Whether the gateway closes the connection without another byte.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        match self.reader.read(&mut byte) {
            Ok(n) => n == 0,
            Err(e) => !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    /// Ends our direction.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("shutdown");
    }
}

/// A request as an upstream saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which connection it came on, counted from 0.
    pub connection: usize,
    /// `GET /path HTTP/1.1`.
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).expect("a target")
    }
}

/// An upstream of HTTP/1.1 that remembers everything that it was sent.
pub struct Upstream {
    pub address: SocketAddr,
    state: Arc<UpstreamState>,
}

#[derive(Default)]
struct UpstreamState {
    seen: Mutex<Vec<Seen>>,
    raw: Mutex<Vec<u8>>,
    connections: Mutex<usize>,
    more: Condvar,
}

/// What an upstream does with a request that it has read: writes the answer, and says whether the connection goes on.
pub type Handler = dyn Fn(&Seen, &mut TcpStream) -> bool + Send + Sync;

impl Upstream {
    /// Answers every request with 200 and a JSON body that repeats what it saw: `{"method":…,"target":…,"body":…}`.
    pub fn echo() -> Self {
        Self::start(|seen, stream| {
            let mut words = seen.line.split(' ');
            let (method, target) = (words.next().unwrap(), words.next().unwrap());
            let body = serde_json::json!({
                "method": method,
                "target": target,
                "body": String::from_utf8_lossy(&seen.body),
            })
            .to_string();
            respond(
                stream,
                200,
                &[],
                if method == "HEAD" { "" } else { &body },
                body.len(),
            )
        })
    }

    /// An upstream that does this with each request, whose body it has read whole.
    pub fn start(handle: impl Fn(&Seen, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        Self::on(
            TcpListener::bind("127.0.0.1:0").expect("a free port"),
            handle,
        )
    }

    /// The same, on this socket.
    pub fn on(
        listener: TcpListener,
        handle: impl Fn(&Seen, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(UpstreamState::default());
        let (shared, handle) = (Arc::clone(&state), Arc::new(handle));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let number = {
                    let mut connections = shared.connections.lock().unwrap();
                    *connections += 1;
                    *connections - 1
                };
                let (shared, handle) = (Arc::clone(&shared), Arc::clone(&handle));
                thread::spawn(move || {
                    let _ = serve(number, stream, &shared, &*handle);
                });
            }
        });
        Upstream { address, state }
    }

    /// All requests seen so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// The last request seen.
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request was seen")
    }

    /// Every byte that came in, all connections together.
    pub fn raw(&self) -> Vec<u8> {
        self.state.raw.lock().unwrap().clone()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        *self.state.connections.lock().unwrap()
    }

    /// Waits until this many requests were seen whole.
    pub fn wait_for(&self, count: usize) -> Vec<Seen> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.state.seen.lock().unwrap();
        while seen.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{} requests seen, {count} expected",
                seen.len()
            );
            seen = self.state.more.wait_timeout(seen, left).unwrap().0;
        }
        seen.clone()
    }
}

/// Writes an answer with a length; true, so that the connection goes on.
pub fn respond(
    stream: &mut TcpStream,
    status: u16,
    headers: &[&str],
    body: &str,
    length: usize,
) -> bool {
    let mut text = format!(
        "HTTP/1.1 {status} Any\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n"
    );
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.push_str(body);
    stream.write_all(text.as_bytes()).is_ok()
}

fn serve(
    number: usize,
    stream: TcpStream,
    state: &UpstreamState,
    handle: &Handler,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut input = Tap {
        stream: BufReader::new(stream),
        state,
    };
    loop {
        let mut head = VecDeque::new();
        loop {
            let line = input.line()?;
            if line.is_empty() {
                return Ok(());
            }
            match line.trim_end() {
                "" => break,
                text => head.push_back(text.to_owned()),
            }
        }
        let line = head.pop_front().unwrap_or_default();
        let headers: Vec<(String, String)> = head
            .iter()
            .filter_map(|text| text.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let value = |wanted: &str| {
            headers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.clone())
        };
        let body = if value("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
            input.chunks()?
        } else if let Some(length) = value("content-length") {
            input.exactly(length.parse().unwrap_or(0))?
        } else {
            Vec::new()
        };
        let seen = Seen {
            connection: number,
            line,
            headers,
            body,
        };
        {
            state.seen.lock().unwrap().push(seen.clone());
            state.more.notify_all();
        }
        if !handle(&seen, &mut out) {
            let _ = out.shutdown(Shutdown::Both);
            return Ok(());
        }
    }
}

/// Reads, and remembers what was read.
struct Tap<'a> {
    stream: BufReader<TcpStream>,
    state: &'a UpstreamState,
}

impl Tap<'_> {
    fn keep(&self, bytes: &[u8]) {
        self.state.raw.lock().unwrap().extend_from_slice(bytes);
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        self.keep(&line);
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn exactly(&mut self, length: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        self.keep(&bytes);
        Ok(bytes)
    }

    fn chunks(&mut self) -> std::io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
            let chunk = self.exactly(size + 2)?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
}

/// A policy with both scopes: `/open` is public, `/closed` denied, `POST /users` for authOnly, the rest for fullAccess.
pub const ROUTES: &str = r#"
[scopes]
authOnly = []
fullAccess = ["authOnly"]
[defaults]
upstream = "chat"
[[routes]]
path = "/open/{*rest}"
access = "public"
[[routes]]
path = "/closed"
access = "deny"
[[routes]]
path = "/users"
methods = ["POST"]
scope = "authOnly"
[[routes]]
path = "/only-get"
methods = ["GET"]
scope = "fullAccess"
[[routes]]
path = "/v3/{*rest}"
scope = "fullAccess"
"#;
