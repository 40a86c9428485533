//! What is said of faulty configurations: rows of TOML, and the problems that each gives.

use super::schema::tests::refusals;
use super::*;
use crate::http::edits::Template;
use std::time::Duration;

/// A small configuration that is fine; rows add faults to it.
const GOOD: &str = r#"
[upstreams.chat]
servers = ["http://127.0.0.1:9000"]

[scopes]
authOnly = []
fullAccess = ["authOnly"]

[defaults]
upstream = "chat"

[[routes]]
path = "/{*rest}"
scope = "fullAccess"
"#;

/// As [`super::load_texts`]; whatever loads, the schemas take.
fn load_texts(main: &str, included: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let loaded = super::load_texts(main, included);
    if loaded.is_ok() {
        let included: Vec<&str> = included.iter().map(|(_, text)| *text).collect();
        assert_eq!(refusals(main, &included), [""; 0], "{main}\n{included:?}");
    }
    loaded
}

fn said(main: &str, included: &[(&str, &str)]) -> Vec<String> {
    match load_texts(main, included) {
        Ok(loaded) => loaded.warnings.iter().map(line).collect(),
        Err(problems) => problems.0.iter().map(line).collect(),
    }
}

fn line(problem: &Problem) -> String {
    let file = problem.place.file.display().to_string();
    let file = if file == "keygate.toml" { "" } else { &file };
    let warning = match problem.severity {
        Severity::Error => "",
        Severity::Warning => "warning: ",
        Severity::Note => "note: ",
    };
    let separator = if file.is_empty() { "" } else { ":" };
    format!(
        "{file}{separator}{}:{}: {warning}{}",
        problem.place.line, problem.place.column, problem.message
    )
}

/// Each row stands before the good configuration, so its lines count from 1.
fn table(rows: &[(&str, &[&str])]) {
    for (text, expected) in rows {
        assert_eq!(said(&format!("{text}\n{GOOD}"), &[]), *expected, "{text}");
    }
}

#[test]
fn a_good_configuration_gives_no_problem_and_the_defaults() {
    let loaded = load_texts(GOOD, &[]).map_err(|p| p.to_string()).unwrap();
    assert_eq!(loaded.warnings, []);
    let hot = &loaded.hot;
    assert_eq!(hot.timeouts.head, Duration::from_secs(10));
    assert_eq!(hot.timeouts.stream, Duration::from_secs(300));
    assert_eq!(hot.limits.body_bytes, 128 << 20);
    assert_eq!(hot.limits.failed_auth.interval, Duration::from_millis(10));
    assert_eq!(hot.limits.failed_auth.burst, 1000);
    assert_eq!(hot.limits.frames.interval, Duration::from_millis(10));
    assert_eq!(hot.limits.frames.burst, 300);
    assert_eq!((hot.limits.requests, hot.limits.streams), (20_000, 128));
    assert_eq!(hot.limits.connections_per_network, None);
    assert_eq!(hot.cors, None);
    assert_eq!(
        hot.default_scope.as_ref().map(ToString::to_string),
        Some("authOnly".into())
    );
    assert_eq!(hot.upstreams.len(), 1);
    assert_eq!(hot.upstreams[0].servers[0].port, 9000);
    assert_eq!(loaded.cold.listen[0].address.to_string(), "127.0.0.1:8080");
    assert_eq!(loaded.cold.keys.header, "apikey");
    assert!(loaded.cold.keys.store.is_absolute());
    assert!(loaded.cold.keys.store.ends_with("data/keygate.db"));
    assert_eq!((loaded.routes, loaded.expectations.len()), (1, 0));
}

#[test]
fn the_shipped_samples_are_fine() {
    let main = concat!(env!("CARGO_MANIFEST_DIR"), "/config/keygate.toml");
    let loaded = load(std::path::Path::new(main), Secrets::Required)
        .map_err(|p| p.to_string())
        .unwrap();
    let warnings: Vec<_> = loaded.warnings.iter().map(line).collect();
    assert_eq!(warnings, [""; 0]);
    assert!(loaded.routes > 20);
    assert!(loaded.expectations.len() > 10);
}

