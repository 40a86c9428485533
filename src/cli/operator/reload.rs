//! `keygate reload`: has the files be in force, and says what became of it.

use super::{AdminArgs, done, target};
use crate::cli::diff;
use crate::config::WholeHash;
use std::process::ExitCode;

/// Have a running gateway read its files now, and put them in force
#[derive(clap::Args, Debug)]
#[command(after_help = "\
A gateway follows its files by itself; this asks at once, and says what became of it. It lifts the pin of `keygate rollback`.
With `[reload] widening = \"confirm\"`, files that let someone do more wait: this then prints what they would change, and their
hash. `--confirm HASH` puts them in force, if they still have that hash, all of it.

The request goes to the admin listener, with the token in the file that `[admin] token` names.
Exit codes: 0 in force, 1 the gateway cannot be asked or does not let it, 2 the files or the arguments are not valid, 11 not
confirmed: the files let someone do more, or have another hash.

Examples:
  keygate reload --config /etc/keygate/keygate.toml
  keygate reload --config /etc/keygate/keygate.toml --confirm \"$HASH\"
  keygate reload --admin http://127.0.0.1:9901 --token-file secret/admin-token --json")]
pub struct ReloadArgs {
    /// Put the files in force though they have to be confirmed, if this is their hash
    #[arg(long, value_name = "HASH")]
    confirm: Option<WholeHash>,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: ReloadArgs) -> ExitCode {
    let confirm = args.confirm.map(|hash| hash.to_string());
    let target = target("/reload", &[("confirm", confirm)]);
    let (address, answer, value) = match args.admin.post(&target) {
        Ok(done) => done,
        Err(code) => return code,
    };
    let code = done(&answer, &value, args.json);
    if let (false, Some(hash)) = (args.json, value["waiting"]["hash"].as_str()) {
        // Only where these are the files that the gateway read.
        if let Some(regions) = diff::between(&address, &args.admin.config, hash) {
            say!("\n{}", regions.trim_end());
        }
        say!("\nTo put it in force: keygate reload --confirm {hash}");
    }
    code
}
