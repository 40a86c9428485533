//! What is shown on standard error while a run goes on: on a terminal a line that is written over again and again, else a
//! line when another phase begins, and now and then.

use super::counters::Counts;
use super::plan::Plan;
use super::run::Display;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// How often a line is written where each stays.
const EVERY: Duration = Duration::from_secs(5);

/// How far a run is.
pub(super) struct Progress {
    shown: Shown,
    parts: Vec<Part>,
    last: (Duration, u64),
}

enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines(Lines),
}

/// A phase as it is shown.
struct Part {
    ends: f64,
    name: String,
}

impl Progress {
    pub(super) fn new(plan: &Plan, display: Display) -> Self {
        let parts = plan.schedule.phases().iter().map(|phase| Part {
            ends: phase.ends,
            name: match phase.step {
                None => "warm-up".to_owned(),
                Some(step) => match plan.schedule.rates[step] {
                    Some(rate) => format!("{rate}/s"),
                    None => "closed".to_owned(),
                },
            },
        });
        let shown = match display {
            Display::None => Shown::Nothing,
            Display::Lines => Shown::Lines(Lines::new()),
            Display::Live => {
                let style = ProgressStyle::with_template("{prefix:>9} {wide_bar} {msg}");
                let bar = ProgressBar::new((plan.schedule.ends() * 10.0) as u64);
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                Shown::Bar(bar)
            }
        };
        Progress {
            shown,
            parts: parts.collect(),
            last: (Duration::ZERO, 0),
        }
    }

    /// Shows how far it is, how fast since it was last shown, and what went wrong.
    pub(super) fn show(&mut self, elapsed: Duration, counts: Counts) {
        let seconds = elapsed.as_secs_f64();
        let part = self.parts.iter().position(|part| seconds < part.ends);
        let name = part.map_or("ending", |part| &self.parts[part].name);
        let last = self.last;
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => {
                bar.set_prefix(name.to_owned());
                bar.set_position((seconds * 10.0) as u64);
                bar.set_message(message(elapsed, counts, last));
                self.last = (elapsed, counts.answers);
            }
            Shown::Lines(lines) => {
                if lines.is_due(elapsed, part) {
                    // Where nobody hears it, the run goes on.
                    let line = message(elapsed, counts, last);
                    let _ = std::io::Write::write_fmt(
                        &mut std::io::stderr().lock(),
                        format_args!("{name}: {line}\n"),
                    );
                    self.last = (elapsed, counts.answers);
                }
            }
        }
    }

    pub(super) fn clear(self) {
        if let Shown::Bar(bar) = self.shown {
            bar.finish_and_clear();
        }
    }
}

/// When lines are written: not at the start, where there is nothing to tell.
struct Lines {
    /// When the last one was, and in which phase; `None` for the end.
    last: (Duration, Option<usize>),
}

impl Lines {
    fn new() -> Self {
        Lines {
            last: (Duration::ZERO, Some(0)),
        }
    }

    fn is_due(&mut self, elapsed: Duration, part: Option<usize>) -> bool {
        let (then, before) = self.last;
        let is_due = before != part || elapsed >= then + EVERY;
        if is_due {
            self.last = (elapsed, part);
        }
        is_due
    }
}

/// The figures so far; the rate is since `last`, a time and the answers by then.
fn message(elapsed: Duration, counts: Counts, last: (Duration, u64)) -> String {
    let time = elapsed.saturating_sub(last.0).as_secs_f64();
    let rate = if time > 0.0 {
        counts.answers.saturating_sub(last.1) as f64 / time
    } else {
        0.0
    };
    let mut message = format!(
        "{:.0} s, {} answers, {rate:.0}/s, {} wrong, {} failed",
        elapsed.as_secs_f64(),
        counts.answers,
        counts.wrong,
        counts.failures
    );
    if counts.connect_failures > 0 {
        message.push_str(&format!(
            ", {} connections not made",
            counts.connect_failures
        ));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_when_another_phase_begins_and_now_and_then() {
        let mut lines = Lines::new();
        for (milliseconds, part, expected) in [
            (0, Some(0), false),
            (200, Some(0), false),
            (4_900, Some(0), false),
            (5_000, Some(0), true),
            (5_200, Some(1), true),
            (9_900, Some(1), false),
            (10_200, Some(1), true),
            (10_400, None, true),
            (10_600, None, false),
        ] {
            let elapsed = Duration::from_millis(milliseconds);
            assert_eq!(lines.is_due(elapsed, part), expected, "{milliseconds}");
        }
    }

    #[test]
    fn a_message_tells_the_rate_since_the_last_and_what_went_wrong() {
        let counts = Counts {
            answers: 1500,
            wrong: 1,
            failures: 2,
            ..Counts::default()
        };
        let said = message(
            Duration::from_secs(3),
            counts,
            (Duration::from_secs(1), 500),
        );
        assert_eq!(said, "3 s, 1500 answers, 500/s, 1 wrong, 2 failed");
    }
}
