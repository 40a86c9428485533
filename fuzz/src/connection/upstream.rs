//! The upstream: keeps what it is sent, and answers as it is told to.

use super::wire::{self, Framing, Request};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use std::cell::RefCell;
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// How it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Manner {
    /// 200 with a length, once it has the whole request; 101 to who asks for WebSocket.
    Good,
    /// 200 in chunks.
    Chunked,
    /// 204.
    Empty,
    /// 200 before it reads the body.
    Early,
    /// 503, then as good.
    Busy,
    /// 100, then 200.
    Continue,
    /// 200 and closes.
    Last,
    /// Closes without a word.
    Closes,
    /// Half an answer, and closes.
    Half,
    /// 101, asked for or not.
    Switches,
    /// Nothing at all.
    Silent,
    /// What the input says.
    Given,
}

impl Manner {
    pub fn of(letter: u8) -> Self {
        match letter {
            b'c' => Manner::Chunked,
            b'e' => Manner::Empty,
            b'y' => Manner::Early,
            b'b' => Manner::Busy,
            b'0' => Manner::Continue,
            b'l' => Manner::Last,
            b'q' => Manner::Closes,
            b'h' => Manner::Half,
            b'1' => Manner::Switches,
            b's' => Manner::Silent,
            b'x' => Manner::Given,
            _ => Manner::Good,
        }
    }

    /// Whether the answers are in order, each with the id of its request in `x-echo`.
    pub fn echoes(self) -> bool {
        !matches!(self, Manner::Given | Manner::Silent | Manner::Closes)
    }
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub connections: usize,
    /// Connections that are open still.
    pub open: usize,
    pub requests: Vec<Request>,
}

/// Takes connections for ever.
pub(super) async fn serve(
    listener: UnixListener,
    manner: Manner,
    given: Rc<[u8]>,
    record: Rc<RefCell<Record>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        {
            let mut record = record.borrow_mut();
            record.connections += 1;
            record.open += 1;
        }
        let peer = Peer {
            stream,
            bytes: Vec::new(),
            manner,
            given: Rc::clone(&given),
            record: Rc::clone(&record),
        };
        tokio::task::spawn_local(async move {
            let record = Rc::clone(&peer.record);
            peer.work().await;
            record.borrow_mut().open -= 1;
        });
    }
}

struct Peer {
    stream: UnixStream,
    /// What was read and not yet understood.
    bytes: Vec<u8>,
    manner: Manner,
    given: Rc<[u8]>,
    record: Rc<RefCell<Record>>,
}

impl Peer {
    async fn work(mut self) {
        loop {
            let (mut request, length) = loop {
                if let Some(read) = Request::read(&self.bytes) {
                    break read;
                }
                if !self.more().await {
                    return;
                }
            };
            self.bytes.drain(..length);
            let framing = request.framing();
            let early = matches!(self.manner, Manner::Early | Manner::Closes | Manner::Half);
            let number = {
                let mut record = self.record.borrow_mut();
                record.requests.push(request.clone());
                record.requests.len() - 1
            };
            if early && !self.answer(&request, number).await {
                return;
            }
            loop {
                let (body, length, whole) = wire::body(&self.bytes, framing);
                request.body = body;
                request.whole = whole;
                self.record.borrow_mut().requests[number] = request.clone();
                if whole {
                    self.bytes.drain(..length);
                    break;
                }
                if !self.more().await {
                    return;
                }
            }
            if !early {
                assert!(
                    self.bytes.is_empty(),
                    "something follows a request before its answer: {}",
                    self.bytes.escape_ascii()
                );
                if !self.answer(&request, number).await {
                    return;
                }
            }
            assert!(framing != Framing::UntilTheEnd);
        }
    }

    /// Whether there was more.
    async fn more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.bytes).await, Ok(1..))
    }

    /// Whether the connection goes on.
    async fn answer(&mut self, request: &Request, number: usize) -> bool {
        let echo = format!("x-echo: {}\r\n", request.id());
        let wants_socket = request.all("upgrade").any(|v| v == b"websocket");
        let length = if request.method == "HEAD" { "" } else { "ok" };
        let plain = format!("HTTP/1.1 200 OK\r\n{echo}content-length: 2\r\n\r\n{length}");
        let (text, goes_on) = match self.manner {
            Manner::Good if wants_socket => return self.switch(request, &echo).await,
            Manner::Switches => return self.switch(request, &echo).await,
            Manner::Good | Manner::Early => (plain, true),
            Manner::Chunked => {
                let body = "2\r\nok\r\n0\r\n\r\n";
                let body = if request.method == "HEAD" { "" } else { body };
                let head = "transfer-encoding: chunked\r\ncontent-type: text/event-stream\r\n";
                (format!("HTTP/1.1 200 OK\r\n{echo}{head}\r\n{body}"), true)
            }
            Manner::Empty => (format!("HTTP/1.1 204 No Content\r\n{echo}\r\n"), true),
            Manner::Busy if number == 0 => (
                format!("HTTP/1.1 503 Busy\r\n{echo}content-length: 0\r\n\r\n"),
                true,
            ),
            Manner::Busy => (plain, true),
            Manner::Continue => (format!("HTTP/1.1 100 Continue\r\n\r\n{plain}"), true),
            Manner::Last => (
                format!("HTTP/1.1 200 OK\r\n{echo}connection: close\r\n\r\n{length}"),
                false,
            ),
            Manner::Half => (
                format!("HTTP/1.1 200 OK\r\n{echo}content-length: 5\r\n\r\n{length}"),
                false,
            ),
            Manner::Closes => return false,
            Manner::Silent => {
                while self.more().await {}
                return false;
            }
            Manner::Given => {
                let given = Rc::clone(&self.given);
                let sent = self.stream.write_all(&given).await;
                return sent.is_ok() && !given.is_empty();
            }
        };
        self.stream.write_all(text.as_bytes()).await.is_ok() && goes_on
    }

    /// Agrees to a WebSocket, and sends back what comes.
    async fn switch(&mut self, request: &Request, echo: &str) -> bool {
        let key = request.all("sec-websocket-key").next().unwrap_or_default();
        let salted = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
        let accept = base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, &salted).as_ref());
        let text = format!(
            "HTTP/1.1 101 Switching Protocols\r\n{echo}connection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        );
        let mut sent = self.stream.write_all(text.as_bytes()).await;
        while sent.is_ok() && self.more().await {
            let bytes = std::mem::take(&mut self.bytes);
            sent = self.stream.write_all(&bytes).await;
        }
        false
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = ALPHABET[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}
