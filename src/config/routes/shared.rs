//! What holds for all files: the declared scopes, and the defaults of routes.
//!
//! A scope may be declared in one file and asked for in another, so what is missing is only said when all were read, and
//! not at all where it may stand in what could not be read.

use super::defaults::{Defaults, defaults};
use crate::config::fields::{Desk, Item, Table, nearest};
use crate::config::headers::HeaderReader;
use crate::config::problem::Problem;
use crate::config::upstreams::Upstreams;
use crate::key::{ScopeError, ScopeName, Scopes};
use crate::policy::Place;
use std::collections::BTreeMap;

/// What `[scopes]` and `[defaults]` of all files say.
#[derive(Default)]
pub(in crate::config) struct Shared {
    scopes: BTreeMap<ScopeName, DeclaredScope>,
    pub(super) defaults: Defaults,
    /// Where each name of `[defaults]` stands.
    pub(super) default_places: BTreeMap<&'static str, Place>,
    /// A scope may be declared that could not be read.
    pub(in crate::config) scopes_unsound: bool,
    /// A default may be set that could not be read.
    pub(super) defaults_unsound: bool,
    /// An upstream may be there that could not be read.
    pub(super) upstreams_unsound: bool,
}

struct DeclaredScope {
    place: Place,
    includes: Vec<(ScopeName, Place)>,
}

/// Reads `[scopes]` and `[defaults]` of a file.
pub(in crate::config) fn shared(
    root: &mut Table<'_>,
    into: &mut Shared,
    headers: &mut HeaderReader<'_, '_>,
    desk: &mut Desk,
) {
    for broken in root.file.broken {
        match broken.table.as_str() {
            "scopes" => into.scopes_unsound = true,
            "defaults" => into.defaults_unsound = true,
            "upstreams" => into.upstreams_unsound = true,
            "" => {
                into.scopes_unsound = true;
                into.defaults_unsound = true;
                into.upstreams_unsound = true;
            }
            _ => {}
        }
    }
    if let Some(field) = root.field("scopes") {
        match field.table(desk) {
            Some(table) => scopes(&table, into, desk),
            None => into.scopes_unsound = true,
        }
    }
    if let Some(field) = root.field("defaults") {
        match field.table(desk) {
            Some(table) => defaults(table, into, headers, desk),
            None => into.defaults_unsound = true,
        }
    }
}

impl Shared {
    /// What seems to be undeclared may stand in a file that could not be read: nobody complains of it.
    pub fn nothing_is_missing(&mut self) {
        self.scopes_unsound = true;
        self.defaults_unsound = true;
    }

    /// Where each scope is declared.
    pub fn declared(&self) -> Vec<(ScopeName, Place)> {
        let scopes = self.scopes.iter();
        scopes
            .map(|(name, scope)| (name.clone(), scope.place.clone()))
            .collect()
    }

    /// The declared scopes, closed over inclusion. What does not hold together is reported and left out.
    pub fn close_scopes(&self, desk: &mut Desk) -> Scopes {
        let names: Vec<&str> = self.scopes.keys().map(ScopeName::as_str).collect();
        let mut declared = BTreeMap::new();
        for (name, scope) in &self.scopes {
            let mut includes = Vec::new();
            for (other, place) in &scope.includes {
                if self.scopes.contains_key(other) {
                    includes.push(other.clone());
                } else if !self.scopes_unsound {
                    desk.error(
                        place.clone(),
                        undeclared(other.as_str(), nearest(other.as_str(), &names)),
                    );
                }
            }
            declared.insert(name.clone(), includes);
        }
        loop {
            match Scopes::new(&declared) {
                Ok(scopes) => return scopes,
                Err(error) => {
                    let (ScopeError::Circle { scope } | ScopeError::Undeclared { scope, .. }) =
                        &error;
                    desk.error(
                        self.scopes[scope].place.clone(),
                        format!("{error}, directly or around a circle"),
                    );
                    // Ends, since each round leaves one scope fewer that includes something.
                    declared.insert(scope.clone(), Vec::new());
                }
            }
        }
    }

    /// Checks the default upstream once, where it stands.
    pub fn check_default(&mut self, upstreams: &Upstreams, desk: &mut Desk) {
        if let Some((name, place)) = &self.defaults.upstream
            && upstreams.find(name).is_none()
        {
            if !self.upstreams_unsound {
                desk.error(place.clone(), no_upstream(name, upstreams));
            }
            self.defaults.upstream = None;
            self.defaults_unsound = true;
        }
    }
}

fn scopes(table: &Table<'_>, into: &mut Shared, desk: &mut Desk) {
    for (text, item) in table.entries() {
        let place = item.key_place();
        let includes = included(&item, desk);
        let name = match ScopeName::parse(text) {
            Ok(name) => name,
            Err(error) => {
                desk.error(place, error.to_string());
                into.scopes_unsound = true;
                continue;
            }
        };
        if text == "anyone" {
            desk.error(
                place,
                "`anyone` is what `[[expect]]` calls a request without a key; expected another name",
            );
            continue;
        }
        match into.scopes.get(&name) {
            Some(first) => desk.report(
                Problem::error(place, format!("the scope `{name}` is declared twice"))
                    .related(first.place.clone(), "the first stands here"),
            ),
            None => {
                into.scopes.insert(name, DeclaredScope { place, includes });
            }
        }
    }
}

fn included(item: &Item<'_>, desk: &mut Desk) -> Vec<(ScopeName, Place)> {
    const EXPECTED: &str = "a list of the scopes that it includes, such as [\"authOnly\"] or []";
    let items = item.list(desk, EXPECTED).unwrap_or_default();
    scope_names(&items, desk)
}

pub(super) fn scope_names(items: &[Item<'_>], desk: &mut Desk) -> Vec<(ScopeName, Place)> {
    items
        .iter()
        .filter_map(|item| {
            let name = item.parse(desk, "a scope's name", ScopeName::parse)?;
            Some((name, item.place()))
        })
        .collect()
}

pub(super) fn undeclared(name: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("the scope `{name}` is not declared; did you mean `{near}`?"),
        None => format!("the scope `{name}` is not declared in `[scopes]`"),
    }
}

pub(super) fn no_upstream(name: &str, upstreams: &Upstreams) -> String {
    match nearest(name, &upstreams.names()) {
        Some(near) => format!("there is no upstream `{name}`; did you mean `{near}`?"),
        None => {
            // A dot would begin a table in the table.
            let key = match name.contains('.') {
                true => format!("\"{name}\""),
                false => name.to_owned(),
            };
            format!(
                "there is no upstream `{name}`: expected a table `[upstreams.{key}]` in the main file"
            )
        }
    }
}