#[test]
fn values_of_the_process() {
    table(&[
        (
            "[server]\nlisten = []",
            &["2:10: `server.listen` is empty; expected at least one address"],
        ),
        (
            "[server]\nlisten = 8080",
            &[
                "2:10: `server.listen` is a whole number; expected a list of addresses such as [\"127.0.0.1:8080\"]",
            ],
        ),
        (
            "[server]\nlisten = [\"8080\", \"unix:\", \"unix:@x\"]",
            &[
                "2:11: `server.listen`: expected an address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\", or \"unix:PATH\", or \"systemd:NAME\"",
                "2:19: `server.listen`: expected a path after \"unix:\"",
                "2:28: `server.listen`: a socket without a file has no permissions: expected a path after \"unix:\"",
            ],
        ),
        (
            "[server]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:1\"]",
            &["2:26: the address 127.0.0.1:1 is listened on twice"],
        ),
        ("[server]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]", &[]),
        (
            "[server]\nlisten = \"[::1]:0\"\n[admin]\nlisten = \"\"",
            &[],
        ),
        (
            "[admin]\nlisten = \"127.0.0.1:8080\"",
            &["2:10: the address 127.0.0.1:8080 is listened on twice"],
        ),
        (
            "[server]\nworkers = 0",
            &["2:11: `server.workers` is out of bounds; expected a whole number from 1 to 1024"],
        ),
        (
            "[server]\nworkers = \"many\"",
            &["2:11: `server.workers`: expected \"auto\" or a whole number from 1 to 1024"],
        ),
        (
            "[server]\nworkers = 2.5",
            &[
                "2:11: `server.workers` is a number with a fraction; expected \"auto\" or a whole number from 1 to 1024",
            ],
        ),
        (
            "[server]\ntls = { cert = \"a\" }",
            &["2:7: `server.tls` needs `key`: expected the path of a file"],
        ),
        (
            "[server]\ntls = \"a\"",
            &[
                "2:7: `server.tls` is a text; expected a table such as { cert = \"cert.pem\", key = \"key.pem\" }, or a list of such tables",
            ],
        ),
        (
            "[server]\ntls = []",
            &["2:7: `server.tls`: there is no certificate"],
        ),
        (
            "[server]\ntls_client_auth = { ca = \"a\" }\ntls_min_version = \"1.1\"",
            &[
                "2:1: `server.tls_client_auth` says how TLS is spoken, but `server.tls` does not say that it is",
                "2:19: `server.tls_client_auth` needs `mode`: expected \"optional\" or \"required\"",
                "3:1: `server.tls_min_version` says how TLS is spoken, but `server.tls` does not say that it is",
                "3:19: `server.tls_min_version` is none of \"1.2\", \"1.3\"; did you mean \"1.2\"?",
            ],
        ),
        (
            "[server]\ntrusted_proxies = [\"10.0.0.1/8\"]",
            &[
                "2:20: `server.trusted_proxies`: the address has bits beyond the first 8; expected the network's first address",
            ],
        ),
        (
            "[server]\nunderscores = \"keep\"",
            &["2:15: `server.underscores` is none of \"refuse\", \"drop\""],
        ),
        (
            "[server]\nlissten = 1",
            &["2:1: unknown field `lissten` in `server`; did you mean `listen`?"],
        ),
        (
            "[sever]\nx = 1",
            &["1:2: unknown field `sever`; did you mean `server`?"],
        ),
        (
            "server = 1",
            &["1:10: `server` is a whole number; expected a table"],
        ),
        (
            "[log]\naccess = \"al\"\nformat = true",
            &[
                "2:10: `log.access` is none of \"all\", \"refused\", \"off\"; did you mean \"all\"?",
                "3:10: `log.format` is true or false; expected one of \"auto\", \"text\", \"json\"",
            ],
        ),
        (
            "[keys]\nheader = \"host\"",
            &[
                "2:10: `keys.header`: `host` has a meaning of its own in HTTP; expected another header",
            ],
        ),
        (
            "[keys]\nheader = \"api key\"",
            &["2:10: `keys.header`: expected a header's name, such as \"apikey\""],
        ),
        (
            "[keys]\nheader = \"api_key\"",
            &[
                "2:10: `keys.header`: expected a header's name of letters, digits and `-`, such as \"apikey\"",
            ],
        ),
        (
            "[keys]\nheader = \"api.key\"",
            &[
                "2:10: `keys.header`: expected a header's name of letters, digits and `-`, such as \"apikey\"",
            ],
        ),
        (
            "[keys]\nstore = \"postgres://u:p@h/d\"",
            &["2:9: `keys.store`: PostgreSQL is not supported yet; expected \"sqlite:PATH\""],
        ),
        (
            "[keys]\nstore = \"sqlite:a\"\nsecret = \"a\"",
            &["1:1: `keys.store` and `keys.secret` are the same file; expected two"],
        ),
        (
            "[timeouts]\nhead = \"0s\"\nbody = 30\nconnect = \"3 sec\"",
            &[
                "2:8: `timeouts.head`: expected a duration of more than nothing",
                "3:8: `timeouts.body` is a whole number; expected a duration such as \"30s\"",
                "4:11: `timeouts.connect`: expected a duration: a whole number with ms, s, m or h, such as \"30s\"",
            ],
        ),
        (
            "[limits]\nconnections = 0\nhead_bytes = \"1 GiB\"\nbody_bytes = \"1 stone\"\nheaders = -1",
            &[
                "2:15: `limits.connections` is out of bounds; expected a whole number from 1 to 10000000",
                "3:14: `limits.head_bytes`: expected a size from 1024 to 1048576 bytes",
                "4:14: `limits.body_bytes`: expected a size: a whole number with B, KB, MB, GB, KiB, MiB or GiB, such as \"64KiB\"",
                "5:11: `limits.headers` is out of bounds; expected a whole number from 1 to 1000",
            ],
        ),
        (
            "[limits]\nhead_bytes = 4096\nfailed_auth = { rate = \"5/m\", burst = 1 }",
            &[],
        ),
        (
            "[limits]\nfailed_auth = { rate = \"5\", burst = 0 }",
            &[
                "2:24: `limits.failed_auth.rate`: expected a rate: a whole number per s, m or h, such as \"100/s\"",
                "2:37: `limits.failed_auth.burst` is out of bounds; expected a whole number from 1 to 1000000000",
            ],
        ),
        (
            "[limits]\nrequests = 0\nstreams = 0\nconnections_per_network = 0\nframes = { rate = \"x\" }",
            &[
                "2:12: `limits.requests` is out of bounds; expected a whole number from 1 to 10000000",
                "3:11: `limits.streams` is out of bounds; expected a whole number from 1 to 10000",
                "4:27: `limits.connections_per_network` is out of bounds; expected a whole number from 1 to 10000000",
                "5:19: `limits.frames.rate`: expected a rate: a whole number per s, m or h, such as \"100/s\"",
            ],
        ),
        (
            "[cors]",
            &["1:1: `cors` needs `origins`: expected [\"*\"] or a list of origins"],
        ),
        (
            "[cors]\norigins = [\"*\"]\ncredentials = true",
            &["3:15: `cors.credentials` goes only with exact origins, not with \"*\""],
        ),
        (
            "[cors]\norigins = [\"https://a.b/\", \"*\"]",
            &[
                "2:12: `cors.origins`: expected \"*\" or an origin such as \"https://app.example.com\", without a path",
            ],
        ),
        (
            "[management]\npaths = [\"apikeys\"]",
            &["2:10: `management.paths`: expected a path that begins with `/`"],
        ),
        (
            "[management]\nscope = \"fulAccess\"",
            &["2:9: the scope `fulAccess` is not declared in `[scopes]`"],
        ),
        (
            "[management]\npaths = []\nscope = \"none\"",
            &["3:9: the scope `none` is not declared in `[scopes]`"],
        ),
        (
            "[keys]\nheader = \"${env:HEADER}\"",
            &[
                "2:10: `keys.header` takes no `${…}`: it is replaced only in the values of `headers`",
            ],
        ),
        (
            "include = [\"absent.toml\", \"absent.d/*.toml\"]",
            &["1:12: absent.toml: there is no such file"],
        ),
        (
            "include = [\"a[.toml\"]",
            &["1:12: `a[.toml` is not a pattern: invalid range pattern"],
        ),
        (
            "include = [\"keygate.toml\"]",
            &["1:12: the main file does not include itself"],
        ),
    ]);
}

