//! `keygate check` as a reviewer: every lint, how loud it is, and the forms that machines read.

mod support;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use support::KEYGATE;

/// A configuration in which each lint but those of the key store has something to say.
const DOUBTFUL: &str = r#"[upstreams.app]
servers = ["http://127.0.0.1:9000"]
[defaults]
upstream = "app"
[scopes]
reader     = []
old        = []
fullAccess = ["reader"]

[[routes]]
path    = "/users/:id"
methods = ["POTS"]
scope   = "reader"

[[routes]]
path   = "/a"
access = "public"

[[routes]]
path  = "/a/"
scope = "reader"

[[routes]]
path    = "/b/c"
methods = ["GET"]
scope   = "fullAccess"

[[routes]]
path  = "/{*rest}"
scope = "fullAccess"

[[routes]]
path  = "/B/c"
scope = "reader"

[[routes]]
path    = "/wide/{x}"
methods = ["GET"]
scope   = "fullAccess"

[[routes]]
path   = "/wide/{*rest}"
scope  = "reader"

[[expect]]
request = "PURGE /nowhere"
deny    = ["reader"]

[[expect]]
request = "GET /b/c"
allow   = ["fullAccess"]
deny    = ["anyone"]

[[expect]]
request = "GET /b/c"
deny    = ["anyone"]
"#;

fn folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("keygate.toml"), text).expect("write");
    folder
}

fn keygate(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(KEYGATE)
        .args(arguments)
        .current_dir(folder)
        .env_remove("KEYGATE_CONFIG")
        .output()
        .expect("keygate")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// What each lint says, at its line.
const FOUND: &str = "\
keygate.toml:7:1: warning: no route asks for the scope `old`, nor for one that it includes: its keys are refused wherever a key is needed [unused-scope]
keygate.toml:10:1: warning: the method POTS looks like a slip for POST [method-slip]
keygate.toml:11:11: warning: `/users/:id` is taken letter by letter, and looks like a parameter of another router [looks-like-pattern]
keygate.toml:15:1: note: anyone may use `/a`, without a key [public-route]
keygate.toml:20:9: warning: `/a/` and `/a` differ by a trailing slash alone, and are two paths [nearly-same-path]
keygate.toml:23:1: warning: `GET /b/c` decides nothing that `/{*rest}` does not decide in the same way [pointless-route]
keygate.toml:33:9: warning: `/B/c` and `/b/c` differ by letter case alone, and are two paths [nearly-same-path]
keygate.toml:36:1: warning: POST, PUT, PATCH, DELETE and OPTIONS `/wide/{x}` falls to `/wide/{*rest}`, which lets in more than the routes of `/wide/{x}` do; write a route for it if that is not meant [falls-through]
keygate.toml:45:1: warning: no route takes `PURGE /nowhere`, so this tests none: no route for this host and path takes the method [idle-expectation]
keygate.toml:54:1: warning: another expectation says all that this one says [idle-expectation]
";

#[test]
fn each_lint_finds_what_it_is_for_and_does_not_fail_the_check_by_itself() {
    let folder = folder(DOUBTFUL);
    let short = keygate(folder.path(), &["check", "--format", "short"]);
    assert_eq!(text(&short.stdout), FOUND);
    let summary = "ok: 8 routes, 1 upstream, 3 expectations held, no key store yet, 9 warnings\n";
    assert_eq!(
        (text(&short.stderr).as_str(), short.status.code()),
        (summary, Some(0))
    );
}

#[test]
fn warnings_and_notes_fail_a_check_that_denies_them() {
    let folder = folder(DOUBTFUL);
    for (deny, level, code) in [
        ("warnings", "allow", 0),
        ("warnings", "note", 0),
        ("warnings", "warn", 2),
        ("notes", "note", 2),
        ("notes", "allow", 0),
    ] {
        let lints: Vec<String> = FOUND
            .lines()
            .filter_map(|line| line.rsplit_once('[')?.1.strip_suffix(']'))
            .map(|lint| format!("{lint} = \"{level}\"\n"))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        let with = format!("[lints]\n{}\n{DOUBTFUL}", lints.concat());
        std::fs::write(folder.path().join("keygate.toml"), with).expect("write");
        let ran = keygate(folder.path(), &["check", "--deny", deny]);
        let said = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{deny} {level}: {said}");
        assert_eq!(
            said.contains('['),
            level != "allow",
            "{deny} {level}: {said}"
        );
    }
}

#[test]
fn a_lint_that_does_not_exist_is_an_error_that_names_the_nearest() {
    let folder = folder(&format!(
        "[lints]\npointles-route = \"warn\"\nunused-scope = \"loud\"\n{DOUBTFUL}"
    ));
    let ran = keygate(folder.path(), &["check", "--format", "short"]);
    let said = text(&ran.stdout);
    assert!(
        said.starts_with(
            "keygate.toml:2:1: error: there is no lint `pointles-route`; did you mean `pointless-route`?\n\
             keygate.toml:3:16: error: `lints.unused-scope`: expected \"allow\" (not said), \"note\" or \"warn\"\n"
        ),
        "{said}"
    );
    assert_eq!(ran.status.code(), Some(2));
}

#[test]
fn json_has_all_that_the_text_has() {
    let folder = folder(DOUBTFUL);
    let ran = keygate(folder.path(), &["check", "--format", "json"]);
    assert_eq!(text(&ran.stderr), "");
    let report: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    let count = |name: &str| report[name].as_u64().expect(name);
    assert_eq!(
        (
            report["ok"].as_bool(),
            count("errors"),
            count("warnings"),
            count("notes")
        ),
        (Some(true), 0, 9, 1)
    );
    let problems = report["problems"].as_array().expect("a list");
    let lines: String = problems
        .iter()
        .map(|p| {
            let at = &p["at"];
            format!(
                "{}:{}:{}: {}: {} [{}]\n",
                at["file"].as_str().expect("a file"),
                at["line"],
                at["column"],
                p["severity"].as_str().expect("a word"),
                p["message"].as_str().expect("a sentence"),
                p["lint"].as_str().expect("a lint"),
            )
        })
        .collect();
    assert_eq!(lines, FOUND);
    let case = &problems[6];
    assert_eq!(case["related"][0]["at"]["line"], 24);
    assert_eq!(case["at"]["endColumn"], 15);
    assert!(
        case["help"]
            .as_str()
            .expect("help")
            .starts_with("write both")
    );
}

#[test]
fn github_gets_a_command_for_each_problem_with_nothing_that_ends_it_early() {
    let folder = folder(&DOUBTFUL.replace("\"/b/c\"", "\"/b%2Cc\""));
    let ran = keygate(folder.path(), &["check", "--format", "github"]);
    let said = text(&ran.stdout);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 9, "{said}");
    assert_eq!(
        lines[3],
        "::notice file=keygate.toml,line=15,col=1,endColumn=11,title=public-route::anyone may use `/a`, without a key"
    );
    assert!(
        lines[5].starts_with("::warning file=keygate.toml,line=23,col=1")
            && lines[5].contains("`GET /b%252Cc` decides nothing")
            && lines[5].contains("%0Ahelp: "),
        "{said}"
    );
}

