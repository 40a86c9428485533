//! A difference as Markdown, for a pull request: a table with what widens first.

use super::words::{self, Words};
use crate::policy::diff::{Change, Difference, Region};
use std::fmt::Write;

pub(super) fn render(difference: &Difference, words: &Words<'_>) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(out, "**{}**", words::summary(difference));
    for change in [Change::Widened, Change::Narrowed, Change::Rerouted] {
        let regions = difference.regions.iter();
        let regions: Vec<&Region> = regions.filter(|region| region.change == change).collect();
        if regions.is_empty() {
            continue;
        }
        let head = match change {
            Change::Widened => "Who gains",
            Change::Narrowed => "Who loses",
            Change::Rerouted => "Who is led elsewhere",
        };
        let _ = write!(
            out,
            "\n| {head} | Methods | Paths | Before | After | Such as |\n| --- | --- | --- | --- | --- | --- |\n"
        );
        for region in regions {
            let _ = row(&mut out, region, words);
        }
    }
    out
}

fn row(out: &mut String, region: &Region, words: &Words<'_>) -> std::fmt::Result {
    let who: Vec<String> = region.who.iter().map(words::who).collect();
    let mut paths = Vec::new();
    let (shown, hidden) = words.parts(region);
    for part in shown {
        let mut text = code(&words.path(&part.of));
        let (except, more) = words.except(part);
        if !except.is_empty() {
            let except: Vec<String> = except.iter().map(|path| code(path)).collect();
            write!(text, " except {}", except.join(", "))?;
        }
        if more > 0 {
            write!(text, " and {more} more")?;
        }
        paths.push(text);
    }
    if hidden > 0 {
        paths.push(format!("and {hidden} more"));
    }
    for condition in [words::hosts(region), words::needs(region)] {
        if !condition.is_empty() {
            paths.push(cell(&condition));
        }
    }
    let sample = &region.sample;
    let mut request = code(&format!("{} {}", sample.method, sample.path));
    if !region.hosts.is_any() {
        write!(request, " of {}", code(&sample.host))?;
    }
    writeln!(
        out,
        "| {} | {} | {} | {} | {} | {request} |",
        cell(&who.join(", ")),
        cell(&words::methods(&region.methods)),
        paths.join("<br>"),
        cell(&words.before(region)),
        cell(&words.after(region)),
    )
}

/// Text that stays in its cell, and is not read as Markdown.
fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_code = false;
    for c in text.chars() {
        in_code ^= c == '`';
        match c {
            '|' => out.push_str("\\|"),
            '*' | '_' | '<' | '[' | '\\' if !in_code => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Code in a cell: canonical paths, hosts and methods have no backtick.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}
