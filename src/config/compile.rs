//! What the rules mean together: the policy is compiled and its expectations are run.
//!
//! Faults of one route must not hide what is wrong with another. So a route whose access could not be read still takes
//! part (its path and methods may collide with others), and one whose shape could not be read is judged alone. An
//! expectation that fails is reported only if it fails whatever the faulty routes were meant to say.

use super::fields::Desk;
use super::load::Purpose;
use super::problem::Problem;
use super::process::Management;
use super::routes::Rules;
use crate::key::{ScopeName, Scopes};
use crate::policy::lint::{Finding, Levels, Subject, lint, looks_like_a_pattern};
use crate::policy::{
    AccessSpec, Expectation, ExpectationFailure, ManagementSpec, Place, Policy, PolicyError,
    PolicySpec, RouteSpec, overlay,
};
use std::collections::HashSet;
use std::sync::Arc;

/// What else the judgement needs to know.
pub(super) struct About<'a> {
    pub(super) purpose: Purpose,
    pub(super) lints: &'a Levels,
    /// Where each scope is declared.
    pub(super) scopes: Vec<(ScopeName, Place)>,
    /// A scope may be declared that could not be read.
    pub(super) scopes_unsound: bool,
    pub(super) which: Which,
}

/// Which policy is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    InForce,
    /// That of `[shadow] include`.
    InShadow,
}

/// Compiles the rules and runs the expectations; what is wrong is on the desk.
pub(super) fn judge(
    rules: Rules,
    scopes: Scopes,
    management: Management,
    about: &About<'_>,
    desk: &mut Desk,
) -> Option<Policy> {
    let scopes_unsound = about.scopes_unsound;
    let declared = scopes.declares(&management.scope.0);
    let off = management.paths.is_empty();
    let asked_for = !off || management.scope_written;
    if asked_for && !declared && !scopes_unsound {
        let scope = &management.scope.0;
        let declared_in = match about.which {
            Which::InForce => "`[scopes]`",
            Which::InShadow => "the `[scopes]` of `[shadow] include`",
        };
        desk.report(
            Problem::error(
                management.scope.1.clone(),
                if management.scope_written {
                    format!("the scope `{scope}` is not declared in {declared_in}")
                } else {
                    format!("the management API asks for the scope `{scope}`, which {declared_in} does not declare")
                },
            )
            .help("declare it, name another as `scope` in `[management]`, or switch the API off with `paths = []`"),
        );
    }
    let at_management = management.scope.1.clone();
    let not_said = |error: &PolicyError| match error {
        PolicyError::UndeclaredScope { place, .. } => !scopes_unsound && *place != at_management,
        _ => true,
    };
    let general = PolicySpec {
        scopes,
        routes: Vec::new(),
        management: (!off).then_some(ManagementSpec {
            paths: management.paths,
            scope: management.scope,
        }),
    };
    let of = |routes: Vec<RouteSpec>| PolicySpec {
        routes,
        ..general.clone()
    };
    for route in rules.shapeless {
        let about_itself = |e: &PolicyError| {
            not_said(e)
                && matches!(
                    e,
                    PolicyError::Pattern { .. }
                        | PolicyError::UnderManagement { .. }
                        | PolicyError::UndeclaredScope { .. }
                )
        };
        let errors = Policy::compile(of(vec![route])).err().unwrap_or_default();
        errors
            .iter()
            .filter(|e| about_itself(e))
            .for_each(|e| desk.report(problem(e)));
    }
    let compiled = Policy::compile(of(rules.routes.clone()));
    let mut faulty = rules.access_unknown;
    match &compiled {
        Ok(policy) => {
            // What is said of a route whose access could not be read would be said of what stands in for it.
            let known = |place: &Place| !faulty.contains(place);
            let warnings = policy.warnings().iter().filter(|warning| {
                known(warning.place()) && warning.other_place().is_none_or(known)
            });
            let mut findings: Vec<Finding> = warnings.map(Finding::from).collect();
            // Beside rules that could not be read, what is left is not what was meant.
            let whole = faulty.is_empty() && rules.all_shapes_known && !scopes_unsound;
            if about.purpose == Purpose::Review && whole {
                let subject = Subject {
                    policy,
                    spec: &of(rules.routes.clone()),
                    expectations: &rules.expectations,
                    scopes: &about.scopes,
                };
                findings.extend(lint(subject, about.lints));
            }
            let found = |finding| Problem::found(finding, about.lints);
            findings
                .into_iter()
                .filter_map(found)
                .for_each(|problem| desk.report(problem));
        }
        Err(errors) => {
            for error in errors.iter().filter(|e| not_said(e)) {
                desk.report(problem(error));
            }
            faulty.extend(errors.iter().map(|e| e.place().clone()));
        }
    }
    if rules.all_shapes_known && !scopes_unsound && about.purpose != Purpose::Test {
        let policies = if faulty.is_empty() {
            compiled.iter().cloned().collect()
        } else {
            variants(&rules.routes, &faulty, &of)
        };
        if !policies.is_empty() {
            for expectation in &rules.expectations {
                for failure in certain_failures(&policies, expectation) {
                    desk.report(expectation_problem(failure));
                }
            }
        }
    }
    compiled.ok()
}

