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
