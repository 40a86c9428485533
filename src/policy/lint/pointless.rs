//! `pointless-route`: a route whose requests would be decided in the same way without it.
//!
//! `/v3/users` beside `/v3/{*rest}`, both for fullAccess and both to the same upstream: the first says nothing. Found in two
//! steps. First, cheaply: for each path of a route and each method that it takes there, the routes that would take it
//! instead must lead to the same, with the same settings. Then, exactly: the policy is compiled without the table and compared
//! ([`super::super::diff`]); no request that the table decides may be decided otherwise. What the table does beside its own
//! requests (it keeps `/v3/users/` from the tail) is told in the help.
//!
//! A route that has a `name` or a rate is counted apart, so it is never pointless.

use super::super::compile::Written;
use super::super::diff::{Region, Side, compare};
use super::super::overlap::{Overlaps, covers_path};
use super::super::tree::EndId;
use super::super::widen::STEPS;
use super::super::{Methods, Place, Policy, PolicySpec, Query, Route, RouteIndex};
use super::{Finding, Lint, Subject};
use http::Method;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// How many routes may be compiled for the second step, over all tables that are looked at: seconds at most.
const COMPILED: usize = 400_000;

pub(super) fn check(subject: Subject<'_>) -> Vec<Finding> {
    let (candidates, all_seen) = candidates(subject);
    let routes = subject.policy.routes().len().max(1);
    let most = COMPILED / routes;
    let mut findings: Vec<Finding> = candidates
        .iter()
        .take(most)
        .filter_map(|(table, broader)| judged(subject, *table, broader))
        .collect();
    let unseen = candidates
        .get(most)
        .map(|(table, _)| &subject.spec.routes[*table].place);
    if let Some(place) = all_seen.err().or(unseen) {
        findings.push(Finding::new(
            Lint::NotAllCompared,
            place,
            "not all routes were looked at: some that a broader one makes pointless may not be named",
        ));
    }
    findings
}

/// Whether no request that the table decides is decided otherwise without it.
fn judged(subject: Subject<'_>, table: usize, broader: &Route) -> Option<Finding> {
    let written = &subject.spec.routes[table];
    let mut without: PolicySpec = subject.spec.clone();
    without.routes.remove(table);
    let without = Policy::compile(without).ok()?;
    let side = |policy| Side {
        policy,
        upstreams: &[],
    };
    let difference = compare(side(subject.policy), side(&without)).ok()?;
    let of_table = |region: &&Region| {
        let mut routes = region.old.routes.iter();
        routes.any(|route| route.place == written.place)
    };
    if difference.regions.iter().any(|region| of_table(&region)) {
        return None;
    }
    let message = format!(
        "`{}` decides nothing that `{}` does not decide in the same way",
        name(subject, &written.place),
        broader.name
    );
    let mut help = "take it out, or give it a `name` if it is to be counted apart".to_owned();
    if let Some(besides) = difference.regions.first() {
        let sample = &besides.sample;
        help.push_str(&format!(
            "; without it, `{} {}` is decided otherwise, too",
            sample.method, sample.path
        ));
    }
    Some(
        Finding::new(Lint::PointlessRoute, &written.place, message)
            .related(&broader.place, "the broader one is here")
            .help(help),
    )
}

fn name<'s>(subject: Subject<'s>, place: &Place) -> &'s str {
    let routes = subject.policy.routes().iter();
    let mut of_table = routes.filter(|route| route.place == *place);
    of_table.next().map_or("", |route| &*route.name)
}

/// The tables all of whose paths lead to the same without them, by their position, each with a broader route; and where the
/// search ended if its steps were used up.
fn candidates(subject: Subject<'_>) -> (Vec<(usize, &Route)>, Result<(), &Place>) {
    let policy = subject.policy;
    let written = Written::of(policy);
    let overlaps = Overlaps::new(policy, &written);
    let named = subject.spec.routes.iter().filter(|r| r.name.is_some());
    let named: HashSet<_> = named.map(|route| at(&route.place)).collect();
    let counted_apart = |route: &Route| {
        let settings = &route.settings;
        settings.rate.is_some() || settings.streams.is_some() || named.contains(&at(&route.place))
    };
    // By table: how many of its paths are covered, and by what.
    let mut covered: HashMap<(&Path, usize), (usize, &Route)> = HashMap::new();
    let mut steps = STEPS;
    let mut all_seen = Ok(());
    for specific in &written {
        let table = policy.tree.end(specific.end);
        let routes: Vec<RouteIndex> = (table.routes().iter().copied())
            .filter(|route| !counted_apart(&policy.routes[route.index()]))
            .collect();
        let Some(first) = routes.first() else {
            continue;
        };
        let others = overlaps.of(specific, &mut steps);
        let work = others
            .as_ref()
            .map_or(0, |others| others.len() * table.taken().count());
        let enough = steps.checked_sub(work);
        let (Some(others), Some(left)) = (others, enough) else {
            all_seen = Err(&policy.routes[first.index()].place);
            break;
        };
        steps = left;
        let search = Search::new(policy, &overlaps, specific, &others);
        for route in routes {
            let methods = table.taken().filter(|(_, taker)| *taker == route);
            let instead: Option<Vec<RouteIndex>> = methods
                .map(|(method, _)| search.same_without(route, method))
                .collect();
            let Some(instead) = instead.as_deref().and_then(<[_]>::first) else {
                continue;
            };
            let broader = &*policy.routes[instead.index()];
            let of_table = covered.entry(at(&policy.routes[route.index()].place));
            of_table.or_insert((0, broader)).0 += 1;
        }
    }
    let tables = subject.spec.routes.iter().enumerate();
    let whole = tables.filter_map(|(table, route)| {
        let (paths, broader) = covered.get(&at(&route.place))?;
        (*paths == route.paths.len()).then_some((table, *broader))
    });
    (whole.collect(), all_seen)
}

