//! What the policy of a configuration says about a request of the load, and what the upstream sees of it.

use super::expect::{ExpectError, Mark, Outcome, PERMITTED, rejected, told};
use super::keys::Kind;
use super::route::LoadRoute;
use crate::config::Loaded;
use crate::gateway::Reject;
use crate::http::{Admitted, admit};
use crate::policy::{RouteSettings, Target};
use http::{HeaderMap, HeaderValue, Uri, Version, header};

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
    let rules = loaded.hot.admit_rules(&loaded.cold);
    let admitted = admit(&route.method, &uri, Version::HTTP_11, &headers, &rules);
    Ok(admitted.map_err(Reject::from))
}

/// What this kind of key should get at this route, with this number in its target.
pub(super) fn by_policy(
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
pub(super) fn seen_upstream(
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
    use super::super::expect::tests::{everything, kinds};
    use super::super::expect::{Deciding, Expectations};
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
}
