//! What keygate says of a faulty or doubtful configuration, word for word: the cases of `tests/diagnostics/PAGE.md`.
//!
//! A case is a heading, files, and what `keygate check` says of them. The words after the fence of a file say what it is:
//! `toml main` is all of `keygate.toml`; `toml process` stands before the rest of one that is fine, `toml routes` is a
//! `routes.toml` beside scopes and a default upstream, `toml more` one beside a route for everything as well, `toml NAME`
//! another file. `KEYGATE_BLESS=1 cargo test --test diagnostics` writes the page anew;
//! then read what changed: each message says where, what, and what to write instead.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

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
    /// Each with the words after its fence.
    files: Vec<(String, String)>,
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
                match kind.strip_prefix("toml ") {
                    Some(file) => case.files.push((file.to_owned(), std::mem::take(text))),
                    None => case.said = std::mem::take(text),
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
                for (kind, file) in &case.files {
                    let _ = write!(text, "```toml {kind}\n{file}```\n\n");
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
        for (kind, text) in &self.files {
            match kind.as_str() {
                "main" => put("keygate.toml", text),
                "process" => put(
                    "keygate.toml",
                    &format!("{text}\n{UPSTREAM}\n{SCOPE}\n{REST}"),
                ),
                "routes" | "more" => {
                    put("routes.toml", text);
                    let base = match kind.as_str() {
                        "more" => format!("{SCOPES}{REST}"),
                        _ => format!("{SCOPES}{DEFAULTS}"),
                    };
                    put("base.toml", &base);
                    let include = "include = [\"routes.toml\", \"base.toml\"]\n";
                    // Not every case has a use for both scopes.
                    let lints = "[lints]\nunused-scope = \"allow\"\n";
                    put("keygate.toml", &format!("{include}{UPSTREAM}{lints}"));
                }
                name => put(name, text),
            }
        }
        check(folder.path())
    }
}

fn check(folder: &Path) -> String {
    let checked = Command::new(env!("CARGO_BIN_EXE_keygate"))
        .arg("check")
        .current_dir(folder)
        .env_remove("KEYGATE_CONFIG")
        .env_remove("KEYGATE_SECRET")
        .output()
        .expect("keygate");
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
