//! Whoever keeps the gateway waiting is waited for as long as `[timeouts]` says, and no longer. What is asserted is that
//! it ends, and how; never when.

mod support;

use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::sync_channel;
use std::time::Duration;
use support::scripted::{Got, Peer, Scripted, outcome};
use support::{Client, Folder, Gateway, ROUTES};

/// Every deadline is short but the one in question's neighbours, so that it is clear which one ended it.
fn timeouts(short: &str) -> String {
    let mut text = "[timeouts]\n".to_owned();
    for name in ["head", "body", "connect", "response", "idle", "stream"] {
        let value = if name == short { "500ms" } else { "10m" };
        text.push_str(&format!("{name} = \"{value}\"\n"));
    }
    text
}

fn obliging() -> Scripted {
    Scripted::start(|mut peer| {
        while let Some(head) = peer.head() {
            if peer.body(&head).is_none() {
                return;
            }
            peer.answer(Peer::target(&head));
        }
    })
}

/// A neighbour is waited for whatever the general deadlines are.
const NEIGHBOUR: &str = r#"
[[routes]]
path = "/open/neighbour/{*rest}"
access = "public"
timeouts = { body = "10m", connect = "10m", response = "10m", stream = "10m" }
"#;

fn gateway(upstream: SocketAddr, main: &str) -> (Folder, Gateway) {
    let folder = Folder::new(upstream, main, &format!("{ROUTES}{NEIGHBOUR}"));
    let gateway = folder.start();
    (folder, gateway)
}

/// A neighbour on the same gateway is served while another is waited for.
fn neighbour_is_served(gateway: &Gateway) {
    for n in 0..4 {
        let path = format!("/open/neighbour/{n}");
        let answer = gateway.call(&format!("GET {path}"), &[], "");
        assert_eq!((answer.status, answer.text()), (200, path));
    }
}

fn connections_are_gone(gateway: &Gateway) {
    gateway.eventually(
        || {
            let page = gateway.admin("/metrics").text();
            let line = page.lines().find(|l| l.starts_with("keygate_connections "));
            line.map(str::to_owned)
        },
        |line| line.as_deref() == Some("keygate_connections 0"),
    );
}

