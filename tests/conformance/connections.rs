//! What is no single reaction: the beginning of a connection, windows, limits, the end.

use crate::house_of;
use crate::row::*;
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, RST_STREAM, Raw,
    SETTINGS, WINDOW_UPDATE, frame,
};
use crate::support::{Folder, PATIENCE, ROUTES, respond};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// A connection on which nothing was sent yet.
fn bare(address: SocketAddr) -> Raw {
    let stream = TcpStream::connect(address).expect("connect");
    stream.set_nodelay(true).expect("nodelay");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
    Raw { stream }
}

fn act(raw: &mut Raw, acts: &[Act]) {
    for act in acts {
        match act {
            Act::Send(bytes) => assert!(raw.write(bytes), "the gateway has gone"),
            Act::Await(_) => unreachable!("none of these waits so"),
        }
    }
}

/// All frames up to the first of which this holds, and it.
fn read_until(raw: &mut Raw, what: &str, wanted: impl Fn(&Frame) -> bool) -> Vec<Frame> {
    let mut all = Vec::new();
    loop {
        let Some(frame) = raw.read() else {
            panic!("the end instead of {what}; before it {all:?}");
        };
        let is_wanted = wanted(&frame);
        all.push(frame);
        if is_wanted {
            return all;
        }
    }
}

/// All frames up to the answer to a PING, which was sent behind all that was to be heard.
fn heard(raw: &mut Raw, number: u8) -> Vec<Frame> {
    raw.send(PING, 0, 0, &[number; 8]);
    read_until(raw, "the answer to a PING", |f| {
        f.kind == PING && f.flags & 1 == 1 && f.payload == [number; 8]
    })
}

fn ends(stream: u32) -> impl Fn(&Frame) -> bool {
    move |f| f.stream == stream && matches!(f.kind, HEADERS | DATA) && f.flags & END_STREAM != 0
}

fn bytes_of(frames: &[Frame], stream: u32) -> usize {
    let data = frames
        .iter()
        .filter(|f| f.kind == DATA && f.stream == stream);
    data.map(|f| f.payload.len()).sum()
}

/// RFC 9113, sections 3.4 and 6.5.3, 6.7.
#[test]
fn settings_come_first_and_each_of_ours_is_acknowledged_in_its_turn() {
    let (_upstream, _folder, gateway) = house_of("");
    let mut raw = Raw::connect(gateway.address);
    act(&mut raw, &[setting(4, 1), setting(4, 2), setting(3, 0)]);
    let all = heard(&mut raw, 7);
    assert_eq!((all[0].kind, all[0].flags, all[0].stream), (SETTINGS, 0, 0));
    let acknowledged = |f: &&Frame| f.kind == SETTINGS && f.flags & 1 == 1;
    assert!(
        all.iter()
            .filter(acknowledged)
            .all(|f| f.payload.is_empty() && f.stream == 0)
    );
    // The answer to a PING may come before: it is to be quick (section 6.7).
    let mut count = all.iter().filter(acknowledged).count();
    while count < 4 {
        let more = read_until(&mut raw, "an acknowledgement", |f| acknowledged(&f));
        count += more.iter().filter(acknowledged).count();
    }
    let more = heard(&mut raw, 8);
    assert_eq!(more.iter().filter(acknowledged).count(), 0);
}

/// RFC 9113, section 3.4, wants a connection error where the first frame is not SETTINGS. A known deviation: h2 serves such
/// a client by the settings that hold without any. That is safe, since it is what the client could have said.
#[test]
fn who_does_not_begin_with_settings_is_served_without_any() {
    let (_upstream, _folder, gateway) = house_of("");
    let request = || {
        let fields = fields_of(&pseudo("GET", "/open/long"));
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields)
    };
    for (row, first) in [
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("HEADERS", Vec::new()),
    ] {
        let mut raw = bare(gateway.address);
        raw.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        raw.write(&[first, request()].concat());
        let all = read_until(&mut raw, row, |f| f.kind == HEADERS);
        assert_eq!(status(&all[all.len() - 1].payload), 200, "{row}");
        let mut all = Vec::new();
        while bytes_of(&all, 1) < 65_535 {
            all.extend(read_until(&mut raw, row, |f| f.kind == DATA));
        }
        all.extend(heard(&mut raw, 1));
        assert_eq!(bytes_of(&all, 1), 65_535, "{row}");
    }
    // Settings that it acknowledges before it can have heard of them.
    let mut raw = bare(gateway.address);
    raw.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    raw.write(&[frame(SETTINGS, 1, 0, &[]), request()].concat());
    let all = read_until(&mut raw, "an answer, or GOAWAY", |f| {
        matches!(f.kind, HEADERS | GOAWAY)
    });
    let last = &all[all.len() - 1];
    let told = (last.kind == GOAWAY).then(|| code(&last.payload[4..8]));
    assert!(matches!(told, None | Some(PROTOCOL)), "{told:?}");
}

