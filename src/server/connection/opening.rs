//! The beginning of a connection, before it is known what it speaks.
//!
//! HTTP/2 in clear text begins with a fixed preface (RFC 9113, section 3.4) which no HTTP/1.1 request begins with. So the
//! first bytes tell; they are kept and read again by whoever serves the connection.

use super::{Drain, End};
use crate::config::ProxyProtocol;
use crate::deadline::Wait;
use crate::gateway::{Context, Link};
use crate::http::forwarded::Proto;
use crate::net::{Peer, Relayed, Socket, read_proxy_header};
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What a client begins an HTTP/2 connection with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::server) enum Spoken {
    Http1,
    Http2,
}

/// Reads as much as is needed to know what the client speaks, and gives that back, too. Nothing at all, and the end of
/// the stream in the midst of the preface, are left to HTTP/1.1 to judge.
pub(super) async fn sniff(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Spoken, Bytes)> {
    let mut first = BytesMut::with_capacity(PREFACE.len());
    loop {
        let mut rest = [0; PREFACE.len()];
        let read = stream.read(&mut rest[first.len()..]).await?;
        first.extend_from_slice(&rest[first.len()..][..read]);
        if read == 0 || !PREFACE.starts_with(&first) {
            return Ok((Spoken::Http1, first.freeze()));
        }
        if first.len() == PREFACE.len() {
            return Ok((Spoken::Http2, first.freeze()));
        }
    }
}

/// Reads for whom a peer connects, and who is the client then: its address, and the first lane.
pub(super) async fn relayed(
    context: &Rc<Context>,
    socket: &Socket,
    (peer, proto): (Peer, Proto),
    versions: ProxyProtocol,
    drain: &Drain,
) -> Result<(Peer, Rc<Link>), End> {
    if !context.may_forward(peer) {
        return Err(End::NotProxy);
    }
    let link = Link::new(Rc::clone(context), peer, proto);
    link.deadline().arm(Wait::Head, context.timeouts().head);
    let read = read_proxy_header(socket, versions);
    // What is wrong with the header is told; `Broken` is for what has no reason.
    let patience = Patience::new(&link, drain);
    let read = patience.wait(async { Ok::<_, End>(read.await) }).await?;
    let context = Rc::clone(context);
    match read.map_err(End::ProxyHeader)? {
        Relayed::For(address) => {
            let client = Peer::from(address);
            Ok((client, Link::new(context, client, proto)))
        }
        Relayed::Itself => Ok((peer, Link::new(context, peer, proto))),
        Relayed::Someone => Ok((peer, Link::of_someone(context, peer, proto))),
    }
}

/// How long is waited for what comes before HTTP: as long as the lane's deadline has it, and not at all once the worker
/// drains.
pub(super) struct Patience<'l> {
    link: &'l Rc<Link>,
    drain: &'l Drain,
}

impl<'l> Patience<'l> {
    pub(super) fn new(link: &'l Rc<Link>, drain: &'l Drain) -> Self {
        Patience { link, drain }
    }

    /// What comes of the future, or why it was given up.
    pub(super) async fn wait<T, E: Into<End>>(
        &self,
        opening: impl Future<Output = Result<T, E>>,
    ) -> Result<T, End> {
        let mut opening = pin!(opening);
        poll_fn(|cx| {
            self.link.wake_by(cx.waker());
            match opening.as_mut().poll(cx) {
                Poll::Ready(Ok(done)) => Poll::Ready(Ok(done)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
                Poll::Pending if self.drain.has_begun() => Poll::Ready(Err(End::Closed)),
                Poll::Pending => match self.link.deadline().fired() {
                    Some(_) => Poll::Ready(Err(End::Fired(Wait::Head))),
                    None => Poll::Pending,
                },
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_bytes_tell_what_is_spoken_and_are_not_lost() {
        let row = |chunks: &[&[u8]]| {
            let mut mock = tokio_test_stream(chunks);
            async move { sniff(&mut mock).await.unwrap() }
        };
        assert_eq!(
            row(&[PREFACE, b"more"]).await,
            (Spoken::Http2, Bytes::from_static(PREFACE))
        );
        assert_eq!(
            row(&[&PREFACE[..3], &PREFACE[3..20], &PREFACE[20..]]).await,
            (Spoken::Http2, Bytes::from_static(PREFACE))
        );
        for (chunks, kept) in [
            (
                &[&b"GET / HTTP/1.1\r\n"[..]][..],
                &b"GET / HTTP/1.1\r\n"[..],
            ),
            (&[b"P", b"UT / HTTP/1.1\r\n"], b"PUT / HTTP/1.1\r\n"),
            (&[b"PRI * HTTP/1.1\r\n"], b"PRI * HTTP/1.1\r\n"),
            (&[b"PRI"], b"PRI"),
            (&[], b""),
        ] {
            assert_eq!(
                row(chunks).await,
                (Spoken::Http1, Bytes::copy_from_slice(kept)),
                "{chunks:?}"
            );
        }
    }

    /// A stream that gives these pieces, one a read, and then ends.
    fn tokio_test_stream(chunks: &[&[u8]]) -> impl AsyncRead + Unpin + use<> {
        struct Pieces(std::collections::VecDeque<Vec<u8>>);
        impl AsyncRead for Pieces {
            fn poll_read(
                mut self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                buf: &mut tokio::io::ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                if let Some(mut piece) = self.0.pop_front() {
                    let fits = piece.len().min(buf.remaining());
                    buf.put_slice(&piece[..fits]);
                    if fits < piece.len() {
                        self.0.push_front(piece.split_off(fits));
                    }
                }
                Poll::Ready(Ok(()))
            }
        }
        Pieces(chunks.iter().map(|c| c.to_vec()).collect())
    }
}
