//! The corpus and its runner, tested themselves: that there is enough, in good form, and that the runner can fail.

use super::corpus::{self, CLASSES, Case, Wire};
use super::door::Relay;
use super::judge::{Failure, Invariant, Judge};
use super::recorder::Recorder;
use super::script::Step;
use super::{judge_cases, placeholders};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What teaches a case, besides advisories, weaknesses and sections of RFCs.
const TECHNIQUES: &[&str] = &[
    "CL.0 (2022)",
    "0.CL (2025)",
    "TE.0 (2024)",
    "Funky chunks (2025)",
    "HTTP/2 desync (2021)",
    "h2c smuggling (2020)",
    "WebSocket smuggling (2019)",
    "Tomcat path parameters",
    "Tyk, substring matching of paths",
];

fn all() -> Vec<(&'static str, Vec<Case>)> {
    let read = |class| {
        let cases = corpus::read(&corpus::text(class), &placeholders());
        (class, cases.unwrap_or_else(|e| panic!("{class}: {e}")))
    };
    CLASSES.into_iter().map(read).collect()
}

fn is_source(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = |text: &str| match text.strip_prefix("CVE-").and_then(|t| t.split_once('-')) {
        Some((year, number)) => {
            year.len() == 4 && digits(year) && number.len() >= 4 && digits(number)
        }
        None => false,
    };
    let section = |text: &str| match text
        .strip_prefix("RFC ")
        .and_then(|t| t.split_once(", section "))
    {
        Some((rfc, section)) => digits(rfc) && section.split('.').all(digits),
        None => false,
    };
    number(text)
        || section(text)
        || text.strip_prefix("CWE-").is_some_and(digits)
        || TECHNIQUES.contains(&text)
}

#[test]
fn the_corpus_has_enough_cases_of_every_class_in_good_form() {
    let mut names = BTreeSet::new();
    let mut inputs = BTreeMap::new();
    let mut total = 0;
    for (class, cases) in all() {
        assert!(cases.len() >= 40, "{class}: {}", cases.len());
        total += cases.len();
        for case in cases {
            assert!(names.insert(case.name.clone()), "twice: {}", case.name);
            for source in case.source.split("; ") {
                assert!(is_source(source), "{}: {source:?}", case.name);
            }
            for run in &case.runs {
                let frames = run.steps.iter().any(is_frame);
                assert!(!frames || run.wire == Wire::Http2, "{}: frames", case.name);
                let sent = (
                    class,
                    format!("{:?}{:?}{:?}", case.setting, run.wire, run.steps),
                );
                if let Some(other) = inputs.insert(sent, case.name.clone()) {
                    panic!("{other:?} and {:?} send the same", case.name);
                }
            }
        }
    }
    assert!(total >= 400, "{total} cases");
}

fn is_frame(step: &Step) -> bool {
    match step {
        Step::Fields { .. } | Step::Data { .. } | Step::Frame { .. } => true,
        Step::Repeat(_, steps) => steps.iter().any(is_frame),
        _ => false,
    }
}

#[test]
fn the_lessons_of_others_have_cases() {
    let cases = all();
    let sources: BTreeSet<&str> = cases
        .iter()
        .flat_map(|(_, c)| c)
        .flat_map(|c| c.source.split("; "))
        .collect();
    for lesson in [
        "CVE-2016-5385",
        "CVE-2018-14773",
        "CVE-2019-20372",
        "CVE-2020-5902",
        "CVE-2021-29492",
        "CVE-2021-40346",
        "CVE-2021-43557",
        "CVE-2022-32213",
        "CVE-2022-32214",
        "CVE-2022-32215",
        "CVE-2023-25690",
        "CVE-2023-25725",
        "CVE-2023-39326",
        "CVE-2023-44487",
        "CVE-2024-1135",
        "CVE-2024-27316",
        "CVE-2024-45410",
        "CVE-2024-6827",
        "CVE-2025-22871",
        "CVE-2025-4366",
        "CVE-2025-66490",
        "CVE-2026-2833",
        "CVE-2026-33494",
        "CVE-2026-39858",
        "CVE-2026-42274",
    ] {
        assert!(sources.contains(lesson), "{lesson}");
    }
    for technique in TECHNIQUES {
        assert!(sources.contains(technique), "{technique}");
    }
}

/// RULES.md names each rule once, and how many inputs of which class test it.
#[test]
fn every_rule_is_listed_with_its_inputs() {
    let mut counts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (class, cases) in all() {
        let mut here: BTreeMap<String, usize> = BTreeMap::new();
        for case in cases {
            *here.entry(case.rule).or_default() += 1;
        }
        for (rule, count) in here {
            counts
                .entry(rule)
                .or_default()
                .push(format!("{class} {count}"));
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bypass/RULES.md");
    let table = std::fs::read_to_string(path).expect("RULES.md");
    let rows: BTreeMap<String, String> = table
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let rule = cells.next()?.trim_end_matches('`').to_owned();
            let inputs = cells.nth(1)?;
            Some((rule, inputs.to_owned()))
        })
        .collect();
    let counts: BTreeMap<String, String> = counts
        .into_iter()
        .map(|(rule, all)| (rule, all.join(", ")))
        .collect();
    assert_eq!(rows, counts, "the rows of RULES.md against the corpus");
}

