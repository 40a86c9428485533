//! What is wrong with a policy, said by `keygate check` with every place involved; and what an edit of the files does to a
//! gateway that runs: in force within a second, whole, or refused, whole.

mod support;

use support::{Folder, Gateway, Upstream};

const HEAD: &str =
    "[scopes]\nauthOnly = []\nfullAccess = [\"authOnly\"]\n[defaults]\nupstream = \"chat\"\n";

fn folder(main: &str, routes: &str) -> Folder {
    // Nothing is sent to this upstream.
    Folder::new(([127, 0, 0, 1], 9).into(), main, routes)
}

/// A route of two lines after its head, `path` on the first.
fn route(path: &str, rest: &str) -> String {
    format!("[[routes]]\npath = \"{path}\"\n{rest}\n")
}

#[test]
fn each_fault_of_a_policy_is_named_with_its_places() {
    let full = "scope = \"fullAccess\"";
    // routes after HEAD (whose lines are 1 to 5), what the report must say; `:7` is line 7 of routes.toml
    let rows: &[(&str, String, &[&str])] = &[
        (
            "two routes for every method",
            route("/x", full) + &route("/x", "access = \"public\""),
            &["`/x`", "two routes", ":7:", ":10:"],
        ),
        (
            "two routes for one method",
            route("/x", "scope = \"fullAccess\"\nmethods = [\"GET\", \"PUT\"]")
                + &route("/x", "scope = \"fullAccess\"\nmethods = [\"PUT\"]"),
            &["`/x`", "two routes for PUT", ":7:", ":11:"],
        ),
        (
            "two routes under other names of their params",
            route("/x/{a}", full) + &route("/x/{b}", full),
            &["two routes", ":7:", ":10:"],
        ),
        (
            "two routes in another spelling",
            route("/caf%c3%a9", full) + &route("/%63af%C3%A9", full),
            &["two routes", ":7:", ":10:"],
        ),
        (
            "two routes of one host in another letter case",
            route("/x", "host = \"a.test\"\nscope = \"fullAccess\"")
                + &route("/x", "host = \"A.TEST\"\nscope = \"fullAccess\""),
            &["two routes", ":7:", ":11:"],
        ),
        (
            "nothing is left for a route",
            route("/x", full)
                + &route(
                    "/x",
                    "scope = \"fullAccess\"\nmethods = [\"GET\", \"HEAD\", \"POST\", \"PUT\", \"PATCH\", \"DELETE\", \"OPTIONS\"]",
                ),
            &["no request can reach `/x`", ":7:", ":10:"],
        ),
        (
            "an undeclared scope",
            route("/x", "scope = \"fulAccess\""),
            &["`fulAccess`", "`fullAccess`", ":8:"],
        ),
        (
            "an upstream that is not there",
            route("/x", "scope = \"fullAccess\"\nupstream = \"chta\""),
            &["`chta`", "`chat`", ":9:"],
        ),
        (
            "a route at a management path",
            route("/apikeys", full),
            &["`/apikeys`", "management path", ":7:"],
        ),
        (
            "a route below a management path",
            route("/v3/apikeys/{id}", full),
            &["management path", ":7:"],
        ),
        (
            "a management path in another spelling",
            route("/api%6beys/x", full),
            &["management path", ":7:"],
        ),
        (
            "a part of a segment in braces",
            route("/img-{id}", full),
            &["`img-{id}`", "whole segment", ":7:"],
        ),
        (
            "a tail in the middle",
            route("/{*rest}/x", full),
            &["last segment", ":7:"],
        ),
        (
            "a param without a name",
            route("/{}", full),
            &["name", ":7:"],
        ),
        (
            "a param twice",
            route("/{a}/{a}", full),
            &["`a`", "twice", ":7:"],
        ),
        (
            "a path without its slash",
            route("x", full),
            &["`/`", ":7:"],
        ),
        ("a path with dots", route("/a/../b", full), &["`..`", ":7:"]),
        (
            "a path with a query",
            route("/a?b", full),
            &["query", ":7:"],
        ),
        (
            "a path that needs an exception",
            route("/a;b", full),
            &["semicolon", ":7:"],
        ),
        (
            "neither scope nor access",
            route("/x", "methods = [\"GET\"]"),
            &["`scope`", "`access = \\\"public\\\"`", ":6:"],
        ),
        (
            "scope and access",
            route("/x", "scope = \"fullAccess\"\naccess = \"public\""),
            &["either `scope` or `access`", ":8:", ":9:"],
        ),
        (
            "an access that is none",
            route("/x", "access = \"open\""),
            &["\"public\"", ":8:"],
        ),
        (
            "no scope in the list",
            route("/x", "scope = []"),
            &["`scope` is empty", ":8:"],
        ),
        (
            "no path in the list",
            "[[routes]]\npath = []\nscope = \"fullAccess\"\n".to_owned(),
            &["`path` is empty", ":7:"],
        ),
        (
            "no method in the list",
            route("/x", "scope = \"fullAccess\"\nmethods = []"),
            &["`methods` is empty", ":9:"],
        ),
        (
            "a method in lower case",
            route("/x", "scope = \"fullAccess\"\nmethods = [\"get\"]"),
            &["\"GET\"", ":9:"],
        ),
        (
            "a method that is never let through",
            route("/x", "scope = \"fullAccess\"\nmethods = [\"TRACE\"]"),
            &["TRACE", ":9:"],
        ),
        (
            "a method twice",
            route("/x", "scope = \"fullAccess\"\nmethods = [\"GET\", \"GET\"]"),
            &["GET stands twice", ":9:"],
        ),
        (
            "an unknown field",
            route("/x", "scope = \"fullAccess\"\nmethod = [\"GET\"]"),
            &["`method`", "`methods`", ":9:"],
        ),
        (
            "an unknown exception",
            route("/x", "scope = \"fullAccess\"\nallow = [\"slash\"]"),
            &["encoded-slash", ":9:"],
        ),
        (
            "a host with a port",
            route("/x", "scope = \"fullAccess\"\nhost = \"a.test:80\""),
            &["without a port", ":9:"],
        ),
        (
            "a host with a star inside",
            route("/x", "scope = \"fullAccess\"\nhost = \"a.*.test\""),
            &["host", ":9:"],
        ),
        (
            "a body that has no size",
            route("/x", "scope = \"fullAccess\"\nbody_bytes = \"64\""),
            &["size", ":9:"],
        ),
        (
            "a time without a unit",
            route(
                "/x",
                "scope = \"fullAccess\"\ntimeouts = { response = \"30\" }",
            ),
            &["duration", ":9:"],
        ),
        (
            "a prefix to strip that is no path",
            route("/x", "scope = \"fullAccess\"\nstrip_prefix = \"x/\""),
            &["/api", ":9:"],
        ),
        (
            "a prefix to strip that no path has",
            route("/v3/x", "scope = \"fullAccess\"\nstrip_prefix = \"/v4\""),
            &["`strip_prefix`", "`/v3/x`", ":9:"],
        ),
        (
            "a prefix to strip that ends within a segment",
            route("/v3.0/x", "scope = \"fullAccess\"\nstrip_prefix = \"/v3\""),
            &["`strip_prefix`", ":9:"],
        ),
        (
            "a prefix to strip that a path has in another spelling",
            route(
                "/caf%c3%a9/{*rest}",
                "scope = \"fullAccess\"\nstrip_prefix = \"/%63af%C3%A9\"",
            ),
            &[],
        ),
        (
            "a scope declared twice",
            format!("{}[scopes]\nother = []\n", route("/x", full)),
            &["scopes", ":9:"],
        ),
        (
            "an expectation that fails to allow",
            format!(
                "{}[[expect]]\nrequest = \"GET /x\"\nallow = [\"authOnly\"]\n",
                route("/x", full)
            ),
            &["`GET /x`", "authOnly", "refused", ":6:", ":9:"],
        ),
        (
            "an expectation that fails to deny",
            format!(
                "{}[[expect]]\nrequest = \"GET /x\"\ndeny = [\"fullAccess\"]\n",
                route("/x", full)
            ),
            &["`GET /x`", "fullAccess", "let through", ":6:", ":9:"],
        ),
        (
            "an expectation of anyone",
            format!(
                "{}[[expect]]\nrequest = \"GET /x\"\nallow = [\"anyone\"]\n",
                route("/x", full)
            ),
            &["refused", ":9:"],
        ),
        (
            "an expectation of nothing",
            format!("{}[[expect]]\nrequest = \"GET /x\"\n", route("/x", full)),
            &["`allow`", "`deny`", ":9:"],
        ),
        (
            "an expectation of a scope that is none",
            format!(
                "{}[[expect]]\nrequest = \"GET /x\"\ndeny = [\"nobody\"]\n",
                route("/x", full)
            ),
            &["`nobody`", ":11:"],
        ),
        ("no route at all", String::new(), &["route"]),
    ];
    for (row, routes, expected) in rows {
        let folder = folder("", &format!("{HEAD}{routes}"));
        let check = folder.keygate(&["check"]);
        let report = &check.stderr;
        if expected.is_empty() {
            assert_eq!(check.status.code(), Some(0), "{row}:\n{report}");
            continue;
        }
        assert_eq!(check.status.code(), Some(2), "{row}:\n{report}");
        for part in *expected {
            let part = part.replace("\\\"", "\"");
            let found = match part.strip_prefix(':') {
                Some(_) => report.contains(&format!("routes.toml{part}")),
                None => report.contains(&part),
            };
            assert!(found, "{row}: {part} is not in\n{report}");
        }
        // `run` refuses the same, says the same, and listens nowhere.
        let run = folder.keygate(&["run"]);
        assert_eq!(run.status.code(), Some(2), "{row}:\n{}", run.stderr);
        assert!(!run.stderr.contains("ready"), "{row}: {}", run.stderr);
        assert!(
            !folder.path().join("data").exists(),
            "{row}: no file is made"
        );
    }
}

