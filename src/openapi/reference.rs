//! `$ref` of a path item, followed within the document.
//!
//! Nothing is fetched, and nothing is merged: what stands beside a reference and would change who may is a fault, and what is
//! none of OpenAPI's is told.

use super::document::Reader;
use super::node::{Cursor, Fault};
use super::{known, text};
use std::collections::HashSet;

/// How many references may lead from one to the next.
const HOPS: usize = 32;

/// What may stand beside a reference, and decides nothing.
fn harmless(key: &str) -> bool {
    matches!(key, "$ref" | "summary" | "description" | "parameters") || key.starts_with("x-")
}

/// The fault of a reference to another document.
pub(super) fn leads_out(at: &Cursor<'_>, target: &str) -> Fault {
    let shown = text::plain(target, 100);
    at.fault(format!(
        "`{shown}` leads out of the document, and nothing else is read; bundle all files into one first"
    ))
}

impl<'d> Reader<'_, 'd> {
    /// The path item that is written here, or that this refers to.
    pub(super) fn resolved(&mut self, written: &Cursor<'d>) -> Result<Cursor<'d>, Fault> {
        const BESIDE: [&str; 11] = [
            "get",
            "put",
            "post",
            "delete",
            "options",
            "head",
            "patch",
            "trace",
            "query",
            "additionalOperations",
            "servers",
        ];
        let mut at = written.clone();
        let mut seen = HashSet::new();
        loop {
            let Some(reference) = at.field("$ref", "a path item, such as {\"get\": {…}}")? else {
                return Ok(at);
            };
            let target = reference.text("a reference such as \"#/components/pathItems/users\"")?;
            let shown = text::plain(target, 100);
            self.pay(at.len(), &at)?;
            for (key, field) in at.fields_where("a path item", |key| !harmless(key))? {
                known::of_path(key, &field)?;
                if BESIDE.contains(&key) {
                    return Err(at.fault(format!(
                    "`{key}` stands beside a `$ref`, and which of the two counts is not defined; expected one of them"
                )));
                }
                let notes = &mut self.document.notes;
                self.unknown_fields
                    .tell(key, &field, "stands beside a `$ref`", notes);
            }
            let Some(pointer) = target.strip_prefix('#') else {
                return Err(leads_out(&reference, target));
            };
            if !seen.insert(target) || seen.len() > HOPS {
                return Err(reference.fault(format!(
                    "`{shown}` refers to itself, or by more than {HOPS} others"
                )));
            }
            let found = unescaped(pointer).and_then(|pointer| self.root.at_pointer(&pointer));
            at = found
                .ok_or_else(|| reference.fault(format!("`{shown}` is nowhere in the document")))?;
        }
    }
}

/// A pointer as a URI's fragment has it, unescaped.
fn unescaped(fragment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let byte = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(byte).ok()?);
    }
    String::from_utf8(bytes).ok()
}
