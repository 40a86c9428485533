//! `keygate diff`: what an edit of the policy does to access, before it is in force.
//!
//! Both configurations are read as `check --no-secrets` reads them, and compared by [`crate::policy::diff`]. The answer is a
//! list of regions on standard output, as text, JSON or Markdown, and an exit code that a pipeline can act on.

mod json;
mod markdown;
mod text;
mod words;

use crate::config::{self, Loaded, Secrets};
use crate::policy::diff::{Side, Verdict, compare};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use words::Words;

/// Say who gains and who loses access, to which methods on which paths, between two configurations
#[derive(clap::Args, Debug)]
#[command(after_help = "\
A configuration is its main file, or a folder that holds a keygate.toml. Secrets are not read.

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
1 the result cannot be written or the policies are too entangled to compare, 2 bad usage or bad configuration.

Examples:
  keygate diff /etc/keygate gateway                    # folders
  keygate diff old/keygate.toml new/keygate.toml --json
  git worktree add ../before main && keygate diff ../before/config config --markdown")]
pub struct DiffArgs {
    /// The configuration that is in force: a main file, or a folder that holds keygate.toml
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The configuration that is to take its place
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Print JSON
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print Markdown, for a pull request
    #[arg(long)]
    markdown: bool,
    /// Print all exceptions and names of a region, however many there are
    #[arg(long, conflicts_with = "json")]
    all: bool,
}

/// Runs the command.
pub fn run(args: DiffArgs) -> ExitCode {
    let (Some(old), Some(new)) = (load(&args.old), load(&args.new)) else {
        return ExitCode::from(2);
    };
    let upstreams = |loaded: &Loaded| -> Vec<Arc<str>> {
        let upstreams = loaded.hot.upstreams.iter();
        upstreams.map(|u| Arc::clone(&u.name)).collect()
    };
    let (old_upstreams, new_upstreams) = (upstreams(&old), upstreams(&new));
    let old_names: Vec<&str> = old_upstreams.iter().map(|name| &**name).collect();
    let new_names: Vec<&str> = new_upstreams.iter().map(|name| &**name).collect();
    let difference = compare(
        Side {
            policy: &old.hot.policy,
            upstreams: &old_names,
        },
        Side {
            policy: &new.hot.policy,
            upstreams: &new_names,
        },
    );
    let difference = match difference {
        Ok(difference) => difference,
        Err(error) => {
            eprintln!("keygate: {error}");
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
        eprintln!("keygate: standard output cannot be written: {error}");
        return ExitCode::FAILURE;
    }
    match difference.verdict() {
        Verdict::Unchanged => ExitCode::SUCCESS,
        Verdict::Narrowed => ExitCode::from(10),
        Verdict::Widened => ExitCode::from(11),
    }
}

/// Reads a configuration; says on standard error what is wrong with it.
fn load(named: &Path) -> Option<Loaded> {
    let main = if named.is_dir() {
        named.join("keygate.toml")
    } else {
        named.to_owned()
    };
    match config::load(&main, Secrets::Skipped) {
        Ok(loaded) => Some(loaded),
        Err(problems) => {
            let mut err = std::io::stderr().lock();
            let colour = err.is_terminal() && std::env::var_os("NO_COLOR").is_none();
            // If nobody reads what is written, nobody is left to tell.
            for problem in &problems.0 {
                let _ = write!(err, "{}", problem.render(colour));
            }
            let (errors, warnings) = problems.count();
            let plural = |count: usize| if count == 1 { "" } else { "s" };
            let _ = writeln!(
                err,
                "{}: {errors} error{}, {warnings} warning{}",
                main.display(),
                plural(errors),
                plural(warnings)
            );
            None
        }
    }
}
