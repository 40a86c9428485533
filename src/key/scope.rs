//! Scopes: the names that keys carry and routes ask for, and which scope includes which.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// A scope's name: a letter, then letters, digits, `_ . : -`, at most 64 characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeName(Arc<str>);

impl ScopeName {
    /// Takes a scope's name.
    ///
    /// # Errors
    /// When the text does not have the form above.
    pub fn parse(text: &str) -> Result<Self, ScopeNameError> {
        let rest_is_fine =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-');
        match text.as_bytes() {
            [first, rest @ ..]
                if first.is_ascii_alphabetic()
                    && rest.len() < 64
                    && rest.iter().copied().all(rest_is_fine) =>
            {
                Ok(ScopeName(Arc::from(text)))
            }
            _ => Err(ScopeNameError),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ScopeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ScopeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopeName({})", self.0)
    }
}

/// The text is not a scope's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a scope's name is a letter, then letters, digits or `_ . : -`, at most 64 characters")]
pub struct ScopeNameError;

/// The declared scopes, each with all that it includes, itself too (transitively closed).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scopes(BTreeMap<ScopeName, BTreeSet<ScopeName>>);

impl Scopes {
    /// Closes declarations (a scope and what it includes directly) over inclusion.
    ///
    /// # Errors
    /// When a scope includes one that is not declared, or itself, directly or around a circle.
    pub fn new(declared: &BTreeMap<ScopeName, Vec<ScopeName>>) -> Result<Self, ScopeError> {
        let mut closed = BTreeMap::new();
        for scope in declared.keys() {
            let mut reached = BTreeSet::from([scope.clone()]);
            let mut open = vec![scope.clone()];
            while let Some(from) = open.pop() {
                for to in &declared[&from] {
                    if to == scope {
                        return Err(ScopeError::Circle {
                            scope: scope.clone(),
                        });
                    }
                    if !declared.contains_key(to) {
                        return Err(ScopeError::Undeclared {
                            scope: from,
                            includes: to.clone(),
                        });
                    }
                    if reached.insert(to.clone()) {
                        open.push(to.clone());
                    }
                }
            }
            closed.insert(scope.clone(), reached);
        }
        Ok(Scopes(closed))
    }

    /// Whether a policy declares this scope.
    pub fn declares(&self, scope: &ScopeName) -> bool {
        self.0.contains_key(scope)
    }

    /// Whether a key of scope `holder` may do all that one of scope `other` may. Undeclared scopes include nothing
    /// and are included by nothing.
    pub fn includes(&self, holder: &ScopeName, other: &ScopeName) -> bool {
        self.0
            .get(holder)
            .is_some_and(|reached| reached.contains(other))
    }

    /// All scopes that this one includes, itself too; nothing for an undeclared one.
    pub fn included_by(&self, holder: &ScopeName) -> impl Iterator<Item = &ScopeName> {
        self.0.get(holder).into_iter().flatten()
    }

    /// All scopes that include this one, itself too.
    pub fn including(&self, scope: &ScopeName) -> impl Iterator<Item = &ScopeName> {
        self.0
            .iter()
            .filter(move |(_, reached)| reached.contains(scope))
            .map(|(holder, _)| holder)
    }

    /// All declared scopes, by name.
    pub fn names(&self) -> impl Iterator<Item = &ScopeName> {
        self.0.keys()
    }
}

/// Why declarations of scopes do not hold together.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScopeError {
    #[error("the scope `{scope}` includes `{includes}`, which is not declared")]
    Undeclared {
        scope: ScopeName,
        includes: ScopeName,
    },
    #[error("the scope `{scope}` includes itself")]
    Circle { scope: ScopeName },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> ScopeName {
        ScopeName::parse(text).expect(text)
    }

    fn scopes(declared: &[(&str, &[&str])]) -> Result<Scopes, ScopeError> {
        Scopes::new(
            &declared
                .iter()
                .map(|(s, inc)| (name(s), inc.iter().map(|i| name(i)).collect()))
                .collect(),
        )
    }

    #[test]
    fn inclusion_is_transitive_and_reflexive_but_not_symmetric() {
        let s = scopes(&[("a", &[]), ("b", &["a"]), ("c", &["b"])]).unwrap();
        assert!(s.includes(&name("c"), &name("a")));
        assert!(s.includes(&name("a"), &name("a")));
        assert!(!s.includes(&name("a"), &name("c")));
        assert!(
            !s.includes(&name("x"), &name("x")),
            "undeclared includes nothing"
        );
    }

    #[test]
    fn circles_and_undeclared_scopes_are_errors() {
        assert!(matches!(
            scopes(&[("a", &["b"]), ("b", &["a"])]),
            Err(ScopeError::Circle { .. })
        ));
        assert!(matches!(
            scopes(&[("a", &["a"])]),
            Err(ScopeError::Circle { .. })
        ));
        assert!(matches!(
            scopes(&[("a", &["b"])]),
            Err(ScopeError::Undeclared { .. })
        ));
    }
    proptest! {
        /// Each scope may include some of those after it: no circle.
        #[test]
        fn inclusion_is_an_order(includes in prop::collection::vec(any::<u8>(), 1..8)) {
            let names: Vec<ScopeName> = (0..includes.len()).map(|i| name(&format!("s{i}"))).collect();
            let mut declared = std::collections::BTreeMap::new();
            for (i, name) in names.iter().enumerate() {
                let below = (i + 1..names.len()).filter(|j| includes[i] >> j & 1 == 1);
                declared.insert(name.clone(), below.map(|j| names[j].clone()).collect());
            }
            let scopes = Scopes::new(&declared).unwrap();
            for (a, direct) in &declared {
                prop_assert!(scopes.includes(a, a));
                for b in &names {
                    prop_assert_eq!(scopes.includes(a, b) && scopes.includes(b, a), a == b);
                    let by_a_way = direct.iter().any(|step| scopes.includes(step, b));
                    prop_assert_eq!(scopes.includes(a, b), a == b || by_a_way, "{} {}", a, b);
                }
            }
        }
    }
}
