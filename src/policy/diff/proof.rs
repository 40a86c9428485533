//! The comparison against trying everything: on random policies over a small alphabet, every request of a small world is put
//! to both, for everyone who may ask. What differs is in just one region, in the right one, and what does not is in none.
//!
//! Membership is read from the regions' texts, as a person would, by a plain matcher of its own.

use super::super::testing::{place, route, scope};
use super::super::{HostPattern, ManagementSpec, PolicySpec, Query, Refusal, RouteSpec, Target};
use super::*;
use crate::http::canonical_path;
use crate::key::{ScopeName, Scopes};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Whether a path is one of a pattern, given as text.
fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, ends): (&str, fn(&str) -> bool) =
        if let Some(start) = pattern.strip_suffix("{/*}") {
            (start, |rest| rest.is_empty() || rest.starts_with('/'))
        } else if let Some(start) = pattern.strip_suffix("{/}") {
            (start, |rest| rest.is_empty() || rest == "/")
        } else if let Some(start) = pattern.strip_suffix("/{*rest}") {
            (start, |rest| rest.starts_with('/') && rest.len() > 1)
        } else {
            (pattern, str::is_empty)
        };
    let mut rest = path;
    for segment in pattern.split('/').skip(1) {
        let Some(after) = rest.strip_prefix('/') else {
            return false;
        };
        let (own, next) = after.split_at(after.find('/').unwrap_or(after.len()));
        let fits = match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
            None => own == segment,
            Some(inner) => {
                let but = inner.split_once("!=").map_or("", |(_, but)| but);
                !own.is_empty() && !but.split(',').any(|name| name == own)
            }
        };
        if !fits {
            return false;
        }
        rest = next;
    }
    ends(rest)
}

#[test]
fn a_pattern_as_text_is_read_as_it_says() {
    for (pattern, path, expected) in [
        ("/", "/", true),
        ("/", "/a", false),
        ("/a", "/a", true),
        ("/a", "/a/", false),
        ("/a/", "/a/", true),
        ("/a{/}", "/a", true),
        ("/a{/}", "/a/", true),
        ("/a{/}", "/a/b", false),
        ("/a{/*}", "/a", true),
        ("/a{/*}", "/a//", true),
        ("/a{/*}", "/ab", false),
        ("/a/{*rest}", "/a/", false),
        ("/a/{*rest}", "/a//", true),
        ("/a//{*rest}", "/a//", false),
        ("/a//{*rest}", "/a//b", true),
        ("/a//", "/a//", true),
        ("/{x}/b", "/a/b", true),
        ("/{x}/b", "//b", false),
        ("/{x!=a,c}/b", "/a/b", false),
        ("/{x!=a,c}/b", "/b/b", true),
        ("/{x!=a}{/*}", "/c/a", true),
    ] {
        assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
    }
}

/// Whether a host is in a set.
fn has_host(hosts: &Hosts, host: &str) -> bool {
    let rank = |pattern: &Option<HostPattern>| match pattern {
        None => Some(0),
        Some(HostPattern::Exact(name)) => (**name == *host).then_some(1000),
        Some(HostPattern::Suffix(name)) => {
            let own = host.strip_suffix(&**name)?.strip_suffix('.')?;
            (!own.is_empty()).then_some(name.len())
        }
    };
    let best = |patterns: &[Option<HostPattern>]| patterns.iter().filter_map(rank).max();
    best(&hosts.of) > best(&hosts.but)
}

/// The texts of a region's paths, each with those of its exceptions.
fn texts(region: &Region) -> Vec<(String, Vec<String>)> {
    let all = |patterns: &[PathPattern]| patterns.iter().map(PathPattern::to_string).collect();
    let parts = region.paths.iter();
    parts
        .map(|paths| (paths.of.to_string(), all(&paths.except)))
        .collect()
}

