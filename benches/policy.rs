//! What it costs to compare two policies, as `keygate diff` does once the files are read.
//!
//! `cargo bench --bench policy`; a name behind `--` picks benchmarks.
//!
//! The policies have the shape of a large API: resources beside each other below two prefixes, three routes each, a tail that
//! takes the rest. With 600 and 10,000 routes (as many again by the second prefix):
//!
//! - **equal**: the same policy twice.
//! - **edited**: five routes of the second are for another scope, or take another method.
//! - **broad**: the tail of the second is for another scope, so that every path that falls to it changes.
//! - **different**: no route of the one has the path of one of the other, nor their scope.
//! - **scopes**: each route of the second is for another scope.
//!
//! Each outcome is checked before it is measured.

use divan::Bencher;
use keygate::config::{Loaded, load_texts};
use keygate::policy::diff::{Side, Verdict, compare};
use std::fmt::Write as _;

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [usize; 2] = [600, 10_000];
const BOUND: &str = "600 routes compared in well under a second, 10,000 in a few seconds";

fn main() {
    println!("promised: {BOUND}");
    divan::main();
}

/// How a policy differs from the plain one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Edited,
    Broad,
    Different,
    Scopes,
}

fn policy(routes: usize, kind: Kind) -> Loaded {
    let tail = if matches!(kind, Kind::Broad | Kind::Scopes) {
        "authOnly"
    } else {
        "fullAccess"
    };
    let mut text = format!(
        "prefix = [\"/v3\", \"/v3.0\"]\n[scopes]\nauthOnly = []\nfullAccess = [\"authOnly\"]\n\
         [defaults]\nupstream = \"chat\"\n\
         [[routes]]\npath = \"/{{*rest}}\"\nscope = \"{tail}\"\n"
    );
    for number in 0..routes - 1 {
        let resource = number / 3;
        let name = match kind {
            Kind::Different => format!("other-{resource}"),
            _ => format!("resource-{resource}"),
        };
        let (method, path) = match number % 3 {
            0 => ("GET", format!("/{name}")),
            1 => ("GET", format!("/{name}/{{id}}")),
            _ => ("POST", format!("/{name}/{{id}}/parts")),
        };
        let edited = kind == Kind::Edited && number % (routes / 5) == 0;
        let scope = match kind {
            Kind::Different | Kind::Scopes => "authOnly",
            _ if edited => "authOnly",
            _ => "fullAccess",
        };
        let _ = write!(
            text,
            "[[routes]]\npath = \"{path}\"\nmethods = [\"{method}\"]\nscope = \"{scope}\"\n"
        );
    }
    let main =
        "include = [\"routes.toml\"]\n[upstreams.chat]\nservers = [\"http://127.0.0.1:9000\"]\n";
    match load_texts(main, &[("routes.toml", &text)]) {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{problems}"),
    }
}

fn compared(bencher: Bencher<'_, '_>, routes: usize, kind: Kind, regions: std::ops::Range<usize>) {
    let (old, new) = (policy(routes, Kind::Plain), policy(routes, kind));
    let side = |loaded| -> Side<'_> {
        let loaded: &Loaded = loaded;
        Side {
            policy: &loaded.hot.policy,
            upstreams: &["chat"],
        }
    };
    let compare = || match compare(side(&old), side(&new)) {
        Ok(difference) => difference,
        Err(error) => panic!("{error}"),
    };
    let told = compare();
    assert!(
        regions.contains(&told.regions.len()),
        "{}",
        told.regions.len()
    );
    let unchanged = told.verdict() == Verdict::Unchanged;
    assert_eq!(unchanged, kind == Kind::Plain);
    bencher.bench_local(compare);
}

#[divan::bench(args = SIZES, sample_count = 10, sample_size = 1)]
fn equal(bencher: Bencher<'_, '_>, routes: usize) {
    compared(bencher, routes, Kind::Plain, 0..1);
}

#[divan::bench(args = SIZES, sample_count = 10, sample_size = 1)]
fn edited(bencher: Bencher<'_, '_>, routes: usize) {
    compared(bencher, routes, Kind::Edited, 5..7);
}

#[divan::bench(args = SIZES, sample_count = 10, sample_size = 1)]
fn broad(bencher: Bencher<'_, '_>, routes: usize) {
    compared(bencher, routes, Kind::Broad, 3..5);
}

#[divan::bench(args = SIZES, sample_count = 5, sample_size = 1)]
fn different(bencher: Bencher<'_, '_>, routes: usize) {
    compared(bencher, routes, Kind::Different, 1..usize::MAX);
}

#[divan::bench(args = SIZES, sample_count = 5, sample_size = 1)]
fn scopes(bencher: Bencher<'_, '_>, routes: usize) {
    compared(bencher, routes, Kind::Scopes, 1..usize::MAX);
}
