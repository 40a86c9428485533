//! What a key of each kind should get at each route.
//!
//! With a configuration the policy says it, by the functions that decide about real requests, and the gateway's one table of
//! refusals says how that is told. Without one, the words of the route do.

use super::keys::Kind;
use super::policed::{by_policy, seen_upstream};
use super::route::{LoadRoute, RouteAccess};
use crate::config::Loaded;
use crate::gateway::Reject;
use crate::keycache::Unidentified;
use crate::policy::Refusal;
use http::StatusCode;

/// How much of an answer is compared with what it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compare {
    /// `error.code` in the bodies of refusals.
    pub codes: bool,
    /// The digest that the upstream makes of a request.
    pub marks: bool,
}

/// Who decides what is right.
#[derive(Clone, Copy, Debug)]
pub enum Deciding<'c> {
    /// The policy of this configuration, for requests to this authority.
    Policy(&'c Loaded, &'c str),
    /// The words of each route.
    Words,
}

/// An outcome that some request should have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Outcome {
    pub(super) status: u16,
    /// `error.code`.
    pub(super) code: Option<String>,
    pub(super) mark: Mark,
}

/// What of the upstream is in an answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Mark {
    /// The digest of this very request.
    Digest,
    /// Nothing: the upstream must not hear of the request.
    Nothing,
    /// It is not looked at.
    Any,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{} {code}", self.status),
            None => write!(f, "{}", self.status),
        }
    }
}

/// The position of an outcome among those of a run.
pub(super) type OutcomeIndex = u16;

/// What every kind of key should get at every route.
#[derive(Debug)]
pub(super) struct Expectations {
    outcomes: Vec<Outcome>,
    /// By kind, then by route.
    cells: Vec<OutcomeIndex>,
    routes: usize,
    /// By route: the target that the upstream sees, before and after the number.
    upstream_targets: Vec<(String, String)>,
}

/// Why it cannot be said what is right.
#[derive(Debug, thiserror::Error)]
pub enum ExpectError {
    #[error("`{route}`: write the target as it is sent to upstreams: {canonical}")]
    NotCanonical { route: String, canonical: String },
    #[error(
        "`{route}`: what is right depends on the number in place of its parameter: write one route for each case"
    )]
    ByNumber { route: String },
    #[error("`{route}`: {why}")]
    Untold { route: String, why: &'static str },
    #[error("`{route}` is no target")]
    Target { route: String },
}

impl Expectations {
    pub(super) fn new(
        kinds: &[Kind],
        routes: &[LoadRoute],
        deciding: Deciding<'_>,
        compare: Compare,
    ) -> Result<Self, ExpectError> {
        let mut expectations = Expectations {
            outcomes: Vec::new(),
            cells: Vec::new(),
            routes: routes.len(),
            upstream_targets: Vec::new(),
        };
        for route in routes {
            let target = match deciding {
                Deciding::Policy(loaded, authority) => seen_upstream(loaded, authority, route)?,
                Deciding::Words => (
                    route.before.clone(),
                    route.after.clone().unwrap_or_default(),
                ),
            };
            expectations.upstream_targets.push(target);
        }
        for kind in kinds {
            for route in routes {
                let mut outcome = match deciding {
                    Deciding::Policy(loaded, authority) => {
                        let first = by_policy(loaded, authority, route, 0, kind)?;
                        let last = by_policy(loaded, authority, route, route.numbers - 1, kind)?;
                        if first != last {
                            let route = route.to_string();
                            return Err(ExpectError::ByNumber { route });
                        }
                        first
                    }
                    Deciding::Words => by_words(route, kind),
                };
                if !compare.marks {
                    outcome.mark = Mark::Any;
                }
                outcome.code = outcome.code.filter(|_| compare.codes);
                let known = expectations
                    .outcomes
                    .iter()
                    .position(|other| *other == outcome);
                let at = known.unwrap_or_else(|| {
                    expectations.outcomes.push(outcome);
                    expectations.outcomes.len() - 1
                });
                expectations.cells.push(at as OutcomeIndex);
            }
        }
        Ok(expectations)
    }

