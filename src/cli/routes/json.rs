//! A listing for programs.

use super::Listing;
use crate::explain::{access, place};
use crate::key::ScopeName;
use crate::policy::{Listed, ManagementOp, Target};
use serde_json::{Map, Value, json};

impl Listing<'_> {
    /// The document of `--json`.
    pub(super) fn json(&self) -> Value {
        let scopes = self.reach().into_iter().filter_map(|(scope, routes)| {
            let scope = scope?;
            let included = self.subject.policy.scopes().included_by(scope);
            let included = included.filter(|other| *other != scope);
            let told = json!({
                "includes": included.map(ScopeName::as_str).collect::<Vec<_>>(),
                "routes": routes,
            });
            Some((scope.to_string(), told))
        });
        json!({
            "routes": self.routes.iter().map(|listed| self.route(listed)).collect::<Vec<_>>(),
            "all": self.all,
            "anyone": self.routes.iter().filter(|listed| listed.permits(None)).count(),
            "scopes": scopes.collect::<Map<_, _>>(),
        })
    }

    fn route(&self, listed: &Listed<'_>) -> Value {
        let route = listed.route;
        let methods = listed.methods.iter().map(|method| method.as_str());
        json!({
            "name": &*route.name,
            "methods": methods.collect::<Vec<_>>(),
            "host": route.host.as_ref().map(ToString::to_string),
            "path": &*route.template,
            "access": access(&route.access),
            "upstream": self.subject.leads_to(&route.target),
            "management": match route.target {
                Target::Management(operation) => Some(word(operation)),
                Target::Upstream(_) => None,
            },
            "at": place(&route.place),
        })
    }
}

fn word(operation: ManagementOp) -> &'static str {
    match operation {
        ManagementOp::Create => "create",
        ManagementOp::List => "list",
        ManagementOp::Get => "get",
        ManagementOp::Update => "update",
        ManagementOp::Delete => "delete",
    }
}