/// RFC 9113, section 5.1.2.
#[test]
fn a_stream_beyond_the_limit_is_refused_alone() {
    let (_upstream, _folder, gateway) = house_of("[limits]\nstreams = 2\n");
    let mut raw = Raw::connect(gateway.address);
    let first = read_until(&mut raw, "settings", |f| f.kind == SETTINGS && f.flags == 0);
    let settings = &first[first.len() - 1].payload;
    let told = settings
        .chunks(6)
        .find(|s| s[..2] == [0, 3])
        .map(|s| code(&s[2..]));
    assert_eq!(told, Some(2));
    // The limit holds once we have said that we know of it.
    raw.send(SETTINGS, 1, 0, &[]);
    act(&mut raw, &[held(1), held(3), get(5)]);
    let all = read_until(&mut raw, "a reset", |f| f.kind == RST_STREAM);
    let last = &all[all.len() - 1];
    assert_eq!((last.stream, code(&last.payload)), (5, REFUSED));
    // One of them gone, there is room again.
    act(&mut raw, &[reset(1), get(7)]);
    read_until(&mut raw, "an answer", ends(7));
}

/// RFC 9113, sections 5.4.1 and 6.8.
#[test]
fn goaway_names_the_last_stream_and_the_connection_ends() {
    let (_upstream, _folder, gateway) = house_of("");
    let mut raw = Raw::connect(gateway.address);
    act(&mut raw, &[get(1), get(5)]);
    read_until(&mut raw, "an answer", ends(5));
    act(&mut raw, &[data(0, 0, b"x")]);
    let all = read_until(&mut raw, "GOAWAY", |f| f.kind == GOAWAY);
    let payload = &all[all.len() - 1].payload;
    assert_eq!((code(&payload[..4]), code(&payload[4..8])), (5, PROTOCOL));
    assert!(raw.read().is_none());
}

/// RFC 9113, section 6.8: what was begun before it is served to its end.
#[test]
fn a_client_that_says_goaway_gets_what_it_asked_for_before() {
    let (upstream, _folder, gateway) = house_of("");
    let mut raw = Raw::connect(gateway.address);
    act(
        &mut raw,
        &[
            post(1),
            send(GOAWAY, 0, 0, &[0; 8]),
            data(1, 0, b"half and "),
        ],
    );
    act(&mut raw, &[data(1, END_STREAM, b"half")]);
    let all = read_until(&mut raw, "an answer", ends(1));
    assert!(
        all.iter()
            .any(|f| f.kind == HEADERS && status(&f.payload) == 200)
    );
    assert_eq!(upstream.last().body, b"half and half");
}

/// RFC 9113, sections 6.9.1 and 6.9.2: the answer has 100,000 bytes.
#[test]
fn no_byte_comes_beyond_a_window_however_it_changes() {
    let (_upstream, _folder, gateway) = house_of("");
    let mut raw = Raw::connect(gateway.address);
    act(&mut raw, &[setting(4, 1), long(1)]);
    let mut all = read_until(&mut raw, "the first byte", |f| f.kind == DATA);
    let mut sent = 1;
    let rows: [(&str, Act, usize); 7] = [
        ("nothing changed", window(0, 1), 0),
        ("ten bytes more", window(1, 10), 10),
        ("the settings grow by 99", setting(4, 100), 99),
        (
            "the settings shrink by 60, to a window below nothing",
            setting(4, 40),
            0,
        ),
        ("back to nothing", window(1, 60), 0),
        ("five bytes more", window(1, 5), 5),
        ("the settings grow by 10", setting(4, 50), 10),
    ];
    for (number, (row, change, more)) in rows.into_iter().enumerate() {
        act(&mut raw, &[change]);
        sent += more;
        while bytes_of(&all, 1) < sent {
            all.extend(read_until(&mut raw, row, |f| f.kind == DATA));
        }
        // What came too early would have come by now.
        for round in 0..3 {
            all.extend(heard(&mut raw, (10 * number + round) as u8));
        }
        assert_eq!(bytes_of(&all, 1), sent, "{row}");
    }
    act(&mut raw, &[window(0, 100_000), window(1, 100_000)]);
    all.extend(read_until(&mut raw, "the rest", ends(1)));
    assert_eq!(bytes_of(&all, 1), 100_000);
}

