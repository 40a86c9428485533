//! The shortest way through the whole gateway: a key, a permitted request, a refused one, a drain.

mod support;

use support::{Folder, ROUTES, Upstream};

#[test]
fn a_permitted_request_reaches_the_upstream_and_a_refused_one_does_not() {
    let upstream = Upstream::echo();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let key = folder.new_key("Rest API Key", "fullAccess");
    let mut gateway = folder.start();

    let mut client = gateway.connect();
    let answer = client.call("GET /v3/users?limit=1", &[&format!("apikey: {key}")], "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["target"], "/v3/users?limit=1");
    let refused = client.call(
        "GET /v3/users",
        &["apikey: 0123456789012345678901234567890123456789"],
        "",
    );
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (401, "AUTH_ERR_APIKEY_NOT_FOUND")
    );

    let seen = upstream.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("apikey"), None);
    assert_eq!(
        seen[0].header("x-keygate-key-name"),
        Some("Rest%20API%20Key")
    );

    drop(client);
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0), "{}", gateway.log());
}
