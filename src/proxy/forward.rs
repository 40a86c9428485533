//! One request up, one answer down.

use super::body::Keep;
use super::replay::KeptHead;
use super::rewrite::{self, Framing};
use super::{BodyFault, BodyState, ForwardError, RequestBody, ResponseBody};
use crate::config::{HostRule, Timeouts, UpstreamSettings};
use crate::deadline::{Deadline, Wait};
use crate::http::edits::HeaderEdits;
use crate::http::grpc::is_grpc;
use crate::http::headers::{has_token, remove_unwritable};
use crate::http::{Admitted, RequestId, forwarded};
use crate::key::KeyRecord;
use crate::policy::{Retries, RouteSettings};
use crate::upstream::{
    AnswerBody, Choice, Endpoint, Lease, SendError, Unsuccessful, Upstream, Wish,
};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use std::cell::Cell;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How often a request is sent again that servers said they had not touched.
const REFUSALS: u8 = 3;

/// What is to be forwarded, with everything that was decided about it.
pub struct Order<'a> {
    /// The canonical request.
    pub admitted: &'a Admitted,
    /// The matched route's own settings.
    pub route: &'a RouteSettings,
    /// The upstream's settings.
    pub upstream: &'a UpstreamSettings,
    /// The key that was used; `None` on a public route.
    pub key: Option<&'a KeyRecord>,
    /// Who sent it.
    pub client: &'a forwarded::Client,
    /// Its id.
    pub request_id: &'a RequestId,
    /// The version of HTTP that its client speaks.
    pub version: Version,
    /// The header that carried the key.
    pub key_header: &'a HeaderName,
    /// The deadlines in force, route's and upstream's own included.
    pub timeouts: Timeouts,
    /// Most bytes of its body.
    pub body_bytes: u64,
    /// Where its waiting is noted, but for that of its body.
    pub deadline: &'a Deadline,
    /// Where the waiting of its body is noted, and until there is an answer to it, that for the answer.
    pub upload: &'a Deadline,
    /// How far its body is.
    pub body_state: &'a Rc<BodyState>,
    /// How often it was sent, counted up here: the upstream may have seen it as often, never more.
    pub attempts: &'a Cell<u8>,
}

impl Order<'_> {
    /// When it is sent again: as the route says, else the upstream.
    fn retries(&self) -> Option<&Retries> {
        let upstream = &self.upstream.balancing.retries;
        self.route.retries.as_ref().or(upstream.as_ref())
    }

    /// Sets the `Host` that only the chosen server can tell.
    pub(super) fn host_of(&self, lease: &Lease<RequestBody>, headers: &mut HeaderMap) {
        if self.upstream.host == HostRule::Upstream {
            headers.insert(header::HOST, lease.server().authority.clone());
        }
    }

    /// Ends a future with the first of the order's deadlines that fires while it waits.
    pub(super) fn within<T, F>(&self, work: F) -> Within<'_, F>
    where
        F: Future<Output = Result<T, ForwardError>>,
    {
        Within {
            inner: work,
            deadlines: [self.deadline, self.upload],
        }
    }

    /// What is edited in heads, in order: the upstream's edits, the route's over them.
    pub(super) fn edits(&self) -> impl Iterator<Item = &HeaderEdits> {
        let of_route = self.route.headers.iter().map(|edits| &**edits);
        std::iter::once(&self.upstream.headers).chain(of_route)
    }
}

