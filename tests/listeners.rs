//! Where the gateway listens: IPv4, IPv6 and Unix sockets, several at once, and what is said of peers without an address.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use support::local::call;
use support::{Client, Folder, Gateway, ROUTES, Upstream};

/// A configuration with this `[server]` and `[admin]`.
fn folder(upstream: &Upstream, server: &str, admin: &str) -> Folder {
    Folder::with_main(
        &format!(
            r#"
include = ["routes.toml"]
[server]
workers = 2
{server}
[admin]
{admin}
[log]
format = "json"
[upstreams.chat]
servers = ["http://{}"]
"#,
            upstream.address
        ),
        ROUTES,
    )
}

/// The addresses of the ready line.
fn ready(gateway: &Gateway, name: &str) -> Vec<String> {
    let line = gateway.wait_for_log(|line| line.contains(r#""message":"ready""#));
    let ready: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    let all = ready[name].as_str().expect("addresses");
    all.split(',').map(str::to_owned).collect()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path)
        .expect("a file")
        .permissions()
        .mode()
        & 0o777
}

const ADMIN: &str = r#"listen = "127.0.0.1:0""#;

#[test]
fn one_gateway_listens_on_ipv4_ipv6_and_unix_sockets_at_once() {
    let upstream = Upstream::echo();
    let folder = folder(
        &upstream,
        r#"listen = ["127.0.0.1:0", "[::1]:0", "unix:gate.sock", { address = "unix:open.sock", mode = "0666" }]"#,
        r#"listen = { address = "unix:admin.sock", mode = "0660" }"#,
    );
    let mut gateway = folder.start();
    let addresses = ready(&gateway, "gateway");
    let inside = |name: &str| folder.path().join(name);
    assert_eq!(addresses.len(), 4);
    for address in &addresses[..2] {
        let answer =
            Client::connect(address.parse().expect("an address")).call("GET /open/x", &[], "");
        assert_eq!(answer.status, 200, "{address}");
    }
    assert_eq!(
        addresses[2],
        format!("unix:{}", inside("gate.sock").display())
    );
    for name in ["gate.sock", "open.sock"] {
        assert_eq!(
            call(&inside(name), "GET /open/x", &[]).status,
            200,
            "{name}"
        );
        assert_eq!(call(&inside(name), "GET /other", &[]).status, 401, "{name}");
    }
    assert_eq!(call(&inside("admin.sock"), "GET /readyz", &[]).status, 200);
    assert_eq!(mode(&inside("gate.sock")), 0o600, "closed by default");
    assert_eq!(mode(&inside("open.sock")), 0o666);
    assert_eq!(mode(&inside("admin.sock")), 0o660);
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0));
    for name in ["gate.sock", "open.sock", "admin.sock"] {
        assert!(!inside(name).exists(), "{name} was left behind");
    }
}

#[test]
fn all_ipv6_addresses_are_no_ipv4_ones() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, r#"listen = ["[::]:0"]"#, ADMIN);
    let gateway = folder.start();
    let port = gateway.address.port();
    let answer =
        Client::connect(([0, 0, 0, 0, 0, 0, 0, 1], port).into()).call("GET /open/x", &[], "");
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.last().header("x-forwarded-for"), Some("::1"));
    std::net::TcpStream::connect(("127.0.0.1", port)).expect_err("IPv4 was not asked for");
}

