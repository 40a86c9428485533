//! What a network may do between the gateway and an upstream, and between a client and the gateway: every fault by every
//! kind of request, on connections that are fresh and on such as were used, over every wire. Each ends in the right
//! status within its deadline, the next request is served on another connection, and nothing is left behind.

mod support;

use bytes::Bytes;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;
use support::fault_proxy::{Fault, FaultProxy, Place};
use support::wire::{Authority, Caller, Outcome, Server, Wire, hash, noise};
use support::{Folder, Gateway};

/// What a large answer is.
fn answer_of(size: usize) -> Bytes {
    static MOST: OnceLock<Bytes> = OnceLock::new();
    MOST.get_or_init(|| noise(ENDLESS).into()).slice(..size)
}

/// How much more memory a round of faults may leave taken, in KiB.
const SLACK: u64 = 1024;

/// More than all buffers between the gateway and its client take.
const ENDLESS: usize = 8 * 1024 * 1024;

/// Bytes of a body that no fault of a head reaches, and that a fault of a body lies in.
const LARGE: usize = 64 * 1024;
const WITHIN: usize = 24 * 1024;

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Due {
    /// The whole answer, of this many bytes.
    Whole(usize),
    /// An error of the gateway's own.
    Error(u16, &'static str),
    /// The head of a 200, and then an end before that of the body.
    Cut,
}

const BAD: Due = Due::Error(502, "ERR_UPSTREAM_UNAVAILABLE");
const LATE: Due = Due::Error(504, "ERR_UPSTREAM_TIMEOUT");
const SHORT: usize = 200;

/// A fault, the size of the answer that it strikes, and what is due. Errors are due by deadlines that are short; what
/// is slow and comes is waited for with such as are long.
const FAULTS: &[(Fault, usize, Due)] = &[
    (
        Fault::Delay(Duration::from_millis(40)),
        LARGE,
        Due::Whole(LARGE),
    ),
    (
        Fault::Drip(Duration::from_millis(1)),
        SHORT,
        Due::Whole(SHORT),
    ),
    (Fault::Cut(0), LARGE, BAD),
    (Fault::Cut(5), LARGE, BAD),
    (Fault::Cut(WITHIN), LARGE, Due::Cut),
    (Fault::Reset(0), LARGE, BAD),
    (Fault::Reset(5), LARGE, BAD),
    (Fault::Reset(WITHIN), LARGE, Due::Cut),
    (Fault::HalfClose(0), LARGE, BAD),
    (Fault::HalfClose(WITHIN), LARGE, Due::Cut),
    (Fault::Silence(0), LARGE, LATE),
    (Fault::Silence(5), LARGE, LATE),
    (Fault::Silence(WITHIN), LARGE, Due::Cut),
    (Fault::BlackHole, LARGE, LATE),
    (Fault::Garbage, LARGE, BAD),
];

/// A gateway whose one upstream is behind a fault proxy.
struct House {
    wire: Wire,
    server: Server,
    proxy: FaultProxy,
    authority: Authority,
    gateway: Gateway,
    _folder: Folder,
}

const ROUTES: &str = r#"
[defaults]
upstream = "chat"
[[routes]]
path = "/{*rest}"
access = "public"
timeouts = { connect = "300ms", response = "300ms", body = "300ms", stream = "300ms" }
[[routes]]
path = "/large/{*rest}"
access = "public"
timeouts = { connect = "10m", response = "10m", body = "300ms", stream = "10m" }
[[routes]]
path = "/patient/{*rest}"
access = "public"
timeouts = { connect = "10m", response = "10m", body = "10m", stream = "10m" }
"#;

impl House {
    fn over(wire: Wire) -> Self {
        let authority = Authority::new();
        // The answer is as long as the target's last segment says.
        let server = Server::start(wire, &authority, |mut call| {
            if call.read_all().is_ok() {
                let target = call.heard.target.clone();
                let size = target.rsplit('/').next().and_then(|n| n.parse().ok());
                let told = call.told();
                call.answer(200, &[("x-told", &told)], answer_of(size.expect("a size")));
            }
        });
        let target = match server.address {
            Some(address) => Place::Tcp(address),
            None => Place::Unix(server.url.rsplit(':').next().expect("a path").into()),
        };
        let proxy = FaultProxy::before(target);
        let (scheme, _) = server.url.split_once(':').expect("a scheme");
        let url = match proxy.place() {
            Place::Tcp(address) => format!("{scheme}://{address}"),
            Place::Unix(path) => format!("{scheme}:{}", path.display()),
        };
        let tls = if wire.is_tls() {
            "tls = { ca = \"ca.pem\" }"
        } else {
            ""
        };
        let folder = Folder::with_main(
            &format!(
                r#"
include = ["routes.toml"]
[server]
listen = ["127.0.0.1:0"]
workers = 1
dumpable = true
[admin]
listen = "127.0.0.1:0"
[log]
format = "json"
[keys]
store = "sqlite:data/keygate.db"
secret = "secret/master"
[management]
paths = []
[timeouts]
head = "2s"
body = "300ms"
idle = "10m"
[upstreams.chat]
servers = ["{url}"]
{tls}
"#
            ),
            ROUTES,
        );
        authority.write(folder.path());
        let gateway = folder.start();
        House {
            wire,
            server,
            proxy,
            authority,
            gateway,
            _folder: folder,
        }
    }

    fn caller(&self) -> Caller {
        Caller::connect(self.gateway.address, Wire::Http1, &self.authority)
    }

    /// Waits until no more are open. The admin's connection that told the last metric may still be closing.
    fn descriptors_return_to(&self, count: Option<usize>) {
        self.gateway
            .eventually(|| self.gateway.descriptors(), |now| *now <= count);
    }

    /// Ends every connection to the upstream; the next request is to find a new one.
    fn end_connections(&self) {
        self.proxy.refuse();
        self.proxy.accept();
    }

    /// Leaves no connection to the upstream.
    fn close_upstream(&self) {
        self.end_connections();
        self.gateway
            .wait_for_metric("keygate_upstream_connections", 0);
    }

    /// One request that nothing strikes.
    fn serves(&self, caller: &mut Caller, method: &str, row: &str) {
        let body = body_of(method);
        let outcome = caller.call(method, "/patient/next/300", &[], body);
        let told = format!("{method} /patient/next/300 {} {}", body.len(), hash(body));
        assert_eq!(
            (outcome.status, outcome.header("x-told")),
            (200, Some(told.as_str())),
            "{row}: the next {method}: {}",
            outcome.text()
        );
        assert_eq!(outcome.body, answer_of(300), "{row}");
    }

    /// Each request arrived at most as often as its line in the log says that it was sent.
    fn attempts_cover_what_was_heard(&self) {
        let mut heard = HashMap::new();
        for request in self.server.heard() {
            let id = request.headers.get("x-request-id").expect("an id");
            let id = id.to_str().expect("text").to_owned();
            *heard.entry(id).or_insert(0) += 1;
        }
        // A line is written when the last byte of an answer is gone.
        let attempts = self.gateway.eventually(
            || {
                self.gateway
                    .attempts()
                    .into_iter()
                    .collect::<HashMap<_, _>>()
            },
            |attempts| heard.keys().all(|id| attempts.contains_key(id)),
        );
        for (id, heard) in heard {
            assert!(heard <= attempts[&id], "{:?}: {id}: {heard}", self.wire);
        }
    }
}

fn body_of(method: &str) -> &'static [u8] {
    if method == "POST" { b"a body" } else { b"" }
}

