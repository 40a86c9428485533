//! A connected stream socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected stream socket.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connected socket on its way to the runtime that will have it.
#[derive(Debug)]
pub enum StdSocket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl StdSocket {
    /// The socket on the current runtime.
    ///
    /// # Errors
    /// As the system says.
    pub fn adopt(self) -> io::Result<Socket> {
        match self {
            StdSocket::Tcp(stream) => {
                let stream = TcpStream::from_std(stream)?;
                let _ = stream.set_nodelay(true);
                Ok(Socket::Tcp(stream))
            }
            StdSocket::Unix(stream) => UnixStream::from_std(stream).map(Socket::Unix),
        }
    }
}

impl Socket {
    /// Whether the connection is open and has nothing to read, at this instant, by asking the kernel.
    pub fn is_quiet(&self) -> bool {
        use rustix::net::{RecvFlags, recv};
        let mut byte = [0u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let looked = match self {
            Socket::Tcp(stream) => recv(stream, byte.as_mut_slice(), flags),
            Socket::Unix(stream) => recv(stream, byte.as_mut_slice(), flags),
        };
        matches!(looked, Err(rustix::io::Errno::AGAIN))
    }

    /// Ready when there may be something to read: bytes, the end, or a failure.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Socket::Tcp(stream) => stream.poll_read_ready(cx),
            Socket::Unix(stream) => stream.poll_read_ready(cx),
        }
        .map(|_| ())
    }

    /// Does this when there is something to read, and again whenever it would block.
    ///
    /// # Errors
    /// As `read` says.
    pub(super) async fn when_readable<T>(
        &self,
        mut read: impl FnMut(&Socket) -> io::Result<T>,
    ) -> io::Result<T> {
        use tokio::io::Interest;
        match self {
            Socket::Tcp(stream) => stream.async_io(Interest::READABLE, || read(self)).await,
            Socket::Unix(stream) => stream.async_io(Interest::READABLE, || read(self)).await,
        }
    }

    /// Adds what can be read to `bytes`, so that they are at most this many, and leaves it to be read again; how many.
    pub(super) fn peek(&self, bytes: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        use rustix::net::{RecvFlags, recv};
        let before = bytes.len();
        bytes.resize(most.max(before), 0);
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peeked = recv(self, &mut bytes[before..], flags);
        let (_, count) = peeked.unwrap_or((0, 0));
        bytes.truncate(before + count);
        peeked.map(|_| count).map_err(io::Error::from)
    }

    /// Takes so many bytes that were peeked at.
    pub(super) fn skip(&self, count: usize) -> io::Result<()> {
        use rustix::net::{RecvFlags, recv};
        let mut bytes = vec![0; count];
        let mut taken = 0;
        while taken < count {
            match recv(self, &mut bytes[taken..], RecvFlags::DONTWAIT)? {
                (_, 0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                (_, more) => taken += more,
            }
        }
        Ok(())
    }

    /// Waits for the first byte of what is to be read and leaves it there; `None` at the end.
    ///
    /// # Errors
    /// As the system says.
    pub async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut bytes = Vec::new();
        self.when_readable(|socket| socket.peek(&mut bytes, 1))
            .await?;
        Ok(bytes.first().copied())
    }

    /// From now on dropping the socket resets the connection instead of closing it in the ordinary way. A Unix socket has
    /// no resets: its peer learns nothing more.
    pub fn reset_on_drop(&self) {
        if let Socket::Tcp(stream) = self {
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Pieces that are not longer than this together are copied and sent as one: a head and its small body. Longer ones are not
/// copied.
const TOGETHER: usize = 1024;

/// These pieces as one, where that costs less than sending several.
fn joined<'b>(bufs: &'b [io::IoSlice<'_>], together: &'b mut [u8; TOGETHER]) -> Option<&'b [u8]> {
    if let [only] = bufs {
        return Some(only);
    }
    let mut length = 0;
    for piece in bufs {
        let end = length + piece.len();
        together.get_mut(length..end)?.copy_from_slice(piece);
        length = end;
    }
    Some(&together[..length])
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut together = [0; TOGETHER];
        match joined(bufs, &mut together) {
            Some(bytes) => self.poll_write(cx, bytes),
            None => match self.get_mut() {
                Socket::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
                Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            },
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket keeps nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
