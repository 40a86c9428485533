//! Which route decides about a request: the pure core of every decision.
//!
//! First the management paths, then the tree; of the ends that match host and path the first that takes the method
//! decides. None takes it: 405, with what all of them take together. None matches: 404. The data plane, `[[expect]]` and
//! the checks of a policy all come through [`Policy::find`].

use super::management::Ownership;
use super::methods::ByMethod;
use super::walk::Walk;
use super::{Policy, RouteIndex};
use http::{HeaderValue, Method};

/// What the policy looks at in a request.
#[derive(Clone, Copy, Debug)]
pub struct Query<'q> {
    /// The method.
    pub method: &'q Method,
    /// The host in lower case, without a port.
    pub host: Option<&'q str>,
    /// The canonical path.
    pub path: &'q str,
}

/// What the policy has for a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// This route decides.
    Route(RouteIndex),
    /// Routes match host and path, but none takes the method; the value of `Allow`: what they do take, sorted.
    MethodNotAllowed(HeaderValue),
    /// No route matches host and path.
    NotFound,
}

impl Policy {
    /// The route that decides about a request. Costs no allocation but for [`Found::MethodNotAllowed`].
    pub fn find(&self, query: Query<'_>) -> Found {
        for owned in &self.management {
            match owned.claim(query.path) {
                None => {}
                Some(Ownership::Nothing) => return Found::NotFound,
                Some(Ownership::Operations(end)) => {
                    return match end.route(query.method) {
                        Some(route) => Found::Route(route),
                        None => Found::MethodNotAllowed(allow([end])),
                    };
                }
            }
        }
        let mut matched = false;
        for end in self.walk(query) {
            matched = true;
            if let Some(route) = self.tree.end(end).route(query.method) {
                return Found::Route(route);
            }
        }
        if matched {
            Found::MethodNotAllowed(allow(self.walk(query).map(|end| self.tree.end(end))))
        } else {
            Found::NotFound
        }
    }

    /// The ends of the tree that match host and path, the most specific first.
    pub(super) fn walk<'q>(&self, query: Query<'q>) -> Walk<'_, 'q> {
        Walk::new(&self.tree, query.host, query.path)
    }
}

/// The value of `Allow`: all methods that these ends take, by name.
#[cold]
fn allow<'e>(ends: impl IntoIterator<Item = &'e ByMethod>) -> HeaderValue {
    let mut names: Vec<&str> = Vec::new();
    for end in ends {
        names.extend(end.taken().map(|(method, _)| method.as_str()));
    }
    names.sort_unstable();
    names.dedup();
    HeaderValue::from_str(&names.join(", "))
        .expect("a method is made of characters that a header value may have")
}
