//! TOML text as a tree with spans, and every syntax error of it, once.
//!
//! The parser recovers by itself, but an array that is never closed swallows the rest of the file and reports each
//! token of it. So a file that does not parse is looked at section by section (a section begins at a line that looks
//! like a `[header]`): each faulty statement gives one problem and is blanked, until the section parses. What is left
//! is parsed as a whole, so that every value that can be read is read, with the spans of the original text. `broken`
//! says which sections lost something, so that nobody calls a field missing that only could not be read.

use super::problem::Problem;
use super::source::Source;
use std::borrow::Cow;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Most syntax errors that one section gives.
const MOST_PER_SECTION: usize = 20;

/// A section that has a syntax error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Broken {
    pub(super) span: Range<usize>,
    /// The first name in its header; empty for what stands above the first header.
    pub(super) table: String,
}

/// A text as far as it parses.
pub(super) enum Parsed<'s> {
    /// All of it. The tree of a healthy file is kept: parsing is a good part of what reading it costs.
    Whole(Spanned<DeTable<'s>>),
    /// What is left of it.
    Repaired(Repaired),
}

/// The text with faulty statements blanked (of the same length), and the sections that they stood in.
pub(super) struct Repaired {
    text: String,
    broken: Vec<Broken>,
}

impl Parsed<'_> {
    /// Every value that can be read, with the spans of the original text.
    pub(super) fn tree(&self) -> Cow<'_, Spanned<DeTable<'_>>> {
        match self {
            Parsed::Whole(tree) => Cow::Borrowed(tree),
            Parsed::Repaired(left) => Cow::Owned(DeTable::parse_recoverable(&left.text).0),
        }
    }

    /// The sections that lost something.
    pub(super) fn broken(&self) -> &[Broken] {
        match self {
            Parsed::Whole(_) => &[],
            Parsed::Repaired(left) => &left.broken,
        }
    }
}

/// Parses a text; where it does not parse, finds all its syntax errors and removes what is faulty.
pub(super) fn parse<'s>(source: &'s Source, problems: &mut Vec<Problem>) -> Parsed<'s> {
    match DeTable::parse_recoverable(&source.text) {
        (tree, errors) if errors.is_empty() => Parsed::Whole(tree),
        _ => Parsed::Repaired(repair(source, problems)),
    }
}

fn repair(source: &Source, problems: &mut Vec<Problem>) -> Repaired {
    let mut text = source.text.clone();
    let mut broken = Vec::new();
    hide_likely_secrets(source);
    for span in sections(source) {
        let mut faults = 0;
        while let Some(fault) = first_fault(&text[span.clone()]) {
            faults += 1;
            let at = fault.span.start + span.start..fault.span.end + span.start;
            // A duplicate within the section is found again below, with the place of the first.
            problems.push(Problem::error(source.place(at.clone()), fault.message));
            let statement = if faults == MOST_PER_SECTION {
                span.clone()
            } else {
                statement(source, &span, at.start)
            };
            blank(&mut text, statement);
        }
        if faults > 0 {
            broken.push(Broken {
                table: header_name(&source.text[span.clone()]),
                span,
            });
        }
    }
    // What is left are faults between sections: a table or a key that stands in two of them.
    for _ in 0..MOST_PER_SECTION {
        let Some(fault) = first_fault(&text) else {
            break;
        };
        problems.push(Problem::error(
            source.place(fault.span.clone()),
            fault.message,
        ));
        let span = sections(source)
            .into_iter()
            .find(|s| s.contains(&fault.span.start))
            .unwrap_or(0..text.len());
        let lost = statement(source, &span, fault.span.start);
        broken.push(Broken {
            table: header_name(&source.text[span.clone()]),
            span,
        });
        blank(&mut text, lost);
    }
    if first_fault(&text).is_some() {
        broken.push(Broken {
            span: 0..text.len(),
            table: String::new(),
        });
    }
    Repaired { text, broken }
}

struct Fault {
    span: Range<usize>,
    message: String,
}

