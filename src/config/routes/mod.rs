//! The tables that say who may call what: `prefix`, `[scopes]`, `[defaults]`, `[[routes]]`, `[[expect]]`.
//!
//! They may stand in every file, the main one included. A file is read in two steps, since `[scopes]` and `[defaults]`
//! hold for all files: [`shared()`] gathers those, [`file_routes`] then reads the routes with them at hand. A route that
//! is faulty is left out, so that the policy of the others can still be judged.
//!
//! `shared` and `defaults` hold for all files, `route` reads one `[[routes]]` with its `settings`, `expect` one `[[expect]]`.

mod defaults;
mod expect;
mod route;
mod settings;
mod shared;

pub(super) use route::ACCESS;
pub(super) use shared::{Shared, shared};

use super::fields::{Desk, Item, Table};
use super::headers::HeaderReader;
use super::syntax::Broken;
use super::upstreams::Upstreams;
use super::value::Unreadable;
use crate::key::Scopes;
use crate::policy::{Expectation, Place, RouteSpec};
use expect::expectation;
use route::route;

/// What all files say of routes.
#[derive(Clone)]
pub(super) struct Rules {
    /// Routes of which is known what they match.
    pub(super) routes: Vec<RouteSpec>,
    /// Those of `routes` of which is not known who may use them.
    pub(super) access_unknown: Vec<Place>,
    /// Routes of which only the paths are known.
    pub(super) shapeless: Vec<RouteSpec>,
    /// Whether every route that is written is in `routes`.
    pub(super) all_shapes_known: bool,
    pub(super) expectations: Vec<Expectation>,
    /// Tables `[[routes]]`, also faulty ones, but for those that are tried.
    pub(super) written: usize,
    pub(super) tried: Tried,
}

/// Routes with `shadow = true`.
#[derive(Clone, Default)]
pub(super) struct Tried {
    /// Those without a fault.
    pub(super) routes: Vec<RouteSpec>,
    /// Where each is written, also faulty ones.
    pub(super) written: Vec<Place>,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            routes: Vec::new(),
            access_unknown: Vec::new(),
            shapeless: Vec::new(),
            all_shapes_known: true,
            expectations: Vec::new(),
            written: 0,
            tried: Tried::default(),
        }
    }
}

/// What reading routes needs.
pub(super) struct Context<'a> {
    pub(super) shared: &'a Shared,
    pub(super) scopes: &'a Scopes,
    pub(super) upstreams: &'a Upstreams,
    /// Whether the files are those of `[shadow]`.
    pub(super) in_shadow: bool,
}

/// Reads `prefix`, `[[routes]]` and `[[expect]]` of a file.
pub(super) fn file_routes(
    root: &mut Table<'_>,
    context: &Context<'_>,
    headers: &mut HeaderReader<'_, '_>,
    rules: &mut Rules,
    desk: &mut Desk,
) {
    let prefixes = prefixes(root, desk);
    for item in tables(root, "routes", desk) {
        match item.table(desk) {
            Some(table) => route(table, prefixes.as_deref(), context, headers, rules, desk),
            None => {
                rules.written += 1;
                rules.all_shapes_known = false;
            }
        }
    }
    // What could not be read may hold a route.
    let lost = |b: &&Broken| matches!(b.table.as_str(), "" | "routes" | "prefix");
    let lost = root.file.broken.iter().filter(lost).count();
    rules.written += lost;
    rules.all_shapes_known &= lost == 0;
    for item in tables(root, "expect", desk) {
        if let Some(table) = item.table(desk)
            && let Some(expectation) = expectation(table, context, desk)
        {
            rules.expectations.push(expectation);
        }
    }
}

fn tables<'a>(root: &mut Table<'a>, name: &'static str, desk: &mut Desk) -> Vec<Item<'a>> {
    root.field(name)
        .and_then(|f| f.list(desk, &format!("tables, each headed `[[{name}]]`")))
        .unwrap_or_default()
}

/// The prefixes of a file; `None` if they could not be read, so that its paths cannot be judged.
fn prefixes(root: &mut Table<'_>, desk: &mut Desk) -> Option<Vec<String>> {
    let Some(field) = root.field("prefix") else {
        return Some(vec![String::new()]);
    };
    let items = field.one_or_list(desk, "a path such as \"/v3\", or a list of them")?;
    if items.is_empty() {
        field.wrong(desk, "`prefix` is empty; leave it out if there is none");
        return None;
    }
    let mut prefixes = Vec::new();
    let mut sound = true;
    for item in items {
        match item.parse(desk, "a path", prefix) {
            Some(prefix) if prefixes.contains(&prefix) => {
                item.wrong(
                    desk,
                    format!("the prefix `{prefix}` stands twice; expected it once"),
                );
            }
            Some(prefix) => prefixes.push(prefix),
            None => sound = false,
        }
    }
    sound.then_some(prefixes)
}

/// Whole segments with a slash before them and none at the end; nothing at all is fine beside others.
fn prefix(text: &str) -> Result<String, Unreadable> {
    if text.is_empty() || (text.starts_with('/') && !text.ends_with('/')) {
        Ok(text.to_owned())
    } else {
        Err(Unreadable(
            "expected a path that begins with `/` and does not end in one, such as \"/v3\""
                .to_owned(),
        ))
    }
}
