//! Rows of RFC 9113, section 8, and of RFC 7541: requests in frames, and fields in blocks.

use crate::row::Reaction::{Answer, Gone, Reset};
use crate::row::*;
use crate::support::frames::{END_HEADERS, END_STREAM, HEADERS};

/// A malformed request is a stream error, before which a server may answer (RFC 9113, section 8.1.1), and which it may take
/// for an error of the connection (section 5.4.1).
const MALFORMED: [Reaction; 3] = [Reset(1, PROTOCOL), Answer(1, 400), Gone(PROTOCOL)];

fn without(name: &str) -> Act {
    let all = pseudo("GET", "/open/x");
    let fields: Vec<Field> = all.into_iter().filter(|(n, _)| *n != name).collect();
    head(1, END_HEADERS | END_STREAM, &fields)
}

fn with(name: &'static str, value: &'static str) -> Act {
    let all = pseudo("GET", "/open/x").map(|(n, v)| if n == name { (n, value) } else { (n, v) });
    head(1, END_HEADERS | END_STREAM, &all)
}

fn post_of(length: &str) -> Act {
    let all = [
        &pseudo("POST", "/open/x")[..],
        &[("content-length", length)],
    ]
    .concat();
    head(1, END_HEADERS, &all)
}

pub fn messages() -> Vec<Row> {
    let whole = END_HEADERS | END_STREAM;
    let trailers = |fields: &[Field]| [post(1), data(1, 0, b"x"), head(1, whole, fields)];
    vec![
        row("8.1", "trailers", trailers(&[("x", "y")]), &[Answer(1, 200)]),
        row("8.1", "trailers that do not end the stream", [post(1), data(1, 0, b"x"), head(1, END_HEADERS, &[("x", "y")])], &MALFORMED),
        row("8.1", "DATA behind trailers",
            [head(1, END_HEADERS, &pseudo("POST", "/open/hold")), head(1, whole, &[("x", "y")]), data(1, 0, b"x")],
            &[Reset(1, STREAM_CLOSED), Gone(STREAM_CLOSED)]).but_protocol(BEHIND),
        row("8.1", "trailers with a pseudo-field", trailers(&[(":path", "/open/y")]), &MALFORMED)
            .but(Answer(1, 200), "h2 keeps it apart from the trailers, which is where it is left: no upstream is sent it"),
        row("8.1.1", "a length below the body", [post_of("1"), data(1, END_STREAM, b"four")], &MALFORMED),
        row("8.1.1", "a length above the body", [post_of("5"), data(1, END_STREAM, b"four")], &MALFORMED),
        row("8.1.1", "a length above a body in two frames", [post_of("9"), data(1, 0, b"four"), data(1, END_STREAM, b"four")], &MALFORMED),
        row("8.1.1", "a length below a body in two frames", [post_of("6"), data(1, 0, b"four"), data(1, END_STREAM, b"four")], &MALFORMED),
        row("8.1.1", "a length and no body", [get_with(&[("content-length", "1")])], &MALFORMED),
        row("8.1.1", "a length above a body that ends with trailers",
            [post_of("5"), data(1, 0, b"four"), head(1, whole, &[("x", "y")])], &MALFORMED),
        row("8.2.1", "a name in upper case", [get_with(&[("X-Name", "y")])], &MALFORMED),
        row("8.2.1", "a name with a blank", [get_with(&[("x y", "z")])], &MALFORMED),
        row("8.2.1", "a name with a control character", [get_with(&[("x\u{1}", "z")])], &MALFORMED),
        row("8.2.1", "a name with a letter beyond ASCII", [get_with(&[("x\u{e4}", "z")])], &MALFORMED),
        row("8.2.1", "a name with a colon", [get_with(&[("x:y", "z")])], &MALFORMED),
        row("8.2.1", "an empty name", [get_with(&[("", "z")])], &MALFORMED),
        row("8.2.1", "a value with a NUL", [get_with(&[("x", "a\0b")])], &MALFORMED),
        row("8.2.1", "a value with a CR", [get_with(&[("x", "a\rb")])], &MALFORMED),
        row("8.2.1", "a value with an LF", [get_with(&[("x", "a\nb")])], &MALFORMED),
        row("8.2.1", "a value with a blank before it", [get_with(&[("x", " a")])], &MALFORMED),
        row("8.2.1", "a value with a tab behind it", [get_with(&[("x", "a\t")])], &MALFORMED),
        row("8.2.1", "trailers with a name in upper case", trailers(&[("X", "y")]), &MALFORMED),
        row("8.2.2", "Connection", [get_with(&[("connection", "keep-alive")])], &MALFORMED),
        row("8.2.2", "Keep-Alive", [get_with(&[("keep-alive", "timeout=5")])], &MALFORMED),
        row("8.2.2", "Proxy-Connection", [get_with(&[("proxy-connection", "keep-alive")])], &MALFORMED),
        row("8.2.2", "Transfer-Encoding", [get_with(&[("transfer-encoding", "chunked")])], &MALFORMED),
        row("8.2.2", "Upgrade", [get_with(&[("upgrade", "h2c")])], &MALFORMED),
        row("8.2.2", "TE of trailers", [get_with(&[("te", "trailers")])], &[Answer(1, 200)]),
        row("8.2.2", "TE of more", [get_with(&[("te", "trailers, deflate")])], &MALFORMED),
        row("8.2.2", "trailers with Connection", trailers(&[("connection", "close")]), &MALFORMED),
        row("8.3", "an unknown pseudo-field", [get_with(&[(":test", "y")])], &MALFORMED),
        row("8.3", "a pseudo-field of answers", [get_with(&[(":status", "200")])], &MALFORMED),
        row("8.3", "a pseudo-field behind a field",
            [head(1, whole, &[(":method", "GET"), (":scheme", "http"), ("x", "y"), (":path", "/open/x")])], &MALFORMED),
        row("8.3.1", "an empty path", [with(":path", "")], &MALFORMED),
        row("8.3.1", "a path without its slash", [with(":path", "open/x")], &MALFORMED),
        row("8.3.1", "a path of a star, and no OPTIONS", [with(":path", "*")], &MALFORMED),
        row("8.3.1", "no method", [without(":method")], &MALFORMED),
        row("8.3.1", "no scheme", [without(":scheme")], &MALFORMED),
        row("8.3.1", "no path", [without(":path")], &MALFORMED),
        row("8.3.1", "the method twice", [get_with(&[(":method", "GET")])], &MALFORMED),
        row("8.3.1", "the scheme twice", [get_with(&[(":scheme", "http")])], &MALFORMED),
        row("8.3.1", "the path twice", [get_with(&[(":path", "/open/x")])], &MALFORMED),
        row("8.3.1", "the authority twice", [get_with(&[(":authority", "gateway.test")])], &MALFORMED),
        row("8.3.1", "an authority with a user", [with(":authority", "a@gateway.test")], &MALFORMED),
        row("8.3.1", "another Host than the authority", [get_with(&[("host", "other.test")])], &MALFORMED),
        row("8.3.1", "Host in place of the authority",
            [head(1, whole, &[(":method", "GET"), (":scheme", "http"), (":path", "/open/x"), ("host", "gateway.test")])], &[Answer(1, 200)]),
        row("8.4", "PUSH_PROMISE on an idle stream", [send(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])], &[Gone(PROTOCOL)]),
        row("8.5", "CONNECT with a path",
            [head(1, END_HEADERS, &[(":method", "CONNECT"), (":authority", "a:1"), (":path", "/open/x")])], &MALFORMED),
        row("8.5", "CONNECT with a scheme",
            [head(1, END_HEADERS, &[(":method", "CONNECT"), (":authority", "a:1"), (":scheme", "http")])], &MALFORMED),
        row("8.5", "CONNECT without an authority", [head(1, END_HEADERS, &[(":method", "CONNECT")])], &MALFORMED),
    ]
}

