//! nginx: keys in a `map`, a prefix location for each route, and in it one by pattern.

use super::Site;
use crate::case::Wire;
use crate::keys::AUTH_ONLY_ID;
use crate::process::{ITS_CORE, Process, pinned};
use crate::tls::Certificate;
use anyhow::Result;
use std::fmt::Write as _;
use std::path::Path;

pub fn start(site: &Site) -> Result<Process> {
    let map = site.folder.join("nginx-keys.conf");
    std::fs::write(&map, site.keys.map(" ", ";\n"))?;
    let mut locations = String::new();
    for (prefix, scope) in site.routes.each() {
        let refuse = match scope {
            "authOnly" => "",
            _ => {
                "if ($key_scope != fullAccess) { return 403 '{\"error\":{\"code\":\"ERR_FORBIDDEN\"}}'; }"
            }
        };
        writeln!(
            locations,
            "location {prefix} {{ location ~ ^{prefix}[^/]+$ {{ {refuse} proxy_pass http://chat; }} return 404; }}"
        )?;
    }
    let http = format!(
        "map_hash_max_size {most}; map_hash_bucket_size 512;\n\
         map $http_apikey $key_id {{ default ''; include {map}; }}\n\
         map $key_id $key_scope {{ default fullAccess; {AUTH_ONLY_ID} authOnly; }}\n\
         upstream chat {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 600s; }}\n\
         server {{ {listen} default_type application/json; client_max_body_size 0;\n\
         if ($key_id = '') {{ return 401 '{{\"error\":{{\"code\":\"AUTH_ERR_APIKEY_NOT_FOUND\"}}}}'; }}\n\
         proxy_request_buffering off; client_body_buffer_size 128k;\n\
         proxy_buffer_size 16k; proxy_buffers 8 16k; proxy_max_temp_file_size 0;\n\
         proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header apikey '';\n\
         proxy_set_header Host 127.0.0.1:{upstream}; proxy_set_header X-Keygate-Key-Id $key_id;\n\
         proxy_set_header X-Keygate-Key-Name customer; proxy_set_header X-Keygate-Scope $key_scope;\n\
         proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;\n\
         proxy_set_header X-Forwarded-Host $http_host; proxy_set_header Via '1.1 nginx';\n\
         proxy_set_header X-Request-Id $request_id; add_header X-Request-Id $request_id;\n\
         {locations}location / {{ return 404; }} }}",
        most = (site.keys.full.len() * 4).max(65536),
        map = map.display(),
        upstream = site.upstream,
        listen = listen(site.port, site.wire, site.certificate),
    );
    run(ITS_CORE, site.folder, "nginx", CONNECTIONS, &http)
}

/// The words by which a server listens.
pub fn listen(port: u16, wire: Wire, certificate: &Certificate) -> String {
    match wire {
        Wire::Http1 => format!("listen 127.0.0.1:{port} backlog=4096;"),
        Wire::Http2 => format!("listen 127.0.0.1:{port} http2 backlog=4096;"),
        Wire::Tls => format!(
            "listen 127.0.0.1:{port} ssl backlog=4096; ssl_certificate {}; ssl_certificate_key {}; \
             ssl_protocols TLSv1.2 TLSv1.3;",
            certificate.cert.display(),
            certificate.key.display()
        ),
    }
}

/// Most connections of a contender, both sides together.
pub const CONNECTIONS: usize = 4096;

/// Starts nginx as one process, with this in its `http` block. It has memory for so many connections, and closes idle ones
/// where it needs more.
pub fn run(
    core: &str,
    folder: &Path,
    name: &str,
    connections: usize,
    http: &str,
) -> Result<Process> {
    let path = folder.join(format!("{name}.conf"));
    let at = folder.display();
    let config = format!(
        "daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 16384;\n\
         error_log {at}/{name}-error.log error; pid {at}/{name}.pid;\n\
         events {{ worker_connections {connections}; }}\n\
         http {{ access_log off; client_body_temp_path {at}/{name}-body; proxy_temp_path {at}/{name}-proxy;\n\
         fastcgi_temp_path {at}/{name}-f; uwsgi_temp_path {at}/{name}-u; scgi_temp_path {at}/{name}-s;\n\
         keepalive_requests 1000000000; keepalive_timeout 600s; {http} }}\n"
    );
    std::fs::write(&path, config)?;
    let mut command = pinned(core, "nginx");
    command.arg("-p").arg(folder).arg("-c").arg(&path);
    Process::start(command, &folder.join(format!("{name}.log")))
}
