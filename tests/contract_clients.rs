//! What clients do that a gateway must survive, and what the upstream is told of them: the contract's last section, through
//! real sockets.

mod support;

use std::io::Write;
use support::{Answer, Folder, Gateway, Upstream, respond};

/// The sample of the contract: a public login beside keyed routes, with both version prefixes.
const ROUTES: &str = r#"
prefix = ["/v3", "/v3.0"]
[scopes]
authOnly = []
fullAccess = ["authOnly"]
[defaults]
upstream = "chat"
[[routes]]
path = "/me"
methods = ["PUT"]
access = "public"
[[routes]]
path = "/users/{uid}/auth_tokens"
methods = ["POST"]
scope = "authOnly"
[[routes]]
path = "/{*rest}"
scope = "fullAccess"
"#;

struct House {
    upstream: Upstream,
    gateway: Gateway,
    key: String,
    folder: Folder,
}

impl House {
    fn before(upstream: Upstream) -> House {
        let folder = Folder::new(upstream.address, "", ROUTES);
        let key = folder.new_key("Rest API Key", "fullAccess");
        House {
            gateway: folder.start(),
            upstream,
            key: format!("apikey: {key}"),
            folder,
        }
    }

    fn ask(&self, request: &str, headers: &[&str], body: &str) -> Answer {
        let mut all = vec![self.key.as_str()];
        all.extend_from_slice(headers);
        self.gateway.call(request, &all, body)
    }
}

/// Bytes that are not the same anywhere: a gateway that loses, doubles or reorders some is found out.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn bodies_go_up_with_every_method_as_they_came() {
    let house = House::before(Upstream::echo());
    let json = "application/json";
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(64 * 1024));
    for (request, body) in [
        ("GET /v3/users?perPage=10", "[]"),
        ("GET /v3.0/users", "[]"),
        ("DELETE /v3/users/cyclops2", r#"{"permanent":true}"#),
        ("DELETE /v3/groups/g/members", r#"["a","b"]"#),
        ("PATCH /v3/messages/1/interacted", "{}"),
        ("OPTIONS /v3/x", "{}"),
        ("POST /v3/messages", &*large),
        ("PUT /v3/users/cyclops2", &*large),
    ] {
        let (method, target) = request.split_once(' ').expect("method and target");
        let kind = format!("Content-Type: {json}");
        let answer = house.ask(request, &[&kind], body);
        assert_eq!(answer.status, 200, "{request}: {}", answer.text());
        let seen = house.upstream.last();
        assert_eq!(
            seen.line,
            format!("{method} {target} HTTP/1.1"),
            "{request}"
        );
        assert_eq!(seen.body, body.as_bytes(), "{request}");
        assert_eq!(seen.header("content-type"), Some(json), "{request}");
        let length = body.len().to_string();
        assert_eq!(seen.header("content-length"), Some(&*length), "{request}");
        assert_eq!(seen.header("transfer-encoding"), None, "{request}");

        // The same in two chunks.
        let (first, second) = body.split_at(body.len() / 2);
        let mut client = house.gateway.connect();
        client.send(format!(
            "{request} HTTP/1.1\r\nHost: a\r\n{}\r\nTransfer-Encoding: chunked\r\n\r\n",
            house.key
        ));
        client.send(format!(
            "{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
            first.len(),
            second.len()
        ));
        assert_eq!(client.answer(false).status, 200, "{request}, chunked");
        let seen = house.upstream.last();
        assert_eq!(
            seen.header("transfer-encoding"),
            Some("chunked"),
            "{request}"
        );
        assert_eq!(seen.header("content-length"), None, "{request}");
        let text = String::from_utf8(seen.body).expect(request);
        assert_eq!(text, body, "{request}, chunked");
    }
    let none = house.ask("GET /v3/users", &[], "");
    assert_eq!(none.status, 200);
    let seen = house.upstream.last();
    assert_eq!(seen.header("content-length"), None, "no body, no length");
    assert_eq!(seen.header("transfer-encoding"), None);
}

#[test]
fn an_emoji_is_a_segment_and_a_query_goes_on_byte_for_byte() {
    let house = House::before(Upstream::echo());
    for (target, expected) in [
        ("/v3/messages/12/reactions/%F0%9F%98%8A", ""),
        (
            "/v3/messages/12/reactions/%f0%9f%98%8a",
            "/v3/messages/12/reactions/%F0%9F%98%8A",
        ),
        ("/v3/messages/12/reactions/%E2%9D%A4%EF%B8%8F", ""),
        ("/v3/users/%D0%B6%20%2B%40", ""),
        ("/v3/users/a%2Db%7E", "/v3/users/a-b~"),
        ("/v3/users/a@b:c,d!$&'()*+=", ""),
        ("/v3/users?tags[]=a&x=%zz%2F..;//%25&&=", ""),
        ("/v3/users?", ""),
        ("/v3/users??a=/../b", ""),
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = house.ask(&format!("{method} {target}"), &[], "");
            assert_eq!(answer.status, 200, "{target}: {}", answer.text());
            let expected = if expected.is_empty() {
                target
            } else {
                expected
            };
            assert_eq!(
                house.upstream.last().target(),
                expected,
                "{method} {target}"
            );
        }
    }
}

