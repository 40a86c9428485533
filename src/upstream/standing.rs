//! How a server stands: whether it takes requests, and how large a share. Pure; time is an argument.
//!
//! Two things put a server out. Its active checks fail: then it is out until as many succeed as are asked for. Or its
//! answers to requests fail: then it is ejected for a time, for twice as long each time that the first request after its
//! return fails again, up to [`LONGEST`]. A server that is back from either takes a share that grows over `slow_start`.

use crate::config::Balancing;
use std::time::{Duration, Instant};

/// A server is not ejected for longer at once, unless `for` itself is.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// A whole share.
pub(super) const WHOLE: u32 = 1000;

/// The share with which a slow return begins.
const FIRST: u32 = WHOLE / 10;

/// What the configuration says of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rules {
    /// How many checks must succeed, and fail, in a row; `None`: there are none.
    checks: Option<(u32, u32)>,
    /// How long the first ejection lasts; `None`: there are none.
    eject: Option<Duration>,
    slow_start: Option<Duration>,
    /// When a server that checks put out may be back at the earliest.
    recheck: Duration,
}

impl Rules {
    pub(super) fn new(balancing: &Balancing) -> Self {
        let health = balancing.health.as_ref();
        Rules {
            checks: health.map(|health| (health.healthy, health.unhealthy)),
            eject: balancing.eject.as_ref().map(|eject| eject.lasts),
            slow_start: balancing.slow_start,
            recheck: health.map_or(Duration::ZERO, |health| health.interval * health.healthy),
        }
    }
}

/// What has changed, to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    ChecksFail,
    ChecksSucceed,
    Ejected(Duration),
    Returned,
}

/// Why a server takes no requests, or that it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It takes requests.
    Up,
    /// It takes a part of its share: it is back and was out.
    Returning,
    /// Left out for failed requests.
    Ejected,
    /// Left out for failed checks.
    Down,
}

impl State {
    /// As `/status` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Up => "up",
            State::Returning => "returning",
            State::Ejected => "ejected",
            State::Down => "down",
        }
    }
}

/// How one server stands.
#[derive(Debug)]
pub(super) struct Standing {
    rules: Rules,
    /// Whether the checks hold it for healthy; `None`: it was not checked yet, and is used meanwhile.
    checked: Option<bool>,
    /// How many checks in a row said otherwise.
    against: u32,
    ejected_until: Option<Instant>,
    /// How many ejections in a row there were.
    row: u32,
    /// When it came back from the last.
    returned: Option<Instant>,
    /// Since when its share grows.
    growing: Option<Instant>,
}

impl Standing {
    pub(super) fn new(rules: Rules) -> Self {
        Standing {
            rules,
            checked: None,
            against: 0,
            ejected_until: None,
            row: 0,
            returned: None,
            growing: None,
        }
    }

    /// Other rules are in force; what they do not have puts no server out.
    pub(super) fn follow(&mut self, rules: Rules) {
        if rules.checks.is_none() {
            self.checked = None;
            self.against = 0;
        }
        if rules.eject.is_none() {
            self.ejected_until = None;
            self.row = 0;
        }
        if rules.slow_start.is_none() {
            self.growing = None;
        }
        self.rules = rules;
    }

    /// A check succeeded or failed.
    pub(super) fn checked(&mut self, healthy: bool, now: Instant) -> Option<Change> {
        let (to_up, to_down) = self.rules.checks?;
        let needed = match self.checked {
            // The first one decides alone: nothing else is known.
            None => 1,
            Some(was) if was == healthy => {
                self.against = 0;
                return None;
            }
            Some(true) => to_down,
            Some(false) => to_up,
        };
        self.against += 1;
        if self.against < needed {
            return None;
        }
        self.against = 0;
        let before = self.checked.replace(healthy);
        match (before, healthy) {
            (None, true) => None,
            (_, false) => Some(Change::ChecksFail),
            (_, true) => {
                self.comes_back(now);
                Some(Change::ChecksSucceed)
            }
        }
    }

    /// As many requests in a row failed as may.
    pub(super) fn failed(&mut self, now: Instant) -> Option<Change> {
        let first = self.rules.eject?;
        if self.ejected_until.is_some() {
            return None;
        }
        // It held for as long as it was out: what was before is forgiven.
        let held = self.returned.is_none_or(|at| now - at > self.lasts(first));
        self.row = if held { 1 } else { self.row + 1 };
        let lasts = self.lasts(first);
        self.ejected_until = Some(now + lasts);
        self.growing = None;
        Some(Change::Ejected(lasts))
    }

    fn lasts(&self, first: Duration) -> Duration {
        let doubled = first.saturating_mul(1 << self.row.saturating_sub(1).min(16));
        doubled.min(LONGEST.max(first))
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant) -> Option<Change> {
        if self.share(now) >= WHOLE {
            self.growing = None;
        }
        self.ejected_until.take_if(|until| *until <= now)?;
        self.returned = Some(now);
        self.comes_back(now);
        Some(Change::Returned)
    }