/// A place that can be looked up.
fn at(place: &Place) -> (&Path, usize) {
    (&place.file, place.span.start)
}

/// Who would decide in place of the routes of one end.
struct Search<'s> {
    policy: &'s Policy,
    specific: &'s Written,
    host: Option<String>,
    /// The less specific ends, each with whether it has every request of this one.
    others: Vec<(EndId, bool)>,
    /// A request of this end that no other literal has.
    fresh: String,
}

impl<'s> Search<'s> {
    fn new(
        policy: &'s Policy,
        overlaps: &'s Overlaps<'s>,
        specific: &'s Written,
        others: &[EndId],
    ) -> Self {
        let host = specific.host.as_ref().map(|host| overlaps.host_of(host));
        let mut less_specific = Vec::new();
        for other in others {
            let pattern = &overlaps.written[other].pattern;
            let path = overlaps.request_for_both(&specific.pattern, pattern);
            let query = Query {
                method: &Method::GET,
                host: host.as_deref(),
                path: &path,
            };
            let first = (policy.walk(query)).find(|end| *end == specific.end || end == other);
            if first == Some(specific.end) {
                less_specific.push((*other, covers_path(pattern, &specific.pattern)));
            }
        }
        Search {
            policy,
            specific,
            host,
            others: less_specific,
            fresh: overlaps.request_for_both(&specific.pattern, &specific.pattern),
        }
    }

    /// Who would take this method in place of the route, if all that could do so lead to the same.
    fn same_without(&self, route: RouteIndex, method: &Method) -> Option<RouteIndex> {
        let same = |other: RouteIndex| {
            leads_to_the_same(
                &self.policy.routes[route.index()],
                &self.policy.routes[other.index()],
            )
        };
        if let Some(sibling) = self.sibling(route, method) {
            return same(sibling).then_some(sibling);
        }
        let takes = |end: &EndId| self.policy.tree.end(*end).route(method);
        let between = self.others.iter().filter(|(_, covers)| !covers);
        if !between.filter_map(|(end, _)| takes(end)).all(same) {
            return None;
        }
        let query = Query {
            method,
            host: self.host.as_deref(),
            path: &self.fresh,
        };
        let covering = self.policy.walk(query).find_map(|end| {
            let covers = self
                .others
                .iter()
                .any(|(other, covers)| *other == end && *covers);
            takes(&end).filter(|_| covers)
        })?;
        same(covering).then_some(covering)
    }

    /// The route of the same host and path that the method falls to first: that of GET for HEAD, then the one that names none.
    fn sibling(&self, route: RouteIndex, method: &Method) -> Option<RouteIndex> {
        let table = self.policy.tree.end(self.specific.end);
        let get = Some(()).filter(|()| *method == Method::HEAD);
        let get = get
            .and_then(|()| table.route(&Method::GET))
            .filter(|get| *get != route);
        let usual = super::super::methods::DEFAULT.contains(method);
        let mut unnamed = table.routes().iter().copied().filter(|other| {
            *other != route && self.policy.routes[other.index()].methods == Methods::Default
        });
        get.or_else(|| unnamed.next().filter(|_| usual))
    }
}

/// Whether a permitted request fares alike by both, and the same are permitted.
fn leads_to_the_same(one: &Route, other: &Route) -> bool {
    one.access == other.access
        && one.target == other.target
        && one.allow == other.allow
        && one.settings == other.settings
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
            // A route of the same path takes its methods first.
            (
                &[
                    ("GET", "/a", "full"),
                    ("", "/a", "public"),
                    ("", "/{*rest}", "full"),
                ],
                none,
            ),
            (
                &[
                    ("HEAD", "/a", "full"),
                    ("GET", "/a", "auth"),
                    ("", "/{*rest}", "full"),
                ],
                none,
            ),
            (&[("HEAD", "/a", "full"), ("GET", "/a", "full")], &[(1, 2)]),
            // Without it `/a/b/` would be nobody's, not the tail's.
            (
                &[
                    ("POST", "/a/b", "auth"),
                    ("GET", "/a/{x}/", "full"),
                    ("GET", "/a/{*rest}", "full"),
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

    #[test]
    fn what_it_keeps_from_a_tail_is_told() {
        let specs = routes(&[("GET", "/a", "full"), ("", "/{*rest}", "full")]);
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
        let help = found[0].help.as_deref().unwrap();
        assert!(help.contains("` is decided otherwise, too"), "{help}");
        assert!(help.contains(" /a/`"), "{help}");
    }
}
