//! Limits on how much there is at once: connections of a network, open requests, streams, frames that bring nothing further.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;
use support::frames::{
    DATA, END_HEADERS, END_STREAM, Fate, HEADERS, PING, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE,
    block, frame,
};
use support::{Client, Folder, Gateway, KEYGATE, PATIENCE, ROUTES, Upstream, respond};

type Field<'a> = (&'a [u8], &'a [u8]);

const GET: &[Field] = &[
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"gateway.test"),
    (b":path", b"/open/x"),
];

fn start(limits: &str) -> (Upstream, Folder, Gateway) {
    let upstream = Upstream::echo();
    let folder = Folder::new(upstream.address, &format!("[limits]\n{limits}"), ROUTES);
    let gateway = folder.start();
    (upstream, folder, gateway)
}

fn closed(gateway: &Gateway, reason: &str) -> u64 {
    gateway.metric(&format!(
        "keygate_connections_ended_total{{reason=\"{reason}\"}}"
    ))
}

/// A request on a connection that this local address makes; `None` where it is closed without an answer.
fn from(local: Ipv4Addr, gateway: &Gateway) -> Option<(TcpStream, String)> {
    let mut stream = connect(local, gateway.address);
    let _ = stream.write_all(b"GET /open/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n"); // it may be closed by now
    let mut start = [0; 12];
    stream.read_exact(&mut start).ok()?;
    Some((stream, String::from_utf8_lossy(&start).into_owned()))
}

fn connect(local: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let local = SocketAddr::V4(SocketAddrV4::new(local, 0));
    socket.bind(&local.into()).expect("a loopback address");
    socket.connect(&to.into()).expect("connect");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream
}

#[test]
fn a_network_has_so_many_connections_and_another_is_not_the_poorer() {
    let (_upstream, _folder, gateway) = start("connections_per_network = 2");
    let (one, other) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
    let first = from(one, &gateway).expect("the first is served");
    let second = from(one, &gateway).expect("the second is served");
    assert_eq!((&*first.1, &*second.1), ("HTTP/1.1 200", "HTTP/1.1 200"));
    assert!(from(one, &gateway).is_none(), "the third is closed");
    assert!(
        from(other, &gateway).is_some(),
        "another network's is served"
    );
    assert_eq!(closed(&gateway, "network_limit"), 1);
    drop(first);
    gateway.eventually(|| from(one, &gateway).is_some(), |served| *served);
}

#[test]
fn connections_of_a_trusted_proxy_are_not_counted() {
    let upstream = Upstream::echo();
    let main = format!(
        "include = [\"routes.toml\"]\n[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n\
         trusted_proxies = [\"127.0.0.2/32\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n\
         [limits]\nconnections_per_network = 1\n[upstreams.chat]\nservers = [\"http://{}\"]\n",
        upstream.address
    );
    let folder = Folder::with_main(&main, ROUTES);
    let gateway = folder.start();
    let trusted: Vec<_> = (0..5)
        .map(|_| from(Ipv4Addr::new(127, 0, 0, 2), &gateway))
        .collect();
    assert!(trusted.iter().all(Option::is_some));
    let other = Ipv4Addr::new(127, 0, 0, 3);
    let _held = from(other, &gateway).expect("the first is served");
    assert!(from(other, &gateway).is_none(), "the second is closed");
}

