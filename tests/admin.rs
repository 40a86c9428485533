//! What the gateway tells of itself: health, readiness, metrics, status, and a line for each request; in none of it a key.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use support::scripted::Scripted;
use support::{Client, Folder, Gateway, ROUTES, Upstream};

type Labels = BTreeMap<String, String>;

/// A page in Prometheus's text format, read strictly.
struct Page {
    samples: BTreeMap<String, BTreeMap<Labels, f64>>,
    kinds: BTreeMap<String, String>,
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b == b':')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

impl Page {
    fn of(gateway: &Gateway) -> Self {
        let answer = gateway.admin("/metrics");
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; version=0.0.4; charset=utf-8")
        );
        Page::parse(&answer.text())
    }

    /// Every family: HELP, TYPE, then its samples in one piece; no sample twice; every line ends.
    fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'));
        let mut page = Page {
            samples: BTreeMap::new(),
            kinds: BTreeMap::new(),
        };
        let mut helped = BTreeSet::new();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("a help text");
                assert!(is_name(name) && !help.is_empty(), "{line}");
                assert!(helped.insert(name.to_owned()), "twice: {line}");
                continue;
            }
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert!(helped.contains(name), "{line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                let before = page.kinds.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "twice: {line}");
                family = name.to_owned();
                continue;
            }
            assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            let (name, labels) = match series.split_once('{') {
                None => (series, Labels::new()),
                Some((name, rest)) => (name, Self::labels(rest.strip_suffix('}').expect("}"))),
            };
            assert!(is_name(name), "{line}");
            let plain = if page.kinds[&family] == "histogram" {
                ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| name.strip_suffix(end))
                    .unwrap_or(name)
            } else {
                name
            };
            assert_eq!(plain, family, "outside of its family: {line}");
            if page.kinds[&family] == "counter" {
                assert!(value >= 0.0 && name.ends_with("_total"), "{line}");
            }
            let series = page.samples.entry(name.to_owned()).or_default();
            assert_eq!(series.insert(labels, value), None, "twice: {line}");
        }
        page.check_histograms();
        page
    }

    fn labels(mut rest: &str) -> Labels {
        let mut labels = Labels::new();
        while !rest.is_empty() {
            let (name, after) = rest.split_once("=\"").expect("a label");
            assert!(is_name(name), "{name}");
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().expect("a closing quote") {
                    (_, '\\') => match chars.next().expect("an escape").1 {
                        'n' => value.push('\n'),
                        c @ ('\\' | '"') => value.push(c),
                        other => panic!("escape {other}"),
                    },
                    (at, '"') => break at,
                    (_, c) => value.push(c),
                }
            };
            assert_eq!(labels.insert(name.to_owned(), value), None);
            rest = &after[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        labels
    }

    fn check_histograms(&self) {
        for (name, _) in self.kinds.iter().filter(|(_, kind)| *kind == "histogram") {
            let buckets = &self.samples[&format!("{name}_bucket")];
            let mut bounds: Vec<(f64, f64)> = buckets
                .iter()
                .map(|(labels, count)| {
                    let le = labels["le"].replace("+Inf", "inf");
                    (le.parse().expect("a bound"), *count)
                })
                .collect();
            bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(bounds.windows(2).all(|w| w[0].1 <= w[1].1), "{name} falls");
            let last = bounds.last().expect("buckets");
            assert!(last.0.is_infinite());
            let count = self.one(&format!("{name}_count"));
            assert_eq!(last.1, count, "{name}");
            let sum = self.one(&format!("{name}_sum"));
            assert!(sum >= 0.0 && (count > 0.0 || sum == 0.0), "{name}");
        }
    }

    fn one(&self, name: &str) -> f64 {
        *self
            .samples
            .get(name)
            .and_then(|series| series.get(&Labels::new()))
            .unwrap_or_else(|| panic!("no {name}"))
    }

    /// The sum of all series of this name whose labels are as given, others free.
    fn sum(&self, name: &str, wanted: &[(&str, &str)]) -> f64 {
        let Some(series) = self.samples.get(name) else {
            return 0.0;
        };
        series
            .iter()
            .filter(|(labels, _)| {
                wanted
                    .iter()
                    .all(|(n, v)| labels.get(*n).is_some_and(|l| l == v))
            })
            .map(|(_, value)| value)
            .sum()
    }
}

