//! Every refusal of the contract, through real sockets: status, code, headers, and that a refused request is never seen
//! upstream.

mod support;

use serde_json::Value;
use sqlx::{Connection, SqliteConnection};
use std::net::TcpListener;
use std::time::Duration;
use support::house::House;
use support::{Answer, Folder, Gateway, ROUTES, Upstream};

/// Beside [`ROUTES`]: a route whose bodies are small.
const SMALL: &str = r#"
[[routes]]
path = "/small"
methods = ["POST"]
scope = "fullAccess"
body_bytes = "1KiB"
"#;

const UNKNOWN: &str = "0123456789abcdef0123456789abcdef01234567";
const CHALLENGE: &str = r#"ApiKey realm="keygate", header="apikey""#;

/// What an upstream does that is no answer.
const BAD: &[(&str, &[u8])] = &[
    ("closes at once", b""),
    ("breaks off in the status line", b"HTTP/1.1 20"),
    ("breaks off in the head", b"HTTP/1.1 200 OK\r\nContent-Le"),
    ("is not HTTP", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    ("has no status", b"HTTP/1.1 OK\r\n\r\n"),
    (
        "has a header that is none",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
    ),
    (
        "upgrades unasked",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ),
    (
        "says two lengths",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ),
];

impl House {
    fn build(main: &str) -> House {
        House::before(Upstream::echo(), main)
    }

    fn before(upstream: Upstream, main: &str) -> House {
        House::of(upstream, main, &format!("{ROUTES}{SMALL}"))
    }

    fn ask(&self, key: &str, request: &str, body: &str) -> Answer {
        self.gateway
            .call(request, &[&format!("apikey: {key}")], body)
    }

    /// A key made through the API, switched on or off.
    fn create(&self, body: &str) -> String {
        let made = self.ask(&self.full, "POST /apikeys", body).json();
        made["data"]["apiKey"].as_str().expect("a key").to_owned()
    }
}

/// Sends these bytes on a connection of their own and reads the answer.
fn raw(gateway: &Gateway, bytes: impl AsRef<[u8]>) -> Answer {
    let mut client = gateway.connect();
    client.send(bytes);
    client.answer(false)
}

/// The body that every refusal has, and the headers that go with its status.
fn assert_refused(answer: &Answer, status: u16, code: &str, row: &str) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{row}: {}",
        answer.text()
    );
    let header = |name| answer.header(name);
    assert_eq!(header("content-type"), Some("application/json"), "{row}");
    assert!(header("x-request-id").is_some(), "{row}: X-Request-Id");
    let body = answer.json();
    assert_eq!(body.as_object().expect(row).len(), 1, "{row}: {body}");
    let error = body["error"].as_object().expect(row);
    let mut fields: Vec<&str> = error.keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["code", "devMessage", "message", "source"], "{row}");
    assert_eq!(error["source"], "keygate", "{row}");
    for field in ["message", "devMessage"] {
        let sentence = error[field].as_str().expect(row);
        assert!(sentence.ends_with('.'), "{row}: {sentence}");
    }
    let challenge = (status == 401).then_some(CHALLENGE);
    assert_eq!(header("www-authenticate"), challenge, "{row}");
    assert_eq!(header("allow").is_some(), status == 405, "{row}: Allow");
    let wait = matches!(status, 429 | 503);
    assert_eq!(header("retry-after").is_some(), wait, "{row}: Retry-After");
    for name in [
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
    ] {
        assert_eq!(header(name).is_some(), status == 429, "{row}: {name}");
    }
}

/// The value of a sample of `/metrics`, summed over all its labels that have this text.
fn metric(gateway: &Gateway, name: &str, label: &str) -> u64 {
    let page = gateway.admin("/metrics").text();
    page.lines()
        .filter(|line| line.starts_with(name) && line.contains(label))
        .map(|line| line.rsplit(' ').next().and_then(|v| v.parse::<u64>().ok()))
        .map(|value| value.expect("a count"))
        .sum()
}

