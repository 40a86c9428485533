//! Names of servers to addresses, again and again, on the control runtime: no request waits for a resolver once an
//! address is known.

use super::fleet::Group;
use crate::config::UpstreamServer;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Weak;
use std::time::Duration;

/// How long a resolver may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How soon a name that has no address yet is asked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// Whether the server is named by a name.
pub(super) fn is_name(server: &UpstreamServer) -> bool {
    literal(server).is_none()
}

/// Where a server is that is named by its address. The inner `None`: it has none.
pub(super) fn literal(server: &UpstreamServer) -> Option<Option<SocketAddr>> {
    if server.socket.is_some() {
        return Some(None);
    }
    let address: IpAddr = server.host.parse().ok()?;
    Some(Some(SocketAddr::new(address, server.port)))
}

/// Keeps the group told of the addresses of a name, until it is gone.
pub(super) async fn follow(group: Weak<Group>, name: Box<str>, every: Duration) {
    loop {
        let answer = ask(&name).await;
        let failed = answer.is_err();
        {
            let Some(group) = group.upgrade() else {
                return;
            };
            group.learn(&name, answer);
        }
        tokio::time::sleep(if failed { every.min(AGAIN) } else { every }).await;
    }
}

async fn ask(name: &str) -> io::Result<Vec<IpAddr>> {
    let asked = tokio::net::lookup_host((name, 0));
    let found = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(found) => found?,
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    };
    let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    if addresses.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(addresses)
}
