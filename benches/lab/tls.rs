//! The certificate that all contenders show.

use anyhow::Result;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Files in PEM. ECDSA on P-256, for 127.0.0.1, signed by itself.
pub struct Certificate {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Both in one, as HAProxy wants it.
    pub both: PathBuf,
}

impl Certificate {
    pub fn make(folder: &Path) -> Result<Certificate> {
        let made =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let write = |name: &str, text: &str| -> Result<PathBuf> {
            let path = folder.join(name);
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options.open(&path)?.write_all(text.as_bytes())?;
            Ok(path)
        };
        Ok(Certificate {
            cert: write("cert.pem", &cert)?,
            key: write("key.pem", &key)?,
            both: write("both.pem", &(cert + &key))?,
        })
    }
}
