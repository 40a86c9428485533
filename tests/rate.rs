//! `rate` and `streams`: how much of a route a key may use, counted for key and route over all workers, and kept over
//! reloads.
//!
//! Rates here are per hour: nothing comes back while a test runs.

mod support;

use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use support::{Answer, Client, Folder, Gateway, PATIENCE, Upstream, respond};

/// `METHOD /path`, status, remaining.
type Row<'r> = (&'r str, u16, Option<&'r str>);

struct House {
    upstream: Upstream,
    folder: Folder,
    gateway: Gateway,
    one: String,
    two: String,
}

const SCOPES: &str =
    "[scopes]\nauthOnly = []\nfullAccess = [\"authOnly\"]\n[defaults]\nupstream = \"chat\"\n";

impl House {
    fn build(upstream: Upstream, main: &str, routes: &str) -> House {
        let folder = Folder::new(upstream.address, main, routes);
        let one = format!("apikey: {}", folder.new_key("one", "fullAccess"));
        let two = format!("apikey: {}", folder.new_key("two", "fullAccess"));
        let gateway = folder.start();
        House {
            upstream,
            folder,
            gateway,
            one,
            two,
        }
    }

    fn ask(&self, request: &str, key: &str) -> Answer {
        self.gateway.call(request, &[key], "")
    }

