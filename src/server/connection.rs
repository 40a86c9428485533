//! One client connection, from its first byte to its last.

use super::client_io::ClientIo;
use crate::deadline::{Deadline, Wait};
use crate::gateway::{Arrival, Context as WorkerContext, Link, ReplyBody};
use crate::net::Socket;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use std::cell::Cell;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tower::Service;

/// Whether this worker is draining.
#[derive(Clone, Default)]
pub(super) struct Drain(Rc<Cell<bool>>);

impl Drain {
    pub(super) fn begin(&self) {
        self.0.set(true);
    }
}

/// Serves a connection until it ends.
pub(super) async fn serve<L>(
    context: Rc<WorkerContext>,
    stream: std::net::TcpStream,
    peer: IpAddr,
    drain: Drain,
    line: L,
) where
    L: Service<Arrival, Response = Response<ReplyBody>, Error = Infallible> + Clone + 'static,
{
    let Ok(stream) = tokio::net::TcpStream::from_std(stream) else {
        return context.connection_closed("io_error");
    };
    let _ = stream.set_nodelay(true);
    let (timeouts, limits) = (context.timeouts(), context.limits());
    let deadline = context.sweeper().deadline();
    let upload = context.sweeper().deadline();
    deadline.arm(Wait::Head, timeouts.head);
    let link = Rc::new(Link::new(
        Rc::clone(&context),
        peer,
        deadline.clone(),
        upload.clone(),
    ));
    let io = ClientIo::new(Socket::Tcp(stream), Rc::clone(&link), deadline.clone());
    // hyper's limits lie above ours, so that ours answer first; its timer is not set, ours are the deadlines.
    let connection = http1::Builder::new()
        .writev(false)
        .max_headers(limits.headers.saturating_add(limits.headers / 4 + 1))
        .max_buf_size(limits.head_bytes.saturating_mul(2).max(64 * 1024))
        .serve_connection(TokioIo::new(io), Door { link, line });
    let end = Serving {
        connection,
        deadline,
        upload,
        drain,
        told: false,
    }
    .await;
    match end {
        End::Closed => {}
        End::Fired(wait) => context.connection_closed(match wait {
            Wait::Head => "head_timeout",
            Wait::ClientWrite => "write_timeout",
            Wait::Linger => "linger_timeout",
            Wait::RequestBody => "body_timeout",
            Wait::Idle | Wait::Connect | Wait::Response | Wait::Stream => "timeout",
        }),
        End::Failed(error) => {
            let reason = if error.is_parse() {
                "unreadable"
            } else if error.is_incomplete_message() {
                "client_gone"
            } else if error.is_body_write_aborted() || error.is_user() {
                "answer_cut"
            } else {
                "io_error"
            };
            context.connection_closed(reason);
            if error.is_parse() {
                tracing::info!(target: "keygate::access", client = %peer, outcome = "unreadable", reason = %error, "connection");
            } else {
                tracing::debug!(client = %peer, reason, %error, "connection ended");
            }
        }
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

/// How a connection ended.
enum End {
    /// As HTTP has it.
    Closed,
    /// Someone was waited for too long.
    Fired(Wait),
    Failed(hyper::Error),
}

pin_project! {
    /// hyper's connection, under our deadlines and the drain.
    struct Serving<C> {
        #[pin]
        connection: C,
        deadline: Deadline,
        upload: Deadline,
        drain: Drain,
        told: bool,
    }
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

impl<C: Connection> Future for Serving<C> {
    type Output = End;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let mut this = self.project();
        this.deadline.wake_by(cx.waker());
        this.upload.wake_by(cx.waker());
        if this.drain.0.get() && !*this.told {
            *this.told = true;
            this.connection.as_mut().finish_and_close();
        }
        let fired = this.deadline.fired();
        match fired {
            Some(wait @ (Wait::Head | Wait::ClientWrite)) => {
                return Poll::Ready(End::Fired(wait));
            }
            Some(Wait::Idle) if !*this.told => {
                *this.told = true;
                this.connection.as_mut().finish_and_close();
            }
            // The request's own future finds what fired, and answers.
            _ => {}
        }
        match this.connection.poll(cx) {
            // Whoever lingers too long is cut off; why the connection was to end, below, is still hyper's to say.
            Poll::Ready(Ok(())) if fired == Some(Wait::Linger) => {
                Poll::Ready(End::Fired(Wait::Linger))
            }
            Poll::Ready(Ok(())) => Poll::Ready(End::Closed),
            Poll::Ready(Err(error)) => Poll::Ready(End::Failed(error)),
            // What the request's own future was asked to act on is still so: it could not, or there is none any more.
            Poll::Pending => match this.upload.fired().or_else(|| this.deadline.fired()) {
                Some(wait) if wait != Wait::Idle => Poll::Ready(End::Fired(wait)),
                _ => Poll::Pending,
            },
        }
    }
}
