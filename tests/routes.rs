//! `keygate routes`: what it lists is what `keygate explain` decides, and each form of it can be read.

mod support;

use serde_json::Value;
use std::process::Command;
use support::{Folder, KEYGATE, Output};

const MAIN: &str = "\
[upstreams.billing]
servers = [\"http://127.0.0.1:9\"]
[management]
paths = [\"/keys\"]
scope = \"admin\"
";

const ROUTES: &str = "\
prefix = \"/v1\"
[scopes]
read = []
write = [\"read\"]
billing = []
admin = [\"write\", \"billing\"]
[defaults]
upstream = \"chat\"
[[routes]]
path = \"/{*rest}\"
scope = \"admin\"
[[routes]]
path = \"/health\"
methods = [\"GET\"]
access = \"public\"
[[routes]]
path = [\"/messages\", \"/messages/{id}\"]
methods = [\"GET\", \"PURGE\"]
scope = \"read\"
[[routes]]
path = \"/messages\"
scope = \"write\"
[[routes]]
name = \"pin <a> & b\"
path = \"/messages/{message}/pin\"
scope = \"write\"
[[routes]]
path = \"/invoices/{*rest}\"
scope = [\"billing\", \"admin\"]
upstream = \"billing\"
[[routes]]
path = \"/internal/{*rest}\"
access = \"deny\"
[[routes]]
host = \"*.example.com\"
path = \"/{*all}\"
scope = [\"billing\", \"read\"]
[[routes]]
host = \"status.example.com\"
path = \"/\"
access = \"public\"
";

fn folder() -> Folder {
    Folder::new(([127, 0, 0, 1], 9).into(), MAIN, ROUTES)
}

/// The table without the folder that its files are in.
fn table(folder: &Folder, arguments: &[&str]) -> String {
    let told = routes(folder, arguments);
    let path = folder.config();
    let parent = path.parent().expect("a folder").display().to_string();
    told.stdout.replace(&format!("{parent}/"), "")
}

fn routes(folder: &Folder, arguments: &[&str]) -> Output {
    let told = folder.keygate(&[&["routes"], arguments].concat());
    assert!(told.status.success(), "{arguments:?}: {}", told.stderr);
    told
}

fn json(folder: &Folder, arguments: &[&str]) -> Value {
    let told = routes(folder, &[arguments, &["--json"]].concat());
    serde_json::from_str(&told.stdout).expect("JSON")
}

fn texts(value: &Value) -> Vec<&str> {
    let list = value.as_array().expect("a list");
    list.iter()
        .map(|text| text.as_str().expect("a text"))
        .collect()
}

#[test]
fn the_table_has_every_route_in_the_order_in_which_they_are_asked() {
    let expected = "\
METHODS                        HOST                PATH                        WHO              UPSTREAM      WHERE
GET HEAD                       (any)               /keys                       admin            (management)  keygate.toml:18
POST                           (any)               /keys                       admin            (management)  keygate.toml:18
GET HEAD                       (any)               /keys/{apiKey}              admin            (management)  keygate.toml:18
PUT                            (any)               /keys/{apiKey}              admin            (management)  keygate.toml:18
DELETE                         (any)               /keys/{apiKey}              admin            (management)  keygate.toml:18
(usual)                        status.example.com  /v1/                        anyone           chat          routes.toml:38
(usual)                        *.example.com       /v1/{*all}                  billing or read  chat          routes.toml:34
GET HEAD                       (any)               /v1/health                  anyone           chat          routes.toml:12
(usual)                        (any)               /v1/internal/{*rest}        no one           chat          routes.toml:31
(usual)                        (any)               /v1/invoices/{*rest}        billing          billing       routes.toml:27
GET HEAD PURGE                 (any)               /v1/messages                read             chat          routes.toml:16
POST PUT PATCH DELETE OPTIONS  (any)               /v1/messages                write            chat          routes.toml:20
GET HEAD PURGE                 (any)               /v1/messages/{id}           read             chat          routes.toml:16
(usual)                        (any)               /v1/messages/{message}/pin  write            chat          routes.toml:23
(usual)                        (any)               /v1/{*rest}                 admin            chat          routes.toml:9

15 routes: anyone may use 2, billing 4, read 5, write 7, admin 14
";
    assert_eq!(table(&folder(), &[]), expected);
}

#[test]
fn filters_keep_what_is_asked_for() {
    let folder = folder();
    let rows: &[(&[&str], usize)] = &[
        (&[], 15),
        (&["--anyone"], 2),
        (&["--scope", "read"], 5),
        (&["--scope", "admin"], 14),
        (&["--path", "/v1/messages/7"], 4),
        (&["--path", "/keys"], 5),
        (&["--host", "API.example.com"], 14),
        (&["--host", "api.example.com:443"], 14),
        (&["--path", "/keys/a"], 3),
        (&["--host", "example.com"], 13),
        (&["--method", "PURGE"], 2),
        (&["--upstream", "billing"], 1),
        (
            &[
                "--upstream",
                "chat",
                "--scope",
                "write",
                "--path",
                "/v1/messages",
                "--method",
                "PUT",
            ],
            3,
        ),
        (&["--path", "/v2"], 0),
    ];
    for (arguments, count) in rows {
        let told = json(&folder, arguments);
        assert_eq!(
            told["routes"].as_array().expect("a list").len(),
            *count,
            "{arguments:?}"
        );
        assert_eq!(told["all"], 15, "{arguments:?}");
    }
    let none = folder.keygate(&["routes", "--path", "/v2"]);
    assert_eq!(none.stdout, "");
    assert_eq!(none.stderr, "keygate: none of the 15 routes is like that\n");
}

#[test]
fn who_may_use_a_route_is_what_explain_decides() {
    let folder = folder();
    let listed = json(&folder, &[]);
    let scopes = listed["scopes"].as_object().expect("an object");
    assert_eq!(scopes.len(), 4);
    let mut permitted = std::collections::BTreeMap::new();
    for route in listed["routes"].as_array().expect("a list") {
        // What no other route is written for.
        let target = route["path"].as_str().expect("a path");
        let target = target.replace("{*", "{").replace(['{', '}'], "~");
        let host = route["host"].as_str().unwrap_or("any");
        let host = host.replace('*', "some");
        let method = texts(&route["methods"])[0];
        for scope in [None].into_iter().chain(scopes.keys().map(Some)) {
            let mut arguments = vec!["explain", method, &target, "--host", &host, "--json"];
            if let Some(scope) = scope {
                arguments.extend(["--scope", scope.as_str()]);
            }
            let told: Value =
                serde_json::from_str(&folder.keygate(&arguments).stdout).expect("JSON");
            let what = format!("{method} {host}{target} {scope:?}");
            assert_eq!(told["route"]["name"], route["name"], "{what}");
            let may = match route["access"].as_str() {
                Some(access) => access == "public",
                None => scope.is_some_and(|scope| texts(&route["access"]).contains(&&**scope)),
            };
            assert_eq!(told["permitted"], may, "{what}");
            if let (Some(scope), true) = (scope, may) {
                *permitted.entry(scope.clone()).or_insert(0) += 1;
            }
            let upstream = &told["leadsTo"]["upstream"];
            if route["access"] != "deny" {
                assert_eq!(*upstream, route["upstream"], "{what}");
            }
        }
    }
    for (scope, told) in scopes {
        assert_eq!(told["routes"], permitted[scope], "{scope}");
    }
}

#[test]
fn a_running_gateway_tells_the_routes_that_it_has_in_force() {
    let folder = folder();
    let gateway = folder.start();
    let named = format!("http://{}", gateway.admin);
    let told = |policy: &str| {
        let output = Command::new(KEYGATE)
            .args(["routes", policy, "--json"])
            .output()
            .expect("keygate runs");
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let files = told(folder.config().to_str().expect("text"));
    assert_eq!(told(&named), files);
    folder.write("routes.toml", &ROUTES.replace("/health", "/healthz"));
    gateway.eventually(|| told(&named) == files, |same| !same);
    assert!(told(&named).to_string().contains("/v1/healthz"));
}

#[test]
fn the_drawing_is_well_formed_and_has_a_mark_for_each_route_and_scope() {
    let folder = folder();
    let drawn = routes(&folder, &["--svg"]).stdout;
    let drawing = roxmltree::Document::parse(&drawn).expect("XML");
    let listed = json(&folder, &[]);
    let classes = |class: &str| {
        let nodes = drawing.descendants();
        nodes
            .filter(|node| node.attribute("class") == Some(class))
            .count()
    };
    let reach = listed["scopes"].as_object().expect("an object").values();
    let may: u64 = reach
        .map(|scope| scope["routes"].as_u64().expect("a number"))
        .sum();
    let columns = 5;
    assert_eq!(classes("anyone"), 2 * columns);
    assert_eq!(classes("deny"), columns);
    // Public routes are each scope's, too.
    assert_eq!(classes("may") as u64, may - 2 * 4);
    assert_eq!(
        classes("anyone") + classes("deny") + classes("may") + classes("none"),
        15 * columns
    );
    let titles = drawing
        .descendants()
        .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "title")));
    let titles: Vec<&str> = titles.filter_map(|title| title.text()).collect();
    assert_eq!(titles.len(), 15);
    assert!(
        titles
            .iter()
            .any(|title| title.starts_with("pin <a> & b, for write: ")),
        "{titles:?}"
    );
}

#[test]
fn what_is_not_there_is_said_with_what_is() {
    let folder = folder();
    for (arguments, code, said) in [
        (
            &["--scope", "wirte"][..],
            2,
            "keygate: --scope: the policy declares no scope `wirte`; it has admin, billing, read, write\n",
        ),
        (
            &["--upstream", "chta"],
            2,
            "keygate: --upstream: there is no upstream `chta`; there is chat, billing\n",
        ),
        (&["--host", "http://a"], 2, "`host:port`"),
        (&["--host", "a."], 2, "`host:port`"),
        (&["--method", "get"], 2, "upper case"),
        (&["127.0.0.1:9"], 2, "http://127.0.0.1:9"),
        (&["--path", "v1"], 2, "a path starts with `/`"),
        (&["--anyone", "--scope", "read"], 2, "cannot be used with"),
        (&["http://127.0.0.1:9"], 1, "keygate: http://127.0.0.1:9: "),
        (&["/nowhere"], 2, "/nowhere"),
    ] {
        let told = folder.keygate(&[&["routes"], arguments].concat());
        assert_eq!(
            told.status.code(),
            Some(code),
            "{arguments:?}: {}",
            told.stderr
        );
        assert!(told.stderr.contains(said), "{arguments:?}: {}", told.stderr);
        assert_eq!(told.stdout, "", "{arguments:?}");
    }
}
