//! Who the client is, and what an upstream is told of it.
//!
//! An ordinary peer is the client itself; what it says in forwarding fields was removed with the rest. A trusted peer (a
//! load balancer of ours) is believed, in the one header that it is configured to speak by, `X-Forwarded-For` or
//! `Forwarded` (RFC 7239): the other is not looked at, so that the two cannot disagree. From the right end, the first
//! address that is not a trusted peer's is the client, and nothing further left is looked at, since anyone may have
//! written it. What cannot be read ends the search: the client is then the last one that was believed. So whatever the
//! bytes are, the client is the peer or an address that only trusted peers have vouched for.
//!
//! Both headers are read from the right, byte by byte: a trusted peer may append to a line that its client began, with
//! an open quote or with bytes that are no text, and that must not swallow what was appended.
//!
//! A peer on a Unix socket has no address, so it adds none to the chain: where it is the client itself, upstreams are told
//! nothing, and where it is trusted, they are told what it said.

use crate::net::Peer;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// `X-Forwarded-For`.
pub const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`.
pub const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`.
pub const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// `Forwarded`.
pub const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// By which header trusted peers say for whom they speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SpokenBy {
    /// `X-Forwarded-For`, and `X-Forwarded-Proto` beside it.
    #[default]
    XForwardedFor,
    /// `Forwarded`.
    Forwarded,
}

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
    /// What a trusted peer says: `https`, or anything else.
    fn of(text: &[u8]) -> Self {
        if text.eq_ignore_ascii_case(b"https") {
            Proto::Https
        } else {
            Proto::Http
        }
    }

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
        spoken_by: SpokenBy,
        trusted: impl Fn(IpAddr) -> bool,
    ) -> Self {
        let mut believed: Vec<IpAddr> = peer.address().into_iter().collect();
        let mut address = peer;
        let mut said = match spoken_by {
            SpokenBy::XForwardedFor => headers.get(PROTO).map(|v| Proto::of(v.as_bytes())),
            SpokenBy::Forwarded => None,
        };
        let name = match spoken_by {
            SpokenBy::XForwardedFor => FOR,
            SpokenBy::Forwarded => FORWARDED,
        };
        let lines = headers.get_all(name).iter().rev();
        for entry in lines.flat_map(|line| FromTheRight::of(line.as_bytes(), spoken_by)) {
            let hop = match spoken_by {
                SpokenBy::XForwardedFor => address_of(entry),
                SpokenBy::Forwarded => element(entry).map(|element| {
                    said = element.proto;
                    element.address
                }),
            };
            let Some(ip) = hop else { break };
            believed.push(ip);
            address = Peer::Ip(ip);
            if !trusted(ip) {
                break;
            }
        }
        let chain: Vec<String> = believed.iter().rev().map(IpAddr::to_string).collect();
        Client {
            address,
            chain: (!chain.is_empty()).then(|| value_of(&chain.join(", "))),
            proto: said.unwrap_or(proto).value(),
            trusted_peer: true,
        }
    }

    /// `Forwarded` for the upstream: the chain, the first of it with what was asked for. `host` has one reading.
    pub fn forwarded(&self, host: &HeaderValue) -> HeaderValue {
        let chain = self.chain.as_ref().and_then(|v| v.to_str().ok());
        let mut text = Vec::with_capacity(96);
        for (n, address) in chain.unwrap_or("unknown").split(", ").enumerate() {
            if n > 0 {
                text.extend_from_slice(b", ");
            }
            text.extend_from_slice(b"for=");
            if address.contains(':') {
                text.extend_from_slice(format!("\"[{address}]\"").as_bytes());
            } else {
                text.extend_from_slice(address.as_bytes());
            }
            if n == 0 {
                text.extend_from_slice(b";host=\"");
                text.extend_from_slice(host.as_bytes());
                text.extend_from_slice(b"\";proto=");
                text.extend_from_slice(self.proto.as_bytes());
            }
        }
        HeaderValue::from_bytes(&text).expect("addresses and hosts are visible ASCII")
    }
}

/// The entries of a line, the last first. In `Forwarded` a comma between quotes is none.
struct FromTheRight<'l> {
    left: Option<&'l [u8]>,
    quotes: bool,
}

impl<'l> FromTheRight<'l> {
    fn of(line: &'l [u8], spoken_by: SpokenBy) -> Self {
        FromTheRight {
            left: Some(line),
            quotes: spoken_by == SpokenBy::Forwarded,
        }
    }
}

impl<'l> Iterator for FromTheRight<'l> {
    type Item = &'l [u8];

