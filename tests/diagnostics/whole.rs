//! The page has every message of the loader and of the linter: what their sources can say is looked for on it.
//!
//! Read is all of the floors below [`READ`] but what [`NOT_READ`] names, so a new file is read, and a new text in it is missed
//! here, until the page has a case for it. A text is shown where one line of the page has its pieces in their order.
//! [`NOT_SHOWN`] are texts that no files make `check` say, each with the reason; one that the page has, or no source, may not
//! stand there.

use super::texts::{Text, says, texts};
use super::{PAGE, Piece, read};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where messages about a configuration come from.
const READ: [&str; 8] = [
    "config",
    "policy",
    "tls",
    "http",
    "key/scope.rs",
    "private.rs",
    "admin/token.rs",
    "cli/check/mod.rs",
];

/// Of these, what speaks of something else.
const NOT_READ: [(&str, &str); 15] = [
    ("config/hash.rs", "arguments of commands"),
    ("config/hints.rs", "the log"),
    ("config/kept.rs", "generations that were in force"),
    ("config/live/", "the log, and answers to operators"),
    ("config/schema/", "what `keygate schema` prints"),
    ("config/start.rs", "what a start begins with"),
    ("config/waiting.rs", "what an operator has to confirm"),
    ("policy/diff/", "what `keygate diff` tells"),
    ("policy/form.rs", "a policy that a gateway told"),
    ("policy/trace.rs", "what `keygate explain` tells"),
    ("tls/stream.rs", "handshakes"),
    // Modules that are tests as a whole.
    ("config/live_tests.rs", "tests"),
    ("config/robustness.rs", "tests"),
    ("config/tests.rs", "tests"),
    ("policy/testing.rs", "tests"),
];

/// What no files make `check` say, by the reason.
const NOT_SHOWN: [(&str, &[&str]); 11] = [
    (
        "the reader of the files says it first, in its own words",
        &[
            "a path starts with `/`",
            "a route has at least one path",
            "a route has at least one method; none written means the usual seven",
            "a route has at least one scope; `access = \"deny\"` closes it for everyone",
            "it is refused everywhere",
            "it is refused, and a WebSocket over HTTP/2 is judged as GET",
            "the scope `{scope}` includes `{includes}`, which is not declared",
        ],
    ),
    (
        "of a request an expectation has a method, a host and a target, without a limit",
        &[
            "the target is longer than the limit",
            "the target is an absolute URI whose host is not the one in `Host`",
            "the target has no path",
            "the head has more header lines than the limit",
            "the head has more bytes than the limit",
            "a header name has an underscore",
            "a header name has a quotation mark, which no name of HTTP/1.1 has",
            "a header value begins or ends with a blank",
            "the length of the body is not given in one way: one `Content-Length`, or `Transfer-Encoding: chunked`",
            "the only expectation that can be met is `100-continue`",
            "a request has a `Host` header",
            "a request has one `Host` header",
            "`Host` is `host` or `host:port`, without user, comma, path or blank",
        ],
    ),
    (
        "the parser's words, which are compared and not said",
        &[
            "unclosed array",
            "unclosed inline table",
            "invalid multi-line basic string",
            "invalid multi-line literal string",
            "duplicate key",
            "string values must be quoted, expected literal string",
            "string values must be quoted",
            "invalid basic string",
            "unclosed table",
            "key with no value",
        ],
    ),
    (
        "a folder that cannot be listed: there is none for root, whom the tests may run as",
        &["the pattern cannot be followed: {error}"],
    ),
    (
        "more than a thousand problems, or routes without number",
        &[
            "there are {more} more problems; this may be no configuration at all",
            "there are {more} more problems",
            "not all routes were looked at: some that a broader one makes pointless may not be named",
            "the routes overlap in so many ways that not all were compared: warnings about access that widens may be missing",
        ],
    ),
    (
        "what a library refuses that was given what it takes",
        &[
            "the clients' root certificates cannot be used: {0}",
            "TLS cannot be set up: {0}",
            "TLS cannot be set up: {error}",
        ],
    ),
    (
        "a system without threads or sockets",
        &["the key store cannot be looked into: {error}"],
    ),
    (
        "a start makes the token's file; `check` makes none, and does not miss it",
        &[
            "the token's file {0:?} does not exist; `keygate run` makes it where `[admin] token` names one",
            "the token's file {0:?} cannot be made",
        ],
    ),
    (
        "a gateway has run before: `tests/operator.rs` shows it",
        &[
            "generation {generation} is pinned: `run` starts with it, not with these files",
            "{why}: so these files wait to be confirmed, by `keygate reload --confirm {hash}`",
        ],
    ),
    (
        "said elsewhere: to clients, on the status page",
        &["This API is under maintenance.", "{}: {} (and {more} more)"],
    ),
    (
        "of the program itself",
        &[
            "a part of what was one already",
            "a proof is used with the policy that made it: a request works with one snapshot",
            "0beside it0",
        ],
    ),
];

