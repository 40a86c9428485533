//! One answer of HTTP/1.1, out of the bytes of a connection.
//!
//! An answer that came whole in one read, as nearly all do, is judged where it lies. Of one that did not, the head and the
//! first [`KEPT_BYTES`] of the body are kept; the rest is counted and passed over.

use super::mark::{self, Told, decimal};
use std::mem::MaybeUninit;

/// How much of a body is kept to be judged.
pub(super) const KEPT_BYTES: usize = 4096;
/// Most header lines of an answer.
const HEADERS: usize = 64;

/// What cannot be an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Nonsense {
    #[error("the head of the answer cannot be read as HTTP/1.1")]
    Head,
    #[error("the head of the answer is longer than {0} bytes")]
    HeadTooLong(usize),
    #[error("the length of the answer's body cannot be read")]
    Length,
    #[error("a chunk of the answer's body cannot be read")]
    Chunk,
    #[error("there are bytes after the end of the answer that nobody asked for")]
    TooMuch,
}

/// Where a body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    /// With the connection.
    Close,
}

/// What a head says that matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) len: usize,
    pub(super) framing: Framing,
    pub(super) keep_alive: bool,
    pub(super) told: Told,
}

impl Head {
    /// The head at the front of these bytes; `None` while it is not all there.
    pub(super) fn parse(bytes: &[u8], to_head: bool) -> Result<Option<Head>, Nonsense> {
        // Not cleared first: that would cost as much as the rest.
        let mut fields = [const { MaybeUninit::uninit() }; HEADERS];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            bytes,
            &mut fields,
        );
        let len = match parsed {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Nonsense::Head),
        };
        let status = response.code.unwrap_or_default();
        let mut head = Head {
            status,
            len,
            framing: Framing::Close,
            keep_alive: response.version == Some(1),
            told: Told::default(),
        };
        let mut length = None;
        for field in response.headers.iter() {
            // Most are told apart by the length of their names alone.
            match field.name.len() {
                10 if field.name.eq_ignore_ascii_case("connection") => {
                    let value = field.value.trim_ascii();
                    if value.eq_ignore_ascii_case(b"close") {
                        head.keep_alive = false;
                    } else if value.eq_ignore_ascii_case(b"keep-alive") {
                        head.keep_alive = true;
                    }
                }
                13 if field.name.eq_ignore_ascii_case(mark::ANSWER) => {
                    head.told.digest(field.value);
                }
                13 if field.name.eq_ignore_ascii_case(mark::LENGTH) => {
                    head.told.length(field.value);
                }
                14 if field.name.eq_ignore_ascii_case("content-length") => {
                    let number = decimal(field.value).ok_or(Nonsense::Length)?;
                    if length.is_some_and(|other| other != number) {
                        return Err(Nonsense::Length);
                    }
                    length = Some(number);
                }
                17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                    if !field.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                        return Err(Nonsense::Length);
                    }
                    head.framing = Framing::Chunked;
                }
                _ => {}
            }
        }
        match (head.framing, length) {
            (Framing::Chunked, Some(_)) => return Err(Nonsense::Length),
            (Framing::Chunked, None) => {}
            (_, Some(length)) => head.framing = Framing::Length(length),
            (_, None) => {}
        }
        if to_head || status < 200 || status == 204 || status == 304 {
            head.framing = Framing::Length(0);
        }
        head.keep_alive &= head.framing != Framing::Close;
        Ok(Some(head))
    }
}

/// A body that did not come with its head in one piece.
#[derive(Debug)]
pub(super) struct Body {
    state: State,
    kept: Vec<u8>,
    total: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Length(u64),
    Close,
    /// In the line of a chunk's size: what was read of it, and whether its digits are over.
    Size {
        size: u64,
        digits: u8,
        over: bool,
    },
    Chunk(u64),
    /// In the line's end after a chunk.
    ChunkEnd,
    /// In the lines after the last chunk: how many bytes this one has.
    Trailers(u32),
    Done,
}

impl Body {
    pub(super) fn new() -> Self {
        Body {
            state: State::Done,
            kept: Vec::with_capacity(KEPT_BYTES),
            total: 0,
        }
    }

    pub(super) fn begin(&mut self, framing: Framing) {
        self.kept.clear();
        self.total = 0;
        self.state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Close => State::Close,
            Framing::Chunked => State::size(),
        };
    }

    /// Takes bytes; how many of them were the body's.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<usize, Nonsense> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.state {
                State::Done => break,
                State::Close => {
                    self.keep(rest);
                    at = bytes.len();
                }
                State::Length(left) => {
                    let part = (rest.len() as u64).min(left);
                    self.keep(&rest[..part as usize]);
                    at += part as usize;
                    self.state = match left - part {
                        0 => State::Done,
                        left => State::Length(left),
                    };
                }
                State::Chunk(left) => {
                    let part = (rest.len() as u64).min(left);
                    self.keep(&rest[..part as usize]);
                    at += part as usize;
                    self.state = match left - part {
                        0 => State::ChunkEnd,
                        left => State::Chunk(left),
                    };
                }
                State::Size { .. } | State::ChunkEnd | State::Trailers(_) => {
                    self.state = self.state.after(rest[0])?;
                    at += 1;
                }
            }
        }
        Ok(at)
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = KEPT_BYTES - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.total += bytes.len() as u64;
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the connection's end is the body's.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.state == State::Close
    }

    /// The first of it.
    pub(super) fn kept(&self) -> &[u8] {
        &self.kept
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }
}