/// What the runner says of these cases before a relay, which is no gateway.
fn before_a_relay(text: &str) -> Vec<Failure> {
    let recorder = Recorder::start();
    let mut relay = Relay::start(recorder.address);
    let names = placeholders();
    let cases = corpus::read(text, &names).expect("cases");
    Judge::new(&mut relay, &recorder, &names).run(&cases).0
}

#[test]
fn a_relay_in_place_of_the_gateway_breaks_every_invariant() {
    let failures = before_a_relay(
        r#"
        [defaults]
        source = "RFC 9112, section 3"
        rule = "r"
        status = [400]
        upstream = "nothing"
        [[case]]
        name = "goes up"
        status = [200]
        upstream = "GET /open/x"
        [[case]]
        name = "refused"
        target = "/open/a%2Fb"
        [[case]]
        name = "key"
        headers = ["apikey: {full}"]
        status = [200]
        upstream = "GET /open/x"
        [[case]]
        name = "two hosts"
        headers = ["Host: b"]
        [[case]]
        name = "hidden"
        raw = 'GET /open/x HTTP/1.1\r\nHost: a\r\n\r\nGET /open/hidden HTTP/1.1\r\nHost: a\r\n\r\n'
        status = [200]
        upstream = ["GET /open/x", "GET /open/hidden"]
    "#,
    );
    let has = |invariant, case: &str| {
        failures
            .iter()
            .any(|f| f.invariant == invariant && f.case.contains(case))
    };
    for (invariant, case) in [
        (Invariant::Logged, "goes up"),
        (Invariant::Unopened, "refused"),
        (Invariant::Answer, "refused"),
        (Invariant::Canonical, "refused"),
        (Invariant::Secret, "key"),
        (Invariant::Canonical, "two hosts"),
        (Invariant::Next, "hidden"),
        (Invariant::Lives, "after"),
    ] {
        let all: Vec<String> = failures.iter().map(ToString::to_string).collect();
        assert!(
            has(invariant, case),
            "{invariant:?}, {case}: {}",
            all.join("\n")
        );
    }
    for lost in ["descriptors", "memory"] {
        let told = |f: &Failure| f.invariant == Invariant::Lives && f.to_string().contains(lost);
        assert!(failures.iter().any(told), "{lost}");
    }
}

#[test]
fn a_doctored_case_fails_before_the_real_gateway() {
    let ordinary = r#"
        [[case]]
        name = "doctored"
        source = "RFC 9112, section 3"
        rule = "r"
    "#;
    for (doctored, expected) in [
        ("status = [200]\nupstream = 'GET /open/x'", None),
        (
            "status = [400]\nupstream = 'GET /open/x'",
            Some(Invariant::Answer),
        ),
        (
            "status = [200]\nupstream = 'nothing'",
            Some(Invariant::Unopened),
        ),
        (
            "status = [200]\nupstream = 'GET /open/y'",
            Some(Invariant::Canonical),
        ),
        (
            "status = [200]\nupstream = 'GET /open/x'\nsays = 'more'",
            Some(Invariant::Canonical),
        ),
        (
            "status = [200]\nupstream = 'GET /open/x'\nnamed = 'other.test'",
            Some(Invariant::Canonical),
        ),
        (
            "status = [200]\nupstream = 'GET /open/x'\nsees = ['a: b']",
            Some(Invariant::Canonical),
        ),
        (
            "status = [200]\nupstream = 'GET /open/x'\nlacks = ['via']",
            Some(Invariant::Canonical),
        ),
        (
            "status = [200]\nupstream = 'GET /open/x'\nthen = 'closed'",
            Some(Invariant::Next),
        ),
        (
            "status = [200]\nupstream = 'GET /open/x'\ntunnelled = 'x'",
            Some(Invariant::Canonical),
        ),
        (
            "target = '/open/unasked'\nstatus = [502]\nupstream = 'GET /open/unasked'\ntunnelled = 'x'",
            Some(Invariant::Canonical),
        ),
    ] {
        let failures = judge_cases(&format!("{ordinary}{doctored}\n"), "");
        let found = failures.first().map(|f| f.invariant);
        let all: Vec<Invariant> = failures.iter().map(|f| f.invariant).collect();
        match expected {
            None => assert_eq!(found, None, "{doctored}"),
            Some(expected) => assert!(all.contains(&expected), "{doctored}: {all:?}"),
        }
    }
}
