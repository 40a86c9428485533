//! A row of the suite: what a client sends on a connection of its own, and how the standard lets a server react.

use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, Raw, SETTINGS,
    WINDOW_UPDATE, block, frame,
};
use std::fmt;
use std::net::SocketAddr;

pub const PRIORITY: u8 = 2;
pub const PUSH_PROMISE: u8 = 5;

pub const PADDED: u8 = 8;
/// The flag of HEADERS that a priority comes first.
pub const PRIORITIZED: u8 = 0x20;

// RFC 9113, section 7.
pub const NO_ERROR: u32 = 0;
pub const PROTOCOL: u32 = 1;
pub const FLOW_CONTROL: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE: u32 = 6;
pub const REFUSED: u32 = 7;
pub const COMPRESSION: u32 = 9;

/// Why the other code of a frame of the wrong size is safe.
pub const SIZE: &str = "h2 tells it as PROTOCOL_ERROR; the connection ends all the same";
/// Why the other code of a block that cannot be read is safe.
pub const BLOCK: &str =
    "h2 tells it as PROTOCOL_ERROR; the connection ends all the same, and with it the table";
/// Why the other code of a frame behind the end of its stream is safe.
pub const BEHIND: &str = "h2 tells it as PROTOCOL_ERROR; the connection ends instead of the stream, and what was sent goes nowhere";

/// What a client does.
#[derive(Clone)]
pub enum Act {
    Send(Vec<u8>),
    /// Reads until this stream has ended, and tells nobody how.
    Await(u32),
}

/// What a server does of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Says GOAWAY with this code, and ends the connection.
    Gone(u32),
    /// Ends the connection and says nothing.
    Ended,
    /// Resets this stream with this code; the connection goes on.
    Reset(u32, u32),
    /// Answers on this stream with this status, 0 where HPACK has no byte for it; the connection goes on.
    Answer(u32, u16),
    /// Serves what comes next.
    Fine,
}

impl fmt::Debug for Reaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |code: u32| match code {
            NO_ERROR => "NO_ERROR".to_owned(),
            PROTOCOL => "PROTOCOL_ERROR".to_owned(),
            FLOW_CONTROL => "FLOW_CONTROL_ERROR".to_owned(),
            STREAM_CLOSED => "STREAM_CLOSED".to_owned(),
            FRAME_SIZE => "FRAME_SIZE_ERROR".to_owned(),
            REFUSED => "REFUSED_STREAM".to_owned(),
            COMPRESSION => "COMPRESSION_ERROR".to_owned(),
            other => other.to_string(),
        };
        match self {
            Reaction::Gone(code) => write!(f, "GOAWAY {}", name(*code)),
            Reaction::Ended => write!(f, "the end without GOAWAY"),
            Reaction::Reset(stream, code) => write!(f, "RST_STREAM {stream} {}", name(*code)),
            Reaction::Answer(stream, status) => write!(f, "{status} on stream {stream}"),
            Reaction::Fine => write!(f, "no reaction"),
        }
    }
}

pub struct Row {
    section: &'static str,
    what: &'static str,
    acts: Vec<Act>,
    /// What the standard allows.
    allowed: Vec<Reaction>,
    /// What happens instead, and why that is safe.
    deviation: Option<(Reaction, &'static str)>,
}

/// What this must lead to: one of these, as the section has it.
pub fn row(
    section: &'static str,
    what: &'static str,
    acts: impl Into<Vec<Act>>,
    allowed: &[Reaction],
) -> Row {
    Row {
        section,
        what,
        acts: acts.into(),
        allowed: allowed.to_vec(),
        deviation: None,
    }
}

impl Row {
    /// The one known deviation of most: GOAWAY with PROTOCOL_ERROR.
    pub fn but_protocol(self, why: &'static str) -> Self {
        self.but(Reaction::Gone(PROTOCOL), why)
    }

    /// A known deviation: this happens instead, which is safe for this reason.
    pub fn but(mut self, reaction: Reaction, why: &'static str) -> Self {
        self.deviation = Some((reaction, why));
        self
    }

    /// What is wrong, if anything.
    fn judge(&self, address: SocketAddr) -> Option<String> {
        let name = format!("{}, {}", self.section, self.what);
        if let Some((reaction, why)) = self.deviation
            && (self.allowed.contains(&reaction) || why.is_empty())
        {
            return Some(format!("{name}: no deviation"));
        }
        let mut raw = Raw::connect(address);
        for act in &self.acts {
            match act {
                Act::Send(bytes) => {
                    raw.write(bytes);
                }
                Act::Await(stream) => {
                    if let Err(text) = wait_for_end(&mut raw, *stream) {
                        return Some(format!("{name}: {text}"));
                    }
                }
            }
        }
        let expected = match self.deviation {
            Some((reaction, _)) => vec![reaction],
            None => self.allowed.clone(),
        };
        // Where nothing is to happen, the next request tells. Elsewhere it would come behind the end, which then comes as a reset.
        let probed = expected.contains(&Reaction::Fine);
        if probed {
            raw.write(&probe(PROBE));
        }
        let mut reaction = observe(&mut raw, PROBE);
        if matches!(reaction, Reaction::Reset(..) | Reaction::Answer(..)) {
            let next = if probed { PROBE } else { PROBE + 2 };
            if !probed {
                raw.write(&probe(next));
            }
            let after = loop {
                match observe(&mut raw, next) {
                    Reaction::Reset(..) | Reaction::Answer(..) => {}
                    after => break after,
                }
            };
            if after != Reaction::Fine {
                reaction = after;
            }
        }
        if expected.contains(&reaction) {
            return None;
        }
        let allowed = &self.allowed;
        Some(format!(
            "{name}: {reaction:?}, expected {expected:?}; the standard allows {allowed:?}"
        ))
    }
}

/// The stream of the request that shows that a connection goes on.
const PROBE: u32 = 1001;

fn probe(stream: u32) -> Vec<u8> {
    let bytes = block(&[
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"gateway.test"),
        (b":path", b"/open/probe"),
    ]);
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &bytes)
}

