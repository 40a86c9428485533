//! Requests that are sent again: which, where to, how often, and never into a storm.

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;
use support::fleet::{self, Member, ROUTES, gateway, nobody, state};
use support::scripted::{Peer, Scripted};
use support::{Folder, KEYGATE, respond};

#[test]
fn a_status_is_bettered_by_another_server_for_idempotent_requests_without_a_body() {
    let (bad, good) = (Member::start("bad"), Member::start("good"));
    bad.answer(503);
    let (_folder, gateway) = gateway(&format!(
        "servers = [\"http://{}\", \"http://{}\"]\nbalance = \"round-robin\"\nretries = {{ attempts = 2, on = [\"503\"], budget = \"100%\" }}",
        bad.address(),
        good.address()
    ));
    let mut client = gateway.connect();
    for round in 0..20 {
        let method = ["GET", "PUT", "DELETE", "OPTIONS"][round % 4];
        let answer = client.call(&format!("{method} /open/x"), &[], "");
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "good"),
            "{method}"
        );
    }
    assert!(bad.count("/open/x") > 0);
    for (method, body) in [("POST", ""), ("PATCH", ""), ("PUT", "body")] {
        let path = format!("/open/{method}{}", body.len());
        let statuses: Vec<u16> = (0..4)
            .map(|_| client.call(&format!("{method} {path}"), &[], body).status)
            .collect();
        assert_eq!(bad.count(&path), 2, "{method}: {statuses:?}");
        assert_eq!(good.count(&path), 2, "{method}: {statuses:?}");
    }
    assert_eq!(
        bad.upstream.connections(),
        1,
        "its answers were read to their end"
    );
    let line = gateway.wait_for_log(|l| l.contains("\"attempts\":2"));
    assert!(line.contains("\"status\":200"), "{line}");
}

#[test]
fn the_last_answer_is_the_clients_with_its_retry_after() {
    let upstream = support::Upstream::start(|_, stream: &mut TcpStream| {
        respond(stream, 503, &["Retry-After: 17"], "busy", 4)
    });
    let folder = Folder::with_main(
        &fleet::main(
            1,
            "",
            &format!(
                "servers = \"http://{}\"\nretries = {{ attempts = 3, on = [\"503\"] }}",
                upstream.address
            ),
        ),
        &format!(
            "{ROUTES}\n[[routes]]\npath = \"/once\"\naccess = \"public\"\nretries = {{ attempts = 1 }}\n"
        ),
    );
    let gateway = folder.start();
    let answer = gateway.call("GET /open/x", &[], "");
    assert_eq!((answer.status, answer.text().as_str()), (503, "busy"));
    assert_eq!(answer.header("retry-after"), Some("17"));
    assert_eq!(
        upstream.seen().len(),
        3,
        "the only server, three times in all"
    );
    assert_eq!(gateway.call("GET /once", &[], "").status, 503);
    assert_eq!(
        upstream.seen().len(),
        4,
        "the route's word is above the upstream's"
    );
}

