//! Clients whose handshake comes to nothing: each is ended and counted, and others are served meanwhile.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use support::certificates::{Authority, Caller, folder};
use support::{Folder, Gateway, PATIENCE, ROUTES, Upstream};

struct House {
    authority: Authority,
    gateway: Gateway,
    _folder: Folder,
    _upstream: Upstream,
}

impl House {
    fn new(main: &str) -> Self {
        let upstream = Upstream::echo();
        let authority = Authority::new("tests");
        let server = "tls = { cert = \"a.pem\", key = \"a.key\" }";
        let folder = folder(upstream.address, server, main, ROUTES);
        authority.sign(&["a.example"]).write(folder.path(), "a");
        House {
            gateway: folder.start(),
            authority,
            _folder: folder,
            _upstream: upstream,
        }
    }

    fn serves(&self) {
        let mut client = Caller::of(&self.authority, "a.example")
            .connect(self.gateway.address)
            .expect("a handshake");
        assert_eq!(client.get("/open/x", &[]).unwrap().status, 200);
    }

    /// Waits until so many connections were ended for this reason.
    fn counts(&self, reason: &str, count: u64) {
        let line = format!("keygate_connections_ended_total{{reason=\"{reason}\"}} {count}\n");
        self.gateway.eventually(
            || self.gateway.admin("/metrics").text(),
            |page| page.contains(&line),
        );
    }

    fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(self.gateway.address).expect("connect");
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        socket
    }
}

/// All that comes, until the gateway ends the connection in one way or another.
fn all(mut socket: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = socket.read_to_end(&mut bytes) {
        let waited = matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        );
        assert!(!waited, "the connection stays open");
    }
    bytes
}

#[test]
fn whoever_is_slow_with_its_part_of_the_handshake_is_ended() {
    let house = House::new("[timeouts]\nhead = \"500ms\"");
    // Says nothing; begins a record; sends a whole record that is half a hello.
    for (at, begun) in [&b""[..], &[22, 3, 1], &[22, 3, 1, 0, 6, 1, 0, 1, 0, 3, 3]]
        .into_iter()
        .enumerate()
    {
        let mut socket = house.socket();
        socket.write_all(begun).unwrap();
        house.serves();
        assert_eq!(all(socket), b"", "{begun:?}");
        house.counts("handshake_timeout", at as u64 + 1);
    }
}

#[test]
fn what_is_no_hello_is_refused_and_counted() {
    let house = House::new("");
    for (at, garbage) in [
        &[0u8; 64][..],
        &[22, 3, 1, 0, 4, 9, 9, 9, 9],
        // A record of SSL 3, and one of more than there can be.
        &[22, 2, 0, 0, 1, 0],
        &[22, 3, 1, 0xff, 0xff, 1, 2, 3],
    ]
    .into_iter()
    .enumerate()
    {
        let mut socket = house.socket();
        socket.write_all(garbage).unwrap();
        let answer = all(socket);
        // An alert is a record of type 21. rustls sends none about what it does not want to hold.
        assert!(
            matches!(answer.first(), Some(21) | None),
            "{garbage:?}: {answer:?}"
        );
        house.counts("tls_handshake", at as u64 + 1);
        house.serves();
    }
}

#[test]
fn clear_text_is_answered_in_clear_text() {
    let house = House::new("");
    for (at, request) in [
        "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let mut socket = house.socket();
        socket.write_all(request.as_bytes()).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let answer = String::from_utf8(all(socket)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(
            answer.ends_with("this port speaks TLS; expected https\n"),
            "{answer}"
        );
        house.counts("tls_clear_text", at as u64 + 1);
    }
    house.serves();
}

#[test]
fn whoever_leaves_in_the_midst_of_the_handshake_is_counted() {
    let house = House::new("");
    for (at, begun) in [&b""[..], &[22, 3, 1]].into_iter().enumerate() {
        let mut socket = house.socket();
        socket.write_all(begun).unwrap();
        drop(socket);
        house.counts("tls_gone", at as u64 + 1);
    }
    house.serves();
}

#[test]
fn whoever_does_not_take_its_answer_is_ended() {
    let upstream = Upstream::start(|_, stream| {
        let body = "x".repeat(32 << 20);
        support::respond(stream, 200, &[], &body, body.len())
    });
    let authority = Authority::new("tests");
    let server = "tls = { cert = \"a.pem\", key = \"a.key\" }";
    let timeouts = "[timeouts]\nbody = \"500ms\"\nidle = \"10m\"\nstream = \"10m\"";
    let folder = folder(upstream.address, server, timeouts, ROUTES);
    authority.sign(&["a.example"]).write(folder.path(), "a");
    let gateway = folder.start();
    let mut client = Caller::of(&authority, "a.example")
        .connect(gateway.address)
        .unwrap();
    client
        .stream
        .write_all(b"GET /open/x HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .unwrap();
    client.stream.flush().unwrap();
    gateway.eventually(
        || gateway.admin("/metrics").text(),
        |page| page.contains("keygate_connections_ended_total{reason=\"write_timeout\"} 1\n"),
    );
}
