//! keygate: this build, or the binary that `KEYGATE_BENCH_BINARY` names.

use super::Site;
use crate::case::Wire;
use crate::process::{ITS_CORE, Process, pinned};
use crate::support::gateway::free_port;
use anyhow::Result;
use std::fmt::Write as _;

/// What differs from what all contenders do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    Usual,
    /// A line for each request, into a file.
    Logging,
    /// Whoever comes is let through.
    Public,
}

pub fn start(site: &Site, variant: Variant) -> Result<Process> {
    let (name, access) = match variant {
        Variant::Usual => ("keygate", "off"),
        Variant::Logging => ("logging", "all"),
        Variant::Public => ("public", "off"),
    };
    let tls = match site.wire {
        Wire::Http1 | Wire::Http2 => String::new(),
        Wire::Tls => format!(
            "tls = {{ cert = {:?}, key = {:?} }}\n",
            site.certificate.cert, site.certificate.key
        ),
    };
    let main = format!(
        "include = [\"{name}-routes.toml\"]\n[server]\nlisten = [\"127.0.0.1:{port}\"]\nworkers = 1\n{tls}\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n[log]\naccess = \"{access}\"\n[timeouts]\nidle = \"10m\"\n\
         [limits]\nfailed_auth = {{ rate = \"1000000/s\", burst = 1000000000 }}\n\
         [upstreams.chat]\nservers = [\"http://127.0.0.1:{upstream}\"]\n",
        port = site.port,
        admin = free_port(),
        upstream = site.upstream,
    );
    let mut routes =
        "[scopes]\nauthOnly = []\nfullAccess = [\"authOnly\"]\n[defaults]\nupstream = \"chat\"\n"
            .to_owned();
    for (prefix, scope) in site.routes.each() {
        let who = match variant {
            Variant::Usual | Variant::Logging => format!("scope = \"{scope}\""),
            Variant::Public => "access = \"public\"".to_owned(),
        };
        writeln!(routes, "[[routes]]\npath = \"{prefix}{{id}}\"\n{who}")?;
    }
    let folder = &site.keys.folder;
    std::fs::write(folder.join(format!("{name}.toml")), main)?;
    std::fs::write(folder.join(format!("{name}-routes.toml")), routes)?;
    let built = std::env::var("KEYGATE_BENCH_BINARY");
    let program = built.as_deref().unwrap_or(env!("CARGO_BIN_EXE_keygate"));
    let mut command = pinned(ITS_CORE, program);
    command
        .args(["run", "--config"])
        .arg(folder.join(format!("{name}.toml")));
    Process::start(command, &site.folder.join(format!("{name}.log")))
}
