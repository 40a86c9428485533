//! The secret that a client sends.

use aws_lc_rs::rand::SecureRandom;
use zeroize::Zeroizing;

/// An API key's text: 20 to 128 visible ASCII characters. Wiped when dropped; never printable by accident.
///
/// ```compile_fail,E0277
/// # use keygate::key::ApiKey;
/// println!("{:?}", ApiKey::parse("0123456789abcdef0123").unwrap());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// Fewest characters of a key.
    pub const MIN_LEN: usize = 20;
    /// Most characters of a key.
    pub const MAX_LEN: usize = 128;

    /// Takes the text of an existing key.
    ///
    /// # Errors
    /// When it is shorter than 20 or longer than 128 characters, or has one that is not visible ASCII.
    pub fn parse(text: &str) -> Result<Self, KeyFormatError> {
        Self::check(text.as_bytes())?;
        Ok(ApiKey(Zeroizing::new(text.to_owned())))
    }

    /// Whether these bytes can be a key at all; looked at before anything is digested.
    ///
    /// # Errors
    /// As [`ApiKey::parse`].
    pub fn check(bytes: &[u8]) -> Result<(), KeyFormatError> {
        if bytes.len() < Self::MIN_LEN || bytes.len() > Self::MAX_LEN {
            return Err(KeyFormatError::Length);
        }
        // Every byte is looked at, also behind a wrong one: without a way out, many are compared at once.
        if bytes.iter().fold(true, |all, b| all & b.is_ascii_graphic()) {
            Ok(())
        } else {
            Err(KeyFormatError::Character)
        }
    }

    /// A new key: 160 random bits as 40 lowercase hexadecimal characters.
    ///
    /// # Panics
    /// When the system's random generator fails: no key is better than a weak one.
    pub fn generate(random: &dyn SecureRandom) -> Self {
        let mut bits = Zeroizing::new([0u8; 20]);
        random
            .fill(bits.as_mut())
            .expect("the system's random generator works");
        let mut text = Zeroizing::new(String::with_capacity(40));
        for byte in bits.iter() {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
        ApiKey(text)
    }

    /// The secret text. Where this is called, a secret leaves its type: each call should be easy to justify.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The key as an error or a list may show it.
    pub fn masked(&self) -> String {
        mask(&self.0)
    }
}

/// Masks a key: first five and last five characters, one `*` for each between; all `*` below 20 characters.
///
/// Takes any text, since what a client names in a path need not be a key.
pub fn mask(text: &str) -> String {
    let count = text.chars().count();
    if count < ApiKey::MIN_LEN {
        return "*".repeat(count);
    }
    text.chars()
        .enumerate()
        .map(|(i, c)| if i < 5 || i >= count - 5 { c } else { '*' })
        .collect()
}

/// Why a text cannot be an API key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyFormatError {
    #[error("an API key has 20 to 128 characters")]
    Length,
    #[error("an API key consists of visible ASCII characters, without blanks")]
    Character,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_forty_lowercase_hex_digits_and_never_the_same() {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let (a, b) = (ApiKey::generate(&random), ApiKey::generate(&random));
        assert_eq!(a.expose().len(), 40);
        assert!(
            a.expose()
                .bytes()
                .all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
        );
        assert!(a.expose() != b.expose());
    }

    #[test]
    fn the_mask_shows_five_at_each_end_and_nothing_of_a_short_text() {
        for (text, masked) in [
            ("0123456789abcdefghij", "01234**********fghij"),
            ("0123456789abcdefghi", "*******************"),
            ("", ""),
            ("äbcdefghijklmnopqrsü", "äbcde**********pqrsü"),
        ] {
            assert_eq!(mask(text), masked, "{text}");
        }
    }

    #[test]
    fn only_visible_ascii_of_the_right_length_is_a_key() {
        for (text, expected) in [
            ("a".repeat(19), Err(KeyFormatError::Length)),
            ("a".repeat(20), Ok(())),
            ("a".repeat(128), Ok(())),
            ("a".repeat(129), Err(KeyFormatError::Length)),
            (
                format!("{} b", "a".repeat(20)),
                Err(KeyFormatError::Character),
            ),
            (
                format!("{}\u{7f}", "a".repeat(20)),
                Err(KeyFormatError::Character),
            ),
            (
                format!("{}é", "a".repeat(20)),
                Err(KeyFormatError::Character),
            ),
        ] {
            assert_eq!(ApiKey::check(text.as_bytes()), expected, "{text:?}");
        }
    }
}
