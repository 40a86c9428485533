//! One connection of HTTP/1.1: one request after another, each sent when the answer to the last one is whole.
//!
//! A server may end a connection between two requests, by `Connection: close` or without a word; then there is a new one for
//! the next. A request that was on its way just then has no answer: it is sent again where that is harmless (RFC 9112,
//! section 9.3.1), and fails where it is not. In the middle of an answer, or on a connection that has given none, an end is a failure.
//!
//! Bytes that come while none are owed are a failure too: taken for the next answer, they would make each request's
//! answer that of the one before, which among refusals nobody could tell.
//!
//! Sending and receiving go on at the same time, so that a server that answers before it has read a body is heard. The deadline
//! costs a request no timer: one timer a connection is looked at when it fires, and set anew if what it was set for is over.

use super::answer::{Body, Framing, Head, Nonsense};
use super::connect::{Dialer, Redialled};
use super::judge::Answer;
use super::seat::{Asked, Seat};
use super::source::Ticket;
use super::tally::Failure;
use crate::tls::Stream;
use bytes::{Buf, Bytes};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What is read at once; heads must fit.
const BUFFER_BYTES: usize = 32 * 1024;

/// A connection's place, whether it is connected or not.
pub(super) struct Connection {
    stream: Option<Stream>,
    out: Vec<u8>,
    buffer: Box<[u8]>,
    filled: usize,
    body: Body,
    timer: Pin<Box<Sleep>>,
    is_timer_armed: bool,
    /// The request that this connection gave the last answer to.
    last: Option<Ticket>,
}

/// What a connection shows of itself while nothing is owed on it.
enum Idle {
    Quiet,
    /// The server has ended it.
    Ended,
    /// There are bytes that nobody asked for.
    Stray,
}

/// Why an exchange came to nothing.
enum Broken {
    Timeout,
    Closed(io::Error),
    Nonsense(Nonsense),
}

impl From<Nonsense> for Broken {
    fn from(why: Nonsense) -> Self {
        Broken::Nonsense(why)
    }
}

/// How far an exchange has got.
struct Exchange {
    /// Of the head and a small body.
    written: usize,
    /// A large body.
    body: Bytes,
    is_flushed: bool,
    /// Why nothing more can be written.
    write_failed: Option<io::Error>,
    is_head: bool,
    /// Whether anything of an answer has come.
    has_bytes: bool,
    /// The head of an answer that did not come in one piece.
    head: Option<Head>,
}

