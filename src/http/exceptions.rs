//! Named second readings of a path.

use std::fmt;

/// Named second readings of a path that a route's upstream needs (`allow` in the policy): a small set of flags.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Exceptions(u8);

impl Exceptions {
    /// None.
    pub const NONE: Exceptions = Exceptions(0);
    /// `encoded-slash`: `%2F` in a segment.
    pub const ENCODED_SLASH: Exceptions = Exceptions(1);
    /// `encoded-percent`: `%25` in a segment.
    pub const ENCODED_PERCENT: Exceptions = Exceptions(2);
    /// `semicolon`: `;`, plain or encoded, in a segment.
    pub const SEMICOLON: Exceptions = Exceptions(4);
    /// `double-slash`: an empty segment that is not the last.
    pub const DOUBLE_SLASH: Exceptions = Exceptions(8);
    /// Each exception with its name in the policy.
    pub const NAMES: [(&'static str, Exceptions); 4] = [
        ("encoded-slash", Exceptions::ENCODED_SLASH),
        ("encoded-percent", Exceptions::ENCODED_PERCENT),
        ("semicolon", Exceptions::SEMICOLON),
        ("double-slash", Exceptions::DOUBLE_SLASH),
    ];

    /// Both sets together.
    pub const fn with(self, other: Exceptions) -> Exceptions {
        Exceptions(self.0 | other.0)
    }

    /// What is in both sets.
    pub const fn common(self, other: Exceptions) -> Exceptions {
        Exceptions(self.0 & other.0)
    }

    /// What is in this set and not in the other.
    pub const fn without(self, other: Exceptions) -> Exceptions {
        Exceptions(self.0 & !other.0)
    }

    /// Whether all of `needed` is in this set.
    pub const fn cover(self, needed: Exceptions) -> bool {
        needed.0 & !self.0 == 0
    }

    /// Whether the set is empty.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The names of what is in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let named = Exceptions::NAMES.into_iter();
        named.filter_map(move |(name, one)| self.cover(one).then_some(name))
    }
}

impl fmt::Debug for Exceptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Exceptions::NAMES.iter().filter(|(_, e)| self.cover(*e));
        f.debug_set().entries(names.map(|(name, _)| name)).finish()
    }
}
