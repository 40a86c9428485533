//! A difference as JSON: everything that is known of it, exactly.

use super::words::{self, Words, leads};
use crate::explain::access;
use crate::http::Exceptions;
use crate::policy::HostPattern;
use crate::policy::diff::{Difference, Hosts, Outcome, Paths, Region};
use serde_json::{Value, json};

pub(super) fn render(difference: &Difference, words: &Words<'_>) -> String {
    let regions: Vec<Value> = difference
        .regions
        .iter()
        .map(|region| region_value(region, words))
        .collect();
    let value = json!({
        "verdict": words::verdict(difference.verdict()),
        "regions": regions,
    });
    format!("{value:#}\n")
}

fn region_value(region: &Region, words: &Words<'_>) -> Value {
    let sample = &region.sample;
    json!({
        "change": words::change(region.change),
        "who": region.who.iter().map(words::who).collect::<Vec<_>>(),
        "hosts": hosts(&region.hosts),
        "methods": region.methods.iter().map(http::Method::as_str).collect::<Vec<_>>(),
        "paths": region.paths.iter().map(paths).collect::<Vec<_>>(),
        "needs": {
            "within": names(region.needs_within),
            "beyond": region.needs_beyond.map(names),
        },
        "old": outcome(&region.old, words.upstreams.0),
        "new": outcome(&region.new, words.upstreams.1),
        "request": { "method": sample.method, "host": sample.host, "path": sample.path },
    })
}

fn paths(paths: &Paths) -> Value {
    let except: Vec<String> = paths.except.iter().map(ToString::to_string).collect();
    json!({ "path": paths.of.to_string(), "except": except })
}

/// The most specific pattern of both lists that matches a host says whether it is meant; `*` is any host.
fn hosts(hosts: &Hosts) -> Value {
    let names = |patterns: &[Option<HostPattern>]| -> Vec<String> {
        let names = patterns.iter().map(|pattern| match pattern {
            Some(pattern) => pattern.to_string(),
            None => "*".to_owned(),
        });
        names.collect()
    };
    json!({ "of": names(&hosts.of), "except": names(&hosts.but) })
}

fn names(exceptions: Exceptions) -> Vec<&'static str> {
    exceptions.names().collect()
}

fn outcome(outcome: &Outcome, upstreams: &[&str]) -> Value {
    let routes = outcome.routes.iter().map(|route| {
        json!({
            "name": &*route.name,
            "path": &*route.template,
            "file": route.place.file.display().to_string(),
            "line": route.place.line,
            "access": access(&route.access),
            "leads": leads(route, upstreams),
        })
    });
    json!({
        "permitted": outcome.refusals.is_empty(),
        "statuses": outcome.refusals,
        "routes": routes.collect::<Vec<_>>(),
    })
}