pub fn blocks() -> Vec<Row> {
    let whole = END_HEADERS | END_STREAM;
    // GET, http, /, from the table that everybody has.
    let after = |bytes: &[u8]| {
        send(
            HEADERS,
            whole,
            1,
            &[&fields_of(&pseudo("GET", "/open/x"))[..], bytes].concat(),
        )
    };
    let before = |bytes: &[u8]| {
        send(
            HEADERS,
            whole,
            1,
            &[bytes, &fields_of(&pseudo("GET", "/open/x"))].concat(),
        )
    };
    let bad = [Gone(COMPRESSION)];
    vec![
        row(
            "7541, 2.3.3",
            "the first index behind an empty table",
            [after(&[0xBE])],
            &bad,
        )
        .but_protocol(BLOCK),
        row(
            "7541, 2.3.3",
            "a literal whose name is behind an empty table",
            [after(&[0x7E, 1, b'y'])],
            &bad,
        )
        .but_protocol(BLOCK),
        row(
            "7541, 2.3.3",
            "a literal, not to be kept, whose name is behind an empty table",
            [after(&[0x0F, 0x2F, 1, b'y'])],
            &bad,
        )
        .but_protocol(BLOCK),
        row(
            "7541, 2.3.2",
            "an index that was kept before, and one behind it",
            [after(&[0x40, 1, b'x', 1, b'y', 0xBE, 0xBF])],
            &bad,
        )
        .but_protocol(BLOCK),
        row(
            "7541, 2.3.2",
            "an index that was kept before",
            [after(&[0x40, 1, b'x', 1, b'y', 0xBE])],
            &[Answer(1, 200)],
        ),
        row(
            "7541, 4.2",
            "a size behind the fields",
            [after(&[0x20])],
            &bad,
        )
        .but_protocol(BLOCK),
        row(
            "7541, 4.2",
            "two sizes before the fields",
            [before(&[0x20, 0x3F, 0xE1, 0x1F])],
            &[Answer(1, 200)],
        ),
        row(
            "7541, 4.2",
            "the table emptied, and an index into it",
            [
                after(&[0x40, 1, b'x', 1, b'y']),
                Act::Await(1),
                send(HEADERS, whole, 3, &[0x20, 0xBE]),
            ],
            &bad,
        )
        .but_protocol(BLOCK),
        row(
            "7541, 4.4",
            "a field larger than the table empties it",
            [
                before(&[0x3F, 0x11]),
                Act::Await(1),
                send(
                    HEADERS,
                    whole,
                    3,
                    &[&[0x40, 1, b'x', 60][..], &[b'y'; 60], &[0xBE]].concat(),
                ),
            ],
            &bad,
        )
        .but_protocol(BLOCK),
        row(
            "7541, 5.1",
            "an integer beyond all bounds",
            [after(&[
                0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01,
            ])],
            &bad,
        )
        .but_protocol(BLOCK),
        row(
            "7541, 5.1",
            "an integer that breaks off",
            [after(&[0xFF, 0x80])],
            &bad,
        )
        .but_protocol(BLOCK),
        row(
            "7541, 5.2",
            "a text that breaks off",
            [after(&[0x00, 1, b'x', 5, b'y'])],
            &bad,
        )
        .but_protocol(BLOCK),
        row(
            "7541, 5.2",
            "a code with more than seven bits of padding",
            [after(&[0x00, 1, b'x', 0x82, 0x1F, 0xFF])],
            &bad,
        )
        .but_protocol(BLOCK),
        row(
            "7541, 5.2",
            "a code with a byte of padding more than needed",
            [after(&[0x00, 1, b'x', 0x82, 0x3F, 0xFF])],
            &bad,
        )
        .but_protocol(BLOCK),
        row(
            "7541, 5.2",
            "a code padded by zeros",
            [after(&[0x00, 1, b'x', 0x81, 0x18])],
            &bad,
        )
        .but_protocol(BLOCK),
        row(
            "7541, 5.2",
            "a code with its end inside",
            [after(&[0x00, 1, b'x', 0x84, 0xFF, 0xFF, 0xFF, 0xFC])],
            &bad,
        )
        .but_protocol(BLOCK),
        row(
            "7541, 5.2",
            "a code",
            [after(&[0x00, 1, b'x', 0x81, 0x1F])],
            &[Answer(1, 200)],
        ),
        row("7541, 6.1", "the index 0", [after(&[0x80])], &bad).but_protocol(BLOCK),
        row(
            "7541, 6.1",
            "fields by index alone",
            [send(
                HEADERS,
                whole,
                1,
                &[
                    &[0x82, 0x86][..],
                    &fields_of(&[(":authority", "gateway.test"), (":path", "/open/x")]),
                ]
                .concat(),
            )],
            &[Answer(1, 200)],
        ),
        row(
            "7541, 6.2.1",
            "a literal that is kept, its name by index",
            [after(&[0x7A, 1, b'y'])],
            &[Answer(1, 200)],
        ),
        row(
            "7541, 6.2.3",
            "a literal that is never to be kept",
            [after(&[0x10, 1, b'x', 1, b'y'])],
            &[Answer(1, 200)],
        ),
        row(
            "7541, 6.3",
            "a size beyond the settings",
            [before(&[0x3F, 0xE2, 0x1F])],
            &bad,
        )
        .but_protocol(BLOCK),
        row(
            "7541, 6.3",
            "the largest size",
            [before(&[0x3F, 0xE1, 0x1F])],
            &[Answer(1, 200)],
        ),
    ]
}
