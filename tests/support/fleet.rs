//! One server or several behind one gateway: what is asked of them is counted, and each does what it is told.

use super::{Folder, Gateway, Handler, Seen, Upstream, respond};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// A server whose answers' status can be changed while it runs. Its body is its name.
pub struct Member {
    pub upstream: Upstream,
    status: Arc<AtomicU16>,
}

impl Member {
    pub fn start(name: &'static str) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a free port"), name)
    }

    pub fn on(listener: TcpListener, name: &'static str) -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let said = Arc::clone(&status);
        let upstream = Upstream::on(listener, move |_: &Seen, stream: &mut TcpStream| {
            let status = said.load(Ordering::SeqCst);
            respond(stream, status, &[], name, name.len())
        });
        Member { upstream, status }
    }

    /// From now on it answers this.
    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub fn address(&self) -> SocketAddr {
        self.upstream.address
    }

    /// How many requests for this path it saw.
    pub fn count(&self, path: &str) -> usize {
        let seen = self.upstream.seen();
        seen.iter().filter(|seen| seen.target() == path).count()
    }
}

/// A server that does this with each request.
pub fn server(handle: Box<Handler>) -> Upstream {
    Upstream::start(move |seen, stream| handle(seen, stream))
}

/// An address where nothing listens, and where nobody else takes a port.
pub fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.78.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

/// A gateway with one worker and a public route to the upstream `chat`, whose table is this text.
pub fn gateway(chat: &str) -> (Folder, Gateway) {
    let folder = Folder::with_main(&main(1, "", chat), ROUTES);
    let gateway = folder.start();
    (folder, gateway)
}

/// A main file: `server` is added to its `[server]`, `chat` is its `[upstreams.chat]`.
pub fn main(workers: usize, server: &str, chat: &str) -> String {
    format!(
        r#"
include = ["routes.toml"]
[server]
listen = ["127.0.0.1:0"]
workers = {workers}
{server}
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
[keys]
store = "sqlite:data/keygate.db"
secret = "secret/master"
[upstreams.chat]
{chat}
"#
    )
}

/// Everything below `/open/` is public.
pub const ROUTES: &str = r#"
[scopes]
fullAccess = []
[defaults]
upstream = "chat"
[[routes]]
path = "/open/{*rest}"
access = "public"
[[routes]]
path = "/keyed/{*rest}"
scope = "fullAccess"
"#;

/// What `/status` says of the server at this address.
pub fn state(gateway: &Gateway, address: SocketAddr) -> String {
    let status = gateway.admin("/status").json();
    let servers = status["upstreams"]["chat"]["servers"].clone();
    let servers = servers.as_array().expect("a list of servers");
    let address = address.to_string();
    let found = servers.iter().find(|s| s["address"] == *address);
    found.map_or_else(
        || "not there".to_owned(),
        |server| server["state"].as_str().expect("a state").to_owned(),
    )
}
