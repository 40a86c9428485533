//! The names by which HTTP calls other machines: a server of an upstream, a `Host` header, an origin of a browser.
//!
//! They share what a host and a port may be. A server's text may hold a password by mistake, so no error repeats it.

use super::{Unreadable, unreadable};
use crate::config::settings::{Scheme, UpstreamServer};
use http::HeaderValue;
use std::net::Ipv6Addr;
use std::path::Path;

/// `http://host:port`, `unix:/path` and their like. Errors never repeat the text, which may hold a password.
pub(in crate::config) fn server(text: &str) -> Result<UpstreamServer, Unreadable> {
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
pub(in crate::config) fn authority(text: &str) -> Result<HeaderValue, Unreadable> {
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
pub(in crate::config) fn origin(text: &str) -> Result<HeaderValue, Unreadable> {
    const EXPECTED: &str =
        "expected \"*\" or an origin such as \"https://app.example.com\", without a path";
    if text == "null" {
        return unreadable(
            "`null` is the origin of every sandboxed page and file; expected that of a page, such as \"https://app.example.com\"",
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

pub(in crate::config) fn is_host_name(text: &str) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
