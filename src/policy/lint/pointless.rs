//! `pointless-route`: a route without which its requests would be decided in the same way, by a broader one.
//!
//! `/v3/users` beside `/v3/{*rest}`, both for fullAccess and both to the same upstream: the first says nothing. For each
//! path of a route and each method that it takes there, the ends that overlap it and are less specific are put in the
//! order of the walk; if all up to the first that has every request of the path lead to the same, the path is pointless.
//! A route that has a `name` or a rate is counted apart, so it is never pointless.

use super::super::compile::Written;
use super::super::overlap::{Overlaps, covers_path};
use super::super::tree::EndId;
use super::super::widen::STEPS;
use super::super::{Place, Policy, Query, Route, RouteIndex};
use super::{Finding, Lint, Subject};
use http::Method;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

pub(super) fn check(subject: Subject<'_>) -> Vec<Finding> {
    let policy = subject.policy;
    let written = Written::of(policy);
    let overlaps = Overlaps::new(policy, &written);
    let mut findings = Vec::new();
    let mut steps = STEPS;
    let named = subject.spec.routes.iter().filter(|r| r.name.is_some());
    let named: HashSet<_> = named.map(|route| at(&route.place)).collect();
    let counted_apart = |route: &Route| {
        let settings = &route.settings;
        settings.rate.is_some() || settings.streams.is_some() || named.contains(&at(&route.place))
    };
    for specific in &written {
        let table = policy.tree.end(specific.end);
        let routes = table.routes();
        if routes
            .iter()
            .all(|r| counted_apart(&policy.routes[r.index()]))
        {
            continue;
        }
        let Some(others) = overlaps.of(specific, &mut steps) else {
            // `not-all-compared` has said so.
            break;
        };
        for route in routes {
            let of_route = &policy.routes[route.index()];
            if counted_apart(of_route) {
                continue;
            }
            let methods = table.taken().filter(|(_, taker)| taker == route);
            let instead: Option<Vec<RouteIndex>> = methods
                .map(|(method, _)| {
                    same_without(policy, &overlaps, specific, &others, *route, method)
                })
                .collect();
            let Some(instead) = instead.filter(|instead| !instead.is_empty()) else {
                continue;
            };
            let broader = &policy.routes[instead[0].index()];
            let message = format!(
                "`{}` decides nothing that `{}` does not decide in the same way",
                of_route.name, broader.name
            );
            let mut finding = Finding::new(Lint::PointlessRoute, &of_route.place, message)
                .related(&broader.place, "the broader one is here");
            finding = finding.help("take it out, or give it a `name` if it is to be counted apart");
            findings.push(finding);
        }
    }
    only_whole_tables(subject, findings)
}

/// A place that can be looked up.
fn at(place: &Place) -> (&Path, usize) {
    (&place.file, place.span.start)
}

/// The covering route that would decide in place of this one for a method, if all that could do so lead to the same.
fn same_without(
    policy: &Policy,
    overlaps: &Overlaps<'_>,
    specific: &Written,
    others: &[EndId],
    route: RouteIndex,
    method: &Method,
) -> Option<RouteIndex> {
    let host = specific.host.as_ref().map(|host| overlaps.host_of(host));
    let mut instead: Vec<(EndId, RouteIndex)> = Vec::new();
    for other in others {
        let Some(taker) = policy.tree.end(*other).route(method) else {
            continue;
        };
        let path = overlaps.request_for_both(&specific.pattern, &overlaps.written[other].pattern);
        let query = Query {
            method,
            host: host.as_deref(),
            path: &path,
        };
        let first = (policy.walk(query)).find(|end| *end == specific.end || end == other);
        if first == Some(specific.end) {
            instead.push((*other, taker));
        }
    }
    // The nearest that has every request of this one: of those that have, the walk of a fresh request meets it first.
    let fresh = overlaps.request_for_both(&specific.pattern, &specific.pattern);
    let query = Query {
        method,
        host: host.as_deref(),
        path: &fresh,
    };
    let covering = policy.walk(query).find_map(|end| {
        let (_, taker) = instead.iter().find(|(other, _)| *other == end)?;
        let pattern = &overlaps.written[&end].pattern;
        covers_path(pattern, &specific.pattern).then_some(*taker)
    })?;
    let same = |other: RouteIndex| {
        leads_to_the_same(&policy.routes[route.index()], &policy.routes[other.index()])
    };
    let all_before = instead.iter().all(|(end, taker)| {
        same(*taker) || covers_path(&overlaps.written[end].pattern, &specific.pattern)
    });
    (same(covering) && all_before).then_some(covering)
}

