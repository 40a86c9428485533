//! The command: files, standard input, exit codes.

use super::{data, document, import, import_with, sheet};
use serde_json::json;
use std::path::Path;

#[test]
fn a_file_is_written_once_and_never_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("api.toml");
    let output = file.to_str().unwrap();
    let made = import(
        &data("shelter.yaml"),
        &["--output", output, "--upstream", "animals"],
    );
    made.succeeds();
    assert_eq!(made.stdout, "");
    assert!(
        made.stderr.contains("it stands in place of routes.toml"),
        "{}",
        made.stderr
    );
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains("upstream = \"animals\""), "{written}");
    std::fs::write(&file, "mine").unwrap();
    let again = import(&data("shelter.yaml"), &["--output", output]);
    assert_eq!(again.status.code(), Some(2));
    assert!(
        again
            .stderr
            .contains("exists already; nothing was overwritten"),
        "{}",
        again.stderr
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    let nowhere = folder.path().join("no/such/folder");
    let failed = import(
        &data("shelter.yaml"),
        &["--output", nowhere.to_str().unwrap()],
    );
    assert_eq!(failed.status.code(), Some(1), "{}", failed.stderr);
}

#[test]
fn standard_input_is_read_and_what_is_missing_is_an_error_of_the_run() {
    let whole = document(json!({"/x": {"get": {}}})).to_string();
    let made = sheet::piped(&whole, &["openapi", "-"]);
    made.succeeds();
    assert!(
        made.stdout
            .contains("of standard input (\"t\", OpenAPI 3.1.0)"),
        "{}",
        made.stdout
    );
    let faulty = sheet::piped("a: [", &["openapi", "-"]);
    assert_eq!(faulty.status.code(), Some(2));
    assert!(
        faulty.stderr.starts_with("keygate: standard input:"),
        "{}",
        faulty.stderr
    );
    let missing = import(Path::new("no/such/file.yaml"), &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        missing.stderr.contains("no/such/file.yaml cannot be read"),
        "{}",
        missing.stderr
    );
    for wrong in [
        &["openapi"][..],
        &["raml", "x"],
        &["openapi", "x", "--upstream", "a b"],
        &["openapi", "x", "--prefix", "v1"],
    ] {
        let made = sheet::piped("", wrong);
        assert_eq!(made.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn names_that_are_no_bare_keys_of_toml_stand_in_quotes_and_in_line() {
    let whole = document(
        json!({"/x": {"get": {"security": [{"o": ["read:all"]}]}, "put": {"security": [{"o": ["w"]}]}}}),
    );
    let made = import_with(&whole.to_string(), "json", &["--upstream", "a.b"]);
    made.succeeds();
    for said in [
        "a table [upstreams.\"a.b\"] in keygate.toml.",
        "\n\"read:all\" = []\nw          = []\nfullAccess = [",
    ] {
        assert!(made.stdout.contains(said), "{said}\n{}", made.stdout);
    }
}
