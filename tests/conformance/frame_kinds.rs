//! Rows of RFC 9113, section 6: each kind of frame.

use crate::row::Reaction::{Answer, Ended, Fine, Gone, Reset};
use crate::row::*;
use crate::support::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
};

const WINDOW: &str =
    "h2 tells it as PROTOCOL_ERROR; the connection ends all the same, before any window is set";

pub fn kinds() -> Vec<Row> {
    let get_block = fields_of(&pseudo("GET", "/open/x"));
    let whole = END_HEADERS | END_STREAM;
    let padded =
        |length: u8, padding: usize| [&[length][..], &get_block, &vec![0; padding]].concat();
    let prioritized = |depends_on: u8| [&[0, 0, 0, depends_on, 15][..], &get_block].concat();
    vec![
        row(
            "6.1",
            "DATA on stream 0",
            [data(0, 0, b"x")],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.1",
            "padding as long as its frame",
            [post(1), data(1, END_STREAM | PADDED, b"\x06hello")],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.1",
            "padding without its length",
            [post(1), data(1, END_STREAM | PADDED, b"")],
            &[Gone(FRAME_SIZE), Gone(PROTOCOL)],
        ),
        row(
            "6.1",
            "padding alone",
            [post(1), data(1, END_STREAM | PADDED, b"\x03\0\0\0")],
            &[Answer(1, 200)],
        ),
        row(
            "6.1",
            "padding that is not zeros",
            [post(1), data(1, END_STREAM | PADDED, b"\x03xabc")],
            &[Answer(1, 200), Gone(PROTOCOL)],
        ),
        row(
            "6.1",
            "no bytes at all",
            [post(1), data(1, 0, b""), data(1, END_STREAM, b"")],
            &[Answer(1, 200)],
        ),
        row(
            "6.2",
            "HEADERS on stream 0",
            [send(HEADERS, whole, 0, &get_block)],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.2",
            "padding",
            [send(HEADERS, whole | PADDED, 1, &padded(9, 9))],
            &[Answer(1, 200)],
        ),
        row(
            "6.2",
            "padding longer than its frame",
            [send(HEADERS, whole | PADDED, 1, &padded(255, 9))],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.2",
            "padding without its length",
            [send(HEADERS, whole | PADDED, 1, &[])],
            &[Gone(FRAME_SIZE), Gone(PROTOCOL)],
        ),
        row(
            "6.2",
            "a priority",
            [send(HEADERS, whole | PRIORITIZED, 1, &prioritized(0))],
            &[Answer(1, 200)],
        ),
        row(
            "6.2",
            "a priority and padding",
            [send(
                HEADERS,
                whole | PRIORITIZED | PADDED,
                1,
                &[&[2][..], &prioritized(0), &[0, 0]].concat(),
            )],
            &[Answer(1, 200)],
        ),
        row(
            "6.2",
            "half a priority",
            [send(HEADERS, whole | PRIORITIZED, 1, &[0, 0, 0])],
            &[Gone(FRAME_SIZE), Gone(PROTOCOL)],
        ),
        row(
            "5.3",
            "a stream that depends on itself (RFC 7540, section 5.3.1; RFC 9113 is silent)",
            [send(HEADERS, whole | PRIORITIZED, 1, &prioritized(1))],
            &[Answer(1, 200), Reset(1, PROTOCOL)],
        ),
        row(
            "5.3",
            "PRIORITY on itself (RFC 7540, section 5.3.1; RFC 9113 is silent)",
            [send(PRIORITY, 0, 1, &[0, 0, 0, 1, 1])],
            &[Fine, Reset(1, PROTOCOL)],
        ),
        row(
            "6.3",
            "PRIORITY on stream 0",
            [send(PRIORITY, 0, 0, &[0, 0, 0, 1, 1])],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.3",
            "PRIORITY of four bytes",
            [held(1), send(PRIORITY, 0, 1, &[0; 4])],
            &[Reset(1, FRAME_SIZE), Gone(FRAME_SIZE)],
        )
        .but_protocol(SIZE),
        row(
            "6.3",
            "PRIORITY of six bytes",
            [held(1), send(PRIORITY, 0, 1, &[0; 6])],
            &[Reset(1, FRAME_SIZE), Gone(FRAME_SIZE)],
        )
        .but_protocol(SIZE),
        row(
            "6.4",
            "RST_STREAM on stream 0",
            [send(RST_STREAM, 0, 0, &[0; 4])],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.4",
            "RST_STREAM of three bytes",
            [held(1), send(RST_STREAM, 0, 1, &[0; 3])],
            &[Gone(FRAME_SIZE)],
        )
        .but_protocol(SIZE),
        row(
            "6.4",
            "RST_STREAM of five bytes",
            [held(1), send(RST_STREAM, 0, 1, &[0; 5])],
            &[Gone(FRAME_SIZE)],
        )
        .but_protocol(SIZE),
        row(
            "6.5",
            "an acknowledgement with settings",
            [send(SETTINGS, 1, 0, &[0, 3, 0, 0, 0, 1])],
            &[Gone(FRAME_SIZE)],
        )
        .but_protocol(SIZE),
        row(
            "6.5",
            "settings on a stream",
            [held(1), send(SETTINGS, 0, 1, &[])],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.5",
            "settings of five bytes",
            [send(SETTINGS, 0, 0, &[0; 5])],
            &[Gone(FRAME_SIZE)],
        )
        .but_protocol(SIZE),
        row("6.5.2", "ENABLE_PUSH of 0", [setting(2, 0)], &[Fine]),
        row("6.5.2", "ENABLE_PUSH of 1", [setting(2, 1)], &[Fine]),
        row(
            "6.5.2",
            "ENABLE_PUSH of 2",
            [setting(2, 2)],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.5.2",
            "INITIAL_WINDOW_SIZE beyond its bound",
            [setting(4, 0x8000_0000)],
            &[Gone(FLOW_CONTROL)],
        )
        .but_protocol(WINDOW),
        row(
            "6.5.2",
            "MAX_FRAME_SIZE below its bound",
            [setting(5, 16_383)],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.5.2",
            "MAX_FRAME_SIZE beyond its bound",
            [setting(5, 0x0100_0000)],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.5.2",
            "MAX_FRAME_SIZE at its bounds",
            [setting(5, 16_384), setting(5, 0x00FF_FFFF)],
            &[Fine],
        ),
        row(
            "6.5.2",
            "ENABLE_CONNECT_PROTOCOL of 2 (RFC 8441, section 3)",
            [setting(8, 2)],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.6",
            "PUSH_PROMISE from a client",
            [
                held(1),
                send(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]),
            ],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.7",
            "PING on a stream",
            [held(1), send(PING, 0, 1, &[0; 8])],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.7",
            "PING of seven bytes",
            [send(PING, 0, 0, &[0; 7])],
            &[Gone(FRAME_SIZE)],
        )
        .but_protocol(SIZE),
        row(
            "6.7",
            "PING of nine bytes",
            [send(PING, 0, 0, &[0; 9])],
            &[Gone(FRAME_SIZE)],
        )
        .but_protocol(SIZE),
        row(
            "6.7",
            "an acknowledgement that nobody waits for",
            [send(PING, 1, 0, b"unasked!")],
            &[Fine],
        ),
        row(
            "6.7",
            "an acknowledgement of six bytes",
            [send(PING, 1, 0, &[0; 6])],
            &[Gone(FRAME_SIZE)],
        )
        .but_protocol(SIZE),
        row(
            "6.8",
            "GOAWAY on a stream",
            [held(1), send(GOAWAY, 0, 1, &[0; 8])],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.8",
            "GOAWAY of seven bytes",
            [send(GOAWAY, 0, 0, &[0; 7])],
            &[Gone(FRAME_SIZE)],
        )
        .but_protocol(SIZE),
        row(
            "6.8",
            "GOAWAY",
            [send(GOAWAY, 0, 0, &[0; 8])],
            &[Gone(NO_ERROR), Ended],
        ),
        row(
            "6.9",
            "WINDOW_UPDATE of nothing on the connection",
            [window(0, 0)],
            &[Gone(PROTOCOL)],
        ),
        row(
            "6.9",
            "WINDOW_UPDATE of nothing on a stream",
            [held(1), window(1, 0)],
            &[Reset(1, PROTOCOL), Gone(PROTOCOL)],
        ),
        row(
            "6.9",
            "WINDOW_UPDATE of three bytes",
            [send(WINDOW_UPDATE, 0, 0, &[0; 3])],
            &[Gone(FRAME_SIZE)],
        )
        .but_protocol(SIZE),
        row(
            "6.9",
            "WINDOW_UPDATE of five bytes",
            [send(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1, 0])],
            &[Gone(FRAME_SIZE)],
        )
        .but_protocol(SIZE),
        row(
            "6.9",
            "the reserved bit of WINDOW_UPDATE",
            [window(0, 0x8000_0001)],
            &[Fine],
        ),
        row(
            "6.9.1",
            "the connection's window beyond its bound",
            [window(0, 0x7FFF_FFFF)],
            &[Gone(FLOW_CONTROL)],
        ),
        row(
            "6.9.1",
            "a stream's window beyond its bound",
            [held(1), window(1, 0x7FFF_FFFF)],
            &[Reset(1, FLOW_CONTROL), Gone(FLOW_CONTROL)],
        ),
        row(
            "6.9.2",
            "a stream's window beyond its bound by the settings",
            [held(1), window(1, 0x7FFF_0000), setting(4, 0x7FFF_FFFF)],
            &[Gone(FLOW_CONTROL)],
        ),
        row(
            "6.9.2",
            "windows of nothing, and of something again",
            [setting(4, 0), setting(4, 65_535), get(1)],
            &[Answer(1, 200)],
        ),
        row(
            "6.1",
            "DATA with all flags of its own and a frame behind its end",
            [
                post(1),
                send(DATA, END_STREAM | PADDED, 1, b"\0x"),
                data(1, 0, b"x"),
            ],
            &[Reset(1, STREAM_CLOSED), Gone(STREAM_CLOSED), Answer(1, 200)],
        )
        .but_protocol(BEHIND),
    ]
}
