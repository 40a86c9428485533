//! CORS as the contract has it: off, a preflight is a request like any other; on, the gateway answers every preflight and
//! puts its own headers in place of the upstream's.

mod support;

use support::{Answer, Folder, Gateway, ROUTES, Upstream, respond};

const ORIGIN: &str = "Origin: https://app.example.com";
const ASKS: &str = "Access-Control-Request-Method: GET";

struct House {
    upstream: Upstream,
    gateway: Gateway,
    full: String,
    _folder: Folder,
}

impl House {
    /// A gateway whose upstream has CORS headers of its own.
    fn build(main: &str) -> House {
        let upstream = Upstream::start(|seen, stream| {
            let headers = [
                "access-control-allow-origin: https://upstream.example.com",
                "Access-Control-Allow-Credentials: true",
                "Access-Control-Expose-Headers: X-Upstream",
                "Access-Control-Allow-Methods: PURGE",
                "Access-Control-Allow-Headers: x-upstream",
                "Access-Control-Max-Age: 5",
                "Vary: Accept-Encoding",
            ];
            let body = if seen.line.starts_with("HEAD ") {
                ""
            } else {
                "[]"
            };
            respond(stream, 200, &headers, body, 2)
        });
        let folder = Folder::new(upstream.address, main, ROUTES);
        let full = folder.new_key("full", "fullAccess");
        let gateway = folder.start();
        House {
            upstream,
            gateway,
            full,
            _folder: folder,
        }
    }

    fn ask(&self, request: &str, headers: &[&str]) -> Answer {
        self.gateway.call(request, headers, "")
    }

    fn key(&self) -> String {
        format!("apikey: {}", self.full)
    }
}

/// The CORS headers of an answer, and `Vary`, by name.
fn cors_headers(answer: &Answer) -> Vec<(String, String)> {
    let mut headers = answer.headers.clone();
    for (name, _) in &mut headers {
        name.make_ascii_lowercase();
    }
    headers.retain(|(name, _)| name.starts_with("access-control-") || name == "vary");
    headers.sort();
    headers
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    expected.iter().map(pair).collect()
}

#[test]
fn without_cors_a_preflight_is_a_request_like_any_other() {
    let house = House::build("");
    let key = house.key();
    // request, with a key, status, code
    for (path, with_key, status, code) in [
        ("/v3/x", false, 401, "AUTH_ERR_EMPTY_APIKEY"),
        ("/nowhere", false, 401, "AUTH_ERR_EMPTY_APIKEY"),
        ("/apikeys", false, 401, "AUTH_ERR_EMPTY_APIKEY"),
        ("/open/x", false, 200, ""),
        ("/v3/x", true, 200, ""),
        ("/nowhere", true, 404, "ERR_API_NOT_FOUND"),
        ("/only-get", true, 405, "ERR_API_NOT_FOUND"),
        ("/apikeys", true, 405, "ERR_API_NOT_FOUND"),
        ("/closed", true, 403, "AUTH_ERR_NO_ACCESS"),
    ] {
        let mut headers = vec![ORIGIN, ASKS];
        if with_key {
            headers.push(&key);
        }
        let answer = house.ask(&format!("OPTIONS {path}"), &headers);
        let row = format!("{path}, with a key: {with_key}");
        assert_eq!((answer.status, &*answer.code()), (status, code), "{row}");
        if status == 200 {
            let upstreams = answer.header("access-control-allow-origin");
            assert_eq!(upstreams, Some("https://upstream.example.com"), "{row}");
            let seen = house.upstream.last();
            assert!(seen.line.starts_with("OPTIONS "), "{row}: {}", seen.line);
            assert_eq!(
                seen.header("origin"),
                Some("https://app.example.com"),
                "{row}"
            );
        } else {
            assert_eq!(cors_headers(&answer), [], "{row}");
        }
    }
}

