//! HTTP/2, where it is not as HTTP/1.1 is.

mod support;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::Duration;
use support::scripted::Scripted;
use support::{Folder, Gateway, PATIENCE, ROUTES, Upstream};
use tokio::net::TcpStream;

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

async fn connect(address: SocketAddr, window: u32) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(address).await.expect("connect");
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(window)
        .handshake(socket)
        .await
        .expect("a handshake");
    tokio::spawn(connection);
    sender.ready().await.expect("ready")
}

fn start(main: &str, upstream: SocketAddr) -> (Folder, String, Gateway) {
    let folder = Folder::new(upstream, main, ROUTES);
    let key = folder.new_key("h2", "fullAccess");
    let gateway = folder.start();
    (folder, key, gateway)
}

fn request(method: Method, path: &str, key: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(format!("http://gateway.test{path}"))
        .header("apikey", key)
        .body(())
        .expect("a request")
}

#[test]
fn the_management_api_opens_no_socket() {
    let upstream = Upstream::echo();
    let (_folder, key, gateway) = start("", upstream.address);
    run(async {
        let mut sender = connect(gateway.address, 65_535).await;
        while !sender.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        let mut ask = request(Method::CONNECT, "/apikeys", &key);
        ask.extensions_mut()
            .insert(h2::ext::Protocol::from_static("websocket"));
        let (answer, _stream) = sender.send_request(ask, false).expect("sent");
        let answer = answer.await.expect("an answer");
        assert_eq!(
            answer.status().as_u16(),
            400,
            "success would mean that the socket is open"
        );
    });
}

#[test]
fn a_client_that_stops_sending_after_an_early_answer_is_left() {
    let upstream = Scripted::start(|mut peer| {
        if peer.head().is_some() {
            peer.answer("early");
            peer.wait_for_end();
        }
    });
    let (_folder, key, gateway) = start(
        "[timeouts]\nbody = \"500ms\"\nidle = \"10m\"\nresponse = \"10m\"\n",
        upstream.address,
    );
    run(async {
        let mut sender = connect(gateway.address, 65_535).await;
        let (answer, mut upload) = sender
            .send_request(request(Method::POST, "/v3/x", &key), false)
            .expect("sent");
        upload
            .send_data(Bytes::from_static(b"some"), false)
            .unwrap();
        assert_eq!(answer.await.expect("an answer").status().as_u16(), 200);
        let reset =
            tokio::time::timeout(Duration::from_secs(10), poll_fn(|cx| upload.poll_reset(cx)))
                .await;
        assert!(reset.is_ok(), "the upload is waited for, for ever");
    });
}
