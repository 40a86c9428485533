//! Clients and servers that others wrote: curl, nghttp and h2load, Node, Python's own servers, gRPC, nginx.
//!
//! A test whose peer is not on the machine says so on standard error and does nothing; nothing is fetched. `.ci/run`
//! installs what it can: Debian's packages, and Python's modules into `target/peers`.

mod support;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use support::tools::{is_here, python};
use support::trial::pause;
use support::{Folder, Gateway, PATIENCE, ROUTES, Upstream, fleet};

fn tool(name: &str) -> bool {
    is_here(name, Command::new(name).arg("--version"))
}

fn python_with(module: &str) -> bool {
    let what = format!("Python with `{module}`");
    is_here(&what, python().args(["-c", &format!("import {module}")]))
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/peers")
        .join(name)
}

/// A peer that serves. Killed when dropped.
struct Peer {
    child: Child,
    address: SocketAddr,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    /// Starts one that says `port N` first.
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("stdout is piped");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let port = line.trim().strip_prefix("port ").expect("its port");
        let port: u16 = port.parse().expect("a number");
        Peer {
            child,
            address: ([127, 0, 0, 1], port).into(),
        }
    }
}

/// What a command printed, which ended well.
fn output(command: &mut Command) -> String {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let pid = child.id();
    let (done, is_done) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || done.send(child.wait_with_output()));
    let Ok(output) = is_done.recv_timeout(PATIENCE) else {
        let _ = Command::new("kill").arg(pid.to_string()).status();
        panic!("it does not end: {command:?}");
    };
    let output = output.expect("output");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// The lines of JSON that a command printed.
fn lines(command: &mut Command) -> Vec<serde_json::Value> {
    let text = output(command);
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    text.lines().map(parse).collect()
}

fn echo_house() -> (Upstream, Folder, String, Gateway) {
    let upstream = Upstream::echo();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let key = folder.new_key("Peer", "fullAccess");
    let gateway = folder.start();
    (upstream, folder, key, gateway)
}

#[test]
fn curl_is_served_over_every_protocol_that_it_speaks() {
    if !tool("curl") {
        return;
    }
    let (upstream, folder, key, gateway) = echo_house();
    let url = format!("http://{}", gateway.address);
    let big = folder.path().join("big");
    std::fs::write(&big, "0123456789abcdef".repeat(128 * 1024)).expect("write");
    let big = format!("@{}", big.display());
    let key = format!("apikey: {key}");
    for (flag, version) in [
        ("--http1.0", "1"),
        ("--http1.1", "1.1"),
        ("--http2-prior-knowledge", "2"),
        // An upgrade to h2c is not taken up: the answer comes over HTTP/1.1.
        ("--http2", "1.1"),
    ] {
        let curl = |arguments: &[&str]| {
            let mut command = Command::new("curl");
            command.args([
                "-sS",
                "--max-time",
                "40",
                flag,
                "-w",
                "\n%{http_version} %{http_code}",
            ]);
            let text = output(command.args(arguments));
            let (body, told) = text.rsplit_once('\n').expect("a last line");
            (body.to_owned(), told.to_owned())
        };
        let path = format!("{url}/v3/a?q=1");
        let (body, told) = curl(&["-H", &key, &path]);
        assert_eq!(told, format!("{version} 200"), "{flag}");
        let seen: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(
            (&seen["method"], &seen["target"]),
            (&"GET".into(), &"/v3/a?q=1".into())
        );
        let (body, told) = curl(&["-H", &key, "-d", "some=form", &path]);
        assert_eq!(told, format!("{version} 200"), "{flag}");
        assert!(body.contains("some=form"), "{flag}: {body}");
        // Large enough that curl waits to be told to continue.
        let (_, told) = curl(&["-H", &key, "--data-binary", &big, "-o", "/dev/null", &path]);
        assert_eq!(told, format!("{version} 200"), "{flag}");
        assert_eq!(upstream.last().body.len(), 2 * 1024 * 1024, "{flag}");
        // Of unknown length.
        let (_, told) = curl(&[
            "-H",
            &key,
            "-T",
            &big[1..],
            "-H",
            "Transfer-Encoding: chunked",
            "-o",
            "/dev/null",
            &path,
        ]);
        if flag != "--http1.0" {
            assert_eq!(told, format!("{version} 200"), "{flag}");
            assert_eq!(upstream.last().body.len(), 2 * 1024 * 1024, "{flag}");
        }
        let (_, told) = curl(&["-H", &key, "-I", &path]);
        assert_eq!(told, format!("{version} 200"), "{flag}");
        let (body, told) = curl(&[&path]);
        assert_eq!(told, format!("{version} 401"), "{flag}");
        assert!(body.contains("AUTH_ERR_EMPTY_APIKEY"), "{flag}: {body}");
        if flag == "--http2-prior-knowledge" {
            // curl 7.88 fails at the second request of such a connection, whoever serves it.
            continue;
        }
        // Several on one connection.
        let many = format!("{url}/v3/many/[1-30]");
        let (_, told) = curl(&["-H", &key, "-o", "/dev/null", &many]);
        assert!(told.ends_with(" 200"), "{flag}: {told}");
    }
}

