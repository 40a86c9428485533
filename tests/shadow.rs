//! A policy that is tried: what it would decide is counted beside what is decided, and nobody else learns of it.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use support::operated::main_text;
use support::wire::{Authority, Caller, Wire};
use support::{Folder, Gateway, Output, Upstream};

const SCOPES: &str = "\
[scopes]
authOnly = []
fullAccess = [\"authOnly\"]
[defaults]
upstream = \"chat\"
";

/// What is in force.
const IN_FORCE: &str = r#"
[[routes]]
path = "/open"
access = "public"
[[routes]]
path = "/closed"
access = "deny"
[[routes]]
path = "/auth"
scope = "authOnly"
[[routes]]
path = "/full"
scope = "fullAccess"
[[routes]]
path = "/gone"
scope = "authOnly"
[[routes]]
path = "/files/{name}"
scope = "authOnly"
allow = ["encoded-slash"]
[[routes]]
name = "reads"
path = "/method"
methods = ["GET"]
scope = "authOnly"
"#;

/// What is tried.
const TRIED: &str = r#"
[[routes]]
path = "/open"
scope = "authOnly"
[[routes]]
path = "/closed"
access = "public"
[[routes]]
path = "/auth"
scope = "fullAccess"
[[routes]]
path = "/full"
scope = "authOnly"
[[routes]]
path = "/new"
scope = "authOnly"
[[routes]]
path = "/files/{name}"
scope = "authOnly"
[[routes]]
name = "writes"
path = "/method"
methods = ["POST"]
scope = "authOnly"
"#;

const SHADOW: &str = "[shadow]\ninclude = [\"next.toml\"]\n";

/// A gateway's folder with a policy in force, and one in shadow.
fn folder(upstream: SocketAddr, in_force: &str, tried: &str) -> Folder {
    let folder = Folder::with_main(&main_text(upstream, SHADOW), &format!("{SCOPES}{in_force}"));
    folder.write("next.toml", &format!("{SCOPES}{tried}"));
    folder
}

fn told(gateway: &Gateway) -> Value {
    gateway.admin("/shadow").json()
}

/// What is counted, by all but the time: `would_deny 4f0c… /auth: null -> /auth: 403`.
fn counts(told: &Value) -> BTreeMap<String, u64> {
    let row = |row: &Value| {
        let what = format!(
            "{} {} {}: {} -> {}: {}",
            row["decision"].as_str().expect("a word"),
            row["key"].as_str().unwrap_or("-"),
            row["route"].as_str().expect("a name"),
            row["status"],
            row["shadow_route"].as_str().expect("a name"),
            row["shadow_status"],
        );
        (what, row["count"].as_u64().expect("a count"))
    };
    let rows = told["decisions"].as_array().expect("a list");
    rows.iter().map(row).collect()
}

/// What was counted between the two.
fn counted(before: &Value, after: &Value) -> Vec<String> {
    let before = counts(before);
    let mut new = Vec::new();
    for (row, count) in counts(after) {
        let more = count - before.get(&row).copied().unwrap_or(0);
        new.extend((0..more).map(|_| row.clone()));
    }
    new
}

/// The id of a key of this name.
fn id_of(folder: &Folder, name: &str) -> String {
    let list = folder.keygate(&["keys", "list", "--json"]);
    let list: Value = serde_json::from_str(&list.stdout).expect("JSON");
    let all = list.as_array().or(list["keys"].as_array()).expect("a list");
    let key = all.iter().find(|key| key["name"] == name);
    key.expect("it is there")["id"]
        .as_str()
        .expect("an id")
        .to_owned()
}

/// A command that asks this gateway.
fn ask(folder: &Folder, gateway: &Gateway, arguments: &[&str]) -> Output {
    let admin = format!("http://{}", gateway.admin);
    let mut all = arguments.to_vec();
    all.extend(["--admin", &admin]);
    folder.keygate(&all)
}

const WRONG: &str = "wrong-wrong-wrong-wrong-wrong-wrong-wrong";

/// Method, path, keys (`auth`, `full`, `off`, `wrong`), the status of the answer, and what is counted.
const ROWS: [(&str, &str, &[&str], u16, &str); 24] = [
    (
        "GET",
        "/open",
        &[],
        200,
        "would_deny - /open: null -> /open: 401",
    ),
    (
        "GET",
        "/open",
        &["wrong"],
        200,
        "would_deny - /open: null -> /open: 401",
    ),
    (
        "GET",
        "/open",
        &["off"],
        200,
        "would_deny - /open: null -> /open: 401",
    ),
    (
        "GET",
        "/open",
        &["auth", "auth"],
        200,
        "would_deny - /open: null -> /open: 401",
    ),
    (
        "GET",
        "/open",
        &["auth"],
        200,
        "agree - /open: null -> /open: null",
    ),
    (
        "GET",
        "/closed",
        &[],
        401,
        "would_allow - /closed: 401 -> /closed: null",
    ),
    (
        "GET",
        "/closed",
        &["wrong"],
        401,
        "would_allow - /closed: 401 -> /closed: null",
    ),
    (
        "GET",
        "/closed",
        &["full"],
        403,
        "would_allow full /closed: 403 -> /closed: null",
    ),
    (
        "GET",
        "/auth",
        &["auth"],
        200,
        "would_deny auth /auth: null -> /auth: 403",
    ),
    (
        "POST",
        "/auth",
        &["full"],
        200,
        "agree - /auth: null -> /auth: null",
    ),
    ("GET", "/auth", &[], 401, "agree - /auth: 401 -> /auth: 401"),
    (
        "GET",
        "/auth",
        &["off"],
        401,
        "agree - /auth: 401 -> /auth: 401",
    ),
    (
        "GET",
        "/full",
        &["auth"],
        403,
        "would_allow auth /full: 403 -> /full: null",
    ),
    (
        "GET",
        "/full",
        &["full"],
        200,
        "agree - /full: null -> /full: null",
    ),
    (
        "GET",
        "/gone",
        &["full"],
        200,
        "would_deny full /gone: null -> -: 404",
    ),
    (
        "GET",
        "/gone",
        &["wrong"],
        401,
        "agree - /gone: 401 -> -: 401",
    ),
    (
        "GET",
        "/new",
        &["auth"],
        404,
        "would_allow auth -: 404 -> /new: null",
    ),
    ("GET", "/new", &[], 401, "agree - -: 401 -> /new: 401"),
    (
        "GET",
        "/files/a%2Fb",
        &["auth"],
        200,
        "would_deny auth /files/{name}: null -> /files/{name}: 400",
    ),
    (
        "GET",
        "/method",
        &["auth"],
        200,
        "would_deny auth reads: null -> -: 405",
    ),
    (
        "POST",
        "/method",
        &["auth"],
        405,
        "would_allow auth -: 405 -> writes: null",
    ),
    (
        "GET",
        "/nowhere",
        &["auth"],
        404,
        "agree - -: 404 -> -: 404",
    ),
    (
        "GET",
        "/apikeys",
        &["full"],
        200,
        "agree - GET /apikeys: null -> GET /apikeys: null",
    ),
    (
        "GET",
        "/apikeys",
        &["auth"],
        403,
        "agree - GET /apikeys: 403 -> GET /apikeys: 403",
    ),
];

#[test]
fn what_is_tried_is_counted_and_clients_and_upstreams_get_what_they_got() {
    let upstream = Upstream::echo();
    let folder = folder(upstream.address, IN_FORCE, TRIED);
    let texts = ["auth", "full", "off"].map(|name| {
        let scope = if name == "auth" {
            "authOnly"
        } else {
            "fullAccess"
        };
        folder.new_key(name, scope)
    });
    let ids = ["auth", "full"].map(|name| id_of(&folder, name));
    let off = folder.keygate(&["keys", "update", &id_of(&folder, "off"), "--disable"]);
    assert!(off.status.success(), "{}", off.stderr);
    let text = |name: &str| match name {
        "auth" => &*texts[0],
        "full" => &texts[1],
        "off" => &texts[2],
        _ => WRONG,
    };
    let tried = folder.start();
    // The same without a shadow policy.
    let plain = main_text(upstream.address, "[reload]\nfolder = \"plain\"\n");
    folder.write("plain.toml", &plain);
    let plain = Gateway::run(&folder.path().join("plain.toml"));
    assert!(told(&plain)["shadow"].is_null());

    let authority = Authority::new();
    let mut all = 0;
    for wire in [Wire::Http1, Wire::Http2] {
        let mut with = Caller::connect(tried.address, wire, &authority);
        let mut without = Caller::connect(plain.address, wire, &authority);
        for (method, path, keys, status, expected) in ROWS {
            let row = format!("{wire:?}: {method} {path} {keys:?}");
            let headers: Vec<_> = keys.iter().map(|name| ("apikey", text(name))).collect();
            let before = told(&tried);
            let answers = [&mut with, &mut without].map(|caller| {
                let seen = upstream.seen().len();
                let answer = caller.call(method, path, &headers, b"");
                let mut fields: Vec<_> = answer
                    .headers
                    .iter()
                    .filter(|(name, _)| *name != "x-request-id" && *name != "date")
                    .map(|(name, value)| format!("{name}: {value:?}"))
                    .collect();
                fields.sort();
                let sent: Vec<_> = upstream.seen()[seen..]
                    .iter()
                    .map(|s| s.line.clone())
                    .collect();
                (answer.status, fields, answer.text(), sent)
            });
            assert_eq!(answers[0].0, status, "{row}: {}", answers[0].2);
            assert_eq!(answers[0], answers[1], "{row}");
            let expected = expected.split(' ').map(|word| match word {
                "auth" => &ids[0],
                "full" => &ids[1],
                word => word,
            });
            let expected: Vec<_> = expected.collect();
            let after = told(&tried);
            assert_eq!(counted(&before, &after), [expected.join(" ")], "{row}");
            all += 1;
            assert_eq!(after["requests"], all, "{row}");
        }
    }
    let last = told(&tried);
    let sum = |name: &str| last[name].as_u64().expect("a count");
    assert_eq!(sum("agree") + sum("would_deny") + sum("would_allow"), all);
    assert_eq!(last["shadow"], json!({"origin": "files", "routes": 7}));
    for row in last["decisions"].as_array().expect("a list") {
        assert!(row["last_seen"].as_i64() >= last["since"].as_i64(), "{row}");
    }
    // What is tried has no part in other metrics, nor in the log.
    let requests = |gateway: &Gateway| {
        let metrics = gateway.admin("/metrics").text();
        let lines = metrics
            .lines()
            .filter(|l| l.starts_with("keygate_requests_total{"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    tried.eventually(|| (requests(&tried), requests(&plain)), |(a, b)| a == b);
    let metrics = tried.admin("/metrics").text();
    for line in [
        r#"keygate_shadow_decisions_total{decision="would_deny",route="/open"} 8"#,
        r#"keygate_shadow_decisions_total{decision="would_allow",route="writes"} 2"#,
        r#"keygate_shadow_decisions_total{decision="agree",route="/full"} 2"#,
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    assert!(
        !plain
            .admin("/metrics")
            .text()
            .contains("keygate_shadow_decisions_total{")
    );
    // No key is in what is told, nor a key's name.
    let whole = tried.admin("/shadow").text()
        + &metrics
        + &ask(&folder, &tried, &["shadow", "--all"]).stdout;
    for name in ["auth", "full", "off", "wrong"] {
        assert!(!whole.contains(text(name)), "the key {name} is told");
    }
    assert!(!tried.log().contains("shadow_"), "{}", tried.log());
}

#[test]
fn routes_are_tried_over_those_in_force() {
    let upstream = Upstream::echo();
    let in_force = "
[[routes]]
path = [\"/a\", \"/b\"]
methods = [\"GET\", \"POST\"]
scope = \"authOnly\"
[[routes]]
path = \"/users/{id}\"
scope = \"fullAccess\"
[[expect]]
request = \"GET /a\"
allow = [\"authOnly\"]
[[routes]]
path = \"/a\"
methods = [\"GET\"]
scope = \"fullAccess\"
shadow = true
[[routes]]
path = \"/users/{uid}\"
scope = \"authOnly\"
shadow = true
[[routes]]
path = \"/new\"
access = \"public\"
shadow = true
[[routes]]
path = \"/b\"
methods = [\"PUT\"]
scope = \"authOnly\"
shadow = false
";
    let main = main_text(upstream.address, "");
    let folder = Folder::with_main(&main, &format!("{SCOPES}{in_force}"));
    let key = folder.new_key("auth", "authOnly");
    let id = id_of(&folder, "auth");
    let checked = folder.keygate(&["check"]);
    assert!(
        checked
            .stdout
            .ends_with("1 expectation held, 1 key, 3 routes in shadow\n"),
        "{checked:?}"
    );
    let gateway = folder.start();
    for (method, path, status, expected) in [
        (
            "GET",
            "/a",
            200,
            format!("would_deny {id} GET /a: null -> GET /a: 403"),
        ),
        (
            "POST",
            "/a",
            200,
            "agree - GET /a: null -> POST /a: null".to_owned(),
        ),
        (
            "GET",
            "/b",
            200,
            "agree - GET /b: null -> GET /b: null".to_owned(),
        ),
        (
            "PUT",
            "/b",
            200,
            "agree - PUT /b: null -> PUT /b: null".to_owned(),
        ),
        (
            "GET",
            "/users/1",
            403,
            format!("would_allow {id} /users/{{id}}: 403 -> /users/{{uid}}: null"),
        ),
        (
            "GET",
            "/new",
            404,
            format!("would_allow {id} -: 404 -> /new: null"),
        ),
    ] {
        let before = told(&gateway);
        let key = format!("apikey: {key}");
        let answer = gateway.call(&format!("{method} {path}"), &[&key], "");
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(
            counted(&before, &told(&gateway)),
            [expected],
            "{method} {path}"
        );
    }
    assert_eq!(
        told(&gateway)["shadow"],
        json!({"origin": "routes", "routes": 3})
    );
    // Nobody is told of them but who asks for them.
    let policy = gateway.admin("/policy").text();
    assert!(!policy.contains("/new"), "{policy}");

    let config = folder.config().display().to_string();
    let diff = |arguments: &[&str]| {
        let mut command = std::process::Command::new(support::KEYGATE);
        let output = command
            .arg("diff")
            .args(arguments)
            .output()
            .expect("it runs");
        let said = String::from_utf8(output.stdout).expect("text");
        (
            output.status.code(),
            said + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (code, said) = diff(&["--shadow", &config]);
    assert_eq!(code, Some(11), "{said}");
    assert!(
        said.contains("/new") && said.contains("/users/{uid}"),
        "{said}"
    );
    assert_eq!(diff(&[&config, &config]).0, Some(0));
    assert_eq!(diff(&[&config]).0, Some(2), "two are compared");
    assert_eq!(diff(&["--shadow", &config, &config]).0, Some(2));
    assert_eq!(diff(&["--shadow", "http://127.0.0.1:9"]).0, Some(2));
    folder.write("routes.toml", &format!("{SCOPES}{IN_FORCE}"));
    let (code, said) = diff(&["--shadow", &config]);
    assert_eq!(code, Some(2));
    assert!(
        said.contains("these files try no policy in shadow"),
        "{said}"
    );
}

#[test]
fn the_command_tells_what_differs() {
    let upstream = Upstream::echo();
    let folder = folder(upstream.address, IN_FORCE, TRIED);
    let key = folder.new_key("auth", "authOnly");
    let id = id_of(&folder, "auth");
    let gateway = folder.start();
    let since = |told: &Output| {
        let at = told.stdout.find(" since ").expect("a time");
        let rest = &told.stdout[at + 7..];
        rest[.."1970-01-01T00:00:00Z".len()].to_owned()
    };
    let none = ask(&folder, &gateway, &["shadow"]);
    assert_eq!(none.status.code(), Some(0), "{none:?}");
    let when = since(&none);
    let zero = format!("0 requests since {when}: 0 agree, 0 would be denied, 0 would be allowed\n");
    assert_eq!(none.stdout, zero);

    for _ in 0..2 {
        gateway.call("GET /auth", &[&format!("apikey: {key}")], "");
    }
    gateway.call("GET /open", &[], "");
    gateway.call("GET /auth", &[], "");
    let some = ask(&folder, &gateway, &["shadow"]);
    assert_eq!(some.status.code(), Some(0), "{some:?}");
    let lines: Vec<_> = some.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{}", some.stdout);
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        words(lines[1])[..8],
        [
            "would", "deny", "2", "/auth:", "through", "/auth:", "403", &id
        ]
    );
    assert_eq!(
        words(lines[2])[..8],
        [
            "would", "deny", "1", "/open:", "through", "/open:", "401", "-"
        ]
    );
    let sum = format!("4 requests since {when}: 1 agree, 3 would be denied, 0 would be allowed");
    assert_eq!(lines[4], sum);
    let all = ask(&folder, &gateway, &["shadow", "--all"]);
    assert!(
        all.stdout.lines().any(|line| line.starts_with("agree")),
        "{}",
        all.stdout
    );
    let json = ask(&folder, &gateway, &["shadow", "--json"]);
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json, told(&gateway));

    folder.write("keygate.toml", &main_text(upstream.address, ""));
    gateway.eventually(|| told(&gateway), |told| told["shadow"].is_null());
    let none = ask(&folder, &gateway, &["shadow"]);
    assert_eq!(none.status.code(), Some(0));
    assert!(none.stdout.starts_with("no policy is tried"), "{none:?}");
    // Where nothing listens, and where something else does.
    let nobody = folder.keygate(&["shadow", "--admin", "unix:/nowhere/at/all"]);
    assert_eq!(nobody.status.code(), Some(1), "{nobody:?}");
    let other = format!("http://{}", gateway.address);
    let other = folder.keygate(&["shadow", "--admin", &other]);
    assert_eq!(other.status.code(), Some(1), "{other:?}");
    assert_eq!(folder.keygate(&["shadow", "--al"]).status.code(), Some(2));
}

#[test]
fn counts_begin_anew_when_what_is_compared_changes_and_only_then() {
    let upstream = Upstream::echo();
    let folder = folder(upstream.address, IN_FORCE, TRIED);
    let gateway = folder.start();
    let requests = || told(&gateway)["requests"].as_u64().expect("a count");
    let generation = || gateway.admin("/status").json()["policy"]["generation"].as_u64();
    let next = |edit: &dyn Fn()| {
        let before = generation();
        edit();
        gateway.eventually(generation, |now| *now > before);
    };
    let open = || assert_eq!(gateway.call("GET /open", &[], "").status, 200);
    open();
    assert_eq!(requests(), 1);
    // A comment, a setting that decides nothing, lines that move.
    next(&|| folder.write("next.toml", &format!("# no rule\n\n{SCOPES}{TRIED}")));
    next(&|| folder.write("routes.toml", &format!("# no rule\n{SCOPES}{IN_FORCE}")));
    let slow = format!("{SHADOW}[timeouts]\nbody = \"31s\"\n");
    next(&|| folder.write("keygate.toml", &main_text(upstream.address, &slow)));
    open();
    assert_eq!(requests(), 2, "neither policy decides otherwise");
    // What is tried.
    let wider = TRIED.replacen("scope = \"authOnly\"", "access = \"public\"", 1);
    next(&|| folder.write("next.toml", &format!("{SCOPES}{wider}")));
    assert_eq!(requests(), 0);
    let since = told(&gateway)["since"].as_i64();
    open();
    assert_eq!(told(&gateway)["would_deny"], 0, "it is public there too");
    // What is in force.
    let narrower = IN_FORCE.replacen("access = \"public\"", "scope = \"authOnly\"", 1);
    next(&|| folder.write("routes.toml", &format!("{SCOPES}{narrower}")));
    assert_eq!(requests(), 0);
    assert!(told(&gateway)["since"].as_i64() >= since);
    assert_eq!(gateway.call("GET /open", &[], "").status, 401);
    assert_eq!(told(&gateway)["would_allow"], 1);
    // A faulty one changes nothing.
    folder.write(
        "next.toml",
        "[[routes]]\npath = \"/x\"\nscope = \"nobody\"\n",
    );
    gateway.wait_for_log(|line| line.contains("is refused; the last good one stays in force"));
    assert_eq!(told(&gateway)["would_allow"], 1);
    // A good one that decides otherwise than the last good one.
    next(&|| folder.write("next.toml", &format!("{SCOPES}{TRIED}")));
    assert_eq!(requests(), 0);
}

#[test]
fn files_of_a_pattern_are_followed_and_a_generation_that_is_kept_has_them() {
    let upstream = Upstream::echo();
    let main = main_text(upstream.address, "[shadow]\ninclude = [\"next/*.toml\"]\n");
    let folder = Folder::with_main(&main, &format!("{SCOPES}{IN_FORCE}"));
    let gateway = folder.start();
    assert!(
        told(&gateway)["shadow"].is_null(),
        "a pattern may match nothing"
    );
    let checked = folder.keygate(&["check"]);
    assert!(!checked.stdout.contains("in shadow"), "{checked:?}");
    std::fs::create_dir(folder.path().join("next")).expect("a folder");
    folder.write("next/a.toml", &format!("{SCOPES}{TRIED}"));
    gateway.eventually(|| told(&gateway), |told| told["shadow"]["routes"] == 7);
    folder.write(
        "next/b.toml",
        "[[routes]]\npath = \"/b\"\naccess = \"public\"\n[[expect]]\nrequest = \"GET /b\"\nallow = [\"anyone\"]\n",
    );
    gateway.eventually(|| told(&gateway), |told| told["shadow"]["routes"] == 8);
    let checked = folder.keygate(&["check"]);
    assert!(
        checked
            .stdout
            .contains("a policy of 8 routes in shadow (1 expectation held)"),
        "{checked:?}"
    );
    std::fs::remove_dir_all(folder.path().join("next")).expect("gone");
    gateway.eventually(|| told(&gateway), |told| told["shadow"].is_null());
    let back = ask(&folder, &gateway, &["rollback"]);
    assert!(back.status.success(), "{back:?}");
    assert_eq!(told(&gateway)["shadow"]["routes"], 8, "as it was kept");
}

#[test]
fn many_keys_and_floods_of_unknown_ones_stay_bounded() {
    let upstream = Upstream::echo();
    let folder = folder(upstream.address, IN_FORCE, TRIED);
    let root = format!("apikey: {}", folder.new_key("root", "fullAccess"));
    let gateway = folder.start();
    let mut client = gateway.connect();
    // Who has no good key makes no row, whatever is sent.
    for number in 0..2_000 {
        let unknown = format!("apikey: unknown-{number:032}");
        let open = client.call(&format!("GET /open?{number}"), &[&unknown], "");
        assert_eq!(open.status, 200);
        let path = format!("GET /nowhere/{number}");
        let answer = gateway.call(&path, &[&unknown], "");
        assert!(matches!(answer.status, 401 | 429), "{}", answer.status);
    }
    let flooded = told(&gateway);
    let expected = [
        ("agree - -: 401 -> -: 401".to_owned(), 2_000),
        ("would_deny - /open: null -> /open: 401".to_owned(), 2_000),
    ];
    assert_eq!(counts(&flooded), BTreeMap::from(expected));
    assert_eq!(flooded["others"], json!([]));
    let metrics = gateway.admin("/metrics").text();
    let refused = |line: &&str| line.contains("route=\"/open\"") && line.contains("bad_key");
    assert_eq!(metrics.lines().find(refused), None);
    // A worker keeps 1,024 rows of what differs, and has one.
    let keys: Vec<String> = (0..1_100)
        .map(|number| {
            let body = json!({"name": format!("key {number}"), "scope": "authOnly"});
            let made = client.call("POST /apikeys", &[&root], &body.to_string());
            let text = made.json()["data"]["apiKey"].clone();
            format!("apikey: {}", text.as_str().expect("a key"))
        })
        .collect();
    for _ in 0..2 {
        for key in &keys {
            assert_eq!(client.call("GET /auth", &[key], "").status, 200);
        }
    }
    let now = told(&gateway);
    let rows = now["decisions"].as_array().expect("a list");
    let named = rows.iter().filter(|row| row["decision"] == "would_deny");
    assert_eq!(named.count(), 1_024);
    assert_eq!(now["would_deny"], 2_000 + 2_200, "none is lost");
    let others = &now["others"][0];
    assert_eq!(
        (&others["decision"], &others["count"]),
        (&json!("would_deny"), &json!(2 * (1_100 - 1_023)))
    );
    let table = ask(&folder, &gateway, &["shadow"]);
    assert!(table.stdout.contains("  154  others"), "{}", table.stdout);
    let total = r#"keygate_shadow_decisions_total{decision="would_deny",route="/auth"} 2200"#;
    assert!(gateway.admin("/metrics").text().contains(total));
}

#[test]
fn what_workers_count_is_added_up() {
    let upstream = Upstream::echo();
    let main = main_text(upstream.address, SHADOW).replace("workers = 1", "workers = 2");
    let folder = Folder::with_main(&main, &format!("{SCOPES}{IN_FORCE}"));
    folder.write("next.toml", &format!("{SCOPES}{TRIED}"));
    let gateway = folder.start();
    let mut clients: Vec<_> = (0..10).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.call("GET /open", &[], "").status, 200);
        assert_eq!(client.call("GET /auth", &[], "").status, 401);
    }
    let open = gateway.admin("/status").json()["connections"].clone();
    assert_eq!(open, json!([5, 5]), "both workers have served");
    let expected = [
        ("agree - /auth: 401 -> /auth: 401".to_owned(), 10),
        ("would_deny - /open: null -> /open: 401".to_owned(), 10),
    ];
    assert_eq!(counts(&told(&gateway)), BTreeMap::from(expected));
    let total = r#"keygate_shadow_decisions_total{decision="would_deny",route="/open"} 10"#;
    assert!(gateway.admin("/metrics").text().contains(total));
}

/// Main file (besides what every one has), routes in force, and tried; what `check` says.
#[test]
fn what_is_wrong_with_it_is_said_where_it_stands() {
    let tried = "[[routes]]\npath = \"/x\"\nscope = \"authOnly\"\nshadow = true\n";
    let plain = "[[routes]]\npath = \"/x\"\nscope = \"authOnly\"\n";
    let expect = "[[expect]]\nrequest = \"GET /x\"\nallow = [\"anyone\"]\n";
    let rows: [(&str, &str, String, String, &str); 13] = [
        (
            "no include",
            "[shadow]\n",
            plain.into(),
            plain.into(),
            "`[shadow]` needs `include`",
        ),
        (
            "an unknown field",
            "[shadow]\ninclude = []\nfile = \"x\"\n",
            plain.into(),
            plain.into(),
            "unknown field `file` in `shadow`",
        ),
        (
            "a file that is not there",
            "[shadow]\ninclude = [\"gone.toml\"]\n",
            plain.into(),
            plain.into(),
            "gone.toml: there is no such file",
        ),
        (
            "both ways",
            SHADOW,
            format!("{plain}{}", tried.replace("/x", "/y")),
            plain.into(),
            "expected one of the two",
        ),
        (
            "a tried route in a tried file",
            SHADOW,
            plain.into(),
            tried.into(),
            "all its routes are tried",
        ),
        (
            "a scope that is not declared there",
            SHADOW,
            plain.into(),
            plain.replace("authOnly", "authonly"),
            "next.toml:8:9: error: the scope `authonly` is not declared; did you mean `authOnly`?",
        ),
        (
            "no route",
            SHADOW,
            plain.into(),
            String::new(),
            "there is no route in these files",
        ),
        (
            "an expectation that does not hold",
            SHADOW,
            plain.into(),
            format!("{plain}{expect}"),
            "next.toml:9:1: error: the expectation does not hold",
        ),
        (
            "two routes that want the same",
            SHADOW,
            plain.into(),
            format!("{plain}{plain}"),
            "`/x` has two routes",
        ),
        (
            "tables of the process",
            SHADOW,
            plain.into(),
            format!("[shadow]\ninclude = []\n{plain}"),
            "`shadow` stands in the main file only",
        ),
        (
            "tried routes that want the same",
            "",
            format!("{plain}{tried}{tried}"),
            String::new(),
            "`/x` has two routes",
        ),
        (
            "nothing but tried routes",
            "",
            tried.into(),
            String::new(),
            "there is no route; a configuration opens at least one",
        ),
        (
            "not a word",
            "",
            tried.replace("true", "\"yes\""),
            String::new(),
            "expected true or false",
        ),
    ];
    for (what, main, in_force, in_shadow, expected) in rows {
        let nowhere = ([127, 0, 0, 1], 9).into();
        let folder = Folder::with_main(&main_text(nowhere, main), &format!("{SCOPES}{in_force}"));
        folder.write("next.toml", &format!("{SCOPES}{in_shadow}"));
        let checked = folder.keygate(&["check", "--format", "short"]);
        assert_eq!(checked.status.code(), Some(2), "{what}: {checked:?}");
        let said = checked.stdout + &checked.stderr;
        assert!(said.contains(expected), "{what}: {said}");
    }
    // A shadow policy is whole: its management scope is its own to declare.
    let main = main_text(([127, 0, 0, 1], 9).into(), SHADOW);
    let folder = Folder::with_main(&main, &format!("{SCOPES}{plain}"));
    let scopes = "[scopes]\nreader = []\n[defaults]\nupstream = \"chat\"\n";
    folder.write(
        "next.toml",
        &format!("{scopes}{}", plain.replace("authOnly", "reader")),
    );
    let checked = folder.keygate(&["check", "--format", "short"]);
    let said = checked.stdout + &checked.stderr;
    assert!(
        said.contains("which the `[scopes]` of `[shadow] include` does not declare"),
        "{said}"
    );
    // A file may be in force and tried.
    let folder = Folder::with_main(
        &main
            .replace("[\"routes.toml\"]", "[\"scopes.toml\", \"routes.toml\"]")
            .replace("[\"next.toml\"]", "[\"scopes.toml\", \"next.toml\"]"),
        plain,
    );
    folder.write("scopes.toml", SCOPES);
    folder.write("next.toml", plain);
    let checked = folder.keygate(&["check"]);
    assert!(
        checked.stdout.contains("a policy of 1 route in shadow"),
        "{checked:?}"
    );
}

#[test]
fn what_widens_by_falling_through_is_said_of_tried_routes_too() {
    let main = main_text(([127, 0, 0, 1], 9).into(), "");
    let routes = "[[routes]]\npath = \"/{*rest}\"\nscope = \"authOnly\"\n";
    let tried =
        "[[routes]]\npath = \"/x\"\nmethods = [\"GET\"]\nscope = \"fullAccess\"\nshadow = true\n";
    let folder = Folder::with_main(&main, &format!("{SCOPES}{routes}{tried}"));
    let checked = folder.keygate(&["check", "--format", "short"]);
    let said = checked.stdout + &checked.stderr;
    assert!(said.contains("falls to `/{*rest}`"), "{said}");
}
