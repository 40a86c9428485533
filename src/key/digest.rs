//! The keyed digest by which a key is looked up.
//!
//! BLAKE3 in its keyed mode (BLAKE3 specification, section 2: a PRF with a 256-bit key and 128-bit security). For this
//! input, at most 128 bytes that an attacker may choose, under a secret key, it gives what HMAC-SHA-256 gives: without
//! the key a digest says nothing of the text, and no second text with the same digest can be found. It takes less
//! than half the time (`benches/validation.rs` measures both), and a request pays for one digest.

use std::hash::{Hash, Hasher};
use zeroize::Zeroizing;

/// Digests keys under one derived secret.
#[derive(Clone)]
pub struct Digester(Zeroizing<[u8; 32]>);

impl Digester {
    /// A digester under this 32-byte secret, which was derived from the master secret for this purpose alone.
    pub fn new(secret: Zeroizing<[u8; 32]>) -> Self {
        Digester(secret)
    }

    /// The digest of a key's text.
    pub fn digest(&self, text: &[u8]) -> KeyDigest {
        KeyDigest(*blake3::keyed_hash(&self.0, text).as_bytes())
    }
}

/// A key's digest under the store's secret: 32 bytes, compared whole. Not secret, but of no use outside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// A digest read back from a store.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        KeyDigest(bytes)
    }

    /// The bytes, as a store keeps them.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A digest is random already: its first eight bytes are its hash.
impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}
