//! `keygate shadow`: what the policy in shadow would have decided otherwise.

use super::{AdminArgs, ClientError, fail, print};
use crate::cli::chain;
use crate::clock::Timestamp;
use serde_json::Value;
use std::fmt::Write;
use std::process::ExitCode;

/// Say what the policy that is tried in shadow would have decided otherwise, on the requests that came
#[derive(clap::Args, Debug)]
#[command(after_help = "\
A policy is tried where the main file has `[shadow] include`, which names the files of a whole one, or where routes say
`shadow = true`. It is asked about each request that the policy in force decides about, and decides nothing. The counts are
of this process, and begin anew when either policy changes. Needs no token.

Columns: what would become of the requests; how many; the route in force and what it says; the route that is tried and what
that would say; the id of the key, if there was a good one (`keygate keys get ID` tells whose it is); when it was last so
(UTC). A route is \"-\" where none takes the request. Past 1,024 different rows a worker counts under \"others\".
\"Through\" is what the policies say; limits, upstreams and the management API may still refuse.

Exit codes: 0 told, whatever it says; 1 the gateway cannot be asked; 2 bad usage or bad configuration.

Examples:
  keygate shadow --config /etc/keygate/keygate.toml
  keygate shadow --admin http://127.0.0.1:9901 --json | jq '.would_deny'")]
pub struct ShadowArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Print JSON, as /shadow of the admin listener has it
    #[arg(long)]
    json: bool,
    /// Show what both policies decide alike too, by route
    #[arg(long, conflicts_with = "json")]
    all: bool,
}

/// Runs the command.
pub fn run(args: ShadowArgs) -> ExitCode {
    let address = match args.admin.find(false) {
        Ok((address, _)) => address,
        Err(code) => return code,
    };
    let answer = match address.get("/shadow", None) {
        Ok(answer) if answer.status == 200 => answer.json(),
        Ok(answer) => {
            let message = format!(
                "{address}: this is not the admin listener of a keygate that tries policies: it answers {}",
                answer.status
            );
            return fail(&message, 1);
        }
        Err(error) => Err(error),
    };
    match answer {
        Ok(told) if !told["requests"].is_u64() => {
            let error = ClientError::Answer("no counts".to_owned());
            fail(&format!("{address}: {}", chain(&error)), 1)
        }
        Ok(told) if args.json => print(&format!("{told:#}\n")),
        Ok(told) => print(&text(&told, args.all)),
        Err(error) => fail(&format!("{address}: {}", chain(&error)), 1),
    }
}

fn text(told: &Value, all: bool) -> String {
    if told["shadow"].is_null() {
        return "no policy is tried: there is neither `[shadow] include` with files nor a route with `shadow = true`\n"
            .to_owned();
    }
    let mut out = table(told, all);
    let count = |name: &str| thousands(told[name].as_u64().unwrap_or_default());
    let _ = writeln!(
        out,
        "{} requests since {}: {} agree, {} would be denied, {} would be allowed",
        count("requests"),
        utc(&told["since"]),
        count("agree"),
        count("would_deny"),
        count("would_allow"),
    );
    out
}

fn table(told: &Value, all: bool) -> String {
    let list = |name: &str| told[name].as_array().map_or(&[][..], Vec::as_slice);
    let is_shown = |row: &&Value| all || row["decision"] != "agree";
    let mut rows = vec![
        [
            "decision",
            "count",
            "in force",
            "in shadow",
            "key",
            "last seen",
        ]
        .map(str::to_owned),
    ];
    for row in list("decisions").iter().filter(is_shown) {
        rows.push([
            decision(row).to_owned(),
            count(row),
            ruling(&row["route"], &row["status"]),
            ruling(&row["shadow_route"], &row["shadow_status"]),
            row["key"].as_str().unwrap_or("-").to_owned(),
            utc(&row["last_seen"]),
        ]);
    }
    for row in list("others").iter().filter(is_shown) {
        let [others, none] = ["others", "-"].map(str::to_owned);
        let last_seen = utc(&row["last_seen"]);
        rows.push([
            decision(row).to_owned(),
            count(row),
            others,
            none.clone(),
            none,
            last_seen,
        ]);
    }
    if rows.len() == 1 {
        return String::new();
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..6).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for [decision, count, more @ ..] in &rows {
        let mut line = format!("{decision:<0$}  {count:>1$}", widths[0], widths[1]);
        for (cell, width) in more.iter().zip(&widths[2..]) {
            let _ = write!(line, "  {cell:<width$}");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.push('\n');
    out
}

fn decision(row: &Value) -> &'static str {
    match row["decision"].as_str() {
        Some("would_deny") => "would deny",
        Some("would_allow") => "would allow",
        _ => "agree",
    }
}

fn count(row: &Value) -> String {
    thousands(row["count"].as_u64().unwrap_or_default())
}

/// `GET /reports: 403`.
fn ruling(route: &Value, status: &Value) -> String {
    let route = route.as_str().unwrap_or("-");
    match status.as_u64() {
        Some(status) => format!("{route}: {status}"),
        None => format!("{route}: through"),
    }
}

fn utc(seconds: &Value) -> String {
    Timestamp::from_unix_seconds(seconds.as_i64().unwrap_or_default()).utc()
}

/// `12,304`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_tells_what_differs_and_the_last_line_sums_up() {
        let told = json!({
            "shadow": {"origin": "files", "routes": 3},
            "since": 0,
            "requests": 1_012_304, "agree": 1_012_294, "would_deny": 7, "would_allow": 3,
            "decisions": [
                {"decision": "would_deny", "count": 4, "route": "/reports/{*rest}", "status": null,
                 "shadow_route": "GET /reports/{id}", "shadow_status": 403, "key": "0123456789abcdefghij", "last_seen": 60},
                {"decision": "would_allow", "count": 3, "route": "-", "status": 404,
                 "shadow_route": "/new", "shadow_status": null, "key": null, "last_seen": 61},
                {"decision": "agree", "count": 1_012_294, "route": "/a", "status": null,
                 "shadow_route": "/a", "shadow_status": null, "key": null, "last_seen": 62},
            ],
            "others": [{"decision": "would_deny", "count": 3, "last_seen": 63}],
        });
        let expected = "\
decision     count  in force                   in shadow               key                   last seen
would deny       4  /reports/{*rest}: through  GET /reports/{id}: 403  0123456789abcdefghij  1970-01-01T00:01:00Z
would allow      3  -: 404                     /new: through           -                     1970-01-01T00:01:01Z
would deny       3  others                     -                       -                     1970-01-01T00:01:03Z

1,012,304 requests since 1970-01-01T00:00:00Z: 1,012,294 agree, 7 would be denied, 3 would be allowed
";
        assert_eq!(text(&told, false), expected);
        let with_all = text(&told, true);
        assert!(
            with_all.contains("agree        1,012,294  /a: through"),
            "{with_all}"
        );
        assert!(text(&json!({"shadow": null}), false).starts_with("no policy is tried"));
    }

    #[test]
    fn digits_stand_in_threes() {
        for (number, shown) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(thousands(number), shown);
        }
    }
}
