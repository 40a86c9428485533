//! The master secret: 32 bytes from which everything else that is secret about a store is derived.
//!
//! It stands as 64 hexadecimal digits in a file that only its owner may read, or in `KEYGATE_SECRET`; never in both.
//! A file is made only together with a new store: written whole under another name, synced, and then linked to its own
//! name, which fails if that exists. So there is never half a secret, and never a second one over the first.

use super::StoreError;
use crate::private::{self, ReadError};
use aws_lc_rs::rand::SecureRandom;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The master secret. Wiped when dropped; neither `Debug` nor `Display` nor `Clone`.
///
/// ```compile_fail,E0277
/// fn shown<T: std::fmt::Debug>() {}
/// shown::<keygate::store::MasterSecret>();
/// ```
pub struct MasterSecret(Zeroizing<[u8; 32]>);

impl MasterSecret {
    /// Reads 64 hexadecimal digits, blanks around them ignored.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_ascii().as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = Zeroizing::new([0u8; 32]);
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16);
            let value = digit(pair[0])? * 16 + digit(pair[1])?;
            *byte = u8::try_from(value).ok()?;
        }
        Some(MasterSecret(bytes))
    }

    /// A new secret.
    fn generate(random: &dyn SecureRandom) -> Self {
        let mut bytes = Zeroizing::new([0u8; 32]);
        random
            .fill(bytes.as_mut())
            .expect("the system's random generator works");
        MasterSecret(bytes)
    }

    /// The digits, as the file holds them.
    fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(65));
        for nibble in self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
            text.push(char::from_digit(u32::from(nibble), 16).expect("a nibble is below 16"));
        }
        text.push('\n');
        text
    }

    /// The bytes, for the derivation of keys alone.
    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Where the secret of a store is to be found.
pub(super) enum SecretSource {
    Env(Zeroizing<String>),
    File(PathBuf),
}

impl SecretSource {
    /// Decides between the two places.
    ///
    /// # Errors
    /// When both hold a secret, or the file's existence cannot be found out.
    pub fn choose(file: PathBuf, env: Option<Zeroizing<String>>) -> Result<Self, StoreError> {
        let Some(text) = env else {
            return Ok(SecretSource::File(file));
        };
        match fs::symlink_metadata(&file) {
            Ok(_) => Err(StoreError::SecretDoubled { file }),
            Err(e) if private::is_absent(&e) => Ok(SecretSource::Env(text)),
            Err(source) => Err(StoreError::SecretFile {
                file,
                action: "looked for",
                source,
            }),
        }
    }

    /// What an error calls it.
    pub fn place(&self) -> String {
        match self {
            SecretSource::Env(_) => "KEYGATE_SECRET".to_owned(),
            SecretSource::File(file) => format!("the file {file:?}"),
        }
    }

    /// The secret, or `None` where its file does not exist.
    pub fn read(&self) -> Result<Option<MasterSecret>, StoreError> {
        let text = match self {
            SecretSource::Env(text) => text.clone(),
            SecretSource::File(file) => match read_private(file)? {
                Some(text) => text,
                None => return Ok(None),
            },
        };
        match MasterSecret::parse(&text) {
            Some(secret) => Ok(Some(secret)),
            None => Err(StoreError::SecretMalformed {
                place: self.place(),
            }),
        }
    }

    /// Refuses a secret's file that waits where there is no store.
    pub fn refuse_orphan(&self, store: &Path) -> Result<(), StoreError> {
        match self {
            SecretSource::File(file) if fs::symlink_metadata(file).is_ok() => {
                Err(StoreError::SecretWithoutStore {
                    file: file.clone(),
                    store: store.to_owned(),
                })
            }
            SecretSource::File(_) | SecretSource::Env(_) => Ok(()),
        }
    }

    /// The secret for a new store: what the environment or an unfinished start left, else a new file's.
    pub fn read_or_make(&self, random: &dyn SecureRandom) -> Result<MasterSecret, StoreError> {
        match (self.read()?, self) {
            (Some(secret), _) => Ok(secret),
            (None, SecretSource::File(file)) => {
                let secret = MasterSecret::generate(random);
                private::create(file, &secret.text()).map_err(|source| StoreError::SecretFile {
                    file: file.clone(),
                    action: "made",
                    source,
                })?;
                Ok(secret)
            }
            (None, SecretSource::Env(_)) => Err(StoreError::SecretMalformed {
                place: self.place(),
            }),
        }
    }
}

/// Reads a secret's file, as an error of the store.
fn read_private(path: &Path) -> Result<Option<Zeroizing<String>>, StoreError> {
    private::read(path).map_err(|error| match error {
        ReadError::Io(source) => StoreError::SecretFile {
            file: path.to_owned(),
            action: "read",
            source,
        },
        ReadError::Open(mode) => StoreError::SecretOpen {
            file: path.to_owned(),
            mode,
        },
        ReadError::NotFile => StoreError::SecretFile {
            file: path.to_owned(),
            action: "read",
            source: io::Error::new(io::ErrorKind::InvalidInput, ReadError::NotFile),
        },
        ReadError::NotText => StoreError::SecretMalformed {
            place: format!("the file {path:?}"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn random() -> aws_lc_rs::rand::SystemRandom {
        aws_lc_rs::rand::SystemRandom::new()
    }

    #[test]
    fn a_made_secret_is_private_and_reads_back_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/er/master");
        let source = SecretSource::File(file.clone());
        assert!(source.read().unwrap().is_none());
        let made = source.read_or_make(&random()).unwrap();
        let read = source.read().unwrap().unwrap();
        assert!(made.bytes() == read.bytes());
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read(&file).unwrap().len(), 65);
        let left: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing is left beside it");
    }

    #[test]
    fn only_sixty_four_hexadecimal_digits_are_a_secret() {
        let good = "0123456789abcdefABCDEF0123456789".repeat(2);
        for (text, fine) in [
            (good.clone(), true),
            (format!("  {good}\n"), true),
            (good[1..].to_owned(), false),
            (format!("{good}0"), false),
            (good.replace('a', "g"), false),
            (good.replace('a', "é"), false),
            (String::new(), false),
            ("0".repeat(400), false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("master");
            fs::write(&file, &text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            let from_file = SecretSource::File(file).read();
            let from_env = SecretSource::Env(Zeroizing::new(text.clone())).read();
            assert_eq!(from_file.is_ok(), fine, "{text}");
            assert_eq!(from_env.is_ok(), fine, "{text}");
        }
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("master");
        for (mode, fine) in [
            (0o600, true),
            (0o400, true),
            (0o640, false),
            (0o604, false),
            (0o620, false),
        ] {
            let source = SecretSource::File(file.clone());
            let _ = fs::remove_file(&file);
            source.read_or_make(&random()).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(source.read().is_ok(), fine, "{mode:o}");
        }
    }
}
