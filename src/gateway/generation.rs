//! One generation of the configuration, as one worker uses it.

use super::metrics::NO_ROUTE;
use crate::config::Cold;
use crate::config::{Snapshot, Timeouts, UpstreamSettings};
use crate::http::AdmitRules;
use crate::management;
use crate::policy::Route;
use crate::proxy::RequestBody;
use crate::upstream::Upstream;
use std::sync::Arc;

/// A snapshot with what this worker made of it. A request holds one, so that everything about it comes from one
/// generation.
pub struct Generation {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) upstreams: Vec<Upstream<RequestBody>>,
    pub(super) admit: AdmitRules,
    pub(super) management: management::Settings,
}

impl Generation {
    pub(super) fn new(
        snapshot: Arc<Snapshot>,
        upstreams: Vec<Upstream<RequestBody>>,
        cold: &Cold,
    ) -> Self {
        let hot = &snapshot.hot;
        let admit = AdmitRules {
            target_bytes: hot.limits.target_bytes,
            head_bytes: hot.limits.head_bytes,
            headers: hot.limits.headers,
            underscores: cold.underscores,
        };
        let management = management::Settings {
            authority: Arc::clone(&hot.authority),
            default_scope: hot.default_scope.clone(),
            reveal: hot.reveal,
        };
        Generation {
            upstreams,
            admit,
            management,
            snapshot,
        }
    }

    /// The name of the route at this place; `-` for no route.
    pub(super) fn route_name(&self, route: u32) -> Arc<str> {
        let routes = self.snapshot.hot.policy.routes();
        match routes.get(route as usize) {
            Some(found) if route != NO_ROUTE => Arc::clone(&found.name),
            _ => Arc::from("-"),
        }
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
