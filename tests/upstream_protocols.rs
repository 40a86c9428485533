//! Upstreams of every kind: HTTP/1.1 and HTTP/2, over TCP, TLS and Unix sockets. Whatever the client speaks and whatever the
//! upstream speaks, the same request arrives and the same answer comes back, bodies and trailers included; what breaks off
//! on one side breaks off on the other.

mod support;

use support::wire::{Authority, Caller, End, Framing, Server, Wire, hash, noise};
use support::{Folder, Gateway, ROUTES, fleet};

/// A gateway before this server, whose certificate it trusts.
fn gateway(server: &Server, authority: &Authority) -> (Folder, Gateway) {
    let tls = match server.wire {
        Wire::TlsHttp1 | Wire::TlsHttp2 => "tls.ca = \"ca.pem\"",
        Wire::Http1 | Wire::Http2 | Wire::Unix | Wire::UnixHttp2 => "",
    };
    let chat = format!("servers = [\"{}\"]\n{tls}", server.url);
    let folder = Folder::with_main(&fleet::main(1, "", &chat), ROUTES);
    authority.write(folder.path());
    let gateway = folder.start();
    (folder, gateway)
}

const WIRES: [Wire; 6] = [
    Wire::Http1,
    Wire::Http2,
    Wire::Unix,
    Wire::UnixHttp2,
    Wire::TlsHttp1,
    Wire::TlsHttp2,
];
const CLIENTS: [Wire; 2] = [Wire::Http1, Wire::Http2];

#[test]
fn the_same_request_arrives_and_the_same_answer_comes_back_over_every_pair_of_protocols() {
    let authority = Authority::new();
    for wire in WIRES {
        let upstream = Server::telling(wire, &authority);
        let (_folder, gateway) = gateway(&upstream, &authority);
        for client in CLIENTS {
            let mut caller = Caller::connect(gateway.address, client, &authority);
            for (method, size) in [
                ("GET", 0),
                ("DELETE", 0),
                ("POST", 1),
                ("PUT", 100_000),
                ("POST", 3_000_000),
            ] {
                let body = noise(size);
                let what = format!("{client:?} to {wire:?}: {method} {size}");
                let answer = caller.call(method, "/open/x?a=b", &[("x-a", "1")], &body);
                assert_eq!(answer.status, 200, "{what}: {answer:?}");
                let told = format!("{method} /open/x?a=b {size} {}", hash(&body));
                assert_eq!(answer.text(), told, "{what}");
                let heard = upstream.heard().pop().expect("it came");
                assert_eq!(heard.headers["x-a"], "1", "{what}");
                assert_eq!(heard.end, Some(End::Whole), "{what}");
                for name in ["connection", "transfer-encoding", "te", "upgrade"] {
                    let ours = name == "transfer-encoding" && heard.version < http::Version::HTTP_2;
                    assert!(ours || !heard.headers.contains_key(name), "{what}: {name}");
                }
                let host = upstream
                    .address
                    .map_or("localhost".into(), |a| a.to_string());
                assert_eq!(heard.host, host, "{what}");
            }
        }
        assert_eq!(upstream.connections(), 1, "{wire:?}: one is enough");
    }
}

#[test]
fn trailers_of_an_answer_reach_a_client_of_http2_without_what_belongs_in_a_head() {
    let authority = Authority::new();
    for wire in [Wire::Http2, Wire::TlsHttp2] {
        let upstream = Server::start(wire, &authority, |mut call| {
            let mut body = call.begin(200, &[], Framing::Open);
            body.send("data");
            body.trailers(&[("grpc-status", "0"), ("x-sum", "1"), ("set-cookie", "a=b")]);
        });
        let (_folder, gateway) = gateway(&upstream, &authority);
        let mut caller = Caller::connect(gateway.address, Wire::Http2, &authority);
        let answer = caller.call("GET", "/open/x", &[], b"");
        assert_eq!(answer.text(), "data", "{wire:?} {answer:?}");
        assert_eq!(answer.trailer("grpc-status"), Some("0"), "{wire:?}");
        assert_eq!(answer.trailer("x-sum"), Some("1"), "{wire:?}");
        assert_eq!(answer.trailer("set-cookie"), None, "{wire:?}");
        // They end at a client of HTTP/1.1.
        let mut caller = Caller::connect(gateway.address, Wire::Http1, &authority);
        let answer = caller.call("GET", "/open/x", &[("te", "trailers")], b"");
        assert_eq!((answer.text().as_str(), answer.broken), ("data", None));
        assert_eq!(answer.trailers, None, "{wire:?}");
    }
}

