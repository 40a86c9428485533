//! What a whole request costs over the least that hyper can do: keygate beside bare hyper, in turns, on this machine, now.
//!
//! `cargo bench --bench request` (needs wrk; `KEYGATE_BENCH_ROUNDS` and `KEYGATE_BENCH_SECONDS` make it longer). Three
//! processes take the same requests, with one of 10,000 keys each, on one core; upstream and load have the others:
//!
//! - bare proxy: a hyper connection in front, a hyper connection behind, a list of idle ones between; no key, no
//!   policy, no deadline, no header but the hop-by-hop ones looked at: what any proxy on hyper pays before it decides
//!   anything;
//! - keygate, one worker, access log off;
//! - bare answer: hyper that answers by itself, which is also what the upstream runs.
//!
//! What is compared is the processor time of the process by request. The figures to quote are the ratios: keygate over
//! the bare proxy says what checking, deciding, limiting, watching and rewriting cost together.

mod support {
    pub mod gateway;
    pub mod proxies;
    pub mod store;
}

use bytes::Bytes;
use http::header::{CONNECTION, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use support::proxies::{
    Contender, Running, compare, free_port, keygate, lua, others, pinned, skipped, status, wait,
};
use support::store::store_of;
use tokio::net::{TcpListener, TcpStream};

const KEYS: usize = 10_000;

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let port = |text: &String| text.parse().expect("a port");
    match arguments.as_slice() {
        [command, own] if command == "answer" => serve(port(own), None),
        [command, own, upstream] if command == "proxy" => serve(port(own), Some(port(upstream))),
        _ => measure(),
    }
}

fn measure() {
    if skipped(&["wrk", "taskset"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let (keys, handle) = runtime().block_on(async {
        let (keys, handle) = store_of(folder, KEYS).await;
        handle.close().await;
        (keys, handle)
    });
    drop(handle);

    let upstream = free_port();
    let _upstream = again(&others(), upstream, None);
    let contender = |name, port, running| Contender {
        name,
        port,
        running,
    };
    let ports = [free_port(), free_port(), free_port()];
    let contenders = [
        contender("bare proxy", ports[0], again("0", ports[0], Some(upstream))),
        contender(
            "keygate",
            ports[1],
            keygate(folder, ports[1], free_port(), upstream),
        ),
        contender("bare answer", ports[2], again("0", ports[2], None)),
    ];
    for Contender { name, port, .. } in &contenders {
        assert_eq!(status(*port, &keys[7]), 200, "{name} answers");
    }
    let script = lua(folder, "good", &keys);
    compare("good keys", &contenders, &script, 200);
}

/// This program as another process: bare hyper, with an upstream or without.
fn again(core: &str, port: u16, upstream: Option<u16>) -> Running {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = pinned(core, program.to_str().expect("a path that is text"));
    command
        .arg(if upstream.is_some() {
            "proxy"
        } else {
            "answer"
        })
        .arg(port.to_string())
        .args(upstream.map(|port| port.to_string()));
    let running = Running(command.spawn().expect("this program runs again"));
    wait(port);
    running
}

fn runtime() -> tokio::runtime::LocalRuntime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("a runtime")
}

/// Serves for ever, with the same settings of hyper and of sockets as keygate.
fn serve(port: u16, upstream: Option<u16>) {
    runtime().block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .expect("the port is free");
        let idle = Idle::default();
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("a TCP socket");
            let mut server = hyper::server::conn::http1::Builder::new();
            server.writev(false);
            let io = TokioIo::new(stream);
            let idle = idle.clone();
            tokio::task::spawn_local(async move {
                // A connection that breaks off is the load's to report.
                let _ = match upstream {
                    None => server.serve_connection(io, service_fn(answer)).await,
                    Some(port) => {
                        let service = service_fn(|request| proxy(request, port, idle.clone()));
                        server.serve_connection(io, service).await
                    }
                };
            });
        }
    });
}

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = Bytes::from_static(br#"{"data":{"uid":"cyclops1","name":"Cyclops"}}"#);
    let mut response = Response::new(Full::new(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

/// Connections that wait for a request.
type Idle = Rc<RefCell<Vec<SendRequest<Incoming>>>>;

async fn proxy(
    mut request: Request<Incoming>,
    upstream: u16,
    idle: Idle,
) -> Result<Response<Returning>, hyper::Error> {
    drop_hop_by_hop(request.headers_mut());
    let mut sender = loop {
        let waiting = idle.borrow_mut().pop();
        let Some(mut sender) = waiting else {
            break connect(upstream).await?;
        };
        if sender.ready().await.is_ok() {
            break sender;
        }
    };
    let (mut head, body) = sender.send_request(request).await?.into_parts();
    drop_hop_by_hop(&mut head.headers);
    let body = Returning {
        body,
        sender: Some(sender),
        idle,
    };
    Ok(Response::from_parts(head, body))
}

async fn connect(port: u16) -> Result<SendRequest<Incoming>, hyper::Error> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("the upstream listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let (sender, connection) = hyper::client::conn::http1::Builder::new()
        .writev(false)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    for name in [
        CONNECTION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        HeaderName::from_static("keep-alive"),
    ] {
        headers.remove(name);
    }
}

/// An answer's body that gives its connection back when it ends.
struct Returning {
    body: Incoming,
    sender: Option<SendRequest<Incoming>>,
    idle: Idle,
}

impl Returning {
    fn end(&mut self) {
        self.idle.borrow_mut().extend(self.sender.take());
    }
}

impl Body for Returning {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
