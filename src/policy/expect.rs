//! `[[expect]]`: tests that a policy carries with it.
//!
//! An expectation names a request, who must be let through and who must be refused. It is put to the same functions
//! that decide about real requests, with a scope in place of a key. A request that would be refused before routes are
//! looked at (a dot segment, TRACE) is refused here too: nobody is let through.

use super::find::Query;
use super::permit::Refusal;
use super::problem::{ExpectationFailure, nearest_hint, nearest_scope};
use super::spec::{Expectation, Who};
use super::{Exceptions, Place, Policy};
use crate::http::canonical_path;
use crate::key::ScopeName;
use http::Method;
use std::fmt;

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
        let allow = expectation.allow.iter().map(|who| (who, true));
        let deny = expectation.deny.iter().map(|who| (who, false));
        allow
            .chain(deny)
            .filter_map(|(who, wanted)| self.check_one(expectation, who, wanted))
            .collect()
    }

    fn check_one(
        &self,
        expectation: &Expectation,
        who: &Who,
        wanted: bool,
    ) -> Option<ExpectationFailure> {
        let fail = |what: String, other: Option<Place>| {
            Some(ExpectationFailure {
                what,
                place: expectation.place.clone(),
                other,
            })
        };
        let scope = match who {
            Who::Anyone => None,
            Who::Scope(scope) if !self.scopes.declares(scope) => {
                let hint = nearest_hint(&nearest_scope(scope, self.scopes.names()));
                return fail(format!("the scope `{scope}` is not declared{hint}"), None);
            }
            Who::Scope(scope) => Some(scope),
        };
        let (decision, name, place) = self.decide(expectation, scope);
        if decision.is_ok() == wanted {
            return None;
        }
        let by = name.map_or_else(String::new, |name| format!(" by the route `{name}`"));
        let request = format!("{} {}", expectation.method, expectation.target);
        let who = Shown(who);
        let what = match decision {
            Ok(()) => format!("`{request}` was to be refused for {who}, and is let through{by}"),
            Err(why) => {
                format!("`{request}` was to be let through for {who}, and is refused{by}: {why}")
            }
        };
        fail(what, place)
    }

    /// The decision, with name and place of the route that takes the request.
    fn decide(
        &self,
        expectation: &Expectation,
        scope: Option<&ScopeName>,
    ) -> (Result<(), String>, Option<&str>, Option<Place>) {
        let (path, needs) = match admitted_path(&expectation.method, &expectation.target) {
            Ok(admitted) => admitted,
            Err(why) => return (Err(why), None, None),
        };
        let host = expectation
            .host
            .as_ref()
            .map(|host| host.to_ascii_lowercase());
        let query = Query {
            method: &expectation.method,
            host: host.as_deref(),
            path: &path,
        };
        let routed = self.routed(query, needs);
        let route = routed.route(self);
        let (name, place) = (route.map(|r| &*r.name), route.map(|r| r.place.clone()));
        let decision = self
            .judge(routed, scope)
            .map(|_| ())
            .map_err(|refusal| match &refusal {
                Refusal::MethodNotAllowed { allow } => {
                    format!("{refusal}, only {}", allow.to_str().unwrap_or_default())
                }
                _ => refusal.to_string(),
            });
        (decision, name, place)
    }
}

/// What admission makes of a request line, as far as a policy is concerned.
fn admitted_path(method: &Method, target: &str) -> Result<(String, Exceptions), String> {
    if matches!(*method, Method::TRACE | Method::CONNECT)
        || method.as_str().bytes().any(|b| b.is_ascii_lowercase())
    {
        return Err(format!("the method {method} is refused everywhere"));
    }
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    match canonical_path(path) {
        Ok((path, needs)) => Ok((path.into_owned(), needs)),
        Err(error) => Err(error.to_string()),
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

    fn failures(request: &str, allow: &str, deny: &str) -> Vec<(String, usize)> {
        let (method, target) = request.split_once(' ').unwrap();
        let expectation = Expectation {
            method: method.parse().unwrap(),
            target: target.to_owned(),
            host: Some("Example.COM".to_owned()),
            allow: who(allow),
            deny: who(deny),
            place: place(77),
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
}
