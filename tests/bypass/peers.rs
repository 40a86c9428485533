//! Others with the same policy, written as their manuals have it: how many of the inputs that must reach no upstream do.
//!
//! What must reach none is what keygate's rules say, which are stricter than those of a server that repairs what it can: a
//! number says how often the upstream is left to read an ambiguous request, not how often something was taken. What the
//! others change in requests that may pass is not compared: their policies cannot say all that the corpus expects.
//!
//! Envoy is the one that `benches/lab/setup.sh` brings, or that is installed.
//!
//! `KEYGATE_BYPASS_PEERS=1 cargo test --test bypass others -- --nocapture` prints the table, with `=names` also the inputs. A peer that is not installed is
//! left out, and said so.

use super::client::PATIENCE;
use super::corpus::{self, CLASSES, Setting, Wire};
use super::door::{Door, Keygate, Line};
use super::judge::Judge;
use super::placeholders;
use super::recorder::Recorder;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
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
        file: &str,
        config: impl Fn(&str, u16, u16) -> String,
    ) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let (http1, http2) = (free_address(), free_address());
        let path = folder.path().join(file);
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
    Peer::start("nginx", &["-c"], "nginx.conf", |at, http1, http2| {
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
    Peer::start(
        "haproxy",
        &["-db", "-f"],
        "haproxy.cfg",
        |_, http1, http2| {
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
        },
    )
}

/// Keys with the filter `api_key_auth`, whose clients a route names; paths, names of fields and timeouts as its page on
/// edge proxies has them.
fn envoy(upstream: SocketAddr) -> Option<Peer> {
    let brought = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/lab/venv/bin/envoy");
    let program = match brought.exists() {
        true => brought.display().to_string(),
        false => "envoy".to_owned(),
    };
    let arguments = [
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "off",
        "-c",
    ];
    Peer::start(&program, &arguments, "envoy.json", |_, http1, http2| {
        let address = |at: SocketAddr| json!({ "socket_address": { "address": at.ip().to_string(), "port_value": at.port() } });
        let listener = |port: u16, codec: &str| {
            json!({
                "address": address(([127, 0, 0, 1], port).into()),
                "filter_chains": [{ "filters": [
                    { "name": "http", "typed_config": envoy_connections(codec) },
                ] }],
            })
        };
        let config = json!({ "static_resources": {
            "listeners": [listener(http1, "HTTP1"), listener(http2, "HTTP2")],
            "clusters": [{ "name": "chat", "load_assignment": { "cluster_name": "chat", "endpoints": [
                { "lb_endpoints": [{ "endpoint": { "address": address(upstream) } }] },
            ] } }],
        } });
        config.to_string()
    })
}

const API_KEY_AUTH: &str = "envoy.filters.http.api_key_auth";

/// A message of Envoy's of this type.
fn typed(kind: &str, mut fields: Value) -> Value {
    fields["@type"] = format!("type.googleapis.com/envoy.{kind}").into();
    fields
}

fn envoy_connections(codec: &str) -> Value {
    let credential = |name: &str, client: &str| json!({ "key": key(name), "client": client });
    let mut credentials: Vec<Value> = FULL.iter().map(|name| credential(name, "full")).collect();
    credentials.push(credential("auth", "auth"));
    let filter = |name: &str, config: Value| json!({ "name": name, "typed_config": config });
    let keys = json!({
        "credentials": credentials,
        "key_sources": [{ "header": "apikey" }],
        "forwarding": { "hide_credentials": true },
    });
    typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "front",
            "codec_type": codec,
            "use_remote_address": true,
            "normalize_path": true,
            "merge_slashes": true,
            "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
            "common_http_protocol_options": {
                "idle_timeout": "5s",
                "headers_with_underscores_action": "REJECT_REQUEST",
            },
            "http2_protocol_options": {
                "max_concurrent_streams": 100,
                "initial_stream_window_size": 65_536,
                "initial_connection_window_size": 1_048_576,
                "allow_connect": true,
            },
            "request_headers_timeout": "2s",
            "stream_idle_timeout": "2s",
            "upgrade_configs": [{ "upgrade_type": "websocket" }],
            "http_filters": [
                filter(API_KEY_AUTH, typed("extensions.filters.http.api_key_auth.v3.ApiKeyAuth", keys)),
                filter(
                    "envoy.filters.http.router",
                    typed("extensions.filters.http.router.v3.Router", json!({})),
                ),
            ],
            "route_config": {
                "ignore_port_in_host_matching": true,
                "virtual_hosts": envoy_hosts(),
            },
        }),
    )
}

