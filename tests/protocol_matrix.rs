//! Every way in by every way out: the same outcome everywhere. A row of the table is one kind of exchange; it runs for
//! each protocol that clients speak and each that upstreams do, and asks both ends what came.

mod support;

use std::collections::HashMap;
use std::time::Instant;
use support::trial::pause;
use support::wire::{Authority, Caller, End, Framing, Heard, Outcome, Server, Wire, hash, noise};
use support::{Folder, Gateway, PATIENCE};

/// The protocols of clients.
const CLIENTS: &[Wire] = &[Wire::Http1, Wire::Http2, Wire::TlsHttp1, Wire::TlsHttp2];

/// The protocols of upstreams, with the names that they have here.
const UPSTREAMS: &[(&str, Wire)] = &[
    ("http1", Wire::Http1),
    ("h2c", Wire::Http2),
    ("unix", Wire::Unix),
    ("h2c-unix", Wire::UnixHttp2),
    ("https", Wire::TlsHttp1),
    ("https-h2", Wire::TlsHttp2),
];

const LARGE: usize = 3 * 1024 * 1024;

/// One combination.
struct Case<'a> {
    house: &'a House,
    caller: &'a mut Caller,
    client: Wire,
    server: &'a Server,
    /// What its paths begin with.
    prefix: String,
    /// How many requests the server heard before this row.
    before: usize,
    row: String,
}

struct House {
    authority: Authority,
    servers: Vec<(&'static str, Server)>,
    gateway: Gateway,
    _folder: Folder,
}

impl House {
    fn new() -> Self {
        let authority = Authority::new();
        let servers: Vec<_> = UPSTREAMS
            .iter()
            .map(|(name, wire)| (*name, Server::start(*wire, &authority, upstream)))
            .collect();
        let mut main = r#"
include = ["routes.toml"]
[server]
listen = [{ address = "127.0.0.1:0", tls = false }, "127.0.0.1:0"]
tls = { cert = "cert.pem", key = "key.pem" }
workers = 2
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
[keys]
store = "sqlite:data/keygate.db"
secret = "secret/master"
[management]
paths = []
"#
        .to_owned();
        let mut routes = String::new();
        for (name, server) in &servers {
            main.push_str(&format!(
                "[upstreams.{name}]\nservers = [\"{}\"]\n",
                server.url
            ));
            if server.wire.is_tls() {
                main.push_str("tls = { ca = \"ca.pem\" }\n");
            }
            routes.push_str(&format!(
                "[[routes]]\npath = \"/{name}/{{*rest}}\"\nupstream = \"{name}\"\naccess = \"public\"\n"
            ));
        }
        let folder = Folder::with_main(&main, &routes);
        authority.write(folder.path());
        let gateway = folder.start();
        House {
            authority,
            servers,
            gateway,
            _folder: folder,
        }
    }

