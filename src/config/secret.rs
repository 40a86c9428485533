//! `${env:NAME}` and `${file:PATH}` in values that may be secrets, and variables beside them; the files of TLS.
//!
//! What they name is put in their place when the configuration is read; a file's last line end is cut. No message here
//! holds what was found, nor what stands around it.

use super::files::{Disk, FileSet, resolve};
use super::source::ReadError;
use crate::http::edits::{Part, Variable};
use crate::tls::Roots;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// Whether secrets are there to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Secrets {
    /// An unset variable or a missing file is an error.
    Required,
    /// A placeholder stands for each: for places where the environment's secrets are not.
    Skipped,
}

/// Reads secrets, and remembers which files they came from.
pub(super) struct SecretReader<'a> {
    pub(super) disk: &'a Disk,
    pub(super) folder: &'a Path,
    pub(super) secrets: Secrets,
    pub(super) files: &'a mut FileSet,
    /// What each file gave: part of what makes two readings the same.
    pub(super) read: BTreeMap<PathBuf, Option<[u8; 32]>>,
    /// The system's root certificates, once someone asked for them.
    pub(super) system_roots: Option<Result<Roots, String>>,
}

/// Why a value could not be put together.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    #[error(
        "expected `${{env:NAME}}`, `${{file:PATH}}`, or `${{` and one of {} and `}}`",
        names()
    )]
    Form,
    #[error("the environment variable `{0}` is not set (`--no-secrets` checks without it)")]
    Unset(String),
    #[error("the environment variable `{0}` is empty; expected the secret's text")]
    Empty(String),
    #[error("the environment variable `{0}` is not UTF-8 text; expected the secret as text")]
    NotText(String),
    #[error("the secret's file {0:?}: {1}")]
    File(PathBuf, #[source] ReadError),
    #[error("the secret's file {0:?} is empty; expected the secret's text")]
    EmptyFile(PathBuf),
}

fn names() -> String {
    Variable::NAMES.map(|(name, _)| name).join(", ")
}

/// Why a file of certificates or a key gives no text.
#[derive(Debug, thiserror::Error)]
pub(super) enum PemFileError {
    #[error("the file {0:?}: {1}")]
    File(PathBuf, #[source] ReadError),
    #[error(
        "the file {0:?} has mode {1:04o}: others can get at the private key; expected at most 0640"
    )]
    Open(PathBuf, u32),
}

/// Bits that the mode of a private key's file must not have. A group may read it: `ssl-cert` of Debian and the `fsGroup`
/// of Kubernetes hand keys to processes that do not own them.
const KEPT_FROM_OTHERS: u32 = 0o037;

impl SecretReader<'_> {
    /// The text with all references replaced, in parts between its variables, and whether there was a reference. No
    /// parts for no text.
    pub(super) fn parts(&mut self, text: &str) -> Result<(Vec<Part>, bool), SecretError> {
        let mut parts = Vec::new();
        let mut secret = false;
        let mut out = Zeroizing::new(String::with_capacity(text.len()));
        let mut rest = text;
        let flush = |out: &mut Zeroizing<String>, parts: &mut Vec<Part>| {
            if !out.is_empty() {
                parts.push(Part::Text(out.as_str().into()));
                *out = Zeroizing::new(String::new());
            }
        };
        while let Some(at) = rest.find("${") {
            out.push_str(&rest[..at]);
            let (reference, after) = rest[at + 2..].split_once('}').ok_or(SecretError::Form)?;
            match Variable::named(reference) {
                Some(variable) => {
                    flush(&mut out, &mut parts);
                    parts.push(Part::Variable(variable));
                }
                None => {
                    out.push_str(&self.one(reference)?);
                    secret = true;
                }
            }
            rest = after;
        }
        out.push_str(rest);
        flush(&mut out, &mut parts);
        Ok((parts, secret))
    }

    fn one(&mut self, reference: &str) -> Result<Zeroizing<String>, SecretError> {
        match reference.split_once(':') {
            Some(("env", name)) if !name.is_empty() && !name.contains(['=', '\0']) => {
                if self.secrets == Secrets::Skipped {
                    return Ok(Zeroizing::new("placeholder".to_owned()));
                }
                match std::env::var(name) {
                    Ok(value) if value.is_empty() => Err(SecretError::Empty(name.to_owned())),
                    Ok(value) => Ok(Zeroizing::new(value)),
                    Err(std::env::VarError::NotPresent) => Err(SecretError::Unset(name.to_owned())),
                    Err(std::env::VarError::NotUnicode(_)) => {
                        Err(SecretError::NotText(name.to_owned()))
                    }
                }
            }
            Some(("file", path)) if !path.is_empty() && !path.contains('\0') => {
                if self.secrets == Secrets::Skipped {
                    return Ok(Zeroizing::new("placeholder".to_owned()));
                }
                self.file(resolve(self.folder, path))
            }
            _ => Err(SecretError::Form),
        }
    }

    /// The text of a file of certificates.
    pub(super) fn certificates(&mut self, path: &Path) -> Result<Vec<u8>, PemFileError> {
        self.pem(path, None)
    }

    /// The text of a private key's file, which only its owner and its group may read.
    pub(super) fn key(&mut self, path: &Path) -> Result<Zeroizing<Vec<u8>>, PemFileError> {
        let mode = self.disk.mode(path);
        self.pem(path, mode).map(Zeroizing::new)
    }

    /// The system's root certificates, read once in a reading.
    pub(super) fn system_roots(&mut self) -> Result<Roots, String> {
        self.system_roots.get_or_insert_with(Roots::system).clone()
    }

    fn pem(&mut self, path: &Path, mode: Option<u32>) -> Result<Vec<u8>, PemFileError> {
        self.files.add_secret(path.to_owned());
        let read = self.disk.read_pem(path);
        let print = read.as_ref().ok().map(|bytes| {
            let mut hasher = blake3::Hasher::new();
            // A mode that was set right makes another reading of it.
            hasher.update(&mode.unwrap_or_default().to_le_bytes());
            hasher.update(bytes);
            *hasher.finalize().as_bytes()
        });
        self.read.insert(path.to_owned(), print);
        let mut bytes = read.map_err(|error| PemFileError::File(path.to_owned(), error))?;
        match mode {
            Some(mode) if mode & KEPT_FROM_OTHERS != 0 => {
                bytes.zeroize();
                Err(PemFileError::Open(path.to_owned(), mode))
            }
            _ => Ok(bytes),
        }
    }

    fn file(&mut self, path: PathBuf) -> Result<Zeroizing<String>, SecretError> {
        self.files.add_secret(path.clone());
        let read = self
            .disk
            .read_secret(&path)
            .and_then(super::source::decode)
            .map(Zeroizing::new);
        let print = read
            .as_ref()
            .ok()
            .map(|t| *blake3::hash(t.as_bytes()).as_bytes());
        self.read.insert(path.clone(), print);
        let text = read.map_err(|error| SecretError::File(path.clone(), error))?;
        let cut = text.strip_suffix('\n').unwrap_or(&text);
        let cut = cut.strip_suffix('\r').unwrap_or(cut);
        if cut.is_empty() {
            return Err(SecretError::EmptyFile(path));
        }
        Ok(Zeroizing::new(cut.to_owned()))
    }
}
