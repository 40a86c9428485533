//! The files of a configuration as they were read: what a generation can be read from again when they have changed.
//!
//! Names are relative to the main file's folder where they are below it, so a set can be read where the folder has moved
//! to. What `${file:…}`, certificates, keys and `hosts` name is not in it: those are read anew, as they are then.

use super::files::{folder_of, matching, relative, resolve};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The texts by name, and names that were others of the same files.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Texts {
    pub(super) files: BTreeMap<PathBuf, String>,
    /// Each with the name that was read.
    pub(super) aliases: BTreeMap<PathBuf, PathBuf>,
    /// The main file.
    pub(super) main: PathBuf,
}

impl Texts {
    /// None yet, of a main file.
    pub(super) fn of(main: &Path) -> Self {
        let name = main.file_name().unwrap_or_default();
        Texts {
            main: PathBuf::from(name),
            ..Texts::default()
        }
    }
}

/// The names alone: a text may hold a secret.
impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.files.keys()).finish()
    }
}

/// Texts in the folder that their main file is in now.
pub(super) struct Placed {
    texts: Texts,
    folder: PathBuf,
    main: PathBuf,
}

impl Placed {
    pub(super) fn at(main: &Path, texts: Texts) -> Self {
        Placed {
            texts,
            folder: folder_of(main),
            main: main.to_owned(),
        }
    }

    /// A file's text by its whole name.
    pub(super) fn get(&self, path: &Path) -> Option<&str> {
        let name = self.identity(path);
        self.texts.files.get(&name).map(String::as_str)
    }

    /// The name in the set; the same for all names of one file.
    pub(super) fn identity(&self, path: &Path) -> PathBuf {
        // The main file may have another name now.
        if path == self.main {
            return self.texts.main.clone();
        }
        let name = relative(path, &self.folder);
        match self.texts.aliases.get(&name) {
            Some(read) => read.clone(),
            None => name,
        }
    }

    /// What a pattern matches.
    pub(super) fn expand(&self, pattern: &str) -> Result<Vec<PathBuf>, glob::PatternError> {
        let names = self.texts.files.keys().chain(self.texts.aliases.keys());
        // As patterns are: glob compares texts.
        let paths = names.map(|name| resolve(&self.folder, name));
        matching(pattern, paths)
    }
}