    fn caller(&self, client: Wire) -> Caller {
        let [clear, tls] = self.gateway.addresses()[..] else {
            unreachable!("it has two listeners")
        };
        let address = if client.is_tls() { tls } else { clear };
        Caller::connect(address, client, &self.authority)
    }
}

/// What the upstream does, by the last segment of the path.
fn upstream(mut call: support::wire::Call) {
    let target = call.heard.target.clone();
    let path = target.split('?').next().expect("a path");
    match path.rsplit('/').next().expect("a segment") {
        // Answers each piece as it comes.
        "echo" => {
            let mut writing = call.begin(200, &[], Framing::Open);
            while let Some(Ok(piece)) = call.read() {
                writing.send(piece);
            }
        }
        // Answers with a body of a length that is known, or not.
        "large" | "large-open" => {
            if call.read_all().is_ok() {
                let framing = match target.ends_with("open") {
                    true => Framing::Open,
                    false => Framing::Length(LARGE as u64),
                };
                let told = call.told();
                let mut writing = call.begin(200, &[("x-told", &told)], framing);
                for piece in noise(LARGE).chunks(50_000) {
                    writing.send(piece.to_vec());
                }
            }
        }
        // Breaks off its answer, when the request says that what came of it was read.
        "half" | "half-length" => {
            let framing = match target.ends_with("length") {
                true => Framing::Length(2000),
                false => Framing::Open,
            };
            let mut writing = call.begin(200, &[], framing);
            writing.send(vec![b'x'; 1000]);
            let _ = call.read();
            writing.abort();
        }
        // Breaks off before it.
        "none" => {
            let _ = call.read_all();
        }
        // Answers without end, and notes when nobody listens.
        "endless" => {
            let _ = call.read_all();
            let mut writing = call.begin(200, &[], Framing::Open);
            while writing.send(vec![b'x'; 16 * 1024]) {}
        }
        // Answers first, reads after.
        "early" => {
            call.begin(418, &[("x-early", "yes")], Framing::Empty);
            let _ = call.read_all();
        }
        "head" => call.begin_and_leave(200, &[("content-length", "12345"), ("x-a", "b")]),
        // As gRPC does: what the trailers say came with those of the request.
        "grpc" => {
            let mut writing =
                call.begin(200, &[("content-type", "application/grpc")], Framing::Open);
            let body = call.read_all().unwrap_or_default();
            writing.send(body);
            let trailers = call.heard.trailers.clone().unwrap_or_default();
            let said = trailers.get("x-sent").and_then(|v| v.to_str().ok());
            writing.trailers(&[("grpc-status", "0"), ("x-got", said.unwrap_or("nothing"))]);
        }
        "no-content" => {
            let _ = call.read_all();
            call.answer(204, &[], "");
        }
        "error" => {
            let _ = call.read_all();
            call.answer(503, &[("retry-after", "7")], "not today");
        }
        "headers" => {
            let _ = call.read_all();
            let headers = [
                ("set-cookie", "a=1"),
                ("set-cookie", "b=2; Path=/"),
                ("x-many", "1"),
                ("x-many", "2"),
                ("connection", "x-gone"),
                ("keep-alive", "timeout=60"),
                ("x-gone", "1"),
            ];
            let some = if call.heard.version == http::Version::HTTP_2 {
                &headers[..4]
            } else {
                &headers[..]
            };
            call.answer(200, some, "headers");
        }
        _ => {
            if call.read_all().is_ok() {
                let told = call.told();
                call.answer(200, &[], told);
            }
        }
    }
}

impl Case<'_> {
    fn path(&self, rest: &str) -> String {
        format!("{}/{rest}", self.prefix)
    }

    fn call(&mut self, method: &str, rest: &str, body: &[u8]) -> Outcome {
        let path = self.path(rest);
        self.caller.call(method, &path, &[], body)
    }

    /// What an upstream tells that got this.
    fn told(&self, method: &str, rest: &str, body: &[u8]) -> String {
        format!("{method} {} {} {}", self.path(rest), body.len(), hash(body))
    }

    fn is_told(&self, outcome: &Outcome, method: &str, rest: &str, body: &[u8]) {
        let row = &self.row;
        assert_eq!(
            (outcome.status, &outcome.broken, outcome.text()),
            (200, &None, self.told(method, rest, body)),
            "{row}"
        );
        assert_eq!(outcome.trailers, None, "{row}");
    }

    /// The last request of this target that the upstream heard, when it is as wanted.
    fn heard(&self, rest: &str, what: &str, wanted: impl Fn(&Heard) -> bool) -> Heard {
        let path = self.path(rest);
        let of = |h: &&Heard| h.target == path;
        let all = self
            .server
            .wait_for(&format!("{}: {what}", self.row), |all| {
                all[self.before..].iter().rfind(of).is_some_and(&wanted)
            });
        all.iter().rfind(of).expect("it was there").clone()
    }

    /// A new connection for the client, where the last exchange may have cost it.
    fn reconnect(&mut self) {
        *self.caller = self.house.caller(self.client);
    }
}

/// A row of the table, and what it does.
type Row = (&'static str, fn(&mut Case<'_>));

const ROWS: &[Row] = &[
    ("small", small),
    ("empty bodies", empty_bodies),
    ("methods", methods),
    ("large, lengths known", large),
    ("large, lengths unknown", large_open),
    ("GET with a body", get_with_body),
    ("interleaved", interleaved),
    ("both finish alone", both_finish_alone),
    ("HEAD", head),
    ("answers without a body", no_content),
    ("an upstream's own error", own_error),
    ("headers", headers),
    ("cookies", cookies),
    ("trailers of gRPC", trailers),
    ("expectation", expectation),
    ("client aborts its upload", client_aborts_upload),
    ("client leaves an answer", client_leaves_answer),
    ("upstream aborts its answer", upstream_aborts),
    ("upstream gives none", upstream_gives_none),
    ("upstream answers early", upstream_answers_early),
    ("a length that is not kept", length_not_kept),
    ("refused", refused),
];

