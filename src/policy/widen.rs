//! Where falling through widens access: a path has routes, but another method falls to a broader route that lets in
//! more.
//!
//! `DELETE /v3/users/{uid}` is for admins, `/v3/{*rest}` for everyone with a key: then `PUT /v3/users/a` needs any key,
//! which may be meant or forgotten. For each end of the tree and each method that it does not take, the ends that it
//! overlaps are walked; where one takes the method, a request that matches both is made up and put to
//! [`Policy::find`], and only what that really answers counts.

use super::compile::Written;
use super::find::{Found, Query};
use super::methods::DEFAULT;
use super::pattern::{Pattern, Segment};
use super::tree::{EndId, NodeId};
use super::{Access, HostPattern, Policy, PolicyWarning, Route, RouteIndex};
use http::Method;
use std::collections::{BTreeSet, HashMap};

/// How many steps the whole search may take: seconds at most, and far more than an ordinary policy needs.
const STEPS: usize = 5_000_000;

/// The warnings of a policy.
pub(super) fn warnings(policy: &Policy, written: &[Written]) -> Vec<PolicyWarning> {
    let search = Search::new(policy, written);
    let mut warnings = Vec::new();
    let mut steps = STEPS;
    for specific in written {
        let table = policy.tree.end(specific.end);
        let missing: Vec<&Method> = search
            .methods
            .iter()
            .filter(|method| table.route(method).is_none())
            .collect();
        if missing.is_empty() {
            continue;
        }
        let Some(overlapping) = search.overlapping(specific, &mut steps) else {
            let place = policy.routes[table.routes()[0].index()].place.clone();
            warnings.push(PolicyWarning::NotAllCompared { place });
            break;
        };
        search.compare(specific, &missing, &overlapping, &mut warnings);
    }
    warnings.sort_by(|a, b| {
        let key =
            |warning: &PolicyWarning| (warning.place().file.clone(), warning.place().span.start);
        key(a).cmp(&key(b))
    });
    warnings
}

struct Search<'p> {
    policy: &'p Policy,
    written: HashMap<EndId, &'p Written>,
    /// Every method that some request of interest may have.
    methods: Vec<Method>,
    /// Every host pattern of the policy with its root.
    roots: Vec<(Option<&'p HostPattern>, NodeId)>,
    /// A segment that is no literal of the policy.
    fresh: String,
}

impl<'p> Search<'p> {
    fn new(policy: &'p Policy, written: &'p [Written]) -> Self {
        let mut methods = DEFAULT.to_vec();
        let mut hosts = BTreeSet::new();
        let mut longest = 0;
        for end in written {
            for (method, _) in policy.tree.end(end.end).taken() {
                if !methods.contains(method) {
                    methods.push(method.clone());
                }
            }
            hosts.insert(end.host.as_ref());
            for segment in &end.pattern.segments {
                if let Segment::Literal(text) = segment {
                    longest = longest.max(text.len());
                }
            }
        }
        let roots = hosts
            .into_iter()
            .filter_map(|host| Some((host, policy.tree.root(host)?)))
            .collect();
        Search {
            policy,
            written: written.iter().map(|end| (end.end, end)).collect(),
            methods,
            roots,
            // Longer than any literal, so equal to none.
            fresh: "x".repeat(longest + 1),
        }
    }

    /// The other ends, of this host or a broader one, that have a request in common with this one; `None` when the
    /// steps are used up.
    fn overlapping(&self, specific: &Written, steps: &mut usize) -> Option<Vec<EndId>> {
        let segments = &specific.pattern.segments;
        let mut found = Vec::new();
        for (host, root) in &self.roots {
            if !covers(*host, specific.host.as_ref()) {
                continue;
            }
            // Nodes, with how many of the pattern's segments led there; beyond its tail any way goes on.
            let mut open = vec![(*root, 0)];
            while let Some((id, used)) = open.pop() {
                *steps = steps.checked_sub(1)?;
                let node = self.policy.tree.node(id);
                match segments.get(used) {
                    None => {
                        found.extend(node.exact);
                        continue;
                    }
                    Some(Segment::Literal(text)) => {
                        open.extend(node.literals.get(text).map(|child| (child, used + 1)));
                        open.extend(
                            node.param
                                .filter(|_| !text.is_empty())
                                .map(|child| (child, used + 1)),
                        );
                    }
                    Some(Segment::Param(_)) => {
                        open.extend(node.literals.nodes().map(|child| (child, used + 1)));
                        open.extend(node.param.map(|child| (child, used + 1)));
                    }
                    Some(Segment::Tail(_)) => {
                        found.extend(node.exact);
                        open.extend(node.literals.nodes().map(|child| (child, used)));
                        open.extend(node.param.map(|child| (child, used)));
                    }
                }
                found.extend(node.tail);
            }
        }
        found.retain(|end| *end != specific.end);
        Some(found)
    }

