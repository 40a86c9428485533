//! A tunnel or stream whose key is gone ends, whatever its client does and whatever else happens at the time.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use support::{Client, Folder, Gateway, PATIENCE, ROUTES};

/// What ends here ends because the key is gone, and by nothing else.
const LONG: &str =
    "[timeouts]\nbody = \"10m\"\nstream = \"10m\"\nidle = \"10m\"\nresponse = \"10m\"\n";

/// An upstream that answers every head with this, and leaves the socket to the test.
fn upstream(answer: &'static str) -> (SocketAddr, Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().unwrap();
    let (give, take) = sync_channel(64);
    thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.set_write_timeout(Some(PATIENCE)).unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && socket.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            if socket.write_all(answer.as_bytes()).is_ok() && give.send(socket).is_err() {
                return;
            }
        }
    });
    (address, take)
}

const AGREED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

struct Scene {
    _folder: Folder,
    admin: String,
    gateway: Gateway,
}

impl Scene {
    fn new(upstream: SocketAddr) -> Self {
        let folder = Folder::new(upstream, LONG, ROUTES);
        let admin = folder.new_key("admin", "fullAccess");
        let gateway = folder.start();
        Scene {
            _folder: folder,
            admin,
            gateway,
        }
    }

    fn manage(&self, line: &str, body: &str) -> serde_json::Value {
        let key = format!("apikey: {}", self.admin);
        let answer = self
            .gateway
            .call(line, &[&key, "content-type: application/json"], body);
        assert_eq!(answer.status, 200, "{line}: {}", answer.text());
        answer.json()
    }

    /// A new key: its text and its id.
    fn key(&self) -> (String, String) {
        let made = self.manage("POST /apikeys", r#"{"name":"k","scope":"fullAccess"}"#);
        let text = |name: &str| made["data"][name].as_str().unwrap().to_owned();
        (text("apiKey"), text("id"))
    }

    fn socket(&self, key: &str) -> Client {
        let mut client = self.gateway.connect();
        client.send(format!(
            "GET /v3/socket HTTP/1.1\r\nHost: a\r\napikey: {key}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ));
        assert_eq!(client.try_head().expect("an answer").0, 101);
        client
    }
}

/// Whether the other side of a socket is gone, and not only silent.
fn is_gone(read: std::io::Result<usize>) -> bool {
    match read {
        Ok(n) => n == 0,
        Err(e) => !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

/// Writes without end, in frames that are as long as that, until nobody takes it: whether the other side was gone then.
fn flood(mut socket: TcpStream) -> Receiver<bool> {
    let (over, is_over) = sync_channel(1);
    thread::spawn(move || {
        let piece = vec![0; 64 * 1024];
        let ended = loop {
            if let Err(error) = socket.write(&piece) {
                break is_gone(Err(error));
            }
        };
        let _ = over.send(ended);
    });
    is_over
}

#[test]
fn a_tunnel_whose_client_takes_nothing_ends_with_its_key() {
    let (address, sockets) = upstream(AGREED);
    let scene = Scene::new(address);
    let (key, id) = scene.key();
    let _client = scene.socket(&key);
    let mut socket = sockets.recv_timeout(PATIENCE).unwrap();
    // One frame that is longer than anyone can wait for.
    socket
        .write_all(&[0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0])
        .unwrap();
    let over = flood(socket);
    assert!(
        over.recv_timeout(Duration::from_secs(1)).is_err(),
        "the tunnel is open, and full"
    );
    scene.manage(&format!("DELETE /apikeys/{id}"), "");
    let ended = over.recv_timeout(PATIENCE / 4);
    assert_eq!(ended, Ok(true), "the upstream still has its tunnel");
}

#[test]
fn a_tunnel_whose_client_is_slow_ends_with_its_key_in_the_midst_of_a_frame() {
    let (address, sockets) = upstream(AGREED);
    let scene = Scene::new(address);
    let (key, id) = scene.key();
    let mut client = scene.socket(&key);
    let mut socket = sockets.recv_timeout(PATIENCE).unwrap();
    socket
        .write_all(&[0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0])
        .unwrap();
    let over = flood(socket);
    let mut piece = [0; 64 * 1024];
    let mut deleted = None;
    let begun = Instant::now();
    // It reads on, more slowly than the upstream writes.
    let ended = loop {
        let _ = client.read_some(&mut piece);
        if let Ok(ended) = over.recv_timeout(Duration::from_millis(1)) {
            break ended;
        }
        if deleted.is_none() && begun.elapsed() > Duration::from_millis(500) {
            scene.manage(&format!("DELETE /apikeys/{id}"), "");
            deleted = Some(Instant::now());
        }
        assert!(
            deleted.is_none_or(|at| at.elapsed() < PATIENCE / 4),
            "the stream goes on without a key"
        );
    };
    assert!(ended && deleted.is_some());
}

#[test]
fn a_tunnel_ends_with_its_key_though_other_keys_change_at_the_same_time() {
    let (address, sockets) = upstream(AGREED);
    let scene = Scene::new(address);
    let (key, id) = scene.key();
    let (_, other) = scene.key();
    // Hears that it is over, and stays.
    let _client = scene.socket(&key);
    let mut socket = sockets.recv_timeout(PATIENCE).unwrap();
    scene.manage(&format!("DELETE /apikeys/{id}"), "");
    let deleted = Instant::now();
    let mut names = 0;
    while deleted.elapsed() < Duration::from_secs(1) {
        names += 1;
        let body = format!(r#"{{"name":"n{names}"}}"#);
        scene.manage(&format!("PUT /apikeys/{other}"), &body);
    }
    socket.set_read_timeout(Some(PATIENCE / 4)).unwrap();
    assert!(
        is_gone(socket.read(&mut [0])),
        "the upstream still has its tunnel, {names} changes later"
    );
}

#[test]
fn an_event_stream_that_nobody_takes_ends_with_its_key_and_is_logged_so() {
    let (address, sockets) =
        upstream("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n");
    let scene = Scene::new(address);
    let (key, id) = scene.key();
    let mut client = scene.gateway.connect();
    client.send(format!(
        "GET /v3/events HTTP/1.1\r\nHost: a\r\napikey: {key}\r\n\r\n"
    ));
    assert_eq!(client.try_head().expect("a head").0, 200);
    let over = flood(sockets.recv_timeout(PATIENCE).unwrap());
    assert!(over.recv_timeout(Duration::from_secs(1)).is_err());
    scene.manage(&format!("DELETE /apikeys/{id}"), "");
    assert_eq!(over.recv_timeout(PATIENCE / 4), Ok(true));
    let line = scene
        .gateway
        .wait_for_log(|l| l.contains(&id) && l.contains(r#""template":"/v3/"#));
    assert!(line.contains(r#""outcome":"revoked""#), "{line}");
}

#[test]
fn a_grpc_call_that_is_not_answered_yet_ends_with_its_key() {
    let (address, sockets) = upstream("");
    let scene = Scene::new(address);
    let (key, id) = scene.key();
    let mut client = scene.gateway.connect();
    let begun = Instant::now();
    client.send(format!(
        "POST /v3/chat HTTP/1.1\r\nHost: a\r\napikey: {key}\r\nContent-Type: application/grpc+proto\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    ));
    let mut socket = sockets.recv_timeout(PATIENCE).unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"hello\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        heard.push(byte[0]);
    }
    scene.manage(&format!("DELETE /apikeys/{id}"), "");
    let (status, _) = client.try_head().expect("an answer");
    assert_eq!(status, 401);
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "only once it was as old as any exchange: {:?}",
        begun.elapsed()
    );
}
