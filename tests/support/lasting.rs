//! Exchanges that stay open, and an upstream that keeps them so: WebSockets and event streams over HTTP/1.1 and HTTP/2.
//!
//! The upstream counts aloud in each of them, twenty times a second, until it is told to end them. A [`Lasting`] is one
//! of them as its client sees it: it is read on the runtime beside the test, every number is compared with the one before,
//! so that a lost or repeated byte is seen, and how and when it ended is kept.

use super::wire::{runtime, wait};
use bytes::{Buf, Bytes};
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often the upstream says the next number.
const EVERY: Duration = Duration::from_millis(50);

/// Normal closure, and policy violation (RFC 6455, section 7.4.1), as whole frames.
const CLOSE_1000: [u8; 4] = [0x88, 2, 3, 0xE8];
const CLOSE_1008: [u8; 4] = [0x88, 2, 3, 0xF0];

/// What a client says now and then, masked with nothing, and what the upstream says to it.
const PING: [u8; 10] = [0x82, 0x84, 0, 0, 0, 0, b'p', b'i', b'n', b'g'];
const PONG: [u8; 6] = [0x82, 4, b'p', b'o', b'n', b'g'];

/// An upstream of HTTP/1.1. A request for WebSocket is agreed to; a target that ends in `/events` is an event stream, in
/// `/download` an ordinary answer that takes as long, in `/poll` one that has no byte before the end, `ok`. All others are
/// `ok` at once.
pub struct Counting {
    pub address: SocketAddr,
    /// How many requests came.
    heard: Arc<AtomicUsize>,
    over: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Counting {
    pub fn start() -> Self {
        let listener = wait("a port", TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (over, told) = watch::channel(false);
        let heard = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&heard);
        let task = runtime().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (told, count) = (told.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    let _ = serve(stream, &count, told).await;
                });
            }
        });
        Counting {
            address,
            heard,
            over,
            task,
        }
    }

    /// How many requests came so far.
    pub fn heard(&self) -> usize {
        self.heard.load(Ordering::SeqCst)
    }

    /// Whatever is open comes to its proper end.
    pub fn end(&self) {
        self.over.send_replace(true);
    }
}

async fn serve(
    mut stream: TcpStream,
    heard: &AtomicUsize,
    mut over: watch::Receiver<bool>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        heard.fetch_add(1, Ordering::SeqCst);
        let head = String::from_utf8_lossy(&head).into_owned();
        let target = head.split(' ').nth(1).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let key = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
        if let Some((_, key)) = key {
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {}\r\n\r\n",
                accept(key.trim())
            );
            stream.write_all(head.as_bytes()).await?;
            return count_in_frames(stream, over).await;
        }
        let (kind, chunk): (&str, fn(u32) -> String) = match path.rsplit('/').next() {
            Some("events") => ("text/event-stream", |n| {
                let event = format!("data: {n}\n\n");
                format!("{:x}\r\n{event}\r\n", event.len())
            }),
            Some("download") => ("application/octet-stream", |n| format!("a\r\n{n:09}\n\r\n")),
            Some("poll") => {
                is_over(&mut over).await;
                say_ok(&mut stream).await?;
                continue;
            }
            _ => {
                say_ok(&mut stream).await?;
                continue;
            }
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut ticks = tokio::time::interval(EVERY);
        for n in 0.. {
            tokio::select! {
                () = is_over(&mut over) => break,
                _ = ticks.tick() => stream.write_all(chunk(n).as_bytes()).await?,
            }
        }
        stream.write_all(b"0\r\n\r\n").await?;
    }
}

async fn is_over(over: &mut watch::Receiver<bool>) {
    // An upstream that is gone is over, too.
    let _ = over.wait_for(|over| *over).await;
}

async fn say_ok(stream: &mut TcpStream) -> std::io::Result<()> {
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await
}

async fn count_in_frames(
    mut stream: TcpStream,
    mut over: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let mut ticks = tokio::time::interval(EVERY);
    let mut said = Vec::new();
    let mut next = 0u32;
    loop {
        tokio::select! {
            () = is_over(&mut over) => break,
            _ = ticks.tick() => {
                let mut frame = vec![0x82, 4];
                frame.extend_from_slice(&next.to_be_bytes());
                stream.write_all(&frame).await?;
                next += 1;
            }
            read = stream.read_buf(&mut said) => {
                if read? == 0 {
                    return Ok(());
                }
                while said.starts_with(&PING) {
                    said.drain(..PING.len());
                    stream.write_all(&PONG).await?;
                }
            }
        }
    }
    stream.write_all(&CLOSE_1000).await?;
    stream.shutdown().await
}