fn small(case: &mut Case) {
    for (method, rest, body) in [
        ("GET", "a?q=1&r=%2F", ""),
        ("POST", "b", "hello"),
        ("PUT", "c/d", "x"),
    ] {
        let outcome = case.call(method, rest, body.as_bytes());
        case.is_told(&outcome, method, rest, body.as_bytes());
        let heard = case.heard(rest, "it ended", |h| h.end.is_some());
        assert_eq!(heard.end, Some(End::Whole), "{}", case.row);
        let length = heard.headers.get("content-length").map(|v| v.as_bytes());
        let due = body.len().to_string();
        let due = (!body.is_empty()).then_some(due.as_bytes());
        assert_eq!(length, due, "{}", case.row);
        assert_eq!(
            heard.version == http::Version::HTTP_2,
            case.server.wire.is_http2()
        );
        assert!(
            !heard.headers.contains_key("transfer-encoding"),
            "{}",
            case.row
        );
    }
}

fn empty_bodies(case: &mut Case) {
    for method in ["POST", "PUT", "DELETE", "PATCH", "GET"] {
        for framing in [Framing::Empty, Framing::Length(0), Framing::Open] {
            let path = case.path("empty");
            let outcome = case.caller.open(method, &path, &[], framing).outcome();
            case.is_told(&outcome, method, "empty", b"");
        }
    }
}

fn methods(case: &mut Case) {
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let outcome = case.call(method, "method", b"body");
        case.is_told(&outcome, method, "method", b"body");
    }
}

fn large(case: &mut Case) {
    let body = noise(LARGE);
    let outcome = case.call("POST", "large", &body);
    let told = case.told("POST", "large", &body);
    assert_eq!(
        outcome.header("x-told"),
        Some(told.as_str()),
        "{}",
        case.row
    );
    assert_eq!(
        outcome.header("content-length"),
        Some(&*LARGE.to_string()),
        "{}",
        case.row
    );
    assert_eq!(
        (outcome.broken, hash(&outcome.body)),
        (None, hash(&body)),
        "{}",
        case.row
    );
    let heard = case.heard("large", "it ended", |h| h.end.is_some());
    assert_eq!(
        heard.headers["content-length"],
        LARGE.to_string(),
        "{}",
        case.row
    );
}

fn large_open(case: &mut Case) {
    let body = noise(LARGE);
    let path = case.path("large-open");
    let mut exchange = case.caller.open("POST", &path, &[], Framing::Open);
    for piece in body.chunks(70_000) {
        assert!(exchange.send(piece.to_vec()), "{}", case.row);
    }
    let outcome = exchange.outcome();
    let told = case.told("POST", "large-open", &body);
    assert_eq!(
        outcome.header("x-told"),
        Some(told.as_str()),
        "{}",
        case.row
    );
    assert_eq!(outcome.header("content-length"), None, "{}", case.row);
    assert_eq!(
        (outcome.broken, hash(&outcome.body)),
        (None, hash(&body)),
        "{}",
        case.row
    );
}

fn get_with_body(case: &mut Case) {
    for method in ["GET", "DELETE"] {
        let outcome = case.call(method, "body", b"known");
        case.is_told(&outcome, method, "body", b"known");
        let path = case.path("body");
        let mut exchange = case.caller.open(method, &path, &[], Framing::Open);
        exchange.send("unkn");
        exchange.send("own");
        let outcome = exchange.outcome();
        case.is_told(&outcome, method, "body", b"unknown");
    }
}

fn interleaved(case: &mut Case) {
    let path = case.path("echo");
    let mut exchange = case.caller.open("POST", &path, &[], Framing::Open);
    for n in 0..20 {
        let piece = format!("piece {n}");
        assert!(exchange.send(piece.clone()), "{}", case.row);
        // Nothing is held back: it comes before the next is sent.
        assert_eq!(exchange.piece(), piece, "{}", case.row);
    }
    let rest = exchange.outcome();
    assert_eq!(
        (rest.status, rest.broken, rest.body.len()),
        (200, None, 0),
        "{}",
        case.row
    );
}