#[test]
fn nghttp_and_h2load_find_nothing_to_complain_about() {
    if !tool("nghttp") || !tool("h2load") {
        return;
    }
    let (upstream, folder, key, gateway) = echo_house();
    let url = format!("http://{}/v3/x", gateway.address);
    let header = format!("apikey: {key}");
    let text = output(Command::new("nghttp").args(["-v", "-H", &header, &url]));
    assert!(text.contains(":status: 200"), "{text}");
    let body = folder.path().join("body");
    std::fs::write(&body, "x".repeat(300_000)).expect("write");
    let mut posting = Command::new("nghttp");
    posting
        .args(["-H", &header, "-m", "5", "-d"])
        .arg(&body)
        .arg(&url);
    output(&mut posting);
    let seen = upstream.seen();
    let whole = seen
        .iter()
        .filter(|s| s.line.starts_with("POST ") && s.body.len() == 300_000);
    assert_eq!(whole.count(), 5);
    let before = upstream.seen().len();
    let text = output(
        Command::new("h2load").args(["-n", "3000", "-c", "8", "-m", "20", "-H", &header, &url]),
    );
    assert!(
        text.contains("3000 total, 3000 started, 3000 done, 3000 succeeded, 0 failed, 0 errored"),
        "{text}"
    );
    assert_eq!(upstream.seen().len() - before, 3000);
}

#[test]
fn nodes_http2_client_has_many_streams_at_once() {
    if !tool("node") {
        return;
    }
    let (_upstream, _folder, _key, gateway) = echo_house();
    let url = format!("http://{}", gateway.address);
    let told = lines(
        Command::new("node")
            .arg(script("http2_client.mjs"))
            .args([&url, "/open"]),
    );
    assert_eq!(
        told,
        [serde_json::json!({ "good": 80, "refused": 401, "alpn": "h2c" })]
    );
}

