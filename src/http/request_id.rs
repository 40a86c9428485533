//! Request ids: 128 random bits as 32 lowercase hexadecimal characters.

use aws_lc_rs::rand::SecureRandom;
use http::HeaderValue;

/// The id of one request, for the client, the upstream and the log.
#[derive(Debug)]
pub struct RequestId(Text);

#[derive(Debug)]
enum Text {
    Made([u8; 32]),
    Given(HeaderValue),
}

impl RequestId {
    /// Takes the id that a trusted peer gave, if it is one: 8 to 64 of `A–Z a–z 0–9 - _ .`.
    pub fn from_trusted(value: &HeaderValue) -> Option<Self> {
        let bytes = value.as_bytes();
        let fine = (8..=64).contains(&bytes.len())
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        fine.then(|| RequestId(Text::Given(value.clone())))
    }

    /// The id as a header's value. Made anew each time: sharing one costs an allocation too, and atomic counts.
    pub fn header(&self) -> HeaderValue {
        match &self.0 {
            Text::Made(text) => {
                HeaderValue::from_bytes(text).expect("hexadecimal digits are visible ASCII")
            }
            Text::Given(value) => value.clone(),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        let bytes = match &self.0 {
            Text::Made(text) => text,
            Text::Given(value) => value.as_bytes(),
        };
        std::str::from_utf8(bytes).expect("an id is made of ASCII characters only")
    }
}

/// Makes request ids; asks the system's generator once for many.
pub struct RequestIds {
    random: aws_lc_rs::rand::SystemRandom,
    pool: [u8; Self::POOL],
    used: usize,
}

impl RequestIds {
    const POOL: usize = 4096;

    /// A maker with nothing in store.
    pub fn new() -> Self {
        RequestIds {
            random: aws_lc_rs::rand::SystemRandom::new(),
            pool: [0; Self::POOL],
            used: Self::POOL,
        }
    }

    /// The next id.
    ///
    /// # Panics
    /// When the system's random generator fails.
    pub fn next_id(&mut self) -> RequestId {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        if self.used + 16 > Self::POOL {
            self.random
                .fill(&mut self.pool)
                .expect("the system's random generator works");
            self.used = 0;
        }
        let random = self.pool[self.used..].first_chunk::<16>();
        let random = random.expect("there are as many, as seen above");
        let mut text = [0u8; 32];
        for (i, byte) in random.iter().enumerate() {
            text[2 * i] = HEX[usize::from(byte >> 4)];
            text[2 * i + 1] = HEX[usize::from(byte & 15)];
        }
        self.used += 16;
        RequestId(Text::Made(text))
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_thirty_two_hex_digits_and_do_not_repeat() {
        let mut ids = RequestIds::new();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let id = ids.next_id();
            assert_eq!(id.as_str().len(), 32);
            assert!(seen.insert(id.as_str().to_owned()));
        }
    }

    #[test]
    fn only_a_plain_id_of_a_trusted_peer_is_kept() {
        for (text, kept) in [
            ("abcdefgh", true),
            ("A-b_c.12", true),
            ("abcdefg", false),
            ("abc defgh", false),
            ("abcdefgh\"", false),
            (&"a".repeat(64), true),
            (&"a".repeat(65), false),
        ] {
            let value = HeaderValue::from_str(text).unwrap();
            assert_eq!(RequestId::from_trusted(&value).is_some(), kept, "{text}");
        }
    }
}
