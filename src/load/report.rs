//! What a run found, as numbers; the shape of `--json`.

use super::counters::Counts;
use super::expect::Outcome;
use super::plan::{Plan, Protocol};
use super::tally::{Failure, Latencies, Sample, StepTally};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The share of a thread's time above which the generator may be what limits.
const BUSY: f64 = 0.9;
/// How late requests of an open loop may be sent at the 99th percentile before that is said.
const LATE_US: f64 = 1_000.0;

/// A finished run.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The version of keygate.
    pub version: &'static str,
    pub target: String,
    pub protocol: String,
    pub tls: bool,
    #[serde(rename = "loop")]
    pub pace: &'static str,
    pub connections: usize,
    /// Requests at once on each connection.
    pub streams: usize,
    pub threads: Vec<Thread>,
    pub seed: u64,
    pub keys: KeyCounts,
    /// No answer was wrong, none was missing, every request that was due was sent, no connection failed, and there was at
    /// least one answer.
    pub ok: bool,
    pub interrupted: bool,
    /// Of the whole run, warm-up included.
    pub answers: u64,
    pub wrong: u64,
    /// Requests without an answer, and bytes that were the answer to none.
    pub failures: u64,
    /// Requests that were due and never sent, since there was no connection for them before the end.
    pub unsent: u64,
    /// Connections that were made in place of others which the server had ended.
    pub reconnects: u64,
    /// Connections that could not be made during the run, each attempt.
    pub connect_failures: u64,
    /// Requests that were sent again, since their connection ended before any of an answer.
    pub resent: u64,
    pub steps: Vec<Step>,
    /// The first wrong answers and failures.
    pub samples: Vec<Sample>,
    /// What an operator should know about these figures.
    pub notes: Vec<String>,
}

/// The keys that requests were drawn from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyCounts {
    pub count: usize,
    /// Memory that they took.
    pub bytes: usize,
    /// Keys of the store that it did not show, and that were therefore not sent.
    pub hidden: usize,
}

/// A thread of the generator.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Thread {
    pub number: usize,
    /// While it was measured.
    pub cpu_seconds: f64,
    /// Of one processor, 0 to 1.
    pub cpu_share: f64,
}

/// What was measured at one rate.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Requests per second that were asked for; `None` in a closed loop.
    pub rate: Option<f64>,
    pub seconds: f64,
    /// Right ones.
    pub answers: u64,
    /// Right answers per second.
    pub throughput: f64,
    pub body_bytes: u64,
    pub wrong: u64,
    /// By what went wrong.
    pub failures: BTreeMap<&'static str, u64>,
    /// Of all right answers.
    pub latency: Latency,
    /// By the outcome that was expected.
    pub outcomes: Vec<OutcomeReport>,
    /// How late requests were sent; `None` in a closed loop.
    pub lag: Option<Lag>,
    #[serde(skip)]
    pub(super) all: Histogram,
}

/// Kept for the plot.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Histogram(pub(super) Latencies);

/// Answers with the outcome that they should have.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutcomeReport {
    pub status: u16,
    /// `error.code`, where it was compared.
    pub code: Option<String>,
    pub answers: u64,
    pub latency: Latency,
}

/// Latencies in microseconds, from when each request was due until its answer was whole.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Latency {
    pub mean: f64,
    pub p50: f64,
    pub p75: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    #[serde(rename = "p99.99")]
    pub p99_99: f64,
    pub max: f64,
}

/// How late requests of an open loop were sent, in microseconds. Part of their latencies.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Lag {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
    /// Requests that were due while no connection was free.
    pub queued: u64,
}

impl Latency {
    fn of(latencies: &Latencies) -> Self {
        let at = |quantile| microseconds(latencies.value_at_quantile(quantile));
        Latency {
            mean: if latencies.is_empty() {
                0.0
            } else {
                latencies.mean() / 1e3
            },
            p50: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: microseconds(latencies.max()),
        }
    }
}

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

/// What was counted of the run as a whole.
pub(super) struct Totals {
    pub(super) ran: Duration,
    pub(super) is_interrupted: bool,
    pub(super) unsent: u64,
    pub(super) counts: Counts,
    pub(super) samples: Vec<Sample>,
    pub(super) threads: Vec<Thread>,
}

