//! One path of the document and its operations: what each asks for, and which of them no policy can name.

use super::access::{Access, security};
use super::document::{Operation, PathItem, Reader, Version};
use super::node::{Cursor, Fault, Where};
use super::table::Said;
use super::template::Template;
use super::{Note, known, servers, text};
use crate::http::is_spelled_as_methods_are;
use http::Method;
use std::collections::BTreeSet;
use std::rc::Rc;

/// How many operations a path may have.
pub(super) const METHODS: usize = 64;

/// What a field that is told costs, in fields that are read.
const UNKNOWN: usize = 64;

impl<'d> Reader<'_, 'd> {
    pub(super) fn item(&mut self, path: &str, written: &Cursor<'d>) -> Result<PathItem, Fault> {
        let at = self.resolved(written)?;
        self.pay(at.len(), &at)?;
        let mut item = PathItem {
            path: text::plain(path, 200).into(),
            place: written.place.clone(),
            template: Template::read(path),
            operations: Vec::new(),
            elsewhere: None,
        };
        let mut served = None;
        let mut operations = Vec::new();
        let read = |key: &str| !key.starts_with("x-");
        for (key, field) in at.fields_where("a path item, such as {\"get\": {…}}", read)? {
            match key {
                "get" | "put" | "post" | "delete" | "options" | "head" | "patch" => {
                    operations.push((key.to_ascii_uppercase(), field));
                }
                "trace" if self.version > Version::Swagger2 => {
                    operations.push(("TRACE".to_owned(), field));
                }
                "query" if self.version >= Version::Three2 => {
                    operations.push(("QUERY".to_owned(), field));
                }
                "additionalOperations" if self.version >= Version::Three2 => {
                    self.pay(field.len(), &field)?;
                    for (method, field) in field.fields("operations by method")? {
                        operations.push((method.to_owned(), field));
                    }
                }
                "servers" if self.version > Version::Swagger2 => {
                    self.pay(field.weight(), &field)?;
                    served = Some(self.served(&field)?);
                }
                "$ref" | "summary" | "description" | "parameters" => {}
                key => {
                    known::of_path(key, &field)?;
                    self.pay(UNKNOWN, &field)?;
                    let what = format!("`{}` of {}", text::plain(key, 40), item.path);
                    let why = format!("{} has no such method", self.document.version);
                    self.document.leave_out(what, &field.place, why);
                }
            }
        }
        if operations.len() > METHODS {
            return Err(at.fault(format!("expected {METHODS} operations of one path at most")));
        }
        for (method, field) in operations {
            self.left = self.left.saturating_sub(1);
            match self.operation(&method, &field, served.as_ref(), &item) {
                Ok(operation) => item.operations.extend(operation),
                Err(fault) => self.faults.push(fault),
            }
        }
        if let Some(Served::Elsewhere(prefixes)) = served {
            item.elsewhere = Some(prefixes);
        }
        Ok(item)
    }

    /// `None`: one that no policy could name.
    fn operation(
        &mut self,
        method: &str,
        at: &Cursor<'d>,
        served_above: Option<&Served>,
        item: &PathItem,
    ) -> Result<Option<Operation>, Fault> {
        const OPERATION: &str = "an operation, such as {\"responses\": {…}}";
        if at.field("$ref", OPERATION)?.is_some() {
            return Err(at.fault("an operation cannot be a `$ref`; expected it written out"));
        }
        self.pay(at.len(), at)?;
        self.unknown_fields
            .of_operation(at, &mut self.document.notes)?;
        let text_of = |key| -> Result<Option<Box<str>>, Fault> {
            let field = at.field(key, OPERATION)?;
            Ok(field.and_then(|field| field.as_text().map(Box::from)))
        };
        let said = Said {
            path: Rc::clone(&item.path),
            id: text_of("operationId")?,
            summary: text_of("summary")?,
        };
        let mut access = self.default.clone();
        if let Some(at) = at.field("security", OPERATION)? {
            self.pay(at.weight(), &at)?;
            access = security(&at)?;
            self.look_for_unknown(&access, &at);
        }
        let what = format!("{} {}", text::plain(method, 40), item.path);
        if let Some(why) = unsayable(method) {
            self.document.leave_out(what, &at.place, why);
            return Ok(None);
        }
        let own = match self.version {
            Version::Swagger2 => None,
            _ => at.field("servers", OPERATION)?,
        };
        if let Some(own) = &own {
            self.pay(own.weight(), own)?;
        }
        let own = own.map(|own| self.served(&own)).transpose()?;
        let mut why = None;
        let mut elsewhere = None;
        match own.as_ref().or(served_above) {
            None => {}
            Some(Served::Here(place)) => {
                let what = format!(
                    "{what} has servers of its own; it leads to the same upstream as all others"
                );
                self.document.notes.push(Note::at(place, what));
            }
            Some(Served::Elsewhere(prefixes)) => {
                why = Some("its servers have other paths than those of the document".to_owned());
                elsewhere = Some(Rc::clone(prefixes));
            }
            Some(Served::Unknown) => {
                access = Access::Closed;
                why = Some(
                    "its servers' path cannot be known, nor is it held against other paths there"
                        .to_owned(),
                );
            }
        }
        if let Some(why) = &why {
            self.document.leave_out(what, &at.place, why.clone());
        }
        Ok(Some(Operation {
            method: method.into(),
            place: at.place.clone(),
            said,
            access,
            why,
            elsewhere,
        }))
    }

    /// Where servers of a path or an operation are.
    fn served(&self, at: &Cursor<'d>) -> Result<Served, Fault> {
        Ok(match servers::own(at)? {
            None => Served::Unknown,
            Some(found) if found == self.document.own_prefixes => Served::Here(at.place.clone()),
            Some(found) => Served::Elsewhere(Rc::new(found)),
        })
    }
}

/// Where an operation with servers of its own, or its path's, is to be found.
enum Served {
    /// Behind what stands before all paths.
    Here(Where),
    /// Behind something else.
    Elsewhere(Rc<BTreeSet<String>>),
    Unknown,
}

/// Why a policy cannot name a method.
fn unsayable(method: &str) -> Option<String> {
    match Method::from_bytes(method.as_bytes()) {
        Ok(Method::TRACE | Method::CONNECT) => Some("this method is never let through".to_owned()),
        Ok(method) if !is_spelled_as_methods_are(&method) => {
            Some("a policy's methods are upper case letters, `-` and `_`".to_owned())
        }
        Ok(_) if method.len() > 64 => Some("this is too long for a method".to_owned()),
        Ok(_) => None,
        Err(_) => Some("this is not a method".to_owned()),
    }
}
