//! The mark of a request, and the digest that an upstream answers with.
//!
//! Whoever writes an upstream of their own: the digest is the 64-bit FNV-1a hash of `METHOD TARGET MARK LENGTH`, where the
//! mark is the value of [`REQUEST`] and the length that of the request's body in decimal; written as 16 lowercase hexadecimal
//! digits. A 200 has it in [`ANSWER`], once, and its body, but that of HEAD, begins with it. An upstream whose bodies are the
//! digest over and over, cut off where it has to be, may say so by their length in [`LENGTH`]: then all of each body is compared.

/// The header in which a request carries its mark.
pub const REQUEST: &str = "x-load-mark";
/// The header in which an upstream answers with the digest.
pub const ANSWER: &str = "x-load-digest";
/// The header in which an upstream may tell how long the body is that it sent, in bytes.
pub const LENGTH: &str = "x-load-length";
/// How many characters a mark and a digest have.
pub const LEN: usize = 16;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The digest as far as it has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest(u64);

impl Digest {
    /// Of nothing yet.
    pub const fn new() -> Self {
        Digest(0xcbf2_9ce4_8422_2325)
    }

    /// With these bytes after what was there.
    #[must_use]
    pub fn then(self, bytes: &[u8]) -> Self {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        Digest(bytes.iter().fold(self.0, step))
    }

    /// As it is written.
    pub fn hex(self) -> [u8; LEN] {
        hex(self.0)
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

/// The digest of a whole request.
pub fn digest(method: &str, target: &str, mark: &str, body_bytes: u64) -> String {
    let text = format!("{method} {target} {mark} {body_bytes}");
    let digest = Digest::new().then(text.as_bytes()).hex();
    digest.iter().copied().map(char::from).collect()
}

/// A number as 16 hexadecimal digits.
pub(super) fn hex(number: u64) -> [u8; LEN] {
    let mut text = [0; LEN];
    for (i, byte) in number.to_be_bytes().into_iter().enumerate() {
        text[2 * i] = HEX[usize::from(byte >> 4)];
        text[2 * i + 1] = HEX[usize::from(byte & 15)];
    }
    text
}

/// What the headers of an answer tell of its request, by whichever protocol they came.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Told {
    /// [`ANSWER`].
    pub(super) digest: Field<[u8; LEN]>,
    /// [`LENGTH`].
    pub(super) length: Field<u64>,
}

/// A header that may be there once.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Field<T> {
    #[default]
    Absent,
    Once(T),
    /// It is there twice, or cannot be read.
    Nonsense,
}

impl<T: Copy> Field<T> {
    fn add(&mut self, value: Option<T>) {
        *self = match (*self, value) {
            (Field::Absent, Some(value)) => Field::Once(value),
            _ => Field::Nonsense,
        };
    }
}

impl Told {
    /// Notes a value of [`ANSWER`].
    pub(super) fn digest(&mut self, value: &[u8]) {
        self.digest.add(value.try_into().ok());
    }

    /// Notes a value of [`LENGTH`].
    pub(super) fn length(&mut self, value: &[u8]) {
        self.length.add(decimal(value));
    }
}

/// Digits and nothing else.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        // From the test vectors of draft-eastlake-fnv.
        assert_eq!(&Digest::new().hex(), b"cbf29ce484222325");
        assert_eq!(&Digest::new().then(b"a").hex(), b"af63dc4c8601ec8c");
        assert_eq!(&Digest::new().then(b"foobar").hex(), b"85944171f73967e8");
    }

    #[test]
    fn everything_about_a_request_has_a_part_in_the_digest() {
        let base = digest("GET", "/a", "m", 0);
        for other in [
            digest("PUT", "/a", "m", 0),
            digest("GET", "/b", "m", 0),
            digest("GET", "/a", "n", 0),
            digest("GET", "/a", "m", 1),
        ] {
            assert_ne!(base, other);
        }
    }
}