    /// Puts a request for each missing method and each overlap to the policy.
    fn compare(
        &self,
        specific: &Written,
        missing: &[&Method],
        overlapping: &[EndId],
        warnings: &mut Vec<PolicyWarning>,
    ) {
        for other in overlapping {
            let table = self.policy.tree.end(*other);
            let mut widening: Vec<(RouteIndex, RouteIndex, Vec<Method>)> = Vec::new();
            for method in missing {
                let Some(broader) = table.route(method) else {
                    continue;
                };
                let Some(narrow) = self.narrower_than(specific, broader) else {
                    continue;
                };
                let host = specific.host.as_ref().map(|host| self.host_of(host));
                let path = self.request_for_both(&specific.pattern, &self.written[other].pattern);
                let query = Query {
                    method,
                    host: host.as_deref(),
                    path: &path,
                };
                let first = self
                    .policy
                    .walk(query)
                    .find(|end| *end == specific.end || end == other);
                if first != Some(specific.end) || self.policy.find(query) != Found::Route(broader) {
                    continue;
                }
                match widening
                    .iter_mut()
                    .find(|(n, b, _)| (*n, *b) == (narrow, broader))
                {
                    Some((_, _, methods)) => methods.push((*method).clone()),
                    None => widening.push((narrow, broader, vec![(*method).clone()])),
                }
            }
            for (narrow, broader, methods) in widening {
                let (narrow, broader) = (self.route(narrow), self.route(broader));
                warnings.push(PolicyWarning::WidensByFallingThrough {
                    pattern: specific.template.to_string(),
                    broader: broader.template.to_string(),
                    methods,
                    place: narrow.place.clone(),
                    other: broader.place.clone(),
                });
            }
        }
    }

    fn route(&self, index: RouteIndex) -> &Route {
        &self.policy.routes[index.index()]
    }

    /// A route at the specific end that keeps out what the broader one lets in.
    fn narrower_than(&self, specific: &Written, broader: RouteIndex) -> Option<RouteIndex> {
        let routes = self.policy.tree.end(specific.end).routes().iter().copied();
        routes
            .into_iter()
            .find(|route| admits_more(&self.route(broader).access, &self.route(*route).access))
    }

    /// A host that a host pattern matches, and no longer one.
    fn host_of(&self, pattern: &HostPattern) -> String {
        match pattern {
            HostPattern::Exact(name) => name.to_string(),
            HostPattern::Suffix(name) => format!("{}.{name}", self.fresh_label()),
        }
    }

    fn fresh_label(&self) -> String {
        let longest = self
            .roots
            .iter()
            .filter_map(|(host, _)| *host)
            .map(|host| host.to_string().len())
            .max();
        "x".repeat(longest.unwrap_or(0))
    }

    /// A path that matches both patterns, which overlap.
    fn request_for_both(&self, one: &Pattern, other: &Pattern) -> String {
        let mut path = String::new();
        for at in 0..one.segments.len().max(other.segments.len()) {
            path.push('/');
            let at = |pattern: &'_ Pattern| pattern.segments.get(at).cloned();
            match (at(one), at(other)) {
                (Some(Segment::Literal(text)), _) | (_, Some(Segment::Literal(text))) => {
                    path.push_str(&text);
                }
                _ => path.push_str(&self.fresh),
            }
        }
        path
    }
}

/// Whether every host of `narrow` is also one of `broad`.
fn covers(broad: Option<&HostPattern>, narrow: Option<&HostPattern>) -> bool {
    let below = |name: &str, suffix: &str| {
        name.strip_suffix(suffix)
            .is_some_and(|rest| rest.ends_with('.'))
    };
    match (broad, narrow) {
        (None, _) => true,
        (Some(HostPattern::Exact(a)), Some(HostPattern::Exact(b))) => a == b,
        (Some(HostPattern::Suffix(a)), Some(HostPattern::Suffix(b))) => a == b || below(b, a),
        (Some(HostPattern::Suffix(a)), Some(HostPattern::Exact(b))) => below(b, a),
        (Some(_), _) => false,
    }
}

