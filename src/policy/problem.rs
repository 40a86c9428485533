//! What is wrong with a policy, and what is right but worth a look: each with the places it is about.

use super::pattern::PatternError;
use super::{HostPattern, Place};
use crate::key::ScopeName;
use http::Method;
use std::fmt;

/// Why a policy is refused. Its `Display` says what is wrong without places; [`PolicyError::place`] is where it is, and
/// [`PolicyError::other_place`] what it collides with.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PolicyError {
    /// The text is no path pattern.
    #[error("the path `{pattern}` is not a pattern: {source}")]
    Pattern {
        pattern: String,
        source: PatternError,
        place: Place,
    },
    /// Every request that matches the path's literals needs exceptions that the route does not allow.
    #[error(
        "no request can reach `{pattern}`: its text needs {needs}, which the route does not allow"
    )]
    NeedsException {
        pattern: String,
        needs: String,
        place: Place,
    },
    /// The list of paths is empty.
    #[error("a route has at least one path")]
    NoPath { place: Place },
    /// The list of methods is empty.
    #[error("a route has at least one method; none written means the usual seven")]
    NoMethod { place: Place },
    /// Requests with this method are refused before routes are looked at.
    #[error("no request can reach a route by {method}: {why}")]
    Method {
        method: Method,
        why: &'static str,
        place: Place,
    },
    /// The list of scopes is empty.
    #[error("a route has at least one scope; `access = \"deny\"` closes it for everyone")]
    NoScope { place: Place },
    /// A scope that `[scopes]` does not have.
    #[error("the scope `{scope}` is not declared{}", nearest_hint(.nearest))]
    UndeclaredScope {
        scope: ScopeName,
        nearest: Option<ScopeName>,
        place: Place,
    },
    /// Two routes match the same requests.
    #[error("`{pattern}`{} has two routes for {methods}", host_hint(.host))]
    Conflict {
        pattern: String,
        host: Option<HostPattern>,
        methods: String,
        place: Place,
        other: Place,
    },
    /// Other routes take every request that matches.
    #[error("no request can reach `{pattern}`{}: more specific routes take them all, as `{by}` does", host_hint(.host))]
    Unreachable {
        pattern: String,
        host: Option<HostPattern>,
        by: String,
        place: Place,
        other: Place,
    },
    /// The text is no management path.
    #[error("`{path}` cannot be a management path: {why}")]
    ManagementPath {
        path: String,
        why: String,
        place: Place,
    },
    /// One management path is another, or below it.
    #[error("the management path `{path}` is at or below the management path `{above}`")]
    ManagementOverlap {
        path: String,
        above: String,
        place: Place,
        other: Place,
    },
    /// A route is written where the management API is.
    #[error(
        "no request can reach `{pattern}`: the management path `{path}` owns itself and all below it, for every host"
    )]
    UnderManagement {
        pattern: String,
        path: String,
        place: Place,
        other: Place,
    },
}

impl PolicyError {
    /// Where the fault is.
    pub fn place(&self) -> &Place {
        use PolicyError as E;
        match self {
            E::Pattern { place, .. }
            | E::NeedsException { place, .. }
            | E::NoPath { place }
            | E::NoMethod { place }
            | E::Method { place, .. }
            | E::NoScope { place }
            | E::UndeclaredScope { place, .. }
            | E::Conflict { place, .. }
            | E::Unreachable { place, .. }
            | E::ManagementPath { place, .. }
            | E::ManagementOverlap { place, .. }
            | E::UnderManagement { place, .. } => place,
        }
    }

    /// Whether it is said of one path, so that each of the file's prefixes has it again.
    pub(super) fn is_about_a_path(&self) -> bool {
        use PolicyError as E;
        match self {
            E::Pattern { .. }
            | E::NeedsException { .. }
            | E::Conflict { .. }
            | E::Unreachable { .. }
            | E::UnderManagement { .. } => true,
            E::NoPath { .. }
            | E::NoMethod { .. }
            | E::Method { .. }
            | E::NoScope { .. }
            | E::UndeclaredScope { .. }
            | E::ManagementPath { .. }
            | E::ManagementOverlap { .. } => false,
        }
    }

    /// The other place, where two are involved.
    pub fn other_place(&self) -> Option<&Place> {
        use PolicyError as E;
        match self {
            E::Conflict { other, .. }
            | E::Unreachable { other, .. }
            | E::ManagementOverlap { other, .. }
            | E::UnderManagement { other, .. } => Some(other),
            E::Pattern { .. }
            | E::NeedsException { .. }
            | E::NoPath { .. }
            | E::NoMethod { .. }
            | E::Method { .. }
            | E::NoScope { .. }
            | E::UndeclaredScope { .. }
            | E::ManagementPath { .. } => None,
        }
    }
}

/// What is allowed and probably not meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PolicyWarning {
    /// A path has a route, but requests with other methods fall to a broader route that lets in keys (or anyone) that
    /// the specific route keeps out.
    WidensByFallingThrough {
        /// Path of the specific route.
        pattern: String,
        /// Path of the broader one.
        broader: String,
        /// What falls through.
        methods: Vec<Method>,
        /// The specific route.
        place: Place,
        /// The broader one.
        other: Place,
    },
    /// The policy is too entangled to be looked through for the above in reasonable time; some warnings may be missing.
    NotAllCompared {
        /// The route at which the search ended.
        place: Place,
    },
}

impl PolicyWarning {
    /// Where to look.
    pub fn place(&self) -> &Place {
        match self {
            PolicyWarning::WidensByFallingThrough { place, .. }
            | PolicyWarning::NotAllCompared { place } => place,
        }
    }

    /// The other place, where two are involved.
    pub fn other_place(&self) -> Option<&Place> {
        match self {
            PolicyWarning::WidensByFallingThrough { other, .. } => Some(other),
            PolicyWarning::NotAllCompared { .. } => None,
        }
    }
}

impl fmt::Display for PolicyWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyWarning::WidensByFallingThrough { pattern, broader, methods, .. } => write!(
                f,
                "{} `{pattern}` falls to `{broader}`, which lets in more than the routes of `{pattern}` do; write a route for it if that is not meant",
                list(methods),
            ),
            PolicyWarning::NotAllCompared { .. } => f.write_str(
                "the routes overlap in so many ways that not all were compared: warnings about access that widens may be missing",
            ),
        }
    }
}

/// Why an `[[expect]]` table does not hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}")]
pub struct ExpectationFailure {
    /// What was expected and what was decided instead.
    pub what: String,
    /// Where the table begins.
    pub place: Place,
    /// The route that decided, if one did.
    pub other: Option<Place>,
}

/// `GET, POST and PUT`.
pub(super) fn list(methods: &[Method]) -> String {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// The declared scope that a misspelt one was probably meant to be.
pub(super) fn nearest_scope<'s>(
    scope: &ScopeName,
    declared: impl Iterator<Item = &'s ScopeName>,
) -> Option<ScopeName> {
    let written = scope.as_str().to_ascii_lowercase();
    let furthest = (written.len() / 3).max(2);
    declared
        .map(|name| {
            (
                strsim::damerau_levenshtein(&written, &name.as_str().to_ascii_lowercase()),
                name,
            )
        })
        .filter(|(distance, _)| *distance <= furthest)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.clone())
}

pub(super) fn nearest_hint(nearest: &Option<ScopeName>) -> String {
    nearest
        .as_ref()
        .map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

fn host_hint(host: &Option<HostPattern>) -> String {
    host.as_ref()
        .map_or_else(String::new, |host| format!(" of host `{host}`"))
}
