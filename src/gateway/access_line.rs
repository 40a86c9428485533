//! One line for each request, and how it is written.
//!
//! A JSON line is written here, byte for byte what the subscriber would make of the same event: a request that is logged costs
//! a few hundred nanoseconds this way, and some thousand by way of an event, a channel and a write of its own. Lines are
//! kept by the worker until there are many, or until it looks up from its work; then they go to the queue together. Text, for
//! a terminal, goes the subscriber's way.

use super::metrics::Outcome;
use crate::clock::Timestamp;
use crate::key::KeyId;
use crate::log::LogQueue;
use crate::net::Peer;
use crate::policy::Route;
use std::cell::RefCell;
use std::io::Write;
use std::time::Duration;

/// How much a worker keeps before it hands it on.
const KEPT_BYTES: usize = 32 << 10;

/// What is said of a request.
pub(super) struct Line<'a> {
    pub id: &'a str,
    pub client: Peer,
    pub method: &'static str,
    pub route: Option<&'a Route>,
    /// The route's part of a JSON line, see [`route_fields`].
    pub route_fields: &'a [u8],
    pub key: Option<&'a KeyId>,
    pub status: u16,
    pub outcome: Outcome,
    pub reason: Option<&'static str>,
    pub took: Duration,
    pub upstream: Option<Duration>,
    /// How often it was sent, with 0 where no connection could be made: the sum over all lines is what upstreams may have
    /// seen. `None` where it was not for an upstream.
    pub attempts: Option<u8>,
    pub bytes: u64,
    pub generation: u64,
}

/// A worker's access lines, on their way to the log.
pub(super) struct AccessLines {
    log: LogQueue,
    kept: RefCell<Kept>,
}

#[derive(Default)]
struct Kept {
    lines: Vec<u8>,
    /// The second that was written last, and how.
    second: Option<(Timestamp, String)>,
}

impl AccessLines {
    /// None yet.
    pub(super) fn new(log: LogQueue) -> Self {
        AccessLines {
            log,
            kept: RefCell::default(),
        }
    }

    /// Writes a line, soon.
    pub(super) fn write(&self, line: &Line) {
        if !self.log.is_json() {
            return line.say();
        }
        let mut kept = self.kept.borrow_mut();
        kept.write(line);
        if kept.lines.len() >= KEPT_BYTES {
            self.hand_on(&mut kept);
        }
    }

    /// Hands on what was kept back.
    pub(super) fn flush(&self) {
        self.hand_on(&mut self.kept.borrow_mut());
    }

    fn hand_on(&self, kept: &mut Kept) {
        if !kept.lines.is_empty() {
            self.log.push(&kept.lines);
            kept.lines.clear();
        }
    }
}

impl Drop for AccessLines {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Kept {
    fn write(&mut self, line: &Line) {
        let (now, fraction) = Timestamp::now_and_fraction();
        let second = match &mut self.second {
            Some((second, text)) if *second == now => text,
            other => &mut other.insert((now, to_the_second(now))).1,
        };
        let out = &mut self.lines;
        out.extend_from_slice(b"{\"timestamp\":\"");
        out.extend_from_slice(second.as_bytes());
        fraction_digits(out, fraction.subsec_micros());
        text(
            out,
            b"Z\",\"level\":\"INFO\",\"message\":\"request\",\"id\":\"",
            line.id,
        );
        out.extend_from_slice(b"\",\"client\":\"");
        write!(out, "{}", line.client).expect("memory can be written to");
        text(out, b"\",\"method\":\"", line.method);
        out.push(b'"');
        out.extend_from_slice(line.route_fields);
        text(out, b",\"key\":\"", line.key.map_or("-", KeyId::as_str));
        number(out, b"\",\"status\":", line.status.into());
        text(out, b",\"outcome\":\"", line.outcome.as_str());
        out.push(b'"');
        if let Some(reason) = line.reason {
            text(out, b",\"reason\":\"", reason);
            out.push(b'"');
        }
        milliseconds(out, b",\"ms\":", line.took);
        if let Some(upstream) = line.upstream {
            milliseconds(out, b",\"upstream_ms\":", upstream);
        }
        if let Some(attempts) = line.attempts {
            number(out, b",\"attempts\":", attempts.into());
        }
        number(out, b",\"bytes\":", line.bytes);
        number(out, b",\"generation\":", line.generation);
        out.extend_from_slice(b",\"target\":\"keygate::access\"}\n");
    }
}

impl Line<'_> {
    /// As an event.
    fn say(&self) {
        let ms = |d: Duration| d.as_nanos() as f64 / 1e6;
        tracing::info!(
            target: "keygate::access",
            id = self.id,
            client = %self.client,
            method = self.method,
            route = self.route.map_or("-", |r| &r.name),
            template = self.route.map_or("-", |r| &r.template),
            key = self.key.map_or("-", KeyId::as_str),
            status = self.status,
            outcome = self.outcome.as_str(),
            reason = self.reason,
            ms = ms(self.took),
            upstream_ms = self.upstream.map(ms),
            attempts = self.attempts,
            bytes = self.bytes,
            generation = self.generation,
            "request"
        );
    }
}

