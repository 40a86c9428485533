//! `keygate check` says what is wrong with certificates, at the field that names their file.

mod support;

use std::fs;
use support::ROUTES;
use support::certificates::{Authority, Key, folder, put};

#[test]
fn faulty_files_are_named_at_the_field_that_names_them() {
    let upstream = ([127, 0, 0, 1], 9).into();
    let authority = Authority::new("tests");
    let good = authority.sign(&["a.example"]);
    let other = authority.sign(&["a.example"]);
    let over = authority.sign_with(&["a.example"], Key::Ecdsa, (-30, -2));
    let early = authority.sign_with(&["a.example"], Key::Ed25519, (2, 30));
    let one = r#"tls = { cert = "a.pem", key = "a.key" }"#;
    let two = r#"tls = [{ cert = "a.pem", key = "a.key" }, { cert = "b.pem", key = "b.key" }]"#;
    for (what, server, code, expected) in [
        ("good", one, 0, &[][..]),
        (
            "mismatched",
            r#"tls = { cert = "a.pem", key = "b.key" }"#,
            2,
            &[
                "keygate.toml:6:31: error: `server.tls.key`: the private key does not belong to the certificate",
                "keygate.toml:6:16: the certificate is named here",
            ],
        ),
        (
            "missing",
            r#"tls = { cert = "none.pem", key = "none.key" }"#,
            2,
            &[
                "keygate.toml:6:16: error: `server.tls.cert`: the file",
                "keygate.toml:6:34: error: `server.tls.key`: the file",
                "there is no such file",
            ],
        ),
        (
            "swapped",
            r#"tls = { cert = "a.key", key = "a.pem" }"#,
            2,
            &[
                "there is no certificate in it; expected PEM",
                "has mode 0644: others can get at the private key; expected at most 0640",
            ],
        ),
        (
            "encrypted",
            r#"tls = { cert = "a.pem", key = "locked.key" }"#,
            2,
            &["the private key is encrypted; expected one without a passphrase"],
        ),
        (
            "the same names twice",
            two,
            2,
            &[
                "keygate.toml:6:43: error: two certificates with the same kind of key are for the name `a.example`",
                "keygate.toml:6:8: the first stands here",
            ],
        ),
        (
            "expired",
            r#"tls = { cert = "over.pem", key = "over.key" }"#,
            0,
            &["keygate.toml:6:16: warning: the certificate has expired on 20"],
        ),
        (
            "too early",
            r#"tls = { cert = "early.pem", key = "early.key" }"#,
            0,
            &["keygate.toml:6:16: warning: the certificate holds only from 20"],
        ),
        (
            "clients of nobody",
            "tls = { cert = \"a.pem\", key = \"a.key\" }\ntls_client_auth = { ca = \"a.key\", mode = \"required\" }",
            2,
            &["keygate.toml:7:26: error: `server.tls_client_auth.ca`: the file"],
        ),
    ] {
        let folder = folder(upstream, server, "", ROUTES);
        for (pair, name) in [
            (&good, "a"),
            (&other, "b"),
            (&over, "over"),
            (&early, "early"),
        ] {
            pair.write(folder.path(), name);
        }
        let locked = good.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        put(folder.path(), "locked.key", &locked, 0o600);
        let checked = folder.keygate(&["check"]);
        assert_eq!(
            checked.status.code(),
            Some(code),
            "{what}: {}",
            checked.stderr
        );
        for line in expected {
            assert!(
                checked.stderr.contains(line),
                "{what}: {line}\n{}",
                checked.stderr
            );
        }
        if expected.is_empty() {
            let said = &checked.stderr;
            let wrong = said.contains(": error: ") || said.contains(": warning: ");
            assert!(!wrong, "{what}: {said}");
        }
        let body = good.key.lines().nth(1).unwrap();
        assert!(!checked.stderr.contains(body), "{what}");
    }
}

#[test]
fn without_the_secrets_certificates_are_not_asked_for() {
    let upstream = ([127, 0, 0, 1], 9).into();
    let server = r#"tls = { cert = "a.pem", key = "a.key" }"#;
    let folder = folder(upstream, server, "", ROUTES);
    let checked = folder.keygate(&["check", "--no-secrets"]);
    assert!(checked.status.success(), "{}", checked.stderr);
    assert!(!fs::exists(folder.path().join("a.pem")).unwrap());
    assert_eq!(folder.keygate(&["check"]).status.code(), Some(2));
}
