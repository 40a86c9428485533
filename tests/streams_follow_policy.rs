//! What stays open follows the policy: WebSockets and event streams end when a new generation would refuse them, within a
//! second, and go on undisturbed when it would not, whichever route or upstream would take them then. What is open for ten
//! seconds is judged like them.

mod support;

use http::StatusCode;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};
use support::lasting::{Counting, End, KINDS, Kind, Lasting, Opener};
use support::scripted::{Peer, Scripted};
use support::trial::until;
use support::wire::{Authority, Caller, Exchange, Framing, Wire};
use support::{Folder, Gateway, PATIENCE};

/// What the policy is made of besides the rows' routes. `writer` includes `reader` in the first one only.
fn policy(includes: &str, routes: &str) -> String {
    format!(
        "[scopes]\nauthOnly = []\nfullAccess = [\"authOnly\", \"reader\"]\nreader = []\nwriter = [{includes}]\n\
         [defaults]\nupstream = \"chat\"\n{routes}"
    )
}

fn route(path: &str, more: &str) -> String {
    format!("[[routes]]\npath = \"{path}\"\n{more}\n")
}

/// A second upstream, where nobody listens: no request may come to it.
const ELSEWHERE: &str = "[upstreams.elsewhere]\nservers = [\"http://127.0.0.1:9\"]\n";

/// A gateway whose generations are told apart by number.
struct Scene {
    upstream: Counting,
    folder: Folder,
    /// A key of each scope.
    keys: BTreeMap<&'static str, String>,
    gateway: Gateway,
}

impl Scene {
    fn start(policy: &str) -> Self {
        let upstream = Counting::start();
        let folder = Folder::new(upstream.address, ELSEWHERE, policy);
        let scopes = ["fullAccess", "authOnly", "writer"];
        let keys = scopes.map(|scope| (scope, folder.new_key(scope, scope)));
        let gateway = folder.start();
        Scene {
            upstream,
            folder,
            keys: keys.into(),
            gateway,
        }
    }

    /// Puts this policy in force; the last instant at which it was not known to be.
    fn reload(&self, policy: &str) -> Instant {
        let generation = |scene: &Scene| scene.gateway.admin("/status").json()["policy"].clone();
        let before = generation(self)["generation"].as_u64().expect("a number");
        self.folder.write("routes.toml", policy);
        let mut asked = Instant::now();
        until("the new generation", || {
            let now = Instant::now();
            let status = generation(self);
            assert!(status["last_error"].is_null(), "{status}");
            let there = status["generation"].as_u64() > Some(before);
            if !there {
                asked = now;
            }
            there
        });
        asked
    }

    fn manage(&self, key: &str, line: &str, body: &str) -> serde_json::Value {
        let headers = [&*format!("apikey: {key}"), "content-type: application/json"];
        let answer = self.gateway.call(line, &headers, body);
        assert_eq!(answer.status, 200, "{line}: {}", answer.text());
        answer.json()
    }

    /// A new key: its text and its id.
    fn key(&self, admin: &str, scope: &str) -> (String, String) {
        let body = format!("{{\"name\":\"k\",\"scope\":\"{scope}\"}}");
        let made = self.manage(admin, "POST /apikeys", &body);
        let text = |name: &str| made["data"][name].as_str().expect("text").to_owned();
        (text("apiKey"), text("id"))
    }

    /// Lines of the access log that say why an open exchange ended.
    fn reasons(&self, reason: &str) -> usize {
        let reason = format!("\"reason\":\"{reason}\"");
        let log = self.gateway.log();
        log.lines().filter(|line| line.contains(&reason)).count()
    }
}

/// Waits for the end of one that must be cut, and says how long after this instant that was.
fn cut(what: &str, lasting: &Lasting, since: Instant) -> Duration {
    until(what, || lasting.progress().end.is_some());
    let (end, at) = lasting.progress().end.expect("it ended");
    assert_eq!(end, End::Cut, "{what}");
    at - since
}

/// Waits until more numbers have come.
fn goes_on(what: &str, lasting: &Lasting) {
    let before = lasting.progress();
    assert_eq!(before.end, None, "{what}");
    until(what, || {
        let now = lasting.progress();
        assert_eq!(now.end, None, "{what}");
        now.numbers >= before.numbers + 3
    });
}

/// How one route changes, and what becomes of who has come by it.
struct Row {
    name: &'static str,
    path: &'static str,
    /// The scope of the key, if it has one.
    key: Option<&'static str>,
    before: &'static str,
    /// `None`: the route is gone.
    after: Option<&'static str>,
    goes_on: bool,
}

