//! What stands behind the contenders: nginx; where bodies come, `keygate load upstream`, which reads them whole first.
//!
//! It tells what it got when [`ECHO`] is asked for, so that what a contender sends on is seen.

use super::{Site, nginx};
use crate::case::{ANSWER_BYTES, Traffic, Wire};
use crate::process::{ITS_CORE, Process, other_cores, pinned};
use anyhow::{Result, ensure};
use std::time::Duration;

/// Connections of all contenders together: none is closed in its use because another one has many.
const OF_ALL: usize = 16_000;

/// A path of the last route, whose answer is the head that came up.
pub const ECHO: &str = "/v3/users/echo";

/// What is in such an answer: a name, a colon and a blank, a value, on a line each.
const ECHOED: [(&str, &str); 11] = [
    ("apikey", "$http_apikey"),
    ("host", "$http_host"),
    ("x-keygate-key-id", "$http_x_keygate_key_id"),
    ("x-keygate-key-name", "$http_x_keygate_key_name"),
    ("x-keygate-scope", "$http_x_keygate_scope"),
    ("x-forwarded-for", "$http_x_forwarded_for"),
    ("x-forwarded-proto", "$http_x_forwarded_proto"),
    ("x-forwarded-host", "$http_x_forwarded_host"),
    ("via", "$http_via"),
    ("x-request-id", "$http_x_request_id"),
    // Of the connection to the upstream, this one too.
    ("requests", "$connection_requests"),
];

/// Starts it, on the cores of the load, listening on the two upstream ports of this site.
pub fn start(site: &Site) -> Result<Process> {
    let listening = |process: Process, port| process.listening(port, Duration::from_secs(10));
    let process = match site.traffic {
        Traffic::Upload => {
            ensure!(site.wire == Wire::Http1, "it speaks HTTP/1.1 in clear text");
            reading(site, &other_cores(), site.upstream)?
        }
        Traffic::Small | Traffic::Refused | Traffic::Answer => {
            let mut servers = server(site, site.upstream, Wire::Http1)?;
            if site.upstream_on_wire != site.upstream {
                servers += &server(site, site.upstream_on_wire, site.wire)?;
            }
            nginx::run(&other_cores(), site.folder, "upstream", OF_ALL, &servers)?
        }
    };
    listening(listening(process, site.upstream)?, site.upstream_on_wire)
}

/// The same on the core of the contenders, as one of them.
pub fn contender(site: &Site) -> Result<Process> {
    match site.traffic {
        Traffic::Upload => reading(site, ITS_CORE, site.port),
        Traffic::Small | Traffic::Refused | Traffic::Answer => {
            let server = server(site, site.port, site.wire)?;
            nginx::run(ITS_CORE, site.folder, "direct", nginx::CONNECTIONS, &server)
        }
    }
}

fn server(site: &Site, port: u16, wire: Wire) -> Result<String> {
    let echoed = ECHOED
        .map(|(name, value)| format!("{name}: {value}\n"))
        .concat();
    let answer = match site.traffic {
        Traffic::Small | Traffic::Refused | Traffic::Upload => {
            r#"return 200 '{"data":{"uid":"cyclops1","name":"Cyclops"}}';"#.to_owned()
        }
        Traffic::Answer => {
            std::fs::write(site.folder.join("answer.json"), "x".repeat(ANSWER_BYTES))?;
            format!(
                "root {}; try_files /answer.json =500; sendfile on;",
                site.folder.display()
            )
        }
    };
    Ok(format!(
        "server {{ {listen} default_type application/json; location = {ECHO} {{ return 200 \"{echoed}\"; }}\n\
         location / {{ {answer} }} }}\n",
        listen = nginx::listen(port, wire, site.certificate),
    ))
}

fn reading(site: &Site, cores: &str, port: u16) -> Result<Process> {
    let mut command = pinned(cores, env!("CARGO_BIN_EXE_keygate"));
    command.args(["load", "upstream", "--listen", &format!("127.0.0.1:{port}")]);
    Process::start(command, &site.folder.join(format!("upstream-{port}.log")))
}
