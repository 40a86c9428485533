//! The decision alone: which route takes a request, with 10, 1,000 and 10,000 routes.
//!
//! `cargo bench --bench decision`. The policy has the shape of a large API: resources beside each other below one
//! prefix, three routes each, and a tail that takes the rest. The requests of a benchmark go round over all resources,
//! so that the tree does not stay in the nearest cache by being asked one thing only.

use divan::{Bencher, black_box};
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method};
use keygate::http::{AdmitRules, Admitted, UnderscoreRule, admit};
use keygate::key::{ScopeName, Scopes};
use keygate::policy::{
    AccessSpec, Exceptions, Identity, Methods, Place, Policy, PolicySpec, Query, RouteSettings,
    RouteSpec,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

const ROUTES: [usize; 3] = [10, 1_000, 10_000];

fn main() {
    divan::main();
}

#[divan::bench(args = ROUTES, sample_size = 2000)]
fn literal(bencher: Bencher, routes: usize) {
    find(bencher, routes, Method::GET, |i| {
        format!("/v3/resource-{i}")
    });
}

#[divan::bench(args = ROUTES, sample_size = 2000)]
fn param(bencher: Bencher, routes: usize) {
    find(bencher, routes, Method::GET, |i| {
        format!("/v3/resource-{i}/item-{}", i * 7)
    });
}

#[divan::bench(args = ROUTES, sample_size = 2000)]
fn deeper_literal(bencher: Bencher, routes: usize) {
    find(bencher, routes, Method::POST, |i| {
        format!("/v3/resource-{i}/item-{}/parts", i * 7)
    });
}

#[divan::bench(args = ROUTES, sample_size = 2000)]
fn fall_to_the_tail_by_method(bencher: Bencher, routes: usize) {
    find(bencher, routes, Method::DELETE, |i| {
        format!("/v3/resource-{i}/item-{}/parts", i * 7)
    });
}

#[divan::bench(args = ROUTES, sample_size = 2000)]
fn fall_to_the_tail_by_path(bencher: Bencher, routes: usize) {
    find(bencher, routes, Method::GET, |i| {
        format!("/v3/other-{i}/x/y/z")
    });
}

#[divan::bench(args = ROUTES, sample_size = 2000)]
fn not_found(bencher: Bencher, routes: usize) {
    find(bencher, routes, Method::GET, |i| {
        format!("/v4/resource-{i}")
    });
}

#[divan::bench(args = ROUTES, sample_size = 2000)]
fn method_not_allowed(bencher: Bencher, routes: usize) {
    let method = Method::from_bytes(b"PURGE").expect("PURGE is a method");
    find(bencher, routes, method, |i| {
        format!("/v3/resource-{i}/item-{}", i * 7)
    });
}

/// Both proofs, from an admitted request to a permitted one, on a public route.
#[divan::bench(args = ROUTES, sample_size = 2000)]
fn route_and_permit(bencher: Bencher, routes: usize) {
    let policy = policy(routes);
    let requests: Vec<Admitted> = (0..resources(routes))
        .map(|i| admitted(&format!("/v3/resource-{i}")))
        .collect();
    let mut requests = requests.iter().cycle();
    bencher.bench_local(|| {
        let request = requests.next().expect("a cycle has no end");
        let routed = policy.route(black_box(request));
        policy.permit(routed, Identity::Anonymous).is_ok()
    });
}

/// From the written policy to the one that decides, warnings included: what a reload pays.
#[divan::bench(args = ROUTES, sample_count = 10)]
fn compile(bencher: Bencher, routes: usize) {
    bencher
        .with_inputs(|| spec(routes))
        .bench_local_values(|spec| Policy::compile(spec).is_ok());
}

fn find(bencher: Bencher, routes: usize, method: Method, path: impl Fn(usize) -> String) {
    let policy = policy(routes);
    let paths: Vec<String> = (0..resources(routes)).map(path).collect();
    let mut paths = paths.iter().cycle();
    bencher.bench_local(|| {
        let path = paths.next().expect("a cycle has no end");
        policy.find(black_box(Query {
            method: &method,
            host: Some("api.example.com"),
            path,
        }))
    });
}

fn resources(routes: usize) -> usize {
    (routes - 1) / 3
}

fn policy(routes: usize) -> Policy {
    let policy = Policy::compile(spec(routes)).expect("the benchmark's policy compiles");
    assert_eq!(policy.routes().len(), routes);
    policy
}

fn spec(routes: usize) -> PolicySpec {
    let full = ScopeName::parse("full").expect("a scope's name");
    let scopes = Scopes::new(&BTreeMap::from([(full.clone(), Vec::new())]))
        .expect("scopes without a circle");
    let file = Arc::new(PathBuf::from("routes.toml"));
    let mut written = Vec::new();
    let mut add = |method: Option<Method>, path: String, access: AccessSpec| {
        let line = written.len();
        let place = Place {
            file: Arc::clone(&file),
            span: line..line,
            line,
            column: 1,
        };
        written.push(RouteSpec {
            paths: vec![(path, place.clone())],
            methods: method.map_or(Methods::Default, |method| Methods::Named(vec![method])),
            host: None,
            access,
            name: None,
            upstream: 0,
            allow: Exceptions::NONE,
            settings: RouteSettings::default(),
            place: place.clone(),
        });
        place
    };
    let place = add(None, "/v3/{*rest}".to_owned(), AccessSpec::Public);
    let keyed = || AccessSpec::AnyOf(vec![(full.clone(), place.clone())]);
    for i in 0..resources(routes) {
        add(
            Some(Method::GET),
            format!("/v3/resource-{i}"),
            AccessSpec::Public,
        );
        add(
            Some(Method::GET),
            format!("/v3/resource-{i}/{{id}}"),
            keyed(),
        );
        add(
            Some(Method::POST),
            format!("/v3/resource-{i}/{{id}}/parts"),
            keyed(),
        );
    }
    for i in 0..routes - 1 - 3 * resources(routes) {
        add(Some(Method::GET), format!("/v3/extra-{i}"), keyed());
    }
    PolicySpec {
        scopes,
        routes: written,
        management: None,
    }
}

fn admitted(path: &str) -> Admitted {
    let rules = AdmitRules {
        target_bytes: 8192,
        head_bytes: 8192,
        headers: 10,
        underscores: UnderscoreRule::Refuse,
    };
    let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("api.example.com"))]);
    let uri = path.parse().expect("the benchmark's paths are targets");
    admit(&Method::GET, &uri, http::Version::HTTP_11, &headers, &rules)
        .expect("the benchmark's requests are admitted")
}
