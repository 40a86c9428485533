//! `keygate explain`: what the gateway would decide about a request, step by step.
//!
//! It reads the configuration as `check` does and asks [`crate::explain`]; nothing has to run. With `--key-id` or
//! `--key-stdin` it also looks the key up in the store.

use super::check::{Format, refuse};
use super::keys::{Found, look_up};
use crate::clock::Timestamp;
use crate::config::{self, Loaded, Secrets};
use crate::explain::{Caller, explain};
use crate::key::{KeyId, ScopeName};
use crate::policy::Asked;
use http::Method;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Say what would be decided about a request, step by step, and why
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The decision is the gateway's own: the same functions take it, on the policy of --config. Rates, open streams and the
health of upstreams have no part in it.
Exit code 0 when it was told, whatever is decided; 1 if the key store cannot be read, 2 if arguments or configuration are wrong.

Examples:
  keygate explain GET /v3/users/cyclops2 --scope authOnly
  keygate explain DELETE '/v3/users/a%2Fb?force=1' --host api.example.com
  keygate explain GET /v3/me --key-id 4f0c2m6t8a1b3c5d7e9f
  keygate explain GET /v3/me --key-stdin < key
  keygate explain GET /v3/me --scope authOnly --json | jq .refused")]
pub struct ExplainArgs {
    /// The request's method
    method: Method,
    /// Its target as it stands in a request line: a path, with a query or without
    target: String,
    /// Its host, with a port or without [default: one that no route names]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// As with a key of this scope [default: without a key]
    #[arg(long, value_name = "SCOPE", value_parser = ScopeName::parse, group = "caller")]
    scope: Option<ScopeName>,
    /// As with the key of this id, as the store has it
    #[arg(long, value_name = "ID", group = "caller")]
    key_id: Option<KeyId>,
    /// As with the key on standard input
    #[arg(long, group = "caller")]
    key_stdin: bool,
    /// The main configuration file
    #[arg(
        long,
        value_name = "FILE",
        env = "KEYGATE_CONFIG",
        default_value = "keygate.toml"
    )]
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: ExplainArgs) -> ExitCode {
    let loaded = match config::load(&args.config, Secrets::Skipped) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&args.config, &problems, Format::Text),
    };
    let caller = match caller(&args, &loaded) {
        Ok(caller) => caller,
        Err((message, code)) => {
            eprintln!("keygate: {message}");
            return code;
        }
    };
    let asked = Asked {
        method: args.method,
        target: args.target,
        host: args.host,
    };
    let rules = loaded.hot.admit_rules(&loaded.cold);
    let explanation = explain(&loaded.hot, &rules, asked, caller, Timestamp::now());
    let mut out = std::io::stdout().lock();
    let written = if args.json {
        writeln!(out, "{:#}", explanation.json())
    } else {
        write!(out, "{explanation}")
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keygate: standard output cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}

fn caller(args: &ExplainArgs, loaded: &Loaded) -> Result<Caller, (String, ExitCode)> {
    if let Some(scope) = &args.scope {
        let declared = loaded.hot.policy.scopes();
        if !declared.declares(scope) {
            let names: Vec<&str> = declared.names().map(|name| name.as_str()).collect();
            let names = names.join(", ");
            let message = format!("the scope `{scope}` is not declared; the policy has {names}");
            return Err((message, ExitCode::from(2)));
        }
        return Ok(Caller::Scope(scope.clone()));
    }
    if args.key_id.is_none() && !args.key_stdin {
        return Ok(Caller::Anyone);
    }
    Ok(match look_up(&args.config, args.key_id)? {
        Found::Key(record) => Caller::Key(record),
        Found::None => Caller::Unknown,
        Found::Malformed => Caller::Malformed,
    })
}
