//! What passes through: bodies both ways as they come, connections kept, and the head as the upstream and the client
//! should see it.

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;
use support::scripted::{Got, Peer, Scripted, count_answer, outcome};
use support::{Folder, Gateway, ROUTES, Upstream};

fn gateway(upstream: std::net::SocketAddr, main: &str) -> (Folder, Gateway) {
    let folder = Folder::new(upstream, main, ROUTES);
    let gateway = folder.start();
    (folder, gateway)
}

/// The most memory that the process ever had, in KiB.
fn peak_memory(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("proc");
    let line = status
        .lines()
        .find(|l| l.starts_with("VmHWM:"))
        .expect("VmHWM");
    line.split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("KiB")
}

const PIECE: usize = 1 << 18;

/// Answers `/open/down/{framing}/{bytes}` with so many bytes, and everything else with the number of bytes that came.
fn bulk() -> Scripted {
    Scripted::start(|mut peer| {
        while let Some(head) = peer.head() {
            let target = Peer::target(&head).to_owned();
            let words: Vec<&str> = target.split('/').collect();
            if words[2] == "down" {
                let bytes: usize = words[4].parse().expect("bytes");
                let piece = vec![b'x'; PIECE];
                if words[3] == "length" {
                    peer.send(format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n"
                    ));
                    (0..bytes / PIECE).for_each(|_| assert!(peer.send(&piece)));
                } else {
                    peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                    for _ in 0..bytes / PIECE {
                        peer.send(format!("{PIECE:x}\r\n"));
                        peer.send(&piece);
                        peer.send("\r\n");
                    }
                    peer.send("0\r\n\r\n");
                }
            } else {
                let expected = words[4].parse().expect("bytes");
                let whole = peer.count_body((words[3] == "length").then_some(expected));
                peer.answer(&whole.to_string());
            }
        }
    })
}

