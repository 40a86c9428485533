//! HTTP/2 to clients, in clear text by prior knowledge: streams beside one another, each with deadlines of its own, the
//! same refusals as over HTTP/1.1, and an orderly end.

mod support;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use support::{Folder, Gateway, PATIENCE, ROUTES, Upstream, respond};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Runs this on a runtime of its own, under the patience of all tests.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

/// A connection, and the task that drives it: it ends as the connection does.
async fn connect(address: SocketAddr) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let socket = TcpStream::connect(address).await.expect("connect");
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(64 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .handshake(socket)
        .await
        .expect("a handshake");
    (sender, tokio::spawn(connection))
}

fn request(method: Method, path: &str, key: Option<&str>) -> Request<()> {
    let mut builder = Request::builder()
        .method(method)
        .uri(format!("http://gateway.test{path}"));
    if let Some(key) = key {
        builder = builder.header("apikey", key);
    }
    builder.body(()).expect("a request")
}

async fn send(
    sender: &SendRequest<Bytes>,
    request: Request<()>,
    end: bool,
) -> (ResponseFuture, SendStream<Bytes>) {
    let mut sender = sender.clone().ready().await.expect("room for a stream");
    sender.send_request(request, end).expect("sent")
}

async fn whole(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        all.extend_from_slice(&data);
        let _ = body.flow_control().release_capacity(data.len());
    }
    Ok(all)
}

/// Status and body of a request without a body.
async fn call(sender: &SendRequest<Bytes>, request: Request<()>) -> (u16, serde_json::Value) {
    let (answer, _) = send(sender, request, true).await;
    let (head, body) = answer.await.expect("an answer").into_parts();
    let body = whole(body).await.expect("a whole body");
    (
        head.status.as_u16(),
        serde_json::from_slice(&body).unwrap_or_default(),
    )
}

fn start(main: &str, upstream: &Upstream) -> (Folder, String, Gateway) {
    let folder = Folder::new(upstream.address, main, ROUTES);
    let key = folder.new_key("h2", "fullAccess");
    let gateway = folder.start();
    (folder, key, gateway)
}

#[test]
fn a_client_speaks_http2_with_prior_knowledge_and_its_streams_share_a_connection() {
    let upstream = Upstream::echo();
    let (_folder, key, gateway) = start("", &upstream);
    run(async {
        let (sender, _) = connect(gateway.address).await;
        let calls: Vec<_> = (0..50)
            .map(|n| {
                let path = format!("/v3/users/{n}?q={n}");
                let request = request(Method::GET, &path, Some(&key));
                let sender = sender.clone();
                tokio::spawn(async move { (path, call(&sender, request).await) })
            })
            .collect();
        for done in calls {
            let (path, (status, body)) = done.await.unwrap();
            assert_eq!(
                (status, &body["target"]),
                (200, &path.clone().into()),
                "{path}"
            );
        }
    });
    let seen = upstream.wait_for(50);
    assert!(seen.iter().all(|s| s.header("apikey").is_none()));
    assert!(
        seen.iter()
            .all(|s| s.header("x-forwarded-host") == Some("gateway.test"))
    );
}

