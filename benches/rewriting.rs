//! What is done to the head of a request and of an answer, alone: no socket, no policy, one thread.
//!
//! `cargo bench --bench rewriting` (a name behind `--` picks benchmarks: `admit`). The path gets its one reading, the head
//! is judged as a whole, what must not go further is taken out of it, and the request gets its id. Heads have 4, 12 and
//! 40 lines: what a program sends, what a browser sends, and what has come through some proxies that all had to say
//! something. A head that is changed is a fresh copy each time; neither the copy nor its end is measured.

use divan::{Bencher, black_box};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use keygate::http::headers::{sanitize_request, sanitize_response};
use keygate::http::{AdmitRules, RequestId, RequestIds, UnderscoreRule, admit, canonical_path};

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LINES: [usize; 3] = [4, 12, 40];

/// The header that carries the key, as the default has it.
const KEY: HeaderName = HeaderName::from_static("apikey");

fn main() {
    divan::main();
}

mod path {
    use super::*;

    const SHORT: &str = "/v3/users/cyclops1";
    const ESCAPED: &str = "/v3/users/%63yclops%31/caf%c3%a9/a%20b";

    #[divan::bench]
    fn short(bencher: Bencher) {
        read(bencher, SHORT, SHORT);
    }

    /// 293 bytes.
    #[divan::bench]
    fn long(bencher: Bencher) {
        let long = long_of("/conversations-of-a-group");
        read(bencher, &long, &long);
    }

    /// 38 bytes, five escapes: two are decoded, two are one character and get upper case, one stays.
    #[divan::bench]
    fn escaped(bencher: Bencher) {
        read(bencher, ESCAPED, "/v3/users/cyclops1/caf%C3%A9/a%20b");
    }

    /// 403 bytes, 55 escapes.
    #[divan::bench]
    fn long_escaped(bencher: Bencher) {
        let written = long_of("/conversations-%6f%66-%61-%67%72oup");
        read(bencher, &written, &long_of("/conversations-of-a-group"));
    }

    fn long_of(segment: &str) -> String {
        format!("/v3/users/cyclops1{}", segment.repeat(11))
    }

    fn read(bencher: Bencher, path: &str, canonical: &str) {
        assert_eq!(canonical_path(path).expect("one reading").0, canonical);
        bencher.bench_local(|| canonical_path(black_box(path)));
    }
}

/// The whole judgement of a head: method, lines, host, target.
#[divan::bench(args = LINES)]
fn admit_head(bencher: Bencher, lines: usize) {
    let rules = AdmitRules {
        target_bytes: 8192,
        head_bytes: 65_536,
        headers: 100,
        underscores: UnderscoreRule::Refuse,
    };
    let uri: Uri = "/v3/users/cyclops1?page=2".parse().expect("a target");
    let headers = head(&REQUEST[..lines]);
    let judge = || admit(&Method::GET, &uri, Version::HTTP_11, &headers, &rules);
    let admitted = judge().expect("the benchmark's heads are admitted");
    assert_eq!(admitted.path(), "/v3/users/cyclops1");
    bencher.bench_local(|| black_box(judge()));
}

mod sanitize {
    use super::*;

    #[divan::bench(args = LINES)]
    fn request(bencher: Bencher, lines: usize) {
        change(bencher, &REQUEST[..lines], &ENDS_GOING_UP, |headers| {
            sanitize_request(headers, &KEY, |_| false);
        });
    }

    #[divan::bench(args = LINES)]
    fn response(bencher: Bencher, lines: usize) {
        change(
            bencher,
            &ANSWER[..lines],
            &ENDS_GOING_DOWN,
            sanitize_response,
        );
    }

    /// Measures a change to copies of a head. Afterwards it must have lost what does not go further, and nothing else.
    fn change(
        bencher: Bencher,
        lines: &[(&'static str, &'static str)],
        ends: &[&str],
        work: impl Fn(&mut HeaderMap),
    ) {
        let whole = head(lines);
        let mut changed = whole.clone();
        work(&mut changed);
        for name in whole.keys() {
            let goes_on = changed.contains_key(name);
            assert_eq!(goes_on, !ends.contains(&name.as_str()), "{name}");
        }
        bencher
            .with_inputs(|| whole.clone())
            .bench_local_refs(|headers| work(black_box(headers)));
    }
}

mod request_id {
    use super::*;

    /// Drawn, as text. The system is asked for random bytes once in 256 of them, which is measured with them.
    #[divan::bench(sample_size = 1024)]
    fn made(bencher: Bencher) {
        let mut ids = RequestIds::new();
        bencher.bench_local(|| ids.next_id());
    }

    /// Drawn, and put into a header's value, which a proxied request needs twice: for the upstream and for the client.
    #[divan::bench(sample_size = 1024)]
    fn made_and_written(bencher: Bencher) {
        let mut ids = RequestIds::new();
        bencher.bench_local(|| ids.next_id().header());
    }

