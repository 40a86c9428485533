//! Texts as values: durations, sizes, rates, networks, addresses. Pure; each error is a sentence that says what was expected.

use super::settings::{Network, Scheme, UpstreamServer};
use crate::policy::Rate;
use http::HeaderValue;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// A text does not say what it should; the sentence says what that is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreadable(pub(super) String);

fn unreadable<T>(message: impl Into<String>) -> Result<T, Unreadable> {
    Err(Unreadable(message.into()))
}

/// Longest time that can be asked for.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// `250ms`, `30s`, `5m`, `1h`: more than nothing, at most a year.
pub(super) fn duration(text: &str) -> Result<Duration, Unreadable> {
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
pub(super) fn size(text: &str) -> Result<u64, Unreadable> {
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
pub(super) fn rate(text: &str) -> Result<Rate, Unreadable> {
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

/// `10.0.0.0/8`, `fd00::/8`, or one address.
pub(super) fn network(text: &str) -> Result<Network, Unreadable> {
    const EXPECTED: &str = "expected a network such as \"10.0.0.0/8\" or an address";
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return unreadable(EXPECTED);
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix_len = match length.map(str::parse::<u8>) {
        None => bits,
        Some(Ok(length)) if length <= bits => length,
        Some(_) => return unreadable(format!("expected a prefix length from 0 to {bits}")),
    };
    // Read strictly: `10.0.0.1/8` may be meant as one address or as all of 10.
    let host_bits = match address {
        IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
        IpAddr::V6(ip) => u128::from(ip),
    };
    let beyond = host_bits
        .checked_shl(u32::from(prefix_len))
        .unwrap_or_default();
    if beyond != 0 {
        return unreadable(format!(
            "the address has bits beyond the first {prefix_len}; expected the network's first address"
        ));
    }
    Ok(Network {
        address,
        prefix_len,
    })
}

/// Where to listen, as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Written {
    Tcp(SocketAddr),
    /// A path, relative or not.
    Unix(String),
    /// The name of sockets that systemd passes.
    Systemd(String),
}

/// `127.0.0.1:8080`, `[::1]:0`, `unix:run/keygate.sock`.
pub(super) fn listen(text: &str) -> Result<Written, Unreadable> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path {
            "" => unreadable("expected a path after \"unix:\""),
            _ if path.starts_with('@') => unreadable(
                "a socket without a file has no permissions: expected a path after \"unix:\"",
            ),
            _ if path.ends_with('/') || path.contains('\0') => {
                unreadable("expected the path of a file after \"unix:\"")
            }
            path => Ok(Written::Unix(path.to_owned())),
        };
    }
    if let Some(name) = text.strip_prefix("systemd:") {
        // What systemd lets be a name.
        let is_name = (1..=255).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        return if is_name {
            Ok(Written::Systemd(name.to_owned()))
        } else {
            unreadable(
                "expected the name of a socket after \"systemd:\", as `FileDescriptorName=` has it",
            )
        };
    }
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok(Written::Tcp(address)),
        Err(_) => unreadable(
            "expected an address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\", or \"unix:PATH\", or \"systemd:NAME\"",
        ),
    }
}

/// `0660`: who may connect to a Unix socket.
pub(super) fn mode(text: &str) -> Result<u32, Unreadable> {
    const EXPECTED: &str =
        "expected the permissions of a file in octal, such as \"0660\": 6 and 7 let in, 0 does not";
    let octal = text.len() <= 4 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match u32::from_str_radix(text, 8) {
        Ok(mode) if octal && mode <= 0o777 => Ok(mode),
        _ => unreadable(EXPECTED),
    }
}