/// What a server proves its agreement with (RFC 6455, section 4.2.2).
fn accept(key: &str) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in context.finish().as_ref().chunks(3) {
        let bits = three
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > three.len() {
                '='
            } else {
                char::from(digit)
            });
        }
    }
    text
}

/// What stays open, and over what.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    SocketOverHttp1,
    SocketOverHttp2,
    EventsOverHttp1,
    EventsOverHttp2,
}

pub const KINDS: [Kind; 4] = [
    Kind::SocketOverHttp1,
    Kind::SocketOverHttp2,
    Kind::EventsOverHttp1,
    Kind::EventsOverHttp2,
];

impl Kind {
    pub fn is_socket(self) -> bool {
        matches!(self, Kind::SocketOverHttp1 | Kind::SocketOverHttp2)
    }
}

/// How an exchange ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// As its upstream ended it.
    Whole,
    /// A WebSocket by 1008, an event stream in its midst.
    Cut,
    /// In any other way.
    Wrong(String),
}

/// Opens exchanges: each over HTTP/1.1 has a connection of its own, those over HTTP/2 share one.
pub struct Opener {
    address: SocketAddr,
    http2: h2::client::SendRequest<Bytes>,
    task: JoinHandle<()>,
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An exchange that was opened.
pub struct Lasting {
    pub kind: Kind,
    progress: Arc<Mutex<Progress>>,
    task: JoinHandle<()>,
}

impl Drop for Lasting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How far one is.
#[derive(Clone, Default, Debug)]
pub struct Progress {
    /// Numbers that came, in order.
    pub numbers: u32,
    pub pings: u32,
    pub pongs: u32,
    pub end: Option<(End, Instant)>,
}

impl Lasting {
    pub fn progress(&self) -> Progress {
        self.progress.lock().unwrap().clone()
    }
}

impl Opener {
    pub fn connect(address: SocketAddr) -> Self {
        wait("a connection of HTTP/2", async {
            let socket = TcpStream::connect(address).await.expect("connect");
            let (sender, connection) = h2::client::handshake(socket).await.expect("a handshake");
            let task = tokio::spawn(async move {
                let _ = connection.await;
            });
            let mut http2 = sender.ready().await.expect("ready");
            while !http2.is_extended_connect_protocol_enabled() {
                tokio::task::yield_now().await;
                http2 = http2.ready().await.expect("ready");
            }
            Opener {
                address,
                http2,
                task,
            }
        })
    }

    /// Opens one; an empty key is none.
    ///
    /// # Errors
    /// The status of an answer that opens nothing.
    pub fn open(&self, kind: Kind, path: &str, key: &str) -> Result<Lasting, StatusCode> {
        let source = wait("an answer", async {
            let source = match kind {
                Kind::SocketOverHttp1 => self.socket1(path, key).await?,
                Kind::EventsOverHttp1 => self.events1(path, key).await?,
                Kind::SocketOverHttp2 | Kind::EventsOverHttp2 => {
                    self.stream2(kind, path, key).await?
                }
            };
            Ok::<_, StatusCode>(source)
        })?;
        let progress = Arc::new(Mutex::new(Progress::default()));
        let task = runtime().spawn(follow(kind, source, Arc::clone(&progress)));
        Ok(Lasting {
            kind,
            progress,
            task,
        })
    }

    async fn socket1(&self, path: &str, key: &str) -> Result<Source, StatusCode> {
        let mut stream = TcpStream::connect(self.address).await.expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        let key = match key {
            "" => String::new(),
            key => format!("apikey: {key}\r\n"),
        };
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: gateway.test\r\n{key}Upgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("an answer"));
        }
        match head.get(9..12) {
            Some(b"101") => Ok(Source::Raw(stream)),
            status => Err(StatusCode::from_bytes(status.unwrap_or_default()).expect("a status")),
        }
    }

    async fn events1(&self, path: &str, key: &str) -> Result<Source, StatusCode> {
        let stream = TcpStream::connect(self.address).await.expect("connect");
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.expect("a handshake");
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = path.parse().expect("a target");
        put(request.headers_mut(), "host", "gateway.test");
        put(request.headers_mut(), "apikey", key);
        let answer = sender.send_request(request).await.expect("an answer");
        match answer.status() {
            StatusCode::OK => Ok(Source::Body(sender, answer.into_body())),
            other => Err(other),
        }
    }

    async fn stream2(&self, kind: Kind, path: &str, key: &str) -> Result<Source, StatusCode> {
        let mut request = Request::new(());
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = format!("http://gateway.test{path}")
            .parse()
            .expect("a target");
        put(request.headers_mut(), "apikey", key);
        if kind.is_socket() {
            *request.method_mut() = Method::CONNECT;
            put(request.headers_mut(), "sec-websocket-version", "13");
            let protocol = h2::ext::Protocol::from_static("websocket");
            request.extensions_mut().insert(protocol);
        }
        let mut sender = self.http2.clone().ready().await.expect("ready");
        let sent = sender.send_request(request, !kind.is_socket());
        let (answer, stream) = sent.expect("sent");
        let answer = answer.await.expect("an answer");
        match answer.status() {
            StatusCode::OK => Ok(Source::Stream(answer.into_body(), stream)),
            other => Err(other),
        }
    }
}

