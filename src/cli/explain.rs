//! `keygate explain`: what the gateway would decide about a request, step by step.
//!
//! It reads the configuration as `check` does and asks [`crate::explain`]; nothing has to run. With `--key-id` or
//! `--key-stdin` it also looks the key up in the store.

use super::check::{Format, refuse};
use super::keys::{Found, look_up};
use super::operator::{AdminArgs, fail, print};
use super::say::visible;
use crate::clock::Timestamp;
use crate::config::{self, Loaded, Secrets};
use crate::explain::{Caller, explain};
use crate::key::{KeyId, ScopeName};
use crate::policy::Asked;
use http::Method;
use serde_json::Value;
use std::fmt::Write;
use std::process::ExitCode;

/// Say what would be decided about a request, step by step, and why
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The decision is the gateway's own: the same functions take it, on the policy of --config that is in force.
Rates, open streams, the health of upstreams and what is tried in shadow have no part in it.
Exit code 0 when it was told, whatever is decided; 1 if the key store cannot be read, 2 if arguments or configuration are wrong.

Examples:
  keygate explain GET /v3/users/cyclops2 --scope authOnly
  keygate explain DELETE '/v3/users/a%2Fb?force=1' --host api.example.com
  keygate explain GET /v3/me --key-id 4f0c2m6t8a1b3c5d7e9f
  keygate explain GET /v3/me --key-stdin < key
  keygate explain --request 4a4e1c…                 why a running gateway refused it; asks with the token of [admin]
  keygate explain GET /v3/me --scope authOnly --json | jq .refused")]
pub struct ExplainArgs {
    /// The request's method
    #[arg(required_unless_present = "request")]
    method: Option<Method>,
    /// Its target as it stands in a request line: a path, with a query or without
    #[arg(required_unless_present = "request")]
    target: Option<String>,
    /// Why a running gateway refused the request with this id (the X-Request-Id of its answer), and what it would decide now
    #[arg(long, value_name = "ID", conflicts_with_all = ["method", "target", "host", "caller"])]
    request: Option<String>,
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
    #[command(flatten)]
    admin: AdminArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: ExplainArgs) -> ExitCode {
    if let Some(id) = &args.request {
        return refusal(&args.admin, id, args.json);
    }
    let config = args.admin.config();
    let loaded = match config::load(config, Secrets::Skipped) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(config, &problems, Format::Text),
    };
    let caller = match caller(&args, &loaded) {
        Ok(caller) => caller,
        Err((message, code)) => {
            say!("keygate: {message}");
            return code;
        }
    };
    let asked = Asked {
        method: args.method.expect("clap requires it"),
        target: args.target.expect("clap requires it"),
        host: args.host,
    };
    let rules = loaded.hot.admit_rules(&loaded.cold);
    let explanation = explain(&loaded.hot, &rules, asked, caller, Timestamp::now());
    if args.json {
        print(&format!("{:#}\n", explanation.json()))
    } else {
        print(&explanation.to_string())
    }
}

/// Asks a running gateway why it refused a request.
fn refusal(admin: &AdminArgs, id: &str, json: bool) -> ExitCode {
    if id.is_empty()
        || !id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    {
        return fail("--request: expected an id as X-Request-Id has it", 2);
    }
    let (answer, value) = match admin.get(&format!("/decisions/{id}")) {
        Ok(answered) => answered,
        Err(code) => return code,
    };
    if answer.status != 200 {
        let message = value["message"]
            .as_str()
            .unwrap_or("the answer is not known");
        return fail(message, 1);
    }
    if json {
        print(&format!("{value:#}\n"))
    } else {
        print(&refusal_text(&value))
    }
}

fn refusal_text(value: &Value) -> String {
    // Parts of it are a stranger's: nothing of that moves a terminal's cursor.
    let text = |value: &Value| value.as_str().map(visible);
    let at = Timestamp::from_unix_seconds(value["at"].as_i64().unwrap_or_default());
    let path = text(&value["path"]).unwrap_or_else(|| "(a path that is not kept)".to_owned());
    let mut out = format!(
        "{} {path}{}, {}, from {}\n",
        text(&value["method"]).unwrap_or_default(),
        text(&value["host"]).map_or_else(String::new, |host| format!(" of host {host}")),
        at.utc(),
        text(&value["client"]).unwrap_or_default(),
    );
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "  refused  with {} by generation {}: {}",
        value["status"],
        value["generation"],
        text(&value["why"]).unwrap_or_default()
    );
    if let Some(name) = text(&value["route"]["name"]) {
        let file = text(&value["route"]["file"]).unwrap_or_default();
        let _ = writeln!(
            out,
            "  route    `{name}`, {file}:{}",
            value["route"]["line"]
        );
    }
    if let Some(id) = text(&value["keyId"]) {
        let _ = writeln!(out, "  key      {id}");
    }
    let now = &value["now"];
    let by = text(&now["route"]["name"]);
    let by = by.map_or_else(String::new, |name| format!(" by `{name}`"));
    let said = match (now["permitted"].as_bool(), &now["refused"]) {
        (Some(true), _) => format!("let through{by}"),
        (Some(false), refused) => format!(
            "{}{by}: {}",
            refused["status"],
            text(&refused["why"]).unwrap_or_default()
        ),
        (None, _) => return out,
    };
    let _ = writeln!(out, "  now      {said} (generation {})", now["generation"]);
    out
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
    Ok(match look_up(args.admin.config(), args.key_id)? {
        Found::Key(record) => Caller::Key(record),
        Found::None => Caller::Unknown,
        Found::Malformed => Caller::Malformed,
    })
}
