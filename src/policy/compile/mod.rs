//! From a policy as it was written to one that decides, or to everything that is wrong with it.
//!
//! Each path of each route becomes a [`Route`] of its own, and hangs in the tree at its host and pattern. Nothing stops
//! at the first fault: a route with an undeclared scope still takes part in the search for two routes that match the
//! same requests, so that one run of `check` shows all there is to mend.
//!
//! "A route that no request can reach" is an error. That is a route
//! - whose literals have no canonical form, or need an exception that it does not allow;
//! - at or below a management path (text for text: `/{*rest}` beside `/apikeys` is fine);
//! - for a method that is refused before routes are looked at;
//! - that names no method, where other routes of its host and path name all seven;
//! - that ends in a tail, where routes with `{param}`s take all that the tail could get: see [`super::reach`].
//!
//! Nothing else can be shadowed whole: a param always has values that are no literal of the policy, a route for any host
//! has hosts that no other route names.
//!
//! `management` makes the routes of the management API, `hang` hangs all routes in the tree and finds those that want the
//! same requests.

mod hang;
mod management;

pub(super) use hang::Written;

use super::management::Owned;
use super::pattern::{Pattern, Segment};
use super::problem::{PolicyError, nearest_scope};
use super::{
    Access, AccessSpec, Exceptions, Methods, Place, Policy, PolicyId, PolicySpec, Route,
    RouteIdentity, RouteIndex, RouteSpec, Target, reach, widen,
};
use crate::key::{ScopeName, Scopes};
use http::Method;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

impl Policy {
    /// Compiles a policy.
    ///
    /// # Errors
    /// Everything that is wrong with it, by place.
    pub fn compile(spec: PolicySpec) -> Result<Self, Vec<PolicyError>> {
        let mut compiler = Compiler::new(&spec.scopes);
        if let Some(management) = &spec.management {
            compiler.add_management(management);
        }
        for route in spec.routes {
            compiler.add_route(route);
        }
        let (tree, written) = compiler.settle();
        let Compiler {
            routes,
            management,
            mut errors,
            ..
        } = compiler;
        errors.extend(reach::covered_tails(&tree, &written, &routes));
        if !errors.is_empty() {
            return Err(in_order(errors));
        }
        let mut policy = Policy {
            id: PolicyId::next(),
            routes: routes.into_iter().map(Arc::new).collect(),
            tree,
            management,
            scopes: spec.scopes,
            warnings: Vec::new(),
        };
        policy.warnings = widen::warnings(&policy, &written);
        Ok(policy)
    }
}

/// By file and line, each once: prefixes repeat what is wrong with a path.
fn in_order(mut errors: Vec<PolicyError>) -> Vec<PolicyError> {
    let at = |place: &Place| (Arc::clone(&place.file), place.span.start, place.span.end);
    let both = |error: &PolicyError| (at(error.place()), error.other_place().map(at));
    errors.sort_by_cached_key(both);
    let mut seen = HashSet::new();
    errors.retain(|error| {
        !error.is_about_a_path() || seen.insert((std::mem::discriminant(error), both(error)))
    });
    errors
}

struct Compiler<'s> {
    scopes: &'s Scopes,
    routes: Vec<Route>,
    /// Host, pattern and the place of the path, of each route that hangs in the tree.
    hung: Vec<(RouteIndex, Pattern, Place)>,
    management: Vec<Owned>,
    /// Segments, text and place of each management path.
    owned: Vec<(Vec<Segment>, String, Place)>,
    errors: Vec<PolicyError>,
}