fn requests(page: &Page, wanted: &[(&str, &str)]) -> f64 {
    page.sum("keygate_requests_total", wanted)
}

#[test]
fn every_request_is_counted_by_route_method_class_and_outcome() {
    let upstream = Scripted::start(|mut peer| {
        while let Some(head) = peer.head() {
            peer.body(&head);
            if head.starts_with("HEAD") {
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
            } else if head.contains("/odd ") {
                peer.send("HTTP/1.1 500 Odd\r\ncontent-length: 0\r\n\r\n");
            } else {
                peer.answer("ok");
            }
        }
    });
    let folder = Folder::new(
        upstream.address,
        "[limits]\nbody_bytes = \"1KiB\"\n",
        &format!(
            "{ROUTES}\n[[routes]]\nname = 'a \"quoted\" \\ name'\npath = \"/quoted\"\naccess = \"public\"\n"
        ),
    );
    let full = format!("apikey: {}", folder.new_key("Rest API Key", "fullAccess"));
    let auth = format!("apikey: {}", folder.new_key("Auth Key", "authOnly"));
    let wrong = "apikey: 0123456789012345678901234567890123456789".to_owned();
    let gateway = folder.start();
    let large = "x".repeat(2000);
    type Row<'a> = (&'a str, &'a str, &'a str, Vec<(&'a str, &'a str)>);
    let rows: Vec<Row<'_>> = vec![
        (
            "GET /v3/a",
            &full,
            "",
            vec![
                ("route", "/v3/{*rest}"),
                ("method", "GET"),
                ("status", "2xx"),
                ("outcome", "forwarded"),
            ],
        ),
        (
            "GET /v3/odd",
            &full,
            "",
            vec![
                ("route", "/v3/{*rest}"),
                ("method", "GET"),
                ("status", "5xx"),
                ("outcome", "forwarded"),
            ],
        ),
        (
            "HEAD /v3/a",
            &full,
            "",
            vec![
                ("route", "/v3/{*rest}"),
                ("method", "HEAD"),
                ("status", "2xx"),
                ("outcome", "forwarded"),
            ],
        ),
        (
            "POST /users",
            &auth,
            "x",
            vec![
                ("route", "POST /users"),
                ("method", "POST"),
                ("status", "2xx"),
                ("outcome", "forwarded"),
            ],
        ),
        (
            "GET /quoted",
            "x: y",
            "",
            vec![
                ("route", "a \"quoted\" \\ name"),
                ("method", "GET"),
                ("status", "2xx"),
                ("outcome", "forwarded"),
            ],
        ),
        (
            "GET /v3/a",
            "x: y",
            "",
            vec![
                ("route", "/v3/{*rest}"),
                ("status", "4xx"),
                ("outcome", "no_key"),
            ],
        ),
        (
            "GET /v3/a",
            &wrong,
            "",
            vec![
                ("route", "/v3/{*rest}"),
                ("status", "4xx"),
                ("outcome", "bad_key"),
            ],
        ),
        (
            "GET /v3/a",
            &auth,
            "",
            vec![
                ("route", "/v3/{*rest}"),
                ("status", "4xx"),
                ("outcome", "no_scope"),
            ],
        ),
        (
            "GET /closed",
            &full,
            "",
            vec![
                ("route", "/closed"),
                ("status", "4xx"),
                ("outcome", "denied"),
            ],
        ),
        (
            "GET /nowhere",
            &full,
            "",
            vec![("route", "-"), ("status", "4xx"), ("outcome", "no_route")],
        ),
        (
            "POST /only-get",
            &full,
            "",
            vec![("route", "-"), ("status", "4xx"), ("outcome", "no_method")],
        ),
        (
            "PURGE /nowhere",
            &full,
            "",
            vec![("route", "-"), ("method", "OTHER"), ("outcome", "no_route")],
        ),
        (
            "GET /v3/../a",
            &full,
            "",
            vec![("route", "-"), ("status", "4xx"), ("outcome", "invalid")],
        ),
        (
            "POST /v3/a",
            &full,
            &large,
            vec![
                ("route", "/v3/{*rest}"),
                ("status", "4xx"),
                ("outcome", "body_too_large"),
            ],
        ),
        (
            "GET /apikeys",
            &full,
            "",
            vec![("method", "GET"), ("status", "2xx"), ("outcome", "managed")],
        ),
        (
            "GET /apikeys/nobody",
            &full,
            "",
            vec![
                ("method", "GET"),
                ("status", "4xx"),
                ("outcome", "management_refused"),
            ],
        ),
    ];
    let mut before = Page::of(&gateway);
    for (line, header, body, labels) in &rows {
        let count = requests(&before, labels);
        let all = requests(&before, &[]);
        let timed = before.one("keygate_gateway_seconds_count");
        let status = gateway.call(line, &[header], body).status;
        let page = gateway.eventually(
            || Page::of(&gateway),
            |page| requests(page, &[]) == all + 1.0,
        );
        assert_eq!(requests(&page, labels), count + 1.0, "{line}: {status}");
        assert_eq!(
            page.one("keygate_gateway_seconds_count"),
            timed + 1.0,
            "{line}"
        );
        before = page;
    }
    let forwarded = requests(&before, &[("outcome", "forwarded")]);
    assert_eq!(before.one("keygate_upstream_seconds_count"), forwarded);
    assert_eq!(forwarded, 5.0);
    let server = upstream.address.to_string();
    let pool = |name: &str| before.sum(name, &[("server", &server)]);
    let opened = pool("keygate_upstream_connections_opened_total");
    let reused = pool("keygate_upstream_connections_reused_total");
    assert_eq!(opened + reused, forwarded);
    assert_eq!(opened, upstream.connections() as f64);
    assert_eq!(pool("keygate_upstream_connections"), opened);
    assert_eq!(pool("keygate_upstream_connections_idle"), opened);
    assert_eq!(
        before.one("keygate_connections_accepted_total"),
        rows.len() as f64
    );
    assert_eq!(before.one("keygate_keys"), 2.0);
    assert_eq!(before.one("keygate_policy_generation"), 1.0);
    assert_eq!(before.one("keygate_policy_current"), 1.0);
    assert_eq!(before.one("keygate_draining"), 0.0);
}