    fn next(&mut self) -> Option<&'l [u8]> {
        let line = self.left?;
        let mut quoted = false;
        for at in (0..line.len()).rev() {
            match line[at] {
                b'"' if self.quotes => {
                    let escapes = line[..at].iter().rev().take_while(|b| **b == b'\\').count();
                    // From this side, an escaped quote stands only between two that are not.
                    if !quoted || escapes % 2 == 0 {
                        quoted = !quoted;
                    }
                }
                b',' if !quoted => {
                    self.left = Some(&line[..at]);
                    return Some(line[at + 1..].trim_ascii());
                }
                _ => {}
            }
        }
        self.left = None;
        Some(line.trim_ascii())
    }
}

/// An address, `address:port` or `[address]:port`.
fn address_of(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?;
    entry
        .parse::<IpAddr>()
        .ok()
        .or_else(|| entry.parse::<SocketAddr>().ok().map(|s| s.ip()))
        .or_else(|| entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
        .map(|ip| ip.to_canonical())
}

/// What is wanted of a `forwarded-element`.
struct Element {
    address: IpAddr,
    proto: Option<Proto>,
}

/// Reads `for=192.0.2.60;proto=http;by=203.0.113.43` (RFC 7239, section 4); `None` where it is not that, or names no
/// address.
fn element(mut text: &[u8]) -> Option<Element> {
    let (mut address, mut proto) = (None, None);
    loop {
        let equals = text.iter().position(|b| *b == b'=')?;
        let name = text[..equals].trim_ascii_start();
        if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
            return None;
        }
        let (value, rest) = value(&text[equals + 1..])?;
        let place = if name.eq_ignore_ascii_case(b"for") {
            Some(&mut address)
        } else if name.eq_ignore_ascii_case(b"proto") {
            Some(&mut proto)
        } else {
            None
        };
        if place.is_some_and(|place| place.replace(value).is_some()) {
            return None;
        }
        match rest {
            [] => break,
            [b';', rest @ ..] => text = rest,
            _ => return None,
        }
    }
    Some(Element {
        address: node(&address?)?,
        proto: proto.map(|proto| Proto::of(&proto)),
    })
}

/// A token or a quoted string, and what follows it.
fn value(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some((b'"', quoted)) = text.split_first() else {
        let end = text.iter().take_while(|b| is_token(**b)).count();
        return (end > 0).then(|| (text[..end].to_vec(), &text[end..]));
    };
    let mut value = Vec::new();
    let mut at = 0;
    loop {
        match quoted.get(at)? {
            b'"' => return Some((value, &quoted[at + 1..])),
            b'\\' => {
                value.push(*quoted.get(at + 1)?);
                at += 2;
            }
            b => {
                value.push(*b);
                at += 1;
            }
        }
    }
}

