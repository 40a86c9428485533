//! Sockets that a service manager opened (sd_listen_fds(3)): by name, several of one name, and what is missing.

mod support;

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use support::local::call;
use support::{Client, Folder, Gateway, KEYGATE, ROUTES, Upstream};

/// A configuration whose listeners are these.
fn folder(upstream: &Upstream, server: &str, admin: &str) -> Folder {
    Folder::with_main(
        &format!(
            r#"
include = ["routes.toml"]
[server]
listen = {server}
workers = 1
[admin]
listen = "{admin}"
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

/// A gateway that a shell starts as systemd would, with these two as descriptors 3 and 4.
fn activated(folder: &Folder, names: &str, sockets: [OwnedFd; 2]) -> Command {
    let [three, four] = sockets;
    let script = r#"exec 3<&0 4<&1 </dev/null >/dev/null
export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES="$1"
exec "$2" run --config "$3""#;
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh", names, KEYGATE])
        .arg(folder.config())
        .env_remove("KEYGATE_SECRET")
        .stdin(Stdio::from(three))
        .stdout(Stdio::from(four));
    command
}

/// Starts it with its sockets where `Gateway::of` would put others.
fn start(command: Command) -> Gateway {
    Gateway::with_streams(command)
}

fn tcp() -> (TcpListener, std::net::SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

#[test]
fn sockets_are_found_by_their_names() {
    let upstream = Upstream::echo();
    let folder = folder(
        &upstream,
        r#"["systemd:http", "127.0.0.1:0"]"#,
        "systemd:admin",
    );
    let path = folder.path().join("admin.sock");
    let (http, address) = tcp();
    let admin = UnixListener::bind(&path).expect("bind");
    let mut gateway = start(activated(
        &folder,
        "http:admin",
        [http.into(), admin.into()],
    ));
    let mut client = Client::connect(address);
    assert_eq!(client.call("GET /open/x", &[], "").status, 200);
    assert_eq!(call(&path, "GET /readyz", &[]).status, 200);
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(path.exists(), "the file is systemd's");
}

#[test]
fn several_sockets_of_one_name_are_all_served() {
    let upstream = Upstream::echo();
    let folder = folder(&upstream, r#""systemd:http""#, "127.0.0.1:0");
    let ((one, first), (two, second)) = (tcp(), tcp());
    let gateway = start(activated(&folder, "http:http", [one.into(), two.into()]));
    for address in [first, second] {
        let answer = Client::connect(address).call("GET /open/x", &[], "");
        assert_eq!(answer.status, 200, "{address}");
    }
    assert_eq!(gateway.admin("/readyz").status, 200);
}

#[test]
fn a_name_that_was_not_passed_is_told_with_1_and_one_that_nobody_wants_is_warned_of() {
    let upstream = Upstream::echo();
    let missing = folder(&upstream, r#""systemd:http""#, "127.0.0.1:0");
    let output = missing.keygate(&["run"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        output.stderr.contains("cannot listen on systemd:http"),
        "{output:?}"
    );
    assert!(output.stderr.contains("FileDescriptorName="), "{output:?}");

    let unwanted = folder(&upstream, r#""systemd:http""#, "127.0.0.1:0");
    let ((one, _), (two, _)) = (tcp(), tcp());
    let gateway = start(activated(&unwanted, "http:other", [one.into(), two.into()]));
    let line = gateway.wait_for_log(|line| line.contains("that no listener names"));
    assert!(line.contains("other"), "{line}");
}
