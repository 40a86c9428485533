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
    Policy, PolicyId, PolicySpec, Route, RouteIndex, RouteSettings, RouteSpec, Target, reach,
    widen,
};
use crate::key::{ScopeName, Scopes};
use http::Method;
use std::collections::{BTreeMap, BTreeSet};
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
    let key = |error: &PolicyError| {
        let at = |place: &Place| (Arc::clone(&place.file), place.span.start, place.span.end);
        (at(error.place()), error.other_place().map(at))
    };
    errors.sort_by_cached_key(key);
    errors.dedup_by(|a, b| {
        std::mem::discriminant(a) == std::mem::discriminant(b) && key(a) == key(b)
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
