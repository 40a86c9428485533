//! The schemas that `keygate schema` prints: what they take and refuse of files, by a validator that is not our own.
//!
//! That each field, type, word and bound is its reader's is held in `src/config/schema/tests.rs`.

mod support;

use jsonschema::Validator;
use keygate::config::load_texts;
use serde_json::{Map, Value};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::KEYGATE;
use toml::de::{DeTable, DeValue};

const README: &str = include_str!("../README.md");
const MESSAGES: &str = include_str!("diagnostics/PAGE.md");

/// The files that there is a schema of, each with that which is committed, and where.
const FILES: [(&str, &str, &str); 2] = [
    (
        "main",
        include_str!("../config/keygate.schema.json"),
        "config/keygate.schema.json",
    ),
    (
        "routes",
        include_str!("../config/routes.schema.json"),
        "config/routes.schema.json",
    ),
];

fn keygate(args: &[&str], stdout: Stdio) -> Output {
    let mut command = Command::new(KEYGATE);
    command.args(args).stdout(stdout).stderr(Stdio::piped());
    command.env_remove("KEYGATE_SECRET");
    let child = command.spawn().expect("keygate runs");
    child.wait_with_output().expect("it ends")
}

fn printed(args: &[&str]) -> String {
    let output = keygate(args, Stdio::piped());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(0), ""), "{args:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The validator of a file, by the schema that is printed.
fn validator(of: &str) -> Validator {
    let schema: Value = serde_json::from_str(&printed(&["schema", of])).expect("JSON");
    jsonschema::draft7::new(&schema).expect("a schema")
}

/// A file as editors give it to a validator; `None` where it is not TOML.
fn document(toml: &str) -> Option<Value> {
    let table = DeTable::parse(toml).ok()?;
    Some(json(&DeValue::Table(table.into_inner())))
}

fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix());
            Value::from(number.expect("64 bits"))
        }
        DeValue::Float(number) => Value::from(number.as_str().parse::<f64>().expect("a number")),
        DeValue::Boolean(value) => Value::from(*value),
        DeValue::Datetime(date) => Value::from(date.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => {
            let entry = |(name, value): (&toml::Spanned<_>, &toml::Spanned<_>)| {
                let name: &std::borrow::Cow<'_, str> = name.get_ref();
                (name.to_string(), json(value.get_ref()))
            };
            Value::Object(table.iter().map(entry).collect::<Map<_, _>>())
        }
    }
}

/// What a schema says against a file.
fn against(validator: &Validator, toml: &str) -> Vec<String> {
    let document = document(toml).expect("TOML");
    let errors = validator.iter_errors(&document);
    errors
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect()
}

/// The fenced blocks of a page, with the words after each fence, by the heading above them.
fn blocks(page: &'static str) -> Vec<(&'static str, &'static str, String)> {
    let mut blocks = Vec::new();
    let mut heading = "";
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix("### ") {
            heading = text;
        }
        if let Some(kind) = line.strip_prefix("```") {
            let inside = lines.by_ref().take_while(|line| *line != "```");
            let text: String = inside.flat_map(|line| [line, "\n"]).collect();
            blocks.push((heading, kind, text));
        }
    }
    blocks
}

#[test]
fn what_is_committed_is_what_is_printed_and_a_draft_that_editors_read() {
    for (of, committed, place) in FILES {
        let printed = printed(&["schema", of]);
        assert!(
            printed == committed,
            "{place} is written anew by: cargo run -- schema {of} > {place}"
        );
        let schema: Value = serde_json::from_str(committed).unwrap();
        assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
        assert!(jsonschema::meta::is_valid(&schema), "{of}");
    }
    assert_eq!(
        printed(&["schema"]),
        FILES[0].1,
        "main is what is printed if nothing is said"
    );
}

#[test]
fn both_samples_and_what_init_writes_name_their_schema_and_are_taken_by_it() {
    let made = tempfile::tempdir().unwrap();
    let folder = made.path().to_str().expect("a path of text");
    let init = ["init", folder, "--upstream", "http://127.0.0.1:9000"];
    assert!(keygate(&init, Stdio::null()).status.success());
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for folder in [samples.as_path(), made.path()] {
        for (of, name) in [("main", "keygate"), ("routes", "routes")] {
            let file = folder.join(format!("{name}.toml"));
            let text = std::fs::read_to_string(&file).unwrap();
            let schema = text
                .lines()
                .next()
                .and_then(|line| line.strip_prefix("#:schema "));
            assert_eq!(schema, Some(&*format!("./{name}.schema.json")), "{file:?}");
            let there = std::fs::read_to_string(folder.join(schema.unwrap())).unwrap();
            assert!(there == printed(&["schema", of]), "{file:?}");
            assert_eq!(against(&validator(of), &text), [""; 0], "{file:?}");
        }
    }
}

