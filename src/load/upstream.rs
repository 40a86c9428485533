//! A small, fast upstream that answers each request with its digest, to stand behind what is loaded.
//!
//! It takes any method and target over HTTP/1.1 and reads the body whole. What it answers depends on the request alone, so an
//! answer that belongs to another one is found out: 200, the digest in [`mark::ANSWER`], and a body that is the digest over and
//! over, with its length in [`mark::LENGTH`], so that a body that was cut off or mixed up on its way is found out too.

use super::answer::{Body, Framing, Nonsense};
use super::mark::{self, Digest};
use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::{NonZeroU64, NonZeroUsize};
use std::rc::Rc;
use std::thread;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::LocalOptions;

/// What is read at once; heads must fit.
const BUFFER_BYTES: usize = 64 * 1024;
const HEADERS: usize = 100;

/// How an upstream answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpstreamSettings {
    /// Bytes of each answer's body; at least a digest's.
    pub body_bytes: usize,
    pub threads: NonZeroUsize,
    /// Each answer of this number, on each thread, has a wrong digest: to see that it is found.
    pub wrong_every: Option<NonZeroU64>,
}

/// Serves on a socket, for as long as the process lives; `ready` is called with its address when it does.
///
/// # Errors
/// When no thread can be started.
pub fn serve(
    listener: &TcpListener,
    settings: UpstreamSettings,
    ready: impl FnOnce(SocketAddr),
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut threads = Vec::new();
    for number in 0..settings.threads.get() {
        let listener = listener.try_clone()?;
        let builder = thread::Builder::new().name(format!("upstream-{number}"));
        threads.push(builder.spawn(move || accept(listener, settings))?);
    }
    ready(listener.local_addr()?);
    for thread in threads {
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("a thread of the upstream panicked")))?;
    }
    Ok(())
}

fn accept(listener: TcpListener, settings: UpstreamSettings) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let answers = Rc::new(Answers::new(settings));
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let answers = Rc::clone(&answers);
                    tokio::task::spawn_local(async move {
                        // What a client does wrong on a connection concerns that connection only.
                        let _ = connection(stream, &answers).await;
                    });
                }
                // Out of descriptors, say: let the others go on and try again.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    })
}

/// Makes one thread's answers.
struct Answers {
    /// Up to the digest in the head; from there to the body.
    head: Vec<u8>,
    middle: &'static [u8],
    body_bytes: usize,
    wrong_every: Option<NonZeroU64>,
    count: Cell<u64>,
}

impl Answers {
    fn new(settings: UpstreamSettings) -> Self {
        let length = settings.body_bytes.max(mark::LEN);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n{}: {length}\r\n{}: ",
            mark::LENGTH,
            mark::ANSWER
        );
        Answers {
            head: head.into_bytes(),
            middle: b"\r\n\r\n",
            body_bytes: length,
            wrong_every: settings.wrong_every,
            count: Cell::new(0),
        }
    }

    fn write(&self, digest: Digest, is_head: bool, out: &mut Vec<u8>) {
        let count = self.count.get() + 1;
        self.count.set(count);
        let is_wrong = self.wrong_every.is_some_and(|every| count % every == 0);
        let digest = if is_wrong {
            digest.then(b"wrong")
        } else {
            digest
        };
        let digest = digest.hex();
        out.clear();
        out.extend_from_slice(&self.head);
        out.extend_from_slice(&digest);
        out.extend_from_slice(self.middle);
        if !is_head {
            let whole = out.len() + self.body_bytes;
            for _ in 0..self.body_bytes.div_ceil(mark::LEN) {
                out.extend_from_slice(&digest);
            }
            out.truncate(whole);
        }
    }
}

/// What matters of a request's head.
struct Request {
    len: usize,
    framing: Framing,
    /// Of all but the body's length.
    digest: Digest,
    is_head: bool,
    is_last: bool,
    wants_continue: bool,
}

