//! Walking a TOML tree field by field, with every problem written down instead of returned.
//!
//! A reader takes a [`Table`], asks for the fields that it knows by name, and calls [`Table::finish`]: what nobody
//! asked for is an unknown field. Each question answers `None` when the field is absent or cannot be used; what is
//! wrong is on the [`Desk`] by then, so a reader goes on with its default and finds the next problem. Nothing is used
//! in the end if the desk holds an error.

use super::problem::{Problem, Severity};
use super::source::{Excerpt, Source};
use super::syntax::Broken;
use crate::policy::Place;
use std::fmt::Display;
use std::ops::Range;
use std::rc::Rc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Most problems that are shown: nobody reads more, and a megabyte of nonsense must not become a gigabyte of answers.
const MOST_PROBLEMS: usize = 1000;

/// Where problems are written down.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) sources: Vec<Rc<Source>>,
    pub(super) problems: Vec<Problem>,
}

impl Desk {
    pub(super) fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(super) fn error(&mut self, place: Place, message: impl Into<String>) {
        self.report(Problem::error(place, message));
    }

    pub(super) fn has_errors(&self) -> bool {
        self.problems.iter().any(|p| p.severity == Severity::Error)
    }

    /// The line of a place, if its file was read.
    pub(super) fn excerpt(&self, place: &Place) -> Option<Excerpt> {
        let source = self.sources.iter().find(|s| s.file == place.file)?;
        source.excerpt(place)
    }

    /// All problems in the order of files and lines, each with its line.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        let mut problems = std::mem::take(&mut self.problems);
        let rank = |place: &Place| self.sources.iter().position(|s| s.file == place.file);
        problems.sort_by_key(|p| (rank(&p.place), p.place.span.start, p.severity));
        problems.dedup_by(|b, a| a.place == b.place && a.message == b.message);
        if problems.len() > MOST_PROBLEMS {
            let more = problems.len() - MOST_PROBLEMS;
            // What counts most is kept; what is left is in the order of places again.
            problems.sort_by_key(|p| p.severity);
            let cut = problems[MOST_PROBLEMS].clone();
            problems.truncate(MOST_PROBLEMS);
            problems.sort_by_key(|p| (rank(&p.place), p.place.span.start, p.severity));
            let message = match cut.severity {
                Severity::Error => {
                    format!("there are {more} more problems; this may be no configuration at all")
                }
                Severity::Warning | Severity::Note => format!("there are {more} more problems"),
            };
            problems.push(Problem {
                severity: cut.severity,
                ..Problem::error(cut.place, message)
            });
        }
        for problem in &mut problems {
            if problem.excerpt.is_none() {
                problem.excerpt = self.excerpt(&problem.place);
            }
        }
        problems
    }
}

/// A file while it is walked.
#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    pub(super) source: &'a Source,
    pub(super) broken: &'a [Broken],
}

impl File<'_> {
    pub(super) fn place(&self, span: Range<usize>) -> Place {
        self.source.place(span)
    }
}

/// A table that is being read.
pub(super) struct Table<'a> {
    pub(super) file: File<'a>,
    /// Its header, or itself where it is inline.
    pub(super) span: Range<usize>,
    /// Its dotted name for messages, `server`; empty for a whole file.
    pub(super) name: String,
    entries: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

