//! What tools of others find out about TLS: OpenSSL's client, and sslyze against Mozilla's intermediate profile.
//!
//! A test whose tool is not on the machine says so on standard error and does nothing; nothing is fetched. `.ci/run`
//! installs what it can: `openssl`, and sslyze into `target/peers`.

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use support::certificates::{Authority, Caller, Key, folder, put};
use support::tools::{is_here, python};
use support::{Folder, Gateway, ROUTES, Upstream};

fn has_openssl() -> bool {
    is_here("openssl", Command::new("openssl").arg("version"))
}

fn sslyze() -> Command {
    let mut command = python();
    command.args(["-m", "sslyze"]);
    command
}

struct House {
    authority: Authority,
    gateway: Gateway,
    folder: Folder,
    _upstream: Upstream,
}

/// A gateway for `localhost`, with keys of both kinds.
fn house(server: &str) -> House {
    let upstream = Upstream::echo();
    let authority = Authority::new("tests");
    let server = format!(
        "tls = [{{ cert = \"ec.pem\", key = \"ec.key\" }}, {{ cert = \"rsa.pem\", key = \"rsa.key\" }}]\n{server}"
    );
    let folder = folder(upstream.address, &server, "", ROUTES);
    authority.sign(&["localhost"]).write(folder.path(), "ec");
    let rsa = authority.sign_with(&["localhost"], Key::Rsa, (-1, 30));
    rsa.write(folder.path(), "rsa");
    put(folder.path(), "authority.pem", &authority.pem, 0o644);
    put(folder.path(), "clients.pem", &authority.pem, 0o644);
    House {
        gateway: folder.start(),
        authority,
        folder,
        _upstream: upstream,
    }
}

impl House {
    /// What `openssl s_client` says when it asks for a page with these arguments besides.
    fn openssl(&self, arguments: &[&str]) -> String {
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", &self.gateway.address.to_string()])
            .args(["-servername", "localhost", "-verify_return_error"])
            .args(["-CAfile", "authority.pem", "-quiet", "-brief"])
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl runs");
        let request = b"GET /open/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        // One that was refused does not take it.
        let _ = child.stdin.as_mut().expect("piped").write_all(request);
        let output = child.wait_with_output().expect("openssl ends");
        let (out, err) = (&output.stdout, &output.stderr);
        format!(
            "{}{}",
            String::from_utf8_lossy(out),
            String::from_utf8_lossy(err)
        )
    }
}

#[test]
fn openssl_is_served_in_both_versions_and_in_no_older_one() {
    if !has_openssl() {
        return;
    }
    let house = house("");
    for (arguments, served, told) in [
        (&["-tls1_3"][..], true, "Protocol version: TLSv1.3"),
        (&["-tls1_2"], true, "Protocol version: TLSv1.2"),
        (
            &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
            true,
            "RSA",
        ),
        (&["-tls1_2", "-cipher", "AES128-GCM-SHA256"], false, "alert"),
        (
            &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"],
            false,
            "alert",
        ),
        (&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], false, ""),
        (&["-tls1", "-cipher", "ALL:@SECLEVEL=0"], false, ""),
    ] {
        let said = house.openssl(arguments);
        assert_eq!(
            said.contains("HTTP/1.1 200"),
            served,
            "{arguments:?}: {said}"
        );
        assert!(said.contains(told), "{arguments:?}: {said}");
    }
}

#[test]
fn openssl_resumes_by_tickets_and_by_ids() {
    if !has_openssl() {
        return;
    }
    let house = house("");
    for version in [&["-tls1_3"][..], &["-tls1_2"], &["-tls1_2", "-no_ticket"]] {
        let said = |more: &[&str]| {
            let mut child = Command::new("openssl")
                .args(["s_client", "-connect", &house.gateway.address.to_string()])
                .args(["-servername", "localhost", "-CAfile", "authority.pem"])
                .args(["-ign_eof"])
                .args(version)
                .args(more)
                .current_dir(house.folder.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("openssl runs");
            let request = b"GET /open/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let _ = child.stdin.as_mut().expect("piped").write_all(request);
            let output = child.wait_with_output().expect("openssl ends");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let first = said(&["-sess_out", "session"]);
        assert!(first.contains("\nNew, TLSv1."), "{version:?}: {first}");
        let second = said(&["-sess_in", "session"]);
        assert!(second.contains("\nReused, TLSv1."), "{version:?}: {second}");
        assert!(second.contains("HTTP/1.1 200"), "{version:?}: {second}");
    }
}

#[test]
fn openssl_shows_a_certificate_where_one_must_be_shown() {
    if !has_openssl() {
        return;
    }
    let house = house("tls_client_auth = { ca = \"clients.pem\", mode = \"required\" }");
    let own = house.authority.sign(&["client"]);
    own.write(house.folder.path(), "client");
    for version in ["-tls1_2", "-tls1_3"] {
        let said = house.openssl(&[version, "-cert", "client.pem", "-key", "client.key"]);
        assert!(said.contains("HTTP/1.1 200"), "{said}");
        let said = house.openssl(&[version]);
        assert!(!said.contains("HTTP/1.1 200"), "{said}");
    }
}

#[test]
fn sslyze_finds_nothing_against_the_intermediate_profile_but_whom_nobody_knows() {
    if !is_here("sslyze", sslyze().arg("--help")) {
        return;
    }
    let house = house("");
    let scanned = sslyze()
        .args(["--mozilla_config=intermediate"])
        .arg(format!("localhost:{}", house.gateway.address.port()))
        .output()
        .expect("sslyze runs");
    let report = String::from_utf8_lossy(&scanned.stdout);
    let (_, verdict) = report.split_once("COMPLIANCE AGAINST").expect("a verdict");
    let complaints: Vec<&str> = verdict
        .lines()
        .filter_map(|line| line.trim().strip_prefix("* "))
        .collect();
    // The authority of a test is in no store.
    assert!(
        matches!(complaints[..], [one] if one.starts_with("certificate_path_validation:")),
        "{report}"
    );
    let mut client = Caller::of(&house.authority, "localhost")
        .connect(house.gateway.address)
        .expect("it still serves");
    assert_eq!(client.get("/open/x", &[]).unwrap().status, 200);
}
