//! HTTP/2 written by hand, frame by frame: what no library of clients would send.

use super::PATIENCE;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A connection on which any frame can be sent.
pub struct Raw {
    pub stream: TcpStream,
}

/// A frame that came.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// What became of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// An answer with this status; 0 where it is not one of those that HPACK has a byte for.
    Status(u16),
    Reset(u32),
    /// The connection ended, with this code if it said one.
    Gone(Option<u32>),
}

impl Raw {
    /// Connects and sends the preface and empty settings.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
        let mut raw = Raw { stream };
        raw.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        raw.send(SETTINGS, 0, 0, &[]);
        raw
    }

    /// Writes bytes; false when the other side has gone.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a frame.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.write(&frame(kind, flags, stream, payload))
    }

    /// Sends a whole block of headers.
    pub fn headers(&mut self, stream: u32, end: bool, fields: &[(&[u8], &[u8])]) -> bool {
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.send(HEADERS, flags, stream, &block(fields))
    }

    /// The next frame; `None` at the end of the connection.
    pub fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5] & 0x7F, head[6], head[7], head[8]]),
            payload,
        })
    }

    /// What becomes of this stream.
    pub fn fate(&mut self, stream: u32) -> Fate {
        let mut gone = None;
        let code = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
        loop {
            let Some(frame) = self.read() else {
                return Fate::Gone(gone);
            };
            match frame.kind {
                SETTINGS if frame.flags & 1 == 0 => {
                    self.send(SETTINGS, 1, 0, &[]);
                }
                GOAWAY => gone = Some(code(&frame.payload[4..8])),
                RST_STREAM if frame.stream == stream => {
                    return Fate::Reset(code(&frame.payload[..4]));
                }
                HEADERS if frame.stream == stream => {
                    // A change of the table's size may come first.
                    let first = frame.payload.iter().find(|b| *b & 0xE0 != 0x20);
                    // RFC 7541, appendix A.
                    return Fate::Status(match first {
                        Some(0x88) => 200,
                        Some(0x8C) => 400,
                        Some(0x8D) => 404,
                        _ => 0,
                    });
                }
                _ => {}
            }
        }
    }
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as HPACK literals that nobody remembers (RFC 7541, section 6.2.2).
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            length(&mut bytes, text.len());
            bytes.extend_from_slice(text);
        }
    }
    bytes
}

fn length(bytes: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        return bytes.push(u8::try_from(length).expect("below 127"));
    };
    bytes.push(127);
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).expect("below 128") | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).expect("below 128"));
}
