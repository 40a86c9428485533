//! `idle-expectation`: expectations that hold whatever the routes say of keys, so that they no longer test anything.
//!
//! `deny = ["authOnly"]` for a path that has no route any more holds, and would go on to hold if the path came back open
//! below another name. One that says `status` means just that, and is left alone.

use super::super::Expectation;
use super::{Finding, Lint, Subject};

pub(super) fn check(subject: Subject<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, expectation) in subject.expectations.iter().enumerate() {
        if expectation.status.is_none() {
            for asked in expectation.cases() {
                let Some(denial) = subject.policy.untaken(&asked) else {
                    continue;
                };
                if !subject.policy.check(expectation).is_empty() {
                    // It fails, which is an error of its own.
                    break;
                }
                let message = format!("no route takes `{asked}`, so this tests none: {denial}");
                let help = format!(
                    "write `status = {}` if that is what is tested",
                    denial.status().as_u16()
                );
                findings.push(
                    Finding::new(Lint::IdleExpectation, &expectation.place, message).help(help),
                );
            }
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