#[test]
fn every_refusal_of_a_key_or_a_route_has_its_status_code_and_headers() {
    let house = House::build("");
    let (full, auth) = (&house.full, &house.auth);
    let disabled = house.create(r#"{"name":"off","enabled":false}"#);
    let deleted = house.create(r#"{"name":"gone"}"#);
    house.ask(full, &format!("DELETE /apikeys/{deleted}"), "");
    let end = keygate::clock::Timestamp::now().unix_seconds() + 3;
    let expired = house.create(&format!(r#"{{"name":"old","expiresAt":{end}}}"#));
    house.gateway.eventually(
        || house.ask(&expired, "GET /v3/x", "").status,
        |status| *status == 401,
    );
    let seen = house.upstream.seen().len();
    let rows = [
        ("", "GET /v3/x", 401, "AUTH_ERR_EMPTY_APIKEY"),
        (UNKNOWN, "GET /v3/x", 401, "AUTH_ERR_APIKEY_NOT_FOUND"),
        (&disabled, "GET /v3/x", 401, "AUTH_ERR_APIKEY_NOT_FOUND"),
        (&expired, "GET /v3/x", 401, "AUTH_ERR_APIKEY_NOT_FOUND"),
        (&deleted, "GET /v3/x", 401, "AUTH_ERR_APIKEY_NOT_FOUND"),
        ("short", "GET /v3/x", 401, "AUTH_ERR_APIKEY_NOT_FOUND"),
        (auth, "GET /v3/x", 403, "AUTH_ERR_NO_ACCESS"),
        (auth, "GET /apikeys", 403, "AUTH_ERR_NO_ACCESS"),
        (full, "GET /closed", 403, "AUTH_ERR_NO_ACCESS"),
        (full, "DELETE /closed", 403, "AUTH_ERR_NO_ACCESS"),
        (full, "GET /nowhere", 404, "ERR_API_NOT_FOUND"),
        (full, "GET /", 404, "ERR_API_NOT_FOUND"),
        (full, "GET /v3", 404, "ERR_API_NOT_FOUND"),
        (full, "GET /v3/", 404, "ERR_API_NOT_FOUND"),
        (full, "GET /open", 404, "ERR_API_NOT_FOUND"),
        (full, "GET /users", 405, "ERR_API_NOT_FOUND"),
        (full, "POST /only-get", 405, "ERR_API_NOT_FOUND"),
        (full, "PURGE /v3/x", 405, "ERR_API_NOT_FOUND"),
        (full, "PATCH /apikeys", 405, "ERR_API_NOT_FOUND"),
        (full, "PUT /apikeys", 405, "ERR_API_NOT_FOUND"),
        (full, "POST /apikeys/x", 405, "ERR_API_NOT_FOUND"),
        (full, "GET /apikeys/", 404, "ERR_API_NOT_FOUND"),
        (full, "GET /apikeys/x/", 404, "ERR_API_NOT_FOUND"),
        (full, "GET /apikeys/x/y", 404, "ERR_API_NOT_FOUND"),
        (full, "DELETE /v3/apikeys/x/y", 404, "ERR_API_NOT_FOUND"),
    ];
    for (key, request, status, code) in rows {
        let row = format!("{request} with {}", &key[..key.len().min(5)]);
        let answer = house.ask(key, request, "");
        assert_refused(&answer, status, code, &row);
        assert!(key.is_empty() || !answer.text().contains(key), "{row}");
    }
    // Unknown, disabled, expired, deleted, malformed: nobody can tell them apart.
    let shown = |key: &str| {
        let answer = house.ask(key, "GET /v3/x", "");
        let mut headers = answer.headers.clone();
        headers.retain(|(name, _)| name != "x-request-id" && name != "date");
        (headers, answer.text())
    };
    for key in [&disabled, &expired, &deleted, "short", "a,b"] {
        assert_eq!(shown(key), shown(UNKNOWN), "{}", &key[..3]);
    }
    for (request, allow) in [
        ("GET /users", "POST"),
        ("POST /only-get", "GET, HEAD"),
        ("PATCH /apikeys", "GET, HEAD, POST"),
        ("POST /apikeys/x", "DELETE, GET, HEAD, PUT"),
        (
            "PURGE /v3/x",
            "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
        ),
    ] {
        let answer = house.ask(full, request, "");
        let mut allowed: Vec<&str> = answer.header("allow").expect(request).split(", ").collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(", "), allow, "{request}");
    }
    let head = house.ask(full, "HEAD /nowhere", "");
    assert_eq!((head.status, head.body.len()), (404, 0));
    assert_eq!(house.upstream.seen().len(), seen, "none was seen upstream");
}

#[test]
fn the_checks_come_in_the_order_of_the_contract() {
    let house = House::build("");
    let (full, auth) = (house.full.as_str(), house.auth.as_str());
    let big = "x".repeat(1025);
    let huge = "x".repeat(64 * 1024 + 1);
    let empty = "AUTH_ERR_EMPTY_APIKEY";
    let unknown = "AUTH_ERR_APIKEY_NOT_FOUND";
    let (access, bad, none) = ("AUTH_ERR_NO_ACCESS", "ERR_BAD_REQUEST", "ERR_API_NOT_FOUND");
    // key, request, body, status, code; an empty key is no header
    let rows: &[(&str, &str, &str, u16, &str)] = &[
        // Framing and target come before all else, on public routes too.
        ("", "GET /v3/../x", "", 400, bad),
        (UNKNOWN, "GET /v3/%2e%2E/x", "", 400, bad),
        ("", "GET /open/../closed", "", 400, bad),
        ("", "TRACE /v3/x", "", 400, bad),
        ("", "get /v3/x", "", 400, bad),
        // Then a public route goes on, without a key or with any.
        ("", "GET /open/x", "", 200, ""),
        (UNKNOWN, "GET /open/x", "", 200, ""),
        ("short", "DELETE /open/x", "", 200, ""),
        ("", "GET /open/a;b", "", 400, bad),
        // Then the key: whatever there is or is not behind the path.
        ("", "GET /nowhere", "", 401, empty),
        ("", "POST /only-get", "", 401, empty),
        ("", "GET /closed", "", 401, empty),
        ("", "GET /v3/x", "", 401, empty),
        ("", "GET /v3/a;b", "", 401, empty),
        ("", "POST /small", &big, 401, empty),
        ("", "POST /apikeys", "[", 401, empty),
        ("", "PATCH /apikeys", "", 401, empty),
        ("", "GET /apikeys/x/y", "", 401, empty),
        (UNKNOWN, "GET /nowhere", "", 401, unknown),
        (UNKNOWN, "POST /only-get", "", 401, unknown),
        (UNKNOWN, "GET /closed", "", 401, unknown),
        (UNKNOWN, "POST /small", &big, 401, unknown),
        // Then 404, 405 and denied, whatever the key's scope.
        (auth, "GET /nowhere", "", 404, none),
        (auth, "POST /only-get", "", 405, none),
        (auth, "GET /closed", "", 403, access),
        (auth, "GET /apikeys/x/y", "", 404, none),
        (auth, "PATCH /apikeys", "", 405, none),
        (full, "POST /nowhere", &huge, 404, none),
        (full, "POST /only-get", &huge, 405, none),
        (full, "POST /closed", &huge, 403, access),
        (full, "GET /v3/a;b", "", 400, bad),
        // Then the scope, before any limit.
        (auth, "POST /small", &big, 403, access),
        (auth, "POST /apikeys", &huge, 403, access),
        (auth, "GET /apikeys?page=0", "", 403, access),
        // Then limits, before the body is read.
        (full, "POST /small", &big, 413, bad),
        (full, "POST /apikeys", &huge, 413, bad),
        (full, "POST /small", &big[1..], 200, ""),
    ];
    let mut passed = 0;
    for (key, request, body, status, code) in rows {
        let row = format!("{request} with {}", &key[..key.len().min(5)]);
        let header = format!("apikey: {key}");
        let headers = if key.is_empty() {
            vec![]
        } else {
            vec![&*header]
        };
        let answer = house.gateway.call(request, &headers, body);
        if *status == 200 {
            assert_eq!(answer.status, 200, "{row}: {}", answer.text());
            passed += 1;
        } else {
            assert_refused(&answer, *status, code, &row);
        }
    }
    assert_eq!(
        house.upstream.seen().len(),
        passed,
        "no refused one was seen"
    );
}

#[test]
fn a_key_is_one_header_and_nothing_else() {
    let house = House::build("");
    let (full, auth) = (&house.full, &house.auth);
    let good = [
        format!("apikey: {full}"),
        format!("apiKey: {full}"),
        format!("APIKEY: {full}"),
        format!("ApIkEy:{full}"),
        format!("apikey: \t {full} \t"),
    ];
    for header in &good {
        let answer = house.gateway.call("GET /v3/x", &[header], "");
        assert_eq!(answer.status, 200, "{}", &header[..8]);
    }
    let both = [format!("apikey: {full}"), format!("APIKEY: {auth}")];
    let spare = "a".repeat(108);
    let empty = "AUTH_ERR_EMPTY_APIKEY";
    let unknown = "AUTH_ERR_APIKEY_NOT_FOUND";
    let rows: Vec<(Vec<String>, &str)> = vec![
        (vec![], empty),
        (vec!["apikey:".to_owned()], empty),
        (vec!["apikey:  \t ".to_owned()], empty),
        (both.to_vec(), unknown),
        (vec![good[0].clone(), good[0].clone()], unknown),
        (vec!["apikey:".to_owned(), good[0].clone()], unknown),
        (vec![good[0].clone(), "apikey:".to_owned()], unknown),
        (vec![format!("apikey: {full}, {full}")], unknown),
        (vec![format!("apikey: {full},")], unknown),
        (vec![format!("apikey: {full} {full}")], unknown),
        (vec![format!("apikey: \"{full}\"")], unknown),
        (vec![format!("apikey: ApiKey {full}")], unknown),
        (vec![format!("apikey: {}", full.to_uppercase())], unknown),
        (vec![format!("apikey: {}", &full[1..])], unknown),
        (vec![format!("apikey: {full}0")], unknown),
        (vec![format!("apikey: {full}{spare}")], unknown),
        (vec![format!("apikey: é{full}")], unknown),
        (vec!["apikey: 0123456789012345678".to_owned()], unknown),
        (vec![format!("Authorization: ApiKey {full}")], empty),
        (vec![format!("Authorization: Bearer {full}")], empty),
        (vec![format!("X-Api-Key: {full}")], empty),
        (vec![format!("api-key: {full}")], empty),
        (vec![format!("Cookie: apikey={full}")], empty),
    ];
    let seen = house.upstream.seen().len();
    for (number, (headers, code)) in rows.iter().enumerate() {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let answer = house.gateway.call("GET /v3/x", &headers, "");
        assert_refused(&answer, 401, code, &format!("row {number}"));
    }
    for request in [
        format!("GET /v3/x?apikey={full}"),
        format!("GET /v3/x?apiKey={full}&key={full}"),
        format!("GET /v3/{full}"),
    ] {
        let answer = house.gateway.call(&request, &[], "");
        assert_refused(&answer, 401, empty, "a key in the target");
    }
    let body = format!(r#"{{"apikey":"{full}"}}"#);
    let answer = house.gateway.call("POST /v3/x", &[], &body);
    assert_refused(&answer, 401, empty, "a key in the body");
    let trailer = format!(
        "POST /v3/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: apikey\r\n\r\n0\r\napikey: {full}\r\n\r\n"
    );
    let answer = raw(&house.gateway, trailer);
    assert_refused(&answer, 401, empty, "a key in a trailer");
    assert_eq!(house.upstream.seen().len(), seen, "none was seen upstream");
}

#[test]
fn the_header_of_the_key_is_what_the_configuration_says() {
    let upstream = Upstream::echo();
    let folder = Folder::with_main(
        &format!(
            "include = [\"routes.toml\"]\n[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [log]\nformat = \"json\"\n[keys]\nheader = \"X-Chat-Key\"\n[upstreams.chat]\nservers = [\"http://{}\"]\n",
            upstream.address
        ),
        ROUTES,
    );
    let key = folder.new_key("full", "fullAccess");
    let gateway = folder.start();
    let answer = gateway.call("GET /v3/x", &[&format!("apikey: {key}")], "");
    assert_eq!(answer.code(), "AUTH_ERR_EMPTY_APIKEY");
    assert_eq!(
        answer.header("www-authenticate"),
        Some(r#"ApiKey realm="keygate", header="x-chat-key""#)
    );
    let headers = [&*format!("x-chat-key: {key}"), "apikey: other"];
    assert_eq!(gateway.call("GET /v3/x", &headers, "").status, 200);
    let seen = upstream.last();
    assert_eq!(seen.header("x-chat-key"), None);
    assert_eq!(
        seen.header("apikey"),
        Some("other"),
        "a header like any other"
    );
}

#[test]
fn what_can_be_read_in_two_ways_is_400() {
    let house = House::build("");
    let key = format!("apikey: {}", house.full);
    let rows: &[&str] = &[
        "GET /v3/x HTTP/1.1\r\n{key}\r\n\r\n",
        "GET /v3/x HTTP/1.0\r\n{key}\r\n\r\n",
        "GET /v3/x HTTP/1.1\r\nHost: a\r\nHost: a\r\n{key}\r\n\r\n",
        "GET /v3/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n{key}\r\n\r\n",
        "GET /v3/x HTTP/1.1\r\nHost: a, b\r\n{key}\r\n\r\n",
        "GET /v3/x HTTP/1.1\r\nHost: a/b\r\n{key}\r\n\r\n",
        "GET /v3/x HTTP/1.1\r\nHost: u@a\r\n{key}\r\n\r\n",
        "GET /v3/x HTTP/1.1\r\nHost: a:99999\r\n{key}\r\n\r\n",
        "GET /v3/x HTTP/1.1\r\nHost:\r\n{key}\r\n\r\n",
        "GET http://b/v3/x HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n{key}\r\n\r\n",
        "TRACE /v3/x HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "Get /v3/x HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "POST /v3/x HTTP/1.1\r\nHost: a\r\n{key}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /v3/x HTTP/1.1\r\nHost: a\r\n{key}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /v3/x HTTP/1.1\r\nHost: a\r\n{key}\r\nx_forwarded_for: 1\r\n\r\n",
        "GET /v3/./x HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "GET /v3/x/.. HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "GET /v3/%2e%2e/closed HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "GET /v3//x HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "GET /v3/a%2Fb HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "GET /v3/a%5Cb HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "GET /v3/a\\b HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "GET /v3/a%25b HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "GET /v3/a;b HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "GET /v3/a%00 HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "GET /v3/a% HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "GET /v3/a%zz HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "GET /v3/%ff HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "GET /v3/%c0%af HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "GET /v3/a{b} HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
        "GET /v3/a|b HTTP/1.1\r\nHost: a\r\n{key}\r\n\r\n",
    ];
    for row in rows {
        let answer = raw(&house.gateway, row.replace("{key}", &key));
        assert_refused(&answer, 400, "ERR_BAD_REQUEST", row);
    }
    assert_eq!(house.upstream.connections(), 0, "no connection was made");

    // The same length twice is one length (RFC 9110, section 8.6), and goes on as one.
    let twice = format!(
        "POST /v3/x HTTP/1.1\r\nHost: a\r\n{key}\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx"
    );
    assert_eq!(raw(&house.gateway, twice).status, 200);
    let seen = house.upstream.last();
    let lengths = seen
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    assert_eq!(lengths.count(), 1);
}

#[test]
fn what_is_too_large_or_expects_too_much_is_refused_by_its_own_status() {
    let house = House::build(
        "[limits]\nhead_bytes = \"2KiB\"\nheaders = 10\ntarget_bytes = \"128B\"\nbody_bytes = \"4KiB\"\n",
    );
    let key = format!("apikey: {}", house.full);
    let bad = "ERR_BAD_REQUEST";
    let gateway = &house.gateway;
    let path = |length: usize| format!("/v3/{}", "x".repeat(length - 4));

    // The last that fits, then the first that does not.
    let fits = gateway.call(&format!("GET {}", path(128)), &[&key], "");
    assert_eq!(fits.status, 200, "{}", fits.text());
    for target in [
        path(129),
        format!("{}?{}", path(100), "q".repeat(28)),
        path(9000),
    ] {
        let answer = gateway.call(&format!("GET {target}"), &[], "");
        assert_refused(&answer, 414, bad, "a target too long");
    }
    // `Host` and the key are two of the ten.
    let lines = |count: usize| vec!["x: y"; count];
    let mut headers = lines(8);
    headers.push(&key);
    assert_eq!(gateway.call("GET /v3/x", &headers, "").status, 200);
    headers.push("x: y");
    let answer = gateway.call("GET /v3/x", &headers, "");
    assert_refused(&answer, 431, bad, "one header too many");
    let long = format!("x: {}", "y".repeat(2100));
    for headers in [vec![&*long], vec![&*key, &long]] {
        let answer = gateway.call("GET /v3/x", &headers, "");
        assert_refused(&answer, 431, bad, "a head too large");
    }
    for (expectation, status) in [
        ("100-continue", 200),
        ("100-Continue", 200),
        ("200-ok", 417),
        ("x, 100-continue", 417),
    ] {
        let expect = format!("Expect: {expectation}");
        let answer = gateway.call("POST /v3/x", &[&key, &expect], "[]");
        if status == 200 {
            assert_eq!(answer.status, 200, "{expectation}: {}", answer.text());
        } else {
            assert_refused(&answer, status, bad, expectation);
        }
    }
    let seen = house.upstream.seen().len();
    for (request, length) in [
        ("POST /v3/x", 4097),
        ("POST /small", 1025),
        ("GET /v3/x", 4097),
        ("POST /users", 4097),
    ] {
        let answer = gateway.call(request, &[&key], &"b".repeat(length));
        assert_refused(&answer, 413, bad, &format!("{request}: a length too great"));
        let mut client = gateway.connect();
        client.send(format!(
            "{request} HTTP/1.1\r\nHost: a\r\n{key}\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
        client.send(format!("{length:x}\r\n{}\r\n0\r\n\r\n", "b".repeat(length)));
        let answer = client.answer(false);
        assert_refused(&answer, 413, bad, &format!("{request}: chunks too many"));
    }
    assert_eq!(house.upstream.seen().len(), seen, "none was seen whole");
    for (request, length) in [("POST /v3/x", 4096), ("POST /small", 1024)] {
        let answer = gateway.call(request, &[&key], &"b".repeat(length));
        assert_eq!(answer.status, 200, "{request}: a body that just fits");
    }
}

#[test]
fn what_comes_too_slowly_is_408_or_nothing_at_all() {
    let house = House::build("[timeouts]\nbody = \"200ms\"\nhead = \"400ms\"\n");
    let key = format!("apikey: {}", house.full);
    let (gateway, bad) = (&house.gateway, "ERR_BAD_REQUEST");
    for request in ["POST /v3/x", "POST /apikeys", "PUT /v3/apikeys/x"] {
        for (framing, begun) in [
            ("Content-Length: 10", "abc"),
            ("Transfer-Encoding: chunked", "3\r\nabc\r\n"),
            ("Content-Length: 10", ""),
        ] {
            let answer = raw(
                gateway,
                format!("{request} HTTP/1.1\r\nHost: a\r\n{key}\r\n{framing}\r\n\r\n{begun}"),
            );
            assert_refused(&answer, 408, bad, &format!("{request} {framing}"));
        }
    }
    assert!(house.upstream.seen().is_empty(), "none was seen whole");

    // A head that does not come is nobody's request yet: the connection ends, and that is counted.
    let ended = "keygate_connections_ended_total{reason=\"head_timeout\"}";
    let before = metric(gateway, ended, "");
    for begun in ["", "G", "GET /v3/x HTTP/1.1\r\nHost: a\r\n"] {
        let mut client = gateway.connect();
        client.send(begun);
        assert!(client.is_closed(), "{begun}");
    }
    gateway.eventually(|| metric(gateway, ended, ""), |now| *now == before + 3);
}

#[test]
fn failed_authentications_past_the_limit_are_429_and_a_good_key_always_passes() {
    let house = House::build("[limits]\nfailed_auth = { rate = \"1/h\", burst = 4 }\n");
    let rows = [
        (Some(UNKNOWN), "GET /v3/x", "AUTH_ERR_APIKEY_NOT_FOUND"),
        (None, "GET /nowhere", "AUTH_ERR_EMPTY_APIKEY"),
        (Some("short"), "GET /closed", "AUTH_ERR_APIKEY_NOT_FOUND"),
        (None, "POST /apikeys", "AUTH_ERR_EMPTY_APIKEY"),
    ];
    let ask = |key: Option<&str>, request: &str| {
        let header = key.map(|key| format!("apikey: {key}"));
        let headers: Vec<&str> = header.iter().map(String::as_str).collect();
        house.gateway.call(request, &headers, "")
    };
    for (key, request, code) in rows {
        // What is fine or fails for another reason is not counted.
        assert_eq!(house.ask(&house.full, "GET /v3/x", "").status, 200);
        assert_eq!(house.ask(&house.auth, "GET /v3/x", "").status, 403);
        assert_eq!(ask(None, "GET /open/x").status, 200);
        assert_refused(&ask(key, request), 401, code, request);
    }
    for (key, request, _) in rows {
        let mut client = house.gateway.connect();
        let header = key.map(|key| format!("apikey: {key}"));
        let headers: Vec<&str> = header.iter().map(String::as_str).collect();
        let answer = client.call(request, &headers, "");
        assert_refused(&answer, 429, "ERR_TOO_MANY_REQUESTS", request);
        let header = |name| answer.header(name).expect(name);
        let number = |name| header(name).parse::<u64>().expect(name);
        assert_eq!(header("x-ratelimit-limit"), "4", "{request}");
        assert_eq!(header("x-ratelimit-remaining"), "0", "{request}");
        assert!((1..=3600).contains(&number("retry-after")), "{request}");
        assert!(
            (1..=4 * 3600).contains(&number("x-ratelimit-reset")),
            "{request}"
        );
        assert!(
            number("retry-after") <= number("x-ratelimit-reset"),
            "{request}"
        );
        assert_eq!(header("connection"), "close", "{request}");
        assert!(client.is_closed(), "{request}: and so it is");
        assert_eq!(
            house.ask(&house.full, "GET /v3/x", "").status,
            200,
            "a good key"
        );
        assert_eq!(ask(None, "GET /open/x").status, 200, "a public route");
    }
    // A flood is counted, not written down line by line.
    let count = || {
        metric(
            &house.gateway,
            "keygate_requests_total",
            "too_many_failures",
        )
    };
    house.gateway.eventually(count, |count| *count == 4);
    let marker = house.ask(&house.full, "GET /nowhere", "");
    let marker = marker.header("x-request-id").expect("an id").to_owned();
    house.gateway.wait_for_log(|line| line.contains(&marker));
    assert!(
        !house.gateway.log().contains(r#""status":429"#),
        "{}",
        house.gateway.log()
    );
}

#[test]
fn an_upstream_that_fails_is_502_and_one_that_is_slow_504() {
    let unavailable = "ERR_UPSTREAM_UNAVAILABLE";
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = nobody.local_addr().expect("an address");
    drop(nobody);
    let house = House::before(
        Upstream::echo(),
        &format!("[upstreams.nobody]\nservers = [\"http://{address}\"]\n"),
    );
    house.folder.write(
        "routes.toml",
        &ROUTES.replace("upstream = \"chat\"", "upstream = \"nobody\""),
    );
    let answer = house.gateway.eventually(
        || house.ask(&house.full, "GET /v3/x", ""),
        |answer| answer.status != 200,
    );
    assert_refused(&answer, 502, unavailable, "nobody listens");
    let answer = house.gateway.call("POST /open/x", &[], "[]");
    assert_refused(
        &answer,
        502,
        unavailable,
        "nobody listens, on a public route",
    );
    assert_eq!(house.ask(&house.full, "GET /apikeys", "").status, 200);

    let upstream = Upstream::start(|seen, stream| {
        use std::io::Write;
        let number: usize = seen.target().rsplit('/').next().unwrap().parse().unwrap();
        let _ = stream.write_all(BAD[number].1);
        false
    });
    let house = House::before(upstream, "");
    for (number, (row, _)) in BAD.iter().enumerate() {
        for (method, body) in [("GET", ""), ("POST", "[]")] {
            let answer = house.ask(&house.full, &format!("{method} /v3/{number}"), body);
            assert_refused(&answer, 502, unavailable, &format!("{method}: it {row}"));
        }
    }

    let silent = Upstream::start(|seen, stream| {
        use std::io::Write;
        if seen.target().ends_with("half") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-");
        }
        true
    });
    let house = House::before(silent, "[timeouts]\nresponse = \"200ms\"\n");
    for (request, body) in [
        ("GET /v3/none", ""),
        ("POST /v3/none", "[]"),
        ("GET /v3/half", ""),
    ] {
        let answer = house.ask(&house.full, request, body);
        assert_refused(&answer, 504, "ERR_UPSTREAM_TIMEOUT", request);
    }
    assert_eq!(house.ask(&house.full, "GET /apikeys", "").status, 200);
}

#[test]
fn an_upstream_that_takes_no_connection_is_504() {
    // A queue of one that nobody empties: the kernel drops what comes after.
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket
        .bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .expect("a free port");
    socket.listen(0).expect("listen");
    let address = socket
        .local_addr()
        .expect("bound")
        .as_socket()
        .expect("an address");
    let mut queued = Vec::new();
    while let Ok(stream) =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300))
    {
        queued.push(stream);
        assert!(queued.len() < 100, "the queue is short");
    }
    let folder = Folder::new(address, "[timeouts]\nconnect = \"200ms\"\n", ROUTES);
    let full = folder.new_key("full", "fullAccess");
    let gateway = folder.start();
    let answer = gateway.call("GET /v3/x", &[&format!("apikey: {full}")], "");
    assert_refused(&answer, 504, "ERR_UPSTREAM_TIMEOUT", "connect");
}

#[test]
fn a_store_that_cannot_be_written_is_503_and_requests_go_on() {
    let house = House::build("");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let store = house.folder.path().join("data/keygate.db");
    let mut other = runtime.block_on(async {
        let url = format!("sqlite:{}", store.display());
        let mut other = SqliteConnection::connect(&url)
            .await
            .expect("the store opens");
        sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut other)
            .await
            .expect("the lock is free");
        other
    });
    let target = house
        .ask(&house.full, "GET /apikeys?searchKey=auth", "")
        .json();
    let id = target["data"][0]["id"]
        .as_str()
        .expect("reading goes on")
        .to_owned();
    std::thread::scope(|scope| {
        let rows = [
            ("POST /apikeys".to_owned(), r#"{"name":"x"}"#),
            (format!("PUT /apikeys/{id}"), r#"{"name":"x"}"#),
            (format!("DELETE /apikeys/{id}"), ""),
        ];
        let waiting = rows.map(|(request, body)| {
            let house = &house;
            scope.spawn(move || (house.ask(&house.full, &request, body), request))
        });
        assert_eq!(house.ask(&house.full, "GET /v3/x", "").status, 200);
        for answer in waiting {
            let (answer, request) = answer.join().expect("an answer");
            assert_refused(&answer, 503, "ERR_STORE_UNAVAILABLE", &request);
        }
    });
    assert_eq!(
        house.ask(&house.auth, "POST /users", "").status,
        200,
        "it was not deleted"
    );
    runtime.block_on(async {
        sqlx::query("ROLLBACK")
            .execute(&mut other)
            .await
            .expect("rolled back");
        other.close().await.expect("closed");
    });
    let list = house.ask(&house.full, "GET /apikeys", "").json();
    let names: Vec<&Value> = list["data"]
        .as_array()
        .expect("keys")
        .iter()
        .map(|key| &key["name"])
        .collect();
    assert_eq!(names, ["auth", "full"], "nothing was written");
    house.create(r#"{"name":"and on it goes"}"#);
}

#[test]
fn what_is_not_http_gets_a_bare_answer_and_is_counted_and_logged() {
    let house = House::build("");
    let huge = format!(
        "GET /v3/x HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n",
        "y".repeat(200 * 1024)
    );
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
        "y".repeat(200 * 1024)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        "x: y\r\n".repeat(1000)
    );
    let rows: &[(&[u8], u16)] = &[
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /v3/x\r\n\r\n", 400),
        (b"GET /v3/x HTTP/3.0\r\nHost: a\r\n\r\n", 400),
        (b"GET /v3/x y HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /v3/x HTTP/1.1\r\nHost a\r\n\r\n", 400),
        (b"GET /v3/x HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET /v3/x HTTP/1.1\r\nHost: a\r\nx: y\r\n z\r\n\r\n", 400),
        (b"GET /v3/x HTTP/1.1\r\nHost: a\r\nx: \0\r\n\r\n", 400),
        (
            b"POST /v3/x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            400,
        ),
        (
            b"POST /v3/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
            400,
        ),
        (
            b"POST /v3/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            400,
        ),
        (huge.as_bytes(), 431),
        (many.as_bytes(), 431),
        // Where the parser's buffer ends before the target does, nobody can say which of the two was too large.
        (long.as_bytes(), 431),
        (b"stays\r\n\r\n", 400),
    ];
    for (bytes, status) in rows {
        let row = bytes[..bytes.len().min(60)].escape_ascii().to_string();
        let before = metric(
            &house.gateway,
            "keygate_connections_ended_total",
            "unreadable",
        );
        let mut client = house.gateway.connect();
        // The gateway may close before it has read all of it.
        let _ = std::io::Write::write_all(&mut client.stream, bytes);
        let answer = client
            .try_answer(false)
            .unwrap_or_else(|| panic!("{row}: an answer"));
        assert_eq!(answer.status, *status, "{row}");
        assert_eq!(answer.body, b"", "{row}: bare");
        assert!(client.is_closed(), "{row}: the connection closes");
        // The last one stays, and is counted all the same.
        let stays = row.contains("stays");
        let client = stays.then_some(client);
        let count = || {
            metric(
                &house.gateway,
                "keygate_connections_ended_total",
                "unreadable",
            )
        };
        house.gateway.eventually(count, |now| *now == before + 1);
        drop(client);
    }
    let logged = || {
        let log = house.gateway.log();
        log.lines()
            .filter(|line| line.contains(r#""outcome":"unreadable""#))
            .count()
    };
    house
        .gateway
        .eventually(logged, |count| *count == rows.len());
    let line = house
        .gateway
        .wait_for_log(|line| line.contains(r#""outcome":"unreadable""#));
    let line: Value = serde_json::from_str(&line).expect("a line of JSON");
    assert!(line.to_string().contains("reason"), "{line}");
    assert_eq!(house.upstream.connections(), 0);
    assert_eq!(
        house.ask(&house.full, "GET /v3/x", "").status,
        200,
        "and on it goes"
    );
}
