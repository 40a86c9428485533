//! `idle-expectation`: expectations that hold whatever the routes say of keys, so that they no longer test anything.
//!
//! `deny = ["authOnly"]` for a path that has no route any more holds, and would go on to hold if the path came back open
//! below another name. One that says `status` means just that, and is left alone.

use super::super::asked::{Asked, Denial, NO_LIMITS};
use super::super::{Expectation, Who};
use super::{Finding, Lint, Subject};
use std::collections::BTreeSet;

pub(super) fn check(subject: Subject<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, expectation) in subject.expectations.iter().enumerate() {
        if expectation.status.is_none() {
            findings.extend(untaken(subject, expectation));
        }
        let before = subject.expectations[..at].iter();
        if let Some(first) = before
            .into_iter()
            .find(|first| says_all_of(first, expectation))
        {
            let message = "another expectation says all that this one says";
            findings.push(
                Finding::new(Lint::IdleExpectation, &expectation.place, message)
                    .help("take one of them out")
                    .related(&first.place, "the other one is here"),
            );
        }
    }
    findings
}

/// The requests of an expectation that no route takes.
fn untaken(subject: Subject<'_>, expectation: &Expectation) -> Vec<Finding> {
    let policy = subject.policy;
    let cases: Vec<Asked> = expectation.cases().collect();
    let untaken: Vec<(&Asked, Denial)> = cases
        .iter()
        .filter_map(|asked| Some((asked, policy.untaken(asked)?)))
        .collect();
    // One that fails is an error of its own.
    if untaken.is_empty() || !policy.check(expectation).is_empty() {
        return Vec::new();
    }
    let statuses = |asked: &Asked| -> BTreeSet<u16> {
        let denied = expectation.deny.iter().filter_map(|who| {
            let scope = match who {
                Who::Anyone => None,
                Who::Scope(scope) => Some(scope),
            };
            policy.verdict(asked, &NO_LIMITS, scope).outcome.err()
        });
        denied.map(|denial| denial.status().as_u16()).collect()
    };
    let all: BTreeSet<u16> = cases.iter().flat_map(statuses).collect();
    let finding = |(asked, denial): (&Asked, Denial)| {
        let message = format!("no route takes `{asked}`, so this tests none: {denial}");
        let own: Vec<String> = statuses(asked).iter().map(u16::to_string).collect();
        let help = match (own.as_slice(), all.len()) {
            ([status], 1) => format!("write `status = {status}` if that is what is tested"),
            ([status], _) => format!(
                "if that is what is tested, put it into an expectation of its own, with `status = {status}`"
            ),
            (several, _) => format!(
                "if that is what is tested, say so in an expectation for each status: who has no key gets another one ({})",
                several.join(", ")
            ),
        };
        Finding::new(Lint::IdleExpectation, &expectation.place, message).help(help)
    };
    untaken.into_iter().map(finding).collect()
}

/// Whether the first leaves nothing for the second to say.
fn says_all_of(first: &Expectation, second: &Expectation) -> bool {
    fn all<T: PartialEq>(first: &[T], second: &[T]) -> bool {
        second.iter().all(|one| first.contains(one))
    }
    all(&first.requests, &second.requests)
        && (first.hosts == second.hosts
            || (!second.hosts.is_empty() && all(&first.hosts, &second.hosts)))
        && all(&first.allow, &second.allow)
        && all(&first.deny, &second.deny)
        && (second.status.is_none() || first.status == second.status)
        && (second.route.is_none() || first.route == second.route)
        && (second.upstream.is_none() || first.upstream == second.upstream)
}