const PUBLIC: &str = "access = \"public\"";
const FULL: &str = "scope = \"fullAccess\"";
const AUTH: &str = "scope = \"authOnly\"";

fn rows() -> Vec<Row> {
    let row = |name, path, key, before, after, goes_on| Row {
        name,
        path,
        key,
        before,
        after,
        goes_on,
    };
    let (full, auth) = (Some("fullAccess"), Some("authOnly"));
    vec![
        row("unchanged", "/same", full, FULL, Some(FULL), true),
        row("another scope", "/scope", auth, AUTH, Some(FULL), false),
        row("a lower scope", "/lower", full, FULL, Some(AUTH), true),
        row(
            "closed",
            "/closed",
            full,
            FULL,
            Some("access = \"deny\""),
            false,
        ),
        row(
            "closed, no key",
            "/shut",
            None,
            PUBLIC,
            Some("access = \"deny\""),
            false,
        ),
        row(
            "public no longer",
            "/inner",
            None,
            PUBLIC,
            Some(AUTH),
            false,
        ),
        row("public still", "/open", None, PUBLIC, Some(PUBLIC), true),
        row("public now", "/opened", full, FULL, Some(PUBLIC), true),
        row("gone", "/gone", full, FULL, None, false),
        row("gone, no key", "/lost", None, PUBLIC, None, false),
        row(
            "left to a tail that permits it",
            "/tail/in",
            full,
            FULL,
            None,
            true,
        ),
        row(
            "left to a tail that refuses it",
            "/tail/in",
            auth,
            AUTH,
            None,
            false,
        ),
        row(
            "another method",
            "/method",
            full,
            FULL,
            Some("methods = [\"POST\"]\nscope = \"fullAccess\""),
            false,
        ),
        row(
            "another host",
            "/host",
            full,
            FULL,
            Some("host = \"other.test\"\nscope = \"fullAccess\""),
            false,
        ),
        row(
            "its own host",
            "/own",
            full,
            FULL,
            Some("host = \"gateway.test\"\nscope = \"fullAccess\""),
            true,
        ),
        row(
            "another upstream",
            "/upstream",
            full,
            FULL,
            Some("upstream = \"elsewhere\"\nscope = \"fullAccess\""),
            true,
        ),
        row(
            "an exception withdrawn",
            "/a%2Fb",
            full,
            "allow = [\"encoded-slash\"]\nscope = \"fullAccess\"",
            Some(FULL),
            false,
        ),
        row(
            "an exception kept",
            "/c%2Fd",
            full,
            "allow = [\"encoded-slash\"]\nscope = \"fullAccess\"",
            Some("allow = [\"encoded-slash\"]\nscope = \"fullAccess\""),
            true,
        ),
        row(
            "a scope that includes it no longer",
            "/include",
            Some("writer"),
            "scope = \"reader\"",
            Some("scope = \"reader\""),
            false,
        ),
    ]
}

