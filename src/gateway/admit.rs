//! Request → `Admitted`: see [`crate::http::admit`]. A worker that has too much open says so here, before it does anything. A preflight leaves the line here, once it can be read in one way.
//!
//! A preflight comes without a key, so what it is told is public. It is told what `[cors]` says, the same for every path,
//! whether there is a route or not; only where a route has `cors` of its own, found by the method that is asked about, it
//! is told that. So a stranger learns of a route just what the operator wrote for strangers to read: that table. Routes
//! without one, their scopes and what does not exist remain the same to it. `cors = false` on a route leaves its preflights to
//! the line, where they need a route and a key as any request does.

use super::decisions::Unread;
use super::observe::Head;
use super::{Exchange, Generation, Reject};
use crate::http::Admitted;
use crate::http::cors::{self, Cors};
use crate::policy::{Found, Query, RouteCors};
use http::{HeaderValue, Method};
use std::sync::Arc;

pub(super) fn admit(exchange: Exchange<Head>) -> Result<Exchange<Admitted>, Reject> {
    let head = &exchange.proof;
    let unread = |reject: Reject| {
        let asked = Unread::of(head, &exchange.headers);
        exchange.observation.unread(asked);
        reject
    };
    if exchange.link.context.is_overloaded() {
        return Err(unread(Reject::Overloaded));
    }
    let rules = &exchange.generation.admit;
    let admitted = crate::http::admit(
        &head.method,
        &head.uri,
        head.version,
        &exchange.headers,
        rules,
    )
    .map_err(|error| unread(error.into()))?;
    if exchange.generation.has_cors
        && let Some(asked) = cors::preflight(&head.method, &exchange.headers)
        && let Some(cors) = cors_of(&exchange.generation, &admitted, asked)
    {
        return Err(Reject::Preflight(cors));
    }
    // A clone counts two references up; to move it in and let nobody borrow it was measured, and is no cheaper.
    exchange.observation.asks(admitted.clone());
    exchange.try_map(|_| Ok(admitted))
}

/// What a preflight is told that asks about this method.
fn cors_of(generation: &Generation, admitted: &Admitted, asked: &HeaderValue) -> Option<Arc<Cors>> {
    let hot = &generation.snapshot.hot;
    let method = Method::from_bytes(asked.as_bytes()).ok();
    let found = method.map(|method| {
        hot.policy.find(Query {
            method: &method,
            host: Some(admitted.host()),
            path: admitted.path(),
        })
    });
    match found {
        Some(Found::Route(route)) => match &hot.policy.routes()[route.index()].settings.cors {
            RouteCors::Own(cors) => Some(Arc::clone(cors)),
            RouteCors::Off => None,
            RouteCors::General => hot.cors.clone(),
        },
        Some(Found::MethodNotAllowed(_) | Found::NotFound) | None => hot.cors.clone(),
    }
}
