//! What must be true whatever a client sent (the six promises at the head of the threat model).

use super::house::{House, Seen};
use super::log::Line;
use super::wire::{self, Answer, Framing, Request, find};
use super::{AUTH, FULL, Play, Speaks, Who, frames};
use crate::headers::{folded, never_goes_up};
use crate::target::check_canonical;
use http::Method;
use keygate::http::{canonical_path, parse_host};
use keygate::policy::{Found, Query};

/// How a request may end that an upstream may have seen.
const SEEN_UPSTREAM: [&str; 8] = [
    "forwarded",
    "upstream_unavailable",
    "upstream_timeout",
    "client_gone",
    "revoked",
    "body_too_large",
    "body_too_slow",
    "internal",
];

pub(super) fn judge(house: &House, play: &Play<'_>, sent: &[u8], seen: &Seen) {
    for line in &seen.lines {
        let sent_up = line.attempts.unwrap_or(0) > 0;
        assert!(
            !sent_up || SEEN_UPSTREAM.contains(&&*line.outcome),
            "a refused request was sent: {line:?}"
        );
        assert!(line.outcome != "internal", "{line:?}");
    }
    let permitted = seen.lines.iter().any(|line| line.attempts.is_some());
    assert!(
        permitted || seen.upstream.connections == 0,
        "a connection for refused requests"
    );
    for request in &seen.upstream.requests {
        let id = request.id();
        let attempts: u64 = of_id(&seen.lines, &id).filter_map(|line| line.attempts).sum();
        let all = &seen.upstream.requests;
        let arrived = all.iter().filter(|other| other.id() == id).count() as u64;
        assert!(arrived <= attempts, "{arrived} of {attempts}: {request:?}");
        let line = of_id(&seen.lines, &id).next().expect("it was attempted");
        check_request(house, play, request, line);
    }
    for line in seen.lines.iter().filter(|line| line.outcome == "forwarded") {
        let mut all = seen.upstream.requests.iter();
        assert!(all.any(|request| request.id() == line.id), "{line:?}");
    }
    for key in [FULL, AUTH] {
        assert!(!seen.logged.contains(key), "a key in the log: {}", seen.logged);
        assert!(
            !play.manner.echoes() || find(before_tunnel(seen), key.as_bytes()).is_none(),
            "a key in an answer"
        );
    }
    if seen.answers.starts_with(b"HTTP/1.") {
        check_answers(play, seen);
    } else {
        check_frames(&seen.answers);
    }
    if play.speaks == Speaks::Bytes && play.who != Who::Proxied {
        check_requests(sent, seen);
    }
}

/// What came before a tunnel. In one there is what the client itself sent, and the upstream sends back.
fn before_tunnel(seen: &Seen) -> &[u8] {
    let mut requests = seen.upstream.requests.iter();
    if !requests.any(|request| request.all("upgrade").next().is_some()) {
        return &seen.answers;
    }
    // Over HTTP/2 it is a stream among others.
    let head = find(&seen.answers, b"HTTP/1.1 101").unwrap_or(0);
    let end = find(&seen.answers[head..], b"\r\n\r\n").unwrap_or(0);
    &seen.answers[..head + end]
}

fn of_id<'l>(lines: &'l [Line], id: &str) -> impl Iterator<Item = &'l Line> {
    lines.iter().filter(move |line| line.id == id)
}

