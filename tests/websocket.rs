//! WebSocket through the gateway, by `Upgrade` over HTTP/1.1 and by extended CONNECT over HTTP/2: the same policy, nothing
//! before the upstream has agreed, bytes and ends of either way passed on, and the end of a tunnel whose key is gone.

mod support;

use bytes::Bytes;
use http::{Method, Request, Version};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;
use support::{Client, Folder, Gateway, PATIENCE, ROUTES};

const CLOSE_1008: [u8; 4] = [0x88, 2, 3, 0xF0];

/// An upstream whose every connection is one request for WebSocket: what it was sent, and a hand on its socket.
struct Sockets {
    address: SocketAddr,
    all: Arc<(Mutex<Vec<Accepted>>, Condvar)>,
}

struct Accepted {
    head: String,
    socket: TcpStream,
}

impl Sockets {
    /// Answers each head as this says, in the words of HTTP, then leaves the socket to the test.
    fn answering(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().unwrap();
        let all = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let (kept, answer) = (Arc::clone(&all), Arc::new(answer));
        thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(mut socket) = socket else { return };
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                thread::spawn(move || {
                    socket.set_read_timeout(Some(PATIENCE)).unwrap();
                    let mut head = Vec::new();
                    let mut byte = [0];
                    while !head.ends_with(b"\r\n\r\n") {
                        if socket.read_exact(&mut byte).is_err() {
                            return;
                        }
                        head.push(byte[0]);
                    }
                    let head = String::from_utf8(head).unwrap();
                    let text = answer(&head);
                    if socket.write_all(text.as_bytes()).is_err() {
                        return;
                    }
                    kept.0.lock().unwrap().push(Accepted { head, socket });
                    kept.1.notify_all();
                });
            }
        });
        Sockets { address, all }
    }

    /// Agrees, with the accept that the key asks for.
    fn agreeing() -> Self {
        Self::answering(agreement)
    }

    fn count(&self) -> usize {
        self.all.0.lock().unwrap().len()
    }

    /// The socket of the `n`th connection, and the head that came on it.
    fn take(&self, n: usize) -> (String, TcpStream) {
        let deadline = Instant::now() + PATIENCE;
        let mut all = self.all.0.lock().unwrap();
        while all.len() <= n {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no connection {n}");
            all = self.all.1.wait_timeout(all, left).unwrap().0;
        }
        (all[n].head.clone(), all[n].socket.try_clone().unwrap())
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

fn agreement(head: &str) -> String {
    let key = header(head, "sec-websocket-key").expect("a key");
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = base64(context.finish().as_ref());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    )
}