/// Compiles the routes that are tried over those in force; what is wrong with them is on the desk. What is wrong with those in
/// force was said when they were judged.
pub(super) fn judge_tried(
    rules: Rules,
    scopes: Scopes,
    management: Management,
    in_force: Option<&Policy>,
    about: &About<'_>,
    desk: &mut Desk,
) -> Option<Policy> {
    let off = management.paths.is_empty();
    let tried = rules.tried.routes;
    let at = |place: &Place| (Arc::clone(&place.file), place.span.start);
    let own: HashSet<_> = tried.iter().flat_map(places).map(at).collect();
    let is_own = |place: &Place| own.contains(&at(place));
    let compiled = Policy::compile(PolicySpec {
        scopes,
        routes: overlay(rules.routes, tried),
        management: (!off).then_some(ManagementSpec {
            paths: management.paths,
            scope: management.scope,
        }),
    });
    match compiled {
        Ok(policy) => {
            let about_them = policy.warnings().iter().filter(|warning| {
                is_own(warning.place()) || warning.other_place().is_some_and(is_own)
            });
            let problems = about_them.filter_map(|w| Problem::found(w.into(), about.lints));
            problems.for_each(|problem| desk.report(problem));
            Some(policy)
        }
        Err(errors) => {
            for error in errors {
                let unsaid = match &error {
                    PolicyError::UndeclaredScope { .. } => !about.scopes_unsound,
                    _ => true,
                };
                let own = is_own(error.place()) || error.other_place().is_some_and(is_own);
                if unsaid && (own || in_force.is_some()) {
                    desk.report(problem(&error));
                }
            }
            None
        }
    }
}

/// All places of a route that an error may be about.
fn places(route: &RouteSpec) -> impl Iterator<Item = &Place> {
    let scopes = match &route.access {
        AccessSpec::AnyOf(names) => names.as_slice(),
        AccessSpec::Public | AccessSpec::Deny => &[],
    };
    let paths = route.paths.iter().map(|(_, place)| place);
    let scopes = scopes.iter().map(|(_, place)| place);
    std::iter::once(&route.place).chain(paths).chain(scopes)
}

/// The policy with its faulty routes open, closed and absent: one of them is nearest to what was meant.
fn variants(
    routes: &[RouteSpec],
    faulty: &[Place],
    of: &impl Fn(Vec<RouteSpec>) -> PolicySpec,
) -> Vec<Policy> {
    let is_faulty = |route: &RouteSpec| {
        faulty.contains(&route.place)
            || route.paths.iter().any(|(_, place)| faulty.contains(place))
            || matches!(&route.access, AccessSpec::AnyOf(names)
                if names.iter().any(|(_, place)| faulty.contains(place)))
    };
    let with = |access: Option<AccessSpec>| {
        let routes = routes
            .iter()
            .filter_map(|route| match (&access, is_faulty(route)) {
                (_, false) => Some(route.clone()),
                (None, true) => None,
                (Some(access), true) => Some(RouteSpec {
                    access: access.clone(),
                    ..route.clone()
                }),
            })
            .collect();
        Policy::compile(of(routes)).ok()
    };
    [
        with(None),
        with(Some(AccessSpec::Public)),
        with(Some(AccessSpec::Deny)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What fails under each of the policies.
fn certain_failures(policies: &[Policy], expectation: &Expectation) -> Vec<ExpectationFailure> {
    let mut verdicts = policies.iter().map(|p| p.check(expectation));
    let first = verdicts.next().unwrap_or_default();
    if verdicts.all(|v| !v.is_empty()) {
        first
    } else {
        Vec::new()
    }
}

fn problem(error: &PolicyError) -> Problem {
    let mut problem = Problem::error(error.place().clone(), error.to_string());
    if let PolicyError::Pattern { pattern, .. } = error
        && let Some((what, help)) = looks_like_a_pattern(pattern)
    {
        problem = problem.help(format!("this looks like {what}; {help}"));
    }
    match (error, error.other_place()) {
        (PolicyError::Conflict { .. }, Some(other)) => {
            problem.related(other.clone(), "the other route is here")
        }
        (_, Some(other)) => problem.related(other.clone(), "because of this"),
        (_, None) => problem,
    }
}

fn expectation_problem(failure: ExpectationFailure) -> Problem {
    let problem = Problem::error(
        failure.place.clone(),
        format!("the expectation does not hold: {failure}"),
    );
    match failure.other {
        Some(other) => problem.related(other, "this route decided"),
        None => problem,
    }
}