/// What reaches an upstream is canonical, and the gateway's own word on who asks.
fn check_request(house: &House, play: &Play<'_>, request: &Request, line: &Line) {
    let host = request.one("host");
    assert!(parse_host(host).is_ok(), "{}", host.escape_ascii());
    let _ = request.framing();

    let snapshot = house.snapshots.load();
    let policy = &snapshot.hot.policy;
    let path = request.target.split('?').next().unwrap_or_default();
    let asked_for = request.one("x-forwarded-host");
    let asked_for = parse_host(asked_for).expect("a host that was admitted");
    if path != "*" {
        let (_, needs) = canonical_path(path).expect("a canonical path");
        check_canonical(path, needs);
        let routes = policy.routes();
        let route = routes.iter().find(|route| *route.name == *line.route);
        let route = route.expect("what is sent has a route");
        assert!(route.allow.cover(needs), "{request:?}");
        if route.settings.strip_prefix.is_none() {
            let method = Method::from_bytes(request.method.as_bytes()).expect("a method");
            let found = policy.find(Query {
                method: &method,
                host: Some(asked_for),
                path,
            });
            match found {
                Found::Route(index) => assert_eq!(
                    routes[index.index()].name, route.name,
                    "what was matched is not what was sent: {request:?}"
                ),
                other => panic!("{other:?}: {request:?}"),
            }
        }
    }

    let socket = request.all("upgrade").next().is_some();
    for (name, value) in &request.fields {
        let seen = folded(name);
        assert!(!name.contains('_'), "{request:?}");
        assert_ne!(seen, "apikey");
        // What the upstream of these routes has removed.
        let without = matches!(&*line.route, "loose" | "strip" | "hosted");
        assert!(!without || seen != "x-inner", "{request:?}");
        assert!(
            value.iter().all(|b| *b >= b' ' && *b != 0x7F || *b == b'\t'),
            "{request:?}"
        );
        // What a client may not send is there only as the gateway's own.
        let own = [
            "host",
            "content-length",
            "transfer-encoding",
            "x-request-id",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "forwarded",
            "x-keygate-key-id",
            "x-keygate-key-name",
            "x-keygate-scope",
        ];
        let handshake = socket && matches!(&*seen, "connection" | "upgrade");
        if never_goes_up(name, "apikey") && !handshake {
            assert!(own.contains(&&*seen), "{name}: {request:?}");
            request.one(name);
        }
    }
    if socket {
        assert_eq!(request.method, "GET");
        assert_eq!(request.one("upgrade"), b"websocket");
        assert_eq!(request.one("connection"), b"upgrade");
    }
    let forwarded: Vec<_> = request.all("x-forwarded-for").collect();
    match play.who {
        Who::Unix => assert!(forwarded.is_empty(), "{request:?}"),
        Who::Address => assert_eq!(forwarded, [b"203.0.113.9"]),
        Who::Trusted => {
            let [chain] = *forwarded else { panic!("{request:?}") };
            assert!(chain.ends_with(b"10.0.0.5"), "{request:?}");
        }
        Who::Proxied => assert!(forwarded.len() == 1),
    }
    if line.key == "-" {
        let mut names = request.fields.iter().map(|(name, _)| name);
        assert!(!names.any(|name| name.starts_with("x-keygate-")), "{request:?}");
    } else {
        assert_eq!(request.one("x-keygate-key-id"), line.key.as_bytes());
        assert_eq!(request.one("x-keygate-key-name"), b"Ein%20Schl%C3%BCssel");
        assert!(matches!(request.one("x-keygate-scope"), b"fullAccess" | b"authOnly"));
    }
    let public = matches!(&*line.route, "open" | "strip" | "small" | "hosted" | "options");
    assert_eq!(public, line.key == "-", "{line:?}");
}

