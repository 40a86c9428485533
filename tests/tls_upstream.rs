//! Upstreams in TLS: whom the gateway believes, as whom it appears, which name it asks for. Whom it does not believe gets
//! nothing of a request.

mod support;

use std::process::Command;
use support::certificates::{Authority, Key, Pair, SecureServer, folder, put};
use support::trial::until;
use support::{Folder, Gateway, KEYGATE, ROUTES};

/// A configuration for a server at this authority, with these lines for its upstream.
fn before(server: &str, lines: &str) -> Folder {
    let main = format!("[upstreams.secure]\nservers = [\"https://{server}\"]\n{lines}\n");
    let routes = format!(
        "{ROUTES}[[routes]]\npath = \"/secure\"\naccess = \"public\"\nupstream = \"secure\"\n"
    );
    folder(([127, 0, 0, 1], 9).into(), "", &main, &routes)
}

fn ask(gateway: &Gateway) -> u16 {
    gateway.call("GET /secure", &[], "").status
}

fn localhost(server: &SecureServer) -> String {
    format!("localhost:{}", server.address.port())
}

#[test]
fn a_server_is_believed_whose_certificate_is_good_for_its_name() {
    let authority = Authority::new("tests");
    let stranger = Authority::new("tests");
    let named = authority.sign(&["localhost"]);
    let other = authority.sign(&["other.example"]);
    let addressed = authority.sign(&["127.0.0.1"]);
    let over = authority.sign_with(&["localhost"], Key::Ecdsa, (-30, -1));
    let foreign = stranger.sign(&["localhost"]);
    let ca = "tls.ca = \"ca.pem\"";
    let as_other = "tls = { ca = \"ca.pem\", server_name = \"other.example\" }";
    for (what, shown, by_name, lines, status, asked) in [
        ("good", &named, true, ca, 200, Some("localhost")),
        ("for the address", &addressed, false, ca, 200, None),
        ("not for the address", &named, false, ca, 502, None),
        ("of another name", &other, true, ca, 502, None),
        (
            "of the name that is set",
            &other,
            true,
            as_other,
            200,
            Some("other.example"),
        ),
        (
            "of the server's name where another is set",
            &named,
            true,
            as_other,
            502,
            None,
        ),
        ("expired", &over, true, ca, 502, None),
        (
            "of somebody else by the same name",
            &foreign,
            true,
            ca,
            502,
            None,
        ),
        // The system knows nothing of this authority.
        (
            "of nobody whom the system knows",
            &named,
            true,
            "",
            502,
            None,
        ),
    ] {
        let server = SecureServer::start(shown, None);
        let place = match by_name {
            true => localhost(&server),
            false => server.address.to_string(),
        };
        let folder = before(&place, lines);
        put(folder.path(), "ca.pem", &authority.pem, 0o644);
        let gateway = start_without_system_roots(&folder);
        assert_eq!(ask(&gateway), status, "{what}\n{}", gateway.log());
        assert_eq!(server.name().as_deref(), asked, "{what}");
        if status == 502 {
            assert_eq!(server.connections().0, 0, "{what}");
            let log = gateway.wait_for_log(|line| line.contains("\"status\":502"));
            assert!(log.contains("upstream"), "{log}");
        }
    }
}

/// A gateway whose system's roots are one that nobody was signed by, whatever this machine has.
fn start_without_system_roots(folder: &Folder) -> Gateway {
    start_with_system_roots(folder, &Authority::new("nobody"))
}

/// A gateway whose system's roots are this one.
fn start_with_system_roots(folder: &Folder, authority: &Authority) -> Gateway {
    put(folder.path(), "system.pem", &authority.pem, 0o644);
    let mut command = Command::new(KEYGATE);
    command
        .args(["run", "--config"])
        .arg(folder.config())
        .env_remove("KEYGATE_SECRET")
        .env_remove("SSL_CERT_DIR")
        .env("SSL_CERT_FILE", folder.path().join("system.pem"));
    Gateway::of(command)
}

#[test]
fn without_a_file_of_roots_the_system_s_are_believed() {
    let authority = Authority::new("tests");
    let server = SecureServer::start(&authority.sign(&["localhost"]), None);
    let folder = before(&localhost(&server), "");
    let gateway = start_with_system_roots(&folder, &authority);
    assert_eq!(ask(&gateway), 200, "{}", gateway.log());
    // With a file of roots the system's are not.
    let folder = before(&localhost(&server), "tls.ca = \"ca.pem\"");
    put(
        folder.path(),
        "ca.pem",
        &Authority::new("others").pem,
        0o644,
    );
    let gateway = start_with_system_roots(&folder, &authority);
    assert_eq!(ask(&gateway), 502, "{}", gateway.log());
}

