//! Servers of HTTP/2 that refuse, leave, stall, reset and limit: no request is lost that can be saved, none is sent twice
//! that must not be, nothing that was cut looks whole, and nobody is made to hold what nobody reads.

mod support;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response, Version};
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use support::scripted::Scripted;
use support::wire::{Authority, Caller, Framing, Wire, noise, runtime};
use support::{Folder, Gateway, PATIENCE, ROUTES, fleet};
use tokio::net::{TcpListener, TcpStream};

type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server that runs this for each of its connections, counted from 0.
fn serve(connection: impl Fn(usize, TcpStream) -> Serving + Send + 'static) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("nonblocking");
    runtime().spawn(async move {
        let listener = TcpListener::from_std(listener).expect("a listener");
        let mut number = 0;
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(connection(number, socket));
            number += 1;
        }
    });
    address
}

/// A server that runs this for each of its streams, with the numbers of its connection and of its stream there.
fn serve_streams(
    limit: u32,
    stream: impl Fn(usize, usize, Request<RecvStream>, SendResponse<Bytes>) -> Serving
    + Clone
    + Send
    + Sync
    + 'static,
) -> SocketAddr {
    serve(move |connection, socket| {
        let stream = stream.clone();
        Box::pin(async move {
            let mut builder = server::Builder::new();
            builder.max_concurrent_streams(limit);
            let Ok(mut accepting) = builder.handshake(socket).await else {
                return;
            };
            let mut number = 0;
            while let Some(Ok((request, respond))) = accepting.accept().await {
                tokio::spawn(stream(connection, number, request, respond));
                number += 1;
            }
        })
    })
}

/// A gateway before this server; `more` goes into its `[upstreams.chat]`.
fn gateway(upstream: SocketAddr, more: &str) -> (Folder, Gateway) {
    fleet::gateway(&format!("servers = [\"h2c://{upstream}\"]\n{more}"))
}

async fn whole(body: &mut RecvStream) -> usize {
    let mut bytes = 0;
    while let Some(Ok(data)) = body.data().await {
        bytes += data.len();
        let _ = body.flow_control().release_capacity(data.len());
    }
    bytes
}

fn head(respond: &mut SendResponse<Bytes>, end: bool) -> SendStream<Bytes> {
    let answer = Response::new(());
    respond.send_response(answer, end).expect("a head")
}

const CLIENTS: [Wire; 2] = [Wire::Http1, Wire::Http2];

#[test]
fn a_refused_stream_goes_again_whatever_its_method_and_counts_as_sent_once() {
    let served = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&served);
    let upstream = serve_streams(100, move |_, stream, mut request, mut respond| {
        let counter = Arc::clone(&counter);
        Box::pin(async move {
            if stream == 0 {
                return respond.send_reset(Reason::REFUSED_STREAM);
            }
            let bytes = whole(request.body_mut()).await;
            counter.fetch_add(1, Ordering::Relaxed);
            let mut body = head(&mut respond, false);
            let text = Bytes::from(bytes.to_string());
            body.send_data(text, true).expect("a body");
        })
    });
    let (_folder, gateway) = gateway(upstream, "");
    let authority = Authority::new();
    for client in CLIENTS {
        let mut caller = Caller::connect(gateway.address, client, &authority);
        for (method, size) in [("GET", 0), ("POST", 0), ("POST", 10_000), ("PATCH", 60_000)] {
            let before = served.load(Ordering::Relaxed);
            let answer = caller.call(method, "/open/x", &[], &noise(size));
            assert_eq!(answer.text(), size.to_string(), "{client:?} {method}");
            assert_eq!(served.load(Ordering::Relaxed), before + 1, "{method}");
        }
    }
}

