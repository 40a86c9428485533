//! Others with the same policy, written as their manuals have it: how many of the inputs that must reach no upstream do.
//!
//! What must reach none is what keygate's rules say, which are stricter than those of a server that repairs what it can: a
//! number says how often the upstream is left to read an ambiguous request, not how often something was taken. What the
//! others change in requests that may pass is not compared: their policies cannot say all that the corpus expects.
//!
//! `KEYGATE_BYPASS_PEERS=1 cargo test --test bypass others -- --nocapture` prints the table, with `=names` also the inputs. A peer that is not installed is
//! left out, and said so.

use super::client::PATIENCE;
use super::corpus::{self, CLASSES, Setting, Wire};
use super::door::{Door, Keygate, Line};
use super::judge::Judge;
use super::placeholders;
use super::recorder::Recorder;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program of others, with a port for each protocol. Ended when dropped.
struct Peer {
    child: Child,
    http1: SocketAddr,
    http2: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Door for Peer {
    fn address(&self, wire: Wire) -> SocketAddr {
        match wire {
            Wire::Http1 => self.http1,
            Wire::Http2 => self.http2,
        }
    }

    fn new_log(&mut self) -> (Vec<Line>, String) {
        (Vec::new(), String::new())
    }

    fn pages(&self) -> Vec<String> {
        Vec::new()
    }

    /// Its log is not read.
    fn late(&self) -> Duration {
        Duration::from_millis(20)
    }

    fn descriptors(&self) -> Option<usize> {
        None
    }

    fn memory(&self) -> Option<u64> {
        None
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

impl Peer {
    /// Starts a program on the configuration that this makes of its two ports; `None` where it is not installed.
    fn start(
        program: &str,
        arguments: &[&str],
        config: impl Fn(&str, u16, u16) -> String,
    ) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let (http1, http2) = (free_address(), free_address());
        let path = folder.path().join("peer.conf");
        let at = folder.path().display().to_string();
        std::fs::write(&path, config(&at, http1.port(), http2.port())).expect("write");
        let started = Command::new(program)
            .args(arguments)
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = started else {
            eprintln!("{program} is not installed: it is left out");
            return None;
        };
        let peer = Peer {
            child,
            http1,
            http2,
            _folder: folder,
        };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(http1).is_err() || TcpStream::connect(http2).is_err() {
            assert!(Instant::now() < deadline, "{program} does not listen");
            std::thread::yield_now();
        }
        Some(peer)
    }
}

fn key(name: &str) -> String {
    let keys = placeholders();
    let mut all = keys.into_iter().filter(|(n, _)| *n == name);
    all.next().expect("a key").1
}

const FULL: [&str; 3] = ["full", "second", "decoy"];

/// Keys in a `map`; a `location` for each route; WebSocket as its manual has it.
fn nginx(upstream: SocketAddr) -> Option<Peer> {
    Peer::start("nginx", &["-c"], |at, http1, http2| {
        let mut keys: String = FULL
            .iter()
            .map(|name| format!("{} full;", key(name)))
            .collect();
        keys.push_str(&format!("{} auth;", key("auth")));
        let known = "if ($scope = '') { return 401; }";
        let full = format!("{known} if ($scope != full) {{ return 403; }}");
        let pass = "proxy_pass http://chat;";
        let routes = format!(
            "location /open/ {{ {pass} }}\n\
             location /open/private {{ {full} {pass} }}\n\
             location = /open/denied {{ {known} return 403; }}\n\
             location = /closed {{ {known} return 403; }}\n\
             location /closed/ {{ {known} return 403; }}\n\
             location = /users {{ {known} set $may $scope$request_method; if ($may !~ ^(authPOST|full(POST|GET|DELETE))$) {{ return 403; }} {pass} }}\n\
             location = /only-get {{ {full} if ($request_method !~ ^(GET|HEAD)$) {{ return 405; }} {pass} }}\n\
             location /v3/ {{ {full} {pass} }}\n\
             location ~ ^/files/[^/]+$ {{ {pass} }}\n\
             location ~ ^/(slash|percent|semi|double)/ {{ {pass} }}\n\
             location /strip/ {{ proxy_pass http://chat/; }}\n\
             location = /strip {{ proxy_pass http://chat/; }}\n\
             location / {{ {known} return 404; }}\n"
        );
        let server = |extra: &str, name: &str, own: &str| {
            format!(
                "server {{ listen 127.0.0.1:{http1}{extra}; listen 127.0.0.1:{http2} http2{extra}; server_name {name};\n{own}\n{routes} }}\n"
            )
        };
        format!(
            "daemon off; master_process off; worker_processes 1; error_log {at}/error.log; pid {at}/pid;\n\
             events {{ worker_connections 512; }}\n\
             http {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;\n\
             uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             client_header_timeout 2s; client_body_timeout 2s; proxy_read_timeout 5s; keepalive_timeout 5s; client_max_body_size 200k;\n\
             map $http_apikey $scope {{ default ''; {keys} }}\n\
             map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\n\
             upstream chat {{ server {upstream}; keepalive 8; }}\n\
             proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;\n\
             proxy_set_header Host $http_host; proxy_set_header apikey ''; proxy_set_header X-Forwarded-For $remote_addr;\n\
             proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;\n\
             {}{}{} }}\n",
            server(" default_server", "_", ""),
            server(
                "",
                "inner.test",
                &format!("location /pub/ {{ {known} return 403; }}")
            ),
            server("", "outer.test", &format!("location /pub/ {{ {pass} }}")),
        )
    })
}

/// Keys and routes as access lists.
fn haproxy(upstream: SocketAddr) -> Option<Peer> {
    Peer::start("haproxy", &["-db", "-f"], |_, http1, http2| {
        let full: String = FULL.iter().map(|name| format!(" {}", key(name))).collect();
        let auth = key("auth");
        format!(
            "global\n  maxconn 512\n\
             defaults\n  mode http\n  timeout client 2s\n  timeout http-request 2s\n  timeout server 5s\n  timeout connect 5s\n\
             frontend front\n  bind 127.0.0.1:{http1}\n  bind 127.0.0.1:{http2} proto h2\n\
             \x20 acl full req.hdr(apikey) -m str{full}\n\
             \x20 acl auth req.hdr(apikey) -m str {auth}\n\
             \x20 acl is_pub path_beg /pub/\n\
             \x20 acl inner hdr(host) -i inner.test\n\
             \x20 acl outer hdr(host) -i outer.test\n\
             \x20 acl private path_beg /open/private\n\
             \x20 acl denied path /open/denied /closed\n\
             \x20 acl denied path_beg /closed/\n\
             \x20 acl public path_beg /open/ /slash/ /percent/ /semi/ /double/ /strip/\n\
             \x20 acl public path /strip\n\
             \x20 acl public path_reg ^/files/[^/]+$\n\
             \x20 acl users path /users\n\
             \x20 acl only_get path /only-get\n\
             \x20 acl v3 path_beg /v3/\n\
             \x20 acl get method GET HEAD\n\
             \x20 acl post method POST\n\
             \x20 acl remove method DELETE\n\
             \x20 http-request allow if is_pub outer\n\
             \x20 http-request allow if public !private !denied\n\
             \x20 http-request deny deny_status 401 if !full !auth\n\
             \x20 http-request deny deny_status 403 if denied\n\
             \x20 http-request deny deny_status 403 if is_pub inner\n\
             \x20 http-request allow if users auth post\n\
             \x20 http-request deny deny_status 403 if !full\n\
             \x20 http-request allow if users get || users post || users remove\n\
             \x20 http-request allow if only_get get\n\
             \x20 http-request allow if v3 || private\n\
             \x20 http-request deny deny_status 404\n\
             \x20 default_backend chat\n\
             backend chat\n  http-request del-header apikey\n  http-request set-header X-Forwarded-For %[src]\n\
             \x20 http-request set-header X-Forwarded-Proto http\n  http-request set-header X-Forwarded-Host %[req.hdr(host)]\n\
             \x20 http-request replace-path /strip/?(.*) /\\1 if {{ path_beg /strip }}\n\
             \x20 server one {upstream}\n"
        )
    })
}

/// How many runs of a class had to reach no upstream and did.
fn count(
    door: &mut dyn Door,
    recorder: &Recorder,
    names: &[(&'static str, String)],
    class: &str,
) -> usize {
    let cases = corpus::read(&corpus::text(class), names).expect("cases");
    let cases: Vec<_> = cases
        .into_iter()
        .filter(|c| c.setting == Setting::Plain)
        .collect();
    let (_, through) = Judge::new(door, recorder, names).run(&cases);
    if std::env::var("KEYGATE_BYPASS_PEERS").as_deref() == Ok("names") {
        through.iter().for_each(|case| eprintln!("through: {case}"));
    }
    through.len()
}

#[test]
fn others_with_the_same_policy() {
    if std::env::var_os("KEYGATE_BYPASS_PEERS").is_none() {
        eprintln!("skipped: KEYGATE_BYPASS_PEERS is not set");
        return;
    }
    println!("| class | runs that must reach no upstream | keygate | nginx | HAProxy |");
    println!("| --- | --- | --- | --- | --- |");
    for class in CLASSES {
        let placeholders = placeholders();
        let cases = corpus::read(&corpus::text(class), &placeholders).expect("cases");
        let shut = cases
            .iter()
            .filter(|c| c.setting == Setting::Plain)
            .flat_map(|c| &c.runs)
            .filter(|r| r.expected.upstream.is_empty())
            .count();
        let recorder = Recorder::start();
        let (mut gateway, names) = Keygate::start(recorder.address, Setting::Plain);
        let own = count(&mut gateway, &recorder, &names, class);
        assert_eq!(own, 0, "{class}: the gateway itself");
        let others = [nginx, haproxy].map(|start| {
            let recorder = Recorder::start();
            match start(recorder.address) {
                None => "not installed".to_owned(),
                Some(mut peer) => count(&mut peer, &recorder, &placeholders, class).to_string(),
            }
        });
        println!("| {class} | {shut} | {own} | {} |", others.join(" | "));
    }
}