    /// Taken from a peer that may give one.
    #[divan::bench]
    fn given(bencher: Bencher) {
        let value = HeaderValue::from_static("0af7651916cd43dd8448eb211c80319c");
        assert!(RequestId::from_trusted(&value).is_some());
        bencher.bench_local(|| RequestId::from_trusted(black_box(&value)));
    }
}

fn head(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_static(name);
        headers.append(name, HeaderValue::from_static(value));
    }
    assert_eq!(headers.len(), lines.len());
    headers
}

/// Of which the first lines are sent.
const REQUEST: [(&str, &str); 40] = [
    ("host", "api.example.com"),
    ("user-agent", "curl/8.14.1"),
    ("accept", "*/*"),
    ("apikey", "0af7651916cd43dd8448eb211c80319c0af76519"),
    // A browser.
    ("connection", "keep-alive"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.7"),
    ("origin", "https://app.example.com"),
    ("referer", "https://app.example.com/conversations/4711"),
    (
        "cookie",
        "session=c1e0a7d3b2f94f1c; theme=dark; seen=2026-11-22",
    ),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-site", "same-site"),
    // And what stands between.
    ("sec-fetch-dest", "empty"),
    (
        "sec-ch-ua",
        "\"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\"",
    ),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Linux\""),
    ("dnt", "1"),
    ("priority", "u=1, i"),
    ("cache-control", "no-cache"),
    ("pragma", "no-cache"),
    (
        "if-none-match",
        "\"33a64df551425fcc55e4d42a148795d9f25f89d4\"",
    ),
    ("if-modified-since", "Sun, 22 Nov 2026 10:00:00 GMT"),
    (
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    ("tracestate", "congo=t61rcWkgMzE"),
    ("baggage", "user.tier=gold,region=eu-central-1"),
    ("x-request-id", "0af7651916cd43dd8448eb211c80319c"),
    ("x-correlation-id", "7d5d7a5e-7c0c-4f0e-8a51-9a0d1c7d2b11"),
    ("x-forwarded-for", "203.0.113.7, 198.51.100.9"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "api.example.com"),
    ("x-forwarded-port", "443"),
    ("x-real-ip", "203.0.113.7"),
    ("forwarded", "for=203.0.113.7;proto=https"),
    ("via", "2.0 edge-7"),
    ("cdn-loop", "edge"),
    ("true-client-ip", "203.0.113.7"),
    ("cf-connecting-ip", "203.0.113.7"),
    ("x-client-version", "5.12.3"),
    ("x-app-id", "2345678abcdef"),
    ("te", "trailers"),
];

/// Those of them that no upstream is sent as they came.
const ENDS_GOING_UP: [&str; 13] = [
    "host",
    "apikey",
    "connection",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-real-ip",
    "forwarded",
    "true-client-ip",
    "cf-connecting-ip",
    "te",
];

/// Likewise.
const ANSWER: [(&str, &str); 40] = [
    ("date", "Sun, 22 Nov 2026 10:00:00 GMT"),
    ("content-type", "application/json"),
    ("content-length", "43"),
    ("connection", "keep-alive, x-node-state"),
    ("keep-alive", "timeout=5"),
    ("x-node-state", "warm"),
    ("server", "nginx"),
    ("cache-control", "private, max-age=0, must-revalidate"),
    ("etag", "\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
    ("vary", "Accept-Encoding"),
    (
        "set-cookie",
        "session=c1e0a7d3b2f94f1c; Path=/; Secure; HttpOnly",
    ),
    ("strict-transport-security", "max-age=31536000"),
    ("last-modified", "Sun, 22 Nov 2026 09:00:00 GMT"),
    ("expires", "0"),
    ("pragma", "no-cache"),
    ("age", "0"),
    ("set-cookie", "theme=dark; Path=/; Secure"),
    ("content-language", "en"),
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("permissions-policy", "geolocation=(), camera=()"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-site"),
    ("access-control-allow-origin", "https://app.example.com"),
    (
        "access-control-expose-headers",
        "etag, x-ratelimit-remaining",
    ),
    ("link", "</v3/users?page=3>; rel=\"next\""),
    ("x-ratelimit-limit", "1000"),
    ("x-ratelimit-remaining", "997"),
    ("x-ratelimit-reset", "1700000000"),
    ("x-runtime", "0.012345"),
    ("x-powered-by", "chat"),
    ("x-version", "5.12.3"),
    ("server-timing", "db;dur=3.2, app;dur=8.1"),
    (
        "traceresponse",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    ("alt-svc", "h3=\":443\"; ma=86400"),
    ("via", "1.1 edge-7"),
    ("proxy-connection", "keep-alive"),
    ("trailer", "x-checksum"),
];

/// Those of them that no client is sent.
const ENDS_GOING_DOWN: [&str; 5] = [
    "connection",
    "keep-alive",
    "x-node-state",
    "proxy-connection",
    "trailer",
];
