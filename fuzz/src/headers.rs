//! `http::headers`, `http::forwarded` and hosts: what ends at keygate ends there, and all else passes as it is.
//!
//! An input is a line that chooses (the key's header, then the addresses of a chain), then header lines.

use crate::text::{decoded, first_line, head, split};
use http::{HeaderMap, HeaderName, HeaderValue};
use keygate::http::forwarded::{Client, FOR, FORWARDED, Proto, SpokenBy};
use keygate::http::headers::{
    encode_name, has_token, sanitize_request, sanitize_response, sanitize_trailers,
};
use keygate::http::{RequestId, parse_host};
use keygate::net::Peer;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Tries one input.
pub fn check(data: &[u8]) {
    let (choice, lines) = first_line(data);
    let (key, chain) = split(choice, b' ');
    // As the configuration takes it: letters, digits and `-`.
    let plain = key.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
    let key = HeaderName::from_bytes(key).ok().filter(|_| plain);
    let key = key.unwrap_or(HeaderName::from_static("apikey"));
    let headers = head(lines);
    requests(&headers, &key);
    responses(&headers);
    trailers(&headers);
    tokens(&headers);
    appended_decides(lines);
    chains(chain, &headers);
    hosts(lines);
    names(lines);
    for value in headers.values() {
        if let Some(id) = RequestId::from_trusted(value) {
            assert!((8..=64).contains(&id.as_str().len()));
            assert_eq!(id.as_str().as_bytes(), value.as_bytes());
            assert_eq!(id.header(), *value);
        }
    }
}

/// Names as a server sees them that cannot tell punctuation apart.
pub(crate) fn folded(name: &str) -> String {
    let fold = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    name.chars().map(fold).collect()
}

const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a client's field of this name may not reach an upstream, by the list in the threat model.
pub(crate) fn never_goes_up(name: &str, key: &str) -> bool {
    const NAMED: [&str; 19] = [
        "forwarded",
        "x-real-ip",
        "true-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "cf-connecting-ip",
        "x-original-url",
        "x-original-uri",
        "x-rewrite-url",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "proxy",
        "proxy-authorization",
        "content-length",
        "host",
        "expect",
        "http2-settings",
        "x-request-id",
    ];
    let seen = folded(name);
    name.contains('_')
        || seen == folded(key)
        || seen.starts_with("x-keygate-")
        || seen.starts_with("x-forwarded")
        || NAMED.contains(&&*seen)
        || HOP_BY_HOP.contains(&&*seen)
}

/// What `Connection` names, in lower case.
fn named_by_connection(headers: &HeaderMap) -> BTreeSet<String> {
    let lines = headers.get_all("connection").iter();
    let names = lines.flat_map(|line| line.as_bytes().split(|b| *b == b','));
    names
        .filter_map(|name| std::str::from_utf8(name.trim_ascii()).ok())
        .map(str::to_ascii_lowercase)
        .collect()
}

/// That `after` is `before` without those fields, and nothing else has changed.
fn only_lost(before: &HeaderMap, after: &HeaderMap, lost: impl Fn(&str) -> bool) {
    for name in before.keys() {
        let gone = lost(name.as_str());
        let (before, after) = (before.get_all(name), after.get_all(name));
        if gone {
            assert_eq!(after.iter().next(), None, "{name} goes no further");
        } else {
            assert!(before.iter().eq(after.iter()), "{name} passes as it is");
        }
    }
    assert!(after.keys().all(|name| before.contains_key(name)));
}

fn requests(headers: &HeaderMap, key: &HeaderName) {
    let named = named_by_connection(headers);
    let mut clean = headers.clone();
    sanitize_request(&mut clean, key, |_| false);
    only_lost(headers, &clean, |name| {
        never_goes_up(name, key.as_str()) || named.contains(name)
    });
    let mut again = clean.clone();
    sanitize_request(&mut again, key, |_| false);
    assert_eq!(again, clean, "what is clean stays as it is");
}

fn responses(headers: &HeaderMap) {
    let named = named_by_connection(headers);
    let mut clean = headers.clone();
    sanitize_response(&mut clean);
    only_lost(headers, &clean, |name| {
        HOP_BY_HOP.contains(&name) || named.contains(name)
    });
}

fn trailers(headers: &HeaderMap) {
    let mut clean = headers.clone();
    sanitize_trailers(&mut clean);
    for name in clean.keys().map(HeaderName::as_str) {
        let seen = folded(name);
        let framing = ["host", "content-length", "transfer-encoding", "trailer", "te"];
        let identity = ["authorization", "cookie", "set-cookie", "forwarded"];
        assert!(!framing.contains(&&*seen), "{name}");
        assert!(!identity.contains(&name), "{name}");
        assert!(!name.starts_with("content-") && !name.starts_with("x-keygate-"));
    }
    for (name, value) in &clean {
        assert!(headers.get_all(name).iter().any(|own| own == value));
    }
    let mut again = clean.clone();
    sanitize_trailers(&mut again);
    assert_eq!(again, clean);
}

