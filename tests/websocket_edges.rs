//! The edges of an upgrade: what comes with the request, before the answer, and after an answer that is no agreement.

mod support;

use support::scripted::{Peer, Scripted};
use support::{Folder, ROUTES};

const WISH: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Agrees to `/open/ws`, answers all else, and tells of every head.
fn upstream() -> Scripted {
    Scripted::start(|mut peer| {
        while let Some(head) = peer.head() {
            let target = Peer::target(&head).to_owned();
            if target == "/open/ws" {
                peer.send(AGREED);
                peer.wait_for_end();
                return;
            }
            if peer.body(&head).is_none() {
                return;
            }
            peer.answer(&target);
        }
    })
}

#[test]
fn an_upgrade_that_is_not_agreed_to_leaves_http_in_order() {
    let upstream = upstream();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let gateway = folder.start();
    let mut client = gateway.connect();
    for n in 0..5 {
        client.send(format!("GET /open/no{n} HTTP/1.1\r\nHost: a\r\n{WISH}\r\n"));
        assert_eq!(client.answer(false).text(), format!("/open/no{n}"));
        client.send(format!("GET /open/next{n} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.answer(false).text(), format!("/open/next{n}"));
    }
    assert_eq!(upstream.heads().len(), 10);
}

#[test]
fn a_request_with_a_body_is_no_wish_for_websocket() {
    let upstream = upstream();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let gateway = folder.start();
    let hidden = "GET /open/hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = hidden.len();
    for (framing, body) in [
        (format!("Content-Length: {length}\r\n"), hidden.to_owned()),
        (
            "Transfer-Encoding: chunked\r\n".to_owned(),
            format!("{length:x}\r\n{hidden}\r\n0\r\n\r\n"),
        ),
    ] {
        let mut client = gateway.connect();
        client.send(format!(
            "GET /open/body HTTP/1.1\r\nHost: a\r\n{WISH}{framing}\r\n{body}"
        ));
        assert_eq!(client.answer(false).text(), "/open/body", "{framing}");
        client.send("GET /open/next HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer(false).text(), "/open/next", "{framing}");
    }
    assert_eq!(upstream.count("/open/hidden"), 0);
    for head in upstream.heads() {
        assert!(!head.to_ascii_lowercase().contains("upgrade:"), "{head}");
    }
}

#[test]
fn what_a_client_sends_ahead_is_not_read_as_http() {
    // Sent with the request for WebSocket: the first bytes of the tunnel, where there is one.
    let upstream = upstream();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let gateway = folder.start();
    let mut client = gateway.connect();
    client.send(format!(
        "GET /open/ws HTTP/1.1\r\nHost: a\r\n{WISH}\r\nGET /open/ahead HTTP/1.1\r\nHost: a\r\n\r\n"
    ));
    let (status, _) = client.try_head().expect("an answer");
    assert_eq!(status, 101);
    client.finish();
    assert!(client.is_closed());
    assert_eq!(upstream.heads().len(), 1);
    gateway.eventually(|| gateway.attempts().len(), |lines| *lines == 1);
}
