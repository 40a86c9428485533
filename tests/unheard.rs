//! What nobody hears changes nothing: a standard error that cannot be written leaves each exit code as it is.

mod support;

use std::fs::OpenOptions;
use support::{Folder, ROUTES};

#[test]
fn a_standard_error_that_cannot_be_written_changes_no_exit_code() {
    let folder = Folder::new(([127, 0, 0, 1], 9).into(), "", ROUTES);
    std::fs::write(folder.path().join("api.json"), API).expect("write");
    let here = folder.path().display().to_string();
    let api = format!("{here}/api.json");
    let rows: &[(&[&str], i32)] = &[
        (&["check", "--config", "/nowhere"], 2),
        (&["run", "--config", "/nowhere"], 2),
        (&["routes", "/nowhere"], 2),
        (&["routes", &here, "--path", "/nothing/here"], 0),
        (&["explain", "GET", "/", "--config", "/nowhere"], 2),
        (&["diff", &here, "/nowhere"], 2),
        (&["diff", "http://127.0.0.1:9", &here], 1),
        (&["init", &here, "--upstream", "http://127.0.0.1:9"], 2),
        (&["import", "openapi", "/nowhere"], 1),
        (&["import", "openapi", &api], 0),
        (&["keys", "list", "--config", "/nowhere"], 2),
        (&["reload", "--config", "/nowhere"], 2),
        (&["load", "http://127.0.0.1:9", "--config", "/nowhere"], 2),
    ];
    for (arguments, code) in rows {
        let full = OpenOptions::new().write(true).open("/dev/full");
        let ended = std::process::Command::new(support::KEYGATE)
            .args(*arguments)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(full.expect("a device that is always full"))
            .status()
            .expect("keygate runs");
        assert_eq!(ended.code(), Some(*code), "{arguments:?}");
    }
}

const API: &str = r#"{"openapi": "3.1.0", "paths": {"/a": {"get": {"security": []}}}}"#;
