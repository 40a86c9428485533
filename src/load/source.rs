//! The next request: which key, which route, which number, and its bytes.
//!
//! All that is the same for each request of a route was rendered ahead; what is left is a few draws and copies.

use super::draw::Picker;
use super::expect::{Expectations, Mark, OutcomeIndex};
use super::mark::{self, Digest};
use super::pool::{Drawn, Pool};
use super::route::LoadRoute;
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use std::sync::Arc;

/// Bodies above this are written from where they are; others are copied behind their heads, for one write.
const COPIED_BODY_BYTES: usize = 16 * 1024;

/// All that requests are made of, the same for all threads.
pub(super) struct Stuff {
    pub(super) pool: Pool,
    pub(super) expectations: Expectations,
    routes: Vec<Rendered>,
    picker: Picker,
    key_header: HeaderName,
    key_line: Vec<u8>,
    scheme: Scheme,
    authority: Authority,
}

/// A route as it is sent.
struct Rendered {
    route: LoadRoute,
    is_head: bool,
    is_idempotent: bool,
    /// The target, where it is the same for all.
    target: PathAndQuery,
    /// Method, and the target up to the number.
    start: Vec<u8>,
    /// From there to the mark.
    end: Vec<u8>,
    /// Of method and target up to the number, as the upstream sees them.
    digest: Digest,
    /// The upstream's target after the number, and the blank before the mark.
    digest_middle: Vec<u8>,
    /// The blank after the mark, and the length of the body.
    digest_end: Vec<u8>,
    body: Bytes,
}

impl Stuff {
    pub(super) fn new(
        pool: Pool,
        expectations: Expectations,
        routes: Vec<LoadRoute>,
        key_header: HeaderName,
        (scheme, authority): (Scheme, Authority),
    ) -> Self {
        let weights: Vec<f64> = routes.iter().map(|route| route.weight).collect();
        let rendered = routes.into_iter().enumerate().map(|(at, route)| {
            let (before, after) = expectations.upstream_target(at);
            Rendered::new(route, &authority, before, after)
        });
        Stuff {
            routes: rendered.collect(),
            picker: Picker::weighted(&weights),
            key_line: format!("\r\n{key_header}: ").into_bytes(),
            key_header,
            pool,
            expectations,
            scheme,
            authority,
        }
    }
}

impl Rendered {
    fn new(route: LoadRoute, authority: &Authority, seen_before: &str, seen_after: &str) -> Self {
        let method = &route.method;
        let length = route.body_bytes;
        let has_body = length > 0 || matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        let content = if has_body {
            format!("content-type: application/octet-stream\r\ncontent-length: {length}\r\n")
        } else {
            String::new()
        };
        let after = route.after.as_deref().unwrap_or_default();
        let end = format!(
            "{after} HTTP/1.1\r\nhost: {authority}\r\n{content}{}: ",
            mark::REQUEST
        );
        Rendered {
            is_head: *method == Method::HEAD,
            is_idempotent: method.is_idempotent(),
            target: read(route.target(0)),
            start: format!("{method} {}", route.before).into_bytes(),
            end: end.into_bytes(),
            digest: Digest::new().then(format!("{method} {seen_before}").as_bytes()),
            digest_middle: format!("{seen_after} ").into_bytes(),
            digest_end: format!(" {length}").into_bytes(),
            body: Bytes::from(vec![b'x'; length]),
            route,
        }
    }
}

/// A target as HTTP/2 has it.
fn read(target: String) -> PathAndQuery {
    PathAndQuery::from_maybe_shared(Bytes::from(target))
        .expect("a route's target is a target, and so it is with digits in it")
}

/// One request, and what is right for it.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    pub(super) outcome: OutcomeIndex,
    pub(super) is_head: bool,
    /// Whether it may be sent again where it cannot be known what became of it (RFC 9110, section 9.2.2).
    pub(super) is_idempotent: bool,
    route: u32,
    key: Drawn,
    number: u32,
    mark: [u8; mark::LEN],
    /// What a permitted request is answered with.
    pub(super) digest: [u8; mark::LEN],
}