fn check(due: Due, outcome: &Outcome, row: &str) {
    let seen = format!(
        "{row}: {} {:?} {:?}",
        outcome.status,
        outcome.broken,
        outcome.text().chars().take(200).collect::<String>()
    );
    match due {
        Due::Whole(size) => {
            assert_eq!((outcome.status, &outcome.broken), (200, &None), "{seen}");
            assert!(outcome.body == answer_of(size), "{seen}");
        }
        Due::Error(status, code) => {
            assert_eq!(outcome.broken, None, "{seen}");
            assert_eq!(
                (outcome.status, outcome.code().as_str()),
                (status, code),
                "{seen}"
            );
        }
        Due::Cut => {
            assert!(outcome.broken.is_some(), "{seen}");
            // The fault may be seen before the head has left.
            assert!(matches!(outcome.status, 0 | 200), "{seen}");
            assert!(outcome.body.len() < LARGE, "{seen}");
            assert!(answer_of(LARGE).starts_with(&outcome.body), "{seen}");
        }
    }
}

fn every_fault(house: &House) {
    for (fault, size, due) in FAULTS {
        for method in ["GET", "POST"] {
            for warm in [false, true] {
                let row = format!("{:?}, {fault:?}, {method}, warm: {warm}", house.wire);
                house.end_connections();
                let mut caller = house.caller();
                if warm {
                    house.serves(&mut caller, "POST", &row);
                }
                let made = house.proxy.connections();
                let struck = house.proxy.struck();
                house.proxy.arm(*fault);
                let patience = if matches!(due, Due::Whole(_)) {
                    "patient/"
                } else {
                    ""
                };
                let path = format!("/{patience}struck/{size}");
                let outcome = caller.call(method, &path, &[], body_of(method));
                house.proxy.disarm();
                check(*due, &outcome, &row);
                assert!(house.proxy.struck() > struck, "{row}: nothing was struck");
                if warm && matches!(due, Due::Whole(_)) {
                    assert_eq!(house.proxy.connections(), made, "{row}: it was used again");
                }
                if matches!(due, Due::Whole(_)) {
                    // It works, and slowly.
                    house.end_connections();
                }
                // Whoever asks next, on this connection if it is left, on a new one, has a connection that works.
                if !caller.is_closed() && outcome.broken.is_none() {
                    house.serves(&mut caller, "GET", &row);
                }
                let mut caller = house.caller();
                house.serves(&mut caller, "POST", &row);
                house.serves(&mut caller, "GET", &row);
            }
        }
    }
}

