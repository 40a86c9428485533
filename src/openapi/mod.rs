//! From an OpenAPI document to a first policy: its text, and what could not be said in it. Nothing here does I/O.
//!
//! For the operator who has a description of the API and no policy yet. The security requirements become scopes and
//! routes, and expectations that test what was read. What this module is not for: keeping a policy in step with a document,
//! or knowing what a document means beyond who may call what.
//!
//! The first promise holds here, too: nothing is opened wider than the document says. What the policy language cannot say,
//! what the document says in two ways, what falls between two paths is closed, and told.
//!
//! One operation walked through:
//!
//! ```yaml
//! openapi: 3.1.0
//! servers: [{url: https://api.example.com/v1}]
//! security: [{key: []}]
//! paths:
//!   /users/{user.id}:
//!     delete: {operationId: deleteUser, security: [{oauth: [users, admin]}]}
//! ```
//!
//! 1. `yaml` (or `json`) makes a tree of it in which no key stands twice, with the line of each value.
//! 2. `document` takes what decides about access: by `servers` the prefix `/v1`; by `template` the pattern
//!    `/users/{user_id}`; by `access` that *users* and *admin* of *oauth* are needed together.
//! 3. `table` puts operations of one pattern together, `overlap` closes what patterns would open of one another.
//! 4. `scopes` gives a scope to each thing that is asked for: here `users_and_admin`, since a key has one scope.
//! 5. `write` writes `path = "/users/{user_id}"`, `methods = ["DELETE"]`, `scope = "users_and_admin"`, and `expect` that
//!    `DELETE /v1/users/1` is for keys of that scope and of `fullAccess`, and for no one else.

mod access;
mod document;
mod expect;
mod head;
mod item;
mod json;
mod known;
mod node;
mod overlap;
mod prefixes;
mod reference;
mod scopes;
mod servers;
mod table;
mod template;
mod text;
mod tree;
mod write;
mod yaml;

pub use node::{Fault, Spot, Where};

use crate::key::ScopeName;
use access::{Access, Grant};
use document::{Document, Operation, PathItem};
use node::{Cursor, Node};
use scopes::Scopes;
use std::collections::BTreeSet;
use table::{Ends, with_head};
use tree::Tree;

/// How a document is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Json,
    Yaml,
}

/// What is to be made of a document.
#[derive(Clone, Debug)]
pub struct Options<'o> {
    /// What the document is called in the policy's first lines.
    pub name: &'o str,
    /// Where the routes lead.
    pub upstream: &'o str,
    /// Who may use what the document says nothing of.
    pub scope: &'o ScopeName,
    /// What stands before each path, in place of what the document says; as [`prefix`] gives it.
    pub prefixes: &'o [String],
    /// Paths that the gateway keeps to itself.
    pub management: &'o [&'o str],
}

/// A policy that was made of a document.
#[derive(Clone, Debug)]
pub struct Imported {
    /// A whole file of routes.
    pub text: String,
    /// What is to be known beside it.
    pub notes: Vec<Note>,
    /// How many operations there are in the policy.
    pub operations: usize,
    /// How many of these anyone may use, and the first of them.
    pub public: (usize, Vec<String>),
    /// How many of these the document says nothing of.
    pub unsaid: usize,
}

/// Something to be known about a policy that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    pub place: Option<Where>,
    /// Lower case, no full stop.
    pub what: String,
}

impl Note {
    fn at(place: &Where, what: impl Into<String>) -> Self {
        Note {
            place: Some(place.clone()),
            what: what.into(),
        }
    }
}

/// A prefix as an operator writes it: `/v1`, and `/` for none.
///
/// # Errors
/// A sentence, when it is none.
pub fn prefix(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err("expected a path that begins with `/`, such as /v1".to_owned());
    }
    servers::prefix(text)
}

