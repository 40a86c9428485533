//! `Cleared` → an answer: by the management API, or by the upstream.

use super::answer::lasts_by_its_type;
use super::metrics::Outcome;
use super::{Cleared, Exchange, Reject, ReplyBody, Wish, tunnel};
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

pub(super) async fn dispatch(
    mut exchange: Exchange<Cleared>,
) -> Result<Response<ReplyBody>, Reject> {
    let wish = exchange.wish.take();
    let headers = std::mem::take(&mut exchange.headers);
    let lasts = lasts_by_its_type(&headers);
    let generation = Rc::clone(&exchange.generation);
    let route = exchange
        .proof
        .permitted()
        .route(&generation.snapshot.hot.policy);
    match route.target {
        Target::Management(op) => {
            // To a client of HTTP/2 success would say that the socket is open (RFC 8441, section 5).
            if matches!(wish.as_deref(), Some(Wish::Stream(_))) {
                return Err(AdmitError::Method.into());
            }
            exchange.headers = headers;
            manage(exchange, op).await
        }
        Target::Upstream(upstream) => {
            let upstream = &generation.upstreams[upstream];
            let cleared = &exchange.proof;
            let state = exchange.link.body().unwrap_or_default();
            let order = Order {
                admitted: cleared.admitted(),
                route: &route.settings,
                upstream: upstream.settings(),
                key: cleared.permitted().principal().map(|p| p.record()),
                client: &exchange.client,
                request_id: exchange.observation.id(),
                version: exchange.link.version(),
                key_header: &exchange.link.context.cold.keys.header,
                timeouts: generation.timeouts(upstream.settings(), route),
                body_bytes: cleared.body_bytes(),
                deadline: &exchange.link.deadline,
                upload: &exchange.link.upload,
                body_state: &state,
                attempts: exchange.observation.attempts(),
            };
            let (observation, link) = (&exchange.observation, &exchange.link);
            link.begin_exchange(observation);
            if lasts {
                // A call of gRPC may be under way for long before the head of its answer comes.
                link.watch(observation);
            }
            observation.sending();
            let answer = match wish {
                Some(wish) => {
                    tunnel::switch(order, upstream, headers, *wish, link, observation).await
                }
                None => proxy::forward(order, upstream, headers, exchange.body)
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
    }
}

async fn manage(
    exchange: Exchange<Cleared>,
    op: ManagementOp,
) -> Result<Response<ReplyBody>, Reject> {
    let Exchange {
        headers,
        body,
        link,
        generation,
        observation,
        proof: cleared,
        ..
    } = exchange;
    let state = link.body().unwrap_or_default();
    let body = read_whole(body, &state, cleared.body_bytes(), &link, &generation).await?;
    let principal = cleared
        .permitted()
        .principal()
        .expect("management routes are never public");
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