    fn rows(&self, key: &str, rows: &[Row<'_>]) {
        for (number, (request, status, remaining)) in rows.iter().enumerate() {
            let answer = self.ask(request, key);
            let row = format!("{number}: {request}: {}", answer.text());
            assert_eq!(answer.status, *status, "{row}");
            assert_eq!(answer.header("x-ratelimit-remaining"), *remaining, "{row}");
            assert_eq!(
                answer.header("x-ratelimit-limit").is_some(),
                remaining.is_some(),
                "{row}"
            );
            assert_eq!(
                answer.header("x-ratelimit-reset").is_some(),
                remaining.is_some(),
                "{row}"
            );
        }
    }

    /// Writes these routes and waits until they are in force.
    fn reload(&self, routes: &str) {
        let told = || self.gateway.admin("/status").json()["policy"]["generation"].as_u64();
        let before = told();
        self.folder.write("routes.toml", routes);
        self.gateway
            .eventually(told, |generation| *generation > before);
    }
}

fn seconds(answer: &Answer, name: &str) -> u64 {
    let value = answer
        .header(name)
        .unwrap_or_else(|| panic!("{name}: {answer:?}"));
    value.parse().expect("whole seconds")
}

#[test]
fn a_key_has_its_rate_on_a_route_and_then_429_says_when_to_come_again() {
    let upstream = Upstream::start(|_, stream| {
        let theirs = [
            "x-ratelimit-limit: 9999",
            "X-RateLimit-Remaining: 9998",
            "x-ratelimit-reset: 1",
            "retry-after: 7",
        ];
        respond(stream, 200, &theirs, "[]", 2)
    });
    let house = House::build(
        upstream,
        "",
        &format!("{SCOPES}[[routes]]\npath = \"/a\"\nscope = \"authOnly\"\nrate = \"5/h\"\n"),
    );
    for left in (0..5u64).rev() {
        let answer = house.ask("GET /a", &house.one);
        assert_eq!(answer.status, 200);
        let count = |name: &str| {
            let named = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
            answer.headers.iter().filter(named).count()
        };
        for name in [
            "x-ratelimit-limit",
            "x-ratelimit-remaining",
            "x-ratelimit-reset",
        ] {
            assert_eq!(
                count(name),
                1,
                "ours stands in place of the upstream's: {name}"
            );
        }
        assert_eq!(seconds(&answer, "x-ratelimit-limit"), 5);
        assert_eq!(seconds(&answer, "x-ratelimit-remaining"), left);
        // Each costs 12 minutes; what has passed since is less than one.
        let used = (5 - left) * 720;
        assert!(
            (used - 60..=used).contains(&seconds(&answer, "x-ratelimit-reset")),
            "{answer:?}"
        );
        assert_eq!(
            answer.header("retry-after"),
            Some("7"),
            "the upstream's is passed on"
        );
    }
    for _ in 0..2 {
        let over = house.ask("GET /a", &house.one);
        assert_eq!((over.status, &*over.code()), (429, "ERR_TOO_MANY_REQUESTS"));
        assert!(
            (660..=720).contains(&seconds(&over, "retry-after")),
            "{over:?}"
        );
        assert_eq!(seconds(&over, "x-ratelimit-limit"), 5);
        assert_eq!(seconds(&over, "x-ratelimit-remaining"), 0);
        assert!(
            (3540..=3600).contains(&seconds(&over, "x-ratelimit-reset")),
            "{over:?}"
        );
        assert_eq!(over.header("connection"), None, "the connection goes on");
    }
    assert_eq!(
        house.upstream.seen().len(),
        5,
        "what is refused never goes up"
    );
    house.rows(&house.two, &[("GET /a", 200, Some("4"))]);

    let line = house
        .gateway
        .wait_for_log(|line| line.contains("\"rate_limited\""));
    assert!(
        line.contains("\"rate_limit\"") && line.contains("\"status\":429"),
        "{line}"
    );
    let counted = |line: &str| line.contains("outcome=\"rate_limited\"") && line.ends_with(" 2");
    let page = house.gateway.eventually(
        || house.gateway.admin("/metrics").text(),
        |page| page.lines().any(counted),
    );
    assert!(page.contains("\nkeygate_rate_buckets 2\n"), "{page}");
}

#[test]
fn all_paths_prefixes_and_methods_of_a_table_share_a_bucket_and_no_two_tables_do() {
    let house = House::build(
        Upstream::echo(),
        "",
        &format!(
            "prefix = [\"/v3\", \"/v3.0\"]\n{SCOPES}\
             [[routes]]\npath = [\"/a\", \"/b/{{id}}\"]\nscope = \"authOnly\"\nrate = {{ rate = \"1/h\", burst = 4 }}\n\
             [[routes]]\npath = \"/a\"\nmethods = [\"DELETE\"]\nscope = \"authOnly\"\nrate = \"2/h\"\n\
             [[routes]]\npath = \"/a\"\nhost = \"other.test\"\nscope = \"authOnly\"\nrate = \"2/h\"\n\
             [[routes]]\npath = \"/free\"\nscope = \"authOnly\"\n"
        ),
    );
    house.rows(
        &house.one,
        &[
            ("GET /v3/a", 200, Some("3")),
            ("POST /v3.0/a", 200, Some("2")),
            ("HEAD /v3/b/1", 200, Some("1")),
            ("DELETE /v3/a", 200, Some("1")),
            ("GET /v3/b/2?x", 200, Some("0")),
            ("GET /v3/a", 429, Some("0")),
            ("HEAD /v3.0/b/3", 429, Some("0")),
            ("DELETE /v3.0/a", 200, Some("0")),
            ("DELETE /v3/a", 429, Some("0")),
            ("GET /v3/free", 200, None),
        ],
    );
    let other = house
        .gateway
        .connect()
        .call_as("other.test", "GET /v3/a", &[&house.one]);
    assert_eq!(other.header("x-ratelimit-remaining"), Some("1"));
}

trait As {
    fn call_as(&mut self, host: &str, request: &str, headers: &[&str]) -> Answer;
}

impl As for Client {
    fn call_as(&mut self, host: &str, request: &str, headers: &[&str]) -> Answer {
        let headers = headers.join("\r\n");
        self.send(format!(
            "{request} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n\r\n"
        ));
        self.answer(request.starts_with("HEAD "))
    }
}

#[test]
fn the_bucket_is_the_keys_and_stands_on_every_answer_after_the_scope_was_judged() {
    let house = House::build(
        Upstream::echo(),
        // Until it is known, the new key is asked for with as good as no pause.
        "[limits]\nbody_bytes = \"10B\"\nfailed_auth = { rate = \"1000000/s\", burst = 1000000000 }\n[upstreams.away]\nservers = [\"http://127.0.0.1:1\"]\n",
        &format!(
            "{SCOPES}[[routes]]\npath = \"/a\"\nscope = \"fullAccess\"\nrate = \"5/h\"\n\
             [[routes]]\npath = \"/away\"\nscope = \"fullAccess\"\nrate = \"5/h\"\nupstream = \"away\"\n"
        ),
    );
    let weak = format!("apikey: {}", house.folder.new_key("weak", "authOnly"));
    house.gateway.eventually(
        || house.ask("GET /a", &weak).status,
        |status| *status == 403,
    );
    // Refused before the rate: nothing is told of it and nothing is used up.
    house.rows(&weak, &[("GET /a", 403, None)]);
    house.rows("apikey: wrong", &[("GET /a", 401, None)]);
    house.rows("x: y", &[("GET /a", 401, None)]);
    house.rows(
        &house.one,
        &[("GET /nowhere", 404, None), ("PURGE /a", 405, None)],
    );
    // After it: the upstream is away, the body is too large.
    house.rows(
        &house.one,
        &[("GET /away", 502, Some("4")), ("GET /a", 200, Some("4"))],
    );
    let large = house
        .gateway
        .call("POST /a", &[&house.one], "more than ten bytes");
    assert_eq!(
        (large.status, large.header("x-ratelimit-remaining")),
        (413, Some("3"))
    );
    house.rows(&house.one, &[("GET /a", 200, Some("2"))]);
}

#[test]
fn a_default_rate_holds_for_routes_with_a_key_unless_they_say_otherwise() {
    let routes = SCOPES.replace("[defaults]\n", "[defaults]\nrate = \"3/h\"\n");
    let house = House::build(
        Upstream::echo(),
        "",
        &format!(
            "{routes}[[routes]]\npath = \"/a\"\nscope = \"authOnly\"\n\
             [[routes]]\npath = \"/b\"\nscope = \"authOnly\"\nrate = \"9/h\"\n\
             [[routes]]\npath = \"/c\"\nscope = \"authOnly\"\nrate = false\n\
             [[routes]]\npath = \"/open\"\naccess = \"public\"\n\
             [[routes]]\npath = \"/closed\"\naccess = \"deny\"\n"
        ),
    );
    house.rows(
        &house.one,
        &[
            ("GET /a", 200, Some("2")),
            ("GET /b", 200, Some("8")),
            ("GET /c", 200, None),
            ("GET /open", 200, None),
            ("GET /closed", 403, None),
            ("GET /apikeys", 200, None),
        ],
    );
}

#[test]
fn all_workers_count_in_one_bucket() {
    let house = House::build(
        Upstream::echo(),
        "",
        &format!("{SCOPES}[[routes]]\npath = \"/a\"\nscope = \"authOnly\"\nrate = \"40/h\"\n"),
    );
    // Connections go to the worker with the fewest: eight open ones are on both.
    let passed: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let mut client = house.gateway.connect();
                let key = house.one.clone();
                scope.spawn(move || {
                    (0..10)
                        .filter(|_| client.call("GET /a", &[&key], "").status == 200)
                        .count()
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum()
    });
    assert_eq!(passed, 40);
    assert_eq!(house.upstream.seen().len(), 40);
}

#[test]
fn a_reload_keeps_the_buckets_whatever_else_is_edited() {
    let of = |rate: &str, more: &str| {
        format!(
            "{SCOPES}{more}[[routes]]\npath = [\"/a\", \"/b\"]\nscope = \"authOnly\"\nrate = {rate}\n"
        )
    };
    let house = House::build(Upstream::echo(), "", &of("\"3/h\"", ""));
    house.rows(
        &house.one,
        &[("GET /a", 200, Some("2")), ("GET /a", 200, Some("1"))],
    );
    // Another route before it, its paths in another order, a name, another scope.
    house.reload(
        "[scopes]\nauthOnly = []\nfullAccess = [\"authOnly\"]\n[defaults]\nupstream = \"chat\"\n\
         [[routes]]\npath = \"/first\"\nscope = \"authOnly\"\nrate = \"3/h\"\n\
         [[routes]]\nname = \"renamed\"\nrate = \"3/h\"\nscope = \"fullAccess\"\npath = [\"/b\", \"/a\"]\n",
    );
    house.rows(
        &house.one,
        &[
            ("GET /b", 200, Some("0")),
            ("GET /b", 429, Some("0")),
            ("GET /first", 200, Some("2")),
        ],
    );
    // A wider burst: three of five are used.
    house.reload(&of("{ rate = \"3/h\", burst = 5 }", ""));
    house.rows(
        &house.one,
        &[
            ("GET /a", 200, Some("1")),
            ("GET /a", 200, Some("0")),
            ("GET /a", 429, Some("0")),
        ],
    );
    // A narrower one, then none, then the first again: what was used stays used.
    house.reload(&of("\"1/h\"", ""));
    house.rows(&house.one, &[("GET /a", 429, Some("0"))]);
    house.reload(&of("false", ""));
    house.rows(&house.one, &[("GET /a", 200, None)]);
    house.reload(&of("\"1/h\"", ""));
    house.rows(&house.one, &[("GET /a", 429, Some("0"))]);
    house.rows(&house.two, &[("GET /a", 200, Some("0"))]);
    // A rate so wide that waiting for the narrow one would be felt: a wait of the new rate is all.
    house.reload(&of("\"1000000/s\"", ""));
    house.gateway.eventually(
        || house.ask("GET /a", &house.one).status,
        |status| *status == 200,
    );
}

/// Answers when it is told to.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let open = self.open.lock().unwrap();
        let waited = self
            .changed
            .wait_timeout_while(open, PATIENCE, |open| !*open);
        assert!(*waited.unwrap().0, "nobody opened the gate");
    }
}

