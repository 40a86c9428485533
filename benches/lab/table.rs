//! A run as Markdown.

use crate::idle;
use crate::latency::Latency;
use crate::results::{CaseResult, Listed, Outcome, Run, median, part, ratio};
use std::fmt::Write as _;

pub fn table(run: &Run) -> String {
    let about = &run.about;
    let mut text = format!(
        "{} on {}, {} cores, Linux {}, {:.0} % busy before it began: `{}`, {} rounds, {} s each turn.\n\n",
        about.date,
        about.machine,
        about.cores,
        about.kernel,
        about.busy_before * 100.0,
        about.command,
        about.rounds,
        about.seconds
    );
    // A string takes all that is written to it.
    for Listed { name, version, how } in &about.contenders {
        let _ = writeln!(text, "- {name} {version}: {how}");
    }
    let _ = writeln!(
        text,
        "\nMedians of the rounds; × is the median of the ratios to {}, round by round.\n",
        run.first()
    );
    for failed in &run.failed {
        let _ = writeln!(text, "**FAILED** {failed}\n");
    }
    summary(run, &mut text);
    for case in &run.cases {
        one(case, &mut text);
    }
    if !run.at_rest.is_empty() {
        resting(run, &mut text);
    }
    text
}

/// Processor time by case and contender.
fn summary(run: &Run, text: &mut String) {
    let names: Vec<&str> = run.names().collect();
    let _ = writeln!(
        text,
        "CPU per request, µs and ×\n\n| case | {} |",
        names.join(" | ")
    );
    let _ = writeln!(text, "| --- |{}", " ---: |".repeat(names.len()));
    for case in &run.cases {
        let _ = write!(text, "| {} |", case.name);
        for name in &names {
            let found = case.measured().find(|(one, _)| one == name);
            match (found, case.first()) {
                (Some((_, one)), Some(first)) => {
                    let cost = median(one.cpu_us.iter().copied());
                    let _ = write!(
                        text,
                        " {}, {:.2} |",
                        short(cost),
                        ratio(&one.cpu_us, &first.cpu_us)
                    );
                }
                _ => text.push_str(" – |"),
            }
        }
        text.push('\n');
    }
    text.push('\n');
}

fn one(case: &CaseResult, text: &mut String) {
    let _ = writeln!(
        text,
        "### {}: {}\n\nLatency at {:.0} requests a second.\n",
        case.name, case.title, case.rate
    );
    let parts: Vec<String> = (Latency::NAMES.iter())
        .map(|name| format!("{name} µs | ×"))
        .collect();
    let _ = writeln!(
        text,
        "| | CPU µs | × | requests/s | × | {} | memory MiB |",
        parts.join(" | ")
    );
    let _ = writeln!(
        text,
        "| --- |{}",
        " ---: |".repeat(5 + 2 * Latency::NAMES.len())
    );
    let Some(first) = case.first() else {
        return;
    };
    for row in &case.contenders {
        let measured = match &row.outcome {
            Outcome::Measured(measured) => measured,
            Outcome::Lacking(reason) => {
                let _ = writeln!(text, "| {} | not measured: {reason} |", row.name);
                continue;
            }
        };
        let _ = write!(
            text,
            "| {} | {} | {:.2} | {:.0} | {:.2} |",
            row.name,
            short(median(measured.cpu_us.iter().copied())),
            ratio(&measured.cpu_us, &first.cpu_us),
            median(measured.throughput.iter().copied()),
            ratio(&measured.throughput, &first.throughput),
        );
        for number in 0..Latency::NAMES.len() {
            let (these, those) = (
                part(&measured.latency, number),
                part(&first.latency, number),
            );
            let over = ratio(&these, &those);
            let _ = write!(text, " {:.0} | {over:.2} |", median(these));
        }
        let _ = writeln!(text, " {:.1} |", measured.resident_kib as f64 / 1024.0);
    }
    text.push('\n');
}

fn resting(run: &Run, text: &mut String) {
    let _ = writeln!(
        text,
        "### Memory\n\nResident after the start with 10,000 keys; then anonymous memory for each of {} kept connections \
         without a request.\n\n| | at rest MiB | by connection KiB |\n| --- | ---: | ---: |",
        idle::CONNECTIONS
    );
    for one in &run.at_rest {
        let _ = match &one.memory {
            Ok(memory) => writeln!(
                text,
                "| {} | {:.1} | {:.1} |",
                one.name,
                memory.resident_kib as f64 / 1024.0,
                memory.connection_kib
            ),
            Err(reason) => writeln!(text, "| {} | not measured: {reason} |", one.name),
        };
    }
}

/// Three digits of it.
pub fn short(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}
