//! The PROXY protocol in: who the client is then, and what becomes of connections that do not begin with its header.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use support::local::answer;
use support::{Answer, Folder, Gateway, PATIENCE, ROUTES, Upstream};

/// A gateway whose one listener is this, with these peers trusted.
fn folder(upstream: &Upstream, listener: &str, more: &str) -> Folder {
    Folder::with_main(
        &format!(
            r#"
include = ["routes.toml"]
[server]
listen = [{listener}]
workers = 2
{more}
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
[upstreams.chat]
servers = ["http://{}"]
"#,
            upstream.address
        ),
        ROUTES,
    )
}

const LISTENER: &str = r#"{ address = "127.0.0.1:0", proxy_protocol = true }"#;
const REQUEST: &[u8] =
    b"GET /open/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\nConnection: close\r\n\r\n";

/// A header of version 2: TCP over IPv4, from this address.
fn v2(command: u8, source: [u8; 4]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, 0x11, 0, 12]);
    bytes.extend(source);
    bytes.extend([10, 0, 0, 1, 0xC0, 0x01, 0x01, 0xBB]);
    bytes
}

/// What comes back for these pieces, each sent on its own.
fn sent(gateway: &Gateway, pieces: &[&[u8]]) -> Vec<u8> {
    let mut stream = TcpStream::connect(gateway.address).expect("connect");
    stream.set_nodelay(true).expect("nodelay");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    for piece in pieces {
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

fn answered(gateway: &Gateway, pieces: &[&[u8]]) -> Answer {
    answer(&sent(gateway, pieces))
}

/// How many connections were ended for this reason.
fn ended(gateway: &Gateway, reason: &str) -> u64 {
    let metrics = gateway.admin("/metrics").text();
    let wanted = format!("reason=\"{reason}\"}} ");
    let line = metrics.lines().find_map(|line| line.split_once(&wanted));
    line.map_or(0, |(_, count)| count.parse().expect("a number"))
}

#[test]
fn the_client_is_whom_the_header_names_whatever_it_says_itself() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, LISTENER, r#"trusted_proxies = ["127.0.0.0/8"]"#);
    let gateway = folder.start();
    let binary = v2(0x21, [192, 0, 2, 2]);
    for (header, client) in [
        (
            &b"PROXY TCP4 192.0.2.1 10.0.0.1 49153 443\r\n"[..],
            "192.0.2.1",
        ),
        (b"PROXY TCP6 2001:db8::7 ::1 49153 443\r\n", "2001:db8::7"),
        (
            b"PROXY TCP6 ::ffff:192.0.2.3 ::1 49153 443\r\n",
            "192.0.2.3",
        ),
        (&binary, "192.0.2.2"),
    ] {
        assert_eq!(
            answered(&gateway, &[header, REQUEST]).status,
            200,
            "{client}"
        );
        // It is not a trusted peer: what it says of others is not believed.
        assert_eq!(upstream.last().header("x-forwarded-for"), Some(client));
        gateway.wait_for_log(|line| line.contains(&format!(r#""client":"{client}""#)));
    }
}

#[test]
fn a_header_in_pieces_and_a_request_behind_it_in_one_are_the_same() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, LISTENER, r#"trusted_proxies = ["127.0.0.1"]"#);
    let gateway = folder.start();
    for header in [
        b"PROXY TCP4 192.0.2.1 10.0.0.1 1 443\r\n".to_vec(),
        v2(0x21, [192, 0, 2, 1]),
    ] {
        let all = [header.as_slice(), REQUEST].concat();
        for cut in [
            1,
            6,
            13,
            header.len() - 1,
            header.len(),
            header.len() + 1,
            all.len(),
        ] {
            let (first, rest) = all.split_at(cut);
            assert_eq!(
                answered(&gateway, &[first, rest]).status,
                200,
                "cut at {cut}"
            );
            assert_eq!(upstream.last().header("x-forwarded-for"), Some("192.0.2.1"));
        }
    }
    let seen = upstream.seen().len();
    assert_eq!(seen, 14);
}

#[test]
fn a_proxy_that_speaks_for_itself_is_believed_and_an_unnamed_client_is_not() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, LISTENER, r#"trusted_proxies = ["127.0.0.1"]"#);
    let gateway = folder.start();
    let local = v2(0x20, [192, 0, 2, 2]);
    for (header, chain) in [
        (&local[..], "203.0.113.9, 127.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"PROXY UNKNOWN 192.0.2.1 10.0.0.1 1 2\r\n", "127.0.0.1"),
    ] {
        assert_eq!(
            answered(&gateway, &[header, REQUEST]).status,
            200,
            "{chain}"
        );
        assert_eq!(upstream.last().header("x-forwarded-for"), Some(chain));
    }
}

#[test]
fn failed_keys_count_against_the_client_that_the_header_names() {
    let upstream = Upstream::echo();
    let more =
        "trusted_proxies = [\"127.0.0.1\"]\n[limits]\nfailed_auth = { rate = \"1/h\", burst = 1 }";
    let folder = folder(&upstream, LISTENER, more);
    let gateway = folder.start();
    let ask = |last: u8| {
        let request = b"GET /other HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        answered(&gateway, &[&v2(0x21, [192, 0, 2, last]), request]).status
    };
    assert_eq!([ask(1), ask(1), ask(2), ask(2)], [401, 429, 401, 429]);
}

#[test]
fn a_connection_without_the_header_is_closed_and_counted() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, LISTENER, r#"trusted_proxies = ["127.0.0.1"]"#);
    let gateway = folder.start();
    let mut long = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec();
    long.extend(vec![0; 5000]);
    let rows: [&[u8]; 6] = [
        REQUEST,
        b"PROXY TCP4 192.0.2.1 10.0.0.1 1\r\nGET /open/x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 1 443\nGET /open/x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[b'P'; 200],
        &long,
    ];
    for (before, bytes) in rows.iter().enumerate() {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
        assert_eq!(sent(&gateway, &[bytes]), b"", "{shown:?}");
        gateway.eventually(
            || ended(&gateway, "proxy_header"),
            |count| *count == before as u64 + 1,
        );
    }
    // One that ends in the midst of it.
    let stream = TcpStream::connect(gateway.address).expect("connect");
    (&stream).write_all(b"PROXY TCP4 192.").expect("send");
    stream.shutdown(Shutdown::Write).expect("shutdown");
    gateway.eventually(|| ended(&gateway, "proxy_header"), |count| *count == 7);
    assert_eq!(upstream.connections(), 0);
    let line = gateway.wait_for_log(|line| line.contains(r#""outcome":"proxy_header""#));
    assert!(
        line.contains("does not begin with a PROXY header"),
        "{line}"
    );
}

#[test]
fn only_trusted_peers_may_send_the_header() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, LISTENER, r#"trusted_proxies = ["10.0.0.0/8"]"#);
    let gateway = folder.start();
    let header = b"PROXY TCP4 10.0.0.1 10.0.0.1 49153 443\r\n";
    assert_eq!(sent(&gateway, &[header, REQUEST]), b"");
    gateway.eventually(|| ended(&gateway, "proxy_untrusted"), |count| *count == 1);
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_listener_takes_the_version_that_was_asked_for() {
    let upstream = Upstream::echo();
    let (one, two) = (
        b"PROXY TCP4 192.0.2.1 10.0.0.1 1 443\r\n".to_vec(),
        v2(0x21, [192, 0, 2, 1]),
    );
    for (version, good, bad) in [("v1", &one, &two), ("v2", &two, &one)] {
        let listener = format!(r#"{{ address = "127.0.0.1:0", proxy_protocol = "{version}" }}"#);
        let folder = folder(&upstream, &listener, r#"trusted_proxies = ["127.0.0.1"]"#);
        let gateway = folder.start();
        assert_eq!(
            answered(&gateway, &[good, REQUEST]).status,
            200,
            "{version}"
        );
        assert_eq!(sent(&gateway, &[bad, REQUEST]), b"", "{version}");
    }
}

#[test]
fn a_header_that_does_not_come_ends_at_the_deadline_for_a_head() {
    let upstream = Upstream::echo();
    let more = "trusted_proxies = [\"127.0.0.1\"]\n[timeouts]\nhead = \"300ms\"";
    let folder = folder(&upstream, LISTENER, more);
    let gateway = folder.start();
    assert_eq!(sent(&gateway, &[]), b"");
    assert_eq!(sent(&gateway, &[b"PROXY TCP4 192.0.2.1"]), b"");
    assert_eq!(
        sent(&gateway, &[b"PROXY TCP4 192.0.2.1 10.0.0.1 1 443\r\n"]),
        b""
    );
    gateway.eventually(|| ended(&gateway, "head_timeout"), |count| *count == 3);
}

#[test]
fn a_proxy_on_a_unix_socket_names_clients_by_address() {
    let upstream = Upstream::echo();
    let listener = r#"{ address = "unix:gate.sock", proxy_protocol = "v2" }"#;
    let folder = folder(&upstream, listener, r#"trusted_proxies = ["unix"]"#);
    let _gateway = folder.start();
    let mut stream = UnixStream::connect(folder.path().join("gate.sock")).expect("connect");
    stream.write_all(&v2(0x21, [192, 0, 2, 1])).expect("send");
    stream.write_all(REQUEST).expect("send");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    assert_eq!(answer(&bytes).status, 200);
    assert_eq!(upstream.last().header("x-forwarded-for"), Some("192.0.2.1"));
}

#[test]
fn who_may_send_the_header_is_judged_with_the_configuration() {
    let upstream = Upstream::echo();
    let unix = r#"{ address = "unix:gate.sock", proxy_protocol = true }"#;
    for (listener, more, status, expected) in [
        (
            LISTENER,
            "",
            0,
            "warning: whoever connects to 127.0.0.1:0 chooses the address",
        ),
        (
            unix,
            r#"trusted_proxies = ["10.0.0.0/8"]"#,
            2,
            "add \"unix\" to `server.trusted_proxies`",
        ),
        (
            r#"{ address = "127.0.0.1:0", proxy_protocol = "v3" }"#,
            "",
            2,
            "`server.listen.proxy_protocol` is none of \"v1\", \"v2\"",
        ),
    ] {
        let folder = folder(&upstream, listener, more);
        let output = folder.keygate(&["check"]);
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(said.contains(expected), "{said}");
    }
}