/// Makes one thread's requests.
pub(super) struct Source {
    stuff: Arc<Stuff>,
    random: fastrand::Rng,
    next_mark: u64,
}

impl Source {
    /// Draws depend on the seed alone. Marks do not: each run and each thread must have its own.
    pub(super) fn new(stuff: Arc<Stuff>, seed: u64, first_mark: u64) -> Self {
        Source {
            stuff,
            random: fastrand::Rng::with_seed(seed),
            next_mark: first_mark,
        }
    }

    pub(super) fn stuff(&self) -> &Stuff {
        &self.stuff
    }

    /// Draws the next request.
    pub(super) fn draw(&mut self) -> Ticket {
        let stuff = &*self.stuff;
        let key = stuff.pool.draw(&mut self.random);
        let at = stuff.picker.draw(&mut self.random);
        let rendered = &stuff.routes[at];
        let (number, digits) = match rendered.route.after {
            None => (0, Digits::NONE),
            Some(_) => {
                let random = self.random.u64(..) >> 32;
                let number = ((random * u64::from(rendered.route.numbers)) >> 32) as u32;
                (number, Digits::of(number))
            }
        };
        let mark = mark::hex(self.next_mark);
        self.next_mark = self.next_mark.wrapping_add(1);
        let outcome = stuff.expectations.of(usize::from(key.kind), at);
        let digest = if stuff.expectations.outcomes()[usize::from(outcome)].mark == Mark::Digest {
            (rendered.digest)
                .then(digits.text())
                .then(&rendered.digest_middle)
                .then(&mark)
                .then(&rendered.digest_end)
                .hex()
        } else {
            [0; mark::LEN]
        };
        Ticket {
            outcome,
            is_head: rendered.is_head,
            is_idempotent: rendered.is_idempotent,
            route: at as u32,
            key,
            number,
            mark,
            digest,
        }
    }

    /// Writes a request as HTTP/1.1 has it; what comes back is a body to be written after it.
    pub(super) fn write(&self, ticket: &Ticket, out: &mut Vec<u8>) -> Bytes {
        let stuff = &*self.stuff;
        let rendered = &stuff.routes[ticket.route as usize];
        out.clear();
        out.extend_from_slice(&rendered.start);
        if rendered.route.after.is_some() {
            out.extend_from_slice(Digits::of(ticket.number).text());
        }
        out.extend_from_slice(&rendered.end);
        out.extend_from_slice(&ticket.mark);
        let key = stuff.pool.text(ticket.key);
        if !key.is_empty() {
            out.extend_from_slice(&stuff.key_line);
            out.extend_from_slice(key);
        }
        out.extend_from_slice(b"\r\n\r\n");
        if rendered.body.len() <= COPIED_BODY_BYTES {
            out.extend_from_slice(&rendered.body);
            Bytes::new()
        } else {
            rendered.body.clone()
        }
    }

