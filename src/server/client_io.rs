//! A client's connection: says on whom the connection waits, and ends it so that the client hears the answer.

use super::connection::Spoken;
use crate::deadline::{Deadline, Wait};
use crate::gateway::Link;
use crate::tls::Stream;
use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long a client that is still sending is listened to after its answer. A socket that closes with bytes unread
/// resets the connection, and the client may lose the answer that it was just sent.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// How much of a client's frames is listened to after a connection of HTTP/2 is over: somewhat more than its window lets
/// it have on their way. What comes beyond is not a client that has not heard yet.
const LINGER_BYTES: usize = 2 << 20;

/// A client's connection.
pub(super) struct ClientIo {
    stream: Stream,
    /// What was read of it already, to be read again.
    first: Bytes,
    link: Rc<Link>,
    deadline: Deadline,
    spoken: Spoken,
    /// On whom the connection waited before it waited for the client to take what was written.
    before_write: Option<Wait>,
    /// The client has sent something.
    heard: bool,
    /// Our direction is closed; the client's is read to its end.
    lingering: bool,
    /// What was read since then.
    lingered: usize,
}

impl ClientIo {
    /// A connection whose lane for itself is `link`.
    pub(super) fn new(stream: Stream, first: Bytes, link: Rc<Link>, spoken: Spoken) -> Self {
        ClientIo {
            stream,
            heard: !first.is_empty(),
            first,
            deadline: link.deadline().clone(),
            link,
            spoken,
            before_write: None,
            lingering: false,
            lingered: 0,
        }
    }

    /// Has these bytes, which were read, read again before all others. They are copied: what they lie in may be large.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        debug_assert!(self.first.is_empty(), "all of it was read before more was");
        self.first = Bytes::copy_from_slice(bytes);
    }

    /// Ready when there is something to read: bytes, the end, or a failure.
    pub(super) fn poll_heard(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.first.is_empty() {
            return Poll::Ready(());
        }
        self.stream.socket().poll_readable(cx)
    }

    /// Whether the client may still be sending what nobody will read: a refused body, or what follows an unreadable head.
    fn is_talking(&self) -> bool {
        if self.spoken == Spoken::Http2 {
            // Frames may be on their way until the client has read that none is wanted any more.
            return true;
        }
        let in_head = self.heard && self.deadline.waits() == Some(Wait::Head);
        in_head || self.link.has_unread_body()
    }

    /// Notes whether the client keeps us waiting with what we write.
    fn note_write<T>(&mut self, polled: &Poll<io::Result<T>>) {
        let waits = self.deadline.waits();
        match (polled.is_pending(), waits) {
            (true, Some(Wait::ClientWrite)) | (false, None) => {}
            // A client that has begun a head, or was told to go, gets no other deadline by not listening.
            (true, Some(Wait::Head | Wait::Linger)) => {}
            // A request is on its way, and whoever it waits on has a deadline that must not be lost.
            (true, Some(Wait::Queue | Wait::Connect | Wait::Response)) => {}
            (true, before) => {
                self.before_write = before;
                self.deadline
                    .arm(Wait::ClientWrite, self.link.timeouts().body);
            }
            (false, Some(Wait::ClientWrite)) => match self.before_write.take() {
                Some(Wait::Idle) => self.link.wait_for_next(self.link.timeouts().idle),
                Some(Wait::Stream) => self.deadline.arm(Wait::Stream, self.link.timeouts().stream),
                _ => self.deadline.disarm(),
            },
            (false, Some(_)) => {}
        }
    }
}

impl Drop for ClientIo {
    fn drop(&mut self) {
        if self.link.is_cut() {
            // Closed in the ordinary way, half an answer would look whole.
            self.stream.reset_on_drop();
        }
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = if self.first.is_empty() {
            Pin::new(&mut self.stream).poll_read(cx, buf)
        } else {
            let fits = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first.split_to(fits));
            Poll::Ready(Ok(()))
        };
        // What is read again counts too: the beginning of a head that came before the last answer was gone.
        if buf.filled().len() > before {
            self.heard = true;
            // Over HTTP/2 a request that begins is told by hyper; bytes alone may be anything.
            if self.spoken == Spoken::Http1
                && self.deadline.waits() == Some(Wait::Idle)
                && !self.link.body_goes_on()
            {
                self.deadline.arm(Wait::Head, self.link.timeouts().head);
            }
        }
        polled
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note_write(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note_write(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS may still hold what was written.
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.note_write(&polled);
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.lingering {
            let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
            self.note_write(&polled);
            ready!(polled)?;
            if !self.is_talking() {
                return Poll::Ready(Ok(()));
            }
            self.lingering = true;
            self.deadline.arm(Wait::Linger, LINGER);
        }
        if self.deadline.fired() == Some(Wait::Linger) {
            return Poll::Ready(Ok(()));
        }
        let mut scratch = [0u8; 16 * 1024];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            let read = buf.filled().len();
            self.lingered += read;
            let floods = self.spoken == Spoken::Http2 && self.lingered > LINGER_BYTES;
            if read == 0 || floods {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
