//! From an admitted request to a permitted one: two proofs, each made by one function.
//!
//! [`Policy::route`] turns a request into a [`Routed`], which holds what was found and says nothing yet: whether a route
//! exists is told only to who has a key. [`Routed::needs_key`] says whether the gateway must identify the client first;
//! [`Policy::permit`] takes the [`Routed`] with the [`Identity`] and gives a [`Permitted`] or the [`Refusal`].
//!
//! `DELETE /v3/users/cyclops2` with an authOnly key: routed to the route that names DELETE; that is not public, so the
//! key is looked up; the route is there, takes the method, is not denied, the path needs no exception; the key's scope
//! is not among the route's, so [`Refusal::ScopeLacking`].
//!
//! The order is that of the contract: 404, 405, denied, then a path that needs exceptions which the route does not
//! allow, then scope. For a public route only the exceptions are left to judge: 400 with or without a key.
//!
//! A proof holds the route's number in its policy, not a reference that would tie it to the snapshot's lifetime, nor a
//! counted one that every worker would write to for each request. A number means nothing without its policy, so a
//! proof remembers which policy made it, and another one refuses to read it. Who must keep a route longer than the
//! snapshot (an open stream) clones the `Arc` that [`Permitted::route`] gives.
//!
//! Neither proof can be made elsewhere:
//!
//! ```compile_fail,E0451
//! # use keygate::policy::{Permitted, RouteIndex};
//! fn forge(permitted: Permitted, route: RouteIndex) -> Permitted {
//!     Permitted { route, ..permitted }
//! }
//! ```
//!
//! ```compile_fail,E0451
//! # use keygate::policy::{Found, Routed};
//! fn forge(routed: Routed, found: Found) -> Routed {
//!     Routed { found, ..routed }
//! }
//! ```
//!
//! A routed request is no permitted one, and there is no other way from here to there:
//!
//! ```compile_fail,E0308
//! # use keygate::policy::{Permitted, Routed};
//! fn dispatch(_: Permitted) {}
//! fn skip(routed: Routed) {
//!     dispatch(routed);
//! }
//! ```
//!
//! A proof is used up, so that one identity is not judged and another one let through:
//!
//! ```compile_fail,E0382
//! # use keygate::policy::{Identity, Policy, Routed};
//! fn twice(policy: &Policy, routed: Routed) {
//!     let _ = policy.permit(routed, Identity::Anonymous);
//!     let _ = policy.permit(routed, Identity::Anonymous);
//! }
//! ```

use super::find::{Found, Query};
use super::{Access, Exceptions, Policy, PolicyId, Route, RouteIndex};
use crate::http::Admitted;
use crate::key::ScopeName;
use crate::keycache::Principal;
use http::{HeaderValue, StatusCode};
use std::sync::Arc;

/// A request and what the policy has for it. Made by [`Policy::route`] alone.
#[derive(Debug)]
#[must_use = "a routed request is not permitted yet"]
pub struct Routed {
    policy: PolicyId,
    found: Found,
    public: bool,
    needs: Exceptions,
}

impl Routed {
    /// Whether the client must be identified before anything is said: for all but a public route.
    pub fn needs_key(&self) -> bool {
        !self.public
    }

    /// What was found, for those who only ask.
    pub(super) fn into_found(self) -> Found {
        self.found
    }

    /// The number of the route that was found, for counters; `None` where none takes the request.
    pub fn route_index(&self) -> Option<RouteIndex> {
        match self.found {
            Found::Route(route) => Some(route),
            Found::MethodNotAllowed(_) | Found::NotFound => None,
        }
    }

    /// The route that was found, for logs and metrics; `None` where none takes the request.
    pub fn route<'p>(&self, policy: &'p Policy) -> Option<&'p Arc<Route>> {
        match self.found {
            Found::Route(route) => Some(policy.own(self.policy, route)),
            Found::MethodNotAllowed(_) | Found::NotFound => None,
        }
    }
}

/// Who makes a request.
pub enum Identity {
    /// No one was identified: enough for a public route only.
    Anonymous,
    /// The holder of a key that is in force.
    Key(Principal),
}

/// A request that may be carried out, the route that says so, and who makes it. Made by [`Policy::permit`] alone.
#[must_use = "a permitted request is to be dispatched"]
pub struct Permitted {
    policy: PolicyId,
    route: RouteIndex,
    principal: Option<Principal>,
}

impl Permitted {
    /// The route that was matched, in the policy that matched it.
    ///
    /// # Panics
    /// When `policy` is another one than made this: a request works with one snapshot.
    pub fn route<'p>(&self, policy: &'p Policy) -> &'p Arc<Route> {
        policy.own(self.policy, self.route)
    }

    /// The route's number in its policy, for counters.
    pub fn route_index(&self) -> RouteIndex {
        self.route
    }

    /// Whose key it was; `None` on a public route, where a key is not judged.
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }
}