#[test]
fn upstreams_say_what_is_not_supported_and_what_is_wrong() {
    table(&[
        (
            "[upstreams.a]",
            &[
                "1:1: `upstreams.a` needs `servers`: expected a list of servers such as [\"http://127.0.0.1:9000\"]",
            ],
        ),
        (
            "[upstreams.a]\nservers = [\"ftp://a\", \"http://a/x\", \"http://u:p@a\"]",
            &[
                "2:12: `upstreams.a.servers`: expected a server such as \"http://127.0.0.1:9000\"",
                "2:23: `upstreams.a.servers`: a server has no path (not even `/`); a route's `add_prefix` sets one",
                "2:37: `upstreams.a.servers`: a server has no user or password; set the upstream's credential in `headers.set`",
            ],
        ),
        (
            "[upstreams.a]\nservers = [\"http://a\", \"unix:a\"]\nhttp2 = true\n[upstreams.b]\nservers = [\"h2c://a\"]\nhttp2 = false\n[upstreams.c]\nservers = [\"h2c://a\", \"h2c+unix:/a\"]\nhttp2 = true",
            &[
                "2:24: `upstreams.a.servers`: expected a Unix socket by its absolute path, such as \"unix:/run/chat.sock\", of at most 107 bytes",
                "3:9: `http2` is about TLS; a server that speaks HTTP/2 in clear text is written \"h2c://host:port\"",
                "6:9: `http2 = false` contradicts a server that is written \"h2c:\"; expected \"http:\"",
            ],
        ),
        (
            "[upstreams.a]\nservers = [\"http://a\"]\nhost = \"a b\"\ntimeouts = { head = \"1s\", response = \"1s\" }",
            &[
                "3:8: `upstreams.a.host`: expected \"upstream\", \"client\", or a host name, with or without a port",
                "4:14: `head` is the gateway's own: it stands only in `[timeouts]` of the main file",
            ],
        ),
        (
            "[upstreams.a]\nservers = [\"http://a\"]\nheaders.set = { Host = \"x\", X-Keygate-Scope = \"x\", \"a b\" = \"x\", A = \"x\", a = \"y\", b = 1, c = \"\", d = \"a\\nb\", e = \"${x}\" }",
            &[
                "3:17: `host` is set by the upstream's `host`",
                "3:29: `x-keygate-scope` is set by the gateway itself",
                "3:52: expected a header's name",
                "3:74: `a` is set twice",
                "3:87: `upstreams.a.headers.set.b` is a whole number; expected a text, in which `${env:NAME}` and `${file:PATH}` are replaced",
                "3:94: `upstreams.a.headers.set.c` is empty",
                "3:102: `upstreams.a.headers.set.d` cannot be a header's value: expected visible characters and blanks, in one line",
                "3:114: `upstreams.a.headers.set.e`: expected `${env:NAME}`, `${file:PATH}`, or `${` and one of key.id, key.name, key.scope, request.id, client.address and `}`",
            ],
        ),
    ]);
}

/// As [`table`], for rows that stand after the good configuration: their lines count from 1 too.
fn table_after(rows: &[(&str, &[&str])]) {
    let before = GOOD.lines().count();
    for (text, expected) in rows {
        let found: Vec<String> = match load_texts(&format!("{GOOD}{text}"), &[]) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems.0,
        }
        .into_iter()
        .map(|mut problem| {
            problem.place.line = problem.place.line.wrapping_sub(before);
            line(&problem)
        })
        .collect();
        assert_eq!(found, *expected, "{text}");
    }
}

#[test]
fn routes_say_what_is_missing_wrong_and_not_supported() {
    table_after(&[
        (
            "[[routes]]\npath = \"/a\"",
            &[
                "1:1: a route says who may call it: expected `scope`, or `access = \"public\"` or \"deny\"",
            ],
        ),
        (
            "[[routes]]\nscope = \"authOnly\"",
            &[
                "1:1: a route needs `path`: expected a path such as \"/users/{uid}\", or a list of them",
            ],
        ),
        (
            "[[routes]]\npath = []\nscope = []",
            &[
                "2:8: `path` is empty; expected at least one path",
                "3:9: `scope` is empty; `access = \"deny\"` closes a route for everyone",
            ],
        ),
        (
            "[[routes]]\npath = \"/a\"\nscope = \"authOnly\"\naccess = \"public\"",
            &["4:1: a route has either `scope` or `access`, not both"],
        ),
        (
            "[[routes]]\npath = \"/a\"\naccess = \"open\"",
            &["3:10: `routes.access` is none of \"public\", \"deny\""],
        ),
        (
            "[[routes]]\npath = \"/a\"\naccess = \"deny\"\nhost = \"a:80\"\nallow = [\"encoded-slas\"]\nname = \"\"\nstrip_prefix = \"/a/\"\nadd_prefix = \"/a/../b\"",
            &[
                "4:8: `routes.host`: a host is a name such as `api.example.com` or `*.example.com`, without a port",
                "5:10: `routes.allow` is none of \"encoded-slash\", \"encoded-percent\", \"semicolon\", \"double-slash\"; did you mean \"encoded-slash\"?",
                "6:8: `routes.name`: expected a name of 1 to 100 plain ASCII characters",
                "7:16: `routes.strip_prefix`: expected whole segments, such as \"/api\": a plain path that begins with `/` and does not end in one",
                "8:14: `routes.add_prefix`: expected whole segments, such as \"/api\": a plain path that begins with `/` and does not end in one",
            ],
        ),
        (
            "[[routes]]\npath = \"/a\"\naccess = \"public\"\nmethods = []",
            &["4:11: `methods` is empty; leave it out for the usual seven"],
        ),
        (
            "[[routes]]\npath = \"/a\"\naccess = \"public\"\nmethods = [\"GET\", \"GET\", \"TRACE\"]",
            &[
                "4:19: the method GET stands twice",
                "4:26: `routes.methods`: TRACE is never let through; expected another method",
            ],
        ),
        (
            "[routes]\npath = \"/a\"",
            &["1:2: `routes` is set twice in the same table"],
        ),
    ]);
}

