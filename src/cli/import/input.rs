//! The document: a file, or standard input; text, and no more than is reasonable.

use super::ImportError;
use crate::cli::say::visible;
use crate::openapi::Form;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// How large a document may be, in bytes.
const LARGEST: u64 = 64 << 20;

/// A document as it was found.
pub(super) struct Input {
    /// What it is called in messages.
    pub name: String,
    pub text: String,
    pub form: Form,
}

/// Reads the document; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<Input, ImportError> {
    let name = match path.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => visible(&path.display().to_string()),
    };
    let mut bytes = Vec::new();
    let read = match path.to_str() {
        Some("-") => io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes),
        _ => File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes)),
    };
    if let Err(source) = read {
        return Err(ImportError::Unreadable { name, source });
    }
    if bytes.len() as u64 > LARGEST {
        return Err(ImportError::TooLarge { name });
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let read = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + read.iter().filter(|byte| **byte == b'\n').count();
            return Err(ImportError::NotUtf8 { name, line });
        }
    };
    let form = form(&text, path);
    Ok(Input { name, text, form })
}

/// JSON begins with a brace; but what is called YAML may do so, too.
fn form(text: &str, path: &Path) -> Form {
    let called = |endings: &[&str]| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        ending.is_some_and(|ending| {
            endings
                .iter()
                .any(|known| ending.eq_ignore_ascii_case(known))
        })
    };
    let begins = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if called(&["json"]) || (begins.starts_with('{') && !called(&["yaml", "yml"])) {
        Form::Json
    } else {
        Form::Yaml
    }
}
