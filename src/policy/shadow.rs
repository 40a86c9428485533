//! A policy with some routes tried on it, and how two policies' decisions about one request compare.
//!
//! Routes that are tried are laid over those in force: one takes from those of the same host and path the methods that it
//! names, or, where it names none, takes the place of the one that names none. So `GET /reports` with another scope takes
//! GET from a route for `GET` and `POST /reports`, which keeps POST; beside a route of `/reports` for every method it needs
//! to take nothing, since a route that names the method is the more specific one.

use super::pattern::{Pattern, Segment};
use super::{HostPattern, Methods, Policy, RouteSpec};
use http::Method;
use std::collections::HashMap;

/// Two decisions about one request: the one in force, and the one that is only tried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Comparison {
    /// In force lets it through, the other one would not.
    WouldDeny,
    /// In force refuses it, the other one would let it through.
    WouldAllow,
    Agree,
}

impl Comparison {
    pub const ALL: [Comparison; 3] = [
        Comparison::WouldDeny,
        Comparison::WouldAllow,
        Comparison::Agree,
    ];

    /// Of whether each lets the request through.
    pub fn of(in_force: bool, tried: bool) -> Self {
        match (in_force, tried) {
            (true, false) => Comparison::WouldDeny,
            (false, true) => Comparison::WouldAllow,
            (true, true) | (false, false) => Comparison::Agree,
        }
    }

    /// As metrics and `/shadow` have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Comparison::WouldDeny => "would_deny",
            Comparison::WouldAllow => "would_allow",
            Comparison::Agree => "agree",
        }
    }
}

/// Routes with others laid over them.
pub fn overlay(in_force: Vec<RouteSpec>, tried: Vec<RouteSpec>) -> Vec<RouteSpec> {
    let mut taken: HashMap<(Option<HostPattern>, String), Vec<Methods>> = HashMap::new();
    for route in &tried {
        for (path, _) in &route.paths {
            // What is no pattern is said when the routes are compiled.
            if let Some(shape) = shape(path) {
                let end = taken.entry((route.host.clone(), shape)).or_default();
                end.push(route.methods.clone());
            }
        }
    }
    let mut all = Vec::with_capacity(in_force.len() + tried.len());
    for mut route in in_force {
        let mut reduced = Vec::new();
        route.paths.retain(|(path, place)| {
            let end = shape(path).map(|shape| (route.host.clone(), shape));
            let Some(takers) = end.and_then(|end| taken.get(&end)) else {
                return true;
            };
            match left(&route.methods, takers) {
                Some(methods) if methods == route.methods => true,
                Some(methods) => {
                    reduced.push(((path.clone(), place.clone()), methods));
                    false
                }
                None => false,
            }
        });
        for (path, methods) in reduced {
            all.push(RouteSpec {
                paths: vec![path],
                methods,
                ..route.clone()
            });
        }
        if !route.paths.is_empty() {
            all.push(route);
        }
    }
    all.extend(tried);
    all
}

/// What of a route's methods these leave to it; `None`: nothing.
fn left(methods: &Methods, takers: &[Methods]) -> Option<Methods> {
    match methods {
        Methods::Default => (!takers.contains(&Methods::Default)).then_some(Methods::Default),
        Methods::Named(named) => {
            let is_taken = |method: &&Method| {
                let mut takers = takers.iter();
                takers.any(|taker| matches!(taker, Methods::Named(all) if all.contains(*method)))
            };
            let left: Vec<Method> = named.iter().filter(|m| !is_taken(m)).cloned().collect();
            (!left.is_empty()).then_some(Methods::Named(left))
        }
    }
}

/// What two paths that match the same requests have in common: all but the names of what stands in braces.
fn shape(path: &str) -> Option<String> {
    let pattern = Pattern::parse(path).ok()?;
    let mut shape = String::new();
    for segment in &pattern.segments {
        shape.push('/');
        shape.push_str(match segment {
            // Never has braces.
            Segment::Literal(text) => text,
            Segment::Param(_) => "{}",
            Segment::Tail(_) => "{*}",
        });
    }
    Some(shape)
}

