//! `Cleared` → an answer: by the management API, or by the upstream.

use super::answer::lasts_by_its_type;
use super::metrics::Outcome;
use super::{Cleared, Exchange, Reject, ReplyBody, Request, Wish, tunnel};
use crate::clock::Timestamp;
use crate::http::AdmitError;
use crate::management::{self, Call, ContentType};
use crate::policy::{ManagementOp, Target};
use crate::proxy::{self, BodyFault, BodyState, ForwardError, Order, RequestBody};
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

pub(super) async fn dispatch(exchange: Exchange<Cleared>) -> Result<Response<ReplyBody>, Reject> {
    let Exchange {
        request,
        proof: cleared,
    } = exchange;
    let generation = Rc::clone(&request.generation);
    let route = cleared.permitted().route(&generation.snapshot.hot.policy);
    let upstream = match route.target {
        Target::Management(op) => {
            // To a client of HTTP/2 success would say that the socket is open (RFC 8441, section 5).
            if matches!(request.wish.as_deref(), Some(Wish::Stream(_))) {
                return Err(AdmitError::Method.into());
            }
            return Box::pin(manage(request, cleared, op)).await;
        }
        Target::Upstream(upstream) => &generation.upstreams[upstream],
    };
    let Request {
        headers,
        body,
        link,
        client,
        observation,
        wish,
        ..
    } = *request;
    let state = link.body_state();
    let order = Order {
        admitted: cleared.admitted(),
        route: &route.settings,
        upstream: upstream.settings(),
        key: cleared.permitted().principal().map(|p| p.record()),
        client: &client,
        request_id: observation.id(),
        version: link.version(),
        key_header: &link.context.cold.keys.header,
        timeouts: generation.timeouts(upstream.settings(), route),
        body_bytes: cleared.body_bytes(),
        deadline: &link.deadline,
        upload: &link.upload,
        body_state: &state,
        attempts: observation.attempts(),
    };
    observation.goes_up();
    link.begin_exchange(&observation);
    if lasts_by_its_type(&headers) {
        // A call of gRPC may be under way for long before the head of its answer comes.
        link.watch(&observation);
    }
    observation.sending();
    let answer = match wish {
        Some(wish) => {
            let switched = tunnel::switch(order, upstream, headers, *wish, &link, &observation);
            Box::pin(switched).await
        }
        None => proxy::forward(order, upstream, headers, body)
            .await
            .map(|answer| answer.map(ReplyBody::upstream)),
    };
    observation.sent();
    let answer = answer.map_err(|error| match (error, link.revocation()) {
        (ForwardError::Revoked, Some(why)) => Reject::Revoked(why),
        (error, _) => error.into(),
    })?;
    observation.served(Outcome::Forwarded);
    Ok(answer)
}

async fn manage(
    request: Box<Request>,
    cleared: Cleared,
    op: ManagementOp,
) -> Result<Response<ReplyBody>, Reject> {
    let Request {
        headers,
        body,
        link,
        generation,
        observation,
        ..
    } = *request;
    let state = link.body_state();
    let body = read_whole(body, &state, cleared.body_bytes(), &link, &generation).await?;
    let principal = cleared
        .permitted()
        .principal()
        .expect("management routes are never public");
    // A body may take its time: what the policy gave when it began is not what is acted on.
    let generation = link.context.generation();
    let scope = &principal.record().scope;
    if let Some(refusal) = observation.refusal(&generation.snapshot.hot.policy, Some(scope)) {
        return Err(refusal.into());
    }
    let path = cleared.admitted().path();
    let selector = match op {
        ManagementOp::Create | ManagementOp::List => None,
        ManagementOp::Get | ManagementOp::Update | ManagementOp::Delete => path.rsplit('/').next(),
    };
    let call = Call {
        op,
        selector,
        query: cleared.admitted().query(),
        content_type: ContentType::of(&headers),
        body,
        actor: principal.record().id,
        client: Some(observation.client()),
        request_id: observation.id().as_str(),
        now: Timestamp::now(),
    };
    let answer = management::answer(call, &link.context.keys, &generation.management).await?;
    observation.served(Outcome::Managed);
    let mut response = Response::new(ReplyBody::text(answer.body));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn read_whole(
    incoming: Incoming,
    state: &Rc<BodyState>,
    limit: u64,
    link: &super::Link,
    generation: &super::Generation,
) -> Result<Bytes, Reject> {
    if incoming.is_end_stream() {
        return Ok(Bytes::new());
    }
    let timeouts = generation.snapshot.hot.timeouts;
    let deadline = &link.upload;
    let body = RequestBody::streaming(
        incoming,
        link.version(),
        Rc::clone(state),
        limit,
        deadline.clone(),
        timeouts.body,
        timeouts.response,
    );
    let mut collected = pin!(body.collect());
    let collected = poll_fn(|cx| match collected.as_mut().poll(cx) {
        Poll::Pending if deadline.fired().is_some() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
        Poll::Ready(result) => Poll::Ready(Some(result)),
    })
    .await;
    deadline.disarm();
    match collected {
        Some(Ok(whole)) => Ok(whole.to_bytes()),
        None => Err(Reject::ManagementBodyTooSlow),
        Some(Err(_)) => match state.fault() {
            Some(BodyFault::TooLarge) => Err(ForwardError::BodyTooLarge.into()),
            Some(BodyFault::ClientGone) | None => Err(Reject::ManagementBody),
        },
    }
}