#[test]
fn with_cors_every_preflight_is_answered_the_same_whatever_the_path() {
    let house = House::build("[cors]\norigins = [\"*\"]\n");
    let key = house.key();
    let expected = pairs(&[
        (
            "access-control-allow-headers",
            "apiKey, appId, authToken, onBehalfOf, Content-Type, Accept, Authorization, resource, sdk",
        ),
        (
            "access-control-allow-methods",
            "OPTIONS, HEAD, GET, POST, PUT, PATCH, DELETE",
        ),
        ("access-control-allow-origin", "*"),
        ("access-control-max-age", "600"),
    ]);
    let mut names = Vec::new();
    for path in [
        "/v3/x",
        "/nowhere",
        "/closed",
        "/only-get",
        "/open/x",
        "/apikeys",
        "/apikeys/x",
        "/v3/apikeys/x/y",
        "/v3/a;b",
        "/",
        "*",
    ] {
        for asked in [ASKS, "Access-Control-Request-Method: NONSENSE"] {
            for extra in [
                vec![],
                vec![&*key],
                vec!["apikey: wrong"],
                vec!["Access-Control-Request-Headers: apikey,x-other"],
            ] {
                let mut headers = vec![ORIGIN, asked];
                headers.extend(&extra);
                let answer = house.ask(&format!("OPTIONS {path}"), &headers);
                let row = format!("{path} {asked} {}", extra.len());
                assert_eq!(answer.status, 204, "{row}: {}", answer.text());
                assert_eq!(cors_headers(&answer), expected, "{row}");
                let mut fields: Vec<String> = answer
                    .headers
                    .iter()
                    .map(|(name, _)| name.to_ascii_lowercase())
                    .collect();
                fields.sort();
                names.push(fields);
            }
        }
    }
    names.dedup();
    assert_eq!(
        names.len(),
        1,
        "no header tells one path from another: {names:?}"
    );
    assert_eq!(house.upstream.connections(), 0, "no preflight goes up");

    // What lacks one of the two headers is no preflight, and what can be read in two ways is none either.
    for headers in [&[][..], &[ORIGIN], &[ASKS]] {
        let answer = house.ask("OPTIONS /v3/x", headers);
        assert_eq!(answer.code(), "AUTH_ERR_EMPTY_APIKEY", "{headers:?}");
    }
    let get = house.ask("GET /v3/x", &[ORIGIN, ASKS]);
    assert_eq!(get.code(), "AUTH_ERR_EMPTY_APIKEY", "GET is no preflight");
    let dots = house.ask("OPTIONS /v3/../x", &[ORIGIN, ASKS]);
    assert_eq!(dots.code(), "ERR_BAD_REQUEST");
}

#[test]
fn with_cors_the_gateways_headers_stand_on_every_answer_but_managements() {
    let house = House::build(
        "[cors]\norigins = [\"*\"]\nexpose = [\"X-Request-Id\"]\n[limits]\nbody_bytes = \"1KiB\"\nfailed_auth = { rate = \"1/h\", burst = 14 }\n",
    );
    let key = house.key();
    let big = "x".repeat(1025);
    let any = pairs(&[
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", "X-Request-Id"),
    ]);
    let mut of_upstream = any.clone();
    of_upstream.push(("vary".to_owned(), "Accept-Encoding".to_owned()));
    for (request, headers, body, status) in [
        ("GET /v3/x", &[&*key][..], "", 200),
        ("GET /v3/x", &[&*key, ORIGIN], "", 200),
        ("HEAD /v3/x", &[&*key, ORIGIN], "", 200),
        ("OPTIONS /v3/x", &[&*key, ORIGIN], "", 200),
        ("POST /open/x", &[ORIGIN], "[]", 200),
        ("GET /v3/../x", &[ORIGIN], "", 400),
        ("GET /v3/x", &[ORIGIN], "", 401),
        ("GET /v3/x", &["apikey: wrong"], "", 401),
        ("GET /nowhere", &[ORIGIN], "", 401),
        ("GET /closed", &[&*key, ORIGIN], "", 403),
        ("GET /nowhere", &[&*key, ORIGIN], "", 404),
        ("GET /users", &[&*key, ORIGIN], "", 405),
        ("POST /users", &[&*key, ORIGIN], &big, 413),
        ("POST /v3/x", &[&*key, ORIGIN, "Expect: x"], "[]", 417),
    ] {
        let answer = house.gateway.call(request, headers, body);
        let row = format!("{request} {}", headers.len());
        assert_eq!(answer.status, status, "{row}: {}", answer.text());
        let expected = if status == 200 { &of_upstream } else { &any };
        assert_eq!(&cors_headers(&answer), expected, "{row}");
    }
    // Management: what it answers and what it refuses, with a key and without.
    for (request, headers, status) in [
        ("GET /apikeys", &[&*key, ORIGIN][..], 200),
        ("GET /apikeys/x", &[&*key, ORIGIN], 404),
        ("POST /v3/apikeys", &[&*key, ORIGIN], 400),
        ("GET /apikeys", &[ORIGIN], 401),
        ("PATCH /apikeys", &[&*key, ORIGIN], 405),
        ("OPTIONS /apikeys", &[&*key, ORIGIN], 405),
        ("PATCH /v3/apikeys/x", &[ORIGIN], 401),
        ("GET /apikeys/x/y", &[&*key, ORIGIN], 404),
        ("GET /v3.0/apikeys/", &[&*key, ORIGIN], 404),
        ("GET /apike%79s/", &[ORIGIN], 401),
    ] {
        let answer = house.ask(request, headers);
        assert_eq!(answer.status, status, "{request}: {}", answer.text());
        assert_eq!(cors_headers(&answer), [], "{request}");
    }
    let limited = house.gateway.eventually(
        || house.ask("GET /v3/x", &[ORIGIN]),
        |answer| answer.status == 429,
    );
    assert_eq!(cors_headers(&limited), any, "429");
}

