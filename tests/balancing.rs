//! Which server a request goes to: by weight, by load, by hash; names whose addresses change; limits and those who wait.

mod support;

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::fleet::{self, Member, ROUTES, gateway, nobody, server, state};
use support::{Folder, respond};

#[test]
fn requests_without_load_are_shared_by_weight() {
    let (a, b) = (Member::start("a"), Member::start("b"));
    let (_folder, gateway) = gateway(&format!(
        "servers = [\"http://{}\", {{ url = \"http://{}\", weight = 3 }}]",
        a.address(),
        b.address()
    ));
    let mut client = gateway.connect();
    for _ in 0..400 {
        assert_eq!(client.call("GET /open/x", &[], "").status, 200);
    }
    // 100 expected; six standard deviations are 52.
    let count = a.count("/open/x");
    assert!((48..=152).contains(&count), "{count} of 400 at weight 1");
    assert_eq!(count + b.count("/open/x"), 400);
}

#[test]
fn round_robin_is_exact() {
    let (a, b) = (Member::start("a"), Member::start("b"));
    let (_folder, gateway) = gateway(&format!(
        "servers = [\"http://{}\", {{ url = \"http://{}\", weight = 3 }}]\nbalance = \"round-robin\"",
        a.address(),
        b.address()
    ));
    let mut client = gateway.connect();
    let order: String = (0..8)
        .map(|_| client.call("GET /open/x", &[], "").text())
        .collect();
    assert_eq!(order, "babbbabb");
}

#[test]
fn a_server_that_is_slow_gets_less() {
    // The slow one holds every request until it is let go of; the other answers at once.
    let (hold, held) = sync_channel::<()>(0);
    let held = Mutex::new(held);
    let slow = server(Box::new(move |_, stream| {
        let _ = held.lock().unwrap().recv();
        respond(stream, 200, &[], "slow", 4)
    }));
    let quick = Member::start("quick");
    let (_folder, gateway) = gateway(&format!(
        "servers = [\"http://{}\", \"http://{}\"]",
        slow.address,
        quick.address()
    ));
    let mut stuck = (0..)
        .find_map(|round| {
            let mut client = gateway.connect();
            let path = format!("/open/first{round}");
            client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
            let at_slow = gateway.eventually(
                || (slow.seen().len() == 1, quick.count(&path) == 1),
                |(slow, quick)| *slow || *quick,
            );
            at_slow.0.then_some(client)
        })
        .expect("the slow one gets a request");
    let mut client = gateway.connect();
    for _ in 0..100 {
        assert_eq!(client.call("GET /open/x", &[], "").text(), "quick");
    }
    hold.send(()).expect("it waits");
    assert_eq!(stuck.answer(false).text(), "slow");
}

#[test]
fn a_hash_keeps_a_header_and_a_key_with_one_server() {
    let members = ["a", "b", "c"].map(Member::start);
    let servers = members
        .each_ref()
        .map(|m| format!("\"http://{}\"", m.address()));
    let servers = servers.join(", ");
    let (_folder, by_header) = gateway(&format!(
        "servers = [{servers}]\nbalance = \"hash:header X-Room\""
    ));
    let mut client = by_header.connect();
    let mut seen = std::collections::BTreeSet::new();
    for room in 0..40 {
        let header = format!("X-Room: {room}");
        let first = client.call("GET /open/x", &[&header], "").text();
        for _ in 0..3 {
            assert_eq!(client.call("GET /open/x", &[&header], "").text(), first);
        }
        seen.insert(first);
    }
    assert_eq!(seen.len(), 3, "forty rooms are at all three servers");
    let (folder, by_key) = gateway(&format!("servers = [{servers}]\nbalance = \"hash:key\""));
    let mut client = by_key.connect();
    for name in ["one", "two", "three"] {
        let key = folder.new_key(name, "fullAccess");
        let header = format!("apikey: {key}");
        by_key.eventually(
            || by_key.call("GET /keyed/known", &[&header], "").status,
            |status| *status == 200,
        );
        let first = client.call("GET /keyed/x", &[&header], "").text();
        for _ in 0..5 {
            assert_eq!(client.call("GET /keyed/x", &[&header], "").text(), first);
        }
    }
}

