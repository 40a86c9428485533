//! A server as a process: on which cores, since when it listens, what it uses.

use crate::support::gateway::Running;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks whether something has happened.
const LOOK: Duration = Duration::from_millis(10);

pub struct Process {
    running: Running,
    log: PathBuf,
}

impl Process {
    /// Starts a command, what it says going into `log`.
    pub fn start(mut command: Command, log: &Path) -> Result<Process> {
        let file = File::create(log)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = command
            .spawn()
            .with_context(|| format!("{command:?} starts"))?;
        Ok(Process {
            running: Running(child),
            log: log.to_owned(),
        })
    }

    /// Waits until it listens there.
    ///
    /// # Errors
    /// When it ended, or does not listen in time.
    pub fn listening(mut self, port: u16, patience: Duration) -> Result<Process> {
        let begun = Instant::now();
        // Looked up, not tried: the system may join a socket that connects to a free port of its own range with itself.
        let listens = format!(":{port:04X} 00000000:0000 0A ");
        while !fs::read_to_string("/proc/net/tcp")?.contains(&listens) {
            self.alive()?;
            if begun.elapsed() > patience {
                bail!("it does not listen after {} s", patience.as_secs());
            }
            thread::park_timeout(LOOK);
        }
        Ok(self)
    }

    /// # Errors
    /// When it ended; with the last of what it said.
    pub fn alive(&mut self) -> Result<()> {
        if let Some(status) = self.running.0.try_wait()? {
            let said = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            let last = lines[lines.len().saturating_sub(5)..].join("\n");
            bail!("it ended ({status}): {last}");
        }
        Ok(())
    }

    /// The processor time of each of its threads so far.
    pub fn cpu(&self) -> Result<Cpu> {
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let path = task?.path();
            // One that ends meanwhile has no file any more.
            let Ok(text) = fs::read_to_string(path.join("schedstat")) else {
                continue;
            };
            let spent = text.split(' ').next().context("nanoseconds")?.parse()?;
            threads.insert(path, Duration::from_nanos(spent));
        }
        if threads.values().all(Duration::is_zero) {
            bail!("this kernel does not tell the processor time of threads (CONFIG_SCHED_INFO)");
        }
        Ok(Cpu(threads))
    }

    /// Resident memory in KiB: all of it, and the part that is no file's.
    pub fn memory_kib(&self) -> Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_whitespace().next());
            number
                .context("a number of KiB")?
                .parse::<u64>()
                .context("KiB")
        };
        Ok(Memory {
            resident: of("VmRSS:")?,
            anonymous: of("RssAnon:")? + of("RssShmem:")?,
        })
    }

    fn pid(&self) -> u32 {
        self.running.0.id()
    }
}

#[derive(Clone, Copy)]
pub struct Memory {
    pub resident: u64,
    pub anonymous: u64,
}

/// By thread, with more than the ticks of `/proc/PID/stat`.
pub struct Cpu(BTreeMap<PathBuf, Duration>);

impl Cpu {
    /// What was used since. What a thread used that ended since then is lost: such threads were at rest before.
    pub fn since(&self, before: &Cpu) -> Duration {
        let used = self.0.iter().map(|(thread, now)| {
            let then = before.0.get(thread).copied().unwrap_or_default();
            now.saturating_sub(then)
        });
        used.sum()
    }
}

/// A command on these cores.
pub fn pinned(cores: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cores]).arg(program);
    command
}

/// Where the contender that is measured runs.
pub const ITS_CORE: &str = "0";

/// How much of all processors is in use during this time, 0 to 1: what others do, while nothing is measured.
pub fn busy(during: Duration) -> Result<f64> {
    let times = || -> Result<(u64, u64)> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().context("a line of all processors")?;
        let parts: Result<Vec<u64>, _> = line.split_whitespace().skip(1).map(str::parse).collect();
        let parts = parts?;
        let idle = parts.iter().skip(3).take(2).sum();
        // The last two, of guests, are in the first two.
        Ok((idle, parts.iter().take(8).sum()))
    };
    let before = times()?;
    let begun = Instant::now();
    while begun.elapsed() < during {
        thread::park_timeout(during.saturating_sub(begun.elapsed()));
    }
    let after = times()?;
    let (idle, all) = (after.0 - before.0, after.1 - before.1);
    Ok(1.0 - idle as f64 / all.max(1) as f64)
}

/// Where upstream and load run.
pub fn other_cores() -> String {
    match thread::available_parallelism().map_or(1, usize::from) {
        1 => "0".to_owned(),
        2 => "1".to_owned(),
        more => format!("1-{}", more - 1),
    }
}
