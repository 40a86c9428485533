//! A client's wish to speak WebSocket: by `Upgrade` over HTTP/1.1 (RFC 6455, section 4.1), by an extended `CONNECT` over
//! HTTP/2 (RFC 8441, section 5). Either is judged as a `GET` of its path. Other protocols are not passed on: an `Upgrade`
//! that names one is dropped with the other hop-by-hop fields.

use crate::http::headers::has_token;
use http::request::Parts;
use http::{HeaderMap, Method, Version, header};
use hyper::upgrade::OnUpgrade;

/// What the client wants after the answer.
pub(super) enum Wish {
    /// This connection.
    Connection,
    /// This stream, which is there once the answer's head was sent.
    Stream(OnUpgrade),
}

impl Wish {
    /// The wish of a request, if it has one.
    pub(super) fn of(head: &mut Parts) -> Option<Self> {
        match head.version {
            Version::HTTP_2 if head.method == Method::CONNECT => {
                let protocol = head.extensions.get::<hyper::ext::Protocol>()?;
                if protocol.as_str() != "websocket" {
                    return None;
                }
                head.extensions.remove::<OnUpgrade>().map(Wish::Stream)
            }
            Version::HTTP_11 if head.method == Method::GET && wants_websocket(&head.headers) => {
                Some(Wish::Connection)
            }
            _ => None,
        }
    }
}

/// Whether `Upgrade` names WebSocket alone, and `Connection` stands by it. A request with a body has no such wish: its
/// body would have to be read as one, and what follows as another protocol.
fn wants_websocket(headers: &HeaderMap) -> bool {
    if headers.contains_key(header::CONTENT_LENGTH)
        || headers.contains_key(header::TRANSFER_ENCODING)
    {
        return false;
    }
    let mut values = headers.get_all(header::UPGRADE).iter();
    let only = match (values.next(), values.next()) {
        (Some(value), None) => value.as_bytes().eq_ignore_ascii_case(b"websocket"),
        _ => false,
    };
    only && has_token(headers, &header::CONNECTION, "upgrade")
}
