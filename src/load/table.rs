//! A report as a table for a terminal.

use super::report::{Latency, Report, Step};
use std::fmt::Write as _;

/// The report, to be read.
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    let streams = match report.streams {
        1 => String::new(),
        streams => format!(" of {streams} streams"),
    };
    line(
        &mut text,
        format_args!(
            "{}, {}{}, {}{streams}, {}, {} loop, seed {}",
            report.target,
            report.protocol,
            if report.tls { " over TLS" } else { "" },
            counted(report.connections, "connection"),
            counted(report.threads.len(), "thread"),
            report.pace,
            report.seed
        ),
    );
    line(
        &mut text,
        format_args!(
            "{} to draw from, in {:.1} MB of memory",
            counted(report.keys.count, "key"),
            report.keys.bytes as f64 / 1e6
        ),
    );
    for step in &report.steps {
        one(&mut text, step);
    }
    line(&mut text, format_args!(""));
    for sample in &report.samples {
        line(
            &mut text,
            format_args!(
                "wrong: {} with a key that is {}, mark {}\n  expected {}\n  got      {}",
                sample.request, sample.key, sample.mark, sample.expected, sample.got
            ),
        );
    }
    let cpu: Vec<String> = report
        .threads
        .iter()
        .map(|thread| format!("{:.0} %", thread.cpu_share * 100.0))
        .collect();
    line(
        &mut text,
        format_args!("generator's threads busy: {}", cpu.join(", ")),
    );
    for note in &report.notes {
        line(&mut text, format_args!("note: {note}"));
    }
    let verdict = if report.ok { "ok" } else { "FAILED" };
    let counts = [
        (report.unsent, "never sent"),
        (report.connect_failures, "connections not made"),
        (report.reconnects, "reconnects"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: String = counts
        .map(|(count, what)| format!(", {count} {what}"))
        .collect();
    line(
        &mut text,
        format_args!(
            "{verdict}{}: {} answers, {} wrong, {} failed{counts}",
            if report.interrupted {
                " (interrupted)"
            } else {
                ""
            },
            report.answers,
            report.wrong,
            report.failures
        ),
    );
    text
}

fn one(text: &mut String, step: &Step) {
    let rate = step
        .rate
        .map_or(String::new(), |rate| format!(" at {rate}/s"));
    line(
        text,
        format_args!(
            "\n{:.1} s{rate}: {:.0} right answers per second, {:.1} MB/s of bodies, {} wrong, failed: {}",
            step.seconds,
            step.throughput,
            if step.seconds > 0.0 {
                step.body_bytes as f64 / 1e6 / step.seconds
            } else {
                0.0
            },
            step.wrong,
            failed(step)
        ),
    );
    let names = [
        "answers", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max",
    ];
    let _ = write!(text, "{:<32}", "expected");
    for name in names {
        let _ = write!(text, "{name:>10}");
    }
    text.push('\n');
    row(text, "all", step.answers, &step.latency);
    for outcome in &step.outcomes {
        let name = match &outcome.code {
            Some(code) => format!("{} {code}", outcome.status),
            None => outcome.status.to_string(),
        };
        row(text, &name, outcome.answers, &outcome.latency);
    }
    if let Some(lag) = step.lag {
        line(
            text,
            format_args!(
                "sent late by {} at the median, {} at p99, {} at most; {} had to wait for a connection",
                time(lag.p50),
                time(lag.p99),
                time(lag.max),
                lag.queued
            ),
        );
    }
}

/// How many requests failed, and of what.
fn failed(step: &Step) -> String {
    let kinds = step.failures.iter().filter(|(_, count)| **count > 0);
    let kinds: Vec<String> = kinds
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    match kinds.is_empty() {
        true => "0".to_owned(),
        false => format!(
            "{} ({})",
            step.failures.values().sum::<u64>(),
            kinds.join(", ")
        ),
    }
}

fn row(text: &mut String, name: &str, answers: u64, latency: &Latency) {
    let _ = write!(text, "{name:<32}{answers:>10}");
    for value in [
        latency.mean,
        latency.p50,
        latency.p90,
        latency.p99,
        latency.p99_9,
        latency.p99_99,
        latency.max,
    ] {
        let _ = write!(text, "{:>10}", time(value));
    }
    text.push('\n');
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// Microseconds with a unit that keeps them short.
pub(super) fn time(microseconds: f64) -> String {
    match microseconds {
        t if t < 1_000.0 => format!("{t:.0} µs"),
        t if t < 1_000_000.0 => format!("{:.2} ms", t / 1e3),
        t => format!("{:.2} s", t / 1e6),
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // A string takes all that is written to it.
    let _ = writeln!(text, "{arguments}");
}