#[test]
fn scopes_defaults_and_files_fail_as_a_whole_and_all_at_once() {
    // main, routes, more files, what the report must say
    type Row<'a> = (
        &'a str,
        &'a str,
        &'a str,
        &'a [(&'a str, &'a str)],
        &'a [&'a str],
    );
    let good = format!("{HEAD}{}", route("/x", "scope = \"fullAccess\""));
    let rows: &[Row<'_>] = &[
        (
            "a scope in two files",
            "include = [\"routes.toml\", \"b.toml\"]",
            &good,
            &[("b.toml", "[scopes]\nauthOnly = []\n")],
            &[
                "`authOnly` is declared twice",
                "b.toml:2:1",
                "routes.toml:2:1",
            ],
        ),
        (
            "a default in two files",
            "include = [\"routes.toml\", \"b.toml\"]",
            &good,
            &[("b.toml", "[defaults]\nupstream = \"chat\"\n")],
            &["`upstream` is set twice", "b.toml:2:1", "routes.toml:5:1"],
        ),
        (
            "two routes in two files",
            "include = [\"routes.toml\", \"b.toml\"]",
            &good,
            &[(
                "b.toml",
                "[[routes]]\npath = \"/x\"\nscope = \"fullAccess\"\n",
            )],
            &["two routes", "b.toml:2:8", "routes.toml:7:8"],
        ),
        (
            "an empty file",
            "include = [\"routes.toml\", \"b.toml\"]",
            &good,
            &[("b.toml", "")],
            &["b.toml", "empty"],
        ),
        (
            "a file of comments",
            "include = [\"routes.toml\", \"b.toml\"]",
            &good,
            &[("b.toml", "# nothing\n")],
            &["b.toml", "empty"],
        ),
        (
            "a name that does not exist",
            "include = [\"routes.toml\", \"b.toml\"]",
            &good,
            &[],
            &["b.toml"],
        ),
        (
            "a file that is cut off",
            "include = [\"routes.toml\", \"b.toml\"]",
            &good,
            &[("b.toml", "[[routes]]\npath = \"/y\"\nscope = \"fullAcc")],
            &["b.toml:3:"],
        ),
        (
            "a scope that includes itself",
            "include = [\"routes.toml\"]",
            "[scopes]\nauthOnly = [\"fullAccess\"]\nfullAccess = [\"authOnly\"]\n[defaults]\nupstream = \"chat\"\n[[routes]]\npath = \"/x\"\nscope = \"fullAccess\"\n",
            &[],
            &["circle", "routes.toml:"],
        ),
        (
            "a scope that includes none",
            "include = [\"routes.toml\"]",
            "[scopes]\nfullAccess = [\"authOnly\"]\n[defaults]\nupstream = \"chat\"\n[[routes]]\npath = \"/x\"\nscope = \"fullAccess\"\n",
            &[],
            &["`authOnly` is not declared", "routes.toml:2:"],
        ),
        (
            "a scope's name",
            "include = [\"routes.toml\"]",
            "[scopes]\n\"1st\" = []\nfullAccess = []\n[defaults]\nupstream = \"chat\"\n[[routes]]\npath = \"/x\"\nscope = \"fullAccess\"\n",
            &[],
            &["letter", "routes.toml:2:"],
        ),
        (
            "a server with a path",
            "include = [\"routes.toml\"]\n[upstreams.other]\nservers = [\"http://a.test/api\"]",
            &good,
            &[],
            &["path", "keygate.toml:"],
        ),
        (
            "a variable that is not set",
            "include = [\"routes.toml\"]\n[upstreams.other]\nservers = [\"http://a.test\"]\nheaders.set = { x = \"${env:KEYGATE_NOT_SET}\" }",
            &good,
            &[],
            &["KEYGATE_NOT_SET", "keygate.toml:"],
        ),
        (
            "postgres",
            "include = [\"routes.toml\"]\n[keys]\nstore = \"postgres://a.test/keys\"",
            &good,
            &[],
            &["PostgreSQL", "keygate.toml:"],
        ),
        (
            "an unknown table",
            "include = [\"routes.toml\"]\n[upstream.chat]\nservers = []",
            &good,
            &[],
            &["`upstreams`", "keygate.toml:"],
        ),
    ];
    for (row, main, routes, more, expected) in rows {
        let main = format!("{main}\n[upstreams.chat]\nservers = [\"http://127.0.0.1:9\"]\n");
        let folder = Folder::with_main(&main, routes);
        for (name, text) in *more {
            folder.write(name, text);
        }
        let check = folder.keygate(&["check"]);
        assert_eq!(check.status.code(), Some(2), "{row}:\n{}", check.stderr);
        for part in *expected {
            assert!(
                check.stderr.contains(part),
                "{row}: {part} is not in\n{}",
                check.stderr
            );
        }
    }
    // A scope's name is a letter, then letters, digits, `_ . : -`, at most 64 in all.
    let longest = "a".repeat(64);
    for (name, fine) in [
        ("a", true),
        ("Z9_.:-z", true),
        (longest.as_str(), true),
        (&format!("{longest}a"), false),
        ("9a", false),
        ("-a", false),
        ("a b", false),
        ("a/b", false),
        ("é", false),
        ("", false),
        ("anyone", false),
    ] {
        let scopes = format!("[scopes]\n\"{name}\" = []\nfullAccess = [\"{name}\"]\n");
        let routes = format!(
            "{scopes}[defaults]\nupstream = \"chat\"\n{}",
            route("/x", "scope = \"fullAccess\"")
        );
        let check = folder("", &routes).keygate(&["check"]);
        let code = if fine { 0 } else { 2 };
        assert_eq!(
            check.status.code(),
            Some(code),
            "`{name}`:\n{}",
            check.stderr
        );
    }
    // Every problem in one run.
    let folder = folder(
        "[limits]\nheaders = \"many\"\n[timeouts]\nhead = \"10\"\n",
        &format!(
            "{HEAD}{}{}{}",
            route("x", "scope = \"fullAccess\""),
            route("/y", "scope = \"nobody\""),
            route("/z", "acess = \"public\"")
        ),
    );
    let report = folder.keygate(&["check"]).stderr;
    for part in [
        "headers",
        "duration",
        "`nobody`",
        "`acess`",
        "`access`",
        "routes.toml:7:",
        "routes.toml:11:",
        "routes.toml:14:",
    ] {
        assert!(report.contains(part), "{part} is not in\n{report}");
    }
}