#[test]
fn rates_and_streams_are_of_routes_that_ask_for_a_key() {
    table_after(&[
        (
            "[[routes]]\npath = \"/a\"\nscope = \"authOnly\"\nrate = \"5/h\"\nstreams = 4\n[[routes]]\npath = \"/b\"\nscope = \"authOnly\"\nrate = { rate = \"5/m\", burst = 9 }\n[[routes]]\npath = \"/c\"\naccess = \"public\"\nrate = false\nstreams = false\n",
            &[],
        ),
        (
            "[[routes]]\npath = \"/a\"\naccess = \"public\"\nrate = \"5/h\"\nstreams = 4\n[[routes]]\npath = \"/b\"\naccess = \"deny\"\nrate = \"5/h\"\n",
            &[
                "4:1: `rate` is counted by key, and this route asks for none; expected `scope` beside it",
                "5:1: `streams` is counted by key, and this route asks for none; expected `scope` beside it",
                "9:1: `rate` is counted by key, and this route asks for none; expected `scope` beside it",
            ],
        ),
        (
            "[[routes]]\npath = \"/a\"\nscope = \"authOnly\"\nrate = { burst = 0, brst = 1 }\nstreams = 0\n[[routes]]\npath = \"/b\"\nscope = \"authOnly\"\nrate = 5\nstreams = true\n",
            &[
                "4:8: `routes.rate` needs `rate`: expected a rate such as \"100/s\"",
                "4:18: `routes.rate.burst` is out of bounds; expected a whole number from 1 to 1000000000",
                "4:21: unknown field `brst` in `routes.rate`; did you mean `burst`?",
                "5:11: `routes.streams` is out of bounds; expected a whole number from 1 to 1000000",
                "9:8: `routes.rate` is a whole number; expected a rate such as \"100/s\", or a table such as { rate = \"100/s\", burst = 200 }",
                "10:11: `routes.streams` is true or false; expected a whole number from 1 to 1000000",
            ],
        ),
    ]);
    let of = |defaults: &str, route: &str| {
        let text = GOOD.replace("[defaults]\n", &format!("[defaults]\n{defaults}\n"));
        assert_ne!(text, GOOD);
        let loaded =
            load_texts(&format!("{text}[[routes]]\npath = \"/a\"\n{route}\n"), &[]).unwrap();
        let route = loaded
            .hot
            .policy
            .routes()
            .iter()
            .find(|r| &*r.template == "/a")
            .unwrap()
            .clone();
        (route.settings.rate.map(|r| r.burst), route.settings.streams)
    };
    let defaults = "rate = \"7/h\"\nstreams = 3";
    for (defaults, route, expected) in [
        ("", "scope = \"authOnly\"", (None, None)),
        (defaults, "scope = \"authOnly\"", (Some(7), Some(3))),
        (
            defaults,
            "scope = \"authOnly\"\nrate = \"8/h\"\nstreams = 4",
            (Some(8), Some(4)),
        ),
        (
            defaults,
            "scope = \"authOnly\"\nrate = false\nstreams = false",
            (None, None),
        ),
        (defaults, "access = \"public\"", (None, None)),
        (defaults, "access = \"deny\"", (None, None)),
        ("rate = false", "scope = \"authOnly\"", (None, None)),
    ] {
        assert_eq!(of(defaults, route), expected, "{defaults} {route}");
    }
}

#[test]
fn headers_that_are_the_gateways_cannot_be_edited() {
    let framing = "says how the message is framed, which the gateway decides";
    let ours = "is set by the gateway itself";
    for (name, request, response) in [
        ("Connection", Some(framing), Some(framing)),
        ("content_length", Some(framing), Some(framing)),
        ("Transfer-Encoding", Some(framing), Some(framing)),
        ("TE", Some(framing), Some(framing)),
        ("Trailer", Some(framing), Some(framing)),
        ("Upgrade", Some(framing), Some(framing)),
        ("Expect", Some(framing), Some(framing)),
        ("Keep-Alive", Some(framing), Some(framing)),
        ("Proxy-Authenticate", Some(framing), Some(framing)),
        ("Sec-WebSocket-Key", Some(framing), Some(framing)),
        (
            "Host",
            Some("is set by the upstream's `host`"),
            Some("is set by the upstream's `host`"),
        ),
        ("X-Keygate-Scope", Some(ours), Some(ours)),
        ("x_keygate_key_id", Some(ours), Some(ours)),
        ("X-Forwarded-For", Some(ours), Some(ours)),
        ("Forwarded", Some(ours), Some(ours)),
        ("X-Request-Id", Some(ours), Some(ours)),
        ("Via", Some(ours), None),
        ("Server", None, None),
        ("X-Real-IP", None, None),
        ("Set-Cookie", None, None),
    ] {
        for (direction, refusal) in [("request", request), ("response", response)] {
            for edit in [
                format!("set = {{ {name} = \"x\" }}"),
                format!("add = {{ {name} = \"x\" }}"),
                format!("remove = [\"{name}\"]"),
            ] {
                let text = format!(
                    "{GOOD}[[routes]]\npath = \"/a\"\nscope = \"authOnly\"\nheaders.{direction} = {{ {edit} }}\n"
                );
                let said = load_texts(&text, &[])
                    .err()
                    .map(|problems| problems.0[0].message.clone());
                let expected = refusal.map(|why| format!("`{}` {why}", name.to_ascii_lowercase()));
                assert_eq!(said, expected, "{direction} {edit}");
            }
        }
    }
}

