//! One case: all contenders are started, then take turns; each round begins with another.

use crate::case::{Case, Wire};
use crate::check::{When, check};
use crate::contenders::{Contender, Site, upstream};
use crate::idle::at_rest;
use crate::keys::Keys;
use crate::latency::Paced;
use crate::load::Load;
use crate::process::Process;
use crate::results::{CaseResult, Measured, Outcome, Resting, Row, median};
use crate::support::gateway::free_port;
use crate::tls::Certificate;
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Effort {
    pub rounds: usize,
    pub seconds: u64,
}

/// What all cases have in common.
pub struct Lab<'a> {
    pub folder: &'a Path,
    pub certificate: &'a Certificate,
    pub contenders: &'a [Contender],
    pub effort: Effort,
}

/// A contender that serves.
struct Serving<'a> {
    contender: Contender,
    site: Site<'a>,
    process: Process,
    measured: Measured,
}

impl Lab<'_> {
    /// # Errors
    /// When anything was not as it should be: a wrong answer, a contender that ended, nothing measured.
    pub fn case(&self, case: &Case, keys: &Keys) -> Result<CaseResult> {
        let (site, mut upstream) = self.site(case, keys)?;
        let mut rows = Vec::new();
        let mut serving = Vec::new();
        for &contender in self.contenders {
            match self.start(contender, case, &site)? {
                Ok(one) => serving.push(one),
                Err(reason) => rows.push((contender, Outcome::Lacking(reason))),
            }
        }
        let gateways = serving
            .iter()
            .filter(|one| one.contender.is_gateway())
            .count();
        ensure!(gateways > 0, "no gateway takes part");
        for one in &serving {
            one.check(When::Before)?;
        }
        let load = Load::prepare(case, &site)?;
        for one in &serving {
            load.run(one.site.port, 1)
                .with_context(|| one.context("warm-up"))?;
        }
        self.rounds("throughput", &mut serving, |one, seconds| {
            let before = one.process.cpu()?;
            let sent = load.run(one.site.port, seconds)?;
            let cpu = one.process.cpu()?.since(&before);
            one.measured
                .cpu_us
                .push(cpu.as_secs_f64() * 1e6 / sent.requests as f64);
            one.measured.throughput.push(sent.per_second());
            Ok(())
        })?;
        let most = serving
            .iter()
            .map(|one| median(one.measured.throughput.iter().copied()));
        let rate = (most.fold(f64::INFINITY, f64::min) / 2.0).max(1.0).floor();
        let paced = Paced::prepare(case, &site)?;
        self.rounds("latency", &mut serving, |one, seconds| {
            one.measured
                .latency
                .push(paced.run(one.site.port, rate, seconds)?);
            Ok(())
        })?;
        upstream.alive().context("the upstream")?;
        for mut one in serving {
            one.process
                .alive()
                .with_context(|| one.context("the end"))?;
            one.check(When::After)?;
            one.measured.resident_kib = one.process.memory_kib()?.resident;
            rows.push((one.contender, Outcome::Measured(one.measured)));
        }
        rows.sort_by_key(|(contender, _)| *contender);
        Ok(CaseResult {
            name: case.name,
            title: case.title,
            rate,
            contenders: (rows.into_iter())
                .map(|(contender, outcome)| Row {
                    name: contender.name(),
                    outcome,
                })
                .collect(),
        })
    }

    /// The memory of each that has just been started, one after the other.
    pub fn at_rest(&self, case: &Case, keys: &Keys) -> Result<Vec<Resting>> {
        let (site, _upstream) = self.site(case, keys)?;
        let mut resting = Vec::new();
        for &contender in self.contenders {
            println!("  {}", contender.name());
            let memory = match self.start(contender, case, &site)? {
                Ok(one) => {
                    let memory = at_rest(&one.process, &one.site);
                    Ok(memory.with_context(|| one.context("at rest"))?)
                }
                Err(reason) => Err(reason),
            };
            resting.push(Resting {
                name: contender.name(),
                memory,
            });
        }
        Ok(resting)
    }

    /// Where contenders of this case stand, and the upstream behind them.
    fn site<'a>(&'a self, case: &Case, keys: &'a Keys) -> Result<(Site<'a>, Process)> {
        let upstream = free_port();
        let site = Site {
            folder: self.folder,
            keys,
            routes: case.routes,
            wire: case.wire,
            certificate: self.certificate,
            port: 0,
            upstream,
            upstream_on_wire: match case.wire {
                Wire::Http1 => upstream,
                Wire::Http2 | Wire::Tls => free_port(),
            },
            traffic: case.traffic,
        };
        let process = upstream::start(&site).context("the upstream")?;
        Ok((site, process))
    }

    /// One that serves, or why it does not take part in this case.
    fn start<'a>(
        &self,
        contender: Contender,
        case: &Case,
        site: &Site<'a>,
    ) -> Result<Result<Serving<'a>, String>> {
        if let Some(program) = contender.missing() {
            return Ok(Err(format!(
                "{program} is not installed: benches/lab/setup.sh"
            )));
        }
        if let Some(reason) = contender.lacks(case) {
            return Ok(Err(reason.to_owned()));
        }
        let site = Site {
            port: free_port(),
            ..*site
        };
        let process = contender
            .start(&site)
            .with_context(|| format!("{} does not start", contender.name()))?;
        Ok(Ok(Serving {
            contender,
            site,
            process,
            measured: Measured::default(),
        }))
    }

    fn rounds(
        &self,
        what: &str,
        serving: &mut [Serving<'_>],
        mut measure: impl FnMut(&mut Serving<'_>, u64) -> Result<()>,
    ) -> Result<()> {
        for round in 0..self.effort.rounds {
            println!("  {what}, round {} of {}", round + 1, self.effort.rounds);
            let count = serving.len();
            for turn in 0..count {
                let one = &mut serving[(round + turn) % count];
                let measured = measure(one, self.effort.seconds);
                one.process.alive().with_context(|| one.context(what))?;
                measured.with_context(|| one.context(what))?;
            }
        }
        Ok(())
    }
}

impl Serving<'_> {
    fn check(&self, when: When) -> Result<()> {
        let stage = match when {
            When::Before => "the check before",
            When::After => "the check after",
        };
        check(self.contender, &self.site, when).with_context(|| self.context(stage))
    }

    fn context(&self, stage: &str) -> String {
        format!("{}, {stage}", self.contender.name())
    }
}
