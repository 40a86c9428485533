//! One path of the document and its operations: what each asks for, and which of them no policy can name.

use super::access::{Access, security};
use super::document::{Operation, PathItem, Reader, Version};
use super::node::{Cursor, Fault};
use super::reference::resolved;
use super::table::Said;
use super::template::Template;
use super::{Note, servers, text};
use http::Method;

impl<'d> Reader<'_, 'd> {
    pub(super) fn item(&mut self, path: &str, written: &Cursor<'d>) -> Result<PathItem, Fault> {
        let at = resolved(self.root, written)?;
        let mut item = PathItem {
            path: text::plain(path, 200),
            place: written.place.clone(),
            template: Template::read(path),
            operations: Vec::new(),
        };
        let mut own_servers = None;
        let mut operations = Vec::new();
        for (key, field) in at.fields("a path item, such as {\"get\": {…}}")? {
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
                    for (method, field) in field.fields("operations by method")? {
                        operations.push((method.to_owned(), field));
                    }
                }
                "servers" if self.version > Version::Swagger2 => own_servers = Some(field),
                "$ref" | "summary" | "description" | "parameters" => {}
                key if key.starts_with("x-") => {}
                key => {
                    let what = format!("`{}` of {}", text::plain(key, 40), item.path);
                    let why = format!("{} has no such method", self.document.version);
                    self.document.leave_out(what, &field.place, why);
                }
            }
        }
        for (method, field) in operations {
            self.left = self.left.saturating_sub(1);
            match self.operation(&method, &field, own_servers.as_ref(), &item) {
                Ok(operation) => item.operations.extend(operation),
                Err(fault) => self.faults.push(fault),
            }
        }
        Ok(item)
    }

    /// `None`: one that no policy could name.
    fn operation(
        &mut self,
        method: &str,
        at: &Cursor<'d>,
        servers_above: Option<&Cursor<'d>>,
        item: &PathItem,
    ) -> Result<Option<Operation>, Fault> {
        const OPERATION: &str = "an operation, such as {\"responses\": {…}}";
        if at.field("$ref", OPERATION)?.is_some() {
            return Err(at.fault("an operation cannot be a `$ref`; expected it written out"));
        }
        let text_of = |key| -> Result<Option<Box<str>>, Fault> {
            let field = at.field(key, OPERATION)?;
            Ok(field.and_then(|field| field.as_text().map(Box::from)))
        };
        let said = Said {
            id: text_of("operationId")?,
            summary: text_of("summary")?,
        };
        let mut access = self.default.clone();
        if let Some(at) = at.field("security", OPERATION)? {
            access = security(&at)?;
            self.look_for_unknown(&access, &at);
        }
        let what = format!("{} {}", text::plain(method, 40), item.path);
        if let Some(why) = unsayable(method) {
            self.document.leave_out(what, &at.place, why);
            return Ok(None);
        }
        let own_servers = match self.version {
            Version::Swagger2 => None,
            _ => at.field("servers", OPERATION)?,
        };
        let mut why = None;
        if let Some(own) = own_servers.as_ref().or(servers_above) {
            let same = match servers::prefixes(Some(own)) {
                Ok(found) => self.own_prefixes.as_ref() == Some(&found),
                Err(fault) => return Err(fault),
            };
            if same {
                let what = format!(
                    "{what} has servers of its own; it leads to the same upstream as all others"
                );
                self.document.notes.push(Note::at(&own.place, what));
            } else {
                access = Access::Closed;
                why = Some("its servers have other paths than those of the document".to_owned());
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
        }))
    }
}

/// Why a policy cannot name a method.
fn unsayable(method: &str) -> Option<String> {
    match Method::from_bytes(method.as_bytes()) {
        Ok(Method::TRACE | Method::CONNECT) => Some("this method is never let through".to_owned()),
        Ok(_) if method.bytes().any(|b| b.is_ascii_lowercase()) => {
            Some("a policy's methods are upper case".to_owned())
        }
        Ok(_) if method.len() > 64 => Some("this is too long for a method".to_owned()),
        Ok(_) => None,
        Err(_) => Some("this is not a method".to_owned()),
    }
}