#[test]
fn each_new_policy_judges_what_is_open_and_ends_what_it_refuses() {
    let rows = rows();
    let mut texts = [String::new(), String::new()];
    for (number, row) in rows.iter().enumerate() {
        // A row's routes are its own; the path is one segment or two.
        let path = match row.path {
            "/a%2Fb" | "/c%2Fd" => format!("/{number}/{{name}}/events"),
            path => format!("/{number}{path}/events"),
        };
        let sides = [Some(row.before), row.after];
        for (text, side) in texts.iter_mut().zip(sides) {
            if let Some(side) = side {
                text.push_str(&route(&path, side));
            }
            if row.path.starts_with("/tail") {
                text.push_str(&route(&format!("/{number}/tail/{{*rest}}"), FULL));
            }
        }
    }
    let before = policy("\"reader\"", &texts[0]);
    let after = policy("", &texts[1]);
    let scene = Scene::start(&before);
    let opener = Opener::connect(scene.gateway.address);
    let mut open = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let key = row.key.map_or("", |scope| scene.keys[scope].as_str());
        for kind in KINDS {
            let path = format!("/{number}{}/events?q=%2f", row.path);
            let what = format!("{}, {kind:?}", row.name);
            let opened = opener.open(kind, &path, key);
            open.push((what, row.goes_on, opened.expect("it is open")));
        }
    }
    for (what, _, lasting) in &open {
        goes_on(what, lasting);
    }
    let since = scene.reload(&after);
    let mut worst = Duration::ZERO;
    for (what, _, lasting) in open.iter().filter(|(_, on, _)| !on) {
        worst = worst.max(cut(what, lasting, since));
    }
    println!("the last one ended {worst:?} after the generation was in force, at most");
    for (what, _, lasting) in open.iter().filter(|(_, on, _)| *on) {
        goes_on(what, lasting);
    }
    // Each says why it ended, and the reload how many did: once, whatever the number of workers.
    let ended = |kind: Kind| {
        let mut ended = open.iter().filter(|(_, on, l)| !on && l.kind == kind);
        ended.by_ref().count()
    };
    let sockets = ended(Kind::SocketOverHttp1) + ended(Kind::SocketOverHttp2);
    let events = ended(Kind::EventsOverHttp1) + ended(Kind::EventsOverHttp2);
    until("the access log", || {
        let said = (
            scene.reasons("tunnel_policy_changed"),
            scene.reasons("policy_changed"),
        );
        said == (sockets, events)
    });
    let line = scene
        .gateway
        .wait_for_log(|line| line.contains("permits no longer"));
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["ended"], sockets + events, "{line}");
    assert_eq!(line["generation"], 2, "{line}");
    // The policy of before does not bring them back, nor does it end more.
    scene.reload(&before);
    for (what, _, lasting) in open.iter().filter(|(_, on, _)| *on) {
        goes_on(what, lasting);
    }
    scene.upstream.end();
    for (what, _, lasting) in open.iter().filter(|(_, on, _)| *on) {
        until(what, || lasting.progress().end.is_some());
        let progress = lasting.progress();
        let (end, _) = progress.end.expect("it ended");
        assert_eq!(end, End::Whole, "{what}");
        if lasting.kind.is_socket() {
            assert!(
                progress.pongs > 0 && progress.pings - progress.pongs <= 1,
                "{what}"
            );
        }
    }
    let log = scene.gateway.log();
    assert_eq!(log.matches("permits no longer").count(), 1);
}

#[test]
fn a_change_of_a_key_is_judged_by_the_route_that_the_new_policy_has() {
    let paths = ["opened", "lowered", "raised", "other"];
    let of = |sides: [&str; 4]| {
        let mut text = String::new();
        for (path, side) in paths.iter().zip(sides) {
            write!(text, "{}", route(&format!("/{path}/events"), side)).expect("a string");
        }
        policy("", &text)
    };
    let reader = "scope = \"reader\"";
    let either = "scope = [\"fullAccess\", \"reader\"]";
    let before = of([FULL, FULL, AUTH, FULL]);
    let after = of([PUBLIC, AUTH, FULL, either]);
    let scene = Scene::start(&before);
    let admin = scene.keys["fullAccess"].as_str();
    let opener = Opener::connect(scene.gateway.address);
    let mut all = Vec::new();
    for path in paths {
        let (key, id) = scene.key(admin, "fullAccess");
        let open = KINDS.map(|kind| {
            let opened = opener.open(kind, &format!("/{path}/events"), &key);
            opened.expect("it is open")
        });
        all.push((path, id, open));
    }
    scene.reload(&after);
    // What its route asked for when it came is of no account any more.
    for (path, change, goes) in [
        ("lowered", "{\"scope\":\"authOnly\"}", true),
        ("raised", "{\"scope\":\"authOnly\"}", false),
        ("other", "{\"scope\":\"reader\"}", true),
        ("opened", "", true),
    ] {
        let (_, id, open) = all.iter().find(|(p, ..)| *p == path).expect("a path");
        let method = if change.is_empty() { "DELETE" } else { "PUT" };
        scene.manage(admin, &format!("{method} /apikeys/{id}"), change);
        for lasting in open {
            if goes {
                goes_on(path, lasting);
            } else {
                cut(path, lasting, Instant::now());
            }
        }
    }
    until("each says that it was its key", || {
        (scene.reasons("tunnel_revoked"), scene.reasons("revoked")) == (2, 2)
    });
    // Public no longer, and the key is gone meanwhile.
    scene.reload(&of([FULL, AUTH, FULL, reader]));
    for (path, _, open) in &all {
        for lasting in open {
            match *path {
                "opened" => drop(cut(path, lasting, Instant::now())),
                "raised" => {}
                _ => goes_on(path, lasting),
            }
        }
    }
}