#[test]
fn an_unreachable_upstream_and_unreadable_clients_are_counted() {
    let down = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("an address")
    };
    let folder = Folder::new(down, "", ROUTES);
    let gateway = folder.start();
    assert_eq!(gateway.call("GET /open/x", &[], "").status, 502);
    let mut client = gateway.connect();
    client.send("hello\r\n\r\n");
    assert_eq!(client.answer(false).status, 400);
    drop(client);
    let page = gateway.eventually(
        || Page::of(&gateway),
        |page| page.one("keygate_connections") == 0.0,
    );
    assert_eq!(
        requests(
            &page,
            &[("status", "5xx"), ("outcome", "upstream_unavailable")]
        ),
        1.0
    );
    assert_eq!(
        requests(&page, &[]),
        1.0,
        "what is no request is no request's number"
    );
    assert_eq!(
        page.sum(
            "keygate_connections_ended_total",
            &[("reason", "unreadable")]
        ),
        1.0
    );
    assert_eq!(
        page.sum("keygate_upstream_connections_failed_total", &[]),
        1.0
    );
    gateway.wait_for_log(|l| l.contains("keygate::access") && l.contains("unreadable"));
}

#[test]
fn an_answer_that_breaks_off_is_no_success() {
    let upstream = Scripted::start(|mut peer| {
        while let Some(head) = peer.head() {
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n");
            if head.contains("/whole ") {
                peer.send("0\r\n\r\n");
            } else if head.contains("/broken ") {
                return;
            } else {
                peer.wait_for_end();
                return;
            }
        }
    });
    let folder = Folder::new(upstream.address, "[timeouts]\nstream = \"500ms\"\n", ROUTES);
    let gateway = folder.start();
    for (path, outcome, reason) in [
        ("/open/whole", "forwarded", None),
        (
            "/open/broken",
            "upstream_unavailable",
            Some("answer_broke_off"),
        ),
        ("/open/stalled", "upstream_timeout", Some("answer_stalled")),
        ("/open/left", "client_gone", Some("answer_not_taken")),
    ] {
        let mut client = gateway.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let (_, headers) = client.try_head().expect("a head");
        let (_, id) = headers
            .iter()
            .find(|(name, _)| name == "x-request-id")
            .expect("an id");
        if path == "/open/left" {
            drop(client);
        } else {
            let whole = client.chunks().is_ok();
            assert_eq!(whole, reason.is_none(), "{path}");
        }
        let line = gateway.wait_for_log(|l| l.contains("keygate::access") && l.contains(id));
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(line["status"], 200, "{path}");
        assert_eq!(line["outcome"], outcome, "{path}");
        assert_eq!(line["reason"].as_str(), reason, "{path}");
        assert_eq!(line["bytes"], 4, "{path}");
        let page = Page::of(&gateway);
        assert_eq!(
            requests(&page, &[("status", "2xx"), ("outcome", outcome)]),
            1.0
        );
    }
}