#[test]
fn a_name_leads_to_all_its_addresses_and_follows_when_they_change() {
    // Three addresses of the loopback network, one port: what a name with several addresses looks like.
    let one = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = one.local_addr().unwrap().port();
    let listen = |ip: &str| std::net::TcpListener::bind((ip, port)).expect("a free port");
    let (two, three) = (listen("127.0.0.2"), listen("127.0.0.3"));
    let (a, b, c) = (
        Member::on(one, "a"),
        Member::on(two, "b"),
        Member::on(three, "c"),
    );
    let folder = Folder::with_main(
        &fleet::main(
            1,
            "hosts = \"hosts\"",
            &format!(
                "servers = \"http://chat.invalid:{port}\"\nbalance = \"round-robin\"\nresolve = \"250ms\""
            ),
        ),
        ROUTES,
    );
    folder.write("hosts", "127.0.0.1 chat.invalid\n127.0.0.2 chat.invalid\n");
    let gateway = folder.start();
    let mut client = gateway.connect();
    let mut ask = |times: usize| -> String {
        (0..times)
            .map(|_| client.call("GET /open/x", &[], "").text())
            .collect()
    };
    assert_eq!(ask(4), "abab");
    folder.write("hosts", "127.0.0.3 chat.invalid\n");
    gateway.wait_for_log(|line| line.contains("the changed configuration is in force"));
    assert_eq!(ask(4), "cccc", "the old addresses are not used any more");
    assert_eq!(state(&gateway, c.address()), "up");
    assert_eq!(state(&gateway, a.address()), "not there");
    // Now nobody knows the name: what was known stays in use.
    folder.write("hosts", "127.0.0.9 another.invalid\n");
    gateway.wait_for_log(|line| line.contains("cannot be resolved"));
    assert_eq!(ask(4), "cccc", "a resolver that fails takes nothing away");
    // And back.
    folder.write("hosts", "127.0.0.2 chat.invalid\n");
    gateway.eventually(
        || gateway.call("GET /open/x", &[], "").text(),
        |text| text == "b",
    );
    let metrics = gateway.admin("/metrics").text();
    let line = format!(
        "keygate_upstream_server_up{{upstream=\"chat\",server=\"chat.invalid:{port}\",address=\"{}\"}} 1",
        b.address()
    );
    assert!(metrics.contains(&line), "{metrics}");
}

#[test]
fn a_name_that_nobody_knows_is_502_and_the_file_of_hosts_is_checked() {
    let chat = "servers = \"http://nobody.invalid\"\ntimeouts.connect = \"20s\"";
    let (_folder, gateway) = gateway(chat);
    let answer = gateway.call("GET /open/x", &[], "");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (502, "ERR_UPSTREAM_UNAVAILABLE")
    );
    let folder = Folder::with_main(&fleet::main(1, "hosts = \"hosts\"", chat), ROUTES);
    let absent = folder.keygate(&["check"]);
    assert_eq!(absent.status.code(), Some(2), "{}", absent.stdout);
    folder.write("hosts", "127.0.0.1 fine\nnot-an-address chat\n");
    let faulty = folder.keygate(&["check"]);
    let said = faulty.stdout + &faulty.stderr;
    assert!(
        said.contains("line 2: it does not begin with an address"),
        "{said}"
    );
}

