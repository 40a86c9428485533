//! The frames of WebSocket (RFC 6455, section 5.2), as far as it must be known where one ends: a close frame of ours may
//! stand only there.

/// Follows the frames of one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames {
    head: [u8; 14],
    /// How much of the head of the next frame is there.
    have: usize,
    /// How much of the payload of the frame in hand is still to come.
    payload: u64,
}

impl Frames {
    /// Whether the frame in hand is whole, or there is none.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0 && self.payload == 0
    }

    /// Takes note of bytes that have passed.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.step(bytes);
            bytes = &bytes[taken..];
        }
    }

    /// How many of these bytes, which come next, belong to the frame in hand; all of them if it goes on after them.
    pub(super) fn left_of_frame(&self, bytes: &[u8]) -> usize {
        let mut ahead = self.clone();
        let mut taken = 0;
        while taken < bytes.len() && !ahead.is_between() {
            taken += ahead.step(&bytes[taken..]);
        }
        taken
    }

    /// Takes some of the bytes, at least one: a piece of a head, or of one frame's payload.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.payload > 0 {
            let here = usize::try_from(self.payload).map_or(bytes.len(), |n| n.min(bytes.len()));
            self.payload -= here as u64;
            return here;
        }
        self.head[self.have] = bytes[0];
        self.have += 1;
        if self.have >= 2 && self.have == self.head_len() {
            self.payload = self.payload_len();
            self.have = 0;
        }
        1
    }

    fn head_len(&self) -> usize {
        let extended = match self.head[1] & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        2 + extended + mask
    }

    fn payload_len(&self) -> u64 {
        let extended = |bytes: &[u8]| bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b));
        match self.head[1] & 0x7F {
            126 => extended(&self.head[2..4]),
            127 => extended(&self.head[2..10]),
            short => u64::from(short),
        }
    }
}

/// A close frame, not masked, with this code (RFC 6455, section 7.4) and no reason.
pub(super) fn close_frame(code: u16) -> [u8; 4] {
    let [high, low] = code.to_be_bytes();
    [0x88, 2, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(payload: usize, masked: bool) -> Vec<u8> {
        let mut bytes = vec![0x82];
        let mask = if masked { 0x80 } else { 0 };
        match payload {
            0..126 => bytes.push(mask | payload as u8),
            126..65536 => {
                bytes.push(mask | 126);
                bytes.extend((payload as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend((payload as u64).to_be_bytes());
            }
        }
        if masked {
            bytes.extend([1, 2, 3, 4]);
        }
        bytes.resize(bytes.len() + payload, 0xFF);
        bytes
    }

    #[test]
    fn a_frame_ends_where_its_head_says() {
        for payload in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            for masked in [false, true] {
                let whole = frame(payload, masked);
                let mut frames = Frames::default();
                frames.pass(&whole[..whole.len() - 1]);
                assert!(!frames.is_between(), "{payload} {masked}");
                assert_eq!(
                    frames.left_of_frame(&[whole[whole.len() - 1], 0x81, 0]),
                    1,
                    "{payload} {masked}"
                );
                frames.pass(&whole[whole.len() - 1..]);
                assert!(frames.is_between(), "{payload} {masked}");
                assert_eq!(frames.left_of_frame(&[0x81, 0]), 0, "{payload} {masked}");
            }
        }
    }

    #[test]
    fn a_frame_too_large_to_ever_end_does_not_confuse() {
        let mut frames = Frames::default();
        frames.pass(&[0x82, 127, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
        frames.pass(&[0; 100]);
        assert!(!frames.is_between());
        assert_eq!(frames.left_of_frame(&[0; 50]), 50);
    }

    proptest! {
        #[test]
        fn however_the_bytes_come_frames_end_at_the_same_places(
            payloads in proptest::collection::vec((0usize..300, any::<bool>()), 1..8),
            cuts in proptest::collection::vec(1usize..60, 1..40),
        ) {
            let mut bytes = Vec::new();
            let mut ends = vec![0];
            for (payload, masked) in payloads {
                bytes.extend(frame(payload, masked));
                ends.push(bytes.len());
            }
            let (mut frames, mut at) = (Frames::default(), 0);
            for cut in cuts.iter().cycle() {
                let next = (at + cut).min(bytes.len());
                let expected = if ends.contains(&at) {
                    0
                } else {
                    ends.iter().find(|e| **e > at).unwrap() - at
                };
                prop_assert_eq!(frames.left_of_frame(&bytes[at..]), expected);
                frames.pass(&bytes[at..next]);
                at = next;
                prop_assert_eq!(frames.is_between(), ends.contains(&at));
                if at == bytes.len() {
                    break;
                }
            }
        }
    }
}