fn has_path(
    (region, texts): &(&Region, Vec<(String, Vec<String>)>),
    path: &str,
    needs: Exceptions,
) -> bool {
    let in_one = |(of, except): &&(String, Vec<String>)| {
        matches(of, path) && !except.iter().any(|except| matches(except, path))
    };
    let count = texts.iter().filter(in_one).count();
    assert!(
        count <= 1,
        "the parts of a region are disjoint: {path} in {region:?}"
    );
    count == 1
        && region.needs_within.cover(needs)
        && region
            .needs_beyond
            .is_none_or(|beyond| !beyond.cover(needs))
}

/// A route as it can be written down here.
#[derive(Clone, Debug)]
struct Plain {
    host: Option<&'static str>,
    path: String,
    methods: &'static str,
    access: &'static str,
    allow: Exceptions,
    upstream: usize,
}

#[derive(Clone, Debug)]
struct Written {
    routes: Vec<Plain>,
    management: &'static [&'static str],
    inclusion: bool,
}

const PATTERNS: [Option<&str>; 4] = [None, Some("q.e"), Some("*.e"), Some("*.x.e")];
const HOSTS: [&str; 6] = ["z", "q.e", "r.e", "x.e", "y.x.e", "z.y.x.e"];
const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "PURGE", "TRIM"];
const SEGMENTS: [&str; 6] = ["a", "b", "c", "a%2Fb", "c;", ""];
const MOST: usize = 4;

fn scopes(inclusion: bool) -> Scopes {
    let mut declared = BTreeMap::from([(scope("auth"), vec![]), (scope("full"), vec![])]);
    if inclusion {
        declared.insert(scope("full"), vec![scope("auth")]);
        declared.insert(scope("other"), vec![]);
    }
    Scopes::new(&declared).unwrap()
}

/// Those who ask: no key, and keys of scopes, one of which only some policies declare.
fn people() -> Vec<Option<ScopeName>> {
    let named = ["auth", "full", "other"].map(|name| Some(scope(name)));
    [None].into_iter().chain(named).collect()
}

/// The policy of the routes that can stand beside those before them.
fn compiled(written: &Written) -> Policy {
    let spec = |routes: &[RouteSpec]| PolicySpec {
        scopes: scopes(written.inclusion),
        routes: routes.to_vec(),
        management: Some(ManagementSpec {
            paths: written
                .management
                .iter()
                .map(|path| ((*path).to_owned(), place(100)))
                .collect(),
            scope: (scope("full"), place(100)),
        }),
    };
    let mut kept: Vec<RouteSpec> = Vec::new();
    for (at, plain) in written.routes.iter().enumerate() {
        let mut one = route(plain.methods, &plain.path, plain.access);
        one.host = plain.host.map(|host| HostPattern::parse(host).unwrap());
        one.allow = plain.allow;
        one.upstream = plain.upstream;
        one = super::super::testing::at_line(at + 1, one);
        kept.push(one);
        if Policy::compile(spec(&kept)).is_err() {
            kept.pop();
        }
    }
    Policy::compile(spec(&kept)).unwrap()
}

fn a_route() -> impl Strategy<Value = Plain> {
    let segment = prop_oneof![
        4 => Just("a"), 3 => Just("b"), 4 => Just("{}"), 1 => Just("a%2Fb"), 1 => Just("")
    ];
    let last = prop_oneof![4 => Just(None), 1 => Just(Some("")), 4 => Just(Some("{*rest}"))];
    let path = (prop::collection::vec(segment, 0..3), last).prop_map(|(segments, last)| {
        let mut path = String::new();
        for (i, segment) in segments.iter().chain(last.iter()).enumerate() {
            path.push('/');
            match *segment {
                "{}" => path.push_str(&format!("{{p{i}}}")),
                other => path.push_str(other),
            }
        }
        if path.is_empty() {
            "/".to_owned()
        } else {
            path
        }
    });
    let slash = Exceptions::ENCODED_SLASH;
    let double = Exceptions::DOUBLE_SLASH;
    (
        prop_oneof![3 => Just(None), 2 => prop::sample::select(&PATTERNS[1..])],
        path,
        prop::sample::select(&["", "", "GET", "POST", "GET PURGE", "HEAD"][..]),
        prop::sample::select(&["public", "deny", "auth", "full", "auth full"][..]),
        prop_oneof![
            3 => Just(Exceptions::NONE),
            1 => Just(slash),
            1 => Just(double),
            1 => Just(slash.with(double)),
            1 => Just(slash.with(Exceptions::SEMICOLON)),
        ],
        prop::bool::weighted(0.1),
    )
        .prop_map(|(host, path, methods, access, allow, upstream)| Plain {
            host,
            path,
            methods,
            access,
            allow,
            upstream: usize::from(upstream),
        })
}

