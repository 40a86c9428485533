//! Upstreams of every kind: HTTP/1.1 and HTTP/2, over TCP and Unix sockets. Whatever the client speaks and whatever the
//! upstream speaks, the same request arrives and the same answer comes back, bodies and trailers included; what breaks off
//! on one side breaks off on the other.

mod support;

use support::wire::{Authority, Caller, End, Server, Wire, hash, noise};
use support::{Folder, Gateway, ROUTES};

/// A gateway before servers of these addresses.
fn gateway(servers: &str, more: &str) -> (Folder, Gateway) {
    let folder = Folder::with_main(
        &format!(
            r#"
include = ["routes.toml"]
[server]
listen = ["127.0.0.1:0"]
workers = 1
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
[keys]
store = "sqlite:data/keygate.db"
secret = "secret/master"
[upstreams.chat]
servers = ["{servers}"]
{more}
"#
        ),
        ROUTES,
    );
    let gateway = folder.start();
    (folder, gateway)
}

const WIRES: [Wire; 3] = [Wire::Http1, Wire::Http2, Wire::Unix];
const CLIENTS: [Wire; 2] = [Wire::Http1, Wire::Http2];

#[test]
fn the_same_request_arrives_and_the_same_answer_comes_back_over_every_pair_of_protocols() {
    let authority = Authority::new();
    for wire in WIRES {
        let upstream = Server::telling(wire, &authority);
        let (_folder, gateway) = gateway(&upstream.url, "");
        for client in CLIENTS {
            let mut caller = Caller::connect(gateway.address, client, &authority);
            for (method, size) in [
                ("GET", 0),
                ("DELETE", 0),
                ("POST", 1),
                ("PUT", 100_000),
                ("POST", 3_000_000),
            ] {
                let body = noise(size);
                let what = format!("{client:?} to {wire:?}: {method} {size}");
                let answer = caller.call(method, "/open/x?a=b", &[("x-a", "1")], &body);
                assert_eq!(answer.status, 200, "{what}: {answer:?}");
                let told = format!("{method} /open/x?a=b {size} {}", hash(&body));
                assert_eq!(answer.text(), told, "{what}");
                let heard = upstream.heard().pop().expect("it came");
                assert_eq!(heard.headers["x-a"], "1", "{what}");
                assert_eq!(heard.end, Some(End::Whole), "{what}");
                for name in ["connection", "transfer-encoding", "te", "upgrade"] {
                    let ours = name == "transfer-encoding" && heard.version < http::Version::HTTP_2;
                    assert!(ours || !heard.headers.contains_key(name), "{what}: {name}");
                }
                let host = upstream
                    .address
                    .map_or("localhost".into(), |a| a.to_string());
                assert_eq!(heard.host, host, "{what}");
            }
        }
        assert_eq!(upstream.connections(), 1, "{wire:?}: one is enough");
    }
}