#[test]
fn bodies_of_any_size_pass_both_ways_in_constant_memory() {
    let upstream = bulk();
    let (_folder, gateway) = gateway(upstream.address, "[limits]\nbody_bytes = \"1GiB\"\n");
    let mut client = gateway.connect();
    let small = 4 * PIECE;
    let large = 300 << 20;
    let mut before = 0;
    for bytes in [small, large] {
        for framing in ["length", "chunks"] {
            client.send(format!(
                "GET /open/down/{framing}/{bytes} HTTP/1.1\r\nHost: a\r\n\r\n"
            ));
            let (status, _) = client.try_head().expect("an answer");
            assert_eq!(status, 200);
            let length = (framing == "length").then_some(bytes as u64);
            assert_eq!(count_answer(&mut client, length), bytes as u64);
            let piece = vec![b'y'; PIECE];
            let path = format!("/open/up/{framing}/{bytes}");
            if framing == "length" {
                client.send(format!(
                    "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n"
                ));
                (0..bytes / PIECE).for_each(|_| client.send(&piece));
            } else {
                client.send(format!(
                    "POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                ));
                for _ in 0..bytes / PIECE {
                    client.send(format!("{PIECE:x}\r\n"));
                    client.send(&piece);
                    client.send("\r\n");
                }
                client.send("0\r\n\r\n");
            }
            let answer = client.answer(false);
            assert_eq!(
                (answer.status, answer.text()),
                (200, bytes.to_string()),
                "{framing}"
            );
        }
        if bytes == small {
            before = peak_memory(&gateway);
        }
    }
    // The kernel's counts are approximate: the peak may even seem to have fallen.
    let grown = peak_memory(&gateway).saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB for bodies of {large} bytes");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn bytes_pass_as_they_come() {
    let (go_on, may_go_on) = sync_channel::<()>(1);
    let (arrived, has_arrived) = sync_channel::<Vec<u8>>(1);
    let may_go_on = Mutex::new(may_go_on);
    let upstream = Scripted::start(move |mut peer| {
        while let Some(head) = peer.head() {
            if head.starts_with("POST") {
                let mut buffer = [0; 64];
                let mut got = Vec::new();
                while !got.ends_with(b"0\r\n\r\n") {
                    let n = peer.read_some(&mut buffer);
                    got.extend_from_slice(&buffer[..n]);
                    if got.ends_with(b"first\r\n") {
                        arrived.send(got.clone()).expect("the test listens");
                    }
                }
                peer.answer("whole");
            } else {
                peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                for word in ["one", "two", "six"] {
                    peer.send(format!("3\r\n{word}\r\n"));
                    may_go_on
                        .lock()
                        .unwrap()
                        .recv()
                        .expect("the test has read it");
                }
                peer.send("0\r\n\r\n");
            }
        }
    });
    let (_folder, gateway) = gateway(upstream.address, "");
    let mut client = gateway.connect();
    // Down: each word is read before the next one is sent.
    client.send("GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.try_head().expect("a head").0, 200);
    for word in ["3\r\none\r\n", "3\r\ntwo\r\n", "3\r\nsix\r\n"] {
        let mut got = Vec::new();
        while got.len() < word.len() {
            let mut byte = [0];
            assert_eq!(client.read_some(&mut byte).expect("a byte"), 1);
            got.push(byte[0]);
        }
        assert_eq!(got, word.as_bytes());
        go_on.send(()).expect("the upstream waits");
    }
    assert!(client.chunks().expect("the end").is_empty());
    // Up: the first piece has arrived before the second is sent.
    client.send(
        "POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
    );
    has_arrived.recv().expect("the first piece");
    client.send("6\r\nsecond\r\n0\r\n\r\n");
    assert_eq!(client.answer(false).text(), "whole");
}

#[test]
fn connections_are_kept_on_both_sides() {
    let upstream = Upstream::echo();
    let (_folder, gateway) = gateway(upstream.address, "");
    let mut client = gateway.connect();
    for n in 0..100 {
        let method = ["GET", "POST", "HEAD", "DELETE"][n % 4];
        let body = if n % 4 == 1 { "body" } else { "" };
        let answer = client.call(&format!("{method} /open/{n}"), &[], body);
        assert_eq!(answer.status, 200);
        if method != "HEAD" {
            assert_eq!(answer.json()["target"], format!("/open/{n}"));
        }
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn answers_without_a_body_have_none_and_keep_the_connection() {
    let upstream = Scripted::start(|mut peer| {
        while let Some(head) = peer.head() {
            let sent = match Peer::target(&head) {
                "/open/length" => "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n",
                "/open/chunked" => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
                "/open/204" => "HTTP/1.1 204 No Content\r\nx: y\r\n\r\n",
                "/open/304" => {
                    "HTTP/1.1 304 Not Modified\r\netag: \"e\"\r\ncontent-length: 77\r\n\r\n"
                }
                "/open/0" => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            };
            peer.send(sent);
        }
    });
    let (_folder, gateway) = gateway(upstream.address, "");
    let mut client = gateway.connect();
    for (line, status, length) in [
        ("HEAD /open/length", 200, Some("1234")),
        ("HEAD /open/chunked", 200, None),
        ("GET /open/204", 204, None),
        ("GET /open/304", 304, None),
        ("HEAD /open/304", 304, None),
        ("GET /open/0", 200, Some("0")),
    ] {
        let answer = client.call(line, &[], "");
        assert_eq!(answer.status, status, "{line}");
        if length.is_some() || status == 200 {
            assert_eq!(answer.header("content-length"), length, "{line}");
        }
        let next = client.call("GET /open/ok", &[], "");
        assert_eq!(next.text(), "ok", "after {line}");
    }
    // Its own refusals to HEAD have no body either.
    let refused = client.call("HEAD /v3/x", &[], "");
    assert_eq!((refused.status, refused.body.len()), (401, 0));
    assert_eq!(client.call("GET /open/ok", &[], "").text(), "ok");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_client_is_told_to_continue_only_when_its_request_goes_up() {
    let upstream = Upstream::echo();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let key = folder.new_key("Rest API Key", "fullAccess");
    let gateway = folder.start();
    let head = |path: &str, more: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\n{more}Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
    };
    let mut client = gateway.connect();
    for path in ["/v3/x", "/apikeys"] {
        client.send(head(path, &format!("apikey: {key}\r\n")));
        assert_eq!(
            client.try_head().expect("an interim answer").0,
            100,
            "{path}"
        );
        client.send("body");
        let answer = client.answer(false);
        assert_eq!(answer.status, if path == "/v3/x" { 200 } else { 400 });
    }
    assert_eq!(upstream.last().body, b"body");
    assert_eq!(upstream.last().header("expect"), None);
    for (path, more, status) in [
        ("/v3/x", String::new(), 401),
        ("/closed", format!("apikey: {key}\r\n"), 403),
        ("/nowhere", format!("apikey: {key}\r\n"), 404),
        ("/open/../x", String::new(), 400),
    ] {
        let mut client = gateway.connect();
        client.send(head(path, &more));
        assert_eq!(client.try_head().expect("an answer").0, status, "{path}");
    }
    for other in ["100-continue, more", "200-ok", ""] {
        let answer = gateway.call("POST /open/x", &[&format!("Expect: {other}")], "body");
        assert_eq!(answer.status, 417, "{other:?}");
    }
    // An upstream that cannot be reached takes no body.
    let down = TcpListener::bind("127.0.0.1:0")
        .expect("a free port")
        .local_addr()
        .expect("an address");
    let folder = Folder::new(down, "", ROUTES);
    let gateway = folder.start();
    let mut client = gateway.connect();
    client.send(head("/open/x", ""));
    assert_eq!(client.try_head().expect("an answer").0, 502);
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn a_client_that_goes_takes_its_request_with_it() {
    let (begun, has_begun) = sync_channel(1);
    let (ended, has_ended) = sync_channel(1);
    let upstream = Scripted::start(move |mut peer| {
        while let Some(head) = peer.head() {
            match Peer::target(&head) {
                "/open/before-head" => {
                    begun.send(()).expect("the test listens");
                    peer.wait_for_end();
                }
                "/open/mid-body" => {
                    peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                    begun.send(()).expect("the test listens");
                    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
                    while peer.send(&chunk) {}
                }
                "/open/quiet-stream" => {
                    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsome");
                    begun.send(()).expect("the test listens");
                    peer.wait_for_end();
                }
                "/open/upload" => {
                    begun.send(()).expect("the test listens");
                    assert_eq!(peer.body(&head), None, "half a body is not a body");
                }
                target => {
                    peer.answer(target);
                    continue;
                }
            }
            ended.send(()).expect("the test listens");
            return;
        }
    });
    let (_folder, gateway) = gateway(upstream.address, "");
    for (method, path) in [
        ("GET", "/open/before-head"),
        ("GET", "/open/mid-body"),
        ("GET", "/open/quiet-stream"),
        ("POST", "/open/upload"),
    ] {
        for warm in [false, true] {
            let mut client = gateway.connect();
            if warm {
                assert_eq!(client.call("GET /open/warm", &[], "").status, 200);
            }
            client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n"));
            client.send(if method == "POST" {
                "Content-Length: 100\r\n\r\nhalf"
            } else {
                "\r\n"
            });
            has_begun.recv().expect("the upstream has it");
            drop(client);
            has_ended
                .recv()
                .expect("the upstream hears that it is over");
        }
    }
    let metrics = gateway.eventually(
        || gateway.admin("/metrics").text(),
        |page| page.lines().any(|l| l == "keygate_connections 0"),
    );
    let gone: u64 = metrics
        .lines()
        .filter(|l| l.starts_with("keygate_requests_total") && l.contains("client_gone"))
        .map(|l| {
            l.rsplit(' ')
                .next()
                .expect("a value")
                .parse::<u64>()
                .expect("a number")
        })
        .sum();
    assert!(gone >= 4, "{metrics}");
}

#[test]
fn answers_of_unknown_length_are_chunked_or_end_with_the_connection() {
    let upstream = Scripted::start(|mut peer| {
        if peer.head().is_some() {
            peer.send("HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nuntil the end");
        }
    });
    let (_folder, gateway) = gateway(upstream.address, "");
    let mut client = gateway.connect();
    for _ in 0..3 {
        let answer = client.call("GET /open/x", &[], "");
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        assert_eq!(answer.text(), "until the end");
    }
    let mut old = gateway.connect();
    old.send("GET /open/x HTTP/1.0\r\nHost: a\r\n\r\n");
    let answer = old.answer(false);
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!(answer.header("content-length"), None);
    assert_eq!(answer.text(), "until the end");
}

#[test]
fn a_client_of_http_1_0_is_served() {
    let upstream = Upstream::echo();
    let (_folder, gateway) = gateway(upstream.address, "");
    let mut client = gateway.connect();
    client.send("GET /open/x HTTP/1.0\r\nHost: a\r\n\r\n");
    let answer = client.answer(false);
    assert_eq!(
        (answer.status, &answer.json()["target"]),
        (200, &"/open/x".into())
    );
    assert!(client.is_closed());
    assert!(upstream.last().line.ends_with("HTTP/1.1"));
    let mut client = gateway.connect();
    for _ in 0..3 {
        client.send("POST /open/x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\nbody");
        let answer = client.answer(false);
        assert_eq!(answer.json()["body"], "body");
        assert_eq!(answer.header("connection"), Some("keep-alive"));
    }
}

#[test]
fn pipelined_requests_get_their_answers_in_order() {
    let upstream = Upstream::echo();
    let (_folder, gateway) = gateway(upstream.address, "");
    let mut client = gateway.connect();
    let mut text = String::new();
    let count = 60;
    for n in 0..count {
        text.push_str(&match n % 4 {
            0 => format!("GET /open/{n} HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 => format!("POST /open/{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"),
            2 => format!("POST /open/{n} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"),
            _ => format!("GET /v3/{n} HTTP/1.1\r\nHost: a\r\n\r\n"),
        });
    }
    client.send(text);
    for n in 0..count {
        let answer = client.answer(false);
        if n % 4 == 3 {
            assert_eq!(answer.status, 401, "{n}");
        } else {
            assert_eq!(answer.json()["target"], format!("/open/{n}"));
        }
    }
    let targets: Vec<String> = upstream
        .seen()
        .iter()
        .map(|s| s.target().to_owned())
        .collect();
    let expected: Vec<String> = (0..count)
        .filter(|n| n % 4 != 3)
        .map(|n| format!("/open/{n}"))
        .collect();
    assert_eq!(targets, expected);
}

#[test]
fn the_length_of_a_body_goes_on_as_it_came() {
    let upstream = Upstream::echo();
    let (_folder, gateway) = gateway(upstream.address, "");
    let mut client = gateway.connect();
    for (line, framing, body, length, coding) in [
        ("GET", "", "", None, None),
        ("DELETE", "", "", None, None),
        ("POST", "Content-Length: 0\r\n", "", Some("0"), None),
        ("POST", "Content-Length: 4\r\n", "body", Some("4"), None),
        ("GET", "Content-Length: 2\r\n", "[]", Some("2"), None),
        ("DELETE", "Content-Length: 2\r\n", "{}", Some("2"), None),
        (
            "GET",
            "Transfer-Encoding: chunked\r\n",
            "2\r\n[]\r\n0\r\n\r\n",
            None,
            Some("chunked"),
        ),
        (
            "POST",
            "Transfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
            None,
            Some("chunked"),
        ),
    ] {
        client.send(format!(
            "{line} /open/x HTTP/1.1\r\nHost: a\r\n{framing}\r\n{body}"
        ));
        assert_eq!(client.answer(false).status, 200, "{line} {framing}");
        let seen = upstream.last();
        assert_eq!(seen.header("content-length"), length, "{line} {framing}");
        assert_eq!(seen.header("transfer-encoding"), coding, "{line} {framing}");
        let whole = if coding.is_some() && body.starts_with('2') {
            "[]"
        } else if coding.is_some() {
            ""
        } else {
            body
        };
        assert_eq!(seen.body, whole.as_bytes(), "{line} {framing}");
    }
}

#[test]
fn the_upstream_is_told_who_asks_and_by_whom() {
    let upstream = Upstream::echo();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let key = folder.new_key("100% K\u{e4}se \u{1F9C0}", "fullAccess");
    let gateway = folder.start();
    let mut ids = BTreeSet::new();
    let mut client = gateway.connect();
    for _ in 0..20 {
        let answer = client.call(
            "GET /v3/x",
            &[
                &format!("APIKEY: {key}"),
                "Via: 1.0 before",
                "onBehalfOf: cyclops1",
            ],
            "",
        );
        let seen = upstream.last();
        let id = answer.header("x-request-id").expect("an id").to_owned();
        assert_eq!(seen.header("x-request-id"), Some(id.as_str()));
        assert_eq!(id.len(), 32);
        assert!(
            id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
            "{id}"
        );
        ids.insert(id);
        let via: Vec<&str> = seen
            .headers
            .iter()
            .filter(|(n, _)| n == "via")
            .map(|(_, v)| v.as_str())
            .collect();
        assert_eq!(via, ["1.0 before", "1.1 keygate"]);
        assert_eq!(
            seen.header("x-keygate-key-name"),
            Some("100%25%20K%C3%A4se%20%F0%9F%A7%80")
        );
        assert_eq!(seen.header("x-keygate-scope"), Some("fullAccess"));
        assert_eq!(seen.header("x-keygate-key-id").map(str::len), Some(20));
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
        assert_eq!(seen.header("x-forwarded-host"), Some("gateway.test"));
        assert_eq!(
            seen.header("host"),
            Some(upstream.address.to_string().as_str())
        );
        assert_eq!(seen.header("onbehalfof"), Some("cyclops1"));
        assert_eq!(seen.header("apikey"), None);
    }
    assert_eq!(ids.len(), 20);
    let refused = client.call("GET /v3/x", &["X-Request-Id: chosen-by-client"], "");
    assert_eq!(refused.header("x-request-id").map(str::len), Some(32));
}

#[test]
fn a_trusted_proxy_is_believed() {
    let upstream = Upstream::echo();
    let folder = Folder::with_main(
        &format!(
            r#"
include = ["routes.toml"]
[server]
listen = ["127.0.0.1:0"]
workers = 1
trusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"]
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
[keys]
store = "sqlite:data/keygate.db"
secret = "secret/master"
[upstreams.chat]
servers = ["http://{}"]
"#,
            upstream.address
        ),
        ROUTES,
    );
    let gateway = folder.start();
    for (sent, chain, client) in [
        ("X-A: b", "127.0.0.1", "127.0.0.1"),
        (
            "X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.0.0.7",
            "1.2.3.4, 10.0.0.7, 127.0.0.1",
            "1.2.3.4",
        ),
        (
            "X-Forwarded-For: 1.2.3.4, nonsense",
            "127.0.0.1",
            "127.0.0.1",
        ),
    ] {
        let id = "0123-abc.DEF_id";
        let answer = gateway.call(
            "GET /open/x",
            &[
                sent,
                &format!("X-Request-Id: {id}"),
                "X-Forwarded-Proto: https",
            ],
            "",
        );
        assert_eq!(answer.header("x-request-id"), Some(id));
        let seen = upstream.last();
        assert_eq!(seen.header("x-request-id"), Some(id));
        assert_eq!(seen.header("x-forwarded-for"), Some(chain), "{sent}");
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        gateway.wait_for_log(|l| {
            l.contains("keygate::access") && l.contains(&format!("\"client\":\"{client}\""))
        });
    }
    for id in ["short", "with blank", &"x".repeat(65), "semi;colon"] {
        let answer = gateway.call("GET /open/x", &[&format!("X-Request-Id: {id}")], "");
        assert_eq!(
            answer.header("x-request-id").map(str::len),
            Some(32),
            "{id}"
        );
    }
}

#[test]
fn an_upstream_gets_the_host_and_the_credential_that_it_is_configured_with() {
    let upstream = Upstream::echo();
    let server = upstream.address;
    let folder = Folder::new(
        server,
        &format!(
            r#"
[upstreams.own]
servers = ["http://{server}"]
host = "upstream"
headers.set = {{ apikey = "${{file:credential}}", x-from-env = "${{env:PATH}}" }}
[upstreams.clients]
servers = ["http://{server}"]
host = "client"
headers.set = {{ Authorization = "Bearer literal" }}
[upstreams.named]
servers = ["http://{server}"]
host = "Chat.Example:8443"
"#
        ),
        r#"
[scopes]
fullAccess = []
[[routes]]
path = "/own/{*rest}"
upstream = "own"
scope = "fullAccess"
[[routes]]
path = "/clients/{*rest}"
upstream = "clients"
access = "public"
[[routes]]
path = "/named/{*rest}"
upstream = "named"
strip_prefix = "/named"
add_prefix = "/base"
access = "public"
"#,
    );
    folder.write("credential", "of-the-upstream\n");
    let key = folder.new_key("Rest API Key", "fullAccess");
    let gateway = folder.start();
    let mut client = gateway.connect();
    let claims = [
        format!("apikey: {key}"),
        "Authorization: of the client".to_owned(),
        "X-From-Env: evil".to_owned(),
    ];
    let claims: Vec<&str> = claims.iter().map(String::as_str).collect();
    let own = server.to_string();
    let path_variable = std::env::var("PATH").expect("PATH is set");
    for (path, target, host, apikey, authorization, env) in [
        (
            "/own/x",
            "/own/x",
            own.as_str(),
            Some("of-the-upstream"),
            "of the client",
            Some(path_variable.as_str()),
        ),
        (
            "/clients/x",
            "/clients/x",
            "gateway.test",
            None,
            "Bearer literal",
            Some("evil"),
        ),
        (
            "/named/x?q",
            "/base/x?q",
            "Chat.Example:8443",
            None,
            "of the client",
            Some("evil"),
        ),
    ] {
        let answer = client.call(&format!("GET {path}"), &claims, "");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let seen = upstream.last();
        assert_eq!(seen.target(), target);
        let hosts: Vec<&(String, String)> =
            seen.headers.iter().filter(|(n, _)| n == "host").collect();
        assert_eq!(hosts.len(), 1);
        assert!(hosts[0].1.eq_ignore_ascii_case(host), "{path}: {hosts:?}");
        assert_eq!(seen.header("apikey"), apikey, "{path}");
        assert_eq!(seen.header("authorization"), Some(authorization), "{path}");
        assert_eq!(seen.header("x-from-env"), env, "{path}");
    }
    assert!(!String::from_utf8_lossy(&upstream.raw()).contains(&key));
    assert!(!gateway.log().contains("of-the-upstream"));
}

#[test]
fn connections_are_spread_evenly_over_workers() {
    let upstream = Upstream::echo();
    let (_folder, gateway) = gateway(upstream.address, "");
    let mut clients: Vec<_> = (0..16).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.call("GET /open/x", &[], "").status, 200);
    }
    assert_eq!(
        gateway.admin("/status").json()["connections"],
        serde_json::json!([8, 8])
    );
    clients.truncate(6);
    gateway.eventually(
        || gateway.admin("/status").json()["connections"].clone(),
        |open| {
            open.as_array()
                .expect("a list")
                .iter()
                .map(|n| n.as_u64().unwrap_or(0))
                .sum::<u64>()
                == 6
        },
    );
    let _more: Vec<_> = (0..10).map(|_| gateway.connect()).collect();
    gateway.eventually(
        || gateway.admin("/status").json()["connections"].clone(),
        |open| *open == serde_json::json!([8, 8]),
    );
}

#[test]
fn a_body_over_the_limit_is_413_and_never_whole_upstream() {
    let upstream = Upstream::echo();
    let (_folder, gateway) = gateway(upstream.address, "[limits]\nbody_bytes = \"1KiB\"\n");
    let at_limit = "x".repeat(1024);
    let answer = gateway.call("POST /open/x", &[], &at_limit);
    assert_eq!(answer.status, 200);
    let over = "x".repeat(1025);
    assert_eq!(gateway.call("POST /open/x", &[], &over).status, 413);
    let mut client = gateway.connect();
    let chunked = "POST /open/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(format!("{chunked}400\r\n{at_limit}\r\n0\r\n\r\n"));
    assert_eq!(client.answer(false).status, 200);
    let _ = client
        .stream
        .write_all(format!("{chunked}401\r\n{over}\r\n0\r\n\r\n").as_bytes());
    let got = outcome(&mut client, false);
    assert!(
        matches!(&got, Got::Whole(answer) if answer.status == 413),
        "{got:?}"
    );
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn the_head_of_an_answer_may_be_large_but_not_boundless() {
    let upstream = Scripted::start(|mut peer| {
        while let Some(head) = peer.head() {
            let size: usize = Peer::target(&head)[6..].parse().expect("a size");
            let filler = "x".repeat(size);
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nx-filler: {filler}\r\ncontent-length: 2\r\n\r\nok"
            ));
        }
    });
    let (_folder, gateway) = gateway(upstream.address, "");
    let mut client = gateway.connect();
    for (size, status) in [
        (10, 200),
        (60_000, 200),
        (70_000, 502),
        (1 << 20, 502),
        (10, 200),
    ] {
        let answer = client.call(&format!("GET /open/{size}"), &[], "");
        assert_eq!(answer.status, status, "{size}");
    }
}
