//! Every way in which an answer can be wrong is found, on either version of HTTP, and one of many is enough.

use super::server::{Asked, Then, permitted, refused, say, serve};
use super::{NOT_FOUND, Ran, against};
use serde_json::Value;
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lie {
    /// 200 where 401 is right.
    LetThrough,
    /// 401 where 200 is right.
    Refused,
    /// The right status with another code.
    Code,
    /// A refusal that is no JSON to its end.
    CutRefusal,
    /// A refusal with the mark of an upstream, which should not have heard of the request.
    UpstreamHeard,
    /// The answer to the request before.
    Another,
    /// The digest in the body alone.
    NoHeader,
    /// The digest in the head alone.
    NoBody,
    /// Two digests, of which one is right.
    TwoHeaders,
    /// The right head with the body of another.
    AnothersBody,
    /// A body that is shorter than the upstream says it was.
    CutOff,
    /// A body that ends in other bytes than the upstream sent.
    MixedUp,
    /// The connection ends in the middle.
    BreakOff,
    /// A body that is longer than its head says.
    TooLong,
    /// A second answer that nobody asked for.
    Twice,
}

impl Lie {
    /// Whether it is told of requests that should be permitted.
    fn is_of_permitted(self) -> bool {
        !matches!(
            self,
            Lie::LetThrough | Lie::Code | Lie::CutRefusal | Lie::UpstreamHeard | Lie::Twice
        )
    }

    fn tell(self, asked: &Asked, before: &str, out: &mut TcpStream) -> Then {
        let digest = asked.digest();
        let lengthy = |length: usize, body: &str| {
            let lines = format!("x-load-length: {length}\r\nx-load-digest:");
            permitted(&digest, body).replace("x-load-digest:", &lines)
        };
        let text = match self {
            Lie::LetThrough => permitted(&digest, &digest),
            Lie::Refused => refused("AUTH_ERR_APIKEY_NOT_FOUND", ""),
            Lie::Code => refused("AUTH_ERR_NO_ACCESS", ""),
            Lie::CutRefusal => refused("AUTH_ERR_APIKEY_NOT_FOUND", "").replace("}}", "} "),
            Lie::UpstreamHeard => refused(
                "AUTH_ERR_APIKEY_NOT_FOUND",
                &format!("x-load-digest: {digest}\r\n"),
            ),
            Lie::Another => permitted(before, before),
            Lie::NoHeader => permitted(&digest, &digest).replace("x-load-digest", "x-other"),
            Lie::NoBody => permitted(&digest, ""),
            Lie::TwoHeaders => permitted(&digest, &digest).replace(
                "x-load-digest:",
                &format!("x-load-digest: {before}\r\nx-load-digest:"),
            ),
            Lie::AnothersBody => permitted(&digest, before),
            Lie::CutOff => lengthy(32, &digest),
            Lie::MixedUp => lengthy(32, &format!("{digest}{before}")),
            Lie::BreakOff => {
                say(out, "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n0123");
                return Then::End;
            }
            Lie::TooLong => permitted(&digest, &digest) + "more",
            Lie::Twice => {
                say(out, &asked.right());
                asked.right()
            }
        };
        say(out, &text)
    }
}

/// A server that knows how to answer, and tells one lie: of the `lie`th request that this lie is one for.
fn liar(lie: u64, how: Lie) -> SocketAddr {
    let count = AtomicU64::new(0);
    let before = Mutex::new("0000000000000000".to_owned());
    serve(move |asked, out| {
        let is_for = asked.is_known == how.is_of_permitted();
        let is_lie = is_for && count.fetch_add(1, Ordering::SeqCst) + 1 == lie;
        let mut before = before.lock().expect("no thread panics with it");
        let said = match is_lie {
            true => how.tell(asked, &before, out),
            false => say(out, &asked.right()),
        };
        *before = asked.digest();
        said
    })
}

#[test]
fn one_wrong_answer_in_a_hundred_thousand_fails_the_run() {
    let ran = against(
        liar(70_001, Lie::Another),
        "fullAccess=9,unknown=1",
        &["--requests", "100000"],
    );
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert_eq!(
        (&ran.report["wrong"], &ran.report["ok"]),
        (&Value::from(1), &Value::from(false))
    );
    assert_eq!(ran.report["answers"], 100_000);
    assert_eq!(ran.report["samples"][0]["key"], "fullAccess");
    for word in ["expected 200, digest", "got      200", "FAILED"] {
        assert!(ran.said.contains(word), "{word}: {}", ran.said);
    }
}

#[test]
fn a_server_that_tells_no_lie_passes() {
    let mix = "fullAccess=9,unknown=1";
    let ran = against(liar(0, Lie::Another), mix, &["--requests", "100000"]);
    ran.assert_ok(100_000);
}