/// RFC 9113, section 6.9.1: the window of the connection holds for all its streams.
#[test]
fn no_byte_comes_beyond_the_connections_window() {
    let (_upstream, _folder, gateway) = house_of("");
    let mut raw = Raw::connect(gateway.address);
    act(&mut raw, &[setting(4, 1_000_000), long(1), long(3)]);
    let mut all = Vec::new();
    let total = |all: &[Frame]| bytes_of(all, 1) + bytes_of(all, 3);
    while total(&all) < 65_535 {
        all.extend(read_until(&mut raw, "data", |f| f.kind == DATA));
    }
    for round in 0..3 {
        all.extend(heard(&mut raw, round));
    }
    assert_eq!(total(&all), 65_535);
    // RFC 9113, section 4.2: we have not said that more may come in a frame.
    assert!(all.iter().all(|f| f.payload.len() <= 16_384));
    act(&mut raw, &[window(0, 200_000)]);
    while total(&all) < 200_000 {
        all.extend(read_until(&mut raw, "data", |f| f.kind == DATA));
    }
}

/// RFC 9113, section 6.9.1: to an upstream that takes nothing, no more is read than the windows say.
#[test]
fn a_client_that_sends_beyond_its_window_is_told_so() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let folder = Folder::new(silent.local_addr().expect("an address"), "", ROUTES);
    let gateway = folder.start();
    let mut raw = Raw::connect(gateway.address);
    act(&mut raw, &[post(1)]);
    let piece = frame(DATA, 0, 1, &[b'x'; 16_384]);
    // Sockets hold some megabytes on the way, and windows open for them. Who sends more than that goes beyond.
    for _ in 0..4096 {
        if !raw.write(&piece) {
            break;
        }
    }
    let mut frames = Vec::new();
    while let Some(frame) = raw.read() {
        let over = matches!(frame.kind, RST_STREAM | GOAWAY);
        frames.push((frame.kind, frame.stream, frame.payload));
        if over {
            break;
        }
    }
    let (kind, _, payload) = frames.last().expect("something came");
    let told = match *kind {
        GOAWAY => code(&payload[4..8]),
        RST_STREAM => code(payload),
        _ => NO_ERROR,
    };
    assert_eq!(told, FLOW_CONTROL, "{kind}");
}

/// RFC 9113, section 6.1: padding counts, and the window opens again for it.
#[test]
fn padding_uses_the_window_and_gives_it_back() {
    let (upstream, _folder, gateway) = house_of("");
    let mut raw = Raw::connect(gateway.address);
    act(&mut raw, &[post(1)]);
    let first = heard(&mut raw, 1);
    let settings = first.iter().find(|f| f.kind == SETTINGS && f.flags == 0);
    let mut settings = settings.expect("settings").payload.chunks(6);
    let initial = settings
        .find(|s| s[..2] == [0, 4])
        .map(|s| code(&s[2..]) as usize);
    let mut room = initial.expect("a window");
    raw.send(SETTINGS, 1, 0, &[]);
    let padded = [&[255][..], b"x", &[0; 255]].concat();
    // Three times as much as the window has at first.
    let count = 3 * room / padded.len();
    for _ in 0..count {
        while room < padded.len() {
            let opens = |f: &Frame| f.kind == WINDOW_UPDATE && f.stream == 1;
            let more = read_until(&mut raw, "a larger window", opens);
            room += code(&more[more.len() - 1].payload) as usize;
        }
        act(&mut raw, &[data(1, PADDED, &padded)]);
        room -= padded.len();
    }
    act(&mut raw, &[data(1, END_STREAM, b"")]);
    read_until(&mut raw, "an answer", ends(1));
    assert!(upstream.last().body == vec![b'x'; count]);
}

/// RFC 9113, section 4.3: a head is one block, wherever its frames end.
#[test]
fn a_head_may_be_cut_anywhere() {
    let (upstream, _folder, gateway) = house_of("");
    let mut raw = Raw::connect(gateway.address);
    let block = [
        fields_of(&pseudo("GET", "/open/x")),
        fields_of(&[("x-cut", "anywhere")]),
    ]
    .concat();
    for at in 0..=block.len() {
        let stream = 2 * u32::try_from(at).expect("few") + 1;
        act(
            &mut raw,
            &[
                send(HEADERS, END_STREAM, stream, &block[..at]),
                send(CONTINUATION, END_HEADERS, stream, &block[at..]),
            ],
        );
        read_until(&mut raw, "an answer", ends(stream));
        assert_eq!(upstream.last().header("x-cut"), Some("anywhere"), "{at}");
    }
    assert_eq!(upstream.seen().len(), block.len() + 1);
}