/// Sends a byte whenever nothing came for a moment, until the other side ends the connection.
fn drip(client: &mut Client, byte: u8) {
    let pace = Duration::from_millis(40);
    client.stream.set_read_timeout(Some(pace)).expect("pace");
    let mut some = [0; 256];
    loop {
        match client.stream.read(&mut some) {
            Ok(0) => return,
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if client.stream.write_all(&[byte]).is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

#[test]
fn a_client_that_does_not_finish_a_head_is_left() {
    let upstream = obliging();
    let (_folder, gateway) = gateway(upstream.address, &timeouts("head"));
    for sent in [
        "",
        "G",
        "GET /open/x HTTP/1.1\r\nHost: a\r\n",
        "GET /open/x HTTP/1.1\r\nHost: a\r\nX: ",
        "\r\n",
    ] {
        let mut client = gateway.connect();
        client.send(sent);
        neighbour_is_served(&gateway);
        assert!(client.is_closed(), "{sent:?}");
    }
    for start in ["G", "GET /open/x HTTP/1.1\r\nHost: a\r\nX: "] {
        let mut client = gateway.connect();
        client.send(start);
        drip(&mut client, b'x');
    }
    // The same after a first request, whose end and the next one's beginning came in one piece.
    for next in ["G", "GET /open/y HTTP/1.1\r\nHos"] {
        let mut client = gateway.connect();
        client.send(format!("GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n{next}"));
        assert_eq!(client.answer(false).status, 200);
        client.stream.write_all(b"x").expect("send");
        assert!(client.is_closed(), "{next:?}");
    }
    assert!(
        upstream
            .heads()
            .iter()
            .all(|head| head.contains("\r\n\r\n"))
    );
    connections_are_gone(&gateway);
}

/// Once the connection would have rested, nobody waited for the rest of such a head, and the connection stayed for ever.
#[test]
fn a_half_head_that_came_with_the_request_before_it_is_left_where_idle_clients_may_stay() {
    let upstream = obliging();
    let (_folder, gateway) = gateway(upstream.address, &timeouts("head"));
    let halves = ["G", "\r\n", "GET /open/y HTTP/1.1\r\nHost: a\r\n"];
    for next in halves {
        let mut client = gateway.connect();
        client.send(format!("GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n{next}"));
        assert_eq!(client.answer(false).status, 200);
        assert!(client.is_closed(), "{next:?}");
    }
    connections_are_gone(&gateway);
    let late = gateway.metric("keygate_connections_ended_total{reason=\"head_timeout\"}");
    assert_eq!(late, halves.len() as u64);
    assert_eq!(upstream.count("/open/y"), 0);
}

#[test]
fn an_idle_client_is_left() {
    let upstream = obliging();
    // A half head that came together with the request before it is waited for as idle first, then as a head.
    let short = timeouts("idle").replace("head = \"10m\"", "head = \"500ms\"");
    let (_folder, gateway) = gateway(upstream.address, &short);
    for next in ["", "\r\n", "GET /open/y HT"] {
        let mut client = gateway.connect();
        client.send(format!("GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n{next}"));
        assert_eq!(client.answer(false).status, 200);
        neighbour_is_served(&gateway);
        assert!(client.is_closed(), "{next:?}");
    }
    connections_are_gone(&gateway);
}

#[test]
fn a_body_that_stops_is_408_and_never_reaches_the_upstream_as_whole() {
    let upstream = obliging();
    let folder = Folder::new(
        upstream.address,
        &timeouts("body"),
        &format!("{ROUTES}{NEIGHBOUR}"),
    );
    let key = folder.new_key("Rest API Key", "fullAccess");
    let gateway = folder.start();
    for (path, framing, part) in [
        ("/open/x", "Content-Length: 10", "abc"),
        ("/open/x", "Content-Length: 10", ""),
        ("/open/x", "Transfer-Encoding: chunked", "3\r\nabc\r\n"),
        ("/open/x", "Transfer-Encoding: chunked", "3\r\nab"),
        ("/apikeys", "Content-Length: 10", "{"),
    ] {
        let mut client = gateway.connect();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\napikey: {key}\r\n{framing}\r\n\r\n{part}"
        ));
        neighbour_is_served(&gateway);
        let answer = client.answer(false);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (408, "ERR_BAD_REQUEST"),
            "{path} {framing} {part:?}"
        );
        client.finish();
        assert!(client.is_closed());
    }
    connections_are_gone(&gateway);
}

#[test]
fn a_body_that_progresses_is_waited_for() {
    let upstream = obliging();
    let text = timeouts("body").replace("500ms", "3s");
    let (_folder, gateway) = gateway(upstream.address, &text);
    let mut client = gateway.connect();
    let pieces = 50;
    client.send(format!(
        "POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: {pieces}\r\n\r\n"
    ));
    let pace = Duration::from_millis(100);
    client.stream.set_read_timeout(Some(pace)).expect("pace");
    for _ in 0..pieces {
        let mut byte = [0];
        let waited = client.stream.peek(&mut byte);
        assert!(waited.is_err(), "an answer before the body was whole");
        client.send("x");
    }
    client
        .stream
        .set_read_timeout(Some(support::PATIENCE))
        .expect("patience");
    assert_eq!(client.answer(false).status, 200);
}

/// One place in the queue of a listener that nobody accepts from, and that place is taken.
struct Deaf {
    address: SocketAddr,
    _listener: TcpListener,
    _taken: Vec<TcpStream>,
}

impl Deaf {
    fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .expect("bind");
        socket.listen(0).expect("listen");
        let listener: TcpListener = socket.into();
        let address = listener.local_addr().expect("an address");
        let mut taken = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            taken.push(stream);
            assert!(taken.len() < 100, "the queue never fills");
        }
        Deaf {
            address,
            _listener: listener,
            _taken: taken,
        }
    }
}