/// The first syntax error of a text, put so that it names the culprit and not where the parser gave up.
fn first_fault(text: &str) -> Option<Fault> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let first = errors
        .iter()
        .min_by_key(|e| e.span().map_or(usize::MAX, |s| s.start))?;
    for error in &errors {
        let what = match error.message().split(',').next() {
            Some("unclosed array") => "this list is not closed: expected `]`",
            Some("unclosed inline table") => "this inline table is not closed: expected `}`",
            Some("invalid multi-line basic string") => "this text is not closed: expected `\"\"\"`",
            Some("invalid multi-line literal string") => "this text is not closed: expected `'''`",
            _ => continue,
        };
        let end = error.span().map_or(text.len(), |s| s.start);
        if let Some(value) = outermost(tree.get_ref(), end) {
            // Only what stands before the open value is a fault of its own.
            if first.span().is_some_and(|s| s.start >= value.start) {
                return Some(Fault {
                    span: value.start..value.start + 1,
                    message: what.to_owned(),
                });
            }
        }
    }
    let span = first.span().unwrap_or(0..0);
    Some(Fault {
        message: sentence(first.message(), text, &span),
        span,
    })
}

/// The parser's message in our words where its own need them.
fn sentence(message: &str, text: &str, span: &Range<usize>) -> String {
    let found = text.get(span.clone()).unwrap_or_default();
    let before = text.get(..span.start).unwrap_or_default();
    let bare_word = text[before.len()..].starts_with(|c: char| c.is_ascii_alphabetic())
        && before
            .trim_end_matches([' ', '\t'])
            .ends_with(['=', '[', ',']);
    match message {
        "duplicate key" => format!("`{found}` is set twice in the same table"),
        "string values must be quoted, expected literal string" if found.trim().is_empty() => {
            "expected a value after `=`".to_owned()
        }
        m if bare_word || m.starts_with("string values must be quoted") => {
            "expected a value; text stands in quotes: \"…\"".to_owned()
        }
        m if m.starts_with("invalid basic string") => {
            "this text is not closed: expected `\"` on the same line".to_owned()
        }
        m if m.starts_with("unclosed table") => {
            "this table's header is not closed: expected `]`".to_owned()
        }
        m if m.starts_with("key with no value") => {
            "expected `=` and a value after this name".to_owned()
        }
        m => m.to_owned(),
    }
}

/// The span of the outermost value that reaches to (or over) `end` and begins before it.
fn outermost(table: &DeTable<'_>, end: usize) -> Option<Range<usize>> {
    let mut found: Option<Range<usize>> = None;
    for value in table.values() {
        let span = match value.get_ref() {
            // A table with a header or dotted keys: its span is the header's, its values are elsewhere.
            DeValue::Table(inner) if !is_inline(value) => outermost(inner, end),
            DeValue::Array(items) if items.iter().any(|i| !encloses(value, i)) => items
                .iter()
                .filter_map(|item| match item.get_ref() {
                    DeValue::Table(inner) => outermost(inner, end),
                    _ => None,
                })
                .max_by_key(|s| s.start),
            _ => Some(value.span()).filter(|s| s.start < end && s.end >= end),
        };
        if let Some(span) = span
            && found.as_ref().is_none_or(|f| f.start < span.start)
        {
            found = Some(span);
        }
    }
    found
}

fn encloses(outer: &Spanned<DeValue<'_>>, inner: &Spanned<DeValue<'_>>) -> bool {
    outer.span().start < inner.span().start && inner.span().end <= outer.span().end
}

/// Whether all that a table holds stands within its own span.
fn is_inline(value: &Spanned<DeValue<'_>>) -> bool {
    match value.get_ref() {
        DeValue::Table(inner) => inner
            .values()
            .all(|v| value.span().start < v.span().start && v.span().end <= value.span().end),
        _ => false,
    }
}

/// The spans of the sections: from each line that looks like a header to the next.
fn sections(source: &Source) -> Vec<Range<usize>> {
    let mut starts = vec![0];
    for row in 0..source.rows() {
        let span = source.line_span(row);
        if span.start > 0 && looks_like_header(&source.text[span.clone()]) {
            starts.push(span.start);
        }
    }
    starts.push(source.text.len());
    starts
        .windows(2)
        .filter(|w| w[0] < w[1])
        .map(|w| w[0]..w[1])
        .collect()
}

