//! Latency at a rate, counted from when each request was due, as `keygate load` measures it and judges the answers.

use crate::case::{Case, Traffic, Wire};
use crate::contenders::Site;
use crate::process::{other_cores, pinned};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::PathBuf;

/// In microseconds.
#[derive(Clone, Copy, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    /// Requests that were due and had found no connection when the time was over: in no latency.
    pub unsent: u64,
}

impl Latency {
    pub const NAMES: [&str; 4] = ["50 %", "90 %", "99 %", "99.9 %"];

    pub fn all(&self) -> [f64; 4] {
        [self.p50, self.p90, self.p99, self.p99_9]
    }
}

/// The load of a case at a rate.
pub struct Paced {
    case: Case,
    routes: PathBuf,
    keys: PathBuf,
    ca: PathBuf,
}

impl Paced {
    pub fn prepare(case: &Case, site: &Site) -> Result<Paced> {
        let mut text = String::new();
        for (prefix, _) in site.routes.each() {
            writeln!(
                text,
                "{} {prefix}{{uid}} scope=fullAccess body={}",
                case.traffic.method(),
                case.traffic.body()
            )?;
        }
        let routes = site.folder.join("paced.txt");
        std::fs::write(&routes, text)?;
        Ok(Paced {
            case: *case,
            routes,
            keys: site.keys.sent.clone(),
            ca: site.certificate.cert.clone(),
        })
    }

    /// # Errors
    /// When an answer was wrong or missing.
    pub fn run(&self, port: u16, rate: f64, seconds: u64) -> Result<Latency> {
        let mut load = pinned(&other_cores(), env!("CARGO_BIN_EXE_keygate"));
        load.arg("load");
        load.arg(format!("{}://127.0.0.1:{port}", self.case.wire.scheme()));
        load.arg("--routes").arg(&self.routes);
        match self.case.traffic {
            // It makes such keys itself.
            Traffic::Refused => load.args(["--mix", "unknown=1"]),
            Traffic::Small | Traffic::Answer | Traffic::Upload => {
                load.arg("--keys").arg(&self.keys)
            }
        };
        match self.case.wire {
            Wire::Http1 => {}
            Wire::Http2 => {
                load.args(["--http2", "--streams", &self.case.streams.to_string()]);
            }
            Wire::Tls => {
                load.arg("--ca").arg(&self.ca);
            }
        }
        load.args(["--connections", &self.case.connections.to_string()]);
        load.args(["--rate", &format!("{rate:.0}"), "--warmup", "500ms"]);
        load.args(["--duration", &format!("{seconds}s"), "--timeout", "10s"]);
        load.args(["--no-codes", "--no-marks", "--quiet", "--json", "-"]);
        let out = load.output().context("keygate runs")?;
        // What was never sent fails a run of the load generator; here it is one of the figures.
        let report: serde_json::Value = serde_json::from_slice(&out.stdout)
            .with_context(|| format!("keygate load: {}", String::from_utf8_lossy(&out.stderr)))?;
        let count = |name: &str| report[name].as_u64().context("a count");
        ensure!(
            count("wrong")? + count("failures")? + count("connectFailures")? == 0,
            "keygate load: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        let step = &report["steps"][0];
        let answers = step["answers"].as_u64().context("a count of answers")?;
        ensure!(
            answers > 0,
            "it did not keep up with {rate:.0}/s: nothing that was due in this time was answered in it; is the machine quiet?"
        );
        let of = |name: &str| step["latency"][name].as_f64().context("a latency");
        Ok(Latency {
            p50: of("p50")?,
            p90: of("p90")?,
            p99: of("p99")?,
            p99_9: of("p99.9")?,
            unsent: count("unsent")?,
        })
    }
}
