//! The name of a key that is no secret.

use aws_lc_rs::rand::SecureRandom;
use std::fmt;
use std::str::FromStr;

/// A key's public identifier: 20 lowercase letters and digits. This, never the key, is what logs and metrics hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 20]);

impl KeyId {
    /// A new random identifier (20 of 36 characters: 103 bits).
    ///
    /// # Panics
    /// When the system's random generator fails.
    pub fn generate(random: &dyn SecureRandom) -> Self {
        const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut id = [0u8; 20];
        let mut filled = 0;
        while filled < id.len() {
            let mut bytes = [0u8; 32];
            random
                .fill(&mut bytes)
                .expect("the system's random generator works");
            // 252 is the largest multiple of 36 in a byte: what lies above would favour some characters.
            for byte in bytes.into_iter().filter(|b| *b < 252) {
                if filled < id.len() {
                    id[filled] = ALPHABET[usize::from(byte % 36)];
                    filled += 1;
                }
            }
        }
        KeyId(id)
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("an identifier is made of ASCII characters only")
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let id: [u8; 20] = text.as_bytes().try_into().map_err(|_| KeyIdError)?;
        if id.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'z')) {
            Ok(KeyId(id))
        } else {
            Err(KeyIdError)
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.as_str())
    }
}

impl serde::Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The text is not a key's identifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a key's id has 20 lowercase letters and digits")]
pub struct KeyIdError;