#[test]
fn more_requests_than_may_be_open_are_503_at_once_and_served_again_afterwards() {
    let (release, released) = sync_channel::<()>(1);
    let released = Mutex::new(released);
    let upstream = Upstream::start(move |seen, stream| {
        if seen.line.contains("slow") {
            let _ = released.lock().unwrap().recv(); // the test may be over
        }
        respond(stream, 200, &[], "{}", 2)
    });
    // Two workers: a request for each.
    let folder = Folder::new(upstream.address, "[limits]\nrequests = 2", ROUTES);
    let gateway = folder.start();
    let mut waiting: Vec<_> = (0..2).map(|_| gateway.connect()).collect();
    // Connections go to the worker that has the fewest: these are at both.
    for client in &mut waiting {
        client.send("GET /open/slow HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    }
    upstream.wait_for(2);
    let refused = gateway.call("GET /open/x", &[], "");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.code(), "ERR_UPSTREAM_UNAVAILABLE");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let known = gateway.call("GET /v3/x", &["apikey: aaaaaaaaaaaaaaaaaaaaaaaa"], "");
    assert_eq!(known.status, 503, "before any key is looked at");
    let shed =
        "keygate_requests_total{route=\"-\",method=\"GET\",status=\"5xx\",outcome=\"overloaded\"}";
    gateway.wait_for_metric(shed, 2);
    release.send(()).expect("the first goes on");
    release.send(()).expect("the second goes on");
    for client in &mut waiting {
        assert_eq!(client.answer(false).status, 200);
    }
    gateway.eventually(
        || gateway.call("GET /open/x", &[], "").status,
        |s| *s == 200,
    );
    assert_eq!(
        upstream
            .seen()
            .iter()
            .filter(|s| s.line.contains("/v3/x"))
            .count(),
        0
    );
}

#[test]
fn a_gateway_without_descriptors_works_on_without_spinning_and_takes_new_clients_when_some_have_gone()
 {
    let (upstream, other) = (Upstream::echo(), Upstream::echo());
    let main = format!(
        "[timeouts]\nhead = \"10m\"\nidle = \"10m\"\n[upstreams.other]\nservers = [\"http://{}\"]\n",
        other.address
    );
    let routes = format!(
        "{ROUTES}\n[[routes]]\npath = \"/open/other\"\naccess = \"public\"\nupstream = \"other\"\n"
    );
    let folder = Folder::new(upstream.address, &main, &routes);
    // Room for some tens of connections beside what the gateway has open for itself.
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 64 && exec \"$0\" run --config \"$1\""])
        .arg(KEYGATE)
        .arg(folder.config())
        .env_remove("KEYGATE_SECRET");
    let gateway = Gateway::of(command);

    // At both workers, each with a connection to the upstream.
    let mut inside: Vec<Client> = (0..2).map(|_| gateway.connect()).collect();
    let mut work = || {
        let before = gateway.cpu_time();
        for _ in 0..300 {
            for client in &mut inside {
                assert_eq!(client.call("GET /open/x", &[], "").status, 200);
            }
        }
        gateway.cpu_time() - before
    };
    work();
    let calm = work();

    let mut outside: Vec<Client> = (0..100).map(|_| gateway.connect()).collect();
    gateway.wait_for_log(|line| line.contains("no connections can be accepted"));
    let starved = work();
    // As much again, and half of that: to try in vain, over and over, would take a whole core.
    assert!(
        starved < calm * 5 / 2,
        "{calm:?} calm, {starved:?} without descriptors"
    );

    // A connection that there is none for is refused, and nobody waits for it.
    let refused = inside[0].call("GET /open/other", &[], "");
    assert_eq!(refused.status, 502, "{}", refused.text());
    assert_eq!(other.connections(), 0);
    assert_eq!(
        outside[0].call("GET /open/x", &[], "").status,
        200,
        "it was accepted"
    );

    outside.truncate(5);
    assert_eq!(gateway.call("GET /open/x", &[], "").status, 200);
    assert_eq!(gateway.call("GET /open/other", &[], "").status, 200);
    for client in &mut outside {
        assert_eq!(client.call("GET /open/x", &[], "").status, 200, "it stayed");
    }
    assert!(gateway.metric("keygate_accept_errors_total") > 0);
    gateway.wait_for_log(|line| line.contains("connections are accepted again"));
    let told = gateway
        .log()
        .matches("no connections can be accepted")
        .count();
    assert!(told < 20, "{told} lines for one shortage");
}

#[test]
fn a_client_hears_how_many_streams_it_may_open() {
    let (_upstream, _folder, gateway) = start("streams = 7");
    let mut raw = Raw::connect(gateway.address);
    let settings = loop {
        let frame = raw.read().expect("settings come first");
        if frame.kind == SETTINGS && frame.flags == 0 {
            break frame.payload;
        }
    };
    // RFC 9113, section 6.5.2: MAX_CONCURRENT_STREAMS is 3.
    let streams = settings.chunks(6).find(|setting| setting[..2] == [0, 3]);
    assert_eq!(streams, Some(&[0, 3, 0, 0, 0, 7][..]));
}