fn a_server_that_refuses(house: &House) {
    for method in ["GET", "POST"] {
        for warm in [false, true] {
            let row = format!("{:?}, refused, {method}, warm: {warm}", house.wire);
            house.end_connections();
            let mut caller = house.caller();
            if warm {
                house.serves(&mut caller, "POST", &row);
            }
            house.proxy.refuse();
            let outcome = caller.call(method, "/struck/300", &[], body_of(method));
            house.proxy.accept();
            check(BAD, &outcome, &row);
            let mut caller = house.caller();
            house.serves(&mut caller, "POST", &row);
        }
    }
}

/// A connection that ends under an idle pool, or under a request that may be sent again, costs nobody an answer.
fn one_bad_connection(house: &House) {
    let ended = [
        Fault::Cut(0),
        Fault::Reset(0),
        Fault::Cut(5),
        Fault::HalfClose(0),
    ];
    for fault in ended {
        let row = format!("{:?}, once {fault:?}", house.wire);
        house.end_connections();
        let mut caller = house.caller();
        house.serves(&mut caller, "POST", &row);
        house.proxy.arm_once(fault);
        house.serves(&mut caller, "GET", &row);
        house.proxy.arm_once(fault);
        let sent = || {
            let heard = house.server.heard();
            heard.iter().filter(|h| h.target == "/struck/300").count()
        };
        let before = sent();
        let outcome = caller.call("POST", "/struck/300", &[], b"a body");
        // The connection may have ended before the request was sent: over TLS and HTTP/2 other bytes pass, too.
        match outcome.status {
            200 => check(Due::Whole(300), &outcome, &row),
            _ => check(BAD, &outcome, &row),
        }
        assert!(
            sent() <= before + 1,
            "{row}: a POST that was sent is not sent again"
        );
        let mut caller = house.caller();
        house.serves(&mut caller, "POST", &row);
        // The upstream leaves while nobody asks.
        house.end_connections();
        house.serves(&mut caller, "POST", &row);
        house.end_connections();
        house.serves(&mut caller, "POST", &row);
    }
}