#[test]
fn refusals_are_those_of_http1() {
    let upstream = Upstream::echo();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let key = folder.new_key("h2", "fullAccess");
    let weak = folder.new_key("weak", "authOnly");
    let gateway = folder.start();
    let gone = "0123456789012345678901234567890123456789";
    run(async {
        let (sender, _) = connect(gateway.address).await;
        for (method, path, key, status, code) in [
            (Method::GET, "/v3/users", None, 401, "AUTH_ERR_EMPTY_APIKEY"),
            (
                Method::GET,
                "/v3/users",
                Some(gone),
                401,
                "AUTH_ERR_APIKEY_NOT_FOUND",
            ),
            (
                Method::GET,
                "/nowhere",
                Some(&key),
                404,
                "ERR_API_NOT_FOUND",
            ),
            (
                Method::PUT,
                "/only-get",
                Some(&key),
                405,
                "ERR_API_NOT_FOUND",
            ),
            (
                Method::GET,
                "/closed",
                Some(&key),
                403,
                "AUTH_ERR_NO_ACCESS",
            ),
            (
                Method::GET,
                "/v3/a/../b",
                Some(&key),
                400,
                "ERR_BAD_REQUEST",
            ),
            (Method::GET, "/v3/a%2fb", Some(&key), 400, "ERR_BAD_REQUEST"),
            (
                Method::TRACE,
                "/v3/users",
                Some(&key),
                400,
                "ERR_BAD_REQUEST",
            ),
            (
                Method::GET,
                "/v3/users",
                Some(&weak),
                403,
                "AUTH_ERR_NO_ACCESS",
            ),
        ] {
            let row = format!("{method} {path}");
            let (got, body) = call(&sender, request(method, path, key)).await;
            assert_eq!(
                (got, &body["error"]["code"]),
                (status, &code.into()),
                "{row}"
            );
        }
        let mut other_host = request(Method::GET, "/v3/users", Some(&key));
        other_host
            .headers_mut()
            .insert("host", "elsewhere.test".parse().unwrap());
        let (status, _) = call(&sender, other_host).await;
        assert_eq!(status, 400, "`Host` that is not `:authority`");
        let mut twice = request(Method::GET, "/v3/users", Some(&key));
        twice.headers_mut().append("apikey", gone.parse().unwrap());
        let (status, _) = call(&sender, twice).await;
        assert_eq!(status, 401, "two keys");
    });
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_stream_that_stalls_ends_alone() {
    let upstream = Upstream::echo();
    let (_folder, key, gateway) = start("[timeouts]\nbody = \"300ms\"\n", &upstream);
    run(async {
        let (sender, _) = connect(gateway.address).await;
        let (stalled, mut upload) =
            send(&sender, request(Method::POST, "/v3/x", Some(&key)), false).await;
        upload
            .send_data(Bytes::from_static(b"begun"), false)
            .unwrap();
        let stalled = tokio::spawn(stalled);
        while !stalled.is_finished() {
            let (status, _) = call(&sender, request(Method::GET, "/v3/y", Some(&key))).await;
            assert_eq!(status, 200);
        }
        let answer = stalled.await.unwrap().expect("an answer");
        assert_eq!(answer.status().as_u16(), 408);
        let (status, _) = call(&sender, request(Method::GET, "/v3/z", Some(&key))).await;
        assert_eq!(status, 200);
    });
}

#[test]
fn a_client_that_takes_nothing_loses_that_stream_and_no_other() {
    let upstream = Upstream::start(|seen, stream| {
        let body = "x".repeat(if seen.target() == "/v3/large" {
            1 << 20
        } else {
            4
        });
        respond(stream, 200, &[], &body, body.len())
    });
    let (_folder, key, gateway) = start("[timeouts]\nbody = \"300ms\"\n", &upstream);
    run(async {
        let (sender, _) = connect(gateway.address).await;
        let (answer, _) = send(&sender, request(Method::GET, "/v3/large", Some(&key)), true).await;
        let mut body = answer.await.expect("a head").into_body();
        // Nothing is released: the stream's window stays shut after its first 64 KiB.
        let mut taken = 0;
        let error = loop {
            match body.data().await {
                Some(Ok(data)) => taken += data.len(),
                Some(Err(error)) => break error,
                None => panic!("a whole body in a shut window"),
            }
            let (status, _) = call(&sender, request(Method::GET, "/v3/y", Some(&key))).await;
            assert_eq!(status, 200);
        };
        assert!(error.is_reset(), "{error}");
        assert!(taken <= 64 * 1024, "{taken}");
        let (status, _) = call(&sender, request(Method::GET, "/v3/z", Some(&key))).await;
        assert_eq!(status, 200);
    });
}

#[test]
fn an_answer_that_breaks_off_resets_its_stream() {
    let upstream = Upstream::start(|_, stream| {
        respond(stream, 200, &[], "half", 8);
        false
    });
    let (_folder, key, gateway) = start("", &upstream);
    run(async {
        let (sender, _) = connect(gateway.address).await;
        let (answer, _) = send(&sender, request(Method::GET, "/v3/x", Some(&key)), true).await;
        let error = match answer.await {
            Ok(answer) => whole(answer.into_body()).await.expect_err("half a body"),
            Err(error) => error,
        };
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    });
}

#[test]
fn an_idle_connection_is_told_to_go() {
    let upstream = Upstream::echo();
    let (_folder, key, gateway) = start("[timeouts]\nidle = \"300ms\"\n", &upstream);
    run(async {
        let (sender, ended) = connect(gateway.address).await;
        let (status, _) = call(&sender, request(Method::GET, "/v3/x", Some(&key))).await;
        assert_eq!(status, 200);
        ended.await.unwrap().expect("an end without an error");
    });
}

#[test]
fn a_client_that_says_half_a_preface_is_closed() {
    let upstream = Upstream::echo();
    let (_folder, _key, gateway) = start("[timeouts]\nhead = \"300ms\"\n", &upstream);
    let mut client = gateway.connect();
    client.send("PRI * HTTP/2.0\r\n");
    assert!(client.is_closed());
    let metrics = gateway.admin("/metrics").text();
    assert!(metrics.contains("head_timeout"), "{metrics}");
}

#[test]
fn a_drain_ends_connections_after_their_streams() {
    let (began, begun) = std::sync::mpsc::sync_channel(1);
    let (go, gone) = std::sync::mpsc::sync_channel::<()>(1);
    let gone = std::sync::Mutex::new(gone);
    let upstream = Upstream::start(move |_, stream| {
        began.send(()).unwrap();
        gone.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        respond(stream, 200, &[], "{}", 2)
    });
    let (_folder, key, mut gateway) = start("", &upstream);
    run(async {
        let (sender, ended) = connect(gateway.address).await;
        let (answer, _) = send(&sender, request(Method::GET, "/v3/x", Some(&key)), true).await;
        tokio::task::spawn_blocking(move || begun.recv_timeout(PATIENCE).unwrap())
            .await
            .unwrap();
        gateway.signal("TERM");
        // The connection was told when it takes no new stream.
        while sender.clone().ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        go.send(()).unwrap();
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(whole(answer.into_body()).await.unwrap(), b"{}");
        drop(sender);
        ended.await.unwrap().expect("an end without an error");
    });
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
}
