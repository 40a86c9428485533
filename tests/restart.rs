//! Restart without loss: a new process takes the listening sockets over, the old one drains, and nobody notices.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use support::local::call;
use support::trial::until;
use support::{Client, Folder, Gateway, PATIENCE, ROUTES, Upstream};

/// A gateway that can be replaced, listening on these.
fn folder(upstream: &Upstream, listen: &str, more: &str) -> Folder {
    Folder::with_main(
        &format!(
            r#"
include = ["routes.toml"]
[server]
listen = [{listen}]
handover = "run/handover.sock"
workers = 2
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
access = "off"
[upstreams.chat]
servers = ["http://{}"]
{more}
"#,
            upstream.address
        ),
        ROUTES,
    )
}

const LISTEN: &str = r#""127.0.0.1:0""#;

/// A process that takes the running one's place.
fn successor(folder: &Folder) -> Command {
    folder.command(&[], &["run", "--take-over"])
}

/// Clients that ask without a pause until they are stopped; whatever is not a whole 200 is written down.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
    clients: Vec<thread::JoinHandle<()>>,
}

/// What a client of the load does: one request, or as many as the connection lasts for.
#[derive(Clone, Copy)]
enum Habit {
    Keeps,
    ConnectsAnew,
}

impl Load {
    fn start(address: SocketAddr, clients: usize) -> Self {
        let mut load = Load {
            stop: Arc::default(),
            served: Arc::default(),
            failed: Arc::default(),
            clients: Vec::new(),
        };
        for number in 0..clients {
            let (stop, served) = (Arc::clone(&load.stop), Arc::clone(&load.served));
            let failed = Arc::clone(&load.failed);
            let habit = if number % 2 == 0 {
                Habit::Keeps
            } else {
                Habit::ConnectsAnew
            };
            load.clients.push(thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = connection(address, habit, &stop, &served) {
                        failed.lock().unwrap().push(error);
                    }
                }
            }));
        }
        load
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Waits until so many more were served.
    fn go_on(&self, more: usize) {
        let wanted = self.served() + more;
        until("more requests are served", || self.served() >= wanted);
    }

    fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client");
        }
        let failed = std::mem::take(&mut *self.failed.lock().unwrap());
        (self.served.load(Ordering::Relaxed), failed)
    }
}

/// One connection: an error says what became of a request that was not answered whole with 200.
fn connection(
    address: SocketAddr,
    habit: Habit,
    stop: &AtomicBool,
    served: &AtomicUsize,
) -> Result<(), String> {
    let stream = TcpStream::connect(address).map_err(|e| format!("connect: {e}"))?;
    stream.set_nodelay(true).expect("nodelay");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let mut reader = BufReader::new(stream);
    loop {
        let request = b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n";
        let sent = reader.get_mut().write_all(request);
        sent.map_err(|e| format!("send: {e}"))?;
        let mut length = 0;
        let mut last = matches!(habit, Habit::ConnectsAnew);
        let mut status = String::new();
        let read = reader.read_line(&mut status);
        read.map_err(|e| format!("status: {e}"))?;
        if !status.starts_with("HTTP/1.1 200 ") {
            return Err(format!("status: {status:?}"));
        }
        loop {
            let mut line = String::new();
            let read = reader.read_line(&mut line);
            read.map_err(|e| format!("head: {e}"))?;
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().expect("a length");
            }
            last |= line == "connection: close";
        }
        let mut body = vec![0; length];
        let read = reader.read_exact(&mut body);
        read.map_err(|e| format!("body: {e}"))?;
        served.fetch_add(1, Ordering::Relaxed);
        if last || stop.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}

#[test]
fn restarts_under_load_refuse_no_connection_and_fail_no_request() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, LISTEN, "");
    let mut running = folder.start();
    let address = running.address;
    let load = Load::start(address, 24);
    load.go_on(500);
    for _ in 0..4 {
        let next = Gateway::of(successor(&folder));
        assert_eq!(next.address, address);
        // Everybody has gone over, so the old one ends before its deadline.
        assert_eq!(running.wait().code(), Some(0), "{}", running.log());
        assert!(!running.log().contains("drain deadline reached"));
        running = next;
        load.go_on(500);
    }
    let (served, failed) = load.stop();
    assert_eq!(failed, Vec::<String>::new(), "of {served}");
    assert_eq!(running.admin("/readyz").status, 200);
    eprintln!("{served} requests over 4 restarts, none failed");
}

