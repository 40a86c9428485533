//! Every route in the order in which routes are asked, with the methods that are left to it.
//!
//! The order is that of a request's way down, written out whole: hosts from the exact ones to none, then segment by segment
//! from the left a literal before `{param}` before `{*rest}`, a path before what is below it, and at one path the route that
//! names its methods before the one that names none. So of two routes that match one request the first decides, but for one
//! rule that is about two paths (a path that ends in `/` is not given to a tail when the same path without it has a route).
//!
//! Of `/users` with `methods = ["GET"]` and `/users` without, the first is listed with GET and HEAD, the second with the
//! five that the first leaves to it.

use super::methods::DEFAULT;
use super::pattern::{Pattern, Segment};
use super::{Access, HostPattern, Methods, Policy, Route, Target};
use crate::key::{ScopeName, Scopes};
use http::Method;
use std::cmp::Reverse;
use std::sync::Arc;

/// A route, and what of the requests for its host and path it decides.
#[derive(Clone, Debug)]
pub struct Listed<'p> {
    /// The route.
    pub route: &'p Arc<Route>,
    /// The methods that it takes, the usual ones first.
    pub methods: Vec<&'p Method>,
    pattern: Pattern,
}

/// Where a route stands among all: the smaller is asked first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank<'l> {
    owner: Owner,
    host: HostRank<'l>,
    path: Vec<SegmentRank<'l>>,
    methods: MethodsRank,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Management,
    Policy,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum MethodsRank {
    /// By the first of them.
    Named(usize),
    Default,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum HostRank<'l> {
    Exact(&'l str),
    /// The longest first.
    Suffix(Reverse<usize>, &'l str),
    Any,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum SegmentRank<'l> {
    Literal(&'l str),
    Param,
    Tail,
}

impl Policy {
    /// All routes, the operations of the management API first, in the order in which they are asked.
    pub fn listing(&self) -> Vec<Listed<'_>> {
        let mut methods = vec![Vec::new(); self.routes.len()];
        let owned = self.management.iter();
        let owned = owned.flat_map(|owned| [&owned.on_path, &owned.on_key]);
        for table in owned.chain(self.tree.ends().map(|(_, table)| table)) {
            for (method, route) in table.taken() {
                methods[route.index()].push(method);
            }
        }
        let mut listed: Vec<Listed<'_>> = self
            .routes
            .iter()
            .zip(methods)
            .map(|(route, methods)| Listed {
                route,
                methods,
                pattern: Pattern::parse(&route.template)
                    .expect("a route's path was read when it was compiled"),
            })
            .collect();
        listed.sort_by(|a, b| a.rank().cmp(&b.rank()));
        listed
    }
}

impl Policy {
    /// Whether the management API owns this path, and so all below it: no other route takes a request there.
    pub fn is_all_managements(&self, path: &PathFilter) -> bool {
        self.management.iter().any(|owned| {
            let own = owned.path.split('/').skip(1);
            let mut asked = path.0.iter();
            own.into_iter()
                .all(|own| matches!(asked.next(), Some(Segment::Literal(text)) if **text == *own))
        })
    }
}

impl Listed<'_> {
    /// Whether a key of this scope may use it; without one, whether anyone may.
    pub fn permits(&self, scope: Option<&ScopeName>) -> bool {
        match (&self.route.access, scope) {
            (Access::Public, _) => true,
            (Access::Deny, _) | (Access::Scopes(_), None) => false,
            (Access::Scopes(scopes), Some(scope)) => scopes.contains(scope),
        }
    }

    /// Whether it names no method, and no other route of its path takes one from it.
    pub fn has_the_usual(&self) -> bool {
        matches!(self.route.methods, Methods::Default) && self.methods.len() == DEFAULT.len()
    }

    /// Whether it matches some request for this path, a pattern as in routes, or for one below it.
    pub fn is_at_or_below(&self, path: &PathFilter) -> bool {
        let mut own = self.pattern.segments.iter();
        for segment in &path.0 {
            match (own.next(), segment) {
                (None, _) => return false,
                (Some(Segment::Tail(_)), _) | (_, Segment::Tail(_)) => return true,
                (Some(Segment::Literal(own)), Segment::Literal(asked)) if own != asked => {
                    return false;
                }
                // What is empty is no param's.
                (Some(Segment::Literal(text)), Segment::Param(_))
                | (Some(Segment::Param(_)), Segment::Literal(text))
                    if text.is_empty() =>
                {
                    return false;
                }
                (Some(Segment::Literal(_) | Segment::Param(_)), _) => {}
            }
        }
        true
    }

    /// The segments of its path, each as it is written there.
    pub fn segments(&self) -> Vec<String> {
        let written = |segment: &Segment| match segment {
            Segment::Literal(text) => text.to_string(),
            Segment::Param(name) => format!("{{{name}}}"),
            Segment::Tail(name) => format!("{{*{name}}}"),
        };
        self.pattern.segments.iter().map(written).collect()
    }

    /// The scopes that its keys have, without those that are named only because they include another of them. Empty where
    /// no scope decides.
    pub fn least_scopes(&self, scopes: &Scopes) -> Vec<&ScopeName> {
        let Access::Scopes(all) = &self.route.access else {
            return Vec::new();
        };
        let least = all.iter().filter(|scope| {
            let mut others = all.iter().filter(|other| other != scope);
            !others.any(|other| scopes.includes(scope, other))
        });
        least.collect()
    }

    fn rank(&self) -> Rank<'_> {
        let host = match &self.route.host {
            Some(HostPattern::Exact(host)) => HostRank::Exact(host),
            Some(HostPattern::Suffix(suffix)) => HostRank::Suffix(Reverse(suffix.len()), suffix),
            None => HostRank::Any,
        };
        let segments = self.pattern.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => SegmentRank::Literal(text),
            Segment::Param(_) => SegmentRank::Param,
            Segment::Tail(_) => SegmentRank::Tail,
        });
        Rank {
            owner: match self.route.target {
                Target::Management(_) => Owner::Management,
                Target::Upstream(_) => Owner::Policy,
            },
            host,
            path: segments.collect(),
            methods: match self.route.methods {
                Methods::Named(_) => {
                    MethodsRank::Named(self.methods.first().map_or(usize::MAX, |m| usual_place(m)))
                }
                Methods::Default => MethodsRank::Default,
            },
        }
    }
}

