//! What a run gives, in the shape of `lab.json`. Lists have a value for each round; medians and ratios are made of them.

use crate::idle::AtRest;
use crate::latency::Latency;
use serde::Serialize;

#[derive(Serialize)]
pub struct Run {
    pub about: About,
    pub cases: Vec<CaseResult>,
    pub at_rest: Vec<Resting>,
    /// What was not as it should be. With one of these a run has failed.
    pub failed: Vec<String>,
}

#[derive(Serialize)]
pub struct About {
    pub date: String,
    pub machine: String,
    pub kernel: String,
    pub cores: usize,
    /// How much of its processors was in use by others in the second before it began, 0 to 1.
    pub busy_before: f64,
    pub rounds: usize,
    pub seconds: u64,
    pub command: String,
    pub contenders: Vec<Listed>,
}

#[derive(Serialize)]
pub struct Listed {
    pub name: &'static str,
    /// What it says its version is.
    pub version: String,
    /// By what it does the job.
    pub how: &'static str,
}

impl Run {
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.about.contenders.iter().map(|listed| listed.name)
    }

    /// Whom ratios are to.
    pub fn first(&self) -> &'static str {
        self.names().next().unwrap_or("the first")
    }
}

#[derive(Serialize)]
pub struct CaseResult {
    pub name: &'static str,
    pub title: &'static str,
    /// Requests per second at which latencies were measured: half of what the slowest could take.
    pub rate: f64,
    pub contenders: Vec<Row>,
}

#[derive(Serialize)]
pub struct Row {
    pub name: &'static str,
    pub outcome: Outcome,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    Measured(Measured),
    /// Why not.
    Lacking(String),
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Microseconds of processor time for a request, as fast as it could.
    pub cpu_us: Vec<f64>,
    /// Requests per second, as fast as it could.
    pub throughput: Vec<f64>,
    /// In microseconds, at the rate.
    pub latency: Vec<Latency>,
    /// After all of that.
    pub resident_kib: u64,
}

#[derive(Serialize)]
pub struct Resting {
    pub name: &'static str,
    /// Or why not.
    pub memory: Result<AtRest, String>,
}

impl CaseResult {
    pub fn measured(&self) -> impl Iterator<Item = (&'static str, &Measured)> {
        self.contenders.iter().filter_map(|row| match &row.outcome {
            Outcome::Measured(measured) => Some((row.name, measured)),
            Outcome::Lacking(_) => None,
        })
    }

    /// What ratios are to.
    pub fn first(&self) -> Option<&Measured> {
        self.measured().next().map(|(_, measured)| measured)
    }
}

/// The middle one; of an even number the mean of the two.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (below, above) = (
        values.get((values.len().max(1) - 1) / 2),
        values.get(values.len() / 2),
    );
    match (below, above) {
        (Some(below), Some(above)) => f64::midpoint(*below, *above),
        _ => f64::NAN,
    }
}

/// The median of the ratios, round by round: what the machine did meanwhile is in both.
pub fn ratio(these: &[f64], those: &[f64]) -> f64 {
    median(these.iter().zip(those).map(|(this, that)| this / that))
}

/// One part of the latencies, by round.
pub fn part(latencies: &[Latency], number: usize) -> Vec<f64> {
    latencies
        .iter()
        .map(|latency| latency.all()[number])
        .collect()
}
