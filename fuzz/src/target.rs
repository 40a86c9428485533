//! `http::target` and `http::admit`: a head has one reading, or none.
//!
//! An input is a request as text: `METHOD TARGET` (`2 METHOD TARGET` for HTTP/2), then `Host`, then other header lines.

use crate::text::{decoded, first_line, head, split};
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};
use keygate::http::{
    AdmitRules, Admitted, Exceptions, UnderscoreRule, admit, canonical_path, parse_host,
};
use std::borrow::Cow;

/// As in a configuration that says nothing of them.
const RULES: AdmitRules = AdmitRules {
    target_bytes: 8192,
    head_bytes: 32 * 1024,
    headers: 96,
    underscores: UnderscoreRule::Refuse,
};

/// Tries one input.
pub fn check(data: &[u8]) {
    let (line, rest) = first_line(data);
    let (version, line) = match line.strip_prefix(b"2 ") {
        Some(line) => (Version::HTTP_2, line),
        None => (Version::HTTP_11, line),
    };
    let (method, target) = split(line, b' ');
    let (host, rest) = first_line(rest);
    if let Ok(target) = std::str::from_utf8(target) {
        let (path, _) = target.split_once('?').unwrap_or((target, ""));
        check_path(path);
    }
    let (Ok(method), Ok(uri)) = (Method::from_bytes(method), Uri::try_from(target)) else {
        return;
    };
    let mut headers = head(rest);
    if let (Ok(host), false) = (HeaderValue::from_bytes(host), host.is_empty()) {
        headers.append(header::HOST, host);
    }
    let Ok(admitted) = admit(&method, &uri, version, &headers, &RULES) else {
        return;
    };
    check_admitted(&admitted, &uri, &headers);
    // What is sent on is admitted again, as the same.
    let mut again = HeaderMap::new();
    again.insert(header::HOST, admitted.host_header().clone());
    let sent = Uri::from(admitted.path_and_query().clone());
    let again = admit(admitted.method(), &sent, Version::HTTP_11, &again, &RULES)
        .expect("what was admitted is admitted again");
    assert_eq!(again.path_and_query(), admitted.path_and_query());
    assert_eq!(again.authority(), admitted.authority());
    assert_eq!(again.host(), admitted.host());
    assert_eq!(again.needs(), admitted.needs());
}

