//! Which files a configuration is read from, and whether they are still what they were.
//!
//! A [`FileSet`] is a recipe rather than a list: the main file, the names and patterns that it includes, the files that
//! secrets, certificates and keys are taken from. [`FileSet::look`] follows the recipe anew each time, through links, so a new file that
//! matches a pattern, a folder that appears, a deleted file and a swapped link all change what it answers.

use super::source::{self, ReadError};
use super::texts::Placed;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// Most bytes of a file that a secret is taken from.
const MOST_SECRET_BYTES: u64 = 64 * 1024;
/// Most bytes of a file of certificates: all roots of a system are a quarter of this.
const MOST_PEM_BYTES: u64 = 1024 * 1024;

/// The files that a configuration is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileSet {
    main: PathBuf,
    /// Included by name.
    names: BTreeSet<PathBuf>,
    /// Included by pattern.
    patterns: BTreeSet<String>,
    /// What `${file:…}`, the fields of TLS and `hosts` name.
    secrets: BTreeSet<PathBuf>,
}

/// What a file looked like. What it holds is not looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Seen {
    /// Not there, or not to be asked about.
    Not(std::io::ErrorKind),
    File {
        device: u64,
        inode: u64,
        size: u64,
        modified: (i64, i64),
        /// Also moves when the owner or the permissions do.
        changed: (i64, i64),
    },
}

/// What all files of a set looked like at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Look(BTreeMap<PathBuf, Seen>);

impl FileSet {
    pub(super) fn new(main: &Path) -> Self {
        FileSet {
            main: main.to_owned(),
            names: BTreeSet::new(),
            patterns: BTreeSet::new(),
            secrets: BTreeSet::new(),
        }
    }

    pub(super) fn add_name(&mut self, path: PathBuf) {
        self.names.insert(path);
    }

    pub(super) fn add_pattern(&mut self, pattern: String) {
        self.patterns.insert(pattern);
    }

    pub(super) fn add_secret(&mut self, path: PathBuf) {
        self.secrets.insert(path);
    }

    /// With the files of another set that secrets and the like are taken from.
    pub(super) fn with_secrets_of(mut self, other: &FileSet) -> Self {
        self.secrets.extend(other.secrets.iter().cloned());
        self
    }

    /// The main file.
    pub fn main(&self) -> &Path {
        &self.main
    }

    /// All files by name, those that a pattern matches now included.
    pub fn paths(&self) -> BTreeSet<PathBuf> {
        let mut paths = BTreeSet::from([self.main.clone()]);
        paths.extend(self.names.iter().cloned());
        paths.extend(self.secrets.iter().cloned());
        for pattern in &self.patterns {
            // What cannot be listed is said by the reading; here it only is not seen.
            paths.extend(expand(pattern).into_iter().flatten().flatten());
        }
        paths
    }

    /// What the files look like now. Asks the file system: not for an async thread.
    pub fn look(&self) -> Look {
        let see = |path: PathBuf| {
            let seen = see(&path);
            (path, seen)
        };
        Look(self.paths().into_iter().map(see).collect())
    }

    /// The folders in which a change may matter: where the files are, where the links lead, where the patterns begin,
    /// or what exists above them. For hints only.
    pub fn folders(&self) -> BTreeSet<PathBuf> {
        let mut folders = BTreeSet::new();
        for path in self.paths() {
            for name in [std::fs::canonicalize(&path).ok(), Some(path)]
                .into_iter()
                .flatten()
            {
                folders.extend(name.parent().and_then(existing));
            }
        }
        for pattern in &self.patterns {
            let fixed: PathBuf = Path::new(pattern)
                .components()
                .take_while(|part| !is_pattern(&part.as_os_str().to_string_lossy()))
                .collect();
            folders.extend(existing(&fixed));
        }
        folders
    }
}

fn see(path: &Path) -> Seen {
    use std::os::unix::fs::MetadataExt;
    match std::fs::metadata(path) {
        Ok(meta) => Seen::File {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        },
        Err(error) => Seen::Not(error.kind()),
    }
}

/// The folder, or the nearest above it that exists.
fn existing(folder: &Path) -> Option<PathBuf> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    folder
        .ancestors()
        .map(|f| {
            if f.as_os_str().is_empty() {
                Path::new(".")
            } else {
                f
            }
        })
        .find(|f| f.is_dir())
        .map(Path::to_owned)
}

