//! A server of HTTP/2 of which a test says, request by request, how it differs from a right one.

use super::server::KEY;
use bytes::Bytes;
use http::Response;
use keygate::load::mark;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use tokio::net::TcpListener;

/// An answer before it is sent.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// Ends the connection with GOAWAY, as a server does that has had enough of it.
    pub is_last: bool,
}

/// Serves for as long as the test runs. The function changes the right reply to the request of this number, counted from
/// 1 over all connections.
pub fn serve(change: impl Fn(u64, &mut Reply) + Send + Sync + 'static) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("nonblocking");
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(accept(listener, Arc::new(change)));
    });
    address
}

async fn accept(
    listener: std::net::TcpListener,
    change: Arc<impl Fn(u64, &mut Reply) + Send + Sync + 'static>,
) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    let count = Arc::new(AtomicU64::new(0));
    while let Ok((stream, _)) = listener.accept().await {
        let (change, count) = (Arc::clone(&change), Arc::clone(&count));
        tokio::spawn(async move {
            let Ok(mut connection) = h2::server::handshake(stream).await else {
                return;
            };
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let mut reply = right(&request);
                change(number, &mut reply);
                let mut response = Response::builder().status(reply.status);
                for (name, value) in &reply.headers {
                    response = response.header(*name, value);
                }
                let response = response.body(()).expect("a response");
                if let Ok(mut send) = respond.send_response(response, false) {
                    let _ = send.send_data(Bytes::from(reply.body), true);
                }
                if reply.is_last {
                    connection.graceful_shutdown();
                }
            }
        });
    }
}

fn right(request: &http::Request<h2::RecvStream>) -> Reply {
    let header = |name| {
        let value = request.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let target = request.uri().path();
    let digest = mark::digest(request.method().as_str(), target, header(mark::REQUEST), 0);
    match header("apikey") == KEY {
        true => Reply {
            status: 200,
            headers: vec![(mark::ANSWER, digest.clone())],
            body: digest,
            is_last: false,
        },
        false => Reply {
            status: 401,
            headers: Vec::new(),
            body: "{\"error\":{\"code\":\"AUTH_ERR_APIKEY_NOT_FOUND\"}}".to_owned(),
            is_last: false,
        },
    }
}
