//! Fields that are none of OpenAPI's, where one that is misspelt would decide about access.
//!
//! `Security: [{a: []}]` in an operation is no `security`, and what holds then may be wider. So a field that may be meant
//! for it is a fault, and any other that is not known is told.

use super::node::{Cursor, Fault};
use super::{Note, text};
use std::collections::HashSet;

/// How many unknown fields are told, each name once.
const TOLD: usize = 100;

/// The fields of an operation, Swagger's too.
const OPERATION: [&str; 15] = [
    "tags",
    "summary",
    "description",
    "externalDocs",
    "operationId",
    "parameters",
    "requestBody",
    "responses",
    "callbacks",
    "deprecated",
    "security",
    "servers",
    "consumes",
    "produces",
    "schemes",
];

/// Names of unknown fields that were told.
#[derive(Default)]
pub(super) struct Unknown {
    told: HashSet<Box<str>>,
}

impl Unknown {
    /// Looks at the fields of an operation.
    ///
    /// # Errors
    /// One that may be meant for `security`.
    pub(super) fn of_operation(
        &mut self,
        at: &Cursor<'_>,
        notes: &mut Vec<Note>,
    ) -> Result<(), Fault> {
        let unknown = |key: &str| !OPERATION.contains(&key) && !key.starts_with("x-");
        for (key, field) in at.fields_where("an operation", unknown)? {
            misspelt(key, &field)?;
            self.tell(key, &field, "is no field of an operation", notes);
        }
        Ok(())
    }

    /// Tells a field that nothing is made of.
    pub(super) fn tell(&mut self, key: &str, at: &Cursor<'_>, what: &str, notes: &mut Vec<Note>) {
        if self.told.len() < TOLD && self.told.insert(key.into()) {
            let shown = text::plain(key, 40);
            let what = format!("`{shown}` {what}, and nothing is made of it");
            notes.push(Note::at(&at.place, what));
        }
    }
}

/// Refuses what may be meant for the document's `security`.
///
/// # Errors
/// When it may.
pub(super) fn of_document(at: &Cursor<'_>) -> Result<(), Fault> {
    for (key, field) in at.fields_where("a document", is_near_security)? {
        misspelt(key, &field)?;
    }
    Ok(())
}

fn misspelt(key: &str, at: &Cursor<'_>) -> Result<(), Fault> {
    if key != "security" && is_like_security(key) {
        let shown = text::plain(key, 40);
        return Err(at.fault(format!(
            "`{shown}` is not read, and looks like `security`, which decides who may; expected `security`, or a name that begins with `x-`"
        )));
    }
    Ok(())
}

/// Refuses `security` of a path, also misspelt.
///
/// # Errors
/// When it is that.
pub(super) fn of_path(key: &str, at: &Cursor<'_>) -> Result<(), Fault> {
    if is_like_security(key) {
        let shown = text::plain(key, 40);
        return Err(at.fault(format!(
            "`{shown}` is not read at a path; put `security` in each operation, or at the top of the document"
        )));
    }
    Ok(())
}

/// Whether a key is `security`, or so called and more, but for case and a slip or two.
fn is_like_security(key: &str) -> bool {
    is_near_security(key) || folded(key).starts_with("securit")
}

fn is_near_security(key: &str) -> bool {
    strsim::damerau_levenshtein(&folded(key), "security") <= 2
}

/// The key's beginning: nothing much longer is near.
fn folded(key: &str) -> String {
    let begins: String = key.trim().chars().take(20).collect();
    begins.to_lowercase()
}
