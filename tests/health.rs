//! Servers that fail: found by checks or by requests, left out, and taken back.

mod support;

use std::io::{Read, Write};
use std::time::{Duration, Instant};
use support::fleet::{Member, gateway, nobody, state};

#[test]
fn checks_put_a_server_out_and_in_again_and_say_so_once() {
    let (a, b) = (Member::start("a"), Member::start("b"));
    let (_folder, gateway) = gateway(&format!(
        "servers = [\"http://{}\", \"http://{}\"]\n\
         health = {{ path = \"/healthz?deep\", interval = \"50ms\", healthy = 2, unhealthy = 2, status = \"2xx\" }}\n\
         headers.set = {{ X-Own = \"credential\" }}",
        a.address(),
        b.address()
    ));
    let mut client = gateway.connect();
    gateway.eventually(|| a.count("/healthz?deep"), |count| *count > 1);
    let check = a.upstream.seen().remove(0);
    assert_eq!(check.line, "GET /healthz?deep HTTP/1.1");
    assert_eq!(check.header("host"), Some(&*a.address().to_string()));
    assert_eq!(check.header("x-own"), Some("credential"));
    a.answer(503);
    gateway.eventually(|| state(&gateway, a.address()), |state| state == "down");
    let before = a.count("/open/x");
    for _ in 0..50 {
        assert_eq!(client.call("GET /open/x", &[], "").text(), "b");
    }
    assert_eq!(a.count("/open/x"), before);
    let metrics = gateway.admin("/metrics").text();
    for (member, up) in [(&a, 0), (&b, 1)] {
        let address = member.address();
        let line = format!(
            "keygate_upstream_server_up{{upstream=\"chat\",server=\"{address}\",address=\"{address}\"}} {up}"
        );
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    a.answer(200);
    gateway.eventually(|| state(&gateway, a.address()), |state| state == "up");
    gateway.eventually(
        || client.call("GET /open/x", &[], "").text(),
        |text| text == "a",
    );
    let log = gateway.log();
    for said in [
        "a server is left out: its health checks fail",
        "a server's health checks succeed again",
    ] {
        assert_eq!(log.matches(said).count(), 1, "{log}");
    }
    assert!(log.contains("it answered 503"), "{log}");
}

#[test]
fn when_every_server_is_out_the_answer_is_503_at_once_and_nobody_is_asked() {
    let (a, down) = (Member::start("a"), nobody());
    let (_folder, gateway) = gateway(&format!(
        "servers = [\"http://{}\", \"http://{down}\"]\nhealth = {{ path = \"/up\", interval = \"50ms\", unhealthy = 1, healthy = 1 }}",
        a.address()
    ));
    a.answer(500);
    for address in [a.address(), down] {
        gateway.eventually(|| state(&gateway, address), |state| state == "down");
    }
    let mut client = gateway.connect();
    let mut longest = Duration::ZERO;
    for _ in 0..100 {
        let begun = Instant::now();
        let answer = client.call("GET /open/x", &[], "");
        longest = longest.max(begun.elapsed());
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "ERR_UPSTREAM_UNAVAILABLE")
        );
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(a.count("/open/x"), 0);
    println!("longest of 100 refusals with every server out: {longest:?}");
    assert!(longest < Duration::from_secs(10));
    let metrics = gateway.admin("/metrics").text();
    let line = "keygate_upstream_refused_total{upstream=\"chat\",reason=\"all_out\"} 100";
    assert!(metrics.contains(line), "{metrics}");
    gateway.wait_for_log(|line| line.contains("upstream_all_out"));
    a.answer(200);
    gateway.eventually(
        || client.call("GET /open/x", &[], "").status,
        |status| *status == 200,
    );
}