fn assert_found(ran: &Ran, what: &str, is_failure: bool, expected: &str, got: &str) {
    assert_eq!(ran.code, Some(1), "{what}: {}", ran.said);
    let bad = ["wrong", "failures"].map(|name| ran.report[name].as_u64().expect(name));
    let one = [u64::from(!is_failure), u64::from(is_failure)];
    assert_eq!(bad, one, "{what}: {}", ran.said);
    let sample = &ran.report["samples"][0];
    let text = |name: &str| sample[name].as_str().expect(name).to_owned();
    assert!(text("expected").contains(expected), "{what}: {sample}");
    assert!(text("got").contains(got), "{what}: {sample}");
    assert!(
        !ran.said.contains("a-key-that-is"),
        "a key is never shown: {}",
        ran.said
    );
}

#[test]
fn each_kind_of_wrong_answer_is_found() {
    const SERVED: &str = "200, digest";
    for (how, lie, expected, got) in [
        (Lie::LetThrough, 500, NOT_FOUND, "200"),
        (Lie::Refused, 500, SERVED, "401"),
        (Lie::Code, 500, NOT_FOUND, "AUTH_ERR_NO_ACCESS"),
        (Lie::CutRefusal, 500, NOT_FOUND, "401"),
        (Lie::UpstreamHeard, 500, NOT_FOUND, "401, digest"),
        (Lie::Another, 500, SERVED, SERVED),
        (Lie::NoHeader, 500, SERVED, "200, body of 16"),
        (Lie::NoBody, 500, SERVED, "body of 0"),
        (Lie::TwoHeaders, 500, SERVED, "or several"),
        (Lie::AnothersBody, 500, SERVED, "body of 16"),
        (Lie::CutOff, 500, SERVED, "body of 16 bytes of 32"),
        (Lie::MixedUp, 500, SERVED, "body of 32 bytes of 32"),
        (Lie::BreakOff, 500, SERVED, "ended"),
        (Lie::TooLong, 500, SERVED, "nobody asked for"),
        // The last of all, after which nothing is sent that would come upon it.
        (Lie::Twice, 1000, NOT_FOUND, "nobody asked for"),
    ] {
        let mix = match how.is_of_permitted() {
            true => "fullAccess=1",
            false => "unknown=1",
        };
        let ran = against(liar(lie, how), mix, &["--requests", "1000", "-c", "4"]);
        let is_failure = matches!(how, Lie::BreakOff | Lie::TooLong | Lie::Twice);
        assert_found(&ran, &format!("{how:?}"), is_failure, expected, got);
    }
}

#[test]
fn an_answer_too_many_is_found_among_refusals_that_are_all_alike() {
    // Taken for the next answer, it would shift all that follow by one.
    let ran = against(
        liar(3, Lie::Twice),
        "unknown=1",
        &["--requests", "1000", "-c", "1"],
    );
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert!(ran.said.contains("nobody asked for"), "{}", ran.said);
}

mod over_http2 {
    use super::*;
    use crate::http2_server::{Reply, serve};

    /// A change to the right reply, and what it is a lie about.
    type Change = fn(&mut Reply);

    #[test]
    fn http2_is_judged_as_strictly() {
        let lies: [(&str, &str, &str, &str, Change); 8] = [
            ("200 for 401", "unknown=1", NOT_FOUND, "200", |reply| {
                reply.status = 200;
            }),
            (
                "a wrong code",
                "unknown=1",
                NOT_FOUND,
                "NO_ACCESS",
                |reply| {
                    reply.body = reply.body.replace("APIKEY_NOT_FOUND", "NO_ACCESS");
                },
            ),
            (
                "a mark on a refusal",
                "unknown=1",
                NOT_FOUND,
                "401, digest",
                |reply| {
                    let digest = "0123456789abcdef".to_owned();
                    reply.headers.push(("x-load-digest", digest));
                },
            ),
            (
                "no header",
                "fullAccess=1",
                "200, digest",
                "200, body of 16",
                |reply| {
                    reply.headers.clear();
                },
            ),
            (
                "two headers",
                "fullAccess=1",
                "200, digest",
                "or several",
                |reply| {
                    reply.headers.extend(reply.headers.clone());
                },
            ),
            (
                "no body",
                "fullAccess=1",
                "200, digest",
                "body of 0",
                |reply| {
                    reply.body.clear();
                },
            ),
            (
                "another's body",
                "fullAccess=1",
                "200, digest",
                "body of 16",
                |reply| {
                    reply.body = "0123456789abcdef".to_owned();
                },
            ),
            (
                "a short body",
                "fullAccess=1",
                "200, digest",
                "of 32",
                |reply| {
                    reply.headers.push(("x-load-length", "32".to_owned()));
                },
            ),
        ];
        for (what, mix, expected, got, change) in lies {
            let server = serve(move |number, reply| {
                if number == 50 {
                    change(reply);
                }
            });
            let ran = against(server, mix, &["--requests", "100", "--http2", "-c", "2"]);
            assert_found(&ran, what, false, expected, got);
        }
        let truth = serve(|_, _| {});
        let mix = "fullAccess=1,unknown=1";
        against(truth, mix, &["--requests", "100", "--http2", "-c", "2"]).assert_ok(100);
    }
}
