//! A server on a real socket of which a test says, request by request, what it does: right things by default.

use keygate::load::mark;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// The one key that it knows.
pub const KEY: &str = "a-key-that-is-in-force";

/// A request as the server has read it.
pub struct Asked {
    pub method: String,
    pub target: String,
    pub mark: String,
    pub body_bytes: u64,
    pub is_known: bool,
    /// Counted from 1, over all connections, and on its own.
    pub number: u64,
    pub on_connection: u64,
}

impl Asked {
    pub fn digest(&self) -> String {
        mark::digest(&self.method, &self.target, &self.mark, self.body_bytes)
    }

    /// The answer that it should have.
    pub fn right(&self) -> String {
        match self.is_known {
            true => permitted(&self.digest(), &self.digest()),
            false => refused("AUTH_ERR_APIKEY_NOT_FOUND", ""),
        }
    }
}

/// 200 with this digest and this body.
pub fn permitted(digest: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nx-load-digest: {digest}\r\n\r\n{body}")
}

/// 401 with this code, and these lines in its head.
pub fn refused(code: &str, more: &str) -> String {
    let body = format!("{{\"error\":{{\"code\":\"{code}\"}}}}");
    let length = body.len();
    format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {length}\r\n{more}\r\n{body}")
}

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    GoOn,
    End,
}

/// Serves for as long as the test runs; each request is answered by the function, on the connection's thread.
pub fn serve(
    answer: impl Fn(&Asked, &mut TcpStream) -> Then + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let answer = Arc::new(answer);
    let count = Arc::new(AtomicU64::new(0));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
            thread::spawn(move || answer_all(stream, &count, &*answer));
        }
    });
    address
}

pub fn answer_all(
    stream: TcpStream,
    count: &AtomicU64,
    answer: &dyn Fn(&Asked, &mut TcpStream) -> Then,
) {
    stream.set_nodelay(true).expect("nodelay");
    let mut out = stream.try_clone().expect("clone");
    let mut input = BufReader::new(stream);
    for on_connection in 1.. {
        let Some(mut asked) = read(&mut input) else {
            return;
        };
        asked.number = count.fetch_add(1, Ordering::SeqCst) + 1;
        asked.on_connection = on_connection;
        if answer(&asked, &mut out) == Then::End {
            return;
        }
    }
}

fn read(input: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    if input.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split(' ').map(str::to_owned);
    let mut asked = Asked {
        method: words.next()?,
        target: words.next()?,
        mark: String::new(),
        body_bytes: 0,
        is_known: false,
        number: 0,
        on_connection: 0,
    };
    loop {
        let mut field = String::new();
        if input.read_line(&mut field).ok()? == 0 {
            return None;
        }
        match field.trim_end().split_once(": ") {
            Some(("x-load-mark", value)) => value.clone_into(&mut asked.mark),
            Some(("apikey", value)) => asked.is_known = value == KEY,
            Some(("content-length", value)) => asked.body_bytes = value.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = Vec::new();
    input.take(asked.body_bytes).read_to_end(&mut body).ok()?;
    Some(asked)
}

/// Writes an answer; whoever has left does not hear it.
pub fn say(out: &mut TcpStream, text: &str) -> Then {
    match out.write_all(text.as_bytes()) {
        Ok(()) => Then::GoOn,
        Err(_) => Then::End,
    }
}

/// Waits until the client ends the connection.
pub fn hang(out: &mut TcpStream) -> Then {
    let _ = out.read(&mut [0]);
    Then::End
}