/// RFC 7541, sections 2.3, 4 and 6: the table goes from request to request, and what is in it is what was put there.
#[test]
fn what_the_table_holds_is_what_was_put_there() {
    let (upstream, _folder, gateway) = house_of("");
    let mut raw = Raw::connect(gateway.address);
    let kept = |name: &str, value: &str| {
        let text = |text: &str| {
            [
                &[u8::try_from(text.len()).expect("short")][..],
                text.as_bytes(),
            ]
            .concat()
        };
        [&[0x40][..], &text(name), &text(value)].concat()
    };
    type Expected<'a> = &'a [(&'a str, Option<&'a str>)];
    let rows: Vec<(&str, Vec<u8>, Expected<'_>)> = vec![
        ("kept", kept("x-a", "one"), &[("x-a", Some("one"))]),
        ("found", vec![0xBE], &[("x-a", Some("one"))]),
        (
            "another before it",
            kept("x-b", "two"),
            &[("x-a", None), ("x-b", Some("two"))],
        ),
        (
            "both",
            vec![0xBF, 0xBE],
            &[("x-a", Some("one")), ("x-b", Some("two"))],
        ),
        (
            "its name with another value, kept",
            vec![0x7F, 0x00, 3, b'n', b'e', b'w'],
            &[("x-a", Some("new")), ("x-b", None)],
        ),
        (
            "that, and the oldest",
            vec![0xBE, 0xC0],
            &[("x-a", Some("new, one"))],
        ),
        (
            "its name with another value, not kept",
            vec![0x0F, 0x30, 3, b't', b'o', b'o'],
            &[("x-b", Some("too"))],
        ),
        ("nothing was kept", vec![0xBF], &[("x-b", Some("two"))]),
        // `www.example.com` (RFC 7541, appendix C.4.1).
        (
            "a code, kept",
            [
                &[0x40, 3][..],
                b"x-c",
                &[
                    0x8C, 0xF1, 0xE3, 0xC2, 0xE5, 0xF2, 0x3A, 0x6B, 0xA0, 0xAB, 0x90, 0xF4, 0xFF,
                ],
            ]
            .concat(),
            &[("x-c", Some("www.example.com"))],
        ),
        ("and found", vec![0xBE], &[("x-c", Some("www.example.com"))]),
    ];
    for (n, (row, more, expected)) in rows.into_iter().enumerate() {
        let stream = 2 * u32::try_from(n).expect("few") + 1;
        let block = [fields_of(&pseudo("GET", "/open/x")), more].concat();
        act(
            &mut raw,
            &[send(HEADERS, END_HEADERS | END_STREAM, stream, &block)],
        );
        read_until(&mut raw, "an answer", ends(stream));
        let seen = upstream.last();
        for (name, value) in expected {
            let values: Vec<&str> = seen
                .headers
                .iter()
                .filter(|(n, _)| n.eq_ignore_ascii_case(name))
                .map(|(_, v)| v.as_str())
                .collect();
            assert_eq!(
                values.join(", "),
                value.unwrap_or_default(),
                "{row}: {name}"
            );
        }
    }
    // Room for one of them only: the others have gone.
    let block = [
        &[0x3F, 0x11][..],
        &fields_of(&pseudo("GET", "/open/x")),
        &[0xBE],
    ]
    .concat();
    act(
        &mut raw,
        &[send(HEADERS, END_HEADERS | END_STREAM, 101, &block)],
    );
    let all = read_until(&mut raw, "GOAWAY", |f| f.kind == GOAWAY);
    assert_eq!(code(&all[all.len() - 1].payload[4..8]), PROTOCOL);
}

/// A request whose answer has 100,000 bytes.
fn long(stream: u32) -> Act {
    head(
        stream,
        END_HEADERS | END_STREAM,
        &pseudo("GET", "/open/long"),
    )
}

/// What the upstream of these tests answers there.
pub fn long_answer(stream: &mut TcpStream) -> bool {
    let body = "x".repeat(100_000);
    respond(stream, 200, &[], &body, body.len())
}