fn envoy_hosts() -> Value {
    let pass = json!({ "route": { "cluster": "chat", "timeout": "5s" } });
    let stripped =
        json!({ "route": { "cluster": "chat", "timeout": "5s", "prefix_rewrite": "/" } });
    let say = |status: u16| json!({ "direct_response": { "status": status } });
    // Who may, and what becomes of it; without a key nobody may, but where everybody may.
    let route = |matching: Value, who: &str, mut what: Value| {
        what["match"] = matching;
        let own = match who {
            "all" => typed("config.route.v3.FilterConfig", json!({ "disabled": true })),
            "full" => typed(
                "extensions.filters.http.api_key_auth.v3.ApiKeyAuthPerRoute",
                json!({ "allowed_clients": ["full"] }),
            ),
            _ => return what,
        };
        what["typed_per_filter_config"] = json!({ API_KEY_AUTH: own });
        what
    };
    let path = |path: &str| json!({ "path": path });
    let prefix = |prefix: &str| json!({ "prefix": prefix });
    let method = |path: &str, methods: &str| {
        let methods = json!({ "safe_regex": { "regex": methods } });
        json!({ "path": path, "headers": [{ "name": ":method", "string_match": methods }] })
    };
    let mut routes = vec![
        route(path("/open/private"), "full", pass.clone()),
        route(prefix("/open/private/"), "full", pass.clone()),
        route(path("/open/denied"), "known", say(403)),
        route(path("/closed"), "known", say(403)),
        route(prefix("/closed/"), "known", say(403)),
        route(method("/users", "POST"), "known", pass.clone()),
        route(method("/users", "GET|DELETE"), "full", pass.clone()),
        route(path("/users"), "known", say(405)),
        route(method("/only-get", "GET|HEAD"), "full", pass.clone()),
        route(path("/only-get"), "known", say(405)),
        route(prefix("/v3/"), "full", pass.clone()),
        route(
            json!({ "safe_regex": { "regex": "/files/[^/]+" } }),
            "all",
            pass.clone(),
        ),
        route(path("/strip"), "all", stripped.clone()),
        route(prefix("/strip/"), "all", stripped),
    ];
    for open in ["/open/", "/slash/", "/percent/", "/semi/", "/double/"] {
        routes.push(route(prefix(open), "all", pass.clone()));
    }
    routes.push(route(prefix("/"), "known", say(404)));
    let host = |name: &str, domain: &str, own: Option<Value>| {
        let all: Vec<Value> = own.into_iter().chain(routes.clone()).collect();
        json!({ "name": name, "domains": [domain], "routes": all })
    };
    json!([
        host(
            "inner",
            "inner.test",
            Some(route(prefix("/pub/"), "known", say(403)))
        ),
        host(
            "outer",
            "outer.test",
            Some(route(prefix("/pub/"), "all", pass))
        ),
        host("all", "*", None),
    ])
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
    println!("| class | runs that must reach no upstream | keygate | nginx | HAProxy | Envoy |");
    println!("| --- | --- | --- | --- | --- | --- |");
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
        let (mut gateway, names) = Keygate::start(&recorder.url(), Setting::Plain);
        let own = count(&mut gateway, &recorder, &names, class);
        assert_eq!(own, 0, "{class}: the gateway itself");
        let others = [nginx, haproxy, envoy].map(|start| {
            let recorder = Recorder::start();
            match start(recorder.address) {
                None => "not installed".to_owned(),
                Some(mut peer) => count(&mut peer, &recorder, &placeholders, class).to_string(),
            }
        });
        println!("| {class} | {shut} | {own} | {} |", others.join(" | "));
    }
}
