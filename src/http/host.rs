//! `Host`: one name, read in one way (RFC 9110, section 7.2; RFC 3986, section 3.2).

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// Why a `Host` is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HostError {
    #[error("a request has a `Host` header")]
    Missing,
    #[error("a request has one `Host` header")]
    Repeated,
    #[error("`Host` is `host` or `host:port`, without user, comma, path or blank")]
    Malformed,
}

/// The host without its port, as it is written.
///
/// No label of a name is empty: `a.` would be a second spelling of `a`, and `a..b` is no name at all.
///
/// # Errors
/// [`HostError::Malformed`] when it is not `host[:port]` with a port up to 65535.
pub fn parse_host(value: &[u8]) -> Result<&str, HostError> {
    let (host, port) = split_port(value);
    let fine = match host {
        [b'[', inner @ .., b']'] => {
            std::str::from_utf8(inner).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
        }
        name => {
            !name.is_empty()
                && name.len() <= 253
                && name.split(|b| *b == b'.').all(|label| !label.is_empty())
                && name
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
        }
    };
    let port_fine = port.is_none_or(|digits| {
        !digits.is_empty()
            && digits.len() <= 5
            && digits.iter().all(u8::is_ascii_digit)
            && digits
                .iter()
                .fold(0u32, |n, d| n * 10 + u32::from(d - b'0'))
                <= 65535
    });
    match std::str::from_utf8(host) {
        Ok(text) if fine && port_fine => Ok(text),
        _ => Err(HostError::Malformed),
    }
}

/// The one spelling of a host that [`parse_host`] took: lower case, an IPv6 address in its shortest form (RFC 5952).
pub fn canonical_host(host: &str) -> Cow<'_, str> {
    let address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .and_then(|inner| inner.parse::<Ipv6Addr>().ok());
    if let Some(address) = address {
        Cow::Owned(format!("[{address}]"))
    } else if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

fn split_port(value: &[u8]) -> (&[u8], Option<&[u8]>) {
    let from = value.iter().rposition(|b| *b == b']').unwrap_or(0);
    match value[from..].iter().position(|b| *b == b':') {
        Some(at) => (&value[..from + at], Some(&value[from + at + 1..])),
        None => (value, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_at_most_a_port() {
        for (value, expected) in [
            ("example.com", Ok("example.com")),
            ("Example.COM:8080", Ok("Example.COM")),
            ("127.0.0.1:80", Ok("127.0.0.1")),
            ("[::1]", Ok("[::1]")),
            ("[::1]:8080", Ok("[::1]")),
            ("a_b", Ok("a_b")),
            ("", Err(HostError::Malformed)),
            (":80", Err(HostError::Malformed)),
            ("a:", Err(HostError::Malformed)),
            ("a:65536", Err(HostError::Malformed)),
            ("a:8o", Err(HostError::Malformed)),
            ("a:80:80", Err(HostError::Malformed)),
            ("u@a", Err(HostError::Malformed)),
            ("a,b", Err(HostError::Malformed)),
            ("a/b", Err(HostError::Malformed)),
            ("a b", Err(HostError::Malformed)),
            ("a\tb", Err(HostError::Malformed)),
            ("::1", Err(HostError::Malformed)),
            ("[::1", Err(HostError::Malformed)),
            ("[::1]x", Err(HostError::Malformed)),
            ("[::1]x:80", Err(HostError::Malformed)),
            ("a.", Err(HostError::Malformed)),
            ("a.:80", Err(HostError::Malformed)),
            ("a..", Err(HostError::Malformed)),
            (".", Err(HostError::Malformed)),
            ("..", Err(HostError::Malformed)),
            (".a", Err(HostError::Malformed)),
            ("a..b", Err(HostError::Malformed)),
            ("a%2eb", Err(HostError::Malformed)),
            ("ä", Err(HostError::Malformed)),
        ] {
            assert_eq!(parse_host(value.as_bytes()), expected, "{value:?}");
        }
    }

    #[test]
    fn a_host_has_one_spelling() {
        for (host, expected) in [
            ("a.example", "a.example"),
            ("A.Example", "a.example"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[0::1]", "[::1]"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("[2001:DB8::00ff]", "[2001:db8::ff]"),
            ("[::ffff:7f00:1]", "[::ffff:127.0.0.1]"),
        ] {
            assert_eq!(canonical_host(host), expected, "{host}");
            assert_eq!(canonical_host(expected), expected, "{host}: twice");
        }
    }

    proptest! {
        #[test]
        fn the_one_spelling_of_a_host_is_a_host_and_its_own(host in "(\\[[0-9a-fA-F:.]{2,20}\\]|[a-zA-Z0-9._~-]{1,12})(:[0-9]{1,5})?") {
            if let Ok(name) = parse_host(host.as_bytes()) {
                let canonical = canonical_host(name);
                prop_assert_eq!(parse_host(canonical.as_bytes()), Ok(&*canonical));
                prop_assert_eq!(canonical_host(&canonical), &*canonical);
            }
        }
    }
}