#[test]
fn what_the_readme_configures_is_taken() {
    let mut taken = 0;
    for (_, kind, text) in blocks(README) {
        if let Some(of @ ("main" | "routes")) = kind.strip_prefix("toml ") {
            assert_eq!(against(&validator(of), &text), [""; 0], "{text}");
            taken += 1;
        }
    }
    assert!(taken > 10, "{taken}");
}

/// What the schema is to say as well, of what `keygate check` says.
const SAID_BY_BOTH: [&str; 9] = [
    "unknown field",
    " is none of ",
    " is out of bounds",
    " is a text; expected",
    " is a whole number; expected",
    " is a number with a fraction; expected",
    " is true or false; expected",
    " is a list; expected",
    " is a table; expected",
];

#[test]
fn the_page_of_messages_has_nothing_that_loads_and_is_refused_nor_the_other_way_round() {
    let (main, routes) = (validator("main"), validator("routes"));
    let (mut loads, mut refused) = (0, 0);
    let mut against_case: Vec<String> = Vec::new();
    for (case, kind, text) in blocks(MESSAGES) {
        if let Some(file) = kind.strip_prefix("toml ") {
            let of = match file {
                "main" | "process" => &main,
                _ => &routes,
            };
            match document(&text) {
                Some(document) => {
                    let errors = of.iter_errors(&document);
                    against_case.extend(errors.map(|e| e.to_string()));
                }
                None => against_case.push("not TOML".to_owned()),
            }
            continue;
        }
        if kind != "text" {
            continue;
        }
        let against = std::mem::take(&mut against_case);
        if SAID_BY_BOTH.iter().any(|said| text.contains(said)) {
            assert!(!against.is_empty(), "{case}: the schema takes it\n{text}");
            refused += 1;
        } else if !text.contains(": error: ") {
            assert_eq!(against, [""; 0], "{case}");
            loads += 1;
        }
    }
    assert!(loads > 10 && refused > 10, "{loads} {refused}");
}