/// Whether a permitted request fares alike by both, and the same are permitted.
fn leads_to_the_same(one: &Route, other: &Route) -> bool {
    one.access == other.access
        && one.target == other.target
        && one.allow == other.allow
        && one.settings == other.settings
}

/// A table is one decision of its writer: it is pointless when all its paths are.
fn only_whole_tables(subject: Subject<'_>, findings: Vec<Finding>) -> Vec<Finding> {
    let mut by_table: HashMap<PathBuf, HashMap<usize, Vec<Finding>>> = HashMap::new();
    for finding in findings {
        let file = by_table.entry((*finding.place.file).clone()).or_default();
        file.entry(finding.place.span.start)
            .or_default()
            .push(finding);
    }
    let mut whole = Vec::new();
    for route in &subject.spec.routes {
        let (file, start) = at(&route.place);
        let Some(of_table) = by_table.get(file).and_then(|file| file.get(&start)) else {
            continue;
        };
        if of_table.len() == route.paths.len() {
            whole.extend(of_table.first().cloned());
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{compile, routes, scopes};
    use super::super::super::{PolicySpec, Rate, RouteSpec};
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    fn pointless(specs: Vec<RouteSpec>) -> Vec<(usize, usize)> {
        let policy = compile(specs.clone()).unwrap();
        let spec = PolicySpec {
            scopes: scopes(),
            routes: specs,
            management: None,
        };
        let found = check(Subject {
            policy: &policy,
            spec: &spec,
            expectations: &[],
            scopes: &[],
        });
        let lines = found.iter().map(|f| {
            let other = f.related.as_ref().map_or(0, |(place, _)| place.line);
            (f.place.line, other)
        });
        lines.collect()
    }

    #[test]
    fn a_route_is_pointless_where_a_broader_one_does_the_same() {
        let none: &[(usize, usize)] = &[];
        for (rows, expected) in [
            (
                &[("GET", "/v3/users", "full"), ("", "/v3/{*rest}", "full")][..],
                &[(1, 2)][..],
            ),
            // Scopes are compared as they are closed: admin includes full.
            (
                &[("GET", "/a", "full admin"), ("", "/{*rest}", "full")],
                &[(1, 2)],
            ),
            (&[("GET", "/a", "auth"), ("", "/{*rest}", "full")], none),
            (&[("GET", "/a", "deny"), ("", "/{*rest}", "full")], none),
            // The broader one does not take the method.
            (
                &[("GET PURGE", "/a", "full"), ("", "/{*rest}", "full")],
                none,
            ),
            // Another one is between.
            (
                &[
                    ("GET", "/a/b", "full"),
                    ("", "/a/{*rest}", "auth"),
                    ("", "/{*rest}", "full"),
                ],
                none,
            ),
            (
                &[
                    ("GET", "/a/b", "full"),
                    ("POST", "/a/{*rest}", "auth"),
                    ("", "/{*rest}", "full"),
                ],
                &[(1, 3)],
            ),
            // Of some of its requests another would decide.
            (
                &[
                    ("GET", "/a/{x}", "full"),
                    ("GET", "/{y}/b", "auth"),
                    ("GET", "/{*rest}", "full"),
                ],
                none,
            ),
            // What is more specific takes nothing from it that it has.
            (
                &[
                    ("GET", "/a/{x}", "full"),
                    ("GET", "/a/b", "auth"),
                    ("GET", "/{*rest}", "full"),
                ],
                &[(1, 3)],
            ),
            // All paths, or none.
            (
                &[("GET", "/a/b /c", "full"), ("GET", "/a/{x}", "full")],
                none,
            ),
            (
                &[("GET", "/a/b /a/c", "full"), ("GET", "/a/{x}", "full")],
                &[(1, 2)],
            ),
        ] {
            assert_eq!(pointless(routes(rows)), expected, "{rows:?}");
        }
    }

    #[test]
    fn what_is_counted_or_sent_apart_is_not_pointless() {
        let with = |change: fn(&mut RouteSpec)| {
            let mut specs = routes(&[("GET", "/a", "full"), ("", "/{*rest}", "full")]);
            change(&mut specs[0]);
            pointless(specs)
        };
        assert_eq!(with(|_| {}), [(1, 2)]);
        assert_eq!(with(|route| route.name = Some(Arc::from("a"))), []);
        assert_eq!(with(|route| route.upstream = 1), []);
        assert_eq!(
            with(|route| {
                route.settings.rate = Some(Rate {
                    interval: Duration::from_millis(10),
                    burst: 1,
                });
            }),
            []
        );
        assert_eq!(with(|route| route.settings.body_bytes = Some(1)), []);
    }
}
