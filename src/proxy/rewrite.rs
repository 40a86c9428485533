//! The head that goes up: canonical target, surviving headers, then keygate's own.

use super::ForwardError;
use super::body::TrailerRule;
use super::forward::Order;
use crate::config::HostRule;
use crate::http::edits::{Edits, Facts, KeyFacts};
use crate::http::headers::{
    encode_name, remove_blank_ends, sanitize_request, sanitize_response, sanitize_trailers,
};
use crate::http::{Admitted, forwarded};
use crate::policy::RouteSettings;
use bytes::BufMut;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header};

const KEY_ID: HeaderName = HeaderName::from_static("x-keygate-key-id");
const KEY_NAME: HeaderName = HeaderName::from_static("x-keygate-key-name");
const SCOPE: HeaderName = HeaderName::from_static("x-keygate-scope");
/// The header that carries a request's id, both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// About how many fields of keygate's own a request gets: with room for them the map grows once and not with them.
const OWN_FIELDS: usize = 12;

/// How a body goes up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    /// No body, and the client did not say that it has none.
    None,
    /// A body of this many bytes, which may be 0.
    Length(u64),
    /// A body of unknown length.
    Chunked,
}

/// The target that the upstream is sent: what was matched, with the route's prefixes taken off and put on.
pub fn target(admitted: &Admitted, settings: &RouteSettings) -> Result<Uri, ForwardError> {
    if settings.strip_prefix.is_none() && settings.add_prefix.is_none() {
        return Ok(Uri::from(admitted.path_and_query().clone()));
    }
    let path = admitted.path();
    let stripped = settings
        .strip_prefix
        .as_deref()
        .and_then(|prefix| path.strip_prefix(prefix))
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
        .unwrap_or(path);
    let added = settings.add_prefix.as_deref().unwrap_or("");
    let mut text = Vec::with_capacity(admitted.path_and_query().as_str().len() + added.len() + 1);
    text.put_slice(added.as_bytes());
    text.put_slice(stripped.as_bytes());
    if text.is_empty() {
        text.put_u8(b'/');
    }
    if let Some(query) = admitted.query() {
        text.put_u8(b'?');
        text.put_slice(query.as_bytes());
    }
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(text))
        .map(Uri::from)
        .map_err(|_| ForwardError::Target)
}

/// The headers that the upstream is sent, but for `Host` where that is the chosen server's own.
pub(super) fn headers(headers: &mut HeaderMap, order: &Order<'_>, framing: Framing) {
    let edits = || order.edits().map(|edits| &edits.request);
    sanitize_request(headers, order.key_header, |name| {
        edits().any(|edits| edits.own(name))
    });
    headers.reserve(OWN_FIELDS);
    match framing {
        Framing::None => {}
        Framing::Length(bytes) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        Framing::Chunked => {
            headers.insert(
                header::TRANSFER_ENCODING,
                HeaderValue::from_static("chunked"),
            );
        }
    }
    match &order.upstream.host {
        HostRule::Upstream => {}
        HostRule::Client => {
            headers.insert(header::HOST, order.admitted.host_header().clone());
        }
        HostRule::Name(name) => {
            headers.insert(header::HOST, name.clone());
        }
    }
    if let Some(chain) = &order.client.chain {
        headers.insert(forwarded::FOR, chain.clone());
    }
    if order.upstream.forwarded {
        let value = order.client.forwarded(order.admitted.host_header());
        headers.insert(forwarded::FORWARDED, value);
    }
    headers.insert(forwarded::PROTO, order.client.proto.clone());
    headers.insert(forwarded::HOST, order.admitted.host_header().clone());
    headers.append(header::VIA, via(order.version));
    join_cookies(headers);
    headers.insert(REQUEST_ID, order.request_id.header());
    if let Some(key) = order.key {
        let plain = |text: &str| {
            HeaderValue::from_str(text).expect("ids and scope names are visible ASCII")
        };
        headers.insert(KEY_ID, plain(key.id.as_str()));
        headers.insert(KEY_NAME, encode_name(key.name.as_str()));
        headers.insert(SCOPE, plain(key.scope.as_str()));
    }
    apply(edits(), headers, order);
}

/// The headers of the upstream's answer, as the client gets them.
pub(super) fn answer_headers(headers: &mut HeaderMap, order: &Order<'_>) {
    sanitize_response(headers);
    apply(order.edits().map(|edits| &edits.response), headers, order);
}

fn apply<'e>(edits: impl Iterator<Item = &'e Edits>, headers: &mut HeaderMap, order: &Order<'_>) {
    let facts = Facts {
        key: order.key.map(|key| KeyFacts {
            id: key.id.as_str(),
            name: key.name.as_str(),
            scope: key.scope.as_str(),
        }),
        request_id: order.request_id.as_str(),
        client: order.client.address.address(),
    };
    for edits in edits {
        edits.apply(headers, &facts);
    }
}

fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_2 => "2.0 keygate",
        _ => "1.1 keygate",
    })
}

/// Makes one field of several `Cookie` lines, as HTTP/2 clients may send them (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::COOKIE).iter();
    if lines.next().is_none() || lines.next().is_none() {
        return;
    }
    let lines = headers.get_all(header::COOKIE).iter();
    let joined = lines.map(HeaderValue::as_bytes).collect::<Vec<_>>();
    let mut joined = HeaderValue::from_bytes(&joined.join(&b"; "[..]))
        .expect("values and what joins them are characters of a value");
    joined.set_sensitive(true);
    headers.insert(header::COOKIE, joined);
}

/// What takes out of a request's trailers whatever must not reach the upstream.
pub(super) fn trailers(order: &Order<'_>) -> TrailerRule {
    let key = order.key_header.clone();
    let edits: Vec<Edits> = order.edits().map(|edits| edits.request.clone()).collect();
    Box::new(move |trailers| {
        sanitize_request(trailers, &key, |name| edits.iter().any(|e| e.own(name)));
        sanitize_trailers(trailers);
        remove_blank_ends(trailers);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookie_lines_become_one() {
        for (lines, joined) in [
            (&["a=1", "b=2; c=3", "d=4"][..], &["a=1; b=2; c=3; d=4"][..]),
            (&["a=1"], &["a=1"]),
            (&[], &[]),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, HeaderValue::from_static(line));
            }
            join_cookies(&mut headers);
            let got: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
            assert_eq!(got, joined, "{lines:?}");
        }
    }
}
