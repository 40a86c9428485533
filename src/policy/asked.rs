//! A request that nobody makes: what someone asks about, put through the functions that judge real ones.
//!
//! `GET /v3/%75sers?x` becomes a head with that target and a `Host`, is admitted, routed and judged. What comes out is a
//! [`Verdict`]: what was decided for a key of some scope or for no key, and by which route. Nothing of it can be used to
//! let a request through.

use super::find::Found;
use super::{Policy, Refusal, Route};
use crate::http::{AdmitError, AdmitRules, Admitted, TargetError, UnderscoreRule, admit};
use crate::key::ScopeName;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header};
use std::fmt;
use std::sync::Arc;

/// The host of a request for which none is named: no route's, since the domain is reserved (RFC 6761, section 6.4).
const NO_HOST: &str = "host.invalid";

/// A request in question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    pub method: Method,
    /// As it stands in a request line: a path, with a query or without.
    pub target: String,
    /// With a port or without; `None`: one that no route names.
    pub host: Option<String>,
}

/// Rules that leave only what holds for every gateway: the limits are those of its configuration.
pub const NO_LIMITS: AdmitRules = AdmitRules {
    target_bytes: usize::MAX,
    head_bytes: usize::MAX,
    headers: usize::MAX,
    underscores: UnderscoreRule::Refuse,
};

impl Asked {
    /// Puts it through the judgement of heads.
    ///
    /// # Errors
    /// As [`admit`]; a target that is no target at all is [`TargetError::RawCharacter`].
    pub fn admit(&self, rules: &AdmitRules) -> Result<Admitted, AdmitError> {
        let uri: Uri = (self.target.parse()).map_err(|_| TargetError::RawCharacter)?;
        let host = self.host.as_deref().unwrap_or(NO_HOST);
        let mut headers = HeaderMap::new();
        let host = HeaderValue::from_str(host).map_err(|_| crate::http::HostError::Malformed)?;
        headers.insert(header::HOST, host);
        admit(&self.method, &uri, Version::HTTP_11, &headers, rules)
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.target)?;
        match &self.host {
            Some(host) => write!(f, " of host {host}"),
            None => Ok(()),
        }
    }
}

/// Why a request in question would be refused by head or policy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denial {
    #[error(transparent)]
    Head(#[from] AdmitError),
    #[error(transparent)]
    Policy(#[from] Refusal),
}

impl Denial {
    /// The status that its client would get.
    pub fn status(&self) -> StatusCode {
        match self {
            Denial::Head(error) => error.status(),
            Denial::Policy(refusal) => refusal.status(),
        }
    }
}

/// What would be decided.
#[derive(Clone, Debug)]
pub struct Verdict<'p> {
    /// The route that takes the request, whatever it says.
    pub route: Option<&'p Arc<Route>>,
    pub outcome: Result<(), Denial>,
}

impl Policy {
    /// What would be decided for who has a key of this scope, or no key.
    pub fn verdict(
        &self,
        asked: &Asked,
        rules: &AdmitRules,
        scope: Option<&ScopeName>,
    ) -> Verdict<'_> {
        match asked.admit(rules) {
            Err(error) => Verdict {
                route: None,
                outcome: Err(error.into()),
            },
            Ok(admitted) => {
                let routed = self.route(&admitted);
                let route = routed.route(self);
                let outcome = self.judge(routed, scope).map(|_| ()).map_err(Denial::from);
                Verdict { route, outcome }
            }
        }
    }

    /// Why a request is refused to every key, if no route takes it.
    pub fn untaken(&self, asked: &Asked) -> Option<Denial> {
        match asked.admit(&NO_LIMITS) {
            Err(error) => Some(error.into()),
            Ok(admitted) => match self.route(&admitted).into_found() {
                Found::Route(_) => None,
                Found::MethodNotAllowed(allow) => Some(Refusal::MethodNotAllowed { allow }.into()),
                Found::NotFound => Some(Refusal::NoRoute.into()),
            },
        }
    }
}