/// Each answer is the answer to its request, and framed in one way.
fn check_answers(play: &Play<'_>, seen: &Seen) {
    let mut rest = &seen.answers[..];
    let mut lines: Vec<&Line> = seen.lines.iter().collect();
    while let Some((answer, length)) = Answer::read(rest) {
        rest = &rest[length..];
        if matches!(answer.status, 100 | 102..200) {
            assert_eq!(answer.status, 100, "{answer:?}");
            continue;
        }
        let Some(id) = answer.all("x-request-id").next() else {
            // hyper's own, to what is not HTTP: it is the last.
            assert!(matches!(answer.status, 400 | 414 | 431), "{answer:?}");
            assert!(rest.is_empty(), "an answer after the last: {}", rest.escape_ascii());
            return;
        };
        let at = lines.iter().position(|line| line.id.as_bytes() == id);
        let line = lines.remove(at.unwrap_or_else(|| panic!("an answer to nothing: {answer:?}")));
        assert_eq!(u64::from(answer.status), line.status, "{answer:?} {line:?}");
        if play.manner.echoes() {
            let echoes: Vec<_> = answer.all("x-echo").collect();
            match (line.outcome.as_str(), &*echoes) {
                ("forwarded", echoes) => assert_eq!(echoes, [id], "another's answer: {answer:?}"),
                (_, [] | [_]) => assert!(echoes.iter().all(|echo| *echo == id)),
                (_, several) => panic!("{several:?}"),
            }
        }
        for name in ["keep-alive", "proxy-connection", "te", "trailer"] {
            assert_eq!(answer.all(name).next(), None, "{answer:?}");
        }
        if answer.status == 101 {
            return;
        }
        let framing = answer.framing(line.method == "HEAD");
        let (_, length, whole) = wire::body(rest, framing);
        rest = &rest[length..];
        if !whole || framing == Framing::UntilTheEnd {
            assert!(rest.is_empty());
            return;
        }
    }
}

/// What is sent in HTTP/2 is whole frames of a size that a client must take.
fn check_frames(mut bytes: &[u8]) {
    while let Some((head, rest)) = bytes.split_at_checked(9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        assert!(length <= 16_384, "a frame of {length} bytes");
        let Some(rest) = rest.get(length..) else { return };
        bytes = rest;
    }
}

/// A client's stream that can be read in one way only: there are as many requests as stand there, and each body that goes
/// up is the one that came.
fn check_requests(sent: &[u8], seen: &Seen) {
    if sent.starts_with(&frames::PREFACE[..24]) {
        return;
    }
    let mut rest = sent;
    let mut bodies = Vec::new();
    while !rest.is_empty() {
        let Some(end) = find(rest, b"\r\n\r\n") else {
            break;
        };
        let Some(length) = plain_length(&rest[..end]) else {
            return;
        };
        let after = &rest[end + 4..];
        let here = length.min(after.len());
        bodies.push((&after[..here], here == length));
        rest = &after[here..];
    }
    // The beginning of one more, which nobody answers; but where a bare line feed ends a line, it may end the head too.
    let bare = |at: usize| rest[at] == b'\n' && at.checked_sub(1).is_none_or(|at| rest[at] != b'\r');
    if (0..rest.len()).any(bare) {
        return;
    }
    assert!(
        seen.lines.len() <= bodies.len(),
        "{} requests of {}: {:?}",
        seen.lines.len(),
        bodies.len(),
        seen.lines
    );
    for (line, (body, whole)) in seen.lines.iter().zip(bodies) {
        let mut all = seen.upstream.requests.iter();
        // A trusted proxy's ids may come twice.
        if of_id(&seen.lines, &line.id).count() > 1 {
            continue;
        }
        while let Some(request) = all.by_ref().find(|request| request.id() == line.id) {
            assert!(
                body.starts_with(&request.body),
                "another body: {}",
                request.body.escape_ascii()
            );
            assert!(
                !request.whole || whole && request.body == body,
                "half a body as a whole one: {}",
                request.body.escape_ascii()
            );
        }
    }
}

/// How long the body of a head is that has no liberties in it: lines that end as they should, at most one length, no
/// coding. `None`: it has some.
fn plain_length(head: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let first = lines.next()?;
    if text.replace("\r\n", "").contains(['\r', '\n', '\0']) || !first.ends_with(" HTTP/1.1") {
        return None;
    }
    let mut length = None;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let name = name.to_ascii_lowercase();
        if name.contains([' ', '\t']) || matches!(&*name, "transfer-encoding" | "upgrade") {
            return None;
        }
        if name == "content-length" && length.replace(value.trim().parse().ok()?).is_some() {
            return None;
        }
    }
    Some(length.unwrap_or(0))
}