#[test]
fn keys_revision_and_generation_move_with_what_they_count() {
    let upstream = Upstream::echo();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let first = folder.new_key("first", "fullAccess");
    let gateway = folder.start();
    let before = Page::of(&gateway);
    folder.new_key("second", "authOnly");
    let revision = before.one("keygate_key_revision");
    gateway.eventually(
        || Page::of(&gateway),
        |page| {
            page.one("keygate_keys") == 2.0 && page.one("keygate_key_revision") == revision + 1.0
        },
    );
    let made = gateway.call(
        "POST /apikeys",
        &[&format!("apikey: {first}")],
        r#"{"name":"third"}"#,
    );
    assert_eq!(made.status, 200, "{}", made.text());
    let page = Page::of(&gateway);
    assert_eq!(page.one("keygate_keys"), 3.0, "in force when answered");
    assert_eq!(page.one("keygate_key_revision"), revision + 2.0);
    assert_eq!(gateway.call("GET /open/x", &[], "").status, 200);

    // A reload: counters go on under the names of their routes.
    folder.write(
        "routes.toml",
        &format!("{ROUTES}\n[[routes]]\npath = \"/new\"\naccess = \"public\"\n"),
    );
    let page = gateway.eventually(
        || Page::of(&gateway),
        |page| page.one("keygate_policy_generation") == 2.0,
    );
    assert_eq!(requests(&page, &[("route", "/open/{*rest}")]), 1.0);
    assert_eq!(gateway.call("GET /open/x", &[], "").status, 200);
    let page = gateway.eventually(|| Page::of(&gateway), |page| requests(page, &[]) == 3.0);
    assert_eq!(requests(&page, &[("route", "/open/{*rest}")]), 2.0);
    assert_eq!(
        page.sum("keygate_policy_reloads_total", &[("result", "accepted")]),
        1.0
    );
    let status = gateway.admin("/status").json();
    assert_eq!(status["policy"]["generation"], 2);
    assert!(status["policy"]["last_error"].is_null());

    folder.write("routes.toml", "this is not TOML");
    let page = gateway.eventually(
        || Page::of(&gateway),
        |page| page.one("keygate_policy_current") == 0.0,
    );
    assert_eq!(page.one("keygate_policy_generation"), 2.0);
    assert_eq!(
        page.sum("keygate_policy_reloads_total", &[("result", "refused")]),
        1.0
    );
    let status = gateway.admin("/status").json();
    assert!(
        status["policy"]["last_error"]
            .as_str()
            .expect("a reason")
            .contains("routes.toml")
    );
    let ready = gateway.admin("/readyz");
    assert_eq!(ready.status, 200, "the last good generation serves");
    assert_eq!(ready.json()["policy"]["ok"], false);
    assert_eq!(gateway.call("GET /new", &[], "").status, 200);
}

