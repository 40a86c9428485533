//! `keygate keys`, through the binary, on a real store in a temporary folder.

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const ROUTES: &str = r#"
[scopes]
authOnly = []
fullAccess = ["authOnly"]

[[routes]]
path = "/users"
scope = "authOnly"
upstream = "chat"
"#;

const MAIN: &str = r#"
include = ["routes.toml"]

[keys]
store = "sqlite:data/keygate.db"
secret = "secret/master"

[upstreams.chat]
servers = ["http://127.0.0.1:9000"]
headers.set = { apikey = "${env:KEYGATE_TEST_UNSET_UPSTREAM_KEY}" }
"#;

const TEXT: &str = "0123456789abcdef0123456789abcdef01234567";
const MASKED: &str = "01234******************************34567";

/// A folder with a configuration.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = Place { folder };
        place.write("keygate.toml", MAIN);
        place.write("routes.toml", ROUTES);
        place
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn store(&self) -> PathBuf {
        self.path().join("data/keygate.db")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("a file in the temporary folder");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
        command
            .arg("keys")
            .args(args)
            .current_dir(self.path())
            .env_remove("KEYGATE_SECRET")
            .env_remove("KEYGATE_CONFIG");
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, b"")
    }

    fn run_with(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        // A command that does not read its input may have closed it already.
        let _ = stdin.write_all(input);
        drop(stdin);
        Ran::new(args, &child.wait_with_output().expect("the binary ends"))
    }

    /// Makes a key; its text.
    fn create(&self, args: &[&str]) -> String {
        let ran = self.run(&[&["create"], args].concat());
        ran.succeeded().trim_end().to_owned()
    }

    fn json(&self, args: &[&str]) -> Value {
        let ran = self.run(&[args, &["--json"]].concat());
        serde_json::from_str(ran.succeeded()).expect("JSON on standard output")
    }

    fn names(&self, args: &[&str]) -> Vec<String> {
        let listed = self.json(&[&["list"], args].concat());
        let keys = listed.as_array().expect("an array");
        let name = |key: &Value| key["name"].as_str().expect("a name").to_owned();
        keys.iter().map(name).collect()
    }

    /// The id of the only key.
    fn id(&self) -> String {
        let listed = self.json(&["list"]);
        assert_eq!(listed.as_array().map(Vec::len), Some(1));
        listed[0]["id"].as_str().expect("an id").to_owned()
    }
}