/// The part of a JSON line that is the same for all requests of a route.
pub(super) fn route_fields(route: Option<&Route>) -> Box<[u8]> {
    let (name, template) = match route {
        Some(route) => (&*route.name, &*route.template),
        None => ("-", "-"),
    };
    let json = |text: &str| serde_json::Value::from(text).to_string();
    format!(",\"route\":{},\"template\":{}", json(name), json(template))
        .into_bytes()
        .into()
}

/// `2027-01-31T12:00:00`, to be followed by a fraction.
fn to_the_second(now: Timestamp) -> String {
    let mut text = now.utc();
    if text.ends_with('Z') {
        text.pop();
    }
    text
}

/// A text that needs no escapes: gateway's own words, identifiers.
fn text(out: &mut Vec<u8>, before: &[u8], text: &str) {
    out.extend_from_slice(before);
    out.extend_from_slice(text.as_bytes());
}

fn number(out: &mut Vec<u8>, before: &[u8], number: u64) {
    out.extend_from_slice(before);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn milliseconds(out: &mut Vec<u8>, before: &[u8], span: Duration) {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    number(out, before, millis);
    fraction_digits(out, span.subsec_nanos() % 1_000_000);
}

/// A point and six digits.
fn fraction_digits(out: &mut Vec<u8>, mut millionths: u32) {
    let mut digits = *b".000000";
    for digit in digits[1..].iter_mut().rev() {
        *digit += u8::try_from(millionths % 10).expect("a digit");
        millionths /= 10;
    }
    out.extend_from_slice(&digits);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    /// The lines that the subscriber makes of the same requests: but for the time, the bytes are equal.
    #[test]
    fn a_line_is_what_the_subscriber_would_write() {
        let id = KeyId::generate(&aws_lc_rs::rand::SystemRandom::new());
        let line = Line {
            id: "2ee991ba4ec3258ce752ae8d15ade039",
            client: Peer::Ip("2001:db8::1".parse().unwrap()),
            method: "GET",
            route: None,
            route_fields: &route_fields(None),
            key: Some(&id),
            status: 403,
            outcome: Outcome::NoScope,
            reason: Some("scope"),
            took: Duration::from_nanos(12_000_307_125),
            upstream: Some(Duration::from_micros(1_500)),
            attempts: Some(2),
            bytes: u64::MAX,
            generation: 7,
        };
        let least = Line {
            client: Peer::Unix,
            key: None,
            reason: None,
            took: Duration::from_nanos(166_458),
            upstream: None,
            attempts: None,
            bytes: 0,
            ..line
        };
        for line in [line, least] {
            assert_eq!(parsed(&ours(&line)), parsed(&theirs(&line)));
            assert_eq!(keys(&ours(&line)), keys(&theirs(&line)));
        }
    }

    fn ours(line: &Line) -> String {
        let mut kept = Kept::default();
        kept.write(line);
        String::from_utf8(kept.lines).unwrap()
    }

    fn theirs(line: &Line) -> String {
        let (written, read) = std::sync::mpsc::sync_channel::<Vec<u8>>(16);
        let layer = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(move || Sent(written.clone()));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || line.say());
        String::from_utf8(read.try_iter().flatten().collect()).unwrap()
    }

    struct Sent(std::sync::mpsc::SyncSender<Vec<u8>>);

    impl Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_owned()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The line as JSON, its time as far as it is the same.
    fn parsed(line: &str) -> serde_json::Value {
        let mut json: serde_json::Value = serde_json::from_str(line).expect(line);
        let time = json["timestamp"].take();
        let time = time.as_str().expect("a time");
        let shape = time.replace(|c: char| c.is_ascii_digit(), "0");
        assert_eq!(shape, "0000-00-00T00:00:00.000000Z");
        json
    }

    /// The names of its fields in their order.
    fn keys(line: &str) -> Vec<String> {
        let quoted = line.split('"').skip(1).step_by(2);
        let after = line.split('"').skip(2).step_by(2);
        let pairs = quoted.zip(after);
        let names = pairs.filter(|(_, after)| after.starts_with(':'));
        names.map(|(name, _)| name.to_owned()).collect()
    }
}
