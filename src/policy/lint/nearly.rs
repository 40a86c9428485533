//! `nearly-same-path`: paths of two tables that differ by letter case or by a trailing slash alone.
//!
//! Case counts and `/x/` is another path than `/x`, so two such routes are right; where they let in different keys, a client
//! that writes the one for the other is decided by the wrong one. Two paths of one table are meant to be two.

use super::super::methods::DEFAULT;
use super::super::pattern::{Pattern, Segment};
use super::super::{Access, HostPattern, Methods, Place, Policy, RouteSpec};
use super::{Finding, Lint, Subject};
use http::Method;
use std::collections::{BTreeSet, HashMap};

pub(super) fn check(subject: Subject<'_>) -> Vec<Finding> {
    let mut written = Vec::new();
    for route in &subject.spec.routes {
        for (path, place) in &route.paths {
            if let Ok(pattern) = Pattern::parse(path) {
                let shape = shape(&pattern);
                written.push(Written {
                    route,
                    path,
                    place,
                    shape,
                });
            }
        }
    }
    let policy = subject.policy;
    let case = pairs(
        policy,
        &written,
        |shape| shape.to_ascii_lowercase(),
        "letter case",
    );
    let slash = pairs(
        policy,
        &written,
        |shape| shape.strip_suffix('/').unwrap_or(shape).to_owned(),
        "a trailing slash",
    );
    case.into_iter().chain(slash).collect()
}

/// A path of a route, as it was written.
struct Written<'a> {
    route: &'a RouteSpec,
    path: &'a str,
    place: &'a Place,
    shape: String,
}

/// Those that are the same after `fold`, are not the same before it, and are decided in two ways.
fn pairs(
    policy: &Policy,
    written: &[Written<'_>],
    fold: impl Fn(&str) -> String,
    what: &str,
) -> Vec<Finding> {
    let mut alike: HashMap<(Option<&HostPattern>, String), Vec<&Written<'_>>> = HashMap::new();
    for one in written {
        let key = (one.route.host.as_ref(), fold(&one.shape));
        alike.entry(key).or_default().push(one);
    }
    let mut findings: Vec<Finding> = Vec::new();
    for group in alike.values() {
        for (at, later) in group.iter().enumerate() {
            let first = group[..at].iter().find(|first| {
                first.shape != later.shape && decision(policy, first) != decision(policy, later)
            });
            let Some(first) = first else { continue };
            let message = format!(
                "`{}` and `{}` differ by {what} alone, and are two paths",
                later.path, first.path
            );
            findings.push(
                Finding::new(Lint::NearlySamePath, later.place, message)
                    .help("write both in one table if they are the same to the upstream")
                    .related(first.place, "the other one is here"),
            );
        }
    }
    findings
}

/// Who may come in, and by which methods; in no order.
fn decision<'a>(
    policy: &'a Policy,
    written: &Written<'a>,
) -> (BTreeSet<&'a str>, Option<&'a Access>) {
    let methods = match &written.route.methods {
        Methods::Default => DEFAULT.iter().map(Method::as_str).collect(),
        Methods::Named(named) => named.iter().map(Method::as_str).collect(),
    };
    let mut routes = policy.routes().iter();
    let route =
        routes.find(|route| route.place == written.route.place && *route.template == *written.path);
    (methods, route.map(|route| &route.access))
}

/// A pattern without the names of its params.
fn shape(pattern: &Pattern) -> String {
    let mut text = String::new();
    for segment in &pattern.segments {
        text.push('/');
        match segment {
            Segment::Literal(literal) => text.push_str(literal),
            // No literal has a brace.
            Segment::Param(_) => text.push_str("{}"),
            Segment::Tail(_) => text.push_str("{*}"),
        }
    }
    text
}
