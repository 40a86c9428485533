//! What `keygate check` has to say of a policy that is right: what is probably not meant.
//!
//! Nothing here is an error: a gateway runs with it. Each [`Lint`] has a name, by which `[lints]` sets its [`Level`], and a
//! file of its own. A [`Finding`] has the place, one sentence, and what to write instead. The compiled policy is asked
//! wherever it can answer, so a lint and a decision never differ; the policy as it was written has the places.
//!
//! `methods = ["POTS"]` gives `method-slip`: "the method POTS looks like a slip for POST".

mod idle;
mod level;
mod nearly;
mod pointless;
mod public;
mod regex;
mod scopes;
mod slip;

pub use level::{Level, Levels, Lint};
pub use regex::looks_like_a_pattern;

use super::{Expectation, Place, Policy, PolicySpec, PolicyWarning};
use crate::key::ScopeName;

/// A policy with all that it was made of.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub policy: &'a Policy,
    pub spec: &'a PolicySpec,
    pub expectations: &'a [Expectation],
    /// Where each scope is declared.
    pub scopes: &'a [(ScopeName, Place)],
}

/// Something that is probably not meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    pub lint: Lint,
    pub place: Place,
    /// Lower case, no full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Another place that has a part in it, and which part.
    pub related: Option<(Place, &'static str)>,
}

impl Finding {
    fn new(lint: Lint, place: &Place, message: impl Into<String>) -> Self {
        Finding {
            lint,
            place: place.clone(),
            message: message.into(),
            help: None,
            related: None,
        }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn related(mut self, place: &Place, part: &'static str) -> Self {
        self.related = Some((place.clone(), part));
        self
    }
}

impl From<&PolicyWarning> for Finding {
    fn from(warning: &PolicyWarning) -> Self {
        let lint = match warning {
            PolicyWarning::WidensByFallingThrough { .. } => Lint::FallsThrough,
            PolicyWarning::NotAllCompared { .. } => Lint::NotAllCompared,
        };
        let finding = Finding::new(lint, warning.place(), warning.to_string());
        match warning.other_place() {
            Some(other) => finding.related(other, "the broader one is here"),
            None => finding,
        }
    }
}

/// All findings, in no order; those of a lint that is off at no cost.
pub fn lint(subject: Subject<'_>, levels: &Levels) -> Vec<Finding> {
    type Check = fn(Subject<'_>) -> Vec<Finding>;
    const CHECKS: [(Lint, Check); 7] = [
        (Lint::PublicRoute, public::check),
        (Lint::PointlessRoute, pointless::check),
        (Lint::UnusedScope, scopes::check),
        (Lint::MethodSlip, slip::check),
        (Lint::LooksLikePattern, regex::check),
        (Lint::NearlySamePath, nearly::check),
        (Lint::IdleExpectation, idle::check),
    ];
    CHECKS
        .iter()
        .filter(|(lint, _)| levels.of(*lint) != Level::Allow)
        .flat_map(|(_, check)| check(subject))
        .collect()
}
