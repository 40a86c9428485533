//! Where requests go: `http://127.0.0.1:8080`, `https://api.example.com/v3/users`.

use http::uri::Authority;
use std::str::FromStr;

/// A base URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadTarget {
    pub tls: bool,
    /// Without brackets.
    pub host: String,
    pub port: u16,
    /// Host and port as they were written.
    pub authority: Authority,
    /// Path and query, where there are any.
    pub path: Option<String>,
}

/// The text is no base URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected a URL such as http://127.0.0.1:8080 or https://api.example.com, and no user in it"
)]
pub struct TargetError;

impl FromStr for LoadTarget {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let uri: http::Uri = text.parse().map_err(|_| TargetError)?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(TargetError),
        };
        let authority = uri.authority().ok_or(TargetError)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(TargetError);
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let path = uri.path_and_query().map(|path| path.as_str());
        // The parser puts a path where none was written.
        let written =
            text.len() > uri.scheme_str().unwrap_or_default().len() + 3 + authority.as_str().len();
        Ok(LoadTarget {
            tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.clone(),
            path: path
                .filter(|path| written && *path != "/")
                .map(str::to_owned),
        })
    }
}

/// As a URL without a path.
impl std::fmt::Display for LoadTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_read() {
        for (text, tls, host, port, path) in [
            ("http://127.0.0.1:8080", false, "127.0.0.1", 8080, None),
            ("http://127.0.0.1:8080/", false, "127.0.0.1", 8080, None),
            (
                "https://a.example/v3?x=1",
                true,
                "a.example",
                443,
                Some("/v3?x=1"),
            ),
            ("http://[::1]", false, "::1", 80, None),
        ] {
            let target: LoadTarget = text.parse().expect(text);
            let got = (
                target.tls,
                &*target.host,
                target.port,
                target.path.as_deref(),
            );
            assert_eq!(got, (tls, host, port, path), "{text}");
        }
        for text in [
            "",
            "127.0.0.1:80",
            "ftp://a",
            "http://",
            "http://a@b",
            "/v3",
        ] {
            assert!(text.parse::<LoadTarget>().is_err(), "{text}");
        }
    }
}