fn faults_over(wire: Wire) {
    let house = House::over(wire);
    let round = || {
        every_fault(&house);
        a_server_that_refuses(&house);
        one_bad_connection(&house);
    };
    let rest = || {
        house.close_upstream();
        house.gateway.wait_for_metric("keygate_connections", 0);
    };
    round();
    rest();
    let before = house.gateway.descriptors();
    house.gateway.memory_settles(SLACK, round, rest);
    house.descriptors_return_to(before);
    house.attempts_cover_what_was_heard();
    assert!(
        !house.gateway.log().contains("panicked"),
        "{}",
        house.gateway.log()
    );
}

#[test]
fn every_fault_of_an_http_1_1_upstream_ends_right() {
    faults_over(Wire::Http1);
}

#[test]
fn every_fault_of_an_http_2_upstream_ends_right() {
    faults_over(Wire::Http2);
}

#[test]
fn every_fault_of_an_upstream_in_tls_ends_right() {
    faults_over(Wire::TlsHttp1);
}

#[test]
fn every_fault_of_an_http_2_upstream_in_tls_ends_right() {
    faults_over(Wire::TlsHttp2);
}

#[test]
fn every_fault_of_an_upstream_on_a_unix_socket_ends_right() {
    faults_over(Wire::Unix);
}

#[test]
fn every_fault_of_a_client_leaves_nothing_behind() {
    let house = House::over(Wire::Http1);
    let front = FaultProxy::before(Place::Tcp(house.gateway.address));
    let Place::Tcp(address) = *front.place() else {
        unreachable!("it stands on TCP")
    };
    // What a client gets matters less here than that the gateway is done with it. Of an answer that nobody takes it is
    // done when nothing of it was taken for as long as a body may take.
    let round = || {
        for fault in [
            Fault::Cut(0),
            Fault::Cut(WITHIN),
            Fault::Reset(0),
            Fault::Reset(WITHIN),
            Fault::Silence(0),
            Fault::Silence(WITHIN),
            Fault::HalfClose(WITHIN),
            Fault::BlackHole,
            Fault::Garbage,
            Fault::Drip(Duration::from_millis(1)),
        ] {
            for method in ["GET", "POST"] {
                let row = format!("client, {fault:?}, {method}");
                let mut caller = Caller::connect(address, Wire::Http1, &house.authority);
                house.serves(&mut caller, method, &row);
                front.arm(fault);
                let struck = front.struck();
                let mut exchange = caller.open(
                    method,
                    &format!("/large/{ENDLESS}"),
                    &[],
                    support::wire::Framing::Empty,
                );
                support::trial::until("the fault strikes", || front.struck() > struck);
                // Neighbours do not wait for it.
                house.serves(&mut house.caller(), method, &row);
                match fault {
                    Fault::Drip(_) => {
                        assert!(exchange.head().is_some(), "{row}");
                    }
                    // The request did not arrive; to the gateway the connection is idle.
                    Fault::BlackHole => {}
                    Fault::Silence(_) => {
                        // The gateway leaves first.
                        house.gateway.wait_for_metric("keygate_connections", 0);
                    }
                    _ => {
                        let outcome = exchange.rest();
                        assert!(outcome.broken.is_some(), "{row}: {}", outcome.status);
                    }
                }
                drop((exchange, caller));
                front.disarm();
                house.gateway.wait_for_metric("keygate_connections", 0);
            }
        }
    };
    round();
    house.close_upstream();
    let before = house.gateway.descriptors();
    house
        .gateway
        .memory_settles(SLACK, round, || house.close_upstream());
    house.descriptors_return_to(before);
    assert!(
        !house.gateway.log().contains("panicked"),
        "{}",
        house.gateway.log()
    );
}
