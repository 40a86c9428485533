//! Who may use an operation, as the document says it.
//!
//! `security` is a list of alternatives, each a set of what is needed together. `[{oauth: [read]}, {oauth: [write, x], key: []}]`
//! is *read*, or *write* and *x* and *key*. Each such thing is a [`Grant`]; what of it becomes a scope is for `scopes`.

use super::node::{Cursor, Fault};
use std::collections::BTreeSet;

/// One thing that a request can be asked to have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Grant {
    /// What the operations have of which nothing is said.
    Unsaid,
    /// Credentials of a scheme, whatever their scopes.
    Scheme(Box<str>),
    /// Credentials of a scheme with this scope.
    Scope { scheme: Box<str>, scope: Box<str> },
}

/// Things that are needed together; never empty.
pub(super) type Together = BTreeSet<Grant>;

/// Who may use an operation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Access {
    Public,
    /// Whoever has all of one of these. No set has another one in it whole, and none is empty.
    AnyOf(BTreeSet<Together>),
    /// No one: the document says what cannot be said in a policy, or cannot be read in one way.
    Closed,
}

impl Access {
    /// What holds for operations whose document says nothing of security.
    pub(super) fn unsaid() -> Self {
        Access::AnyOf(BTreeSet::from([Together::from([Grant::Unsaid])]))
    }

    pub(super) fn is_open(&self) -> bool {
        *self != Access::Closed
    }
}

/// How many alternatives one `security` may have.
const ALTERNATIVES: usize = 64;

/// Reads a `security`.
///
/// # Errors
/// When it has not the shape of one: nothing is guessed about who may.
pub(super) fn security(at: &Cursor<'_>) -> Result<Access, Fault> {
    const LIST: &str =
        "a list of security requirements, such as [{\"oauth\": [\"read\"]}] (an empty one: anyone)";
    let mut alternatives = BTreeSet::new();
    let mut anyone = true;
    let mut optional = false;
    let requirements = at.items(LIST)?;
    if requirements.len() > ALTERNATIVES {
        return Err(at.fault(format!("expected {ALTERNATIVES} alternatives at most")));
    }
    for requirement in requirements {
        anyone = false;
        let together = requirement_of(&requirement)?;
        optional |= together.is_empty();
        alternatives.insert(together);
    }
    if anyone || optional {
        return Ok(Access::Public);
    }
    // Whoever has more has less, too.
    let whole = alternatives.clone();
    let needless = |one: &Together| {
        let mut others = whole.iter();
        others.any(|other| other != one && covered(other, one))
    };
    alternatives.retain(|one| !needless(one));
    Ok(Access::AnyOf(alternatives))
}

/// Whether whoever has all of the second has all of the first.
pub(super) fn covered(first: &Together, second: &Together) -> bool {
    first.iter().all(|grant| {
        second.contains(grant)
            || second.iter().any(|other| match (grant, other) {
                (Grant::Scheme(name), Grant::Scope { scheme, .. }) => name == scheme,
                _ => false,
            })
    })
}

fn requirement_of(at: &Cursor<'_>) -> Result<Together, Fault> {
    const EXPECTED: &str = "a security requirement such as {\"oauth\": [\"read\"]}";
    let mut together = Together::new();
    for (scheme, scopes) in at.fields(EXPECTED)? {
        let scopes = scopes.items("a list of scopes (empty where the scheme has none)")?;
        if scopes.is_empty() {
            together.insert(Grant::Scheme(scheme.into()));
        }
        for scope in scopes {
            together.insert(Grant::Scope {
                scheme: scheme.into(),
                scope: scope.text("the name of a scope")?.into(),
            });
        }
    }
    Ok(together)
}
