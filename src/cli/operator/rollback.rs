//! `keygate rollback`: back to a generation that was in force.

use super::{AdminArgs, done, target};
use crate::config::{Wanted, WholeHash};
use std::process::ExitCode;

/// Have a running gateway go back to a generation that was in force, and stay there
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The files are left as they are. The generation that was gone back to is pinned: whatever the files hold, and over restarts,
it stays in force until `keygate reload`. Its routes and settings are those of then; secrets, certificates and the file of
hosts are read as they are now. `keygate history` shows which generations there are.

A rollback is judged like an edit: with `[reload] widening = \"confirm\"`, one that lets someone do more needs --confirm.
Exit codes: 0 in force, 1 the gateway cannot be asked or does not let it, or the generation is not kept, 2 the generation or the
arguments are not valid any more, 11 not confirmed.

Examples:
  keygate rollback --config /etc/keygate/keygate.toml          # to the one before
  keygate rollback 7 --config /etc/keygate/keygate.toml
  keygate rollback 3f9a2c1b --confirm \"$HASH\" --config /etc/keygate/keygate.toml")]
pub struct RollbackArgs {
    /// Its number, or the first digits of its hash [default: the last one with other files; from one that was gone back to, further]
    #[arg(value_name = "GENERATION")]
    to: Option<Wanted>,
    /// Go back though it has to be confirmed, if this is its hash
    #[arg(long, value_name = "HASH")]
    confirm: Option<WholeHash>,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: RollbackArgs) -> ExitCode {
    let to = args.to.map(|to| to.to_string());
    let confirm = args.confirm.map(|hash| hash.to_string());
    let target = target("/rollback", &[("to", to.clone()), ("confirm", confirm)]);
    let (_, answer, value) = match args.admin.post(&target) {
        Ok(done) => done,
        Err(code) => return code,
    };
    let code = done(&answer, &value, args.json);
    if let (false, Some(hash)) = (args.json, value["waiting"]["hash"].as_str()) {
        let to = to.unwrap_or_else(|| hash.to_owned());
        say!("\nTo put it in force: keygate rollback {to} --confirm {hash}");
    }
    code
}