/// Where among the usual methods this one stands, or after them.
fn usual_place(method: &Method) -> usize {
    let usual = DEFAULT.iter().position(|usual| usual == method);
    usual.unwrap_or(DEFAULT.len())
}

/// A path to look at in a listing: routes at it and below it.
#[derive(Clone, Debug)]
pub struct PathFilter(Vec<Segment>);

impl std::str::FromStr for PathFilter {
    type Err = super::PatternError;

    /// Takes what a route may have for its path, canonicalized as there.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut segments = Pattern::parse(text)?.segments;
        // `/` is the path above all others, and `/users/` is meant for what is below `/users`, too.
        segments.pop_if(|last| *last == Segment::Literal("".into()));
        Ok(PathFilter(segments))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{compile, compile_with_management, routes, scope};
    use super::*;

    fn policy() -> Policy {
        compile(routes(&[
            ("", "/v3/{*rest}", "full"),
            ("", "/v3/users", "full"),
            ("GET", "/v3/users /v3/users/{id}", "auth"),
            ("PURGE POST", "/v3/users/me", "public"),
            ("", "/v3/users/{id}/x", "deny"),
            ("", "/v3/a%2db /", "auth other"),
        ]))
        .unwrap()
    }

    /// Each route as its methods and path.
    fn told(listed: &[Listed<'_>]) -> Vec<String> {
        let text = |listed: &Listed<'_>| {
            let methods: Vec<&str> = listed.methods.iter().map(|m| m.as_str()).collect();
            format!("{} {}", methods.join(","), listed.route.template)
        };
        listed.iter().map(text).collect()
    }

    #[test]
    fn routes_are_listed_in_the_order_in_which_they_are_asked_with_what_is_left_to_them() {
        let usual = "GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS";
        assert_eq!(
            told(&policy().listing()),
            [
                format!("{usual} /"),
                format!("{usual} /v3/a%2db"),
                "GET,HEAD /v3/users".to_owned(),
                "POST,PUT,PATCH,DELETE,OPTIONS /v3/users".to_owned(),
                "POST,PURGE /v3/users/me".to_owned(),
                "GET,HEAD /v3/users/{id}".to_owned(),
                format!("{usual} /v3/users/{{id}}/x"),
                format!("{usual} /v3/{{*rest}}"),
            ]
        );
    }

    #[test]
    fn a_filter_by_path_keeps_what_matches_there_or_below() {
        let policy = policy();
        let listing = policy.listing();
        for (path, count) in [
            ("/", 8),
            ("/v3", 7),
            ("/v3/users", 6),
            ("/v3/users/", 6),
            ("/v3/users/me", 4),
            ("/v3/users/you", 3),
            ("/v3/users/{id}", 4),
            ("/v3/users/you/x", 2),
            ("/v3/a%2Db", 2),
            ("/v3/{*rest}", 7),
            ("/v4", 0),
        ] {
            let filter: PathFilter = path.parse().unwrap();
            let kept = listing.iter().filter(|l| l.is_at_or_below(&filter));
            assert_eq!(kept.count(), count, "{path}");
        }
        assert!("users".parse::<PathFilter>().is_err());
        let policy = compile_with_management(&["/keys"], routes(&[("", "/{*rest}", "public")]));
        let policy = policy.unwrap();
        for (path, owned) in [
            ("/keys", true),
            ("/keys/", true),
            ("/keys/a/b", true),
            ("/%6Beys/{id}", true),
            ("/{keys}", false),
            ("/", false),
            ("/keysx", false),
        ] {
            assert_eq!(
                policy.is_all_managements(&path.parse().unwrap()),
                owned,
                "{path}"
            );
        }
    }

    #[test]
    fn a_filter_by_scope_keeps_what_a_key_of_it_may_use() {
        let policy = policy();
        let listing = policy.listing();
        for (who, count) in [
            (None, 1),
            (Some("auth"), 5),
            (Some("full"), 7),
            (Some("admin"), 7),
            (Some("other"), 3),
            (Some("nobody"), 1),
        ] {
            let who = who.map(scope);
            let kept = listing.iter().filter(|l| l.permits(who.as_ref()));
            assert_eq!(kept.count(), count, "{who:?}");
        }
        let least = |at: usize| -> Vec<&str> {
            let least = listing[at].least_scopes(policy.scopes());
            least.into_iter().map(ScopeName::as_str).collect()
        };
        assert_eq!(least(0), ["auth", "other"]);
        assert_eq!(least(3), ["full"]);
        assert!(least(4).is_empty());
    }
}
