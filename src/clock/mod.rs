//! Time as an argument.
//!
//! What depends on the time of day takes a [`Timestamp`]; what measures a span takes an `Instant`. Nothing below the
//! commands and the request path reads a clock by itself, so a test can say what time it is.

pub(crate) mod calendar;

use calendar::{DAY, HOUR, LATEST, MINUTE, date_of_day};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch, as the contract's `createdAt` and `expiresAt` have them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The given second after (or, negative, before) the Unix epoch.
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Timestamp(seconds)
    }

    /// Seconds since the Unix epoch.
    pub const fn unix_seconds(self) -> i64 {
        self.0
    }

    /// RFC 3339 in UTC, to the second; seconds as they are where there is no such year.
    pub fn utc(self) -> String {
        let seconds = self.0;
        if !(0..=LATEST).contains(&seconds) {
            return seconds.to_string();
        }
        let (year, month, day) = date_of_day(seconds.div_euclid(DAY));
        let rest = seconds.rem_euclid(DAY);
        let (hour, minute, second) = (rest / HOUR, rest % HOUR / MINUTE, rest % MINUTE);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// The second that the system's clock shows.
    pub fn now() -> Self {
        let (now, _) = Self::now_and_fraction();
        now
    }

    /// The same, and what has gone by of it; nothing where the clock shows a time before 1970.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the clock"
    )]
    pub fn now_and_fraction() -> (Self, Duration) {
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => {
                let fraction = Duration::from_nanos(since.subsec_nanos().into());
                (Timestamp(seconds(since)), fraction)
            }
            Err(before) => (Timestamp(-seconds(before.duration())), Duration::ZERO),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
