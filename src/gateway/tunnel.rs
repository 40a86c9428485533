//! An exchange that has left HTTP: bytes both ways, until either side ends it, nothing moves for too long, or it is
//! permitted no longer.

use super::metrics::Outcome;
use super::observe::Observation;
use super::upgrade::Wish;
use super::{Link, ReplyBody};
use crate::deadline::Wait;
use crate::proxy::{self, ForwardError, Handshake, Order, RequestBody, Switched};
use crate::upstream::{Upstream, UpstreamIo};
use bytes::Bytes;
use http::{HeaderMap, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Policy violation (RFC 6455, section 7.4.1).
const POLICY_VIOLATION: u16 = 1008;

/// How long a client has to hear that its tunnel ends.
const FAREWELL: Duration = Duration::from_millis(500);

/// A tunnel whose upstream end is there. The client's end is the connection or the stream that its answer went out on.
pub struct Tunnel {
    upstream: (UpstreamIo, Bytes),
    stream: Option<OnUpgrade>,
    /// Ends with the tunnel: then it is counted and logged.
    observation: Rc<Observation>,
    idle: Duration,
}

impl Tunnel {
    /// Carries bytes between the upstream and the stream of HTTP/2 that the answer was sent on.
    pub async fn carry_stream(mut self) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        // Not there when the client left before it had the answer.
        if let Ok(upgraded) = stream.await {
            self.carry(TokioIo::new(upgraded), Bytes::new()).await;
        }
    }

    /// Carries bytes between the upstream and this client, of whom some were read already, until the tunnel ends.
    pub async fn carry(self, client: impl AsyncRead + AsyncWrite + Unpin, first: Bytes) {
        let observation = self.observation;
        let link = Rc::clone(observation.link());
        let deadline = link.deadline();
        let mut tunnel = proxy::Tunnel::new((client, first), self.upstream);
        deadline.arm(Wait::Stream, self.idle);
        let mut farewell = None;
        let ended: Result<(), End> = poll_fn(|cx| {
            link.wake_by(cx.waker());
            if farewell.is_none()
                && let Some(why) = link.revocation()
            {
                farewell = Some(why);
                tunnel.close(POLICY_VIOLATION);
                deadline.renew();
                deadline.arm(Wait::Linger, FAREWELL);
            }
            let before = tunnel.passed();
            let polled = tunnel.poll_carry(cx, POLICY_VIOLATION);
            let (up, down) = tunnel.passed();
            if (up, down) != before {
                observation.passed(down - before.1);
                if deadline.waits() == Some(Wait::Stream) {
                    deadline.arm(Wait::Stream, self.idle);
                }
            }
            match polled {
                Poll::Ready(result) => Poll::Ready(result.map_err(End::Broken)),
                Poll::Pending => match deadline.fired() {
                    Some(Wait::Revoked) | None => Poll::Pending,
                    Some(wait) => Poll::Ready(Err(End::Overdue(wait))),
                },
            }
        })
        .await;
        match (farewell, ended) {
            (Some(why), _) => observation.refused(Outcome::Revoked, why.of_a_tunnel()),
            (None, Ok(())) => {}
            (None, Err(End::Broken(error))) => {
                tracing::debug!(id = observation.id().as_str(), %error, "a tunnel broke");
            }
            (None, Err(End::Overdue(Wait::ClientWrite))) => {
                observation.refused(Outcome::ClientGone, "tunnel_stalled");
            }
            (None, Err(End::Overdue(_))) => observation.refused(Outcome::Forwarded, "tunnel_idle"),
        }
        // The client's end is not idle for a next request: there is none.
        drop(tunnel);
    }
}

/// How a tunnel ended before both sides had.
enum End {
    Broken(io::Error),
    Overdue(Wait),
}

/// A request for WebSocket goes up; what comes of it is the exchange's answer.
pub(super) async fn switch(
    order: Order<'_>,
    upstream: &Upstream<RequestBody>,
    headers: HeaderMap,
    wish: Wish,
    link: &Link,
    observation: &Rc<Observation>,
) -> Result<Response<ReplyBody>, ForwardError> {
    let idle = order.timeouts.stream;
    match proxy::switch(order, upstream, headers, handshake(&wish)).await? {
        Switched::No(answer) => Ok((*answer).map(ReplyBody::upstream)),
        Switched::Yes(head, upstream) => {
            link.dig(Tunnel {
                upstream,
                stream: match wish {
                    Wish::Connection => None,
                    Wish::Stream(stream) => Some(stream),
                },
                observation: Rc::clone(observation),
                idle,
            });
            link.context.watch(observation);
            Ok(Response::from_parts(*head, ReplyBody::text("")))
        }
    }
}

/// Whose handshake the upstream is to answer.
fn handshake(wish: &Wish) -> Handshake {
    match wish {
        Wish::Connection => Handshake::Clients,
        Wish::Stream(_) => Handshake::Ours,
    }
}