/// Asks over HTTP/2 without a pause, several streams at once, on a new connection whenever one is told to go.
async fn http2_client(address: SocketAddr, stop: Arc<AtomicBool>, served: Arc<AtomicUsize>) {
    use http_body_util::{BodyExt, Empty};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    while !stop.load(Ordering::Relaxed) {
        let socket = tokio::net::TcpStream::connect(address).await;
        let socket = TokioIo::new(socket.expect("connect"));
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), socket)
                .await
                .expect("a handshake");
        let connection = tokio::spawn(connection);
        let streams = (0..4).map(|_| {
            let (mut sender, stop, served) =
                (sender.clone(), Arc::clone(&stop), Arc::clone(&served));
            tokio::spawn(async move {
                // Not ready any more: it was told to go, and nothing was sent.
                while !stop.load(Ordering::Relaxed) && sender.ready().await.is_ok() {
                    let request = http::Request::get(format!("http://{address}/open/x"));
                    let request = request
                        .body(Empty::<bytes::Bytes>::new())
                        .expect("a request");
                    let answer = match sender.try_send_request(request).await {
                        Ok(answer) => answer,
                        Err(mut error) => {
                            // Never sent, as hyper says for sure: it comes again on the next connection.
                            if error.take_message().is_some() {
                                return;
                            }
                            panic!("{:?}", error.into_error());
                        }
                    };
                    assert_eq!(answer.status(), 200);
                    answer.into_body().collect().await.expect("a whole body");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        for stream in streams.collect::<Vec<_>>() {
            stream.await.expect("every request is answered");
        }
        drop(sender);
        let _ = connection.await;
    }
}

#[test]
fn restarts_fail_no_request_over_http2() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, LISTEN, "");
    let mut running = folder.start();
    let address = running.address;
    let (stop, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&served));
    let clients = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let start = || {
                let (stop, served) = (Arc::clone(&stopped), Arc::clone(&counted));
                tokio::spawn(http2_client(address, stop, served))
            };
            for client in [start(), start(), start()] {
                client.await.expect("no request fails");
            }
        });
    });
    let go_on = || {
        let wanted = served.load(Ordering::Relaxed) + 300;
        until("more requests are served", || {
            assert!(!clients.is_finished(), "a request failed");
            served.load(Ordering::Relaxed) >= wanted
        });
    };
    go_on();
    for _ in 0..3 {
        let next = Gateway::of(successor(&folder));
        assert_eq!(running.wait().code(), Some(0), "{}", running.log());
        assert!(!running.log().contains("drain deadline reached"));
        running = next;
        go_on();
    }
    stop.store(true, Ordering::Relaxed);
    clients.join().expect("no request fails");
    eprintln!(
        "{} requests over HTTP/2 over 3 restarts, none failed",
        served.load(Ordering::Relaxed)
    );
}

/// An upstream that agrees to WebSocket and sends back whatever comes.
fn echoing_sockets() -> Upstream {
    Upstream::start(|_, stream| {
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        let _ = stream.write_all(head.as_bytes());
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            let _ = stream.write_all(&bytes[..read]);
        }
        false
    })
}

/// Opens a WebSocket.
fn socket(gateway: &Gateway) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let head = "GET /open/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("send");
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        answer.push(byte[0]);
    }
    let answer = String::from_utf8(answer).expect("a head of text");
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    stream
}

/// Sends a frame and reads it back.
fn echo(stream: &mut TcpStream, text: &str) {
    let mut frame = vec![
        0x81,
        0x80 | u8::try_from(text.len()).expect("a short text"),
        0,
        0,
        0,
        0,
    ];
    frame.extend(text.bytes());
    stream.write_all(&frame).expect("send");
    let mut back = vec![0; frame.len()];
    stream.read_exact(&mut back).expect("the frame comes back");
    assert_eq!(back, frame);
}

#[test]
fn websockets_go_on_in_the_old_process_up_to_its_deadline_and_new_ones_open_in_the_new() {
    let upstream = echoing_sockets();
    let folder = folder(&upstream, LISTEN, "[timeouts]\ndrain = \"4s\"");
    let mut old = folder.start();
    let mut before = socket(&old);
    echo(&mut before, "before");
    let new = Gateway::of(successor(&folder));
    echo(&mut before, "during");
    let mut after = socket(&new);
    echo(&mut after, "new");
    echo(&mut before, "still");
    assert_eq!(old.wait().code(), Some(0));
    let mut rest = Vec::new();
    let _ = before.read_to_end(&mut rest);
    echo(&mut after, "after");
}

