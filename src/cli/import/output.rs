//! Where the policy goes: standard output, or a new file.

use super::ImportError;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

/// Writes the policy to standard output.
pub(super) fn print(text: &str) -> Result<(), ImportError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has read enough (`| head`).
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|source| ImportError::Unwritable {
            name: "standard output".to_owned(),
            source,
        }),
    }
}

/// Writes the policy to a file that is not there yet: whole, or not at all.
pub(super) fn save(text: &str, path: &Path) -> Result<(), ImportError> {
    let Some(name) = path.file_name() else {
        return Err(unwritable(path, ErrorKind::IsADirectory.into()));
    };
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(format!(".new-{}", std::process::id()));
    let beside = path.with_file_name(beside);
    let _ = fs::remove_file(&beside); // what a killed process of the same number may have left
    let written = fs::File::create_new(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    // Unlike a rename, a link is not put in the place of what is there.
    let placed = written.and_then(|()| fs::hard_link(&beside, path));
    let _ = fs::remove_file(&beside);
    placed.map_err(|source| match source.kind() {
        ErrorKind::AlreadyExists => ImportError::Exists(path.to_owned()),
        _ => unwritable(path, source),
    })
}

fn unwritable(path: &Path, source: io::Error) -> ImportError {
    ImportError::Unwritable {
        name: format!("{path:?}"),
        source,
    }
}
