//! What RFC 9113 and RFC 7541 demand of a server, section by section: each row is a client on a connection of its own, and
//! the reactions that the standard allows.
//!
//! `tests/bypass/` holds that nothing gets through; there a fault may end in any way that lets nothing up. Here the way
//! matters: which code, of the stream or of the connection, and that what is no fault disturbs nobody. Where hyper and h2
//! do something else, the row says what, and why that is safe.

#[path = "conformance/connections.rs"]
mod connections;
#[path = "conformance/frame_kinds.rs"]
mod frame_kinds;
#[path = "conformance/framing.rs"]
mod framing;
#[path = "conformance/messages.rs"]
mod messages;
#[path = "conformance/row.rs"]
mod row;
mod support;

use std::io::Read;
use support::{Folder, Gateway, ROUTES, Upstream, respond};

/// A gateway with this in its configuration, before an upstream that leaves `/open/hold` without an answer.
fn house_of(main: &str) -> (Upstream, Folder, Gateway) {
    let upstream = Upstream::start(|seen, stream| match seen.target() {
        "/open/hold" => {
            // Until the gateway gives up on it.
            let _ = stream.read(&mut [0]);
            false
        }
        "/open/long" => connections::long_answer(stream),
        _ => respond(stream, 200, &[], "fine", 4),
    });
    let folder = Folder::new(upstream.address, main, ROUTES);
    let gateway = folder.start();
    (upstream, folder, gateway)
}

fn judge(rows: Vec<row::Row>) {
    let (_upstream, _folder, gateway) = house_of("");
    row::judge(gateway.address, rows);
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
}

#[test]
fn frames_are_read_as_section_4_has_it() {
    judge(framing::frames());
}

#[test]
fn streams_go_through_the_states_of_section_5() {
    judge(framing::states());
}

#[test]
fn each_kind_of_frame_is_judged_as_section_6_has_it() {
    judge(frame_kinds::kinds());
}

#[test]
fn requests_are_judged_as_section_8_has_it() {
    judge(messages::messages());
}

#[test]
fn blocks_are_read_as_hpack_has_it() {
    judge(messages::blocks());
}
