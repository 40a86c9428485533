//! Latency at a rate, as `keygate load` measures it.

use super::proxies::{CONNECTIONS, Contender, median, others, pinned, rounds, seconds};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;

/// Sends requests with good keys to each contender in turns, at half the rate that the slowest can serve, and prints the
/// latency counted from when a request was due, and its ratio to that of the first. Every answer has to be 200.
pub fn latencies(folder: &Path, contenders: &[Contender], keys: &[String]) {
    let path = folder.join("keys.txt");
    std::fs::write(&path, keys.join("\n")).expect("write");
    let most = contenders.iter().map(|one| {
        let answers = load(one, &path, &[]);
        answers["throughput"].as_f64().expect("a number")
    });
    let rate = most.fold(f64::INFINITY, f64::min) / 2.0;
    let rate = format!("{rate:.0}");
    println!("latency at {rate} requests a second: µs, ratio to the first");
    const PARTS: [&str; 3] = ["p50", "p99", "p99.9"];
    let mut ratios = vec![vec![Vec::new(); PARTS.len()]; contenders.len()];
    for round in 1..=rounds() {
        let mut line = format!("  round {round}:");
        let mut first = None;
        for (contender, ratios) in contenders.iter().zip(&mut ratios) {
            let step = load(contender, &path, &["--rate", &rate]);
            let parts = PARTS.map(|part| step["latency"][part].as_f64().expect("a number"));
            let first = *first.get_or_insert(parts);
            let _ = write!(line, "  {}", contender.name);
            for ((part, name), (first, ratios)) in
                parts.iter().zip(PARTS).zip(first.iter().zip(ratios))
            {
                ratios.push(part / first);
                let _ = write!(line, " {name} {part:.0} {:.2}", part / first);
            }
        }
        println!("{line}");
    }
    for (contender, ratios) in contenders.iter().zip(&mut ratios) {
        let mut line = format!("  median: {}", contender.name);
        for (name, ratios) in PARTS.iter().zip(ratios) {
            let _ = write!(line, " {name} {:.2}", median(ratios));
        }
        println!("{line} of {}", contenders[0].name);
    }
}

/// What `keygate load` measures of a contender: the figures of its one step.
fn load(contender: &Contender, keys: &Path, more: &[&str]) -> serde_json::Value {
    let output = pinned(&others(), env!("CARGO_BIN_EXE_keygate"))
        .arg("load")
        .arg(format!("http://127.0.0.1:{}", contender.port))
        .arg("--keys")
        .arg(keys)
        .args(["--route", "GET /v3/users/{n}", "--no-marks", "--quiet"])
        .args(["--connections", &CONNECTIONS.to_string(), "--warmup", "1s"])
        .args(["--duration", &format!("{}s", seconds()), "--json", "-"])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .expect("keygate runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", contender.name);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    report["steps"][0].clone()
}
