//! The document as this module reads it: prefixes, paths, operations, and who may.
//!
//! Only what decides about access is looked at. That has to have the shape that OpenAPI gives it: nothing is guessed, and all
//! faults are told at once. What is right and cannot be said in a policy is left out, with the reason.

use super::access::{Access, Grant, security};
use super::known::{self, Unknown};
use super::node::{Cursor, Fault, VALUES, Where};
use super::reference::leads_out;
use super::servers;
use super::table::Said;
use super::template::Template;
use super::{Note, text};
use std::collections::BTreeSet;
use std::rc::Rc;

/// How many operations a document may have, those that are referred to counted each time.
pub(super) const OPERATIONS: usize = 400_000;

/// How many fields of paths and operations are read, those that are referred to counted each time.
const FIELDS: usize = 2 * VALUES;

/// What of a document decides about access.
#[derive(Debug)]
pub(super) struct Document {
    /// `OpenAPI 3.0.3`, as written.
    pub version: String,
    pub title: Option<String>,
    /// What stands before each path; as the document has it, or as it was told otherwise.
    pub prefixes: Vec<String>,
    /// What the document has there, and the same where that cannot be known.
    pub own_prefixes: BTreeSet<String>,
    pub items: Vec<PathItem>,
    pub notes: Vec<Note>,
    /// What cannot be said in a policy.
    pub left_out: Vec<LeftOut>,
}

/// A path and its operations.
#[derive(Debug)]
pub(super) struct PathItem {
    /// As it is written.
    pub path: Rc<str>,
    pub place: Where,
    pub template: Template,
    pub operations: Vec<Operation>,
    /// What stands before it, where that is not what stands before the others.
    pub elsewhere: Option<Rc<BTreeSet<String>>>,
}

/// One operation.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub method: Box<str>,
    pub place: Where,
    pub said: Said,
    pub access: Access,
    /// Why it is closed.
    pub why: Option<String>,
    /// What stands before its path, where that is not what stands before those of the document.
    pub elsewhere: Option<Rc<BTreeSet<String>>>,
}

/// Something that has no route that opens it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LeftOut {
    /// `GET /img-{id}`.
    pub what: String,
    pub place: Where,
    pub why: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    Swagger2,
    Three0,
    Three1,
    Three2,
}

/// Reads a document.
///
/// # Errors
/// Everything that has not the shape of one.
pub(super) fn read(root: &Cursor<'_>, told: &[String]) -> Result<Document, Vec<Fault>> {
    let one = |fault| vec![fault];
    let (version, named) = version(root).map_err(one)?;
    let mut reader = Reader {
        root,
        version,
        default: Access::unsaid(),
        schemes: BTreeSet::new(),
        unknown: BTreeSet::new(),
        left: OPERATIONS,
        fields_left: FIELDS,
        unknown_fields: Unknown::default(),
        faults: Vec::new(),
        document: Document {
            version: named,
            title: title(root),
            prefixes: told.to_vec(),
            own_prefixes: told.iter().cloned().collect(),
            items: Vec::new(),
            notes: Vec::new(),
            left_out: Vec::new(),
        },
    };
    let read = [
        reader.prefixes(told.is_empty()),
        reader.security(),
        reader.paths(),
        reader.outbound(),
    ];
    let mut faults = std::mem::take(&mut reader.faults);
    faults.extend(read.into_iter().filter_map(Result::err));
    if faults.is_empty() {
        Ok(reader.document)
    } else {
        Err(faults)
    }
}

