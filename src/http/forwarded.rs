//! Who the client is, and what an upstream is told of it.
//!
//! An ordinary peer is the client itself; what it says in forwarding fields was removed with the rest. A trusted peer (a
//! load balancer of ours) is believed: from the right end of its `X-Forwarded-For`, the first address that is not a
//! trusted peer's is the client, and nothing further left is looked at, since anyone may have written it.
//!
//! A peer on a Unix socket has no address, so it adds none to the chain: where it is the client itself, upstreams are told
//! nothing, and where it is trusted, they are told what it said.

use crate::net::Peer;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::net::IpAddr;

/// `X-Forwarded-For`.
pub const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`.
pub const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`.
pub const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The client of a request.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its address, if it has one.
    pub address: Peer,
    /// `X-Forwarded-For` for the upstream: the believed chain, then the peer; `None` where no address is known.
    pub chain: Option<HeaderValue>,
    /// `X-Forwarded-Proto` for the upstream.
    pub proto: HeaderValue,
    /// Whether the peer is trusted.
    pub trusted_peer: bool,
}

/// How a client's connection to us, or to whoever we trust in front of us, was protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proto {
    Http,
    Https,
}

impl Proto {
    fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Proto::Http => "http",
            Proto::Https => "https",
        })
    }
}

impl Client {
    /// The client of a peer that is not trusted: the peer.
    pub fn peer(peer: Peer, proto: Proto) -> Self {
        Client {
            address: peer,
            chain: peer.address().map(|address| value_of(&address.to_string())),
            proto: proto.value(),
            trusted_peer: false,
        }
    }

    /// The client that a trusted peer speaks for. `proto` is how the peer came, for one that does not say how its client did.
    pub fn behind(
        peer: Peer,
        proto: Proto,
        headers: &HeaderMap,
        trusted: impl Fn(IpAddr) -> bool,
    ) -> Self {
        let entries: Vec<&str> = headers
            .get_all(FOR)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
            .map(str::trim)
            .collect();
        let mut address = peer;
        let mut believed = entries.len();
        for entry in entries.iter().rev() {
            let Some(ip) = parse_entry(entry) else { break };
            believed -= 1;
            address = Peer::Ip(ip);
            if !trusted(ip) {
                break;
            }
        }
        let mut chain = entries[believed..].join(", ");
        if let Some(address) = peer.address() {
            if !chain.is_empty() {
                chain.push_str(", ");
            }
            chain.push_str(&address.to_string());
        }
        let proto = match headers.get(PROTO) {
            Some(said) if said.as_bytes().eq_ignore_ascii_case(b"https") => Proto::Https,
            Some(_) => Proto::Http,
            None => proto,
        };
        Client {
            address,
            chain: (!chain.is_empty()).then(|| value_of(&chain)),
            proto: proto.value(),
            trusted_peer: true,
        }
    }
}

/// An address, `address:port` or `[address]:port`.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    entry
        .parse::<IpAddr>()
        .ok()
        .or_else(|| entry.parse::<std::net::SocketAddr>().ok().map(|s| s.ip()))
        .or_else(|| entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
        .map(|ip| ip.to_canonical())
}

fn value_of(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("addresses are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_the_first_untrusted_address_from_the_right() {
        let peer = Peer::Ip("10.0.0.1".parse().unwrap());
        let trusted = |ip: IpAddr| matches!(ip, IpAddr::V4(v4) if v4.octets()[0] == 10);
        for (lines, address, chain) in [
            (&[][..], "10.0.0.1", "10.0.0.1"),
            (&["1.2.3.4"], "1.2.3.4", "1.2.3.4, 10.0.0.1"),
            (&["6.6.6.6, 1.2.3.4"], "1.2.3.4", "1.2.3.4, 10.0.0.1"),
            (
                &["1.2.3.4", "10.0.0.2"],
                "1.2.3.4",
                "1.2.3.4, 10.0.0.2, 10.0.0.1",
            ),
            (&["1.2.3.4, garbage"], "10.0.0.1", "10.0.0.1"),
            (&["garbage, 10.9.9.9"], "10.9.9.9", "10.9.9.9, 10.0.0.1"),
            (&["[::1]:80"], "::1", "[::1]:80, 10.0.0.1"),
            (&["::ffff:1.2.3.4"], "1.2.3.4", "::ffff:1.2.3.4, 10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FOR, HeaderValue::from_static(line));
            }
            let client = Client::behind(peer, Proto::Http, &headers, trusted);
            assert_eq!(
                client.address,
                Peer::Ip(address.parse().unwrap()),
                "{lines:?}"
            );
            assert_eq!(client.chain.as_ref().unwrap(), chain, "{lines:?}");
        }
    }

    #[test]
    fn a_peer_without_an_address_adds_none() {
        let alone = Client::peer(Peer::Unix, Proto::Http);
        assert_eq!((alone.address, alone.chain), (Peer::Unix, None));
        for (line, address, chain) in [
            (None, Peer::Unix, None),
            (Some("garbage"), Peer::Unix, None),
            (
                Some("6.6.6.6, 1.2.3.4"),
                Peer::Ip([1, 2, 3, 4].into()),
                Some("1.2.3.4"),
            ),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(line) = line {
                headers.append(FOR, HeaderValue::from_static(line));
            }
            let client = Client::behind(Peer::Unix, Proto::Http, &headers, |_| false);
            let said = client.chain.as_ref().map(|v| v.to_str().unwrap());
            assert_eq!((client.address, said), (address, chain), "{line:?}");
        }
    }
}