pub fn code(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

/// The first reaction that comes, answers to the probe being none.
fn observe(raw: &mut Raw, probe: u32) -> Reaction {
    let mut gone = None;
    loop {
        let Some(frame) = raw.read() else {
            return gone.map_or(Reaction::Ended, Reaction::Gone);
        };
        match frame.kind {
            SETTINGS if frame.flags & 1 == 0 => {
                raw.send(SETTINGS, 1, 0, &[]);
            }
            GOAWAY => gone = Some(code(&frame.payload[4..8])),
            RST_STREAM => return Reaction::Reset(frame.stream, code(&frame.payload)),
            HEADERS if frame.stream == probe => return Reaction::Fine,
            HEADERS => return Reaction::Answer(frame.stream, status(&frame.payload)),
            _ => {}
        }
    }
}

/// The status that HPACK has a byte for (RFC 7541, appendix A), else 0.
pub fn status(block: &[u8]) -> u16 {
    let known = [200, 204, 206, 304, 400, 404, 500];
    // A change of the table's size may come first.
    match block.iter().find(|b| *b & 0xE0 != 0x20) {
        Some(byte @ 0x88..=0x8E) => known[usize::from(byte - 0x88)],
        _ => 0,
    }
}

fn wait_for_end(raw: &mut Raw, stream: u32) -> Result<(), String> {
    loop {
        let frame = raw.read().ok_or("the connection ended early")?;
        match frame.kind {
            RST_STREAM if frame.stream == stream => return Ok(()),
            HEADERS | DATA if frame.stream == stream && frame.flags & END_STREAM != 0 => {
                return Ok(());
            }
            _ => {}
        }
    }
}

/// Judges all rows before this gateway, each on a connection of its own.
pub fn judge(address: SocketAddr, rows: Vec<Row>) {
    let wrong: Vec<String> = rows.iter().filter_map(|row| row.judge(address)).collect();
    let deviations = rows.iter().filter(|row| row.deviation.is_some()).count();
    println!("{} rows, {deviations} known deviations", rows.len());
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n")
    );
}

pub fn send(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Act {
    Act::Send(frame(kind, flags, stream, payload))
}

pub type Field<'a> = (&'a str, &'a str);

/// HEADERS with these fields.
pub fn head(stream: u32, flags: u8, fields: &[Field]) -> Act {
    send(HEADERS, flags, stream, &fields_of(fields))
}

pub fn fields_of(fields: &[Field]) -> Vec<u8> {
    let fields: Vec<(&[u8], &[u8])> = fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    block(&fields)
}

/// The pseudo-fields of a request.
pub fn pseudo<'a>(method: &'a str, path: &'a str) -> [Field<'a>; 4] {
    [
        (":method", method),
        (":scheme", "http"),
        (":authority", "gateway.test"),
        (":path", path),
    ]
}

/// A whole request without a body.
pub fn get(stream: u32) -> Act {
    head(stream, END_HEADERS | END_STREAM, &pseudo("GET", "/open/x"))
}

/// A whole request that the upstream does not answer.
pub fn held(stream: u32) -> Act {
    head(
        stream,
        END_HEADERS | END_STREAM,
        &pseudo("GET", "/open/hold"),
    )
}

/// The head of a request whose body is to come.
pub fn post(stream: u32) -> Act {
    head(stream, END_HEADERS, &pseudo("POST", "/open/x"))
}

/// A head that does not end.
pub fn half(stream: u32) -> Act {
    head(stream, END_STREAM, &pseudo("GET", "/open/x"))
}

/// A GET with more fields.
pub fn get_with(fields: &[Field]) -> Act {
    let all = [&pseudo("GET", "/open/x"), fields].concat();
    head(1, END_HEADERS | END_STREAM, &all)
}

pub fn data(stream: u32, flags: u8, bytes: &[u8]) -> Act {
    send(DATA, flags, stream, bytes)
}

pub fn continuation(stream: u32, flags: u8, bytes: &[u8]) -> Act {
    send(CONTINUATION, flags, stream, bytes)
}

pub fn reset(stream: u32) -> Act {
    send(RST_STREAM, 0, stream, &[0, 0, 0, 8])
}

pub fn window(stream: u32, increment: u32) -> Act {
    send(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub fn setting(id: u16, value: u32) -> Act {
    let payload = [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    send(SETTINGS, 0, 0, &payload)
}
