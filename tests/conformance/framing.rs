//! Rows of RFC 9113, sections 4 and 5: frames, streams and their states.

use crate::row::Reaction::{Answer, Fine, Gone, Reset};
use crate::row::*;
use crate::support::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS,
};

/// Most bytes of a frame's payload, since the gateway says nothing else.
const MOST: usize = 16_384;

pub fn frames() -> Vec<Row> {
    let long = "x".repeat(MOST + 1);
    vec![
        row(
            "4.1",
            "a frame of an unknown kind on a stream",
            [
                post(1),
                send(0xBE, 0xFF, 1, b"any"),
                data(1, END_STREAM, b"x"),
            ],
            &[Answer(1, 200)],
        ),
        row(
            "4.1",
            "unknown flags of PING",
            [send(PING, 0xFE, 0, b"12345678")],
            &[Fine],
        ),
        row(
            "4.1",
            "unknown flags of SETTINGS",
            [send(SETTINGS, 0xFE, 0, &[])],
            &[Fine],
        ),
        row(
            "4.1",
            "unknown flags of DATA",
            [post(1), data(1, END_STREAM | 0xF6, b"x")],
            &[Answer(1, 200)],
        ),
        row(
            "4.1",
            "unknown flags of HEADERS",
            [head(
                1,
                END_HEADERS | END_STREAM | 0x92,
                &pseudo("GET", "/open/x"),
            )],
            &[Answer(1, 200)],
        ),
        row(
            "4.1",
            "the reserved bit of PING",
            [send(PING, 0, 0x8000_0000, b"12345678")],
            &[Fine],
        ),
        row(
            "4.1",
            "the reserved bit of HEADERS",
            [head(
                0x8000_0001,
                END_HEADERS | END_STREAM,
                &pseudo("GET", "/open/x"),
            )],
            &[Answer(1, 200)],
        ),
        row(
            "4.2",
            "DATA of the largest size",
            [post(1), data(1, END_STREAM, &[b'x'; MOST])],
            &[Answer(1, 200)],
        ),
        row(
            "4.2",
            "DATA beyond the largest size",
            [post(1), data(1, END_STREAM, long.as_bytes())],
            &[Gone(FRAME_SIZE), Reset(1, FRAME_SIZE)],
        ),
        row(
            "4.2",
            "HEADERS beyond the largest size",
            [head(
                1,
                END_HEADERS | END_STREAM,
                &[&pseudo("GET", "/open/x")[..], &[("x", &long)]].concat(),
            )],
            &[Gone(FRAME_SIZE)],
        ),
        row(
            "4.2",
            "CONTINUATION beyond the largest size",
            [
                half(1),
                continuation(1, END_HEADERS, &fields_of(&[("x", &long)])),
            ],
            &[Gone(FRAME_SIZE)],
        ),
        row(
            "4.2",
            "SETTINGS beyond the largest size",
            [send(SETTINGS, 0, 0, &[0; 6 * 2731])],
            &[Gone(FRAME_SIZE)],
        ),
        row(
            "4.2",
            "an unknown kind beyond the largest size",
            [send(0xBE, 0, 0, &[0; MOST + 1])],
            &[Gone(FRAME_SIZE)],
        ),
        row(
            "4.3",
            "DATA inside of a head",
            [half(1), data(1, 0, b"x")],
            &[Gone(PROTOCOL)],
        ),
        row(
            "4.3",
            "PRIORITY inside of a head",
            [half(1), send(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])],
            &[Gone(PROTOCOL)],
        ),
        row(
            "4.3",
            "RST_STREAM inside of a head",
            [half(1), reset(1)],
            &[Gone(PROTOCOL)],
        ),
        row(
            "4.3",
            "SETTINGS inside of a head",
            [half(1), send(SETTINGS, 0, 0, &[])],
            &[Gone(PROTOCOL)],
        ),
        row(
            "4.3",
            "WINDOW_UPDATE inside of a head",
            [half(1), window(1, 1)],
            &[Gone(PROTOCOL)],
        ),
        row(
            "4.3",
            "HEADERS of the same stream inside of a head",
            [half(1), get(1)],
            &[Gone(PROTOCOL)],
        ),
        row(
            "4.3",
            "HEADERS of another stream inside of a head",
            [half(1), get(3)],
            &[Gone(PROTOCOL)],
        ),
        row(
            "4.3",
            "a block that cannot be read",
            [send(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80])],
            &[Gone(COMPRESSION)],
        )
        .but_protocol(BLOCK),
        row(
            "4.3",
            "a block that breaks off",
            [send(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[0x82, 0x40, 5, b'x'],
            )],
            &[Gone(COMPRESSION)],
        )
        .but_protocol(BLOCK),
        row(
            "4.3",
            "trailers that cannot be read",
            [
                post(1),
                data(1, 0, b"x"),
                send(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80]),
            ],
            &[Gone(COMPRESSION)],
        )
        .but_protocol(BLOCK),
        row(
            "4.3",
            "a head of a stream that was reset, which cannot be read",
            [
                held(1),
                reset(1),
                send(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80]),
            ],
            &[Gone(COMPRESSION), Gone(STREAM_CLOSED)],
        )
        .but_protocol(BLOCK),
    ]
}

