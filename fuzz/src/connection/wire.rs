//! HTTP/1.1 as strictly as it can be read. What a gateway sends has no business with any of the liberties that the
//! specification leaves to those who receive.

/// A request as an upstream saw it.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub method: String,
    pub target: String,
    /// Names in lower case.
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// Whether the body came to its end.
    pub whole: bool,
}

/// How long a body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    None,
    Length(usize),
    Chunked,
    /// Up to the end of the connection; of answers only.
    UntilTheEnd,
}

impl Request {
    /// The values of a field.
    pub fn all<'r, 'n>(&'r self, name: &'n str) -> impl Iterator<Item = &'r [u8]> + use<'r, 'n> {
        all(&self.fields, name)
    }

    /// The value of a field that stands there once.
    pub fn one(&self, name: &str) -> &[u8] {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (Some(value), None) => value,
            other => panic!("one {name}, not {other:?}: {self:?}"),
        }
    }

    /// The id that the gateway gave it.
    pub fn id(&self) -> String {
        text(self.one("x-request-id"))
    }

    /// Reads a head, up to and with its empty line; `None`: there is more to come.
    pub fn read(bytes: &[u8]) -> Option<(Request, usize)> {
        let end = find(bytes, b"\r\n\r\n")?;
        let (first, fields) = head(&bytes[..end], |b| matches!(b, b' '..=b'~'));
        let mut words = first.split(' ');
        let (method, target, version) = (words.next(), words.next(), words.next());
        let (Some(method), Some(target), Some("HTTP/1.1"), None) =
            (method, target, version, words.next())
        else {
            panic!("no request line: {first:?}");
        };
        assert!(!method.is_empty() && method.bytes().all(is_token), "{first:?}");
        assert!(
            target.starts_with('/') || target == "*",
            "not in origin form: {first:?}"
        );
        let request = Request {
            method: method.to_owned(),
            target: target.to_owned(),
            fields,
            ..Request::default()
        };
        Some((request, end + 4))
    }

    /// How its body is framed: in one way.
    pub fn framing(&self) -> Framing {
        let lengths: Vec<_> = self.all("content-length").collect();
        let codings: Vec<_> = self.all("transfer-encoding").collect();
        match (&*lengths, &*codings) {
            ([], []) => Framing::None,
            ([length], []) => Framing::Length(number(length)),
            ([], [b"chunked"]) => Framing::Chunked,
            _ => panic!("more than one framing: {self:?}"),
        }
    }
}

/// An answer as a client saw it.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub fields: Vec<(String, Vec<u8>)>,
}

impl Answer {
    pub fn all<'r, 'n>(&'r self, name: &'n str) -> impl Iterator<Item = &'r [u8]> + use<'r, 'n> {
        all(&self.fields, name)
    }

    /// Reads a head; `None` where it breaks off.
    pub fn read(bytes: &[u8]) -> Option<(Answer, usize)> {
        let end = find(bytes, b"\r\n\r\n")?;
        // A reason is the upstream's (RFC 9112, section 4).
        let reason = |b| matches!(b, b'\t' | b' '..=b'~' | 0x80..);
        let (first, fields) = head(&bytes[..end], reason);
        let status = first
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| first.strip_prefix("HTTP/1.0 "))
            .and_then(|rest| rest.get(..3))
            .and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {first:?}"));
        Some((Answer { status, fields }, end + 4))
    }

    /// How its body is framed. `head`: it answers HEAD.
    pub fn framing(&self, head: bool) -> Framing {
        let lengths: Vec<_> = self.all("content-length").collect();
        let codings: Vec<_> = self.all("transfer-encoding").collect();
        if head || matches!(self.status, 100..200 | 204 | 304) {
            return Framing::None;
        }
        match (&*lengths, &*codings) {
            ([], []) => Framing::UntilTheEnd,
            ([length], []) => Framing::Length(number(length)),
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
            _ => panic!("an answer with more than one framing: {self:?}"),
        }
    }
}

