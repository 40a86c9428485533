//! Bytes both ways, after a connection has left HTTP for WebSocket.
//!
//! Each way reads only what the other side can take, so whoever is slow slows down whoever sends; an idle tunnel holds no
//! buffer. The end of one way is passed on and the other goes on, until both have ended. Whoever owns a [`Tunnel`] polls
//! it, watches that something moves, and may [`close`](Tunnel::close) it.

use super::websocket::{Frames, close_frame};
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that are read at a time.
const PIECE: usize = 16 * 1024;

/// How many pieces go each way before other tasks have their turn.
const TURN: usize = 16;

/// Two streams of bytes, joined.
pub struct Tunnel<C, U> {
    client: C,
    upstream: U,
    up: Way,
    down: Way,
    frames: Frames,
    closing: bool,
}

/// One way through the tunnel.
struct Way {
    /// Read and not yet written.
    held: BytesMut,
    state: State,
    bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    /// Nothing more will be read; what is held is written, then the end passed on.
    Ending,
    Ended,
}

impl Way {
    fn beginning_with(first: Bytes) -> Self {
        Way {
            held: BytesMut::from(first),
            state: State::Open,
            bytes: 0,
        }
    }
}

impl<C, U> Tunnel<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    /// Joins a client and an upstream; of both, some bytes may have been read already.
    pub fn new(client: (C, Bytes), upstream: (U, Bytes)) -> Self {
        Tunnel {
            client: client.0,
            upstream: upstream.0,
            up: Way::beginning_with(client.1),
            down: Way::beginning_with(upstream.1),
            frames: Frames::default(),
            closing: false,
        }
    }

    /// How many bytes have passed to the upstream, and to the client.
    pub fn passed(&self) -> (u64, u64) {
        (self.up.bytes, self.down.bytes)
    }

    /// Ends the tunnel: nothing of the client goes up any more; the client gets the rest of the frame that it is in the
    /// midst of, then a close frame with this code, then the end.
    pub fn close(&mut self, code: u16) {
        if self.closing {
            return;
        }
        self.closing = true;
        self.up.held.clear();
        if self.down.state == State::Open {
            let rest = self.frames.left_of_frame(&self.down.held);
            self.down.held.truncate(rest);
            self.end_if_between(code);
        }
    }

    /// Carries what there is to carry. Ready when both ways have ended; after [`Tunnel::close`], when the client has been
    /// told and has ended its own way.
    ///
    /// # Errors
    /// When either side fails.
    pub fn poll_carry(&mut self, cx: &mut Context<'_>, code: u16) -> Poll<io::Result<()>> {
        let mut scratch = [MaybeUninit::uninit(); PIECE];
        let up = if self.closing {
            self.poll_discard(cx, &mut scratch)
        } else {
            poll_way(
                cx,
                (&mut self.client, &mut self.upstream),
                &mut self.up,
                &mut scratch,
                |_| {},
            )
        };
        let down = if self.closing {
            self.poll_last_frame(cx, &mut scratch, code)
        } else {
            let frames = &mut self.frames;
            poll_way(
                cx,
                (&mut self.upstream, &mut self.client),
                &mut self.down,
                &mut scratch,
                |bytes| frames.pass(bytes),
            )
        };
        match (up, down) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            _ => Poll::Pending,
        }
    }

    /// Once the frame in hand is held whole, the close frame follows it, and nothing else.
    fn end_if_between(&mut self, code: u16) {
        let mut ahead = self.frames.clone();
        ahead.pass(&self.down.held);
        if ahead.is_between() {
            self.down.held.extend_from_slice(&close_frame(code));
            self.down.state = State::Ending;
        }
    }

    /// The client is listened to until it has ended its way, so that it hears what it is told.
    fn poll_discard(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [MaybeUninit<u8>; PIECE],
    ) -> Poll<io::Result<()>> {
        for _ in 0..TURN {
            let mut buf = ReadBuf::uninit(scratch);
            ready!(Pin::new(&mut self.client).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_last_frame(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [MaybeUninit<u8>; PIECE],
        code: u16,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.down.state != State::Ended && !self.down.held.is_empty() {
                let written = ready!(Pin::new(&mut self.client).poll_write(cx, &self.down.held))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.frames.pass(&self.down.held[..written]);
                self.down.held.advance(written);
                self.down.bytes += written as u64;
            }
            match self.down.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Ending => {
                    ready!(Pin::new(&mut self.client).poll_shutdown(cx))?;
                    self.down.state = State::Ended;
                }
                State::Open => {
                    let mut buf = ReadBuf::uninit(scratch);
                    ready!(Pin::new(&mut self.upstream).poll_read(cx, &mut buf))?;
                    if buf.filled().is_empty() {
                        self.down.state = State::Ending;
                        continue;
                    }
                    let rest = self.frames.left_of_frame(buf.filled());
                    self.down.held.extend_from_slice(&buf.filled()[..rest]);
                    self.end_if_between(code);
                }
            }
        }
    }
}