fn a_policy() -> impl Strategy<Value = Written> {
    let management: &[&[&str]] = &[&[], &["/a"], &["/b/a"], &["/a/b", "/b"]];
    (
        prop::collection::vec(a_route(), 1..9),
        prop::sample::select(management),
        prop::bool::weighted(0.8),
    )
        .prop_map(|(routes, management, inclusion)| Written {
            routes,
            management,
            inclusion,
        })
}

/// Two policies: an edit of one, or any two.
fn two_policies() -> impl Strategy<Value = (Written, Written)> {
    let edited =
        (a_policy(), a_route(), 0..9usize, any::<bool>()).prop_map(|(old, route, at, replace)| {
            let mut new = old.clone();
            let at = at % new.routes.len();
            if replace {
                new.routes[at] = route;
            } else {
                new.routes.insert(at, route);
            }
            (old, new)
        });
    prop_oneof![2 => edited, 1 => (a_policy(), a_policy())]
}

fn all_paths() -> Vec<(String, Exceptions)> {
    let mut paths = vec![String::new()];
    let mut all = Vec::new();
    for _ in 0..MOST {
        let longer = paths
            .iter()
            .flat_map(|path| SEGMENTS.map(|segment| format!("{path}/{segment}")));
        paths = longer.collect();
        for path in &paths {
            if let Ok((canonical, needs)) = canonical_path(path) {
                assert_eq!(canonical, *path);
                all.push((path.clone(), needs));
            }
        }
    }
    all
}

/// What a policy makes of a request, and where it leads.
fn decide(
    policy: &Policy,
    method: &Method,
    host: &str,
    (path, needs): (&str, Exceptions),
    who: Option<&ScopeName>,
) -> Result<Target, u16> {
    let query = Query {
        method,
        host: Some(host),
        path,
    };
    match policy.judge(policy.routed(query, needs), who) {
        Ok(route) => Ok(policy.routes()[route.index()].target),
        Err(Refusal::Unidentified) => Err(401),
        Err(Refusal::NoRoute) => Err(404),
        Err(Refusal::MethodNotAllowed { .. }) => Err(405),
        Err(Refusal::Denied | Refusal::ScopeLacking) => Err(403),
        Err(Refusal::AmbiguousTarget) => Err(400),
    }
}

fn change(old: &Result<Target, u16>, new: &Result<Target, u16>) -> Option<Change> {
    match (old, new) {
        (Err(_), Ok(_)) => Some(Change::Widened),
        (Ok(_), Err(_)) => Some(Change::Narrowed),
        (Ok(old), Ok(new)) => (old != new).then_some(Change::Rerouted),
        (Err(_), Err(_)) => None,
    }
}

fn is_of(region: &Region, who: Option<&ScopeName>) -> bool {
    region.who.iter().any(|one| match one {
        Who::Anyone => who.is_none(),
        Who::Scope(scope) => who == Some(scope),
    })
}

fn assert_outcome(outcome: &Outcome, decided: &Result<Target, u16>, what: &str) {
    match decided {
        Ok(_) => assert!(outcome.refusals.is_empty(), "{what}"),
        Err(status) => assert!(outcome.refusals.contains(status), "{what}: {status}"),
    }
}