/// Whether the first lets in someone whom the second keeps out.
fn admits_more(broad: &Access, narrow: &Access) -> bool {
    match (broad, narrow) {
        (_, Access::Public) | (Access::Deny, _) => false,
        (Access::Public, Access::Deny | Access::Scopes(_)) => true,
        (Access::Scopes(_), Access::Deny) => true,
        (Access::Scopes(broad), Access::Scopes(narrow)) => {
            broad.iter().any(|scope| !narrow.contains(scope))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{compile, routes};
    use super::*;

    fn warned(rows: &[(&str, &str, &str)], host_of_first: Option<&str>) -> Vec<String> {
        let mut specs = routes(rows);
        specs[0].host = host_of_first.map(|host| HostPattern::parse(host).unwrap());
        let policy = compile(specs).unwrap();
        let shown = policy.warnings().iter().map(|warning| match warning {
            PolicyWarning::WidensByFallingThrough {
                methods,
                place,
                other,
                ..
            } => {
                let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
                format!("{} {}: {}", place.line, other.line, names.join(" "))
            }
            PolicyWarning::NotAllCompared { place } => format!("{}: stopped", place.line),
        });
        shown.collect()
    }

    #[test]
    fn falling_through_to_a_route_that_lets_in_more_is_worth_a_warning() {
        let rest = "HEAD POST PUT PATCH DELETE OPTIONS";
        let all_but_delete = "GET HEAD POST PUT PATCH OPTIONS";
        let none: &[&str] = &[];
        for (rows, expected) in [
            // The example of the policy page: what falls through needs more.
            (
                &[("POST", "/v3/users", "auth"), ("", "/v3/{*rest}", "full")][..],
                none,
            ),
            (
                &[("DELETE", "/u/{id}", "admin"), ("", "/u/{*rest}", "auth")],
                &[&format!("1 2: {all_but_delete}")],
            ),
            (
                &[("DELETE", "/u/{id}", "admin"), ("", "/{*rest}", "public")],
                &[&format!("1 2: {all_but_delete}")],
            ),
            (
                &[("DELETE", "/u", "deny"), ("", "/{x}", "admin")],
                &[&format!("1 2: {all_but_delete}")],
            ),
            (
                &[("DELETE", "/u", "auth"), ("PUT", "/{x}", "other")],
                &["1 2: PUT"],
            ),
            (
                &[("DELETE", "/u", "admin"), ("PURGE", "/{x}", "auth")],
                &["1 2: PURGE"],
            ),
            (&[("DELETE", "/u", "public"), ("", "/{x}", "auth")], none),
            (&[("DELETE", "/u", "auth"), ("", "/{x}", "deny")], none),
            (&[("", "/u", "admin"), ("", "/{x}", "public")], none),
            // HEAD goes with GET.
            (&[("GET", "/u", "admin"), ("GET", "/{x}", "public")], none),
            (
                &[("HEAD", "/u", "admin"), ("GET", "/{x}", "public")],
                &["1 2: GET"],
            ),
            // What is between takes it.
            (
                &[
                    ("DELETE", "/u/a", "admin"),
                    ("", "/u/{x}", "admin"),
                    ("", "/{*rest}", "public"),
                ],
                none,
            ),
            // Only for some values of a param.
            (
                &[("POST", "/a/{x}", "admin"), ("GET", "/{y}/b", "public")],
                &["1 2: GET HEAD"],
            ),
            // Nothing in common.
            (
                &[("POST", "/a/{x}", "admin"), ("", "/b/{*rest}", "public")],
                none,
            ),
            // The tail is broader, so requests for it do not fall to `/users`.
            (
                &[("POST", "/{*rest}", "admin"), ("GET", "/users", "public")],
                none,
            ),
            // Tail over tail.
            (
                &[
                    ("GET", "/admin/{*rest}", "admin"),
                    ("", "/{*rest}", "public"),
                ],
                &[&format!("1 2: {}", &rest[5..])],
            ),
        ] {
            assert_eq!(warned(rows, None), expected, "{rows:?}");
        }
    }

    #[test]
    fn a_route_of_a_host_falls_to_routes_of_broader_hosts() {
        let rows = [("POST", "/a/{x}", "admin"), ("GET", "/a/{*rest}", "public")];
        for host in ["api.example.com", "*.example.com"] {
            assert_eq!(warned(&rows, Some(host)), ["1 2: GET HEAD"], "{host}");
        }
        let rows = [("GET", "/a/{*rest}", "public"), ("POST", "/a/{x}", "admin")];
        assert_eq!(warned(&rows, Some("api.example.com")), Vec::<String>::new());
    }
}
