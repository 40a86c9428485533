//! The hash of a configuration as operators write it: whole where it confirms what they reviewed, since two files whose
//! hashes begin alike can be made; its first digits where it names one of a few generations.

use std::fmt;
use std::str::FromStr;

/// Fewest digits that name a hash: no two of twenty generations begin alike by chance.
const LEAST_DIGITS: usize = 8;

/// A hash, whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WholeHash(String);

/// Text that is no hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected a whole hash, {} hexadecimal digits", 2 * blake3::OUT_LEN)]
pub struct NoHash;

impl WholeHash {
    /// Whether it is this hash.
    pub fn is(&self, hash: &str) -> bool {
        self.0 == hash
    }
}

impl FromStr for WholeHash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        if text.len() == 2 * blake3::OUT_LEN && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(WholeHash(text.to_ascii_lowercase()))
        } else {
            Err(NoHash)
        }
    }
}

impl fmt::Display for WholeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first digits of a hash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HashPrefix(String);

impl HashPrefix {
    /// Whether the hash begins like this.
    pub fn is_of(&self, hash: &str) -> bool {
        hash.starts_with(&self.0)
    }
}

impl FromStr for HashPrefix {
    type Err = NoGeneration;

    fn from_str(text: &str) -> Result<Self, NoGeneration> {
        let length = LEAST_DIGITS..=2 * blake3::OUT_LEN;
        if length.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(HashPrefix(text.to_ascii_lowercase()))
        } else {
            Err(NoGeneration)
        }
    }
}

impl fmt::Display for HashPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A generation as operators name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    Number(u64),
    Hash(HashPrefix),
}

/// Text that names no generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected the number of a generation, or the first {LEAST_DIGITS} digits or more of its hash"
)]
pub struct NoGeneration;

impl FromStr for Wanted {
    type Err = NoGeneration;

    /// Digits that are too few for a hash are a number.
    fn from_str(text: &str) -> Result<Self, NoGeneration> {
        if let Ok(hash) = text.parse() {
            return Ok(Wanted::Hash(hash));
        }
        let number = text.parse().map_err(|_| NoGeneration)?;
        Ok(Wanted::Number(number))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Number(number) => number.fmt(f),
            Wanted::Hash(hash) => hash.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_named_by_its_first_digits_and_a_generation_by_its_number_too() {
        let hash = "0123456789abcdef".repeat(4);
        for (text, is_hash, is_number) in [
            ("0123456", false, true),
            ("01234567", true, false),
            ("0123456789ABCDEF", true, false),
            (&hash, true, false),
            (&format!("{hash}0"), false, false),
            ("12", false, true),
            ("", false, false),
            ("-1", false, false),
            ("0123456x", false, false),
        ] {
            let prefix: Result<HashPrefix, _> = text.parse();
            assert_eq!(prefix.is_ok(), is_hash, "{text}");
            assert!(prefix.is_err() || prefix.unwrap().is_of(&hash), "{text}");
            let wanted: Result<Wanted, _> = text.parse();
            assert_eq!(matches!(wanted, Ok(Wanted::Number(_))), is_number, "{text}");
            let whole: Result<WholeHash, _> = text.parse();
            assert_eq!(
                whole.is_ok_and(|whole| whole.is(&hash)),
                text == hash,
                "{text}"
            );
        }
    }
}
