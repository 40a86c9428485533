//! One client connection, from its first byte to its last.
//!
//! What a connection speaks is found out first, under the deadline for a head: in TLS it is settled in the handshake, in
//! clear text its first bytes tell ([`opening`]). Then hyper serves it, as HTTP/1.1 ([`http1`]) or as HTTP/2 ([`http2`]). Either way a request goes down the same line, in a *lane* of its own
//! ([`Link`]): an HTTP/1.1 connection is one lane, in which requests follow one another; each stream of an HTTP/2
//! connection is one. A lane has the deadlines of its request, so that what waits in one stream ends that stream alone.

mod http1;
mod http2;
mod opening;

use super::accept::Accepted;
use super::client_io::ClientIo;
use crate::deadline::Wait;
use crate::gateway::{Arrival, Context, Link, ReplyBody};
use crate::http::forwarded::Proto;
use crate::net::causes;
use crate::net::{Peer, ProxyHeaderError, Socket};
use crate::tls::{self, HandshakeError, Stream};
use bytes::Bytes;
use http::Response;
use opening::Patience;
pub(super) use opening::Spoken;
use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use tower::Service;

/// Whether this worker is draining.
#[derive(Clone, Default)]
pub(super) struct Drain(Rc<Cell<Stage>>);

/// How far a drain is.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Serving,
    /// Another process has our place: connections end with their next answer, and HTTP/2 is told to go, at which nothing
    /// is lost. An idle HTTP/1.1 connection is left alone: closed, it could meet a request that is on its way.
    Leaving,
    /// Everything ends as soon as it can.
    Ending,
}

impl Drain {
    pub(super) fn leave(&self) {
        self.0.set(Stage::Leaving);
    }

    pub(super) fn begin(&self) {
        self.0.set(Stage::Ending);
    }

    fn is_leaving(&self) -> bool {
        self.0.get() != Stage::Serving
    }

    fn has_begun(&self) -> bool {
        self.0.get() == Stage::Ending
    }
}

/// Serves a connection until it ends.
pub(super) async fn serve<L>(context: Rc<Context>, accepted: Accepted, drain: Drain, line: L)
where
    L: Service<Arrival, Response = Response<ReplyBody>, Error = Infallible> + Clone + 'static,
{
    let Accepted {
        socket,
        peer,
        listener,
    } = accepted;
    let Ok(socket) = socket.adopt() else {
        return context.connection_closed("io_error");
    };
    let proto = if listener.tls {
        Proto::Https
    } else {
        Proto::Http
    };
    let (peer, link) = match listener.proxy_protocol {
        None => (peer, Link::new(Rc::clone(&context), peer, proto)),
        Some(versions) => {
            let named = Box::pin(opening::relayed(
                &context,
                &socket,
                (peer, proto),
                versions,
                &drain,
            ));
            match named.await {
                Ok(named) => named,
                Err(end) => return report(&context, peer, end),
            }
        }
    };
    let _seat = match context.seat_connection(peer) {
        Ok(seat) => seat,
        Err(refused) => return context.connection_closed(refused.reason()),
    };
    link.deadline().arm(Wait::Head, context.timeouts().head);
    let end = speak(socket, link, drain, line).await;
    report(&context, peer, end);
}

async fn speak<L>(socket: Socket, link: Rc<Link>, drain: Drain, line: L) -> End
where
    L: Service<Arrival, Response = Response<ReplyBody>, Error = Infallible> + Clone + 'static,
{
    // Boxed, so that the connection's task is not for ever as large as a handshake of TLS.
    let opened = Box::pin(open(socket, &link, &drain)).await;
    let (stream, spoken, first) = match opened {
        Ok(opened) => opened,
        Err(end) => return end,
    };
    let io = ClientIo::new(stream, first, Rc::clone(&link), spoken);
    match spoken {
        Spoken::Http1 => http1::serve(io, link, drain, line).await,
        Spoken::Http2 => Box::pin(http2::serve(io, link, drain, line)).await,
    }
}