    /// A request as HTTP/2 has it, and its body.
    pub(super) fn request(&self, ticket: &Ticket) -> (Request<()>, Bytes) {
        let stuff = &*self.stuff;
        let rendered = &stuff.routes[ticket.route as usize];
        let target = match rendered.route.after {
            None => rendered.target.clone(),
            Some(_) => read(rendered.route.target(ticket.number)),
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(stuff.scheme.clone());
        parts.authority = Some(stuff.authority.clone());
        parts.path_and_query = Some(target);
        let uri = Uri::from_parts(parts).expect("all three parts are there");
        let value = |bytes: &[u8]| {
            HeaderValue::from_bytes(bytes).expect("keys and marks are visible ASCII and blanks")
        };
        let mut request = Request::new(());
        *request.method_mut() = rendered.route.method.clone();
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(HeaderName::from_static(mark::REQUEST), value(&ticket.mark));
        let key = stuff.pool.text(ticket.key);
        if !key.is_empty() {
            headers.insert(stuff.key_header.clone(), value(key));
        }
        (request, rendered.body.clone())
    }

    /// A request as a report shows it: method and target, the kind of its key, its mark. Nothing of the key.
    pub(super) fn shown(&self, ticket: &Ticket) -> (String, String, String) {
        let stuff = &*self.stuff;
        let route = &stuff.routes[ticket.route as usize].route;
        let kind = usize::from(ticket.key.kind);
        (
            format!("{} {}", route.method, route.target(ticket.number)),
            stuff.pool.kinds()[kind].to_string(),
            String::from_utf8_lossy(&ticket.mark).into_owned(),
        )
    }
}

/// A number in decimal, without an allocation.
struct Digits {
    text: [u8; 10],
    start: usize,
}

impl Digits {
    const NONE: Digits = Digits {
        text: [0; 10],
        start: 10,
    };

    fn of(mut number: u32) -> Self {
        let mut digits = Digits::NONE;
        loop {
            digits.start -= 1;
            digits.text[digits.start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return digits;
            }
        }
    }

    fn text(&self) -> &[u8] {
        &self.text[self.start..]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::draw::Draw;
    use super::super::expect::{Compare, Deciding};
    use super::super::keys::{Mix, read_keys};
    use super::*;

    /// Of one key and one route.
    pub(in crate::load) fn source(route: &str) -> Source {
        let mut random = fastrand::Rng::with_seed(1);
        let keys = read_keys("0123456789abcdefghij fullAccess\n").unwrap();
        let mix: Mix = "fullAccess=1".parse().unwrap();
        let pool = Pool::new(keys, &mix, Draw::Uniform, &mut random)
            .ok()
            .unwrap();
        let routes: Vec<LoadRoute> = vec![route.parse().unwrap()];
        let compare = Compare {
            codes: true,
            marks: true,
        };
        let expectations =
            Expectations::new(pool.kinds(), &routes, Deciding::Words, compare).unwrap();
        let header = HeaderName::from_static("apikey");
        let place = (Scheme::HTTP, Authority::from_static("gateway.test"));
        Source::new(
            Arc::new(Stuff::new(pool, expectations, routes, header, place)),
            3,
            0xff,
        )
    }

    #[test]
    fn a_request_is_written_whole_and_its_digest_is_of_what_was_written() {
        let mut source = source("PUT /v3/users/{n}?a=b body=5 n=10");
        let ticket = source.draw();
        let mut out = Vec::new();
        assert!(source.write(&ticket, &mut out).is_empty());
        let target = format!("/v3/users/{}?a=b", ticket.number);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(
                "PUT {target} HTTP/1.1\r\nhost: gateway.test\r\ncontent-type: application/octet-stream\r\ncontent-length: 5\r\nx-load-mark: 00000000000000ff\r\napikey: 0123456789abcdefghij\r\n\r\nxxxxx"
            )
        );
        let digest = mark::digest("PUT", &target, "00000000000000ff", 5);
        assert_eq!(ticket.digest, *digest.as_bytes());
        let (request, body) = source.request(&ticket);
        assert_eq!(
            request.uri(),
            format!("http://gateway.test{target}").as_str()
        );
        assert_eq!((request.headers().len(), body.len()), (2, 5));
        assert_eq!(source.shown(&ticket).1, "fullAccess");
        assert_ne!(source.draw().mark, ticket.mark);
    }

    #[test]
    fn a_large_body_is_not_copied() {
        let mut source = source("POST / body=1MiB");
        let ticket = source.draw();
        let mut out = Vec::new();
        assert_eq!(source.write(&ticket, &mut out).len(), 1 << 20);
        assert!(out.ends_with(b"\r\n\r\n"));
    }
}
