//! The corpus of bypass and smuggling attempts, held against the real gateway: what must never get through.
//!
//! The cases stand in `tests/bypass/*.toml`, a file for each class; `corpus.rs` there says how they are written,
//! `judge.rs` what must hold for each. A gateway serves all cases of a class in turn, before an upstream that keeps every
//! byte; then it serves them all again and again, and takes no more memory for it. All failures of a class are told, not
//! only the first.

#[path = "bypass/checks.rs"]
mod checks;
#[path = "bypass/client.rs"]
mod client;
#[path = "bypass/corpus.rs"]
mod corpus;
#[path = "bypass/door.rs"]
mod door;
#[path = "bypass/http1.rs"]
mod http1;
#[path = "bypass/http2.rs"]
mod http2;
#[path = "bypass/judge.rs"]
mod judge;
#[path = "bypass/notation.rs"]
mod notation;
#[path = "bypass/peers.rs"]
mod peers;
#[path = "bypass/recorder.rs"]
mod recorder;
#[path = "bypass/script.rs"]
mod script;
mod support;
#[path = "bypass/verdict.rs"]
mod verdict;

use corpus::{Case, Setting};
use door::Keygate;
use judge::{Failure, Judge};
use recorder::Recorder;

/// All cases of a class. `KEYGATE_BYPASS_CASE` picks those whose name, or whose rule, has this text.
fn judge(class: &str) -> Vec<Failure> {
    let wanted = std::env::var("KEYGATE_BYPASS_CASE").unwrap_or_default();
    judge_cases(&corpus::text(class), &wanted)
}

/// These cases, as far as they are wanted, before a gateway for each setting that they ask for.
fn judge_cases(text: &str, wanted: &str) -> Vec<Failure> {
    let probe = corpus::read(text, &placeholders()).unwrap_or_else(|e| panic!("{e}"));
    let mut failures = Vec::new();
    for setting in [Setting::Plain, Setting::Drop] {
        let is_wanted = |case: &Case| {
            let text = case.name.contains(wanted) || case.rule.contains(wanted);
            case.setting == setting && text
        };
        if !probe.iter().any(is_wanted) {
            continue;
        }
        let recorder = Recorder::start();
        let (mut gateway, names) = Keygate::start(&recorder.url(), setting);
        let cases = corpus::read(text, &names).expect("it was read before");
        let cases: Vec<Case> = cases.into_iter().filter(is_wanted).collect();
        failures.extend(Judge::new(&mut gateway, &recorder, &names).run(&cases).0);
    }
    failures
}

/// Names without keys, to read the corpus where no gateway runs.
fn placeholders() -> Vec<(&'static str, String)> {
    [
        "full", "auth", "second", "decoy", "deleted", "disabled", "unknown",
    ]
    .map(|name| (name, format!("0123456789abcdef0123456789-{name}")))
    .to_vec()
}

fn gets_nothing_through(class: &str) {
    let failures = judge(class);
    let all: Vec<String> = failures.iter().map(ToString::to_string).collect();
    assert!(
        all.is_empty(),
        "{} failures\n\n{}",
        all.len(),
        all.join("\n\n")
    );
}

#[test]
fn the_class_target_gets_nothing_through() {
    gets_nothing_through("target");
}

#[test]
fn the_class_host_gets_nothing_through() {
    gets_nothing_through("host");
}

#[test]
fn the_class_headers_gets_nothing_through() {
    gets_nothing_through("headers");
}

#[test]
fn the_class_framing_gets_nothing_through() {
    gets_nothing_through("framing");
}

#[test]
fn the_class_body_gets_nothing_through() {
    gets_nothing_through("body");
}

#[test]
fn the_class_upgrade_gets_nothing_through() {
    gets_nothing_through("upgrade");
}

#[test]
fn the_class_http2_gets_nothing_through() {
    gets_nothing_through("http2");
}

#[test]
fn the_class_timing_gets_nothing_through() {
    gets_nothing_through("timing");
}