    /// All outcomes that some request should have.
    pub(super) fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    pub(super) fn of(&self, kind: usize, route: usize) -> OutcomeIndex {
        self.cells[kind * self.routes + route]
    }

    /// The target that the upstream sees of this route, before and after the number.
    pub(super) fn upstream_target(&self, route: usize) -> (&str, &str) {
        let (before, after) = &self.upstream_targets[route];
        (before, after)
    }
}

pub(super) const PERMITTED: Outcome = Outcome {
    status: 200,
    code: None,
    mark: Mark::Digest,
};

/// Why a kind of key opens nothing, if it does not.
pub(super) fn rejected(kind: &Kind) -> Option<Reject> {
    match kind {
        Kind::Valid(_) => None,
        Kind::Missing => Some(Reject::NoKey),
        Kind::Malformed => Some(Reject::Unidentified(Unidentified::Malformed)),
        // The gateway has one answer for all of them.
        Kind::Unknown | Kind::Deleted | Kind::Disabled | Kind::Expired => {
            Some(Reject::Unidentified(Unidentified::Unknown))
        }
    }
}

/// What a refusal looks like to a client.
pub(super) fn told(reject: Reject) -> Outcome {
    match reject.body() {
        Some(body) => Outcome {
            status: body.status.as_u16(),
            code: Some(body.code.as_str().to_owned()),
            mark: Mark::Nothing,
        },
        None => Outcome {
            status: StatusCode::NO_CONTENT.as_u16(),
            code: None,
            mark: Mark::Nothing,
        },
    }
}

fn by_words(route: &LoadRoute, kind: &Kind) -> Outcome {
    if route.access == RouteAccess::Public {
        return PERMITTED;
    }
    if let Some(reject) = rejected(kind) {
        return told(reject);
    }
    match (&route.access, kind) {
        (RouteAccess::Scopes(scopes), Kind::Valid(Some(scope))) if !scopes.contains(scope) => {
            told(Reject::Refused(Refusal::ScopeLacking))
        }
        _ => PERMITTED,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::load) fn kinds() -> Vec<Kind> {
        [
            "fullAccess",
            "authOnly",
            "unknown",
            "deleted",
            "malformed",
            "missing",
        ]
        .map(|kind| kind.parse().unwrap())
        .to_vec()
    }

    pub(in crate::load) fn everything() -> Compare {
        Compare {
            codes: true,
            marks: true,
        }
    }

    #[test]
    fn without_a_policy_the_words_of_the_route_say_it() {
        for (route, expected) in [
            ("GET / scope=fullAccess", [200, 403, 401, 401, 401, 401]),
            (
                "GET / scope=fullAccess,authOnly",
                [200, 200, 401, 401, 401, 401],
            ),
            ("GET /", [200, 200, 401, 401, 401, 401]),
            ("GET / public", [200; 6]),
        ] {
            let routes = [route.parse().unwrap()];
            let all = Expectations::new(&kinds(), &routes, Deciding::Words, everything()).unwrap();
            let got: Vec<u16> = (0..kinds().len())
                .map(|kind| all.outcomes()[usize::from(all.of(kind, 0))].status)
                .collect();
            assert_eq!(got, expected, "{route}");
        }
    }

    #[test]
    fn what_is_not_compared_is_not_expected() {
        let compare = Compare {
            codes: false,
            marks: false,
        };
        let routes = ["GET /".parse().unwrap()];
        let all = Expectations::new(&kinds(), &routes, Deciding::Words, compare).unwrap();
        let both: Vec<String> = all.outcomes().iter().map(|o| o.to_string()).collect();
        assert_eq!(both, ["200", "401"]);
        assert!(
            all.outcomes()
                .iter()
                .all(|outcome| outcome.mark == Mark::Any)
        );
    }
}