#[test]
fn a_server_that_wants_to_know_who_comes_is_told() {
    let (authority, clients) = (Authority::new("tests"), Authority::new("clients"));
    let server = SecureServer::start(&authority.sign(&["localhost"]), Some(&clients));
    let own = clients.sign(&["gateway"]);
    let foreign = Authority::new("clients").sign(&["gateway"]);
    let with = "tls = { ca = \"ca.pem\", cert = \"own.pem\", key = \"own.key\" }";
    for (what, lines, pair, status) in [
        ("its own", with, &own, 200),
        ("one of somebody else", with, &foreign, 502),
        ("none", "tls.ca = \"ca.pem\"", &own, 502),
    ] {
        let folder = before(&localhost(&server), lines);
        put(folder.path(), "ca.pem", &authority.pem, 0o644);
        pair.write(folder.path(), "own");
        let gateway = folder.start();
        assert_eq!(ask(&gateway), status, "{what}\n{}", gateway.log());
        assert_eq!(
            gateway.status()["certificates"][0]["names"],
            match lines == with {
                true => serde_json::json!(["gateway"]),
                false => serde_json::Value::Null,
            },
            "{what}"
        );
        if status == 200 {
            assert!(server.was_shown(pair), "{what}");
        }
    }
}

#[test]
fn what_is_replaced_on_the_disk_is_used_for_the_next_connection() {
    let (authority, clients) = (Authority::new("tests"), Authority::new("clients"));
    let server = SecureServer::start(&authority.sign(&["localhost"]), Some(&clients));
    let with = "tls = { ca = \"ca.pem\", cert = \"own.pem\", key = \"own.key\" }";
    let folder = before(&localhost(&server), with);
    put(folder.path(), "ca.pem", &authority.pem, 0o644);
    let first = clients.sign(&["gateway"]);
    first.write(folder.path(), "own");
    let gateway = folder.start();
    let generation = || gateway.status()["policy"]["generation"].as_u64();
    assert_eq!(ask(&gateway), 200, "{}", gateway.log());
    assert!(server.was_shown(&first));
    let second = clients.sign(&["gateway"]);
    second.write(folder.path(), "own");
    until("the second is shown", || {
        assert_eq!(ask(&gateway), 200, "{}", gateway.log());
        server.was_shown(&second)
    });
    // Who is not believed any more is not asked, though there was a connection to it.
    let before = generation();
    put(
        folder.path(),
        "ca.pem",
        &Authority::new("others").pem,
        0o644,
    );
    until("the other authority is in force", || generation() > before);
    until("nobody is believed", || ask(&gateway) == 502);
    assert_eq!(ask(&gateway), 502);
}

#[test]
fn connections_to_a_server_are_resumed_also_across_reloads() {
    let authority = Authority::new("tests");
    let server = SecureServer::start(&authority.sign(&["localhost"]), None);
    let folder = before(&localhost(&server), "tls.ca = \"ca.pem\"");
    put(folder.path(), "ca.pem", &authority.pem, 0o644);
    let gateway = folder.start();
    let fresh = || {
        let answer = gateway.call("GET /secure", &["X-Close: yes"], "");
        assert_eq!(answer.status, 200, "{}", gateway.log());
    };
    fresh();
    fresh();
    let (connections, resumed) = server.connections();
    assert_eq!((connections, resumed), (2, 1));
    let routes = std::fs::read_to_string(folder.path().join("routes.toml")).unwrap();
    let more = "[[routes]]\npath = \"/more\"\naccess = \"deny\"\n";
    folder.write("routes.toml", &format!("{routes}{more}"));
    until("the route is in force", || {
        gateway.status()["policy"]["generation"] == 2
    });
    fresh();
    let (connections, resumed) = server.connections();
    assert_eq!((connections, resumed), (3, 2));
}

#[test]
fn faulty_settings_of_an_upstream_are_named_where_they_stand() {
    let authority = Authority::new("tests");
    let own: Pair = authority.sign(&["gateway"]);
    for (lines, expected) in [
        (
            "tls.ca = \"none.pem\"",
            "`upstreams.secure.tls.ca`: the file",
        ),
        (
            "tls = { ca = \"ca.pem\", cert = \"own.pem\" }",
            "`upstreams.secure.tls` has `cert` and needs `key` too",
        ),
        (
            "tls = { ca = \"ca.pem\", cert = \"own.pem\", key = \"other.key\" }",
            "`upstreams.secure.tls.key`: the private key does not belong to the certificate",
        ),
        (
            "tls = { ca = \"ca.pem\", server_name = \"a b\" }",
            "`upstreams.secure.tls.server_name`: no certificate can be for this name",
        ),
        ("tls = { verify = false }", "unknown field `verify`"),
        ("tls = { insecure = true }", "unknown field `insecure`"),
    ] {
        let folder = before("localhost:9", lines);
        put(folder.path(), "ca.pem", &authority.pem, 0o644);
        own.write(folder.path(), "own");
        authority.sign(&["b"]).write(folder.path(), "other");
        let checked = folder.keygate(&["check"]);
        assert_eq!(checked.status.code(), Some(2), "{lines}");
        assert!(
            checked.stderr.contains(expected),
            "{lines}: {}",
            checked.stderr
        );
    }
    let folder = before("localhost:9", "");
    let text = std::fs::read_to_string(folder.config()).unwrap();
    let clear = text.replace("https://", "http://");
    folder.write("keygate.toml", &format!("{clear}tls.ca = \"ca.pem\"\n"));
    let checked = folder.keygate(&["check"]);
    let expected = "`upstreams.secure.tls` is for servers with `https://`, of which there is none";
    assert!(checked.stderr.contains(expected), "{}", checked.stderr);
}
