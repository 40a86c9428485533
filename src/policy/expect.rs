//! `[[expect]]`: tests that a policy carries with it.
//!
//! An expectation names requests, who must be let through and who must be refused; it may also say by which route, to which
//! upstream, with which status. Each of its requests is put to the functions that decide about real ones, with a scope in
//! place of a key. A request that would be refused before routes are looked at (a dot segment, TRACE) is refused here
//! too: nobody is let through.

use super::asked::{Asked, Denial, NO_LIMITS};
use super::permit::Refusal;
use super::problem::{ExpectationFailure, nearest_hint, nearest_scope};
use super::spec::{Expectation, Who};
use super::{Place, Policy, RouteIndex, Target};
use std::collections::BTreeSet;
use std::fmt;

impl Expectation {
    /// Each request to each host.
    pub fn cases(&self) -> impl Iterator<Item = Asked> {
        let hosts: Vec<Option<&String>> = if self.hosts.is_empty() {
            vec![None]
        } else {
            self.hosts.iter().map(Some).collect()
        };
        self.requests.iter().flat_map(move |(method, target)| {
            let hosts = hosts.clone();
            hosts.into_iter().map(move |host| Asked {
                method: method.clone(),
                target: target.clone(),
                host: host.cloned(),
            })
        })
    }
}

impl Policy {
    /// Tests the policy; what fails comes with a sentence that says what was decided instead, and by which route.
    pub fn check(&self, expectation: &Expectation) -> Vec<ExpectationFailure> {
        if expectation.allow.is_empty() && expectation.deny.is_empty() {
            let what =
                "nothing is expected: `allow` or `deny` names at least one scope, or \"anyone\""
                    .to_owned();
            return vec![ExpectationFailure {
                what,
                place: expectation.place.clone(),
                other: None,
            }];
        }
        let mut failures = Vec::new();
        for asked in expectation.cases() {
            let case = Case {
                policy: self,
                expectation,
                asked,
            };
            failures.extend(case.route());
            for (list, wanted) in [(&expectation.allow, true), (&expectation.deny, false)] {
                failures.extend(list.iter().filter_map(|who| case.who(who, wanted)));
            }
        }
        failures
    }

    /// The routes that take one of the expectation's requests.
    pub fn touched_by(&self, expectation: &Expectation) -> BTreeSet<RouteIndex> {
        let cases = expectation.cases();
        let admitted = cases.filter_map(|asked| asked.admit(&NO_LIMITS).ok());
        admitted
            .filter_map(|request| self.route(&request).route_index())
            .collect()
    }
}

/// One request of an expectation.
struct Case<'a> {
    policy: &'a Policy,
    expectation: &'a Expectation,
    asked: Asked,
}

impl Case<'_> {
    fn failure(&self, what: String, other: Option<Place>) -> ExpectationFailure {
        ExpectationFailure {
            what,
            place: self.expectation.place.clone(),
            other,
        }
    }

    /// Whether the route, and the upstream that it leads to, are those that are named.
    fn route(&self) -> Option<ExpectationFailure> {
        let expected = self.expectation;
        if expected.route.is_none() && expected.upstream.is_none() {
            return None;
        }
        let request = &self.asked;
        let route = self.policy.verdict(request, &NO_LIMITS, None).route;
        let place = route.map(|route| route.place.clone());
        if let Some(name) = &expected.route {
            match route {
                Some(route) if *route.name == **name => {}
                Some(route) => {
                    let what = format!(
                        "`{request}` was to be taken by the route `{name}`, and is by `{}`",
                        route.name
                    );
                    return Some(self.failure(what, place));
                }
                None => {
                    let what = format!(
                        "`{request}` was to be taken by the route `{name}`, and is by none"
                    );
                    return Some(self.failure(what, None));
                }
            }
        }
        let (index, name) = expected.upstream.as_ref()?;
        let instead = match route.map(|route| route.target) {
            Some(Target::Upstream(at)) if at == *index => return None,
            Some(Target::Upstream(_)) => "to another one",
            Some(Target::Management(_)) => "to keygate's own management API",
            None => "to none",
        };
        let what = format!("`{request}` was to go to the upstream `{name}`, and goes {instead}");
        Some(self.failure(what, place))
    }

    /// Whether someone fares as expected.
    fn who(&self, who: &Who, wanted: bool) -> Option<ExpectationFailure> {
        let scope = match who {
            Who::Anyone => None,
            Who::Scope(scope) if !self.policy.scopes.declares(scope) => {
                let hint = nearest_hint(&nearest_scope(scope, self.policy.scopes.names()));
                let what = format!("the scope `{scope}` is not declared{hint}");
                return Some(self.failure(what, None));
            }
            Who::Scope(scope) => Some(scope),
        };
        let request = &self.asked;
        let verdict = self.policy.verdict(request, &NO_LIMITS, scope);
        let by = match verdict.route {
            Some(route) => format!(" by the route `{}`", route.name),
            None => String::new(),
        };
        let who = Shown(who);
        let what = match (verdict.outcome, wanted, self.expectation.status) {
            (Ok(()), true, _) => return None,
            (Ok(()), false, _) => {
                format!("`{request}` was to be refused for {who}, and is let through{by}")
            }
            (Err(denial), true, _) => format!(
                "`{request}` was to be let through for {who}, and is refused{by}: {}",
                why(&denial)
            ),
            (Err(denial), false, Some(status)) if denial.status() != status => format!(
                "`{request}` was to be refused with {} for {who}, and is with {}{by}: {}",
                status.as_u16(),
                denial.status().as_u16(),
                why(&denial)
            ),
            (Err(_), false, _) => return None,
        };
        Some(self.failure(what, verdict.route.map(|route| route.place.clone())))
    }
}

