//! The tree against a plain loop over all routes, written from the rules alone.
//!
//! [`Oracle`] knows nothing of trees: it takes every route, asks whether it matches, sorts those that do and takes the
//! first. Random policies over a small alphabet and random requests must be answered alike; and what the compiler calls
//! unreachable must be just what no request of the whole small world reaches.

use super::testing::{compile, route};
use super::{Found, Policy, PolicyError, Query};
use http::Method;
use proptest::prelude::*;
use std::cmp::Reverse;

/// A route as text. The host: nothing, a name, or `*.` and a name. No methods: none written.
#[derive(Clone, Debug)]
struct Plain {
    host: Option<&'static str>,
    path: String,
    methods: Vec<&'static str>,
}

struct Oracle<'r>(&'r [Plain]);

const USUAL: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

#[derive(Clone, PartialEq, Eq, Debug)]
enum Answer {
    Route(usize),
    NotAllowed(String),
    NotFound,
}

/// How specific a match is; smaller is more.
type Specificity = (Reverse<usize>, Vec<u8>);

impl Plain {
    fn segments(&self) -> Vec<&str> {
        self.path[1..].split('/').collect()
    }

    fn has_tail(&self) -> bool {
        self.path.contains("{*")
    }

    fn matches_host(&self, host: Option<&str>) -> bool {
        match (self.host, host) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(pattern), Some(host)) => match pattern.strip_prefix('*') {
                Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
                None => host == pattern,
            },
        }
    }

    fn matches_path(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else {
            return false;
        };
        let mut have: Vec<&str> = path.split('/').collect();
        for segment in self.segments() {
            if segment.starts_with("{*") {
                return !have.join("/").is_empty();
            }
            if have.is_empty() {
                return false;
            }
            let first = have.remove(0);
            let fits = if segment.starts_with('{') {
                !first.is_empty()
            } else {
                first == segment
            };
            if !fits {
                return false;
            }
        }
        have.is_empty()
    }

    fn specificity(&self) -> Specificity {
        let host = match self.host {
            None => 0,
            Some(pattern) if pattern.starts_with('*') => pattern.len(),
            Some(_) => 1000,
        };
        let rank = |segment: &&str| match segment {
            s if s.starts_with("{*") => 2,
            s if s.starts_with('{') => 1,
            _ => 0,
        };
        (Reverse(host), self.segments().iter().map(rank).collect())
    }

    fn names(&self, method: &str) -> bool {
        self.methods.contains(&method)
    }
}

impl Oracle<'_> {
    fn answer(&self, method: &str, host: Option<&str>, path: &str) -> Answer {
        let mut matching: Vec<usize> = (0..self.0.len())
            .filter(|i| self.0[*i].matches_host(host) && self.0[*i].matches_path(path))
            .filter(|i| !(self.0[*i].has_tail() && self.slash_keeps_out(*i, host, path)))
            .collect();
        matching.sort_by_key(|i| self.0[*i].specificity());
        let same_place = |a: usize, b: usize| self.0[a].specificity() == self.0[b].specificity();
        let best = matching
            .iter()
            .filter_map(|i| {
                let route = &self.0[*i];
                // Within one host and path: who names the method, who names GET for a HEAD, who names none.
                let rank = if route.names(method) {
                    0
                } else if method == "HEAD" && route.names("GET") {
                    let named = matching
                        .iter()
                        .any(|j| same_place(*i, *j) && self.0[*j].names("HEAD"));
                    if named {
                        return None;
                    }
                    1
                } else if route.methods.is_empty() && USUAL.contains(&method) {
                    2
                } else {
                    return None;
                };
                Some((route.specificity(), rank, *i))
            })
            .min();
        if let Some((_, _, best)) = best {
            return Answer::Route(best);
        }
        if matching.is_empty() {
            return Answer::NotFound;
        }
        let mut allow: Vec<&str> = Vec::new();
        for i in matching {
            let route = &self.0[i];
            allow.extend(if route.methods.is_empty() {
                &USUAL[..]
            } else {
                &route.methods[..]
            });
            if route.names("GET") {
                allow.push("HEAD");
            }
        }
        allow.sort_unstable();
        allow.dedup();
        Answer::NotAllowed(allow.join(", "))
    }

    /// "A path that ends in `/` is not given to a tail when the same path without it has a more specific route."
    fn slash_keeps_out(&self, tail: usize, host: Option<&str>, path: &str) -> bool {
        let Some(shorter) = path.strip_suffix('/') else {
            return false;
        };
        self.0.iter().any(|other| {
            !other.has_tail()
                && other.matches_host(host)
                && other.matches_path(shorter)
                && other.specificity() < self.0[tail].specificity()
        })
    }

    /// Whether two routes want the same requests.
    fn clash(a: &Plain, b: &Plain) -> bool {
        let shape = |r: &Plain| {
            let params = |s: &str| match s {
                s if s.starts_with("{*") => "{*}".to_owned(),
                s if s.starts_with('{') => "{}".to_owned(),
                s => s.to_owned(),
            };
            (
                r.host,
                r.segments().into_iter().map(params).collect::<Vec<_>>(),
            )
        };
        shape(a) == shape(b)
            && (a.methods.is_empty() && b.methods.is_empty()
                || a.methods.iter().any(|m| b.names(m)))
    }
}