#[test]
fn the_admin_listener_only_tells() {
    let upstream = Upstream::echo();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let key = folder.new_key("Rest API Key", "fullAccess");
    let gateway = folder.start();
    assert_eq!(
        gateway
            .call("GET /v3/x", &[&format!("apikey: {key}")], "")
            .status,
        200
    );
    assert_eq!(gateway.admin("/healthz").text(), "ok\n");
    let ready = gateway.admin("/readyz");
    assert_eq!(ready.status, 200);
    let ready = ready.json();
    assert_eq!(ready["ready"], true);
    for check in ["keys", "policy", "feed", "drain"] {
        assert_eq!(ready[check]["ok"], true, "{check}");
        assert!(ready[check]["reason"].is_string(), "{check}");
    }
    let status = gateway.admin("/status").json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["draining"], false);
    assert_eq!(status["workers"], 2);
    assert_eq!(status["connections"].as_array().map(Vec::len), Some(2));
    assert!(status["uptime_seconds"].is_u64());
    let policy = &status["policy"];
    assert_eq!(policy["generation"], 1);
    assert!(
        policy["hash"]
            .as_str()
            .expect("a hash")
            .bytes()
            .all(|b| b.is_ascii_hexdigit())
    );
    assert!(policy["age_seconds"].is_i64() && policy["loaded_at"].is_i64());
    assert!(policy["routes"].as_u64().expect("a number") >= 5);
    assert_eq!(policy["waiting_for_restart"], serde_json::json!([]));
    let keys = &status["keys"];
    assert_eq!(keys["count"], 1);
    assert!(keys["revision"].as_u64().expect("a number") >= 1);
    assert!(keys["epoch"].is_string() && keys["feed_age_seconds"].is_number());
    assert!(keys["feed_error"].is_null());

    for path in ["/healthz", "/readyz", "/metrics", "/status", "/policy"] {
        for method in [
            "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PURGE",
        ] {
            let answer = Client::connect(gateway.admin).call(&format!("{method} {path}"), &[], "");
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{method} {path}");
        }
        let head = Client::connect(gateway.admin).call(&format!("HEAD {path}"), &[], "");
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        let answer = gateway.admin(path);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert!(!answer.text().contains(&key), "{path}");
        assert!(!answer.text().contains("Rest API Key"), "{path}");
        assert_eq!(gateway.admin(&format!("{path}?x=y")).status, 200);
    }
    for path in ["/", "/status/", "/apikeys", "/v3/x", "/Status"] {
        assert_eq!(gateway.admin(path).status, 404, "{path}");
    }
    // Nor is any of it on the gateway's own listener.
    for path in ["/healthz", "/metrics", "/status", "/readyz"] {
        assert_eq!(
            gateway.call(&format!("GET {path}"), &[], "").status,
            401,
            "{path}"
        );
    }
}

/// In the order of their times: each worker writes what it has ten times a second.
fn access_lines(gateway: &Gateway) -> Vec<serde_json::Value> {
    let log = gateway.log();
    let lines = log.lines().filter(|l| l.contains("keygate::access"));
    let mut lines: Vec<serde_json::Value> = lines
        .map(|l| serde_json::from_str(l).expect("a line of JSON"))
        .collect();
    lines.sort_by_key(|line| line["timestamp"].as_str().map(str::to_owned));
    lines
}

#[test]
fn a_line_for_each_request_says_what_became_of_it() {
    let upstream = Upstream::echo();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let key = folder.new_key("Rest API Key", "fullAccess");
    let gateway = folder.start();
    let header = format!("apikey: {key}");
    let answer = gateway.call(
        "POST /v3/users/secret-uid?token=secret-query",
        &[&header],
        "body",
    );
    let id = answer.header("x-request-id").expect("an id").to_owned();
    let line = gateway.wait_for_log(|l| l.contains("keygate::access") && l.contains(&id));
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    for (field, value) in [
        ("level", "INFO"),
        ("id", id.as_str()),
        ("client", "127.0.0.1"),
        ("method", "POST"),
        ("route", "/v3/{*rest}"),
        ("template", "/v3/{*rest}"),
        ("outcome", "forwarded"),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    assert_eq!(line["status"], 200);
    assert_eq!(line["generation"], 1);
    assert_eq!(line["key"].as_str().map(str::len), Some(20));
    assert_eq!(line["bytes"], answer.body.len());
    let (ms, upstream_ms) = (line["ms"].as_f64(), line["upstream_ms"].as_f64());
    assert!(upstream_ms.expect("a number") <= ms.expect("a number"));

    let refused = gateway.call(
        "GET /apikeys/secret-path",
        &["apikey: secret-secret-secret-secret-secret-"],
        "",
    );
    let id = refused.header("x-request-id").expect("an id").to_owned();
    let line = gateway.wait_for_log(|l| l.contains("keygate::access") && l.contains(&id));
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["status"], 401);
    assert_eq!(line["outcome"], "bad_key");
    assert_eq!(line["key"], "-");
    assert!(
        line["reason"]
            .as_str()
            .expect("a reason")
            .starts_with("key_")
    );
    assert!(
        line.get("upstream_ms")
            .is_none_or(serde_json::Value::is_null)
    );
    assert_eq!(access_lines(&gateway).len(), 2);
    assert!(!gateway.log().contains("secret-"), "{}", gateway.log());
    assert!(!gateway.log().contains(&key));
}