/// An nginx with this configuration inside `http`. `{folder}` is its folder. Killed when dropped.
struct Nginx {
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Nginx {
    fn is_here() -> bool {
        is_here("nginx", Command::new("nginx").arg("-v"))
    }

    fn start(http: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().display();
        let http = http.replace("{folder}", &at.to_string());
        let config = format!(
            "daemon off; master_process off; worker_processes 1; error_log {at}/error.log; pid {at}/nginx.pid;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
             fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s; client_max_body_size 64m;\n\
             {http} }}\n"
        );
        std::fs::write(folder.path().join("nginx.conf"), config).expect("write");
        let child = Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(folder.path().join("nginx.conf"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts");
        Nginx { child, folder }
    }

    /// Starts one on a free port, which stands for `{port}`.
    fn on_a_port(http: &str) -> (Self, SocketAddr) {
        loop {
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = free.local_addr().expect("an address");
            drop(free);
            let mut nginx = Self::start(&http.replace("{port}", &address.port().to_string()));
            let begun = Instant::now();
            // It ends where another has taken the port meanwhile.
            while nginx.child.try_wait().expect("wait").is_none() {
                if TcpStream::connect(address).is_ok() {
                    return (nginx, address);
                }
                assert!(begun.elapsed() < PATIENCE, "nginx does not listen");
                pause();
            }
        }
    }
}

/// What nginx answers: a few bytes, or its file of 5 MB; each connection ends after ten requests.
const NGINX: &str = "keepalive_requests 10; root {folder};\n\
     location /open/ { default_type text/plain; return 200 '$request_method $request_uri'; }\n\
     location = /v3/file { alias {folder}/file; }\n";

/// Requests of which every tenth ends nginx's connection.
fn all_are_answered(gateway: &Gateway, key: &str, file: &[u8]) {
    let mut client = gateway.connect();
    for n in 0..150 {
        let method = ["GET", "POST", "PUT"][n % 3];
        let path = format!("/open/{n}");
        let body = if method == "GET" { "" } else { "a body" };
        let answer = client.call(&format!("{method} {path}"), &[], body);
        assert_eq!(
            (answer.status, answer.text()),
            (200, format!("{method} {path}")),
            "{n}"
        );
    }
    let answer = client.call("GET /v3/file", &[&format!("apikey: {key}")], "");
    assert_eq!((answer.status, answer.body.len()), (200, file.len()));
    assert!(answer.body == file);
    let ranged = ["Range: bytes=100-199", &format!("apikey: {key}")];
    let answer = client.call("GET /v3/file", &ranged, "");
    assert_eq!((answer.status, &answer.body[..]), (206, &file[100..200]));
}

/// A gateway before this server, and a key for it.
fn before(server: &str) -> (Folder, String, Gateway) {
    let chat = format!("servers = [\"{server}\"]");
    let folder = Folder::with_main(&fleet::main(1, "", &chat), ROUTES);
    let key = folder.new_key("Peer", "fullAccess");
    let gateway = folder.start();
    (folder, key, gateway)
}

#[test]
fn nginx_as_an_upstream_ends_its_connections_and_costs_no_request() {
    if !Nginx::is_here() {
        return;
    }
    let http = format!("server {{ listen 127.0.0.1:{{port}}; {NGINX} }}");
    let (nginx, address) = Nginx::on_a_port(&http);
    let file = support::wire::noise(5_000_000);
    std::fs::write(nginx.folder.path().join("file"), &file).expect("write");
    let (_folder, key, gateway) = before(&format!("http://{address}"));
    all_are_answered(&gateway, &key, &file);
    assert!(gateway.metric("keygate_upstream_connections_opened_total") >= 15);
}

#[test]
fn pythons_servers_are_upstreams_as_they_are() {
    if !is_here("python3", python().arg("--version")) {
        return;
    }
    for kind in ["1.0", "1.1", "asyncio"] {
        let peer = Peer::start(python().arg(script("http_server.py")).arg(kind));
        let folder = Folder::new(peer.address, "", ROUTES);
        let gateway = folder.start();
        let mut client = gateway.connect();
        for n in 0..20 {
            let path = format!("/open/{n}?q=1");
            for (method, body) in [("GET", ""), ("POST", "some body"), ("PUT", "x")] {
                let answer = client.call(&format!("{method} {path}"), &[], body);
                let told = format!("{method} {path} {} ", body.len());
                assert_eq!(answer.status, 200, "{kind}: {method} {n}");
                assert!(
                    answer.text().starts_with(&told),
                    "{kind}: {}",
                    answer.text()
                );
            }
            let answer = client.call(&format!("HEAD {path}"), &[], "");
            assert_eq!((answer.status, answer.body.len()), (200, 0), "{kind}");
        }
        if kind != "asyncio" {
            client.send("POST /open/chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n5\r\n body\r\n0\r\n\r\n");
            let answer = client.answer(false);
            assert!(
                answer.text().starts_with("POST /open/chunked 9 "),
                "{kind}: {}",
                answer.text()
            );
        }
    }
}

#[test]
fn pythons_websockets_talk_through_the_gateway_until_their_key_is_gone() {
    if !python_with("websockets") {
        return;
    }
    let peer = || {
        let mut command = python();
        command.arg(script("websocket_peer.py"));
        command
    };
    let upstream = Peer::start(peer().arg("serve"));
    let folder = Folder::new(upstream.address, "", ROUTES);
    let admin = folder.new_key("Admin", "fullAccess");
    let key = folder.new_key("Peer", "fullAccess");
    let gateway = folder.start();
    let port = gateway.address.port().to_string();
    let told = lines(peer().args(["call", &port, &key]));
    let mut due = Vec::new();
    for (compression, deflate) in [
        (serde_json::json!("deflate"), 1),
        (serde_json::Value::Null, 0),
    ] {
        due.push(serde_json::json!({
            "compression": compression, "text": "hello", "binary": true, "order": true,
            "subprotocol": "chat.v1", "deflate": deflate,
        }));
        due.push(serde_json::json!({ "headers": {
            "apikey": null, "x-keygate-key-name": "Peer", "x-forwarded-for": "127.0.0.1", "origin": null,
        } }));
        due.push(serde_json::json!({ "closed": 4001, "reason": "as asked" }));
    }
    due.push(serde_json::json!({ "refused": "no key", "status": 401 }));
    due.push(serde_json::json!({ "refused": "no route", "status": 404 }));
    due.push(serde_json::json!({ "many": 100 }));
    assert_eq!(told, due);

    let mut waiting = peer()
        .args(["wait", &port, &key])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut out = BufReader::new(waiting.stdout.take().expect("stdout is piped")).lines();
    let mut line = || out.next().expect("a line").expect("a line");
    assert_eq!(line(), r#"{"open": "hello"}"#);
    let id = gateway
        .all_keys(&admin)
        .iter()
        .find(|key| key["name"] == "Peer")
        .expect("the key")["id"]
        .clone();
    let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
    let deleted = gateway.manage(&admin, &format!("DELETE /apikeys/{id}"), "");
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    assert_eq!(line(), r#"{"closed": 1008}"#);
    assert!(waiting.wait().expect("wait").success());
}

#[test]
fn grpc_of_the_public_library_works_from_end_to_end() {
    if !python_with("grpc") {
        return;
    }
    let upstream = Peer::start(python().arg(script("grpc_peer.py")).arg("serve"));
    let folder = Folder::new(upstream.address, "", "");
    let main = std::fs::read_to_string(folder.config()).expect("the configuration");
    folder.write("keygate.toml", &main.replace("\"http://", "\"h2c://"));
    folder.write(
        "routes.toml",
        r#"
[scopes]
authOnly = []
fullAccess = ["authOnly"]
[defaults]
upstream = "chat"
[[routes]]
path = "/test.Echo/{*rest}"
scope = "fullAccess"
[[routes]]
path = "/test.Closed/{*rest}"
access = "deny"
"#,
    );
    let key = folder.new_key("Peer", "fullAccess");
    let gateway = folder.start();
    let port = gateway.address.port().to_string();
    let mut calling = python();
    calling
        .arg(script("grpc_peer.py"))
        .args(["call", &port, &key]);
    let told = lines(&mut calling);
    let of = |name: &str| {
        let call = told.iter().find(|call| call["call"] == name);
        call.unwrap_or_else(|| panic!("{name}: {told:#?}")).clone()
    };
    let unary = serde_json::json!({
        "text": "olleh", "initial": "sent", "trailing": "sent", "binary": r"b'\x00\xff'",
    });
    assert_eq!(of("unary")["ok"], unary);
    let identity = serde_json::json!({
        "x-keygate-key-name": "Peer", "x-keygate-scope": "fullAccess", "apikey": null,
    });
    assert_eq!(of("identity")["ok"], identity);
    assert_eq!(of("large")["ok"], 3_000_000);
    assert_eq!(of("abort")["status"], "FAILED_PRECONDITION");
    assert_eq!(of("abort")["details"], "not now: 100% \u{e4}");
    assert_eq!(of("unimplemented")["status"], "UNIMPLEMENTED");
    assert_eq!(of("down")["ok"], 500);
    assert_eq!(of("up")["ok"], "500000");
    assert_eq!(
        of("both")["ok"],
        serde_json::json!(["MESSAGE 0", "MESSAGE 19", 20])
    );
    assert_eq!(of("again")["ok"], unary);
    for (name, status) in [
        ("no key", "UNAUTHENTICATED"),
        ("wrong key", "UNAUTHENTICATED"),
        ("no route", "UNIMPLEMENTED"),
        ("denied", "PERMISSION_DENIED"),
    ] {
        assert_eq!(of(name)["status"], status, "{name}: {}", of(name));
    }
}

#[test]
fn nginx_as_an_upstream_of_http2_says_goaway_and_costs_no_request() {
    if !Nginx::is_here() {
        return;
    }
    let http = format!("server {{ listen 127.0.0.1:{{port}} http2; {NGINX} }}");
    let (nginx, address) = Nginx::on_a_port(&http);
    let file = support::wire::noise(5_000_000);
    std::fs::write(nginx.folder.path().join("file"), &file).expect("write");
    let (_folder, key, gateway) = before(&format!("h2c://{address}"));
    all_are_answered(&gateway, &key, &file);
    assert!(gateway.metric("keygate_upstream_connections_opened_total") >= 15);
}

#[test]
fn nginx_on_a_unix_socket_is_an_upstream_like_another() {
    if !Nginx::is_here() {
        return;
    }
    let nginx = Nginx::start(&format!(
        "server {{ listen unix:{{folder}}/nginx.sock; {NGINX} }}"
    ));
    let file = support::wire::noise(5_000_000);
    std::fs::write(nginx.folder.path().join("file"), &file).expect("write");
    let socket = nginx.folder.path().join("nginx.sock");
    support::trial::until("nginx listens", || {
        std::os::unix::net::UnixStream::connect(&socket).is_ok()
    });
    let (_folder, key, gateway) = before(&format!("unix:{}", socket.display()));
    all_are_answered(&gateway, &key, &file);
}

#[test]
fn nodes_http2_server_says_goaway_and_costs_no_request() {
    if !tool("node") {
        return;
    }
    let peer = Peer::start(Command::new("node").arg(script("http2_server.mjs")));
    let (_folder, _key, gateway) = before(&format!("h2c://{}", peer.address));
    let mut client = gateway.connect();
    for n in 0..60 {
        // Every third answer comes after a GOAWAY.
        let path = if n % 3 == 0 {
            format!("/open/{n}/goaway")
        } else {
            format!("/open/{n}")
        };
        for (method, body) in [("GET", ""), ("POST", "a body")] {
            let answer = client.call(&format!("{method} {path}"), &[], body);
            assert_eq!(
                (answer.status, answer.text()),
                (200, format!("{method} {path} {}", body.len()))
            );
        }
    }
    assert!(gateway.metric("keygate_upstream_connections_opened_total") >= 20);
}