#[test]
fn whatever_is_open_for_ten_seconds_is_judged_by_the_policy_in_force_then() {
    const ALLOWED: &str = "[[routes]]\npath = \"/a/{*rest}\"\nscope = \"authOnly\"\n";
    let refused = [
        ("denied", "access = \"deny\"", 403),
        ("scope", FULL, 403),
        ("method", "methods = [\"POST\"]\nscope = \"authOnly\"", 405),
        ("gone", "", 404),
        ("public", AUTH, 401),
    ];
    let (mut before, mut after) = (ALLOWED.to_owned(), ALLOWED.to_owned());
    for (name, side, _) in refused {
        let path = format!("/{name}/{{*rest}}");
        let first = if name == "public" { PUBLIC } else { AUTH };
        before.push_str(&route(&path, first));
        if !side.is_empty() {
            after.push_str(&route(&path, side));
        }
    }
    let scene = Scene::start(&policy("", &before));
    let key = scene.keys["authOnly"].as_str();
    let authority = Authority::new();
    let mut open = Vec::new();
    let mut callers = Vec::new();
    let begun = Instant::now();
    for wire in [Wire::Http1, Wire::Http2] {
        for (name, status) in refused
            .map(|(name, _, status)| (name, status))
            .into_iter()
            .chain([("a", 200)])
        {
            for what in ["download", "poll"] {
                let mut caller = Caller::connect(scene.gateway.address, wire, &authority);
                let headers = [("apikey", key)];
                let headers = if name == "public" {
                    &[][..]
                } else {
                    &headers[..]
                };
                let path = format!("/{name}/{what}");
                let exchange = caller.open("GET", &path, headers, Framing::Empty);
                callers.push(caller);
                open.push((format!("{path}, {wire:?}"), what, status, exchange));
            }
        }
    }
    until("all are under way", || scene.upstream.heard() == open.len());
    for (what, kind, _, exchange) in &mut open {
        if *kind == "download" {
            assert_eq!(
                exchange.head().map(|head| head.0),
                Some(StatusCode::OK),
                "{what}"
            );
        }
    }
    scene.reload(&policy("", &after));
    // Young ones are let be: they come to their ten seconds.
    for (what, kind, _, exchange) in &mut open {
        if *kind == "download" && begun.elapsed() < Duration::from_secs(5) {
            assert!(!exchange.piece().is_empty(), "{what}");
        }
    }
    for (what, kind, status, exchange) in open.iter_mut().filter(|row| row.2 != 200) {
        match *kind {
            "download" => until(what, || match exchange.read() {
                Some(Ok(_)) => false,
                Some(Err(_)) => true,
                None => panic!("{what}: it was cut, and must not look whole"),
            }),
            _ => {
                let outcome = exchange.rest();
                assert_eq!(outcome.status, *status, "{what}: {}", outcome.text());
                let allow = outcome.header("allow");
                assert_eq!(allow, (*status == 405).then_some("POST"), "{what}");
                let challenge = outcome.header("www-authenticate").is_some();
                assert_eq!(challenge, *status == 401, "{what}");
                begun.elapsed()
            }
        };
        assert!(
            begun.elapsed() >= Duration::from_secs(10),
            "{what}: too early"
        );
    }
    let count = open.iter().filter(|row| row.2 != 200).count();
    until("each says that it was the policy", || {
        scene.reasons("policy_changed") == count
    });
    // The line of the reload counts what it ended, and these were ended later.
    assert!(!scene.gateway.log().contains("permits no longer"));
    scene.upstream.end();
    for (what, kind, _, exchange) in open.iter_mut().filter(|row| row.2 == 200) {
        let outcome = exchange.rest();
        assert_eq!((outcome.status, &outcome.broken), (200, &None), "{what}");
        if *kind == "poll" {
            assert_eq!(outcome.text(), "ok", "{what}");
        }
    }
    drop(callers);
}

#[test]
fn a_call_of_grpc_is_watched_before_it_is_answered() {
    let scene = Scene::start(&policy("", &route("/service/poll", FULL)));
    let key = scene.keys["fullAccess"].as_str();
    let mut caller = Caller::connect(scene.gateway.address, Wire::Http2, &Authority::new());
    let headers = [("apikey", key), ("content-type", "application/grpc")];
    let mut exchange = caller.open("POST", "/service/poll", &headers, Framing::Open);
    until("it is under way", || scene.upstream.heard() == 1);
    let begun = Instant::now();
    scene.reload(&policy("", &route("/service/poll", "access = \"deny\"")));
    let outcome = exchange.rest();
    assert_eq!(outcome.header("grpc-status"), Some("7"), "{outcome:?}");
    println!("ended after {:?}", begun.elapsed());
    until("it says why", || scene.reasons("policy_changed") == 1);
}

