//! What is shown on a terminal while a run goes on.

use super::plan::Plan;
use super::seat::Counters;
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A line that is written over again and again.
pub(super) struct Progress {
    bar: ProgressBar,
    parts: Vec<(f64, String)>,
    last: Cell<(Duration, u64)>,
}

impl Progress {
    pub(super) fn new(plan: &Plan) -> Self {
        let all = plan.schedule.ends();
        let style = ProgressStyle::with_template("{prefix:>9} {wide_bar} {msg}");
        let bar = ProgressBar::new((all * 10.0) as u64);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let parts = plan.schedule.phases().iter().map(|phase| {
            let name = match phase.step {
                None => "warm-up".to_owned(),
                Some(step) => match plan.schedule.rates[step] {
                    Some(rate) => format!("{rate}/s"),
                    None => "closed".to_owned(),
                },
            };
            (phase.ends, name)
        });
        Progress {
            bar,
            parts: parts.collect(),
            last: Cell::new((Duration::ZERO, 0)),
        }
    }

    /// Shows how far it is, how fast just now, and what went wrong.
    pub(super) fn show(&self, elapsed: Duration, counters: &[Counters]) {
        let sum = |of: fn(&Counters) -> &AtomicU64| -> u64 {
            counters.iter().map(|c| of(c).load(Ordering::Relaxed)).sum()
        };
        let answers = sum(|c| &c.answers);
        let (wrong, failures) = (sum(|c| &c.wrong), sum(|c| &c.failures));
        let (then, before) = self.last.replace((elapsed, answers));
        let time = (elapsed - then).as_secs_f64();
        let rate = if time > 0.0 {
            (answers - before) as f64 / time
        } else {
            0.0
        };
        let seconds = elapsed.as_secs_f64();
        let part = self.parts.iter().find(|(ends, _)| seconds < *ends);
        let name = part.map_or("ending", |(_, name)| name);
        self.bar.set_prefix(name.to_owned());
        self.bar.set_position((seconds * 10.0) as u64);
        self.bar.set_message(format!(
            "{seconds:.0} s, {answers} answers, {rate:.0}/s, {wrong} wrong, {failures} failed"
        ));
    }

    pub(super) fn clear(self) {
        self.bar.finish_and_clear();
    }
}