#[test]
fn keys_whose_scope_is_gone_are_counted() {
    let folder = folder(&DOUBTFUL.replace("old        = []", "gone       = []"));
    for name in ["a", "b"] {
        let made = keygate(
            folder.path(),
            &["keys", "create", "--name", name, "--scope", "gone"],
        );
        assert!(made.status.success(), "{}", text(&made.stderr));
    }
    std::fs::write(folder.path().join("keygate.toml"), DOUBTFUL).expect("write");
    let ran = keygate(folder.path(), &["check", "--format", "short"]);
    let said = text(&ran.stdout);
    assert!(said.contains("[keys-without-scope]"), "{said}");
    assert!(
        said.contains("the scope `gone` of 2 keys in the store is not declared"),
        "{said}"
    );
}

#[test]
fn tests_run_one_by_one_and_say_what_they_leave_untouched() {
    let policy = DOUBTFUL.replace(
        "deny    = [\"reader\"]",
        "name    = \"nowhere\"\ndeny    = [\"reader\"]",
    );
    let folder = folder(&policy);
    let ran = keygate(folder.path(), &["test", "--coverage"]);
    let expected = "\
ok   keygate.toml:45:1: nowhere
ok   keygate.toml:50:1: GET /b/c
ok   keygate.toml:55:1: GET /b/c
untouched keygate.toml:10:1: POTS /users/:id
untouched keygate.toml:15:1: /a
untouched keygate.toml:19:1: /a/
untouched keygate.toml:28:1: /{*rest}
untouched keygate.toml:32:1: /B/c
untouched keygate.toml:36:1: GET /wide/{x}
untouched keygate.toml:41:1: /wide/{*rest}
3 of 3 hold; 1 of 8 routes are touched (12 %)
";
    assert_eq!(
        (text(&ran.stdout).as_str(), ran.status.code()),
        (expected, Some(0))
    );
    for (coverage, code) in [("--coverage=12", 0), ("--coverage=13", 1)] {
        let ran = keygate(folder.path(), &["test", coverage]);
        assert_eq!(ran.status.code(), Some(code), "{coverage}");
    }
}

