//! What the gateway refuses itself is said to a gRPC client as gRPC says it: HTTP 200, `grpc-status`, `grpc-message`, and no
//! body; over HTTP/2 only.

mod support;

use bytes::Bytes;
use http::{HeaderMap, Request};
use std::net::SocketAddr;
use support::house::House;
use support::{PATIENCE, Upstream};

const ROUTES: &str = r#"
[scopes]
authOnly = []
fullAccess = ["authOnly"]
[defaults]
upstream = "chat"
[[routes]]
path = "/chat.Service/Call"
methods = ["POST"]
scope = "fullAccess"
[[routes]]
path = "/chat.Service/Rated"
methods = ["POST"]
scope = "fullAccess"
rate = { rate = "1/h", burst = 1 }
upstream = "away"
[[routes]]
path = "/chat.Service/Closed"
access = "deny"
[[routes]]
path = "/chat.Service/Away"
methods = ["POST"]
scope = "fullAccess"
maintenance = { message = "Zurück um 100 %.", retry_after = "60s" }
"#;

struct Got {
    status: u16,
    headers: HeaderMap,
    /// The head ended the stream.
    trailers_only: bool,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// One request over HTTP/2.
fn call(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Got {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let exchange = async {
        let socket = tokio::net::TcpStream::connect(address)
            .await
            .expect("connect");
        let (sender, connection) = h2::client::handshake(socket).await.expect("a handshake");
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method("POST")
            .uri(format!("http://gateway.test{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut sender = sender.ready().await.expect("room for a stream");
        let (answer, mut upload) = sender
            .send_request(request.body(()).expect("a request"), false)
            .expect("sent");
        // An empty message; a refusal may be here before it.
        let _ = upload.send_data(Bytes::from_static(&[0; 5]), true);
        let (head, mut body) = answer.await.expect("an answer").into_parts();
        let trailers_only = body.is_end_stream();
        let mut whole = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.expect("data");
            let _ = body.flow_control().release_capacity(data.len());
            whole.extend_from_slice(&data);
        }
        Got {
            status: head.status.as_u16(),
            headers: head.headers,
            trailers_only,
            body: whole,
        }
    };
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .expect("in time")
    })
}

fn house() -> House {
    let main = "[upstreams.away]\nservers = [\"http://127.0.0.1:1\"]\n";
    House::of(Upstream::echo(), main, ROUTES)
}

#[test]
fn every_refusal_has_a_grpc_status_and_no_body() {
    let house = house();
    let (full, weak) = (("apikey", &*house.full), ("apikey", &*house.auth));
    for (path, more, status, also) in [
        (
            "/chat.Service/Call",
            None,
            "16",
            Some((
                "www-authenticate",
                "ApiKey realm=\"keygate\", header=\"apikey\"",
            )),
        ),
        ("/chat.Service/Call", Some(("apikey", "wrong")), "16", None),
        ("/chat.Service/Call", Some(weak), "7", None),
        ("/chat.Service/Closed", Some(full), "7", None),
        ("/chat.Service/Nothing", Some(full), "12", None),
        ("/chat.Service/Nothing", None, "16", None),
        ("/chat.Service/../x", Some(full), "3", None),
        (
            "/chat.Service/Rated",
            Some(full),
            "14",
            Some(("x-ratelimit-remaining", "0")),
        ),
        (
            "/chat.Service/Rated",
            Some(full),
            "8",
            Some(("x-ratelimit-limit", "1")),
        ),
        (
            "/chat.Service/Away",
            Some(full),
            "14",
            Some(("retry-after", "60")),
        ),
    ] {
        for content_type in ["application/grpc", "application/grpc+proto"] {
            if path.ends_with("Rated") && content_type != "application/grpc" {
                continue;
            }
            let mut headers = vec![("content-type", content_type), ("te", "trailers")];
            headers.extend(more);
            let got = call(house.gateway.address, path, &headers);
            let row = format!("{path} {status} {content_type}");
            assert_eq!(
                (got.status, got.header("grpc-status")),
                (200, Some(status)),
                "{row}"
            );
            assert_eq!(
                got.header("content-type"),
                Some("application/grpc"),
                "{row}"
            );
            assert!(got.trailers_only && got.body.is_empty(), "{row}");
            assert!(
                got.header("grpc-message").is_some_and(|m| !m.is_empty()),
                "{row}"
            );
            assert!(got.header("x-request-id").is_some(), "{row}");
            if let Some((name, value)) = also {
                assert_eq!(got.header(name), Some(value), "{row}");
            }
            if path.ends_with("Away") {
                assert_eq!(got.header("grpc-message"), Some("Zur%C3%BCck um 100 %25."));
            }
        }
    }
    let line = house
        .gateway
        .wait_for_log(|line| line.contains("\"no_scope\""));
    assert!(
        line.contains("\"status\":200"),
        "what was sent is what is logged: {line}"
    );
    assert_eq!(house.upstream.connections(), 0, "nothing went up");
}

#[test]
fn what_is_no_grpc_or_not_over_http_2_is_refused_as_ever() {
    let house = house();
    for content_type in [
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/json",
    ] {
        let got = call(
            house.gateway.address,
            "/chat.Service/Call",
            &[("content-type", content_type)],
        );
        assert_eq!(
            (got.status, got.header("grpc-status")),
            (401, None),
            "{content_type}"
        );
        assert!(!got.body.is_empty(), "{content_type}");
    }
    let answer = house.gateway.call(
        "POST /chat.Service/Call",
        &["Content-Type: application/grpc"],
        "x",
    );
    assert_eq!((answer.status, answer.header("grpc-status")), (401, None));
    assert_eq!(answer.code(), "AUTH_ERR_EMPTY_APIKEY");
    // Nor is a permitted call that the upstream answers.
    let call = call(
        house.gateway.address,
        "/chat.Service/Call",
        &[
            ("content-type", "application/grpc"),
            ("apikey", &house.full),
        ],
    );
    assert_eq!((call.status, call.header("grpc-status")), (200, None));
}
