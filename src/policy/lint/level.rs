//! The lints by name, and how loud each is.

/// One kind of finding. The order is that of the documents.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lint {
    /// A route that needs no key.
    PublicRoute,
    /// A route without which every request would be decided as it is with it.
    PointlessRoute,
    /// Methods of a path fall to a broader route that lets in more.
    FallsThrough,
    /// The policy was too entangled to be looked through for [`Lint::FallsThrough`].
    NotAllCompared,
    /// A scope that no route asks for: its keys are good for public routes alone.
    UnusedScope,
    /// The key store has keys of a scope that is not declared.
    KeysWithoutScope,
    /// A method that is nearly one that everyone knows.
    MethodSlip,
    /// A path that would mean something as a regular expression, a glob, or in another router.
    LooksLikePattern,
    /// Two paths that differ by letter case or a trailing slash alone.
    NearlySamePath,
    /// An expectation that holds whatever the routes say.
    IdleExpectation,
}

/// How loud a lint is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// Not said.
    Allow,
    /// Said; never counts against a policy.
    Note,
    /// Said; counts for `--deny warnings`.
    Warn,
}

impl Lint {
    /// All, each with its name.
    pub const NAMES: [(&'static str, Lint); 10] = [
        ("public-route", Lint::PublicRoute),
        ("pointless-route", Lint::PointlessRoute),
        ("falls-through", Lint::FallsThrough),
        ("not-all-compared", Lint::NotAllCompared),
        ("unused-scope", Lint::UnusedScope),
        ("keys-without-scope", Lint::KeysWithoutScope),
        ("method-slip", Lint::MethodSlip),
        ("looks-like-pattern", Lint::LooksLikePattern),
        ("nearly-same-path", Lint::NearlySamePath),
        ("idle-expectation", Lint::IdleExpectation),
    ];

    /// Its name in `[lints]` and in what `check` says.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }

    /// Its level where `[lints]` says nothing.
    pub fn default_level(self) -> Level {
        match self {
            // Every policy that has a health check or a login has one.
            Lint::PublicRoute => Level::Note,
            _ => Level::Warn,
        }
    }
}

/// The level of each lint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Levels([Level; Lint::NAMES.len()]);

impl Levels {
    /// The level of one.
    pub fn of(&self, lint: Lint) -> Level {
        self.0[lint as usize]
    }

    /// Sets the level of one.
    pub fn set(&mut self, lint: Lint, level: Level) {
        self.0[lint as usize] = level;
    }
}

impl Default for Levels {
    fn default() -> Self {
        Levels(Lint::NAMES.map(|(_, lint)| lint.default_level()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lint_has_its_own_name() {
        for (at, (name, lint)) in Lint::NAMES.into_iter().enumerate() {
            assert_eq!((lint as usize, lint.name()), (at, name));
        }
    }
}