/// Why someone is refused, in words.
fn why(denial: &Denial) -> String {
    match denial {
        Denial::Policy(Refusal::MethodNotAllowed { allow }) => {
            format!("{denial}, only {}", allow.to_str().unwrap_or_default())
        }
        _ => denial.to_string(),
    }
}

/// Someone, in a sentence.
struct Shown<'w>(&'w Who);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Who::Anyone => f.write_str("anyone without a key"),
            Who::Scope(scope) => write!(f, "a key of scope `{scope}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{compile, place, routes, scope};
    use super::*;
    use http::StatusCode;

    fn who(names: &str) -> Vec<Who> {
        let one = |name| match name {
            "anyone" => Who::Anyone,
            name => Who::Scope(scope(name)),
        };
        names.split_whitespace().map(one).collect()
    }

    fn policy() -> Policy {
        let specs = routes(&[
            ("POST", "/v3/users", "auth"),
            ("", "/v3/users/{uid}", "full"),
            ("GET", "/open", "public"),
            ("", "/shut", "deny"),
        ]);
        compile(specs).unwrap()
    }

    fn expectation(requests: &[(&str, &str)]) -> Expectation {
        let request =
            |(method, target): &(&str, &str)| (method.parse().unwrap(), (*target).to_owned());
        Expectation {
            name: None,
            requests: requests.iter().map(request).collect(),
            hosts: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            status: None,
            route: None,
            upstream: None,
            place: place(77),
        }
    }

    fn failures(request: &str, allow: &str, deny: &str) -> Vec<(String, usize)> {
        let (method, target) = request.split_once(' ').unwrap();
        let expectation = Expectation {
            allow: who(allow),
            deny: who(deny),
            ..expectation(&[(method, target)])
        };
        let failures = policy().check(&expectation);
        assert!(
            failures
                .iter()
                .all(|failure| failure.place == expectation.place)
        );
        let line = |place: Option<Place>| place.map_or(0, |place| place.line);
        failures
            .into_iter()
            .map(|failure| (failure.what, line(failure.other)))
            .collect()
    }

    #[test]
    fn an_expectation_that_holds_says_nothing() {
        for (request, allow, deny) in [
            (
                "DELETE /v3/users/cyclops2",
                "full admin",
                "auth other anyone",
            ),
            ("DELETE /v3/%75sers/cyclops2?force=1", "full", "auth anyone"),
            ("POST /v3/users", "auth full admin", "other anyone"),
            ("GET /v3/users", "", "admin anyone"),
            ("GET /open", "anyone auth other", ""),
            ("GET /shut", "", "admin anyone"),
            ("GET /v3/users/../users", "", "admin anyone"),
            ("TRACE /open", "", "anyone admin"),
            ("GET /open/a%2Fb", "", "anyone admin"),
        ] {
            assert_eq!(failures(request, allow, deny), [], "{request}");
        }
    }

    #[test]
    fn one_that_fails_says_what_was_decided_and_by_which_route() {
        for (request, allow, deny, expected, line) in [
            (
                "DELETE /v3/users/a",
                "auth",
                "",
                "`DELETE /v3/users/a` was to be let through for a key of scope `auth`, and is refused by the route `/v3/users/{uid}`: the key's scope is not one of the route's",
                2,
            ),
            (
                "POST /v3/users",
                "",
                "full",
                "`POST /v3/users` was to be refused for a key of scope `full`, and is let through by the route `POST /v3/users`",
                1,
            ),
            (
                "GET /open",
                "",
                "anyone",
                "`GET /open` was to be refused for anyone without a key, and is let through by the route `GET /open`",
                3,
            ),
            (
                "GET /v3/users",
                "full",
                "",
                "`GET /v3/users` was to be let through for a key of scope `full`, and is refused: no route for this host and path takes the method, only POST",
                0,
            ),
            (
                "GET /v3/users/..",
                "full",
                "",
                "`GET /v3/users/..` was to be let through for a key of scope `full`, and is refused: a path has no `.` or `..` segment, plain or encoded",
                0,
            ),
            (
                "GET /open",
                "ful",
                "",
                "the scope `ful` is not declared; did you mean `full`?",
                0,
            ),
            (
                "GET /open",
                "",
                "",
                "nothing is expected: `allow` or `deny` names at least one scope, or \"anyone\"",
                0,
            ),
        ] {
            assert_eq!(
                failures(request, allow, deny),
                [(expected.to_owned(), line)],
                "{request}"
            );
        }
    }

    #[test]
    fn every_request_to_every_host_is_a_case() {
        let policy = policy();
        let mut expected = expectation(&[("GET", "/open"), ("GET", "/v3/users/a")]);
        expected.hosts = vec!["a.example".to_owned(), "B.example:80".to_owned()];
        expected.allow = who("anyone");
        let failed: Vec<String> = policy
            .check(&expected)
            .into_iter()
            .map(|f| f.what)
            .collect();
        let refused = |host| {
            format!(
                "`GET /v3/users/a of host {host}` was to be let through for anyone without a key, and is refused by the route `/v3/users/{{uid}}`: the route is not public and no key was given"
            )
        };
        assert_eq!(failed, [refused("a.example"), refused("B.example:80")]);
        let touched = policy.touched_by(&expected);
        let names: Vec<&str> = touched
            .iter()
            .map(|route| &*policy.routes()[route.index()].name)
            .collect();
        assert_eq!(names, ["/v3/users/{uid}", "GET /open"]);
    }

    #[test]
    fn route_upstream_and_status_are_expected_too() {
        let policy = policy();
        let with = |change: &dyn Fn(&mut Expectation), request| {
            let mut expected = expectation(&[request]);
            change(&mut expected);
            let failures = policy.check(&expected);
            failures.into_iter().map(|f| f.what).collect::<Vec<_>>()
        };
        let status = |code| {
            move |e: &mut Expectation| {
                e.deny = who("full");
                e.status = Some(StatusCode::from_u16(code).unwrap());
            }
        };
        let none: [&str; 0] = [];
        assert_eq!(with(&status(404), ("GET", "/nowhere")), none);
        assert_eq!(with(&status(405), ("GET", "/v3/users")), none);
        assert_eq!(with(&status(403), ("GET", "/shut")), none);
        assert_eq!(with(&status(400), ("GET", "/v3/..")), none);
        assert_eq!(
            with(&status(404), ("GET", "/shut")),
            [
                "`GET /shut` was to be refused with 404 for a key of scope `full`, and is with 403 by the route `/shut`: the route is closed for everyone"
            ]
        );
        let route = |name: &'static str| {
            move |e: &mut Expectation| {
                e.allow = who("full");
                e.route = Some(name.into());
            }
        };
        assert_eq!(
            with(&route("/v3/users/{uid}"), ("GET", "/v3/users/a")),
            none
        );
        assert_eq!(
            with(&route("GET /open"), ("GET", "/v3/users/a")),
            [
                "`GET /v3/users/a` was to be taken by the route `GET /open`, and is by `/v3/users/{uid}`"
            ]
        );
        let upstream = |index| {
            move |e: &mut Expectation| {
                e.allow = who("full");
                e.upstream = Some((index, "chat".into()));
            }
        };
        assert_eq!(with(&upstream(0), ("GET", "/v3/users/a")), none);
        assert_eq!(
            with(&upstream(1), ("GET", "/v3/users/a")),
            ["`GET /v3/users/a` was to go to the upstream `chat`, and goes to another one"]
        );
    }
}
