//! Clients come in TLS: which certificate they are shown, in which version, and that they can resume.

mod support;

use keygate::clock::Timestamp;
use rustls::{CipherSuite, HandshakeKind, ProtocolVersion};
use std::io::{Read, Write};
use support::certificates::{Authority, Caller, Key, folder};
use support::{Folder, Gateway, ROUTES, Upstream, respond};

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

#[test]
fn both_sides_settle_on_a_protocol_and_a_client_that_has_none_in_common_is_refused() {
    let upstream = Upstream::echo();
    let authority = Authority::new("tests");
    let (_folder, gateway) = one(&authority, &upstream, "");
    for (offered, settled) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let caller = Caller::of(&authority, "a.example").alpn(offered);
        let client = caller.connect(gateway.address).expect("a handshake");
        assert_eq!(client.alpn().as_deref(), settled, "{offered:?}");
    }
    let stranger = Caller::of(&authority, "a.example").alpn(&["gopher"]);
    assert!(stranger.connect(gateway.address).is_err());
    // Who asks for nothing speaks HTTP/1.1, whatever it sends first.
    let mut client = Caller::of(&authority, "a.example")
        .connect(gateway.address)
        .unwrap();
    assert_eq!(client.get("/open/x", &[]).unwrap().status, 200);
}

#[test]
fn http_2_is_spoken_with_whoever_asks_for_it() {
    let upstream = Upstream::echo();
    let authority = Authority::new("tests");
    let (_folder, gateway) = one(&authority, &upstream, "");
    let caller = Caller::of(&authority, "a.example").alpn(&["h2"]);
    let (config, name) = caller.parts();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let body = runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(gateway.address).await;
        let stream = tokio_rustls::TlsConnector::from(config)
            .connect(name, socket.unwrap())
            .await
            .expect("a handshake");
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let request = http::Request::get("https://a.example/open/two")
            .body(())
            .unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_body().data().await.unwrap().unwrap()
    });
    assert!(String::from_utf8_lossy(&body).contains("/open/two"));
    let seen = upstream.last();
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("a.example"));
}

#[test]
fn versions_below_the_oldest_that_is_asked_for_are_refused() {
    let upstream = Upstream::echo();
    let authority = Authority::new("tests");
    let (_folder, gateway) = one(&authority, &upstream, "tls_min_version = \"1.3\"");
    let with =
        |version| Caller::with(&authority, "a.example", &[version], None).connect(gateway.address);
    assert!(with(&rustls::version::TLS13).is_ok());
    assert!(with(&rustls::version::TLS12).is_err());
}

#[test]
fn the_end_of_a_connection_is_said_in_tls() {
    let upstream = Upstream::echo();
    let authority = Authority::new("tests");
    let (_folder, gateway) = one(&authority, &upstream, "");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let caller = Caller::with(&authority, "a.example", &[version], None);
        let mut client = caller.connect(gateway.address).unwrap();
        let answer = client.get("/open/x", &["Connection: close"]).unwrap();
        assert_eq!(answer.status, 200);
        // Without `close_notify` this is an error: the answer may have been cut off by someone.
        assert_eq!(client.stream.read(&mut [0; 16]).expect("a clean end"), 0);
    }
}

#[test]
fn a_client_that_leaves_without_a_word_in_tls_is_no_fault() {
    let upstream = Upstream::echo();
    let authority = Authority::new("tests");
    let (_folder, gateway) = one(&authority, &upstream, "");
    let mut client = Caller::of(&authority, "a.example")
        .connect(gateway.address)
        .unwrap();
    assert_eq!(client.get("/open/x", &[]).unwrap().status, 200);
    drop(client);
    gateway.eventually(
        || gateway.status()["connections"].to_string(),
        |connections| connections == "[0,0]",
    );
    let page = gateway.admin("/metrics").text();
    assert!(
        !page.contains("keygate_connections_ended_total{reason=\"io_error\"}"),
        "{page}"
    );
}

#[test]
fn bodies_of_any_size_pass_in_both_directions() {
    let upstream = Upstream::start(|seen, stream| {
        let text = String::from_utf8_lossy(&seen.body).into_owned();
        respond(stream, 200, &[], &text, text.len())
    });
    let authority = Authority::new("tests");
    let (_folder, gateway) = one(&authority, &upstream, "");
    let mut client = Caller::of(&authority, "a.example")
        .connect(gateway.address)
        .unwrap();
    for size in [1, 16 * 1024, 16 * 1024 + 1, 64 * 1024, 3_000_000] {
        let body = "x".repeat(size);
        write!(
            client.stream,
            "POST /open/x HTTP/1.1\r\nHost: a.example\r\nContent-Length: {size}\r\n\r\n{body}"
        )
        .unwrap();
        client.stream.flush().unwrap();
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, size));
        assert!(answer.text() == body, "{size}");
    }
}

#[test]
fn certificates_and_their_ends_are_told() {
    let upstream = Upstream::echo();
    let authority = Authority::new("tests");
    let (folder, gateway) = one(&authority, &upstream, "");
    let status = gateway.status();
    let certificate = &status["certificates"][0];
    let file = folder.path().join("a.pem").display().to_string();
    assert_eq!(certificate["file"], *file);
    assert_eq!(certificate["names"], serde_json::json!(["a.example"]));
    let until = certificate["not_after"].as_i64().unwrap();
    let left = until - Timestamp::now().unix_seconds();
    assert!((29 * 86_400..31 * 86_400).contains(&left), "{left}");
    let line = format!(
        "keygate_certificate_expiry_timestamp_seconds{{file=\"{file}\",name=\"a.example\"}} {until}"
    );
    let page = gateway.admin("/metrics").text();
    assert!(page.contains(&line), "{page}");
}

/// A gateway with a certificate for `a.example`.
fn one(authority: &Authority, upstream: &Upstream, server: &str) -> (Folder, Gateway) {
    let server = format!("tls = {{ cert = \"a.pem\", key = \"a.key\" }}\n{server}");
    let folder = folder(upstream.address, &server, "", ROUTES);
    authority.sign(&["a.example"]).write(folder.path(), "a");
    let gateway = folder.start();
    (folder, gateway)
}
