//! Bodies on their way: counted, watched, never collected.

use crate::deadline::{Deadline, Wait};
use crate::upstream::Lease;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// What went wrong with a request's body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyFault {
    TooLarge,
    ClientGone,
}

/// How far a request's body is; shared by all who must know.
#[derive(Debug, Default)]
pub struct BodyState {
    finished: Cell<bool>,
    fault: Cell<Option<BodyFault>>,
    bytes: Cell<u64>,
}

impl BodyState {
    /// Whether the whole body came and was passed on.
    pub fn finished(&self) -> bool {
        self.finished.get()
    }

    /// What went wrong with it, if anything.
    pub fn fault(&self) -> Option<BodyFault> {
        self.fault.get()
    }

    /// How many bytes were passed on.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }
}

/// A request's body on its way up. Trailers end here.
pub struct RequestBody {
    inner: Option<Streaming>,
}

struct Streaming {
    incoming: Incoming,
    state: Rc<BodyState>,
    limit: u64,
    deadline: Deadline,
    /// For the client to send more.
    body: Duration,
    /// For the upstream to take it, or to answer when it has all.
    response: Duration,
}

impl RequestBody {
    /// No body.
    pub fn empty() -> Self {
        RequestBody { inner: None }
    }

    /// A client's body, of at most `limit` bytes. Whenever the client is waited for, `deadline` is armed for `body`;
    /// whenever the upstream is, for `response`.
    pub fn streaming(
        incoming: Incoming,
        state: Rc<BodyState>,
        limit: u64,
        deadline: Deadline,
        body: Duration,
        response: Duration,
    ) -> Self {
        RequestBody {
            inner: Some(Streaming {
                incoming,
                state,
                limit,
                deadline,
                body,
                response,
            }),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(stream) = self.inner.as_mut() else {
            return Poll::Ready(None);
        };
        loop {
            let frame = match Pin::new(&mut stream.incoming).poll_frame(cx) {
                Poll::Pending => {
                    if stream.deadline.waits() != Some(Wait::RequestBody) {
                        stream.deadline.arm(Wait::RequestBody, stream.body);
                    }
                    return Poll::Pending;
                }
                Poll::Ready(frame) => frame,
            };
            stream.deadline.arm(Wait::Response, stream.response);
            let end = stream.incoming.is_end_stream();
            match frame {
                None => {
                    stream.state.finished.set(true);
                    return Poll::Ready(None);
                }
                Some(Err(error)) => {
                    stream.state.fault.set(Some(BodyFault::ClientGone));
                    return Poll::Ready(Some(Err(io::Error::other(error))));
                }
                Some(Ok(frame)) => {
                    // A trailer section: nothing of it goes further, and the body is over after it.
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    let sum = stream.state.bytes.get() + data.len() as u64;
                    if sum > stream.limit {
                        stream.state.fault.set(Some(BodyFault::TooLarge));
                        return Poll::Ready(Some(Err(io::Error::other("body over the limit"))));
                    }
                    stream.state.bytes.set(sum);
                    stream.state.finished.set(end);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner
            .as_ref()
            .is_none_or(|stream| stream.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            None => SizeHint::with_exact(0),
            Some(stream) => stream.incoming.size_hint(),
        }
    }
}

/// An upstream's answer on its way down. Gives its connection back as soon as it ends.
pub struct ResponseBody {
    incoming: Incoming,
    lease: Option<Lease<RequestBody>>,
    keep: Option<Duration>,
    request: Option<Rc<BodyState>>,
    deadline: Deadline,
    stream: Duration,
    bytes: u64,
}

impl ResponseBody {
    pub(super) fn new(
        incoming: Incoming,
        lease: Option<Lease<RequestBody>>,
        keep: Option<Duration>,
        request: Option<Rc<BodyState>>,
        deadline: Deadline,
        stream: Duration,
    ) -> Self {
        let mut body = ResponseBody {
            incoming,
            lease,
            keep,
            request,
            deadline,
            stream,
            bytes: 0,
        };
        body.give_back_at_end();
        body
    }

    /// How many bytes have passed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn give_back_at_end(&mut self) {
        if self.incoming.is_end_stream() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        // A connection whose request is still being sent cannot take another: it closes with its lease.
        let request_is_sent = self.request.as_ref().is_none_or(|state| state.finished());
        if let Some(lease) = self.lease.take()
            && request_is_sent
        {
            lease.give_back(self.keep);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        loop {
            let polled = Pin::new(&mut this.incoming).poll_frame(cx);
            if polled.is_pending() {
                if this.deadline.fired() == Some(Wait::Stream) {
                    this.lease = None;
                    return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
                }
                if this.deadline.waits() != Some(Wait::Stream) {
                    this.deadline.arm(Wait::Stream, this.stream);
                }
            }
            let frame = ready!(polled);
            this.deadline.disarm();
            match frame {
                None => {
                    this.give_back();
                    return Poll::Ready(None);
                }
                Some(Err(error)) => {
                    this.lease = None;
                    return Poll::Ready(Some(Err(io::Error::other(error))));
                }
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    this.bytes += data.len() as u64;
                    this.give_back_at_end();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
