//! `unused-scope`: scopes that no route asks for, so that their keys are good for nothing that is not public.
//!
//! A scope that an expectation speaks of is known to be refused where it is, and meant to be.

use super::super::{Access, Who};
use super::{Finding, Lint, Subject};
use std::collections::HashSet;

pub(super) fn check(subject: Subject<'_>) -> Vec<Finding> {
    let mut used = HashSet::new();
    for route in subject.policy.routes() {
        if let Access::Scopes(scopes) = &route.access {
            used.extend(scopes.iter());
        }
    }
    for expectation in subject.expectations {
        for who in expectation.allow.iter().chain(&expectation.deny) {
            if let Who::Scope(scope) = who {
                used.insert(scope);
            }
        }
    }
    let unused = subject
        .scopes
        .iter()
        .filter(|(name, _)| !used.contains(name));
    unused
        .map(|(name, place)| {
            let message = format!(
                "no route asks for the scope `{name}`, nor for one that it includes: its keys are refused wherever a key is needed"
            );
            Finding::new(Lint::UnusedScope, place, message)
                .help("name it in a route's `scope`, let it include another, or take it out")
        })
        .collect()
}