#[test]
fn odd_headers_of_an_answer_do_no_harm() {
    let upstream = Upstream::start(|seen, stream| match seen.target() {
        "/v3/upgrade" => {
            let headers = [
                "Upgrade: h2,h2c",
                "Connection: Upgrade",
                "content-encoding: none",
            ];
            respond(stream, 200, &headers, "[1]", 3)
        }
        "/v3/keep" => {
            let headers = [
                "Upgrade: h2,h2c",
                "Connection: Upgrade, Keep-Alive",
                "Keep-Alive: timeout=5, max=100",
            ];
            respond(stream, 200, &headers, "[2]", 3)
        }
        "/v3/none" => respond(
            stream,
            404,
            &[
                "Content-Encoding: none",
                "X-Powered-By: PHP/8.1",
                "Set-Cookie: a=b",
                "Set-Cookie: c=d",
            ],
            "[3]",
            3,
        ),
        "/v3/end" => {
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Encoding: none\r\n\r\n[4]");
            false
        }
        "/v3/continue" => {
            let _ = stream.write_all(
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n",
            );
            respond(stream, 200, &[], "[5]", 3)
        }
        _ => respond(stream, 200, &[], "[]", 2),
    });
    let house = House::before(upstream);
    let mut client = house.gateway.connect();
    for _ in 0..2 {
        for (target, status, body, encoding) in [
            ("/v3/upgrade", 200, "[1]", Some("none")),
            ("/v3/keep", 200, "[2]", None),
            ("/v3/none", 404, "[3]", Some("none")),
            ("/v3/end", 200, "[4]", Some("none")),
            ("/v3/continue", 200, "[5]", None),
        ] {
            let answer = client.call(&format!("GET {target}"), &[&house.key], "");
            assert_eq!((answer.status, &*answer.text()), (status, body), "{target}");
            assert_eq!(answer.header("content-encoding"), encoding, "{target}");
            for name in ["upgrade", "connection", "keep-alive"] {
                assert_eq!(answer.header(name), None, "{target}: hop by hop");
            }
            let cookies = answer
                .headers
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
            assert_eq!(
                cookies.count(),
                if target == "/v3/none" { 2 } else { 0 },
                "{target}"
            );
        }
    }
    // A client may offer to upgrade, too: that is between it and the gateway.
    for headers in [
        &[
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        ][..],
        &["Connection: keep-alive", "Upgrade: h2,h2c"],
    ] {
        let answer = house.ask("GET /v3/x", headers, "");
        assert_eq!(answer.status, 200, "{headers:?}");
        let seen = house.upstream.last();
        for name in ["upgrade", "http2-settings", "keep-alive"] {
            assert_eq!(seen.header(name), None, "{headers:?}");
        }
    }
}

#[test]
fn large_bodies_stream_both_ways_and_arrive_whole() {
    const SIZE: usize = 20 << 20;
    let upstream = Upstream::start(|seen, stream| {
        let hash = blake3::hash(&seen.body).to_hex();
        let header = format!("x-hash: {hash}");
        if seen.target() == "/v3/echo" {
            let head = format!("HTTP/1.1 200 OK\r\n{header}\r\nTransfer-Encoding: chunked\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
            for chunk in seen.body.chunks(100_000) {
                let size = format!("{:x}\r\n", chunk.len());
                let sent = [size.as_bytes(), chunk, b"\r\n"]
                    .iter()
                    .try_for_each(|part| stream.write_all(part));
                if sent.is_err() {
                    return false;
                }
            }
            return stream.write_all(b"0\r\n\r\n").is_ok();
        }
        respond(stream, 200, &[&header], "{}", 2)
    });
    let house = House::before(upstream);
    let boundary = "----keygate";
    let mut body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n"
    )
    .into_bytes();
    body.extend(noise(SIZE));
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    let hash = blake3::hash(&body).to_hex().to_string();
    let mut client = house.gateway.connect();
    for (target, chunked) in [
        ("/v3/files", false),
        ("/v3/files", true),
        ("/v3/echo", false),
        ("/v3/echo", true),
    ] {
        let framing = if chunked {
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {}", body.len())
        };
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\n{}\r\nContent-Type: multipart/form-data; boundary={boundary}\r\n{framing}\r\n\r\n",
            house.key
        ));
        if chunked {
            for chunk in body.chunks(77_777) {
                client.send(format!("{:x}\r\n", chunk.len()));
                client.send(chunk);
                client.send("\r\n");
            }
            client.send("0\r\n\r\n");
        } else {
            client.send(&body);
        }
        let answer = client.answer(false);
        let row = format!("{target}, chunked: {chunked}");
        assert_eq!(answer.status, 200, "{row}: {}", answer.text());
        assert_eq!(answer.header("x-hash"), Some(&*hash), "{row}: up");
        if target == "/v3/echo" {
            assert_eq!(
                blake3::hash(&answer.body).to_hex().as_str(),
                hash,
                "{row}: down"
            );
        }
    }
}

