//! Points in time as operators write and read them.
//!
//! Written: Unix seconds (`1800000000`), a date (`2027-01-31`, its first second in UTC), RFC 3339
//! (`2027-01-31T12:00:00+01:00`), or, where a span makes sense, a number with `s`, `m`, `h`, `d` or `w` (`30d`).
//! Printed: RFC 3339 in UTC, which can be read again.

use crate::clock::Timestamp;
use crate::clock::calendar::{DAY, HOUR, LATEST, MINUTE, day_of_date, days_in_month};

/// A number of seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span(i64);

impl Span {
    /// The point this long after another.
    pub(super) fn after(self, now: Timestamp) -> Timestamp {
        Timestamp::from_unix_seconds(now.unix_seconds().saturating_add(self.0).min(LATEST))
    }
}

/// Reads `45s`, `90m`, `12h`, `30d`, `2w`.
pub(super) fn span(text: &str) -> Result<Span, String> {
    let expected = || "expected a number with s, m, h, d or w, such as 12h or 30d".to_owned();
    let split = text.len() - usize::from(text.ends_with(['s', 'm', 'h', 'd', 'w']));
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "s" => 1,
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        "w" => 7 * DAY,
        _ => return Err(expected()),
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(expected());
    }
    number
        .parse::<i64>()
        .ok()
        .filter(|n| *n > 0)
        .and_then(|n| n.checked_mul(seconds))
        .filter(|s| *s <= LATEST)
        .map(Span)
        .ok_or_else(|| {
            "expected a span of at least a second and at most some thousand years".to_owned()
        })
}

/// Reads Unix seconds, a date, or RFC 3339.
pub(super) fn point(text: &str) -> Result<Timestamp, String> {
    let seconds = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse::<i64>().ok()
    } else {
        rfc3339(text)
    };
    match seconds {
        Some(seconds) if (0..=LATEST).contains(&seconds) => {
            Ok(Timestamp::from_unix_seconds(seconds))
        }
        Some(_) => Err("expected a time from 1970 to 9999, in seconds".to_owned()),
        None => Err(
            "expected Unix seconds, a date (2027-01-31) or RFC 3339 (2027-01-31T12:00:00Z)"
                .to_owned(),
        ),
    }
}

/// A point in the past: as [`point`], or how long ago.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Since {
    Point(Timestamp),
    Ago(Span),
}

impl Since {
    /// The point itself.
    pub(super) fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Since::Point(point) => point,
            Since::Ago(Span(seconds)) => {
                Timestamp::from_unix_seconds(now.unix_seconds().saturating_sub(seconds))
            }
        }
    }
}

/// Reads `2h`, or whatever [`point`] reads.
pub(super) fn since(text: &str) -> Result<Since, String> {
    match span(text) {
        Ok(span) => Ok(Since::Ago(span)),
        Err(_) => point(text)
            .map(Since::Point)
            .map_err(|e| format!("{e}, or how long ago (2h)")),
    }
}

/// Unix seconds of a date, or of a date and a time with an offset (RFC 3339, section 5.6; fractions are cut off).
fn rfc3339(text: &str) -> Option<i64> {
    let (date, time) = if text.len() == 10 {
        (text, "00:00:00Z")
    } else {
        let (date, rest) = text.split_at_checked(10)?;
        (date, rest.strip_prefix(['T', 't', ' '])?)
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    let (clock, zone) = time.split_at_checked(8)?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let zone = match zone.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            (zone.len() < fraction.len()).then_some(zone)?
        }
        None => zone,
    };
    let offset = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        (sign @ ("+" | "-"), rest) => {
            let [hours, minutes] = numbers(rest, ':', [2, 2])?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            let ahead = hours * HOUR + minutes * MINUTE;
            if sign == "+" { ahead } else { -ahead }
        }
        _ => return None,
    };
    let day = day_of_date(year, month, day);
    Some(day * DAY + hour * HOUR + minute * MINUTE + second - offset)
}

/// Numbers of fixed widths between separators.
fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut read = [0; N];
    for (number, width) in read.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(text: &str) -> Option<i64> {
        point(text).ok().map(Timestamp::unix_seconds)
    }

    #[test]
    fn known_points_are_read() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1800000000", Some(1_800_000_000)),
            ("1970-01-01", Some(0)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T23:59:59Z", Some(951_868_799)),
            ("2001-09-09T01:46:40Z", Some(1_000_000_000)),
            ("2001-09-09 01:46:40z", Some(1_000_000_000)),
            ("2001-09-09T01:46:40.999Z", Some(1_000_000_000)),
            ("2001-09-09T03:46:40+02:00", Some(1_000_000_000)),
            ("2001-09-08T20:16:40-05:30", Some(1_000_000_000)),
            ("2100-03-01", Some(4_107_542_400)),
            ("9999-12-31T23:59:59Z", Some(LATEST)),
            ("", None),
            ("-1", None),
            ("1800000000000", None),
            ("99999999999999999999", None),
            ("1969-12-31T23:59:59Z", None),
            ("2100-02-29", None),
            ("2027-13-01", None),
            ("2027-00-01", None),
            ("2027-01-00", None),
            ("2027-1-1", None),
            ("2027-01-01T", None),
            ("2027-01-01T12:00Z", None),
            ("2027-01-01T12:00:00", None),
            ("2027-01-01T24:00:00Z", None),
            ("2027-01-01T12:60:00Z", None),
            ("2027-01-01T12:00:60Z", None),
            ("2027-01-01T12:00:00.Z", None),
            ("2027-01-01T12:00:00ZZ", None),
            ("2027-01-01T12:00:00+2", None),
            ("2027-01-01T12:00:00+24:00", None),
            ("2027-01-0\u{e9}", None),
            ("30d", None),
            ("tomorrow", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn spans_are_a_number_and_a_unit() {
        for (text, expected) in [
            ("1s", Some(1)),
            ("90m", Some(5_400)),
            ("12h", Some(43_200)),
            ("30d", Some(2_592_000)),
            ("2w", Some(1_209_600)),
            ("0s", None),
            ("d", None),
            ("30", None),
            ("-1d", None),
            ("1.5h", None),
            ("1d12h", None),
            ("1D", None),
            ("999999999999999999w", None),
            ("1\u{b5}", None),
            ("", None),
        ] {
            assert_eq!(span(text).ok(), expected.map(Span), "{text}");
        }
    }

    #[test]
    fn since_is_a_point_or_how_long_ago() {
        let now = Timestamp::from_unix_seconds(10_000);
        for (text, expected) in [
            ("2h", Some(2_800)),
            ("5000", Some(5_000)),
            ("1970-01-01T00:00:07Z", Some(7)),
            ("yesterday", None),
        ] {
            let read = since(text).ok().map(|s| s.resolve(now).unix_seconds());
            assert_eq!(read, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_can_be_read(seconds in 0..=LATEST) {
            let point_in_time = Timestamp::from_unix_seconds(seconds);
            prop_assert_eq!(point(&point_in_time.utc()), Ok(point_in_time));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,30}") {
            let _ = (point(&text), span(&text), since(&text));
        }
    }
}
