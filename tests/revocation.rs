//! What stays open ends when its key is deleted, disabled, weakened or expires: event streams at once, every exchange once
//! it has been open for ten seconds. What is shorter finishes, and so does everything of other keys.

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use support::{Client, Folder, Gateway, PATIENCE, ROUTES, Upstream};

/// An upstream whose answers go on for as long as the test wants. `/v3/events` is an event stream, `/v3/download` is not,
/// `/v3/poll` answers nothing before it ends.
struct Lasting {
    upstream: Upstream,
    over: Arc<(Mutex<bool>, Condvar)>,
}

impl Lasting {
    fn start() -> Self {
        let over = Arc::new((Mutex::new(false), Condvar::new()));
        let ended = Arc::clone(&over);
        let upstream = Upstream::start(move |seen, stream| {
            let wait = |stream: &mut TcpStream, piece: &str| {
                let deadline = Instant::now() + PATIENCE;
                let mut over = ended.0.lock().unwrap();
                while !*over && Instant::now() < deadline {
                    over = ended
                        .1
                        .wait_timeout(over, Duration::from_millis(20))
                        .unwrap()
                        .0;
                    if !piece.is_empty() && stream.write_all(piece.as_bytes()).is_err() {
                        return false;
                    }
                }
                true
            };
            let kind = match seen.target() {
                "/v3/events" => "text/event-stream; charset=utf-8",
                "/v3/poll" => {
                    let _ = wait(stream, "");
                    return support::respond(stream, 200, &[], "{}", 2);
                }
                _ => "application/json",
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            let _ = stream.write_all(head.as_bytes());
            wait(stream, "4\r\ntick\r\n") && stream.write_all(b"0\r\n\r\n").is_ok()
        });
        Lasting { upstream, over }
    }

    fn end(&self) {
        *self.over.0.lock().unwrap() = true;
        self.over.1.notify_all();
    }
}

struct Scene {
    lasting: Lasting,
    _folder: Folder,
    admin: String,
    gateway: Gateway,
}

impl Scene {
    fn new() -> Self {
        let lasting = Lasting::start();
        let folder = Folder::new(lasting.upstream.address, "", ROUTES);
        let admin = folder.new_key("admin", "fullAccess");
        let gateway = folder.start();
        Scene {
            lasting,
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

    /// A request whose answer has begun.
    fn open(&self, path: &str, key: &str) -> Client {
        let mut client = self.gateway.connect();
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\napikey: {key}\r\n\r\n"
        ));
        let (status, _) = client.try_head().expect("a head");
        assert_eq!(status, 200);
        client
    }
}

/// Reads to the end; whether the body was whole, and when it ended.
fn end_of(client: &mut Client) -> (bool, Instant) {
    let mut last = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match client.read_some(&mut piece) {
            Ok(n) if n > 0 => {
                last.extend_from_slice(&piece[..n]);
                if last.ends_with(b"0\r\n\r\n") {
                    return (true, Instant::now());
                }
                let keep = last.len().saturating_sub(8);
                last.drain(..keep);
            }
            _ => return (false, Instant::now()),
        }
    }
}

#[test]
fn an_event_stream_ends_with_its_key_and_others_go_on() {
    let scene = Scene::new();
    let mut neighbour = scene.open("/v3/events", &scene.admin);
    for (how, line, body) in [
        ("deleted", "DELETE", ""),
        ("disabled", "PUT", r#"{"enabled":false}"#),
        ("weakened", "PUT", r#"{"scope":"authOnly"}"#),
    ] {
        let (key, id) = scene.key();
        let mut streams: Vec<_> = (0..4).map(|_| scene.open("/v3/events", &key)).collect();
        let mut short = scene.open("/v3/download", &key);
        scene.manage(&format!("{line} /apikeys/{id}"), body);
        let changed = Instant::now();
        for stream in &mut streams {
            let (whole, ended) = end_of(stream);
            assert!(!whole, "{how}: the stream was cut, and must not look whole");
            println!("{how}: ended after {:?}", ended - changed);
        }
        let mut some = [0; 64];
        assert!(
            short.read_some(&mut some).unwrap() > 0,
            "{how}: a download of seconds goes on"
        );
        // A name alone changes nothing.
        let (key, id) = scene.key();
        let mut renamed = scene.open("/v3/events", &key);
        scene.manage(&format!("PUT /apikeys/{id}"), r#"{"name":"other"}"#);
        for _ in 0..20 {
            assert!(renamed.read_some(&mut some).unwrap() > 0, "{how}");
        }
    }
    let (ended, has_ended) = std::sync::mpsc::sync_channel(1);
    thread::spawn(move || ended.send(end_of(&mut neighbour).0));
    scene.lasting.end();
    assert!(
        has_ended.recv_timeout(PATIENCE).unwrap(),
        "the neighbour's stream is whole"
    );
    scene
        .gateway
        .wait_for_log(|l| l.contains(r#""outcome":"revoked""#));
}

#[test]
fn any_exchange_ends_with_its_key_once_it_is_ten_seconds_old() {
    let scene = Scene::new();
    let (key, id) = scene.key();
    let mut download = scene.open("/v3/download", &key);
    let mut poll = scene.gateway.connect();
    poll.send(format!(
        "GET /v3/poll HTTP/1.1\r\nHost: a\r\napikey: {key}\r\n\r\n"
    ));
    let begun = Instant::now();
    let mut piece = [0; 64];
    while begun.elapsed() < Duration::from_secs(11) {
        assert!(download.read_some(&mut piece).unwrap() > 0);
    }
    scene.manage(&format!("DELETE /apikeys/{id}"), "");
    assert!(!end_of(&mut download).0);
    let refused = poll.answer(false);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (401, "AUTH_ERR_APIKEY_NOT_FOUND")
    );
    // The connection lives, and a good key is served on it.
    scene.lasting.end();
    let served = poll.call("GET /v3/poll", &[&format!("apikey: {}", scene.admin)], "");
    assert_eq!(served.status, 200);
}

#[test]
fn the_streams_of_other_keys_are_not_disturbed() {
    let scene = Scene::new();
    let keys: Vec<_> = (0..10).map(|_| scene.key()).collect();
    let mut streams: Vec<_> = (0..100)
        .map(|n| (n % 10, scene.open("/v3/events", &keys[n % 10].0)))
        .collect();
    scene.manage(&format!("DELETE /apikeys/{}", keys[3].1), "");
    let mut piece = [0; 64];
    for (key, stream) in &mut streams {
        if *key == 3 {
            assert!(!end_of(stream).0);
        }
    }
    for (key, stream) in &mut streams {
        if *key != 3 {
            assert!(stream.read_some(&mut piece).unwrap() > 0, "{key}");
        }
    }
    scene.lasting.end();
    for (key, stream) in &mut streams {
        assert_eq!(end_of(stream).0, *key != 3, "{key}");
    }
}
