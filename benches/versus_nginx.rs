//! CPU per checked and proxied request, keygate beside nginx doing the same job, in turns, on this machine, now; and beside
//! HAProxy where that is installed. Then the latency at half of what the slowest can do.
//!
//! `cargo bench --bench versus_nginx` (needs nginx and wrk; `KEYGATE_BENCH_ROUNDS` and `KEYGATE_BENCH_SECONDS` make it
//! longer). All check one of 10,000 keys against a table in memory, refuse what is not in it with 401, take the key
//! out, put the key's id, forwarding headers and a request id in, and forward over kept-alive connections to the same
//! upstream, without an access log. The proxies run on one core, upstream and load on the others. What is compared is
//! the processor time of the proxy's process by request, as the kernel accounts it: it holds on a noisy machine where
//! throughput does not. The figures to quote are the ratios.

mod support {
    pub mod gateway;
    pub mod latency;
    pub mod proxies;
    pub mod store;
}

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use support::latency::latencies;
use support::proxies::{
    Contender, Running, compare, free_port, keygate, lua, others, pinned, skipped, status, wait,
};

const KEYS: usize = 10_000;

fn main() {
    if skipped(&["nginx", "wrk", "taskset"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (keys, handle) = runtime.block_on(support::store::store_of(folder, KEYS));
    runtime.block_on(handle.close());
    drop(runtime);

    let (upstream_port, nginx_port, keygate_port, admin_port) =
        (free_port(), free_port(), free_port(), free_port());
    let _upstream = upstream(folder, upstream_port);
    let nginx = nginx(folder, nginx_port, upstream_port, &keys);
    let keygate = keygate(folder, keygate_port, admin_port, upstream_port);
    let contender = |name, port, running| Contender {
        name,
        port,
        running,
    };
    let mut contenders = vec![
        contender("nginx", nginx_port, nginx),
        contender("keygate", keygate_port, keygate),
    ];
    if !skipped(&["haproxy"]) {
        let port = free_port();
        let running = haproxy(folder, port, upstream_port, &keys);
        contenders.push(contender("haproxy", port, running));
    }
    let bad = "0".repeat(40);
    for Contender { name, port, .. } in &contenders {
        assert_eq!(status(*port, &keys[7]), 200, "{name} lets a good key pass");
        assert_eq!(status(*port, &bad), 401, "{name} refuses a bad key");
    }
    let script = lua(folder, "good", &keys);
    compare("good keys", &contenders, &script, 200);
    let script = lua(folder, "bad", &[bad]);
    compare("bad keys", &contenders, &script, 401);
    latencies(folder, &contenders, &keys);
}

fn nginx_command(core: &str, folder: &Path, name: &str, config: &str) -> Running {
    let path = folder.join(format!("{name}.conf"));
    std::fs::write(&path, config).expect("write");
    let child = pinned(core, "nginx")
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(&path)
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx starts");
    Running(child)
}

fn nginx_frame(folder: &Path, name: &str, http: &str) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; worker_processes 1; error_log /dev/null crit; pid {folder}/{name}.pid;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy;\n\
         fastcgi_temp_path {folder}/{name}-f; uwsgi_temp_path {folder}/{name}-u; scgi_temp_path {folder}/{name}-s;\n\
         keepalive_requests 1000000000; {http} }}\n"
    )
}

fn upstream(folder: &Path, port: u16) -> Running {
    let http = format!(
        "server {{ listen 127.0.0.1:{port} backlog=4096; default_type application/json; \
         location / {{ return 200 '{{\"data\":{{\"uid\":\"cyclops1\",\"name\":\"Cyclops\"}}}}'; }} }}"
    );
    let running = nginx_command(
        &others(),
        folder,
        "upstream",
        &nginx_frame(folder, "upstream", &http),
    );
    wait(port);
    running
}

fn nginx(folder: &Path, port: u16, upstream: u16, keys: &[String]) -> Running {
    let mut map = String::new();
    for (i, key) in keys.iter().enumerate() {
        let _ = writeln!(map, "{key} {i:020};");
    }
    std::fs::write(folder.join("map.conf"), map).expect("write");
    let http = format!(
        "map_hash_max_size 65536; map_hash_bucket_size 128;\n\
         map $http_apikey $key_id {{ default ''; include {map}; }}\n\
         upstream chat {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:{port} backlog=4096; default_type application/json;\n\
         location / {{ if ($key_id = '') {{ return 401 '{{\"error\":{{\"code\":\"AUTH_ERR_APIKEY_NOT_FOUND\"}}}}'; }}\n\
         proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header apikey '';\n\
         proxy_set_header Host $proxy_host; proxy_set_header X-Keygate-Key-Id $key_id;\n\
         proxy_set_header X-Keygate-Key-Name customer; proxy_set_header X-Keygate-Scope fullAccess;\n\
         proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;\n\
         proxy_set_header X-Forwarded-Host $http_host; proxy_set_header Via '1.1 nginx';\n\
         proxy_set_header X-Request-Id $request_id; add_header X-Request-Id $request_id;\n\
         proxy_pass http://chat; }} }}",
        map = folder.join("map.conf").display(),
    );
    let running = nginx_command("0", folder, "nginx", &nginx_frame(folder, "nginx", &http));
    wait(port);
    running
}

/// The same job in HAProxy's words.
fn haproxy(folder: &Path, port: u16, upstream: u16, keys: &[String]) -> Running {
    let mut map = String::new();
    for (i, key) in keys.iter().enumerate() {
        let _ = writeln!(map, "{key} {i:020}");
    }
    let map_path = folder.join("haproxy.map");
    std::fs::write(&map_path, map).expect("write");
    let config = format!(
        "global\n  nbthread 1\n  maxconn 4096\n\
         defaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n  timeout connect 5s\n  http-reuse always\n\
         frontend front\n  bind 127.0.0.1:{port} backlog 4096\n\
         \x20 http-request set-var(txn.key) req.hdr(apikey),map_str({map})\n\
         \x20 http-request return status 401 content-type application/json string \
         '{{\"error\":{{\"code\":\"AUTH_ERR_APIKEY_NOT_FOUND\"}}}}' unless {{ var(txn.key) -m found }}\n\
         \x20 http-request set-var(txn.id) uuid()\n\
         \x20 http-request set-header X-Forwarded-Host %[req.hdr(host)]\n\
         \x20 http-request del-header apikey\n\
         \x20 http-request set-header Host 127.0.0.1:{upstream}\n\
         \x20 http-request set-header X-Keygate-Key-Id %[var(txn.key)]\n\
         \x20 http-request set-header X-Keygate-Key-Name customer\n\
         \x20 http-request set-header X-Keygate-Scope fullAccess\n\
         \x20 http-request set-header X-Forwarded-For %[src]\n\
         \x20 http-request set-header X-Forwarded-Proto http\n\
         \x20 http-request set-header Via '1.1 haproxy'\n\
         \x20 http-request set-header X-Request-Id %[var(txn.id)]\n\
         \x20 http-response set-header X-Request-Id %[var(txn.id)]\n\
         \x20 default_backend chat\n\
         backend chat\n  server one 127.0.0.1:{upstream}\n",
        map = map_path.display(),
    );
    let path = folder.join("haproxy.cfg");
    std::fs::write(&path, config).expect("write");
    let child = pinned("0", "haproxy")
        .arg("-db")
        .arg("-f")
        .arg(&path)
        .stderr(Stdio::null())
        .spawn()
        .expect("haproxy starts");
    let running = Running(child);
    wait(port);
    running
}