/// A field that is there.
#[derive(Clone)]
pub(super) struct Item<'a> {
    pub(super) file: File<'a>,
    /// Its dotted name for messages, `server.workers`.
    pub(super) name: String,
    pub(super) key: Range<usize>,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Table<'a> {
    /// A whole file.
    pub(super) fn root(file: File<'a>, entries: &'a DeTable<'a>) -> Self {
        Table {
            file,
            span: 0..0,
            name: String::new(),
            entries,
            known: Vec::new(),
        }
    }

    /// A field, if it is there.
    pub(super) fn field(&mut self, name: &'static str) -> Option<Item<'a>> {
        #[cfg(test)]
        asked::note(&self.name, name);
        self.find(name)
    }

    fn find(&mut self, name: &'static str) -> Option<Item<'a>> {
        self.known.push(name);
        let (key, value) = self.entries.get_key_value(name)?;
        Some(self.item(key, value))
    }

    /// All fields of a table whose names are the operator's.
    pub(super) fn entries(&self) -> Vec<(&'a str, Item<'a>)> {
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), self.item(key, value)))
            .collect();
        entries.sort_by_key(|(_, item)| item.key.start);
        entries
    }

    fn item(
        &self,
        key: &'a Spanned<toml::de::DeString<'a>>,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Item<'a> {
        let key_text = key.get_ref();
        Item {
            file: self.file,
            name: if self.name.is_empty() {
                key_text.to_string()
            } else {
                format!("{}.{key_text}", self.name)
            },
            key: key.span(),
            value,
        }
    }

    pub(super) fn place(&self) -> Place {
        self.file.place(self.span.clone())
    }

    /// Whether a syntax error may have taken a field of this table.
    pub(super) fn is_broken(&self) -> bool {
        self.file
            .broken
            .iter()
            .any(|b| b.span.contains(&self.span.start))
    }

    /// Reports that the table lacks something, unless a syntax error may have taken it.
    pub(super) fn missing(&self, desk: &mut Desk, message: impl Into<String>) {
        if !self.is_broken() {
            desk.error(self.place(), message);
        }
    }

    /// Says what to answer for a field that stands in the wrong place, and counts it as known.
    pub(super) fn misplaced(&mut self, desk: &mut Desk, name: &'static str, message: &str) {
        if let Some(item) = self.find(name) {
            item.hide();
            desk.error(item.key_place(), message);
        }
    }

    /// Reports what nobody asked for.
    pub(super) fn finish(self, desk: &mut Desk) {
        for (name, item) in self.entries() {
            if self.known.contains(&name) {
                continue;
            }
            item.hide();
            let place = if self.name.is_empty() {
                String::new()
            } else {
                format!(" in `{}`", self.name)
            };
            let problem = Problem::error(
                item.key_place(),
                match nearest(name, &self.known) {
                    Some(near) => {
                        format!("unknown field `{name}`{place}; did you mean `{near}`?")
                    }
                    None => format!("unknown field `{name}`{place}"),
                },
            );
            let mut known = self.known.clone();
            known.sort_unstable();
            desk.report(problem.help(format!("expected one of {}", quoted(&known))));
        }
    }
}

impl<'a> Item<'a> {
    pub(super) fn place(&self) -> Place {
        self.file.place(self.value.span())
    }

    pub(super) fn key_place(&self) -> Place {
        self.file.place(self.key.clone())
    }

    /// Keeps the text of all values in this field out of every excerpt.
    pub(super) fn hide(&self) {
        hide(self.file.source, self.value);
    }

    /// Reports that the value is not what it should be.
    pub(super) fn wrong(&self, desk: &mut Desk, message: impl Into<String>) {
        desk.error(self.place(), message);
    }

    /// Reports that the value is of another type than `expected`.
    pub(super) fn mistyped(&self, desk: &mut Desk, expected: &str) {
        desk.error(
            self.place(),
            format!(
                "`{}` is {}; expected {expected}",
                self.name,
                type_name(self.value.get_ref())
            ),
        );
    }