/// Finds out what the client speaks; with it come the bytes that were read for that.
async fn open(
    mut socket: Socket,
    link: &Rc<Link>,
    drain: &Drain,
) -> Result<(Stream, Spoken, Bytes), End> {
    let patience = Patience::new(link, drain);
    match link.proto() {
        Proto::Http => {
            let (spoken, first) = patience.wait(opening::sniff(&mut socket)).await?;
            Ok((Stream::Plain(socket), spoken, first))
        }
        Proto::Https => {
            // A configuration without certificates is refused; but never is clear text spoken in place of TLS.
            let tls = link.tls().ok_or(End::Broken)?;
            let accepted = patience.wait(tls::accept(tls.config(), socket)).await;
            let stream = accepted.map_err(|end| match end {
                End::Fired(_) => End::LateHandshake,
                other => other,
            })?;
            let spoken = match stream.alpn() {
                Some(b"h2") => Spoken::Http2,
                Some(_) | None => Spoken::Http1,
            };
            Ok((stream, spoken, Bytes::new()))
        }
    }
}

/// How a connection ended.
enum End {
    /// As HTTP has it, or before anything was said.
    Closed,
    /// Someone was waited for too long.
    Fired(Wait),
    /// A PROXY header was to come, and its peer may send none.
    NotProxy,
    /// A PROXY header was to come.
    ProxyHeader(ProxyHeaderError),
    /// The socket failed before HTTP began.
    Broken,
    /// There is no TLS with the client.
    NoTls(HandshakeError),
    /// The client took too long for its part of the handshake.
    LateHandshake,
    /// The client sent more frames that bring nothing further than it may.
    Flooded,
    Failed(hyper::Error),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        End::Broken
    }
}

impl From<HandshakeError> for End {
    fn from(error: HandshakeError) -> Self {
        End::NoTls(error)
    }
}

/// Counts an end that is not as it should be, and logs what is not HTTP.
fn report(context: &Context, peer: Peer, end: End) {
    match end {
        End::Closed => {}
        End::Broken => context.connection_closed("io_error"),
        End::NotProxy => {
            context.connection_closed("proxy_untrusted");
            tracing::info!(target: "keygate::access", client = %peer, outcome = "proxy_untrusted", "connection");
        }
        End::ProxyHeader(error) => {
            context.connection_closed("proxy_header");
            tracing::info!(target: "keygate::access", client = %peer, outcome = "proxy_header", reason = %error, "connection");
        }
        End::NoTls(error) => {
            context.connection_closed(error.reason());
            tracing::debug!(client = %peer, reason = error.reason(), error = causes(&error), "no TLS with a client");
        }
        End::Flooded => {
            context.flooded(peer);
            tracing::debug!(client = %peer, "a connection was flooded with frames that bring nothing further");
        }
        End::LateHandshake => context.connection_closed("handshake_timeout"),
        End::Fired(wait) => context.connection_closed(wait_reason(wait)),
        End::Failed(error) if h2_reason(&error) == Some(h2::Reason::ENHANCE_YOUR_CALM) => {
            context.flooded(peer);
        }
        End::Failed(error) => {
            let reason = if error.is_parse() || is_protocol_error(&error) {
                "unreadable"
            } else if error.is_incomplete_message() {
                "client_gone"
            } else if error.is_body_write_aborted() || error.is_user() {
                "answer_cut"
            } else {
                "io_error"
            };
            context.connection_closed(reason);
            if reason == "unreadable" {
                tracing::info!(target: "keygate::access", client = %peer, outcome = "unreadable", reason = %error, "connection");
            } else {
                tracing::debug!(client = %peer, reason, %error, "connection ended");
            }
        }
    }
}

fn wait_reason(wait: Wait) -> &'static str {
    match wait {
        Wait::Head => "head_timeout",
        Wait::ClientWrite => "write_timeout",
        Wait::Linger => "linger_timeout",
        Wait::RequestBody => "body_timeout",
        Wait::Revoked => "revoked",
        Wait::Idle | Wait::Queue | Wait::Connect | Wait::Response | Wait::Stream => "timeout",
    }
}

/// Whether the client broke the rules of HTTP/2 for the connection as a whole.
fn is_protocol_error(error: &hyper::Error) -> bool {
    h2_reason(error).is_some_and(|reason| reason != h2::Reason::NO_ERROR)
}

/// Why a connection of HTTP/2 was ended, by either side.
fn h2_reason(error: &hyper::Error) -> Option<h2::Reason> {
    use std::error::Error;
    let h2 = error.source()?.downcast_ref::<h2::Error>()?;
    h2.reason().filter(|_| !h2.is_io())
}
