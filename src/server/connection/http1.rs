//! HTTP/1.1: one lane, in which requests follow one another.
//!
//! A connection that is idle for a while *rests*: hyper's state is let go, and made anew when the client speaks again.

use super::{Drain, End};
use crate::deadline::Wait;
use crate::gateway::{Arrival, Link, ReplyBody};
use crate::server::client_io::ClientIo;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use tower::Service;

/// How many headers hyper takes where it is not told. Told, it allocates room for them by request.
const HYPERS_HEADERS: usize = 100;

pub(super) async fn serve<L>(mut io: ClientIo, link: Rc<Link>, drain: Drain, line: L) -> End
where
    L: Service<Arrival, Response = Response<ReplyBody>, Error = Infallible> + Clone + 'static,
{
    loop {
        let limits = link.limits();
        // hyper's limits lie above ours, so that ours answer first; its timer is not set, ours are the deadlines.
        let mut builder = http1::Builder::new();
        if limits.headers >= HYPERS_HEADERS {
            builder.max_headers(limits.headers + limits.headers / 4 + 1);
        }
        // On the heap, so that nothing is kept of it while the connection rests.
        let mut connection = Box::new(
            builder
                .writev(true)
                .max_buf_size(limits.head_bytes.saturating_mul(2).max(64 * 1024))
                .serve_connection(
                    TokioIo::new(io),
                    Door {
                        link: Rc::clone(&link),
                        line: line.clone(),
                    },
                ),
        );
        let pause = Serving {
            connection: Pin::new(&mut *connection),
            link: Rc::clone(&link),
            drain: drain.clone(),
            told: false,
        }
        .await;
        // Taken in any case: it holds the lane, which holds it.
        let tunnel = link.take_tunnel();
        match (pause, tunnel) {
            (Pause::Idle, _) => {
                let parts = connection.into_parts();
                io = parts.io.into_inner();
                io.unread(&parts.read_buf);
            }
            (Pause::End(End::Closed), Some(tunnel)) => {
                let parts = connection.into_parts();
                Box::pin(tunnel.carry(parts.io.into_inner(), parts.read_buf)).await;
                return End::Closed;
            }
            (Pause::End(end), _) => return end,
        }
        if !hears_more(&io, &link, &drain).await {
            // Told in TLS, too, as far as that needs no waiting.
            poll_fn(|cx| Poll::Ready(Pin::new(&mut io).poll_shutdown(cx).is_ready())).await;
            return End::Closed;
        }
    }
}

/// Rests until the client says something; whether it did. Idle connections are many: nothing is held here but the socket
/// and the lane.
async fn hears_more(io: &ClientIo, link: &Link, drain: &Drain) -> bool {
    let _resting = link.rest();
    poll_fn(|cx| {
        link.wake_by(cx.waker());
        if io.poll_heard(cx).is_ready() {
            return Poll::Ready(true);
        }
        if drain.has_begun() || link.deadline().fired().is_some() {
            return Poll::Ready(false);
        }
        Poll::Pending
    })
    .await
}

/// hyper's way into the line.
struct Door<L> {
    link: Rc<Link>,
    line: L,
}

impl<L> hyper::service::Service<Request<Incoming>> for Door<L>
where
    L: Service<Arrival, Response = Response<ReplyBody>, Error = Infallible> + Clone,
{
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = L::Future;

    fn call(&self, request: Request<Incoming>) -> L::Future {
        // The line has no state and is always ready: a copy of it is as good as the one that was asked.
        self.line.clone().call(Arrival {
            link: Rc::clone(&self.link),
            request,
        })
    }
}

/// Why hyper serves a connection no longer.
enum Pause {
    /// The client has had nothing to say for a while. What hyper still keeps by then is empty, or the beginning of a head that
    /// came with the request before it.
    Idle,
    End(End),
}

/// hyper's connection, under our deadlines and the drain.
struct Serving<'c, C> {
    connection: Pin<&'c mut C>,
    link: Rc<Link>,
    drain: Drain,
    told: bool,
}

/// What is needed of hyper's connection.
trait Connection: Future<Output = Result<(), hyper::Error>> {
    fn finish_and_close(self: Pin<&mut Self>);
}

impl<I, S> Connection for http1::Connection<I, S>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: hyper::service::HttpService<Incoming, ResBody = ReplyBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn finish_and_close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<C: Connection> Future for Serving<'_, C> {
    type Output = Pause;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Pause> {
        let this = self.get_mut();
        this.link.wake_by(cx.waker());
        if this.drain.has_begun() && !this.told {
            this.told = true;
            this.connection.as_mut().finish_and_close();
        }
        let fired = this.link.deadline().fired();
        match fired {
            Some(wait @ (Wait::Head | Wait::ClientWrite)) => {
                return Poll::Ready(Pause::End(End::Fired(wait)));
            }
            Some(Wait::Idle) if !this.told => {
                if !this.link.may_rest() {
                    this.told = true;
                    this.connection.as_mut().finish_and_close();
                } else if !this.link.has_unread_body() {
                    return Poll::Ready(Pause::Idle);
                }
            }
            // The request's own future finds what fired, and answers.
            _ => {}
        }
        let end = match this.connection.as_mut().poll(cx) {
            // Whoever lingers too long is cut off; why the connection was to end, below, is still hyper's to say.
            Poll::Ready(Ok(())) if fired == Some(Wait::Linger) => End::Fired(Wait::Linger),
            Poll::Ready(Ok(())) => End::Closed,
            Poll::Ready(Err(error)) => End::Failed(error),
            // What the request's own future was asked to act on is still so: it could not, or there is none any more.
            Poll::Pending => match this.link.overdue() {
                Some(wait) => End::Fired(wait),
                None => return Poll::Pending,
            },
        };
        Poll::Ready(Pause::End(end))
    }
}
