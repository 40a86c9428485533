//! What is measured: a time, a size, a rate. A whole number and its unit; nothing is guessed where there is none.

use super::{Unreadable, unreadable};
use crate::policy::Rate;
use std::time::Duration;

/// Longest time that can be asked for.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// `250ms`, `30s`, `5m`, `1h`: more than nothing, at most a year.
pub(in crate::config) fn duration(text: &str) -> Result<Duration, Unreadable> {
    let (number, unit) = split(text);
    let millis_per: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        _ => {
            return unreadable(
                "expected a duration: a whole number with ms, s, m or h, such as \"30s\"",
            );
        }
    };
    match number.parse::<u64>() {
        Ok(0) => unreadable("expected a duration of more than nothing"),
        Ok(n) => match n.checked_mul(millis_per).map(Duration::from_millis) {
            Some(time) if time <= LONGEST => Ok(time),
            _ => unreadable("expected a duration of at most a year"),
        },
        Err(_) => {
            unreadable("expected a duration: a whole number with ms, s, m or h, such as \"30s\"")
        }
    }
}

/// `64KiB`, `100MB`, `512B`.
pub(in crate::config) fn size(text: &str) -> Result<u64, Unreadable> {
    const EXPECTED: &str =
        "expected a size: a whole number with B, KB, MB, GB, KiB, MiB or GiB, such as \"64KiB\"";
    let (number, unit) = split(text);
    let bytes_per: u64 = match unit {
        "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return unreadable(EXPECTED),
    };
    let Ok(number) = number.parse::<u64>() else {
        return unreadable(EXPECTED);
    };
    match number.checked_mul(bytes_per) {
        Some(bytes) => Ok(bytes),
        None => unreadable("expected a size that 64 bits can hold"),
    }
}

/// `100/s`, `10/m`, `5/h`: the time between two, and as many at once as stand there.
pub(in crate::config) fn rate(text: &str) -> Result<Rate, Unreadable> {
    const EXPECTED: &str = "expected a rate: a whole number per s, m or h, such as \"100/s\"";
    let Some((number, unit)) = text.split_once('/') else {
        return unreadable(EXPECTED);
    };
    let nanos: u64 = match unit.trim() {
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return unreadable(EXPECTED),
    };
    match number.trim().parse::<u64>() {
        Ok(0) => unreadable("expected a rate of more than nothing"),
        Ok(n) if n <= nanos => Ok(Rate {
            interval: Duration::from_nanos(nanos / n),
            burst: u32::try_from(n).unwrap_or(u32::MAX),
        }),
        Ok(_) => unreadable("expected a rate of at most one in a nanosecond"),
        Err(_) => unreadable(EXPECTED),
    }
}

/// Digits, then the rest. Never a sign or a blank before the digits.
fn split(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    (number, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("1 h", Some(3_600_000)),
            ("0s", None),
            ("", None),
            ("s", None),
            ("30", None),
            ("-1s", None),
            ("1.5s", None),
            ("30S", None),
            ("9000h", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(
                duration(text).ok(),
                millis.map(Duration::from_millis),
                "{text}"
            );
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("64KiB", Some(65536)),
            ("100MB", Some(100_000_000)),
            ("1 GiB", Some(1 << 30)),
            ("0B", Some(0)),
            ("64", None),
            ("64kb", None),
            ("KiB", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(size(text).ok(), bytes, "{text}");
        }
    }

    #[test]
    fn rates() {
        for (text, expected) in [
            ("100/s", Some((10_000_000, 100))),
            ("1/m", Some((60_000_000_000, 1))),
            ("60/h", Some((60_000_000_000, 60))),
            ("100000000000/h", Some((36, u32::MAX))),
            ("0/s", None),
            ("100", None),
            ("100/d", None),
            ("/s", None),
            ("9999999999/s", None),
        ] {
            let expected = expected.map(|(nanos, burst)| Rate {
                interval: Duration::from_nanos(nanos),
                burst,
            });
            assert_eq!(rate(text).ok(), expected, "{text}");
        }
    }
}