fn tokens(headers: &HeaderMap) {
    for name in headers.keys() {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        let all = values.iter().map(|value| value.as_bytes());
        let joined = all.collect::<Vec<_>>().join(&b","[..]);
        for token in joined.split(|b| *b == b',').take(8) {
            if let Ok(token) = std::str::from_utf8(token.trim_ascii()) {
                assert_eq!(has_token(headers, name, token), !token.is_empty());
            }
        }
    }
}

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

fn ours(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 10)
}

fn behind(headers: &HeaderMap, by: SpokenBy, trusted: impl Fn(IpAddr) -> bool) -> Client {
    Client::behind(Peer::Ip(PEER), Proto::Http, headers, by, trusted)
}

/// Whatever a client sends, what trusted peers append to it decides who it is.
fn appended_decides(bytes: &[u8]) {
    for (by, name, appended) in [
        (SpokenBy::XForwardedFor, FOR, "192.0.2.7, 10.0.0.9"),
        (
            SpokenBy::Forwarded,
            FORWARDED,
            "for=192.0.2.7;proto=https, for=\"10.0.0.9:1\"",
        ),
    ] {
        for beside in [true, false] {
            let mut headers = HeaderMap::new();
            let mut lines = bytes.split(|b| *b == b'\n').take(8).peekable();
            while let Some(line) = lines.next() {
                let mut line = line.to_vec();
                if beside && lines.peek().is_none() {
                    line.extend_from_slice(b", ");
                    line.extend_from_slice(appended.as_bytes());
                }
                if let Ok(value) = HeaderValue::from_bytes(&line) {
                    headers.append(name.clone(), value);
                } else if beside && lines.peek().is_none() {
                    headers.append(name.clone(), HeaderValue::from_static(appended));
                }
            }
            if !beside {
                headers.append(name.clone(), HeaderValue::from_static(appended));
            }
            let client = behind(&headers, by, ours);
            assert_eq!(client.address, Peer::Ip(IpAddr::from([192, 0, 2, 7])));
            assert_eq!(client.chain.as_ref().unwrap(), "192.0.2.7, 10.0.0.9, 10.0.0.1");
        }
    }
}

/// What is told of a chain is read as that chain.
fn chains(text: &[u8], headers: &HeaderMap) {
    let text = String::from_utf8_lossy(text);
    let addresses: Vec<IpAddr> = text
        .split(' ')
        .filter_map(|word| word.parse::<IpAddr>().ok())
        .map(|address| address.to_canonical())
        .take(16)
        .collect();
    let said: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    let mut head = HeaderMap::new();
    if !said.is_empty() {
        head.insert(FOR, HeaderValue::from_str(&said.join(", ")).unwrap());
    }
    let client = behind(&head, SpokenBy::XForwardedFor, |_| true);
    let mut chain = said;
    chain.push(PEER.to_string());
    assert_eq!(client.chain.as_ref().unwrap(), &chain.join(", "));

    let host = headers.values().find(|v| parse_host(v.as_bytes()).is_ok());
    let host = host.cloned().unwrap_or(HeaderValue::from_static("a.test"));
    let mut head = HeaderMap::new();
    head.insert(FORWARDED, client.forwarded(&host));
    let again = behind(&head, SpokenBy::Forwarded, |_| true);
    chain.push(PEER.to_string());
    assert_eq!(again.chain.as_ref().unwrap(), &chain.join(", "));
    assert_eq!(again.address, client.address);

    // Of what a client says, too: the client is the peer, or stands there.
    for by in [SpokenBy::XForwardedFor, SpokenBy::Forwarded] {
        let client = behind(headers, by, ours);
        let Peer::Ip(address) = client.address else {
            panic!("the peer has an address");
        };
        let mut head = HeaderMap::new();
        head.insert(FOR, client.chain.clone().unwrap());
        let again = behind(&head, SpokenBy::XForwardedFor, ours);
        assert_eq!(again.address, Peer::Ip(address), "the chain tells the same client");
    }
}

fn hosts(lines: &[u8]) {
    for line in lines.split(|b| *b == b'\n').take(8) {
        let Ok(host) = parse_host(line) else { continue };
        assert!(line.starts_with(host.as_bytes()));
        assert_eq!(parse_host(host.as_bytes()), Ok(host), "{host} without its port");
        let rest = &line[host.len()..];
        let port = rest.strip_prefix(b":").and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            digits.parse::<u16>().ok()
        });
        assert!(rest.is_empty() || port.is_some(), "a port is a number");
        assert!(
            host.bytes().all(|b| b.is_ascii_graphic() && !b"@,/%\\\"?#".contains(&b)),
            "{host}"
        );
        assert!(HeaderValue::from_bytes(line).is_ok());
    }
}

/// A key's name that travels is the name again when it is decoded.
fn names(lines: &[u8]) {
    for name in String::from_utf8_lossy(lines).split('\n').take(4) {
        let sent = encode_name(name);
        assert!(sent.as_bytes().iter().all(u8::is_ascii_graphic));
        assert_eq!(decoded(sent.as_bytes()), name.as_bytes());
    }
}
