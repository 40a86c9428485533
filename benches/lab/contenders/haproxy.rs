//! HAProxy: keys and routes in map files; a route is found by its longest prefix.

use super::Site;
use crate::case::Wire;
use crate::keys::AUTH_ONLY_ID;
use crate::process::{ITS_CORE, Process, pinned};
use anyhow::Result;
use std::fmt::Write as _;
use std::path::Path;

pub fn start(site: &Site) -> Result<Process> {
    let file = |name: &str, text: &str| -> Result<String> {
        let path = site.folder.join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let keys = file("haproxy-keys.map", &site.keys.map(" ", "\n"))?;
    let scopes = file("haproxy-scopes.map", &format!("{AUTH_ONLY_ID} authOnly\n"))?;
    let mut routes = String::new();
    for (prefix, scope) in site.routes.each() {
        writeln!(routes, "{prefix} {scope}")?;
    }
    let routes = file("haproxy-routes.map", &routes)?;
    let refuse = |status: u16, code: &str, when: &str| {
        format!(
            "  http-request return status {status} content-type application/json string \
             '{{\"error\":{{\"code\":\"{code}\"}}}}' {when}\n"
        )
    };
    let config = format!(
        "{frame}frontend front\n  mode http\n  {bind}\n\
         \x20 http-request set-var(txn.key) req.hdr(apikey),map_str({keys})\n\
         {unknown}\
         \x20 http-request set-var(txn.route) path,map_beg({routes})\n\
         {no_route}\
         \x20 http-request set-var(txn.scope) var(txn.key),map_str({scopes},fullAccess)\n\
         {forbidden}\
         \x20 http-request set-var(txn.id) uuid()\n\
         \x20 http-request set-header X-Forwarded-Host %[req.hdr(host)]\n\
         \x20 http-request del-header apikey\n\
         \x20 http-request set-header Host 127.0.0.1:{upstream}\n\
         \x20 http-request set-header X-Keygate-Key-Id %[var(txn.key)]\n\
         \x20 http-request set-header X-Keygate-Key-Name customer\n\
         \x20 http-request set-header X-Keygate-Scope %[var(txn.scope)]\n\
         \x20 http-request set-header X-Forwarded-For %[src]\n\
         \x20 http-request set-header X-Forwarded-Proto {scheme}\n\
         \x20 http-request set-header Via '1.1 haproxy'\n\
         \x20 http-request set-header X-Request-Id %[var(txn.id)]\n\
         \x20 http-response set-header X-Request-Id %[var(txn.id)]\n\
         \x20 default_backend chat\n\
         backend chat\n  mode http\n  http-reuse always\n  server one 127.0.0.1:{upstream}\n",
        frame = FRAME,
        bind = bind(site),
        unknown = refuse(
            401,
            "AUTH_ERR_APIKEY_NOT_FOUND",
            "unless { var(txn.key) -m found }"
        ),
        no_route = refuse(
            404,
            "ERR_NOT_FOUND",
            "unless { var(txn.route) -m found } { path_reg ^/v3/[^/]+/[^/]+$ }"
        ),
        forbidden = refuse(
            403,
            "ERR_FORBIDDEN",
            "unless { var(txn.scope) -m str fullAccess } || { var(txn.route) -m str authOnly }"
        ),
        upstream = site.upstream,
        scheme = site.wire.scheme(),
    );
    run(site.folder, "haproxy", &config)
}

fn bind(site: &Site) -> String {
    let port = site.port;
    match site.wire {
        Wire::Http1 => format!("bind 127.0.0.1:{port} backlog 4096"),
        Wire::Http2 => format!("bind 127.0.0.1:{port} backlog 4096 proto h2"),
        Wire::Tls => format!(
            "bind 127.0.0.1:{port} backlog 4096 ssl crt {} alpn http/1.1",
            site.certificate.both.display()
        ),
    }
}

/// What stands before the frontend.
pub const FRAME: &str = "global\n  nbthread 1\n  maxconn 4096\n  tune.bufsize 65536\n\
     defaults\n  timeout client 600s\n  timeout server 600s\n  timeout connect 5s\n";

pub fn run(folder: &Path, name: &str, config: &str) -> Result<Process> {
    let path = folder.join(format!("{name}.cfg"));
    std::fs::write(&path, config)?;
    let mut command = pinned(ITS_CORE, "haproxy");
    command.arg("-db").arg("-f").arg(&path);
    Process::start(command, &folder.join(format!("{name}.log")))
}