#[test]
fn a_test_that_fails_says_what_was_decided_and_keeps_run_from_starting() {
    let folder = folder(&DOUBTFUL.replace(
        "request = \"PURGE /nowhere\"\ndeny    = [\"reader\"]",
        "request  = [\"GET /b/c\", \"GET /wide/1\"]\ndeny     = [\"reader\"]\nstatus   = 404\nupstream = \"app\"",
    ));
    let ran = keygate(folder.path(), &["test", "--json"]);
    let report: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    assert_eq!(
        (ran.status.code(), report["failed"].as_u64()),
        (Some(1), Some(1))
    );
    let failures = report["tests"][0]["failures"].as_array().expect("a list");
    let said: Vec<&str> = failures
        .iter()
        .filter_map(|f| f["message"].as_str())
        .collect();
    assert_eq!(
        said,
        [
            "`GET /b/c` was to be refused with 404 for a key of scope `reader`, and is with 403 by the route `GET /b/c`: the key's scope is not one of the route's",
            "`GET /wide/1` was to be refused with 404 for a key of scope `reader`, and is with 403 by the route `GET /wide/{x}`: the key's scope is not one of the route's",
        ]
    );
    assert_eq!(report["tests"][0]["name"], "GET /b/c, and 1 more");
    let checked = keygate(folder.path(), &["check"]);
    assert_eq!(checked.status.code(), Some(2), "{}", text(&checked.stderr));
    let broken = keygate(folder.path(), &["test", "--config", "nowhere.toml"]);
    assert_eq!(broken.status.code(), Some(2), "{}", text(&broken.stdout));
}

#[test]
fn what_an_expectation_cannot_say_is_refused_where_it_stands() {
    for (lines, line, message) in [
        (
            "request = []\ndeny = [\"reader\"]",
            46,
            "expected a method and a path, such as \"GET /v3/users\", or a list of them",
        ),
        (
            "request = \"GET /a\"\nallow = [\"reader\"]\nstatus = 404",
            48,
            "`status` is what those in `deny` get, and there is no `deny`",
        ),
        (
            "request = \"GET /a\"\ndeny = [\"reader\"]\nstatus = 200",
            48,
            "400",
        ),
        (
            "request = \"GET /a\"\ndeny = [\"reader\"]\nupstream = \"ap\"",
            48,
            "there is no upstream `ap`; did you mean `app`?",
        ),
        (
            "request = \"GET /a\"\nhost = \"*.a.example\"\ndeny = [\"reader\"]",
            47,
            "expected a host's name, without a port and without `*`",
        ),
    ] {
        let folder = folder(&DOUBTFUL.replace(
            "request = \"PURGE /nowhere\"\ndeny    = [\"reader\"]",
            lines,
        ));
        let ran = keygate(folder.path(), &["check", "--format", "short"]);
        let said = text(&ran.stdout);
        let place = format!("keygate.toml:{line}:");
        let found = said
            .lines()
            .any(|l| l.starts_with(&place) && l.contains("error") && l.contains(message));
        assert!(found && ran.status.code() == Some(2), "{lines}: {said}");
    }
}

#[test]
fn a_thousand_notes_do_not_make_an_error() {
    let mut text = DOUBTFUL.to_owned();
    for n in 0..1_100 {
        text.push_str(&format!(
            "[[routes]]\npath = \"/n{n}\"\naccess = \"public\"\n"
        ));
    }
    let folder = folder(&text);
    let ran = keygate(folder.path(), &["check", "--format", "short"]);
    let said = text_of(&ran);
    assert_eq!(ran.status.code(), Some(0), "{said}");
    assert!(
        said.contains("note: there are 110 more problems\n"),
        "{said}"
    );
    // What counts is not cut.
    assert_eq!(said.matches(": warning: ").count(), 9, "{said}");
}

#[test]
fn beside_what_cannot_be_read_no_lint_says_what_is_not_true() {
    let folder = folder(&DOUBTFUL.replace(
        "path    = \"/users/:id\"\nmethods = [\"POTS\"]\nscope   = \"reader\"",
        "path    = \"/users\"\nmethods = [\"GET\", 5]\nscope   = \"old\"",
    ));
    let ran = keygate(folder.path(), &["check", "--format", "short"]);
    let said = text_of(&ran);
    assert_eq!(ran.status.code(), Some(2), "{said}");
    assert!(!said.contains("unused-scope"), "{said}");
}

fn text_of(ran: &Output) -> String {
    text(&ran.stdout)
}