impl Policy {
    /// Adds to a hash all that decides about access, route by route in their order: two policies that add the same decide
    /// the same, by routes of the same numbers and names.
    pub fn hash_decisions(&self, hasher: &mut blake3::Hasher) {
        let mut part = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        for route in &self.routes {
            part(&route.name);
            part(&route.template);
            let host = route.host.as_ref();
            part(&host.map(HostPattern::to_string).unwrap_or_default());
            // Plain values, of which `Debug` shows everything.
            part(&format!("{:?}", route.methods));
            part(&format!("{:?}", route.access));
            part(&format!("{:?}", route.allow));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{compile, routes};
    use super::*;

    /// Each route as `METHODS PATHS`.
    fn shown(routes: &[RouteSpec]) -> Vec<String> {
        let route = |route: &RouteSpec| {
            let methods = match &route.methods {
                Methods::Default => "*".to_owned(),
                Methods::Named(named) => {
                    let names: Vec<&str> = named.iter().map(Method::as_str).collect();
                    names.join(",")
                }
            };
            let paths: Vec<&str> = route.paths.iter().map(|(path, _)| path.as_str()).collect();
            format!("{methods} {}", paths.join(","))
        };
        routes.iter().map(route).collect()
    }

    #[test]
    fn a_tried_route_takes_what_it_names_and_no_more() {
        for (in_force, tried, expected) in [
            (("", "/a"), ("", "/a"), &["* /a"][..]),
            (("", "/a"), ("GET", "/a"), &["* /a", "GET /a"]),
            (("GET", "/a"), ("", "/a"), &["GET /a", "* /a"]),
            (("GET POST", "/a"), ("GET", "/a"), &["POST /a", "GET /a"]),
            (("GET", "/a"), ("POST GET", "/a"), &["POST,GET /a"]),
            (("GET", "/a /b"), ("GET", "/a"), &["GET /b", "GET /a"]),
            (
                ("GET PUT", "/a /b"),
                ("GET", "/a"),
                &["PUT /a", "GET,PUT /b", "GET /a"],
            ),
            (("", "/u/{id}"), ("", "/u/{uid}"), &["* /u/{uid}"]),
            (("", "/u/{*r}"), ("", "/u/{*rest}"), &["* /u/{*rest}"]),
            (
                ("", "/u/{*r}"),
                ("", "/u/{id}"),
                &["* /u/{*r}", "* /u/{id}"],
            ),
            (("", "/a"), ("", "/a/"), &["* /a", "* /a/"]),
            (("", "/caf%c3%a9"), ("", "/caf%C3%A9"), &["* /caf%C3%A9"]),
        ] {
            let row = |(methods, paths)| routes(&[(methods, paths, "full")]);
            let all = overlay(row(in_force), row(tried));
            assert_eq!(shown(&all), expected, "{in_force:?} {tried:?}");
            assert!(compile(all).is_ok(), "{in_force:?} {tried:?}");
        }
        let mut hosted = routes(&[("", "/a", "full")]);
        hosted[0].host = HostPattern::parse("a.example").ok();
        let all = overlay(routes(&[("", "/a", "full")]), hosted);
        assert_eq!(all.len(), 2, "of another host");
    }

    #[test]
    fn what_decides_is_hashed_and_where_it_stands_is_not() {
        let hash = |specs: Vec<RouteSpec>| {
            let mut hasher = blake3::Hasher::new();
            compile(specs).unwrap().hash_decisions(&mut hasher);
            hasher.finalize()
        };
        let plain = || routes(&[("GET", "/a", "full"), ("", "/b", "auth")]);
        let first = hash(plain());
        let mut moved = plain();
        moved[0].place.line = 99;
        moved[0].upstream = 1;
        assert_eq!(hash(moved), first);
        for other in [
            routes(&[("GET", "/a", "auth"), ("", "/b", "auth")]),
            routes(&[("POST", "/a", "full"), ("", "/b", "auth")]),
            routes(&[("GET", "/c", "full"), ("", "/b", "auth")]),
            routes(&[("", "/b", "auth"), ("GET", "/a", "full")]),
            routes(&[("GET", "/a", "full")]),
            routes(&[("GET", "/a", "public"), ("", "/b", "auth")]),
        ] {
            assert_ne!(hash(other.clone()), first, "{:?}", shown(&other));
        }
    }
}
