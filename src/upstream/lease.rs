//! What is lent for one request: a connection, or a stream on one.

use super::endpoint::Endpoint;
use super::http1::Http1;
use super::http2::{self, Place, Receiving, Unanswered};
use super::io::UpstreamIo;
use super::server_pool::{Idle, ServerPool};
use super::upstreams::Ticket;
use crate::config::UpstreamServer;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A connection, or a stream on one, on loan for one request. Dropped, it closes, or is reset.
pub struct Lease<B> {
    over: Over<B>,
    pool: Rc<ServerPool<B>>,
    used: bool,
    /// By which the request is counted, where it is.
    ticket: Option<Ticket>,
}

/// What the request goes over.
pub(super) enum Over<B> {
    Http1(Http1<B>),
    Http2(Place<B>),
}

/// Why a request that was lent a connection was not answered.
#[derive(Debug, thiserror::Error)]
pub enum Unsuccessful {
    #[error(transparent)]
    Http1(hyper::Error),
    #[error(transparent)]
    Http2(h2::Error),
    #[error("the request's head cannot be one of HTTP/2")]
    Unfit,
}

impl Unsuccessful {
    /// Whether the server has certainly not processed the request, whatever it was.
    pub fn is_unprocessed(&self) -> bool {
        match self {
            Unsuccessful::Http1(_) => false,
            Unsuccessful::Http2(error) => http2::is_refused(error) || http2::wants_http1(error),
            Unsuccessful::Unfit => true,
        }
    }

    /// Whether the connection ended before the head of an answer was whole: the server may have left it before it saw
    /// the request.
    pub fn is_end(&self) -> bool {
        match self {
            Unsuccessful::Http1(error) => {
                error.is_incomplete_message()
                    || error.is_closed()
                    || error.is_canceled()
                    || is_reset(error)
            }
            Unsuccessful::Http2(error) => error.is_io(),
            Unsuccessful::Unfit => false,
        }
    }

    /// Whether what the server sent is not HTTP.
    pub fn is_nonsense(&self) -> bool {
        match self {
            Unsuccessful::Http1(error) => error.is_parse(),
            // What we found wrong ourselves.
            Unsuccessful::Http2(error) => error.is_library(),
            Unsuccessful::Unfit => false,
        }
    }
}

fn is_reset(error: &hyper::Error) -> bool {
    use std::error::Error;
    use std::io::ErrorKind;
    error
        .source()
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|io| {
            matches!(
                io.kind(),
                ErrorKind::ConnectionReset
                    | ErrorKind::BrokenPipe
                    | ErrorKind::ConnectionAborted
                    // TLS without the alert that ends it, as many servers leave.
                    | ErrorKind::UnexpectedEof
            )
        })
}

/// Why there is no answer, and the request where nothing of it was sent.
pub struct SendError<B> {
    pub unsent: Option<Request<B>>,
    pub cause: Unsuccessful,
}

impl<B> Lease<B> {
    pub(super) fn new(over: Over<B>, pool: Rc<ServerPool<B>>, used: bool) -> Self {
        Lease {
            over,
            pool,
            used,
            ticket: None,
        }
    }

    /// Counts the request by this ticket, as long as it has the connection.
    pub(super) fn with(mut self, ticket: Ticket) -> Self {
        self.ticket = Some(ticket);
        self
    }

    /// Where the request is, if what becomes of it there is counted.
    pub fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        self.ticket.as_ref().map(Ticket::endpoint)
    }

    /// Whether the connection has served a request before.
    pub fn used(&self) -> bool {
        self.used
    }

    /// Whether the request is one of several on its connection, each with an end of its own.
    pub fn is_http2(&self) -> bool {
        match self.over {
            Over::Http1(_) => false,
            Over::Http2(_) => true,
        }
    }

    /// The server that it leads to.
    pub fn server(&self) -> &UpstreamServer {
        self.pool.server()
    }

    /// Whether the connection is open and silent at this instant, by asking the kernel.
    pub fn is_quiet(&self) -> bool {
        match &self.over {
            Over::Http1(connection) => connection.probe.is_quiet(),
            Over::Http2(place) => place.is_quiet(),
        }
    }

    /// The connection itself, and what was read of it already, after an answer whose status was 101: HTTP/1.1 is over on
    /// it.
    ///
    /// # Errors
    /// When the connection broke, or is one of HTTP/2, which has no such answer.
    pub async fn into_upgraded(self) -> io::Result<(UpstreamIo, Bytes)> {
        match self.over {
            Over::Http1(Http1 {
                probe,
                sender,
                driver,
            }) => {
                let taken = probe.take().await;
                drop((sender, driver));
                let (io, read) = taken?;
                Ok((io.with(self.ticket), read))
            }
            Over::Http2(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Leaves the connection, or the stream, to the request that is still being sent on it.
    pub fn let_go(self) {
        match self.over {
            Over::Http1(mut connection) => connection.driver.let_go(),
            Over::Http2(place) => place.let_go(),
        }
    }
}

impl<B: Body<Data = Bytes> + 'static> Lease<B>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Sends the request and waits for the head of its answer.
    ///
    /// # Errors
    /// When there is none.
    pub async fn send(&mut self, request: Request<B>) -> Result<Response<AnswerBody>, SendError<B>>
    where
        B: Unpin,
    {
        match &mut self.over {
            Over::Http1(connection) => match connection.sender.try_send_request(request).await {
                Ok(answer) => Ok(answer.map(AnswerBody::Http1)),
                Err(mut error) => Err(SendError {
                    unsent: error.take_message(),
                    cause: Unsuccessful::Http1(error.into_error()),
                }),
            },
            Over::Http2(place) => {
                // Boxed: it is larger than what a request over HTTP/1.1 needs.
                let sending = Box::pin(place.send(request, self.pool.uri_scheme()));
                let (unsent, cause) = match sending.await {
                    Ok(answer) => return Ok(answer.map(AnswerBody::Http2)),
                    Err(Unanswered::Unsent(request, error)) => {
                        (Some(*request), Unsuccessful::Http2(error))
                    }
                    Err(Unanswered::Failed(error)) => {
                        if http2::wants_http1(&error) {
                            self.pool.require_http1();
                        }
                        (None, Unsuccessful::Http2(error))
                    }
                    Err(Unanswered::Unfit) => (None, Unsuccessful::Unfit),
                };
                Err(SendError { unsent, cause })
            }
        }
    }

    /// Returns the connection for the next request; `keep` is how long the server said that it keeps it.
    pub fn give_back(self, keep: Option<std::time::Duration>) {
        match self.over {
            Over::Http1(connection) => {
                connection.probe.lend(false);
                let until = self.pool.until(keep);
                self.pool.put_back(Idle { connection, until });
            }
            // Others are on it, and it was never away.
            Over::Http2(_) => {}
        }
    }
}

/// An answer's body, as it comes from the server.
pub enum AnswerBody {
    Http1(Incoming),
    Http2(Receiving),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            AnswerBody::Http1(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(Into::into))),
            AnswerBody::Http2(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(Into::into))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            AnswerBody::Http1(body) => body.is_end_stream(),
            AnswerBody::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Http1(body) => body.size_hint(),
            AnswerBody::Http2(body) => body.size_hint(),
        }
    }
}
