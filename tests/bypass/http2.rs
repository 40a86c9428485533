//! HTTP/2 as a client reads it: the fate of each stream, in the order in which they were opened.
//!
//! It allows the gateway no table of fields, so that the status of an answer can be read without one.

use super::client::{Outcome, Talk};
use super::script::{FieldsKind, Step};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, block, frame,
};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Most bytes of a frame's payload (RFC 9113, section 4.2).
const MOST: usize = 16_384;

pub struct Http2 {
    stream: TcpStream,
    received: Vec<u8>,
    streams: BTreeMap<u32, State>,
    /// Streams whose outcome was not yet asked for.
    waiting: Vec<u32>,
    interim: Vec<u16>,
    over: Option<Outcome>,
    began: bool,
}

#[derive(Default)]
struct State {
    status: u16,
    body: Vec<u8>,
    ended: bool,
    reset: Option<u32>,
}

impl Http2 {
    pub fn new(stream: TcpStream) -> Self {
        Http2 {
            stream,
            received: Vec::new(),
            streams: BTreeMap::new(),
            waiting: Vec::new(),
            interim: Vec::new(),
            over: None,
            began: false,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        // A gateway that says GOAWAY may have closed before all is sent.
        let _ = self.stream.write_all(bytes);
    }

    /// The preface, unless a case sends its own bytes instead.
    fn begin(&mut self) {
        if !self.began {
            self.began = true;
            self.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            // SETTINGS_HEADER_TABLE_SIZE = 0
            self.write(&frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]));
        }
    }

    fn opened(&mut self, stream: u32) {
        if let std::collections::btree_map::Entry::Vacant(entry) = self.streams.entry(stream) {
            entry.insert(State::default());
            self.waiting.push(stream);
        }
    }

    /// Reads a frame and notes what it says.
    fn read(&mut self) {
        let mut head = [0; 9];
        let mut payload = Vec::new();
        let got = self.stream.read_exact(&mut head).and_then(|()| {
            payload.resize(
                u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize,
                0,
            );
            self.stream.read_exact(&mut payload)
        });
        if let Err(error) = got {
            let late = matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            );
            self.over = Some(match late {
                true => Outcome::Nonsense("nothing came".to_owned()),
                false => Outcome::Closed,
            });
            return;
        }
        self.received.extend_from_slice(&head);
        self.received.extend_from_slice(&payload);
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5] & 0x7F, head[6], head[7], head[8]]);
        let code = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_be_bytes);
        match kind {
            SETTINGS if flags & 1 == 0 => self.write(&frame(SETTINGS, 1, 0, &[])),
            PING if flags & 1 == 0 => self.write(&frame(PING, 1, 0, &payload)),
            _ => {}
        }
        let Some(state) = self.streams.get_mut(&id) else {
            return;
        };
        match kind {
            HEADERS => {
                let status = status(&payload);
                match status {
                    Some(status @ 100..=199) => self.interim.push(status),
                    Some(status) => state.status = status,
                    None => {}
                }
                state.ended |= flags & END_STREAM != 0;
            }
            DATA => {
                state.body.extend_from_slice(&payload);
                state.ended |= flags & END_STREAM != 0;
            }
            RST_STREAM => state.reset = Some(code(&payload)),
            _ => {}
        }
    }
}

/// The status at the beginning of a block of fields, where no table is in use.
fn status(block: &[u8]) -> Option<u16> {
    // Changes of the table's size may come first (RFC 7541, section 6.3).
    let at = block.iter().position(|b| b & 0xE0 != 0x20)?;
    let known = [200, 204, 206, 304, 400, 404, 500];
    match block[at] {
        byte @ 0x88..=0x8E => Some(known[usize::from(byte - 0x88)]),
        // A literal whose name is `:status`, with or without being remembered.
        0x48..=0x4E | 0x08..=0x0E | 0x18..=0x1E => {
            let length = *block.get(at + 1)?;
            let text = block.get(at + 2..at + 2 + usize::from(length & 0x7F))?;
            if length & 0x80 == 0 {
                return std::str::from_utf8(text).ok()?.parse().ok();
            }
            huffman_digits(text)
        }
        _ => None,
    }
}

