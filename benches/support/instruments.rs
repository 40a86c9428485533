//! What counts, while a gateway serves: each instrument runs one of its own.
//!
//! [`Callgrind`] counts the instructions of the worker's thread outside the kernel, between two moments, [`Strace`] lists
//! its system calls, [`Allocations`] asks a gateway whose allocator counts.

use super::gateway::{Running, wait};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Whether this tool is there; where it is missing, that is said.
pub fn has(tool: &str, what: &str) -> bool {
    let found = Command::new(tool).arg("--version").output();
    let found = found.is_ok_and(|out| out.status.success());
    if !found {
        println!("NOT COUNTED: {what}: {tool} is not installed (Debian: {tool})");
    }
    found
}

/// Starts this program with `run --config`, and waits until it listens.
fn gateway(mut program: Command, folder: &Path, port: u16) -> Running {
    let log = File::create(folder.join("keygate.log")).expect("a log");
    program.args(["run", "--config"]);
    program.arg(folder.join("keygate.toml")).stderr(log);
    let running = Running(program.spawn().expect("it starts"));
    wait(port);
    running
}

/// A gateway in valgrind.
pub struct Callgrind {
    gateway: Running,
    out: PathBuf,
    dumps: usize,
    /// As valgrind counts them.
    worker: Option<usize>,
}

impl Callgrind {
    pub fn start(folder: &Path, port: u16) -> Self {
        let out = folder.join("callgrind.out");
        let mut program = Command::new("valgrind");
        program
            .args(["--quiet", "--tool=callgrind", "--instr-atstart=no"])
            .arg("--separate-threads=yes")
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(env!("CARGO_BIN_EXE_keygate"))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let callgrind = Callgrind {
            gateway: gateway(program, folder, port),
            out,
            dumps: 0,
            worker: None,
        };
        callgrind.tell("instrumentation on");
        callgrind
    }

    /// Begins anew.
    pub fn zero(&self) {
        self.tell("zero");
    }

    /// Instructions of the worker since it began; the first time, it has to be the busiest.
    pub fn instructions(&mut self) -> u64 {
        self.tell("dump");
        self.dumps += 1;
        let of = |thread: usize| {
            let path = format!("{}.{}-{thread:02}", self.out.display(), self.dumps);
            let dump = std::fs::read_to_string(path).ok()?;
            let totals = dump.lines().find_map(|line| line.strip_prefix("totals: "));
            totals?.trim().parse::<u64>().ok()
        };
        let busiest = || (1..100).max_by_key(|thread| of(*thread));
        let worker = self.worker.or_else(busiest).expect("some threads");
        let instructions = of(worker).expect("a dump ends with its totals");
        self.worker = Some(worker);
        instructions
    }

    fn tell(&self, command: &str) {
        let output = Command::new("vgdb")
            .arg(format!("--pid={}", self.gateway.0.id()))
            .args(command.split(' '))
            .output()
            .expect("vgdb runs");
        assert!(output.status.success(), "vgdb {command}: {output:?}");
    }
}

/// The system calls of a worker.
pub struct Strace {
    // First: what is traced ends after the tracer.
    _strace: Running,
    _gateway: Running,
    out: PathBuf,
}

impl Strace {
    pub fn start(folder: &Path, port: u16) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_keygate"));
        program.stdin(Stdio::null()).stdout(Stdio::null());
        let gateway = gateway(program, folder, port);
        let worker = worker(gateway.0.id());
        let out = folder.join("strace.out");
        let strace = Command::new("strace")
            .args(["-qq", "-e", "signal=none", "-s", "0"])
            .arg("-p")
            .arg(worker.file_name().expect("a thread's number"))
            .arg("-o")
            .arg(&out)
            .stdin(Stdio::null())
            .spawn()
            .expect("strace starts");
        let strace = Running(strace);
        let begun = Instant::now();
        let traced = || {
            let status = std::fs::read_to_string(worker.join("status")).expect("a thread");
            !status.lines().any(|line| line == "TracerPid:\t0")
        };
        while !traced() {
            let patience = begun.elapsed() < Duration::from_secs(20);
            assert!(patience, "strace may not trace the worker");
            std::thread::yield_now();
        }
        Strace {
            _strace: strace,
            _gateway: gateway,
            out,
        }
    }

    /// How much it has written.
    pub fn at(&self) -> usize {
        let size = std::fs::metadata(&self.out).map_or(0, |file| file.len());
        usize::try_from(size).expect("a small file")
    }

    /// The system calls that ended between each two of these places.
    pub fn between(&self, places: &[usize]) -> Vec<BTreeMap<String, u64>> {
        let text = std::fs::read_to_string(&self.out).expect("what strace wrote");
        let mut counts = vec![BTreeMap::new(); places.len() - 1];
        let mut end = 0;
        for line in text.split_inclusive('\n') {
            end += line.len();
            let before = places.partition_point(|place| *place < end);
            if let (Some(name), Some(at)) = (line.split('(').next(), before.checked_sub(1))
                && let Some(count) = counts.get_mut(at)
            {
                *count.entry(name.to_owned()).or_insert(0) += 1;
            }
        }
        counts
    }
}

/// Where the system tells of the worker's thread.
fn worker(process: u32) -> PathBuf {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("its threads");
    let mut paths = tasks.map(|task| task.expect("a thread").path());
    paths
        .find(|path| {
            let name = std::fs::read_to_string(path.join("comm"));
            name.is_ok_and(|name| name.trim_end() == "worker-0")
        })
        .expect("there is one worker")
}

/// A gateway that tells what it allocated: this program, which then answers each byte on its standard input with a line.
pub struct Allocations {
    _gateway: Running,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Allocations {
    pub fn start(folder: &Path, port: u16) -> Self {
        let mut program = Command::new(std::env::current_exe().expect("this program has a path"));
        program.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut gateway = gateway(program, folder, port);
        let pipes = (gateway.0.stdin.take(), gateway.0.stdout.take());
        let (Some(asks), Some(answers)) = pipes else {
            panic!("both are piped");
        };
        Allocations {
            _gateway: gateway,
            asks,
            answers: BufReader::new(answers),
        }
    }

    /// How often it allocated so far, and how many bytes.
    pub fn so_far(&mut self) -> (u64, u64) {
        self.asks.write_all(b"?").expect("it lives");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it answers");
        let (times, bytes) = line.trim_end().split_once(' ').expect("two numbers");
        let number = |text: &str| text.parse().expect("a number");
        (number(times), number(bytes))
    }
}
