//! For tests in which things go wrong on purpose: a client whose errors are told instead of panicking, an upstream that
//! keeps nothing, a gateway that is killed, a random generator that can be repeated, the store seen from outside.

use super::{Answer, Client, Folder, Gateway, KEYGATE, Output, PATIENCE};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Counts what happens, in the one order in which it happens: whatever has the lower number came first.
#[derive(Default)]
pub struct Order(AtomicU64);

impl Order {
    /// The number of this instant.
    pub fn now(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// Random numbers that come again from the same seed (SplitMix64).
pub struct Dice(u64);

impl Dice {
    /// From `KEYGATE_SEED`, else from the system; says which.
    pub fn roll(what: &str) -> Self {
        let seed = match std::env::var("KEYGATE_SEED") {
            Ok(seed) => seed.parse().expect("KEYGATE_SEED is a number"),
            Err(_) => {
                use std::hash::BuildHasher;
                std::hash::RandomState::new().hash_one(0)
            }
        };
        println!("{what}: KEYGATE_SEED={seed}");
        Dice(seed)
    }

    /// Another, for another thread.
    pub fn another(&mut self) -> Self {
        Dice(self.next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below this one.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("it is below a usize")
    }
}

impl Folder {
    /// A configuration that logs no requests and never limits failed authentications; `include` is TOML.
    pub fn quiet(upstream: SocketAddr, include: &str, routes: &str) -> Self {
        Self::with_main(
            &format!(
                r#"
include = {include}
[server]
listen = ["127.0.0.1:0"]
workers = 2
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
access = "off"
[keys]
store = "sqlite:data/keygate.db"
secret = "secret/master"
[limits]
failed_auth = {{ rate = "1000000/s", burst = 1000000000 }}
[upstreams.chat]
servers = ["http://{upstream}"]
"#
            ),
            routes,
        )
    }

    pub fn store(&self) -> PathBuf {
        self.path().join("data/keygate.db")
    }

    pub fn secret(&self) -> PathBuf {
        self.path().join("secret/master")
    }

    /// A command of keygate on this folder's configuration, through a wrapper (`[]` for none).
    pub fn command(&self, wrapper: &[&str], arguments: &[&str]) -> Command {
        let mut words = wrapper.iter().copied().chain([KEYGATE]);
        let mut command = Command::new(words.next().expect("a program"));
        command
            .args(words)
            .args(arguments)
            .arg("--config")
            .arg(self.config())
            .env_remove("KEYGATE_SECRET");
        command
    }
}

/// Runs a command that must come to its end by itself.
pub fn to_its_end(mut command: Command) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("wait").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let output = child.wait_with_output().expect("output");
            panic!(
                "it does not end: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        pause();
    }
    let output = child.wait_with_output().expect("output");
    Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A moment between two looks at something that will come. Nothing is right because of it: who waits looks again.
pub fn pause() {
    thread::park_timeout(Duration::from_millis(3));
}

/// Looks again and again, and gives how long it took.
pub fn until(what: &str, mut seen: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !seen() {
        assert!(begun.elapsed() < PATIENCE, "it never came: {what}");
        pause();
    }
    begun.elapsed()
}

impl Gateway {
    /// SIGKILL, and waits for the end.
    pub fn kill(mut self) {
        self.child.kill().expect("it still ran");
        self.child.wait().expect("wait");
    }

    /// A management request by this key, on a connection of its own.
    pub fn manage(&self, key: &str, request_line: &str, body: &str) -> Answer {
        self.call(request_line, &[&format!("apikey: {key}")], body)
    }

    /// What `/status` says.
    pub fn status(&self) -> serde_json::Value {
        self.admin("/status").json()
    }

    /// Every key, as the management API lists it.
    pub fn all_keys(&self, key: &str) -> Vec<serde_json::Value> {
        let mut client = self.connect();
        let mut keys = Vec::new();
        for page in 1.. {
            let line = format!("GET /apikeys?perPage=1000&page={page}");
            let answer = client.call(&line, &[&format!("apikey: {key}")], "");
            assert_eq!(answer.status, 200, "{}", answer.text());
            let json = answer.json();
            let part = json["data"].as_array().expect("a list").clone();
            let last = json["meta"]["pagination"]["total_pages"]
                .as_u64()
                .expect("a number");
            keys.extend(part);
            if page >= last {
                break;
            }
        }
        keys
    }
}

impl Client {
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let reader = BufReader::new(stream.try_clone()?);
        Ok(Client { stream, reader })
    }

    /// Writes a request with this key; an empty key is none.
    pub fn try_send(&mut self, request_line: &str, key: &str, body: &str) -> io::Result<()> {
        let key = match key {
            "" => String::new(),
            key => format!("apikey: {key}\r\n"),
        };
        let length = match body.len() {
            0 => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        let text =
            format!("{request_line} HTTP/1.1\r\nHost: gateway.test\r\n{key}{length}\r\n{body}");
        self.stream.write_all(text.as_bytes())
    }

    /// Reads a whole answer.
    pub fn try_read(&mut self) -> io::Result<Answer> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 || !line.ends_with('\n') {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end() {
                "" => break,
                text => lines.push(text.to_owned()),
            }
        }
        let nonsense = || io::Error::other(format!("no answer: {lines:?}"));
        let status = lines[0].split(' ').nth(1).and_then(|s| s.parse().ok());
        let headers = lines[1..]
            .iter()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let mut answer = Answer {
            status: status.ok_or_else(nonsense)?,
            headers,
            body: Vec::new(),
        };
        if answer.header("transfer-encoding").is_some() {
            answer.body = self.chunks()?;
        } else {
            let length = answer.header("content-length").and_then(|v| v.parse().ok());
            answer.body = vec![0; length.ok_or_else(nonsense)?];
            self.reader.read_exact(&mut answer.body)?;
        }
        Ok(answer)
    }

    /// One request with this key, and its answer.
    pub fn try_call(&mut self, request_line: &str, key: &str, body: &str) -> io::Result<Answer> {
        self.try_send(request_line, key, body)?;
        self.try_read()
    }
}

/// An upstream that answers 200 to requests without a body, and keeps nothing of them. A target that ends in `/slow` is
/// answered in ten pieces, 30 ms apart.
pub fn forgetful_upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            thread::spawn(move || {
                let _ = forget(stream);
            });
        }
    });
    address
}