fn excuses() -> impl Iterator<Item = &'static str> {
    NOT_SHOWN
        .iter()
        .flat_map(|(_, texts)| texts.iter().copied())
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The files that are read, by their path below `src`.
fn files() -> Vec<(String, String)> {
    fn walk(path: &Path, into: &mut Vec<PathBuf>) {
        if path.is_dir() {
            let entries = fs::read_dir(path).expect("a folder");
            let mut paths: Vec<_> = entries
                .map(|entry| entry.expect("an entry").path())
                .collect();
            paths.sort();
            paths.iter().for_each(|path| walk(path, into));
        } else {
            into.push(path.to_owned());
        }
    }
    let mut found = Vec::new();
    READ.iter()
        .for_each(|name| walk(&sources().join(name), &mut found));
    let name = |path: &Path| {
        path.strip_prefix(sources())
            .expect("below")
            .display()
            .to_string()
    };
    let named = found.iter().map(|path| (name(path), path));
    let read = named.filter(|(name, _)| !NOT_READ.iter().any(|(not, _)| name.starts_with(not)));
    read.map(|(name, path)| (name, fs::read_to_string(path).expect("a source")))
        .collect()
}

/// The lines that the page has `keygate check` say.
fn said() -> Vec<String> {
    let page = fs::read_to_string(PAGE).expect("the page");
    let cases = read(&page).into_iter().filter_map(|piece| match piece {
        Piece::Case(case) => Some(case.said),
        Piece::Text(_) => None,
    });
    cases
        .flat_map(|said| said.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The texts of a source that no line says.
fn unsaid(source: &str, lines: &[String]) -> Vec<Text> {
    let all = texts(source).into_iter();
    all.filter(|text| !lines.iter().any(|line| says(line, &text.text)))
        .collect()
}

#[test]
fn the_page_shows_every_message_of_loader_and_linter() {
    let lines = said();
    let (mut read, mut missed, mut excused) = (0, String::new(), BTreeSet::new());
    for (name, source) in files() {
        read += texts(&source).len();
        for Text { line, text } in unsaid(&source, &lines) {
            if excuses().any(|not| not == text) {
                excused.insert(text);
            } else {
                missed.push_str(&format!("src/{name}:{line}: {text}\n"));
            }
        }
    }
    assert!(read > 300, "{read} texts");
    assert!(
        missed.is_empty(),
        "write a case for each into {PAGE}, or say in NOT_SHOWN why there can be none:\n{missed}"
    );
    for text in excuses() {
        assert!(excused.contains(text), "{text:?} is shown, or said nowhere");
    }
    for (name, _) in NOT_READ {
        assert!(sources().join(name).exists(), "there is no src/{name}");
    }
}

#[test]
fn a_message_that_the_page_does_not_show_is_missed() {
    let lines = ["a.toml:1:2: error: `a.b` is 7; expected a list".to_owned()];
    for (source, missed) in [
        (r#"problem("`{}` is {}; expected a list")"#, &[][..]),
        (
            r#"problem("`{}` is {}; expected a table")"#,
            &["`{}` is {}; expected a table"],
        ),
        // In another order, and a word that only begins like it.
        (
            r#"problem("expected a list; `{}`")"#,
            &["expected a list; `{}`"],
        ),
        (r#"problem("expected a li")"#, &["expected a li"]),
        // One that is new in a file of others, and one over two lines.
        ("a(\"expected a list\");\nb(\"new {x}\")", &["new {x}"]),
        ("#[error(\n    \"it is \\\n     new\"\n)]", &["it is new"]),
        // Behind what is hard to read.
        (
            r#"let c = '"'; let d = '\''; let e: &'a str = "no list";"#,
            &["no list"],
        ),
        (
            r#"f("a \" b\\"); g('\u{22}', "no list")"#,
            &["a \" b\\", "no list"],
        ),
        // What is said of no configuration.
        ("// \"not this\"\nx.expect(\"nor this\"); y(\"word\")", &[]),
        (
            "a();\n#[cfg(test)]\nmod tests {\n    b(\"not this\")\n}\nc(\"but this\")",
            &["but this"],
        ),
    ] {
        let found: Vec<String> = unsaid(source, &lines).into_iter().map(|t| t.text).collect();
        assert_eq!(found, missed, "{source}");
    }
}
