//! The socket of an upstream connection, shared between hyper, which reads and writes it, and the pool, which may look.

use crate::net::Socket;
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// hyper's end.
pub(super) struct UpstreamIo(Rc<RefCell<Socket>>);

/// The pool's end.
#[derive(Clone)]
pub(super) struct Probe(Rc<RefCell<Socket>>);

impl UpstreamIo {
    pub(super) fn new(socket: Socket) -> (Self, Probe) {
        let shared = Rc::new(RefCell::new(socket));
        (UpstreamIo(Rc::clone(&shared)), Probe(shared))
    }
}

impl Probe {
    /// Whether the connection is open and has nothing to read, at this instant, by asking the kernel.
    pub(super) fn is_quiet(&self) -> bool {
        self.0.borrow().is_quiet()
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}
