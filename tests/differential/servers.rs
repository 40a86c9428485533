//! The servers of others: what they read is recorded, by themselves or, of a proxy, by a recording upstream behind it.

use crate::client::PATIENCE;
use crate::recorder::Recorder;
use crate::support::tools::{is_here, python};
use crate::support::trial::pause;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A server, and the record of what it reads. Ended when dropped.
pub struct Server {
    pub name: String,
    /// Where a gateway finds it.
    pub url: String,
    pub recorder: Recorder,
    /// Whether it grants upgrades; else inputs with one are not for it.
    pub upgrades: bool,
    /// Inputs that it may refuse to read, and why.
    pub refuses: &'static [(&'static str, &'static str)],
    /// Inputs that it is not sent, and why.
    pub leaves_out: &'static [(&'static str, &'static str)],
    child: Option<Child>,
    _folder: Option<tempfile::TempDir>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // It ends with its standard input, and with it the processes that it started.
        if child.stdin.take().is_some() {
            let begun = Instant::now();
            while matches!(child.try_wait(), Ok(None)) && begun.elapsed() < PATIENCE {
                pause();
            }
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Server {
    /// The recording upstream itself.
    pub fn recording() -> Self {
        let recorder = Recorder::start();
        Server {
            name: "the recording upstream".to_owned(),
            url: recorder.url(),
            recorder,
            upgrades: true,
            refuses: &[],
            leaves_out: &[],
            child: None,
            _folder: None,
        }
    }

    /// Starts one that says `port N` first, then its events.
    fn telling(name: &str, upgrades: bool, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut out = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        let port = line
            .trim()
            .strip_prefix("port ")
            .and_then(|p| p.parse().ok());
        let port: u16 = port.unwrap_or_else(|| panic!("{name} says {line:?}"));
        let recorder = Recorder::told(([127, 0, 0, 1], port).into(), out);
        Server {
            name: name.to_owned(),
            url: recorder.url(),
            recorder,
            upgrades,
            refuses: &[],
            leaves_out: &[],
            child: Some(child),
            _folder: None,
        }
    }

    /// Starts a proxy before a recorder, on a free port. `config` makes its configuration of its folder, its port and the
    /// recorder's address.
    fn proxy(
        program: &str,
        arguments: &[&str],
        config: impl Fn(&str, u16, SocketAddr) -> String,
    ) -> Self {
        let recorder = Recorder::start();
        let begun = Instant::now();
        loop {
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = free.local_addr().expect("an address");
            drop(free);
            let folder = tempfile::tempdir().expect("a folder");
            let at = folder.path().display().to_string();
            let path = folder.path().join("proxy.conf");
            std::fs::write(&path, config(&at, address.port(), recorder.address)).expect("write");
            let mut child = Command::new(program)
                .args(arguments)
                .arg(&path)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("it starts");
            // It ends where another has taken the port meanwhile.
            while child.try_wait().expect("wait").is_none() {
                if TcpStream::connect(address).is_ok() {
                    return Server {
                        name: program.to_owned(),
                        url: format!("http://{address}"),
                        recorder,
                        upgrades: true,
                        refuses: &[],
                        leaves_out: &[],
                        child: Some(child),
                        _folder: Some(folder),
                    };
                }
                assert!(begun.elapsed() < PATIENCE, "{program} does not listen");
                pause();
            }
            assert!(begun.elapsed() < PATIENCE, "{program} ends at once");
        }
    }
}

fn script(name: &str) -> std::path::PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/peers");
    folder.join(name)
}

/// What an application on uvicorn cannot tell.
const LEFT_OUT_FOR_UVICORN: &[(&str, &str)] = &[
    ("a query of a question mark alone goes up (Http1)", NO_QUERY),
    ("a query of a question mark alone goes up (Http2)", NO_QUERY),
];

const NO_QUERY: &str = "ASGI has an empty query and none as the same";

/// The recorder in Python on this parser.
pub fn in_python(kind: &str) -> Option<Server> {
    let modules = match kind {
        "uvicorn" => "uvicorn, httptools",
        _ => kind,
    };
    let what = format!("Python with `{modules}`");
    if !is_here(&what, python().args(["-c", &format!("import {modules}")])) {
        return None;
    }
    let mut command = python();
    command.arg(script("recorder.py")).arg(kind);
    let mut server = Server::telling(kind, kind == "h11", &mut command);
    if kind == "uvicorn" {
        server.leaves_out = LEFT_OUT_FOR_UVICORN;
    }
    Some(server)
}

/// aiohttp without its part in C, which is another parser.
pub fn aiohttp_in_python() -> Option<Server> {
    if !is_here(
        "Python with `aiohttp`",
        python().args(["-c", "import aiohttp"]),
    ) {
        return None;
    }
    let mut command = python();
    command.env("AIOHTTP_NO_EXTENSIONS", "1");
    command.arg(script("recorder.py")).arg("aiohttp");
    Some(Server::telling("aiohttp in Python", false, &mut command))
}

/// No parser of anybody, which reads chunks as requests.
pub fn careless() -> Option<Server> {
    if !is_here("python3", python().arg("--version")) {
        return None;
    }
    let mut command = python();
    command.arg(script("recorder.py")).arg("careless");
    Some(Server::telling("careless", false, &mut command))
}

pub fn node() -> Option<Server> {
    let here = is_here("node", Command::new("node").arg("--version"));
    here.then(|| {
        Server::telling(
            "node",
            true,
            Command::new("node").arg(script("recorder.mjs")),
        )
    })
}

pub fn node_over_http2() -> Option<Server> {
    if !is_here("node", Command::new("node").arg("--version")) {
        return None;
    }
    let mut command = Command::new("node");
    command.arg(script("recorder.mjs")).arg("h2c");
    let mut server = Server::telling("node over HTTP/2", false, &mut command);
    server.url = server.url.replace("http://", "h2c://");
    Some(server)
}

/// What nginx waits for.
const LEFT_OUT_FOR_NGINX: &[(&str, &str)] = &[
    ("a 101 that nobody asked for is no answer (Http1)", INTERIM),
    ("a 101 to a POST is no answer (Http1)", INTERIM),
    (
        "a 101 to a WebSocket with a body is no answer (Http1)",
        INTERIM,
    ),
    ("a 103 before the answer is no answer (Http1)", INTERIM),
    (
        "a 103 before an answer does not shift the next (Http1)",
        INTERIM,
    ),
];

const INTERIM: &str = "it takes no interim answer from the recorder behind it";

pub fn nginx() -> Option<Server> {
    if !is_here("nginx", Command::new("nginx").arg("-v")) {
        return None;
    }
    let mut server = Server::proxy("nginx", &["-c"], |at, port, recorder| {
        format!(
            "daemon off; master_process off; worker_processes 1; error_log {at}/error.log; pid {at}/pid;\n\
             events {{ worker_connections 512; }}\n\
             http {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;\n\
             uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             keepalive_timeout 1h; keepalive_requests 1000000; client_max_body_size 0;\n\
             large_client_header_buffers 8 64k; merge_slashes off; ignore_invalid_headers off;\n\
             map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{recorder}; proxy_http_version 1.1;\n\
             proxy_request_buffering off; proxy_set_header X-Read-As $request; proxy_set_header Host $http_host;\n\
             proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; }} }} }}\n"
        )
    });
    server.leaves_out = LEFT_OUT_FOR_NGINX;
    Some(server)
}

/// What HAProxy, as of 2.6, takes for no request.
const REFUSED_BY_HAPROXY: &[(&str, &str)] = &[
    (
        "a length behind a very long name is no length (Http1)",
        "it has no names of more than 255 letters",
    ),
    (
        "a length and a very long name that would wrap to one are no two lengths (Http1)",
        "it has no names of more than 255 letters",
    ),
    (
        "no key of a handshake opens no tunnel unless the upstream agrees (Http1)",
        "it wants the key of a handshake",
    ),
];

pub fn haproxy() -> Option<Server> {
    if !is_here("haproxy", Command::new("haproxy").arg("-v")) {
        return None;
    }
    let mut server = Server::proxy("haproxy", &["-db", "-f"], |_, port, recorder| {
        format!(
            "global\n  maxconn 512\n  tune.bufsize 131072\n\
             defaults\n  mode http\n  timeout client 1h\n  timeout server 1h\n  timeout connect 1m\n  timeout tunnel 1h\n\
             frontend front\n  bind 127.0.0.1:{port}\n\
             \x20 http-request set-header X-Read-As \"%[method] %[url] HTTP/1.1\"\n\
             \x20 default_backend all\n\
             backend all\n  server one {recorder}\n"
        )
    });
    server.refuses = REFUSED_BY_HAPROXY;
    Some(server)
}
