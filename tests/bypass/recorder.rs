//! The upstream of the corpus: it keeps every byte of every connection, reads them as strictly as HTTP/1.1 can be read,
//! and notes whatever is not canonical.
//!
//! It is gullible on purpose: whatever upgrade a request asks for it grants, so that one that should never have come is
//! seen. What it does with a request stands in the target: `/last` closes the connection after the answer, `/hold` waits
//! to be released, `/early` answers before the body has come, `/unasked` answers 101 to whoever did not ask, `/refuse`
//! grants no upgrade, `/hints` sends a 103 first, `/h2c` grants another protocol than the one asked for.

use std::collections::HashMap;
use std::io::{BufRead, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What no upstream may be sent, whoever asks.
const NEVER: &[&str] = &[
    "apikey",
    "te",
    "trailer",
    "expect",
    "keep-alive",
    "proxy-connection",
    "proxy",
    "proxy-authorization",
    "http2-settings",
    "forwarded",
    "x-real-ip",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "cf-connecting-ip",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET /path`, without the version.
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether its body came to its end.
    pub whole: bool,
}

#[derive(Default)]
struct Book {
    connections: usize,
    seen: Vec<Seen>,
    raw: Vec<u8>,
    tunnels: Vec<u8>,
    faults: Vec<String>,
    released: u64,
    held: u64,
}

/// How much had come at one time: what came later is a case's.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pub connections: usize,
    seen: usize,
    raw: usize,
    tunnels: usize,
    faults: usize,
}

/// What came since a [`Mark`].
#[derive(Debug)]
pub struct Since {
    pub connections: usize,
    pub seen: Vec<Seen>,
    pub raw: Vec<u8>,
    pub tunnels: Vec<u8>,
    pub faults: Vec<String>,
}

pub struct Recorder {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    book: Mutex<Book>,
    more: Condvar,
}

impl Recorder {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let all = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                all.book.lock().unwrap().connections += 1;
                let shared = Arc::clone(&all);
                thread::spawn(move || {
                    let mut connection = Connection {
                        stream,
                        shared,
                        buffer: Vec::new(),
                    };
                    // It ends with the connection, however that ends.
                    let _ = connection.serve();
                    let _ = connection.stream.shutdown(Shutdown::Both);
                });
            }
        });
        Recorder { address, shared }
    }

    /// What another server at this address reads, by the events that it tells: see `tests/data/peers/recorder.py`.
    #[allow(dead_code, reason = "for tests/differential.rs")]
    pub fn told(address: SocketAddr, events: impl BufRead + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let all = Arc::clone(&shared);
        thread::spawn(move || {
            let mut places = HashMap::new();
            for line in events.lines().map_while(Result::ok) {
                let mut book = all.book.lock().unwrap();
                if let Err(text) = book.event(&line, &mut places) {
                    book.faults.push(text);
                }
                all.more.notify_all();
            }
        });
        Recorder { address, shared }
    }

    /// Where a gateway finds it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn mark(&self) -> Mark {
        let book = self.shared.book.lock().unwrap();
        Mark {
            connections: book.connections,
            seen: book.seen.len(),
            raw: book.raw.len(),
            tunnels: book.tunnels.len(),
            faults: book.faults.len(),
        }
    }

    pub fn since(&self, mark: Mark) -> Since {
        let book = self.shared.book.lock().unwrap();
        Since {
            connections: book.connections - mark.connections,
            seen: book.seen[mark.seen..].to_vec(),
            raw: book.raw[mark.raw..].to_vec(),
            tunnels: book.tunnels[mark.tunnels..].to_vec(),
            faults: book.faults[mark.faults..].to_vec(),
        }
    }

    /// Waits until this holds of what came since; whether it does.
    pub fn wait(&self, mark: Mark, patience: Duration, wanted: impl Fn(&[Seen]) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let mut book = self.shared.book.lock().unwrap();
        loop {
            if wanted(&book.seen[mark.seen..]) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            book = self.shared.more.wait_timeout(book, left).unwrap().0;
        }
    }

    /// Answers one more of those that are held, or will be.
    pub fn release(&self) {
        let mut book = self.shared.book.lock().unwrap();
        book.released += 1;
        self.shared.more.notify_all();
    }
}

impl Book {
    /// Takes an event of another server. Its numbers of requests get their places among those seen.
    fn event(&mut self, line: &str, places: &mut HashMap<u64, usize>) -> Result<(), String> {
        let wrong = || format!("no event: {line}");
        let event: serde_json::Value = serde_json::from_str(line).map_err(|_| wrong())?;
        if let Some(number) = event["head"].as_u64() {
            places.insert(number, self.seen.len());
            self.seen.push(Seen {
                line: event["line"].as_str().ok_or_else(wrong)?.to_owned(),
                headers: Vec::new(),
                body: Vec::new(),
                whole: false,
            });
        } else if let Some(number) = event["end"].as_u64() {
            let place = *places.get(&number).ok_or_else(wrong)?;
            let body = event["body"].as_str().and_then(unhex);
            self.seen[place].body = body.ok_or_else(wrong)?;
            self.seen[place].whole = true;
        } else {
            return Err(event["fault"].as_str().ok_or_else(wrong)?.to_owned());
        }
        Ok(())
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let byte = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}

struct Connection {
    stream: TcpStream,
    shared: Arc<Shared>,
    /// What was read and not yet used.
    buffer: Vec<u8>,
}

impl Connection {
    fn fault(&self, text: String) {
        self.shared.book.lock().unwrap().faults.push(text);
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> std::io::Result<bool> {
        let mut piece = [0; 16 * 1024];
        let n = self.stream.read(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..n]);
        self.shared.book.lock().unwrap().raw.extend(&piece[..n]);
        Ok(n > 0)
    }

    fn serve(&mut self) -> std::io::Result<()> {
        self.stream.set_nodelay(true)?;
        loop {
            let end = loop {
                if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                    break at;
                }
                if !self.fill()? {
                    if !self.buffer.is_empty() {
                        self.fault(format!("half a head: {}", self.buffer.escape_ascii()));
                    }
                    return Ok(());
                }
            };
            let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
            let (seen, faults) = read_head(&head[..end]);
            let place = {
                let mut book = self.shared.book.lock().unwrap();
                book.faults.extend(faults);
                book.seen.push(seen.clone());
                self.shared.more.notify_all();
                book.seen.len() - 1
            };
            if !self.one(&seen, place)? {
                return Ok(());
            }
        }
    }

    fn value<'a>(seen: &'a Seen, wanted: &str) -> Option<&'a str> {
        let mut all = seen.headers.iter().filter(|(name, _)| name == wanted);
        all.next().map(|(_, value)| value.as_str())
    }

    /// Reads a request's body and answers; false when the connection is to end.
    fn one(&mut self, seen: &Seen, place: usize) -> std::io::Result<bool> {
        let target = seen.line.split(' ').nth(1).unwrap_or_default().to_owned();
        let early = target.contains("/early");
        if early {
            self.answer(seen, &target)?;
        }
        let wish = Self::value(seen, "upgrade").map(str::to_owned);
        let body = match wish {
            Some(_) => Some(Vec::new()),
            None => self.body(seen)?,
        };
        {
            let mut book = self.shared.book.lock().unwrap();
            let kept = &mut book.seen[place];
            kept.whole = body.is_some();
            kept.body = body.clone().unwrap_or_default();
            self.shared.more.notify_all();
        }
        if body.is_none() {
            return Ok(false);
        }
        if target.contains("/hold") {
            let mut book = self.shared.book.lock().unwrap();
            book.held += 1;
            let mine = book.held;
            while book.released < mine {
                book = self.shared.more.wait(book).unwrap();
            }
        }
        if wish.is_some() && !target.contains("/refuse") || target.contains("/unasked") {
            let named = match wish {
                Some(_) if target.contains("/h2c") => "h2c".to_owned(),
                Some(name) => name,
                None => "websocket".to_owned(),
            };
            return self.tunnel(seen, &named).map(|()| false);
        }
        if !early {
            self.answer(seen, &target)?;
        }
        Ok(!target.contains("/last"))
    }

    fn answer(&mut self, seen: &Seen, target: &str) -> std::io::Result<()> {
        let text = seen.line.clone();
        let body = if text.starts_with("HEAD ") { "" } else { &text };
        let ends = if target.contains("/last") {
            "connection: close\r\n"
        } else {
            ""
        };
        let first = if target.contains("/hints") {
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        } else {
            ""
        };
        let answer = format!(
            "{first}HTTP/1.1 200 OK\r\n{ends}content-length: {}\r\n\r\n{body}",
            text.len()
        );
        self.stream.write_all(answer.as_bytes())
    }

    /// Grants the upgrade and sends back what comes.
    fn tunnel(&mut self, seen: &Seen, protocol: &str) -> std::io::Result<()> {
        // The one accept value of the RFC's own example key; others get it too, and their client may complain.
        let key = Self::value(seen, "sec-websocket-key").unwrap_or_default();
        let accept = accept_of(key);
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        );
        self.stream.write_all(head.as_bytes())?;
        loop {
            let came = std::mem::take(&mut self.buffer);
            self.shared.book.lock().unwrap().tunnels.extend(&came);
            self.stream.write_all(&came)?;
            if !self.fill()? {
                return Ok(());
            }
        }
    }

    /// The body that a head announces; `None` when it breaks off or cannot be read.
    fn body(&mut self, seen: &Seen) -> std::io::Result<Option<Vec<u8>>> {
        if let Some(length) = Self::value(seen, "content-length") {
            let Ok(length) = length.parse() else {
                return Ok(None);
            };
            return self.exactly(length);
        }
        if Self::value(seen, "transfer-encoding").is_none() {
            return Ok(Some(Vec::new()));
        }
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                    break self.buffer.drain(..at + 2).collect::<Vec<u8>>();
                }
                if !self.fill()? {
                    return Ok(None);
                }
            };
            let digits = &line[..line.len() - 2];
            let size = std::str::from_utf8(digits)
                .ok()
                .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))
                .and_then(|d| usize::from_str_radix(d, 16).ok());
            let Some(size) = size else {
                self.fault(format!("a chunk's size: {}", line.escape_ascii()));
                return Ok(None);
            };
            let Some(piece) = self.exactly(size + 2)? else {
                return Ok(None);
            };
            if &piece[size..] != b"\r\n" {
                self.fault(format!("after a chunk: {}", piece[size..].escape_ascii()));
                return Ok(None);
            }
            if size == 0 {
                return Ok(Some(body));
            }
            body.extend_from_slice(&piece[..size]);
        }
    }

    fn exactly(&mut self, length: usize) -> std::io::Result<Option<Vec<u8>>> {
        while self.buffer.len() < length {
            if !self.fill()? {
                return Ok(None);
            }
        }
        Ok(Some(self.buffer.drain(..length).collect()))
    }
}

/// A head, and all that is not canonical in it.
fn read_head(head: &[u8]) -> (Seen, Vec<String>) {
    let mut faults = Vec::new();
    let text = String::from_utf8_lossy(head).into_owned();
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let words: Vec<&str> = first.split(' ').collect();
    let line = match words[..] {
        [method, target, "HTTP/1.1"] => {
            let origin = target.starts_with('/') || (method == "OPTIONS" && target == "*");
            if !origin || !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
                faults.push(format!("neither origin-form nor `*`: {first}"));
            }
            format!("{method} {target}")
        }
        _ => {
            faults.push(format!("not three words: {first:?}"));
            first.to_owned()
        }
    };
    let mut headers = Vec::new();
    let mut count: HashMap<String, usize> = HashMap::new();
    if !first.bytes().all(|b| matches!(b, 0x20..=0x7E)) {
        faults.push(format!("a byte that no target has: {first:?}"));
    }
    for line in lines {
        if line.bytes().any(|b| b != b'\t' && b < 0x20 || b == 0x7F) {
            faults.push(format!("a control character: {line:?}"));
        }
        let Some((name, value)) = line.split_once(':') else {
            faults.push(format!("no field: {line:?}"));
            continue;
        };
        let fine = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(fine) {
            faults.push(format!("a field's name: {line:?}"));
        }
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        if NEVER.contains(&name.as_str()) || value.contains("forged") {
            faults.push(format!("it should have ended at the gateway: {line:?}"));
        }
        *count.entry(name.clone()).or_default() += 1;
        headers.push((name, value));
    }
    let times = |name: &str| count.get(name).copied().unwrap_or(0);
    if times("host") != 1 {
        faults.push(format!("{} times Host", times("host")));
    }
    if times("content-length") + times("transfer-encoding") > 1 {
        faults.push("more than one framing".to_owned());
    }
    for name in [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-request-id",
    ] {
        if times(name) > 1 {
            faults.push(format!("{} times {name}", times(name)));
        }
    }
    let mut framings = headers.iter().filter(|(n, _)| n == "transfer-encoding");
    if framings.any(|(_, v)| v != "chunked") {
        faults.push("a coding that is not chunked".to_owned());
    }
    let upgrades = times("upgrade") == 1;
    let joined =
        |(n, v): &(String, String)| n == "connection" && !v.eq_ignore_ascii_case("upgrade");
    if headers.iter().any(joined) || (times("connection") > 0 && !upgrades) {
        faults.push("a Connection that says more than upgrade".to_owned());
    }
    let other = |(n, v): &(String, String)| n == "upgrade" && v != "websocket";
    if times("upgrade") > 1 || headers.iter().any(other) {
        faults.push("an Upgrade to something else than WebSocket".to_owned());
    }
    let seen = Seen {
        line,
        headers,
        body: Vec::new(),
        whole: false,
    };
    (seen, faults)
}

/// RFC 6455, section 4.2.2.
fn accept_of(key: &str) -> String {
    use aws_lc_rs::digest;
    let salted = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, salted.as_bytes());
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in hash.as_ref().chunks(3) {
        let mut word = [0; 4];
        word[1..=three.len()].copy_from_slice(three);
        let word = u32::from_be_bytes(word);
        for place in 0..4 {
            let letter = ALPHABET[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() {
                letter.into()
            } else {
                '='
            });
        }
    }
    text
}
