//! The order of an end: `/readyz` turns first, then everything is served for a while, and only then listeners close.

mod support;

use std::net::TcpStream;
use support::{Folder, ROUTES, Upstream};

#[test]
fn readiness_turns_first_and_everything_is_served_until_the_delay_is_over() {
    let upstream = Upstream::echo();
    let main = "[timeouts]\ndrain_delay = \"3s\"";
    let folder = Folder::new(upstream.address, main, ROUTES);
    let mut gateway = folder.start();
    let mut kept = gateway.connect();
    assert_eq!(kept.call("GET /open/x", &[], "").status, 200);
    assert_eq!(gateway.admin("/readyz").status, 200);
    gateway.signal("TERM");
    let unready = gateway.eventually(|| gateway.admin("/readyz"), |answer| answer.status != 200);
    assert_eq!(unready.status, 503);
    assert_eq!(unready.json()["drain"]["reason"], "draining");
    // Whoever has not heard of it yet is served, on a new connection and on one that is there.
    assert_eq!(gateway.call("GET /open/x", &[], "").status, 200);
    let answer = kept.call("GET /open/x", &[], "");
    assert_eq!((answer.status, answer.header("connection")), (200, None));
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(kept.is_closed());
    TcpStream::connect(gateway.address).expect_err("nobody listens");
}

#[test]
fn a_second_signal_ends_the_delay() {
    let upstream = Upstream::echo();
    let main = "[timeouts]\ndrain_delay = \"1h\"";
    let folder = Folder::new(upstream.address, main, ROUTES);
    let mut gateway = folder.start();
    gateway.signal("TERM");
    gateway.wait_for_log(|line| line.contains(r#""message":"draining""#));
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0));
}
