//! keygate beside others that do the same job, on this machine, in one run, with numbers that can be made again.
//!
//! `benches/lab/setup.sh` brings what is needed, `cargo bench --bench lab` measures: see `-- --help`. Each case starts all
//! contenders with the same keys and routes, asks each of them whether it does the job (`contenders/mod.rs` says what that
//! is), and lets them take turns: first as fast as they can, for the processor time of a request and for throughput, then
//! at half of what the slowest can take, for latency. After that they are asked again. A wrong or a missing answer, or a
//! contender that ended, fails the run.
//!
//! A contender has one worker and one core to itself; upstream and load are on the others. What compares well on a machine
//! that is not quiet is the processor time; throughput and latency want quiet. All that is quoted should be ratios.

mod case;
mod check;
mod contenders;
mod idle;
mod keys;
mod latency;
mod load;
mod measure;
mod plots;
mod process;
mod results;
mod support;
mod table;
mod tls;

use anyhow::{Context, Result, bail, ensure};
use case::{BASE, CASES, Case};
use contenders::Contender;
use keys::Keys;
use measure::{Effort, Lab};
use results::{About, CaseResult, Listed, Run};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

const HELP: &str = "\
keygate beside nginx, HAProxy, Envoy, Caddy, a TCP relay and no proxy.

  benches/lab/setup.sh                 installs what is needed (Debian or Ubuntu)
  cargo bench --bench lab              measures; writes lab.md, lab.json, cpu.svg, latency.svg into target/lab
  cargo bench --bench lab -- --keep    and copies them to benches/lab/results

KEYGATE_LAB_ROUNDS=5              rounds of each case
KEYGATE_LAB_SECONDS=2             of each turn
KEYGATE_LAB_ONLY=base,tls         these cases alone; `at-rest` is the memory of idle connections
KEYGATE_LAB_CONTENDERS=keygate,nginx
                                  these alone, by their names in lower case, blanks as `-`
KEYGATE_BENCH_BINARY=PATH         another keygate

Cases:
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut keep = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // cargo says so.
            "--bench" => {}
            "--keep" => keep = true,
            "--help" | "-h" => {
                print!("{HELP}");
                for case in &CASES {
                    println!("  {:<18}{}", case.name, case.title);
                }
                println!("  {AT_REST:<18}memory at rest, and for each idle connection");
                return Ok(());
            }
            other => bail!("`{other}` is not known: see --help"),
        }
    }
    for tool in ["taskset", "curl", "wrk", "h2load"] {
        let found = Command::new("sh")
            .args(["-c", "command -v \"$0\" >&2", tool])
            .output()?;
        ensure!(
            found.status.success(),
            "{tool} is not installed: benches/lab/setup.sh"
        );
    }
    raise_descriptors()?;
    let effort = Effort {
        rounds: number("KEYGATE_LAB_ROUNDS", 5)?.max(1),
        seconds: number("KEYGATE_LAB_SECONDS", 2)?.max(1) as u64,
    };
    let names: Vec<&str> = CASES
        .iter()
        .map(|case| case.name)
        .chain([AT_REST])
        .collect();
    let only = chosen("KEYGATE_LAB_ONLY", &names)?;
    let contenders = contenders()?;
    for contender in &contenders {
        if let Some(program) = contender.missing() {
            eprintln!(
                "lab: {} IS LEFT OUT: {program} is not installed: benches/lab/setup.sh",
                contender.name()
            );
        }
    }

    let target = target().join("lab");
    std::fs::create_dir_all(&target)?;
    let folder = tempfile::tempdir()?;
    let certificate = tls::Certificate::make(folder.path())?;
    let lab = Lab {
        folder: folder.path(),
        certificate: &certificate,
        contenders: &contenders,
        effort,
    };
    let mut made = BTreeMap::new();
    let mut run = Run {
        about: about(effort, &contenders)?,
        cases: Vec::new(),
        at_rest: Vec::new(),
        failed: Vec::new(),
    };
    for case in CASES.iter().filter(|case| only.contains(&case.name)) {
        println!("{}: {}", case.name, case.title);
        let result = keys_for(case, folder.path(), &mut made).and_then(|keys| lab.case(case, keys));
        match result {
            Ok(result) => {
                say(&result);
                run.cases.push(result);
            }
            Err(error) => fail(&mut run, case.name, &error),
        }
        // What there is so far, in case that it does not come to an end.
        write(&run, &target)?;
    }
    if only.contains(&AT_REST) {
        println!("{AT_REST}: memory");
        let keys = keys_for(&BASE, folder.path(), &mut made);
        match keys.and_then(|keys| lab.at_rest(&BASE, keys)) {
            Ok(at_rest) => run.at_rest = at_rest,
            Err(error) => fail(&mut run, AT_REST, &error),
        }
    }
    write(&run, &target)?;
    println!("\n{}", table::table(&run));
    println!("written: {}", target.display());
    ensure!(run.failed.is_empty(), "{}", run.failed.join("; "));
    if keep {
        let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/lab/results");
        std::fs::create_dir_all(&results)?;
        write(&run, &results)?;
        println!("kept: benches/lab/results");
    }
    Ok(())
}