#[test]
fn a_server_whose_answers_fail_is_ejected_and_comes_back_slowly() {
    let (a, b) = (Member::start("a"), Member::start("b"));
    let (_folder, gateway) = gateway(&format!(
        "servers = [\"http://{}\", \"http://{}\"]\nbalance = \"round-robin\"\n\
         eject = {{ failures = 3, for = \"500ms\" }}\nslow_start = \"1h\"",
        a.address(),
        b.address()
    ));
    let mut client = gateway.connect();
    a.answer(404);
    for _ in 0..20 {
        client.call("GET /open/x", &[], "");
    }
    assert_eq!(state(&gateway, a.address()), "up", "404 is no failure");
    let before = a.count("/open/x");
    a.answer(502);
    let failed = (0..20)
        .filter(|_| client.call("GET /open/x", &[], "").status == 502)
        .count();
    assert_eq!(failed, 3, "as many as may fail in a row");
    assert_eq!(a.count("/open/x"), before + 3);
    gateway.wait_for_log(|l| l.contains("a server is left out: its requests failed"));
    a.answer(200);
    gateway.eventually(
        || state(&gateway, a.address()),
        |state| state == "returning",
    );
    // A tenth of its weight: 1 of 11 in turn.
    let texts: String = (0..110)
        .map(|_| client.call("GET /open/x", &[], "").text())
        .collect();
    let share = texts.matches('a').count();
    assert!((9..=11).contains(&share), "{texts}");
    let metrics = gateway.admin("/metrics").text();
    let line = format!(
        "keygate_upstream_server_ejections_total{{upstream=\"chat\",server=\"{0}\",address=\"{0}\"}} 1",
        a.address()
    );
    assert!(metrics.contains(&line), "{metrics}");
}

#[test]
fn one_server_alone_with_eject_is_a_circuit_breaker_and_its_first_failure_after_the_return_opens_it_again()
 {
    let a = Member::start("a");
    let (_folder, gateway) = gateway(&format!(
        "servers = \"http://{}\"\neject = {{ failures = 2, for = \"300ms\", status = [500] }}",
        a.address()
    ));
    let mut client = gateway.connect();
    a.answer(500);
    let mut ask = || client.call("GET /open/x", &[], "");
    assert_eq!((ask().status, ask().status), (500, 500));
    let refused = ask();
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(a.count("/open/x"), 2);
    gateway.eventually(|| state(&gateway, a.address()), |state| state == "up");
    assert_eq!(ask().status, 500, "one gets through");
    assert_eq!(ask().status, 503, "and it was one too many");
    assert_eq!(a.count("/open/x"), 3);
    a.answer(200);
    gateway.eventually(|| ask().status, |status| *status == 200);
    a.answer(500);
    assert_eq!((ask().status, ask().status), (500, 500), "forgiven");
}

#[test]
fn without_health_and_eject_no_server_is_ever_refused() {
    let a = Member::start("a");
    let down = nobody();
    let (_folder, gateway) = gateway(&format!(
        "servers = [\"http://{}\", \"http://{down}\"]",
        a.address()
    ));
    let mut client = gateway.connect();
    a.answer(503);
    for _ in 0..30 {
        let answer = client.call("GET /open/x", &[], "");
        assert_eq!((answer.status, answer.text().as_str()), (503, "a"));
    }
}

#[test]
fn servers_of_http2_and_of_unix_sockets_are_checked_as_what_they_are() {
    // Another gateway, which speaks HTTP/2 in clear text and knows no such path without a key.
    let (_kept, other) = gateway(&format!("servers = \"http://{}\"", nobody()));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("server");
    let socket = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || {
        for stream in socket.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let _ = stream.write_all(b"HTTP/1.1 418 Any\r\ncontent-length: 0\r\n\r\n");
        }
    });
    for (url, status) in [
        (format!("h2c://{}", other.address), "401"),
        (format!("unix:{}", path.display()), "418"),
    ] {
        let (_folder, gateway) = gateway(&format!(
            "servers = \"{url}\"\nhealth = {{ path = \"/keyed/x\", interval = \"50ms\" }}"
        ));
        let line = gateway.wait_for_log(|l| l.contains("its health checks fail"));
        assert!(line.contains(&format!("it answered {status}")), "{line}");
        assert_eq!(gateway.call("GET /open/x", &[], "").status, 503);
    }
}