/// Carries one way as far as it goes. `passed` sees all that was written.
fn poll_way<R, W>(
    cx: &mut Context<'_>,
    (from, to): (&mut R, &mut W),
    way: &mut Way,
    scratch: &mut [MaybeUninit<u8>; PIECE],
    mut passed: impl FnMut(&[u8]),
) -> Poll<io::Result<()>>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    for _ in 0..TURN {
        while !way.held.is_empty() {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &way.held))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            passed(&way.held[..written]);
            way.held.advance(written);
            way.bytes += written as u64;
        }
        match way.state {
            State::Ended => return Poll::Ready(Ok(())),
            State::Ending => {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                way.state = State::Ended;
            }
            State::Open => {
                let mut buf = ReadBuf::uninit(scratch);
                match Pin::new(&mut *from).poll_read(cx, &mut buf) {
                    Poll::Ready(result) => result?,
                    Poll::Pending => {
                        // What was written may still be on this side of TLS.
                        ready!(Pin::new(&mut *to).poll_flush(cx))?;
                        if way.held.capacity() > 0 {
                            way.held = BytesMut::new();
                        }
                        return Poll::Pending;
                    }
                }
                let read = buf.filled();
                if read.is_empty() {
                    way.state = State::Ending;
                    continue;
                }
                let written = match Pin::new(&mut *to).poll_write(cx, read) {
                    Poll::Ready(written) => written?,
                    Poll::Pending => 0,
                };
                passed(&read[..written]);
                way.bytes += written as u64;
                way.held.extend_from_slice(&read[written..]);
            }
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::pin::pin;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const CODE: u16 = 1008;

    fn joined(
        capacity: usize,
    ) -> (
        Tunnel<DuplexStream, DuplexStream>,
        DuplexStream,
        DuplexStream,
    ) {
        let (client, ours) = duplex(capacity);
        let (theirs, upstream) = duplex(capacity);
        let tunnel = Tunnel::new((ours, Bytes::new()), (theirs, Bytes::new()));
        (tunnel, client, upstream)
    }

    /// Polls the tunnel beside the test.
    async fn beside<T>(
        tunnel: &mut Tunnel<DuplexStream, DuplexStream>,
        test: impl Future<Output = T>,
    ) -> T {
        let mut test = pin!(test);
        poll_fn(|cx| {
            let _ = tunnel.poll_carry(cx, CODE);
            test.as_mut().poll(cx)
        })
        .await
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_and_the_end_of_one_way_leaves_the_other() {
        let (mut tunnel, mut client, mut upstream) = joined(64);
        beside(&mut tunnel, async {
            client.write_all(b"ping").await.unwrap();
            let mut four = [0; 4];
            upstream.read_exact(&mut four).await.unwrap();
            assert_eq!(&four, b"ping");
            client.shutdown().await.unwrap();
            assert_eq!(upstream.read(&mut four).await.unwrap(), 0);
            upstream.write_all(b"pong").await.unwrap();
            client.read_exact(&mut four).await.unwrap();
            assert_eq!(&four, b"pong");
            upstream.shutdown().await.unwrap();
            assert_eq!(client.read(&mut four).await.unwrap(), 0);
        })
        .await;
        poll_fn(|cx| tunnel.poll_carry(cx, CODE)).await.unwrap();
        assert_eq!(tunnel.passed(), (4, 4));
    }

    #[tokio::test]
    async fn whoever_does_not_read_stops_whoever_writes() {
        let (mut tunnel, client, mut upstream) = joined(64);
        let written = beside(&mut tunnel, async {
            let mut written = 0;
            for _ in 0..10_000 {
                match tokio::time::timeout(
                    std::time::Duration::from_millis(20),
                    upstream.write(&[0; 64]),
                )
                .await
                {
                    Ok(n) => written += n.unwrap(),
                    Err(_) => break,
                }
            }
            written
        })
        .await;
        assert!(written <= 64 * 2 + PIECE, "{written}");
        drop(client);
    }

    #[tokio::test]
    async fn a_close_comes_after_the_frame_in_hand_and_nothing_after_it() {
        // A frame of five bytes, of which three have come, and another behind it.
        let whole = [0x82, 5, 1, 2, 3, 4, 5];
        for before in [0, 1, 2, 5, 7] {
            let (mut tunnel, mut client, mut upstream) = joined(64);
            let mut heard = vec![0; before];
            beside(&mut tunnel, async {
                upstream.write_all(&whole[..before]).await.unwrap();
                client.read_exact(&mut heard).await.unwrap();
            })
            .await;
            tunnel.close(CODE);
            beside(&mut tunnel, async {
                client.write_all(b"late").await.unwrap();
                let _ = upstream.write_all(&whole[before..]).await;
                let _ = upstream.write_all(&whole).await;
                client.read_to_end(&mut heard).await.unwrap();
                client.shutdown().await.unwrap();
            })
            .await;
            let mut expected = if before == 0 { vec![] } else { whole.to_vec() };
            expected.extend([0x88, 2, 3, 0xF0]);
            assert_eq!(heard, expected, "{before}");
            poll_fn(|cx| tunnel.poll_carry(cx, CODE)).await.unwrap();
            drop(tunnel);
            let mut up = Vec::new();
            upstream.read_to_end(&mut up).await.unwrap();
            assert_eq!(up, b"", "{before}: nothing of the client went up");
        }
    }
}
