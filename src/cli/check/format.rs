//! What a check found, in the form that is asked for.

use super::Format;
use crate::config::{Problem, Problems, Severity};
use crate::policy::Place;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

/// All that a check found, and its last line: `Err` if it failed.
pub(super) struct Report<'a> {
    pub problems: &'a Problems,
    pub verdict: &'a Result<String, String>,
}

impl Report<'_> {
    /// Writes it. If nobody reads what is written, nobody is left to tell.
    pub fn write(&self, format: Format) {
        let mut out = std::io::stdout().lock();
        let mut err = std::io::stderr().lock();
        match format {
            Format::Text => {
                let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                let colour = err.is_terminal() && !no_colour;
                for problem in &self.problems.0 {
                    let _ = write!(err, "{}", problem.render(colour));
                }
            }
            Format::Short => {
                let _ = write!(out, "{}", self.lines(short));
            }
            Format::Github => {
                let _ = write!(out, "{}", self.lines(github));
            }
            Format::Json => {
                let _ = writeln!(out, "{:#}", self.json());
                return;
            }
        }
        let _ = match (self.verdict, format) {
            (Ok(summary), Format::Text) => writeln!(out, "{summary}"),
            (Ok(summary) | Err(summary), _) => writeln!(err, "{summary}"),
        };
    }

    fn lines(&self, line: fn(&Problem) -> String) -> String {
        self.problems.0.iter().map(line).collect()
    }

    /// The document of `--format json`.
    fn json(&self) -> Value {
        let (errors, warnings) = self.problems.count();
        let (Ok(summary) | Err(summary)) = self.verdict;
        json!({
            "ok": self.verdict.is_ok(),
            "summary": summary,
            "errors": errors,
            "warnings": warnings,
            "notes": self.problems.0.len() - errors - warnings,
            "problems": self.problems.0.iter().map(problem).collect::<Vec<_>>(),
        })
    }
}

fn problem(problem: &Problem) -> Value {
    let related = problem.related.iter();
    json!({
        "severity": problem.severity.word(),
        "lint": problem.lint.map(|lint| lint.name()),
        "message": problem.message,
        "help": problem.help,
        "at": place(&problem.place, problem.excerpt.as_ref().map(|e| e.width)),
        "related": related
            .map(|(at, note)| json!({ "message": note, "at": place(at, None) }))
            .collect::<Vec<_>>(),
    })
}

/// Lines and columns count from 1, columns in characters; the end stands after the last one.
fn place(place: &Place, width: Option<usize>) -> Value {
    json!({
        "file": place.file.display().to_string(),
        "line": place.line,
        "column": place.column,
        "endColumn": width.map(|width| place.column + width),
    })
}

/// As compilers write it: `file:line:column: severity: sentence [lint]`.
fn short(problem: &Problem) -> String {
    let lint = problem
        .lint
        .map_or_else(String::new, |lint| format!(" [{}]", lint.name()));
    format!(
        "{}: {}: {}{lint}\n",
        problem.place,
        problem.severity.word(),
        problem.message.replace('\n', " ")
    )
}

/// A workflow command: `::warning file=…,line=…,col=…::sentence`.
fn github(problem: &Problem) -> String {
    let place = &problem.place;
    let word = match problem.severity {
        Severity::Note => "notice",
        severity => severity.word(),
    };
    let mut out = format!(
        "::{word} file={},line={},col={}",
        property(&place.file.display().to_string()),
        place.line,
        place.column
    );
    // Writing to a String cannot fail.
    if let Some(excerpt) = &problem.excerpt {
        let _ = write!(out, ",endColumn={}", place.column + excerpt.width);
    }
    if let Some(lint) = problem.lint {
        let _ = write!(out, ",title={}", property(lint.name()));
    }
    let mut text = problem.message.clone();
    for (place, note) in &problem.related {
        let _ = write!(text, "\n{place}: {note}");
    }
    if let Some(help) = &problem.help {
        let _ = write!(text, "\nhelp: {help}");
    }
    let _ = writeln!(out, "::{}", data(&text));
    out
}

fn data(text: &str) -> String {
    (text.replace('%', "%25"))
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