/// Sends the request and gives the answer as soon as its head is there.
///
/// # Errors
/// When there is no answer, with the reason. Nothing of the request is in an error.
pub async fn forward(
    order: Order<'_>,
    upstream: &Upstream<RequestBody>,
    mut headers: HeaderMap,
    incoming: Incoming,
) -> Result<Response<ResponseBody>, ForwardError> {
    let framing = framing_of(&headers, &incoming);
    let hash = upstream.hash_of(order.key.map(|key| &key.id), &headers);
    let has_body = !incoming.is_end_stream();
    let uri = rewrite::target(order.admitted, order.route)?;
    rewrite::headers(&mut headers, &order, framing);
    let body = if has_body {
        let body = RequestBody::streaming(
            incoming,
            order.version,
            Rc::clone(order.body_state),
            order.body_bytes,
            order.upload.clone(),
            order.timeouts.body,
            order.timeouts.response,
        );
        if order.version == Version::HTTP_2 && is_grpc(&headers) {
            body.with_trailers(rewrite::trailers(&order))
        } else {
            body
        }
    } else {
        RequestBody::empty()
    };
    let mut request = Request::new(body);
    *request.method_mut() = order.admitted.method().clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    order
        .within(send(&order, upstream, hash, request, has_body))
        .await
}

/// How the client framed its body. hyper's own `GET` with a body of unknown length would lose it: said here, always.
fn framing_of(headers: &HeaderMap, incoming: &impl Body) -> Framing {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Framing::Chunked;
    }
    match incoming.size_hint().exact() {
        Some(bytes) if headers.contains_key(header::CONTENT_LENGTH) => Framing::Length(bytes),
        _ if incoming.is_end_stream() => Framing::None,
        // A length that its client does not keep to, or over HTTP/2 none, where the frames say where it ends.
        _ => Framing::Chunked,
    }
}

async fn send(
    order: &Order<'_>,
    upstream: &Upstream<RequestBody>,
    hash: Option<u64>,
    mut request: Request<RequestBody>,
    has_body: bool,
) -> Result<Response<ResponseBody>, ForwardError> {
    let replayable = !has_body && is_idempotent(order.admitted.method());
    let retries = order.retries();
    if let Some(retries) = retries {
        upstream.pay_in(retries.budget_percent);
    }
    // Times that it was sent, but for those that servers cannot have seen or an old connection lost; and where it was
    // sent in vain.
    let (mut times, mut not) = (0, None);
    let mut choice = Choice::Any;
    let mut refusals = 0;
    let _keeping = order.body_state.keeping();
    loop {
        let mut lease = lease(order, upstream, choice, hash, not).await?;
        order.host_of(&lease, request.headers_mut());
        // A request that must not be sent twice is not sent on a connection that the upstream has left.
        if lease.used() && !replayable && !lease.is_quiet() {
            continue;
        }
        times += 1;
        let again = retries.filter(|retries| replayable && times < retries.attempts);
        let twice = replayable && (lease.used() || again.is_some());
        let copy = lease.is_http2() || twice;
        let copy = copy.then(|| KeptHead::of(&request));
        if has_body {
            if lease.is_http2() {
                order.body_state.keep();
            }
            // Each piece of the body that is passed on begins the wait for the answer anew.
            order.deadline.disarm();
            order.upload.arm(Wait::Response, order.timeouts.response);
        } else {
            order.deadline.arm(Wait::Response, order.timeouts.response);
        }
        // Counted before the wait: a deadline or the client may end it.
        let attempts = order.attempts.get();
        order.attempts.set(attempts.saturating_add(1));
        let endpoint = lease.endpoint().cloned();
        let awaited = endpoint
            .as_deref()
            .map(|endpoint| Awaited { endpoint, order });
        let sent = lease.send(request).await;
        std::mem::forget(awaited);
        let cause = match sent {
            Ok(response) => {
                if let Some(endpoint) = &endpoint {
                    if order.upstream.is_failure(response.status()) {
                        endpoint.failed();
                    } else {
                        endpoint.succeeded();
                    }
                }
                let status = response.status().as_u16();
                if let (Some(retries), Some(copy)) = (again, copy)
                    && retries.on.status.contains(&status)
                    && upstream.may_retry()
                {
                    request = copy.with(RequestBody::empty());
                    not = endpoint.map(|endpoint| endpoint.id());
                    choice = Choice::Any;
                    if let Ok(answer) = answer(order, lease, response, has_body) {
                        discard(answer.into_body());
                    }
                    continue;
                }
                return answer(order, lease, response, has_body);
            }
            Err(SendError { unsent, cause }) => {
                if let Some(unsent) = unsent {
                    order.attempts.set(attempts);
                    // The connection ended between the pool's look and ours.
                    if lease.used() {
                        times -= 1;
                        order.upload.disarm();
                        request = unsent;
                        choice = Choice::New;
                        continue;
                    }
                }
                cause
            }
        };
        let used = lease.used();
        // With it goes its stream, which leaves what it has not sent of the body.
        drop(lease);
        let unprocessed = cause.is_unprocessed() && refusals < REFUSALS;
        let body = unprocessed.then(|| match has_body {
            true => RequestBody::again(order.body_state),
            false => Some(RequestBody::empty()),
        });
        match (copy, body.flatten()) {
            // The server said that it has not touched it: no second sending, whatever the request is.
            (Some(copy), Some(body)) => {
                order.attempts.set(attempts);
                order.upload.disarm();
                times -= 1;
                refusals += 1;
                request = copy.with(body);
                choice = Choice::Any;
            }
            // Sent on an old connection that ended before the head of an answer was whole: most likely, the upstream
            // had closed it.
            (Some(copy), None) if replayable && used && cause.is_end() => {
                times -= 1;
                request = copy.with(RequestBody::empty());
                choice = Choice::New;
            }
            (Some(copy), None)
                if again.is_some_and(|retries| retries.on.reset)
                    && cause.is_end()
                    && upstream.may_retry() =>
            {
                request = copy.with(RequestBody::empty());
                not = endpoint.map(|endpoint| {
                    endpoint.failed();
                    endpoint.id()
                });
                choice = Choice::Any;
            }
            _ => {
                let failure = failure(order, cause);
                if let Some(endpoint) = &endpoint
                    && failure.is_the_upstreams()
                {
                    endpoint.failed();
                }
                return Err(failure);
            }
        }
    }
}

