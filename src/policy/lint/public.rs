//! `public-route`: routes that need no key, so that a review sees all of them.

use super::super::AccessSpec;
use super::{Finding, Lint, Subject};

pub(super) fn check(subject: Subject<'_>) -> Vec<Finding> {
    let routes = subject.spec.routes.iter();
    routes
        .filter(|route| route.access == AccessSpec::Public)
        .map(|route| {
            let paths: Vec<String> = (route.paths.iter())
                .map(|(path, _)| format!("`{path}`"))
                .collect();
            let message = format!("anyone may use {}, without a key", paths.join(" and "));
            Finding::new(Lint::PublicRoute, &route.place, message)
        })
        .collect()
}