#[test]
fn falling_through_to_more_access_is_a_warning_and_no_error() {
    let rows = [
        (
            "a public tail",
            route("/users", "methods = [\"POST\"]\nscope = \"fullAccess\"")
                + &route("/{*rest}", "access = \"public\""),
            true,
        ),
        (
            "a tail for a lower scope",
            route("/users", "methods = [\"POST\"]\nscope = \"fullAccess\"")
                + &route("/{*rest}", "scope = \"authOnly\""),
            true,
        ),
        (
            "a tail for a higher scope",
            route("/users", "methods = [\"POST\"]\nscope = \"authOnly\"")
                + &route("/{*rest}", "scope = \"fullAccess\""),
            false,
        ),
        (
            "every method taken",
            route("/users", "scope = \"fullAccess\"") + &route("/{*rest}", "access = \"public\""),
            false,
        ),
    ];
    for (row, routes, warns) in rows {
        let check = folder("", &format!("{HEAD}{routes}")).keygate(&["check"]);
        assert_eq!(check.status.code(), Some(0), "{row}:\n{}", check.stderr);
        assert_eq!(
            check.stderr.contains("[falls-through]"),
            warns,
            "{row}:\n{}",
            check.stderr
        );
        if warns {
            for place in ["routes.toml:6:", "routes.toml:10:"] {
                assert!(
                    check.stderr.contains(place),
                    "{row}: {place}\n{}",
                    check.stderr
                );
            }
        }
    }
}