/// `[name…`, also unclosed; not `["…"` nor `[ 1, 2 ],`, which are parts of a list.
fn looks_like_header(line: &str) -> bool {
    let Some(rest) = line.strip_prefix('[') else {
        return false;
    };
    let rest = rest.strip_prefix('[').unwrap_or(rest).trim_start();
    let name = rest.split([']', '#']).next().unwrap_or_default();
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && !name.contains(',')
}

/// The first name of a section's header, as far as it can be read.
fn header_name(section: &str) -> String {
    let line = section.lines().next().unwrap_or_default();
    if !looks_like_header(line) {
        return String::new();
    }
    line.trim_start_matches('[')
        .trim_start()
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        .collect()
}

/// The statement that holds a byte: from its `name =` line to the next. A fault in the header takes the whole section.
fn statement(source: &Source, section: &Range<usize>, at: usize) -> Range<usize> {
    let first = source.row(section.start);
    let last = source.row(section.end.saturating_sub(1).max(section.start));
    let row = source.row(at).clamp(first, last);
    let begins = |row: usize| looks_like_assignment(&source.text[source.line_span(row)]);
    let headed = looks_like_header(&source.text[source.line_span(first)]);
    let from = (first..=row).rev().find(|r| begins(*r));
    let until = (row + 1..=last).find(|r| begins(*r));
    let end = until.map_or(section.end, |r| source.line_span(r).start);
    match from {
        Some(from) => source.line_span(from).start..end,
        None if headed && row == first => section.clone(),
        None => source.line_span(row).start..source.line_span(row).end.min(section.end),
    }
}

/// `name =` at the start of a line; the name may be dotted or quoted.
fn looks_like_assignment(line: &str) -> bool {
    let line = line.trim_start();
    let name = line.trim_start_matches(|c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\'' | ' ' | '\t')
    });
    name.len() < line.len() && name.starts_with('=')
}

fn blank(text: &mut String, span: Range<usize>) {
    let blanked: String = text[span.clone()]
        .bytes()
        .map(|b| if b == b'\n' { '\n' } else { ' ' })
        .collect();
    text.replace_range(span, &blanked);
}

/// Fields whose values are no secrets, wherever they stand but among headers.
const HARMLESS: [&str; 44] = [
    "access",
    "add_prefix",
    "allow",
    "authOnly",
    "body",
    "body_bytes",
    "burst",
    "connect",
    "connections",
    "credentials",
    "deny",
    "drain",
    "dumpable",
    "expose",
    "format",
    "fullAccess",
    "head",
    "head_bytes",
    "host",
    "http2",
    "idle",
    "include",
    "level",
    "listen",
    "management",
    "max_age",
    "methods",
    "name",
    "origins",
    "path",
    "paths",
    "prefix",
    "rate",
    "request",
    "response",
    "reveal",
    "scope",
    "servers",
    "stream",
    "strip_prefix",
    "target_bytes",
    "underscores",
    "upstream",
    "workers",
];

/// In a file that does not parse, no tree says which value is a secret: only what is known to be none is shown.
fn hide_likely_secrets(source: &Source) {
    const WORDS: [&str; 9] = [
        "header",
        "secret",
        "token",
        "password",
        "authorization",
        "apikey",
        "api_key",
        "cookie",
        "store",
    ];
    let suspicious = |text: &str| {
        let text = text.to_ascii_lowercase();
        WORDS.iter().any(|w| text.contains(w)) || text.contains('@')
    };
    for section in sections(source) {
        let first = source.row(section.start);
        let last = source.row(section.end.saturating_sub(1).max(section.start));
        // Whether what follows belongs to a field that is harmless.
        let mut harmless = true;
        let mut closed = false;
        for row in first..=last {
            let span = source.line_span(row);
            let line = &source.text[span.clone()];
            let assignment = looks_like_assignment(line);
            if row == first && looks_like_header(line) {
                // `[upstreams.a.headers.set]` and whatever may have been that.
                closed = suspicious(line) || line.matches('.').count() > 1;
                harmless = !closed;
            } else if assignment {
                let name = line.split('=').next().unwrap_or_default().trim();
                harmless = HARMLESS.contains(&name) && line.matches('=').count() == 1;
            }
            let shown = if row == first && looks_like_header(line) {
                // A header's own line is harmless unless something else runs into it.
                !line.contains(['=', '"', '\''])
            } else {
                harmless && !closed && !suspicious(line)
            };
            if !shown {
                source.hide(after_equals(line, span, assignment));
            }
        }
    }
}