fn found(policy: &Policy, method: &str, host: Option<&str>, path: &str) -> Answer {
    let method: Method = method.parse().unwrap();
    match policy.find(Query {
        method: &method,
        host,
        path,
    }) {
        Found::Route(route) => Answer::Route(route.index()),
        Found::MethodNotAllowed(allow) => Answer::NotAllowed(allow.to_str().unwrap().to_owned()),
        Found::NotFound => Answer::NotFound,
    }
}

const HOSTS: [Option<&str>; 6] = [
    None,
    Some("e"),
    Some("q.e"),
    Some("x.e"),
    Some("y.x.e"),
    Some("z.y.x.e"),
];
const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "DELETE", "PURGE"];

fn a_host_pattern() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![
        5 => Just(None),
        1 => Just(Some("*.e")),
        1 => Just(Some("*.x.e")),
        1 => Just(Some("x.e")),
        1 => Just(Some("y.x.e")),
    ]
}

fn a_path_pattern(most: usize) -> impl Strategy<Value = String> {
    let segment = prop_oneof![3 => Just("a"), 2 => Just("b"), 3 => Just("{}")];
    let last = prop_oneof![4 => Just(None), 1 => Just(Some("")), 3 => Just(Some("{*rest}"))];
    (prop::collection::vec(segment, 0..most), last).prop_map(|(segments, last)| {
        let mut path = String::new();
        for (i, segment) in segments.iter().chain(last.iter()).enumerate() {
            path.push('/');
            // Different names at the same spot are fine.
            path.push_str(&if *segment == "{}" {
                format!("{{p{i}}}")
            } else {
                (*segment).to_owned()
            });
        }
        if path.is_empty() {
            "/".to_owned()
        } else {
            path
        }
    })
}

fn a_policy(most_segments: usize) -> impl Strategy<Value = Vec<Plain>> {
    let methods = prop_oneof![
        2 => Just(Vec::new()),
        3 => prop::sample::subsequence(METHODS.to_vec(), 1..3),
    ];
    let route = (a_host_pattern(), a_path_pattern(most_segments), methods).prop_map(
        |(host, path, methods)| Plain {
            host,
            path,
            methods,
        },
    );
    prop::collection::vec(route, 1..14)
}

fn a_path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![4 => Just("a"), 3 => Just("b"), 2 => Just("c"), 1 => Just("")];
    (
        prop::collection::vec(segment, 1..6),
        prop::bool::weighted(0.3),
    )
        .prop_map(|(segments, slash)| {
            format!("/{}{}", segments.join("/"), if slash { "/" } else { "" })
        })
}

/// The policy without the routes that clash with an earlier one, and it compiled.
fn without_clashes(routes: Vec<Plain>) -> (Vec<Plain>, Result<Policy, Vec<PolicyError>>) {
    let mut kept: Vec<Plain> = Vec::new();
    for route in routes {
        if !kept.iter().any(|other| Oracle::clash(&route, other)) {
            kept.push(route);
        }
    }
    let compiled = compile_plain(&kept);
    (kept, compiled)
}

