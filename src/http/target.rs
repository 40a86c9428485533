//! The canonical path: one reading, or none.
//!
//! Percent-encoding is normalized where RFC 3986, section 6.2.2, says that it carries no meaning: an encoded unreserved
//! character is decoded, the hexadecimal letters of all others become upper case. Everything that some server reads in
//! a second way is an error, or, for four kinds that real upstreams need, an exception that the matched route must
//! allow. What comes out is what the policy matches and what the upstream is sent.
//!
//! Failures of this class: Envoy CVE-2021-29492 (encoded slash), Oathkeeper CVE-2026-33494 (dot segments), Traefik
//! CVE-2025-66490 (encoded reserved characters), APISIX CVE-2021-43557 (raw against normalized).

use super::Exceptions;
use std::borrow::Cow;

/// Why a path has no single reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TargetError {
    #[error("a path starts with `/`")]
    NotOriginForm,
    #[error("a path has no `.` or `..` segment, plain or encoded")]
    DotSegment,
    #[error("a path has no backslash, plain or encoded")]
    Backslash,
    #[error("a path has no control character, plain or encoded")]
    Control,
    #[error("a character in the path must be percent-encoded")]
    RawCharacter,
    #[error("a `%` is followed by two hexadecimal digits")]
    IncompleteEscape,
    #[error("percent-encoded bytes above 7F are valid UTF-8")]
    InvalidUtf8,
    #[error("the query has a blank, a control character or a byte above 7E")]
    QueryCharacter,
    #[error("the target is longer than the limit")]
    TooLong,
    #[error("the target is an absolute URI whose host is not the one in `Host`")]
    OtherAuthority,
    #[error("the target has no path")]
    NoPath,
    #[error("a path is not percent-encoded more than four times over")]
    TooManyReadings,
}

/// How often an upstream may decode a path and still find what was judged here. Each decoding costs a pass over the whole
/// path, and the client chooses how many there are to do: hence few.
const DECODINGS: usize = 4;

/// What a byte of a path means before anything is decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stands for itself.
    Plain,
    /// `/`.
    Slash,
    /// `.`, which may make a dot segment.
    Dot,
    /// `%`.
    Percent,
    /// `;`.
    Semicolon,
    Backslash,
    Control,
    /// Must be encoded.
    Refused,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Refused; 256];
    let mut b = 0;
    while b < 256 {
        classes[b] = match b as u8 {
            b'/' => Class::Slash,
            b'.' => Class::Dot,
            b'%' => Class::Percent,
            b';' => Class::Semicolon,
            b'\\' => Class::Backslash,
            0..=0x1F | 0x7F => Class::Control,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => Class::Plain,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => {
                Class::Plain
            }
            // Not in RFC 3986's path, but sent raw by browsers and without a second reading.
            b'[' | b']' => Class::Plain,
            _ => Class::Refused,
        };
        b += 1;
    }
    classes
};

/// The one reading of a path (no query), and which exceptions it needs.
///
/// Borrows when the path is canonical already, which nearly all are.
///
/// # Errors
/// When there is no single reading, exceptions or not.
pub fn canonical_path(path: &str) -> Result<(Cow<'_, str>, Exceptions), TargetError> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(TargetError::NotOriginForm);
    }
    let mut needs = Exceptions::NONE;
    let mut encoded = false;
    let mut dots = false;
    let mut previous = 0u8;
    for &b in bytes {
        match CLASSES[usize::from(b)] {
            Class::Plain => {}
            Class::Slash => {
                if previous == b'/' {
                    needs = needs.with(Exceptions::DOUBLE_SLASH);
                }
            }
            Class::Dot => dots = dots || previous == b'/',
            Class::Percent => encoded = true,
            Class::Semicolon => needs = needs.with(Exceptions::SEMICOLON),
            Class::Backslash => return Err(TargetError::Backslash),
            Class::Control => return Err(TargetError::Control),
            Class::Refused => return Err(TargetError::RawCharacter),
        }
        previous = b;
    }
    let canonical = if encoded {
        let (text, more) = normalize_escapes(path)?;
        needs = needs.with(more);
        text
    } else {
        Cow::Borrowed(path)
    };
    if (dots || encoded) && canonical.split('/').any(|s| s == "." || s == "..") {
        return Err(TargetError::DotSegment);
    }
    if !needs.is_none() {
        check_deeper_readings(&canonical)?;
    }
    Ok((canonical, needs))
}

