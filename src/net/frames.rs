//! What the frames of an HTTP/2 connection cost, told from their heads.
//!
//! HTTP/2 has frames that cost the receiver work and bring nobody further: resets, pings, settings, windows opened by a byte,
//! empty data, continuations, resets that a client provokes from us (CVE-2019-9512 to 9518, CVE-2023-44487,
//! CVE-2024-27316, CVE-2025-8671). Each is harmless alone, and each has a use. So a connection has an account: such a frame is
//! paid for, what brings a request or a body further is credited, time refills it up to the burst, and whoever overdraws it is
//! told to go.
//!
//! Only the nine bytes of a frame's head are read (RFC 9113, section 4.1), never a payload: what is in it is h2's affair, and
//! h2 has bounds of its own for heads, tables and streams. A client that downloads with small windows, cancels what it does
//! not need, or pings for each round trip, pays less than it earns.

use std::time::{Duration, Instant};

/// What a client's side of a connection begins with (RFC 9113, section 3.4).
const PREFACE: usize = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;

/// What is credited for a head that is sent: its stream may be reset and its windows opened.
const HEAD_EARNS: i64 = 2;

/// Bytes of data that are credited as one frame.
const DATA_EARNS: u32 = 1024;

/// Which end of the connection is ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Server,
    Client,
}

/// The account of one connection.
#[derive(Debug)]
pub struct FrameBudget {
    end: End,
    read: Frames,
    written: Frames,
    /// Frames that may still be paid for.
    balance: i64,
    burst: u32,
    /// In which time one is refilled.
    interval: Duration,
    refilled: Instant,
    /// The last stream that the other end opened.
    last_stream: u32,
}

/// One direction, cut into frames.
#[derive(Default, Debug)]
struct Frames {
    head: [u8; 9],
    filled: usize,
    /// Bytes of a payload, or of the preface, that are still to come.
    payload: usize,
}

/// The head of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Head {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl FrameBudget {
    /// A full account.
    pub fn new(end: End, burst: u32, interval: Duration, now: Instant) -> Self {
        let preface = Frames {
            payload: PREFACE,
            ..Frames::default()
        };
        let (read, written) = match end {
            End::Server => (preface, Frames::default()),
            End::Client => (Frames::default(), preface),
        };
        FrameBudget {
            end,
            read,
            written,
            balance: burst.into(),
            burst,
            interval,
            refilled: now,
            last_stream: 0,
        }
    }

    /// Takes into account what came.
    pub fn read(&mut self, bytes: &[u8]) {
        let (balance, last_stream) = (&mut self.balance, &mut self.last_stream);
        self.read.cut(bytes, |head| {
            *balance += match head.kind {
                HEADERS => {
                    *last_stream = head.stream.max(*last_stream);
                    0
                }
                DATA if head.length > 0 => i64::from(head.length / DATA_EARNS),
                DATA if head.flags & END_STREAM != 0 => 0,
                _ => -1,
            };
        });
        self.balance = self.balance.min(self.burst.into());
    }

    /// Takes into account what was sent.
    pub fn wrote(&mut self, bytes: &[u8]) {
        let (balance, end) = (&mut self.balance, self.end);
        self.written.cut(bytes, |head| {
            *balance += match head.kind {
                HEADERS => HEAD_EARNS,
                DATA if head.length > 0 => 1 + i64::from(head.length / DATA_EARNS),
                // A stream that a server resets is a request that was wrong, or came to nothing.
                RST_STREAM if end == End::Server => -1,
                _ => 0,
            };
        });
        self.balance = self.balance.min(self.burst.into());
    }

    /// Whether more was to be paid for than there was. The clock is asked only when the account is empty.
    pub fn is_overdrawn(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if self.balance >= 0 {
            return false;
        }
        let now = now();
        let interval = self.interval.as_nanos().max(1);
        let refill = now.duration_since(self.refilled).as_nanos() / interval;
        if refill > 0 {
            self.refilled = now;
            let refill = i64::try_from(refill).unwrap_or(i64::MAX);
            self.balance = self.balance.saturating_add(refill).min(self.burst.into());
        }
        self.balance < 0
    }

    /// GOAWAY with ENHANCE_YOUR_CALM (RFC 9113, sections 6.8 and 7), where a frame may begin now.
    pub fn goaway(&self) -> Option<[u8; 17]> {
        if self.written.filled > 0 || self.written.payload > 0 {
            return None;
        }
        let mut frame = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b];
        frame[9..13].copy_from_slice(&self.last_stream.to_be_bytes());
        Some(frame)
    }
}