/// `192.0.2.60`, `192.0.2.60:80`, `[2001:db8::1]`, `[2001:db8::1]:80`. `unknown` and names of nobody's are no address.
fn node(text: &[u8]) -> Option<IpAddr> {
    let bare = std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    address_of(text).filter(|_| !bare)
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

fn value_of(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("addresses are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(name: HeaderName, lines: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name.clone(), HeaderValue::from_bytes(line).unwrap());
        }
        headers
    }

    fn peer() -> Peer {
        Peer::Ip([10, 0, 0, 1].into())
    }

    fn trusted(ip: IpAddr) -> bool {
        matches!(ip, IpAddr::V4(v4) if v4.octets()[0] == 10)
    }

    fn check(by: SpokenBy, name: HeaderName, lines: &[&[u8]], address: &str, chain: &str) {
        let headers = head(name, lines);
        let row: Vec<_> = lines.iter().map(|l| String::from_utf8_lossy(l)).collect();
        let client = Client::behind(peer(), Proto::Http, &headers, by, trusted);
        assert_eq!(
            client.address,
            Peer::Ip(address.parse().unwrap()),
            "{row:?}"
        );
        assert_eq!(client.chain.as_ref().unwrap(), chain, "{row:?}");
    }

    #[test]
    fn the_client_is_the_first_untrusted_address_from_the_right() {
        for (lines, address, chain) in [
            (&[][..], "10.0.0.1", "10.0.0.1"),
            (&[&b"1.2.3.4"[..]], "1.2.3.4", "1.2.3.4, 10.0.0.1"),
            (&[b"6.6.6.6, 1.2.3.4"], "1.2.3.4", "1.2.3.4, 10.0.0.1"),
            (
                &[b"1.2.3.4", b"10.0.0.2"],
                "1.2.3.4",
                "1.2.3.4, 10.0.0.2, 10.0.0.1",
            ),
            (&[b"1.2.3.4, garbage"], "10.0.0.1", "10.0.0.1"),
            (&[b"1.2.3.4,"], "10.0.0.1", "10.0.0.1"),
            (&[b"garbage, 10.9.9.9"], "10.9.9.9", "10.9.9.9, 10.0.0.1"),
            (&[b"[::1]:80"], "::1", "::1, 10.0.0.1"),
            (&[b"::ffff:1.2.3.4"], "1.2.3.4", "1.2.3.4, 10.0.0.1"),
            // What its client began does not take along what a trusted peer appended to it.
            (
                &[b"6.6.6.6", b"\xff\xfe, 1.2.3.4"],
                "1.2.3.4",
                "1.2.3.4, 10.0.0.1",
            ),
            (&[b"6.6.6.6", b"\xff"], "10.0.0.1", "10.0.0.1"),
            (&[b"\", 1.2.3.4"], "1.2.3.4", "1.2.3.4, 10.0.0.1"),
        ] {
            check(SpokenBy::XForwardedFor, FOR, lines, address, chain);
        }
    }

    #[test]
    fn forwarded_is_read_in_the_same_way() {
        for (lines, address, chain) in [
            (&[][..], "10.0.0.1", "10.0.0.1"),
            (&[&b"for=1.2.3.4"[..]], "1.2.3.4", "1.2.3.4, 10.0.0.1"),
            (
                &[b"for=6.6.6.6, FOR=1.2.3.4;proto=https;by=10.0.0.1"],
                "1.2.3.4",
                "1.2.3.4, 10.0.0.1",
            ),
            (
                &[b"for=1.2.3.4", b"by=_x; for=10.0.0.2;host=\"a, b\""],
                "1.2.3.4",
                "1.2.3.4, 10.0.0.2, 10.0.0.1",
            ),
            (
                &[b"for=\"[2001:db8::17]:4711\""],
                "2001:db8::17",
                "2001:db8::17, 10.0.0.1",
            ),
            (&[b"for=\"1.2.3.4:80\""], "1.2.3.4", "1.2.3.4, 10.0.0.1"),
            (&[b"for=\"1.2.\\3.4\""], "1.2.3.4", "1.2.3.4, 10.0.0.1"),
            (&[b"for=1.2.3.4;for=1.2.3.4"], "10.0.0.1", "10.0.0.1"),
            (&[b"for=1.2.3.4:80"], "10.0.0.1", "10.0.0.1"),
            (&[b"for=\"2001:db8::17\""], "10.0.0.1", "10.0.0.1"),
            (&[b"for=unknown"], "10.0.0.1", "10.0.0.1"),
            (
                &[b"for=_hidden, for=10.1.1.1"],
                "10.1.1.1",
                "10.1.1.1, 10.0.0.1",
            ),
            (&[b"proto=https"], "10.0.0.1", "10.0.0.1"),
            (&[b"for=1.2.3.4;"], "10.0.0.1", "10.0.0.1"),
            (&[b"for=1.2.3.4,"], "10.0.0.1", "10.0.0.1"),
            (&[b"1.2.3.4"], "10.0.0.1", "10.0.0.1"),
            // An open quote of the client's, and an escape.
            (&[b"for=\", for=1.2.3.4"], "1.2.3.4", "1.2.3.4, 10.0.0.1"),
            (
                &[b"for=\"\\\", for=1.2.3.4;host=\"a\\\",for=6.6.6.6,\\\"b\""],
                "1.2.3.4",
                "1.2.3.4, 10.0.0.1",
            ),
            (&[b"\xff\", for=1.2.3.4"], "1.2.3.4", "1.2.3.4, 10.0.0.1"),
        ] {
            check(SpokenBy::Forwarded, FORWARDED, lines, address, chain);
        }
    }

    #[test]
    fn only_the_header_that_they_speak_by_is_looked_at() {
        let mut headers = head(FOR, &[b"1.1.1.1"]);
        headers.append(
            FORWARDED,
            HeaderValue::from_static("for=2.2.2.2;proto=https"),
        );
        headers.append(PROTO, HeaderValue::from_static("http"));
        for (by, address, proto) in [
            (SpokenBy::XForwardedFor, [1, 1, 1, 1], "http"),
            (SpokenBy::Forwarded, [2, 2, 2, 2], "https"),
        ] {
            let client = Client::behind(peer(), Proto::Http, &headers, by, trusted);
            assert_eq!(client.address, Peer::Ip(address.into()), "{by:?}");
            assert_eq!(client.proto, proto, "{by:?}");
        }
    }

    #[test]
    fn where_nothing_is_said_of_the_clients_connection_the_peers_is_told() {
        for (by, name, line, expected) in [
            (SpokenBy::XForwardedFor, FOR, "1.1.1.1", "https"),
            (SpokenBy::XForwardedFor, PROTO, "http", "http"),
            (SpokenBy::Forwarded, FORWARDED, "for=1.1.1.1", "https"),
            (
                SpokenBy::Forwarded,
                FORWARDED,
                "for=1.1.1.1;proto=http",
                "http",
            ),
            (
                SpokenBy::Forwarded,
                FORWARDED,
                "for=1.1.1.1, for=10.1.1.1;proto=http",
                "https",
            ),
            (SpokenBy::Forwarded, PROTO, "http", "https"),
        ] {
            let headers = head(name, &[line.as_bytes()]);
            let client = Client::behind(peer(), Proto::Https, &headers, by, trusted);
            assert_eq!(client.proto, expected, "{by:?} {line}");
        }
    }

    #[test]
    fn a_peer_without_an_address_adds_none() {
        let alone = Client::peer(Peer::Unix, Proto::Http);
        let host = HeaderValue::from_static("a.test:8080");
        assert_eq!((alone.address, &alone.chain), (Peer::Unix, &None));
        assert_eq!(
            alone.forwarded(&host),
            "for=unknown;host=\"a.test:8080\";proto=http"
        );
        for (line, address, chain) in [
            (None, Peer::Unix, None),
            (Some("garbage"), Peer::Unix, None),
            (
                Some("6.6.6.6, 1.2.3.4"),
                Peer::Ip([1, 2, 3, 4].into()),
                Some("1.2.3.4"),
            ),
        ] {
            let lines: Vec<&[u8]> = line.iter().map(|l: &&str| l.as_bytes()).collect();
            let headers = head(FOR, &lines);
            let client = Client::behind(
                Peer::Unix,
                Proto::Http,
                &headers,
                SpokenBy::XForwardedFor,
                |_| false,
            );
            let said = client.chain.as_ref().map(|v| v.to_str().unwrap());
            assert_eq!((client.address, said), (address, chain), "{line:?}");
        }
    }

    #[test]
    fn an_upstream_is_told_in_either_way() {
        let headers = head(
            FORWARDED,
            &[b"for=\"[2001:db8::17]\";proto=https, for=10.0.0.2"],
        );
        let client = Client::behind(peer(), Proto::Http, &headers, SpokenBy::Forwarded, trusted);
        // The last hop's own connection was in clear text, the one that the client made is what was asked about.
        assert_eq!(
            client.chain.as_ref().unwrap(),
            "2001:db8::17, 10.0.0.2, 10.0.0.1"
        );
        assert_eq!(
            client.forwarded(&HeaderValue::from_static("a.test")),
            "for=\"[2001:db8::17]\";host=\"a.test\";proto=https, for=10.0.0.2, for=10.0.0.1"
        );
    }

    proptest! {
        /// Whatever a client sends, what trusted peers append to it decides.
        #[test]
        fn no_bytes_of_a_client_make_it_someone_else(
            lines in proptest::collection::vec(
                proptest::collection::vec(prop_oneof![
                    Just(b'"'), Just(b','), Just(b'\\'), Just(b'='), Just(b';'), Just(b' '),
                    0x21u8..0x7f, 0x80u8..=0xff, Just(b'1'), Just(b'.'),
                ], 0..40),
                0..4,
            ),
            beside in any::<bool>(),
            forwarded in any::<bool>(),
        ) {
            let (by, name, ours) = if forwarded {
                (SpokenBy::Forwarded, FORWARDED, "for=192.0.2.7;proto=https, for=\"10.0.0.9:1\"")
            } else {
                (SpokenBy::XForwardedFor, FOR, "192.0.2.7, 10.0.0.9")
            };
            let mut lines = lines;
            match lines.last_mut().filter(|_| beside) {
                Some(last) => {
                    last.extend_from_slice(b", ");
                    last.extend_from_slice(ours.as_bytes());
                }
                None => lines.push(ours.as_bytes().to_vec()),
            }
            let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            let client = Client::behind(peer(), Proto::Http, &head(name, &lines), by, trusted);
            prop_assert_eq!(client.address, Peer::Ip([192, 0, 2, 7].into()));
            prop_assert_eq!(client.chain.unwrap(), "192.0.2.7, 10.0.0.9, 10.0.0.1");
        }

        /// And where nobody appended anything, it is one that stands there or the peer.
        #[test]
        fn any_bytes_at_all_are_read_to_an_end(line in proptest::collection::vec(0x20u8..=0xff, 0..60)) {
            let line: Vec<u8> = line.into_iter().filter(|b| *b != 0x7f).collect();
            for (by, name) in [(SpokenBy::Forwarded, FORWARDED), (SpokenBy::XForwardedFor, FOR)] {
                let client = Client::behind(peer(), Proto::Http, &head(name, &[&line]), by, trusted);
                let Peer::Ip(ip) = client.address else { panic!("an address") };
                prop_assert!(ip == IpAddr::from([10, 0, 0, 1]) || !line.is_empty());
            }
        }
    }
}
