//! When what happens: the phases of a run, and when each request of an open loop is due.
//!
//! A run is a ramp, a warm-up, then one or more steps; only the steps are measured. In each phase the rate is a line from
//! one value to another, so the number of requests due by a time is a sum of areas, and the time at which request `k` is due
//! is its inverse. Nothing here reads a clock: time is seconds since the start.

use std::time::Duration;

/// How fast requests are sent.
#[derive(Clone, PartialEq, Debug)]
pub enum Pace {
    /// As fast as each connection can.
    Closed,
    /// At these rates, requests per second, one after the other.
    Open(Vec<f64>),
}

/// How long each part of a run lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Phases {
    /// From nothing to the first rate, or to all connections. Not measured.
    pub ramp: Duration,
    /// At the first rate. Not measured.
    pub warmup: Duration,
    /// Each step.
    pub step: Duration,
}

/// One phase of a run.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Phase {
    /// Seconds since the start.
    pub(super) begins: f64,
    pub(super) ends: f64,
    /// Requests per second at its begin and at its end; of no meaning in a closed loop.
    from: f64,
    to: f64,
    /// Requests that were due before it.
    before: f64,
    /// The position of the step that it is; `None` where nothing is measured.
    pub(super) step: Option<usize>,
}

impl Phase {
    /// How many requests are due in its first `seconds`.
    fn area(&self, seconds: f64) -> f64 {
        let slope = (self.to - self.from) / (self.ends - self.begins);
        seconds * (self.from + slope * seconds / 2.0)
    }

    /// When, after its begin, so many are due: the inverse of the area.
    fn seconds_until(&self, count: f64) -> f64 {
        if count <= 0.0 {
            return 0.0;
        }
        let slope = (self.to - self.from) / (self.ends - self.begins);
        if slope == 0.0 {
            return count / self.from;
        }
        // Of the two roots the one that does not cancel where the slope is small.
        2.0 * count / (self.from + (self.from * self.from + 2.0 * slope * count).sqrt())
    }
}

/// All phases of a run.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Schedule {
    phases: Vec<Phase>,
    /// The rate of each step; `None` in a closed loop.
    pub(super) rates: Vec<Option<f64>>,
}

impl Schedule {
    pub(super) fn new(pace: &Pace, phases: Phases) -> Self {
        let rates: Vec<Option<f64>> = match pace {
            Pace::Closed => vec![None],
            Pace::Open(rates) => rates.iter().copied().map(Some).collect(),
        };
        let first = rates.first().copied().flatten().unwrap_or(0.0);
        let mut parts = vec![
            (phases.ramp, 0.0, first, None),
            (phases.warmup, first, first, None),
        ];
        for (step, rate) in rates.iter().enumerate() {
            let rate = rate.unwrap_or(0.0);
            parts.push((phases.step, rate, rate, Some(step)));
        }
        let mut schedule = Schedule {
            phases: Vec::new(),
            rates,
        };
        let (mut begins, mut before) = (0.0, 0.0);
        for (length, from, to, step) in parts {
            if length.is_zero() {
                continue;
            }
            let ends = begins + length.as_secs_f64();
            let phase = Phase {
                begins,
                ends,
                from,
                to,
                before,
                step,
            };
            before += phase.area(ends - begins);
            begins = ends;
            schedule.phases.push(phase);
        }
        schedule
    }

    pub(super) fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// When the last phase ends, in seconds since the start.
    pub(super) fn ends(&self) -> f64 {
        self.phases.last().map_or(0.0, |phase| phase.ends)
    }

    /// When request `k`, counted from 0, is due, in seconds since the start; `None` past the end.
    pub(super) fn due(&self, k: u64) -> Option<f64> {
        let k = k as f64;
        let at = self.phases.partition_point(|phase| phase.before <= k);
        let phase = &self.phases[at.checked_sub(1)?];
        let due = phase.begins + phase.seconds_until(k - phase.before);
        (due < phase.ends || at < self.phases.len()).then_some(due.min(phase.ends))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(pace: &Pace, ramp: u64, warmup: u64, step: u64) -> Schedule {
        let seconds = Duration::from_secs;
        let phases = Phases {
            ramp: seconds(ramp),
            warmup: seconds(warmup),
            step: seconds(step),
        };
        Schedule::new(pace, phases)
    }

    fn due_in(schedule: &Schedule, from: f64, to: f64) -> usize {
        let all = (0..).map_while(|k| schedule.due(k));
        all.filter(|at| (from..to).contains(at)).count()
    }

    #[test]
    fn a_constant_rate_is_even() {
        let schedule = schedule(&Pace::Open(vec![100.0]), 0, 0, 2);
        assert_eq!(schedule.due(0), Some(0.0));
        assert_eq!(schedule.due(50), Some(0.5));
        assert_eq!(schedule.due(200), None);
        assert_eq!(due_in(&schedule, 0.0, 9.0), 200);
    }

    #[test]
    fn a_ramp_rises_in_a_line_and_steps_follow_one_another() {
        let schedule = schedule(&Pace::Open(vec![1000.0, 2000.0]), 10, 5, 3);
        assert_eq!(schedule.ends(), 21.0);
        assert_eq!(schedule.due(0), Some(0.0));
        for (from, to, expected) in [
            (0.0, 10.0, 5000_usize),
            (0.0, 5.0, 1250),
            (10.0, 15.0, 5000),
            (15.0, 18.0, 3000),
            (18.0, 21.0, 6000),
        ] {
            let due = due_in(&schedule, from, to);
            assert!(due.abs_diff(expected) <= 1, "{from} to {to}: {due}");
        }
        let times: Vec<f64> = (0..).map_while(|k| schedule.due(k)).collect();
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
    }

    #[test]
    fn only_steps_are_measured() {
        let schedule = schedule(&Pace::Closed, 1, 0, 3);
        let steps: Vec<_> = schedule
            .phases()
            .iter()
            .map(|p| (p.begins, p.ends, p.step))
            .collect();
        assert_eq!(steps, [(0.0, 1.0, None), (1.0, 4.0, Some(0))]);
        assert_eq!(schedule.rates, [None]);
    }
}
