//! What of the corpus may reach an upstream, through the gateway into HTTP parsers that others wrote: each reads as many
//! requests as the recording upstream did, with the same methods, targets and bodies.
//!
//! Smuggling needs two readings of the same bytes. `tests/bypass.rs` holds what goes up against a strict reader of our own;
//! here others read it as they do, on connections that carry one input after another: what one of them takes for a request
//! more is one that was never recorded.
//!
//! A server that is not on the machine is left out, and said so; `KEYGATE_PEERS=required` makes that a failure.
//! `KEYGATE_BYPASS_CASE` picks cases as it does there.

#[allow(dead_code, reason = "tests/bypass.rs uses all of it")]
#[path = "bypass/client.rs"]
mod client;
#[allow(dead_code, reason = "tests/bypass.rs uses all of it")]
#[path = "bypass/corpus.rs"]
mod corpus;
#[allow(dead_code, reason = "tests/bypass.rs uses all of it")]
#[path = "bypass/door.rs"]
mod door;
#[path = "bypass/http1.rs"]
mod http1;
#[path = "bypass/http2.rs"]
mod http2;
#[path = "bypass/notation.rs"]
mod notation;
#[path = "differential/reading.rs"]
mod reading;
#[allow(dead_code, reason = "tests/bypass.rs uses all of it")]
#[path = "bypass/recorder.rs"]
mod recorder;
#[path = "bypass/script.rs"]
mod script;
#[path = "differential/servers.rs"]
mod servers;
mod support;

use client::{Outcome, PATIENCE, connect, play};
use corpus::{CLASSES, Case, Request, Setting, Wire};
use door::{Door, Keygate};
use notation::Names;
use reading::{Difference, Reading, differences, forget};
use recorder::Recorder;
use servers::Server;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Instant;

/// What became of an input.
struct Input {
    expected: Vec<Request>,
    read: Vec<Reading>,
    /// Whether a request asked for an upgrade.
    upgrades: bool,
    /// What is wrong whoever reads.
    problems: Vec<String>,
}

impl Input {
    /// What became of it when it was sent again. What no reading of it has stays with it.
    fn then(self, mut again: Input) -> Input {
        let is_known = |r: &Reading| self.expected.iter().any(|known| known.line == r.line);
        let surplus = self.read.iter().filter(|r| !is_known(r)).cloned();
        again.read.extend(surplus);
        again.problems.extend(self.problems);
        again
    }
}

/// What a server read of all inputs, by their names.
#[derive(Default)]
struct Observed {
    inputs: BTreeMap<String, Input>,
    /// How many requests it read in all, and how many the gateway says that it sent.
    requests: usize,
    sent: u64,
    /// On how many connections.
    connections: u64,
}

/// Sends what may reach an upstream through a gateway to this server.
fn observe(server: &Server, is_wanted: impl Fn(&str, &Case) -> bool) -> Observed {
    let recorder = &server.recorder;
    let mut observed = Observed::default();
    for setting in [Setting::Plain, Setting::Drop] {
        let (mut gateway, names) = Keygate::start(&server.url, setting);
        let begun = recorder.mark();
        for class in CLASSES {
            let cases = corpus::read(&corpus::text(class), &names).expect("cases");
            for case in cases.iter().filter(|case| case.setting == setting) {
                for run in &case.runs {
                    let name = format!("{} ({:?})", case.name, run.wire);
                    if run.expected.upstream.is_empty() || !is_wanted(&name, case) {
                        continue;
                    }
                    // What it may refuse is not waited for.
                    let least = match server.refuses.iter().any(|(n, _)| *n == name) {
                        true => 0,
                        false => run
                            .expected
                            .upstream
                            .iter()
                            .filter(|r| r.must_come())
                            .count(),
                    };
                    let mut number = 2 * observed.inputs.len();
                    let mut send = || {
                        number += 1;
                        let after = format!("GET /open/after-{number}");
                        one(&gateway, recorder, case, run, &names, least, &after)
                    };
                    let mut input = send();
                    // On a busy machine the gateway's deadline for bodies may come before the body: once more.
                    if input.read.iter().filter(|r| r.whole).count() < least {
                        input = input.then(send());
                    }
                    observed.inputs.insert(name, input);
                }
            }
        }
        let requests = recorder.since(begun).seen.len();
        observed.requests += requests;
        // The log lags behind.
        let deadline = Instant::now() + gateway.late();
        let mut sent = 0;
        while Instant::now() < deadline && sent < requests as u64 {
            sent += gateway.new_log().0.iter().map(|l| l.attempts).sum::<u64>();
            std::thread::yield_now();
        }
        observed.sent += sent;
        observed.connections += connections(&gateway);
    }
    observed
}

