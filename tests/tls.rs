//! Clients come in TLS: which certificate they are shown, in which version, and that they can resume.

mod support;

use rustls::{CipherSuite, HandshakeKind, ProtocolVersion};
use support::certificates::{Authority, Caller, Key, folder};
use support::{ROUTES, Upstream};

#[test]
fn a_client_is_shown_the_certificate_of_the_name_that_it_asks_for() {
    let upstream = Upstream::echo();
    let authority = Authority::new("tests");
    let folder = folder(
        upstream.address,
        r#"tls = [
            { cert = "one.pem", key = "one.key" },
            { cert = "two.pem", key = "two.key" },
            { cert = "wild.pem", key = "wild.key" },
        ]"#,
        "",
        ROUTES,
    );
    let one = authority.sign(&["one.example", "other.example"]);
    let two = authority.sign(&["two.example", "exact.wild.example"]);
    let wild = authority.sign(&["*.wild.example"]);
    for (pair, name) in [(&one, "one"), (&two, "two"), (&wild, "wild")] {
        pair.write(folder.path(), name);
    }
    let gateway = folder.start();
    for (name, pair) in [
        ("one.example", &one),
        ("other.example", &one),
        ("two.example", &two),
        ("TWO.example", &two),
        ("a.wild.example", &wild),
        ("exact.wild.example", &two),
    ] {
        let mut client = Caller::of(&authority, name)
            .connect(gateway.address)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(client.was_shown(pair), "{name}");
        assert_eq!(client.get("/open/x", &[]).unwrap().status, 200, "{name}");
        assert_eq!(upstream.last().header("x-forwarded-proto"), Some("https"));
    }
    // Without a name, and with one that no certificate has, the first is shown: the client judges it.
    for (asked, pair, name) in [
        (
            Caller::of(&authority, "one.example").nameless(),
            &one,
            "none",
        ),
        (any("wild.example"), &one, "wild.example"),
        (any("a.b.wild.example"), &one, "a.b.wild.example"),
        (any("nobody.example"), &one, "nobody.example"),
    ] {
        let client = asked.connect(gateway.address).expect(name);
        assert!(client.was_shown(pair), "{name}");
    }
    let refused = Caller::of(&authority, "nobody.example").connect(gateway.address);
    assert!(refused.is_err(), "our own client judges too");
}

/// A client that takes any certificate and asks for this name.
fn any(name: &str) -> Caller {
    Caller::of(&Authority::new("nobody"), name).suites(|_| true)
}

#[test]
fn of_two_certificates_of_one_name_the_client_gets_the_one_whose_key_it_can_judge() {
    let upstream = Upstream::echo();
    let authority = Authority::new("tests");
    let folder = folder(
        upstream.address,
        r#"tls = [{ cert = "ec.pem", key = "ec.key" }, { cert = "rsa.pem", key = "rsa.key" }]"#,
        "",
        ROUTES,
    );
    let ec = authority.sign(&["a.example"]);
    let rsa = authority.sign_with(&["a.example"], Key::Rsa, (-1, 30));
    ec.write(folder.path(), "ec");
    rsa.write(folder.path(), "rsa");
    let gateway = folder.start();
    for (name, suite, pair) in [
        (
            "a.example",
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            &rsa,
        ),
        (
            "a.example",
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            &ec,
        ),
        (
            "unknown.example",
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            &rsa,
        ),
        ("a.example", CipherSuite::TLS13_AES_128_GCM_SHA256, &ec),
    ] {
        let caller = Caller::of(&authority, name).suites(|s| s == suite);
        let client = caller.connect(gateway.address).expect("a handshake");
        assert!(client.was_shown(pair), "{name} {suite:?}");
    }
}

#[test]
fn both_versions_are_spoken_and_a_client_that_comes_again_resumes() {
    let upstream = Upstream::echo();
    let authority = Authority::new("tests");
    let folder = folder(
        upstream.address,
        r#"tls = { cert = "a.pem", key = "a.key" }"#,
        "",
        ROUTES,
    );
    authority.sign(&["a.example"]).write(folder.path(), "a");
    let gateway = folder.start();
    for (version, expected) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let caller = Caller::with(&authority, "a.example", &[version], None);
        for kind in [
            HandshakeKind::Full,
            HandshakeKind::Resumed,
            HandshakeKind::Resumed,
        ] {
            let mut client = caller.connect(gateway.address).expect("a handshake");
            assert_eq!(client.version(), expected);
            assert_eq!(client.kind(), kind, "{expected:?}");
            // A ticket comes with the first bytes after the handshake.
            assert_eq!(client.get("/open/x", &[]).unwrap().status, 200);
        }
    }
}