struct Live {
    _upstream: Upstream,
    folder: Folder,
    gateway: Gateway,
}

impl Live {
    /// A gateway with a public route `/one`.
    fn start() -> Live {
        let upstream = Upstream::echo();
        // Who waits for an edit asks often, and is to be told 401 all the while.
        let limits = "[limits]\nfailed_auth = { rate = \"1000000/s\", burst = 1000000 }\n";
        let folder = Folder::new(upstream.address, limits, &open("/one"));
        let text = std::fs::read_to_string(folder.config()).expect("the main file");
        let include = "[\"routes.toml\", \"routes.d/*.toml\"]";
        folder.write("keygate.toml", &text.replace("[\"routes.toml\"]", include));
        Live {
            gateway: folder.start(),
            _upstream: upstream,
            folder,
        }
    }

    fn status(&self, path: &str) -> u16 {
        self.gateway.call(&format!("GET {path}"), &[], "").status
    }

    /// Waits until this path answers so.
    fn until(&self, path: &str, status: u16, why: &str) {
        let answer = self
            .gateway
            .eventually(|| self.status(path), |answer| *answer == status);
        assert_eq!(answer, status, "{why}");
    }

    fn told(&self) -> serde_json::Value {
        self.gateway.admin("/status").json()
    }
}

fn open(path: &str) -> String {
    format!("{HEAD}{}", route(path, "access = \"public\""))
}

