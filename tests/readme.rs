//! What the README says is true: its blocks run.
//!
//! The words after a block's opening fence say what it is:
//!
//! | fence | what is held |
//! | --- | --- |
//! | `toml routes`, `toml main` | a whole `routes.toml`, or `keygate.toml`, that loads |
//! | `toml routes wrong`, then `text check` | one that does not, and exactly what `keygate check` says of it |
//! | `console run` | each command gives what stands below it; `…` stands for anything |
//! | `console run eventually` | the same, in the end: a block that may be run again |
//! | `sh gateway` | the gateway runs from here on |
//! | `sh` | is a shell's language, and not run |
//! | `json` | each line is JSON |
//! | `ini`, `toml` | not looked at |
//!
//! All that runs does so in order, in one folder. Ports are free ones: where the page says 8080, 9901 and 9000, the
//! commands say the gateway's, the admin listener's and the upstream's.

mod support;

use keygate::config::{Hot, load_texts};
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use support::{Gateway, KEYGATE, PATIENCE, Upstream};

const README: &str = include_str!("../README.md");

/// What a `toml routes` block of the page is included by; and includes what a `toml main` block does.
const MAIN: &str = "include = [\"routes.toml\"]\n[upstreams.app]\nservers = [\"http://127.0.0.1:9000\"]\n[upstreams.reports]\nservers = [\"http://127.0.0.1:9100\"]\n";
const ROUTES: &str = "[scopes]\nfullAccess = []\n[defaults]\nupstream = \"app\"\n[[routes]]\npath = \"/{*rest}\"\nscope = \"fullAccess\"\n";

/// A fenced block.
struct Block {
    /// The line of its opening fence.
    line: usize,
    kind: &'static str,
    text: String,
}

fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (number, line) in README.lines().enumerate() {
        match (line.strip_prefix("```"), open) {
            (Some(kind), false) => {
                blocks.push(Block {
                    line: number + 1,
                    kind,
                    text: String::new(),
                });
                open = true;
            }
            (Some(_), true) => open = false,
            (None, true) => {
                let text = &mut blocks.last_mut().unwrap().text;
                text.push_str(line);
                text.push('\n');
            }
            (None, false) => {}
        }
    }
    assert!(!open, "the last block has no end");
    blocks
}

/// Whether the text is as shown, where `…` stands for anything.
fn is_as_shown(shown: &str, text: &str) -> bool {
    let (shown, text) = (shown.trim_end(), text.trim_end());
    let mut pieces = shown.split('…');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Each command of a console block, with what is shown below it.
fn commands(block: &Block) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in block.text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push((command.to_owned(), String::new()));
            continue;
        }
        let (command, shown) = (commands.last_mut())
            .unwrap_or_else(|| panic!("README.md:{}: begins without a command", block.line));
        match line.strip_prefix('>') {
            Some(more) if shown.is_empty() => {
                command.push('\n');
                command.push_str(more.strip_prefix(' ').unwrap_or(more));
            }
            _ => {
                shown.push_str(line);
                shown.push('\n');
            }
        }
    }
    commands
}

/// Where the page's commands run.
struct Stage {
    folder: tempfile::TempDir,
    upstream: Upstream,
    gateway: Option<Gateway>,
}

impl Stage {
    /// The page's text with the ports of this run.
    fn ported(&self, text: &str) -> String {
        let mut text = text.replace("127.0.0.1:9000", &self.upstream.address.to_string());
        if let Some(gateway) = &self.gateway {
            text = text.replace("127.0.0.1:8080", &gateway.address.to_string());
            text = text.replace("127.0.0.1:9901", &gateway.admin.to_string());
        }
        text
    }

