//! A connection that is idle for a while holds next to nothing, and is as good as before when its client speaks again.

mod support;

use support::certificates::{Authority, Caller, folder};
use support::{Folder, Gateway, ROUTES, Upstream};

const RESTING: &str = "keygate_connections_resting";

fn scene(main: &str) -> (Upstream, Folder, Gateway) {
    let upstream = Upstream::echo();
    let folder = Folder::new(upstream.address, main, ROUTES);
    let gateway = folder.start();
    (upstream, folder, gateway)
}

#[test]
fn a_client_is_served_after_each_rest() {
    let upstream = Upstream::echo();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let key = folder.new_key("Rest API Key", "fullAccess");
    let gateway = folder.start();
    let headers = [&*format!("apikey: {key}")];
    let mut client = gateway.connect();
    for body in ["", "a body", ""] {
        let answer = client.call("POST /v3/users", &headers, body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        gateway.wait_for_metric(RESTING, 1);
        assert_eq!(client.call("GET /v3/users", &[], "").status, 401);
        gateway.wait_for_metric(RESTING, 1);
    }
    // A head that comes in pieces, and two requests at once.
    client.send("GET /open/x HT");
    gateway.wait_for_metric(RESTING, 0);
    client.send("TP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer(false).status, 200);
    gateway.wait_for_metric(RESTING, 1);
    let one = "GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send([one, one].concat());
    assert_eq!(client.answer(false).status, 200);
    assert_eq!(client.answer(false).status, 200);
    assert_eq!(upstream.seen().len(), 6);
    assert_eq!(gateway.metric("keygate_connections_accepted_total"), 1);
}

#[test]
fn a_client_in_tls_is_served_after_a_rest_in_the_same_session() {
    let upstream = Upstream::echo();
    let authority = Authority::new("tests");
    let tls = r#"tls = { cert = "a.pem", key = "a.key" }"#;
    let folder = folder(upstream.address, tls, "", ROUTES);
    authority.sign(&["a.example"]).write(folder.path(), "a");
    let gateway = folder.start();
    let mut client = Caller::of(&authority, "a.example")
        .connect(gateway.address)
        .expect("TLS");
    for _ in 0..3 {
        assert_eq!(client.get("/open/x", &[]).expect("an answer").status, 200);
        gateway.wait_for_metric(RESTING, 1);
    }
    drop(client);
    gateway.wait_for_metric(RESTING, 0);
    gateway.wait_for_metric("keygate_connections", 0);
}

#[test]
fn a_rest_ends_with_the_time_for_a_next_request_and_with_the_client() {
    let (_upstream, _folder, gateway) = scene("[timeouts]\nidle = \"3s\"\n");
    let mut client = gateway.connect();
    assert_eq!(client.call("GET /open/x", &[], "").status, 200);
    gateway.wait_for_metric(RESTING, 1);
    assert!(client.is_closed(), "idle for too long");
    gateway.wait_for_metric(RESTING, 0);

    let mut client = gateway.connect();
    assert_eq!(client.call("GET /open/x", &[], "").status, 200);
    gateway.wait_for_metric(RESTING, 1);
    drop(client);
    gateway.wait_for_metric("keygate_connections", 0);
}

#[test]
fn a_rest_ends_when_the_gateway_does() {
    let (_upstream, _folder, mut gateway) = scene("[timeouts]\ndrain = \"10m\"\n");
    let mut client = gateway.connect();
    assert_eq!(client.call("GET /open/x", &[], "").status, 200);
    gateway.wait_for_metric(RESTING, 1);
    gateway.signal("TERM");
    assert!(client.is_closed(), "the gateway leaves");
    assert_eq!(gateway.wait().code(), Some(0));
}

/// What is idle for a shorter time than it takes to rest ends as ever.
#[test]
fn a_short_time_for_a_next_request_is_kept_to() {
    let (_upstream, _folder, gateway) = scene("[timeouts]\nidle = \"100ms\"\n");
    let mut client = gateway.connect();
    assert_eq!(client.call("GET /open/x", &[], "").status, 200);
    assert!(client.is_closed());
    assert_eq!(gateway.metric(RESTING), 0);
}
