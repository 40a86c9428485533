//! Requests as text, made frames of HTTP/2.
//!
//! Requests are apart by an empty line. A request is lines `name: value`, pseudo-fields too; a line `.` ends its head, and
//! each line after it is a frame of its body. `> name: value` is a trailer, `!` resets the stream, `-` leaves it open.

use crate::text::split;

/// The preface, empty settings, and a window that is large enough for any answer here.
pub(super) const PREFACE: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x04\x08\0\0\0\0\0\0\x10\0\0";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// All requests of a text.
pub(super) fn of(text: &[u8]) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    let mut stream = 1;
    let mut lines = Vec::new();
    for line in text.split(|b| *b == b'\n').chain([&b""[..]]) {
        if !line.is_empty() {
            lines.push(line);
        } else if !lines.is_empty() {
            request(&mut bytes, stream, &std::mem::take(&mut lines));
            stream += 2;
        }
    }
    bytes
}

fn request(bytes: &mut Vec<u8>, stream: u32, lines: &[&[u8]]) {
    let end = lines.iter().position(|line| *line == b".");
    let (head, body) = match end {
        Some(at) => (&lines[..at], &lines[at + 1..]),
        None => (lines, &[][..]),
    };
    let flags = END_HEADERS | if end.is_none() { END_STREAM } else { 0 };
    frame(bytes, HEADERS, flags, stream, &block(head));
    let Some((last, before)) = body.split_last() else {
        if end.is_some() {
            frame(bytes, DATA, END_STREAM, stream, b"");
        }
        return;
    };
    for piece in before {
        frame(bytes, DATA, 0, stream, piece);
    }
    match last {
        [b'!'] => frame(bytes, RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        [b'-'] => {}
        [b'>', b' ', trailer @ ..] => {
            let block = block(&[trailer]);
            frame(bytes, HEADERS, END_HEADERS | END_STREAM, stream, &block);
        }
        piece => frame(bytes, DATA, END_STREAM, stream, piece),
    }
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    // What is longer than a frame may be is the server's to refuse.
    let length = (payload.len() as u32).to_be_bytes();
    bytes.extend_from_slice(&length[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// Fields as HPACK literals that nobody remembers (RFC 7541, section 6.2.2).
fn block(lines: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        // A pseudo-field's name begins with the colon.
        let (name, value) = match line {
            [b':', rest @ ..] => {
                let (name, value) = split(rest, b':');
                (&line[..=name.len()], value)
            }
            line => split(line, b':'),
        };
        bytes.push(0);
        for text in [name, value.strip_prefix(b" ").unwrap_or(value)] {
            length(&mut bytes, text.len());
            bytes.extend_from_slice(text);
        }
    }
    bytes
}

/// RFC 7541, section 5.1, with a prefix of seven bits.
fn length(bytes: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        return bytes.push(length as u8);
    };
    bytes.push(127);
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    bytes.push(rest as u8);
}