#[test]
fn edits_of_headers_say_what_is_wrong_with_them() {
    table_after(&[
        (
            "[[routes]]\npath = \"/a\"\naccess = \"public\"\nheaders.set = { apikey = \"x\" }\nheaders.request.set = { X-Key = \"${key.id}-${request.id}\" }\nheaders.response = { set = { A = \"${client.address}\" }, add = { B = \"${key.name}${key.scope}\" }, remove = [\"Server\"] }\n",
            &[],
        ),
        (
            "[[routes]]\npath = \"/a\"\naccess = \"public\"\nheaders.set = { A = \"1\" }\nheaders.request = { set = { a = \"2\" }, add = { B = \"1\" }, remove = [\"A\", \"b\", \"c\", \"C\", \"d e\", 1] }\n",
            &[
                "5:29: `a` is set twice",
                "5:69: `a` is set and removed; expected one of the two",
                "5:74: `b` is added and removed; expected one of the two",
                "5:84: `c` is removed twice",
                "5:89: expected a header's name",
                "5:96: `routes.headers.request.remove` is a whole number; expected a header's name",
            ],
        ),
        (
            "[[routes]]\npath = \"/a\"\naccess = \"public\"\nheaders = { request = { add = { apikey = \"x\" }, remove = [\"ApiKey\"] }, response = { set = { apikey = \"x\" } }, respons = 1 }\n",
            &[
                "4:33: `apikey` carries the client's key, which never goes up; `set` gives the upstream its own",
                "4:59: `apikey` carries the client's key, which never goes up; `set` gives the upstream its own",
                "4:93: `apikey` carries keys, and no answer does",
                "4:111: unknown field `respons` in `routes.headers`; did you mean `response`?",
            ],
        ),
        (
            "[[routes]]\npath = \"/a\"\naccess = \"public\"\nheaders.response.set = { A = \"\", B = \"${key.secret}\", C = \"${\", D = \"a\\n${key.id}\", E = [] }\n",
            &[
                "4:30: `routes.headers.response.set.A` is empty",
                "4:38: `routes.headers.response.set.B`: expected `${env:NAME}`, `${file:PATH}`, or `${` and one of key.id, key.name, key.scope, request.id, client.address and `}`",
                "4:59: `routes.headers.response.set.C`: expected `${env:NAME}`, `${file:PATH}`, or `${` and one of key.id, key.name, key.scope, request.id, client.address and `}`",
                "4:69: `routes.headers.response.set.D` cannot be a header's value: expected visible characters and blanks, in one line",
                "4:89: `routes.headers.response.set.E` is a list; expected a text, in which `${env:NAME}` and `${file:PATH}` are replaced",
            ],
        ),
    ]);
}

#[test]
fn cors_and_maintenance_of_a_route_say_what_is_wrong_with_them() {
    table_after(&[
        (
            "[[routes]]\npath = \"/a\"\naccess = \"public\"\ncors = false\nmaintenance = false\n[[routes]]\npath = \"/b\"\nscope = \"authOnly\"\ncors = { origins = [\"*\"], methods = [\"GET\"] }\nmaintenance = { status = 410, message = \"Gone.\", retry_after = \"5m\" }\n",
            &[],
        ),
        (
            "[[routes]]\npath = \"/a\"\naccess = \"public\"\ncors = true\nmaintenance = true\n[[routes]]\npath = \"/b\"\nscope = \"authOnly\"\ncors = { origins = [], management = true }\nmaintenance = { status = 200, message = \"\", retry_after = \"x\" }\n",
            &[
                "4:8: `routes.cors` is true or false; expected a table with the fields of `[cors]`, or false",
                "5:15: `routes.maintenance` is true or false; expected a table such as { message = \"Back at noon.\", retry_after = \"5m\" }, or false",
                "9:20: `routes.cors.origins` is empty; leave out `routes.cors` to switch it off",
                "9:24: unknown field `management` in `routes.cors`",
                "10:26: `routes.maintenance.status` is out of bounds; expected a whole number from 400 to 599",
                "10:41: `routes.maintenance.message`: expected a sentence of 1 to 500 bytes without control characters",
                "10:59: `routes.maintenance.retry_after`: expected a duration: a whole number with ms, s, m or h, such as \"30s\"",
            ],
        ),
    ]);
    let text = GOOD.replace("[defaults]\n", "[defaults]\ncors = false\n");
    let problems = load_texts(&text, &[]).unwrap_err().0;
    assert_eq!(
        problems[0].message,
        "what holds for all routes stands in `[cors]` of the main file"
    );
}

#[test]
fn one_bad_route_hides_no_other() {
    table_after(&[
        (
            "[[routes]]\npath = \"/a\"\nscope = \"authOnly\"\nmethods = [\"get\"]\nupstream = \"caht\"\n[[routes]]\npath = \"b\"\nscope = \"autOnly\"\nrate = \"1/d\"\nretries = 3\n",
            &[
                "4:12: `routes.methods`: methods are upper case; expected \"GET\"",
                "5:12: there is no upstream `caht`; did you mean `chat`?",
                "7:8: `routes.path`: expected a path that begins with `/`",
                "9:8: `routes.rate`: expected a rate: a whole number per s, m or h, such as \"100/s\"",
                "10:11: `routes.retries` is a whole number; expected a table",
            ],
        ),
        (
            "[[routes]]\npath = \"/a\"\nscop = \"authOnly\"\n[[routes]]\npath = \"/a/{*r}/b\"\nscope = \"authOnly\"\n[[routes]]\npath = \"/c\"\nscope = \"autOnly\"\n[[routes]]\npath = \"/d\"\nscope = \"authOnly\"\ntimeouts = { idle = \"1s\", body = \"1\" }\n",
            &[
                "1:1: a route says who may call it: expected `scope`, or `access = \"public\"` or \"deny\"",
                "3:1: unknown field `scop` in `routes`; did you mean `scope`?",
                "5:8: the path `/a/{*r}/b` is not a pattern: `{*r}` takes all that follows, so it can only be the last segment",
                "9:9: the scope `autOnly` is not declared; did you mean `authOnly`?",
                "13:14: `idle` is not of a route: it stands in `[timeouts]` of the main file",
                "13:34: `routes.timeouts.body`: expected a duration: a whole number with ms, s, m or h, such as \"30s\"",
            ],
        ),
    ]);
}