    fn comes_back(&mut self, now: Instant) {
        self.growing = self.rules.slow_start.map(|_| now);
    }

    /// Whether only time brings it further.
    pub(super) fn needs_ticks(&self) -> bool {
        self.ejected_until.is_some() || self.growing.is_some()
    }

    pub(super) fn state(&self) -> State {
        match (self.checked, self.ejected_until, self.growing) {
            (Some(false), _, _) => State::Down,
            (_, Some(_), _) => State::Ejected,
            (_, None, Some(_)) => State::Returning,
            (_, None, None) => State::Up,
        }
    }

    /// The part of its weight that it takes, of [`WHOLE`]; 0: it takes no requests.
    pub(super) fn share(&self, now: Instant) -> u32 {
        match self.state() {
            State::Down | State::Ejected => 0,
            State::Up => WHOLE,
            State::Returning => {
                let passed = self.growing.map_or(Duration::MAX, |since| now - since);
                let whole = self.rules.slow_start.unwrap_or_default();
                let grown = passed.as_secs_f64() / whole.as_secs_f64().max(f64::MIN_POSITIVE);
                let share = f64::from(WHOLE) * grown.min(1.0);
                (share as u32).clamp(FIRST, WHOLE)
            }
        }
    }

    /// How long it stays out at least.
    pub(super) fn out_for(&self, now: Instant) -> Duration {
        match (self.state(), self.ejected_until) {
            (State::Ejected, Some(until)) => until.saturating_duration_since(now),
            (State::Down, _) => self.rules.recheck,
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn standing(checks: Option<(u32, u32)>, eject: Option<u64>, slow: Option<u64>) -> Standing {
        Standing::new(Rules {
            checks,
            eject: eject.map(Duration::from_secs),
            slow_start: slow.map(Duration::from_secs),
            recheck: SECOND,
        })
    }

    #[test]
    fn checks_put_a_server_out_and_in_when_enough_in_a_row_agree() {
        let now = Instant::now();
        let mut server = standing(Some((2, 3)), None, None);
        let said: Vec<_> = [
            true, false, false, true, false, false, false, false, true, false, true, true,
        ]
        .map(|healthy| server.checked(healthy, now))
        .into();
        let (down, up) = (Some(Change::ChecksFail), Some(Change::ChecksSucceed));
        let n = None;
        assert_eq!(said, [n, n, n, n, n, n, down, n, n, n, n, up]);
        assert_eq!(server.state(), State::Up);
    }

    #[test]
    fn the_first_check_decides_alone() {
        let now = Instant::now();
        let mut server = standing(Some((2, 3)), None, None);
        assert_eq!(server.share(now), WHOLE, "used before it was checked");
        assert_eq!(server.checked(false, now), Some(Change::ChecksFail));
        assert_eq!((server.state(), server.share(now)), (State::Down, 0));
    }

    #[test]
    fn an_ejection_lasts_longer_each_time_up_to_a_bound_and_is_forgiven_to_who_holds() {
        let mut now = Instant::now();
        let mut server = standing(None, Some(10), None);
        for seconds in [10, 20, 40, 80, 160, 300, 300] {
            let lasts = Duration::from_secs(seconds);
            assert_eq!(server.failed(now), Some(Change::Ejected(lasts)));
            assert_eq!(server.failed(now), None, "it is out already");
            assert_eq!(server.tick(now + lasts - SECOND), None);
            assert_eq!(server.out_for(now), lasts);
            now += lasts;
            assert_eq!(server.tick(now), Some(Change::Returned));
            assert_eq!(server.share(now), WHOLE);
        }
        now += Duration::from_secs(301);
        assert_eq!(server.failed(now), Some(Change::Ejected(10 * SECOND)));
    }

    #[test]
    fn a_return_is_slow() {
        let start = Instant::now();
        let mut server = standing(None, Some(10), Some(30));
        server.failed(start);
        let back = start + 10 * SECOND;
        server.tick(back);
        for (seconds, share) in [
            (0, 100),
            (2, 100),
            (3, 100),
            (15, 500),
            (29, 966),
            (30, 1000),
        ] {
            assert_eq!(server.share(back + seconds * SECOND), share, "{seconds} s");
        }
        assert!(server.needs_ticks());
        server.tick(back + 30 * SECOND);
        assert_eq!((server.state(), server.needs_ticks()), (State::Up, false));
    }

    #[test]
    fn rules_that_are_gone_put_nobody_out() {
        let now = Instant::now();
        let mut server = standing(Some((1, 1)), Some(10), Some(10));
        server.checked(false, now);
        server.failed(now);
        server.follow(standing(None, None, None).rules);
        assert_eq!((server.state(), server.needs_ticks()), (State::Up, false));
        assert_eq!(server.checked(false, now), None);
        assert_eq!(server.failed(now), None);
    }
}
