//! Frames of HTTP/2 that no library of clients sends, before an upstream that speaks HTTP/1.1: what has a second reading
//! there never gets there, and what costs a client nothing costs the gateway no more.

mod support;

use support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Fate, HEADERS, PING, RST_STREAM, Raw, SETTINGS,
    WINDOW_UPDATE, block, frame,
};
use support::{Folder, Gateway, ROUTES, Upstream};

type Field<'a> = (&'a [u8], &'a [u8]);

/// A name, the fields of a head, whether the head ends the stream, and the frames that come after it.
type Upload<'a> = (&'a str, Vec<Field<'a>>, bool, Vec<Vec<u8>>);

/// The pseudo-fields of an ordinary request.
const GET: &[Field] = &[
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"gateway.test"),
    (b":path", b"/open/x"),
];

const POST: &[Field] = &[
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":authority", b"gateway.test"),
    (b":path", b"/open/x"),
];

fn house() -> (Upstream, Folder, Gateway) {
    let upstream = Upstream::echo();
    let folder = Folder::new(upstream.address, "", ROUTES);
    let gateway = folder.start();
    (upstream, folder, gateway)
}

/// An ordinary request, on a connection of its own; where this network has flooded, after a while.
fn is_served(gateway: &Gateway) {
    let ask = || {
        let mut raw = Raw::connect(gateway.address);
        raw.headers(1, true, GET);
        raw.fate(1)
    };
    let served = gateway.eventually(ask, |fate| *fate != Fate::Gone(None));
    assert_eq!(served, Fate::Status(200));
}

/// Upstream is no more than was logged as sent, and nothing of it is what was hidden in a refused request.
fn nothing_got_through(upstream: &Upstream, gateway: &Gateway, row: &str) {
    let bytes = upstream.raw();
    let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    assert!(!text.contains("smuggled"), "{row}: {text}");
    let logged = || gateway.attempts().iter().map(|(_, n)| n).sum::<u64>();
    let heard = upstream.seen().len() as u64;
    gateway.eventually(logged, |logged| *logged >= heard);
}

