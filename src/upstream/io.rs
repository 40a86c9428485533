//! The wire of an upstream connection: hyper reads and writes it, the pool may look, and who upgrades it takes it over.

use super::upstreams::Ticket;
use crate::tls::Stream;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection's bytes: hyper's end, or of one that changed its protocol, its new owner's.
pub struct UpstreamIo(Rc<Wire>, Option<Ticket>);

/// The pool's end.
#[derive(Clone)]
pub(super) struct Probe(Rc<Wire>);

struct Wire {
    stream: RefCell<Stream>,
    /// A request's borrower has it.
    lent: Cell<bool>,
    http: Cell<Http>,
    /// How often something was read, round and round.
    heard: Cell<u32>,
    /// Who waits for hyper to let go of it.
    waiting: Cell<Option<Waker>>,
    _open: Open,
}

/// How far HTTP is on a connection.
enum Http {
    Spoken,
    /// Over, in good order: these bytes were read and were not HTTP's.
    Over(Bytes),
    Failed,
}

/// Counts a connection while its socket is open.
pub(super) struct Open(Rc<Cell<u64>>);

impl Open {
    pub(super) fn count(counter: &Rc<Cell<u64>>) -> Self {
        counter.set(counter.get() + 1);
        Open(Rc::clone(counter))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl UpstreamIo {
    pub(super) fn new(stream: Stream, open: Open) -> (Self, Probe) {
        let wire = Rc::new(Wire {
            stream: RefCell::new(stream),
            lent: Cell::new(true),
            http: Cell::new(Http::Spoken),
            heard: Cell::new(0),
            waiting: Cell::new(None),
            _open: open,
        });
        (UpstreamIo(Rc::clone(&wire), None), Probe(wire))
    }
}

impl UpstreamIo {
    /// Counts the request whose connection it is by this ticket, as long as it is there.
    pub(super) fn with(mut self, ticket: Option<Ticket>) -> Self {
        self.1 = ticket;
        self
    }
}

impl Probe {
    /// Whether the connection is open and has nothing to read, at this instant, by asking the kernel.
    pub(super) fn is_quiet(&self) -> bool {
        self.0.stream.borrow().socket().is_quiet()
    }

    /// A number that is another whenever something was read.
    pub(super) fn heard(&self) -> u32 {
        self.0.heard.get()
    }

    /// Notes whether a request's borrower has the connection.
    pub(super) fn lend(&self, lent: bool) {
        self.0.lent.set(lent);
    }

    pub(super) fn is_lent(&self) -> bool {
        self.0.lent.get()
    }

    /// HTTP is over: what was read and was not HTTP's, unless it failed.
    pub(super) fn over(&self, rest: Option<Bytes>) {
        self.0.http.set(rest.map_or(Http::Failed, Http::Over));
        if let Some(waiting) = self.0.waiting.take() {
            waiting.wake();
        }
    }

    /// The connection itself, as soon as HTTP is over on it.
    pub(super) async fn take(self) -> io::Result<(UpstreamIo, Bytes)> {
        let rest = poll_fn(|cx| match self.0.http.replace(Http::Spoken) {
            Http::Spoken => {
                self.0.waiting.set(Some(cx.waker().clone()));
                Poll::Pending
            }
            Http::Over(rest) => Poll::Ready(Ok(rest)),
            Http::Failed => Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionAborted))),
        })
        .await?;
        Ok((UpstreamIo(self.0, None), rest))
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut *self.0.stream.borrow_mut()).poll_read(cx, buf);
        if polled.is_ready() {
            self.0.heard.set(self.0.heard.get().wrapping_add(1));
        }
        polled
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_shutdown(cx)
    }
}
