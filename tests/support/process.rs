//! What a gateway uses, seen from outside, and what it says of itself in numbers.

use super::Gateway;
use std::net::SocketAddr;
use std::time::Duration;

impl Gateway {
    /// Its anonymous memory, in KiB.
    pub fn anonymous_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the process lives");
        let line = status.lines().find(|l| l.starts_with("RssAnon:"));
        line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok())
            .expect("a number of KiB")
    }

    /// Does this again until it leaves the anonymous memory as it was, give or take some KiB. What is lost in each round
    /// is lost in all; what an allocator keeps for later is not. `rest` brings the gateway to rest.
    pub fn memory_settles(&self, slack: u64, mut round: impl FnMut(), rest: impl Fn()) {
        let mut taken = vec![self.anonymous_kib()];
        for _ in 0..6 {
            round();
            rest();
            let (before, now) = (taken[taken.len() - 1], self.anonymous_kib());
            if now < before + slack {
                return;
            }
            taken.push(now);
        }
        panic!("each round leaves more memory taken, in KiB: {taken:?}");
    }

    /// The time that its threads have been running so far.
    pub fn cpu_time(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid()));
        let times = threads.expect("the process lives").flatten().map(|thread| {
            // A thread may have ended.
            let stat = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let nanoseconds = stat.split(' ').next().and_then(|n| n.parse().ok());
            Duration::from_nanos(nanoseconds.unwrap_or(0))
        });
        times.sum()
    }

    /// How many descriptors it has open; `None` to who may not look into every process, unless the gateway runs with
    /// `dumpable = true`.
    pub fn descriptors(&self) -> Option<usize> {
        let folder = std::fs::read_dir(format!("/proc/{}/fd", self.pid()));
        folder.map(Iterator::count).ok()
    }

    /// All addresses with a port that it listens on for clients, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let ready = self.wait_for_log(|line| line.contains(r#""message":"ready""#));
        let ready: serde_json::Value = serde_json::from_str(&ready).expect("a line of JSON");
        let all = ready["gateway"].as_str().expect("addresses").split(',');
        all.filter_map(|address| address.parse().ok()).collect()
    }

    /// The sum of a metric over all its labels; 0 where it is not there.
    pub fn metric(&self, name: &str) -> u64 {
        let page = self.admin("/metrics").text();
        page.lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with([' ', '{']))
            })
            .map(|line| {
                let value = line.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok());
                value.expect("a number") as u64
            })
            .sum()
    }

    /// Waits until a metric has this value.
    pub fn wait_for_metric(&self, name: &str, value: u64) {
        self.eventually(|| self.metric(name), |found| *found == value);
    }

    /// How often each request was sent to an upstream, by the lines of the access log so far: its id and that number.
    pub fn attempts(&self) -> Vec<(String, u64)> {
        let log = self.log();
        let lines = log.lines().filter(|l| l.contains("keygate::access"));
        lines
            .filter_map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
                let attempts = line["attempts"].as_u64()?;
                Some((line["id"].as_str()?.to_owned(), attempts))
            })
            .collect()
    }
}