/// Decodes encoded unreserved characters, writes all other escapes in upper case, checks what the escapes say.
fn normalize_escapes(path: &str) -> Result<(Cow<'_, str>, Exceptions), TargetError> {
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(path.len());
    let mut needs = Exceptions::NONE;
    // A run of escaped bytes above 7F, collected to be checked as UTF-8 whole.
    let mut run: Vec<u8> = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] != b'%' {
            check_utf8(&mut run)?;
            out.push(char::from(bytes[i]));
            i += 1;
            continue;
        }
        let (Some(high), Some(low)) = (
            bytes.get(i + 1).copied().and_then(hex_value),
            bytes.get(i + 2).copied().and_then(hex_value),
        ) else {
            return Err(TargetError::IncompleteEscape);
        };
        let byte = high << 4 | low;
        i += 3;
        if byte >= 0x80 {
            run.push(byte);
        } else {
            check_utf8(&mut run)?;
        }
        match byte {
            0..=0x1F | 0x7F => return Err(TargetError::Control),
            b'\\' => return Err(TargetError::Backslash),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
                continue;
            }
            b'/' => needs = needs.with(Exceptions::ENCODED_SLASH),
            b'%' => needs = needs.with(Exceptions::ENCODED_PERCENT),
            b';' => needs = needs.with(Exceptions::SEMICOLON),
            _ => {}
        }
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        out.push('%');
        out.push(char::from(HEX[usize::from(high)]));
        out.push(char::from(HEX[usize::from(low)]));
    }
    check_utf8(&mut run)?;
    if out == path {
        Ok((Cow::Borrowed(path), needs))
    } else {
        Ok((Cow::Owned(out), needs))
    }
}

fn check_utf8(run: &mut Vec<u8>) -> Result<(), TargetError> {
    if run.is_empty() {
        return Ok(());
    }
    let valid = std::str::from_utf8(run).is_ok();
    run.clear();
    if valid {
        Ok(())
    } else {
        Err(TargetError::InvalidUtf8)
    }
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|v| v as u8)
}

/// A path with exceptions must have no dot segment, backslash or control character even for an upstream that decodes
/// its escapes (as often as there are any), splits it again and cuts parameters (`;…`) from its segments. One that still
/// has escapes after [`DECODINGS`] is refused, not followed further.
fn check_deeper_readings(canonical: &str) -> Result<(), TargetError> {
    let mut reading = canonical.as_bytes().to_vec();
    for _ in 0..=DECODINGS {
        for segment in reading.split(|b| *b == b'/') {
            let name = segment.split(|b| *b == b';').next().unwrap_or(segment);
            if name == b"." || name == b".." {
                return Err(TargetError::DotSegment);
            }
        }
        if reading.contains(&b'\\') {
            return Err(TargetError::Backslash);
        }
        if reading.iter().any(|b| *b < 0x20 || *b == 0x7F) {
            return Err(TargetError::Control);
        }
        let decoded = decode_once(&reading);
        if decoded.len() == reading.len() {
            return Ok(());
        }
        reading = decoded;
    }
    Err(TargetError::TooManyReadings)
}

