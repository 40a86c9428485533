//! An explanation for programs.

use super::{Caller, Explanation, Leads};
use crate::key::ScopeName;
use crate::policy::{Access, Place, Route};
use serde_json::{Value, json};

impl Explanation<'_> {
    /// The document of `--json`.
    pub fn json(&self) -> Value {
        let head = self.head.as_ref();
        let lost = head.into_iter().flat_map(|head| &head.candidates);
        let lost = lost.filter_map(|candidate| {
            let why = candidate.lost.as_ref()?;
            let mut shown = route(candidate.route);
            shown["lost"] = json!(why);
            Some(shown)
        });
        json!({
            "request": {
                "method": self.asked.method.as_str(),
                "target": self.asked.target,
                "host": self.asked.host,
            },
            "canonical": head.map(|head| json!({
                "host": head.admitted.host(),
                "path": head.admitted.path(),
                "query": head.admitted.query(),
                "needs": head.admitted.needs().names().collect::<Vec<_>>(),
            })),
            "route": head.and_then(|head| head.route).map(|taken| route(taken)),
            "isManagements": head.is_some_and(|head| head.is_managements),
            "alsoMatched": lost.collect::<Vec<_>>(),
            "caller": caller(&self.caller),
            "permitted": self.refused.is_none(),
            "refused": self.refused.as_ref().map(|refused| json!({
                "status": refused.status,
                "code": refused.code,
                "why": refused.why,
            })),
            "leadsTo": head.and_then(|head| head.leads.as_ref()).map(leads),
        })
    }
}

fn route(route: &Route) -> Value {
    json!({
        "name": &*route.name,
        "at": place(&route.place),
        "access": access(&route.access),
    })
}

/// Where something is written.
pub fn place(place: &Place) -> Value {
    json!({
        "file": place.file.display().to_string(),
        "line": place.line,
        "column": place.column,
    })
}

/// Who may use a route: `"public"`, `"deny"`, or a list of scopes, those that include one of the route's among them.
pub fn access(access: &Access) -> Value {
    match access {
        Access::Public => json!("public"),
        Access::Deny => json!("deny"),
        Access::Scopes(scopes) => {
            json!(scopes.iter().map(ScopeName::as_str).collect::<Vec<_>>())
        }
    }
}

fn caller(caller: &Caller) -> Value {
    match caller {
        Caller::Anyone => json!({ "kind": "anyone" }),
        Caller::Unknown => json!({ "kind": "unknown" }),
        Caller::Malformed => json!({ "kind": "malformed" }),
        Caller::Scope(scope) => json!({ "kind": "scope", "scope": scope.as_str() }),
        Caller::Key(key) => json!({
            "kind": "key",
            "id": key.id.to_string(),
            "name": key.name.to_string(),
            "scope": key.scope.as_str(),
            "enabled": key.enabled,
        }),
    }
}

fn leads(leads: &Leads) -> Value {
    match leads {
        Leads::Management => json!({ "kind": "management" }),
        Leads::Upstream {
            name,
            servers,
            target,
            host,
        } => json!({
            "kind": "upstream",
            "upstream": &**name,
            "servers": servers,
            "target": target,
            "host": host,
        }),
    }
}