/// What there is of a body, how many bytes it took, and whether that is all of it.
pub(super) fn body(bytes: &[u8], framing: Framing) -> (Vec<u8>, usize, bool) {
    match framing {
        Framing::None => (Vec::new(), 0, true),
        Framing::Length(length) => {
            let here = length.min(bytes.len());
            (bytes[..here].to_vec(), here, here == length)
        }
        Framing::UntilTheEnd => (bytes.to_vec(), bytes.len(), true),
        Framing::Chunked => chunks(bytes),
    }
}

/// Chunks without extensions.
fn chunks(bytes: &[u8]) -> (Vec<u8>, usize, bool) {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else {
            return (body, bytes.len(), false);
        };
        let digits = std::str::from_utf8(&bytes[at..at + line]).ok();
        let size = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let size = size.unwrap_or_else(|| panic!("no chunk: {}", bytes[at..].escape_ascii()));
        at += line + 2;
        if size == 0 {
            return match trailers(&bytes[at..]) {
                Some(length) => (body, at + length, true),
                None => (body, bytes.len(), false),
            };
        }
        let here = size.min(bytes.len() - at);
        body.extend_from_slice(&bytes[at..at + here]);
        let Some(end) = bytes.get(at + size..at + size + 2) else {
            return (body, bytes.len(), false);
        };
        assert_eq!(end, b"\r\n", "a chunk that does not end");
        at += size + 2;
    }
}

/// How many bytes of trailers there are, with their empty line.
fn trailers(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(b"\r\n") {
        return Some(2);
    }
    let end = find(bytes, b"\r\n\r\n")?;
    lines(&bytes[..end]).for_each(|line| drop(field(line)));
    Some(end + 4)
}

fn head(bytes: &[u8], first_has: impl Fn(u8) -> bool) -> (String, Vec<(String, Vec<u8>)>) {
    let mut lines = lines(bytes);
    let first = lines.next().unwrap_or_default();
    assert!(
        first.iter().copied().all(first_has),
        "{}",
        first.escape_ascii()
    );
    (text(first), lines.map(field).collect())
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ended = bytes.split(|b| *b == b'\n');
    let count = ended.clone().count();
    ended.enumerate().map(move |(at, line)| {
        let line = match line.strip_suffix(b"\r") {
            Some(line) => line,
            None if at + 1 == count => line,
            None => panic!("a bare line feed: {}", bytes.escape_ascii()),
        };
        assert!(!line.contains(&b'\r'), "a bare return: {}", bytes.escape_ascii());
        line
    })
}

fn field(line: &[u8]) -> (String, Vec<u8>) {
    let at = line.iter().position(|b| *b == b':');
    let at = at.unwrap_or_else(|| panic!("no field: {}", line.escape_ascii()));
    let (name, value) = (&line[..at], line[at + 1..].trim_ascii());
    assert!(
        !name.is_empty() && name.iter().copied().all(is_token),
        "{}",
        line.escape_ascii()
    );
    assert!(
        value.iter().all(|b| *b == b'\t' || *b >= b' ' && *b != 0x7F),
        "{}",
        line.escape_ascii()
    );
    (text(name).to_ascii_lowercase(), value.to_vec())
}

fn number(digits: &[u8]) -> usize {
    assert!(digits.iter().all(u8::is_ascii_digit), "{digits:?}");
    // Longer than any body here, if it is no number of this machine's.
    text(digits).parse().unwrap_or(usize::MAX)
}

fn all<'f, 'n>(
    fields: &'f [(String, Vec<u8>)],
    name: &'n str,
) -> impl Iterator<Item = &'f [u8]> + use<'f, 'n> {
    let named = fields.iter().filter(move |(own, _)| own == name);
    named.map(|(_, value)| &**value)
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|here| here == wanted)
}
