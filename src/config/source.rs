//! One configuration file as it was read: its text, where each byte of it stands, and what of it may be shown.
//!
//! A file is read once, bounded, and must be UTF-8 (a byte order mark and CRLF are fine). Every later step speaks of
//! it in byte spans; [`Source::place`] turns a span into file, line and column, [`Source::excerpt`] into the line that
//! an operator sees under a problem, with what may be a secret replaced by `…`.

use crate::policy::Place;
use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most bytes of a configuration file.
pub const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// Most characters of a line that an excerpt shows.
const WINDOW: usize = 160;

/// A file's text with the means to point into it.
pub(super) struct Source {
    pub(super) file: Arc<PathBuf>,
    pub(super) text: String,
    /// Where each line begins.
    lines: Vec<usize>,
    /// Spans that may hold a secret.
    hidden: RefCell<Vec<Range<usize>>>,
}

/// A line to show under a problem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Excerpt {
    /// The line, without its end, with secrets and control characters replaced.
    pub text: String,
    /// Characters of `text` before the caret.
    pub indent: usize,
    /// How many characters the caret underlines; at least 1.
    pub width: usize,
}

impl Source {
    pub(super) fn new(file: Arc<PathBuf>, text: String) -> Self {
        let mut lines = vec![0];
        lines.extend(
            text.bytes()
                .enumerate()
                .filter(|(_, b)| *b == b'\n')
                .map(|(at, _)| at + 1),
        );
        Source {
            file,
            text,
            lines,
            hidden: RefCell::default(),
        }
    }

    /// Says that this span may hold a secret: no excerpt shows it.
    pub(super) fn hide(&self, span: Range<usize>) {
        self.hidden.borrow_mut().push(span);
    }

    /// Where a span begins.
    pub(super) fn place(&self, span: Range<usize>) -> Place {
        let start = floor(&self.text, span.start);
        let row = self.row(start);
        let column = self.text[self.lines[row]..start]
            .chars()
            .filter(|c| *c != '\u{feff}')
            .count()
            + 1;
        Place {
            file: Arc::clone(&self.file),
            span: start..floor(&self.text, span.end.max(start)),
            line: row + 1,
            column,
        }
    }

    /// The line that a place is on, with a caret under what the place spans of it. `None` for an empty file.
    pub(super) fn excerpt(&self, place: &Place) -> Option<Excerpt> {
        let row = place.line - 1;
        let from = *self.lines.get(row)?;
        let until = self.lines.get(row + 1).map_or(self.text.len(), |n| n - 1);
        // A comment is no part of any problem, and may hold what was commented out.
        let until = from + without_comment(&self.text[from..until]).len();
        let hidden = self.hidden.borrow();
        let mut shown = Vec::new();
        let (mut caret_from, mut caret_until) = (None, 0);
        let mut last_hidden = None;
        for (at, c) in self.text[from..until].char_indices() {
            let at = from + at;
            if at >= place.span.start && caret_from.is_none() {
                caret_from = Some(shown.len());
            }
            let secret = hidden.iter().position(|span| span.contains(&at));
            match (secret, c) {
                (Some(_), _) if secret == last_hidden => {}
                (Some(_), _) => shown.push('…'),
                (None, '\u{feff}' | '\r') => {}
                (None, c) if c.is_control() => shown.push(' '),
                (None, c) => shown.push(c),
            }
            last_hidden = secret;
            if at < place.span.end {
                caret_until = shown.len();
            }
        }
        if shown.is_empty() && self.text.is_empty() {
            return None;
        }
        let indent = caret_from.unwrap_or(shown.len());
        let width = caret_until.saturating_sub(indent).max(1);
        let cut = indent.saturating_sub(WINDOW / 2);
        let end = shown.len().min(cut + WINDOW);
        let mut text: String = shown[cut..end].iter().collect();
        let mut indent = indent - cut;
        if cut > 0 {
            text.insert(0, '…');
            indent += 1;
        }
        if end < shown.len() {
            text.push('…');
        }
        Some(Excerpt {
            text,
            indent,
            width: width.min(WINDOW / 2),
        })
    }

    /// The byte span of a line, counted from 0, without its end.
    pub(super) fn line_span(&self, row: usize) -> Range<usize> {
        let until = self.lines.get(row + 1).map_or(self.text.len(), |n| n - 1);
        self.lines[row]..until
    }

    /// The line, counted from 0, that a byte is on.
    pub(super) fn row(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at) - 1
    }

    /// How many lines there are.
    pub(super) fn rows(&self) -> usize {
        self.lines.len()
    }
}