impl<'s> Compiler<'s> {
    fn new(scopes: &'s Scopes) -> Self {
        Compiler {
            scopes,
            routes: Vec::new(),
            hung: Vec::new(),
            management: Vec::new(),
            owned: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn push(&mut self, route: Route) -> RouteIndex {
        let index = u32::try_from(self.routes.len())
            .expect("a policy that fits into memory has fewer than 2^32 routes");
        self.routes.push(route);
        RouteIndex(index)
    }

    fn add_route(&mut self, spec: RouteSpec) {
        let access = self.access(&spec.access, &spec.place);
        self.check_methods(&spec.methods, &spec.place);
        if spec.paths.is_empty() {
            self.errors.push(PolicyError::NoPath {
                place: spec.place.clone(),
            });
        }
        let paths = spec.paths.iter().map(|(path, _)| path.as_str());
        let identity = RouteIdentity::of(spec.host.as_ref(), &spec.methods, paths);
        for (text, place) in &spec.paths {
            let Some(pattern) = self.pattern(text, place, spec.allow) else {
                continue;
            };
            let index = self.push(Route {
                name: route_name(&spec, text),
                template: Arc::from(text.as_str()),
                host: spec.host.clone(),
                methods: spec.methods.clone(),
                access: access.clone(),
                target: Target::Upstream(spec.upstream),
                allow: spec.allow,
                settings: spec.settings.clone(),
                identity,
                place: spec.place.clone(),
            });
            self.hung.push((index, pattern, place.clone()));
        }
    }

    fn pattern(&mut self, text: &str, place: &Place, allow: Exceptions) -> Option<Pattern> {
        let pattern = match Pattern::parse(text) {
            Ok(pattern) => pattern,
            Err(source) => {
                self.errors.push(PolicyError::Pattern {
                    pattern: text.to_owned(),
                    source,
                    place: place.clone(),
                });
                return None;
            }
        };
        if !allow.cover(pattern.needs) {
            self.errors.push(PolicyError::NeedsException {
                pattern: text.to_owned(),
                needs: exception_names(pattern.needs, allow),
                place: place.clone(),
            });
        }
        // Only a literal equals a literal, so this is "the management path, text for text, begins the pattern".
        if let Some((_, path, other)) = self
            .owned
            .iter()
            .find(|(owned, ..)| pattern.segments.starts_with(owned))
        {
            self.errors.push(PolicyError::UnderManagement {
                pattern: text.to_owned(),
                path: path.clone(),
                place: place.clone(),
                other: other.clone(),
            });
        }
        Some(pattern)
    }

    fn check_methods(&mut self, methods: &Methods, place: &Place) {
        let Methods::Named(methods) = methods else {
            return;
        };
        if methods.is_empty() {
            self.errors.push(PolicyError::NoMethod {
                place: place.clone(),
            });
        }
        for method in methods {
            let why = match *method {
                Method::TRACE => "it is refused everywhere",
                Method::CONNECT => "it is refused, and a WebSocket over HTTP/2 is judged as GET",
                _ if !crate::http::is_spelled_as_methods_are(method) => {
                    "a method is written in upper case letters, `-` and `_`"
                }
                _ => continue,
            };
            self.errors.push(PolicyError::Method {
                method: method.clone(),
                why,
                place: place.clone(),
            });
        }
    }

    fn access(&mut self, spec: &AccessSpec, place: &Place) -> Access {
        match spec {
            AccessSpec::Public => Access::Public,
            AccessSpec::Deny => Access::Deny,
            AccessSpec::AnyOf(scopes) => {
                if scopes.is_empty() {
                    self.errors.push(PolicyError::NoScope {
                        place: place.clone(),
                    });
                }
                let mut closed = BTreeSet::new();
                for (scope, place) in scopes {
                    closed.extend(self.including(scope, place));
                }
                Access::Scopes(closed.into_iter().collect())
            }
        }
    }

    /// The scopes whose keys may do what this scope may.
    fn including(&mut self, scope: &ScopeName, place: &Place) -> Vec<ScopeName> {
        if !self.scopes.declares(scope) {
            self.errors.push(PolicyError::UndeclaredScope {
                scope: scope.clone(),
                nearest: nearest_scope(scope, self.scopes.names()),
                place: place.clone(),
            });
        }
        self.scopes.including(scope).cloned().collect()
    }
}

/// What logs and metrics call a route: its name, else its first method, host and path as written.
fn route_name(spec: &RouteSpec, path: &str) -> Arc<str> {
    if let Some(name) = &spec.name {
        return Arc::clone(name);
    }
    let mut name = String::new();
    if let Methods::Named(methods) = &spec.methods
        && let Some(first) = methods.first()
    {
        name = format!("{first} ");
    }
    if let Some(host) = &spec.host {
        name.push_str(&host.to_string());
    }
    name.push_str(path);
    Arc::from(name)
}

/// The names of the exceptions that are needed and not allowed.
fn exception_names(needs: Exceptions, allow: Exceptions) -> String {
    let names = Exceptions::NAMES
        .iter()
        .filter(|(_, e)| needs.cover(*e) && !allow.cover(*e));
    names
        .map(|(name, _)| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(" and ")
}

#[cfg(test)]
mod tests {
    use super::super::HostPattern;
    use super::super::testing::{
        assert_errors, at_line, compile, compile_with_management, errors, route, routes,
    };
    use super::*;

    #[test]
    fn every_fault_is_reported_in_one_run() {
        let specs = routes(&[
            ("GET", "/a", "full"),
            ("GET POST", "/a", "auth"),
            ("", "/img-{id}", "ful"),
            ("TRACE CONNECT", "/t", "full"),
            ("get", "/t", "full"),
            ("", "/a%2fb", "full"),
            ("", "/apikeys/{id}", "full"),
            ("", "", "full"),
            ("", "/noscope", ""),
            ("", "/x /x", "nothing-like-it"),
        ]);
        assert_errors(
            compile_with_management(&["/apikeys"], specs),
            &[
                (2, 1, "`/a` has two routes for GET"),
                (
                    3,
                    0,
                    "the scope `ful` is not declared; did you mean `full`?",
                ),
                (
                    3,
                    0,
                    "the path `/img-{id}` is not a pattern: `img-{id}` mixes text and braces: `{name}` is a whole segment",
                ),
                (
                    4,
                    0,
                    "no request can reach a route by TRACE: it is refused everywhere",
                ),
                (
                    4,
                    0,
                    "no request can reach a route by CONNECT: it is refused, and a WebSocket over HTTP/2 is judged as GET",
                ),
                (
                    5,
                    0,
                    "no request can reach a route by get: a method is written in upper case letters, `-` and `_`",
                ),
                (
                    6,
                    0,
                    "no request can reach `/a%2fb`: its text needs `encoded-slash`, which the route does not allow",
                ),
                (
                    7,
                    101,
                    "no request can reach `/apikeys/{id}`: the management path `/apikeys` owns itself and all below it, for every host",
                ),
                (8, 0, "a route has at least one path"),
                (
                    9,
                    0,
                    "a route has at least one scope; `access = \"deny\"` closes it for everyone",
                ),
                (10, 0, "the scope `nothing-like-it` is not declared"),
                (10, 10, "`/x` has two routes for every method not named"),
            ],
        );
    }

    #[test]
    fn a_route_that_no_request_can_reach_is_an_error_that_names_what_takes_them() {
        // All seven methods are named elsewhere.
        let named = compile(routes(&[
            ("GET POST PUT", "/a", "full"),
            ("", "/a", "public"),
            ("PATCH DELETE OPTIONS", "/a", "full"),
        ]));
        let sentence =
            "no request can reach `/a`: more specific routes take them all, as `GET /a` does";
        assert_errors(named, &[(2, 1, sentence)]);
        // Params take what the tail could get.
        let covered = compile(routes(&[
            ("", "/v3/{*rest}", "full"),
            ("", "/v3/{x}", "full"),
            ("", "/v3/{x}/{*more}", "full"),
        ]));
        let sentence = "no request can reach `/v3/{*rest}`: more specific routes take them all, as `/v3/{x}` does";
        assert_errors(covered, &[(1, 2, sentence)]);
        // One method less, one level less, or an exception that no param takes, and it can be reached.
        for rows in [
            [
                ("", "/v3/{*r}"),
                ("GET POST", "/v3/{x}"),
                ("", "/v3/{x}/{*more}"),
            ],
            [("", "/v3/{*r}"), ("", "/v3/{x}"), ("", "/v3/a/{*more}")],
            [
                ("", "/v3/{*r}"),
                ("", "/v3/{x}/{y}"),
                ("", "/v3/{x}/{y}/{*more}"),
            ],
            [
                ("PURGE", "/v3/{*r}"),
                ("", "/v3/{x}"),
                ("", "/v3/{x}/{*more}"),
            ],
        ] {
            assert_errors(compile(routes(&rows.map(|(m, p)| (m, p, "full")))), &[]);
        }
        let mut specs = routes(&[("", "/{*r}", "full"), ("", "/{x} /{x}/{*m}", "full")]);
        specs[0].allow = Exceptions::DOUBLE_SLASH;
        assert_errors(compile(specs), &[]);
    }

    #[test]
    fn prefixes_do_not_repeat_what_is_wrong_with_a_path() {
        for path in ["{}", "a;b", "{*rest}"] {
            let mut specs = routes(&[("", "/v3/{x} /v3.0/{x}", "full")]);
            specs.push(at_line(2, route("", "/v3/{x}/{*m} /v3.0/{x}/{*m}", "full")));
            let twice = format!("/v3/{path} /v3.0/{path}");
            specs.push(at_line(3, route("", &twice, "full")));
            assert_eq!(errors(compile(specs)).len(), 1, "{path}");
        }
        // Needs an exception and is below a management path, twice.
        let spec = route("", "/apikeys/v3/a;b /apikeys/v3.0/a;b", "full");
        let got = compile_with_management(&["/apikeys"], vec![spec]);
        assert_eq!(errors(got).len(), 2);
    }

    #[test]
    fn a_route_is_called_by_its_name_or_by_method_host_and_path() {
        let mut named = route("GET", "/a", "full");
        named.name = Some(Arc::from("the a"));
        let mut hosted = route("PUT GET", "/b", "full");
        hosted.host = Some(HostPattern::parse("*.example").unwrap());
        let policy = compile(vec![named, hosted, route("", "/{*rest}", "full")]).unwrap();
        let names: Vec<&str> = policy.routes().iter().map(|route| &*route.name).collect();
        assert_eq!(names, ["the a", "PUT *.example/b", "/{*rest}"]);
    }
}
