//! `keygate test`: the policy's own tests, one by one, and which routes none of them touches.
//!
//! `check` and each reload hold the expectations against a policy as a whole; this is for those who write them. The
//! configuration is read as `check --no-secrets` reads it, so it runs wherever the files are.

use super::check::{Format, refuse};
use crate::config::{self, Loaded, Purpose, Secrets};
use crate::policy::{Expectation, ExpectationFailure, Route, Target};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Run the policy's expectations one by one, and say which routes none of them touches
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Each [[expect]] is one test: its `name`, or its first request. A failure says what was decided instead, and by which route.
They are those of the policy in force; `check` holds those of `[shadow] include` against that policy.
Exit code 0 if all hold, 1 if one does not, 2 if the configuration cannot be read.

Examples:
  keygate test --config gateway/keygate.toml
  keygate test --coverage                 # routes that no expectation touches
  keygate test --coverage=90              # and exit code 1 if more than a tenth are untouched
  keygate test --json | jq '.tests[] | select(.ok | not)'")]
pub struct TestArgs {
    /// The main configuration file
    #[arg(
        long,
        value_name = "FILE",
        env = "KEYGATE_CONFIG",
        default_value = "keygate.toml"
    )]
    config: PathBuf,
    /// List the routes that no expectation touches; with a number, at least so many percent must be touched
    #[arg(
        long,
        value_name = "PERCENT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "0",
        value_parser = clap::value_parser!(u8).range(0..=100)
    )]
    coverage: Option<u8>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: TestArgs) -> ExitCode {
    let loaded = match config::load_for(Purpose::Test, &args.config, Secrets::Skipped) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let format = if args.json {
                Format::Json
            } else {
                Format::Text
            };
            return refuse(&args.config, &problems, format);
        }
    };
    let outcome = Outcome::of(&loaded);
    let mut out = std::io::stdout().lock();
    // If nobody reads what is written, the exit code still says how it came out.
    let _ = if args.json {
        writeln!(out, "{:#}", outcome.json())
    } else {
        write!(out, "{}", outcome.text(args.coverage.is_some()))
    };
    let enough = usize::from(args.coverage.unwrap_or(0));
    if outcome.failed() == 0 && outcome.percent() >= enough {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What came of all tests.
struct Outcome<'a> {
    tests: Vec<(&'a Expectation, Vec<ExpectationFailure>)>,
    /// Each route of an upstream, and whether a test touches it.
    routes: Vec<(&'a Arc<Route>, bool)>,
}

impl<'a> Outcome<'a> {
    fn of(loaded: &'a Loaded) -> Self {
        let policy = &loaded.hot.policy;
        let tests = loaded.expectations.iter();
        let touched: BTreeSet<usize> = loaded
            .expectations
            .iter()
            .flat_map(|expectation| policy.touched_by(expectation))
            .map(|route| route.index())
            .collect();
        let routes = policy.routes().iter().enumerate();
        let own = |route: &Route| matches!(route.target, Target::Upstream(_));
        Outcome {
            tests: tests.map(|test| (test, policy.check(test))).collect(),
            routes: routes
                .filter(|(_, route)| own(route))
                .map(|(at, route)| (route, touched.contains(&at)))
                .collect(),
        }
    }

    fn failed(&self) -> usize {
        self.tests
            .iter()
            .filter(|(_, failures)| !failures.is_empty())
            .count()
    }

    fn touched(&self) -> usize {
        self.routes.iter().filter(|(_, touched)| *touched).count()
    }

    /// Of the routes, how many are touched; rounded down, so that 100 is all.
    fn percent(&self) -> usize {
        match self.routes.len() {
            0 => 100,
            routes => self.touched() * 100 / routes,
        }
    }

    fn untouched(&self) -> impl Iterator<Item = &Arc<Route>> {
        let routes = self.routes.iter();
        routes
            .filter(|(_, touched)| !touched)
            .map(|(route, _)| *route)
    }

    fn text(&self, coverage: bool) -> String {
        let mut out = String::new();
        for (test, failures) in &self.tests {
            let word = if failures.is_empty() { "ok  " } else { "FAIL" };
            out.push_str(&format!("{word} {}: {}\n", test.place, title(test)));
            for failure in failures {
                out.push_str(&format!("       {failure}\n"));
                if let Some(place) = &failure.other {
                    out.push_str(&format!("       the route is at {place}\n"));
                }
            }
        }
        if coverage {
            for route in self.untouched() {
                out.push_str(&format!("untouched {}: {}\n", route.place, route.name));
            }
        }
        out.push_str(&format!(
            "{} of {} hold; {} of {} routes are touched ({} %)\n",
            self.tests.len() - self.failed(),
            self.tests.len(),
            self.touched(),
            self.routes.len(),
            self.percent()
        ));
        out
    }

    fn json(&self) -> Value {
        let tests = self.tests.iter().map(|(test, failures)| {
            json!({
                "name": title(test),
                "at": test.place.to_string(),
                "ok": failures.is_empty(),
                "failures": failures
                    .iter()
                    .map(|failure| json!({
                        "message": failure.what,
                        "route": failure.other.as_ref().map(ToString::to_string),
                    }))
                    .collect::<Vec<_>>(),
            })
        });
        let untouched = self.untouched();
        json!({
            "ok": self.failed() == 0,
            "failed": self.failed(),
            "tests": tests.collect::<Vec<_>>(),
            "routes": self.routes.len(),
            "touched": self.touched(),
            "untouched": untouched
                .map(|route| json!({ "name": &*route.name, "at": route.place.to_string() }))
                .collect::<Vec<_>>(),
        })
    }
}

/// What a test is called.
fn title(test: &Expectation) -> String {
    match (&test.name, test.cases().next()) {
        (Some(name), _) => name.to_string(),
        (None, Some(first)) if test.cases().count() == 1 => first.to_string(),
        (None, Some(first)) => format!("{first}, and {} more", test.cases().count() - 1),
        (None, None) => String::new(),
    }
}