/// The line up to its comment; a `#` in a text that begins on the line is none.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(q), c) if q == c => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '#') => return line[..at].trim_end(),
            _ => {}
        }
    }
    line
}

/// The closest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Why a file gives no text.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("there is no such file")]
    Missing,
    #[error("this is a folder; expected a file")]
    Folder,
    #[error("this is a socket, a pipe or a device; expected a file")]
    Special,
    /// It has more than so many bytes.
    #[error("the file has more than {}, the most that such a file may have; is another one meant?", amount(*.0))]
    Huge(u64),
    /// Where what is no UTF-8 begins, both counted from 1.
    #[error("the file is not UTF-8 text from line {line}, column {column} on; save it as UTF-8")]
    NotUtf8 { line: usize, column: usize },
    #[error("the file cannot be read: {0}")]
    Io(#[source] std::io::Error),
}

impl ReadError {
    /// The line and the column that it is about, both counted from 1.
    pub(super) fn position(&self) -> (usize, usize) {
        match self {
            ReadError::NotUtf8 { line, column } => (*line, *column),
            ReadError::Missing
            | ReadError::Folder
            | ReadError::Special
            | ReadError::Huge(_)
            | ReadError::Io(_) => (1, 1),
        }
    }
}

/// `16 MiB`.
fn amount(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mebibytes => format!("{mebibytes} MiB"),
    }
}

/// The bytes of a file, at most `most`.
pub(super) fn read_bytes(path: &Path, most: u64) -> Result<Vec<u8>, ReadError> {
    let wrap = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => ReadError::Missing,
        std::io::ErrorKind::IsADirectory => ReadError::Folder,
        _ => ReadError::Io(error),
    };
    // Asked before opening: opening a named pipe would wait for a writer.
    let kind = std::fs::metadata(path).map_err(wrap)?.file_type();
    if kind.is_dir() {
        return Err(ReadError::Folder);
    }
    if !kind.is_file() {
        return Err(ReadError::Special);
    }
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(wrap)?
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(wrap)?;
    if bytes.len() as u64 > most {
        return Err(ReadError::Huge(most));
    }
    Ok(bytes)
}

/// What bytes say, if they are UTF-8.
pub(super) fn decode(bytes: Vec<u8>) -> Result<String, ReadError> {
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let good = String::from_utf8_lossy(good);
        let last = good.rsplit('\n').next().unwrap_or_default();
        ReadError::NotUtf8 {
            line: good.matches('\n').count() + 1,
            column: last.chars().filter(|c| *c != '\u{feff}').count() + 1,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new(Arc::new(PathBuf::from("f.toml")), text.to_owned())
    }

    #[test]
    fn columns_count_characters_and_no_byte_order_mark() {
        for (text, at, expected) in [
            ("a = 1", 4, (1, 5)),
            ("\u{feff}a = 1", 3, (1, 1)),
            ("é = 1", 3, (1, 3)),
            ("a\r\nb = 1", 3, (2, 1)),
            ("a\n", 2, (2, 1)),
            ("", 0, (1, 1)),
        ] {
            let place = source(text).place(at..at + 1);
            assert_eq!((place.line, place.column), expected, "{text:?} at {at}");
        }
    }

    #[test]
    fn an_excerpt_shows_the_line_but_not_what_is_hidden() {
        let s = source("x\r\nset = { apikey = \"sesame\", b = 1 }\r\n");
        s.hide(20..28);
        let excerpt = s.excerpt(&s.place(30..31)).unwrap();
        assert_eq!(excerpt.text, "set = { apikey = …, b = 1 }");
        assert_eq!((excerpt.indent, excerpt.width), (20, 1));
    }

    #[test]
    fn an_excerpt_ends_before_the_comment() {
        for (text, shown) in [
            ("a = 1 # sesame", "a = 1"),
            ("a = \"#\\\"#\" # sesame", "a = \"#\\\"#\""),
            ("a = '#' # sesame", "a = '#'"),
            ("# sesame", ""),
        ] {
            let s = source(text);
            assert_eq!(s.excerpt(&s.place(0..1)).unwrap().text, shown);
        }
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let s = source(&format!(
            "a = \"{}\" # {}",
            "x".repeat(500),
            "y".repeat(500)
        ));
        let excerpt = s.excerpt(&s.place(500..501)).unwrap();
        assert!(excerpt.text.chars().count() <= WINDOW + 2);
        assert_eq!(excerpt.text.chars().nth(excerpt.indent), Some('x'));
    }
}