/// Whether an `include` is a pattern and not a name.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The folder that a main file is in, with `.` parts removed.
pub(super) fn folder_of(main_file: &Path) -> PathBuf {
    let folder = main_file.parent().unwrap_or_else(|| Path::new(""));
    resolve(folder, "")
}

/// The name of a file against the folder that a main file is in, where it is below that.
pub(super) fn relative(path: &Path, folder: &Path) -> PathBuf {
    let path = resolve(path, "");
    match path.strip_prefix(folder) {
        Ok(name) => name.to_owned(),
        Err(_) => path,
    }
}

/// `path` against `folder`, with `.` parts removed so that equal paths look equal.
pub(super) fn resolve(folder: &Path, path: impl AsRef<Path>) -> PathBuf {
    folder
        .join(path)
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect()
}

/// How a pattern matches.
const MATCHING: glob::MatchOptions = glob::MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Those of the paths that a pattern matches.
pub(super) fn matching(
    pattern: &str,
    paths: impl Iterator<Item = PathBuf>,
) -> Result<Vec<PathBuf>, glob::PatternError> {
    let pattern = glob::Pattern::new(pattern)?;
    Ok(paths
        .filter(|path| pattern.matches_path_with(path, MATCHING))
        .collect())
}

/// What a pattern matches now, sorted; what could not be listed as an error in its place.
///
/// Hidden files are not matched, so that neither an editor's lock file nor the folder behind a swapped link is read.
pub(super) fn expand(
    pattern: &str,
) -> Result<Vec<Result<PathBuf, std::io::Error>>, glob::PatternError> {
    let found = glob::glob_with(pattern, MATCHING)?;
    Ok(found
        .map(|path| path.map_err(std::io::Error::from))
        .collect())
}

/// Where files are read from: the disk, or texts in memory for tests and fuzzing, or those of a generation that was in
/// force, with all else from the disk.
pub(super) enum Disk {
    Real,
    Kept(Placed),
    Memory(BTreeMap<PathBuf, Vec<u8>>),
}

impl Disk {
    /// A file of the configuration.
    pub(super) fn read(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        match self {
            Disk::Kept(texts) => match texts.get(path) {
                Some(text) => Ok(text.as_bytes().to_vec()),
                None => Err(ReadError::Missing),
            },
            Disk::Real | Disk::Memory(_) => self.read_at_most(path, source::MOST_BYTES),
        }
    }

    /// The file of hosts.
    pub(super) fn read_hosts(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        self.read_at_most(path, source::MOST_BYTES)
    }

    pub(super) fn read_secret(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        self.read_at_most(path, MOST_SECRET_BYTES)
    }

    /// The permissions of a file, where files have some.
    pub(super) fn mode(&self, path: &Path) -> Option<u32> {
        use std::os::unix::fs::MetadataExt;
        match self {
            Disk::Real | Disk::Kept(_) => std::fs::metadata(path)
                .ok()
                .map(|meta| meta.mode() & 0o7777),
            Disk::Memory(_) => None,
        }
    }

    pub(super) fn read_pem(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        self.read_at_most(path, MOST_PEM_BYTES)
    }

    fn read_at_most(&self, path: &Path, most: u64) -> Result<Vec<u8>, ReadError> {
        match self {
            Disk::Real | Disk::Kept(_) => source::read_bytes(path, most),
            Disk::Memory(files) => match files.get(path) {
                Some(bytes) if bytes.len() as u64 > most => Err(ReadError::Huge(most)),
                Some(bytes) => Ok(bytes.clone()),
                None => Err(ReadError::Missing),
            },
        }
    }

    pub(super) fn expand(
        &self,
        pattern: &str,
    ) -> Result<Vec<Result<PathBuf, std::io::Error>>, glob::PatternError> {
        match self {
            Disk::Real => expand(pattern),
            Disk::Kept(texts) => Ok(texts.expand(pattern)?.into_iter().map(Ok).collect()),
            Disk::Memory(files) => {
                let found = matching(pattern, files.keys().cloned())?;
                Ok(found.into_iter().map(Ok).collect())
            }
        }
    }

    /// What two names of one file have in common.
    pub(super) fn identity(&self, path: &Path) -> PathBuf {
        match self {
            Disk::Real => std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
            Disk::Kept(texts) => texts.identity(path),
            Disk::Memory(_) => path.to_owned(),
        }
    }
}
