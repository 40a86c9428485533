//! How a gateway begins and ends: what it says when it cannot start, and that nobody in flight loses an answer when it
//! stops.

mod support;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::sync::mpsc::{SyncSender, sync_channel};
use support::scripted::{Got, Peer, Scripted, outcome};
use support::{Client, Folder, Gateway, Output, ROUTES, Upstream};

/// An upstream that says when `/open/slow` has come, and answers it when it is told to.
fn held() -> (Scripted, std::sync::mpsc::Receiver<()>, SyncSender<()>) {
    let (begun, has_begun) = sync_channel(64);
    let (go_on, may_go_on) = sync_channel::<()>(64);
    let may_go_on = Mutex::new(may_go_on);
    let upstream = Scripted::start(move |mut peer| {
        while let Some(head) = peer.head() {
            peer.body(&head);
            if Peer::target(&head) == "/open/slow" {
                let _ = begun.send(());
                if may_go_on.lock().unwrap().recv().is_err() {
                    return;
                }
            }
            peer.answer(Peer::target(&head));
        }
    });
    (upstream, has_begun, go_on)
}

fn refuses_connections(gateway: &Gateway) {
    gateway.eventually(
        || TcpStream::connect(gateway.address).is_err(),
        |refused| *refused,
    );
}

#[test]
fn a_drain_answers_what_is_in_flight_and_ends_with_0() {
    for signal in ["TERM", "INT"] {
        let (upstream, has_begun, go_on) = held();
        let folder = Folder::new(upstream.address, "", ROUTES);
        let mut gateway = folder.start();
        let mut idle = gateway.connect();
        assert_eq!(idle.call("GET /open/x", &[], "").status, 200);
        let mut silent = gateway.connect();
        let mut busy = gateway.connect();
        busy.send("POST /open/slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
        has_begun.recv().expect("the request is in flight");
        let mut uploading = gateway.connect();
        uploading.send("POST /open/up HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nha");
        upstream.wait_for(3);
        assert_eq!(gateway.admin("/readyz").status, 200);
        gateway.signal(signal);
        assert!(idle.is_closed(), "{signal}");
        assert!(silent.is_closed(), "{signal}");
        refuses_connections(&gateway);
        let ready = gateway.admin("/readyz");
        assert_eq!(ready.status, 503, "{signal}");
        assert_eq!(ready.json()["drain"]["ok"], false);
        assert_eq!(gateway.admin("/healthz").status, 200);
        uploading.send("lf");
        let answer = uploading.answer(false);
        assert_eq!((answer.status, answer.text().as_str()), (200, "/open/up"));
        go_on.send(()).expect("the upstream waits");
        let answer = busy.answer(false);
        assert_eq!((answer.status, answer.text().as_str()), (200, "/open/slow"));
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(busy.is_closed());
        assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
        assert!(!gateway.log().contains("cut"), "{}", gateway.log());
    }
}

#[test]
fn a_drain_cuts_at_its_deadline() {
    let (upstream, has_begun, _go_on) = held();
    let folder = Folder::new(upstream.address, "[timeouts]\ndrain = \"300ms\"\n", ROUTES);
    let mut gateway = folder.start();
    let mut busy = gateway.connect();
    busy.send("GET /open/slow HTTP/1.1\r\nHost: a\r\n\r\n");
    has_begun.recv().expect("the request is in flight");
    gateway.signal("TERM");
    assert!(matches!(outcome(&mut busy, false), Got::Nothing));
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
    assert!(gateway.log().contains("drain deadline reached"));
}

#[test]
fn a_second_signal_cuts_at_once() {
    let (upstream, has_begun, _go_on) = held();
    let folder = Folder::new(upstream.address, "[timeouts]\ndrain = \"1h\"\n", ROUTES);
    let mut gateway = folder.start();
    let mut busy = gateway.connect();
    busy.send("GET /open/slow HTTP/1.1\r\nHost: a\r\n\r\n");
    has_begun.recv().expect("the request is in flight");
    gateway.signal("TERM");
    gateway.wait_for_log(|line| line.contains("draining"));
    gateway.signal("INT");
    assert!(matches!(outcome(&mut busy, false), Got::Nothing));
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
}

#[test]
fn connections_over_the_limit_are_shed_and_the_gateway_recovers() {
    let upstream = Upstream::echo();
    let folder = Folder::new(upstream.address, "[limits]\nconnections = 4\n", ROUTES);
    let gateway = folder.start();
    let mut held: Vec<Client> = (0..4).map(|_| gateway.connect()).collect();
    for client in &mut held {
        assert_eq!(client.call("GET /open/x", &[], "").status, 200);
    }
    for _ in 0..3 {
        assert!(gateway.connect().is_closed());
    }
    for client in &mut held {
        assert_eq!(
            client.call("GET /open/x", &[], "").status,
            200,
            "those inside stay"
        );
    }
    held.clear();
    // Those that went are gone once the gateway has noticed.
    gateway.eventually(
        || {
            let mut client = gateway.connect();
            let _ = client
                .stream
                .write_all(b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n");
            matches!(outcome(&mut client, false), Got::Whole(answer) if answer.status == 200)
        },
        |served| *served,
    );
    let metrics = gateway.admin("/metrics").text();
    let shed = metrics
        .lines()
        .find_map(|l| l.strip_prefix("keygate_connections_shed_total "));
    assert!(shed.expect("a counter").parse::<u64>().expect("a number") >= 3);
}

#[test]
fn a_gateway_without_descriptors_serves_whom_it_has_and_recovers() {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let upstream = Upstream::echo();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let gateway = folder.start();
    let mut inside: Vec<Client> = (0..4).map(|_| gateway.connect()).collect();
    for client in &mut inside {
        assert_eq!(client.call("GET /open/x", &[], "").status, 200);
    }
    let pid = Pid::from_raw(gateway.pid().cast_signed()).expect("a pid");
    let before = getrlimit(Resource::Nofile);
    let allow = |current| {
        let limit = Rlimit { current, ..before };
        prlimit(Some(pid), Resource::Nofile, limit).expect("prlimit");
    };
    // Fewer than it has open already, and more than the first ones of a new process.
    allow(Some(8));
    let outside: Vec<Client> = (0..100).map(|_| gateway.connect()).collect();
    gateway.wait_for_log(|line| line.contains("no connections can be accepted"));
    for client in &mut inside {
        assert_eq!(
            client.call("GET /open/x", &[], "").status,
            200,
            "those inside stay"
        );
    }
    drop(outside);
    allow(before.maximum);
    assert_eq!(gateway.call("GET /open/x", &[], "").status, 200);
    let told = gateway
        .log()
        .matches("no connections can be accepted")
        .count();
    assert!(told < 20, "{told} lines for one shortage");
}

fn fails(folder: &Folder, code: i32) -> Output {
    let output = folder.keygate(&["run"]);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(!output.stderr.contains("panicked"), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    output
}

#[test]
fn a_configuration_that_cannot_be_read_is_told_with_2() {
    let upstream = Upstream::echo();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let config = folder.config();
    let good = std::fs::read(&config).expect("read");

    std::fs::remove_file(&config).expect("remove");
    let said = fails(&folder, 2).stderr;
    assert!(
        said.contains("keygate.toml") && said.contains("no such file"),
        "{said}"
    );

    std::fs::create_dir(&config).expect("a folder in its place");
    let said = fails(&folder, 2).stderr;
    assert!(
        said.contains("keygate.toml") && said.contains("this is a folder"),
        "{said}"
    );
    std::fs::remove_dir(&config).expect("remove");

    for (name, text) in [
        ("empty", &b""[..]),
        ("blank", b"\n\n  \n"),
        ("half", &good[..good.len() / 2]),
        ("not text", b"\xff\xfe\x00"),
        ("not TOML", b"hello, world"),
        ("another table", b"[serving]\nlisten = 1\n"),
    ] {
        std::fs::write(&config, text).expect("write");
        let said = fails(&folder, 2).stderr;
        assert!(said.contains("keygate.toml"), "{name}: {said}");
    }

    std::fs::write(&config, &good).expect("write");
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o0)).expect("chmod");
    // Whoever may read everything reads this too.
    if std::fs::read(&config).is_err() {
        let said = fails(&folder, 2).stderr;
        assert!(said.contains("ermission"), "{said}");
    }
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).expect("chmod");

    folder.write("routes.toml", "");
    let said = fails(&folder, 2).stderr;
    assert!(said.contains("routes.toml"), "{said}");
    std::fs::remove_file(folder.path().join("routes.toml")).expect("remove");
    let said = fails(&folder, 2).stderr;
    assert!(said.contains("routes.toml"), "{said}");
    assert!(
        !folder.path().join("data").exists(),
        "nothing is made for a bad configuration"
    );
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_port_in_use_is_told_with_1() {
    let upstream = Upstream::echo();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").to_string();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let good = std::fs::read_to_string(folder.config()).expect("read");
    for (place, text) in [
        ("gateway", good.replacen("127.0.0.1:0", &port, 1)),
        ("admin", {
            let (before, after) = good.split_once("[admin]").expect("a table");
            format!("{before}[admin]{}", after.replacen("127.0.0.1:0", &port, 1))
        }),
    ] {
        folder.write("keygate.toml", &text);
        let said = fails(&folder, 1).stderr;
        let last = said.lines().last().expect("a line");
        assert!(last.starts_with("keygate: "), "{place}: {said}");
        assert!(
            last.contains(&port) && last.to_lowercase().contains("in use"),
            "{place}: {said}"
        );
    }
    // What failed left nothing behind that keeps the next start from working.
    folder.write("keygate.toml", &good);
    let mut gateway = folder.start();
    assert_eq!(gateway.call("GET /open/x", &[], "").status, 200);
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0));
}