#[test]
fn a_call_of_grpc_keeps_its_trailers_both_ways_and_says_that_it_reads_them() {
    let authority = Authority::new();
    for wire in [Wire::Http2, Wire::TlsHttp2] {
        let upstream = Server::start(wire, &authority, |mut call| {
            call.read_all().expect("a whole call");
            let mut body = call.begin(200, &[], Framing::Open);
            body.send("reply");
            body.trailers(&[("grpc-status", "0")]);
        });
        let (_folder, gateway) = gateway(&upstream, &authority);
        let mut caller = Caller::connect(gateway.address, Wire::Http2, &authority);
        for (kind, passes) in [("application/grpc+proto", true), ("text/plain", false)] {
            let headers = [("content-type", kind), ("te", "trailers")];
            let mut call = caller.open("POST", "/open/x", &headers, Framing::Open);
            call.send("message");
            call.trailers(&[("x-sum", "1"), ("x-keygate-scope", "all"), ("apikey", "k")]);
            let answer = call.rest();
            assert_eq!(answer.text(), "reply", "{answer:?}");
            assert_eq!(answer.trailer("grpc-status"), Some("0"));
            let heard = upstream.heard().pop().expect("it came");
            let te = heard.headers.get("te").map(|te| te.as_bytes());
            assert_eq!(te, passes.then_some(&b"trailers"[..]), "{kind}");
            let trailers = heard.trailers.unwrap_or_default();
            assert_eq!(trailers.contains_key("x-sum"), passes, "{kind}");
            assert!(!trailers.contains_key("x-keygate-scope"), "{kind}");
            assert!(!trailers.contains_key("apikey"), "{kind}");
        }
    }
}

#[test]
fn an_upload_that_its_client_breaks_off_never_looks_whole() {
    let authority = Authority::new();
    for wire in WIRES {
        let upstream = Server::start(wire, &authority, |mut call| {
            let _ = call.read_all();
        });
        let (_folder, gateway) = gateway(&upstream, &authority);
        for client in CLIENTS {
            let what = format!("{client:?} to {wire:?}");
            let mut caller = Caller::connect(gateway.address, client, &authority);
            let mut call = caller.open("POST", "/open/x", &[], Framing::Open);
            call.send(noise(10_000));
            let before = upstream.heard().len();
            upstream.wait_for(&what, |heard| {
                heard.len() >= before.max(1) && heard.last().is_some_and(|h| h.bytes == 10_000)
            });
            call.abort();
            drop((call, caller));
            let heard = upstream.wait_for(&what, |heard| heard.last().unwrap().end.is_some());
            assert_eq!(heard.last().unwrap().end, Some(End::Broken), "{what}");
        }
    }
}

#[test]
fn an_answer_that_breaks_off_is_cut_and_never_looks_whole() {
    let authority = Authority::new();
    for wire in WIRES {
        for framing in [Framing::Open, Framing::Length(100)] {
            let upstream = Server::start(wire, &authority, move |mut call| {
                let mut body = call.begin(200, &[], framing);
                body.send("half");
                body.abort();
            });
            let (_folder, gateway) = gateway(&upstream, &authority);
            for client in CLIENTS {
                let mut caller = Caller::connect(gateway.address, client, &authority);
                let answer = caller.call("GET", "/open/x", &[], b"");
                let what = format!("{client:?} to {wire:?}, {framing:?}: {answer:?}");
                assert!(answer.status != 200 || answer.broken.is_some(), "{what}");
            }
        }
    }
}

#[test]
fn answers_without_a_body_stay_without_one() {
    let authority = Authority::new();
    for wire in WIRES {
        let upstream = Server::start(wire, &authority, |call| {
            match call.heard.target.rsplit('/').next() {
                Some("204") => call.begin_and_leave(204, &[]),
                Some("304") => call.begin_and_leave(304, &[("etag", "\"a\"")]),
                _ => call.begin_and_leave(200, &[("content-length", "4000")]),
            }
        });
        let (_folder, gateway) = gateway(&upstream, &authority);
        for client in CLIENTS {
            let mut caller = Caller::connect(gateway.address, client, &authority);
            for _ in 0..2 {
                for (method, path, status) in [
                    ("GET", "/open/204", 204),
                    ("GET", "/open/304", 304),
                    ("HEAD", "/open/200", 200),
                ] {
                    let answer = caller.call(method, path, &[], b"");
                    let what = format!("{client:?} to {wire:?} {path}: {answer:?}");
                    assert_eq!(answer.status, status, "{what}");
                    assert!(answer.body.is_empty() && answer.broken.is_none(), "{what}");
                    if method == "HEAD" {
                        assert_eq!(answer.header("content-length"), Some("4000"), "{what}");
                    }
                }
            }
        }
        assert_eq!(upstream.connections(), 1, "{wire:?}");
    }
}

#[test]
fn a_server_that_leaves_in_good_order_costs_no_request() {
    let authority = Authority::new();
    for wire in [Wire::Http2, Wire::TlsHttp2] {
        let upstream = Server::telling(wire, &authority);
        let (_folder, gateway) = gateway(&upstream, &authority);
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..4)
                .map(|number| {
                    let (gateway, authority) = (&gateway, &authority);
                    scope.spawn(move || {
                        let client = CLIENTS[number % 2];
                        let mut caller = Caller::connect(gateway.address, client, authority);
                        for round in 0..60 {
                            let (method, body) = match round % 2 {
                                0 => ("GET", &b""[..]),
                                _ => ("POST", &b"body"[..]),
                            };
                            let answer = caller.call(method, "/open/x", &[], body);
                            let id = answer.header("x-request-id").unwrap_or("none");
                            let line = || gateway.wait_for_log(|line| line.contains(id));
                            assert_eq!(answer.status, 200, "{method} {round}: {}", line());
                        }
                    })
                })
                .collect();
            let mut last = 0;
            while callers.iter().any(|caller| !caller.is_finished()) {
                let heard = upstream.heard().len();
                if heard >= last + 20 {
                    last = heard;
                    upstream.go_away();
                }
                std::thread::yield_now();
            }
        });
        assert!(upstream.connections() > 1, "{wire:?}");
    }
}
