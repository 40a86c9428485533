//! The house stands: a module names only floors below its own, and each module says what it is for.
//!
//! The sources are read as text. Comments, doc comments and the insides of strings are left out, and what remains is
//! searched for paths: `crate::x`, `keygate::x`, `super::…::x` as far as they lead out of a floor, and each name in
//! `use crate::{x::…, y}`. `main.rs` stands outside the house.

use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up.
const FLOORS: [&str; 23] = [
    "clock",
    "private",
    "log",
    "deadline",
    "net",
    "tls",
    "key",
    "http",
    "store",
    "keycache",
    "policy",
    "config",
    "openapi",
    "upstream",
    "proxy",
    "management",
    "gateway",
    "server",
    "explain",
    "admin",
    "demo",
    "load",
    "cli",
];

/// One path that points to a floor.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Reference {
    line: usize,
    floor: String,
}

/// The text with comments and the insides of strings and character literals blanked; lines stay where they are.
fn without_comments_and_strings(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut i = 0;
    while i < chars.len() {
        let rest = &chars[i..];
        let end = i + match rest {
            ['/', '/', ..] => line_comment(rest),
            ['/', '*', ..] => block_comment(rest),
            ['"', ..] => string(rest),
            ['r', '"' | '#', ..] if !is_word(&chars, i) => raw_string(rest, 1),
            ['b', 'r', '"' | '#', ..] if !is_word(&chars, i) => raw_string(rest, 2),
            ['\'', '\\', ..] => {
                2 + rest[2..]
                    .iter()
                    .skip(1)
                    .position(|c| *c == '\'')
                    .map_or(0, |at| at + 2)
            }
            ['\'', _, '\'', ..] => 3,
            _ => 0,
        };
        if end == i {
            out.push(chars[i]);
            i += 1;
        } else {
            let end = end.min(chars.len());
            out.extend(
                chars[i..end]
                    .iter()
                    .map(|c| if *c == '\n' { '\n' } else { ' ' }),
            );
            i = end;
        }
    }
    out
}

/// Whether the character at `i` goes on with a word.
fn is_word(chars: &[char], i: usize) -> bool {
    i > 0 && (chars[i - 1].is_alphanumeric() || chars[i - 1] == '_')
}