/// Puts a header in, unless it is empty.
fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if !value.is_empty() {
        headers.insert(name, value.parse().expect("a value"));
    }
}

/// Where the bytes come from, and how some are sent.
enum Source {
    Raw(TcpStream),
    /// With the sender: without it the connection would end.
    Body(
        hyper::client::conn::http1::SendRequest<Empty<Bytes>>,
        hyper::body::Incoming,
    ),
    Stream(h2::RecvStream, h2::SendStream<Bytes>),
}

impl Source {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Option<Result<Bytes, String>> {
        match self {
            Source::Raw(stream) => {
                let mut bytes = bytes::BytesMut::with_capacity(4096);
                match stream.read_buf(&mut bytes).await {
                    Ok(0) => None,
                    Ok(_) => Some(Ok(bytes.freeze())),
                    Err(error) => Some(Err(error.to_string())),
                }
            }
            Source::Body(_, body) => {
                let frame = body.frame().await?;
                let data = frame.map(|frame| frame.into_data().unwrap_or_default());
                Some(data.map_err(|error| error.to_string()))
            }
            Source::Stream(body, _) => {
                let data = body.data().await?;
                if let Ok(data) = &data {
                    let _ = body.flow_control().release_capacity(data.len());
                }
                Some(data.map_err(|error| error.to_string()))
            }
        }
    }

    async fn ping(&mut self) {
        // An end is seen by who reads.
        match self {
            Source::Raw(stream) => drop(stream.write_all(&PING).await),
            Source::Stream(_, stream) => drop(stream.send_data(Bytes::from_static(&PING), false)),
            Source::Body(..) => {}
        }
    }
}

/// Reads to the end.
async fn follow(kind: Kind, mut source: Source, progress: Arc<Mutex<Progress>>) {
    let mut buffer = bytes::BytesMut::new();
    let end = loop {
        let more = source.next().await;
        if let Some(Ok(bytes)) = &more {
            buffer.extend_from_slice(bytes);
        }
        let parsed = parse(kind, &mut buffer, &progress);
        match (parsed, more) {
            (Some(end), _) => break end,
            (None, Some(Ok(_))) => {}
            (None, None) if !kind.is_socket() => break End::Whole,
            (None, None) => break End::Wrong("the end without a closing frame".to_owned()),
            (None, Some(Err(_))) if !kind.is_socket() => break End::Cut,
            (None, Some(Err(error))) => break End::Wrong(error),
        }
        let ping = {
            let mut progress = progress.lock().unwrap();
            let due = kind.is_socket() && progress.numbers / 10 > progress.pings;
            progress.pings += u32::from(due);
            due
        };
        if ping {
            source.ping().await;
        }
    };
    progress.lock().unwrap().end = Some((end, Instant::now()));
}

/// Takes what is whole out of the buffer; the end, if it says one.
fn parse(kind: Kind, buffer: &mut bytes::BytesMut, progress: &Mutex<Progress>) -> Option<End> {
    let mut progress = progress.lock().unwrap();
    loop {
        let number = if kind.is_socket() {
            if buffer.starts_with(&CLOSE_1000) {
                return Some(End::Whole);
            }
            if buffer.starts_with(&CLOSE_1008) {
                return Some(End::Cut);
            }
            if buffer.len() < 6 {
                return None;
            }
            let frame = buffer.split_to(6);
            if frame == PONG[..] {
                progress.pongs += 1;
                continue;
            }
            if !frame.starts_with(&[0x82, 4]) {
                return Some(End::Wrong(format!("{frame:?}")));
            }
            (&frame[2..]).get_u32()
        } else {
            let end = buffer.windows(2).position(|two| two == b"\n\n")?;
            let event = buffer.split_to(end + 2);
            let text = String::from_utf8_lossy(&event).into_owned();
            match text.trim().strip_prefix("data: ").map(str::parse) {
                Some(Ok(number)) => number,
                _ => return Some(End::Wrong(text)),
            }
        };
        if number != progress.numbers {
            return Some(End::Wrong(format!(
                "{number} after {} numbers",
                progress.numbers
            )));
        }
        progress.numbers += 1;
    }
}