#[test]
fn expectations_are_run() {
    table_after(&[
        (
            "[[expect]]\nrequest = \"GET /x\"\nallow = [\"fullAccess\"]\ndeny = [\"authOnly\", \"anyone\"]",
            &[],
        ),
        (
            "[[expect]]\nrequest = \"GET\"\nalow = []",
            &[
                "1:1: an expectation needs `allow`, `deny`, or both",
                "2:11: `expect.request`: expected a method and a path, such as \"GET /v3/users\"",
                "3:1: unknown field `alow` in `expect`; did you mean `allow`?",
            ],
        ),
        (
            "[[expect]]\nrequest = \"GET /x\"\nallow = [\"anyone\"]\ndeny = [\"anyone\", \"nobody\"]",
            &[
                "3:10: who is allowed cannot be denied as well",
                "4:19: the scope `nobody` is not declared in `[scopes]`",
            ],
        ),
    ]);
    let failing = "[[expect]]\nrequest = \"GET /x\"\nallow = [\"anyone\"]";
    let found = said(&format!("{GOOD}{failing}"), &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("the expectation does not hold"),
        "{found:?}"
    );
    // A faulty route beside it does not hide it, where the route cannot matter.
    let found = said(
        &format!("{GOOD}[[routes]]\npath = \"/y\"\nscope = \"nobody\"\n{failing}"),
        &[],
    );
    assert_eq!(found.len(), 2, "{found:?}");
    let found = said(
        &format!("{GOOD}[[routes]]\npath = \"/x\"\nscope = \"nobody\"\n{failing}"),
        &[],
    );
    assert_eq!(
        found.len(),
        1,
        "the faulty route may be meant to open it: {found:?}"
    );
}

#[test]
fn scopes_and_defaults_stand_in_one_place_for_all_files() {
    let include = "include = [\"a.toml\"]\n";
    for (included, expected) in [
        (
            "[scopes]\nother = [\"authOnly\"]\n[[routes]]\npath = \"/o\"\nscope = \"other\"\n",
            vec![],
        ),
        (
            "[scopes]\nauthOnly = []\n",
            vec!["a.toml:2:1: the scope `authOnly` is declared twice"],
        ),
        (
            "[scopes]\na = [\"b\"]\nb = [\"a\"]\nc = [\"authOnli\"]\n\"1\" = []\nanyone = []\n",
            vec![
                "a.toml:2:1: the scope `a` includes itself, directly or around a circle",
                "a.toml:5:1: a scope's name is a letter, then letters, digits or `_ . : -`, at most 64 characters",
                "a.toml:6:1: `anyone` is what `[[expect]]` calls a request without a key; expected another name",
            ],
        ),
        (
            "[scopes]\nc = [\"authOnli\"]\n",
            vec!["a.toml:2:6: the scope `authOnli` is not declared; did you mean `authOnly`?"],
        ),
        (
            "[defaults]\nupstream = \"chat\"\nscope = \"authOnly\"\n",
            vec![
                "a.toml:2:1: the default `upstream` is set twice; it holds for all files",
                "a.toml:3:1: there is no default for who may call: each route says it",
            ],
        ),
        (
            "",
            vec![
                "a.toml:1:1: the file has no content; an included file is never empty (it may be half written)",
            ],
        ),
        (
            "# nothing\n",
            vec![
                "a.toml:1:1: the file has no content; an included file is never empty (it may be half written)",
            ],
        ),
        (
            "include = [\"b.toml\"]\n[server]\nlisten = []\n",
            vec![
                "a.toml:1:1: `include` stands in the main file only, not in one that is included",
                "a.toml:2:2: `server` stands in the main file only, not in one that is included",
            ],
        ),
        (
            "prefix = \"/v3/\"\n[[routes]]\npath = \"/a\"\nscope = \"fullAccess\"\n",
            vec![
                "a.toml:1:10: `prefix`: expected a path that begins with `/` and does not end in one, such as \"/v3\"",
            ],
        ),
    ] {
        assert_eq!(
            said(&format!("{include}{GOOD}"), &[("a.toml", included)]),
            expected,
            "{included}"
        );
    }
}

#[test]
fn prefixes_go_before_each_path_of_their_file() {
    let main = format!("include = [\"*.toml\"]\n{GOOD}");
    let included = "prefix = [\"/v3\", \"/v3.0\"]\n[[routes]]\npath = [\"/a\", \"/b\"]\nscope = \"authOnly\"\n";
    let loaded = load_texts(&main, &[("a.toml", included)])
        .map_err(|p| p.to_string())
        .unwrap();
    let templates: Vec<_> = loaded
        .hot
        .policy
        .routes()
        .iter()
        .map(|r| r.template.to_string())
        .collect();
    for path in ["/v3/a", "/v3.0/a", "/v3/b", "/v3.0/b", "/{*rest}"] {
        assert!(
            templates.iter().any(|t| t == path),
            "{path} in {templates:?}"
        );
    }
}

#[test]
fn syntax_errors_hide_no_problem_of_another_table() {
    let text =
        "[server]\nlisten = [\"127.0.0.1:0\"\nworkers = 0\n[log]\nlevel = info\nformat = \"jsn\"\n";
    assert_eq!(
        said(&format!("{text}{GOOD}"), &[]),
        [
            "2:10: this list is not closed: expected `]`",
            "3:11: `server.workers` is out of bounds; expected a whole number from 1 to 1024",
            "5:9: expected a value; text stands in quotes: \"…\"",
            "6:10: `log.format` is none of \"auto\", \"text\", \"json\"; did you mean \"json\"?",
        ]
    );
    // What could not be read is not called missing.
    let text = GOOD.replace("authOnly = []", "authOnly = [");
    assert_eq!(
        said(&text, &[]),
        ["6:12: this list is not closed: expected `]`"]
    );
    let text = GOOD.replace("[upstreams.chat]", "[upstreams.chat");
    assert_eq!(
        said(&text, &[]),
        ["2:16: this table's header is not closed: expected `]`"]
    );
    let text = GOOD.replace("[[routes]]", "[[routes]");
    assert_eq!(said(&text, &[]).len(), 1, "{:?}", said(&text, &[]));
}