/// Why a routed request is not permitted, in the order of the checks.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the route is not public and no key was given")]
    Unidentified,
    #[error("no route matches host and path")]
    NoRoute,
    #[error("no route for this host and path takes the method")]
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: HeaderValue,
    },
    #[error("the route is closed for everyone")]
    Denied,
    #[error("the path can be read in two ways, and the route does not allow that")]
    AmbiguousTarget,
    #[error("the key's scope is not one of the route's")]
    ScopeLacking,
}

impl Refusal {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::Unidentified => StatusCode::UNAUTHORIZED,
            Refusal::NoRoute => StatusCode::NOT_FOUND,
            Refusal::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Denied | Refusal::ScopeLacking => StatusCode::FORBIDDEN,
            Refusal::AmbiguousTarget => StatusCode::BAD_REQUEST,
        }
    }
}

impl Policy {
    /// Looks a request's route up and says nothing about it yet.
    pub fn route(&self, request: &Admitted) -> Routed {
        let query = Query {
            method: request.method(),
            host: Some(request.host()),
            path: request.path(),
        };
        self.routed(query, request.needs())
    }

    /// Judges a routed request.
    ///
    /// # Errors
    /// The first [`Refusal`] in the order of the contract.
    ///
    /// # Panics
    /// When another policy routed the request: it works with one snapshot.
    pub fn permit(&self, routed: Routed, identity: Identity) -> Result<Permitted, Refusal> {
        let policy = routed.policy;
        match identity {
            Identity::Anonymous => {
                let route = self.judge(routed, None)?;
                Ok(Permitted {
                    policy,
                    route,
                    principal: None,
                })
            }
            Identity::Key(principal) => {
                let public = routed.public;
                let route = self.judge(routed, Some(&principal.record().scope))?;
                let principal = Some(principal).filter(|_| !public);
                Ok(Permitted {
                    policy,
                    route,
                    principal,
                })
            }
        }
    }

    pub(super) fn routed(&self, query: Query<'_>, needs: Exceptions) -> Routed {
        let found = self.find(query);
        let public = match found {
            Found::Route(route) => self.routes[route.index()].access == Access::Public,
            Found::MethodNotAllowed(_) | Found::NotFound => false,
        };
        Routed {
            policy: self.id,
            found,
            public,
            needs,
        }
    }

    /// The decision itself: may who has a key of this scope, or no key? For those who ask what would be decided; it lets
    /// nothing through, since a number is no [`Permitted`].
    ///
    /// # Errors
    /// The first [`Refusal`] in the order of the contract.
    ///
    /// # Panics
    /// When another policy routed the request.
    pub fn judge(&self, routed: Routed, scope: Option<&ScopeName>) -> Result<RouteIndex, Refusal> {
        if scope.is_none() && !routed.public {
            return Err(Refusal::Unidentified);
        }
        let index = match routed.found {
            Found::Route(index) => index,
            Found::MethodNotAllowed(allow) => return Err(Refusal::MethodNotAllowed { allow }),
            Found::NotFound => return Err(Refusal::NoRoute),
        };
        let route = self.own(routed.policy, index);
        if route.access == Access::Deny {
            return Err(Refusal::Denied);
        }
        if !route.allow.cover(routed.needs) {
            return Err(Refusal::AmbiguousTarget);
        }
        match (&route.access, scope) {
            (Access::Public, _) => Ok(index),
            (Access::Scopes(scopes), Some(scope)) if scopes.contains(scope) => Ok(index),
            (Access::Scopes(_), _) => Err(Refusal::ScopeLacking),
            (Access::Deny, _) => Err(Refusal::Denied),
        }
    }

