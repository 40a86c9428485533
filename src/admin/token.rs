//! The token that proves an operator to the admin listener.
//!
//! It stands in a file that only its owner may read, and is read anew for each request that needs it: another token is in
//! force with its file, and none stays in memory. Whoever can read the file can also edit the configuration.

use crate::private::{self, ReadError};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Fewest characters of a token: what is shorter could be guessed.
const LEAST: usize = 32;

/// A token. Neither `Debug` nor `Display` nor `Clone`.
pub struct Token(Zeroizing<String>);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error(
        "the token's file {0:?} does not exist; `keygate run` makes it where `[admin] token` names one"
    )]
    Missing(PathBuf),
    #[error("the token's file {0:?} cannot be used")]
    Read(PathBuf, #[source] ReadError),
    #[error(
        "the token's file {0:?} holds no token: expected one line of at least {LEAST} characters, A-Z a-z 0-9 - . _ ~ + / ="
    )]
    Malformed(PathBuf),
    #[error("the token's file {0:?} cannot be made")]
    Make(PathBuf, #[source] io::Error),
}

impl Token {
    /// Reads a token's file.
    ///
    /// # Errors
    /// When there is none, others may read it, or it holds no token.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let text = private::read(path).map_err(|e| TokenError::Read(path.to_owned(), e))?;
        let text = text.ok_or_else(|| TokenError::Missing(path.to_owned()))?;
        Token::parse(&text).ok_or_else(|| TokenError::Malformed(path.to_owned()))
    }

    /// Reads a token's file; makes it, with a new token, where there is none.
    ///
    /// # Errors
    /// As [`Token::read`], and when it cannot be made.
    pub fn read_or_make(path: &Path) -> Result<Self, TokenError> {
        match Token::read(path) {
            Err(TokenError::Missing(_)) => {}
            other => return other,
        }
        let made = private::create(path, &new_text());
        match made {
            // Another process was faster.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(|e| TokenError::Make(path.to_owned(), e))?,
        }
        Token::read(path)
    }

    /// The characters of a bearer token (RFC 6750, section 2.1), blanks around them ignored.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        let fine = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
        (text.len() >= LEAST && text.bytes().all(fine))
            .then(|| Token(Zeroizing::new(text.to_owned())))
    }

    /// Whether this is the token, in a time that does not tell how much of it was right.
    pub fn is(&self, shown: &[u8]) -> bool {
        let (mine, shown) = (blake3::hash(self.0.as_bytes()), blake3::hash(shown));
        // blake3's hashes compare in constant time.
        mine == shown
    }

    /// The text, to be sent.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// 256 bits in hexadecimal digits.
fn new_text() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    SystemRandom::new()
        .fill(bytes.as_mut())
        .expect("the system's random generator works");
    let mut text = Zeroizing::new(String::with_capacity(65));
    for nibble in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        text.push(char::from_digit(u32::from(nibble), 16).expect("a nibble is below 16"));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_is_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret/admin-token");
        assert!(matches!(Token::read(&path), Err(TokenError::Missing(_))));
        let made = Token::read_or_make(&path).map_err(drop).unwrap();
        let read = Token::read_or_make(&path).map_err(drop).unwrap();
        assert_eq!(made.expose(), read.expose());
        assert_eq!(made.expose().len(), 64);
        assert!(read.is(made.expose().as_bytes()));
        assert!(!read.is(&made.expose().as_bytes()[..63]));
        assert!(!read.is(b""));
    }

    #[test]
    fn what_could_be_guessed_or_not_be_sent_is_no_token() {
        let good = "a".repeat(LEAST);
        for (text, fine) in [
            (good.clone(), true),
            (format!(" {good}\n"), true),
            ("a".repeat(LEAST - 1), false),
            (format!("{good} {good}"), false),
            (format!("{good}é"), false),
            (String::new(), false),
        ] {
            assert_eq!(Token::parse(&text).is_some(), fine, "{text:?}");
        }
    }
}