#[test]
fn ten_faults_of_ten_kinds_give_ten_problems() {
    let text = r#"include = ["absent.toml"]
[server]
lisen = ["127.0.0.1:8080"]
workers = "four"
[admin]
listen = "9901"
[log]
level = info
[timeouts]
head = "0s"
[limits]
body_bytes = "128 elephants"
connections = true
[upstreams.chat]
servers = ["https://127.0.0.1:9000/"]
headers.set = { apikey = "${env:KEYGATE_TEST_IS_NEVER_SET}" }
[scopes]
authOnly = []
fullAccess = ["authOnly"]
[defaults]
upstream = "chat"
[[routes]]
path = "/a"
scope = "fullAccess"
[[routes]]
path = "/a"
scope = "authOnly"
[[routes]]
path = "/img-{id}"
scope = "authOnly"
"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keygate.toml");
    std::fs::write(&path, text).unwrap();
    let problems = load(&path, Secrets::Required).unwrap_err();
    let lines: Vec<usize> = problems.0.iter().map(|p| p.place.line).collect();
    assert_eq!(
        lines,
        [1, 3, 4, 6, 8, 10, 12, 13, 15, 16, 26, 29],
        "{problems}"
    );
    let without: Vec<usize> = load(&path, Secrets::Skipped)
        .unwrap_err()
        .0
        .iter()
        .map(|p| p.place.line)
        .collect();
    assert_eq!(without, [1, 3, 4, 6, 8, 10, 12, 13, 15, 26, 29]);
    assert_eq!(problems.count(), (12, 0));
}

#[test]
fn no_problem_shows_a_secret() {
    for text in [
        "[upstreams.a]\nservers = [\"x\"]\nheaders.set = { apikey = \"sesame\\n\" }",
        "[upstreams.a]\nheaders = \"sesame\"",
        "[upstreams.a]\nheders.set = { apikey = \"sesame\" }",
        "[upstreams]\na = { servers = [\"x\"], headers = { set = { k = \"sesame\" } } }",
        "[upstreams.a]\nservers = [\"http://u:sesame@h\"]",
        "[upstreams.a]\nheaders.set = { apikey = \"sesame\" ",
        "[upstreams.a.headers.set]\na = \"sesame\"\na = \"sesame\"",
        "[keys]\nstore = \"postgres://u:sesame@h\"",
        "[keys]\nsecret = [\"sesame\"]",
        "[server]\ntls = { key = \"sesame\" }",
        "token = \"sesame\"",
    ] {
        let problems = load_texts(&format!("{text}\n{GOOD}"), &[]).unwrap_err();
        let shown = format!("{problems}{problems:?}");
        assert!(!shown.contains("sesame"), "{text}\n{shown}");
    }
}

#[test]
fn files_that_are_none_are_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k.toml");
    let message = |path: &std::path::Path| {
        let problems = load(path, Secrets::Required).unwrap_err();
        assert_eq!(problems.0.len(), 1, "{problems}");
        problems.0[0].message.clone()
    };
    assert_eq!(message(&path), "there is no such file");
    assert_eq!(message(folder.path()), "this is a folder; expected a file");
    std::fs::write(&path, "").unwrap();
    assert!(message(&path).starts_with("the file is empty"));
    std::fs::write(&path, b"a = \"\xff\"\n").unwrap();
    assert_eq!(
        message(&path),
        "the file is not UTF-8 text from line 1, column 6 on; save it as UTF-8"
    );
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(17 * 1024 * 1024).unwrap();
    assert!(message(&path).starts_with("the file has more than 16 MiB"));
    std::fs::write(
        &path,
        "[upstreams.a]\nservers = [\"http://a\"]\n[scopes]\nfullAccess = []\n",
    )
    .unwrap();
    assert_eq!(
        message(&path),
        "there is no route; a configuration opens at least one"
    );
    std::fs::write(&path, format!("\u{feff}{}", GOOD.replace('\n', "\r\n"))).unwrap();
    load(&path, Secrets::Required)
        .map_err(|p| p.to_string())
        .unwrap();
}

#[test]
fn secrets_come_from_files_and_a_file_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k.toml");
    let headers = "headers.set = { authorization = \"Bearer ${file:token}\" }\n";
    let main = format!(
        "include = [\"r.toml\", \"*.toml\", \"./r.toml\", \"link.toml\"]\n{}",
        GOOD.replace("[scopes]", &format!("{headers}[scopes]"))
    );
    std::fs::write(&path, &main).unwrap();
    std::fs::write(
        folder.path().join("r.toml"),
        "[[routes]]\npath = \"/a\"\nscope = \"fullAccess\"\n",
    )
    .unwrap();
    std::os::unix::fs::symlink("r.toml", folder.path().join("link.toml")).unwrap();
    let problems = load(&path, Secrets::Required).unwrap_err();
    assert_eq!(problems.0.len(), 1, "{problems}");
    load(&path, Secrets::Skipped)
        .map_err(|p| p.to_string())
        .unwrap();
    std::fs::write(folder.path().join("token"), "sesame\n").unwrap();
    let loaded = load(&path, Secrets::Required)
        .map_err(|p| p.to_string())
        .unwrap();
    let (name, Template::Fixed(value)) = &loaded.hot.upstreams[0].headers.request.set[0] else {
        panic!("a value without variables");
    };
    assert_eq!(
        (name.as_str(), value.as_bytes()),
        ("authorization", &b"Bearer sesame"[..])
    );
    assert!(value.is_sensitive());
    assert!(!format!("{loaded:?}").contains("sesame"));
    assert!(loaded.files.paths().contains(&folder.path().join("token")));
    assert_eq!(loaded.routes, 2);
    let before = loaded.hash;
    std::fs::write(folder.path().join("token"), "another\n").unwrap();
    let again = load(&path, Secrets::Required)
        .map_err(|p| p.to_string())
        .unwrap();
    assert_eq!(
        again.hash, before,
        "the hash that is shown says nothing of secrets"
    );
    assert_ne!(again.mark, loaded.mark);
}

#[test]
fn the_keys_table_alone_is_read_past_faults_elsewhere_but_never_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keygate.toml");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        load_keys(&path)
    };
    let keys = "[keys]\nstore = \"sqlite:k.db\"\nreveal = \"once\"\n";
    for fine in [
        keys.to_owned(),
        format!("include = [\"missing.toml\"]\n{keys}"),
        format!("{keys}[server]\nlisten = 5\n[nonsense]\n[[routes]]\npath = 5\n"),
        format!("{keys}[upstreams.chat]\nheaders.set = {{ a = \"${{env:KEYGATE_UNSET}}\" }}\n"),
    ] {
        let (keys, reveal) = read(&fine).unwrap_or_else(|e| panic!("{fine}: {e}"));
        assert_eq!(keys.store, folder.path().join("k.db"), "{fine}");
        assert_eq!(reveal, crate::key::Reveal::Once, "{fine}");
    }
    for faulty in [
        "[keys]\nstore = 5\n".to_owned(),
        "[keys]\nstor = \"sqlite:k.db\"\n".to_owned(),
        format!("{keys}[server\n"),
        format!("{keys}[server]\nlisten =\n"),
        "[keys\nstore = \"sqlite:k.db\"\n".to_owned(),
    ] {
        assert!(read(&faulty).is_err(), "{faulty}");
    }
}