/// What must be true of every request that passes.
fn check_admitted(admitted: &Admitted, uri: &Uri, headers: &HeaderMap) {
    let method = admitted.method().as_str();
    assert!(!matches!(method, "TRACE" | "CONNECT"));
    assert!(!method.bytes().any(|b| b.is_ascii_lowercase()));
    assert!(
        headers.get_all(header::HOST).iter().count() <= 1,
        "one Host"
    );
    assert!(
        headers.keys().all(|name| !name.as_str().contains('_')),
        "underscores are refused"
    );
    if let Some(coding) = headers.get(header::TRANSFER_ENCODING) {
        assert!(coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    }

    let sent = admitted.path_and_query();
    assert_eq!(sent.path(), admitted.path());
    assert_eq!(sent.query(), admitted.query());
    assert_eq!(admitted.query(), uri.query(), "the query goes on as it came");
    assert!(sent.as_str().bytes().all(|b| matches!(b, 0x21..=0x7E)));
    let written = Uri::from(sent.clone()).to_string();
    assert_eq!(written, sent.as_str(), "what is written is what was matched");
    if admitted.path() == "*" {
        assert_eq!((method, admitted.query()), ("OPTIONS", None));
    } else {
        check_canonical(admitted.path(), admitted.needs());
    }

    let host = admitted.host();
    assert_eq!(
        parse_host(admitted.authority().as_bytes()),
        Ok(host),
        "a host's only spelling is a host"
    );
    assert!(!host.bytes().any(|b| b.is_ascii_uppercase()));
    assert!(!host.contains(['@', ',', '/', ' ', '%']), "{host}");
    if let Some(authority) = uri.authority() {
        let said = headers.get(header::HOST).map(HeaderValue::as_bytes);
        let said = said.unwrap_or(authority.as_str().as_bytes());
        assert!(authority.as_str().as_bytes().eq_ignore_ascii_case(said));
    }
}

fn check_path(path: &str) {
    let (canonical, needs) = match canonical_path(path) {
        Ok(read) => read,
        Err(error) => return assert!(!is_plain(path), "{path:?} was refused: {error}"),
    };
    check_canonical(&canonical, needs);
    assert_eq!(
        decoded(canonical.as_bytes()),
        decoded(path.as_bytes()),
        "another path than the one that was asked for"
    );
    if let Cow::Borrowed(same) = canonical {
        assert_eq!(same, path);
    }
}

/// What must be true of every canonical path. Used by other targets, too, for what an upstream was sent.
pub(crate) fn check_canonical(canonical: &str, needs: Exceptions) {
    match canonical_path(canonical) {
        Ok((Cow::Borrowed(again), same)) => {
            assert_eq!((again, same), (canonical, needs));
        }
        other => panic!("{canonical:?} is not its own canonical form: {other:?}"),
    }
    assert!(canonical.starts_with('/'));
    check_bytes(canonical);

    // What needs an exception is what a plain look finds.
    let seen = [
        (Exceptions::ENCODED_SLASH, canonical.contains("%2F")),
        (Exceptions::ENCODED_PERCENT, canonical.contains("%25")),
        (
            Exceptions::SEMICOLON,
            canonical.contains(';') || canonical.contains("%3B"),
        ),
        (Exceptions::DOUBLE_SLASH, canonical.contains("//")),
    ];
    let expected = seen
        .into_iter()
        .filter(|(_, found)| *found)
        .fold(Exceptions::NONE, |all, (one, _)| all.with(one));
    assert_eq!(needs, expected, "{canonical:?}");

    // However often an upstream decodes it.
    let mut reading = canonical.as_bytes().to_vec();
    loop {
        for segment in reading.split(|b| matches!(b, b'/' | b'\\')) {
            let (name, _) = split(segment, b';');
            assert!(name != b"." && name != b"..", "{canonical:?}: a dot segment");
        }
        assert!(!reading.contains(&b'\\'), "{canonical:?}: a backslash");
        assert!(
            !reading.iter().any(|b| *b < 0x20 || *b == 0x7F),
            "{canonical:?}: a control character"
        );
        let next = decoded(&reading);
        if next == reading {
            break;
        }
        reading = next;
    }
    assert!(std::str::from_utf8(&decoded(canonical.as_bytes())).is_ok());
}

/// The characters of RFC 3986, section 3.3, and brackets; escapes in upper case, and of nothing that need not be escaped.
fn check_bytes(canonical: &str) {
    const RAW: &[u8] = b"/-._~!$&'()*+,;=:@[]%";
    let bytes = canonical.as_bytes();
    assert!(
        bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || RAW.contains(b)),
        "{canonical:?}"
    );
    for (at, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'%') {
        let escape = &bytes[at..(at + 3).min(bytes.len())];
        let meant = decoded(escape);
        assert!(
            meant.len() == 1 && !escape.iter().any(u8::is_ascii_lowercase),
            "{canonical:?}"
        );
        let unreserved = meant[0].is_ascii_alphanumeric() || b"-._~".contains(&meant[0]);
        assert!(!unreserved, "{canonical:?}");
    }
}

/// A path that no server reads in a second way: it must pass.
fn is_plain(path: &str) -> bool {
    let segments = path.strip_prefix('/').map(|rest| rest.split('/'));
    segments.is_some_and(|mut segments| {
        segments.all(|segment| {
            let fine = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&b);
            segment.bytes().all(fine) && segment != "." && segment != ".."
        })
    })
}
