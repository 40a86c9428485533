//! Who may do what: scopes, routes, and the decision about a request. Nothing here does I/O.
//!
//! `config/` reads the files and fills a [`PolicySpec`]; [`Policy::compile`] makes a [`Policy`] of it or says everything
//! that is wrong. A policy never changes: a reload makes another one.
//!
//! One request through it, `POST /v3/users` with a key of scope fullAccess, under the policy
//!
//! ```toml
//! prefix = ["/v3"]
//! [scopes]
//! authOnly   = []
//! fullAccess = ["authOnly"]
//! [[routes]]
//! path    = "/users"
//! methods = ["POST"]
//! scope   = "authOnly"
//! [[routes]]
//! path  = "/{*rest}"
//! scope = "fullAccess"
//! ```
//!
//! 1. `http/` has admitted it: its method, its host and its path have one reading.
//! 2. [`Policy::route`] looks for the route. No management path owns the path. In the tree, the root's literal `v3` and
//!    its literal `users` lead to an end whose table has a route for POST; that is more specific than the tail at `v3`,
//!    so it decides. The answer is a [`Routed`], which keeps what it knows to itself.
//! 3. [`Routed::needs_key`] is true: the gateway identifies the client, or answers 401 whatever was found.
//! 4. [`Policy::permit`] takes the [`Routed`] and the [`Identity`]. The route exists, takes the method, is not denied;
//!    the path needs no exception. The route's scopes were closed over inclusion when it was compiled: authOnly became
//!    authOnly and fullAccess, so the key's scope only has to be found among them.
//! 5. A [`Permitted`] comes out, and holds the route that was matched. Nothing later looks anything up again.
//!
//! `GET /v3/users` ends at the same table, which has nothing for GET; the walk goes on to the tail, and fullAccess is
//! needed. `GET /v3/users/` is not given to the tail, since `/v3/users` has a route: 404. `GET /v3` matches nothing: 404.
//!
//! Where things are: a path's text is read in `pattern`; patterns hang in the `tree` (many literals at one node
//! in `literals`), and a request comes down it in `walk`; at its end `methods` says who takes the method; `management` stands before the tree; `find` puts these
//! together and `permit` makes the proofs. `compile` builds it all, with `reach` and `widen` (over `overlap`) for what cannot be seen
//! from one route alone; `expect` runs the tests that a policy brings along, on
//! requests that are only `asked` about; `listing` writes all routes out in the order in which they are asked; `shadow` lays routes that are tried over those in force; `lint` says what of a policy is probably not meant. [`diff`] tells two policies
//! apart, [`form`] hands one to another process.

mod asked;
mod compile;
pub mod diff;
mod expect;
mod find;
pub mod form;
pub mod lint;
mod listing;
mod literals;
mod management;
mod methods;
#[cfg(test)]
mod oracle;
mod overlap;
mod pattern;
mod permit;
mod problem;
mod reach;
mod route;
mod shadow;
mod spec;
#[cfg(test)]
mod testing;
mod trace;
mod tree;
mod walk;
mod widen;

pub use crate::http::Exceptions;
pub use asked::{Asked, Denial, NO_LIMITS, Verdict};
pub use find::{Found, Query};
pub use listing::{Listed, PathFilter};
pub use pattern::PatternError;
pub use permit::{Identity, Permitted, Refusal, Routed};
pub use problem::{ExpectationFailure, PolicyError, PolicyWarning};
pub use route::{
    Access, HostPattern, HostPatternError, Maintenance, ManagementOp, Methods, Place, Rate,
    Retries, RetryOn, Route, RouteCors, RouteIdentity, RouteIndex, RouteSettings, Target,
};
pub use shadow::{Comparison, overlay};
pub use spec::{AccessSpec, Expectation, ManagementSpec, PolicySpec, RouteSpec, Who};
pub use trace::Candidate;

use crate::key::Scopes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A compiled policy.
#[derive(Clone, Debug)]
pub struct Policy {
    id: PolicyId,
    routes: Vec<Arc<Route>>,
    tree: tree::Tree,
    management: Vec<management::Owned>,
    scopes: Scopes,
    warnings: Vec<PolicyWarning>,
}

impl Policy {
    /// All routes, the operations of the management API included; a [`RouteIndex`] is a position in this list.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The declared scopes.
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// What is allowed and probably not meant, by place.
    pub fn warnings(&self) -> &[PolicyWarning] {
        &self.warnings
    }
}

/// Tells one compiled policy from every other of this process, so that a proof is not read against the wrong one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct PolicyId(u64);

impl PolicyId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        PolicyId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
