//! Bodies on their way: counted, watched, never collected.

use crate::config::Timeouts;
use crate::deadline::{Deadline, Wait};
use crate::http::headers::sanitize_trailers;
use crate::upstream::{AnswerBody, Lease};
use bytes::Bytes;
use http::{HeaderMap, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
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
    phase: Cell<Phase>,
    /// Who waits for more of it, to send it on.
    sender: RefCell<Option<Waker>>,
    kept: RefCell<Option<Kept>>,
}

/// Most bytes of a body that are kept until its answer begins.
const KEPT: usize = 64 * 1024;

/// What was passed on of a body whose answer has not begun, so that it can be sent again where a server has not touched it.
#[derive(Default)]
struct Kept {
    pieces: Vec<Bytes>,
    bytes: usize,
    /// What has not been passed on, as soon as who sent it has left it.
    rest: Option<Box<Streaming>>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// While this is held, what is passed on of a body may be kept.
pub(super) struct Keeping<'s>(&'s BodyState);

impl Drop for Keeping<'_> {
    fn drop(&mut self) {
        self.0.kept.take();
    }
}

/// How far the answer to a request with a body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Phase {
    /// Not begun.
    #[default]
    Unanswered,
    /// Under way.
    Answering,
    /// Given whole, before the whole request was sent, which goes on.
    Answered,
    /// Nobody waits for anything of this request any more.
    Over,
}

impl BodyState {
    /// The answer has begun: from now on its own deadline says how long the upstream is waited for, `upload` only how
    /// long the client is.
    pub(super) fn answered(&self, upload: &Deadline) {
        self.phase.set(Phase::Answering);
        self.kept.take();
        if upload.waits() == Some(Wait::Response) {
            upload.disarm();
        }
    }

    /// Allows that the body is kept.
    pub(super) fn keeping(&self) -> Keeping<'_> {
        Keeping(self)
    }

    /// From its first byte on, what is passed on is kept, as long as it is not too much.
    pub(super) fn keep(&self) {
        if self.bytes.get() == 0 {
            self.kept.borrow_mut().get_or_insert_default();
        }
    }

    fn pass_on(&self, data: &Bytes) {
        let mut kept = self.kept.borrow_mut();
        match kept.as_mut() {
            Some(some) if some.bytes + data.len() <= KEPT => {
                some.bytes += data.len();
                some.pieces.push(data.clone());
            }
            Some(_) => *kept = None,
            None => {}
        }
    }

    /// Takes back what a sender has left of the body, if it is kept.
    fn put_back(&self, stream: Box<Streaming>) {
        if let Some(kept) = self.kept.borrow_mut().as_mut() {
            kept.rest = Some(stream);
        }
    }

    /// The answer is whole, the body is not: it goes on.
    fn outlives_answer(&self, upload: &Deadline, response: Duration) {
        self.phase.set(Phase::Answered);
        if upload.waits().is_none() {
            upload.arm(Wait::Response, response);
        }
    }

    /// Whether the body goes on after its answer: what is left of it still has its deadline.
    pub fn goes_on(&self) -> bool {
        self.phase.get() == Phase::Answered && !self.finished()
    }

    /// What is left of the body is not sent: its upstream has left, or the next request has begun.
    pub fn abandon(&self) {
        self.phase.set(Phase::Over);
        if let Some(sender) = self.sender.take() {
            sender.wake();
        }
    }

    fn is_waited_for(&self, sender: &Waker) {
        let mut slot = self.sender.borrow_mut();
        if !slot.as_ref().is_some_and(|known| known.will_wake(sender)) {
            *slot = Some(sender.clone());
        }
    }

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

/// A request's body on its way up. Its trailers end here, unless they are gRPC's.
pub struct RequestBody {
    /// Boxed: a request is moved often, and most have none.
    inner: Option<Box<Streaming>>,
}

/// What takes out of trailers what must not reach an upstream.
pub(super) type TrailerRule = Box<dyn Fn(&mut HeaderMap)>;

struct Streaming {
    /// What is passed on once more.
    again: std::vec::IntoIter<Bytes>,
    incoming: Incoming,
    version: Version,
    /// `None`: trailers end here.
    trailers: Option<TrailerRule>,
    state: Rc<BodyState>,
    limit: u64,
    upload: Deadline,
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

    /// The body of a client that speaks this version, of at most `limit` bytes. Whenever the client is waited for, `upload`
    /// is armed for `body`; whenever the upstream is, before it has begun to answer, for `response`.
    pub fn streaming(
        incoming: Incoming,
        version: Version,
        state: Rc<BodyState>,
        limit: u64,
        upload: Deadline,
        body: Duration,
        response: Duration,
    ) -> Self {
        RequestBody {
            inner: Some(Box::new(Streaming {
                again: Vec::new().into_iter(),
                incoming,
                version,
                trailers: None,
                state,
                limit,
                upload,
                body,
                response,
            })),
        }
    }

    /// The same body from its beginning, if all of it that was passed on was kept and its sender has left it.
    pub(super) fn again(state: &BodyState) -> Option<Self> {
        let mut kept = state.kept.borrow_mut();
        let kept = kept.as_mut().filter(|_| state.fault().is_none())?;
        let mut stream = kept.rest.take()?;
        stream.again = kept.pieces.clone().into_iter();
        state.finished.set(false);
        Some(RequestBody {
            inner: Some(stream),
        })
    }

    /// With its trailers, but for what this rule takes out.
    pub(super) fn with_trailers(mut self, rule: TrailerRule) -> Self {
        if let Some(stream) = &mut self.inner {
            stream.trailers = Some(rule);
        }
        self
    }
}