/// Makes a policy of a document.
///
/// # Errors
/// All that keeps the document from being read in one way.
pub fn import(text: &str, form: Form, options: &Options<'_>) -> Result<Imported, Vec<Fault>> {
    let root = parsed(text, form).map_err(|fault| vec![fault])?;
    let root = Cursor::root(&root);
    let mut document = document::read(&root, options.prefixes)?;
    let one = |what: String| vec![root.fault(what)];
    share(&mut document, options.scope);
    let elsewhere = elsewhere(&mut document).ok_or_else(|| {
        one(format!(
            "the servers of paths and operations put them in more than {} places; say with `--prefix` what stands before each path, without these servers",
            document::OPERATIONS
        ))
    })?;
    let (odd, mut ends) = sorted(&mut document, options);
    for end in &mut ends.ends {
        with_head(&mut end.methods);
        if end.methods.len() > item::METHODS + 1 {
            return Err(one(format!(
                "{} has more than {} methods, counted over all paths that are this one by other names",
                text::plain(&end.text, 100),
                item::METHODS
            )));
        }
    }
    prefixes::are_apart(&document.prefixes, &ends.ends, &odd).map_err(one)?;
    let odd: Vec<&PathItem> = odd.iter().chain(&elsewhere).collect();
    let ambiguous = overlap::close(&mut ends, &odd).map_err(|overlap::Entangled| {
        one(
            "the paths overlap too often to be held against one another; import it in parts, and merge their `[scopes]` and `[defaults]` by hand: a policy has each once"
                .to_owned(),
        )
    })?;
    let open: Vec<&Access> = (ends.ends.iter())
        .flat_map(|end| &end.methods)
        .map(|taken| &taken.access)
        .filter(|access| access.is_open())
        .collect();
    if open.is_empty() {
        let mut faults = one("nothing in the document can be opened by a policy".to_owned());
        faults.extend(document.left_out.iter().map(|left| Fault {
            place: left.place.clone(),
            what: format!("{} is left out: {}", left.what, left.why),
        }));
        return Err(faults);
    }
    let scopes = Scopes::of(open.into_iter(), options.scope).ok_or_else(|| {
        one(format!(
            "the document asks for more than {} different things",
            scopes::MOST
        ))
    })?;
    let mut imported = write::policy(&document, &ends, &scopes, options);
    imported.notes = notes(document, ambiguous);
    Ok(imported)
}

fn parsed(text: &str, form: Form) -> Result<Node, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match form {
        Form::Json => json::read(text),
        Form::Yaml => yaml::read(text),
    }
}

/// What is said of nothing is said of a scope of the document, where the operator names one.
fn share(document: &mut Document, scope: &ScopeName) {
    if scope.as_str() == scopes::FULL {
        return;
    }
    let operations = document.items.iter().flat_map(|item| &item.operations);
    let mut bearers = BTreeSet::new();
    for operation in operations {
        if let Access::AnyOf(alternatives) = &operation.access {
            let grants = alternatives.iter().flatten();
            bearers.extend(grants.filter(|grant| match grant {
                Grant::Unsaid => false,
                Grant::Scheme(name) | Grant::Scope { scope: name, .. } => **name == *scope.as_str(),
            }));
        }
    }
    let bearers: Vec<Grant> = bearers.into_iter().cloned().collect();
    let [bearer] = &bearers[..] else { return };
    let shared = Access::AnyOf(BTreeSet::from([BTreeSet::from([bearer.clone()])]));
    let unsaid = Access::unsaid();
    let operations = document
        .items
        .iter_mut()
        .flat_map(|item| &mut item.operations);
    for operation in operations.filter(|operation| operation.access == unsaid) {
        operation.access = shared.clone();
    }
}

/// Takes out the operations that are behind other prefixes than those of the document, each path as it is seen from there: it
/// has no route, and what is open must not let its requests in. A path that has no other operations is nowhere else.
///
/// `None`: they are in too many places.
fn elsewhere(document: &mut Document) -> Option<Vec<PathItem>> {
    let mut places = document::OPERATIONS;
    let told = document.prefixes.iter().map(String::as_str);
    let own = document.own_prefixes.iter().map(String::as_str);
    let bases: BTreeSet<&str> = told.chain(own).collect();
    let mut elsewhere = Vec::new();
    document.items.retain_mut(|item| {
        let (gone, left): (Vec<Operation>, Vec<Operation>) = std::mem::take(&mut item.operations)
            .into_iter()
            .partition(|operation| operation.elsewhere.is_some());
        item.operations = left;
        let prefixes: BTreeSet<String> = (gone.iter())
            .map(|operation| &operation.elsewhere)
            .chain([&item.elsewhere])
            .flat_map(|own| own.iter().flat_map(|own| own.iter().cloned()))
            .collect();
        if prefixes.is_empty() {
            return true;
        }
        for prefix in prefixes {
            places = places.saturating_sub(bases.len() * (1 + prefix.len() / 16));
            if places == 0 {
                return false;
            }
            let has = |operation: &&Operation| {
                let own = operation.elsewhere.as_ref();
                own.is_some_and(|own| own.contains(&prefix))
            };
            let operations: Vec<Operation> = gone.iter().filter(has).cloned().collect();
            for template in prefixes::seen_from(&bases, &prefix, &item.template) {
                places = places.saturating_sub(1 + operations.len());
                elsewhere.push(PathItem {
                    path: item.path.clone(),
                    place: item.place.clone(),
                    template,
                    operations: operations.clone(),
                    elsewhere: item.elsewhere.clone(),
                });
            }
        }
        !item.operations.is_empty()
    });
    (places > 0).then_some(elsewhere)
}