/// The http crate takes a quotation mark in a name of HTTP/2 alone. It went up in HTTP/1.1; and where the request was kept to
/// be sent again, making its head anew panicked.
#[test]
fn a_name_that_only_http_2_can_write_goes_nowhere() {
    let upstream = Upstream::start(|seen, stream| {
        let status = if seen.target().ends_with("again") {
            503
        } else {
            200
        };
        support::respond(stream, status, &[], "{}", 2)
    });
    let retries = "retries = { attempts = 3, on = [\"connect\", \"reset\", \"503\"] }";
    let folder = Folder::new(upstream.address, retries, ROUTES);
    let gateway = folder.start();
    let again = with(b":path", b"/open/again");
    let mut raw = Raw::connect(gateway.address);
    raw.headers(1, true, &and(&again, &[(b"x\"y", b"smuggled")]));
    assert_eq!(raw.fate(1), Fate::Status(400));
    raw.headers(3, true, GET);
    assert_eq!(raw.fate(3), Fate::Status(200));
    nothing_got_through(&upstream, &gateway, "a quotation mark");
    assert_eq!(upstream.seen().len(), 1);
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

/// `GET` with one pseudo-field in another form.
fn with<'a>(name: &'a [u8], value: &'a [u8]) -> Vec<Field<'a>> {
    let other = |(n, v): &Field<'a>| if *n == name { (*n, value) } else { (*n, *v) };
    GET.iter().map(other).collect()
}

fn and<'a>(base: &[Field<'a>], more: &[Field<'a>]) -> Vec<Field<'a>> {
    [base, more].concat()
}

#[test]
fn a_head_with_a_second_reading_gets_to_no_upstream() {
    let (upstream, _folder, gateway) = house();
    let long = "/open/".to_owned() + &"a".repeat(9000);
    let mut rows: Vec<(&str, Vec<Field>)> = vec![
        ("method in lower case", with(b":method", b"get")),
        (
            "method with more",
            with(
                b":method",
                b"GET /open/smuggled HTTP/1.1\r\nHost: a\r\n\r\nGET",
            ),
        ),
        ("no method", with(b":method", b"")),
        ("TRACE", with(b":method", b"TRACE")),
        ("path with a blank", with(b":path", b"/open/x /smuggled")),
        (
            "path with a line",
            with(b":path", b"/open/x HTTP/1.1\r\nX: smuggled"),
        ),
        ("path with a newline", with(b":path", b"/open/x\nsmuggled")),
        ("path with NUL", with(b":path", b"/open/x\0smuggled")),
        (
            "path that climbs",
            with(b":path", b"/open/../closed/smuggled"),
        ),
        (
            "path that climbs, encoded",
            with(b":path", b"/open/%2e%2e/smuggled"),
        ),
        ("encoded slash", with(b":path", b"/open/a%2Fsmuggled")),
        ("empty path", with(b":path", b"")),
        ("path without a slash", with(b":path", b"open/smuggled")),
        (
            "absolute path",
            with(b":path", b"http://gateway.test/open/smuggled"),
        ),
        ("asterisk", with(b":path", b"*")),
        ("two slashes", with(b":path", b"//open/smuggled")),
        ("long path", with(b":path", long.as_bytes())),
        (
            "raw bytes in the path",
            with(b":path", b"/open/\xC3\xA4smuggled"),
        ),
        (
            "user in the authority",
            with(b":authority", b"smuggled@gateway.test"),
        ),
        (
            "two authorities",
            with(b":authority", b"gateway.test, smuggled"),
        ),
        (
            "authority with a path",
            with(b":authority", b"gateway.test/smuggled"),
        ),
        (
            "authority with a line",
            with(b":authority", b"gateway.test\r\nX: smuggled"),
        ),
        ("empty authority", with(b":authority", b"")),
        ("another host", and(GET, &[(b"host", b"smuggled.test")])),
        (
            "two hosts",
            and(GET, &[(b"host", b"gateway.test"), (b"host", b"smuggled")]),
        ),
        (
            "CONNECT",
            vec![(b":method", b"CONNECT"), (b":authority", b"smuggled:443")],
        ),
        ("CONNECT with a path", with(b":method", b"CONNECT")),
        (
            "another protocol",
            and(
                &with(b":method", b"CONNECT"),
                &[(b":protocol", b"smuggled")],
            ),
        ),
        (
            "protocol of a GET",
            and(GET, &[(b":protocol", b"websocket")]),
        ),
        ("unknown pseudo-field", and(GET, &[(b":smuggled", b"1")])),
        (
            "pseudo-field twice",
            and(GET, &[(b":path", b"/open/smuggled")]),
        ),
        (
            "pseudo-field after a field",
            vec![
                (b":method", b"GET"),
                (b":scheme", b"http"),
                (b":authority", b"gateway.test"),
                (b"x", b"smuggled"),
                (b":path", b"/open/x"),
            ],
        ),
        ("pseudo-field of answers", and(GET, &[(b":status", b"200")])),
        (
            "no scheme",
            vec![
                (b":method", b"GET"),
                (b":authority", b"gateway.test"),
                (b":path", b"/open/smuggled"),
            ],
        ),
        (
            "no path",
            vec![
                (b":method", b"GET"),
                (b":scheme", b"http"),
                (b":authority", b"gateway.test"),
            ],
        ),
        (
            "no authority",
            vec![
                (b":method", b"GET"),
                (b":scheme", b"http"),
                (b":path", b"/open/smuggled"),
            ],
        ),
    ];
    for (name, value) in [
        (&b"transfer-encoding"[..], &b"chunked"[..]),
        (b"connection", b"close"),
        (b"connection", b"x-forwarded-for"),
        (b"keep-alive", b"1"),
        (b"proxy-connection", b"1"),
        (b"upgrade", b"websocket"),
        (b"te", b"gzip"),
        (b"X-Upper", b"1"),
        (b"x_under", b"1"),
        (b"", b"smuggled"),
        (b"x y", b"smuggled"),
        (b"x:y", b"smuggled"),
        (b"x\r\ny: smuggled", b"1"),
        (b"x\0", b"smuggled"),
        (b"x\xFF", b"smuggled"),
        (b"x\"y", b"smuggled"),
        (b"\"x\": smuggled", b"1"),
        (b"x-v", b"1\r\ny: smuggled"),
        (b"x-v", b"1\nsmuggled"),
        (b"x-v", b"1\rsmuggled"),
        (b"x-v", b"1\0smuggled"),
        (b"content-length", b"five"),
        (b"content-length", b"+0"),
        (b"content-length", b"0, 0"),
        (b"content-length", b""),
        (b"content-length", b"18446744073709551616"),
        (b"expect", b"smuggled"),
    ] {
        rows.push(("a field", and(GET, &[(name, value)])));
    }
    for (row, fields) in rows {
        let told = |(n, v): &Field| format!("{}: {}", n.escape_ascii(), v.escape_ascii());
        let told: Vec<_> = fields.iter().map(told).collect();
        let row = format!("{row}: {:.300}", told.join(", "));
        let mut raw = Raw::connect(gateway.address);
        raw.headers(1, true, &fields);
        let fate = raw.fate(1);
        assert_ne!(fate, Fate::Status(200), "{row}");
        assert_eq!(upstream.seen().len(), 0, "{row}");
    }
    nothing_got_through(&upstream, &gateway, "all");
    is_served(&gateway);
}

#[test]
fn a_body_that_is_not_as_long_as_said_is_never_whole_upstream() {
    let (upstream, _folder, gateway) = house();
    let smuggled = b"GET /open/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = |n: &'static [u8]| and(POST, &[(b"content-length", n)]);
    let rows: Vec<Upload> = vec![
        (
            "length of a stream that has ended",
            length(b"5"),
            true,
            vec![],
        ),
        (
            "more than said",
            length(b"5"),
            false,
            vec![frame(DATA, END_STREAM, 1, smuggled)],
        ),
        (
            "more than said, later",
            length(b"5"),
            false,
            vec![
                frame(DATA, 0, 1, b"whole"),
                frame(DATA, END_STREAM, 1, smuggled),
            ],
        ),
        (
            "none said to come",
            length(b"0"),
            false,
            vec![frame(DATA, END_STREAM, 1, smuggled)],
        ),
        (
            "less than said",
            length(b"5000"),
            false,
            vec![frame(DATA, END_STREAM, 1, b"12345")],
        ),
        (
            "two lengths",
            and(&length(b"5"), &[(b"content-length", b"40")]),
            false,
            vec![frame(DATA, END_STREAM, 1, smuggled)],
        ),
        (
            "reset in the midst",
            length(b"50"),
            false,
            vec![
                frame(DATA, 0, 1, b"12345"),
                frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
            ],
        ),
        (
            "reset with no error in the midst, length unknown",
            POST.to_vec(),
            false,
            vec![
                frame(DATA, 0, 1, b"12345"),
                frame(RST_STREAM, 0, 1, &[0, 0, 0, 0]),
            ],
        ),
    ];
    for (row, fields, end, frames) in rows {
        let mut raw = Raw::connect(gateway.address);
        // What was said had come, and was passed on, before it showed that there is more.
        let was_whole = row == "more than said, later";
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        let head = frame(HEADERS, flags, 1, &block(&fields));
        let pieces = [vec![head], frames].concat();
        if was_whole {
            for bytes in &pieces {
                raw.write(bytes);
            }
        } else {
            // In one piece: a head that says "no body", read before what follows it, is a whole request.
            raw.write(&pieces.concat());
        }
        let resets = row.starts_with("reset");
        if !resets {
            let fate = raw.fate(1);
            assert!(was_whole || fate != Fate::Status(200), "{row}: {fate:?}");
        }
        drop(raw);
        // The upstream that is sent one whole request after another reads what it gets as such.
        is_served(&gateway);
        let seen = upstream.seen();
        let all_right = seen.iter().all(|s| {
            s.line.starts_with("GET /open/x ")
                || (s.line.starts_with("POST /open/x ") && s.body == b"whole")
        });
        assert!(all_right, "{row}: {seen:?}");
    }
    let seen = upstream.seen();
    assert!(
        seen.iter().all(|s| !s.line.contains("smuggled")),
        "{seen:?}"
    );
}

#[test]
fn trailers_and_cookies_are_of_no_use_to_smuggle() {
    let (upstream, folder, gateway) = house();
    let key = folder.new_key("Trailer", "fullAccess");
    // A key in a trailer is none.
    let mut raw = Raw::connect(gateway.address);
    let closed: Vec<Field> = POST
        .iter()
        .map(|(n, v)| {
            if *n == b":path" {
                (*n, &b"/v3/x"[..])
            } else {
                (*n, *v)
            }
        })
        .collect();
    raw.headers(1, false, &closed);
    raw.send(DATA, 0, 1, b"body");
    raw.headers(1, true, &[(b"apikey", key.as_bytes())]);
    assert_eq!(raw.fate(1), Fate::Status(0));
    assert_eq!(upstream.seen().len(), 0);
    for trailers in [
        &[
            (&b"apikey"[..], key.as_bytes()),
            (b"content-length", b"9"),
            (b"x-smuggled", b"1"),
        ][..],
        &[(b"x-keygate-scope", b"smuggled")],
        &[(b":path", b"/smuggled")],
        &[(b"transfer-encoding", b"smuggled")],
    ] {
        let mut raw = Raw::connect(gateway.address);
        raw.headers(1, false, POST);
        raw.send(DATA, 0, 1, b"body");
        raw.headers(1, true, trailers);
        raw.fate(1);
        drop(raw);
        is_served(&gateway);
        let bytes = upstream.raw();
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        assert!(!text.contains("smuggled") && !text.contains(&key), "{text}");
    }
    // A second block of fields that does not end the stream is no trailer.
    let mut raw = Raw::connect(gateway.address);
    raw.headers(1, false, POST);
    raw.headers(1, false, &[(b"x-smuggled", b"1")]);
    assert_ne!(raw.fate(1), Fate::Status(200));
    nothing_got_through(&upstream, &gateway, "trailers");
}

#[test]
fn frames_that_cost_a_client_nothing_cost_the_gateway_no_more() {
    let (upstream, _folder, gateway) = house();
    let reset = frame(RST_STREAM, 0, 0, &[0, 0, 0, 8]);
    let storm = |row: &str| {
        let mut raw = Raw::connect(gateway.address);
        let mut sent = Vec::new();
        for n in 0..20_000_u32 {
            let id = 2 * n + 1;
            match row {
                "opened and reset" => {
                    sent.extend(frame(HEADERS, END_HEADERS | END_STREAM, id, &block(GET)));
                    let mut reset = reset.clone();
                    reset[5..9].copy_from_slice(&id.to_be_bytes());
                    sent.extend(reset);
                }
                "refused and reset by us" => {
                    let path = with(b":path", b"/../x");
                    sent.extend(frame(HEADERS, END_HEADERS | END_STREAM, id, &block(&path)));
                }
                "pings" => sent.extend(frame(PING, 0, 0, b"12345678")),
                "settings" => sent.extend(frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, n as u8])),
                "empty data" => {
                    if n == 0 {
                        sent.extend(frame(HEADERS, END_HEADERS, 1, &block(POST)));
                    }
                    sent.extend(frame(DATA, 0, 1, &[]));
                }
                "windows" => sent.extend(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
                "continuations" => {
                    if n == 0 {
                        sent.extend(frame(HEADERS, END_STREAM, 1, &block(GET)));
                    }
                    sent.extend(frame(
                        CONTINUATION,
                        0,
                        1,
                        &block(&[(b"x-more", &[b'x'; 100])]),
                    ));
                }
                "large tables" => {
                    // One long field that is remembered, then pointed at again and again.
                    if n == 0 {
                        let mut long = vec![0x40, 1, b'x', 127, 0x81, 0x1E];
                        long.extend(vec![b'y'; 4000]);
                        sent.extend(frame(HEADERS, END_STREAM, 1, &[block(GET), long].concat()));
                    }
                    sent.extend(frame(CONTINUATION, 0, 1, &[0xBE; 200]));
                }
                _ => unreachable!("a row without frames"),
            }
        }
        // It may be told to go long before all of it is sent.
        for part in sent.chunks(32 * 1024) {
            if !raw.write(part) {
                break;
            }
        }
        drop(raw);
        is_served(&gateway);
        gateway.wait_for_metric("keygate_connections", 0);
    };
    let rows = [
        "opened and reset",
        "refused and reset by us",
        "pings",
        "settings",
        "empty data",
        "windows",
        "continuations",
        "large tables",
    ];
    let all = || rows.into_iter().for_each(&storm);
    all();
    gateway.memory_settles(1024, all, || {});
    nothing_got_through(&upstream, &gateway, "storms");
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

#[test]
fn who_broke_the_rules_with_a_stream_open_does_not_keep_the_connection() {
    let (_upstream, _folder, gateway) = house();
    let mut raw = Raw::connect(gateway.address);
    raw.headers(1, false, POST);
    raw.send(DATA, 0, 0, b"of no stream");
    assert_eq!(raw.fate(1), Fate::Gone(Some(1)));
    // The client's end is open all the while; the deadline for a next request would come later than the test's.
    gateway.wait_for_metric("keygate_connections", 0);
    drop(raw);
}