#[test]
fn with_exact_origins_only_those_are_let_in() {
    let house = House::build(
        "[cors]\norigins = [\"https://app.example.com\", \"http://localhost:3000\"]\nmethods = [\"GET\"]\nheaders = [\"apikey\"]\n\
         credentials = true\nmax_age = \"1h\"\nmanagement = true\n",
    );
    let key = house.key();
    for (origin, allowed) in [
        ("https://app.example.com", true),
        ("http://localhost:3000", true),
        ("https://app.example.com.evil.example", false),
        ("https://evil.example", false),
        ("http://app.example.com", false),
        ("https://app.example.com:8443", false),
        ("https://APP.example.com", false),
        ("null", false),
        ("*", false),
    ] {
        let origin_line = format!("Origin: {origin}");
        let with_origin = |headers: &mut Vec<(&str, &str)>| {
            if allowed {
                headers.push(("access-control-allow-credentials", "true"));
                headers.push(("access-control-allow-origin", ""));
            }
        };
        for (request, headers) in [
            ("GET /v3/x", vec![&*key, &*origin_line]),
            ("GET /v3/x", vec![&*origin_line]),
            ("GET /apikeys", vec![&*key, &*origin_line]),
            ("DELETE /apikeys/x", vec![&*origin_line]),
            ("PATCH /apikeys", vec![&*key, &*origin_line]),
        ] {
            let answer = house.ask(request, &headers);
            let row = format!("{request} from {origin}");
            let mut expected = Vec::new();
            with_origin(&mut expected);
            if answer.status == 200 && request == "GET /v3/x" {
                expected.push(("vary", "Accept-Encoding"));
            }
            expected.push(("vary", "origin"));
            let mut expected = pairs(&expected);
            for (name, value) in &mut expected {
                if name == "access-control-allow-origin" {
                    origin.clone_into(value);
                }
            }
            assert_eq!(cors_headers(&answer), expected, "{row}");
        }
        let preflight = house.ask("OPTIONS /v3/x", &[&origin_line, ASKS]);
        assert_eq!(preflight.status, 204, "{origin}");
        let header = |name| preflight.header(name);
        assert_eq!(
            header("access-control-allow-origin"),
            allowed.then_some(origin),
            "{origin}"
        );
        assert_eq!(header("vary"), Some("origin"), "{origin}");
        if allowed {
            assert_eq!(
                header("access-control-allow-methods"),
                Some("GET"),
                "{origin}"
            );
            assert_eq!(
                header("access-control-allow-headers"),
                Some("apikey"),
                "{origin}"
            );
            assert_eq!(header("access-control-max-age"), Some("3600"), "{origin}");
        }
    }
    let without = house.ask("GET /v3/x", &[&key]);
    assert_eq!(without.header("access-control-allow-origin"), None);
    assert!(cors_headers(&without).contains(&("vary".to_owned(), "origin".to_owned())));
}

#[test]
fn an_upstream_that_is_away_is_told_to_browsers_too() {
    let upstream = Upstream::echo();
    let folder = Folder::new(
        upstream.address,
        "[cors]\norigins = [\"*\"]\n[upstreams.away]\nservers = [\"http://127.0.0.1:1\"]\n",
        &ROUTES.replace("upstream = \"chat\"", "upstream = \"away\""),
    );
    let gateway = folder.start();
    let answer = gateway.call("GET /open/x", &[ORIGIN], "");
    assert_eq!(answer.code(), "ERR_UPSTREAM_UNAVAILABLE");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}
