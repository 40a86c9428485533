//! A client on a Unix socket, and what a gateway that listens on one says of it.

use super::{Answer, PATIENCE};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// One request on a connection of its own to the socket at this path.
pub fn call(path: &Path, request_line: &str, headers: &[&str]) -> Answer {
    let stream = UnixStream::connect(path).expect("connect");
    exchange(stream, request_line, headers)
}

/// One request on this connection, which ends with the answer.
pub fn exchange(mut stream: UnixStream, request_line: &str, headers: &[&str]) -> Answer {
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let mut text =
        format!("{request_line} HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    stream.write_all(text.as_bytes()).expect("send");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    answer(&bytes)
}

/// A whole answer, whose body ends with the bytes.
pub fn answer(bytes: &[u8]) -> Answer {
    let end = bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(bytes)));
    let head = std::str::from_utf8(&bytes[..end]).expect("a head of text");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    Answer {
        status: status.and_then(|s| s.parse().ok()).expect("a status"),
        headers: lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect(),
        body: bytes[end + 4..].to_vec(),
    }
}
