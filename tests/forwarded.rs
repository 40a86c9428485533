//! Clients' addresses: what a trusted peer says in the one header that it speaks by, from the right, and what upstreams are
//! told of it.

mod support;

use support::{Folder, Gateway, Seen, Upstream};

struct House {
    upstream: Upstream,
    gateway: Gateway,
    _folder: Folder,
}

impl House {
    fn build(server: &str, upstream_fields: &str) -> House {
        let upstream = Upstream::echo();
        let folder = Folder::with_main(
            &format!(
                "include = [\"routes.toml\"]\n[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n{server}\n\
                 [admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n[keys]\nstore = \"sqlite:data/keygate.db\"\n\
                 secret = \"secret/master\"\n[upstreams.chat]\nservers = [\"http://{}\"]\n{upstream_fields}\n",
                upstream.address
            ),
            support::ROUTES,
        );
        let gateway = folder.start();
        House {
            upstream,
            gateway,
            _folder: folder,
        }
    }

    fn seen(&self, headers: &[&str]) -> Seen {
        let answer = self.gateway.call("GET /open/x", headers, "");
        assert_eq!(answer.status, 200, "{headers:?}: {}", answer.text());
        self.upstream.last()
    }
}

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]";

#[test]
fn a_trusted_peer_speaks_by_one_header_and_the_other_is_not_looked_at() {
    let by_for = House::build(TRUSTED, "");
    let by_forwarded = House::build(&format!("{TRUSTED}\nforwarded = \"forwarded\""), "");
    for (headers, chain_by_for, chain_by_forwarded, https) in [
        (&[][..], "127.0.0.1", "127.0.0.1", false),
        (
            &["X-Forwarded-For: 1.1.1.1", "Forwarded: for=2.2.2.2"],
            "1.1.1.1, 127.0.0.1",
            "2.2.2.2, 127.0.0.1",
            false,
        ),
        (
            &["X-Forwarded-For: 1.1.1.1"],
            "1.1.1.1, 127.0.0.1",
            "127.0.0.1",
            false,
        ),
        (
            &["Forwarded: for=2.2.2.2;proto=https"],
            "127.0.0.1",
            "2.2.2.2, 127.0.0.1",
            true,
        ),
        (
            &[
                "Forwarded: for=6.6.6.6;proto=https",
                "Forwarded: for=\", for=\"[2001:db8::1]:9\", for=10.0.0.7",
            ],
            "127.0.0.1",
            "2001:db8::1, 10.0.0.7, 127.0.0.1",
            false,
        ),
        (
            &[
                "X-Forwarded-For: 6.6.6.6",
                "X-Forwarded-For: \u{e4}, 1.1.1.1, 10.0.0.7",
            ],
            "1.1.1.1, 10.0.0.7, 127.0.0.1",
            "127.0.0.1",
            false,
        ),
    ] {
        let seen = by_for.seen(headers);
        assert_eq!(
            seen.header("x-forwarded-for"),
            Some(chain_by_for),
            "{headers:?}"
        );
        let seen = by_forwarded.seen(headers);
        assert_eq!(
            seen.header("x-forwarded-for"),
            Some(chain_by_forwarded),
            "{headers:?}"
        );
        let proto = if https { "https" } else { "http" };
        assert_eq!(seen.header("x-forwarded-proto"), Some(proto), "{headers:?}");
        assert_eq!(seen.header("forwarded"), None, "{headers:?}");
    }
    let client = by_forwarded
        .gateway
        .wait_for_log(|line| line.contains("2001:db8::1"));
    assert!(client.contains("\"client\":\"2001:db8::1\""), "{client}");
}

#[test]
fn a_peer_that_is_not_trusted_is_the_client_whatever_it_says() {
    for forwarded in ["x-forwarded-for", "forwarded"] {
        let house = House::build(&format!("forwarded = \"{forwarded}\""), "forwarded = true");
        let seen = house.seen(&[
            "X-Forwarded-For: 6.6.6.6",
            "Forwarded: for=6.6.6.6;proto=https;host=evil.test",
        ]);
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(
            seen.header("forwarded"),
            Some("for=127.0.0.1;host=\"gateway.test\";proto=http")
        );
        let raw = String::from_utf8_lossy(&house.upstream.raw()).into_owned();
        assert!(!raw.contains("6.6.6.6") && !raw.contains("evil"), "{raw}");
    }
}

#[test]
fn an_upstream_that_asks_for_it_is_told_by_forwarded_too() {
    let house = House::build(TRUSTED, "forwarded = true");
    let seen = house.seen(&[
        "X-Forwarded-For: 6.6.6.6, 2001:db8::1, 10.0.0.7",
        "X-Forwarded-Proto: https",
    ]);
    assert_eq!(
        seen.header("x-forwarded-for"),
        Some("2001:db8::1, 10.0.0.7, 127.0.0.1")
    );
    assert_eq!(
        seen.header("forwarded"),
        Some(
            "for=\"[2001:db8::1]\";host=\"gateway.test\";proto=https, for=10.0.0.7, for=127.0.0.1"
        )
    );
}