/// A connection of the upstream. Each of its servers has the time that connecting may take.
pub(super) async fn lease(
    order: &Order<'_>,
    upstream: &Upstream<RequestBody>,
    choice: Choice,
    hash: Option<u64>,
    not: Option<u64>,
) -> Result<Lease<RequestBody>, ForwardError> {
    let wish = Wish {
        choice,
        hash,
        not,
        next: order.retries().is_none_or(|retries| retries.on.connect),
        connect: order.timeouts.connect,
        deadline: order.deadline,
    };
    Ok(upstream.lease(&wish).await?)
}

/// Reads what is there already of an answer that nobody gets: if that is all of it, its connection may serve again.
fn discard(body: ResponseBody) {
    let mut body = pin!(body);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..16 {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(None | Some(Err(_))) | Poll::Pending => return,
        }
    }
}

/// Notes what becomes of a request at a server. One that ends with the time for its answer speaks against the server; one
/// whose client leaves says nothing of it.
struct Awaited<'o> {
    endpoint: &'o Endpoint,
    order: &'o Order<'o>,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        let Order {
            deadline, upload, ..
        } = self.order;
        let fired = [deadline.fired(), upload.fired()];
        if fired.contains(&Some(Wait::Response)) {
            self.endpoint.failed();
        }
    }
}

/// RFC 9110, section 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS
    )
}

pub(super) fn failure(order: &Order<'_>, cause: Unsuccessful) -> ForwardError {
    match order.body_state.fault() {
        Some(BodyFault::TooLarge) => ForwardError::BodyTooLarge,
        Some(BodyFault::ClientGone) => ForwardError::ClientGone,
        None if cause.is_nonsense() => ForwardError::Nonsense(cause),
        None => ForwardError::BrokenOff(cause),
    }
}