#[test]
fn a_client_on_a_unix_socket_has_no_address_and_is_not_believed() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, r#"listen = ["unix:gate.sock"]"#, ADMIN);
    let gateway = folder.start();
    let socket = folder.path().join("gate.sock");
    let lies = [
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "X-Request-Id: chosen-by-the-client",
    ];
    assert_eq!(call(&socket, "GET /open/x", &lies).status, 200);
    let seen = upstream.last();
    assert_eq!(seen.header("x-forwarded-for"), None);
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_ne!(seen.header("x-request-id"), Some("chosen-by-the-client"));
    let line = gateway.wait_for_log(|line| line.contains(r#""message":"request""#));
    assert!(line.contains(r#""client":"unix:""#), "{line}");
}

#[test]
fn a_trusted_client_on_a_unix_socket_speaks_for_others() {
    let upstream = Upstream::echo();
    let folder = folder(
        &upstream,
        "listen = [\"unix:gate.sock\"]\ntrusted_proxies = [\"unix\", \"10.0.0.0/8\"]",
        ADMIN,
    );
    let gateway = folder.start();
    let socket = folder.path().join("gate.sock");
    let said = [
        "X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.0.0.9",
        "X-Forwarded-Proto: https",
    ];
    assert_eq!(call(&socket, "GET /open/x", &said).status, 200);
    let seen = upstream.last();
    assert_eq!(seen.header("x-forwarded-for"), Some("192.0.2.7, 10.0.0.9"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    gateway.wait_for_log(|line| line.contains(r#""client":"192.0.2.7""#));
    // It may also speak for nobody.
    assert_eq!(call(&socket, "GET /open/y", &[]).status, 200);
    assert_eq!(upstream.last().header("x-forwarded-for"), None);
    gateway.wait_for_log(|line| line.contains(r#""client":"unix:""#));
}

#[test]
fn failed_keys_of_all_clients_on_unix_sockets_count_together() {
    let upstream = Upstream::echo();
    let main = "listen = [\"127.0.0.1:0\", \"unix:gate.sock\"]\n[limits]\nfailed_auth = { rate = \"1/h\", burst = 2 }";
    let folder = folder(&upstream, main, ADMIN);
    let gateway = folder.start();
    let socket = folder.path().join("gate.sock");
    for expected in [401, 401, 429] {
        assert_eq!(call(&socket, "GET /other", &[]).status, expected);
    }
    assert_eq!(gateway.call("GET /other", &[], "").status, 401);
}

#[test]
fn a_change_over_a_unix_socket_is_in_the_audit_trail() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, r#"listen = ["unix:gate.sock"]"#, ADMIN);
    let key = folder.new_key("root", "fullAccess");
    let _gateway = folder.start();
    let socket = folder.path().join("gate.sock");
    let listed = call(&socket, "GET /apikeys", &[&format!("apikey: {key}")]);
    assert_eq!(listed.status, 200, "{}", listed.text());
    let victim = folder.new_key("victim", "authOnly");
    let deleted = call(
        &socket,
        &format!("DELETE /apikeys/{victim}"),
        &[&format!("apikey: {key}")],
    );
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    let trail = folder.keygate(&["keys", "audit"]);
    assert!(trail.stdout.contains("unix:"), "{trail:?}");
}

#[test]
fn a_socket_that_a_killed_gateway_left_is_replaced() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, r#"listen = ["unix:gate.sock"]"#, ADMIN);
    let socket = folder.path().join("gate.sock");
    let mut killed = folder.start();
    killed.signal("KILL");
    killed.wait();
    assert!(socket.exists());
    let _gateway = folder.start();
    assert_eq!(call(&socket, "GET /open/x", &[]).status, 200);
}

#[test]
fn what_somebody_else_has_is_left_alone_and_told_with_1() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, r#"listen = ["unix:gate.sock"]"#, ADMIN);
    let socket = folder.path().join("gate.sock");
    let refused = |expected: &str| {
        let output = folder.keygate(&["run"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stderr.contains(expected), "{output:?}");
    };
    let other = UnixListener::bind(&socket).expect("bind");
    refused("another process listens there");
    assert!(socket.exists());
    drop(other);
    std::fs::remove_file(&socket).expect("remove");
    std::fs::write(&socket, "a file").expect("write");
    refused("something that is no socket is there");
    assert_eq!(std::fs::read(&socket).expect("read"), b"a file");
    std::fs::remove_file(&socket).expect("remove");

    let config = std::fs::read_to_string(folder.config()).expect("read");
    folder.write("keygate.toml", &config.replace("gate.sock", "no/gate.sock"));
    refused("its folder does not exist");
}

#[test]
fn the_limit_on_connections_holds_for_all_listeners_together() {
    let upstream = Upstream::echo();
    let folder = folder(
        &upstream,
        "listen = [\"127.0.0.1:0\", \"unix:gate.sock\"]\n[limits]\nconnections = 2",
        ADMIN,
    );
    let gateway = folder.start();
    let socket = folder.path().join("gate.sock");
    let mut one = gateway.connect();
    let mut two = gateway.connect();
    for client in [&mut one, &mut two] {
        assert_eq!(client.call("GET /open/x", &[], "").status, 200);
    }
    let mut shed = std::os::unix::net::UnixStream::connect(&socket).expect("connect");
    let mut byte = [0];
    let read = std::io::Read::read(&mut shed, &mut byte);
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[test]
fn faults_in_listeners_are_told_with_their_place() {
    let upstream = Upstream::echo();
    for (server, admin, expected) in [
        (
            r#"listen = [{ mode = "0660" }]"#,
            ADMIN,
            "`server.listen` needs `address`",
        ),
        (
            r#"listen = [{ address = "127.0.0.1:0", mode = "0660" }]"#,
            ADMIN,
            "`server.listen.mode` is for Unix sockets; an address has none",
        ),
        (
            r#"listen = [{ address = "unix:a", mode = "rw" }]"#,
            ADMIN,
            "`server.listen.mode`: expected the permissions of a file in octal",
        ),
        (
            r#"listen = [{ address = "unix:a", moed = "0660" }]"#,
            ADMIN,
            "unknown field `moed` in `server.listen`; did you mean `mode`?",
        ),
        (
            r#"listen = [{ address = "127.0.0.1:0", tls = true }]"#,
            ADMIN,
            "`server.listen.tls` needs certificates: set `server.tls`",
        ),
        (
            r#"listen = ["unix:a.sock"]"#,
            r#"listen = "unix:a.sock""#,
            "a.sock is listened on twice",
        ),
        (
            r#"listen = ["127.0.0.1:0"]"#,
            r#"listen = { address = "127.0.0.1:0", tls = true }"#,
            "the admin listener has no `tls`",
        ),
    ] {
        let output = folder(&upstream, server, admin).keygate(&["run"]);
        assert_eq!(output.status.code(), Some(2), "{server}: {output:?}");
        assert!(output.stderr.contains(expected), "{server}: {output:?}");
        assert!(output.stderr.contains("keygate.toml:"), "{output:?}");
    }
    let long = "x".repeat(108);
    let server = format!(r#"listen = ["unix:{long}"]"#);
    let output = folder(&upstream, &server, ADMIN).keygate(&["run"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stderr.contains("at most 107 bytes"), "{output:?}");
}
