//! A document handed to the binary, and what comes back.

use crate::support::KEYGATE;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// What `keygate import` said.
#[derive(Debug)]
pub struct Imported {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Imported {
    /// Of a JSON document.
    pub fn of(document: &Value) -> Self {
        import_with(&document.to_string(), "json", &[])
    }

    pub fn succeeds(&self) {
        assert!(self.status.success(), "{}", self.stderr);
    }
}

/// Of a document's file.
pub fn import(file: &Path, arguments: &[&str]) -> Imported {
    let file = file.to_str().expect("a path of text");
    let mut all = vec!["openapi", file];
    all.extend(arguments);
    piped("", &all)
}

/// Of a document's text, in a file with this ending.
pub fn import_with(text: &str, ending: &str, arguments: &[&str]) -> Imported {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join(format!("api.{ending}"));
    std::fs::write(&file, text).expect("the document is written");
    import(&file, arguments)
}

/// `keygate import` with these arguments, and this on standard input.
pub fn piped(text: &str, arguments: &[&str]) -> Imported {
    piped_bytes(text.as_bytes(), arguments)
}

pub fn piped_bytes(bytes: &[u8], arguments: &[&str]) -> Imported {
    let mut child = Command::new(KEYGATE)
        .arg("import")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("keygate runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    let bytes = bytes.to_vec();
    // It may end before it has read all.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&bytes)));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("the writer ends");
    Imported {
        status: output.status,
        stdout: String::from_utf8(output.stdout).expect("stdout is text"),
        stderr: String::from_utf8(output.stderr).expect("stderr is text"),
    }
}
