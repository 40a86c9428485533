//! A whole client connection: the gateway between a client that sends what it likes and an upstream that keeps every byte.
//!
//! An input begins with a line of five letters, each of which has a meaning whatever it is:
//!
//! 1. what the client speaks: `1` bytes as they are, `2` frames of HTTP/2 (preface and settings are sent before them), `s`
//!    requests as text, made frames of ([`frames`]);
//! 2. how the upstream answers ([`upstream::Manner`]);
//! 3. who the client is: `u` a process on a Unix socket, `i` an address, `t` a trusted proxy's, `p` a trusted proxy that
//!    begins with a PROXY header;
//! 4. in what pieces the bytes come: `0` all at once, `1` one by one, `7` by sevens, `n` a piece a line;
//! 5. how it ends: `c` the client ends its direction and reads on, `d` it closes, `w` it waits, `g` the worker drains, `l` it
//!    sends its clients away.
//!
//! What the client sends follows; after a line `=== upstream` there may be what the upstream answers.
//!
//! Nothing waits here. Time stands still but for [`house::House::settle`], which lets everybody do what they can, and for
//! deadlines, which are swept as fast as they can be. So a run repeats, as far as request ids are not looked at.

mod frames;
mod house;
mod judge;
mod log;
mod upstream;
mod wire;

use crate::text::first_line;
use house::House;
use upstream::Manner;

/// The key of scope fullAccess.
pub(crate) const FULL: &str = "0123456789abcdef0123456789abcdef01234567";
/// The key of scope authOnly.
pub(crate) const AUTH: &str = "authonly-authonly-authonly-0001";

/// What an input says.
struct Play<'d> {
    speaks: Speaks,
    manner: Manner,
    who: Who,
    pieces: Pieces,
    end: End,
    client: &'d [u8],
    upstream: &'d [u8],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Speaks {
    Bytes,
    Frames,
    Script,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Unix,
    Address,
    Trusted,
    Proxied,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pieces {
    Whole,
    By(usize),
    Lines,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    HalfClose,
    Close,
    Wait,
    Drain,
    Leave,
}

impl<'d> Play<'d> {
    fn read(data: &'d [u8]) -> Option<Self> {
        let (letters, rest) = first_line(data);
        let &[speaks, manner, who, pieces, end] = letters else {
            return None;
        };
        const CUT: &[u8] = b"\n=== upstream\n";
        let cut = rest.windows(CUT.len()).position(|bytes| bytes == CUT);
        let (client, upstream) = match cut {
            Some(at) => (&rest[..at], &rest[at + CUT.len()..]),
            None => (rest, &b""[..]),
        };
        Some(Play {
            speaks: match speaks {
                b's' => Speaks::Script,
                b'2' => Speaks::Frames,
                _ => Speaks::Bytes,
            },
            manner: Manner::of(manner),
            who: match who {
                b'i' => Who::Address,
                b't' => Who::Trusted,
                b'p' => Who::Proxied,
                _ => Who::Unix,
            },
            pieces: match pieces {
                b'1' => Pieces::By(1),
                b'7' => Pieces::By(7),
                b'n' => Pieces::Lines,
                _ => Pieces::Whole,
            },
            end: match end {
                b'd' => End::Close,
                b'w' => End::Wait,
                b'g' => End::Drain,
                b'l' => End::Leave,
                _ => End::HalfClose,
            },
            client,
            upstream,
        })
    }
}

/// Tries one input.
pub fn check(data: &[u8]) {
    let Some(play) = Play::read(data) else {
        return;
    };
    let sent = match play.speaks {
        Speaks::Bytes => play.client.to_vec(),
        Speaks::Frames => [frames::PREFACE, play.client].concat(),
        Speaks::Script => frames::of(play.client),
    };
    House::with(|house| {
        let seen = house.run(&play, &sent);
        if std::env::var_os("FUZZ_SHOW").is_some() {
            seen.show();
        }
        judge::judge(house, &play, &sent, &seen);
    });
}