    /// The value, if it is text; no complaint if it is not.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        self.value.get_ref().as_str()
    }

    /// Whether the value is a table.
    /// The value, if it is an array.
    fn as_array(&self) -> Option<&'a [Spanned<DeValue<'a>>]> {
        match self.value.get_ref() {
            DeValue::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The text of a field that may refer to secrets.
    pub(super) fn raw_text(&self, desk: &mut Desk, expected: &str) -> Option<&'a str> {
        if self.as_text().is_none() {
            self.mistyped(desk, expected);
        }
        self.as_text()
    }

    /// The text of a field that may not.
    pub(super) fn text(&self, desk: &mut Desk, expected: &str) -> Option<&'a str> {
        let text = self.raw_text(desk, expected)?;
        if text.contains("${env:") || text.contains("${file:") {
            self.wrong(
                desk,
                format!(
                    "`{}` takes no `${{…}}`: it is replaced only in the values of `headers`",
                    self.name
                ),
            );
            return None;
        }
        Some(text)
    }

    /// The text of a field as something else.
    pub(super) fn parse<T, E: Display>(
        &self,
        desk: &mut Desk,
        expected: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match read(self.text(desk, expected)?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(desk, format!("`{}`: {error}", self.name));
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, desk: &mut Desk, words: &[(&'static str, T)]) -> Option<T> {
        let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
        let expected = format!("one of {}", in_marks(&names));
        let text = self.text(desk, &expected)?;
        let found = words.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let near = nearest(text, &names)
                .map(|n| format!("; did you mean \"{n}\"?"))
                .unwrap_or_default();
            self.wrong(
                desk,
                format!("`{}` is none of {}{near}", self.name, in_marks(&names)),
            );
        }
        found.map(|(_, value)| *value)
    }

    pub(super) fn boolean(&self, desk: &mut Desk) -> Option<bool> {
        let value = self.value.get_ref().as_bool();
        if value.is_none() {
            self.mistyped(desk, "true or false");
        }
        value
    }

    /// Whether the value is `false`, by which a field is switched off; no complaint if it is not.
    pub(super) fn is_false(&self) -> bool {
        self.value.get_ref().as_bool() == Some(false)
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::Table(_))
    }

    /// A whole number, if the value is one: `Err` when it is negative or too large for 64 bits.
    pub(super) fn as_integer(&self) -> Option<Result<u64, ()>> {
        match self.value.get_ref() {
            DeValue::Integer(number) => {
                Some(u64::from_str_radix(number.as_str(), number.radix()).map_err(|_| ()))
            }
            _ => None,
        }
    }

    /// A whole number within bounds.
    pub(super) fn integer(&self, desk: &mut Desk, least: u64, most: u64) -> Option<u64> {
        let expected = format!("a whole number from {least} to {most}");
        match self.as_integer() {
            Some(Ok(number)) if (least..=most).contains(&number) => Some(number),
            Some(_) => {
                self.wrong(
                    desk,
                    format!("`{}` is out of bounds; expected {expected}", self.name),
                );
                None
            }
            None => {
                self.mistyped(desk, &expected);
                None
            }
        }
    }

    /// The items of a list.
    pub(super) fn list(&self, desk: &mut Desk, expected: &str) -> Option<Vec<Item<'a>>> {
        let Some(items) = self.as_array() else {
            self.mistyped(desk, expected);
            return None;
        };
        Some(items.iter().map(|value| self.element(value)).collect())
    }

    /// The items of a list, or the one value that stands alone.
    pub(super) fn one_or_list(&self, desk: &mut Desk, expected: &str) -> Option<Vec<Item<'a>>> {
        if self.as_text().is_some() {
            return Some(vec![self.clone()]);
        }
        self.list(desk, expected)
    }

    /// The items of a list, or the one table that stands alone.
    pub(super) fn table_or_list(&self, desk: &mut Desk, expected: &str) -> Option<Vec<Item<'a>>> {
        if matches!(self.value.get_ref(), DeValue::Table(_)) {
            return Some(vec![self.clone()]);
        }
        self.list(desk, expected)
    }

    /// The table, if the value is one.
    pub(super) fn table(&self, desk: &mut Desk) -> Option<Table<'a>> {
        let DeValue::Table(entries) = self.value.get_ref() else {
            self.mistyped(desk, "a table");
            return None;
        };
        Some(Table {
            file: self.file,
            span: self.value.span(),
            name: self.name.clone(),
            entries,
            known: Vec::new(),
        })
    }

    fn element(&self, value: &'a Spanned<DeValue<'a>>) -> Item<'a> {
        Item {
            file: self.file,
            name: self.name.clone(),
            key: value.span(),
            value,
        }
    }
}

fn hide(source: &Source, value: &Spanned<DeValue<'_>>) {
    match value.get_ref() {
        DeValue::Table(table) => table.values().for_each(|v| hide(source, v)),
        DeValue::Array(items) => items.iter().for_each(|v| hide(source, v)),
        _ => source.hide(value.span()),
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The name that was most likely meant.
pub(super) fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let folded = name.to_ascii_lowercase().replace('-', "_");
    known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(&folded, k), *k))
        .min()
        .filter(|(distance, k)| *distance <= (k.len().max(name.len()) / 3).max(1))
        .map(|(_, k)| k)
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|n| format!("`{n}`")).collect();
    names.join(", ")
}

fn in_marks(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|n| format!("\"{n}\"")).collect();
    names.join(", ")
}

/// What readers ask their tables for, noted for the tests of [`super::schema`].
#[cfg(test)]
pub(super) mod asked {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    /// Fields, each after the name of its table.
    type Asked = BTreeSet<(String, &'static str)>;

    thread_local! {
        static ASKED: RefCell<Asked> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(super) fn note(table: &str, name: &'static str) {
        ASKED.with_borrow_mut(|asked| asked.insert((table.to_owned(), name)));
    }

    /// All that this thread has asked for since it was last taken.
    pub(in crate::config) fn take() -> Asked {
        ASKED.take()
    }
}