#[test]
fn a_new_connection_that_is_reset_is_bettered_where_that_is_asked_for() {
    for (retries, status) in [("", 502), ("retries = { on = [\"reset\"] }", 200)] {
        // Every first request of a target ends without an answer.
        let upstream = Scripted::start(|mut peer| {
            let Some(head) = peer.head() else { return };
            if peer.number > 0 {
                peer.answer(Peer::target(&head));
            }
        });
        let (_folder, gateway) = gateway(&format!(
            "servers = \"http://{}\"\n{retries}",
            upstream.address
        ));
        let answer = gateway.call("GET /open/x", &[], "");
        assert_eq!(answer.status, status, "{retries}");
        assert_eq!(upstream.count("/open/x"), if status == 200 { 2 } else { 1 });
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_not_passed_over_where_retries_leave_that_out() {
    let (up, down) = (Member::start("up"), nobody());
    for (retries, expected) in [("", 0), ("retries = { on = [\"reset\"] }", 1)] {
        let (_folder, gateway) = gateway(&format!(
            "servers = [\"http://{down}\", \"http://{}\"]\nbalance = \"round-robin\"\n{retries}",
            up.address()
        ));
        let mut client = gateway.connect();
        let failed = (0..6)
            .filter(|_| client.call("GET /open/x", &[], "").status == 502)
            .count();
        assert_eq!(failed, expected, "{retries}");
    }
}

#[test]
fn a_budget_keeps_retries_from_becoming_a_storm() {
    let bad = Member::start("bad");
    bad.answer(503);
    let (_folder, gateway) = gateway(&format!(
        "servers = \"http://{}\"\nretries = {{ attempts = 5, on = [\"503\"], budget = \"20%\" }}",
        bad.address()
    ));
    let mut client = gateway.connect();
    let begun = Instant::now();
    let requests = 500;
    for _ in 0..requests {
        assert_eq!(client.call("GET /open/x", &[], "").status, 503);
    }
    let seconds = begun.elapsed().as_secs() as usize + 1;
    let sent = bad.count("/open/x");
    // A fifth, and the floor: ten at once and one a second.
    let most = requests + requests / 5 + 10 + seconds;
    assert!(
        (requests + requests / 5..=most).contains(&sent),
        "{sent} sent, at most {most}"
    );
    let metrics = gateway.admin("/metrics").text();
    let line = format!("\nkeygate_upstream_retries_total {}\n", sent - requests);
    assert!(metrics.contains(&line), "{metrics}");
}

/// A demo server in a process of its own, which can be killed and started again on the same port.
struct Server {
    child: std::process::Child,
}

impl Server {
    fn start(address: SocketAddr) -> Self {
        let child = std::process::Command::new(KEYGATE)
            .args(["demo", "--listen", &address.to_string()])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("keygate demo starts");
        let server = Server { child };
        let deadline = Instant::now() + support::PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(
                Instant::now() < deadline,
                "the demo server does not come up"
            );
            thread::yield_now();
        }
        server
    }

    fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn one_server_of_three_that_is_killed_and_restarted_under_load_fails_no_idempotent_request() {
    // Of an address that nobody else uses: no other connection takes a port while its server is down.
    let ports: Vec<TcpListener> = (0..3)
        .map(|_| TcpListener::bind("127.0.77.1:0").expect("a free port"))
        .collect();
    let addresses: Vec<SocketAddr> = ports.iter().map(|p| p.local_addr().unwrap()).collect();
    drop(ports);
    let mut servers: Vec<Server> = addresses.iter().map(|a| Server::start(*a)).collect();
    let list: Vec<String> = addresses
        .iter()
        .map(|a| format!("\"http://{a}\""))
        .collect();
    let folder = Folder::with_main(
        &fleet::main(
            2,
            "",
            &format!(
                "servers = [{}]\nretries = {{ attempts = 3, on = [\"connect\", \"reset\", \"502\", \"503\"] }}\n\
                 health = {{ path = \"/\", interval = \"100ms\", healthy = 2, unhealthy = 2, status = [\"2xx\", \"4xx\"] }}\n\
                 eject = {{ failures = 3, for = \"500ms\" }}",
                list.join(", ")
            ),
        ),
        ROUTES,
    );
    let gateway = folder.start();
    for address in &addresses {
        gateway.eventually(|| state(&gateway, *address), |state| state == "up");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (asked, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..12)
        .map(|_| {
            let mut client = gateway.connect();
            let (stop, asked, failed) = (stop.clone(), asked.clone(), failed.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let status = client.call("GET /open/x", &[], "").status;
                    asked.fetch_add(1, Ordering::Relaxed);
                    // The demo knows no such path: what counts is that it was asked.
                    if status >= 500 {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let more = |by: usize| {
        let now = asked.load(Ordering::Relaxed);
        gateway.eventually(|| asked.load(Ordering::Relaxed), |n| *n >= now + by);
    };
    more(300);
    let mut times = Vec::new();
    for _ in 0..3 {
        let begun = Instant::now();
        servers[1].kill();
        let address = addresses[1];
        gateway.eventually(
            || state(&gateway, address),
            |state| state == "down" || state == "ejected",
        );
        let out = begun.elapsed();
        gateway.eventually(|| state(&gateway, address), |state| state == "down");
        more(300);
        let begun = Instant::now();
        servers[1] = Server::start(address);
        gateway.eventually(|| state(&gateway, address), |state| state == "up");
        times.push((out, begun.elapsed()));
        more(300);
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("a client");
    }
    let (asked, failed) = (
        asked.load(Ordering::Relaxed),
        failed.load(Ordering::Relaxed),
    );
    for (out, back) in times {
        println!("out {out:?} after it was killed, in again {back:?} after it was started");
    }
    println!("{failed} of {asked} requests failed");
    assert_eq!(failed, 0, "of {asked}");
}