#[test]
fn what_is_logged_changes_without_a_restart() {
    let upstream = Upstream::echo();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let text = std::fs::read_to_string(folder.config()).expect("read");
    let gateway = folder.start();
    let rows = [
        ("format = \"json\"\naccess = \"refused\"", &["no_key"][..]),
        ("format = \"json\"\naccess = \"off\"", &[]),
        (
            "format = \"json\"\naccess = \"all\"\nlevel = \"error\"",
            &["forwarded", "no_key"],
        ),
        (
            "format = \"json\"\naccess = \"all\"\nlevel = \"trace\"",
            &["forwarded", "no_key"],
        ),
    ];
    for (generation, (log, lines)) in (2..).zip(rows) {
        folder.write("keygate.toml", &text.replace("format = \"json\"", log));
        gateway.eventually(
            || gateway.admin("/status").json()["policy"]["generation"].as_u64(),
            |g| *g == Some(generation),
        );
        // The level follows right after the generation; until then a request may still be logged as before.
        let before = access_lines(&gateway).len();
        let mut ids = Vec::new();
        for line in ["GET /open/x", "GET /v3/x"] {
            let answer = gateway.call(line, &[], "");
            ids.push(answer.header("x-request-id").expect("an id").to_owned());
        }
        let got = gateway.eventually(
            || access_lines(&gateway)[before..].to_vec(),
            |got| got.len() >= lines.len(),
        );
        let outcomes: Vec<&str> = got.iter().filter_map(|l| l["outcome"].as_str()).collect();
        assert_eq!(outcomes, lines, "{log}");
    }
    gateway.eventually(
        || gateway.call("GET /v3/x", &[], "").status,
        |_| gateway.log().contains("\"level\":\"DEBUG\""),
    );
}

#[test]
fn who_holds_all_admin_connections_keeps_nobody_waiting() {
    let upstream = Upstream::echo();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let gateway = folder.start();
    let held: Vec<Client> = (0..64).map(|_| Client::connect(gateway.admin)).collect();
    // Accepting is in order: when this one is answered or closed, the others have been accepted.
    let mut late = Client::connect(gateway.admin);
    assert!(
        late.is_closed(),
        "one more than there are places for is closed, not left waiting"
    );
    drop(held);
    gateway.eventually(
        || {
            let mut client = Client::connect(gateway.admin);
            let _ = client
                .stream
                .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
            client.try_answer(false).map(|answer| answer.status)
        },
        |status| *status == Some(200),
    );
}

#[test]
fn a_changed_deadline_holds_for_connections_that_are_open_already() {
    let upstream = Upstream::echo();
    let main = |head: &str| format!("[timeouts]\nhead = \"{head}\"\n");
    let folder = Folder::new(upstream.address, &main("1h"), ROUTES);
    let gateway = folder.start();
    let mut client = gateway.connect();
    assert_eq!(client.call("GET /open/a", &[], "").status, 200);
    let text = std::fs::read_to_string(folder.config()).unwrap();
    folder.write("keygate.toml", &text.replace("1h", "200ms"));
    gateway.eventually(
        || gateway.admin("/status").json()["policy"]["generation"].as_u64(),
        |generation| *generation == Some(2),
    );
    client.send("GET /open/b HT");
    assert!(
        client.is_closed(),
        "half a head is cut by the deadline that is in force now"
    );
}