#[test]
fn an_edit_in_any_way_is_in_force_and_a_bad_one_is_refused_whole() {
    let live = Live::start();
    let (folder, path) = (&live.folder, live.folder.path());
    assert_eq!((live.status("/one"), live.status("/two")), (200, 401));
    // Renamed into place, written in place, linked, a new folder and file, a file taken away.
    folder.write("routes.toml", &open("/two"));
    live.until("/two", 200, "a renamed file");
    assert_eq!(live.status("/one"), 401, "whole");
    std::fs::write(path.join("routes.toml"), open("/three")).expect("written");
    live.until("/three", 200, "a file written in place");
    std::fs::write(path.join("a"), open("/four")).expect("written");
    std::fs::write(path.join("b"), open("/five")).expect("written");
    std::os::unix::fs::symlink("a", path.join("link")).expect("a link");
    std::fs::rename(path.join("link"), path.join("routes.toml")).expect("renamed");
    live.until("/four", 200, "a link in place of a file");
    std::fs::write(path.join("a"), open("/six")).expect("written");
    live.until("/six", 200, "the file behind a link");
    std::os::unix::fs::symlink("b", path.join("link")).expect("a link");
    std::fs::rename(path.join("link"), path.join("routes.toml")).expect("renamed");
    live.until("/five", 200, "another file behind the link");
    std::fs::create_dir(path.join("routes.d")).expect("a folder");
    folder.write("routes.d/more.toml", &route("/more", "access = \"public\""));
    live.until("/more", 200, "a new file in a new folder");
    std::fs::remove_file(path.join("routes.d/more.toml")).expect("removed");
    live.until("/more", 401, "a file taken away");
    assert_eq!(live.status("/five"), 200);

    // Each bad edit leaves the last good generation, and says why in the log, the metrics and `/status`.
    let generation = live.told()["policy"]["generation"].clone();
    for (number, (text, expected)) in [
        (String::new(), "empty"),
        ("[[routes]\n".to_owned(), "routes.toml:1"),
        (open("/seven").replace("access", "acess"), "acess"),
        (
            open("/seven") + "[[expect]]\nrequest = \"GET /seven\"\ndeny = [\"anyone\"]\n",
            "let through",
        ),
        (
            open("/seven") + &route("/seven", "access = \"deny\""),
            "two routes",
        ),
    ]
    .iter()
    .enumerate()
    {
        let before = live.told()["policy"]["reloads_refused"]
            .as_u64()
            .expect("a count");
        folder.write("routes.toml", text);
        live.gateway.eventually(
            || live.told()["policy"]["reloads_refused"].as_u64(),
            |count| *count > Some(before),
        );
        let told = live.told()["policy"].clone();
        let error = told["last_error"].as_str().expect("the reason");
        assert!(error.contains(expected), "{number}: {error}");
        assert_eq!(told["generation"], generation, "{number}");
        let metrics = live.gateway.admin("/metrics").text();
        assert!(metrics.contains("keygate_policy_current 0"), "{number}");
        live.gateway
            .wait_for_log(|line| line.contains("ERROR") || line.contains("WARN"));
        assert_eq!(
            (live.status("/five"), live.status("/seven")),
            (200, 401),
            "{number}"
        );
        let ready = live.gateway.admin("/readyz");
        assert_eq!(ready.status, 200, "{number}: it goes on");
        assert_eq!(ready.json()["policy"]["ok"], false, "{number}");
    }
    folder.write("routes.toml", &open("/eight"));
    live.until("/eight", 200, "a good edit after bad ones");
    assert_eq!(live.told()["policy"]["last_error"], serde_json::Value::Null);
}

