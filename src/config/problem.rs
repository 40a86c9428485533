//! What is wrong with a configuration, in a form that an operator can act on.
//!
//! A [`Problem`] has a place, a sentence that says what was expected, sometimes help and the places of other parties
//! to it, and the offending line with what may be a secret masked. [`Problems`] is all that one reading found, sorted
//! by place. A problem never holds the value of a field that may be a secret.

use super::source::Excerpt;
use crate::policy::Place;
use crate::policy::lint::{Finding, Level, Levels, Lint};
use std::fmt::{self, Write as _};

/// Whether a problem keeps a configuration from being used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    Error,
    Warning,
    /// Worth knowing, and nothing to mend.
    Note,
}

impl Severity {
    /// As it is said.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// One thing that is wrong, or looks it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    pub place: Place,
    pub severity: Severity,
    /// The lint that found it.
    pub lint: Option<Lint>,
    /// What is wrong and what was expected; lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Other places that have a part in it, and which part.
    pub related: Vec<(Place, String)>,
    /// The offending line.
    pub excerpt: Option<Excerpt>,
}

impl Problem {
    /// An error at a place.
    pub fn error(place: Place, message: impl Into<String>) -> Self {
        Problem {
            place,
            severity: Severity::Error,
            lint: None,
            message: message.into(),
            help: None,
            related: Vec::new(),
            excerpt: None,
        }
    }

    /// A warning at a place.
    pub fn warning(place: Place, message: impl Into<String>) -> Self {
        Problem {
            severity: Severity::Warning,
            ..Problem::error(place, message)
        }
    }

    /// What a lint found, at the level that it has; `None` where that is off.
    pub(super) fn found(finding: Finding, levels: &Levels) -> Option<Self> {
        let severity = match levels.of(finding.lint) {
            Level::Allow => return None,
            Level::Note => Severity::Note,
            Level::Warn => Severity::Warning,
        };
        let related = finding.related.into_iter();
        Some(Problem {
            severity,
            lint: Some(finding.lint),
            help: finding.help,
            related: related
                .map(|(place, part)| (place, part.to_owned()))
                .collect(),
            ..Problem::error(finding.place, finding.message)
        })
    }

    /// The same with a hint at what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with another place that has a part in it.
    #[must_use]
    pub fn related(mut self, place: Place, note: impl Into<String>) -> Self {
        self.related.push((place, note.into()));
        self
    }

    /// The whole problem as text, in several lines, each ended; with terminal colours if `colour`.
    pub fn render(&self, colour: bool) -> String {
        let paint = |code: &'static str| if colour { code } else { "" };
        let (bold, dim, reset) = (paint("\x1b[1m"), paint("\x1b[2m"), paint("\x1b[0m"));
        let word = self.severity.word();
        let tint = match self.severity {
            Severity::Error => paint("\x1b[1;31m"),
            Severity::Warning => paint("\x1b[1;33m"),
            Severity::Note => paint("\x1b[1;36m"),
        };
        let mut out = String::new();
        // Writing to a String cannot fail, so its results say nothing.
        let _ = writeln!(
            out,
            "{bold}{}:{reset} {tint}{word}:{reset} {bold}{}{reset}{}",
            self.place,
            self.message,
            self.lint.map_or_else(String::new, |lint| format!(
                " {dim}[{}]{reset}",
                lint.name()
            ))
        );
        if let Some(excerpt) = &self.excerpt {
            let number = self.place.line.to_string();
            let gutter = " ".repeat(number.len());
            let _ = writeln!(out, "  {dim}{number} |{reset} {}", excerpt.text);
            let _ = writeln!(
                out,
                "  {dim}{gutter} |{reset} {}{tint}{}{reset}",
                " ".repeat(excerpt.indent),
                "^".repeat(excerpt.width)
            );
        }
        for (place, note) in &self.related {
            let _ = writeln!(out, "  {bold}{place}:{reset} {note}");
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "  {bold}help:{reset} {help}");
        }
        out
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

/// All that is wrong with a configuration, by place; at least one is an error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// How many are errors and how many are warnings.
    pub fn count(&self) -> (usize, usize) {
        let of = |severity| self.0.iter().filter(|p| p.severity == severity).count();
        (of(Severity::Error), of(Severity::Warning))
    }

    /// One line for a status page: the first error, and how many there are besides.
    pub fn summary(&self) -> String {
        let mut errors = self.0.iter().filter(|p| p.severity == Severity::Error);
        let Some(first) = errors.next() else {
            return String::new();
        };
        match errors.count() {
            0 => format!("{}: {}", first.place, first.message),
            more => format!("{}: {} (and {more} more)", first.place, first.message),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_char('\n')?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::sync::Arc;

    fn place(line: usize, column: usize) -> Place {
        Place {
            file: Arc::new(PathBuf::from("k.toml")),
            span: 0..1,
            line,
            column,
        }
    }

    #[test]
    fn a_problem_reads_as_place_sentence_line_caret_and_help() {
        let mut problem = Problem::error(place(12, 3), "expected a duration")
            .related(place(1, 1), "the other one")
            .help("write \"5s\"");
        problem.excerpt = Some(Excerpt {
            text: "x = 5".into(),
            indent: 4,
            width: 1,
        });
        assert_eq!(
            problem.to_string(),
            "k.toml:12:3: error: expected a duration\n  12 | x = 5\n     |     ^\n  k.toml:1:1: the other one\n  help: write \"5s\""
        );
        assert!(problem.render(true).contains("\x1b["));
    }
}
