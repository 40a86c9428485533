//! Where falling through widens access: a path has routes, but another method falls to a broader route that lets in
//! more.
//!
//! `DELETE /v3/users/{uid}` is for admins, `/v3/{*rest}` for everyone with a key: then `PUT /v3/users/a` needs any key,
//! which may be meant or forgotten. For each end of the tree and each method that it does not take, the ends that it
//! overlaps are walked; where one takes the method, a request that matches both is made up and put to
//! [`Policy::find`], and only what that really answers counts.

use super::compile::Written;
use super::find::{Found, Query};
use super::overlap::Overlaps;
use super::tree::EndId;
use super::{Access, Policy, PolicyWarning, RouteIndex};
use http::Method;

/// How many steps the whole search may take: seconds at most, and far more than an ordinary policy needs.
pub(super) const STEPS: usize = 5_000_000;

/// The warnings of a policy.
pub(super) fn warnings(policy: &Policy, written: &[Written]) -> Vec<PolicyWarning> {
    let search = Overlaps::new(policy, written);
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
        let Some(overlapping) = search.of(specific, &mut steps) else {
            let place = policy.routes[table.routes()[0].index()].place.clone();
            warnings.push(PolicyWarning::NotAllCompared { place });
            break;
        };
        compare(&search, specific, &missing, &overlapping, &mut warnings);
    }
    warnings.sort_by(|a, b| {
        let key =
            |warning: &PolicyWarning| (warning.place().file.clone(), warning.place().span.start);
        key(a).cmp(&key(b))
    });
    warnings
}

/// Puts a request for each missing method and each overlap to the policy.
fn compare(
    search: &Overlaps<'_>,
    specific: &Written,
    missing: &[&Method],
    overlapping: &[EndId],
    warnings: &mut Vec<PolicyWarning>,
) {
    let route = |index: RouteIndex| &search.policy.routes[index.index()];
    for other in overlapping {
        let table = search.policy.tree.end(*other);
        let mut widening: Vec<(RouteIndex, RouteIndex, Vec<Method>)> = Vec::new();
        for method in missing {
            let Some(broader) = table.route(method) else {
                continue;
            };
            let Some(narrow) = narrower_than(search.policy, specific, broader) else {
                continue;
            };
            let host = specific.host.as_ref().map(|host| search.host_of(host));
            let path = search.request_for_both(&specific.pattern, &search.written[other].pattern);
            let query = Query {
                method,
                host: host.as_deref(),
                path: &path,
            };
            let first = search
                .policy
                .walk(query)
                .find(|end| *end == specific.end || end == other);
            if first != Some(specific.end) || search.policy.find(query) != Found::Route(broader) {
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
            let (narrow, broader) = (route(narrow), route(broader));
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

/// A route at the specific end that keeps out what the broader one lets in.
fn narrower_than(policy: &Policy, specific: &Written, broader: RouteIndex) -> Option<RouteIndex> {
    let routes = policy.tree.end(specific.end).routes().iter().copied();
    routes.into_iter().find(|route| {
        admits_more(
            &policy.routes[broader.index()].access,
            &policy.routes[route.index()].access,
        )
    })
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
    use super::super::HostPattern;
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
