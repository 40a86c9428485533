//! The straight line of a request: a tower stack, one file a layer.
//!
//! ```text
//! observe    id, snapshot, the observation that will be counted and logged         above `answer` nothing can fail
//! answer     Reject → the client's error body and headers; CORS; X-Request-Id      the one place where refusals become HTTP
//! admit      one method, one host, one canonical target, one framing               400 414 417 431, preflights 204
//! route      the most specific route of this snapshot; says nothing yet
//! identify   exactly one key → digest → key cache                                  401 429
//! permit     what route found, then scopes; what a policy in shadow says, noted    404 405 403 400
//! limit      rate and open exchanges of the key, the body's size                   429 413
//! dispatch   the management API, or the upstream                                   408 502 503 504
//! ```
//!
//! Each step between `answer` and `dispatch` is a function from an [`Exchange`] with one proof to an [`Exchange`] with the
//! next, or a [`Reject`]; [`step::Step`] makes a layer of it. Only an `Exchange<Cleared>` can be dispatched, and only
//! `limit` makes a [`limit::Cleared`], from a `Permitted` that only the policy makes: a stack without one of the layers does
//! not compile.
//!
//! ```compile_fail,E0451
//! # use keygate::gateway::Cleared;
//! fn forge(cleared: Cleared, admitted: keygate::http::Admitted) -> Cleared {
//!     Cleared { admitted, ..cleared }
//! }
//! ```
//!
//! What `answer` makes of a [`Reject`], the worker remembers for a while as a [`Decision`], so that it can be asked about.
//!
//! Everything here belongs to one worker and one thread.

mod access_line;
mod admit;
mod answer;
mod body;
mod context;
mod decisions;
mod dispatch;
mod endings;
mod failures;
mod floods;
mod gcra;
mod generation;
mod identify;
mod limit;
mod link;
mod metrics;
mod news;
mod observe;
mod open;
mod permit;
mod reject;
mod route;
mod shadow;
mod shared;
mod step;
mod tunnel;
mod upgrade;
mod upload;
mod watch;

pub use body::ReplyBody;
pub use context::{ConnectionRefused, Context};
pub use decisions::{Decision, RefusedCaller, WantedDecisions};
pub use limit::Cleared;
pub use link::Link;
pub use metrics::{BUCKETS_US, Histogram, Labels, Outcome, Report};
pub use news::News;
pub use observe::Arrival;
pub use open::Seat;
pub use reject::Reject;
pub use shadow::{ShadowReport, ShadowRow, Tally};
pub use shared::Shared;
pub use tunnel::Tunnel;
pub use watch::{LOOK_EVERY, Revocation};

use self::generation::Generation;
use self::observe::Observation;
use self::upgrade::Wish;
use crate::http::forwarded::Client;
use http::{HeaderMap, Response};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::ops::Deref;
use std::rc::Rc;
use tower::{Service, ServiceBuilder};

/// A request on its way down the line, with the proof of how far it came.
pub struct Exchange<P> {
    /// Boxed: each layer moves it more than once.
    request: Box<Request>,
    proof: P,
}

/// What stays the same on the way.
pub struct Request {
    headers: HeaderMap,
    body: Incoming,
    link: Rc<Link>,
    client: Rc<Client>,
    generation: Rc<Generation>,
    observation: Rc<Observation>,
    /// Boxed: nearly no request has one.
    wish: Option<Box<Wish>>,
}

impl<P> Exchange<P> {
    /// The same request with what a step made of its proof.
    fn try_map<Q>(self, step: impl FnOnce(P) -> Result<Q, Reject>) -> Result<Exchange<Q>, Reject> {
        Ok(Exchange {
            proof: step(self.proof)?,
            request: self.request,
        })
    }
}

impl<P> Deref for Exchange<P> {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.request
    }
}

/// The whole line. Stateless: what a request needs comes with it.
pub fn stack() -> impl Service<
    Arrival,
    Response = Response<ReplyBody>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<ReplyBody>, Infallible>>,
> + Clone {
    ServiceBuilder::new()
        .layer_fn(observe::Observe) // outermost: what is not observed did not happen
        .layer_fn(answer::Answer) // directly below: whatever refuses, refuses through it
        .layer(step::layer(admit::admit)) // before anything reads the target
        .layer(step::layer(route::route)) // before identify: a public route needs no key
        .layer(step::layer(identify::identify)) // before permit: 401 says nothing of routes
        .layer(step::layer(permit::permit)) // proof of route and principal together
        .layer(step::layer(limit::limit)) // last check: the only maker of what can be dispatched
        // Boxed: the future is some kilobytes, and would be moved through every layer above on its way out.
        .service(tower::service_fn(|exchange| {
            Box::pin(dispatch::dispatch(exchange))
        }))
}