#[test]
fn a_limit_lets_as_many_through_and_the_others_wait_or_are_refused() {
    let (arrived, arrives) = sync_channel(8);
    let (go, may_go) = sync_channel::<()>(0);
    let may_go = Mutex::new(may_go);
    let arrived = Mutex::new(arrived);
    let upstream = server(Box::new(move |_, stream| {
        arrived.lock().unwrap().send(()).unwrap();
        let _ = may_go.lock().unwrap().recv();
        respond(stream, 200, &[], "ok", 2)
    }));
    let folder = Folder::with_main(
        &fleet::main(
            2,
            "",
            &format!(
                "servers = \"http://{}\"\nconnections = 2\nqueue = {{ size = 1, timeout = \"30s\" }}",
                upstream.address
            ),
        ),
        ROUTES,
    );
    let gateway = folder.start();
    let request = "GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut clients: Vec<_> = (0..2).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send(request);
        arrives.recv().expect("the upstream gets it");
    }
    let mut waits = gateway.connect();
    waits.send(request);
    let waiting = || gateway.admin("/status").json()["upstreams"]["chat"]["waiting"].as_u64();
    gateway.eventually(waiting, |n| *n == Some(1));
    // Two are there, one waits: the next is refused at once.
    let begun = Instant::now();
    let refused = gateway.call("GET /open/y", &[], "");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "ERR_UPSTREAM_UNAVAILABLE")
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(upstream.seen().len(), 2);
    // One ends: the one that waits has its place.
    go.send(()).expect("one is held");
    arrives.recv().expect("the one that waited");
    for _ in 0..2 {
        go.send(()).expect("one is held");
    }
    assert_eq!(waits.answer(false).status, 200);
    for mut client in clients {
        assert_eq!(client.answer(false).status, 200);
    }
    let metrics = gateway.admin("/metrics").text();
    let line = "keygate_upstream_refused_total{upstream=\"chat\",reason=\"queue_full\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    gateway.wait_for_log(|l| l.contains("upstream_queue_full"));
}

#[test]
fn who_waits_too_long_for_a_place_is_refused() {
    let (go, may_go) = sync_channel::<()>(0);
    let may_go = Mutex::new(may_go);
    let upstream = Arc::new(server(Box::new(move |_, stream| {
        let _ = may_go.lock().unwrap().recv();
        respond(stream, 200, &[], "ok", 2)
    })));
    let (_folder, gateway) = gateway(&format!(
        "servers = \"http://{}\"\nconnections = 1\nqueue = {{ timeout = \"200ms\" }}",
        upstream.address
    ));
    let mut first = gateway.connect();
    first.send("GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n");
    upstream.wait_for(1);
    let refused = gateway.call("GET /open/y", &[], "");
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    gateway.wait_for_log(|l| l.contains("upstream_queue_timeout"));
    go.send(()).expect("one is held");
    assert_eq!(first.answer(false).status, 200);
    // The place is free again, and who waited holds none.
    let mut again = gateway.connect();
    again.send("GET /open/z HTTP/1.1\r\nHost: a\r\n\r\n");
    upstream.wait_for(2);
    go.send(()).expect("one is held");
    assert_eq!(again.answer(false).status, 200);
}

#[test]
fn a_reload_keeps_connections_and_takes_servers_in_and_out() {
    let (a, b) = (Member::start("a"), Member::start("b"));
    let chat = |weight: u32, b: &str| {
        fleet::main(
            1,
            "",
            &format!(
                "servers = [{{ url = \"http://{}\", weight = {weight} }}{b}]\nbalance = \"round-robin\"",
                a.address()
            ),
        )
    };
    let folder = Folder::with_main(&chat(1, ""), ROUTES);
    let gateway = folder.start();
    let mut client = gateway.connect();
    let mut ask = || client.call("GET /open/x", &[], "").text();
    assert_eq!((ask(), ask()), ("a".to_owned(), "a".to_owned()));
    folder.write(
        "keygate.toml",
        &chat(1, &format!(", \"http://{}\"", b.address())),
    );
    gateway.wait_for_log(|line| line.contains("\"generation\":2"));
    let four: String = (0..4).map(|_| ask()).collect();
    assert_eq!(four.matches('b').count(), 2, "{four}");
    folder.write("keygate.toml", &chat(2, ""));
    gateway.wait_for_log(|line| line.contains("\"generation\":3"));
    assert_eq!((ask(), ask()), ("a".to_owned(), "a".to_owned()));
    assert_eq!(a.upstream.connections(), 1, "its connection was kept");
}

#[test]
fn a_server_that_cannot_be_reached_is_asked_after_the_others() {
    let (down, up) = (nobody(), Member::start("up"));
    let (_folder, gateway) = gateway(&format!(
        "servers = [\"http://{down}\", \"http://{}\"]",
        up.address()
    ));
    let mut client = gateway.connect();
    for _ in 0..50 {
        assert_eq!(client.call("POST /open/x", &[], "body").status, 200);
    }
    assert_eq!(up.count("/open/x"), 50);
}
