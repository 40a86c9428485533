//! Proxies as processes, the load upon them, and what they use of the processor.

use super::gateway::configure;
pub use super::gateway::{Running, free_port, wait};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

pub const CONNECTIONS: usize = 64;

/// Whether one of these tools is missing; then that is said.
pub fn skipped(tools: &[&str]) -> bool {
    let missing = tools.iter().find(|tool| {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .output();
        !found.is_ok_and(|out| out.status.success())
    });
    if let Some(tool) = missing {
        println!("skipped: {tool} is not installed (Debian: nginx-light, wrk, util-linux)");
    }
    missing.is_some()
}

/// A process that is measured.
pub struct Contender {
    pub name: &'static str,
    pub port: u16,
    pub running: Running,
}

/// Loads the contenders in turns and prints the processor time of a request, and its ratio to that of the first.
/// Every answer has to have a status of the kind of this one, a success or not.
pub fn compare(what: &str, contenders: &[Contender], script: &Path, status: u16) {
    let (rounds, seconds) = (rounds(), seconds());
    println!("{what}: CPU µs per request of the process (requests a second), ratio to the first");
    let mut costs = vec![Vec::new(); contenders.len()];
    let mut ratios = costs.clone();
    for round in 0..=rounds {
        let mut line = format!("  round {round}:");
        let mut first = None;
        for (i, contender) in contenders.iter().enumerate() {
            let pid = contender.running.0.id();
            let before = cpu(pid);
            let (requests, bad) = wrk(contender.port, script, seconds);
            let used = cpu(pid) - before;
            let expected = if status < 400 { 0 } else { requests };
            let name = contender.name;
            assert_eq!(bad, expected, "{name}: every answer is as it should be");
            let cost = used.as_secs_f64() * 1e6 / requests as f64;
            let ratio = cost / *first.get_or_insert(cost);
            let _ = write!(
                line,
                "  {name} {cost:.2} ({}) {ratio:.3}",
                requests / seconds
            );
            if round > 0 {
                costs[i].push(cost);
                ratios[i].push(ratio);
            }
        }
        let note = if round == 0 {
            "  (warm-up, not counted)"
        } else {
            ""
        };
        println!("{line}{note}");
    }
    for ((contender, costs), ratios) in contenders.iter().zip(&mut costs).zip(&mut ratios) {
        println!(
            "  median: {} {:.2} µs, {:.3} of {}",
            contender.name,
            median(costs),
            median(ratios),
            contenders[0].name
        );
    }
}

pub fn rounds() -> u64 {
    setting("KEYGATE_BENCH_ROUNDS", 5).max(1)
}

pub fn seconds() -> u64 {
    setting("KEYGATE_BENCH_SECONDS", 4).max(1)
}

fn setting(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(default)
}

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn pinned(core: &str, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command
        .args(["-c", core, program])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

pub fn others() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores == 1 {
        "0".to_owned()
    } else {
        format!("1-{}", cores - 1)
    }
}

/// Starts a gateway: this build, or the binary that `KEYGATE_BENCH_BINARY` names.
pub fn keygate(folder: &Path, port: u16, admin: u16, upstream: u16) -> Running {
    configure(folder, port, admin, upstream, "");
    let log = std::fs::File::create(folder.join("keygate.log")).expect("a log");
    let built = std::env::var("KEYGATE_BENCH_BINARY");
    let child = pinned(
        "0",
        built.as_deref().unwrap_or(env!("CARGO_BIN_EXE_keygate")),
    )
    .arg("run")
    .arg("--config")
    .arg(folder.join("keygate.toml"))
    .stderr(log)
    .spawn()
    .expect("keygate starts");
    let running = Running(child);
    wait(port);
    running
}

pub fn status(port: u16, key: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    let request = format!(
        "GET /v3/users/cyclops1 HTTP/1.1\r\nHost: a\r\napikey: {key}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("send");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text.split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("a status")
}

/// The processor time of a process so far, all of its threads.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let after_name = stat.rsplit(')').next().expect("a name");
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|n| n.parse::<u64>().expect("ticks"))
        .sum();
    // USER_HZ is 100 on every Linux that this runs on.
    Duration::from_millis(ticks * 10)
}

pub fn lua(folder: &Path, name: &str, keys: &[String]) -> std::path::PathBuf {
    let mut text = String::from("local keys = {\n");
    for key in keys {
        let _ = writeln!(text, "\"{key}\",");
    }
    text.push_str(
        "}\nlocal n = 0\nlocal requests = {}\n\
         init = function() for i, key in ipairs(keys) do requests[i] = wrk.format('GET', '/v3/users/cyclops1', { apikey = key }) end end\n\
         request = function() n = n % #requests + 1; return requests[n] end\n\
         done = function(summary) io.write(string.format('RESULT %d %d %d\\n', summary.requests, summary.errors.status, \
         summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout)) end\n",
    );
    let path = folder.join(format!("{name}.lua"));
    std::fs::write(&path, text).expect("write");
    path
}

/// Requests, and how many of them were not answered with a success.
fn wrk(port: u16, script: &Path, seconds: u64) -> (u64, u64) {
    let output = Command::new("taskset")
        .args([
            "-c",
            &others(),
            "wrk",
            "-t1",
            &format!("-c{CONNECTIONS}"),
            &format!("-d{seconds}s"),
            "-s",
        ])
        .arg(script)
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()
        .expect("wrk runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("RESULT "))
        .unwrap_or_else(|| panic!("{text}"));
    let numbers: Vec<u64> = line
        .split(' ')
        .map(|n| n.parse().expect("a number"))
        .collect();
    assert_eq!(numbers[2], 0, "connection errors: {text}");
    (numbers[0], numbers[1])
}