#[test]
fn a_change_of_keys_is_judged_by_the_policy_that_is_in_force_when_it_is_whole() {
    let folder = support::Folder::new(
        ([127, 0, 0, 1], 9).into(),
        "[management]\nscope = \"authOnly\"\n",
        support::ROUTES,
    );
    let key = folder.new_key("weak", "authOnly");
    let gateway = folder.start();
    let mut client = gateway.connect();
    let body = r#"{"name": "late", "scope": "authOnly"}"#;
    client.send(format!(
        "POST /apikeys HTTP/1.1\r\nHost: a\r\napikey: {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
        body.len(),
        &body[..10]
    ));
    let main = std::fs::read_to_string(folder.config()).expect("a file");
    folder.write(
        "keygate.toml",
        &main.replace("scope = \"authOnly\"\n", "scope = \"fullAccess\"\n"),
    );
    gateway.eventually(
        || gateway.admin("/status").json()["policy"]["generation"].clone(),
        |generation| *generation == 2,
    );
    client.send(&body[10..]);
    assert_eq!(client.answer(false).status, 403);
    let keys = folder.keygate(&["keys", "list"]);
    assert!(!keys.stdout.contains("late"), "{}", keys.stdout);
}

#[test]
fn an_upload_that_outlives_its_answer_ends_with_its_key_or_its_route() {
    let (told, ends) = mpsc::sync_channel(6);
    let told = Mutex::new(told);
    let upstream = Scripted::start(move |mut peer| {
        while let Some(head) = peer.head() {
            peer.answer("early");
            let body = peer.body(&head);
            let text = body
                .as_ref()
                .map(|body| String::from_utf8_lossy(body).into_owned());
            let whole = text.is_some();
            let end = (Peer::target(&head).to_owned(), text);
            if told.lock().expect("whole").send(end).is_err() || !whole {
                return;
            }
        }
    });
    let routes = |gone| policy("", &[route("/stays", AUTH), route("/goes", gone)].concat());
    let folder = Folder::new(upstream.address, ELSEWHERE, &routes(AUTH));
    let [deleted, kept] = ["deleted", "kept"].map(|name| folder.new_key(name, "authOnly"));
    let scene = Scene {
        upstream: Counting::start(),
        keys: BTreeMap::from([("fullAccess", folder.new_key("admin", "fullAccess"))]),
        gateway: folder.start(),
        folder,
    };
    let authority = Authority::new();
    let mut uploads = BTreeMap::new();
    let mut callers = Vec::new();
    for wire in [Wire::Http1, Wire::Http2] {
        for (what, path, key) in [
            ("deleted", "/stays", &deleted),
            ("kept", "/stays", &kept),
            ("route", "/goes", &kept),
        ] {
            let target = format!("{path}?{wire:?}-{what}");
            let mut caller = Caller::connect(scene.gateway.address, wire, &authority);
            let mut upload = caller.open("POST", &target, &[("apikey", key)], Framing::Open);
            assert!(upload.send("begun"), "{target}");
            let outcome = upload.rest();
            assert_eq!(
                (outcome.status, outcome.text()),
                (200, "early".into()),
                "{target}"
            );
            callers.push(caller);
            uploads.insert(target, upload);
        }
    }
    let both =
        |path: &str, what: &str| ["Http1", "Http2"].map(|wire| format!("{path}?{wire}-{what}"));
    let end =
        |uploads: &mut BTreeMap<String, Exchange>, targets: [String; 2], text: Option<&str>| {
            for _ in &targets {
                let (target, got) = ends.recv_timeout(PATIENCE).expect("one ends");
                assert!(
                    targets.contains(&target),
                    "{target} ended, not one of {targets:?}"
                );
                assert_eq!(got.as_deref(), text, "{target}");
                let mut upload = uploads.remove(&target).expect("one that was open");
                if text.is_none() {
                    until("nobody takes more of it", || !upload.send("more"));
                }
            }
        };
    let admin = scene.keys["fullAccess"].as_str();
    scene.manage(admin, &format!("DELETE /apikeys/{deleted}"), "");
    end(&mut uploads, both("/stays", "deleted"), None);
    scene.reload(&routes("access = \"deny\""));
    end(&mut uploads, both("/goes", "route"), None);
    assert_eq!(ends.try_recv(), Err(mpsc::TryRecvError::Empty));
    for target in both("/stays", "kept") {
        let upload = uploads.get_mut(&target).expect("it goes on");
        assert!(upload.send(", and whole"), "{target}");
        upload.finish();
    }
    end(
        &mut uploads,
        both("/stays", "kept"),
        Some("begun, and whole"),
    );
    drop(callers);
}