#[test]
fn a_key_has_so_many_exchanges_open_on_a_route_and_in_all() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let upstream = Upstream::start(move |seen, stream| {
        if seen.target().starts_with("/slow") {
            // The head and the beginning of a stream at once, its end when the gate opens.
            use std::io::Write;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n";
            if stream.write_all(head.as_bytes()).is_err() {
                return false;
            }
            held.pass();
            return stream.write_all(b"0\r\n\r\n").is_ok();
        }
        respond(stream, 200, &[], "[]", 2)
    });
    let house = House::build(
        upstream,
        "[limits]\nstreams_per_key = 5\n",
        &format!(
            "{SCOPES}[[routes]]\npath = [\"/slow/{{id}}\", \"/quick\"]\nscope = \"authOnly\"\nstreams = 3\n\
             [[routes]]\npath = \"/slow-too\"\nscope = \"authOnly\"\n\
             [[routes]]\npath = \"/slow-open\"\naccess = \"public\"\n"
        ),
    );
    // A stream is open as soon as its head is here, whatever worker its connection is on.
    let open = |path: &str, key: &str| {
        let mut client = house.gateway.connect();
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: a.test\r\n{key}\r\n\r\n"
        ));
        let (status, _) = client.try_head().expect("a head");
        (status, client)
    };
    let mut streams = Vec::new();
    for n in 0..3 {
        let (status, client) = open(&format!("/slow/{n}"), &house.one);
        assert_eq!(status, 200, "{n}");
        streams.push(client);
    }
    for request in ["GET /slow/4", "GET /quick", "POST /quick"] {
        let over = house.ask(request, &house.one);
        assert_eq!(
            (over.status, &*over.code()),
            (429, "ERR_TOO_MANY_REQUESTS"),
            "{request}"
        );
        assert!(over.header("retry-after").is_some(), "{request}");
        assert_eq!(
            over.header("x-ratelimit-limit"),
            None,
            "{request}: there is no rate"
        );
    }
    assert_eq!(
        house.ask("GET /quick", &house.two).status,
        200,
        "another key"
    );
    // Another route has places of its own, up to what the key may have in all.
    for n in 0..2 {
        let (status, client) = open("/slow-too", &house.one);
        assert_eq!(status, 200, "{n}");
        streams.push(client);
    }
    assert_eq!(
        house.ask("GET /slow-too", &house.one).status,
        429,
        "five in all"
    );
    assert_eq!(
        house.ask("GET /apikeys", &house.one).status,
        200,
        "management has no such limit"
    );
    assert_eq!(
        open("/slow-open", &house.one).0,
        200,
        "nor has a route without a key"
    );
    let line = house
        .gateway
        .wait_for_log(|line| line.contains("\"too_many_streams\""));
    assert!(line.contains("\"streams_limit\""), "{line}");

    // A client that goes away gives its place back.
    drop(streams.pop());
    let again = house.gateway.eventually(
        || open("/slow-too", &house.one),
        |(status, _)| *status == 200,
    );
    streams.push(again.1);
    // An answer that ends gives its place back, before the client has asked again.
    gate.open();
    for stream in &mut streams {
        assert_eq!(stream.chunks().expect("a whole stream"), b"ok");
    }
    house.gateway.eventually(
        || house.ask("GET /quick", &house.one).status,
        |status| *status == 200,
    );
}