impl Streaming {
    /// Whether nothing more will come. Over HTTP/2 the end may be a frame of its own; where the length was said, it is
    /// not waited for.
    fn is_over(&self) -> bool {
        let all = || self.incoming.size_hint().exact() == Some(0);
        let ended = self.incoming.is_end_stream() || self.trailers.is_none() && all();
        ended && self.again.len() == 0
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(stream) = self.inner.take() {
            let state = Rc::clone(&stream.state);
            state.put_back(stream);
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        // Its upstream has left. While this phase lasts the connection has no next request, whose deadline it could be.
        self.state.sender.take();
        let outlived = self.state.phase.get() == Phase::Answered;
        if self.state.goes_on() {
            self.state.abandon();
            self.upload.disarm();
        }
        if outlived {
            // A stream of HTTP/2 has waited for that.
            self.upload.wake();
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
            if stream.state.phase.get() == Phase::Over {
                return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
            }
            if let Some(data) = stream.again.next() {
                stream.state.finished.set(stream.is_over());
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            let frame = match Pin::new(&mut stream.incoming).poll_frame(cx) {
                Poll::Pending => {
                    stream.state.is_waited_for(cx.waker());
                    if stream.upload.waits() != Some(Wait::RequestBody) {
                        stream.upload.arm(Wait::RequestBody, stream.body);
                    }
                    return Poll::Pending;
                }
                Poll::Ready(frame) => frame,
            };
            let end = stream.is_over();
            match stream.state.phase.get() {
                Phase::Answering => stream.upload.disarm(),
                Phase::Answered if end || frame.is_none() => stream.upload.disarm(),
                _ => stream.upload.arm(Wait::Response, stream.response),
            }
            match frame {
                // hyper takes a stream that its client reset with CANCEL for one that ended: half a body is none.
                None if stream.version == Version::HTTP_2 && !end => {
                    stream.state.fault.set(Some(BodyFault::ClientGone));
                    return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
                }
                None => {
                    stream.state.finished.set(true);
                    return Poll::Ready(None);
                }
                Some(Err(error)) => {
                    stream.state.fault.set(Some(BodyFault::ClientGone));
                    return Poll::Ready(Some(Err(io::Error::other(error))));
                }
                Some(Ok(frame)) => {
                    let data = match frame.into_data() {
                        Ok(data) => data,
                        // The body is over after it.
                        Err(frame) => match (frame.into_trailers(), &stream.trailers) {
                            (Ok(mut trailers), Some(rule)) => {
                                rule(&mut trailers);
                                // They are not kept, so nothing is.
                                stream.state.kept.take();
                                stream.state.finished.set(true);
                                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                            }
                            (Ok(_) | Err(_), _) => continue,
                        },
                    };
                    let sum = stream.state.bytes.get() + data.len() as u64;
                    if sum > stream.limit {
                        stream.state.fault.set(Some(BodyFault::TooLarge));
                        return Poll::Ready(Some(Err(io::Error::other("body over the limit"))));
                    }
                    stream.state.bytes.set(sum);
                    stream.state.pass_on(&data);
                    stream.state.finished.set(end);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(|stream| stream.is_over())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            None => SizeHint::with_exact(0),
            Some(stream) => {
                let hint = stream.incoming.size_hint();
                let again = stream.again.as_slice().iter();
                let bytes: u64 = again.map(|data| data.len() as u64).sum();
                match hint.exact() {
                    Some(rest) => SizeHint::with_exact(rest + bytes),
                    None => hint,
                }
            }
        }
    }
}

/// An upstream's answer on its way down. Gives its connection back as soon as it ends.
pub struct ResponseBody {
    incoming: AnswerBody,
    lease: Option<Lease<RequestBody>>,
    /// How long the connection may serve another request; `None`: not at all.
    keep: Option<Keep>,
    request: Option<Rc<BodyState>>,
    deadline: Deadline,
    upload: Deadline,
    response: Duration,
    stream: Duration,
    bytes: u64,
}

/// What the server said of how long it keeps the connection, if anything.
pub(super) struct Keep(pub(super) Option<Duration>);

impl ResponseBody {
    pub(super) fn new(
        incoming: AnswerBody,
        lease: Lease<RequestBody>,
        keep: Option<Keep>,
        request: Option<Rc<BodyState>>,
        deadline: Deadline,
        upload: Deadline,
        timeouts: &Timeouts,
    ) -> Self {
        let mut body = ResponseBody {
            incoming,
            lease: Some(lease),
            keep,
            request,
            deadline,
            upload,
            response: timeouts.response,
            stream: timeouts.stream,
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
        let Some(lease) = self.lease.take() else {
            return;
        };
        match (&self.request, self.keep.take()) {
            // A connection whose request is still being sent cannot take another: it ends with that request.
            (Some(request), _) if !request.finished() => {
                request.outlives_answer(&self.upload, self.response);
                lease.let_go();
            }
            (_, Some(Keep(keep))) => lease.give_back(keep),
            (_, None) => {}
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
        if this.upload.fired().is_some() {
            // An answer that goes on does not excuse a request that does not.
            this.lease = None;
            return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
        }
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
                    let data = match frame.into_data() {
                        Ok(data) => data,
                        Err(frame) => {
                            let Ok(mut trailers) = frame.into_trailers() else {
                                continue;
                            };
                            sanitize_trailers(&mut trailers);
                            this.give_back_at_end();
                            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                        }
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