/// `sqlite:PATH`: the path.
pub(super) fn store(text: &str) -> Result<&str, Unreadable> {
    if text.starts_with("postgres:") || text.starts_with("postgresql:") {
        return unreadable("PostgreSQL is not supported yet; expected \"sqlite:PATH\"");
    }
    match text.strip_prefix("sqlite:") {
        Some("" | "//") => unreadable("expected the path of a file after \"sqlite:\""),
        Some(path) if path.contains(['?', '#']) => {
            unreadable("the path of a store has no `?` and no `#`: it takes no options")
        }
        Some(":memory:" | "//:memory:") => {
            unreadable("a store is a file: expected the path of one after \"sqlite:\"")
        }
        Some(path) => Ok(path.strip_prefix("//").unwrap_or(path)),
        None => unreadable("expected \"sqlite:PATH\""),
    }
}

/// `http://host:port`, `unix:/path` and their like. Errors never repeat the text, which may hold a password.
pub(super) fn server(text: &str) -> Result<UpstreamServer, Unreadable> {
    const EXPECTED: &str = "expected a server such as \"http://127.0.0.1:9000\"";
    let (scheme, rest) = match text.split_once("://") {
        Some(("http", rest)) => (Scheme::Http, rest),
        Some(("https", rest)) => (Scheme::Https, rest),
        Some(("h2c", rest)) => (Scheme::H2c, rest),
        _ => {
            return match (text.strip_prefix("unix:"), text.strip_prefix("h2c+unix:")) {
                (Some(path), _) => unix_server(Scheme::Http, path),
                (None, Some(path)) => unix_server(Scheme::H2c, path),
                (None, None) => unreadable(EXPECTED),
            };
        }
    };
    if rest.contains('@') {
        return unreadable(
            "a server has no user or password; set the upstream's credential in `headers.set`",
        );
    }
    if rest.contains('?') || rest.contains('#') {
        return unreadable("a server has no query and no fragment");
    }
    if rest.contains('/') {
        return unreadable("a server has no path (not even `/`); a route's `add_prefix` sets one");
    }
    let (host, port, bracketed) = if let Some(rest) = rest.strip_prefix('[') {
        match rest.split_once(']') {
            Some((host, "")) => (host, None, true),
            Some((host, port)) => match port.strip_prefix(':') {
                Some(port) => (host, Some(port), true),
                None => return unreadable(EXPECTED),
            },
            None => return unreadable(EXPECTED),
        }
    } else {
        match rest.split_once(':') {
            Some((host, port)) => (host, Some(port), false),
            None => (rest, None, false),
        }
    };
    let port = match port.map(port_number) {
        None => scheme.default_port(),
        Some(Some(0)) | Some(None) => {
            return unreadable("expected a port from 1 to 65535");
        }
        Some(Some(port)) => port,
    };
    let host_is_fine = if bracketed {
        host.parse::<Ipv6Addr>().is_ok()
    } else {
        is_host_name(host)
    };
    if !host_is_fine {
        return unreadable(EXPECTED);
    }
    let host = host.to_ascii_lowercase();
    let named = if bracketed {
        format!("[{host}]")
    } else {
        host.clone()
    };
    let authority = if port == scheme.default_port() {
        named
    } else {
        format!("{named}:{port}")
    };
    match HeaderValue::from_str(&authority) {
        Ok(authority) => Ok(UpstreamServer {
            scheme,
            host: host.into_boxed_str(),
            port,
            socket: None,
            authority,
            weight: 1,
        }),
        Err(_) => unreadable(EXPECTED),
    }
}

/// A server behind a Unix socket. Having no name of its own, it is called `localhost`.
fn unix_server(scheme: Scheme, path: &str) -> Result<UpstreamServer, Unreadable> {
    /// As many bytes as `sockaddr_un` has for a path, less the zero at its end.
    const PATH_MAX: usize = 107;
    if !path.starts_with('/') || path.len() > PATH_MAX || path.contains(|c: char| c.is_control()) {
        return unreadable(
            "expected a Unix socket by its absolute path, such as \"unix:/run/chat.sock\", of at most 107 bytes",
        );
    }
    Ok(UpstreamServer {
        scheme,
        host: "localhost".into(),
        port: scheme.default_port(),
        socket: Some(Path::new(path).into()),
        authority: HeaderValue::from_static("localhost"),
        weight: 1,
    })
}

