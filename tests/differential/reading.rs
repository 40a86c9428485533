//! What a server read of a request, and how what one read differs from what another did.

use crate::corpus::{Arrives, Request};
use crate::notation::{Names, show};
use crate::recorder::Seen;
use std::fmt;

/// A request as a server has read it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Reading {
    /// Method and target, as they stood in the request line.
    pub line: String,
    pub body: Vec<u8>,
    /// Whether its body came to its end.
    pub whole: bool,
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = if self.whole { "" } else { ", cut" };
        let (length, body) = (self.body.len(), show(&self.body));
        write!(f, "{:?} with {length} bytes {body:.100}{cut}", self.line)
    }
}

impl From<&Seen> for Reading {
    /// A proxy tells in a field how it has read the request line.
    fn from(seen: &Seen) -> Self {
        let told = seen.headers.iter().find(|(name, _)| name == "x-read-as");
        let line = told.and_then(|(_, line)| line.strip_suffix(" HTTP/1.1"));
        Reading {
            line: line.unwrap_or(&seen.line).to_owned(),
            body: seen.body.clone(),
            whole: seen.whole,
        }
    }
}

impl Reading {
    /// Puts the names of keys in place of the keys, which each gateway has of its own.
    pub fn forget(&mut self, names: &Names) {
        self.line = forget(&self.line, names);
        for (name, key) in names {
            while let Some(at) = find(&self.body, key.as_bytes()) {
                self.body.splice(at..at + key.len(), name.bytes());
            }
        }
    }
}

/// The names of keys in place of the keys.
pub fn forget(line: &str, names: &Names) -> String {
    let mut line = line.to_owned();
    for (name, key) in names {
        line = line.replace(key.as_str(), name);
    }
    line
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|w| w == wanted)
}

/// Where a server read something else than was recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference {
    /// More often than any reading of the input has it.
    TooOften(Reading),
    /// Whole, and not so recorded.
    Unrecorded(Reading),
    /// Recorded as whole, and not so read.
    Missing(Reading),
    /// One that may break off, whole, and recorded with another body.
    OtherBody(Reading),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::TooOften(reading) => write!(f, "read too often: {reading}"),
            Difference::Unrecorded(reading) => write!(f, "read, and not so recorded: {reading}"),
            Difference::Missing(reading) => write!(f, "recorded, and not so read: {reading}"),
            Difference::OtherBody(reading) => write!(f, "recorded with another body: {reading}"),
        }
    }
}

/// How what a server read differs from what was recorded of the same input. Which of the requests may break off, and which
/// may come whole or not as it happens, is what the case expects.
pub fn differences(
    expected: &[Request],
    recorded: &[Reading],
    read: &[Reading],
) -> Vec<Difference> {
    let mut all = Vec::new();
    for reading in read {
        let among =
            |known: &mut dyn Iterator<Item = &str>| known.filter(|l| *l == reading.line).count();
        let here = among(&mut read.iter().map(|r| r.line.as_str()));
        let may = among(&mut expected.iter().map(|r| r.line.as_str()));
        if here > may {
            all.push(Difference::TooOften(reading.clone()));
        }
    }
    let as_it_happens = |reading: &Reading| {
        let mut of_line = expected.iter().filter(|r| r.line == reading.line);
        of_line.any(|r| r.arrives == Arrives::Either)
    };
    let whole = |readings: &[Reading]| {
        let whole = readings.iter().filter(|r| r.whole).cloned();
        let (either, mut certain): (Vec<_>, Vec<_>) = whole.partition(&as_it_happens);
        certain.sort();
        (certain, either)
    };
    let (mut missing, either_recorded) = whole(recorded);
    let (certain, either) = whole(read);
    for reading in certain {
        match missing.iter().position(|r| *r == reading) {
            Some(at) => {
                missing.remove(at);
            }
            None => all.push(Difference::Unrecorded(reading)),
        }
    }
    for reading in missing {
        all.push(Difference::Missing(reading));
    }
    for reading in either {
        let same_line = |r: &&Reading| r.line == reading.line;
        let bodies: Vec<_> = either_recorded.iter().filter(same_line).collect();
        if !bodies.is_empty() && !bodies.contains(&&reading) {
            all.push(Difference::OtherBody(reading));
        }
    }
    all
}

fn reading(line: &str, body: &str) -> Reading {
    Reading {
        line: line.to_owned(),
        body: body.into(),
        whole: true,
    }
}

fn request(line: &str, arrives: Arrives) -> Request {
    Request {
        line: line.to_owned(),
        arrives,
    }
}

#[test]
fn one_request_altered_added_or_taken_is_a_difference() {
    let expected = [
        request("GET /a", Arrives::Whole),
        request("POST /b", Arrives::Whole),
        request("POST /cut", Arrives::Cut),
        request("POST /maybe", Arrives::Either),
    ];
    let cut = |line: &str| Reading {
        whole: false,
        ..reading(line, "")
    };
    let recorded = [
        reading("GET /a", ""),
        reading("POST /b", "hello"),
        cut("POST /cut"),
        reading("POST /maybe", "five5"),
    ];
    let (a, b) = (recorded[0].clone(), recorded[1].clone());
    let count = |read: &[Reading]| differences(&expected, &recorded, read).len();
    assert_eq!(count(&recorded), 0);
    // In another order, and without what need not be seen.
    assert_eq!(count(&[b.clone(), a.clone()]), 0);
    assert_eq!(count(&[b.clone(), a.clone(), cut("POST /maybe")]), 0);
    for (row, read) in [
        ("another method", vec![reading("HEAD /a", ""), b.clone()]),
        ("another target", vec![reading("GET /a/", ""), b.clone()]),
        ("another body", vec![a.clone(), reading("POST /b", "hellO")]),
        ("a byte more", vec![a.clone(), reading("POST /b", "hello ")]),
        ("one taken", vec![a.clone()]),
        ("one of them cut", vec![a.clone(), cut("POST /b")]),
        ("one twice", vec![a.clone(), a.clone(), b.clone()]),
        (
            "one added",
            vec![a.clone(), b.clone(), reading("GET /hidden", "")],
        ),
        (
            "one added, cut",
            vec![a.clone(), b.clone(), cut("GET /hidden")],
        ),
        (
            "half of one whole",
            vec![a.clone(), b.clone(), reading("POST /cut", "")],
        ),
        (
            "a whole one otherwise",
            vec![a.clone(), b.clone(), reading("POST /maybe", "four")],
        ),
        (
            "a whole one twice",
            vec![a, b, reading("POST /maybe", "five5"), cut("POST /maybe")],
        ),
    ] {
        assert_ne!(count(&read), 0, "{row}");
    }
}