/// Goes on with the other cases; in the end the run has failed.
fn fail(run: &mut Run, case: &str, error: &anyhow::Error) {
    eprintln!("lab: {case} FAILED: {error:#}");
    run.failed.push(format!("{case}: {error:#}"));
}

/// A line for each contender, for those who wait.
fn say(result: &CaseResult) {
    for (name, measured) in result.measured() {
        println!(
            "  {name}: {} µs, {:.0} requests/s",
            table::short(results::median(measured.cpu_us.iter().copied())),
            results::median(measured.throughput.iter().copied())
        );
    }
}

/// Memory, as a case by name.
const AT_REST: &str = "at-rest";

fn write(run: &Run, folder: &Path) -> Result<()> {
    std::fs::write(folder.join("lab.md"), table::table(run))?;
    std::fs::write(
        folder.join("lab.json"),
        serde_json::to_string_pretty(run)? + "\n",
    )?;
    std::fs::write(folder.join("cpu.svg"), plots::cpu(run))?;
    std::fs::write(folder.join("latency.svg"), plots::latency(run))?;
    Ok(())
}

/// The keys of a case, made when they are first asked for.
fn keys_for<'a>(
    case: &Case,
    folder: &Path,
    made: &'a mut BTreeMap<usize, Keys>,
) -> Result<&'a Keys> {
    use std::collections::btree_map::Entry;
    Ok(match made.entry(case.keys) {
        Entry::Occupied(made) => made.into_mut(),
        Entry::Vacant(place) => {
            let folder = folder.join(format!("keys-{}", case.keys));
            place.insert(Keys::make(&folder, case.keys)?)
        }
    })
}

fn contenders() -> Result<Vec<Contender>> {
    let names: Vec<String> = (Contender::ALL.iter())
        .map(|contender| contender.name().to_lowercase().replace(' ', "-"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let chosen = chosen("KEYGATE_LAB_CONTENDERS", &names)?;
    let all = Contender::ALL.iter().zip(&names);
    Ok(all
        .filter(|(_, name)| chosen.contains(name))
        .map(|(one, _)| *one)
        .collect())
}

/// Those of these names that a variable names; all where it is not set.
fn chosen<'a>(variable: &str, names: &[&'a str]) -> Result<Vec<&'a str>> {
    let Ok(text) = std::env::var(variable) else {
        return Ok(names.to_vec());
    };
    let find = |word: &str| {
        let found = names.iter().find(|name| **name == word.trim());
        found
            .copied()
            .with_context(|| format!("{variable}: `{word}` is none of {}", names.join(", ")))
    };
    text.split(',').map(find).collect()
}

fn number(variable: &str, default: usize) -> Result<usize> {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{variable}: a number, not {text:?}")),
        Err(_) => Ok(default),
    }
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target"),
    }
}

fn about(effort: Effort, contenders: &[Contender]) -> Result<About> {
    let told = |program: &str, argument: &str| -> Result<String> {
        let out = Command::new(program).arg(argument).output()?;
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let processor = std::fs::read_to_string("/proc/cpuinfo")?;
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let set: Vec<String> = std::env::vars()
        .filter(|(name, _)| name.starts_with("KEYGATE_LAB_"))
        .map(|(name, value)| format!("{name}={value} "))
        .collect();
    Ok(About {
        date: told("date", "+%F")?,
        machine: processor
            .unwrap_or(": unknown")
            .trim_start_matches([':', ' ', '\t'])
            .to_owned(),
        kernel: told("uname", "-r")?,
        cores: std::thread::available_parallelism()?.get(),
        busy_before: process::busy(Duration::from_secs(1))?,
        rounds: effort.rounds,
        seconds: effort.seconds,
        command: set.concat() + "cargo bench --bench lab",
        contenders: (contenders.iter())
            .map(|one| Listed {
                name: one.name(),
                version: one.version(),
                how: one.how(),
            })
            .collect(),
    })
}

/// A thousand connections, and the contenders' own, are more than many systems allow at first. Children inherit it.
fn raise_descriptors() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    ensure!(
        limit.current.is_none_or(|n| n >= 8_192),
        "8,192 descriptors are needed: ulimit -Hn"
    );
    Ok(())
}
