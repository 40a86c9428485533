//! Whether an answer is the one that its request should have.
//!
//! One function for both versions of HTTP: each hands over what it received, and nothing that only one of them checks may
//! be what a wrong answer is found out by.

use super::expect::{Mark, Outcome};
use super::mark::{self, Field, Told};
use super::source::Ticket;
use serde::Deserialize;
use std::borrow::Cow;

/// How much of a wrong answer's body is shown.
const SHOWN_BYTES: usize = 200;

/// An answer as far as it is judged.
#[derive(Clone, Copy)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) told: Told,
    /// The first of the body.
    pub(super) body: &'a [u8],
    pub(super) body_bytes: u64,
}

/// Whether this answer is right. `known` is the body of the last refusal of this outcome that was found right: one after
/// the other is the same to the byte, so that few are parsed.
pub(super) fn is_right(
    outcome: &Outcome,
    ticket: &Ticket,
    answer: &Answer<'_>,
    known: &mut Vec<u8>,
) -> bool {
    if answer.status != outcome.status || (ticket.is_head && answer.body_bytes > 0) {
        return false;
    }
    let is_from_where_it_should_be = match outcome.mark {
        Mark::Digest => has_digest(ticket, answer),
        Mark::Nothing => answer.told == Told::default(),
        Mark::Any => true,
    };
    is_from_where_it_should_be
        && match &outcome.code {
            None => true,
            // It has no body.
            Some(_) if ticket.is_head => true,
            Some(code) => has_code(answer, code, known),
        }
}

/// Whether the upstream made this answer of this request, and all of it came.
fn has_digest(ticket: &Ticket, answer: &Answer<'_>) -> bool {
    if answer.told.digest != Field::Once(ticket.digest) {
        return false;
    }
    if ticket.is_head {
        return answer.told.length != Field::Nonsense;
    }
    match answer.told.length {
        Field::Absent => answer.body.starts_with(&ticket.digest),
        Field::Once(length) => {
            answer.body_bytes == length
                && answer.body.len() >= mark::LEN
                && (answer.body.chunks(mark::LEN)).all(|part| ticket.digest.starts_with(part))
        }
        Field::Nonsense => false,
    }
}

fn has_code(answer: &Answer<'_>, code: &str, known: &mut Vec<u8>) -> bool {
    if answer.body.len() as u64 != answer.body_bytes {
        return false;
    }
    if *known == answer.body {
        return true;
    }
    let is_right = code_of(answer.body).is_some_and(|told| told == code);
    if is_right {
        known.clear();
        known.extend_from_slice(answer.body);
    }
    is_right
}

/// `error.code` of a refusal.
fn code_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Outer<'a> {
        #[serde(borrow)]
        error: Inner<'a>,
    }
    #[derive(Deserialize)]
    struct Inner<'a> {
        #[serde(borrow)]
        code: Cow<'a, str>,
    }
    let outer: Outer<'_> = serde_json::from_slice(body).ok()?;
    Some(outer.error.code.into_owned())
}

/// What a request should get, in a sample.
pub(super) fn expected(outcome: &Outcome, ticket: &Ticket) -> String {
    match outcome.mark {
        Mark::Digest => format!(
            "{outcome}, digest {}",
            String::from_utf8_lossy(&ticket.digest)
        ),
        Mark::Nothing | Mark::Any => outcome.to_string(),
    }
}

/// An answer in a sample.
pub(super) fn got(answer: &Answer<'_>) -> String {
    let shown = &answer.body[..answer.body.len().min(SHOWN_BYTES)];
    let digest = match answer.told.digest {
        Field::Absent => String::new(),
        Field::Once(digest) => format!(
            ", digest {}",
            String::from_utf8_lossy(&digest).escape_debug()
        ),
        Field::Nonsense => ", a digest that cannot be read, or several".to_owned(),
    };
    let length = match answer.told.length {
        Field::Absent => String::new(),
        Field::Once(length) => format!(" of {length} that were sent"),
        Field::Nonsense => " of a number that cannot be read".to_owned(),
    };
    format!(
        "{}{digest}, body of {} bytes{length}: {}",
        answer.status,
        answer.body_bytes,
        String::from_utf8_lossy(shown).escape_debug()
    )
}
