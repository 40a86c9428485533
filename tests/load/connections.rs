//! Connections that end: between requests that is the server's right, in the middle of one it is a failure.

use super::against;
use super::server::{Then, answer_all, say, serve};
use crate::http2_server;
use std::net::TcpListener;
use std::sync::atomic::AtomicU64;
use std::thread;

fn count(ran: &super::Ran, name: &str) -> u64 {
    ran.report[name]
        .as_u64()
        .unwrap_or_else(|| panic!("{name}: {}", ran.said))
}

#[test]
fn a_server_that_ends_connections_between_requests_is_only_counted() {
    let announced = serve(|asked, out| {
        let text = asked.right();
        say(out, &text.replacen("\r\n", "\r\nConnection: close\r\n", 1));
        Then::End
    });
    let ran = against(
        announced,
        "fullAccess=1,unknown=1",
        &["--requests", "100", "-c", "4"],
    );
    ran.assert_ok(100);
    // The first four were there before the run.
    assert_eq!(count(&ran, "reconnects"), 96, "{}", ran.said);
    assert!(ran.said.contains("96 reconnects"), "{}", ran.said);

    let silent = serve(|asked, out| {
        say(out, &asked.right());
        match asked.on_connection {
            10 => Then::End,
            _ => Then::GoOn,
        }
    });
    let ran = against(
        silent,
        "fullAccess=1,unknown=1",
        &["--requests", "400", "-c", "4"],
    );
    ran.assert_ok(400);
    let (reconnects, resent) = (count(&ran, "reconnects"), count(&ran, "resent"));
    assert!((36..=40).contains(&reconnects), "{}", ran.said);
    assert!(resent <= reconnects, "{}", ran.said);
}

#[test]
fn a_request_without_any_of_an_answer_is_sent_again_where_that_is_harmless() {
    // It reads the second request of the first connection, and ends it.
    let server = || {
        serve(|asked, out| match (asked.number, asked.on_connection) {
            (2, 2) => Then::End,
            _ => say(out, &asked.right()),
        })
    };
    let ran = against(server(), "fullAccess=1", &["--requests", "5", "-c", "1"]);
    ran.assert_ok(5);
    assert_eq!((count(&ran, "resent"), count(&ran, "reconnects")), (1, 1));
    assert!(
        ran.said.contains("1 requests were sent again"),
        "{}",
        ran.said
    );

    let post = ["--requests", "5", "-c", "1", "--route", "POST /x body=3"];
    let ran = against(server(), "fullAccess=1", &post);
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert_eq!((count(&ran, "resent"), count(&ran, "failures")), (0, 1));
    assert_eq!(count(&ran, "answers"), 4);
}

#[test]
fn a_connection_that_ends_without_its_first_answer_is_a_failure() {
    let server = serve(|asked, out| match asked.number {
        1 => Then::End,
        _ => say(out, &asked.right()),
    });
    let ran = against(server, "fullAccess=1", &["--requests", "5", "-c", "1"]);
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert_eq!((count(&ran, "failures"), count(&ran, "answers")), (1, 4));
    assert_eq!(ran.report["steps"][0]["failures"]["closed"], 1);
}

#[test]
fn a_server_that_is_gone_is_tried_again_with_pauses_and_fails_the_run() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        drop(listener);
        answer_all(stream, &AtomicU64::new(0), &|asked, out| {
            say(out, &asked.right());
            Then::End
        });
    });
    let arguments = ["--requests", "3", "-c", "1", "--timeout", "200ms"];
    let ran = against(address, "fullAccess=1", &arguments);
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert_eq!((count(&ran, "answers"), count(&ran, "failures")), (1, 2));
    assert_eq!(ran.report["steps"][0]["failures"]["connect"], 2);
    // After 20, 40, 80 ms, for each of the two.
    let tries = count(&ran, "connectFailures");
    assert!((2..=8).contains(&tries), "{tries}: {}", ran.said);
    assert!(
        ran.said.contains("no connection could be made"),
        "{}",
        ran.said
    );
}

#[test]
fn a_server_that_says_goodbye_over_http2_is_only_counted() {
    let server = http2_server::serve(|number, reply| reply.is_last = number % 10 == 0);
    let arguments = ["--requests", "200", "-c", "2", "--http2", "--streams", "4"];
    let ran = against(server, "fullAccess=1,unknown=1", &arguments);
    ran.assert_ok(200);
    assert!(count(&ran, "reconnects") >= 10, "{}", ran.said);
}

#[test]
fn a_server_that_ends_every_http2_connection_at_once_is_not_tried_without_pauses() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || for _ in listener.incoming() {});
    let arguments = ["-c", "1", "--http2", "--duration", "200ms"];
    let ran = against(address, "fullAccess=1", &arguments);
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    let tries = count(&ran, "connectFailures");
    assert!((1..=20).contains(&tries), "{tries}: {}", ran.said);
}
