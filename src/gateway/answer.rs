//! The one place where refusals become HTTP, and where every answer gets what all answers have.

use super::decisions::Refused;
use super::observe::{Head, Observation};
use super::{Exchange, Reject, ReplyBody};
use crate::gateway::generation::Generation;
use crate::http::cors::{self, Cors};
use crate::http::grpc;
use crate::management::ManagementError;
use crate::policy::RouteCors;
use crate::proxy::REQUEST_ID;
use http::{HeaderValue, Response, StatusCode, Version, header};
use pin_project_lite::pin_project;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower::Service;

/// The layer under `Observe`.
#[derive(Clone)]
pub(super) struct Answer<S>(pub(super) S);

impl<S> Service<Exchange<Head>> for Answer<S>
where
    S: Service<Exchange<Head>, Response = Response<ReplyBody>, Error = Reject>,
{
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = AnswerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match ready!(self.0.poll_ready(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(_) => unreachable!("no step of the line waits to be ready, so none can fail at it"),
        }
    }

    fn call(&mut self, exchange: Exchange<Head>) -> Self::Future {
        let generation = Rc::clone(&exchange.generation);
        let origin = match generation.has_cors {
            true => exchange.headers.get(header::ORIGIN).cloned(),
            false => None,
        };
        // Over HTTP/1.1 there is no gRPC.
        let is_grpc = exchange.proof.version == Version::HTTP_2 && grpc::is_grpc(&exchange.headers);
        let finish = Finish {
            observation: Rc::clone(&exchange.observation),
            generation,
            origin,
            is_grpc,
        };
        let line = self.0.call(exchange);
        finish.observation.begun();
        AnswerFuture {
            line,
            finish: Some(finish),
        }
    }
}

pin_project! {
    /// The line's result, made an answer.
    pub(super) struct AnswerFuture<F> {
        #[pin]
        line: F,
        finish: Option<Finish>,
    }
}

impl<F: Future<Output = Result<Response<ReplyBody>, Reject>>> Future for AnswerFuture<F> {
    type Output = Result<Response<ReplyBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.line.poll(cx));
        let finish = this
            .finish
            .take()
            .expect("a future is not polled after it was ready");
        Poll::Ready(Ok(finish.answer(result)))
    }
}

/// What is needed once the line has decided.
struct Finish {
    observation: Rc<Observation>,
    generation: Rc<Generation>,
    origin: Option<HeaderValue>,
    /// Whether a refusal is said as gRPC says it.
    is_grpc: bool,
}

impl Finish {
    fn answer(self, result: Result<Response<ReplyBody>, Reject>) -> Response<ReplyBody> {
        let mut response = match result {
            Ok(response) => {
                let mut response = response;
                if lasts_by_its_type(response.headers()) {
                    self.observation.link().watch(&self.observation);
                }
                self.mark(response.headers_mut());
                response
            }
            Err(Reject::Preflight(cors)) => self.preflight(cors),
            Err(reject) => self.refuse(reject),
        };
        if let Some(standing) = self.observation.standing() {
            standing.write(response.headers_mut());
        }
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if self.observation.link().ends_with_answer() && !switches {
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
            .headers_mut()
            .insert(REQUEST_ID, self.observation.id().header());
        self.observation.answered(response.status().as_u16());
        response.map(|body| body.observed(self.observation))
    }

    fn preflight(&self, cors: Arc<Cors>) -> Response<ReplyBody> {
        let mut response = Response::new(ReplyBody::text(""));
        *response.status_mut() = StatusCode::NO_CONTENT;
        cors::answer_preflight(&cors, self.origin.as_ref(), response.headers_mut());
        let reject = Reject::Preflight(cors);
        self.observation.refused(reject.outcome(), reject.reason());
        response
    }

    fn refuse(&self, reject: Reject) -> Response<ReplyBody> {
        self.observation.refused(reject.outcome(), reject.reason());
        match &reject {
            // The client hears a fixed sentence; what must be done about the store, only its error says.
            Reject::Management(ManagementError::StoreUnavailable(cause)) => tracing::error!(
                id = self.observation.id().as_str(),
                error = %cause,
                "a management request was not carried out: the key store failed"
            ),
            Reject::Forward(cause) if cause.is_the_upstreams() => tracing::warn!(
                id = self.observation.id().as_str(),
                error = crate::net::causes(cause),
                "the upstream did not answer"
            ),
            reject => tracing::debug!(
                id = self.observation.id().as_str(),
                error = crate::net::causes(reject),
                "request refused"
            ),
        }
        let mut response = Response::new(ReplyBody::text(""));
        let headers = response.headers_mut();
        self.mark(headers);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        reject.headers(&self.observation.link().context.challenge, headers);
        let refused = Refused::of(&reject);
        let generation = match &reject {
            // It was permitted by its own; a newer one ended it.
            Reject::Revoked(_) => self.observation.link().context.generation(),
            _ => Rc::clone(&self.generation),
        };
        let Some(body) = reject.body() else {
            return response;
        };
        if self.is_grpc {
            grpc::write_error(&body, response.headers_mut());
        } else {
            *response.status_mut() = body.status;
            *response.body_mut() = ReplyBody::text(body.to_json());
        }
        self.remember(body.status, generation.snapshot.generation, refused);
        response
    }

    /// Keeps a refusal, so that it can be asked about.
    fn remember(&self, status: StatusCode, generation: u64, refused: Option<Refused>) {
        if let Some(refused) = refused {
            let refusals = &self.observation.link().context.refusals;
            let status = status.as_u16();
            refusals.keep(&self.observation, generation, status, refused);
        }
    }

    /// Puts the gateway's CORS headers in place of whatever the upstream said.
    fn mark(&self, headers: &mut http::HeaderMap) {
        if !self.generation.has_cors {
            return;
        }
        let general = self.generation.snapshot.hot.cors.as_ref();
        let remnant = self.observation.remnant();
        let cors = match remnant.route.as_ref().map(|route| &route.settings.cors) {
            Some(RouteCors::Own(own)) => Some(own),
            Some(RouteCors::Off) => None,
            Some(RouteCors::General) | None => {
                general.filter(|cors| cors.management || !self.observation.is_management())
            }
        };
        if let Some(cors) = cors {
            cors::mark(cors, self.origin.as_ref(), headers);
        }
    }
}

/// Whether a message of this type is part of a stream, which may stay open for long.
pub(super) fn lasts_by_its_type(headers: &http::HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let begins_with = |name: &[u8]| {
        value
            .as_bytes()
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
    };
    begins_with(b"text/event-stream") || begins_with(b"application/grpc")
}