impl Frames {
    /// Goes on with these bytes and says each head that is whole.
    fn cut(&mut self, mut bytes: &[u8], mut each: impl FnMut(Head)) {
        loop {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let taken = (self.head.len() - self.filled).min(bytes.len());
            self.head[self.filled..][..taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled < self.head.len() {
                return;
            }
            self.filled = 0;
            let [a, b, c, kind, flags, s, t, u, v] = self.head;
            let head = Head {
                length: u32::from_be_bytes([0, a, b, c]),
                kind,
                flags,
                stream: u32::from_be_bytes([s & 0x7f, t, u, v]),
            };
            self.payload = head.length as usize;
            each(head);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;

    fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Vec<u8> {
        let mut frame = u32::try_from(length).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(vec![0xff; length]);
        frame
    }

    fn budget(end: End, burst: u32) -> (FrameBudget, Instant) {
        let now = Instant::now();
        let mut budget = FrameBudget::new(end, burst, Duration::from_secs(1), now);
        match end {
            End::Server => budget.read(&[b'P'; PREFACE]),
            End::Client => budget.wrote(&[b'P'; PREFACE]),
        }
        (budget, now)
    }

    #[test]
    fn what_brings_nobody_further_is_paid_for_and_time_refills() {
        for (what, frame) in [
            ("a ping", frame(PING, 0, 0, 8)),
            ("settings", frame(4, 0, 0, 6)),
            ("a window", frame(WINDOW_UPDATE, 0, 1, 4)),
            ("a reset", frame(RST_STREAM, 0, 1, 4)),
            ("empty data", frame(DATA, 0, 1, 0)),
            ("a continuation", frame(9, 0, 1, 100)),
            ("a priority", frame(2, 0, 1, 5)),
            ("what nobody knows", frame(0xaa, 0, 1, 50)),
        ] {
            let (mut budget, now) = budget(End::Server, 10);
            let mut sent = 0;
            while !budget.is_overdrawn(|| now) {
                budget.read(&frame);
                sent += 1;
            }
            assert_eq!(sent, 11, "{what}");
            assert!(
                !budget.is_overdrawn(|| now + Duration::from_secs(3)),
                "{what}"
            );
            assert_eq!(budget.balance, 2, "{what}");
            assert!(!budget.is_overdrawn(|| unreachable!("there is enough")));
        }
    }

    #[test]
    fn requests_and_their_answers_pay_for_what_comes_with_them() {
        let (mut budget, now) = budget(End::Server, 10);
        for stream in (1..20_000).step_by(2) {
            // A client that opens its window for each answer and resets each stream when it has what it wants.
            budget.read(&frame(HEADERS, 5, stream, 40));
            budget.wrote(&frame(HEADERS, 4, stream, 60));
            budget.wrote(&frame(DATA, 0, stream, 100));
            budget.read(&frame(WINDOW_UPDATE, 0, stream, 4));
            budget.read(&frame(WINDOW_UPDATE, 0, 0, 4));
            budget.read(&frame(RST_STREAM, 0, stream, 4));
            assert!(!budget.is_overdrawn(|| now), "stream {stream}");
        }
        // The last data of a body may be empty.
        for stream in (1..2_000).step_by(2) {
            budget.read(&frame(HEADERS, 4, stream, 40));
            budget.read(&frame(DATA, END_STREAM, stream, 0));
            assert!(!budget.is_overdrawn(|| now), "stream {stream}");
        }
    }

    #[test]
    fn streams_that_a_server_has_to_reset_are_paid_for_and_a_clients_own_are_not() {
        let reset = frame(RST_STREAM, 0, 1, 4);
        let (mut server, now) = budget(End::Server, 10);
        (0..11).for_each(|_| server.wrote(&reset));
        assert!(server.is_overdrawn(|| now));
        let (mut client, now) = budget(End::Client, 10);
        (0..1000).for_each(|_| client.wrote(&reset));
        assert!(!client.is_overdrawn(|| now));
        (0..11).for_each(|_| client.read(&reset));
        assert!(client.is_overdrawn(|| now));
    }

    #[test]
    fn goaway_comes_between_frames_only_and_names_the_last_stream() {
        let (mut budget, _) = budget(End::Server, 10);
        budget.read(&frame(HEADERS, 5, 7, 40));
        let answer = frame(HEADERS, 4, 7, 60);
        for split in 1..answer.len() {
            budget.wrote(&answer[..split]);
            assert_eq!(budget.goaway(), None, "after {split} bytes");
            budget.wrote(&answer[split..]);
            let goaway = budget.goaway().expect("between frames");
            assert_eq!(goaway, [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 11]);
        }
    }

    proptest! {
        #[test]
        fn however_bytes_come_the_frames_are_the_same(
            frames in prop::collection::vec((0..12_u8, 0..8_u8, 0..9_u32, 0..40_usize), 0..20),
            cuts in prop::collection::vec(1..30_usize, 1..20),
        ) {
            let bytes: Vec<u8> = frames
                .iter()
                .flat_map(|(kind, flags, stream, length)| frame(*kind, *flags, *stream, *length))
                .collect();
            let mut seen = Vec::new();
            let mut cut = Frames::default();
            let (mut rest, mut sizes) = (&bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let size = sizes.next().map_or(1, |size| *size).min(rest.len());
                cut.cut(&rest[..size], |head| seen.push((head.kind, head.flags, head.stream, head.length as usize)));
                rest = &rest[size..];
            }
            prop_assert_eq!(seen, frames);
        }
    }
}
