//! HTTP/2: each stream is a lane of its own.
//!
//! hyper makes a future of each stream and hands it to an executor, right after it has called the service for the
//! stream's request. Ours spawns it as a [`Stream`]: a task that also waits on the lane's deadlines. A stream that keeps
//! someone waiting for too long is dropped, which resets it; its neighbours do not notice. A client that does not take
//! what it asked for is found out likewise: see [`ReplyBody`].
//!
//! The connection has deadlines of its own, those of its [`ClientIo`]: idle when it has no streams, and a socket that
//! takes nothing. What is bounded here for each connection: streams at once, bytes of a head, bytes that a stream may
//! hold in either direction, and frames that bring nothing further ([`Metered`]).

use super::{Drain, End};
use crate::deadline::Wait;
use crate::gateway::{Arrival, Link, ReplyBody};
use crate::net::{self, FrameBudget, Metered};
use crate::server::client_io::{ClientIo, LINGER};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;
use tower::Service;

/// Most bytes of a request's body that may be on their way in a stream before they are read, and of an answer's that may
/// wait in it. With `limits.streams` it bounds what a connection can make us hold.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const SEND_BUFFER: usize = 64 * 1024;

pub(super) async fn serve<L>(io: ClientIo, link: Rc<Link>, drain: Drain, line: L) -> End
where
    L: Service<Arrival, Response = Response<ReplyBody>, Error = Infallible> + Clone + 'static,
{
    let limits = link.limits();
    let streams = Rc::new(Streams {
        connection: Rc::clone(&link),
        open: Cell::new(0),
        next: RefCell::new(None),
        told: Cell::new(false),
    });
    streams.wait_for_one();
    // hyper's limit on heads lies above ours, so that ours answers first; its timer is not set, ours are the deadlines.
    let head_bytes = limits.head_bytes.saturating_mul(2).max(64 * 1024);
    let frames = FrameBudget::new(
        net::End::Server,
        limits.frames.burst,
        limits.frames.interval,
        Instant::now(),
    );
    let io = Metered::new(io, frames);
    let flooded = io.flooded();
    let mut connection = pin!(
        http2::Builder::new(Lanes(Rc::clone(&streams)))
            .max_concurrent_streams(limits.streams)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .enable_connect_protocol()
            .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
            .serve_connection(
                TokioIo::new(io),
                Door {
                    streams: Rc::clone(&streams),
                    line,
                },
            )
    );
    poll_fn(|cx| {
        let deadline = link.deadline();
        link.wake_by(cx.waker());
        let mut tell = drain.is_leaving();
        match deadline.fired() {
            Some(Wait::Idle) => {
                tell = true;
                deadline.arm(Wait::Linger, LINGER);
            }
            Some(wait) => return Poll::Ready(End::Fired(wait)),
            None => {}
        }
        if tell && !streams.told.replace(true) {
            connection.as_mut().graceful_shutdown();
        }
        match connection.as_mut().poll(cx) {
            Poll::Ready(_) if flooded.is_so() => Poll::Ready(End::Flooded),
            Poll::Ready(Ok(())) => Poll::Ready(End::Closed),
            Poll::Ready(Err(error)) => Poll::Ready(End::Failed(error)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// The streams of one connection.
struct Streams {
    connection: Rc<Link>,
    open: Cell<usize>,
    /// The lane of the stream that hyper is about to hand over.
    next: RefCell<Option<Rc<Link>>>,
    /// The client was told to go, in good order.
    told: Cell<bool>,
}

impl Streams {
    fn wait_for_one(&self) {
        let idle = self.connection.timeouts().idle;
        self.connection.deadline().arm(Wait::Idle, idle);
    }

    fn begin(&self, lane: Rc<Link>) {
        self.open.set(self.open.get() + 1);
        if !self.is_over() {
            self.connection.deadline().disarm();
        }
        self.next.replace(Some(lane));
    }

    /// Whether only the client's end is waited for: that deadline is not to be lost, though a stream that came before may
    /// still begin or end. A client that was told to go may have asked for something before it heard of that: it is served.
    fn is_over(&self) -> bool {
        !self.told.get() && self.connection.deadline().waits() == Some(Wait::Linger)
    }

    fn end(&self) {
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 && !self.is_over() {
            self.wait_for_one();
        }
    }
}

/// hyper's way into the line.
struct Door<L> {
    streams: Rc<Streams>,
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
        let lane = self.streams.connection.new_lane();
        self.streams.begin(Rc::clone(&lane));
        self.line.clone().call(Arrival {
            link: lane,
            request,
        })
    }
}

/// Spawns what hyper hands over.
#[derive(Clone)]
struct Lanes(Rc<Streams>);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Lanes {
    fn execute(&self, future: F) {
        let lane = self.0.next.take();
        match lane {
            Some(lane) => {
                let held = Held {
                    streams: Rc::clone(&self.0),
                    lane: Rc::clone(&lane),
                };
                tokio::task::spawn_local(async move {
                    let held = held;
                    Stream { future, lane }.await;
                    if let Some(tunnel) = held.lane.take_tunnel() {
                        tunnel.carry_stream().await;
                    }
                    if let Some(wait) = held.lane.end_of_body().await {
                        held.lane.stream_cut(super::wait_reason(wait));
                    }
                });
            }
            // Not a stream, but what carries the bytes of one that was upgraded: it ends with that.
            None => {
                tokio::task::spawn_local(future);
            }
        }
    }
}

/// Counts a stream until it ends.
struct Held {
    streams: Rc<Streams>,
    lane: Rc<Link>,
}

impl Drop for Held {
    fn drop(&mut self) {
        // It holds the lane, which holds it.
        drop(self.lane.take_tunnel());
        self.streams.end();
    }
}

pin_project! {
    /// hyper's future of one stream, under the deadlines of its lane.
    struct Stream<F> {
        #[pin]
        future: F,
        lane: Rc<Link>,
    }
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.lane.wake_by(cx.waker());
        match this.future.poll(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => match this.lane.overdue() {
                Some(wait) => {
                    this.lane.stream_cut(super::wait_reason(wait));
                    Poll::Ready(())
                }
                None => Poll::Pending,
            },
        }
    }
}
