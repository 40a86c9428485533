//! `keygate history`: what was in force, since when, why, and what each change did to access.

use super::{AdminArgs, ClientError, fail, print};
use crate::cli::chain;
use crate::clock::Timestamp;
use serde_json::Value;
use std::fmt::Write;
use std::process::ExitCode;

/// Say what is in force at a running gateway, and what was before
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The last twenty generations, the newest first; `keygate rollback GENERATION` goes back to one. Needs no token.

Columns: the number; since when it was in force (UTC); why: start, files (they changed), asked (SIGHUP), reload, confirmed or
rollback; what it did to access, as `keygate diff` counts it; how many routes it has; the first digits of its hash.

Examples:
  keygate history --config /etc/keygate/keygate.toml
  keygate history --admin http://127.0.0.1:9901 --json | jq '.history[-1]'")]
pub struct HistoryArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Print JSON: the `policy` of /status
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: HistoryArgs) -> ExitCode {
    let address = match args.admin.find(false) {
        Ok((address, _)) => address,
        Err(code) => return code,
    };
    let told = address.get("/status", None).and_then(|answer| {
        let policy = answer.json()?.get("policy").cloned();
        let policy = policy.filter(|policy| answer.status == 200 && policy.is_object());
        policy.ok_or_else(|| ClientError::Answer(format!("/status is answered {}", answer.status)))
    });
    let policy = match told {
        Ok(policy) => policy,
        Err(error) => return fail(&format!("{address}: {}", chain(&error)), 1),
    };
    if args.json {
        print(&format!("{policy:#}\n"))
    } else {
        print(&table(&policy))
    }
}

fn table(policy: &Value) -> String {
    let mut rows = vec![["", "since", "why", "access", "routes", "hash"].map(str::to_owned)];
    let history = policy["history"].as_array().map_or(&[][..], Vec::as_slice);
    for past in history.iter().rev() {
        let seconds = past["loaded_at"].as_i64().unwrap_or_default();
        let hash = past["hash"].as_str().unwrap_or_default();
        rows.push([
            past["generation"].to_string(),
            Timestamp::from_unix_seconds(seconds).utc(),
            past["trigger"].as_str().unwrap_or_default().to_owned(),
            access(past),
            past["routes"].to_string(),
            hash.chars().take(12).collect(),
        ]);
    }
    let widths: Vec<usize> = (0..6)
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for (at, row) in rows.iter().enumerate() {
        let mut line = format!("{:>width$}", row[0], width = widths[0]);
        for (cell, width) in row[1..].iter().zip(&widths[1..]) {
            let _ = write!(line, "  {cell:<width$}");
        }
        if at == 1 {
            line.push_str(match policy["pinned"] == true {
                true => "  in force, pinned",
                false => "  in force",
            });
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    for note in notes(policy) {
        let _ = write!(out, "\n{note}\n");
    }
    out
}

/// What is to be known besides.
fn notes(policy: &Value) -> Vec<String> {
    let mut notes = Vec::new();
    if policy["pinned"] == true {
        notes.push("It was gone back to, and stays until `keygate reload`.".to_owned());
    }
    let waiting = &policy["unconfirmed"];
    if let Some(hash) = waiting["hash"].as_str() {
        notes.push(format!(
            "The files wait to be confirmed: {} (access {}). To put them in force: keygate reload --confirm {hash}",
            waiting["why"].as_str().unwrap_or_default(),
            access(waiting),
        ));
    }
    if let Some(error) = policy["last_error"].as_str() {
        notes.push(format!(
            "The files are not valid, and not in force:\n{error}"
        ));
    }
    if let Some(error) = policy["kept_error"].as_str() {
        notes.push(format!("What is in force is not kept on disk: {error}"));
    }
    notes
}

/// What became of access, in words.
pub(super) fn access(past: &Value) -> String {
    let Some(word) = past["access"].as_str() else {
        return "-".to_owned();
    };
    let counts: Vec<String> = ["widened", "narrowed", "rerouted"]
        .iter()
        .filter(|name| past[**name].as_u64().is_some_and(|count| count > 0))
        .map(|name| format!("{} {name}", past[*name]))
        .collect();
    if counts.is_empty() {
        word.to_owned()
    } else {
        counts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_tells_the_newest_first_and_what_waits() {
        let policy = json!({
            "pinned": true,
            "unconfirmed": {
                "hash": "aaaabbbbccccdddd", "access": "widened",
                "widened": 2, "narrowed": 0, "rerouted": 0, "why": "it lets someone do more",
            },
            "last_error": null,
            "kept_error": "no space",
            "history": [
                {"generation": 9, "loaded_at": 0, "trigger": "start", "access": null, "routes": 4, "hash": "0123456789abcdef"},
                {"generation": 10, "loaded_at": 60, "trigger": "rollback", "access": "narrowed",
                 "widened": 0, "narrowed": 1, "rerouted": 3, "routes": 12, "hash": "fedcba9876543210"},
            ],
        });
        let expected = "    since                 why       access                  routes  hash
10  1970-01-01T00:01:00Z  rollback  1 narrowed, 3 rerouted  12      fedcba987654  in force, pinned
 9  1970-01-01T00:00:00Z  start     -                       4       0123456789ab

It was gone back to, and stays until `keygate reload`.

The files wait to be confirmed: it lets someone do more (access 2 widened). To put them in force: keygate reload --confirm aaaabbbbccccdddd

What is in force is not kept on disk: no space
";
        assert_eq!(table(&policy), expected);
    }
}
