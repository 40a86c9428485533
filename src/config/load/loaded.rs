//! What comes of a reading: a configuration that can be used, and where in it things are named.

use crate::config::files::FileSet;
use crate::config::problem::{Problem, Problems, Severity};
use crate::config::settings::{Cold, Hot};
use crate::config::source::Excerpt;
use crate::config::texts::Texts;
use crate::policy::lint::Levels;
use crate::policy::{Expectation, Place};

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// What holds until a restart.
    pub cold: Cold,
    /// What is in force at once.
    pub hot: Hot,
    /// Of all configuration files and what they hold, in hexadecimal. Secrets have no part in it.
    pub hash: String,
    /// What it was read from.
    pub files: FileSet,
    /// What that held.
    pub texts: Texts,
    /// What looks wrong but can be used.
    pub warnings: Vec<Problem>,
    /// Tables `[[routes]]`.
    pub routes: usize,
    /// Tables `[[expect]]`.
    pub expectations: Vec<Expectation>,
    /// How loud each lint is.
    pub lints: Levels,
    /// Where the key store is named, for problems with it that show only when it is opened.
    pub store_spot: Spot,
    /// Where the master secret's file is named, likewise.
    pub secret_spot: Spot,
    /// Where the admin listener is set up, for what is wrong with its token.
    pub admin_spot: Spot,
    /// Where it is said which changes have to be confirmed.
    pub reload_spot: Spot,
    pub(in crate::config) mark: Mark,
}

/// What a configuration is read for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To be used: what is wrong is wanted.
    Use,
    /// To be reviewed: what is probably not meant is wanted too.
    Review,
    /// To be tested: expectations are read, and not held against it.
    Test,
}

/// A place in a configuration that was read, with its line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spot {
    pub(super) place: Place,
    pub(super) excerpt: Option<Excerpt>,
}

impl Spot {
    /// A problem at this place.
    pub fn problem(&self, severity: Severity, message: impl Into<String>) -> Problem {
        Problem {
            severity,
            excerpt: self.excerpt.clone(),
            ..Problem::error(self.place.clone(), message)
        }
    }
}

/// What was read, secrets included, as one value: two readings with the same mark would come out the same. Never shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::config) struct Mark(pub(super) blake3::Hash);

/// One reading, whatever came of it.
pub(in crate::config) struct Reading {
    pub(in crate::config) files: FileSet,
    pub(in crate::config) mark: Mark,
    pub(in crate::config) outcome: Result<Loaded, Problems>,
}