fn line_comment(rest: &[char]) -> usize {
    rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut i) = (0, 0);
    while i < rest.len() {
        match rest[i..] {
            ['/', '*', ..] => (depth, i) = (depth + 1, i + 2),
            ['*', '/', ..] => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    i
}

fn string(rest: &[char]) -> usize {
    let mut i = 1;
    while i < rest.len() {
        match rest[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    i
}

/// `r"…"`, `r#"…"#`; nothing for a raw identifier.
fn raw_string(rest: &[char], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&'"') {
        return 0;
    }
    let closing: Vec<char> = std::iter::once('"')
        .chain(std::iter::repeat_n('#', hashes))
        .collect();
    let body = &rest[open + 1..];
    let at = body
        .windows(closing.len())
        .position(|window| window == closing);
    at.map_or(rest.len(), |at| open + 1 + at + closing.len())
}

/// Every floor that the source of a module names, where `depth` is how many modules deep below the crate it is.
fn references(source: &str, depth: usize) -> Vec<Reference> {
    let text = without_comments_and_strings(source);
    let tokens = tokens(&text);
    let mut found = Vec::new();
    // Inside `mod tests { … }` and the like, `super` leads less far out.
    let mut inner: Vec<usize> = Vec::new();
    let mut braces = 0;
    let mut i = 0;
    while i < tokens.len() {
        match tokens[i].0 {
            "{" => {
                braces += 1;
                if i >= 2 && tokens[i - 2].0 == "mod" {
                    inner.push(braces);
                }
            }
            "}" => {
                if inner.last() == Some(&braces) {
                    inner.pop();
                }
                braces -= 1;
            }
            word @ ("crate" | "keygate" | "super") => {
                let mut ups = usize::from(word == "super");
                let mut at = i + 1;
                while tokens.get(at).map(|t| t.0) == Some("::")
                    && tokens.get(at + 1).map(|t| t.0) == Some("super")
                {
                    ups += 1;
                    at += 2;
                }
                let to_the_root = word != "super" || ups == depth + inner.len();
                if to_the_root && tokens.get(at).map(|t| t.0) == Some("::") {
                    names_after(&tokens, at + 1, &mut found);
                }
                i = at;
                continue;
            }
            _ => {}
        }
        i += 1;
    }
    found
}

/// The first names of what follows `crate::`: one, or each of a group.
fn names_after(tokens: &[(&str, usize)], at: usize, found: &mut Vec<Reference>) {
    let mut note = |(text, line): (&str, usize)| {
        // A glob of the crate brings every floor in.
        let text = if text == "*" {
            FLOORS[FLOORS.len() - 1]
        } else {
            text
        };
        if FLOORS.contains(&text) {
            found.push(Reference {
                line,
                floor: text.to_owned(),
            });
        }
    };
    match tokens.get(at) {
        Some(("{", _)) => {
            let mut depth = 0;
            for i in at..tokens.len() {
                match tokens[i].0 {
                    "{" => depth += 1,
                    "}" if depth == 1 => break,
                    "}" => depth -= 1,
                    _ if depth == 1 && matches!(tokens[i - 1].0, "{" | ",") => note(tokens[i]),
                    _ => {}
                }
            }
        }
        Some(first) => note(*first),
        None => {}
    }
}

/// Words, `::` and single other characters, each with its line; a raw identifier is its name.
fn tokens(text: &str) -> Vec<(&str, usize)> {
    let mut tokens = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            rest = rest.strip_prefix("r#").unwrap_or(rest);
            let word = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            let length = match word {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                word => word,
            };
            tokens.push((&rest[..length], number + 1));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// Everything in a module's source that points up, as sentences.
fn pointing_up(module: &str, path: &str, depth: usize, source: &str) -> Vec<String> {
    let level = |name: &str| FLOORS.iter().position(|floor| *floor == name);
    let own =
        level(module).unwrap_or_else(|| panic!("{path}: `{module}` is no floor of the house"));
    let up = references(source, depth)
        .into_iter()
        .filter(|r| level(&r.floor) > Some(own));
    up.map(|r| {
        format!(
            "{path}:{}: {module} names {}, which stands above it",
            r.line, r.floor
        )
    })
    .collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn house() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.sort();
    let relative = files.into_iter().map(|file| {
        let source = fs::read_to_string(&file).unwrap();
        (file.strip_prefix(&root).unwrap().to_owned(), source)
    });
    relative.collect()
}

#[test]
fn no_module_names_a_floor_above_its_own() {
    let mut wrong = Vec::new();
    for (file, source) in house() {
        let parts: Vec<&str> = file.iter().map(|part| part.to_str().unwrap()).collect();
        let first = parts[0].trim_end_matches(".rs");
        if matches!(first, "main" | "lib") {
            continue;
        }
        // `policy/mod.rs` and `clock.rs` are one module deep, `policy/tree.rs` two.
        let depth =
            parts.len() - usize::from(parts.len() > 1 && parts[parts.len() - 1] == "mod.rs");
        wrong.extend(pointing_up(
            first,
            &file.display().to_string(),
            depth,
            &source,
        ));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_floor_is_in_the_house_and_in_the_list() {
    let lib = house()
        .into_iter()
        .find(|(file, _)| file == Path::new("lib.rs"))
        .unwrap()
        .1;
    let lib = without_comments_and_strings(&lib);
    let declared = lib.lines().filter_map(|line| {
        let rest = line
            .trim()
            .trim_start_matches("pub ")
            .strip_prefix("mod ")?;
        Some(rest.trim_end_matches(';').to_owned())
    });
    let mut declared: Vec<String> = declared.collect();
    declared.sort();
    let mut floors = FLOORS.map(str::to_owned).to_vec();
    floors.sort();
    assert_eq!(declared, floors);
}

#[test]
fn the_essay_of_the_house_lists_the_floors_from_the_ground_up() {
    let lib = include_str!("../src/lib.rs");
    let listed = lib.lines().filter_map(|line| {
        let (floor, _) = line.strip_prefix("//! | [`")?.split_once("`]")?;
        Some(floor)
    });
    assert_eq!(listed.collect::<Vec<_>>(), FLOORS);
}

#[test]
fn every_module_opens_with_an_essay() {
    let silent: Vec<String> = (house().into_iter())
        .filter(|(file, _)| {
            file.file_name().is_some_and(|name| name == "mod.rs") || file.iter().count() == 1
        })
        .filter(|(file, _)| file != Path::new("main.rs"))
        .filter(|(_, source)| {
            let first = source
                .lines()
                .find(|line| !line.starts_with("#!["))
                .unwrap_or_default();
            !first.starts_with("//! ")
        })
        .map(|(file, _)| file.display().to_string())
        .collect();
    assert!(silent.is_empty(), "without an essay: {}", silent.join(", "));
}

#[test]
fn the_check_finds_a_path_that_points_up_in_every_form() {
    // A line of `policy/tree.rs`, and the floor above policy that it names.
    for (line, expected) in [
        ("use crate::gateway::Stack;", Some("gateway")),
        ("use crate::{key::KeyId, config::Hot};", Some("config")),
        (
            "use crate::{\n    key::{self, KeyId},\n    cli,\n};",
            Some("cli"),
        ),
        ("use super::super::server::Worker;", Some("server")),
        ("use super::super::{key, admin};", Some("admin")),
        (
            "mod tests { use super::super::super::proxy::x; }",
            Some("proxy"),
        ),
        ("let x = crate :: proxy :: forward();", Some("proxy")),
        ("use ::keygate::demo;", Some("demo")),
        ("fn f(x: &crate::config::Hot) {}", Some("config")),
        (
            "fn f() -> Vec<crate::management::Request> {}",
            Some("management"),
        ),
        ("use crate::r#gateway::x;", Some("gateway")),
        ("let s = \"quoted \\\" text\"; use crate::cli;", Some("cli")),
        ("let c = '\"'; use crate::cli;", Some("cli")),
        ("let c = '\\''; use crate::cli;", Some("cli")),
        ("fn f<'a>(x: &'a str) { crate::cli::f(x) }", Some("cli")),
        ("/* nested /* comment */ */ use crate::cli;", Some("cli")),
        ("use crate::*;", Some("cli")),
        ("use crate::key::KeyId;", None),
        ("use crate::key::*;", None),
        ("use crate::policy::Policy;", None),
        ("use super::server::Worker;", None),
        ("use super::super::key;", None),
        ("mod tests { use super::super::server::x; }", None),
        ("// use crate::gateway::Stack;", None),
        ("/// See [`crate::gateway::Stack`].", None),
        ("//! crate::gateway", None),
        ("/* crate::gateway */", None),
        ("let s = \"crate::gateway\";", None),
        ("let s = r#\"a \" crate::gateway\"#;", None),
        ("use other::crate_gateway;", None),
        ("use http::Method; use tower::gateway;", None),
        ("use crate::key::{admin, cli};", None),
    ] {
        let got = pointing_up("policy", "policy/tree.rs", 2, line);
        match expected {
            None => assert!(got.is_empty(), "{line}: {got:?}"),
            Some(floor) => {
                assert_eq!(got.len(), 1, "{line}: {got:?}");
                assert!(
                    got[0].contains(&format!("names {floor},")),
                    "{line}: {got:?}"
                );
            }
        }
    }
}
