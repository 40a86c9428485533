//! Who may change something: an operator who shows the token, and no web page that a browser was led to.
//!
//! A page of another site can have a browser send requests to loopback. Two things give it away: an `Origin`, which
//! browsers add to every POST (Fetch standard, section 3.2), and a `Host` that is a name which its owner lets resolve to
//! this machine (DNS rebinding). Neither is looked at for what only tells.

use super::reply::Reply;
use super::token::{Token, TokenError};
use crate::gateway::News;
use crate::http::parse_host;
use crate::net::{Peer, causes};
use http::{HeaderMap, StatusCode, header};
use std::mem::{Discriminant, discriminant};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Instant;

/// Proof that the request is an operator's.
pub(super) struct Operator(());

/// Who was refused lately, and why: each network is told of once a minute for each kind of refusal.
pub struct Refusals(News<Discriminant<Denied>>);

impl Refusals {
    /// None yet.
    pub fn new(now: Instant) -> Self {
        Refusals(News::new(now))
    }

    fn tell(&self, peer: Peer, denied: &Denied) {
        if self.0.is_news(peer, discriminant(denied), Instant::now()) {
            tracing::warn!(
                %peer,
                why = causes(denied),
                "a request to the admin listener is refused; others like it are not told for a minute"
            );
        }
    }
}

/// Why it is not taken for one.
#[derive(Debug, thiserror::Error)]
enum Denied {
    #[error("a request with `Origin` comes from a web page; it is refused")]
    Origin,
    #[error("`Host` is an address or `localhost` here")]
    Host,
    #[error("nothing can be changed here: `[admin] token` names no file of a token")]
    NoToken,
    #[error("the token's file cannot be used; the log says why")]
    Unreadable(#[source] TokenError),
    #[error(
        "`Authorization: Bearer TOKEN` is missing; the token stands in the file that `[admin] token` names"
    )]
    Unproven,
    #[error("this is not the token that the file of `[admin] token` holds")]
    Wrong,
}

/// Looks at a request's head. Reads a file: not for an async thread.
///
/// # Errors
/// The answer to who is not proven an operator.
pub(super) fn admit(
    headers: &HeaderMap,
    token: Option<&Path>,
    (peer, refusals): (Peer, &Refusals),
) -> Result<Operator, Reply> {
    judge(headers, token).map_err(|denied| {
        refusals.tell(peer, &denied);
        let message = denied.to_string();
        match denied {
            Denied::Origin | Denied::Host | Denied::NoToken => {
                Reply::refusal(StatusCode::FORBIDDEN, "denied", &message)
            }
            Denied::Unreadable(_) => {
                Reply::refusal(StatusCode::SERVICE_UNAVAILABLE, "denied", &message)
            }
            Denied::Unproven | Denied::Wrong => {
                Reply::refusal(StatusCode::UNAUTHORIZED, "denied", &message)
                    .with(header::WWW_AUTHENTICATE, "Bearer")
            }
        }
    })
}

fn judge(headers: &HeaderMap, token: Option<&Path>) -> Result<Operator, Denied> {
    if headers.contains_key(header::ORIGIN) {
        return Err(Denied::Origin);
    }
    let mut hosts = headers.get_all(header::HOST).into_iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_here(host.as_bytes()) => {}
        _ => return Err(Denied::Host),
    }
    let token = token.ok_or(Denied::NoToken)?;
    let mut shown = headers.get_all(header::AUTHORIZATION).into_iter();
    let shown = match (shown.next(), shown.next()) {
        (Some(shown), None) => bearer(shown.as_bytes()).ok_or(Denied::Unproven)?,
        _ => return Err(Denied::Unproven),
    };
    let token = Token::read(token).map_err(Denied::Unreadable)?;
    if token.is(shown) {
        Ok(Operator(()))
    } else {
        Err(Denied::Wrong)
    }
}

/// Whether a host cannot be a name that a stranger made: an address, or `localhost`.
fn is_here(host: &[u8]) -> bool {
    let Ok(host) = parse_host(host) else {
        return false;
    };
    // What begins with a bracket was parsed as an address.
    host.starts_with('[')
        || host.parse::<Ipv4Addr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
}

/// The token of `Bearer TOKEN` (RFC 6750); the scheme in any letter case (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    let fine = scheme.eq_ignore_ascii_case(b"bearer ") && !token.trim_ascii().is_empty();
    fine.then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_here() {
        for (host, here) in [
            ("127.0.0.1", true),
            ("127.0.0.1:9901", true),
            ("10.1.2.3:80", true),
            ("[::1]:9901", true),
            ("localhost", true),
            ("LocalHost:9901", true),
            ("localhost.evil.example", false),
            ("evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("127.1", false),
            ("2130706433", false),
            ("localhost.", false),
            ("", false),
            ("[::1", false),
            ("127.0.0.1@evil.example", false),
        ] {
            assert_eq!(is_here(host.as_bytes()), here, "{host}");
        }
    }

    #[test]
    fn a_bearer_token_is_read_as_it_is_written() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("Bearer  abc ", Some("abc")),
            ("Bearer ", None),
            ("Basic abc", None),
            ("Bearerabc", None),
            ("", None),
        ] {
            assert_eq!(
                bearer(value.as_bytes()),
                token.map(str::as_bytes),
                "{value}"
            );
        }
    }
}