fn version(root: &Cursor<'_>) -> Result<(Version, String), Fault> {
    const DOCUMENT: &str = "an OpenAPI document, an object with `openapi` or `swagger`";
    const READ: &str = "expected OpenAPI 3.0, 3.1 or 3.2, or Swagger 2.0";
    let swagger = root.field("swagger", DOCUMENT)?;
    let openapi = root.field("openapi", DOCUMENT)?;
    match (swagger, openapi) {
        (Some(at), None) => match at.text("\"2.0\"")? {
            "2.0" => Ok((Version::Swagger2, "Swagger 2.0".to_owned())),
            other => {
                let shown = text::plain(other, 20);
                Err(at.fault(format!("Swagger {shown} is not read; {READ}")))
            }
        },
        (None, Some(at)) => {
            let text = at.text("a version such as \"3.1.0\"")?;
            let is = |minor: &str| {
                let rest = text.strip_prefix(minor);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let version = match () {
                () if is("3.0") => Version::Three0,
                () if is("3.1") => Version::Three1,
                () if is("3.2") => Version::Three2,
                () => {
                    let shown = text::plain(text, 20);
                    return Err(at.fault(format!("OpenAPI {shown} is not read; {READ}")));
                }
            };
            Ok((version, format!("OpenAPI {}", text::plain(text, 20))))
        }
        (Some(_), Some(at)) => {
            Err(at.fault("the document says `swagger` and `openapi`; expected one of them"))
        }
        (None, None) => Err(root.fault(format!(
            "the document says neither `openapi` nor `swagger`; {READ}"
        ))),
    }
}

fn title(root: &Cursor<'_>) -> Option<String> {
    let info = root.field("info", "").ok()??;
    let title = info.field("title", "").ok()??;
    title.as_text().map(|title| text::plain(title, 80))
}

/// A document that is being read; `item` reads its paths.
pub(super) struct Reader<'r, 'd> {
    pub root: &'r Cursor<'d>,
    pub version: Version,
    /// What holds where an operation says nothing.
    pub default: Access,
    /// Declared security schemes.
    schemes: BTreeSet<&'d str>,
    /// Undeclared ones that were spoken of.
    unknown: BTreeSet<Box<str>>,
    pub left: usize,
    /// How many fields may still be read, those that are referred to counted each time.
    fields_left: usize,
    pub unknown_fields: Unknown,
    pub faults: Vec<Fault>,
    pub document: Document,
}

impl<'d> Reader<'_, 'd> {
    fn prefixes(&mut self, needed: bool) -> Result<(), Fault> {
        let found = match self.version {
            Version::Swagger2 => servers::base_path(self.root.field("basePath", "")?.as_ref()),
            _ => servers::prefixes(self.root.field("servers", "")?.as_ref()),
        };
        match found {
            Ok(found) => {
                if needed {
                    self.document.prefixes = found.iter().cloned().collect();
                }
                self.document.own_prefixes = found;
                Ok(())
            }
            Err(_) if !needed => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    fn security(&mut self) -> Result<(), Fault> {
        let schemes = match self.version {
            Version::Swagger2 => self.root.field("securityDefinitions", "")?,
            _ => match self.root.field("components", "")? {
                Some(components) => components.field("securitySchemes", "the components")?,
                None => None,
            },
        };
        if let Some(schemes) = schemes {
            let fields = schemes.fields("security schemes by name")?;
            self.schemes = fields.into_iter().map(|(name, _)| name).collect();
        }
        known::of_document(self.root)?;
        if let Some(at) = self.root.field("security", "")? {
            self.default = security(&at)?;
            let access = self.default.clone();
            self.look_for_unknown(&access, &at);
        }
        Ok(())
    }

    /// What is asked for and is not declared is closed to everyone but whoever is given a key of that name: worth a word.
    pub(super) fn look_for_unknown(&mut self, access: &Access, at: &Cursor<'_>) {
        let Access::AnyOf(alternatives) = access else {
            return;
        };
        for grant in alternatives.iter().flatten() {
            let (Grant::Scheme(scheme) | Grant::Scope { scheme, .. }) = grant else {
                continue;
            };
            if !self.schemes.contains(&**scheme) && self.unknown.insert(scheme.clone()) {
                let shown = text::plain(scheme, 60);
                self.document.notes.push(Note::at(
                    &at.place,
                    format!("the security scheme `{shown}` is asked for here and declared nowhere: a scope stands for it"),
                ));
            }
        }
    }

    /// Counts what is read.
    pub(super) fn pay(&mut self, fields: usize, at: &Cursor<'_>) -> Result<(), Fault> {
        match self.fields_left.checked_sub(fields) {
            Some(left) => {
                self.fields_left = left;
                Ok(())
            }
            None => {
                self.fields_left = 0;
                Err(at.fault(format!(
                    "paths and operations have {FIELDS} fields at most, those that are referred to counted each time"
                )))
            }
        }
    }

    fn paths(&mut self) -> Result<(), Fault> {
        let Some(paths) = self.root.field("paths", "")? else {
            return Err(self.root.fault("the document has no `paths`"));
        };
        for (path, at) in paths.fields("paths, such as {\"/users\": {…}}")? {
            if path.starts_with("x-") {
                continue;
            }
            if path == "$ref" {
                return Err(match at.as_text() {
                    Some(target) if !target.starts_with('#') => leads_out(&at, target),
                    _ => at.fault("`paths` cannot be a `$ref`; expected the paths written out"),
                });
            }
            match self.item(path, &at) {
                Ok(item) => self.document.items.push(item),
                Err(fault) => self.faults.push(fault),
            }
            if self.fields_left == 0 {
                // It was said.
                return Ok(());
            }
            if self.left == 0 {
                return Err(paths.fault(format!("a document has {OPERATIONS} operations at most")));
            }
        }
        Ok(())
    }

    /// What the API calls, and nobody calls here.
    fn outbound(&mut self) -> Result<(), Fault> {
        if let Some(webhooks) = self.root.field("webhooks", "")? {
            let what = "webhooks are requests that the API makes, so they have no routes";
            self.document.notes.push(Note::at(&webhooks.place, what));
        }
        Ok(())
    }
}

impl Document {
    pub(super) fn leave_out(&mut self, what: String, place: &Where, why: impl Into<String>) {
        self.left_out.push(LeftOut {
            what,
            place: place.clone(),
            why: why.into(),
        });
    }
}