fn compile_plain(routes: &[Plain]) -> Result<Policy, Vec<PolicyError>> {
    let specs = routes.iter().enumerate().map(|(i, r)| {
        let mut spec = route(&r.methods.join(" "), &r.path, "public");
        spec.host = r.host.map(|host| super::HostPattern::parse(host).unwrap());
        spec.place.line = i + 1;
        spec.place.span = i..i + 1;
        spec.paths[0].1 = spec.place.clone();
        spec
    });
    compile(specs.collect())
}

/// Every path of up to four segments of two literals and one that is none, with a slash at its end and without.
fn all_paths() -> Vec<String> {
    let mut paths = vec![String::new()];
    let mut all = vec!["/".to_owned()];
    for _ in 0..4 {
        paths = paths
            .iter()
            .flat_map(|p| ["a", "b", "c"].map(|s| format!("{p}/{s}")))
            .collect();
        all.extend(paths.iter().flat_map(|p| [p.clone(), format!("{p}/")]));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_tree_answers_as_a_loop_over_all_routes_does(
        routes in a_policy(4),
        requests in prop::collection::vec(
            (prop::sample::select(&METHODS[..]), prop::sample::select(&HOSTS[..]), a_path()), 1..40),
    ) {
        let (routes, policy) = without_clashes(routes);
        let Ok(policy) = policy else { return Ok(()) };
        for (method, host, path) in requests {
            prop_assert_eq!(
                found(&policy, method, host, &path),
                Oracle(&routes).answer(method, host, &path),
                "{} {:?} {}", method, host, path
            );
        }
    }

    #[test]
    fn of_the_routes_that_match_a_request_the_first_that_is_listed_decides(
        routes in a_policy(4),
        requests in prop::collection::vec(
            (prop::sample::select(&METHODS[..]), prop::sample::select(&HOSTS[..]), a_path()), 1..40),
    ) {
        let (routes, policy) = without_clashes(routes);
        let Ok(policy) = policy else { return Ok(()) };
        let oracle = Oracle(&routes);
        let listing: Vec<(usize, Vec<String>)> = policy.listing().into_iter().map(|listed| {
            let methods = listed.methods.iter().map(ToString::to_string);
            (listed.route.place.line - 1, methods.collect())
        }).collect();
        for (method, host, path) in requests {
            let first = listing.iter().find(|(at, methods)| {
                let route = &oracle.0[*at];
                methods.iter().any(|taken| taken == method)
                    && route.matches_host(host)
                    && route.matches_path(&path)
                    && !(route.has_tail() && oracle.slash_keeps_out(*at, host, &path))
            });
            let decides = match oracle.answer(method, host, &path) {
                Answer::Route(at) => Some(at),
                Answer::NotAllowed(_) | Answer::NotFound => None,
            };
            prop_assert_eq!(first.map(|(at, _)| *at), decides, "{} {:?} {}", method, host, path);
        }
    }

    #[test]
    fn two_routes_are_in_conflict_just_where_they_want_the_same_requests(routes in a_policy(3)) {
        let compiled = compile_plain(&routes);
        let conflicts = compiled.err().into_iter().flatten()
            .any(|error| matches!(error, PolicyError::Conflict { .. }));
        let clashes = (0..routes.len()).any(|i| (0..i).any(|j| Oracle::clash(&routes[i], &routes[j])));
        prop_assert_eq!(conflicts, clashes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn unreachable_is_just_what_no_request_reaches(routes in a_policy(3)) {
        let (routes, policy) = without_clashes(routes);
        let claimed: Vec<usize> = policy.err().into_iter().flatten()
            .filter(|error| matches!(error, PolicyError::Unreachable { .. }))
            .map(|error| error.place().line - 1)
            .collect();
        let oracle = Oracle(&routes);
        let mut reached = vec![false; routes.len()];
        for path in all_paths() {
            for method in USUAL.into_iter().chain(["PURGE"]) {
                for host in HOSTS {
                    if let Answer::Route(route) = oracle.answer(method, host, &path) {
                        reached[route] = true;
                    }
                }
            }
        }
        let unreached: Vec<usize> = (0..routes.len()).filter(|i| !reached[*i]).collect();
        prop_assert_eq!(claimed, unreached);
    }
}