fn base64(bytes: &[u8]) -> String {
    use std::process::{Command, Stdio};
    let mut child = Command::new("base64")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("coreutils");
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

struct Scene {
    folder: Folder,
    key: String,
    gateway: Gateway,
}

fn scene(upstream: SocketAddr, main: &str) -> Scene {
    let folder = Folder::new(upstream, main, ROUTES);
    let key = folder.new_key("ws", "fullAccess");
    let gateway = folder.start();
    Scene {
        folder,
        key,
        gateway,
    }
}

const ASK: &str = "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat\r\n";

/// Asks for WebSocket and says `early` right behind; the head of the answer.
fn ask(client: &mut Client, path: &str, key: &str, early: &str) -> (u16, Vec<(String, String)>) {
    client.send(format!(
        "GET {path} HTTP/1.1\r\nHost: gateway.test\r\napikey: {key}\r\n{ASK}\r\n{early}"
    ));
    client.try_head().expect("an answer")
}

fn joined(scene: &Scene, upstream: &Sockets, key: &str) -> (Client, TcpStream) {
    let number = upstream.count();
    let mut client = scene.gateway.connect();
    let (status, _) = ask(&mut client, "/v3/socket", key, "");
    assert_eq!(status, 101);
    let (_, socket) = upstream.take(number);
    (client, socket)
}

fn read(client: &mut Client, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut have = 0;
    while have < length {
        let n = client.read_some(&mut bytes[have..]).expect("bytes");
        assert!(n > 0, "the end after {have} of {length}");
        have += n;
    }
    bytes
}

#[test]
fn a_socket_is_opened_and_bytes_pass_both_ways() {
    let upstream = Sockets::answering(|head| agreement(head) + "hello");
    let scene = scene(upstream.address, "");
    let mut client = scene.gateway.connect();
    let (status, headers) = ask(&mut client, "/v3/socket?room=1", &scene.key, "early");
    assert_eq!(status, 101);
    let of = |name: &str| {
        headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.to_lowercase())
    };
    assert_eq!(of("upgrade").as_deref(), Some("websocket"));
    assert_eq!(of("connection").as_deref(), Some("upgrade"));
    assert_eq!(of("sec-websocket-protocol").as_deref(), Some("chat"));
    assert!(of("sec-websocket-accept").is_some());
    assert!(of("x-request-id").is_some());
    assert_eq!(read(&mut client, 5), b"hello");

    let (head, mut socket) = upstream.take(0);
    assert!(
        head.starts_with("GET /v3/socket?room=1 HTTP/1.1\r\n"),
        "{head}"
    );
    assert_eq!(header(&head, "upgrade"), Some("websocket"));
    assert_eq!(
        header(&head, "sec-websocket-key"),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
    assert_eq!(header(&head, "apikey"), None);
    assert!(header(&head, "x-keygate-key-id").is_some());
    let mut five = [0; 5];
    socket.read_exact(&mut five).unwrap();
    assert_eq!(
        &five, b"early",
        "what came behind the request goes up after the 101"
    );

    client.finish();
    assert_eq!(
        socket.read(&mut five).unwrap(),
        0,
        "the end of one way is passed on"
    );
    socket.write_all(b"after").unwrap();
    assert_eq!(read(&mut client, 5), b"after", "and the other goes on");
    socket.shutdown(Shutdown::Write).unwrap();
    assert!(client.is_closed());
    let line = scene
        .gateway
        .wait_for_log(|l| l.contains(r#""status":101"#) && l.contains(r#""outcome":"forwarded""#));
    assert!(line.contains(r#""bytes":10"#), "{line}");
}

#[test]
fn nothing_goes_up_before_the_upstream_agrees() {
    let (go, gone) = std::sync::mpsc::sync_channel::<()>(1);
    let gone = Mutex::new(gone);
    let upstream = Sockets::answering(move |head| {
        gone.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        assert!(head.starts_with("GET /v3/socket HTTP/1.1"));
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_owned()
    });
    let scene = scene(upstream.address, "");
    let mut client = scene.gateway.connect();
    client.send(format!(
        "GET /v3/socket HTTP/1.1\r\nHost: a\r\napikey: {}\r\n{ASK}\r\nGET /v3/smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        scene.key
    ));
    go.send(()).unwrap();
    let refused = client.answer(false);
    assert_eq!(
        (refused.status, refused.body.as_slice()),
        (403, b"no".as_slice())
    );
    let (_, mut socket) = upstream.take(0);
    // What came behind is a request of its own, to be judged as one: it had no key.
    let next = client.answer(false);
    assert_eq!(next.status, 401);
    drop(client);
    drop(scene);
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"", "nothing of it reached the upstream");
}

#[test]
fn a_request_for_websocket_is_judged_like_any_other() {
    let upstream = Sockets::agreeing();
    let scene = scene(upstream.address, "");
    let weak = scene.folder.new_key("weak", "authOnly");
    for (path, key, expected) in [
        ("/v3/socket", "", 401),
        (
            "/v3/socket",
            "0123456789012345678901234567890123456789",
            401,
        ),
        ("/v3/socket", &weak, 403),
        ("/closed", &scene.key, 403),
        ("/nowhere", &scene.key, 404),
        ("/v3/a/../socket", &scene.key, 400),
    ] {
        let (status, _) = scene.gateway.eventually(
            || ask(&mut scene.gateway.connect(), path, key, ""),
            |(s, _)| *s == expected,
        );
        assert_eq!(status, expected, "{path} {key}");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn an_upgrade_to_anything_else_is_an_ordinary_request() {
    let upstream = support::Upstream::echo();
    let scene = scene(upstream.address, "");
    for ask in [
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n",
        "Upgrade: websocket\r\n",
        "Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n",
    ] {
        let mut client = scene.gateway.connect();
        client.send(format!(
            "GET /v3/x HTTP/1.1\r\nHost: a\r\napikey: {}\r\n{ask}\r\n",
            scene.key
        ));
        assert_eq!(client.answer(false).status, 200, "{ask}");
        let seen = upstream.last();
        assert_eq!(seen.header("upgrade"), None, "{ask}");
        assert_eq!(seen.header("connection"), None, "{ask}");
    }
}

#[test]
fn an_upstream_that_agrees_to_something_else_is_no_upstream_for_it() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let upstream = Sockets::answering(|_| answer.to_owned());
        let scene = scene(upstream.address, "");
        let (status, _) = ask(&mut scene.gateway.connect(), "/v3/socket", &scene.key, "");
        assert_eq!(status, 502, "{answer}");
    }
}

#[test]
fn a_tunnel_ends_when_its_key_is_deleted_disabled_or_weakened_and_no_other_does() {
    let upstream = Sockets::agreeing();
    let scene = scene(upstream.address, "");
    let call = |line: &str, body: &str| {
        let key = format!("apikey: {}", scene.key);
        let answer = scene
            .gateway
            .call(line, &[&key, "content-type: application/json"], body);
        assert_eq!(answer.status, 200, "{line}: {}", answer.text());
        answer.json()
    };
    let (mut other, mut other_socket) = joined(&scene, &upstream, &scene.key);
    for (how, line, body) in [
        ("deleted", "DELETE", ""),
        ("disabled", "PUT", r#"{"enabled":false}"#),
        ("weakened", "PUT", r#"{"scope":"authOnly"}"#),
    ] {
        let made = call("POST /apikeys", r#"{"name":"t","scope":"fullAccess"}"#);
        let key = made["data"]["apiKey"].as_str().unwrap();
        let id = made["data"]["id"].as_str().unwrap();
        // Between frames, and in the midst of one.
        let (mut between, mut between_socket) = joined(&scene, &upstream, key);
        let (mut within, mut within_socket) = joined(&scene, &upstream, key);
        within_socket.write_all(&[0x82, 5, 1, 2]).unwrap();
        assert_eq!(read(&mut within, 4), [0x82, 5, 1, 2]);
        call(&format!("{line} /apikeys/{id}"), body);
        assert_eq!(read(&mut between, 4), CLOSE_1008, "{how}");
        assert!(between.is_closed(), "{how}");
        within_socket.write_all(&[3, 4, 5]).ok();
        let mut rest = Vec::new();
        let mut piece = [0; 64];
        while let Ok(n) = within.read_some(&mut piece) {
            if n == 0 {
                break;
            }
            rest.extend_from_slice(&piece[..n]);
        }
        // After the rest of the frame, or cut in it.
        let fine = [&[3, 4, 5][..], &CLOSE_1008].concat();
        assert!(
            rest == fine || fine.starts_with(&rest) && rest.len() <= 3,
            "{how}: {rest:?}"
        );
        let mut end = Vec::new();
        between_socket.read_to_end(&mut end).ok();
        assert_eq!(end, b"", "{how}");
    }
    other_socket.write_all(b"still").unwrap();
    assert_eq!(read(&mut other, 5), b"still");
    scene
        .gateway
        .wait_for_log(|l| l.contains(r#""outcome":"revoked""#) && l.contains("tunnel_revoked"));
}

#[test]
fn a_tunnel_ends_when_its_key_expires() {
    let upstream = Sockets::agreeing();
    let scene = scene(upstream.address, "");
    let made = scene.folder.keygate(&[
        "keys",
        "create",
        "--name",
        "soon",
        "--scope",
        "fullAccess",
        "--expires-in",
        "4s",
    ]);
    assert!(made.status.success(), "{}", made.stderr);
    let key = made.stdout.trim().to_owned();
    scene.gateway.eventually(
        || {
            scene
                .gateway
                .call(
                    "GET /v3/x",
                    &[&format!("apikey: {key}"), ASK.trim_end()],
                    "",
                )
                .status
        },
        |status| *status != 401,
    );
    let (mut client, _socket) = joined(&scene, &upstream, &key);
    assert_eq!(read(&mut client, 4), CLOSE_1008);
}

#[test]
fn a_tunnel_in_which_nothing_moves_ends() {
    let upstream = Sockets::agreeing();
    let scene = scene(upstream.address, "[timeouts]\nstream = \"500ms\"\n");
    let (mut client, mut socket) = joined(&scene, &upstream, &scene.key);
    for _ in 0..3 {
        socket.write_all(b"tick").unwrap();
        assert_eq!(read(&mut client, 4), b"tick");
    }
    assert!(client.is_closed());
    assert_eq!(socket.read(&mut [0; 8]).unwrap_or(0), 0);
    scene.gateway.wait_for_log(|l| l.contains("tunnel_idle"));
}

#[test]
fn whoever_does_not_read_stops_whoever_sends() {
    let upstream = Sockets::agreeing();
    let scene = scene(upstream.address, "");
    let (_client, mut socket) = joined(&scene, &upstream, &scene.key);
    socket
        .set_write_timeout(Some(std::time::Duration::from_secs(1)))
        .unwrap();
    let piece = vec![0; 1 << 20];
    let mut sent = 0;
    while let Ok(n) = socket.write(&piece) {
        sent += n;
        assert!(
            sent < 1 << 28,
            "256 MiB were taken for a client that reads nothing"
        );
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", scene.gateway.pid())).unwrap();
    let resident = status
        .lines()
        .find(|l| l.starts_with("RssAnon"))
        .unwrap()
        .to_owned();
    let kib: u64 = resident.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 64 * 1024, "{resident}, {sent} bytes sent");
}

#[test]
fn a_drain_lets_tunnels_be_until_its_deadline() {
    let upstream = Sockets::agreeing();
    let mut scene = scene(upstream.address, "[timeouts]\ndrain = \"1s\"\n");
    let (mut client, mut socket) = joined(&scene, &upstream, &scene.key);
    scene.gateway.signal("TERM");
    scene.gateway.wait_for_log(|l| l.contains("draining"));
    socket.write_all(b"still").unwrap();
    assert_eq!(read(&mut client, 5), b"still");
    assert_eq!(scene.gateway.wait().code(), Some(0));
    assert!(client.is_closed());
}

/// A WebSocket over HTTP/2: its two directions.
async fn connect_h2(
    address: SocketAddr,
    key: &str,
) -> (http::Response<h2::RecvStream>, h2::SendStream<Bytes>) {
    let socket = tokio::net::TcpStream::connect(address)
        .await
        .expect("connect");
    let (sender, connection) = h2::client::handshake(socket).await.expect("a handshake");
    tokio::spawn(connection);
    let mut sender = sender.ready().await.expect("ready");
    while !sender.is_extended_connect_protocol_enabled() {
        tokio::task::yield_now().await;
    }
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri("http://gateway.test/v3/socket?room=2")
        .header("apikey", key)
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .body(())
        .unwrap();
    request
        .extensions_mut()
        .insert(h2::ext::Protocol::from_static("websocket"));
    let (answer, stream) = sender.send_request(request, false).expect("sent");
    (answer.await.expect("an answer"), stream)
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("in time") });
}

async fn next(body: &mut h2::RecvStream) -> Option<Bytes> {
    let data = body.data().await?.expect("data");
    let _ = body.flow_control().release_capacity(data.len());
    Some(data)
}

#[test]
fn a_client_of_http2_opens_a_socket_by_extended_connect() {
    let upstream = Sockets::agreeing();
    let scene = scene(upstream.address, "");
    run(async {
        let (answer, mut stream) = connect_h2(scene.gateway.address, &scene.key).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
        assert!(!answer.headers().contains_key("sec-websocket-accept"));
        let (head, mut socket) = upstream.take(0);
        assert!(
            head.starts_with("GET /v3/socket?room=2 HTTP/1.1\r\n"),
            "{head}"
        );
        assert_eq!(header(&head, "host"), Some(&*upstream.address.to_string()));
        assert_eq!(header(&head, "apikey"), None);
        let mut body = answer.into_body();
        stream
            .send_data(Bytes::from_static(b"ping"), false)
            .unwrap();
        let mut socket = tokio::task::spawn_blocking(move || {
            let mut four = [0; 4];
            socket.read_exact(&mut four).unwrap();
            assert_eq!(&four, b"ping");
            socket.write_all(b"pong").unwrap();
            socket
        })
        .await
        .unwrap();
        assert_eq!(next(&mut body).await.unwrap(), "pong");
        stream.send_data(Bytes::new(), true).unwrap();
        tokio::task::spawn_blocking(move || {
            assert_eq!(socket.read(&mut [0; 4]).unwrap(), 0);
            socket.write_all(b"last").unwrap();
        })
        .await
        .unwrap();
        assert_eq!(next(&mut body).await.unwrap(), "last");
    });
}

#[test]
fn over_http2_a_tunnel_ends_with_its_key_and_is_refused_without_one() {
    let upstream = Sockets::agreeing();
    let scene = scene(upstream.address, "");
    let other = scene.folder.new_key("other", "fullAccess");
    run(async {
        let (answer, _stream) = connect_h2(scene.gateway.address, "").await;
        assert_eq!(answer.status(), 401);
        let (answer, _stream) = connect_h2(scene.gateway.address, &scene.key).await;
        assert_eq!(answer.status(), 200);
        let deleted = scene
            .folder
            .keygate(&["keys", "list", "--search", "ws", "--json"]);
        let id = deleted.stdout.split(r#""id":""#).nth(1).expect("an id");
        let id = &id[..20];
        scene.gateway.eventually(
            || {
                scene
                    .gateway
                    .call(
                        &format!("DELETE /apikeys/{id}"),
                        &[&format!("apikey: {other}")],
                        "",
                    )
                    .status
            },
            |status| *status == 200,
        );
        let mut body = answer.into_body();
        assert_eq!(next(&mut body).await.unwrap(), &CLOSE_1008[..]);
    });
}

#[test]
fn an_upstream_that_does_not_agree_gives_http2_its_answer() {
    let upstream =
        Sockets::answering(|_| "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_owned());
    let scene = scene(upstream.address, "");
    run(async {
        let (answer, _stream) = connect_h2(scene.gateway.address, &scene.key).await;
        assert_eq!(answer.status(), 403);
    });
    let upstream =
        Sockets::answering(|_| "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno".to_owned());
    let scene = self::scene(upstream.address, "");
    run(async {
        let (answer, _stream) = connect_h2(scene.gateway.address, &scene.key).await;
        assert_eq!(
            answer.status(),
            502,
            "200 would mean that the socket is open"
        );
    });
}
