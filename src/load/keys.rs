//! Keys as an operator speaks of them: their kinds, the mix of kinds, files of keys.

use crate::key::ScopeName;
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// What a key is to the gateway.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// In force; of this scope, if that is known.
    Valid(Option<ScopeName>),
    /// Of the right form, and never made.
    Unknown,
    /// Made once, and deleted.
    Deleted,
    Disabled,
    Expired,
    /// Not of the form of a key.
    Malformed,
    /// No key is sent.
    Missing,
}

/// As `--mix` and files of keys have it. A scope that is called like a kind is written `scope:unknown`.
impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "valid" => Kind::Valid(None),
            "unknown" => Kind::Unknown,
            "deleted" => Kind::Deleted,
            "disabled" => Kind::Disabled,
            "expired" => Kind::Expired,
            "malformed" => Kind::Malformed,
            "missing" => Kind::Missing,
            scope => {
                let name = scope.strip_prefix("scope:").unwrap_or(scope);
                let name = ScopeName::parse(name).map_err(|error| {
                    format!("`{text}` is neither a scope nor one of valid, unknown, deleted, disabled, expired, malformed, missing: {error}")
                })?;
                Kind::Valid(Some(name))
            }
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Valid(None) => "valid",
            Kind::Valid(Some(scope)) => scope.as_str(),
            Kind::Unknown => "unknown",
            Kind::Deleted => "deleted",
            Kind::Disabled => "disabled",
            Kind::Expired => "expired",
            Kind::Malformed => "malformed",
            Kind::Missing => "missing",
        })
    }
}

/// Kinds of keys, each with its share.
#[derive(Clone, PartialEq, Debug)]
pub struct Mix(pub(super) Vec<(Kind, f64)>);

impl Mix {
    /// One kind alone.
    pub fn only(kind: Kind) -> Self {
        Mix(vec![(kind, 1.0)])
    }
}

impl FromStr for Mix {
    type Err = String;

    /// Reads `fullAccess=80,authOnly=10,unknown=10`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts: Vec<(Kind, f64)> = Vec::new();
        for part in text.split(',') {
            let (kind, share) = part.trim().split_once('=').ok_or_else(|| {
                format!("`{part}`: expected KIND=SHARE, such as fullAccess=80,unknown=20")
            })?;
            let kind: Kind = kind.parse()?;
            let share = share
                .parse::<f64>()
                .ok()
                .filter(|share| *share > 0.0 && share.is_finite());
            let share = share.ok_or_else(|| format!("`{part}`: a share is a number above 0"))?;
            if parts.iter().any(|(other, _)| *other == kind) {
                return Err(format!("`{kind}` stands twice in the mix"));
            }
            parts.push((kind, share));
        }
        Ok(Mix(parts))
    }
}

/// A key with what it is.
pub struct LoadedKey {
    pub text: Zeroizing<String>,
    pub kind: Kind,
}

/// Reads a file of keys: one a line, `KEY`, or `KEY KIND` where the kind is a scope or a word of a mix. Lines that begin
/// with `#` and blank ones are passed over.
///
/// # Errors
/// A sentence with the number of the line that cannot be read. It has nothing of the key.
pub fn read_keys(text: &str) -> Result<Vec<LoadedKey>, String> {
    let mut keys = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.split_ascii_whitespace();
        let (key, kind, rest) = (words.next().unwrap_or_default(), words.next(), words.next());
        let wrong = |why: String| Err(format!("line {}: {why}", at + 1));
        if rest.is_some() {
            return wrong("expected a key, or a key and its kind".to_owned());
        }
        if !key.bytes().all(|b| b.is_ascii_graphic()) {
            return wrong("a key has visible ASCII characters only".to_owned());
        }
        let kind = match kind.map_or(Ok(Kind::Valid(None)), str::parse) {
            Ok(kind) => kind,
            Err(why) => return wrong(why),
        };
        keys.push(LoadedKey {
            text: Zeroizing::new(key.to_owned()),
            kind,
        });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_and_files_that_cannot_be_read_are_refused() {
        for text in [
            "", "a", "a=", "a=0", "a=-1", "a=inf", "a=1,a=2", "9=1", "a=1,",
        ] {
            assert!(text.parse::<Mix>().is_err(), "{text}");
        }
        let said = read_keys("good\nkey with too many words\n").err().unwrap();
        assert!(said.starts_with("line 2: "), "{said}");
        assert!(!said.contains("key with"), "{said}");
    }
}