impl Exchange {
    fn new(body: Bytes, is_head: bool) -> Self {
        Exchange {
            written: 0,
            body,
            is_flushed: false,
            write_failed: None,
            is_head,
            has_bytes: false,
            head: None,
        }
    }
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        Connection {
            stream: Some(stream),
            out: Vec::with_capacity(1024),
            buffer: vec![0; BUFFER_BYTES].into(),
            filled: 0,
            body: Body::new(),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            is_timer_armed: false,
            last: None,
        }
    }

    /// Sends requests until there are none to send.
    pub(super) async fn run(mut self, seat: &Rc<Seat>, dialer: &Dialer) -> Self {
        let mut now = Instant::now();
        while let Some(turn) = seat.turn(now).await {
            let (asked, body) = seat.write(turn, &mut self.out);
            now = self.ask(seat, dialer, asked, body, now).await;
        }
        self
    }

    /// Looks, once nothing is owed any more, for bytes that belong to no answer.
    pub(super) async fn finish(mut self, seat: &Seat) {
        self.look(seat).await;
    }

    /// Drops a connection on which no request may be sent.
    async fn look(&mut self, seat: &Seat) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let mut space = ReadBuf::new(&mut self.buffer);
        let idle = poll_fn(|cx| {
            let read = Pin::new(&mut *stream).poll_read(cx, &mut space);
            Poll::Ready(match read {
                Poll::Pending => Idle::Quiet,
                Poll::Ready(Ok(())) if !space.filled().is_empty() => Idle::Stray,
                Poll::Ready(Ok(()) | Err(_)) => Idle::Ended,
            })
        });
        match idle.await {
            Idle::Quiet => return,
            Idle::Ended => {}
            Idle::Stray => {
                if let Some(last) = &self.last {
                    seat.stray(last, &Nonsense::TooMuch.to_string());
                }
            }
        }
        self.stream = None;
    }

    /// One request and its answer, if need be on a new connection; when that was over. `now` is when it was begun.
    async fn ask(
        &mut self,
        seat: &Seat,
        dialer: &Dialer,
        mut asked: Asked,
        body: Bytes,
        mut now: Instant,
    ) -> Instant {
        self.look(seat).await;
        loop {
            // In a closed loop it is sent as soon as it may be.
            let mut sent = now;
            if self.stream.is_none() {
                let until = asked.deadline(Instant::now());
                match dialer.redial(seat, until).await {
                    Redialled::Connected(stream) => self.stream = Some(stream),
                    Redialled::Late(error) => {
                        asked.failed(Failure::Connect, &error.to_string());
                        return Instant::now();
                    }
                    Redialled::Over => return Instant::now(),
                }
                self.last = None;
                sent = Instant::now();
            } else if seat.is_paced() {
                sent = Instant::now();
            }
            asked.sent(sent);
            let deadline = asked.deadline(sent);
            let mut exchange = Exchange::new(body.clone(), asked.ticket.is_head);
            self.filled = 0;
            let outcome = poll_fn(|cx| self.poll_exchange(cx, &mut exchange, deadline)).await;
            now = Instant::now();
            let broken = match outcome {
                Ok(head) => {
                    self.answered(asked, &exchange, &head, now);
                    return now;
                }
                Err(broken) => broken,
            };
            self.stream = None;
            let (failure, why) = match broken {
                Broken::Timeout => (Failure::Timeout, "no answer in time".to_owned()),
                Broken::Closed(error) => (Failure::Closed, error.to_string()),
                Broken::Nonsense(why) => (Failure::Nonsense, why.to_string()),
            };
            let was_in_use = self.last.is_some();
            if failure == Failure::Closed
                && was_in_use
                && !exchange.has_bytes
                && asked.ticket.is_idempotent
            {
                continue;
            }
            asked.failed(failure, &why);
            if !was_in_use {
                Dialer::pause().await;
                now = Instant::now();
            }
            return now;
        }
    }

    fn answered(&mut self, asked: Asked, exchange: &Exchange, head: &Head, now: Instant) {
        self.last = Some(asked.ticket);
        let (body, body_bytes) = match exchange.head {
            None => {
                let body = &self.buffer[head.len..self.filled];
                (body, body.len() as u64)
            }
            Some(_) => (self.body.kept(), self.body.total()),
        };
        let answer = Answer {
            status: head.status,
            told: head.told,
            body,
            body_bytes,
        };
        asked.answered(&answer, now);
        let is_sent = exchange.is_flushed && exchange.write_failed.is_none();
        if !head.keep_alive || !is_sent {
            self.stream = None;
        }
    }

    fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        deadline: Instant,
    ) -> Poll<Result<Head, Broken>> {
        if !exchange.is_flushed
            && exchange.write_failed.is_none()
            && let Poll::Ready(Err(error)) = self.poll_write(cx, exchange)
        {
            // What was answered before it was all sent is still to be read.
            exchange.write_failed = Some(error);
        }
        match self.poll_answer(cx, exchange) {
            Poll::Ready(answer) => return Poll::Ready(answer),
            Poll::Pending => {}
        }
        // Where it is polled once, it wakes this task when it fires.
        if !self.is_timer_armed {
            self.is_timer_armed = true;
            self.timer.as_mut().reset(deadline.into());
        } else if !self.timer.is_elapsed() {
            return Poll::Pending;
        } else if Instant::now() >= deadline {
            self.is_timer_armed = false;
            return Poll::Ready(Err(Broken::Timeout));
        } else {
            self.timer.as_mut().reset(deadline.into());
        }
        match self.timer.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                self.is_timer_armed = false;
                Poll::Ready(Err(Broken::Timeout))
            }
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
    ) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let mut stream = Pin::new(stream);
        while exchange.written < self.out.len() {
            let written = ready!(
                stream
                    .as_mut()
                    .poll_write(cx, &self.out[exchange.written..])
            )?;
            exchange.written += written;
        }
        while exchange.body.has_remaining() {
            let written = ready!(stream.as_mut().poll_write(cx, &exchange.body))?;
            exchange.body.advance(written);
        }
        ready!(stream.poll_flush(cx))?;
        exchange.is_flushed = true;
        Poll::Ready(Ok(()))
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
    ) -> Poll<Result<Head, Broken>> {
        loop {
            let Some(stream) = &mut self.stream else {
                let error = io::ErrorKind::NotConnected.into();
                return Poll::Ready(Err(Broken::Closed(error)));
            };
            let mut space = ReadBuf::new(&mut self.buffer[self.filled..]);
            let read = ready!(Pin::new(stream).poll_read(cx, &mut space));
            let count = space.filled().len();
            if let Err(error) = read {
                return Poll::Ready(Err(Broken::Closed(error)));
            }
            if count == 0 {
                return Poll::Ready(self.ended(exchange));
            }
            exchange.has_bytes = true;
            let is_over = match exchange.head {
                None => {
                    self.filled += count;
                    self.head(exchange)?
                }
                Some(head) => {
                    let end = self.filled + count;
                    let taken = self.body.feed(&self.buffer[self.filled..end])?;
                    (taken == count).then_some(()).ok_or(Nonsense::TooMuch)?;
                    self.body.is_done().then_some(head)
                }
            };
            if let Some(head) = is_over {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Looks at what came of a head; the head when the answer is whole.
    fn head(&mut self, exchange: &mut Exchange) -> Result<Option<Head>, Broken> {
        loop {
            let bytes = &self.buffer[..self.filled];
            let Some(head) = Head::parse(bytes, exchange.is_head)? else {
                if self.filled == self.buffer.len() {
                    return Err(Nonsense::HeadTooLong(self.filled).into());
                }
                return Ok(None);
            };
            if head.status < 200 {
                self.buffer.copy_within(head.len..self.filled, 0);
                self.filled -= head.len;
                continue;
            }
            let rest = &bytes[head.len..];
            if head.framing == Framing::Length(rest.len() as u64) {
                return Ok(Some(head));
            }
            self.body.begin(head.framing);
            let taken = self.body.feed(rest)?;
            if taken < rest.len() {
                return Err(Nonsense::TooMuch.into());
            }
            // From now on the whole buffer is for the body.
            self.filled = 0;
            exchange.head = Some(head);
            return Ok(self.body.is_done().then_some(head));
        }
    }

    /// The connection has ended.
    fn ended(&self, exchange: &mut Exchange) -> Result<Head, Broken> {
        match exchange.head {
            Some(head) if self.body.ends_with_connection() => Ok(head),
            _ => Err(Broken::Closed(exchange.write_failed.take().unwrap_or_else(
                || {
                    io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the connection ended before the answer did",
                    )
                },
            ))),
        }
    }
}
