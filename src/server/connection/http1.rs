//! HTTP/1.1: one lane, in which requests follow one another.

use super::{Drain, End};
use crate::deadline::Wait;
use crate::gateway::{Arrival, Link, ReplyBody};
use crate::server::client_io::ClientIo;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tower::Service;

pub(super) async fn serve<L>(io: ClientIo, link: Rc<Link>, drain: Drain, line: L) -> End
where
    L: Service<Arrival, Response = Response<ReplyBody>, Error = Infallible> + Clone + 'static,
{
    let limits = link.limits();
    // hyper's limits lie above ours, so that ours answer first; its timer is not set, ours are the deadlines.
    let mut connection = http1::Builder::new()
        .writev(false)
        .max_headers(limits.headers.saturating_add(limits.headers / 4 + 1))
        .max_buf_size(limits.head_bytes.saturating_mul(2).max(64 * 1024))
        .serve_connection(
            TokioIo::new(io),
            Door {
                link: Rc::clone(&link),
                line,
            },
        );
    let end = Serving {
        connection: Pin::new(&mut connection),
        link: Rc::clone(&link),
        drain,
        told: false,
    }
    .await;
    // Taken in any case: it holds the lane, which holds it.
    let tunnel = link.take_tunnel();
    match (end, tunnel) {
        (End::Closed, Some(tunnel)) => {
            let parts = connection.into_parts();
            tunnel.carry(parts.io.into_inner(), parts.read_buf).await;
            End::Closed
        }
        (end, _) => end,
    }
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
    type Output = End;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let this = self.get_mut();
        this.link.wake_by(cx.waker());
        if this.drain.has_begun() && !this.told {
            this.told = true;
            this.connection.as_mut().finish_and_close();
        }
        let fired = this.link.deadline().fired();
        match fired {
            Some(wait @ (Wait::Head | Wait::ClientWrite)) => {
                return Poll::Ready(End::Fired(wait));
            }
            Some(Wait::Idle) if !this.told => {
                this.told = true;
                this.connection.as_mut().finish_and_close();
            }
            // The request's own future finds what fired, and answers.
            _ => {}
        }
        match this.connection.as_mut().poll(cx) {
            // Whoever lingers too long is cut off; why the connection was to end, below, is still hyper's to say.
            Poll::Ready(Ok(())) if fired == Some(Wait::Linger) => {
                Poll::Ready(End::Fired(Wait::Linger))
            }
            Poll::Ready(Ok(())) => Poll::Ready(End::Closed),
            Poll::Ready(Err(error)) => Poll::Ready(End::Failed(error)),
            // What the request's own future was asked to act on is still so: it could not, or there is none any more.
            Poll::Pending => match this.link.overdue() {
                Some(wait) => Poll::Ready(End::Fired(wait)),
                None => Poll::Pending,
            },
        }
    }
}