fn forget(mut out: TcpStream) -> io::Result<()> {
    out.set_nodelay(true)?;
    let mut input = BufReader::new(out.try_clone()?);
    loop {
        let mut first = String::new();
        if input.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
        }
        if first.contains("/slow ") {
            out.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            for _ in 0..10 {
                out.write_all(b"5\r\npiece\r\n")?;
                thread::park_timeout(Duration::from_millis(30));
            }
            out.write_all(b"0\r\n\r\n")?;
        } else {
            out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        }
    }
}

/// The store's file, seen by another process than the gateway: this one.
pub struct Outside {
    runtime: tokio::runtime::Runtime,
    connection: Option<SqliteConnection>,
}

impl Outside {
    pub fn open(store: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let options = SqliteConnectOptions::new()
            .filename(store)
            .busy_timeout(PATIENCE)
            .disable_statement_logging();
        let connection = runtime
            .block_on(options.connect())
            .expect("the store opens");
        Outside {
            runtime,
            connection: Some(connection),
        }
    }

    /// Runs SQL that gives nothing back.
    pub fn run(&mut self, sql: &str) {
        let connection = self.connection.as_mut().expect("it is open");
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        self.runtime
            .block_on(sqlx::raw_sql(sql).execute(connection))
            .expect("SQL runs");
    }

    /// The single value that this SQL gives.
    pub fn number(&mut self, sql: &'static str) -> i64 {
        let connection = self.connection.as_mut().expect("it is open");
        self.runtime
            .block_on(sqlx::query_scalar(sql).fetch_one(connection))
            .expect("a number")
    }

    /// What `PRAGMA integrity_check` says; `ok` is what it should.
    pub fn integrity(&mut self) -> String {
        let connection = self.connection.as_mut().expect("it is open");
        self.runtime
            .block_on(sqlx::query_scalar("PRAGMA integrity_check").fetch_one(connection))
            .expect("a text")
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = self.runtime.block_on(connection.close());
        }
    }
}
