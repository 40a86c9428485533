//! Tables that a command reads alone, while all else of the configuration may be broken.

use super::load::read_alone;
use super::problem::Problems;
use super::settings::{AdminSettings, KeySettings};
use super::{listeners, process};
use crate::key::Reveal;
use std::path::{Path, PathBuf};

/// `[keys]`, for commands that need the key store and nothing else.
///
/// # Errors
/// When the main file cannot be read, is not TOML from its start to its end (a table that is cut off may be the one that
/// is wanted), or its `[keys]` is faulty.
pub fn load_keys(main_file: &Path) -> Result<(KeySettings, Reveal), Problems> {
    read_alone(main_file, |root, folder, desk| {
        let keys = process::keys(root, folder, desk);
        (keys.settings, keys.reveal)
    })
}

/// `[admin]`, for commands that talk to a running gateway.
///
/// # Errors
/// As [`load_keys`], of `[admin]`.
pub fn load_admin(main_file: &Path) -> Result<AdminSettings, Problems> {
    read_alone(main_file, listeners::admin)
}

/// Where accepted generations are kept.
///
/// # Errors
/// As [`load_keys`], of `[keys]` and `[reload]`.
pub(super) fn load_kept_folder(main_file: &Path) -> Result<PathBuf, Problems> {
    read_alone(main_file, |root, folder, desk| {
        let keys = process::keys(root, folder, desk);
        process::reload(root, &keys.settings.store, folder, desk).kept
    })
}
