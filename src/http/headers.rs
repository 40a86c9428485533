//! Header hygiene: which fields of a message end at keygate.
//!
//! What is hop-by-hop goes first, what `Connection` names with it; then what claims an identity, an address or another
//! target; last, our own fields are set by the caller. In this order a client cannot have our fields dropped by naming
//! them in `Connection` (Traefik CVE-2024-45410). Names are compared after folding every character that is not a letter
//! or a digit to `-`, since servers behind CGI-like interfaces cannot tell them apart (Traefik CVE-2026-39858).

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Takes out of a request's head whatever must not reach an upstream. `key` is the header that carries the key; `owned`
/// says whether the configuration sets or removes what this (lower-case) name is, or looks like.
///
/// The caller then sets `Host`, the framing of the body, keygate's own headers and the configuration's.
pub fn sanitize_request(headers: &mut HeaderMap, key: &HeaderName, owned: impl Fn(&str) -> bool) {
    remove_named_by_connection(headers);
    remove_where(headers, |name| {
        name == key || ends_here(name.as_str(), key) || owned(name.as_str())
    });
}

/// Takes out of the trailers of a request or an answer what no trailer may say: how the message is framed, routed,
/// authenticated or read (RFC 9110, section 6.5.1), and whatever ends at keygate. Whoever sends a request's adds
/// [`sanitize_request`].
pub fn sanitize_trailers(trailers: &mut HeaderMap) {
    remove_where(trailers, |name| {
        let name = name.as_str();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        !name.bytes().all(plain) || folded_ends_here(name) || is_head_only(name)
    });
}

/// Takes out of a request's trailers what no upstream may be sent for its value: see [`has_blank_end`].
pub fn remove_blank_ends(trailers: &mut HeaderMap) {
    let faulty = trailers.iter().filter(|(_, value)| has_blank_end(value));
    let names: Vec<HeaderName> = faulty.map(|(name, _)| name.clone()).collect();
    for name in names {
        trailers.remove(name);
    }
}

/// Whether a value begins or ends with a blank. Over HTTP/1.1 such blanks are none of the value's; over HTTP/2 they would be, and
/// no longer for an upstream that reads HTTP/1.1: a message with one is malformed, and not to be passed on (RFC 9113, section 8.2.1).
pub fn has_blank_end(value: &HeaderValue) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_blank(value.as_bytes().first()) || is_blank(value.as_bytes().last())
}

/// What has a meaning only in a head.
fn is_head_only(name: &str) -> bool {
    name.starts_with("content-")
        || name.starts_with("access-control-")
        || name.starts_with("if-")
        || matches!(
            name,
            "age"
                | "authorization"
                | "cache-control"
                | "cookie"
                | "date"
                | "expires"
                | "location"
                | "max-forwards"
                | "pragma"
                | "range"
                | "retry-after"
                | "set-cookie"
                | "strict-transport-security"
                | "vary"
                | "via"
                | "warning"
                | "www-authenticate"
        )
}

/// Takes the hop-by-hop fields out of an upstream's answer.
pub fn sanitize_response(headers: &mut HeaderMap) {
    remove_named_by_connection(headers);
    remove_where(headers, |name| is_hop_by_hop(name.as_str()));
}

/// Takes the fields out of an answer that came over HTTP/2 whose names HTTP/1.1 cannot write: the http crate lets them have
/// a quotation mark. (A request with such a name is refused.)
pub fn remove_unwritable(headers: &mut HeaderMap) {
    remove_where(headers, |name| name.as_str().contains('"'));
}

/// Whether a header's list of tokens (any number of lines) has this one, letter case ignored.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(tokens)
        .any(|t| t.eq_ignore_ascii_case(token.as_bytes()))
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|t| !t.is_empty())
}

fn remove_named_by_connection(headers: &mut HeaderMap) {
    if !headers.contains_key(header::CONNECTION) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(tokens)
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
}

fn remove_where(headers: &mut HeaderMap, doomed: impl Fn(&HeaderName) -> bool) {
    // Most requests lose a few fields; their names are looked at first, since a map cannot be changed while it is walked.
    const AT_ONCE: usize = 8;
    loop {
        let mut names: [Option<HeaderName>; AT_ONCE] = [const { None }; AT_ONCE];
        let mut found = 0;
        for name in headers.keys() {
            if doomed(name) {
                names[found] = Some(name.clone());
                found += 1;
                if found == AT_ONCE {
                    break;
                }
            }
        }
        for name in names.into_iter().flatten() {
            headers.remove(name);
        }
        if found < AT_ONCE {
            return;
        }
    }
}

/// Whether a request's field of this (lower-case) name never goes further.
fn ends_here(name: &str, key: &HeaderName) -> bool {
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return folded_ends_here(name);
    }
    // A name with an underscore is here only where the listener drops them instead of refusing the request.
    name.contains('_')
        || folded_ends_here(&name.bytes().map(fold).map(char::from).collect::<String>())
        || is_folded_alike(name, key.as_str())
}