/// `name`, `name:port`, `[::1]:port`: what a `Host` header may say.
pub(super) fn authority(text: &str) -> Result<HeaderValue, Unreadable> {
    const EXPECTED: &str =
        "expected \"upstream\", \"client\", or a host name, with or without a port";
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bracketed = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .is_some_and(|h| h.parse::<Ipv6Addr>().is_ok());
    let port_is_fine = port.is_none_or(|p| port_number(p).is_some());
    match HeaderValue::from_str(text) {
        Ok(value) if (bracketed || is_host_name(host)) && port_is_fine => Ok(value),
        _ => unreadable(EXPECTED),
    }
}

/// An origin as a browser sends it: `https://app.example.com`, with a port where it is not the scheme's own.
pub(super) fn origin(text: &str) -> Result<HeaderValue, Unreadable> {
    const EXPECTED: &str =
        "expected \"*\" or an origin such as \"https://app.example.com\", without a path";
    if text == "null" {
        return unreadable(
            "`null` is the origin of every sandboxed page and file; it cannot be trusted",
        );
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return unreadable(EXPECTED);
    };
    let scheme_is_fine = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.')
        });
    let default_port = match scheme {
        "http" => Some(":80"),
        "https" => Some(":443"),
        _ => None,
    };
    if default_port.is_some_and(|port| rest.ends_with(port)) {
        return unreadable("a browser leaves out the port that is the scheme's own; so must this");
    }
    if rest.bytes().any(|b| b.is_ascii_uppercase()) {
        return unreadable("a browser sends origins in lower case; so must this be");
    }
    match authority(rest) {
        Ok(_) if scheme_is_fine => HeaderValue::from_str(text).or(unreadable(EXPECTED)),
        _ => unreadable(EXPECTED),
    }
}

pub(super) fn is_host_name(text: &str) -> bool {
    let label_is_fine = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    text.len() <= 253
        && text
            .strip_suffix('.')
            .unwrap_or(text)
            .split('.')
            .all(label_is_fine)
}