#[test]
fn an_idle_connection_has_one_more_answer_which_says_that_it_ends() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, LISTEN, "");
    let mut old = folder.start();
    let mut idle = old.connect();
    assert_eq!(idle.call("GET /open/x", &[], "").status, 200);
    let mut fresh = old.connect();
    let _new = Gateway::of(successor(&folder));
    for client in [&mut idle, &mut fresh] {
        let answer = client.call("GET /open/x", &[], "");
        assert_eq!(answer.status, 200);
        if answer.header("connection") == Some("close") {
            assert!(client.is_closed());
        }
    }
    drop(fresh);
    assert_eq!(old.wait().code(), Some(0));
}

#[test]
fn an_idle_connection_does_not_keep_the_old_process_past_its_deadline() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, LISTEN, "[timeouts]\ndrain = \"1s\"");
    let mut old = folder.start();
    let mut idle = old.connect();
    assert_eq!(idle.call("GET /open/x", &[], "").status, 200);
    let _new = Gateway::of(successor(&folder));
    assert_eq!(old.wait().code(), Some(0));
    assert!(idle.is_closed());
}

#[test]
fn a_successor_that_fails_leaves_the_running_gateway_as_it_was() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, LISTEN, "");
    let gateway = folder.start();
    let good = std::fs::read_to_string(folder.config()).expect("read");
    let load = Load::start(gateway.address, 4);
    let fails = |text: &str, code: i32, expected: &str| {
        folder.write("keygate.toml", text);
        let output = successor(&folder).output().expect("keygate runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    // Before it asks for anything.
    fails(
        &good.replace("listen = [", "lissten = ["),
        2,
        "did you mean `listen`?",
    );
    // After it was given the sockets.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let taken = taken.local_addr().expect("an address");
    let _held = std::net::TcpListener::bind(taken);
    let more = format!(r#"listen = ["{taken}", "#);
    fails(
        &good.replace("listen = [", &more),
        1,
        "another process uses this port",
    );
    gateway.wait_for_log(|line| line.contains("this one goes on"));
    folder.write("keygate.toml", &good);
    // Whoever connects and goes is nobody's successor.
    drop(UnixStream::connect(folder.path().join("run/handover.sock")).expect("connect"));
    load.go_on(100);
    assert_eq!(gateway.admin("/readyz").status, 200);
    // And the next one can.
    let next = Gateway::of(successor(&folder));
    load.go_on(100);
    let (served, failed) = load.stop();
    assert_eq!(failed, Vec::<String>::new(), "of {served}");
    drop(next);
}

#[test]
fn a_successor_of_nobody_opens_the_addresses_itself() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, LISTEN, "");
    let gateway = Gateway::of(successor(&folder));
    assert_eq!(gateway.call("GET /open/x", &[], "").status, 200);
    let plain = Folder::new(upstream.address, "", ROUTES);
    let output = successor(&plain).output().expect("keygate runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("set `[server] handover`"), "{said}");
}

#[test]
fn addresses_that_come_are_opened_and_those_that_go_are_closed() {
    let upstream = Upstream::echo();
    let folder = folder(
        &upstream,
        r#""127.0.0.1:0", "unix:kept.sock", "unix:gone.sock""#,
        "",
    );
    let mut old = folder.start();
    let inside = |name: &str| folder.path().join(name);
    let config = std::fs::read_to_string(folder.config()).expect("read");
    folder.write("keygate.toml", &config.replace("gone.sock", "come.sock"));
    let mut new = Gateway::of(successor(&folder));
    assert_eq!(old.wait().code(), Some(0));
    for name in ["kept.sock", "come.sock"] {
        assert_eq!(
            call(&inside(name), "GET /open/x", &[]).status,
            200,
            "{name}"
        );
    }
    assert!(!inside("gone.sock").exists());
    assert_eq!(new.call("GET /open/x", &[], "").status, 200);
    new.signal("TERM");
    assert_eq!(new.wait().code(), Some(0));
    for name in ["kept.sock", "come.sock", "run/handover.sock"] {
        assert!(!inside(name).exists(), "{name} was left behind");
    }
}

#[test]
fn both_processes_work_on_the_keys_while_one_drains() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, LISTEN, "");
    let root = format!("apikey: {}", folder.new_key("root", "fullAccess"));
    let old = folder.start();
    let mut idle: Vec<Client> = (0..3).map(|_| old.connect()).collect();
    for client in &mut idle {
        assert_eq!(client.call("GET /open/x", &[], "").status, 200);
    }
    let new = Gateway::of(successor(&folder));
    let json = ["Content-Type: application/json", &root];
    let body = r#"{"name": "made", "scope": "fullAccess"}"#;
    let made = new.call("POST /apikeys", &json, body);
    assert_eq!(made.status, 200, "{}", made.text());
    // The old one still writes, and what it wrote is soon in force in the new one.
    let [mut writes, mut reads, mut rest] = <[Client; 3]>::try_from(idle).ok().expect("three");
    let made = writes.call("POST /apikeys", &json, body);
    assert_eq!(made.status, 200, "{}", made.text());
    let of_old = format!(
        "apikey: {}",
        made.json()["data"]["apiKey"].as_str().expect("a key")
    );
    new.eventually(
        || new.call("GET /v3/x", &[&of_old], "").status,
        |status| *status == 200,
    );
    for client in [&mut reads, &mut rest] {
        let listed = client.call("GET /apikeys", &[&root], "");
        assert_eq!(listed.status, 200);
    }
}

