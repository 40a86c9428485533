//! What is wrong with what came of a case: its answers, the next request's, and what the upstream saw.

use super::client::{Outcome, Played};
use super::corpus::{Arrives, Expected, Request, Then};
use super::judge::Invariant;
use super::notation::show;
use super::recorder::{Seen, Since};

pub fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answer { status, body } => format!("{status} {}", show(body)),
        Outcome::Reset(code) => format!("reset {code}"),
        Outcome::Closed => "closed".to_owned(),
        Outcome::Nonsense(text) => format!("nonsense: {text:.300}"),
    }
}

fn fits(outcome: &Outcome, expected: &[String]) -> bool {
    expected.iter().any(|one| match (one.as_str(), outcome) {
        (
            "refused",
            Outcome::Answer {
                status: 400..=499, ..
            }
            | Outcome::Reset(_)
            | Outcome::Closed,
        )
        | ("reset", Outcome::Reset(_))
        | ("closed", Outcome::Closed) => true,
        (number, Outcome::Answer { status, .. }) => *number == status.to_string(),
        _ => false,
    })
}

/// The statuses, and that each answer of the upstream is the one to its request.
pub fn answers(expected: &Expected, played: &Played, wrong: &mut Vec<(Invariant, String)>) {
    let same = expected.status.len() == played.outcomes.len();
    if !same
        || !played
            .outcomes
            .iter()
            .zip(&expected.status)
            .all(|(o, e)| fits(o, e))
    {
        let outcomes: Vec<String> = played.outcomes.iter().map(told).collect();
        wrong.push((
            Invariant::Answer,
            format!("answered {outcomes:?} instead of {:?}", expected.status),
        ));
    }
    let bodies = played.outcomes.iter().filter_map(|o| match o {
        Outcome::Answer { status: 200, body } if !body.is_empty() => {
            Some(String::from_utf8_lossy(body).into_owned())
        }
        _ => None,
    });
    for (body, request) in bodies.zip(expected.upstream.iter().filter(|r| r.must_come())) {
        if body != request.line {
            wrong.push((
                Invariant::Next,
                format!("{:?} was answered with {body:?}", request.line),
            ));
        }
    }
}

/// What became of the next request on the client's connection.
pub fn next(
    expected: &Expected,
    target: &str,
    outcome: &Outcome,
    wrong: &mut Vec<(Invariant, String)>,
) {
    let own = format!("GET {target}");
    let fine = match (expected.then, outcome) {
        (Then::Open | Then::Either, Outcome::Answer { status: 200, body }) => {
            body == own.as_bytes()
        }
        (Then::Closed | Then::Either, Outcome::Closed | Outcome::Reset(_)) => true,
        _ => false,
    };
    if !fine {
        let text = format!(
            "the next request on this connection: {}, then {:?}",
            told(outcome),
            expected.then
        );
        wrong.push((Invariant::Next, text));
    }
}

pub fn upstream(
    expected: &Expected,
    own: &[Seen],
    since: &Since,
    wrong: &mut Vec<(Invariant, String)>,
) {
    let mut fault = |text: String| wrong.push((Invariant::Canonical, text));
    since.faults.iter().for_each(|text| fault(text.clone()));
    let lines = |of: fn(&Request) -> bool| {
        let requests = expected.upstream.iter();
        requests.filter(move |r| of(r)).map(|r| &r.line)
    };
    let may_be_whole = |r: &Request| r.arrives == Arrives::Either;
    let may_be_cut = |r: &Request| !r.must_come();
    let mut wanted: Vec<&String> = lines(Request::must_come).collect();
    for seen in own {
        match wanted.iter().position(|line| **line == seen.line) {
            Some(at) if seen.whole => {
                wanted.remove(at);
            }
            _ if seen.whole && lines(may_be_whole).any(|line| *line == seen.line) => {}
            _ if !seen.whole && lines(may_be_cut).any(|line| *line == seen.line) => {}
            _ => fault(format!(
                "the upstream saw {:?}, {}",
                seen.line,
                if seen.whole { "whole" } else { "cut" }
            )),
        }
    }
    if !wanted.is_empty() {
        fault(format!("the upstream never saw {wanted:?}"));
    }
    if since.tunnels != expected.tunnelled {
        fault(format!(
            "through an upgraded connection came {}",
            show(&since.tunnels)
        ));
    }
    let Some(first) = own.first() else { return };
    for (name, value) in &expected.sees {
        let values: Vec<&String> = first
            .headers
            .iter()
            .filter(|(n, _)| n == name)
            .map(|(_, v)| v)
            .collect();
        if values != [value] {
            fault(format!("{name} is {values:?} instead of {value:?}"));
        }
    }
    for seen in own {
        for name in &expected.lacks {
            if seen.headers.iter().any(|(n, _)| n == name) {
                fault(format!("{name} went up"));
            }
        }
    }
    if let Some(body) = &expected.says
        && first.whole
        && first.body != *body
    {
        fault(format!(
            "the body is {} instead of {}",
            show(&first.body),
            show(body)
        ));
    }
    let host = first
        .headers
        .iter()
        .find(|(n, _)| n == "host")
        .map(|(_, v)| v);
    if let Some(named) = &expected.named
        && host != Some(named)
    {
        fault(format!("Host is {host:?} instead of {named:?}"));
    }
}

pub fn finds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes
        .windows(wanted.len())
        .any(|w| w.eq_ignore_ascii_case(wanted))
}