#[test]
fn a_server_that_does_not_accept_costs_time_but_no_request_where_there_is_another() {
    let upstream = obliging();
    let deaf = Deaf::new();
    let folder = Folder::new(
        upstream.address,
        &format!(
            "{}\n[upstreams.two]\nservers = [\"http://{}\", \"http://{}\"]\n",
            timeouts("connect"),
            deaf.address,
            upstream.address
        ),
        &ROUTES.replace("upstream = \"chat\"", "upstream = \"two\""),
    );
    let gateway = folder.start();
    for n in 0..8 {
        // Each on a connection of its own, so that both workers look for a server.
        let answer = gateway.call(&format!("POST /open/{n}"), &[], "body");
        assert_eq!((answer.status, answer.text()), (200, format!("/open/{n}")));
    }
    assert_eq!(upstream.heads().len(), 8);
}

#[test]
fn an_upstream_that_does_not_accept_is_504() {
    let deaf = Deaf::new();
    let folder = Folder::new(deaf.address, &timeouts("connect"), ROUTES);
    let key = folder.new_key("Rest API Key", "fullAccess");
    let gateway = folder.start();
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send("GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n");
        // What needs no upstream is served meanwhile.
        let neighbour = gateway.call("GET /apikeys", &[&format!("apikey: {key}")], "");
        assert_eq!(neighbour.status, 200);
        let answer = client.answer(false);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (504, "ERR_UPSTREAM_TIMEOUT")
        );
    }
}

/// An upstream that takes `/open/neighbour/…`, and does this with everything else.
fn except_neighbours(script: impl Fn(&mut Peer, &str) + Send + Sync + 'static) -> Scripted {
    Scripted::start(move |mut peer| {
        while let Some(head) = peer.head() {
            let target = Peer::target(&head).to_owned();
            if target.starts_with("/open/neighbour/") {
                peer.body(&head);
                peer.answer(&target);
            } else {
                return script(&mut peer, &head);
            }
        }
    })
}

#[test]
fn an_upstream_that_does_not_answer_is_504_and_hears_that_nobody_waits() {
    let (ended, has_ended) = sync_channel(16);
    let upstream = except_neighbours(move |peer, head| {
        peer.body(head);
        if Peer::target(head).ends_with("half") {
            peer.send("HTTP/1.1 200 OK\r\nx: ");
        }
        if Peer::target(head).ends_with("interim") {
            peer.send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
        }
        peer.wait_for_end();
        ended.send(()).expect("the test listens");
    });
    let (_folder, gateway) = gateway(upstream.address, &timeouts("response"));
    let mut client = gateway.connect();
    for path in ["/open/silent", "/open/half", "/open/interim"] {
        for method in ["GET", "POST", "HEAD"] {
            client.send(format!(
                "{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
            ));
            neighbour_is_served(&gateway);
            let answer = client.answer(method == "HEAD");
            assert_eq!(answer.status, 504, "{method} {path}");
            has_ended.recv().expect("the upstream's connection ends");
            let next = client.call("GET /open/neighbour/next", &[], "");
            assert_eq!(
                (next.status, next.text().as_str()),
                (200, "/open/neighbour/next")
            );
        }
    }
}

#[test]
fn an_answer_that_stops_is_cut_and_the_upstream_hears_it() {
    let (ended, has_ended) = sync_channel(16);
    let upstream = except_neighbours(move |peer, head| {
        peer.body(head);
        let framing = if Peer::target(head).ends_with("length") {
            "content-length: 100\r\n\r\nsome"
        } else {
            "transfer-encoding: chunked\r\n\r\n4\r\nsome\r\n"
        };
        peer.send(format!("HTTP/1.1 200 OK\r\n{framing}"));
        peer.wait_for_end();
        ended.send(()).expect("the test listens");
    });
    let (_folder, gateway) = gateway(upstream.address, &timeouts("stream"));
    for path in ["/open/length", "/open/chunks"] {
        let mut client = gateway.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        neighbour_is_served(&gateway);
        let got = outcome(&mut client, false);
        assert!(matches!(got, Got::Cut(200)), "{path}: {got:?}");
        has_ended.recv().expect("the upstream's connection ends");
    }
    connections_are_gone(&gateway);
}