pub(super) fn answer(
    order: &Order<'_>,
    lease: Lease<RequestBody>,
    response: Response<AnswerBody>,
    has_body: bool,
) -> Result<Response<ResponseBody>, ForwardError> {
    order.deadline.disarm();
    if has_body {
        order.body_state.answered(order.upload);
    }
    let (mut head, incoming) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(ForwardError::UnaskedUpgrade);
    }
    one_length(&mut head.headers)?;
    // hyper answers a version 1.0 with another, and would lose a chunked body on the next request of such a connection.
    let stays =
        head.version != Version::HTTP_10 && !has_token(&head.headers, &header::CONNECTION, "close");
    if head.version == Version::HTTP_2 {
        remove_unwritable(&mut head.headers);
    }
    head.version = Version::HTTP_11;
    let keep = keep_alive_timeout(&head.headers);
    rewrite::answer_headers(&mut head.headers, order);
    let body = ResponseBody::new(
        incoming,
        lease,
        stays.then_some(Keep(keep)),
        has_body.then(|| Rc::clone(order.body_state)),
        order.deadline.clone(),
        order.upload.clone(),
        &order.timeouts,
    );
    Ok(Response::from_parts(head, body))
}

/// Leaves an answer one length. hyper reads an answer that has both as chunked (RFC 9112, section 6.3), and would send
/// it on with the length that it did not believe; other codings than `chunked` were not asked for.
fn one_length(headers: &mut HeaderMap) -> Result<(), ForwardError> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            headers.remove(header::CONTENT_LENGTH);
            return Ok(());
        }
        _ => return Err(ForwardError::Framing),
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if only.as_bytes().iter().all(u8::is_ascii_digit) => Ok(()),
        _ => Err(ForwardError::Framing),
    }
}

/// `Keep-Alive: timeout=5`: how long the server keeps the connection.
fn keep_alive_timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers
        .get(HeaderName::from_static("keep-alive"))?
        .to_str()
        .ok()?;
    value.split(',').find_map(|part| {
        let seconds = part.trim().strip_prefix("timeout=")?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    })
}

pin_project! {
    /// Ends a future with the first deadline that fired while it waited. It is the future itself that is held, so that it
    /// is moved once only: it is the largest part of what a request needs.
    pub(super) struct Within<'d, F> {
        #[pin]
        inner: F,
        deadlines: [&'d Deadline; 2],
    }
}

impl<T, F: Future<Output = Result<T, ForwardError>>> Future for Within<'_, F> {
    type Output = Result<T, ForwardError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.inner.poll(cx) {
            Poll::Pending => match this.deadlines.iter().find_map(|deadline| deadline.fired()) {
                Some(wait) => Poll::Ready(Err(wait.into())),
                None => Poll::Pending,
            },
            ready => ready,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::{Empty, Full};

    /// A body of which nobody knows how long it is.
    struct Unknown;

    impl Body for Unknown {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            Poll::Ready(None)
        }
    }

    #[test]
    fn a_body_without_a_length_goes_up_chunked_whatever_the_method() {
        let unknown = Unknown;
        let (full, empty) = (Full::new(Bytes::from_static(b"abc")), Empty::<Bytes>::new());
        let headers = |name: Option<(HeaderName, &str)>| {
            let field = name.map(|(name, value)| (name, value.parse().expect("a value")));
            HeaderMap::from_iter(field)
        };
        let none = headers(None);
        let length = headers(Some((header::CONTENT_LENGTH, "3")));
        let chunked = headers(Some((header::TRANSFER_ENCODING, "chunked")));
        assert_eq!(framing_of(&none, &unknown), Framing::Chunked);
        assert_eq!(framing_of(&none, &empty), Framing::None);
        assert_eq!(framing_of(&length, &full), Framing::Length(3));
        assert_eq!(framing_of(&length, &empty), Framing::Length(0));
        assert_eq!(framing_of(&length, &unknown), Framing::Chunked);
        assert_eq!(framing_of(&chunked, &unknown), Framing::Chunked);
        assert_eq!(framing_of(&chunked, &empty), Framing::Chunked);
    }
}
