//! `keygate diff`: what an edit of the policy does to access, before it is in force.
//!
//! Both are read (from the disk, as `check --no-secrets` does, or from a running gateway, which tells its policy to whoever
//! asks its admin listener) and compared by [`crate::policy::diff`]. The answer is a
//! list of regions on standard output, as text, JSON or Markdown, and an exit code that a pipeline can act on.

mod json;
mod markdown;
mod text;
mod words;

use super::operator::AdminAddress;
use super::subject::{self, Subject};
use crate::config::{self, Secrets};
use crate::policy::diff::{Difference, Entangled, Side, Verdict, compare};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use words::Words;

/// Say who gains and who loses access, to which methods on which paths, between two configurations
#[derive(clap::Args, Debug)]
#[command(after_help = "\
A configuration is its main file, or a folder that holds a keygate.toml; secrets are not read. The policy that a running
gateway has in force is asked of its admin listener: http://HOST:PORT, or unix:PATH.

The comparison is exact, over all requests there can be: each region is disjoint from all others, and together they are
every difference. A region names hosts, methods and paths, who gains or loses access, the routes that decide, and one
of its requests. \"anyone\" is who has no key (or one of a scope that neither policy declares). Paths are written as in
routes, with three things more:
  /users/{id!=me,you}   any one segment but these
  /users{/}             /users, with a slash at its end or without
  /users{/*}            /users, /users/ and everything below

Where access stays but leads elsewhere (another upstream, another rewriting of the path), a region is \"rerouted\"; that
does not count for the exit code. Limits, timeouts and headers of routes are not compared.

Exit codes: 0 access is unchanged, 10 narrowed (some lose, none gains), 11 widened (some gain; some may lose),
1 a gateway cannot be asked, the result cannot be written or the policies are too entangled to compare, 2 bad usage or bad
configuration.

Examples:
  keygate diff /etc/keygate gateway                    # folders
  keygate diff http://127.0.0.1:9901 next/keygate.toml # what is in force, and what is to be
  keygate diff old/keygate.toml new/keygate.toml --json
  keygate diff --shadow gateway                        # what is in force, and what is tried beside it
  git worktree add ../before main && keygate diff ../before/config config --markdown")]
pub struct DiffArgs {
    /// What is in force: a main file, a folder that holds keygate.toml, or a gateway's http://HOST:PORT or unix:PATH
    #[arg(value_name = "OLD")]
    old: String,
    /// What is to take its place, likewise
    #[arg(value_name = "NEW", required_unless_present = "shadow")]
    new: Option<String>,
    /// In place of NEW: what the files of OLD have tried in shadow
    #[arg(long, conflicts_with = "new")]
    shadow: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print Markdown, for a pull request
    #[arg(long)]
    markdown: bool,
    /// Print all paths and exceptions of a region, however many there are
    #[arg(long, conflicts_with = "json")]
    all: bool,
}

/// Runs the command.
pub fn run(args: DiffArgs) -> ExitCode {
    let both = match &args.new {
        Some(new) => (subject::read(&args.old), subject::read(new)),
        None => subject::with_shadow(&args.old),
    };
    let (old, new) = match both {
        (Ok(old), Ok(new)) => (old, new),
        (Err(code), _) | (_, Err(code)) => return code,
    };
    let (old_names, new_names) = (names(&old), names(&new));
    let difference = match difference(&old, &new, (&old_names, &new_names)) {
        Ok(difference) => difference,
        Err(error) => {
            say!("keygate: {error}");
            return ExitCode::FAILURE;
        }
    };
    let words = Words {
        upstreams: (&old_names, &new_names),
        most: if args.all { usize::MAX } else { 4 },
    };
    let printed = if args.json {
        json::render(&difference, &words)
    } else if args.markdown {
        markdown::render(&difference, &words)
    } else {
        text::render(&difference, &words)
    };
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(printed.as_bytes()).and_then(|()| out.flush()) {
        say!("keygate: standard output cannot be written: {error}");
        return ExitCode::FAILURE;
    }
    match difference.verdict() {
        Verdict::Unchanged => ExitCode::SUCCESS,
        Verdict::Narrowed => ExitCode::from(10),
        Verdict::Widened => ExitCode::from(11),
    }
}

/// What would change for a running gateway if these files were in force, as text; `None` where they do not have this
/// hash, or it cannot be told.
pub(super) fn between(gateway: &AdminAddress, main: &Path, hash: &str) -> Option<String> {
    let loaded = config::load(main, Secrets::Skipped).ok()?;
    if loaded.hash != hash {
        return None;
    }
    let (old, new) = (subject::ask(gateway).ok()?, Subject::from(loaded));
    let (old_names, new_names) = (names(&old), names(&new));
    let difference = difference(&old, &new, (&old_names, &new_names)).ok()?;
    let words = Words {
        upstreams: (&old_names, &new_names),
        most: 4,
    };
    Some(text::render(&difference, &words))
}

fn names(subject: &Subject) -> Vec<&str> {
    subject.upstreams.iter().map(String::as_str).collect()
}

fn difference(
    old: &Subject,
    new: &Subject,
    (old_names, new_names): (&[&str], &[&str]),
) -> Result<Difference, Entangled> {
    compare(
        Side {
            policy: &old.policy,
            upstreams: old_names,
        },
        Side {
            policy: &new.policy,
            upstreams: new_names,
        },
    )
}
