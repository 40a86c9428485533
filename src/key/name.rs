//! A key's label.

use compact_str::CompactString;
use std::fmt;

/// A key's name: 1 to 100 UTF-16 units (an emoji counts as two, as in the clients' languages), no control characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyName(CompactString);

impl KeyName {
    /// Takes a name.
    ///
    /// # Errors
    /// When it is empty, too long, or has a control character.
    pub fn parse(text: &str) -> Result<Self, KeyNameError> {
        if text.is_empty() {
            Err(KeyNameError::Empty)
        } else if text.encode_utf16().count() > 100 {
            Err(KeyNameError::TooLong)
        } else if text.chars().any(char::is_control) {
            Err(KeyNameError::Control)
        } else {
            Ok(KeyName(CompactString::new(text)))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a text cannot be a key's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyNameError {
    #[error("a key's name is not empty")]
    Empty,
    #[error("a key's name has at most 100 characters (UTF-16 units)")]
    TooLong,
    #[error("a key's name has no control characters")]
    Control,
}