#[test]
fn a_client_that_floods_is_told_to_go_and_its_neighbour_is_served() {
    let (_upstream, _folder, gateway) = start("frames = { rate = \"1/h\", burst = 50 }");
    let storm = |kind: &str, n: u32| {
        let id = 2 * n + 1;
        let path: Vec<Field> = GET[..3]
            .iter()
            .copied()
            .chain([(&b":path"[..], &b"/../x"[..])])
            .collect();
        let opened =
            |fields: &[Field], flags| frame(HEADERS, END_HEADERS | flags, id, &block(fields));
        match kind {
            "pings" => frame(PING, 0, 0, b"12345678"),
            "answers to pings" => frame(PING, 1, 0, b"12345678"),
            "settings" => frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]),
            "windows" => frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
            "priorities" => frame(2, 0, id, &[0, 0, 0, 0, 1]),
            "what nobody knows" => frame(0xBB, 0, 0, b"what"),
            "empty data" if n == 0 => frame(
                HEADERS,
                END_HEADERS,
                1,
                &block(&[&[(&b":method"[..], &b"POST"[..])], &GET[1..]].concat()),
            ),
            "empty data" => frame(DATA, 0, 1, &[]),
            // RFC 9113, section 6.9.1: a window that is too large makes us reset the stream (CVE-2025-8671).
            "resets that we send" => [
                opened(GET, 0),
                frame(WINDOW_UPDATE, 0, id, &[0x7f, 0xff, 0xff, 0xff]),
            ]
            .concat(),
            // Beside the answer, which is credited: more of them than of streams.
            "resets" => [
                opened(&path, END_STREAM),
                frame(RST_STREAM, 0, id, &[0, 0, 0, 8]),
                frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
                frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
            ]
            .concat(),
            other => unreachable!("{other}"),
        }
    };
    let rows = [
        "pings",
        "answers to pings",
        "settings",
        "windows",
        "priorities",
        "what nobody knows",
        "empty data",
        "resets that we send",
        "resets",
    ];
    for (number, row) in rows.into_iter().enumerate() {
        let mut neighbour = Raw::connect(gateway.address);
        neighbour.headers(1, true, GET);
        assert_eq!(neighbour.fate(1), Fate::Status(200), "{row}: before");
        let mut raw = Raw::connect(gateway.address);
        let mut writer = Raw {
            stream: raw.stream.try_clone().expect("a second handle"),
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Until it is closed, which is what is tested.
                let _ = (0..1_000_000).all(|n| writer.write(&storm(row, n)));
            });
            let fate = raw.fate(u32::MAX);
            assert!(
                matches!(fate, Fate::Gone(Some(11) | None)),
                "{row}: {fate:?}"
            );
        });
        // For resets and empty data h2 has limits of its own, and is first where many come in one read.
        let ended = || {
            let reasons = ["flood", "linger_timeout"];
            reasons.map(|reason| closed(&gateway, reason))
        };
        let all = |ended: &[u64; 2]| ended.iter().sum::<u64>() == number as u64 + 1;
        let [ours, ..] = gateway.eventually(ended, all);
        assert!(ours == number as u64 + 1 || number >= 6, "{row}: {ours}");
        neighbour.headers(3, true, GET);
        assert_eq!(neighbour.fate(3), Fate::Status(200), "{row}: after");
    }
}

#[test]
fn a_client_that_does_much_in_good_order_is_never_told_to_go() {
    let (_upstream, _folder, gateway) = start("frames = { rate = \"1/h\", burst = 50 }");
    let mut raw = Raw::connect(gateway.address);
    for n in 0..500 {
        let id = 2 * n + 1;
        raw.headers(id, true, GET);
        assert_eq!(raw.fate(id), Fate::Status(200), "request {n}");
        // As clients do that open their windows for each answer, and say that they are done with the stream.
        raw.send(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 100]);
        raw.send(RST_STREAM, 0, id, &[0, 0, 0, 8]);
    }
}

#[test]
fn a_network_that_floods_on_and_on_gets_no_new_connection_and_keeps_its_old_ones() {
    let (_upstream, _folder, gateway) = start("frames = { rate = \"1/h\", burst = 50 }");
    let (one, other) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
    let (mut open, _) = from(one, &gateway).expect("served");
    let pings = frame(PING, 0, 0, b"12345678").repeat(200);
    let refused = || {
        let mut raw = Raw {
            stream: connect(one, gateway.address),
        };
        let _ = raw.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"); // refused, it fails
        let _ = raw.write(&pings);
        raw.fate(1);
        closed(&gateway, "network_floods")
    };
    gateway.eventually(refused, |n| *n > 0);
    assert!(closed(&gateway, "flood") >= 10);
    assert!(
        from(other, &gateway).is_some(),
        "another network's is served"
    );
    open.write_all(b"GET /open/x HTTP/1.1\r\nHost: gateway.test\r\n\r\n")
        .expect("it is open");
    let mut served = String::new();
    while served.matches("HTTP/1.1 200").count() < 1 {
        let mut some = [0; 512];
        let read = open.read(&mut some).expect("it is open");
        assert!(read > 0, "it was closed");
        served.push_str(&String::from_utf8_lossy(&some[..read]));
    }
}

#[test]
fn an_upstream_that_floods_is_left_and_the_request_gets_502() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (left, is_left) = sync_channel(16);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let left = left.clone();
            std::thread::spawn(move || {
                let mut preface = [0; 24];
                let _ = stream.read_exact(&mut preface); // a look of the gateway's has none
                let _ = stream.write_all(&frame(SETTINGS, 0, 0, &[]));
                let pings = frame(PING, 1, 0, b"12345678").repeat(100);
                // Until the gateway closes it, which is what is tested.
                while stream.write_all(&pings).is_ok() {}
                let _ = left.send(()); // the test may be over
            });
        }
    });
    let main = format!(
        "include = [\"routes.toml\"]\n[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n[upstreams.chat]\nservers = [\"h2c://{address}\"]\n"
    );
    let folder = Folder::with_main(&main, ROUTES);
    let gateway = folder.start();
    for _ in 0..3 {
        let answer = gateway.call("GET /open/x", &[], "");
        assert_eq!(answer.status, 502, "{}", answer.text());
        is_left
            .recv_timeout(PATIENCE)
            .expect("the connection is closed");
    }
    assert_eq!(gateway.admin("/healthz").status, 200);
}
