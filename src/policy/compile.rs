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

use super::management::{KEY_SEGMENT, Owned};
use super::methods::{ByMethod, MethodClash};
use super::pattern::{Pattern, Segment};
use super::problem::{PolicyError, list, nearest_scope};
use super::tree::{EndId, Tree};
use super::{
    Access, AccessSpec, Exceptions, HostPattern, ManagementOp, ManagementSpec, Methods, Place,
    Policy, PolicyId, PolicySpec, Route, RouteIdentity, RouteIndex, RouteSettings, RouteSpec,
    Target, reach, widen,
};
use crate::key::{ScopeName, Scopes};
use http::Method;
use std::collections::{BTreeMap, BTreeSet, HashSet};
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

/// One end of the tree as it was written: the first route that ends there speaks for all.
pub(super) struct Written {
    pub end: EndId,
    pub host: Option<HostPattern>,
    pub pattern: Pattern,
    /// As text.
    pub template: Arc<str>,
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
            let upper = |b: u8| b.is_ascii_uppercase() || matches!(b, b'-' | b'_');
            let why = match *method {
                Method::TRACE => "it is refused everywhere",
                Method::CONNECT => "it is refused, and a WebSocket over HTTP/2 is judged as GET",
                _ if !method.as_str().bytes().all(upper) => {
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

    fn add_management(&mut self, spec: &ManagementSpec) {
        if spec.paths.is_empty() {
            return;
        }
        let scopes: BTreeSet<ScopeName> = self
            .including(&spec.scope.0, &spec.scope.1)
            .into_iter()
            .collect();
        let access = Access::Scopes(scopes.into_iter().collect());
        for (text, place) in &spec.paths {
            let segments = match management_path(text) {
                Ok(segments) => segments,
                Err(why) => {
                    self.errors.push(PolicyError::ManagementPath {
                        path: text.clone(),
                        why,
                        place: place.clone(),
                    });
                    continue;
                }
            };
            for (other, other_text, other_place) in &self.owned {
                let (path, above, place, other) = if segments.starts_with(other) {
                    (text, other_text, place, other_place)
                } else if other.starts_with(&segments) {
                    (other_text, text, other_place, place)
                } else {
                    continue;
                };
                self.errors.push(PolicyError::ManagementOverlap {
                    path: path.clone(),
                    above: above.clone(),
                    place: place.clone(),
                    other: other.clone(),
                });
            }
            let path = literal_path(&segments);
            self.owned.push((segments, text.clone(), place.clone()));
            let on_key = format!("{path}{KEY_SEGMENT}");
            let owned = Owned {
                on_path: self.operations(
                    &path,
                    &[
                        (Method::POST, ManagementOp::Create),
                        (Method::GET, ManagementOp::List),
                    ],
                    (&access, place),
                ),
                on_key: self.operations(
                    &on_key,
                    &[
                        (Method::GET, ManagementOp::Get),
                        (Method::PUT, ManagementOp::Update),
                        (Method::DELETE, ManagementOp::Delete),
                    ],
                    (&access, place),
                ),
                path: path.into_boxed_str(),
            };
            self.management.push(owned);
        }
    }

    fn operations(
        &mut self,
        template: &str,
        operations: &[(Method, ManagementOp)],
        (access, place): (&Access, &Place),
    ) -> ByMethod {
        let routes: Vec<(RouteIndex, Methods)> = operations
            .iter()
            .map(|(method, operation)| {
                let methods = Methods::Named(vec![method.clone()]);
                let route = Route {
                    name: Arc::from(format!("{method} {template}")),
                    template: Arc::from(template),
                    host: None,
                    methods: methods.clone(),
                    access: access.clone(),
                    target: Target::Management(*operation),
                    allow: Exceptions::NONE,
                    settings: RouteSettings::default(),
                    identity: RouteIdentity::of(None, &methods, [template]),
                    place: place.clone(),
                };
                (self.push(route), methods)
            })
            .collect();
        let routes: Vec<_> = routes
            .iter()
            .map(|(route, methods)| (*route, methods))
            .collect();
        // Each operation has a method of its own.
        ByMethod::settle(&routes).0
    }

    /// Hangs all routes in a tree, and finds those that want the same requests.
    fn settle(&mut self) -> (Tree, Vec<Written>) {
        let mut tree = Tree::new();
        let mut ends: BTreeMap<EndId, Vec<usize>> = BTreeMap::new();
        for (at, (route, pattern, _)) in self.hung.iter().enumerate() {
            let end = tree.insert(self.routes[route.index()].host.as_ref(), pattern);
            ends.entry(end).or_default().push(at);
        }
        let mut written = Vec::with_capacity(ends.len());
        for (end, hung) in ends {
            let routes: Vec<(RouteIndex, &Methods)> = hung
                .iter()
                .map(|at| self.hung[*at].0)
                .map(|route| (route, &self.routes[route.index()].methods))
                .collect();
            let (table, clashes) = ByMethod::settle(&routes);
            tree.settle(end, table);
            let place_of = |route: RouteIndex| {
                let at = hung.iter().find(|at| self.hung[**at].0 == route);
                at.map_or_else(
                    || self.routes[route.index()].place.clone(),
                    |at| self.hung[*at].2.clone(),
                )
            };
            for clash in clashes {
                let error = self.clash_error(clash, place_of);
                self.errors.push(error);
            }
            let (first, pattern, _) = &self.hung[hung[0]];
            let route = &self.routes[first.index()];
            written.push(Written {
                end,
                host: route.host.clone(),
                pattern: pattern.clone(),
                template: Arc::clone(&route.template),
            });
        }
        (tree, written)
    }

    fn clash_error(
        &self,
        clash: MethodClash,
        place_of: impl Fn(RouteIndex) -> Place,
    ) -> PolicyError {
        let route = |index: RouteIndex| &self.routes[index.index()];
        match clash {
            MethodClash::Same {
                first,
                second,
                methods,
            } => PolicyError::Conflict {
                pattern: route(second).template.to_string(),
                host: route(second).host.clone(),
                methods: if methods.is_empty() {
                    "every method not named".to_owned()
                } else {
                    list(&methods)
                },
                place: place_of(second),
                other: place_of(first),
            },
            MethodClash::NothingLeft {
                route: index,
                takers,
            } => PolicyError::Unreachable {
                pattern: route(index).template.to_string(),
                host: route(index).host.clone(),
                by: route(takers[0]).name.to_string(),
                place: place_of(index),
                other: place_of(takers[0]),
            },
        }
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

/// Reads a management path: literals only, canonical without exceptions, not `/`, no slash at its end.
fn management_path(text: &str) -> Result<Vec<Segment>, String> {
    let pattern = Pattern::parse(text).map_err(|error| error.to_string())?;
    if pattern
        .segments
        .iter()
        .any(|segment| !matches!(segment, Segment::Literal(_)))
    {
        return Err("it has no params".to_owned());
    }
    if matches!(pattern.segments.last(), Some(Segment::Literal(last)) if last.is_empty()) {
        return Err("it does not end in `/`".to_owned());
    }
    if !pattern.needs.is_none() {
        return Err(format!(
            "its text needs {}",
            exception_names(pattern.needs, Exceptions::NONE)
        ));
    }
    Ok(pattern.segments)
}

fn literal_path(segments: &[Segment]) -> String {
    let mut path = String::new();
    for segment in segments {
        if let Segment::Literal(text) = segment {
            path.push('/');
            path.push_str(text);
        }
    }
    path
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
    use super::super::testing::{
        at_line, compile, compile_with_management, route, routes, scope, scopes,
    };
    use super::*;

    /// Each error as its line, the line of the other place (or 0), and its sentence.
    fn errors(result: Result<Policy, Vec<PolicyError>>) -> Vec<(usize, usize, String)> {
        let errors = result.err().unwrap_or_default();
        let lines = |e: &PolicyError| {
            (
                e.place().line,
                e.other_place().map_or(0, |place| place.line),
            )
        };
        errors
            .iter()
            .map(|e| (lines(e).0, lines(e).1, e.to_string()))
            .collect()
    }

    fn assert_errors(result: Result<Policy, Vec<PolicyError>>, expected: &[(usize, usize, &str)]) {
        let got = errors(result);
        let got: Vec<_> = got
            .iter()
            .map(|(a, b, text)| (*a, *b, text.as_str()))
            .collect();
        assert_eq!(got, expected);
    }

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
    fn routes_are_in_conflict_where_host_path_and_method_are_the_same() {
        let host = |name: &str, mut spec: RouteSpec| {
            spec.host = Some(HostPattern::parse(name).unwrap());
            spec
        };
        for (one, two, conflict) in [
            (
                route("GET", "/a/{x}", "full"),
                route("GET", "/a/{y}", "full"),
                true,
            ),
            (
                route("", "/a/{x}", "full"),
                route("", "/a/{x}", "public"),
                true,
            ),
            (route("", "/{*a}", "full"), route("", "/{*b}", "full"), true),
            (
                route("GET", "/%61", "full"),
                route("GET", "/a", "full"),
                true,
            ),
            (
                host("A.b", route("", "/", "full")),
                host("a.B", route("", "/", "full")),
                true,
            ),
            (
                route("GET", "/a", "full"),
                route("HEAD", "/a", "full"),
                false,
            ),
            (route("GET", "/a", "full"), route("", "/a", "full"), false),
            (route("", "/a", "full"), route("", "/a/", "full"), false),
            (route("", "/a", "full"), route("", "/A", "full"), false),
            (route("", "/{a}", "full"), route("", "/{*a}", "full"), false),
            (
                host("a.b", route("", "/", "full")),
                host("*.b", route("", "/", "full")),
                false,
            ),
            (
                host("a.b", route("", "/", "full")),
                route("", "/", "full"),
                false,
            ),
        ] {
            let shown = format!(
                "{:?} {:?} and {:?} {:?}",
                one.host, one.paths, two.host, two.paths
            );
            let result = compile(vec![one, at_line(2, two)]);
            let got = matches!(result, Err(e) if matches!(e[..], [PolicyError::Conflict { .. }]));
            assert_eq!(got, conflict, "{shown}");
        }
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
    fn a_management_path_is_plain_text_and_none_is_below_another() {
        for (paths, expected) in [
            (
                &["/"][..],
                "`/` cannot be a management path: it does not end in `/`",
            ),
            (
                &["/a/"],
                "`/a/` cannot be a management path: it does not end in `/`",
            ),
            (
                &["/{a}"],
                "`/{a}` cannot be a management path: it has no params",
            ),
            (
                &["a"],
                "`a` cannot be a management path: a path starts with `/`",
            ),
            (
                &["/a%2fb"],
                "`/a%2fb` cannot be a management path: its text needs `encoded-slash`",
            ),
            (
                &["/a", "/a"],
                "the management path `/a` is at or below the management path `/a`",
            ),
            (
                &["/a", "/a/b"],
                "the management path `/a/b` is at or below the management path `/a`",
            ),
            (
                &["/a/b", "/a"],
                "the management path `/a/b` is at or below the management path `/a`",
            ),
        ] {
            let got = errors(compile_with_management(paths, Vec::new()));
            assert_eq!(got.len(), 1, "{paths:?}");
            assert_eq!(got[0].2, expected, "{paths:?}");
        }
        let undeclared = Policy::compile(PolicySpec {
            scopes: scopes(),
            routes: Vec::new(),
            management: Some(ManagementSpec {
                paths: vec![("/a".to_owned(), super::super::testing::place(1))],
                scope: (scope("Admn"), super::super::testing::place(2)),
            }),
        });
        assert_errors(
            undeclared,
            &[(
                2,
                0,
                "the scope `Admn` is not declared; did you mean `admin`?",
            )],
        );
    }

    #[test]
    fn a_route_at_or_below_a_management_path_is_an_error_for_any_host_and_a_broader_one_is_fine() {
        for (path, fine) in [
            ("/v3/apikeys", false),
            ("/v3/apikeys/", false),
            ("/v3/apikeys/{*rest}", false),
            ("/v3/%61pikeys/x", false),
            ("/v3/{*rest}", true),
            ("/v3/{x}", true),
            ("/v3/{x}/y", true),
            ("/v3/apikeysx", true),
            ("/v3/Apikeys", true),
            ("/v3", true),
        ] {
            let mut spec = route("", path, "full");
            spec.host = Some(HostPattern::parse("a.example").unwrap());
            let got = compile_with_management(&["/v3/apikeys"], vec![spec]);
            assert_eq!(got.is_ok(), fine, "{path}");
        }
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