#[test]
fn nonsense_without_end_gets_an_answer_with_an_end() {
    let text = "[a]\nb = \nc = [\n".repeat(2000);
    let problems = load_texts(&text, &[]).unwrap_err();
    assert_eq!(problems.0.len(), 1001);
    let last = &problems.0[1000].message;
    assert!(last.contains("more problems"), "{last}");
}

#[test]
fn balancing_says_what_is_wrong() {
    let a = "[upstreams.a]\nservers = \"http://a\"\n";
    for (text, expected) in [
        (
            "servers = [{ url = \"http://b\", weight = 0 }, { weight = 2 }, { url = \"ftp://b\", wieght = 1 }]",
            &[
                "1:41: `upstreams.b.servers.weight` is out of bounds; expected a whole number from 1 to 1000",
                "1:46: a server needs `url`: expected one such as \"http://127.0.0.1:9000\"",
                "1:70: `upstreams.b.servers.url`: expected a server such as \"http://127.0.0.1:9000\"",
                "1:81: unknown field `wieght` in `upstreams.b.servers`; did you mean `weight`?",
            ][..],
        ),
        (
            "balance = \"random\"",
            &[
                "1:11: `upstreams.b.balance`: expected \"least-loaded\", \"round-robin\", \"hash:key\" or \"hash:header NAME\"",
            ],
        ),
        (
            "balance = \"hash:header apikey\"",
            &[
                "1:11: `upstreams.b.balance`: the header that carries the key has `hash:key`, which goes by the key's id",
            ],
        ),
        (
            "health = { interval = \"1s\", status = \"7xx\" }",
            &[
                "1:10: `health` needs `path`: expected one such as \"/healthz\"",
                "1:38: `upstreams.b.health.status`: expected a status from 100 to 599, or a class such as \"5xx\"",
            ],
        ),
        (
            "eject = { failures = 0, status = [200, 503] }\nslow_start = \"0s\"",
            &[
                "1:22: `upstreams.b.eject.failures` is out of bounds; expected a whole number from 1 to 100000",
                "1:35: `upstreams.b.eject.status` is out of bounds; expected a whole number from 400 to 599",
                "2:14: `upstreams.b.slow_start`: expected a duration of more than nothing",
            ],
        ),
        (
            "queue = { size = 5 }",
            &[
                "1:1: `queue` is for those that wait where `connections` is reached: expected `connections` beside it",
            ],
        ),
        (
            "retries = { attempts = 0, on = [\"timeout\"], budget = 20 }",
            &[
                "1:24: `upstreams.b.retries.attempts` is out of bounds; expected a whole number from 1 to 10",
                "1:33: `upstreams.b.retries.on`: expected \"connect\", \"reset\", or a status that another attempt may better: 429, 500 to 599",
                "1:54: `upstreams.b.retries.budget` is a whole number; expected a share of requests such as \"20%\"",
            ],
        ),
    ] {
        let servers = if text.starts_with("servers") {
            ""
        } else {
            "servers = \"http://b\"\n"
        };
        let before = format!("{a}[upstreams.b]\n{servers}");
        let lines = before.lines().count();
        let found: Vec<String> = match load_texts(&format!("{before}{text}\n{GOOD}"), &[]) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems.0,
        }
        .into_iter()
        .map(|mut problem| {
            problem.place.line = problem.place.line.wrapping_sub(lines);
            line(&problem)
        })
        .collect();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn balancing_means_what_it_says() {
    let text = GOOD.replace(
        "servers = [\"http://127.0.0.1:9000\"]",
        r#"servers = ["http://a", { url = "http://b:81", weight = 3 }]
balance = "hash:header X-Room"
resolve = "10s"
health = { path = "/healthz?deep=1", unhealthy = 1, status = [204, "3xx"] }
eject = { failures = 2, for = "1m" }
slow_start = "30s"
connections = 8
queue = { size = 3 }
retries = { attempts = 3, on = ["reset", "503"], budget = "10%" }"#,
    );
    let text = format!("{text}retries = {{ attempts = 1 }}\n");
    let loaded = load_texts(&text, &[]).map_err(|p| p.to_string()).unwrap();
    let upstream = &loaded.hot.upstreams[0];
    let weights: Vec<u16> = upstream.servers.iter().map(|s| s.weight).collect();
    assert_eq!(weights, [1, 3]);
    let seconds = Duration::from_secs;
    let range = |first, last| StatusRange { first, last };
    let expected = Balancing {
        balance: Balance::HashHeader(http::HeaderName::from_static("x-room")),
        resolve: seconds(10),
        health: Some(HealthCheck {
            path: http::uri::PathAndQuery::from_static("/healthz?deep=1"),
            interval: seconds(5),
            timeout: seconds(2),
            healthy: 2,
            unhealthy: 1,
            status: vec![range(204, 204), range(300, 399)],
        }),
        eject: Some(Eject {
            failures: 2,
            lasts: seconds(60),
            status: vec![range(502, 504)],
        }),
        slow_start: Some(seconds(30)),
        connections: Some(8),
        queue: Queue {
            size: 3,
            timeout: seconds(1),
        },
        retries: Some(crate::policy::Retries {
            attempts: 3,
            on: crate::policy::RetryOn {
                connect: false,
                reset: true,
                status: vec![503],
            },
            budget_percent: 10,
        }),
    };
    assert_eq!(upstream.balancing, expected);
    let route = loaded.hot.policy.routes().last().unwrap();
    let of_route = route.settings.retries.as_ref().map(|r| r.attempts);
    assert_eq!(of_route, Some(1));
}