/// A (lower-case) character of a name as CGI-like servers see it.
fn fold(b: u8) -> u8 {
    if b.is_ascii_alphanumeric() { b } else { b'-' }
}

pub(super) fn is_folded_alike(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().map(fold).eq(other.bytes().map(fold))
}

fn folded_ends_here(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'x') => match name {
            "x-real-ip"
            | "x-client-ip"
            | "x-cluster-client-ip"
            | "x-original-url"
            | "x-original-uri"
            | "x-rewrite-url"
            | "x-http-method-override"
            | "x-http-method"
            | "x-method-override"
            | "x-request-id" => true,
            _ => name.starts_with("x-forwarded") || name.starts_with("x-keygate-"),
        },
        Some(b'f') => name == "forwarded",
        Some(b'c') => matches!(name, "connection" | "content-length" | "cf-connecting-ip"),
        Some(b'h') => matches!(name, "host" | "http2-settings"),
        Some(b'e') => name == "expect",
        Some(b't') => name == "true-client-ip" || is_hop_by_hop(name),
        Some(b'p') => matches!(name, "proxy" | "proxy-authorization") || is_hop_by_hop(name),
        _ => is_hop_by_hop(name),
    }
}

/// RFC 9110, section 7.6.1, and the older fields that still travel.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// A key's name as `X-Keygate-Key-Name` has it: everything but visible ASCII, and `%`, percent-encoded UTF-8.
pub fn encode_name(name: &str) -> HeaderValue {
    if name.bytes().all(|b| b.is_ascii_graphic() && b != b'%') {
        return HeaderValue::from_str(name).expect("visible ASCII is a header's value");
    }
    let mut text = String::with_capacity(name.len() * 3);
    for b in name.bytes() {
        if b.is_ascii_graphic() && b != b'%' {
            text.push(char::from(b));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            text.push('%');
            text.push(char::from(HEX[usize::from(b >> 4)]));
            text.push(char::from(HEX[usize::from(b & 15)]));
        }
    }
    HeaderValue::from_str(&text).expect("visible ASCII is a header's value")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(names: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in names {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    const KEY: HeaderName = HeaderName::from_static("apikey");

    #[test]
    fn nothing_that_claims_identity_target_or_framing_reaches_the_upstream() {
        for name in [
            "apikey",
            "ApiKey",
            "X-Keygate-Key-Id",
            "x-keygate-anything",
            "X-Forwarded-For",
            "x-forwarded-host",
            "x-forwarded-proto",
            "X-Forwarded-Prefix",
            "x-forwarded",
            "Forwarded",
            "X-Real-IP",
            "True-Client-IP",
            "X-Client-IP",
            "X-Cluster-Client-IP",
            "CF-Connecting-IP",
            "X-Original-URL",
            "X-Original-URI",
            "X-Rewrite-URL",
            "X-HTTP-Method-Override",
            "X-HTTP-Method",
            "X-Method-Override",
            "Proxy",
            "Proxy-Connection",
            "Keep-Alive",
            "Proxy-Authorization",
            "Connection",
            "TE",
            "Trailer",
            "Transfer-Encoding",
            "Upgrade",
            "Content-Length",
            "Expect",
            "Host",
            "X-Request-Id",
            "HTTP2-Settings",
            "x.forwarded.for",
            "x_real_ip",
            "x-original.url",
            "any_underscore",
            "x~keygate~scope",
        ] {
            let mut headers = map(&[(name, "v"), ("accept", "*/*")]);
            sanitize_request(&mut headers, &KEY, |_| false);
            assert_eq!(headers, map(&[("accept", "*/*")]), "{name}");
        }
    }

    #[test]
    fn no_other_spelling_of_the_keys_header_or_of_one_that_we_set_reaches_the_upstream() {
        let key = HeaderName::from_static("x-api-key");
        let owned = |name: &str| is_folded_alike(name, "x-upstream-key");
        for name in [
            "X-API-Key",
            "x~api~key",
            "X.Api-Key",
            "x_api_key",
            "X-Upstream-Key",
            "X.Upstream.Key",
            "x-upstream~key",
            "x|upstream!key",
        ] {
            let mut headers = map(&[(name, "v"), ("accept", "*/*")]);
            sanitize_request(&mut headers, &key, owned);
            assert_eq!(headers, map(&[("accept", "*/*")]), "{name}");
        }
        let kept = map(&[("x.upstream.keys", "1"), ("x.api", "1"), ("x.api.kez", "1")]);
        let mut headers = kept.clone();
        sanitize_request(&mut headers, &key, owned);
        assert_eq!(headers, kept);
    }

    #[test]
    fn what_a_service_needs_passes_untouched() {
        let kept = map(&[
            ("accept", "*/*"),
            ("authorization", "Bearer x"),
            ("onbehalfof", "cyclops1"),
            ("content-type", "application/json"),
            ("cookie", "a=b"),
            ("x-forward", "1"),
            ("x-keygat", "1"),
            ("appid", "1"),
            ("content-encoding", "gzip"),
            ("x-a", "1"),
            ("x-b", "1"),
            ("x-c", "1"),
            ("x-d", "1"),
            ("x-e", "1"),
        ]);
        let mut headers = kept.clone();
        for n in 0..20 {
            headers.append(
                HeaderName::from_bytes(format!("x-keygate-{n}").as_bytes()).unwrap(),
                KEY.into(),
            );
        }
        sanitize_request(&mut headers, &KEY, |_| false);
        assert_eq!(headers, kept);
    }

    #[test]
    fn connection_takes_what_it_names_and_nothing_else() {
        let mut headers = map(&[
            ("connection", "close, X-One"),
            ("connection", "x-two , ,"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
        ]);
        sanitize_request(&mut headers, &KEY, |_| false);
        assert_eq!(headers, map(&[("x-three", "3")]));
    }

    #[test]
    fn an_answer_loses_its_hop_by_hop_fields_only() {
        let mut headers = map(&[
            ("upgrade", "h2,h2c"),
            ("connection", "Upgrade, Keep-Alive"),
            ("keep-alive", "timeout=5"),
            ("content-encoding", "none"),
            ("content-length", "2"),
        ]);
        sanitize_response(&mut headers);
        assert_eq!(
            headers,
            map(&[("content-encoding", "none"), ("content-length", "2")])
        );
    }

    #[test]
    fn names_that_only_http_2_can_write_go_no_further() {
        let name = |text: &'static [u8]| HeaderName::from_lowercase(text).unwrap();
        let mut headers = HeaderMap::new();
        for text in [&b"x\"y"[..], b"\"", b"x_\"", b"x-y", b"x_y"] {
            headers.append(name(text), HeaderValue::from_static("z"));
        }
        let mut trailers = headers.clone();
        remove_unwritable(&mut headers);
        sanitize_trailers(&mut trailers);
        for left in [headers, trailers] {
            let mut names: Vec<&str> = left.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, ["x-y", "x_y"]);
        }
    }

    #[test]
    fn a_trailer_carries_no_framing_no_identity_and_nothing_that_belongs_in_a_head() {
        let mut trailers = map(&[
            ("grpc-status", "0"),
            ("grpc-message", "ok"),
            ("x-checksum", "1"),
            ("server-timing", "a"),
            ("a_b", "1"),
            ("content-length", "5"),
            ("content-type", "text/html"),
            ("transfer-encoding", "chunked"),
            ("connection", "close"),
            ("x-keygate-key-id", "1"),
            ("x.keygate.key-id", "1"),
            ("x-request-id", "1"),
            ("authorization", "x"),
            ("set-cookie", "a=b"),
            ("trailer", "x"),
            ("te", "trailers"),
            ("host", "a"),
        ]);
        sanitize_trailers(&mut trailers);
        let kept = map(&[
            ("grpc-status", "0"),
            ("grpc-message", "ok"),
            ("x-checksum", "1"),
            ("server-timing", "a"),
            ("a_b", "1"),
        ]);
        assert_eq!(trailers, kept);
    }

    #[test]
    fn a_name_travels_as_visible_ascii() {
        for (name, value) in [
            ("Auth-Key", "Auth-Key"),
            ("Auth Key", "Auth%20Key"),
            ("100%", "100%25"),
            ("ä", "%C3%A4"),
        ] {
            assert_eq!(encode_name(name), value);
        }
    }

    proptest! {
        /// Punctuation and letter case make no other name of one that ends here, and none of one that does not.
        #[test]
        fn what_is_removed_is_removed_in_every_spelling(
            name in prop::sample::select(vec![
                ("apikey", true), ("x-keygate-key-id", true), ("x-forwarded-for", true), ("forwarded", true),
                ("x-real-ip", true), ("cf-connecting-ip", true), ("x-http-method-override", true),
                ("proxy-authorization", true), ("transfer-encoding", true), ("content-length", true),
                ("accept", false), ("x-forward", false), ("x-request", false), ("content-type", false),
            ]),
            marks in "[-.~!$|]{6}",
            upper in any::<u32>(),
        ) {
            let (name, ends) = name;
            let mut marks = marks.chars();
            let spelt: String = name.chars().enumerate().map(|(at, c)| match c {
                '-' => marks.next().unwrap_or('-'),
                c if upper >> (at % 32) & 1 == 1 => c.to_ascii_uppercase(),
                c => c,
            }).collect();
            let mut headers = map(&[(&spelt, "v"), ("x-other", "1")]);
            let before = headers.clone();
            sanitize_request(&mut headers, &KEY, |_| false);
            prop_assert_eq!(&headers, if ends { &map(&[("x-other", "1")]) } else { &before }, "{}", spelt);
        }
    }
}
