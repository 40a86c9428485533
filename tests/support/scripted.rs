//! An upstream that does whatever a test writes for each of its connections, and the outcome of an answer that may break off.

use super::{Answer, Client, PATIENCE};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// An upstream of scripts.
pub struct Scripted {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    heads: Mutex<Vec<String>>,
    connections: Mutex<usize>,
    more: Condvar,
}

/// One connection to a scripted upstream.
pub struct Peer {
    /// Counted from 0.
    pub number: usize,
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
    state: Arc<State>,
}

impl Scripted {
    /// Runs the script for each connection, on a thread of its own; the connection closes when it returns.
    pub fn start(script: impl Fn(Peer) + Send + Sync + 'static) -> Self {
        Self::on(
            TcpListener::bind("127.0.0.1:0").expect("a free port"),
            script,
        )
    }

    /// The same, on this socket.
    pub fn on(listener: TcpListener, script: impl Fn(Peer) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let (shared, script) = (Arc::clone(&state), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                stream.set_nodelay(true).expect("nodelay");
                stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
                let number = {
                    let mut connections = shared.connections.lock().unwrap();
                    *connections += 1;
                    *connections - 1
                };
                let peer = Peer {
                    number,
                    reader: BufReader::new(stream.try_clone().expect("clone")),
                    stream,
                    state: Arc::clone(&shared),
                };
                let script = Arc::clone(&script);
                thread::spawn(move || script(peer));
            }
        });
        Scripted { address, state }
    }

    /// The heads of all requests seen so far, whole.
    pub fn heads(&self) -> Vec<String> {
        self.state.heads.lock().unwrap().clone()
    }

    /// How many requests of this target were seen.
    pub fn count(&self, target: &str) -> usize {
        let wanted = format!(" {target} ");
        let heads = self.state.heads.lock().unwrap();
        heads.iter().filter(|head| head.contains(&wanted)).count()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        *self.state.connections.lock().unwrap()
    }

    /// Waits until this many heads were seen.
    pub fn wait_for(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut heads = self.state.heads.lock().unwrap();
        while heads.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} heads of {count}", heads.len());
            heads = self.state.more.wait_timeout(heads, left).unwrap().0;
        }
    }
}

impl Peer {
    /// The next request's head, whole; `None` at the end of the connection.
    pub fn head(&mut self) -> Option<String> {
        let mut head = String::new();
        loop {
            let before = head.len();
            match self.reader.read_line(&mut head) {
                Ok(0) | Err(_) => return None,
                Ok(_) if head[before..].trim_end().is_empty() => break,
                Ok(_) => {}
            }
        }
        self.state.heads.lock().unwrap().push(head.clone());
        self.state.more.notify_all();
        Some(head)
    }

    /// The target of a head.
    pub fn target(head: &str) -> &str {
        head.split(' ').nth(1).expect("a target")
    }

    /// The body that a head announces, read to its end; `None` when it breaks off.
    pub fn body(&mut self, head: &str) -> Option<Vec<u8>> {
        let lower = head.to_ascii_lowercase();
        let value = |name: &str| {
            let line = lower.lines().find(|line| line.starts_with(name))?;
            Some(line[name.len()..].trim().to_owned())
        };
        if value("transfer-encoding:").is_some() {
            let mut body = Vec::new();
            loop {
                let mut line = String::new();
                self.reader.read_line(&mut line).ok()?;
                let size = usize::from_str_radix(line.trim(), 16).ok()?;
                let mut chunk = vec![0; size + 2];
                self.reader.read_exact(&mut chunk).ok()?;
                if size == 0 {
                    return Some(body);
                }
                body.extend_from_slice(&chunk[..size]);
            }
        }
        let length = value("content-length:").map_or(0, |v| v.parse().expect("a length"));
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).ok()?;
        Some(body)
    }

    /// How many bytes the body has that comes now: of this length, or chunked. Nothing of it is kept.
    pub fn count_body(&mut self, length: Option<u64>) -> u64 {
        count_body(&mut self.reader, length).expect("a whole body")
    }

    /// Sends these bytes; false when they cannot be sent.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Answers 200 with this text.
    pub fn answer(&mut self, text: &str) -> bool {
        self.send(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        ))
    }

    /// Reads some bytes; 0 at the end.
    pub fn read_some(&mut self, buffer: &mut [u8]) -> usize {
        self.reader.read(buffer).unwrap_or(0)
    }

    /// Reads until the other side ends the connection.
    pub fn wait_for_end(&mut self) {
        let mut buffer = [0; 64 * 1024];
        loop {
            match self.reader.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    let waited = matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    );
                    assert!(!waited, "the connection to the upstream does not end");
                    return;
                }
            }
        }
    }

    /// Ends the connection by a reset.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("linger");
    }

    /// Ends both directions now.
    pub fn close(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// How many bytes the answer's body has that comes now: of this length, or chunked. Nothing of it is kept.
pub fn count_answer(client: &mut Client, length: Option<u64>) -> u64 {
    count_body(&mut client.reader, length).expect("a whole body")
}

fn count_body(reader: &mut impl BufRead, length: Option<u64>) -> std::io::Result<u64> {
    let take = |reader: &mut dyn BufRead, bytes: u64| {
        let copied = std::io::copy(&mut reader.take(bytes), &mut std::io::sink())?;
        if copied == bytes {
            Ok(copied)
        } else {
            Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))
        }
    };
    if let Some(length) = length {
        return take(reader, length);
    }
    let mut sum = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        take(reader, size + 2)?;
        if size == 0 {
            return Ok(sum);
        }
        sum += size;
    }
}

/// What a client got.
#[derive(Debug)]
pub enum Got {
    /// A whole answer.
    Whole(Answer),
    /// A head with this status, then an end before the body's.
    Cut(u16),
    /// The end before any answer.
    Nothing,
}

/// Reads an answer that may break off. Interim answers are skipped.
pub fn outcome(client: &mut Client, to_head: bool) -> Got {
    let (status, headers) = loop {
        match client.try_head() {
            None => return Got::Nothing,
            Some((100..=199, _)) => {}
            Some(head) => break head,
        }
    };
    let mut answer = Answer {
        status,
        headers,
        body: Vec::new(),
    };
    if to_head || status == 204 || status == 304 {
        return Got::Whole(answer);
    }
    let length = answer.header("content-length").map(str::to_owned);
    if answer.header("transfer-encoding").is_some() {
        assert_eq!(length, None, "two framings in one answer");
        match client.chunks() {
            Ok(body) => answer.body = body,
            Err(_) => return Got::Cut(status),
        }
    } else {
        let length = length.expect("one framing").parse().expect("a length");
        let mut left: usize = length;
        let mut buffer = [0; 16 * 1024];
        while left > 0 {
            let most = left.min(buffer.len());
            match client.read_some(&mut buffer[..most]) {
                Ok(0) | Err(_) => return Got::Cut(status),
                Ok(n) => {
                    answer.body.extend_from_slice(&buffer[..n]);
                    left -= n;
                }
            }
        }
    }
    Got::Whole(answer)
}
