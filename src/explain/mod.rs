//! What the gateway would decide about a request, and why: the straight line, told instead of walked.
//!
//! A request that someone asks about is admitted, routed and judged by the functions that do so for real ones; the rest
//! (which routes lost, which scopes would do, where it would go) is read from the same policy. Nothing is decided here.
//!
//! `DELETE /v3/users/cyclops2` for a key of scope authOnly: admitted with that path; taken by `/v3/{*rest}`; that needs
//! fullAccess; 403 `AUTH_ERR_NO_ACCESS`; a key of scope fullAccess would have sent `DELETE /v3/users/cyclops2` to `chat`.

mod json;
mod text;

pub use json::{access, place};

use crate::config::{HostRule, Hot};
use crate::gateway::Reject;
use crate::http::{AdmitRules, Admitted};
use crate::key::{KeyId, KeyRecord, ScopeName};
use crate::keycache::Unidentified;
use crate::policy::{Access, Asked, Candidate, Found, Query, Route, Target};
use crate::proxy::upstream_target;
use std::sync::Arc;

/// Who makes the request.
#[derive(Clone, Debug)]
pub enum Caller {
    /// No key is sent.
    Anyone,
    /// A key of this scope, in force.
    Scope(ScopeName),
    /// This key.
    Key(KeyRecord),
    /// A key that does not exist.
    Unknown,
    /// What cannot be a key.
    Malformed,
}

/// Why a caller is not identified where a key is needed.
fn unidentified(caller: &Caller, now: crate::clock::Timestamp) -> Option<Reject> {
    let id = |record: &KeyRecord| -> KeyId { record.id };
    match caller {
        Caller::Anyone => Some(Reject::NoKey),
        Caller::Unknown => Some(Reject::Unidentified(Unidentified::Unknown)),
        Caller::Malformed => Some(Reject::Unidentified(Unidentified::Malformed)),
        Caller::Key(record) if !record.enabled => {
            Some(Reject::Unidentified(Unidentified::Disabled(id(record))))
        }
        Caller::Key(record) if !record.is_in_force(now) => {
            Some(Reject::Unidentified(Unidentified::Expired(id(record))))
        }
        Caller::Key(_) | Caller::Scope(_) => None,
    }
}

impl Caller {
    fn scope(&self) -> Option<&ScopeName> {
        match self {
            Caller::Scope(scope) => Some(scope),
            Caller::Key(record) => Some(&record.scope),
            Caller::Anyone | Caller::Unknown | Caller::Malformed => None,
        }
    }
}

/// The whole decision.
#[derive(Debug)]
pub struct Explanation<'p> {
    pub asked: Asked,
    pub caller: Caller,
    /// `None`: refused before anything looked at it.
    pub head: Option<Head<'p>>,
    /// `None`: let through.
    pub refused: Option<Refused>,
}

/// What is known of a request that was admitted.
#[derive(Debug)]
pub struct Head<'p> {
    pub admitted: Admitted,
    /// The route that takes it, and those that match host and path besides.
    pub candidates: Vec<Candidate<'p>>,
    pub route: Option<&'p Arc<Route>>,
    /// Whether a route matches host and path, whatever its methods.
    pub path_is_known: bool,
    /// Whether the path is the management API's, so that no route of the policy takes it.
    pub is_managements: bool,
    /// Where the route leads; `None`: there is none, or it is closed.
    pub leads: Option<Leads>,
}

/// Where a route leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Leads {
    /// To keygate's management API.
    Management,
    /// To an upstream.
    Upstream {
        name: Arc<str>,
        /// As logs and metrics tell them apart.
        servers: Vec<String>,
        /// The request line's target that it would get.
        target: String,
        /// The `Host` that it would get; `None`: the server's own authority.
        host: Option<String>,
    },
}

/// An answer that is no permission.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    pub status: u16,
    /// `error.code` of the answer.
    pub code: &'static str,
    pub why: String,
}

impl Refused {
    fn of(reject: Reject) -> Self {
        let why = match &reject {
            Reject::Admit(error) => error.to_string(),
            Reject::Refused(refusal) => refusal.to_string(),
            Reject::Unidentified(why) => why.to_string(),
            other => other.to_string(),
        };
        let body = reject.body();
        Refused {
            status: body.as_ref().map_or(0, |body| body.status.as_u16()),
            code: body.as_ref().map_or("", |body| body.code.as_str()),
            why,
        }
    }
}

/// Explains a request under a configuration, with the limits that it has for heads.
pub fn explain<'p>(
    hot: &'p Hot,
    rules: &AdmitRules,
    asked: Asked,
    caller: Caller,
    now: crate::clock::Timestamp,
) -> Explanation<'p> {
    let admitted = match asked.admit(rules) {
        Ok(admitted) => admitted,
        Err(error) => {
            return Explanation {
                asked,
                caller,
                head: None,
                refused: Some(Refused::of(error.into())),
            };
        }
    };
    let policy = &hot.policy;
    let query = Query {
        method: admitted.method(),
        host: Some(admitted.host()),
        path: admitted.path(),
    };
    let candidates = policy.candidates(query);
    let path_is_known = policy.find(query) != Found::NotFound;
    let is_managements = policy.is_managements(query.path);
    let routed = policy.route(&admitted);
    let route = routed.route(policy);
    let unidentified = unidentified(&caller, now).filter(|_| routed.needs_key());
    let reject = match unidentified {
        Some(reject) => Some(reject),
        None => match policy.judge(routed, caller.scope()) {
            Err(refusal) => Some(Reject::from(refusal)),
            Ok(route) => {
                let settings = &policy.routes()[route.index()].settings;
                settings.maintenance.clone().map(Reject::Maintenance)
            }
        },
    };
    let open = route.filter(|route| route.access != Access::Deny);
    let leads = open.and_then(|route| leads(hot, route, &admitted));
    Explanation {
        asked,
        caller,
        head: Some(Head {
            admitted,
            candidates,
            route,
            path_is_known,
            is_managements,
            leads,
        }),
        refused: reject.map(Refused::of),
    }
}

fn leads(hot: &Hot, route: &Route, admitted: &Admitted) -> Option<Leads> {
    let Target::Upstream(index) = route.target else {
        return Some(Leads::Management);
    };
    let upstream = hot.upstreams.get(index)?;
    let target = upstream_target(admitted, &route.settings);
    Some(Leads::Upstream {
        name: Arc::clone(&upstream.name),
        servers: upstream.servers.iter().map(ToString::to_string).collect(),
        target: target.map_or_else(|error| error.to_string(), |uri| uri.to_string()),
        host: match &upstream.host {
            HostRule::Upstream => None,
            HostRule::Client => Some(admitted.authority().to_owned()),
            HostRule::Name(name) => Some(String::from_utf8_lossy(name.as_bytes()).into_owned()),
        },
    })
}