/// Three digits in the code of RFC 7541, appendix B: `0` to `2` have five bits, the others six.
fn huffman_digits(bytes: &[u8]) -> Option<u16> {
    let bits = bytes.iter().fold(0u64, |bits, b| bits << 8 | u64::from(*b));
    let mut left = bytes.len() * 8;
    let mut number = 0;
    for _ in 0..3 {
        let five = bits >> left.checked_sub(5)? & 0x1F;
        let digit = if five <= 2 {
            left -= 5;
            five
        } else {
            left = left.checked_sub(6)?;
            // 3 is 011001, and so on up to 9, 011111.
            (bits >> left & 0x3F).checked_sub(0x19)? + 3
        };
        number = number * 10 + u16::try_from(digit).ok()?;
    }
    Some(number)
}

impl Talk for Http2 {
    fn stream(&mut self) -> &mut TcpStream {
        self.began = true;
        &mut self.stream
    }

    fn frame(&mut self, step: &Step, offset: u32) {
        self.begin();
        let flag = |yes: bool, flag: u8| if yes { flag } else { 0 };
        match step {
            Step::Fields {
                kind,
                stream,
                end,
                more,
                fields,
            } => {
                let id = stream + offset;
                let fields: Vec<(&[u8], &[u8])> =
                    fields.iter().map(|(n, v)| (&n[..], &v[..])).collect();
                let kind = match kind {
                    FieldsKind::Headers => HEADERS,
                    FieldsKind::Continuation => CONTINUATION,
                };
                if kind == HEADERS {
                    self.opened(id);
                }
                // No frame is longer than it may be; what a block has more goes on in others.
                let all = block(&fields);
                let mut parts: Vec<&[u8]> = all.chunks(MOST).collect();
                let last = parts.pop().unwrap_or_default();
                let mut kind = kind;
                let mut flags = flag(*end, END_STREAM);
                for part in parts {
                    self.write(&frame(kind, flags, id, part));
                    (kind, flags) = (CONTINUATION, 0);
                }
                self.write(&frame(kind, flags | flag(!*more, END_HEADERS), id, last));
            }
            Step::Data { stream, end, data } => {
                self.write(&frame(DATA, flag(*end, END_STREAM), stream + offset, data));
            }
            Step::Frame {
                kind,
                flags,
                stream,
                payload,
            } => {
                let id = if *stream == 0 { 0 } else { stream + offset };
                if *kind == HEADERS && id != 0 {
                    self.opened(id);
                }
                self.write(&frame(*kind, *flags, id, payload));
            }
            _ => unreachable!("no frame"),
        }
    }

    fn outcome(&mut self, _: bool) -> Outcome {
        self.begin();
        if self.waiting.is_empty() {
            // Nothing was opened: what becomes of the connection is the outcome.
            while self.over.is_none() {
                self.read();
            }
            return self.over.clone().expect("it is over");
        }
        let id = self.waiting.remove(0);
        loop {
            let state = &self.streams[&id];
            if state.status != 0 && state.ended {
                return Outcome::Answer {
                    status: state.status,
                    body: state.body.clone(),
                };
            }
            if let Some(code) = state.reset {
                // Refused with an answer whose request was not read to its end.
                return match state.status {
                    0 => Outcome::Reset(code),
                    status => Outcome::Answer {
                        status,
                        body: state.body.clone(),
                    },
                };
            }
            if let Some(over) = &self.over {
                return over.clone();
            }
            self.read();
        }
    }

    fn wait_for_continue(&mut self) -> Result<(), String> {
        while self.interim.is_empty() {
            if self.over.is_some() {
                return Err("the end instead of 100".to_owned());
            }
            self.read();
        }
        Ok(())
    }

    /// On the first stream, which an extended CONNECT has opened.
    fn tunnel(&mut self, length: usize) -> Result<Vec<u8>, String> {
        loop {
            let state = self.streams.values_mut().next().ok_or("no stream")?;
            if state.body.len() >= length {
                return Ok(state.body.drain(..length).collect());
            }
            if self.over.is_some() || state.ended || state.reset.is_some() {
                return Err("the tunnel ended".to_owned());
            }
            self.read();
        }
    }

    fn ask(&mut self, target: &str) {
        self.begin();
        let id = self
            .streams
            .keys()
            .next_back()
            .map_or(1, |last| (last | 1) + 2);
        self.waiting.clear();
        self.opened(id);
        let fields = [
            (&b":method"[..], &b"GET"[..]),
            (b":scheme", b"http"),
            (b":authority", b"gateway.test"),
            (b":path", target.as_bytes()),
        ];
        self.write(&frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            id,
            &block(&fields),
        ));
    }

    fn interim(&self) -> &[u16] {
        &self.interim
    }

    fn received(&self) -> &[u8] {
        &self.received
    }
}
