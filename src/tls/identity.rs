//! Certificates and keys, from the text of PEM files.

use super::provider;
use super::validity::Validity;
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use std::path::PathBuf;
use std::sync::Arc;

/// Why a file is not what it should be. No message holds what a key's file holds.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    #[error("there is no certificate in it; expected PEM, with `-----BEGIN CERTIFICATE-----`")]
    NoCertificate,
    #[error("there is no private key in it; expected PEM, with `-----BEGIN PRIVATE KEY-----`")]
    NoKey,
    #[error("the private key is encrypted; expected one without a passphrase")]
    EncryptedKey,
    #[error("it is not whole PEM; expected `-----BEGIN …-----`, Base64, `-----END …-----`")]
    Broken,
    #[error("its certificate number {number} cannot be read ({source}); expected X.509, version 3")]
    Certificate {
        /// Counted from 1.
        number: usize,
        source: webpki::Error,
    },
    #[error("its private key cannot be used; expected RSA of 2048 to 8192 bits, ECDSA or Ed25519")]
    Key,
}

fn broken(_: pem::Error) -> PemError {
    // Its own words may quote a line of the file.
    PemError::Broken
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(broken)?;
    if found.is_empty() {
        return Err(PemError::NoCertificate);
    }
    Ok(found)
}

/// A certificate, and those that vouch for it.
#[derive(Clone, Debug)]
pub struct Chain {
    certificates: Vec<CertificateDer<'static>>,
    names: Vec<String>,
    validity: Option<Validity>,
}

impl Chain {
    /// Reads a file of certificates: the one that is meant first, then its issuers.
    ///
    /// # Errors
    /// When there is none, or one of them cannot be read.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PemError> {
        let certificates = certificates(pem)?;
        for (at, certificate) in certificates.iter().enumerate() {
            webpki::EndEntityCert::try_from(certificate).map_err(|source| {
                PemError::Certificate {
                    number: at + 1,
                    source,
                }
            })?;
        }
        let first = &certificates[0];
        let names = webpki::EndEntityCert::try_from(first)
            .map_err(|source| PemError::Certificate { number: 1, source })?
            .valid_dns_names()
            .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
            .collect();
        Ok(Chain {
            names,
            validity: Validity::of(first),
            certificates,
        })
    }

    /// From when to when it holds.
    pub fn validity(&self) -> Option<Validity> {
        self.validity
    }
}

/// A private key, ready to sign.
pub struct PrivateKey(Arc<dyn SigningKey>);

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

impl PrivateKey {
    /// Reads a file with a private key: PKCS #8, PKCS #1 or SEC 1, without a passphrase.
    ///
    /// # Errors
    /// When there is none, or none that can be used.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PemError> {
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
            pem::Error::NoItemsFound if is_encrypted(pem) => PemError::EncryptedKey,
            pem::Error::NoItemsFound => PemError::NoKey,
            other => broken(other),
        });
        match key {
            // What OpenSSL wrote before PKCS #8: the label is a plain key's, the lines are not.
            Err(PemError::Broken) if is_encrypted(pem) => Err(PemError::EncryptedKey),
            Err(error) => Err(error),
            Ok(key) => provider()
                .key_provider
                .load_private_key(key)
                .map(PrivateKey)
                .map_err(|_| PemError::Key),
        }
    }
}

fn is_encrypted(pem: &[u8]) -> bool {
    pem.windows(9).any(|window| window == b"ENCRYPTED")
}

/// A certificate, for those who watch over it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// Where it was read from.
    pub file: PathBuf,
    /// The host names that it is for, lower case, wildcards as `*.example.com`.
    pub names: Vec<String>,
    /// From when to when it holds.
    pub validity: Option<Validity>,
}

/// A certificate with the key that belongs to it.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) certificate: Certificate,
}

/// The key is another one than the certificate's.
#[derive(Debug, thiserror::Error)]
#[error(
    "the private key does not belong to the certificate; expected that of the first one in the certificate's file"
)]
pub struct Mismatch;

impl Identity {
    /// The two together; the certificates come from this file.
    ///
    /// # Errors
    /// When they do not belong together.
    pub fn new(file: PathBuf, chain: Chain, key: PrivateKey) -> Result<Self, Mismatch> {
        let certified = CertifiedKey::new(chain.certificates, key.0);
        certified.keys_match().map_err(|_| Mismatch)?;
        Ok(Identity {
            certified: Arc::new(certified),
            certificate: Certificate {
                file,
                names: chain.names,
                validity: chain.validity,
            },
        })
    }
}

/// Certificates that are believed to vouch for others.
#[derive(Clone, Debug)]
pub struct Roots(pub(super) Arc<RootCertStore>);

impl Roots {
    /// Reads a file of root certificates.
    ///
    /// # Errors
    /// When there is none, or one of them cannot be read.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PemError> {
        let mut store = RootCertStore::empty();
        for (at, certificate) in certificates(pem)?.into_iter().enumerate() {
            let number = at + 1;
            store.add(certificate).map_err(|error| match error {
                rustls::Error::InvalidCertificate(_) => PemError::Certificate {
                    number,
                    source: webpki::Error::BadDer,
                },
                _ => PemError::Broken,
            })?;
        }
        Ok(Roots(Arc::new(store)))
    }

    /// The same for the same certificates.
    pub fn print(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for root in &self.0.roots {
            let constraints = root.name_constraints.as_deref().unwrap_or_default();
            for part in [
                &root.subject[..],
                &root.subject_public_key_info,
                constraints,
            ] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        *hasher.finalize().as_bytes()
    }

    /// The system's root certificates. Reads files: not for an async thread.
    ///
    /// # Errors
    /// When there are none that can be read; a sentence that says why.
    pub fn system() -> Result<Self, String> {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        // A system may have a few that nobody can read.
        let (added, _) = store.add_parsable_certificates(found.certs);
        match (added, found.errors.first()) {
            (0, Some(error)) => Err(error.to_string()),
            (0, None) => Err("there are none".to_owned()),
            (_, _) => Ok(Roots(Arc::new(store))),
        }
    }
}
