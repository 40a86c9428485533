//! A request that asks for WebSocket: up on a connection of its own, which is the client's once the upstream has agreed.
//!
//! Nothing of the client's but the head goes up before the upstream's 101 (Pingora CVE-2026-2833). An answer that is not
//! a 101 is an answer like any other. Over HTTP/2 (RFC 8441) the client sends no `Sec-WebSocket-Key`, so that of the
//! upstream's handshake is ours, and so is the judgement of its `Sec-WebSocket-Accept` (RFC 6455, section 4.2.2).

use super::forward::{Order, answer, failure, lease};
use super::rewrite::{self, Framing};
use super::{ForwardError, RequestBody, ResponseBody};
use crate::deadline::Wait;
use crate::http::headers::has_token;
use crate::upstream::{Choice, Upstream, UpstreamIo};
use aws_lc_rs::{digest, rand};
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");
/// What is hashed with the key (RFC 6455, section 1.3).
const ACCEPT_SALT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whose handshake the upstream answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handshake {
    /// The client's own, over HTTP/1.1: it judges the answer itself.
    Clients,
    /// Ours, for a client of HTTP/2.
    Ours,
}

/// What came of the wish.
pub enum Switched {
    /// The upstream agreed: the head of its answer, hop-by-hop fields removed, and the connection with what was read of it.
    Yes(Box<Parts>, (UpstreamIo, Bytes)),
    /// It answered otherwise.
    No(Box<Response<ResponseBody>>),
}

/// Sends a request for WebSocket and waits for the head of the answer.
///
/// # Errors
/// When there is no answer, or one that is no handshake.
pub async fn switch(
    order: Order<'_>,
    upstream: &Upstream<RequestBody>,
    headers: HeaderMap,
    handshake: Handshake,
) -> Result<Switched, ForwardError> {
    order
        .within(shake_hands(&order, upstream, headers, handshake))
        .await
}

async fn shake_hands(
    order: &Order<'_>,
    upstream: &Upstream<RequestBody>,
    mut headers: HeaderMap,
    handshake: Handshake,
) -> Result<Switched, ForwardError> {
    let uri = rewrite::target(order.admitted, order.route)?;
    let hash = upstream.hash_of(order.key.map(|key| &key.id), &headers);
    rewrite::headers(&mut headers, order, Framing::None);
    headers.insert(header::CONNECTION, UPGRADE);
    headers.insert(header::UPGRADE, WEBSOCKET);
    let expected = match handshake {
        Handshake::Clients => None,
        Handshake::Ours => {
            let key = new_key();
            let expected = accept_of(key.as_bytes());
            headers.insert(header::SEC_WEBSOCKET_KEY, key);
            headers
                .entry(header::SEC_WEBSOCKET_VERSION)
                .or_insert(HeaderValue::from_static("13"));
            Some(expected)
        }
    };
    let mut leased = lease(order, upstream, Choice::Http1, hash, None).await?;
    let mut request = Request::new(RequestBody::empty());
    *request.method_mut() = order.admitted.method().clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    order.host_of(&leased, request.headers_mut());
    order.deadline.arm(Wait::Response, order.timeouts.response);
    order.attempts.set(order.attempts.get().saturating_add(1));
    let response = match leased.send(request).await {
        Ok(response) => response,
        Err(error) => return Err(failure(order, error.cause)),
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // To a client of HTTP/2 success says that the socket is open (RFC 8441, section 5).
        if handshake == Handshake::Ours && response.status().is_success() {
            return Err(ForwardError::NoHandshake);
        }
        return answer(order, leased, response, false).map(|other| Switched::No(Box::new(other)));
    }
    let (mut head, _) = response.into_parts();
    let protocol = head.headers.get(header::UPGRADE);
    let agreed = protocol.is_some_and(|p| p.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && has_token(&head.headers, &header::CONNECTION, "upgrade");
    let accepted = head.headers.get(header::SEC_WEBSOCKET_ACCEPT);
    if !agreed || expected.is_some_and(|expected| accepted != Some(&expected)) {
        return Err(ForwardError::NoHandshake);
    }
    let joined = leased
        .into_upgraded()
        .await
        .map_err(|_| ForwardError::NoHandshake)?;
    order.deadline.disarm();
    rewrite::answer_headers(&mut head.headers, order);
    // They frame messages, and there are none any more.
    head.headers.remove(header::CONTENT_LENGTH);
    match handshake {
        Handshake::Clients => {
            head.headers.insert(header::CONNECTION, UPGRADE);
            head.headers.insert(header::UPGRADE, WEBSOCKET);
        }
        Handshake::Ours => {
            head.status = StatusCode::OK;
            head.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        }
    }
    Ok(Switched::Yes(Box::new(head), joined))
}

fn new_key() -> HeaderValue {
    let mut nonce = [0; 16];
    rand::fill(&mut nonce).expect("the system's random generator works");
    base64(&nonce)
}

fn accept_of(key: &[u8]) -> HeaderValue {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(ACCEPT_SALT);
    base64(context.finish().as_ref())
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> HeaderValue {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three
            .iter()
            .chain(std::iter::repeat(&0))
            .take(3)
            .fold(0u32, |word, b| word << 8 | u32::from(*b));
        for place in 0..4 {
            if place <= three.len() {
                text.push(ALPHABET[(word >> (18 - 6 * place)) as usize & 63]);
            } else {
                text.push(b'=');
            }
        }
    }
    HeaderValue::from_bytes(&text).expect("base64 is visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_of_a_key_is_that_of_the_rfc() {
        assert_eq!(
            accept_of(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn bytes_are_written_in_base64() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(new_key().len(), 24);
        assert_ne!(new_key(), new_key());
    }
}