/// The http crate takes a quotation mark in a name of HTTP/2 alone; in HTTP/1.1 such a line is no field.
#[test]
fn a_name_that_only_http_2_can_write_is_left_out_of_an_answer() {
    let upstream = serve_streams(100, |_, _, _, mut respond| {
        Box::pin(async move {
            let mut answer = Response::new(());
            for name in [&b"x\"y"[..], b"x-y"] {
                let name = http::HeaderName::from_lowercase(name).expect("a name of HTTP/2");
                let value = http::HeaderValue::from_static("z");
                answer.headers_mut().append(name, value);
            }
            respond.send_response(answer, true).expect("a head");
        })
    });
    let (_folder, gateway) = gateway(upstream, "");
    let answer = gateway.call("GET /open/x", &[], "");
    assert_eq!((answer.status, answer.header("x-y")), (200, Some("z")));
    let has_none = |(name, _): &(String, String)| !name.contains('"');
    assert!(answer.headers.iter().all(has_none), "{answer:?}");
}

#[test]
fn a_server_that_refuses_everything_is_not_asked_for_ever() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let upstream = serve_streams(100, move |_, _, _, mut respond| {
        counter.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { respond.send_reset(Reason::REFUSED_STREAM) })
    });
    let (_folder, gateway) = gateway(upstream, "");
    let mut caller = Caller::connect(gateway.address, Wire::Http1, &Authority::new());
    let answer = caller.call("GET", "/open/x", &[], b"");
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

#[test]
fn a_server_that_takes_one_stream_gets_one_on_each_of_several_connections() {
    const AT_ONCE: usize = 8;
    let open = Arc::new(tokio::sync::Barrier::new(AT_ONCE));
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let upstream = serve_streams(1, move |connection, _, _, mut respond| {
        let open = Arc::clone(&open);
        seen.fetch_max(connection + 1, Ordering::Relaxed);
        Box::pin(async move {
            // Answered only when all are here: none waits behind another.
            open.wait().await;
            head(&mut respond, true);
        })
    });
    let (_folder, gateway) = gateway(upstream, "");
    let authority = Authority::new();
    std::thread::scope(|scope| {
        for number in 0..AT_ONCE {
            let (gateway, authority) = (&gateway, &authority);
            scope.spawn(move || {
                let client = CLIENTS[number % 2];
                let mut caller = Caller::connect(gateway.address, client, authority);
                let answer = caller.call("POST", "/open/x", &[], b"");
                assert_eq!(answer.status, 200, "{answer:?}");
            });
        }
    });
    assert_eq!(most.load(Ordering::Relaxed), AT_ONCE);
}

#[test]
fn a_stream_that_is_reset_within_its_answer_never_looks_whole_whatever_the_reason() {
    for reason in [
        Reason::CANCEL,
        Reason::NO_ERROR,
        Reason::INTERNAL_ERROR,
        Reason::REFUSED_STREAM,
    ] {
        let upstream = serve_streams(100, move |_, _, _, mut respond| {
            Box::pin(async move {
                let mut body = head(&mut respond, false);
                body.send_data(Bytes::from_static(b"half"), false)
                    .expect("data");
                // Sent before the reset, which would else overtake it.
                poll_fn(|cx| {
                    body.reserve_capacity(1 << 20);
                    body.poll_capacity(cx)
                })
                .await;
                tokio::task::yield_now().await;
                body.send_reset(reason);
            })
        });
        let (_folder, gateway) = gateway(upstream, "");
        let authority = Authority::new();
        for client in CLIENTS {
            let mut caller = Caller::connect(gateway.address, client, &authority);
            let answer = caller.call("GET", "/open/x", &[], b"");
            let cut = answer.status != 200 || answer.broken.is_some();
            assert!(cut, "{client:?} {reason:?}: {answer:?}");
        }
    }
}