/// Puts every request of the small world to both policies.
fn assert_told(old: &Policy, new: &Policy, told: &Difference) {
    let (paths, people) = (all_paths(), people());
    let methods: Vec<Method> = METHODS.iter().map(|name| name.parse().unwrap()).collect();
    let declared = |scope: &ScopeName| old.scopes().declares(scope) || new.scopes().declares(scope);
    let all: Vec<_> = told
        .regions
        .iter()
        .map(|region| (region, texts(region)))
        .collect();
    for (path, needs) in &paths {
        let regions = all.iter().filter(|region| has_path(region, path, *needs));
        let regions: Vec<&Region> = regions.map(|(region, _)| *region).collect();
        for host in HOSTS {
            let regions: Vec<&&Region> = regions
                .iter()
                .filter(|region| has_host(&region.hosts, host))
                .collect();
            for method in &methods {
                for who in &people {
                    let who = who.as_ref();
                    // A key of a scope that neither knows gets what no key gets.
                    let stranger = who.is_some_and(|scope| !declared(scope));
                    let before = decide(old, method, host, (path, *needs), who);
                    let after = decide(new, method, host, (path, *needs), who);
                    let found: Vec<&&&Region> = regions
                        .iter()
                        .filter(|region| region.methods.contains(method))
                        .filter(|region| is_of(region, who.filter(|_| !stranger)))
                        .collect();
                    if found.is_empty() && change(&before, &after).is_none() {
                        continue;
                    }
                    let what = format!("{method} {host} {path} for {who:?}: {before:?} {after:?}");
                    let changes: Vec<Change> = found.iter().map(|region| region.change).collect();
                    let expected: Vec<Change> = change(&before, &after).into_iter().collect();
                    assert_eq!(changes, expected, "{what}\n{found:#?}");
                    for region in found.into_iter().filter(|_| !stranger) {
                        assert_outcome(&region.old, &before, &what);
                        assert_outcome(&region.new, &after, &what);
                    }
                }
            }
        }
    }
}

/// Each region's request is one of it, and is decided as it says.
fn assert_samples(old: &Policy, new: &Policy, told: &Difference) {
    for region in &told.regions {
        let sample = &region.sample;
        let (path, needs) = canonical_path(&sample.path).expect("a sample can be sent");
        assert_eq!(path, sample.path);
        assert!(
            has_path(&(region, texts(region)), &path, needs),
            "{region:#?}"
        );
        assert!(has_host(&region.hosts, &sample.host), "{region:#?}");
        let method: Method = sample.method.parse().unwrap();
        assert!(region.methods.contains(&method), "{region:#?}");
        for who in &region.who {
            let who = match who {
                Who::Anyone => None,
                Who::Scope(scope) => Some(scope),
            };
            let before = decide(old, &method, &sample.host, (&path, needs), who);
            let after = decide(new, &method, &sample.host, (&path, needs), who);
            assert_eq!(change(&before, &after), Some(region.change), "{region:#?}");
            assert_outcome(&region.old, &before, "a sample");
            assert_outcome(&region.new, &after, "a sample");
        }
    }
}

fn side(policy: &Policy) -> Side<'_> {
    Side {
        policy,
        upstreams: &["one", "two"],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_difference_is_in_one_region_and_nothing_else_is((old, new) in two_policies()) {
        let (old, new) = (compiled(&old), compiled(&new));
        let told = compare(side(&old), side(&new)).unwrap();
        assert_told(&old, &new, &told);
        assert_samples(&old, &new, &told);
        let back = compare(side(&new), side(&old)).unwrap();
        prop_assert_eq!(back.regions.len(), told.regions.len());
        prop_assert_eq!(compare(side(&old), side(&old)).unwrap().regions.len(), 0);
    }
}