fn both_finish_alone(case: &mut Case) {
    // The request ends long before the answer does.
    let path = case.path("echo");
    let mut exchange = case.caller.open("POST", &path, &[], Framing::Open);
    exchange.send("one");
    assert_eq!(exchange.piece(), "one", "{}", case.row);
    let outcome = exchange.outcome();
    assert_eq!(outcome.broken, None, "{}", case.row);
    let heard = case.heard("echo", "it ended", |h| h.end.is_some());
    assert_eq!(
        (heard.end, heard.bytes),
        (Some(End::Whole), 3),
        "{}",
        case.row
    );
}

fn head(case: &mut Case) {
    let outcome = case.call("HEAD", "head", b"");
    assert_eq!(
        (
            outcome.status,
            outcome.header("content-length"),
            outcome.header("x-a")
        ),
        (200, Some("12345"), Some("b")),
        "{}",
        case.row
    );
    assert_eq!(
        (outcome.body.len(), outcome.broken),
        (0, None),
        "{}",
        case.row
    );
    let outcome = case.call("GET", "after-head", b"");
    case.is_told(&outcome, "GET", "after-head", b"");
}

fn no_content(case: &mut Case) {
    for method in ["GET", "POST", "DELETE"] {
        let outcome = case.call(method, "no-content", b"");
        assert_eq!(
            (outcome.status, outcome.body.len(), &outcome.broken),
            (204, 0, &None),
            "{}",
            case.row
        );
        assert_eq!(outcome.header("content-length"), None, "{}", case.row);
    }
}

fn own_error(case: &mut Case) {
    let outcome = case.call("POST", "error", b"body");
    assert_eq!(
        (
            outcome.status,
            outcome.header("retry-after"),
            outcome.text().as_str()
        ),
        (503, Some("7"), "not today"),
        "{}",
        case.row
    );
}

fn headers(case: &mut Case) {
    let path = case.path("headers");
    let mut sent = vec![("x-a", "1"), ("x-a", "2"), ("x-b", "Mixed Case, and: more")];
    if !case.client.is_http2() {
        sent.extend([("connection", "x-hop"), ("x-hop", "1"), ("keep-alive", "1")]);
    }
    let outcome = case.caller.call("GET", &path, &sent, b"");
    let values = |headers: &http::HeaderMap, name: &str| -> Vec<String> {
        let all = headers.get_all(name).iter();
        all.map(|v| v.to_str().expect("text").to_owned()).collect()
    };
    assert_eq!(
        values(&outcome.headers, "set-cookie"),
        ["a=1", "b=2; Path=/"],
        "{}",
        case.row
    );
    assert_eq!(
        values(&outcome.headers, "x-many"),
        ["1", "2"],
        "{}",
        case.row
    );
    for gone in ["x-gone", "keep-alive"] {
        assert_eq!(outcome.header(gone), None, "{}: {gone}", case.row);
    }
    let heard = case
        .heard("headers", "it ended", |h| h.end.is_some())
        .headers;
    assert_eq!(values(&heard, "x-a"), ["1", "2"], "{}", case.row);
    assert_eq!(
        values(&heard, "x-b"),
        ["Mixed Case, and: more"],
        "{}",
        case.row
    );
    for gone in ["x-hop", "keep-alive", "connection", "te", "upgrade"] {
        assert!(!heard.contains_key(gone), "{}: {gone}", case.row);
    }
    let proto = if case.client.is_tls() {
        "https"
    } else {
        "http"
    };
    assert_eq!(values(&heard, "x-forwarded-proto"), [proto], "{}", case.row);
    assert_eq!(
        values(&heard, "x-forwarded-host"),
        ["gateway.test"],
        "{}",
        case.row
    );
    assert_eq!(
        values(&heard, "x-forwarded-for"),
        ["127.0.0.1"],
        "{}",
        case.row
    );
}

fn cookies(case: &mut Case) {
    let path = case.path("cookies");
    let sent: &[(&str, &str)] = if case.client.is_http2() {
        // RFC 9113, section 8.2.3: HTTP/2 may part them; who does not speak it must get them joined.
        &[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]
    } else {
        &[("cookie", "a=1; b=2; c=3")]
    };
    case.caller.call("GET", &path, sent, b"");
    let heard = case.heard("cookies", "it ended", |h| h.end.is_some());
    let all: Vec<_> = heard.headers.get_all("cookie").iter().collect();
    if !case.server.wire.is_http2() {
        assert_eq!(all.len(), 1, "{}: {all:?}", case.row);
    }
    let joined: Vec<_> = all.iter().map(|v| v.to_str().expect("text")).collect();
    assert_eq!(joined.join("; "), "a=1; b=2; c=3", "{}", case.row);
}