pub fn states() -> Vec<Row> {
    let closed = |stream| [Gone(STREAM_CLOSED), Reset(stream, STREAM_CLOSED)];
    let continued = fields_of(&[("x", "y")]);
    vec![
        row(
            "5.1, idle",
            "DATA",
            [data(1, END_STREAM, b"x")],
            &[Gone(PROTOCOL)],
        ),
        row("5.1, idle", "RST_STREAM", [reset(1)], &[Gone(PROTOCOL)]),
        row(
            "5.1, idle",
            "WINDOW_UPDATE",
            [window(1, 1)],
            &[Gone(PROTOCOL)],
        ),
        row(
            "5.1, idle",
            "CONTINUATION",
            [continuation(1, END_HEADERS, &continued)],
            &[Gone(PROTOCOL)],
        ),
        row(
            "5.1, idle",
            "PRIORITY",
            [send(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])],
            &[Fine],
        ),
        row(
            "5.1, open",
            "PRIORITY, then the body",
            [
                post(1),
                send(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
                data(1, END_STREAM, b"x"),
            ],
            &[Answer(1, 200)],
        ),
        row(
            "5.1, open",
            "WINDOW_UPDATE, then the body",
            [post(1), window(1, 1), data(1, END_STREAM, b"x")],
            &[Answer(1, 200)],
        ),
        row(
            "5.1, open",
            "RST_STREAM",
            [post(1), data(1, 0, b"x"), reset(1)],
            &[Fine],
        ),
        row(
            "5.1, half-closed (remote)",
            "DATA",
            [held(1), data(1, END_STREAM, b"x")],
            &closed(1),
        )
        .but_protocol(BEHIND),
        row(
            "5.1, half-closed (remote)",
            "HEADERS",
            [held(1), get(1)],
            &closed(1),
        )
        .but_protocol(BEHIND),
        row(
            "5.1, half-closed (remote)",
            "CONTINUATION",
            [held(1), continuation(1, END_HEADERS, &continued)],
            &[Gone(PROTOCOL), Gone(STREAM_CLOSED), Reset(1, STREAM_CLOSED)],
        ),
        row(
            "5.1, half-closed (remote)",
            "WINDOW_UPDATE",
            [held(1), window(1, 1)],
            &[Fine],
        ),
        row(
            "5.1, half-closed (remote)",
            "PRIORITY",
            [held(1), send(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])],
            &[Fine],
        ),
        row(
            "5.1, half-closed (remote)",
            "RST_STREAM",
            [held(1), reset(1)],
            &[Fine],
        ),
        row(
            "5.1, closed",
            "DATA behind RST_STREAM",
            [held(1), reset(1), data(1, END_STREAM, b"x")],
            &closed(1),
        ),
        row(
            "5.1, closed",
            "HEADERS behind RST_STREAM",
            [held(1), reset(1), get(1)],
            &closed(1),
        )
        .but_protocol(BEHIND),
        row(
            "5.1, closed",
            "CONTINUATION behind RST_STREAM",
            [held(1), reset(1), continuation(1, END_HEADERS, &continued)],
            &[Gone(PROTOCOL), Gone(STREAM_CLOSED), Reset(1, STREAM_CLOSED)],
        ),
        row(
            "5.1, closed",
            "WINDOW_UPDATE behind RST_STREAM",
            [held(1), reset(1), window(1, 1)],
            &[Fine, Gone(STREAM_CLOSED), Reset(1, STREAM_CLOSED)],
        ),
        row(
            "5.1, closed",
            "RST_STREAM behind RST_STREAM",
            [held(1), reset(1), reset(1)],
            &[Fine, Gone(STREAM_CLOSED), Reset(1, STREAM_CLOSED)],
        ),
        row(
            "5.1, closed",
            "PRIORITY behind RST_STREAM",
            [held(1), reset(1), send(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])],
            &[Fine],
        ),
        row(
            "5.1, closed",
            "DATA behind the answer",
            [get(1), Act::Await(1), data(1, END_STREAM, b"x")],
            &closed(1),
        ),
        row(
            "5.1, closed",
            "HEADERS behind the answer",
            [get(1), Act::Await(1), get(1)],
            &closed(1),
        )
        .but_protocol(BEHIND),
        row(
            "5.1, closed",
            "CONTINUATION behind the answer",
            [
                get(1),
                Act::Await(1),
                continuation(1, END_HEADERS, &continued),
            ],
            &[Gone(PROTOCOL), Gone(STREAM_CLOSED)],
        ),
        row(
            "5.1, closed",
            "WINDOW_UPDATE behind the answer",
            [get(1), Act::Await(1), window(1, 1)],
            &[Fine],
        ),
        row(
            "5.1, closed",
            "RST_STREAM behind the answer",
            [get(1), Act::Await(1), reset(1)],
            &[Fine],
        ),
        row(
            "5.1, closed",
            "PRIORITY behind the answer",
            [
                get(1),
                Act::Await(1),
                send(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
            ],
            &[Fine],
        ),
        row(
            "5.1.1",
            "a stream of an even number",
            [get(2)],
            &[Gone(PROTOCOL)],
        ),
        row(
            "5.1.1",
            "a stream below the last",
            [get(5), Act::Await(5), get(3)],
            &[Gone(PROTOCOL)],
        ),
        row(
            "5.1.1",
            "DATA on a stream that was passed over",
            [held(5), data(3, END_STREAM, b"x")],
            &[Gone(STREAM_CLOSED), Reset(3, STREAM_CLOSED), Gone(PROTOCOL)],
        ),
        row(
            "5.5",
            "a frame of an unknown kind inside of a head",
            [half(1), send(0xBE, 0, 1, b"any")],
            &[Gone(PROTOCOL)],
        ),
        row(
            "5.5",
            "a setting that nobody knows",
            [setting(0xFF, 1)],
            &[Fine],
        ),
        row(
            "7",
            "RST_STREAM with a code that nobody knows",
            [held(1), send(RST_STREAM, 0, 1, &[0, 0, 0, 0xFF])],
            &[Fine],
        ),
        row(
            "7",
            "GOAWAY with a code that nobody knows, and a request before it",
            [
                held(1),
                send(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0xFF]),
                reset(1),
            ],
            &[Gone(NO_ERROR)],
        ),
        row(
            "6.10",
            "CONTINUATION on stream 0",
            [half(1), send(CONTINUATION, END_HEADERS, 0, &continued)],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.10",
            "CONTINUATION behind a whole head",
            [post(1), continuation(1, END_HEADERS, &continued)],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.10",
            "CONTINUATION behind a whole head in two frames",
            [
                half(1),
                continuation(1, END_HEADERS, &continued),
                continuation(1, END_HEADERS, &continued),
            ],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.10",
            "CONTINUATION behind DATA",
            [
                post(1),
                data(1, 0, b"x"),
                continuation(1, END_HEADERS, &continued),
            ],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.10",
            "CONTINUATION in many frames, some of them empty",
            [
                half(1),
                continuation(1, 0, &continued),
                continuation(1, 0, &[]),
                continuation(1, 0, &continued),
                continuation(1, END_HEADERS, &[]),
            ],
            &[Answer(1, 200)],
        ),
    ]
}
