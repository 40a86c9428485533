//! Hangs all routes in the tree, and finds those that want the same requests.
//!
//! Routes whose host and pattern are the same end at the same end of the tree, whatever the names of their params; there
//! [`ByMethod`] settles who takes which method, or says who is left with none.

use super::Compiler;
use crate::policy::methods::{ByMethod, MethodClash};
use crate::policy::pattern::Pattern;
use crate::policy::problem::{PolicyError, list};
use crate::policy::tree::{EndId, Tree};
use crate::policy::{HostPattern, Methods, Place, Policy, RouteIndex};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One end of the tree as it was written: the first route that ends there speaks for all.
pub(in crate::policy) struct Written {
    pub end: EndId,
    pub host: Option<HostPattern>,
    pub pattern: Pattern,
    /// As text.
    pub template: Arc<str>,
}

impl Written {
    /// All ends of a compiled policy.
    pub(in crate::policy) fn of(policy: &Policy) -> Vec<Written> {
        let ends = policy.tree.ends();
        let written = ends.filter_map(|(end, table)| {
            let route = &policy.routes[table.routes().first()?.index()];
            Some(Written {
                end,
                host: route.host.clone(),
                pattern: Pattern::parse(&route.template).ok()?,
                template: Arc::clone(&route.template),
            })
        });
        written.collect()
    }
}

impl Compiler<'_> {
    /// Hangs all routes in a tree, and finds those that want the same requests.
    pub(super) fn settle(&mut self) -> (Tree, Vec<Written>) {
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

#[cfg(test)]
mod tests {
    use super::super::super::testing::{at_line, compile, route};
    use super::super::super::{HostPattern, PolicyError, RouteSpec};

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
}
