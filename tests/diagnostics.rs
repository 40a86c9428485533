//! What keygate says of a faulty or doubtful configuration, word for word: the cases of `tests/diagnostics/PAGE.md`.
//!
//! A case is a heading, files, and what `keygate check` says of them. The words after the fence of a file say what it is:
//! `toml main` is all of `keygate.toml`; `toml process` stands before the rest of one that is fine, `toml routes` is a
//! `routes.toml` beside scopes and a default upstream, `toml more` one beside a route for everything as well, `toml NAME`
//! another file, `file NAME` one that is not TOML. What no text makes, a folder or a certificate, stands after the fence
//! `given`, as [`given`] has it. [`whole`] sees to it that no message is left out.
//!
//! `KEYGATE_BLESS=1 cargo test --test diagnostics` writes the page anew; then read what changed: each message says where,
//! what, and what to write instead.

#[path = "diagnostics/given.rs"]
mod given;
#[path = "diagnostics/texts.rs"]
mod texts;
#[path = "diagnostics/whole.rs"]
mod whole;

use given::Environment;
use std::fmt::Write;
use std::path::Path;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/diagnostics/PAGE.md");

const UPSTREAM: &str = "[upstreams.chat]\nservers = [\"http://127.0.0.1:9000\"]\n";
const SCOPES: &str = "[scopes]\nauthOnly = []\nfullAccess = [\"authOnly\"]\n";
const SCOPE: &str = "[scopes]\nfullAccess = []\n";
const DEFAULTS: &str = "[defaults]\nupstream = \"chat\"\n";
const REST: &str =
    "[defaults]\nupstream = \"chat\"\n\n[[routes]]\npath = \"/{*rest}\"\nscope = \"fullAccess\"\n";

/// One case.
#[derive(Default)]
struct Case {
    name: String,
    /// What there is, in the order in which it is made: each with the words after its fence.
    there: Vec<(String, String)>,
    said: String,
}

/// The page in pieces: text that is kept, and cases.
enum Piece {
    Text(String),
    Case(Case),
}

fn read(page: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut case: Option<Case> = None;
    let mut fence: Option<(String, String)> = None;
    for line in page.lines() {
        if let Some((kind, text)) = &mut fence {
            if line == "```" {
                let case = case.as_mut().expect("a fence stands in a case");
                match kind.as_str() {
                    "text" => case.said = std::mem::take(text),
                    kind => case.there.push((kind.to_owned(), std::mem::take(text))),
                }
                fence = None;
            } else {
                text.push_str(line);
                text.push('\n');
            }
        } else if let Some(name) = line.strip_prefix("### ") {
            pieces.extend(case.take().map(Piece::Case));
            case = Some(Case {
                name: name.to_owned(),
                ..Case::default()
            });
        } else if let Some(kind) = line.strip_prefix("```") {
            fence = Some((kind.to_owned(), String::new()));
        } else if case.is_none() || line.starts_with("## ") {
            pieces.extend(case.take().map(Piece::Case));
            pieces.push(Piece::Text(line.to_owned()));
        }
    }
    pieces.extend(case.take().map(Piece::Case));
    pieces
}

fn write(pieces: &[Piece]) -> String {
    let mut page = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(line) => writeln!(page, "{line}"),
            Piece::Case(case) => {
                let mut text = format!("### {}\n\n", case.name);
                for (kind, there) in &case.there {
                    let _ = write!(text, "```{kind}\n{there}```\n\n");
                }
                write!(page, "{text}```text\n{}```\n\n", case.said)
            }
        }
        .expect("a string can be written to");
    }
    page
}

impl Case {
    /// What `keygate check` says.
    fn check(&self) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("write");
        };
        let mut environment = Environment::default();
        for (kind, text) in &self.there {
            match kind.split_once(' ').unwrap_or((kind, "")) {
                ("given", _) => text
                    .lines()
                    .for_each(|line| environment.give(line, folder.path())),
                ("toml", "main") => put("keygate.toml", text),
                ("toml", "process") => put(
                    "keygate.toml",
                    &format!("{text}\n{UPSTREAM}\n{SCOPE}\n{REST}"),
                ),
                ("toml", name @ ("routes" | "more")) => {
                    put("routes.toml", text);
                    let base = match name {
                        "more" => format!("{SCOPES}{REST}"),
                        _ => format!("{SCOPES}{DEFAULTS}"),
                    };
                    put("base.toml", &base);
                    let include = "include = [\"routes.toml\", \"base.toml\"]\n";
                    // Not every case has a use for both scopes.
                    let lints = "[lints]\nunused-scope = \"allow\"\n";
                    put("keygate.toml", &format!("{include}{UPSTREAM}{lints}"));
                }
                (_, name) => put(name, text),
            }
        }
        check(folder.path(), &environment)
    }
}

fn check(folder: &Path, environment: &Environment) -> String {
    let checked = environment.keygate(folder).arg("check").output();
    let checked = checked.expect("keygate");
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8(said).expect("text");
    // No machine's own paths.
    let folder = std::fs::canonicalize(folder).expect("a path");
    said.replace(&format!("{}/", folder.display()), "")
}

#[test]
fn every_case_of_the_page_is_said_as_it_stands_there() {
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let mut pieces = read(&page);
    let bless = std::env::var_os("KEYGATE_BLESS").is_some();
    let (mut cases, mut wrong) = (0, Vec::new());
    for piece in &mut pieces {
        let Piece::Case(case) = piece else {
            continue;
        };
        cases += 1;
        let said = case.check();
        if bless {
            case.said = said;
        } else if said != case.said {
            wrong.push(format!(
                "### {}\n--- shown\n{}--- said\n{said}",
                case.name, case.said
            ));
        }
    }
    assert!(cases > 100, "{cases} cases");
    assert_eq!(wrong, [""; 0], "\n{}", wrong.join("\n"));
    if bless {
        std::fs::write(PAGE, write(&pieces)).expect("write");
    } else {
        assert_eq!(
            write(&pieces),
            page,
            "the page is written as it would be anew"
        );
    }
}