impl Report {
    pub(super) fn new(plan: &Plan, tallies: &[StepTally], totals: Totals) -> Self {
        let counts = totals.counts;
        let outcomes = plan.stuff.expectations.outcomes();
        let spans = plan
            .schedule
            .phases()
            .iter()
            .filter(|phase| phase.step.is_some());
        let ran = totals.ran.as_secs_f64();
        let begun = tallies
            .iter()
            .zip(spans)
            .filter(|(_, span)| span.begins < ran);
        let steps: Vec<Step> = begun
            .enumerate()
            .map(|(at, (tally, span))| {
                let seconds = ran.min(span.ends) - span.begins;
                step(plan.schedule.rates[at], seconds, tally, outcomes)
            })
            .collect();
        let mut report = Report {
            version: env!("CARGO_PKG_VERSION"),
            target: plan.target.to_string(),
            protocol: plan.protocol.to_string(),
            tls: plan.target.tls,
            pace: if plan.is_open { "open" } else { "closed" },
            connections: plan.connections,
            streams: match plan.protocol {
                Protocol::Http1 => 1,
                Protocol::Http2 { streams } => streams.get(),
            },
            threads: totals.threads,
            seed: plan.seed,
            keys: KeyCounts {
                count: plan.stuff.pool.len(),
                bytes: plan.stuff.pool.bytes(),
                hidden: plan.hidden_keys,
            },
            ok: counts.wrong == 0
                && counts.failures == 0
                && counts.connect_failures == 0
                && totals.unsent == 0
                && counts.answers > 0,
            interrupted: totals.is_interrupted,
            answers: counts.answers,
            wrong: counts.wrong,
            failures: counts.failures,
            unsent: totals.unsent,
            reconnects: counts.reconnects,
            connect_failures: counts.connect_failures,
            resent: counts.resent,
            steps,
            samples: totals.samples,
            notes: Vec::new(),
        };
        report.notes = report.notes();
        report
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let busy: Vec<&Thread> = self
            .threads
            .iter()
            .filter(|t| t.cpu_share >= BUSY)
            .collect();
        if !busy.is_empty() {
            notes.push(format!(
                "{} of {} threads of the generator were busy for {:.0} % of the time or more: it may have been the limit itself; give it more --threads, or cores of its own",
                busy.len(),
                self.threads.len(),
                BUSY * 100.0
            ));
        }
        for step in &self.steps {
            let (Some(rate), Some(lag)) = (step.rate, step.lag) else {
                continue;
            };
            if lag.queued > 0 && lag.p99 > LATE_US {
                notes.push(format!(
                    "at {rate}/s, {} requests were due while all connections were waiting for answers (that time is in their latencies): the target is slower than the rate, there are too few --connections, or the generator was kept from running",
                    lag.queued
                ));
            } else if lag.p99 > LATE_US {
                notes.push(format!(
                    "at {rate}/s, 1 % of the requests were sent more than {:.1} ms late by the generator itself: give it more --threads, or cores of its own",
                    lag.p99 / 1e3
                ));
            }
        }
        if self.keys.hidden > 0 {
            notes.push(format!(
                "{} keys of the store were not sent, since it does not show their texts",
                self.keys.hidden
            ));
        }
        if self.unsent > 0 {
            notes.push(format!(
                "{} requests were due and never sent: the target or the generator could not keep the rate",
                self.unsent
            ));
        }
        if self.connect_failures > 0 {
            notes.push(format!(
                "{} times no connection could be made during the run",
                self.connect_failures
            ));
        }
        if self.resent > 0 {
            notes.push(format!(
                "{} requests were sent again: the server ended their connections, which had been in use, before any of an answer",
                self.resent
            ));
        }
        let is_limited =
            |sample: &Sample| sample.expected.starts_with("401") && sample.got.starts_with("429");
        if self.samples.iter().any(is_limited) {
            notes.push(
                "429 where 401 is right: the gateway limits failed authentications by client; set `[limits] failed_auth` higher for the test".to_owned(),
            );
        }
        if self.samples.iter().any(|sample| {
            sample.expected.contains("digest")
                && sample.got.starts_with("200")
                && !sample.got.contains(", digest")
        }) {
            notes.push(
                "the upstream makes no digests: put `keygate load upstream` behind the gateway, or compare without them (--no-marks)".to_owned(),
            );
        }
        notes
    }
}

fn step(rate: Option<f64>, seconds: f64, tally: &StepTally, outcomes: &[Outcome]) -> Step {
    let all = tally.all();
    let by_outcome = outcomes.iter().zip(&tally.by_outcome);
    let mut reports: Vec<OutcomeReport> = by_outcome
        .map(|(outcome, latencies)| OutcomeReport {
            status: outcome.status,
            code: outcome.code.clone(),
            answers: latencies.len(),
            latency: Latency::of(latencies),
        })
        .collect();
    reports.sort_by(|a, b| (a.status, &a.code).cmp(&(b.status, &b.code)));
    let at = |quantile| microseconds(tally.lag.value_at_quantile(quantile));
    Step {
        rate,
        seconds,
        answers: all.len(),
        throughput: if seconds > 0.0 {
            all.len() as f64 / seconds
        } else {
            0.0
        },
        body_bytes: tally.body_bytes,
        wrong: tally.wrong,
        failures: Failure::ALL
            .iter()
            .map(|(failure, name)| (*name, tally.failures[*failure as usize]))
            .collect(),
        latency: Latency::of(&all),
        outcomes: reports,
        lag: rate.map(|_| Lag {
            p50: at(0.5),
            p99: at(0.99),
            max: microseconds(tally.lag.max()),
            queued: tally.queued,
        }),
        all: Histogram(all),
    }
}
