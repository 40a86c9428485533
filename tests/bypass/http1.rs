//! HTTP/1.1 as a client reads it: answers one after another, whatever may come.

use super::client::{Outcome, Talk};
use super::script::Step;
use std::io::{Read, Write};
use std::net::TcpStream;

pub struct Http1 {
    stream: TcpStream,
    received: Vec<u8>,
    /// How much of it was used.
    used: usize,
    interim: Vec<u16>,
}

/// Why there is no answer.
enum Missing {
    /// The connection ended before one began.
    Closed,
    Nonsense(String),
}

impl Http1 {
    pub fn new(stream: TcpStream) -> Self {
        Http1 {
            stream,
            received: Vec::new(),
            used: 0,
            interim: Vec::new(),
        }
    }

    fn left(&self) -> &[u8] {
        &self.received[self.used..]
    }

    fn fill(&mut self) -> Result<(), Missing> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(self.end()),
            Ok(n) => {
                self.received.extend_from_slice(&piece[..n]);
                Ok(())
            }
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                Err(Missing::Nonsense(format!(
                    "nothing came; before it {}",
                    self.left().escape_ascii()
                )))
            }
            Err(_) => Err(self.end()),
        }
    }

    fn end(&self) -> Missing {
        match self.left() {
            [] => Missing::Closed,
            half => Missing::Nonsense(format!("half an answer: {}", half.escape_ascii())),
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, Missing> {
        while self.left().len() < length {
            self.fill()?;
        }
        let taken = self.left()[..length].to_vec();
        self.used += length;
        Ok(taken)
    }

    fn line(&mut self) -> Result<String, Missing> {
        loop {
            if let Some(at) = self.left().iter().position(|b| *b == b'\n') {
                let line = self.take(at + 1)?;
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            self.fill()?;
        }
    }

    fn answer(&mut self, to_head: bool) -> Result<(u16, Vec<u8>), Missing> {
        let first = self.line()?;
        let status = first
            .strip_prefix("HTTP/1.")
            .and_then(|t| t.get(2..5)?.parse().ok());
        let status: u16 =
            status.ok_or_else(|| Missing::Nonsense(format!("no status line: {first:?}")))?;
        let (mut length, mut chunked) = (None, false);
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse::<usize>().ok(),
                "transfer-encoding" => chunked = true,
                _ => {}
            }
        }
        if status < 200 || to_head || matches!(status, 204 | 304) {
            return Ok((status, Vec::new()));
        }
        let mut body = Vec::new();
        if chunked {
            loop {
                let line = self.line()?;
                let size = usize::from_str_radix(&line, 16);
                let size =
                    size.map_err(|_| Missing::Nonsense(format!("a chunk's size: {line:?}")))?;
                let piece = self.take(size + 2)?;
                if size == 0 {
                    break;
                }
                body.extend_from_slice(&piece[..size]);
            }
        } else if let Some(length) = length {
            body = self.take(length)?;
        } else {
            while self.fill().is_ok() {}
            body = self.take(self.left().len())?;
        }
        Ok((status, body))
    }
}

impl Talk for Http1 {
    fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    fn frame(&mut self, _: &Step, _: u32) {
        unreachable!("the corpus was checked: frames are for HTTP/2");
    }

    fn outcome(&mut self, to_head: bool) -> Outcome {
        loop {
            match self.answer(to_head) {
                Ok((status, _)) if (100..200).contains(&status) && status != 101 => {
                    self.interim.push(status);
                }
                Ok((status, body)) => return Outcome::Answer { status, body },
                Err(Missing::Closed) => return Outcome::Closed,
                Err(Missing::Nonsense(text)) => return Outcome::Nonsense(text),
            }
        }
    }

    fn wait_for_continue(&mut self) -> Result<(), String> {
        match self.answer(false) {
            Ok((100, _)) => {
                self.interim.push(100);
                Ok(())
            }
            Ok((status, _)) => Err(format!("{status} instead of 100")),
            Err(Missing::Closed) => Err("the end instead of 100".to_owned()),
            Err(Missing::Nonsense(text)) => Err(text),
        }
    }

    fn tunnel(&mut self, length: usize) -> Result<Vec<u8>, String> {
        self.take(length).map_err(|_| "the tunnel ended".to_owned())
    }

    fn ask(&mut self, target: &str) {
        let text = format!("GET {target} HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
        let _ = self.stream.write_all(text.as_bytes());
    }

    fn interim(&self) -> &[u16] {
        &self.interim
    }

    fn received(&self) -> &[u8] {
        &self.received
    }
}