fn trailers(case: &mut Case) {
    if !case.client.is_http2() || !case.server.wire.is_http2() {
        // gRPC needs HTTP/2 from end to end.
        return;
    }
    // What begins or ends with a blank is malformed, and not passed on (RFC 9113, section 8.2.1).
    for (sent, passed) in [
        (None, "nothing"),
        (Some("sent"), "sent"),
        (Some(" sent"), "nothing"),
        (Some("sent\t"), "nothing"),
    ] {
        let path = case.path("grpc");
        let fields = [
            ("content-type", "application/grpc+proto"),
            ("te", "trailers"),
        ];
        let mut exchange = case.caller.open("POST", &path, &fields, Framing::Open);
        exchange.send("a message");
        match sent {
            Some(sent) => exchange.trailers(&[("x-sent", sent)]),
            None => exchange.finish(),
        }
        let outcome = exchange.rest();
        assert_eq!(
            (outcome.status, outcome.text().as_str()),
            (200, "a message"),
            "{}",
            case.row
        );
        let got = (outcome.trailer("grpc-status"), outcome.trailer("x-got"));
        assert_eq!(got, (Some("0"), Some(passed)), "{}: {sent:?}", case.row);
        let heard = case.heard("grpc", "it ended", |h| h.end.is_some());
        assert_eq!(
            heard.headers.get("te").map(|v| v.as_bytes()),
            Some(&b"trailers"[..]),
            "{}",
            case.row
        );
    }
}

fn expectation(case: &mut Case) {
    let path = case.path("expect");
    let sent = [("expect", "100-continue")];
    let outcome = case.caller.call("POST", &path, &sent, b"expected");
    case.is_told(&outcome, "POST", "expect", b"expected");
    let heard = case.heard("expect", "it ended", |h| h.end.is_some());
    assert!(!heard.headers.contains_key("expect"), "{}", case.row);
}

fn client_aborts_upload(case: &mut Case) {
    for framing in [Framing::Open, Framing::Length(100)] {
        let path = case.path("aborted");
        let mut exchange = case.caller.open("POST", &path, &[], framing);
        exchange.send("0123456789");
        case.heard("aborted", "the piece arrived", |h| {
            h.bytes == 10 && h.end.is_none()
        });
        exchange.abort();
        let heard = case.heard("aborted", "it ended", |h| h.end.is_some());
        assert_eq!(
            (heard.end, heard.bytes),
            (Some(End::Broken), 10),
            "{}: {framing:?}",
            case.row
        );
        drop(exchange);
        if !case.client.is_http2() {
            case.reconnect();
        }
        // On HTTP/2 the connection is left, and its other streams.
        let outcome = case.call("POST", "after-abort", b"body");
        case.is_told(&outcome, "POST", "after-abort", b"body");
    }
}

fn client_leaves_answer(case: &mut Case) {
    let path = case.path("endless");
    let mut exchange = case.caller.open("GET", &path, &[], Framing::Empty);
    assert!(exchange.piece().len() <= 16 * 1024, "{}", case.row);
    drop(exchange);
    if !case.client.is_http2() {
        case.reconnect();
    }
    // The access log has a line when the request has ended; so has the upstream's script then.
    let outcome = case.call("GET", "after-leaving", b"");
    case.is_told(&outcome, "GET", "after-leaving", b"");
}

fn upstream_aborts(case: &mut Case) {
    for rest in ["half", "half-length"] {
        for method in ["GET", "POST"] {
            let path = case.path(rest);
            let mut exchange = case.caller.open(method, &path, &[], Framing::Open);
            let mut bytes = 0;
            while bytes < 1000 {
                bytes += exchange.piece().len();
            }
            exchange.send("it came");
            let outcome = exchange.rest();
            assert!(
                outcome.broken.is_some(),
                "{}: {rest}: {outcome:?}",
                case.row
            );
            assert_eq!(
                (outcome.status, outcome.body.len()),
                (200, 0),
                "{}",
                case.row
            );
            drop(exchange);
            if !case.client.is_http2() {
                case.reconnect();
            }
            let outcome = case.call("POST", "after-half", b"body");
            case.is_told(&outcome, "POST", "after-half", b"body");
        }
    }
}

