//! As many requests as a contender can take: wrk, and h2load for HTTP/2. They are nobody's here.

use crate::case::{Case, Traffic, Wire};
use crate::contenders::Site;
use crate::keys::UNKNOWN;
use crate::process::{other_cores, pinned};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Keys that uploads are sent with: their requests are made before, bodies and all.
const UPLOADING: usize = 64;

/// What was sent, and answered as it should be.
pub struct Sent {
    pub requests: u64,
    pub took: Duration,
}

impl Sent {
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.took.as_secs_f64()
    }
}

/// The load of a case, as files for the generator.
pub struct Load {
    case: Case,
    file: PathBuf,
    key: String,
}

impl Load {
    pub fn prepare(case: &Case, site: &Site) -> Result<Load> {
        let (name, text) = match case.wire {
            Wire::Http1 | Wire::Tls => ("load.lua", lua(case, site)?),
            Wire::Http2 => ("load.txt", uris(site)?),
        };
        let file = site.folder.join(name);
        fs::write(&file, text)?;
        Ok(Load {
            case: *case,
            file,
            key: site.keys.full[0].clone(),
        })
    }

    /// # Errors
    /// When an answer was not as it should be, or missing, or none was asked for.
    pub fn run(&self, port: u16, seconds: u64) -> Result<Sent> {
        let sent = match self.case.wire {
            Wire::Http1 | Wire::Tls => self.wrk(port, seconds),
            Wire::Http2 => self.h2load(port, seconds),
        }?;
        ensure!(sent.requests > 0, "no request was answered");
        Ok(sent)
    }

    fn wrk(&self, port: u16, seconds: u64) -> Result<Sent> {
        let mut wrk = pinned(&other_cores(), "wrk");
        wrk.args(["-t1", &format!("-c{}", self.case.connections)]);
        wrk.args([&format!("-d{seconds}s"), "--timeout", "10s", "-s"]);
        wrk.arg(&self.file);
        wrk.arg(format!("{}://127.0.0.1:{port}/", self.case.wire.scheme()));
        let said = said(wrk)?;
        let result = said.lines().find_map(|line| line.strip_prefix("RESULT "));
        let numbers: Result<Vec<u64>, _> = result
            .with_context(|| said.clone())?
            .split(' ')
            .map(str::parse)
            .collect();
        let [requests, microseconds, refused, lost] = numbers?[..] else {
            anyhow::bail!("four numbers: {said}");
        };
        let expected = if self.case.traffic == Traffic::Refused {
            requests
        } else {
            0
        };
        ensure!(
            refused == expected,
            "{refused} of {requests} answers are refusals"
        );
        ensure!(lost == 0, "{lost} connections or answers were lost: {said}");
        Ok(Sent {
            requests,
            took: Duration::from_micros(microseconds),
        })
    }

    fn h2load(&self, port: u16, seconds: u64) -> Result<Sent> {
        let uris = self.file.with_extension(port.to_string());
        fs::write(
            &uris,
            fs::read_to_string(&self.file)?.replace("PORT", &port.to_string()),
        )?;
        let mut h2load = pinned(&other_cores(), "h2load");
        h2load.args(["-t1", &format!("-c{}", self.case.connections)]);
        h2load.args([&format!("-m{}", self.case.streams), &format!("-D{seconds}")]);
        h2load
            .args(["-H", &format!("apikey: {}", self.key), "-i"])
            .arg(&uris);
        let begun = Instant::now();
        let said = said(h2load)?;
        let took = begun.elapsed();
        // requests: 9 total, 9 started, 9 done, 9 succeeded, 0 failed, 0 errored, 0 timeout
        let number = |before: &str, after: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(before));
            let part = line?
                .split(", ")
                .find_map(|part| part.trim().strip_suffix(after));
            part?.trim().parse::<u64>().ok()
        };
        let requests = number("requests:", " done").with_context(|| said.clone())?;
        // What is still under way at the end is no request that is done, though some of it may have been answered.
        let good = number("status codes:", " 2xx").with_context(|| said.clone())?;
        let others = ["3xx", "4xx", "5xx"].map(|what| number("status codes:", &format!(" {what}")));
        let lost =
            ["failed", "errored", "timeout"].map(|what| number("requests:", &format!(" {what}")));
        ensure!(
            good >= requests && others == [Some(0); 3],
            "answers are no success: {said}"
        );
        ensure!(lost == [Some(0); 3], "answers were lost: {said}");
        Ok(Sent { requests, took })
    }
}

fn said(mut command: Command) -> Result<String> {
    let out = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let error = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{command:?}: {said}{error}");
    Ok(said)
}

/// wrk sends the requests of this script in turns; they are made before it begins. Each key has its turn, and each route.
fn lua(case: &Case, site: &Site) -> Result<String> {
    let keys = match case.traffic {
        Traffic::Small | Traffic::Answer => site.keys.sent.clone(),
        Traffic::Upload => {
            let some = &site.keys.full[..site.keys.full.len().min(UPLOADING)];
            let path = site.folder.join("uploading.txt");
            fs::write(&path, some.join("\n") + "\n")?;
            path
        }
        Traffic::Refused => {
            // As many as there are routes, so that each of them is asked for.
            let path = site.folder.join("unknown.txt");
            fs::write(&path, format!("{UNKNOWN}\n").repeat(site.routes.0))?;
            path
        }
    };
    let mut prefixes = String::new();
    for (prefix, _) in site.routes.each() {
        write!(prefixes, "\"{prefix}\",")?;
    }
    Ok(format!(
        "local requests, n = {{}}, 0\n\
         local prefixes = {{ {prefixes} }}\n\
         init = function()\n\
           local body = {body} > 0 and string.rep('x', {body}) or nil\n\
           for key in io.lines('{keys}') do\n\
             local i = #requests\n\
             requests[i + 1] = wrk.format('{method}', prefixes[i % #prefixes + 1] .. i, {{ apikey = key }}, body)\n\
           end\n\
           for i = #requests + 1, #prefixes do\n\
             if {body} == 0 then\n\
               local key = requests[1]:match('apikey: (%w+)')\n\
               requests[i] = wrk.format('{method}', prefixes[i] .. i, {{ apikey = key }})\n\
             end\n\
           end\n\
         end\n\
         request = function() n = n % #requests + 1; return requests[n] end\n\
         done = function(summary)\n\
           local e = summary.errors\n\
           io.write(string.format('RESULT %d %d %d %d\\n', summary.requests, summary.duration, e.status,\n\
             e.connect + e.read + e.write + e.timeout))\n\
         end\n",
        body = case.traffic.body(),
        keys = keys.display(),
        method = case.traffic.method(),
    ))
}

fn uris(site: &Site) -> Result<String> {
    let mut text = String::new();
    for (number, (prefix, _)) in site.routes.each().enumerate() {
        writeln!(text, "http://127.0.0.1:PORT{prefix}{number}")?;
    }
    Ok(text)
}