/// What a command said.
struct Ran {
    line: String,
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn new(args: &[&str], output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Ran {
            line: args.join(" "),
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// Standard output of a command that must have succeeded.
    fn succeeded(&self) -> &str {
        assert_eq!(self.code, Some(0), "{}: {}", self.line, self.err);
        &self.out
    }

    /// Standard error of a command that must have failed with this status, and printed nothing else.
    fn failed(&self, code: i32) -> &str {
        assert_eq!(
            self.code,
            Some(code),
            "{}: {}{}",
            self.line,
            self.out,
            self.err
        );
        assert_eq!(self.out, "", "{}", self.line);
        assert!(!self.err.is_empty(), "{} says why", self.line);
        &self.err
    }
}

fn is_new_key(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[test]
fn create_makes_the_store_and_prints_the_key_alone() {
    let place = Place::new();
    assert!(!place.store().exists());
    let ran = place.run(&["create", "--name", "Rest API Key", "--scope", "fullAccess"]);
    let key = ran.succeeded().strip_suffix('\n').expect("a line");
    assert!(is_new_key(key), "{key}");
    assert!(place.store().exists());
    assert!(!ran.err.contains(key), "standard error tells no key");
    assert!(ran.err.contains("Rest API Key"), "{}", ran.err);
}

#[test]
fn create_takes_what_it_is_given() {
    let place = Place::new();
    let args = [
        "create",
        "--name",
        "\u{1f511} ci",
        "--scope",
        "authOnly",
        "--expires-at",
        "2099-12-31T23:59:59Z",
        "--disabled",
    ];
    let key = place.json(&args);
    assert!(is_new_key(key["apiKey"].as_str().expect("a key")));
    assert_eq!(key["name"], "\u{1f511} ci");
    assert_eq!(key["scope"], "authOnly");
    assert_eq!(key["enabled"], false);
    assert_eq!(key["expiresAt"], 4_102_444_799_i64);
    assert!(
        key["createdAt"]
            .as_i64()
            .is_some_and(|at| at > 1_700_000_000)
    );
    assert_eq!(key["id"].as_str().map(str::len), Some(20));
    assert_eq!(key.as_object().map(serde_json::Map::len), Some(7));
}

#[test]
fn the_scope_that_is_not_given_is_auth_only_where_declared() {
    let place = Place::new();
    assert_eq!(place.json(&["create", "--name", "x"])["scope"], "authOnly");
    place.write("routes.toml", &ROUTES.replace("authOnly", "reader"));
    let said = place.run(&["create", "--name", "x"]);
    assert!(
        said.failed(2).contains("`fullAccess`, `reader`"),
        "{}",
        said.err
    );
}

#[test]
fn if_absent_is_idempotent_by_name() {
    let place = Place::new();
    let args = [
        "create",
        "--name",
        "app",
        "--scope",
        "authOnly",
        "--if-absent",
    ];
    let first = place.run(&args).succeeded().to_owned();
    let second = place.run(&args);
    assert_eq!(second.succeeded(), first);
    assert!(second.err.contains("exists already"), "{}", second.err);
    assert_eq!(place.names(&[]), ["app"]);

    let stronger = [
        "create",
        "--name",
        "app",
        "--scope",
        "fullAccess",
        "--if-absent",
    ];
    let third = place.run(&stronger);
    assert_eq!(third.succeeded(), first);
    assert!(third.err.contains("warning"), "{}", third.err);

    let without = place.create(&["--name", "app", "--scope", "authOnly"]);
    assert_ne!(format!("{without}\n"), first);
    assert_eq!(place.names(&[]), ["app", "app"]);
}

#[test]
fn with_reveal_once_an_existing_key_is_not_printed_again() {
    let place = Place::new();
    place.write(
        "keygate.toml",
        &MAIN.replace("[keys]", "[keys]\nreveal = \"once\""),
    );
    let args = [
        "create",
        "--name",
        "app",
        "--scope",
        "authOnly",
        "--if-absent",
    ];
    let key = place.run(&args).succeeded().trim_end().to_owned();
    assert!(is_new_key(&key));
    let again = place.run(&args);
    assert!(
        again.failed(1).contains("cannot be shown again"),
        "{}",
        again.err
    );
    assert!(!again.err.contains(&key));
    let shown = place.json(&["get", &place.id(), "--reveal"]);
    assert!(
        shown["apiKey"]
            .as_str()
            .is_some_and(|text| text.contains("*****"))
    );
}

#[test]
fn an_existing_key_is_brought_in_from_standard_input() {
    let place = Place::new();
    let args = [
        "create",
        "--name",
        "legacy",
        "--scope",
        "authOnly",
        "--key-stdin",
    ];
    let ran = place.run_with(&args, format!("{TEXT}\r\n").as_bytes());
    assert_eq!(ran.succeeded(), format!("{TEXT}\n"));

    let again = place.run_with(&args, TEXT.as_bytes());
    assert!(again.failed(1).contains(MASKED), "{}", again.err);
    assert!(!again.err.contains(TEXT));

    let if_absent = [&args[..], &["--if-absent"]].concat();
    assert_eq!(
        place.run_with(&if_absent, TEXT.as_bytes()).succeeded(),
        format!("{TEXT}\n")
    );
    let other = TEXT.replace('0', "f");
    let ran = place.run_with(&if_absent, other.as_bytes());
    assert!(ran.failed(1).contains("another one"), "{}", ran.err);
    assert_eq!(place.names(&[]), ["legacy"]);
}

#[test]
fn what_cannot_be_a_key_is_not_brought_in() {
    let place = Place::new();
    let args = [
        "create",
        "--name",
        "legacy",
        "--scope",
        "authOnly",
        "--key-stdin",
    ];
    let long = "a".repeat(129);
    for input in [
        "",
        "\n",
        "0123456789012345678",
        "0123456789 0123456789",
        &long,
        "a\u{e9}aaaaaaaaaaaaaaaaaaaaaa",
    ] {
        place.run_with(&args, input.as_bytes()).failed(2);
    }
    assert!(
        !place.store().exists(),
        "nothing was made on the way to a refusal"
    );
}

#[test]
fn list_masks_unless_it_is_told_to_reveal() {
    let place = Place::new();
    let key = place.create(&["--name", "one", "--scope", "authOnly"]);
    for (args, whole) in [
        (&["list"][..], false),
        (&["list", "--json"], false),
        (&["list", "--reveal"], true),
        (&["list", "--reveal", "--json"], true),
        (&["get", &place.id()], false),
        (&["get", &place.id(), "--json"], false),
        (&["get", &place.id(), "--reveal"], true),
    ] {
        let ran = place.run(args);
        assert_eq!(ran.succeeded().contains(&key), whole, "{}", ran.line);
        assert!(ran.out.contains(&key[35..]), "{}", ran.line);
    }
}

#[test]
fn a_list_is_a_table_with_its_columns_aligned() {
    let place = Place::new();
    place.create(&["--name", "a", "--scope", "authOnly", "--disabled"]);
    place.create(&[
        "--name",
        "a longer name",
        "--scope",
        "fullAccess",
        "--expires-in",
        "30d",
    ]);
    let ran = place.run(&["list"]);
    let lines: Vec<&str> = ran.succeeded().lines().collect();
    assert_eq!(lines.len(), 3);
    for column in ["KEY", "NAME", "SCOPE", "STATE", "CREATED", "EXPIRES"] {
        let at = lines[0].find(column).expect(column);
        for line in &lines[1..] {
            assert_eq!(&line[at - 2..at], "  ", "{column}: {line}");
            assert_ne!(&line[at..=at], " ", "{column}: {line}");
        }
    }
    assert!(lines[1].contains("a longer name") && lines[1].contains("enabled"));
    assert!(lines[2].contains("disabled") && lines[2].ends_with("never"));
}

#[test]
fn list_filters_by_scope_and_by_part_of_the_name() {
    let place = Place::new();
    for (name, scope) in [
        ("Rest API", "fullAccess"),
        ("auth_1", "authOnly"),
        ("100%", "authOnly"),
    ] {
        place.create(&["--name", name, "--scope", scope]);
    }
    for (args, expected) in [
        (&[][..], &["100%", "auth_1", "Rest API"][..]),
        (&["--scope", "authOnly"], &["100%", "auth_1"]),
        (&["--search", "rEST a"], &["Rest API"]),
        (&["--search", "%"], &["100%"]),
        (&["--search", "_"], &["auth_1"]),
        (&["--search", ""], &["100%", "auth_1", "Rest API"]),
        (&["--scope", "fullAccess", "--search", "auth"], &[]),
        (&["--scope", "undeclared"], &[]),
    ] {
        assert_eq!(place.names(args), expected, "{args:?}");
    }
}

#[test]
fn a_key_is_named_by_id_by_itself_or_on_standard_input() {
    let place = Place::new();
    let key = place.create(&["--name", "one", "--scope", "authOnly"]);
    let id = place.id();

    let by_id = place.run(&["get", &id, "--json"]);
    by_id.succeeded();
    assert_eq!(by_id.err, "");
    let by_key = place.run(&["get", &key, "--json"]);
    assert_eq!(by_key.succeeded(), by_id.out);
    assert!(by_key.err.contains("warning"), "{}", by_key.err);
    assert!(!by_key.err.contains(&key));
    for input in [format!("{key}\n"), id.clone()] {
        let by_input = place.run_with(&["get", "-", "--json"], input.as_bytes());
        assert_eq!(by_input.succeeded(), by_id.out);
        assert_eq!(by_input.err, "");
    }
}

#[test]
fn what_names_no_key_is_said_so_without_being_repeated() {
    let place = Place::new();
    place.create(&["--name", "one", "--scope", "authOnly"]);
    for action in [&["get"][..], &["delete"], &["update", "--disable"]] {
        let unknown = place.run(&[action, &[TEXT]].concat());
        assert!(unknown.failed(1).contains(MASKED), "{}", unknown.err);
        assert!(!unknown.err.contains(TEXT), "{}", unknown.err);
        place
            .run(&[action, &["abcdefghij0123456789"]].concat())
            .failed(1);
        let neither = place.run(&[action, &["not a key"]].concat());
        assert!(neither.failed(2).contains("*********"), "{}", neither.err);
        place.run(&[action, &["-"]].concat()).failed(2);
    }
}

#[test]
fn update_changes_what_it_names_and_nothing_else() {
    let place = Place::new();
    let key = place.create(&["--name", "one", "--scope", "authOnly"]);
    let id = place.id();
    let before = place.json(&["get", &id]);
    for (args, field, expected) in [
        (&["--name", "two"][..], "name", Value::from("two")),
        (
            &["--scope", "fullAccess"],
            "scope",
            Value::from("fullAccess"),
        ),
        (&["--disable"], "enabled", Value::from(false)),
        (
            &["--expires-at", "4102444799"],
            "expiresAt",
            Value::from(4_102_444_799_i64),
        ),
        (&["--no-expiry"], "expiresAt", Value::Null),
        (&["--enable"], "enabled", Value::from(true)),
    ] {
        let updated = place.json(&[&["update", &id], args].concat());
        assert_eq!(updated[field], expected, "{args:?}");
        assert_eq!(updated["apiKey"], before["apiKey"], "{args:?}");
        assert_eq!(place.json(&["get", &id]), updated, "{args:?}");
    }
    let by_key = place.run_with(&["update", "-", "--name", "three"], key.as_bytes());
    assert!(by_key.succeeded().contains("three"));
    place.run(&["update", &id]).failed(2);
}

#[test]
fn delete_says_what_it_deleted_masked() {
    let place = Place::new();
    let key = place.create(&["--name", "one", "--scope", "authOnly"]);
    let id = place.id();
    let ran = place.run_with(&["delete", "-"], key.as_bytes());
    assert!(ran.succeeded().contains(&id), "{}", ran.out);
    assert!(!ran.out.contains(&key) && !ran.err.contains(&key));
    assert_eq!(place.names(&[]), Vec::<String>::new());
    place.run(&["delete", &id]).failed(1);
}

#[test]
fn the_trail_tells_who_changed_what_and_never_a_key() {
    let place = Place::new();
    let key = place.create(&["--name", "one", "--scope", "authOnly"]);
    let id = place.id();
    place
        .run(&["update", &id, "--name", "two", "--disable"])
        .succeeded();
    place.run(&["delete", &id]).succeeded();
    place.create(&["--name", "other", "--scope", "authOnly"]);

    let actions = |args: &[&str]| -> Vec<String> {
        let trail = place.json(&[&["audit"], args].concat());
        let entries = trail.as_array().expect("an array");
        let action = |entry: &Value| entry["action"].as_str().expect("an action").to_owned();
        entries.iter().map(action).collect()
    };
    assert_eq!(actions(&[]), ["create", "delete", "update", "create"]);
    assert_eq!(actions(&["--key", &id]), ["delete", "update", "create"]);
    assert_eq!(actions(&["--limit", "1"]), ["create"]);
    assert_eq!(actions(&["--since", "1h"]).len(), 4);
    assert_eq!(actions(&["--since", "2099-01-01"]).len(), 0);

    let trail = place.json(&["audit", "--key", &id]);
    assert_eq!(trail[1]["actor"], "operator");
    assert_eq!(trail[1]["changes"]["name"]["old"], "one");
    assert_eq!(trail[1]["changes"]["name"]["new"], "two");
    let table = place.run(&["audit"]);
    assert!(
        table.succeeded().contains("enabled: true -> false"),
        "{}",
        table.out
    );
    assert!(!table.out.contains(&key) && !trail.to_string().contains(&key));

    let gone = place.run_with(&["audit", "--key", "-"], key.as_bytes());
    gone.failed(1);
}

#[test]
fn without_a_store_there_is_nothing_to_list_and_nothing_is_made() {
    let place = Place::new();
    assert_eq!(place.json(&["list"]), Value::from(Vec::<Value>::new()));
    assert_eq!(place.json(&["audit"]), Value::from(Vec::<Value>::new()));
    assert!(place.run(&["list"]).err.contains("no key store"));
    for args in [
        &["get", TEXT][..],
        &["delete", TEXT],
        &["update", TEXT, "--disable"],
    ] {
        assert!(place.run(args).failed(1).contains("does not exist"));
    }
    assert!(!place.path().join("data").exists());
    assert!(!place.path().join("secret").exists());
}

#[test]
fn an_undeclared_scope_is_refused_and_the_declared_ones_named() {
    let place = Place::new();
    let ran = place.run(&["create", "--name", "x", "--scope", "admin"]);
    assert!(
        ran.failed(2).contains("`authOnly`, `fullAccess`"),
        "{}",
        ran.err
    );
    assert!(!place.store().exists());
    place.create(&["--name", "x", "--scope", "authOnly"]);
    let ran = place.run(&["update", &place.id(), "--scope", "admin"]);
    assert!(
        ran.failed(2).contains("`authOnly`, `fullAccess`"),
        "{}",
        ran.err
    );
}

#[test]
fn wrong_arguments_end_with_two_and_change_nothing() {
    let place = Place::new();
    for args in [
        &[][..],
        &["create"],
        &["create", "--name", ""],
        &["create", "--name", "a\nb"],
        &["create", "--name", "x", "--expires-in", "30"],
        &["create", "--name", "x", "--expires-at", "2020-01-01"],
        &["create", "--name", "x", "--expires-at", "1800000000000"],
        &[
            "create",
            "--name",
            "x",
            "--expires-in",
            "1d",
            "--expires-at",
            "4102444799",
        ],
        &["list", "--scope", "1"],
        &["audit", "--limit", "0"],
        &["frobnicate"],
    ] {
        place.run(args).failed(2);
    }
    let long = "a".repeat(101);
    place.run(&["create", "--name", &long]).failed(2);
    assert!(!place.store().exists());
}

#[test]
fn a_configuration_that_cannot_be_read_ends_with_two() {
    let place = Place::new();
    place.run(&["list", "--config", "missing.toml"]).failed(2);
    place.write("broken.toml", "[keys\nstore = 5");
    let ran = place.run(&["list", "--config", "broken.toml"]);
    assert!(ran.failed(2).contains("broken.toml"), "{}", ran.err);
}

#[test]
fn a_broken_policy_stops_only_what_needs_its_scopes() {
    let place = Place::new();
    let key = place.create(&["--name", "one", "--scope", "authOnly"]);
    place.write(
        "routes.toml",
        "[[routes]]\npath = \"/x\"\nscope = \"nobody\"\n",
    );
    let id = place.id();
    place.run(&["update", &id, "--disable"]).succeeded();
    assert_eq!(place.json(&["get", &id])["enabled"], false);
    let ran = place.run(&["create", "--name", "x", "--scope", "authOnly"]);
    assert!(ran.failed(2).contains("routes.toml"), "{}", ran.err);
    place.run(&["update", &id, "--scope", "authOnly"]).failed(2);
    place.run_with(&["delete", "-"], key.as_bytes()).succeeded();
}

#[test]
fn the_configuration_can_be_named_by_argument_or_environment() {
    let place = Place::new();
    std::fs::rename(
        place.path().join("keygate.toml"),
        place.path().join("k.toml"),
    )
    .unwrap();
    place.run(&["list"]).failed(2);
    place.run(&["list", "--config", "k.toml"]).succeeded();
    let output = place
        .command(&["list"])
        .env("KEYGATE_CONFIG", "k.toml")
        .output()
        .unwrap();
    Ran::new(&["list"], &output).succeeded();
}

#[test]
fn a_master_secret_that_is_lost_or_wrong_is_told_by_every_command() {
    let place = Place::new();
    place.create(&["--name", "one", "--scope", "authOnly"]);
    let id = place.id();
    let secret = place.path().join("secret/master");
    let kept = std::fs::read(&secret).expect("the secret's file");
    let all: [&[&str]; 6] = [
        &["list"],
        &["get", &id],
        &["update", &id, "--disable"],
        &["delete", &id],
        &["audit"],
        &["create", "--name", "x", "--scope", "authOnly"],
    ];
    std::fs::remove_file(&secret).unwrap();
    for args in all {
        place.run(args).failed(1);
    }
    assert!(!secret.exists(), "no second secret is made");
    std::fs::write(&secret, &kept).unwrap();
    for args in all {
        let output = place
            .command(args)
            .env("KEYGATE_SECRET", "ab".repeat(32))
            .output()
            .unwrap();
        Ran::new(args, &output).failed(1);
    }
}

#[test]
fn commands_at_the_same_time_lose_nothing() {
    let place = Place::new();
    place.create(&["--name", "first", "--scope", "authOnly"]);
    std::thread::scope(|threads| {
        for i in 0..6 {
            let place = &place;
            threads.spawn(move || {
                place.create(&["--name", &format!("key {i}"), "--scope", "authOnly"]);
            });
        }
    });
    assert_eq!(place.names(&[]).len(), 7);
}

#[test]
fn entry_scripts_that_start_together_make_one_store_and_one_key() {
    let place = Place::new();
    let args = ["--name", "app", "--scope", "authOnly", "--if-absent"];
    let keys: Vec<String> = std::thread::scope(|threads| {
        let started: Vec<_> = (0..4)
            .map(|_| threads.spawn(|| place.create(&args)))
            .collect();
        started.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_eq!(place.names(&[]), ["app"]);
}