#[test]
fn what_is_cold_waits_for_a_restart_and_says_so_and_all_else_is_hot() {
    let live = Live::start();
    let main = std::fs::read_to_string(live.folder.config()).expect("the main file");
    let waiting = |live: &Live| {
        let told = live.told();
        let list = told["policy"]["waiting_for_restart"]
            .as_array()
            .expect("a list")
            .clone();
        list.iter()
            .map(|name| name.as_str().expect("a name").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(waiting(&live), Vec::<String>::new());
    for (from, to, name) in [
        ("workers = 2", "workers = 1", "workers"),
        (
            "listen = \"127.0.0.1:0\"",
            "listen = \"127.0.0.1:1\"",
            "admin",
        ),
        (
            "secret = \"secret/master\"",
            "secret = \"secret/other\"",
            "secret",
        ),
        ("[keys]\n", "[keys]\nheader = \"x-key\"\n", "header"),
    ] {
        assert!(main.contains(from), "{from}");
        live.folder.write("keygate.toml", &main.replace(from, to));
        let list = live.gateway.eventually(
            || waiting(&live),
            |list| list.iter().any(|entry| entry.contains(name)),
        );
        assert_eq!(list.len(), 1, "{name}: {list:?}");
        live.gateway.wait_for_log(|line| line.contains("restart"));
        assert_eq!(live.status("/one"), 200, "{name}: it goes on as it was");
        live.folder.write("keygate.toml", &main);
        live.gateway.eventually(|| waiting(&live), Vec::is_empty);
    }
    // Hot: a few of each kind.
    live.folder.write(
        "keygate.toml",
        &main.replace("[limits]\n", "[limits]\ntarget_bytes = \"64B\"\n"),
    );
    let long = format!("/one?{}", "x".repeat(100));
    live.until(&long, 414, "limits");
    live.folder.write(
        "keygate.toml",
        &format!("{main}[cors]\norigins = [\"*\"]\n"),
    );
    live.gateway.eventually(
        || {
            live.gateway
                .call("GET /one", &[], "")
                .header("access-control-allow-origin")
                == Some("*")
        },
        |marked| *marked,
    );
    live.folder.write(
        "keygate.toml",
        &format!("{main}[management]\npaths = [\"/one\"]\n"),
    );
    // The route is where management would be: refused, whole.
    live.gateway.eventually(
        || live.told()["policy"]["last_error"].is_string(),
        |refused| *refused,
    );
    assert_eq!(live.status("/one"), 200);
    live.folder.write(
        "keygate.toml",
        &main.replace("[log]", "[log]\naccess = \"refused\""),
    );
    live.gateway.eventually(
        || {
            let answer = live.gateway.call("GET /one", &[], "");
            let id = answer.header("x-request-id").expect("an id").to_owned();
            let refused = live.gateway.call("GET /nowhere", &[], "");
            let after = refused.header("x-request-id").expect("an id").to_owned();
            live.gateway.wait_for_log(|line| line.contains(&after));
            !live.gateway.log().contains(&id)
        },
        |quiet| *quiet,
    );
    let debug = main.replace("[log]", "[log]\nlevel = \"debug\"");
    live.folder.write("keygate.toml", &debug);
    live.gateway.eventually(
        || {
            live.status("/nowhere");
            live.gateway.log().contains("request refused")
        },
        |heard| *heard,
    );
    let text = main.replace("format = \"json\"", "format = \"text\"");
    live.folder.write("keygate.toml", &text);
    live.gateway.eventually(
        || {
            live.status("/nowhere");
            let log = live.gateway.log();
            log.lines()
                .any(|line| !line.starts_with('{') && line.contains("keygate::access"))
        },
        |plain| *plain,
    );
    let reveal = main.replace("[keys]\n", "[keys]\nreveal = \"once\"\n");
    live.folder.write("keygate.toml", &reveal);
    let key = live.folder.new_key("manager", "fullAccess");
    let shown = || {
        let list = live
            .gateway
            .call("GET /apikeys", &[&format!("apikey: {key}")], "");
        list.text()
    };
    live.gateway.eventually(shown, |text| {
        text.contains("manager") && !text.contains(&key)
    });
}