#[test]
fn sigusr2_starts_the_binary_again_in_the_place_of_this_one() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, LISTEN, "");
    let mut old = folder.start();
    let address = old.address;
    let load = Load::start(address, 6);
    load.go_on(50);
    old.signal("USR2");
    // The new one writes to the same place.
    let line = old.wait_for_log(|line| line.contains("a successor was started"));
    let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    let successor = line["pid"].as_u64().expect("a process").to_string();
    assert_eq!(old.wait().code(), Some(0));
    load.go_on(50);
    let (served, failed) = load.stop();
    assert_eq!(failed, Vec::<String>::new(), "of {served}");
    let ended = Command::new("kill").args(["-TERM", &successor]).status();
    assert!(ended.expect("kill runs").success());
}

#[test]
fn without_a_place_to_hand_over_sigusr2_does_nothing() {
    let upstream = Upstream::echo();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let gateway = folder.start();
    gateway.signal("USR2");
    gateway.wait_for_log(|line| line.contains("SIGUSR2 needs `[server] handover`"));
    assert_eq!(gateway.call("GET /open/x", &[], "").status, 200);
}

/// What a service manager was told, message by message.
struct Manager {
    socket: UnixDatagram,
    path: std::path::PathBuf,
}

impl Manager {
    fn new(folder: &Folder) -> Self {
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bind");
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        Manager { socket, path }
    }

    fn watch(&self, command: &mut Command) {
        command.env("NOTIFY_SOCKET", &self.path);
    }

    fn next(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("a message");
        let text = std::str::from_utf8(&bytes[..length]).expect("text");
        text.lines().map(str::to_owned).collect()
    }
}

#[test]
fn the_service_manager_hears_of_readiness_reloads_successors_and_the_end() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, LISTEN, "");
    let manager = Manager::new(&folder);
    let mut command = folder.command(&[], &["run"]);
    manager.watch(&mut command);
    let mut old = Gateway::of(command);
    assert_eq!(manager.next(), ["READY=1"]);

    old.signal("HUP");
    let reloading = manager.next();
    assert_eq!(reloading[0], "RELOADING=1");
    assert!(reloading[1].starts_with("MONOTONIC_USEC="), "{reloading:?}");
    assert_eq!(manager.next(), ["READY=1"]);

    let mut command = successor(&folder);
    manager.watch(&mut command);
    let mut new = Gateway::of(command);
    let main = format!("MAINPID={}", new.pid());
    assert_eq!(manager.next(), [&main, "READY=1"]);
    assert_eq!(old.wait().code(), Some(0));
    new.signal("TERM");
    assert_eq!(new.wait().code(), Some(0));
    // The old one ended without a word: a manager would have taken it for the service's.
    assert_eq!(manager.next(), ["STOPPING=1"]);
    manager.socket.set_nonblocking(true).expect("nonblocking");
    manager
        .socket
        .recv(&mut [0; 16])
        .expect_err("nothing more was told");
}

#[test]
fn the_watchdog_is_told_that_we_live() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, LISTEN, "");
    let manager = Manager::new(&folder);
    let mut command = folder.command(&[], &["run"]);
    manager.watch(&mut command);
    command.env(
        "WATCHDOG_USEC",
        Duration::from_millis(100).as_micros().to_string(),
    );
    let _gateway = Gateway::of(command);
    assert_eq!(manager.next(), ["READY=1"]);
    for _ in 0..3 {
        assert_eq!(manager.next(), ["WATCHDOG=1"]);
    }
}
