//! What a key of each kind should get at each route.
//!
//! With a configuration the policy says it, by the functions that decide about real requests, and the gateway's one table of
//! refusals says how that is told. Without one, the words of the route do.

use super::keys::Kind;
use super::route::{LoadRoute, RouteAccess};
use crate::config::Loaded;
use crate::gateway::Reject;
use crate::http::{AdmitRules, Admitted, admit};
use crate::keycache::Unidentified;
use crate::policy::{Refusal, RouteSettings, Target};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, Version, header};

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
        "`{route}`: what is right depends on the number in place of {{n}}: write one route for each case"
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

const PERMITTED: Outcome = Outcome {
    status: 200,
    code: None,
    mark: Mark::Digest,
};

/// Why a kind of key opens nothing, if it does not.
fn rejected(kind: &Kind) -> Option<Reject> {
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
fn told(reject: Reject) -> Outcome {
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

fn admitted(
    loaded: &Loaded,
    authority: &str,
    route: &LoadRoute,
    number: u32,
) -> Result<Result<Admitted, Reject>, ExpectError> {
    let target = route.target(number);
    let wrong = || ExpectError::Target {
        route: route.to_string(),
    };
    let uri: Uri = target.parse().map_err(|_| wrong())?;
    let mut headers = HeaderMap::new();
    let host = HeaderValue::from_str(authority).map_err(|_| wrong())?;
    headers.insert(header::HOST, host);
    let limits = &loaded.hot.limits;
    let rules = AdmitRules {
        target_bytes: limits.target_bytes,
        head_bytes: limits.head_bytes,
        headers: limits.headers,
        underscores: loaded.cold.underscores,
    };
    let admitted = admit(&route.method, &uri, Version::HTTP_11, &headers, &rules);
    Ok(admitted.map_err(Reject::from))
}

fn by_policy(
    loaded: &Loaded,
    authority: &str,
    route: &LoadRoute,
    number: u32,
    kind: &Kind,
) -> Result<Outcome, ExpectError> {
    let policy = &loaded.hot.policy;
    let admitted = match admitted(loaded, authority, route, number)? {
        Ok(admitted) => admitted,
        Err(reject) => return Ok(told(reject)),
    };
    let routed = policy.route(&admitted);
    let scope = match kind {
        Kind::Valid(scope) => scope.as_ref(),
        _ => None,
    };
    if routed.needs_key() {
        if let Some(reject) = rejected(kind) {
            return Ok(told(reject));
        }
        if scope.is_none() {
            return Err(ExpectError::Untold {
                route: route.to_string(),
                why: "the scope of a key is not known: write it after the key, or have the key in the store",
            });
        }
    }
    let decided = match policy.judge(routed, scope) {
        Ok(index) => &policy.routes()[index.index()],
        Err(refusal) => return Ok(told(Reject::Refused(refusal))),
    };
    if let Some(maintenance) = &decided.settings.maintenance {
        return Ok(told(Reject::Maintenance(maintenance.clone())));
    }
    if decided.settings.rate.is_some() && scope.is_some() {
        return Err(ExpectError::Untold {
            route: route.to_string(),
            why: "the route has a `rate`, so some requests will be refused and it cannot be said which; take it off for the test",
        });
    }
    let limit = decided
        .settings
        .body_bytes
        .unwrap_or(loaded.hot.limits.body_bytes);
    if route.body_bytes as u64 > limit {
        return Ok(told(Reject::BodyTooLarge));
    }
    Ok(match decided.target {
        Target::Upstream(_) => PERMITTED,
        Target::Management(_) => Outcome {
            mark: Mark::Nothing,
            ..PERMITTED
        },
    })
}

/// The target of a route as its upstream sees it, before and after the number.
fn seen_upstream(
    loaded: &Loaded,
    authority: &str,
    route: &LoadRoute,
) -> Result<(String, String), ExpectError> {
    let (before, after) = (route.before.as_str(), route.after.as_deref());
    let as_written = || (before.to_owned(), after.unwrap_or_default().to_owned());
    let Ok(admitted) = admitted(loaded, authority, route, 0)? else {
        return Ok(as_written());
    };
    let canonical = admitted.path_and_query().as_str();
    if canonical != route.target(0) {
        return Err(ExpectError::NotCanonical {
            route: route.to_string(),
            canonical: canonical.to_owned(),
        });
    }
    let policy = &loaded.hot.policy;
    let routed = policy.route(&admitted);
    Ok(match routed.route(policy) {
        Some(found) => (
            rewritten(before, &found.settings),
            after.unwrap_or_default().to_owned(),
        ),
        None => as_written(),
    })
}

/// The beginning of a target after `strip_prefix` and `add_prefix`.
fn rewritten(before: &str, settings: &RouteSettings) -> String {
    let whole = |rest: &&str| rest.is_empty() || rest.starts_with(['/', '?']);
    let stripped = (settings.strip_prefix.as_deref())
        .and_then(|prefix| before.strip_prefix(prefix))
        .filter(whole)
        .unwrap_or(before);
    let added = settings.add_prefix.as_deref().unwrap_or_default();
    match format!("{added}{stripped}") {
        target if target.starts_with('/') => target,
        target => format!("/{target}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_texts;

    const MAIN: &str = "include = [\"routes.toml\"]\n[upstreams.app]\nservers = [\"http://127.0.0.1:9\"]\n[limits]\nbody_bytes = \"1KiB\"\n";
    const ROUTES: &str = r#"
[scopes]
authOnly = []
fullAccess = ["authOnly"]
[defaults]
upstream = "app"
[[routes]]
path = "/open"
access = "public"
[[routes]]
path = "/shut"
access = "deny"
[[routes]]
path = "/users"
methods = ["POST"]
scope = "authOnly"
[[routes]]
path = "/v3/{*rest}"
scope = "fullAccess"
[[routes]]
path = "/api/{*rest}"
scope = "authOnly"
strip_prefix = "/api"
add_prefix = "/v1"
[[routes]]
path = "/numbers/0"
access = "public"
[[routes]]
path = "/numbers/{x}"
access = "deny"
[[routes]]
path = "/rated"
rate = "1/s"
scope = "authOnly"
[[routes]]
path = "/resting"
scope = "authOnly"
maintenance = { message = "Back soon." }
"#;

    fn kinds() -> Vec<Kind> {
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

    fn everything() -> Compare {
        Compare {
            codes: true,
            marks: true,
        }
    }

    fn judged(route: &str) -> Result<Vec<String>, String> {
        let loaded = load_texts(MAIN, &[("routes.toml", ROUTES)]).unwrap();
        let route = route.parse().unwrap();
        let deciding = Deciding::Policy(&loaded, "gateway.test:80");
        let all = Expectations::new(&kinds(), &[route], deciding, everything());
        let all = all.map_err(|error| error.to_string())?;
        Ok((0..kinds().len())
            .map(|kind| all.outcomes()[usize::from(all.of(kind, 0))].to_string())
            .collect())
    }

    #[test]
    fn the_policy_says_what_each_kind_of_key_gets() {
        let (no, none) = ("401 AUTH_ERR_APIKEY_NOT_FOUND", "401 AUTH_ERR_EMPTY_APIKEY");
        let (scope, unknown) = ("403 AUTH_ERR_NO_ACCESS", "404 ERR_API_NOT_FOUND");
        for (route, expected) in [
            ("GET /v3/users/{n}", ["200", scope, no, no, no, none]),
            ("POST /users", ["200", "200", no, no, no, none]),
            ("GET /open", ["200"; 6]),
            ("GET /shut", [scope, scope, no, no, no, none]),
            ("GET /nowhere", [unknown, unknown, no, no, no, none]),
            (
                "GET /users",
                [
                    "405 ERR_API_NOT_FOUND",
                    "405 ERR_API_NOT_FOUND",
                    no,
                    no,
                    no,
                    none,
                ],
            ),
            ("GET /a/../b", ["400 ERR_BAD_REQUEST"; 6]),
            (
                "POST /v3/x body=2KiB",
                ["413 ERR_BAD_REQUEST", scope, no, no, no, none],
            ),
            ("GET /apikeys", ["200", scope, no, no, no, none]),
            (
                "GET /resting",
                [
                    "503 ERR_UPSTREAM_UNAVAILABLE",
                    "503 ERR_UPSTREAM_UNAVAILABLE",
                    no,
                    no,
                    no,
                    none,
                ],
            ),
        ] {
            assert_eq!(
                judged(route),
                Ok(expected.map(str::to_owned).to_vec()),
                "{route}"
            );
        }
    }

    #[test]
    fn what_cannot_be_told_beforehand_is_said() {
        for (route, expected) in [
            ("GET /numbers/{n}", "depends on the number"),
            ("GET /rated", "`rate`"),
            ("GET /v3/%61", "/v3/a"),
        ] {
            let said = judged(route).unwrap_err();
            assert!(said.contains(expected), "{route}: {said}");
        }
    }

    #[test]
    fn the_upstream_sees_a_rewritten_target() {
        let loaded = load_texts(MAIN, &[("routes.toml", ROUTES)]).unwrap();
        let routes: Vec<LoadRoute> = ["GET /api/x/{n}?q=1", "GET /v3/{n}"]
            .map(|route| route.parse().unwrap())
            .to_vec();
        let deciding = Deciding::Policy(&loaded, "gateway.test");
        let all = Expectations::new(&kinds(), &routes, deciding, everything()).unwrap();
        assert_eq!(all.upstream_target(0), ("/v1/x/", "?q=1"));
        assert_eq!(all.upstream_target(1), ("/v3/", ""));
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
