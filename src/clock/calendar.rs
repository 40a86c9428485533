//! Days and dates of the Gregorian calendar.

pub(crate) const MINUTE: i64 = 60;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// The last second of the year 9999: what lies beyond has no date, and is milliseconds taken for seconds.
pub(crate) const LATEST: i64 = 253_402_300_799;

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub(crate) fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the first of January of the year 0 to the one of this year, in the Gregorian calendar.
fn days_before_year(year: i64) -> i64 {
    // The year 0 is a leap year itself: leap years before `year` are those up to `year - 1`, and 0.
    let last = year - 1;
    365 * year + last.div_euclid(4) - last.div_euclid(100) + last.div_euclid(400) + 1
}

/// Days from 1970-01-01 to this date.
pub(crate) fn day_of_date(year: i64, month: i64, day: i64) -> i64 {
    let months: i64 = (1..month).map(|m| days_in_month(year, m)).sum();
    days_before_year(year) - days_before_year(1970) + months + day - 1
}

/// The date so many days after 1970-01-01.
pub(crate) fn date_of_day(days: i64) -> (i64, i64, i64) {
    let days = days + days_before_year(1970);
    // 400 years have 146,097 days. The estimate is at most one year too early or too late.
    let mut year = days * 400 / 146_097;
    while days_before_year(year + 1) <= days {
        year += 1;
    }
    while days_before_year(year) > days {
        year -= 1;
    }
    let mut rest = days - days_before_year(year);
    let mut month = 1;
    while rest >= days_in_month(year, month) {
        rest -= days_in_month(year, month);
        month += 1;
    }
    (year, month, rest + 1)
}