impl State {
    const fn size() -> Self {
        State::Size {
            size: 0,
            digits: 0,
            over: false,
        }
    }

    /// The state after one byte of what frames chunks.
    fn after(self, byte: u8) -> Result<State, Nonsense> {
        match self {
            State::Size { size, digits, over } => match (byte, char::from(byte).to_digit(16)) {
                (b'\n', _) if digits > 0 && size == 0 => Ok(State::Trailers(0)),
                (b'\n', _) if digits > 0 => Ok(State::Chunk(size)),
                (_, Some(digit)) if !over && digits < 15 => Ok(State::Size {
                    size: size * 16 + u64::from(digit),
                    digits: digits + 1,
                    over,
                }),
                (b';' | b' ' | b'\t' | b'\r', _) if digits > 0 => Ok(State::Size {
                    size,
                    digits,
                    over: true,
                }),
                (_, _) if over && byte != b'\n' => Ok(self),
                _ => Err(Nonsense::Chunk),
            },
            State::ChunkEnd => match byte {
                b'\r' => Ok(State::ChunkEnd),
                b'\n' => Ok(State::size()),
                _ => Err(Nonsense::Chunk),
            },
            State::Trailers(count) => match (byte, count) {
                (b'\n', 0) => Ok(State::Done),
                (b'\n', _) => Ok(State::Trailers(0)),
                (b'\r', _) => Ok(State::Trailers(count)),
                (_, 8192) => Err(Nonsense::Chunk),
                _ => Ok(State::Trailers(count + 1)),
            },
            State::Length(_) | State::Close | State::Chunk(_) | State::Done => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(text: &str) -> Result<Option<Head>, Nonsense> {
        Head::parse(text.as_bytes(), false)
    }

    #[test]
    fn a_head_says_where_its_body_ends_and_whether_the_connection_goes_on() {
        for (text, framing, keep_alive) in [
            ("200 OK\r\ncontent-length: 5\r\n", Framing::Length(5), true),
            (
                "200 OK\r\nConnection: close\r\nContent-Length: 5\r\n",
                Framing::Length(5),
                false,
            ),
            (
                "200\r\nTransfer-Encoding: chunked\r\n",
                Framing::Chunked,
                true,
            ),
            ("200 OK\r\n", Framing::Close, false),
            ("204 No Content\r\n", Framing::Length(0), true),
            (
                "304 Not Modified\r\ncontent-length: 9\r\n",
                Framing::Length(0),
                true,
            ),
        ] {
            let read = head(&format!("HTTP/1.1 {text}\r\n")).unwrap().unwrap();
            assert_eq!(
                (read.framing, read.keep_alive),
                (framing, keep_alive),
                "{text}"
            );
        }
        let old = head("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n")
            .unwrap()
            .unwrap();
        assert!(!old.keep_alive);
        let to_head = Head::parse(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", true);
        assert_eq!(to_head.unwrap().unwrap().framing, Framing::Length(0));
    }

    #[test]
    fn heads_that_have_no_one_reading_are_nonsense() {
        for text in [
            "HTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        ] {
            assert!(head(text).is_err(), "{text}");
        }
        assert_eq!(head("HTTP/1.1 200 OK\r\ncontent-le"), Ok(None));
    }

    #[test]
    fn chunks_that_are_none_are_refused() {
        for text in [
            "\r\n",
            "x\r\n",
            "5\r\nhelloX\r\n",
            "fffffffffffffffff\r\n",
            ";\r\n",
        ] {
            let mut body = Body::new();
            body.begin(Framing::Chunked);
            assert!(body.feed(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_body_is_the_same_however_it_is_cut(
            data in proptest::collection::vec(any::<u8>(), 0..9000),
            chunks in proptest::collection::vec(1usize..3000, 1..6),
            cuts in proptest::collection::vec(1usize..4000, 1..8),
            chunked in any::<bool>(),
        ) {
            let mut wire = Vec::new();
            if chunked {
                let mut rest = &data[..];
                for size in chunks.iter().cycle() {
                    if rest.is_empty() {
                        break;
                    }
                    let (part, left) = rest.split_at((*size).min(rest.len()));
                    wire.extend_from_slice(format!("{:X};x=y\r\n", part.len()).as_bytes());
                    wire.extend_from_slice(part);
                    wire.extend_from_slice(b"\r\n");
                    rest = left;
                }
                wire.extend_from_slice(b"0\r\ntrailer: 1\r\n\r\n");
            } else {
                wire.extend_from_slice(&data);
            }
            let length = wire.len();
            wire.extend_from_slice(b"HTTP/1.1 next");
            let mut body = Body::new();
            body.begin(if chunked { Framing::Chunked } else { Framing::Length(data.len() as u64) });
            let mut at = 0;
            for cut in cuts.iter().cycle() {
                if body.is_done() {
                    break;
                }
                let end = (at + cut).min(wire.len());
                at += body.feed(&wire[at..end]).unwrap();
            }
            prop_assert_eq!(at, length);
            prop_assert_eq!(body.total(), data.len() as u64);
            prop_assert_eq!(body.kept(), &data[..data.len().min(KEPT_BYTES)]);
        }
    }
}