fn port_number(text: &str) -> Option<u16> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
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

    #[test]
    fn networks() {
        for (text, good) in [
            ("10.0.0.0/8", true),
            ("0.0.0.0/0", true),
            ("::/0", true),
            ("10.1.2.3", true),
            ("fd00::/8", true),
            ("::1", true),
            ("::1/128", true),
            ("10.0.0.1/8", false),
            ("10.0.0.0/33", false),
            ("fd00::1/8", false),
            ("10.0.0/8", false),
            ("10.0.0.0/", false),
            ("localhost", false),
        ] {
            assert_eq!(network(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn modes() {
        for (text, bits) in [
            ("0660", Some(0o660)),
            ("600", Some(0o600)),
            ("0777", Some(0o777)),
            ("1777", None),
            ("0688", None),
            ("+660", None),
            ("", None),
            ("00660", None),
        ] {
            assert_eq!(mode(text).ok(), bits, "{text}");
        }
    }

    #[test]
    fn servers() {
        for (text, expected) in [
            (
                "http://127.0.0.1:9000",
                Some(("127.0.0.1", 9000, "127.0.0.1:9000")),
            ),
            (
                "http://Chat.Internal",
                Some(("chat.internal", 80, "chat.internal")),
            ),
            ("http://[::1]:9000", Some(("::1", 9000, "[::1]:9000"))),
            ("http://[::1]", Some(("::1", 80, "[::1]"))),
            ("http://a:80", Some(("a", 80, "a"))),
            ("http://a/", None),
            ("http://a/v3", None),
            ("http://a?x", None),
            ("http://u:p@a", None),
            ("http://a:0", None),
            ("http://a:+1", None),
            ("http://a:99999", None),
            ("http://", None),
            ("http://::1", None),
            ("http://a b", None),
            ("https://a", Some(("a", 443, "a"))),
            ("h2c://a:9000", Some(("a", 9000, "a:9000"))),
            ("h2c://a/v3", None),
            ("unix:/a", Some(("localhost", 80, "localhost"))),
            ("unix:a", None),
            ("unix:///a", Some(("localhost", 80, "localhost"))),
            ("unix:", None),
            ("unix:/a\n", None),
            ("a:9000", None),
        ] {
            let read = server(text).ok();
            let read = read
                .as_ref()
                .map(|s| (&*s.host, s.port, s.authority.to_str().unwrap()));
            assert_eq!(read, expected, "{text}");
        }
    }

    #[test]
    fn a_scheme_has_a_port_of_its_own() {
        for (text, expected) in [
            ("https://a", (Scheme::Https, 443, "a")),
            ("https://a:443", (Scheme::Https, 443, "a")),
            ("https://a:80", (Scheme::Https, 80, "a:80")),
            ("https://[::1]", (Scheme::Https, 443, "[::1]")),
            ("http://a:443", (Scheme::Http, 443, "a:443")),
            ("h2c://a", (Scheme::H2c, 80, "a")),
        ] {
            let read = server(text).unwrap();
            let found = (read.scheme, read.port, read.authority.to_str().unwrap());
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_unix_socket_has_a_path_and_a_version_of_http() {
        for (text, scheme) in [
            ("unix:/run/a.sock", Scheme::Http),
            ("h2c+unix:/run/a.sock", Scheme::H2c),
        ] {
            let read = server(text).unwrap();
            assert_eq!(read.scheme, scheme, "{text}");
            assert_eq!(read.socket.as_deref(), Some(Path::new("/run/a.sock")));
            assert_eq!(read.to_string(), text);
        }
        assert!(server(&format!("unix:/{}", "a".repeat(107))).is_err());
    }

    #[test]
    fn a_message_never_repeats_a_password() {
        for text in [
            "http://user:sesame@a",
            "https://user:sesame@a",
            "ftp://sesame",
        ] {
            assert!(!server(text).unwrap_err().0.contains("sesame"));
        }
        assert!(
            !store("postgres://u:sesame@h/d")
                .unwrap_err()
                .0
                .contains("sesame")
        );
    }

    #[test]
    fn origins() {
        for (text, good) in [
            ("https://app.example.com", true),
            ("http://localhost:3000", true),
            ("http://[::1]:3000", true),
            ("chrome-extension://abc", true),
            ("https://app.example.com/", false),
            ("https://App.example.com", false),
            ("https://a:443", false),
            ("app.example.com", false),
            ("null", false),
            ("https://", false),
        ] {
            assert_eq!(origin(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn stores_and_listeners() {
        for (text, path) in [
            ("sqlite:data/k.db", Some("data/k.db")),
            ("sqlite:/var/k.db", Some("/var/k.db")),
            ("sqlite:///var/k.db", Some("/var/k.db")),
            ("sqlite:", None),
            ("sqlite::memory:", None),
            ("sqlite:a?mode=ro", None),
            ("postgres://x", None),
            ("data/k.db", None),
        ] {
            assert_eq!(store(text).ok(), path, "{text}");
        }
        for (text, good) in [
            ("127.0.0.1:8080", true),
            ("[::1]:0", true),
            ("localhost:8080", false),
            ("8080", false),
            ("unix:/x", true),
            ("unix:run/keygate.sock", true),
            ("unix:", false),
            ("systemd:http", true),
            ("systemd:", false),
            ("systemd:a:b", false),
            ("unix:@abstract", false),
            ("unix:run/", false),
        ] {
            assert_eq!(listen(text).is_ok(), good, "{text}");
        }
    }
}