fn upstream_gives_none(case: &mut Case) {
    for method in ["POST", "GET"] {
        let outcome = case.call(method, "none", b"");
        assert_eq!(
            (outcome.status, outcome.code().as_str(), &outcome.broken),
            (502, "ERR_UPSTREAM_UNAVAILABLE", &None),
            "{}: {method}",
            case.row
        );
        let outcome = case.call("POST", "after-none", b"body");
        case.is_told(&outcome, "POST", "after-none", b"body");
    }
}

fn upstream_answers_early(case: &mut Case) {
    let path = case.path("early");
    let mut exchange = case.caller.open("POST", &path, &[], Framing::Open);
    exchange.send("some");
    let (status, headers) = exchange.head().expect("an answer");
    assert_eq!(
        (status.as_u16(), &headers["x-early"]),
        (418, &"yes".parse().unwrap()),
        "{}",
        case.row
    );
    drop(exchange);
    case.reconnect();
    let outcome = case.call("POST", "after-early", b"body");
    case.is_told(&outcome, "POST", "after-early", b"body");
}

fn length_not_kept(case: &mut Case) {
    // Less than was said: the upstream never sees it whole. (hyper sends no more than was said, h2 neither.)
    let path = case.path("short");
    let mut exchange = case.caller.open("POST", &path, &[], Framing::Length(10));
    exchange.send("01234");
    case.heard("short", "the piece arrived", |h| h.bytes == 5);
    exchange.finish();
    let heard = case.heard("short", "it ended", |h| h.end.is_some());
    assert_eq!(heard.end, Some(End::Broken), "{}", case.row);
    drop(exchange);
    case.reconnect();
}

fn refused(case: &mut Case) {
    // Nothing of these reaches an upstream: their number below says so too.
    let before = case.server.heard().len();
    let path = case.path("a/../b");
    let outcome = case.caller.call("GET", &path, &[], b"");
    assert_eq!(outcome.status, 400, "{}", case.row);
    let outcome = case.caller.call("GET", "/nowhere", &[], b"");
    assert_eq!(
        (outcome.status, outcome.code().as_str()),
        (401, "AUTH_ERR_EMPTY_APIKEY"),
        "{}",
        case.row
    );
    let path = case.path("x");
    let outcome = case.caller.call("GET", &path, &[("x_under", "1")], b"");
    assert_eq!(outcome.status, 400, "{}", case.row);
    let outcome = case.caller.call("BREW", &path, &[], b"");
    assert_eq!(outcome.status, 401, "{}", case.row);
    assert_eq!(case.server.heard().len(), before, "{}", case.row);
}

/// Each upstream heard each request as often as the log says that it was sent, once each has its line.
fn attempts_are_those_logged(house: &House, row: &str) {
    // By id: how often it was heard, and how often that was logged.
    let begun = Instant::now();
    loop {
        let mut counts: HashMap<String, (u64, u64)> = HashMap::new();
        for (_, server) in &house.servers {
            for request in server.heard() {
                let id = request.headers.get("x-request-id").expect("an id");
                let id = id.to_str().expect("text").to_owned();
                counts.entry(id).or_default().0 += 1;
            }
        }
        for (id, attempts) in house.gateway.attempts() {
            counts.entry(id).or_default().1 = attempts;
        }
        counts.retain(|_, (heard, logged)| heard != logged);
        if counts.is_empty() {
            return;
        }
        if begun.elapsed() > PATIENCE {
            let log = house.gateway.log();
            let of = |line: &&str| counts.keys().any(|id| line.contains(id));
            let lines: Vec<_> = log.lines().filter(of).collect();
            panic!("{row}: heard and logged: {counts:?}\n{}", lines.join("\n"));
        }
        pause();
    }
}

#[test]
fn the_outcome_is_the_same_by_every_way_in_and_out() {
    let house = House::new();
    for client in CLIENTS {
        for (name, server) in &house.servers {
            // One connection for all rows of a combination: each row leaves it fit for the next.
            let mut caller = house.caller(*client);
            for (row, run) in ROWS {
                let row = format!("{client:?} to {name}: {row}");
                run(&mut Case {
                    house: &house,
                    caller: &mut caller,
                    client: *client,
                    server,
                    prefix: format!("/{name}"),
                    before: server.heard().len(),
                    row,
                });
            }
            attempts_are_those_logged(&house, &format!("{client:?} to {name}"));
        }
    }
    assert!(
        !house.gateway.log().contains("panicked"),
        "{}",
        house.gateway.log()
    );
}
