//! `keygate diff`: what it says of two configurations, and that gateways with these configurations do what it says.

mod support;

use serde_json::Value;
use std::path::Path;
use std::process::Command;
use support::{Folder, Gateway, KEYGATE, Output, Upstream};

const HEAD: &str = "\
prefix = [\"/v3\", \"/v3.0\"]
[scopes]
authOnly   = []
fullAccess = [\"authOnly\"]
[defaults]
upstream = \"chat\"
";

/// Two policies that differ in every way that the comparison knows.
const OLD: &str = "
[[routes]]
path  = \"/{*rest}\"
scope = \"fullAccess\"
[[routes]]
path    = \"/users\"
methods = [\"POST\"]
scope   = \"authOnly\"
[[routes]]
path    = \"/users/{uid}\"
methods = [\"GET\"]
scope   = \"authOnly\"
[[routes]]
path   = \"/health\"
access = \"public\"
[[routes]]
path   = \"/internal/{*rest}\"
access = \"deny\"
[[routes]]
path  = \"/files/{*name}\"
scope = \"fullAccess\"
allow = [\"encoded-slash\", \"semicolon\"]
[[routes]]
host    = \"*.example.com\"
path    = \"/tenants\"
methods = [\"GET\", \"PURGE\"]
scope   = \"authOnly\"
";
const NEW: &str = "
[[routes]]
path  = \"/{*rest}\"
scope = \"fullAccess\"
[[routes]]
path    = \"/users\"
methods = [\"POST\"]
access  = \"public\"
[[routes]]
path    = \"/users/{id}\"
methods = [\"GET\", \"DELETE\"]
scope   = \"authOnly\"
[[routes]]
path    = \"/users/me\"
methods = [\"GET\"]
scope   = \"fullAccess\"
[[routes]]
path  = \"/health\"
scope = \"authOnly\"
[[routes]]
path  = \"/internal/{*rest}\"
scope = \"fullAccess\"
[[routes]]
path  = \"/files/{*name}\"
scope = \"fullAccess\"
allow = [\"double-slash\", \"semicolon\"]
[[routes]]
host    = \"*.example.com\"
path    = \"/tenants\"
methods = [\"GET\"]
scope   = \"authOnly\"
[[routes]]
host   = \"api.example.com\"
path   = \"/tenants\"
access = \"public\"
[[routes]]
path   = \"/{x}/open/{*rest}\"
access = \"public\"
";

fn folder(upstream: &Upstream, main: &str, routes: &str) -> Folder {
    Folder::new(upstream.address, main, &format!("{HEAD}{routes}"))
}

fn keygate_diff(arguments: &[&str], old: &Path, new: &Path) -> Output {
    let output = Command::new(KEYGATE)
        .arg("diff")
        .args([old, new])
        .args(arguments)
        .output()
        .expect("keygate runs");
    Output {
        status: output.status,
        stdout: String::from_utf8(output.stdout).expect("stdout is text"),
        stderr: String::from_utf8(output.stderr).expect("stderr is text"),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn list(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(text).collect()
}

fn one_route(path: &str, methods: &str, access: &str) -> String {
    format!("[[routes]]\npath = \"{path}\"\nmethods = [{methods}]\n{access}\n")
}

#[test]
fn the_exit_code_says_whether_access_is_narrowed_or_widened() {
    let upstream = Upstream::echo();
    let get = "\"GET\"";
    let auth = one_route("/a", get, "scope = \"authOnly\"");
    let full = one_route("/a", get, "scope = \"fullAccess\"");
    let other = one_route("/b", get, "scope = \"authOnly\"");
    let renamed = auth.replace("[[routes]]", "[[routes]]\nname = \"other\"\nrate = \"1/s\"");
    let elsewhere = auth.replace("[[routes]]", "[[routes]]\nadd_prefix = \"/app\"");
    for (old, new, code, last) in [
        (&auth, &auth, 0, "access is unchanged"),
        (&auth, &renamed, 0, "access is unchanged"),
        (
            &auth,
            &elsewhere,
            0,
            "access is unchanged: 1 region rerouted",
        ),
        (&full, &auth, 11, "access is WIDENED: 1 region widened"),
        (&auth, &full, 10, "access is narrowed: 1 region narrowed"),
        (
            &auth,
            &other,
            11,
            "access is WIDENED: 1 region widened, 1 region narrowed",
        ),
        (
            &format!("{auth}{other}"),
            &auth,
            10,
            "access is narrowed: 1 region narrowed",
        ),
    ] {
        let (old, new) = (folder(&upstream, "", old), folder(&upstream, "", new));
        let output = keygate_diff(&[], old.path(), new.path());
        assert_eq!(output.status.code(), Some(code), "{}", output.stdout);
        assert_eq!(output.stdout.lines().last(), Some(last));
        assert_eq!(output.stderr, "");
    }
}

#[test]
fn a_configuration_is_a_file_or_a_folder_and_secrets_are_not_read() {
    let upstream = Upstream::echo();
    let secret = "[upstreams.other]\nservers = [\"https://other.example\"]\nheaders.set = { k = \"${file:missing}\" }\n";
    let route = |scope: &str| one_route("/a", "\"GET\"", &format!("scope = \"{scope}\""));
    let old = folder(&upstream, secret, &route("fullAccess"));
    let new = folder(&upstream, "", &route("authOnly"));
    for (old, new) in [
        (old.path().to_owned(), new.path().to_owned()),
        (old.config(), new.config()),
        (old.path().to_owned(), new.config()),
    ] {
        let output = keygate_diff(&[], &old, &new);
        assert_eq!(output.status.code(), Some(11), "{}", output.stderr);
    }
}

#[test]
fn a_broken_configuration_is_told_of_as_check_does_and_nothing_is_compared() {
    let upstream = Upstream::echo();
    let good = folder(&upstream, "", OLD);
    let bad = folder(
        &upstream,
        "",
        &one_route("/a", "\"GET\"", "scope = \"authOnyl\""),
    );
    let worse = folder(&upstream, "", "[[routes]]\npath = 7\n");
    let output = keygate_diff(&[], good.path(), bad.path());
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stdout, "");
    let wanted = "error: the scope `authOnyl` is not declared; did you mean `authOnly`?";
    assert!(output.stderr.contains(wanted), "{}", output.stderr);
    assert!(
        output.stderr.contains("1 error, 0 warnings"),
        "{}",
        output.stderr
    );
    let checked = bad.keygate(&["check", "--no-secrets"]).stderr;
    assert_eq!(output.stderr, checked);
    // Of two broken ones, both are told of.
    let output = keygate_diff(&["--json"], worse.path(), bad.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stderr.contains(wanted), "{}", output.stderr);
    assert!(
        output
            .stderr
            .contains(&worse.config().display().to_string())
    );
    let missing = good.path().join("nowhere");
    let output = keygate_diff(&[], &missing, good.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stderr.contains("nowhere"), "{}", output.stderr);
}

#[test]
fn a_region_is_told_as_text_json_and_markdown() {
    let upstream = Upstream::echo();
    let deletes = OLD.replace(
        "path    = \"/users/{uid}\"\nmethods = [\"GET\"]",
        "path    = \"/users/{uid}\"\nmethods = [\"GET\", \"DELETE\"]",
    );
    let (old, new) = (folder(&upstream, "", OLD), folder(&upstream, "", &deletes));
    let file = |folder: &Folder| folder.path().join("routes.toml").display().to_string();
    let (old_file, new_file) = (file(&old), file(&new));

    let said = keygate_diff(&[], old.path(), new.path()).stdout;
    let expected = format!(
        "\
widened   DELETE /v3/users/{{uid}}
          and /v3.0/users/{{uid}}: authOnly gains
          old: 403 by `/v3/{{*rest}}` and 1 more (fullAccess), {old_file}:8:1
          new: let through by `GET /v3/users/{{uid}}` and 1 more (authOnly, fullAccess), {new_file}:15:1
          as in: DELETE /v3/users/x
access is WIDENED: 1 region widened
"
    );
    assert_eq!(said, expected);

    let said = keygate_diff(&["--json"], old.path(), new.path()).stdout;
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let route = |name: &str, path: &str, file: &str, line: u32, access: &[&str]| {
        serde_json::json!({
            "name": name, "path": path, "file": file, "line": line, "access": access, "leads": "to upstream chat",
        })
    };
    let (full, both): (&[&str], &[&str]) = (&["fullAccess"], &["authOnly", "fullAccess"]);
    let expected = serde_json::json!({
        "verdict": "widened",
        "regions": [{
            "change": "widened",
            "who": ["authOnly"],
            "hosts": { "of": ["*"], "except": [] },
            "methods": ["DELETE"],
            "paths": [
                { "path": "/v3/users/{uid}", "except": [] },
                { "path": "/v3.0/users/{uid}", "except": [] },
            ],
            "needs": { "within": [], "beyond": null },
            "old": {
                "permitted": false,
                "statuses": [403],
                "routes": [
                    route("/v3/{*rest}", "/v3/{*rest}", &old_file, 8, full),
                    route("/v3.0/{*rest}", "/v3.0/{*rest}", &old_file, 8, full),
                ],
            },
            "new": {
                "permitted": true,
                "statuses": [],
                "routes": [
                    route("GET /v3/users/{uid}", "/v3/users/{uid}", &new_file, 15, both),
                    route("GET /v3.0/users/{uid}", "/v3.0/users/{uid}", &new_file, 15, both),
                ],
            },
            "request": { "method": "DELETE", "host": "example.com", "path": "/v3/users/x" },
        }],
    });
    assert_eq!(said, expected);

    let said = keygate_diff(&["--markdown"], old.path(), new.path()).stdout;
    let expected = format!(
        "\
**access is WIDENED: 1 region widened**

| Who gains | Methods | Paths | Before | After | Such as |
| --- | --- | --- | --- | --- | --- |
| authOnly | DELETE | `/v3/users/{{uid}}`<br>`/v3.0/users/{{uid}}` | 403 by `/v3/{{*rest}}` and 1 more (fullAccess), {} | let through by `GET /v3/users/{{uid}}` and 1 more (authOnly, fullAccess), {} | `DELETE /v3/users/x` |
",
        format!("{old_file}:8:1").replace('_', "\\_"),
        format!("{new_file}:15:1").replace('_', "\\_"),
    );
    assert_eq!(said, expected);
}

#[test]
fn long_lists_are_cut_where_people_read_and_whole_where_they_ask_for_it() {
    let upstream = Upstream::echo();
    let paths: Vec<String> = (0..30).map(|at| format!("\"/a{at}\"")).collect();
    let route = |access: &str| {
        format!(
            "[[routes]]\npath = [{}]\nmethods = [\"GET\"]\n{access}\n",
            paths.join(", ")
        )
    };
    let old = folder(&upstream, "", &route("scope = \"fullAccess\""));
    let new = folder(&upstream, "", &route("access = \"public\""));
    let said = |arguments: &[&str]| keygate_diff(arguments, old.path(), new.path()).stdout;
    for (arguments, cut) in [
        (&[][..], "\n          and 52 more: "),
        (&["--markdown"], "<br>and 52 more |"),
    ] {
        let said = said(arguments);
        assert!(said.contains(cut), "{said}");
        assert_eq!(
            said.matches("/v3/a").count() + said.matches("/v3.0/a").count(),
            8 + 3,
            "{said}"
        );
    }
    for arguments in [&["--all"][..], &["--markdown", "--all"], &["--json"]] {
        let said = said(arguments);
        for path in ["/v3/a29", "/v3.0/a0", "/v3.0/a17"] {
            assert!(said.contains(path), "{path} in {said}");
        }
    }
}

#[test]
fn what_a_broad_route_gains_is_told_without_what_other_routes_take() {
    let upstream = Upstream::echo();
    let wider = OLD.replacen("scope = \"fullAccess\"", "scope = \"authOnly\"", 1);
    let (old, new) = (folder(&upstream, "", OLD), folder(&upstream, "", &wider));
    let said = keygate_diff(&["--all"], old.path(), new.path()).stdout;
    let get = said
        .lines()
        .find(|line| line.starts_with("widened   GET, HEAD /v3/{*rest} except "))
        .unwrap_or_else(|| panic!("{said}"));
    for taken in [
        "/v3/users/{x}{/}",
        "/v3/internal/{*rest}",
        "/v3/health{/}",
        "/v3/users/",
    ] {
        let (_, except) = get.split_once(" except ").expect("exceptions");
        assert!(
            except.split(", ").any(|path| path == taken),
            "{taken} in {get}"
        );
    }
    let short = keygate_diff(&[], old.path(), new.path()).stdout;
    assert!(short.contains(" more\n"), "{short}");
    assert!(short.len() < said.len());
}

/// What became of a request: refused, with this status, or not.
fn asked(gateway: &Gateway, request: &Value, key: Option<&str>) -> (u16, bool) {
    let mut client = gateway.connect();
    let mut text = format!(
        "{} {} HTTP/1.1\r\nHost: {}\r\n",
        text(&request["method"]),
        text(&request["path"]),
        text(&request["host"])
    );
    if let Some(key) = key {
        text.push_str(&format!("apikey: {key}\r\n"));
    }
    client.send(text + "\r\n");
    let answer = client.answer(request["method"] == "HEAD");
    // The upstream answers 200; the management API says what it misses in words of its own.
    let by_management = ["ERR_APIKEY_NOT_FOUND", "details"];
    let by_management = answer.status != 200
        && by_management
            .iter()
            .any(|word| answer.text().contains(&format!("\"{word}\"")));
    let refused = answer.status != 200 && !by_management;
    (answer.status, refused)
}

/// What `explain` says of a request: the status of its refusal, if it is refused.
fn explained(folder: &Folder, request: &Value, who: &str) -> Option<u64> {
    let (method, path, host) = (&request["method"], &request["path"], &request["host"]);
    let mut arguments = vec![
        "explain",
        text(method),
        text(path),
        "--host",
        text(host),
        "--json",
    ];
    if who != "anyone" {
        arguments.extend(["--scope", who]);
    }
    let output = folder.keygate(&arguments);
    assert!(output.status.success(), "{}", output.stderr);
    let said: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(said["permitted"] == true, said["refused"].is_null());
    said["refused"]["status"].as_u64()
}

#[test]
fn gateways_and_explain_with_the_two_policies_say_of_each_regions_request_what_it_says() {
    let upstream = Upstream::echo();
    let management = "[management]\npaths = [\"/v3/keys\"]\nscope = \"authOnly\"\n";
    let (old, new) = (
        folder(&upstream, "", OLD),
        folder(&upstream, management, NEW),
    );
    let said = keygate_diff(&["--json"], old.path(), new.path());
    assert_eq!(said.status.code(), Some(11), "{}", said.stderr);
    let said: Value = serde_json::from_str(&said.stdout).expect("JSON");
    let regions = said["regions"].as_array().expect("regions");
    let gateways = [(&old, "old"), (&new, "new")].map(|(folder, side)| {
        let keys = ["authOnly", "fullAccess"].map(|scope| (scope, folder.new_key(scope, scope)));
        (folder, folder.start(), keys, side)
    });
    let mut changes = std::collections::BTreeSet::new();
    for region in regions {
        changes.insert(text(&region["change"]));
        for who in list(&region["who"]) {
            for (folder, gateway, keys, side) in &gateways {
                let key = keys.iter().find(|(scope, _)| *scope == who);
                assert!(key.is_some() || who == "anyone", "{who}");
                let (status, refused) = asked(
                    gateway,
                    &region["request"],
                    key.map(|(_, key)| key.as_str()),
                );
                let outcome = &region[*side];
                let what = format!("{side}, {who}: {status} for {region:#}");
                assert_eq!(refused, outcome["permitted"] == false, "{what}");
                let statuses = outcome["statuses"].as_array().expect("statuses");
                assert!(!refused || statuses.contains(&status.into()), "{what}");
                let explained = explained(folder, &region["request"], who);
                let same = refused.then_some(u64::from(status));
                assert_eq!(explained, same, "explain, {what}");
            }
        }
    }
    assert!(regions.len() > 20, "{}", regions.len());
    assert_eq!(changes.len(), 3, "{changes:?}");
}

#[test]
fn the_policy_that_a_gateway_has_in_force_is_asked_of_its_admin_listener() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, "", OLD);
    let gateway = folder.start();
    let diff = |old: &str, new: &str| keygate_diff(&["--json"], Path::new(old), Path::new(new));
    let admin = format!("http://{}", gateway.admin);
    let files = folder.path().display().to_string();
    // What is in force is what the files say, whichever is named first.
    for (old, new) in [(&admin, &files), (&files, &admin), (&admin, &admin)] {
        let output = diff(old, new);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}{}",
            output.stderr,
            output.stdout
        );
    }
    // An edit that is not in force yet, or never will be: compared with the gateway as with the files before it.
    let next = self::folder(&upstream, "", NEW);
    let next = next.path().display().to_string();
    let (by_gateway, by_files) = (diff(&admin, &next), diff(&files, &next));
    assert_eq!(by_gateway.status.code(), Some(11), "{}", by_gateway.stderr);
    assert_eq!(by_gateway.stdout, by_files.stdout);
    // Once it is in force, the gateway tells it.
    let broken = OLD.replacen("scope = \"fullAccess\"", "scope = \"authOnly\"", 1);
    folder.write("routes.toml", &format!("{HEAD}{broken}"));
    gateway.eventually(
        || diff(&admin, &files).status.code(),
        |code| *code == Some(0),
    );
}

#[test]
fn a_gateway_that_does_not_tell_its_policy_is_a_failure_at_run_time() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, "", OLD);
    let gateway = folder.start();
    let closed = support::port::Port::keep();
    for (address, expected) in [
        (gateway.address.to_string(), "401"),
        (closed.address.to_string(), "cannot be asked"),
    ] {
        let output = keygate_diff(&[], Path::new(&format!("http://{address}")), folder.path());
        assert_eq!(output.status.code(), Some(1), "{address}");
        assert!(output.stderr.contains(expected), "{}", output.stderr);
        assert_eq!(output.stdout, "");
    }
}