/// How many connections the gateway has opened to its upstream, by its own metrics.
fn connections(gateway: &Keygate) -> u64 {
    let pages = gateway.pages().join("\n");
    let opened = pages
        .lines()
        .filter(|line| line.starts_with("keygate_upstream_connections_opened_total"))
        .map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()));
    opened.map(|n| n.expect("a number")).sum()
}

/// Sends one input, then an ordinary request, after which all of the input was read: at least so many whole requests.
fn one(
    gateway: &Keygate,
    recorder: &Recorder,
    case: &Case,
    run: &corpus::Run,
    names: &Names,
    least: usize,
    after: &str,
) -> Input {
    let mark = recorder.mark();
    let mut problems = Vec::new();
    match play(gateway.address(run.wire), run, case.to_head, recorder, mark) {
        Ok(played) => drop(played.talk),
        Err(error) => problems.push(format!("no connection: {error}")),
    }
    let is_all = |seen: &[recorder::Seen]| seen.iter().filter(|s| s.whole).count() >= least;
    recorder.wait(mark, PATIENCE, is_all);
    let answer = connect(gateway.address(Wire::Http1), Wire::Http1).map(|mut talk| {
        talk.ask(&after["GET ".len()..]);
        talk.outcome(false)
    });
    match answer {
        Ok(Outcome::Answer { status: 200, body }) if body == after.as_bytes() => {}
        other => problems.push(format!("the next request: {other:?}")),
    }
    // A server that tells what it reads may answer before it is heard.
    let is_read = |seen: &[recorder::Seen]| {
        let mut all = seen.iter().map(Reading::from);
        all.any(|r| r.whole && r.line == after)
    };
    recorder.wait(mark, PATIENCE, is_read);
    let since = recorder.since(mark);
    let mut readings: Vec<Reading> = since.seen.iter().map(Reading::from).collect();
    readings
        .iter_mut()
        .for_each(|reading| reading.forget(names));
    let (own, read): (Vec<_>, Vec<_>) = readings.into_iter().partition(|r| r.line == after);
    let own = own.iter().filter(|r| r.whole && r.body.is_empty()).count();
    if own != 1 {
        problems.push(format!("the next request was read {own} times"));
    }
    let asks = |(name, _): &(String, String)| name == "upgrade";
    let mut expected = run.expected.upstream.clone();
    expected
        .iter_mut()
        .for_each(|request| request.line = forget(&request.line, names));
    Input {
        expected,
        read,
        upgrades: since.seen.iter().any(|s| s.headers.iter().any(asks)),
        problems,
    }
}

/// What the recording upstream saw. All servers are held against it.
fn reference() -> &'static Observed {
    static ONCE: OnceLock<Observed> = OnceLock::new();
    ONCE.get_or_init(|| {
        let wanted = std::env::var("KEYGATE_BYPASS_CASE").unwrap_or_default();
        observe(&Server::recording(), |name, case| {
            name.contains(&wanted) || case.rule.contains(&wanted)
        })
    })
}