fn after_equals(line: &str, span: Range<usize>, assignment: bool) -> Range<usize> {
    let shown = match line.find('=') {
        Some(at) if assignment => at + 1,
        _ => line.len() - line.trim_start().len(),
    };
    let blanks = line[shown..].len() - line[shown..].trim_start().len();
    span.start + shown + blanks..span.end
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::sync::Arc;

    fn faults(text: &str) -> (Vec<String>, Source, Repaired) {
        let source = Source::new(Arc::new(PathBuf::from("f")), text.to_owned());
        let mut problems = Vec::new();
        let repaired = match parse(&source, &mut problems) {
            Parsed::Repaired(repaired) => repaired,
            Parsed::Whole(_) => Repaired {
                text: text.to_owned(),
                broken: Vec::new(),
            },
        };
        let lines = problems
            .iter()
            .map(|p| format!("{}:{}: {}", p.place.line, p.place.column, p.message))
            .collect();
        (lines, source, repaired)
    }

    #[test]
    fn each_faulty_statement_gives_one_problem_and_the_rest_is_read() {
        for (text, expected) in [
            ("", vec![]),
            ("a = 1\n", vec![]),
            (
                "[server]\nlisten = [\"x\"\nworkers = 3\n[admin]\nlisten = \"y\"\n",
                vec!["2:10: this list is not closed: expected `]`"],
            ),
            (
                "[server]\nlisten = \nworkers = /users\nworkers = 4\nfoo\n",
                vec![
                    "2:10: expected a value after `=`",
                    "3:11: expected a value; text stands in quotes: \"…\"",
                    "5:4: expected `=` and a value after this name",
                ],
            ),
            (
                "[a]\nx = { a = 1\ny = 2\n[b]\nz = \"\n",
                vec![
                    "2:5: this inline table is not closed: expected `}`",
                    "5:6: this text is not closed: expected `\"` on the same line",
                ],
            ),
            (
                "[a]\nx = \"\"\"abc\ny = 3\n[b]\n",
                vec!["2:5: this text is not closed: expected `\"\"\"`"],
            ),
            (
                "[admin\nlisten = 3\n[scopes]\na = []\n",
                vec!["1:7: this table's header is not closed: expected `]`"],
            ),
            (
                "[a]\nx = 1\n[b]\n[a]\ny = 2\n",
                vec!["4:2: `a` is set twice in the same table"],
            ),
            (
                "[a]\nx = 1\nx = 2\n",
                vec!["3:1: `x` is set twice in the same table"],
            ),
        ] {
            let (found, _, repaired) = faults(text);
            assert_eq!(found, expected, "{text}");
            assert_eq!(repaired.text.len(), text.len());
            assert!(DeTable::parse(&repaired.text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_not_faulty_survives() {
        let (_, _, repaired) = faults("[server]\nlisten = [\"x\"\nworkers = 3\n[admin]\nb = 1\n");
        assert!(repaired.text.contains("workers = 3\n[admin]\nb = 1"));
        assert_eq!(
            repaired.broken.iter().map(|b| &b.table).collect::<Vec<_>>(),
            ["server"]
        );
    }

    #[test]
    fn a_broken_file_shows_no_line_that_may_hold_a_secret() {
        for text in [
            "[upstreams.a]\nheaders.set = { apikey = \"sesame\" x }\n",
            "[upstreams.a.headers.set]\nx-key = \"sesame\nb = \"sesame\" 1\n",
            "[upstreams.a]\nheaders = { set = {\n b = \"sesame\" 1\n} }\n",
            "[keys]\nstore = \"postgres://a:sesame@b\n",
            "[upstreams.a]\nservers = [\"http://a:sesame@b]\n",
        ] {
            let (_, source, _) = faults(text);
            for row in 0..source.rows() {
                let span = source.line_span(row);
                let shown = source.excerpt(&source.place(span)).unwrap().text;
                assert!(!shown.contains("sesame"), "{text}: {shown}");
            }
        }
    }
}