/// Tells paths that have no pattern from those that have; those of the management API are left out.
fn sorted(document: &mut Document, options: &Options<'_>) -> (Vec<PathItem>, Ends) {
    let mut odd = Vec::new();
    let mut managed = Vec::new();
    let mut ends = Ends::default();
    for item in std::mem::take(&mut document.items) {
        let at_management =
            prefixes::managed(&item.template, &document.prefixes, options.management);
        if let Some(path) = at_management {
            managed.push((path, item));
            continue;
        }
        if let Some(why) = &item.template.odd {
            for operation in &item.operations {
                let what = format!("{} {}", operation.method, item.path);
                document.leave_out(what, &operation.place, why.clone());
            }
            odd.push(item);
            continue;
        }
        for clash in ends.add(&item.template, &item.operations) {
            let what = format!("{} {}", clash.method, item.path);
            let before = match clash.before {
                Some(path) if path != item.path => format!("no request can tell it from {path}"),
                _ => "the path has this method twice".to_owned(),
            };
            let place = &item.place;
            if clash.same {
                let what = format!("{what}: {before}, and both ask for the same");
                document.notes.push(Note::at(place, what));
            } else {
                let why = format!("{before}, and they ask for different things: both are closed");
                document.leave_out(what, place, why);
            }
        }
    }
    managed_are_told(document, &managed, &ends);
    (odd, ends)
}

/// Leaves out paths of the management API, and says what would open them if the gateway served that elsewhere.
fn managed_are_told(document: &mut Document, managed: &[(&str, PathItem)], ends: &Ends) {
    let tree = Tree::of(&ends.ends);
    let mut steps = 1_000_000;
    for (path, item) in managed {
        let template = &item.template;
        let others = tree.overlapping(&template.shape, template.open_ended, &mut steps);
        let opens = |end: &&table::End| {
            let mut methods = end.methods.iter();
            methods.any(|taken| {
                let own = item
                    .operations
                    .iter()
                    .find(|own| own.method == taken.method);
                taken.access.is_open() && own.is_none_or(|own| own.access != taken.access)
            })
        };
        let opener = match &others {
            Some(others) => (others.iter().map(|other| &ends.ends[*other]))
                .find(opens)
                .map(|end| text::plain(&end.text, 100)),
            None => Some("another path".to_owned()),
        };
        let mut why = format!(
            "{path} is where the gateway serves its management API; see `[management] paths`"
        );
        if let Some(opener) = opener {
            why.push_str(&format!(
                ", and if you change these, {opener} opens it to others: give it a route of its own then"
            ));
        }
        for operation in &item.operations {
            let what = format!("{} {}", operation.method, item.path);
            document.leave_out(what, &operation.place, why.clone());
        }
    }
}

fn notes(document: Document, ambiguous: Vec<overlap::Ambiguous>) -> Vec<Note> {
    let mut notes = document.notes;
    let left_out = document.left_out.into_iter();
    notes.extend(left_out.map(|left| {
        let what = format!("{} is left out: {}", left.what, left.why);
        Note::at(&left.place, what)
    }));
    notes.extend(ambiguous.into_iter().map(|one| {
        let overlap::Ambiguous {
            method,
            pattern,
            of,
        } = one;
        let of = of.map(|path| text::plain(&path, 120));
        let what = format!(
            "{method} {pattern} is closed: {} and {} are both for it, and do not say the same",
            of[0], of[1]
        );
        Note { place: None, what }
    }));
    notes
}
