//! Clients that show certificates: who may, who must, and whose are believed.

mod support;

use rustls::HandshakeKind;
use std::io;
use support::certificates::{Authority, Caller, Key, Pair, folder, put};
use support::trial::until;
use support::{Folder, Gateway, ROUTES, Upstream};

struct House {
    authority: Authority,
    /// Whose certificates are believed of clients.
    clients: Authority,
    gateway: Gateway,
    folder: Folder,
    _upstream: Upstream,
}

impl House {
    fn new(mode: &str) -> Self {
        let upstream = Upstream::echo();
        let (authority, clients) = (Authority::new("tests"), Authority::new("clients"));
        let server = format!(
            "tls = {{ cert = \"a.pem\", key = \"a.key\" }}\ntls_client_auth = {{ ca = \"ca.pem\", mode = \"{mode}\" }}"
        );
        let folder = folder(upstream.address, &server, "", ROUTES);
        authority.sign(&["a.example"]).write(folder.path(), "a");
        put(folder.path(), "ca.pem", &clients.pem, 0o644);
        House {
            gateway: folder.start(),
            authority,
            clients,
            folder,
            _upstream: upstream,
        }
    }

    /// The status of an answer to a client that shows this. In TLS 1.3 it learns of its refusal only when it reads.
    fn asked(&self, identity: Option<&Pair>, version: Version) -> io::Result<u16> {
        let caller = Caller::with(&self.authority, "a.example", &[version], identity);
        let mut client = caller.connect(self.gateway.address)?;
        client.get("/open/x", &[]).map(|answer| answer.status)
    }
}

type Version = &'static rustls::SupportedProtocolVersion;

const VERSIONS: [Version; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn who_must_show_a_certificate_is_refused_without_a_good_one() {
    for (mode, without) in [("required", false), ("optional", true)] {
        let house = House::new(mode);
        let good = house.clients.sign(&["client"]);
        let foreign = Authority::new("clients").sign(&["client"]);
        let servers = house.authority.sign(&["a.example"]);
        let over = house.clients.sign_with(&["client"], Key::Ecdsa, (-30, -1));
        let rsa = house.clients.sign_with(&["client"], Key::Rsa, (-1, 30));
        for version in VERSIONS {
            for (what, identity, passes) in [
                ("none", None, without),
                ("a good one", Some(&good), true),
                ("a good one of RSA", Some(&rsa), true),
                (
                    "one of another authority of the same name",
                    Some(&foreign),
                    false,
                ),
                (
                    "one of the authority that signed ours",
                    Some(&servers),
                    false,
                ),
                ("one that has expired", Some(&over), false),
            ] {
                let asked = house.asked(identity, version);
                assert_eq!(
                    asked.as_ref().ok(),
                    passes.then_some(&200),
                    "{mode}, {what}, {version:?}: {asked:?}"
                );
            }
        }
        // Of each version, the foreign one is not even sent in some cases: the client sees that nobody would believe it.
        let page = house.gateway.admin("/metrics").text();
        assert!(
            page.contains("keygate_connections_ended_total{reason=\"tls_client_certificate\"}"),
            "{page}"
        );
    }
}

#[test]
fn whoever_is_not_believed_any_more_cannot_resume_what_it_began() {
    let house = House::new("required");
    let good = house.clients.sign(&["client"]);
    let caller = Caller::with(&house.authority, "a.example", &[VERSIONS[1]], Some(&good));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut client = caller.connect(house.gateway.address).unwrap();
        assert_eq!(client.kind(), kind);
        assert_eq!(client.get("/open/x", &[]).unwrap().status, 200);
    }
    let others = Authority::new("others");
    put(house.folder.path(), "ca.pem", &others.pem, 0o644);
    until("the other authority is in force", || {
        house.gateway.status()["policy"]["generation"] == 2
    });
    let asked = caller
        .connect(house.gateway.address)
        .and_then(|mut client| client.get("/open/x", &[]));
    assert!(asked.is_err(), "{asked:?}");
}