#[test]
fn the_upstream_is_told_whose_key_it_was_and_nothing_that_a_client_made_up() {
    let house = House::before(Upstream::echo());
    let forged = [
        "X-Keygate-Key-Id: aaaaaaaaaaaaaaaaaaaa",
        "x-keygate-key-name: root",
        "X-KEYGATE-SCOPE: root",
        "X-Keygate-Other: 1",
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Proto: https",
        "Forwarded: for=192.0.2.1",
        "X-Real-IP: 192.0.2.1",
        "X-Original-URL: /v3/admin",
        "X-HTTP-Method-Override: DELETE",
        "X-Request-Id: mine-mine-mine",
        "Proxy-Authorization: Basic eDp5",
        "Proxy: evil",
    ];
    let gone = [
        "x-keygate-other",
        "forwarded",
        "x-real-ip",
        "x-original-url",
        "x-http-method-override",
        "proxy-authorization",
        "proxy",
        "apikey",
    ];
    for (name, encoded) in [
        ("plain", "plain"),
        ("Rest API Key 2", "Rest%20API%20Key%202"),
        ("100%", "100%25"),
        ("Żółw \u{1f511}", "%C5%BB%C3%B3%C5%82w%20%F0%9F%94%91"),
        ("a,b;c=\"d\"", "a,b;c=\"d\""),
    ] {
        let body = serde_json::json!({"name": name, "scope": "fullAccess"}).to_string();
        let made = house.ask("POST /apikeys", &[], &body).json();
        let key = format!(
            "apikey: {}",
            made["data"]["apiKey"].as_str().expect("a key")
        );
        let mut headers = vec![key.as_str()];
        headers.extend(forged);
        let answer = house.gateway.call("GET /v3/x", &headers, "");
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let seen = house.upstream.last();
        let all = |wanted: &str| -> Vec<&str> {
            seen.headers
                .iter()
                .filter(|(n, _)| n.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.as_str())
                .collect()
        };
        assert_eq!(
            all("x-keygate-key-id"),
            [made["data"]["id"].as_str().expect("an id")],
            "{name}"
        );
        assert_eq!(all("x-keygate-key-name"), [encoded], "{name}");
        assert_eq!(all("x-keygate-scope"), ["fullAccess"], "{name}");
        assert_eq!(all("x-forwarded-for"), ["127.0.0.1"], "{name}");
        assert_eq!(all("x-forwarded-host"), ["gateway.test"], "{name}");
        assert_eq!(all("x-forwarded-proto"), ["http"], "{name}");
        assert_eq!(all("host"), [house.upstream.address.to_string()], "{name}");
        assert_eq!(
            all("x-request-id"),
            [answer.header("x-request-id").expect("an id")],
            "{name}"
        );
        assert_ne!(all("x-request-id"), ["mine-mine-mine"], "{name}");
        for wanted in gone {
            assert_eq!(all(wanted), Vec::<&str>::new(), "{name}: {wanted}");
        }
    }
    // On a public route there is no identity, whatever is sent.
    for key in [house.key.as_str(), "apikey: wrong", "x: y"] {
        let mut headers = vec![key, "authToken: cyclops2_1"];
        headers.extend(forged);
        let answer = house.gateway.call("PUT /v3/me", &headers, "{}");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let seen = house.upstream.last();
        for wanted in
            gone.iter()
                .chain(&["x-keygate-key-id", "x-keygate-key-name", "x-keygate-scope"])
        {
            assert_eq!(seen.header(wanted), None, "{wanted}");
        }
        assert_eq!(seen.header("authtoken"), Some("cyclops2_1"));
    }
    // Nor is a key judged there that lacks every scope but the lowest.
    let low = house.folder.new_key("low", "authOnly");
    let answer = house
        .gateway
        .call("PUT /v3.0/me", &[&format!("apikey: {low}")], "{}");
    assert_eq!(answer.status, 200);
}

#[test]
fn headers_of_the_chat_api_go_on_untouched() {
    let house = House::before(Upstream::echo());
    let headers = [
        ("onBehalfOf", "cyclops2"),
        ("appId", "2313a9e"),
        ("authToken", "cyclops2_16383540156641d37a"),
        ("resource", "WEB-3_0_10-a1"),
        ("sdk", "javascript@3.0.10"),
        ("Accept", "application/json"),
        ("Authorization", "Bearer of-the-app"),
        ("User-Agent", "x/1.0 (y; z)"),
        ("X-Custom", "a, b; c=\"d\""),
        ("Cookie", "a=b; c=d"),
        ("Referer", "https://app.example.com/?x"),
        ("Accept-Encoding", "gzip, br"),
    ];
    let lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    for request in ["GET /v3/users", "POST /v3/users/cyclops2/auth_tokens"] {
        let answer = house.ask(request, &lines, "");
        assert_eq!(answer.status, 200, "{request}: {}", answer.text());
        let seen = house.upstream.last();
        for (name, value) in headers {
            assert_eq!(seen.header(name), Some(value), "{request}: {name}");
        }
    }
}