/// How what a server reads of these inputs differs from what the recording upstream saw.
fn compare(server: &Server, is_wanted: impl Fn(&Case) -> bool) -> Vec<String> {
    let reference = reference();
    let is_for_it = |name: &str| {
        let input = reference.inputs.get(name);
        let leaves_out = server.leaves_out.iter().any(|(n, _)| *n == name);
        input.is_some_and(|input| !leaves_out && (server.upgrades || !input.upgrades))
    };
    let observed = observe(server, |name, case| is_for_it(name) && is_wanted(case));
    let mut all = Vec::new();
    for (name, input) in &observed.inputs {
        let recorded = &reference.inputs[name];
        let found = differences(&input.expected, &recorded.read, &input.read);
        let is_missing = |difference: &&Difference| matches!(difference, Difference::Missing(_));
        // Its stricter rules are its own affair, as long as it reads nothing else instead.
        let may_refuse = server.refuses.iter().any(|(refused, _)| refused == name);
        let told = found
            .iter()
            .filter(|difference| !may_refuse || !is_missing(difference));
        let told: Vec<String> = told.map(ToString::to_string).collect();
        let problems = input.problems.iter().cloned();
        all.extend(
            told.into_iter()
                .chain(problems)
                .map(|text| format!("{name}: {text}")),
        );
    }
    if observed.requests as u64 > observed.sent {
        let (requests, sent) = (observed.requests, observed.sent);
        all.push(format!("{requests} requests were read, {sent} sent"));
    }
    println!(
        "{}: {} inputs, {} requests read, {} sent on {} connections; {} inputs left out",
        server.name,
        observed.inputs.len(),
        observed.requests,
        observed.sent,
        observed.connections,
        reference.inputs.len() - observed.inputs.len(),
    );
    all
}

fn reads_the_same(server: Option<Server>) {
    let Some(server) = server else { return };
    let begun = server.recorder.mark();
    let all = compare(&server, |_| true);
    let faults = server.recorder.since(begun).faults;
    assert!(
        all.is_empty(),
        "{}: {} differences\n{}\nit complained of: {faults:#?}",
        server.name,
        all.len(),
        all.join("\n")
    );
}

#[test]
fn the_recording_upstream_reads_the_same_twice() {
    reads_the_same(Some(Server::recording()));
}

#[test]
fn nginx_reads_the_same() {
    reads_the_same(servers::nginx());
}

#[test]
fn haproxy_reads_the_same() {
    reads_the_same(servers::haproxy());
}

#[test]
fn node_reads_the_same() {
    reads_the_same(servers::node());
}

/// Over HTTP/2, whose frames and tables are nghttp2's.
#[test]
fn node_reads_the_same_over_http2() {
    reads_the_same(servers::node_over_http2());
}

#[test]
fn h11_reads_the_same() {
    reads_the_same(servers::in_python("h11"));
}

#[test]
fn gunicorn_reads_the_same() {
    reads_the_same(servers::in_python("gunicorn"));
}

#[test]
fn uvicorn_reads_the_same() {
    reads_the_same(servers::in_python("uvicorn"));
}

#[test]
fn tornado_reads_the_same() {
    reads_the_same(servers::in_python("tornado"));
}

#[test]
fn aiohttp_reads_the_same() {
    reads_the_same(servers::in_python("aiohttp"));
}

#[test]
fn aiohttp_without_its_part_in_c_reads_the_same() {
    reads_the_same(servers::aiohttp_in_python());
}

/// What this test can find, it does find: a server that reads chunks as requests is told apart.
#[test]
fn a_server_that_reads_bodies_as_requests_is_found_out() {
    let Some(server) = servers::careless() else {
        return;
    };
    let all = compare(&server, |case| case.rule == "body-exact");
    let hidden = all
        .iter()
        .filter(|text| text.contains("read, and not so recorded"))
        .count();
    assert!(hidden > 0, "{}", all.join("\n"));
}
