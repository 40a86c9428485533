//! A connection of HTTP/2 whose frames are counted, whoever reads and writes it.

use super::frames::FrameBudget;
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads and writes `io` until the other end has overdrawn its account: then it is told to go, and reading fails.
pub struct Metered<IO> {
    io: IO,
    budget: FrameBudget,
    flooded: Flooded,
}

/// Whether a connection was ended for the frames of its other end.
#[derive(Clone, Default)]
pub struct Flooded(Rc<Cell<bool>>);

impl Flooded {
    /// Whether it was.
    pub fn is_so(&self) -> bool {
        self.0.get()
    }
}

impl<IO: AsyncWrite + Unpin> Metered<IO> {
    /// A connection with this account.
    pub fn new(io: IO, budget: FrameBudget) -> Self {
        Metered {
            io,
            budget,
            flooded: Flooded::default(),
        }
    }

    /// How it will have been.
    pub fn flooded(&self) -> Flooded {
        self.flooded.clone()
    }

    /// Says good-bye if the socket takes it: one that takes nothing is closed without a word.
    fn end(&mut self, cx: &mut Context<'_>) -> io::Error {
        if !self.flooded.0.replace(true)
            && let Some(goaway) = self.budget.goaway()
            && let Poll::Ready(Ok(_)) = Pin::new(&mut self.io).poll_write(cx, &goaway)
        {
            let _ = Pin::new(&mut self.io).poll_flush(cx);
        }
        io::Error::other("more frames that bring nothing further than are allowed")
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Metered<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.budget.is_overdrawn(Instant::now) {
            return Poll::Ready(Err(self.end(cx)));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.budget.read(&buf.filled()[before..]);
        polled
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Metered<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = &polled {
            self.budget.wrote(&buf[..*written]);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(mut written)) = polled {
            for buf in bufs {
                let part = written.min(buf.len());
                self.budget.wrote(&buf[..part]);
                written -= part;
            }
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.flooded.is_so() {
            // Nobody listens to the rest of a flood: what was said is on its way, and the socket is closed.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
