//! A bare TCP relay: what it costs to carry the bytes, and nothing else.

use super::{Site, haproxy};
use crate::process::Process;
use anyhow::Result;

pub fn start(site: &Site) -> Result<Process> {
    let config = format!(
        "{frame}  mode tcp\n\
         frontend front\n  bind 127.0.0.1:{port} backlog 4096\n  default_backend chat\n\
         backend chat\n  server one 127.0.0.1:{upstream}\n",
        frame = haproxy::FRAME,
        port = site.port,
        upstream = site.upstream_on_wire,
    );
    haproxy::run(site.folder, "relay", &config)
}
