//! Where the policy goes: standard output, or a new file.

use super::ImportError;
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

/// Writes the policy to a file that is not there yet, whole or not at all.
pub(super) fn save(text: &str, path: &Path) -> Result<(), ImportError> {
    let mut file = match fs::File::create_new(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(ImportError::Exists(path.to_owned()));
        }
        Err(source) => return Err(unwritable(path, source)),
    };
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(|source| {
        // It is our own, and half of a policy is none.
        let _: io::Result<()> = fs::remove_file(path);
        unwritable(path, source)
    })
}

fn unwritable(path: &Path, source: io::Error) -> ImportError {
    ImportError::Unwritable {
        name: path.display().to_string(),
        source,
    }
}