/// Every complete escape decoded, once; what is no escape stays. Shorter than the input unless there was none.
fn decode_once(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let pair = (
            bytes.get(i + 1).copied().and_then(hex_value),
            bytes.get(i + 2).copied().and_then(hex_value),
        );
        match (bytes[i], pair) {
            (b'%', (Some(high), Some(low))) => {
                out.push(high << 4 | low);
                i += 3;
            }
            (other, _) => {
                out.push(other);
                i += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_has_one_reading_or_none() {
        use TargetError as E;
        type Expected = Result<(&'static str, Exceptions), TargetError>;
        let none = Exceptions::NONE;
        let rows: &[(&str, Expected)] = &[
            ("/", Ok(("/", none))),
            ("/v3/users", Ok(("/v3/users", none))),
            ("/v3/users/", Ok(("/v3/users/", none))),
            ("/a/b.c/...", Ok(("/a/b.c/...", none))),
            ("/%61%2D%5f", Ok(("/a-_", none))),
            ("/%c3%a4", Ok(("/%C3%A4", none))),
            (
                "/reactions/%F0%9F%98%80",
                Ok(("/reactions/%F0%9F%98%80", none)),
            ),
            ("/a:b@c!$&'()*+,=[]", Ok(("/a:b@c!$&'()*+,=[]", none))),
            ("/a%20b", Ok(("/a%20b", none))),
            ("", Err(E::NotOriginForm)),
            ("*", Err(E::NotOriginForm)),
            ("v3", Err(E::NotOriginForm)),
            ("/.", Err(E::DotSegment)),
            ("/..", Err(E::DotSegment)),
            ("/a/./b", Err(E::DotSegment)),
            ("/a/../b", Err(E::DotSegment)),
            ("/a/%2e%2E/b", Err(E::DotSegment)),
            ("/a/.%2e", Err(E::DotSegment)),
            ("/a\\b", Err(E::Backslash)),
            ("/a%5cb", Err(E::Backslash)),
            ("/a\u{0}", Err(E::Control)),
            ("/a%00", Err(E::Control)),
            ("/a%0d%0a", Err(E::Control)),
            ("/a%7f", Err(E::Control)),
            ("/a b", Err(E::RawCharacter)),
            ("/ä", Err(E::RawCharacter)),
            ("/a\"", Err(E::RawCharacter)),
            ("/a<", Err(E::RawCharacter)),
            ("/a>", Err(E::RawCharacter)),
            ("/a^", Err(E::RawCharacter)),
            ("/a`", Err(E::RawCharacter)),
            ("/a{", Err(E::RawCharacter)),
            ("/a|", Err(E::RawCharacter)),
            ("/a}", Err(E::RawCharacter)),
            ("/a#b", Err(E::RawCharacter)),
            ("/a%", Err(E::IncompleteEscape)),
            ("/a%4", Err(E::IncompleteEscape)),
            ("/a%4g", Err(E::IncompleteEscape)),
            ("/%c0%af", Err(E::InvalidUtf8)),
            ("/%c3", Err(E::InvalidUtf8)),
            ("/%c3x%a4", Err(E::InvalidUtf8)),
            ("/%ed%a0%80", Err(E::InvalidUtf8)),
            ("/a%2fb", Ok(("/a%2Fb", Exceptions::ENCODED_SLASH))),
            ("/a%2f%2e%2e%2fb", Err(E::DotSegment)),
            ("/%2f..", Err(E::DotSegment)),
            ("/a%25b", Ok(("/a%25b", Exceptions::ENCODED_PERCENT))),
            ("/%252e%252e", Err(E::DotSegment)),
            ("/%25252e%25252e/x", Err(E::DotSegment)),
            ("/a%255cb", Err(E::Backslash)),
            ("/a%2500", Err(E::Control)),
            ("/a;b", Ok(("/a;b", Exceptions::SEMICOLON))),
            ("/a%3Bb", Ok(("/a%3Bb", Exceptions::SEMICOLON))),
            ("/a/..;/b", Err(E::DotSegment)),
            ("/a/..%3b/b", Err(E::DotSegment)),
            ("/a//b", Ok(("/a//b", Exceptions::DOUBLE_SLASH))),
            ("//a", Ok(("//a", Exceptions::DOUBLE_SLASH))),
            ("//", Ok(("//", Exceptions::DOUBLE_SLASH))),
            (
                "/a//b;c%2f%25",
                Ok((
                    "/a//b;c%2F%25",
                    Exceptions::DOUBLE_SLASH
                        .with(Exceptions::SEMICOLON)
                        .with(Exceptions::ENCODED_SLASH)
                        .with(Exceptions::ENCODED_PERCENT),
                )),
            ),
        ];
        for (path, expected) in rows {
            let got = canonical_path(path);
            let got = got.as_ref().map(|(p, n)| (p.as_ref(), *n)).map_err(|e| *e);
            assert_eq!(got, *expected, "{path:?}");
        }
    }

    #[test]
    fn a_path_encoded_many_times_over_is_refused_after_four_decodings() {
        let nested = |levels: usize, last: &str| format!("/%{}{last}", "25".repeat(levels));
        for levels in 1..=DECODINGS {
            let path = nested(levels, "");
            let expected = Ok((Cow::Borrowed(&*path), Exceptions::ENCODED_PERCENT));
            assert_eq!(canonical_path(&path), expected, "{path}");
        }
        // What the last decoding uncovers is still judged.
        let seen = nested(DECODINGS - 1, "2e");
        assert_eq!(canonical_path(&seen), Err(TargetError::DotSegment));
        // Whoever followed these to their end would find a backslash and say so.
        for levels in [DECODINGS, DECODINGS + 1, 4_000] {
            let path = nested(levels, "5c");
            let got = canonical_path(&path);
            assert_eq!(got, Err(TargetError::TooManyReadings), "{levels}");
        }
        assert_eq!(
            canonical_path(&nested(4_095, "")),
            Err(TargetError::TooManyReadings)
        );
    }

    proptest! {
        #[test]
        fn a_canonical_path_is_its_own_canonical_path(path in "/[ -~]{0,40}") {
            if let Ok((once, needs)) = canonical_path(&path) {
                prop_assert_eq!(canonical_path(&once), Ok((Cow::Borrowed(once.as_ref()), needs)));
            }
        }

        #[test]
        fn encoding_unreserved_characters_changes_nothing(
            path in "(/[a-zA-Z0-9_~-]{1,6}){1,4}",
            mask in any::<u64>(),
            upper in any::<bool>(),
        ) {
            let encoded: String = path.chars().enumerate().map(|(i, c)| {
                if c != '/' && mask >> (i % 64) & 1 == 1 {
                    if upper { format!("%{:02X}", c as u32) } else { format!("%{:02x}", c as u32) }
                } else {
                    c.to_string()
                }
            }).collect();
            let (canonical, needs) = canonical_path(&encoded).unwrap();
            prop_assert_eq!(canonical.as_ref(), path.as_str());
            prop_assert!(needs.is_none());
        }

        #[test]
        fn no_accepted_path_gains_a_dot_segment_by_being_decoded(path in "/[./%25eEfFcC;a]{0,16}") {
            if let Ok((canonical, _)) = canonical_path(&path) {
                let mut reading = canonical.into_owned().into_bytes();
                for _ in 0..8 {
                    for segment in reading.split(|b| *b == b'/') {
                        prop_assert!(segment != b"." && segment != b"..");
                    }
                    reading = decode_once(&reading);
                }
            }
        }
    }
}