    /// The route of this number in the policy that gave it, which must be this one.
    fn own(&self, maker: PolicyId, route: RouteIndex) -> &Arc<Route> {
        assert!(
            self.id == maker,
            "a proof is used with the policy that made it: a request works with one snapshot"
        );
        &self.routes[route.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{compile, compile_with_management, routes, scope};
    use super::*;
    use http::Method;

    fn policy() -> Policy {
        let mut specs = routes(&[
            ("GET", "/open /open/{*rest}", "public"),
            ("POST", "/auth", "auth"),
            ("", "/full", "full"),
            ("", "/shut /shut/{*rest}", "deny"),
            ("", "/two", "auth other"),
            ("GET", "/files/{*rest}", "full"),
        ]);
        specs[5].allow = Exceptions::ENCODED_SLASH.with(Exceptions::SEMICOLON);
        compile_with_management(&["/apikeys"], specs).unwrap()
    }

    fn judged(policy: &Policy, request: &str, needs: Exceptions, scope_name: &str) -> String {
        let (method, path) = request.split_once(' ').unwrap();
        let method: Method = method.parse().unwrap();
        let query = Query {
            method: &method,
            host: Some("example.com"),
            path,
        };
        let scope = Some(scope_name).filter(|name| *name != "-").map(scope);
        match policy.judge(policy.routed(query, needs), scope.as_ref()) {
            Ok(_) => "ok".to_owned(),
            Err(Refusal::Unidentified) => "401".to_owned(),
            Err(Refusal::NoRoute) => "404".to_owned(),
            Err(Refusal::MethodNotAllowed { allow }) => format!("405 {}", allow.to_str().unwrap()),
            Err(Refusal::Denied) => "403 denied".to_owned(),
            Err(Refusal::AmbiguousTarget) => "400".to_owned(),
            Err(Refusal::ScopeLacking) => "403 scope".to_owned(),
        }
    }

    #[test]
    fn a_request_is_refused_in_the_order_of_the_contract() {
        let policy = policy();
        let none = Exceptions::NONE;
        let slash = Exceptions::ENCODED_SLASH;
        let more = slash.with(Exceptions::ENCODED_PERCENT);
        for (request, needs, scope, expected) in [
            // Without a key: a public route, or nothing is said.
            ("GET /open", none, "-", "ok"),
            ("HEAD /open/x", none, "-", "ok"),
            ("GET /open/a%2Fb", slash, "-", "400"),
            ("POST /open", none, "-", "401"),
            ("GET /nowhere", none, "-", "401"),
            ("GET /nowhere/a%2Fb", slash, "-", "401"),
            ("GET /shut", none, "-", "401"),
            ("GET /shut/a%2Fb", slash, "-", "401"),
            ("POST /auth", none, "-", "401"),
            ("GET /apikeys", none, "-", "401"),
            // With one: 404, 405, denied, exceptions, scope.
            ("GET /nowhere", none, "full", "404"),
            ("GET /nowhere/a%2Fb", slash, "full", "404"),
            ("GET /auth", none, "full", "405 POST"),
            ("POST /open", none, "full", "405 GET, HEAD"),
            ("GET /shut", none, "admin", "403 denied"),
            ("GET /shut/a%2Fb", slash, "admin", "403 denied"),
            ("GET /files/a%2Fb", slash, "full", "ok"),
            ("GET /files/a%2Fb%25", more, "full", "400"),
            ("GET /files/a%2Fb%25", more, "auth", "400"),
            ("GET /files/a%2Fb", slash, "auth", "403 scope"),
            ("GET /apikeys/a%2Fb", slash, "full", "400"),
            ("GET /apikeys/a%2Fb", slash, "auth", "400"),
            // Scopes: what includes a named one will do.
            ("POST /auth", none, "auth", "ok"),
            ("POST /auth", none, "full", "ok"),
            ("POST /auth", none, "admin", "ok"),
            ("POST /auth", none, "other", "403 scope"),
            ("POST /auth", none, "gone", "403 scope"),
            ("GET /full", none, "auth", "403 scope"),
            ("GET /full", none, "full", "ok"),
            ("GET /two", none, "auth", "ok"),
            ("GET /two", none, "other", "ok"),
            ("GET /two", none, "admin", "ok"),
            ("GET /apikeys", none, "auth", "403 scope"),
            ("DELETE /apikeys/k", none, "full", "ok"),
            // On a public route a key is not judged.
            ("GET /open", none, "gone", "ok"),
            ("GET /open/a%2Fb", slash, "admin", "400"),
        ] {
            let got = judged(&policy, request, needs, scope);
            assert_eq!(got, expected, "{request} for {scope}");
        }
    }

    #[test]
    fn only_a_matched_public_route_needs_no_key() {
        let policy = policy();
        for (method, path, expected) in [
            (Method::GET, "/open", false),
            (Method::HEAD, "/open/x/y", false),
            (Method::POST, "/open", true),
            (Method::GET, "/open/", true),
            (Method::GET, "/shut", true),
            (Method::GET, "/full", true),
            (Method::GET, "/nowhere", true),
            (Method::GET, "/apikeys", true),
        ] {
            let query = Query {
                method: &method,
                host: None,
                path,
            };
            let routed = policy.routed(query, Exceptions::NONE);
            assert_eq!(routed.needs_key(), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_permitted_request_holds_the_route_that_was_matched() {
        let policy = policy();
        let query = Query {
            method: &Method::GET,
            host: None,
            path: "/open/x",
        };
        let routed = policy.routed(query, Exceptions::NONE);
        assert_eq!(&*routed.route(&policy).unwrap().template, "/open/{*rest}");
        let permitted = policy.permit(routed, Identity::Anonymous).ok().unwrap();
        assert_eq!(&*permitted.route(&policy).template, "/open/{*rest}");
        assert!(permitted.principal().is_none());
    }

    #[test]
    #[should_panic(expected = "one snapshot")]
    fn a_proof_is_not_read_against_another_policy() {
        let (one, other) = (
            compile(routes(&[("", "/x", "public")])),
            compile(routes(&[("", "/x", "public")])),
        );
        let query = Query {
            method: &Method::GET,
            host: None,
            path: "/x",
        };
        let routed = one.unwrap().routed(query, Exceptions::NONE);
        let _ = other.unwrap().permit(routed, Identity::Anonymous);
    }
}