#[test]
fn a_stream_that_is_reset_before_its_answer_is_502_and_the_next_one_works() {
    let upstream = serve_streams(100, move |_, stream, _, mut respond| {
        Box::pin(async move {
            if stream % 2 == 0 {
                return respond.send_reset(Reason::INTERNAL_ERROR);
            }
            head(&mut respond, true);
        })
    });
    let (_folder, gateway) = gateway(upstream, "");
    let mut caller = Caller::connect(gateway.address, Wire::Http1, &Authority::new());
    for status in [502, 200, 502, 200] {
        let answer = caller.call("POST", "/open/x", &[], b"");
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[test]
fn a_client_that_leaves_resets_its_stream() {
    let (reset, resets) = mpsc::sync_channel(256);
    let (came, comes) = mpsc::sync_channel(256);
    let upstream = serve_streams(100, move |_, _, request, mut respond| {
        let (reset, came) = (reset.clone(), came.clone());
        Box::pin(async move {
            let answers = request.uri().path().ends_with("answer");
            let reason = if answers {
                let mut body = head(&mut respond, false);
                let _ = came.send(());
                poll_fn(|cx| body.poll_reset(cx)).await
            } else {
                let _ = came.send(());
                poll_fn(|cx| respond.poll_reset(cx)).await
            };
            let _ = reset.send(reason.expect("a reset"));
        })
    });
    let (_folder, gateway) = gateway(upstream, "");
    let authority = Authority::new();
    for client in CLIENTS {
        for path in ["/open/nothing", "/open/answer"] {
            for framing in [Framing::Empty, Framing::Open] {
                let mut caller = Caller::connect(gateway.address, client, &authority);
                let call = caller.open("POST", path, &[], framing);
                comes.recv_timeout(PATIENCE).expect("it comes");
                drop((call, caller));
                let reason = resets.recv_timeout(PATIENCE).expect("it is reset");
                assert_eq!(reason, Reason::CANCEL, "{client:?} {path}");
            }
        }
    }
}

/// Reads the number until it stays the same for a while.
fn settled(number: &AtomicUsize) -> usize {
    let (_never, silence) = mpsc::sync_channel::<()>(1);
    let mut last = usize::MAX;
    loop {
        let now = number.load(Ordering::Relaxed);
        if now == last {
            return now;
        }
        last = now;
        let _ = silence.recv_timeout(Duration::from_millis(500));
    }
}

const LARGE: usize = 64 << 20;

#[test]
fn a_client_that_does_not_read_stops_its_server_and_nobody_else() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let upstream = serve_streams(100, move |_, _, request, mut respond| {
        let counter = Arc::clone(&counter);
        Box::pin(async move {
            if request.uri().path().ends_with("small") {
                head(&mut respond, true);
                return;
            }
            let mut body = head(&mut respond, false);
            let mut left = LARGE;
            while left > 0 {
                body.reserve_capacity(left.min(16 * 1024));
                let Some(Ok(room)) = poll_fn(|cx| body.poll_capacity(cx)).await else {
                    return;
                };
                let size = room.min(left);
                left -= size;
                counter.fetch_add(size, Ordering::Relaxed);
                let _ = body.send_data(Bytes::from(vec![b'x'; size]), left == 0);
            }
        })
    });
    let (_folder, gateway) = gateway(upstream, "");
    let mut client = std::net::TcpStream::connect(gateway.address).expect("connect");
    client
        .write_all(b"GET /open/large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .expect("sent");
    while sent.load(Ordering::Relaxed) == 0 {
        std::thread::yield_now();
    }
    let stopped = settled(&sent);
    // What the sockets between hold, and the window.
    assert!(stopped < LARGE / 2, "{stopped} bytes were sent");
    let mut caller = Caller::connect(gateway.address, Wire::Http1, &Authority::new());
    let answer = caller.call("GET", "/open/small", &[], b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut all = Vec::new();
    client.read_to_end(&mut all).expect("the whole answer");
    assert!(all.len() > LARGE);
}

#[test]
fn a_server_that_does_not_read_stops_its_client() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let upstream = serve_streams(100, move |_, _, mut request, mut respond| {
        let mut gone = gone.clone();
        Box::pin(async move {
            let _ = gone.wait_for(|gone| *gone).await;
            let bytes = whole(request.body_mut()).await;
            let mut body = head(&mut respond, false);
            body.send_data(Bytes::from(bytes.to_string()), true)
                .expect("a body");
        })
    });
    let (_folder, gateway) = gateway(upstream, "");
    let sent = Arc::new(AtomicUsize::new(0));
    let mut client = std::net::TcpStream::connect(gateway.address).expect("connect");
    let mut writer = client.try_clone().expect("a second handle");
    let counter = Arc::clone(&sent);
    let writing = std::thread::spawn(move || {
        let head = format!(
            "POST /open/upload HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {LARGE}\r\n\r\n"
        );
        writer.write_all(head.as_bytes()).expect("sent");
        let piece = vec![b'x'; 64 * 1024];
        for _ in 0..LARGE / piece.len() {
            writer.write_all(&piece).expect("sent");
            counter.fetch_add(piece.len(), Ordering::Relaxed);
        }
    });
    while sent.load(Ordering::Relaxed) == 0 {
        std::thread::yield_now();
    }
    let stopped = settled(&sent);
    assert!(stopped < LARGE / 2, "{stopped} bytes were taken");
    go.send_replace(true);
    writing.join().expect("all is sent");
    let mut all = String::new();
    client.read_to_string(&mut all).expect("an answer");
    assert!(all.contains(&LARGE.to_string()), "{all}");
}

#[test]
fn a_server_that_speaks_no_http2_or_says_nothing_is_no_server() {
    let not_http2 = Scripted::start(|mut peer| {
        peer.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        peer.wait_for_end();
    });
    let silent = Scripted::start(|mut peer| peer.wait_for_end());
    for (upstream, status) in [(not_http2.address, 502), (silent.address, 504)] {
        let (_folder, gateway) = gateway(upstream, "timeouts = { connect = \"500ms\" }");
        let mut caller = Caller::connect(gateway.address, Wire::Http1, &Authority::new());
        for method in ["GET", "POST"] {
            let answer = caller.call(method, "/open/x", &[], b"");
            assert_eq!(answer.status, status, "{answer:?}");
        }
    }
}

#[test]
fn a_server_that_wants_http1_after_all_gets_it() {
    let authority = Authority::new();
    let config = authority.server(vec![b"h2".to_vec(), b"http/1.1".to_vec()]);
    let upstream = serve(move |_, socket| {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&config));
        Box::pin(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let Ok(mut socket) = acceptor.accept(socket).await else {
                return;
            };
            if socket.get_ref().1.alpn_protocol() == Some(b"h2") {
                let mut accepting = server::handshake(socket).await.expect("HTTP/2");
                while let Some(Ok((request, mut respond))) = accepting.accept().await {
                    assert_eq!(request.version(), Version::HTTP_2);
                    respond.send_reset(Reason::HTTP_1_1_REQUIRED);
                }
                return;
            }
            let mut all = Vec::new();
            while !all.ends_with(b"\r\n\r\n") {
                if socket.read_buf(&mut all).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\none";
            let _ = socket.write_all(answer).await;
            let _ = socket.shutdown().await;
        })
    });
    let folder = Folder::new(upstream, "tls.ca = \"ca.pem\"", ROUTES);
    authority.write(folder.path());
    let main = std::fs::read_to_string(folder.config()).expect("the configuration");
    folder.write("keygate.toml", &main.replace("http://", "https://"));
    let gateway = folder.start();
    let mut caller = Caller::connect(gateway.address, Wire::Http1, &authority);
    for _ in 0..3 {
        let answer = caller.call("POST", "/open/x", &[], b"");
        assert_eq!(answer.text(), "one", "{answer:?}");
    }
}

#[test]
fn what_a_server_of_http1_says_before_its_answer_is_passed_over() {
    let upstream = Scripted::start(|mut peer| {
        while peer.head().is_some() {
            peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
            peer.send("HTTP/1.1 100 Continue\r\n\r\n");
            peer.answer("done");
        }
    });
    let folder = Folder::new(upstream.address, "", ROUTES);
    let gateway = folder.start();
    let authority = Authority::new();
    for client in CLIENTS {
        let mut caller = Caller::connect(gateway.address, client, &authority);
        let answer = caller.call("GET", "/open/x", &[], b"");
        assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
        assert_eq!(answer.header("link"), None);
    }
}