#[test]
fn what_is_wrong_by_itself_is_refused_where_it_stands() {
    const UPSTREAM: &str = "[upstreams.chat]\nservers = [\"http://127.0.0.1:9000\"]\n";
    const ROUTE: &str = "[scopes]\nfullAccess = []\n[defaults]\nupstream = \"chat\"\n[[routes]]\npath = \"/{*rest}\"\nscope = \"fullAccess\"\n";
    let (main, routes) = (validator("main"), validator("routes"));
    for (of, text, place) in [
        // A field that there is not.
        ("main", "[sever]\n", ""),
        (
            "main",
            "[server]\nlisten = [\"127.0.0.1:1\"]\nworker = 2\n",
            "/server",
        ),
        ("main", "[timeouts]\nbdoy = \"30s\"\n", "/timeouts"),
        ("main", "[lints]\npublic-rute = \"warn\"\n", "/lints"),
        (
            "main",
            "[upstreams.b]\nservers = \"http://b\"\nhealth = { path = \"/\", evry = \"5s\" }\n",
            "/upstreams/b/health",
        ),
        ("routes", "method = [\"GET\"]\n", "/routes/0"),
        (
            "routes",
            "timeouts = { idle = \"1s\" }\n",
            "/routes/0/timeouts",
        ),
        (
            "routes",
            "headers.respons = { remove = [\"Server\"] }\n",
            "/routes/0/headers",
        ),
        (
            "routes",
            "cors = { origins = [\"*\"], management = true }\n",
            "/routes/0/cors",
        ),
        ("routes", "[server]\nworkers = 2\n", ""),
        // A word that there is not.
        ("main", "[log]\naccess = \"al\"\n", "/log/access"),
        ("main", "[keys]\nreveal = \"never\"\n", "/keys/reveal"),
        ("main", "[reload]\nwidening = \"ask\"\n", "/reload/widening"),
        (
            "main",
            "[lints]\npublic-route = \"loud\"\n",
            "/lints/public-route",
        ),
        (
            "routes",
            "allow = [\"encoded-slas\"]\n",
            "/routes/0/allow/0",
        ),
        ("routes", "methods = [\"get\"]\n", "/routes/0/methods/0"),
        ("routes", "methods = [\"TRACE\"]\n", "/routes/0/methods/0"),
        // Another type, another form.
        ("main", "server = 1\n", "/server"),
        ("main", "[server]\ndumpable = \"no\"\n", "/server/dumpable"),
        ("main", "[timeouts]\nbody = 30\n", "/timeouts/body"),
        ("main", "[timeouts]\nbody = \"30 sec\"\n", "/timeouts/body"),
        ("main", "[timeouts]\nbody = \"0s\"\n", "/timeouts/body"),
        (
            "main",
            "[limits]\nbody_bytes = \"1 stone\"\n",
            "/limits/body_bytes",
        ),
        ("main", "[limits]\nstreams = 0\n", "/limits/streams"),
        ("main", "[limits]\nheaders = 1001\n", "/limits/headers"),
        ("main", "[server]\nlisten = []\n", "/server/listen"),
        (
            "main",
            "[server]\nlisten = [\"8080\"]\n",
            "/server/listen/0",
        ),
        (
            "main",
            "[upstreams.b]\nservers = [\"http://b/v3\"]\n",
            "/upstreams/b/servers/0",
        ),
        (
            "main",
            "[upstreams.\"a b\"]\nservers = [\"http://b\"]\n",
            "/upstreams",
        ),
        ("routes", "rate = \"5/d\"\n", "/routes/0/rate"),
        ("routes", "streams = true\n", "/routes/0/streams"),
        ("routes", "retries = 3\n", "/routes/0/retries"),
        (
            "routes",
            "strip_prefix = \"/{*rest}/\"\n",
            "/routes/0/strip_prefix",
        ),
        // Fields that go together.
        (
            "main",
            "[server]\ntls = { cert = \"a.pem\" }\n",
            "/server/tls",
        ),
        ("main", "[server]\ntls_min_version = \"1.3\"\n", "/server"),
        ("main", "[upstreams.b]\nconnections = 3\n", "/upstreams/b"),
        (
            "main",
            "[upstreams.b]\nservers = \"http://b\"\nqueue = { size = 3 }\n",
            "/upstreams/b",
        ),
        ("main", "[cors]\nmax_age = \"1m\"\n", "/cors"),
        ("routes", "access = \"public\"\n", "/routes/0"),
        ("routes", "[[routes]]\npath = \"/a\"\n", "/routes/1"),
        (
            "routes",
            "[[routes]]\nscope = \"fullAccess\"\n",
            "/routes/1",
        ),
        ("routes", "[[expect]]\nrequest = \"GET /a\"\n", "/expect/0"),
        (
            "routes",
            "[[expect]]\nrequest = \"GET /a\"\nallow = [\"fullAccess\"]\nstatus = 403\n",
            "/expect/0",
        ),
    ] {
        let (loaded, said) = match of {
            "main" => {
                let whole = format!("{text}{UPSTREAM}{ROUTE}");
                (load_texts(&whole, &[]), against(&main, &whole))
            }
            _ => {
                let (head, whole) = (
                    format!("include = \"r.toml\"\n{UPSTREAM}"),
                    format!("{ROUTE}{text}"),
                );
                (
                    load_texts(&head, &[("r.toml", &whole)]),
                    against(&routes, &whole),
                )
            }
        };
        assert!(loaded.is_err(), "it loads: {text}");
        let here = said
            .iter()
            .any(|said| said.starts_with(&format!("{place}: ")));
        assert!(here, "{text}is to be refused at {place:?}: {said:?}");
        assert_eq!(said.len(), 1, "{text}{said:?}");
    }
    // What is added is what is refused.
    assert_eq!(against(&main, &format!("{UPSTREAM}{ROUTE}")), [""; 0]);
    assert_eq!(against(&routes, ROUTE), [""; 0]);
}

#[test]
fn what_cannot_be_written_or_is_asked_wrongly_has_its_exit_code() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = keygate(&["schema"], full.into());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("standard output cannot be written"), "{said}");
    let output = keygate(&["schema", "keys"], Stdio::piped());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("main, routes"), "{said}");
    let help = printed(&["schema", "--help"]);
    assert!(
        help.contains("keygate schema routes > routes.schema.json"),
        "{help}"
    );
}
