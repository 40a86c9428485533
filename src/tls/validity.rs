//! From when to when a certificate holds: the one part of it that webpki reads and does not tell.
//!
//! A reader of DER as far as the two dates, which stand fifth in a certificate; what comes after them is not looked at.
//! It reads certificates that webpki has parsed before, and answers `None` for anything that it does not understand.

use crate::clock::Timestamp;

/// From when to when a certificate holds, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validity {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

impl Validity {
    /// The dates of a certificate in DER (RFC 5280, section 4.1).
    pub(super) fn of(certificate: &[u8]) -> Option<Validity> {
        let (certificate, _) = value(certificate, SEQUENCE)?;
        let (rest, _) = value(certificate, SEQUENCE)?;
        let rest = match value(rest, VERSION) {
            Some((_, rest)) => rest,
            None => rest,
        };
        let (_, rest) = value(rest, INTEGER)?;
        let (_algorithm, rest) = value(rest, SEQUENCE)?;
        let (_issuer, rest) = value(rest, SEQUENCE)?;
        let (validity, _) = value(rest, SEQUENCE)?;
        let (not_before, rest) = time(validity)?;
        let (not_after, _) = time(rest)?;
        Some(Validity {
            not_before,
            not_after,
        })
    }
}

/// The content of the first value, if it has this tag, and what follows it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    if first != tag {
        return None;
    }
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let length = bytes.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
            (usize::try_from(length).ok()?, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280, section 4.1.2.5), and what follows it.
fn time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (year_digits, (text, rest)) = match *der.first()? {
        UTC_TIME => (2, value(der, UTC_TIME)?),
        GENERALIZED_TIME => (4, value(der, GENERALIZED_TIME)?),
        _ => return None,
    };
    let digits = text.strip_suffix(b"Z")?;
    if digits.len() != year_digits + 10 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |from: usize, count: usize| {
        let digits = &digits[from..from + count];
        digits
            .iter()
            .fold(0i64, |n, d| n * 10 + i64::from(d - b'0'))
    };
    let year = match (year_digits, number(0, year_digits)) {
        (2, year @ 50..) => 1900 + year,
        (2, year) => 2000 + year,
        (_, year) => year,
    };
    let part = |index: usize| number(year_digits + 2 * index, 2);
    let days = days_from_civil(year, part(0), part(1))?;
    let seconds = ((days * 24 + part(2)) * 60 + part(3)) * 60 + part(4);
    Some((Timestamp::from_unix_seconds(seconds), rest))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March end with their leap day.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// The day of a time, `2026-11-24`, in UTC.
pub fn date(at: Timestamp) -> String {
    let days = at.unix_seconds().div_euclid(24 * 3600) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        10.. => (year_of_era + era * 400 + 1, month - 9),
        _ => (year_of_era + era * 400, month + 3),
    };
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, tag: u8) -> Option<i64> {
        let mut der = vec![tag, u8::try_from(text.len()).unwrap()];
        der.extend(text.bytes());
        time(&der).map(|(at, _)| at.unix_seconds())
    }

    #[test]
    fn times_of_both_kinds() {
        for (text, tag, expected) in [
            ("700101000000Z", UTC_TIME, Some(0)),
            ("491231235959Z", UTC_TIME, Some(2_524_607_999)),
            ("500101000000Z", UTC_TIME, Some(-631_152_000)),
            ("20000229120000Z", GENERALIZED_TIME, Some(951_825_600)),
            ("99991231235959Z", GENERALIZED_TIME, Some(253_402_300_799)),
            ("7001010000Z", UTC_TIME, None),
            ("700101000000", UTC_TIME, None),
            ("701301000000Z", UTC_TIME, None),
            ("7001010000+0Z", UTC_TIME, None),
            ("700101000000Z", 0x16, None),
        ] {
            assert_eq!(read(text, tag), expected, "{text}");
        }
    }

    #[test]
    fn a_day_is_written_as_it_was_read() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 951_825_600),
            ("2026-11-24", 1_795_478_400),
            ("9999-12-31", 253_402_300_799),
        ] {
            assert_eq!(date(Timestamp::from_unix_seconds(seconds)), text);
        }
    }

    #[test]
    fn what_is_cut_off_anywhere_is_read_as_nothing() {
        let mut parameters = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2024, 2, 29);
        parameters.not_after = rcgen::date_time_ymd(2051, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let der: &[u8] = certificate.der();
        let read = Validity::of(der).unwrap();
        assert_eq!(date(read.not_before), "2024-02-29");
        assert_eq!(date(read.not_after), "2051-01-01");
        for end in 0..der.len() {
            assert_eq!(Validity::of(&der[..end]), None, "{end}");
        }
    }
}