    /// What a command prints, on standard output and standard error. Variables that it sets are there for the next.
    fn sh(&self, command: &str) -> String {
        let bin = Path::new(KEYGATE).parent().unwrap().display().to_string();
        let path = format!("{bin}:{}", std::env::var("PATH").unwrap_or_default());
        let kept = self.folder.path().join(".variables");
        let script = format!(
            "set -a\nexec 2>&1\n[ ! -e {kept:?} ] || . {kept:?}\n{}\nexport -p > {kept:?}\n",
            self.ported(command)
        );
        let mut sh = Command::new("sh");
        sh.args(["-c", &script]).current_dir(self.folder.path());
        sh.env("PATH", path)
            .env_remove("KEYGATE_SECRET")
            .env_remove("KEYGATE_CONFIG");
        // Where the configuration says 9901, the gateway has another port.
        match &self.gateway {
            Some(gateway) => sh.env("KEYGATE_ADMIN", format!("http://{}", gateway.admin)),
            None => sh.env_remove("KEYGATE_ADMIN"),
        };
        let output = sh.output().expect("sh runs");
        String::from_utf8(output.stdout)
            .expect("text")
            .replace('\r', "")
    }

    /// Runs a console block, and says what came out otherwise than shown.
    fn run(&self, block: &Block) -> Result<(), String> {
        for (command, shown) in commands(block) {
            let (shown, got) = (self.ported(&shown), self.sh(&command));
            if !is_as_shown(&shown, &got) {
                return Err(format!(
                    "README.md:{}\n$ {command}\n--- shown\n{shown}\n--- got\n{got}",
                    block.line
                ));
            }
        }
        Ok(())
    }

    /// Starts the gateway that the page has made so far, on free ports.
    fn start_gateway(&mut self) {
        let config = self.folder.path().join("gateway/keygate.toml");
        let text = std::fs::read_to_string(&config).expect("the page has made a configuration");
        let text = text
            .replace("127.0.0.1:8080", "127.0.0.1:0")
            .replace("127.0.0.1:9901", "127.0.0.1:0");
        std::fs::write(&config, text).expect("write");
        self.gateway = Some(Gateway::run(&config));
    }
}

/// Words of the page, made of letters, digits and `_`.
fn words_that_begin_with(prefix: &str) -> Vec<&'static str> {
    let words = README.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let found: Vec<&str> = words.filter(|word| word.starts_with(prefix)).collect();
    assert!(!found.is_empty());
    found
}

#[test]
fn every_block_is_of_a_kind_that_is_held_to_something() {
    let known = [
        "toml routes",
        "toml main",
        "toml routes wrong",
        "text check",
        "console run",
        "console run eventually",
        "sh gateway",
        "sh",
        "json",
        "ini",
        "toml",
    ];
    for block in blocks() {
        assert!(
            known.contains(&block.kind),
            "README.md:{}: {}",
            block.line,
            block.kind
        );
    }
}

#[test]
fn what_the_page_configures_loads() {
    for block in blocks() {
        let loaded = match block.kind {
            "toml routes" => load_texts(MAIN, &[("routes.toml", &block.text)]),
            "toml main" => load_texts(&block.text, &[("routes.toml", ROUTES)]),
            _ => continue,
        };
        let loaded = loaded.unwrap_or_else(|p| panic!("README.md:{}:\n{p}", block.line));
        assert_eq!(loaded.warnings, [], "README.md:{}", block.line);
    }
}

