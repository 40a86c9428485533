//! Caddy: keys in a `map`, whose answer is kept in a variable, so that it is searched once; a `handle` for each route.

use super::Site;
use crate::case::Wire;
use crate::keys::AUTH_ONLY_ID;
use crate::process::{ITS_CORE, Process, pinned};
use anyhow::Result;
use std::fmt::Write as _;

pub fn start(site: &Site) -> Result<Process> {
    let path = site.folder.join("Caddyfile");
    std::fs::write(&path, config(site)?)?;
    let mut command = pinned(ITS_CORE, "caddy");
    // One thread that runs Go code; and its own files, if it wants any, in the folder.
    command.env("GOMAXPROCS", "1");
    command
        .env("XDG_DATA_HOME", site.folder)
        .env("XDG_CONFIG_HOME", site.folder);
    command
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(&path);
    Process::start(command, &site.folder.join("caddy.log"))
}

fn config(site: &Site) -> Result<String> {
    let mut routes = String::new();
    for (number, (prefix, scope)) in site.routes.each().enumerate() {
        writeln!(
            routes,
            "handle {prefix}* {{\n@one{number} path_regexp ^{prefix}[^/]+$\nvars @one{number} required {scope}\n}}"
        )?;
    }
    let (protocols, address, tls) = match site.wire {
        Wire::Http1 => ("h1", "http", String::new()),
        Wire::Http2 => ("h1 h2c", "http", String::new()),
        Wire::Tls => (
            "h1",
            "https",
            format!(
                "tls {} {}",
                site.certificate.cert.display(),
                site.certificate.key.display()
            ),
        ),
    };
    Ok(format!(
        "{{\nadmin off\nauto_https off\nlog {{\nlevel ERROR\n}}\n\
         servers {{\nprotocols {protocols}\ntimeouts {{\nidle 10m\n}}\n}}\n}}\n\
         {address}://:{port} {{\nbind 127.0.0.1\n{tls}\nroute {{\n\
         map {{http.request.header.apikey}} {{key_id}} {{\n{keys}default \"\"\n}}\n\
         vars key_id {{key_id}}\n\
         @unknown vars key_id \"\"\n\
         respond @unknown `{{\"error\":{{\"code\":\"AUTH_ERR_APIKEY_NOT_FOUND\"}}}}` 401\n\
         vars scope fullAccess\n\
         vars required none\n{routes}\
         @nowhere vars required none\nrespond @nowhere 404\n\
         @lesser vars key_id {AUTH_ONLY_ID}\nroute @lesser {{\nvars scope authOnly\n\
         @forbidden vars required fullAccess\n\
         respond @forbidden `{{\"error\":{{\"code\":\"ERR_FORBIDDEN\"}}}}` 403\n}}\n\
         reverse_proxy 127.0.0.1:{upstream} {{\n\
         header_up -apikey\nheader_up Host {{upstream_hostport}}\n\
         header_up X-Keygate-Key-Id {{vars.key_id}}\nheader_up X-Keygate-Key-Name customer\n\
         header_up X-Keygate-Scope {{vars.scope}}\nheader_up Via \"1.1 caddy\"\n\
         header_up X-Request-Id {{http.request.uuid}}\nheader_down X-Request-Id {{http.request.uuid}}\n\
         transport http {{\nkeepalive 600s\nkeepalive_idle_conns 1024\nkeepalive_idle_conns_per_host 1024\n\
         compression off\n}}\n}}\n}}\n}}\n",
        port = site.port,
        keys = site.keys.map(" \"", "\"\n"),
        upstream = site.upstream,
    ))
}
