//! A difference as text: a line for each region, and below it what decides and one of its requests.

use super::words::{self, Words};
use crate::policy::diff::{Difference, Region};
use std::fmt::Write;

pub(super) fn render(difference: &Difference, words: &Words<'_>) -> String {
    let mut out = String::new();
    for region in &difference.regions {
        // Writing to a string does not fail.
        let _ = region_lines(&mut out, region, words);
    }
    let _ = writeln!(out, "{}", words::summary(difference));
    out
}

fn region_lines(out: &mut String, region: &Region, words: &Words<'_>) -> std::fmt::Result {
    let (change, methods) = (
        words::change(region.change),
        words::methods(&region.methods),
    );
    let (shown, more) = words.parts(region);
    for (at, paths) in shown.iter().enumerate() {
        let path = words.path(&paths.of);
        if at == 0 {
            write!(out, "{change:<8}  {methods} {path}")?;
        } else {
            write!(out, "\n          and {path}")?;
        }
        match words.except(paths) {
            (except, _) if except.is_empty() => {}
            (except, 0) => write!(out, " except {}", except.join(", "))?,
            (except, more) => write!(out, " except {} and {more} more", except.join(", "))?,
        }
    }
    if more > 0 {
        write!(out, "\n          and {more} more")?;
    }
    writeln!(out, ": {}", words::who_and_what(region))?;
    for condition in [words::hosts(region), words::needs(region)] {
        if !condition.is_empty() {
            writeln!(out, "          {condition}")?;
        }
    }
    writeln!(out, "          old: {}", words.before(region))?;
    writeln!(out, "          new: {}", words.after(region))?;
    let sample = &region.sample;
    write!(out, "          as in: {} {}", sample.method, sample.path)?;
    if !region.hosts.is_any() {
        write!(out, " of {}", sample.host)?;
    }
    out.push('\n');
    Ok(())
}