#[test]
fn what_the_page_gets_wrong_is_refused_in_the_words_that_it_shows() {
    let blocks = blocks();
    let mut wrong = 0;
    for (i, block) in blocks.iter().enumerate() {
        if block.kind != "toml routes wrong" {
            continue;
        }
        wrong += 1;
        let shown = &blocks[i + 1];
        assert_eq!(shown.kind, "text check", "README.md:{}", shown.line);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("keygate.toml"), MAIN).unwrap();
        std::fs::write(folder.path().join("routes.toml"), &block.text).unwrap();
        let output = Command::new(KEYGATE)
            .args(["check", "--config", "keygate.toml"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(
            is_as_shown(&shown.text, &said),
            "README.md:{}\n{said}",
            shown.line
        );
    }
    assert_eq!(
        wrong,
        blocks.iter().filter(|b| b.kind == "text check").count()
    );
}

#[test]
fn the_commands_of_the_page_do_what_it_shows() {
    let mut stage = Stage {
        folder: tempfile::tempdir().unwrap(),
        upstream: Upstream::echo(),
        gateway: None,
    };
    let curl = Command::new("curl").arg("--version").output().is_ok();
    for block in blocks() {
        match block.kind {
            "sh gateway" => stage.start_gateway(),
            "console run" | "console run eventually" => {
                if block.text.contains("curl -") && !curl {
                    println!(
                        "README.md:{}: not run, since there is no curl here",
                        block.line
                    );
                    continue;
                }
                let begun = Instant::now();
                let mut outcome = stage.run(&block);
                while outcome.is_err()
                    && block.kind == "console run eventually"
                    && begun.elapsed() < PATIENCE
                {
                    outcome = stage.run(&block);
                }
                if let Err(difference) = outcome {
                    panic!("{difference}");
                }
            }
            _ => {}
        }
    }
    let gateway = stage.gateway.expect("the page starts a gateway");
    let metrics = gateway.admin("/metrics").text();
    for name in words_that_begin_with("keygate_") {
        assert!(metrics.contains(&format!("# TYPE {name} ")), "{name}");
    }
}

#[test]
fn the_page_names_no_file_that_is_not_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for rest in README.split("--bench ").skip(1) {
        let name = rest.split_whitespace().next().unwrap_or_default();
        let name = name.split('`').next().unwrap_or_default();
        let places = [
            format!("benches/{name}.rs"),
            format!("benches/{name}/main.rs"),
        ];
        assert!(
            places.iter().any(|place| root.join(place).exists()),
            "{name}"
        );
    }
    for rest in README.split("](").skip(1) {
        let link = rest.split(')').next().unwrap_or_default();
        let is_here = !link.starts_with("https://") && !link.starts_with('#');
        assert!(!is_here || root.join(link).exists(), "{link}");
    }
}

#[test]
fn what_is_not_run_is_written_in_its_language() {
    for block in blocks() {
        match block.kind {
            "json" => {
                for line in block.text.lines() {
                    let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
                    assert!(parsed.is_ok(), "README.md:{}: {parsed:?}", block.line);
                }
            }
            "sh" => {
                let checked = Command::new("sh").args(["-n", "-c", &block.text]).status();
                assert!(checked.unwrap().success(), "README.md:{}", block.line);
            }
            _ => {}
        }
    }
}

#[test]
fn the_defaults_in_the_tables_are_the_defaults() {
    // Rows of the tables whose first column is headed by a table's name: | `head` | `"10s"` | … |
    let mut written = String::new();
    let mut fields = 0;
    let mut in_table = false;
    for line in README.lines() {
        let mut cells = line.split('|').map(|cell| cell.trim().trim_matches('`'));
        let (Some(""), Some(name), Some(value)) = (cells.next(), cells.next(), cells.next()) else {
            in_table = false;
            continue;
        };
        if value == "default" {
            in_table = true;
            written.push_str(&format!("{name}\n"));
        } else if in_table && value == "none" {
            fields += 1; // what there is not is not written
        } else if in_table && name != "---" {
            fields += 1;
            written.push_str(&format!("{name} = {value}\n"));
        }
    }
    assert_eq!(fields, 18, "{written}");
    let limits = |hot: &Hot| (hot.timeouts, hot.limits);
    let as_written = load_texts(&format!("{MAIN}{written}"), &[("routes.toml", ROUTES)])
        .unwrap_or_else(|p| panic!("{p}\n{written}"));
    let by_default = load_texts(MAIN, &[("routes.toml", ROUTES)]).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(limits(&as_written.hot), limits(&by_default.hot));
}

#[test]
fn a_completion_script_that_nobody_reads_is_an_error_and_no_panic() {
    for shell in ["bash", "zsh", "fish"] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut completion = Command::new(KEYGATE);
        let output = completion
            .args(["completion", shell])
            .stdout(full)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{shell}: {said}");
        assert!(said.contains("cannot be written"), "{shell}: {said}");
    }
}

#[test]
fn an_ellipsis_stands_for_anything() {
    for (shown, text, expected) in [
        ("ok", "ok\n", true),
        ("ok", "ok: 1", false),
        ("ok: … keys", "ok: 12 keys", true),
        ("a…c…e", "abcde", true),
        ("a…c…e", "abde", false),
        ("…", "", true),
        ("first\n…\nlast", "first\n1\n2\nlast\n", true),
    ] {
        assert_eq!(is_as_shown(shown, text), expected, "{shown} {text}");
    }
}
