//! What the master secret is good for: three keys derived from it, each for one purpose.
//!
//! HKDF-SHA256 (RFC 5869) with a label each, so that none says anything of another: one digests API keys for lookup,
//! one seals what must be shown again (AES-256-GCM, a fresh random nonce each time, bound to the key's id so that a
//! sealed text moved to another row does not open), and one value is kept in the store to tell whether a secret is its own.

use super::secret::MasterSecret;
use crate::key::{ApiKey, Digester, KeyId};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf;
use zeroize::Zeroizing;

/// The number of the secret under which keys are digested and sealed.
pub(super) const SECRET_NUMBER: i64 = 1;

/// Digests and seals under one master secret.
pub(super) struct Cipher {
    digester: Digester,
    seal: RandomizedNonceKey,
    check: [u8; 32],
}

impl Cipher {
    /// Derives what is needed.
    pub fn new(secret: &MasterSecret) -> Self {
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"keygate").extract(secret.bytes());
        let seal = derive(&root, b"keygate 1: seal keys at rest");
        Cipher {
            digester: Digester::new(derive(&root, b"keygate 1: digest keys for lookup")),
            seal: RandomizedNonceKey::new(&AES_256_GCM, seal.as_ref())
                .expect("32 bytes are a key of AES-256"),
            check: *derive(&root, b"keygate 1: check the secret"),
        }
    }

    /// The digester of API keys.
    pub fn digester(&self) -> &Digester {
        &self.digester
    }

    /// What the store keeps to tell whether a secret is its own; says nothing of the secret.
    pub fn check_value(&self) -> &[u8; 32] {
        &self.check
    }

    /// Seals a key's text: the nonce, then the sealed text and its tag.
    pub fn seal(&self, id: &KeyId, key: &ApiKey) -> Vec<u8> {
        // Room for the tag, so that the text is not left behind in a smaller allocation.
        let mut text = Vec::with_capacity(key.expose().len() + AES_256_GCM.tag_len());
        text.extend_from_slice(key.expose().as_bytes());
        let nonce = self
            .seal
            .seal_in_place_append_tag(Aad::from(id.as_str()), &mut text)
            .expect("a text of at most 128 bytes can be sealed");
        [nonce.as_ref().as_slice(), &text].concat()
    }

    /// The text of a sealed key; `None` where it was sealed for another id, under another secret, or changed.
    pub fn unseal(&self, id: &KeyId, sealed: &[u8]) -> Option<ApiKey> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = Zeroizing::new(text.to_vec());
        let opened = self
            .seal
            .open_in_place(nonce, Aad::from(id.as_str()), text.as_mut_slice())
            .ok()?;
        ApiKey::parse(std::str::from_utf8(opened).ok()?).ok()
    }
}

/// 32 bytes for one purpose.
fn derive(root: &hkdf::Prk, label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0u8; 32]);
    root.expand(&[label], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(key.as_mut()))
        .expect("HKDF-SHA256 gives 32 bytes");
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::secret::SecretSource;

    fn cipher(digit: char) -> Cipher {
        let text = Zeroizing::new(digit.to_string().repeat(64));
        Cipher::new(&SecretSource::Env(text).read().unwrap().unwrap())
    }

    fn ids() -> (KeyId, KeyId) {
        let random = aws_lc_rs::rand::SystemRandom::new();
        (KeyId::generate(&random), KeyId::generate(&random))
    }

    #[test]
    fn a_sealed_key_opens_for_its_own_id_only_and_unchanged_only() {
        let (a, b) = ids();
        let key = ApiKey::parse("a-key-of-an-earlier-system").unwrap();
        let sealed = cipher('7').seal(&a, &key);
        assert!(cipher('7').unseal(&a, &sealed).unwrap() == key);
        assert!(cipher('7').unseal(&b, &sealed).is_none(), "another id");
        assert!(cipher('8').unseal(&a, &sealed).is_none(), "another secret");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(cipher('7').unseal(&a, &changed).is_none(), "byte {at}");
            assert!(cipher('7').unseal(&a, &sealed[..at]).is_none(), "cut {at}");
        }
    }

    #[test]
    fn the_same_key_never_seals_to_the_same_bytes() {
        let (id, _) = ids();
        let key = ApiKey::parse("0123456789abcdef0123").unwrap();
        assert!(cipher('7').seal(&id, &key) != cipher('7').seal(&id, &key));
    }

    #[test]
    fn digests_and_check_values_differ_between_secrets() {
        let (a, b) = (cipher('7'), cipher('8'));
        assert!(a.digester().digest(b"x") != b.digester().digest(b"x"));
        assert!(a.digester().digest(b"x") == cipher('7').digester().digest(b"x"));
        assert!(a.check_value() != b.check_value());
        assert!(a.check_value() != a.digester().digest(b"x").as_bytes());
    }
}