impl Request {
    fn parse(bytes: &[u8]) -> Result<Option<Request>, Nonsense> {
        let mut fields = [httparse::EMPTY_HEADER; HEADERS];
        let mut request = httparse::Request::new(&mut fields);
        let len = match request.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Nonsense::Head),
        };
        let (method, target) = (
            request.method.unwrap_or_default(),
            request.path.unwrap_or_default(),
        );
        let mut read = Request {
            len,
            framing: Framing::Length(0),
            digest: Digest::new(),
            is_head: method == "HEAD",
            is_last: request.version == Some(0),
            wants_continue: false,
        };
        let mut mark: &[u8] = b"";
        for field in request.headers.iter() {
            match field.name.len() {
                6 if field.name.eq_ignore_ascii_case("expect") => read.wants_continue = true,
                10 if field.name.eq_ignore_ascii_case("connection") => {
                    read.is_last |= field.value.trim_ascii().eq_ignore_ascii_case(b"close");
                }
                11 if field.name.eq_ignore_ascii_case(mark::REQUEST) => mark = field.value,
                14 if field.name.eq_ignore_ascii_case("content-length") => {
                    let text = std::str::from_utf8(field.value).map_err(|_| Nonsense::Length)?;
                    read.framing =
                        Framing::Length(text.trim().parse().map_err(|_| Nonsense::Length)?);
                }
                17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                    read.framing = Framing::Chunked;
                }
                _ => {}
            }
        }
        read.digest = (Digest::new().then(method.as_bytes()).then(b" "))
            .then(target.as_bytes())
            .then(b" ")
            .then(mark);
        Ok(Some(read))
    }
}

async fn connection(mut stream: TcpStream, answers: &Answers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut out = Vec::with_capacity(1024);
    let mut body = Body::new();
    let mut filled = 0;
    loop {
        let request = match Request::parse(&buffer[..filled]).map_err(io::Error::other)? {
            Some(request) => request,
            None if filled == buffer.len() => {
                return Err(io::Error::other(Nonsense::HeadTooLong(filled)));
            }
            None => match stream.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                count => {
                    filled += count;
                    continue;
                }
            },
        };
        body.begin(request.framing);
        let rest = body
            .feed(&buffer[request.len..filled])
            .map_err(io::Error::other)?;
        buffer.copy_within(request.len + rest..filled, 0);
        filled -= request.len + rest;
        if request.wants_continue && !body.is_done() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        while !body.is_done() {
            let count = match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                count => count,
            };
            let taken = body.feed(&buffer[..count]).map_err(io::Error::other)?;
            buffer.copy_within(taken..count, 0);
            filled = count - taken;
        }
        let digest = match body.total() {
            0 => request.digest.then(b" 0"),
            length => request.digest.then(format!(" {length}").as_bytes()),
        };
        answers.write(digest, request.is_head, &mut out);
        stream.write_all(&out).await?;
        if request.is_last {
            return stream.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_and_digested() {
        let text = "POST /a?b HTTP/1.1\r\nX-Load-Mark: 00ff\r\ncontent-length: 3\r\n\r\nabc";
        let request = Request::parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(request.framing, Framing::Length(3));
        let digest = request.digest.then(b" 3").hex();
        assert_eq!(mark::digest("POST", "/a?b", "00ff", 3).as_bytes(), digest);
        assert!(Request::parse(b"GET / HTTP/1.1\r\n").unwrap().is_none());
        assert!(Request::parse(b"GET\r\n\r\n").is_err());
    }

    #[test]
    fn one_answer_of_so_many_is_wrong() {
        let answers = Answers::new(UpstreamSettings {
            body_bytes: 20,
            threads: NonZeroUsize::MIN,
            wrong_every: NonZeroU64::new(3),
        });
        let (mut out, mut right) = (Vec::new(), Vec::new());
        let digest = Digest::new();
        for _ in 0..6 {
            answers.write(digest, false, &mut out);
            let text = String::from_utf8(out.clone()).unwrap();
            let hex = String::from_utf8(digest.hex().to_vec()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert_eq!(body.len(), 20);
            right.push(head.ends_with(&hex) && body == format!("{hex}{}", &hex[..4]));
        }
        assert_eq!(right, [true, true, false, true, true, false]);
    }
}
