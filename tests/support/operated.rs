//! The configuration of a gateway whose operators have a token.

use std::net::SocketAddr;

/// A `keygate.toml` for this upstream, with one worker; `more` is added to it, and `[upstreams.chat]` is its last table.
pub fn main_text(upstream: SocketAddr, more: &str) -> String {
    format!(
        r#"
include = ["routes.toml"]
[server]
listen = ["127.0.0.1:0"]
workers = 1
[admin]
listen = "127.0.0.1:0"
token = "secret/admin-token"
[log]
format = "json"
[keys]
store = "sqlite:data/keygate.db"
secret = "secret/master"
[upstreams.chat]
servers = ["http://{upstream}"]
{more}
"#
    )
}