#[test]
fn a_client_that_does_not_read_is_left_and_the_upstream_hears_it() {
    let (ended, has_ended) = sync_channel(16);
    let upstream = except_neighbours(move |peer, head| {
        peer.body(head);
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        while peer.send(&chunk) {}
        ended.send(()).expect("the test listens");
    });
    let (_folder, gateway) = gateway(upstream.address, &timeouts("body"));
    let mut client = gateway.connect();
    client.send("GET /open/endless HTTP/1.1\r\nHost: a\r\n\r\n");
    neighbour_is_served(&gateway);
    has_ended.recv().expect("the upstream's connection ends");
    connections_are_gone(&gateway);
    let got = outcome(&mut client, false);
    assert!(matches!(got, Got::Cut(200)), "{got:?}");
}

#[test]
fn a_client_that_asks_on_and_on_and_never_reads_is_left() {
    let upstream = obliging();
    let (_folder, gateway) = gateway(upstream.address, &timeouts("body"));
    let mut client = gateway.connect();
    let requests = format!("GET /open/{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(2000)).repeat(16);
    let mut sent: u64 = 0;
    while client.stream.write_all(requests.as_bytes()).is_ok() {
        sent += requests.len() as u64;
        assert!(sent < 1 << 30, "it is answered for ever");
    }
    neighbour_is_served(&gateway);
    connections_are_gone(&gateway);
}

#[test]
fn a_client_that_stops_sending_after_an_early_answer_is_left() {
    let upstream = except_neighbours(move |peer, _| {
        peer.answer("early");
        peer.wait_for_end();
    });
    let (_folder, gateway) = gateway(upstream.address, &timeouts("body"));
    for framing in [
        "Content-Length: 1000\r\n\r\nsome",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n",
    ] {
        let mut client = gateway.connect();
        client.send(format!("POST /open/x HTTP/1.1\r\nHost: a\r\n{framing}"));
        let answer = client.answer(false);
        assert_eq!((answer.status, answer.text().as_str()), (200, "early"));
        neighbour_is_served(&gateway);
        assert!(client.is_closed(), "{framing:?}");
    }
    connections_are_gone(&gateway);
}

#[test]
fn an_upstream_that_stops_reading_after_an_early_answer_is_left() {
    let (done, is_done) = sync_channel::<()>(1);
    let is_done = std::sync::Mutex::new(is_done);
    let upstream = except_neighbours(move |peer, _| {
        peer.answer("early");
        let _ = is_done.lock().unwrap().recv();
    });
    let (_folder, gateway) = gateway(upstream.address, &timeouts("response"));
    let mut client = gateway.connect();
    client.send("POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
    assert_eq!(client.answer(false).text(), "early");
    // More than all buffers on the way hold; the sending ends with an error when the gateway gives up.
    let piece = vec![b'x'; 1 << 16];
    let mut sent = 0;
    while client.stream.write_all(&piece).is_ok() {
        sent += piece.len();
        assert!(sent < 100_000_000, "the whole body was taken");
    }
    connections_are_gone(&gateway);
    drop(done);
}

#[test]
fn a_refused_client_that_does_not_close_is_left() {
    let upstream = obliging();
    let (_folder, gateway) = gateway(upstream.address, "");
    let mut client = gateway.connect();
    client.send("POST /v3/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nsome");
    let answer = client.answer(false);
    assert_eq!(answer.status, 401);
    assert!(
        client.is_closed(),
        "its answer is the last thing that it gets"
    );
    // It keeps its end open; the gateway does not keep the connection for that.
    connections_are_gone(&gateway);
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn an_upstreams_and_a_routes_own_deadlines_lie_over_the_general_ones() {
    let upstream = except_neighbours(|peer, head| {
        peer.body(head);
        if Peer::target(head).ends_with("/stream") {
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome");
        }
        peer.wait_for_end();
    });
    let main = format!(
        "{}\n[upstreams.quick]\nservers = [\"http://{}\"]\ntimeouts = {{ response = \"300ms\" }}\n",
        timeouts("none"),
        upstream.address
    );
    let routes = r#"
[scopes]
fullAccess = []
[defaults]
upstream = "chat"
[[routes]]
path = "/open/{*rest}"
access = "public"
[[routes]]
path = "/open/upstream"
upstream = "quick"
access = "public"
[[routes]]
path = "/open/response"
timeouts = { response = "300ms" }
access = "public"
[[routes]]
path = "/open/stream"
timeouts = { stream = "300ms" }
access = "public"
[[routes]]
path = "/open/body"
timeouts = { body = "300ms" }
access = "public"
"#;
    let folder = Folder::new(upstream.address, &main, routes);
    let gateway = folder.start();
    for (path, status) in [
        ("/open/upstream", 504),
        ("/open/response", 504),
        ("/open/body", 408),
    ] {
        let mut client = gateway.connect();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
        ));
        if path != "/open/body" {
            client.send("0123456789");
        }
        assert_eq!(client.answer(false).status, status, "{path}");
    }
    let mut client = gateway.connect();
    client.send("GET /open/stream HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(matches!(outcome(&mut client, false), Got::Cut(200)));
}

#[test]
fn an_answer_that_stops_is_cut_whatever_the_client_still_sends() {
    let upstream = except_neighbours(|peer, _| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome");
        peer.wait_for_end();
    });
    let (_folder, gateway) = gateway(upstream.address, &timeouts("stream"));
    let mut client = gateway.connect();
    client.send("POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nsome");
    drip(&mut client, b'x');
    connections_are_gone(&gateway);
}

/// Listens to the gateway for this long, unless it says something.
fn listen(peer: &mut Peer, pace: Duration) {
    let stream = peer.stream.try_clone().expect("clone");
    stream.set_read_timeout(Some(pace)).expect("pace");
    peer.read_some(&mut [0; 16]);
    stream
        .set_read_timeout(Some(support::PATIENCE))
        .expect("patience");
}

#[test]
fn a_body_that_stops_ends_an_answer_that_does_not() {
    let upstream = except_neighbours(|peer, _| {
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        while peer.send("4\r\nsome\r\n") {
            listen(peer, Duration::from_millis(20));
        }
    });
    let (_folder, gateway) = gateway(upstream.address, &timeouts("body"));
    let mut client = gateway.connect();
    client.send("POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nsome");
    neighbour_is_served(&gateway);
    let got = outcome(&mut client, false);
    assert!(matches!(got, Got::Cut(200)), "{got:?}");
    connections_are_gone(&gateway);
}

#[test]
fn an_upload_that_outlived_its_answer_has_no_say_over_the_next_request() {
    let upstream = Scripted::start(|mut peer| {
        while let Some(head) = peer.head() {
            let target = Peer::target(&head).to_owned();
            if target == "/open/early" {
                peer.answer(&target);
            }
            if peer.body(&head).is_none() {
                return;
            }
            if target == "/open/slow" {
                // Longer than `response` and `body` allow, shorter than `stream`.
                peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n/open");
                listen(&mut peer, Duration::from_secs(1));
                peer.send("/slow");
            } else if target != "/open/early" {
                peer.answer(&target);
            }
        }
    });
    let short = timeouts("response").replace("body = \"10m\"", "body = \"500ms\"");
    let (_folder, gateway) = gateway(upstream.address, &short);
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send("POST /open/early HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
        assert_eq!(client.answer(false).text(), "/open/early");
        client.send("56789GET /open/slow HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer(false).text(), "/open/slow");
    }
}
