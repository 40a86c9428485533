//! One generation of the configuration, as one worker uses it.

use super::access_line::route_fields;
use super::metrics::NO_ROUTE;
use super::shadow::Trial;
use crate::config::{AccessLog, Cold, Snapshot, Timeouts, UpstreamSettings};
use crate::http::AdmitRules;
use crate::management;
use crate::policy::{Route, RouteCors};
use crate::proxy::RequestBody;
use crate::upstream::Upstream;
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A snapshot with what this worker made of it. A request holds one until it is answered, so that everything about it
/// comes from one generation; while the answer's body streams, it holds a [`Remnant`].
pub struct Generation {
    /// What is tried beside its policy. Before the snapshot: what that holds is never let go of here last.
    pub(super) trial: Option<Rc<Trial>>,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) upstreams: Vec<Upstream<RequestBody>>,
    pub(super) admit: AdmitRules,
    pub(super) management: management::Settings,
    /// Whether anything is to be told to browsers.
    pub(super) has_cors: bool,
    /// By the route's place, then one for no route; each made for the first request that needs it.
    remnants: Box<[OnceCell<Rc<Remnant>>]>,
}

/// What is left of a generation to an answered request: enough to count and log its end. A stream may be open for days
/// and over many reloads; this way it keeps its route, not the policy or the upstreams' pools.
pub(super) struct Remnant {
    /// The generation's number.
    pub(super) generation: u64,
    pub(super) route: Option<Arc<Route>>,
    pub(super) access: AccessLog,
    /// What a line of the access log says of the route.
    pub(super) log_fields: Box<[u8]>,
    /// How long the connection may be idle afterwards.
    pub(super) idle: Duration,
}

impl Generation {
    pub(super) fn new(
        snapshot: Arc<Snapshot>,
        upstreams: Vec<Upstream<RequestBody>>,
        cold: &Cold,
        before: Option<&Generation>,
    ) -> Self {
        let before = before.and_then(|before| before.trial.as_ref());
        let trial = Trial::of(&snapshot, before);
        let hot = &snapshot.hot;
        let admit = hot.admit_rules(cold);
        let management = management::Settings {
            authority: Arc::clone(&hot.authority),
            default_scope: hot.default_scope.clone(),
            reveal: hot.reveal,
        };
        let own_cors = |route: &Arc<Route>| matches!(route.settings.cors, RouteCors::Own(_));
        let has_cors = hot.cors.is_some() || hot.policy.routes().iter().any(own_cors);
        let places = hot.policy.routes().len() + 1;
        Generation {
            trial,
            remnants: std::iter::repeat_with(OnceCell::new).take(places).collect(),
            upstreams,
            has_cors,
            admit,
            management,
            snapshot,
        }
    }

    /// What an answered request of the route at this place keeps.
    pub(super) fn remnant(&self, route: u32) -> &Rc<Remnant> {
        let hot = &self.snapshot.hot;
        let routes = hot.policy.routes();
        let place = routes.len().min(route as usize);
        self.remnants[place].get_or_init(|| {
            let route = routes.get(place).cloned();
            Rc::new(Remnant {
                generation: self.snapshot.generation,
                log_fields: route_fields(route.as_deref()),
                route,
                access: hot.log.access,
                idle: hot.timeouts.idle,
            })
        })
    }

    /// The deadlines of a request: the general ones, the upstream's over them, the route's over those.
    pub(super) fn timeouts(&self, upstream: &UpstreamSettings, route: &Route) -> Timeouts {
        let base = upstream.timeouts;
        let own = &route.settings;
        Timeouts {
            connect: own.connect.unwrap_or(base.connect),
            response: own.response.unwrap_or(base.response),
            body: own.body.unwrap_or(base.body),
            stream: own.stream.unwrap_or(base.stream),
            ..base
        }
    }
}

/// The name of the route at this place; `-` for no route.
pub(super) fn route_name(snapshot: &Snapshot, route: u32) -> Arc<str> {
    let routes = snapshot.hot.policy.routes();
    match routes.get(route as usize) {
        Some(found) if route != NO_ROUTE => Arc::clone(&found.name),
        _ => Arc::from("-"),
    }
}
