//! One `[[routes]]`: what it matches, who may use it, where it leads.
//!
//! A fault is reported where it stands and the rest is read on. What is certain of a faulty route is kept apart from what
//! is whole, so that the policy of the others can still be judged.

use super::settings::{begins_with, edits, settings};
use super::shared::{no_upstream, scope_names};
use super::{Context, Rules};
use crate::config::fields::{Desk, Table};
use crate::config::headers::HeaderReader;
use crate::config::problem::Problem;
use crate::config::process::{path_start, route_method};
use crate::config::value::Unreadable;
use crate::policy::{AccessSpec, Exceptions, HostPattern, Methods, Place, RouteSpec};
use std::sync::Arc;

pub(super) fn route(
    mut table: Table<'_>,
    prefixes: Option<&[String]>,
    context: &Context<'_>,
    headers: &mut HeaderReader<'_, '_>,
    rules: &mut Rules,
    desk: &mut Desk,
) {
    let place = table.place();
    let faultless = desk.problems.len();
    let is_tried = is_tried(&mut table, context, desk);
    let paths = paths(&mut table, prefixes, desk);
    let methods = methods(&mut table, desk);
    let host = table
        .field("host")
        .and_then(|f| f.parse(desk, "a host's name", HostPattern::parse));
    let allow = exceptions(&mut table, desk);
    let mut shape_known = !table.is_broken() && desk.problems.len() == faultless;
    let access = access(&mut table, desk);
    let name = table
        .field("name")
        .and_then(|f| f.parse(desk, "a name", route_name));
    let denied = matches!(access, Some(AccessSpec::Deny));
    let upstream = upstream(&mut table, denied, context, desk);
    let mut settings = settings(&mut table, access.as_ref(), &context.shared.defaults, desk);
    let own = edits(table.field("headers"), headers, desk);
    settings.headers = context
        .shared
        .defaults
        .headers
        .iter()
        .cloned()
        .chain(own)
        .collect();
    if let (Some(paths), Some(prefix)) = (&paths, &settings.strip_prefix)
        && !paths.iter().any(|(path, _)| begins_with(path, prefix))
        && let Some(field) = table.field("strip_prefix")
    {
        let message = format!(
            "`strip_prefix` takes nothing off: expected segments that a path of this route begins with, as `{}` does",
            paths[0].0
        );
        field.wrong(desk, message);
    }
    // An unknown field may be a misspelt part of the shape.
    let before = desk.problems.len();
    table.finish(desk);
    shape_known &= desk.problems.len() == before;
    if is_tried {
        rules.tried.written.push(place.clone());
    } else {
        rules.written += 1;
        rules.all_shapes_known &= shape_known;
    }
    let Some(paths) = paths else {
        return;
    };
    let access_known = access.is_some();
    let route = RouteSpec {
        paths,
        methods,
        host,
        // What has a fault is never used; the rest of the policy is judged beside it.
        access: access.unwrap_or(AccessSpec::Deny),
        name,
        upstream: upstream.unwrap_or(0),
        allow,
        settings,
        place: place.clone(),
    };
    if is_tried {
        // One with a fault is tried with nothing: what is wrong with it is said already.
        if desk.problems.len() == faultless {
            rules.tried.routes.push(route);
        }
        return;
    }
    if !shape_known {
        rules.shapeless.push(route);
        return;
    }
    if !access_known {
        rules.access_unknown.push(place);
    }
    rules.routes.push(route);
}

/// Whether the route is not in force, but laid over those that are to see what it would do.
fn is_tried(table: &mut Table<'_>, context: &Context<'_>, desk: &mut Desk) -> bool {
    let Some(field) = table.field("shadow") else {
        return false;
    };
    if context.in_shadow {
        let message = "this file is one of `[shadow] include`: all its routes are tried, and none says `shadow`";
        desk.error(field.key_place(), message);
        return false;
    }
    field.boolean(desk).unwrap_or(false)
}

fn paths(
    table: &mut Table<'_>,
    prefixes: Option<&[String]>,
    desk: &mut Desk,
) -> Option<Vec<(String, Place)>> {
    const EXPECTED: &str = "a path such as \"/users/{uid}\", or a list of them";
    let Some(field) = table.field("path") else {
        table.missing(desk, format!("a route needs `path`: expected {EXPECTED}"));
        return None;
    };
    let items = field.one_or_list(desk, EXPECTED)?;
    if items.is_empty() {
        field.wrong(desk, "`path` is empty; expected at least one path");
        return None;
    }
    let mut paths = Vec::new();
    for item in items {
        let path = item.parse(desk, "a path", path_start);
        for prefix in prefixes.unwrap_or_default() {
            paths.extend(
                path.as_ref()
                    .map(|p| (format!("{prefix}{p}"), item.place())),
            );
        }
    }
    (!paths.is_empty()).then_some(paths)
}

fn methods(table: &mut Table<'_>, desk: &mut Desk) -> Methods {
    const EXPECTED: &str = "a list of methods such as [\"GET\", \"POST\"]";
    let Some(field) = table.field("methods") else {
        return Methods::Default;
    };
    let Some(items) = field.list(desk, EXPECTED) else {
        return Methods::Default;
    };
    if items.is_empty() {
        field.wrong(desk, "`methods` is empty; leave it out for the usual seven");
    }
    let mut methods = Vec::new();
    for item in items {
        match item.parse(desk, "a method", route_method) {
            Some(method) if methods.contains(&method) => {
                item.wrong(desk, format!("the method {method} stands twice"));
            }
            found => methods.extend(found),
        }
    }
    Methods::Named(methods)
}

/// A word of `access`.
#[derive(Clone, Copy)]
pub(in crate::config) enum Word {
    Public,
    Deny,
}

/// Words of `access`.
pub(in crate::config) const ACCESS: [(&str, Word); 2] =
    [("public", Word::Public), ("deny", Word::Deny)];

fn access(table: &mut Table<'_>, desk: &mut Desk) -> Option<AccessSpec> {
    let scope = table.field("scope");
    let access = table.field("access");
    match (scope, access) {
        (Some(scope), Some(access)) => {
            desk.report(
                Problem::error(
                    access.key_place(),
                    "a route has either `scope` or `access`, not both",
                )
                .related(scope.key_place(), "the `scope` stands here"),
            );
            None
        }
        (Some(scope), None) => {
            let items = scope.one_or_list(desk, "a scope's name, or a list of them")?;
            if items.is_empty() {
                scope.wrong(
                    desk,
                    "`scope` is empty; `access = \"deny\"` closes a route for everyone",
                );
            }
            let names = scope_names(&items, desk);
            (!names.is_empty() && names.len() == items.len()).then_some(AccessSpec::AnyOf(names))
        }
        (None, Some(access)) => match access.word(desk, &ACCESS)? {
            Word::Public => Some(AccessSpec::Public),
            Word::Deny => Some(AccessSpec::Deny),
        },
        (None, None) => {
            table.missing(
                desk,
                "a route says who may call it: expected `scope`, or `access = \"public\"` or \"deny\"",
            );
            None
        }
    }
}

fn upstream(
    table: &mut Table<'_>,
    denied: bool,
    context: &Context<'_>,
    desk: &mut Desk,
) -> Option<usize> {
    let Context {
        shared, upstreams, ..
    } = context;
    let Some(field) = table.field("upstream") else {
        let default = shared.defaults.upstream.as_ref();
        let found = default.and_then(|(name, _)| upstreams.find(name));
        if found.is_some() || denied {
            // A denied route leads nowhere; what stands here is never asked for.
            return Some(found.unwrap_or(0));
        }
        if !shared.defaults_unsound {
            table.missing(
                desk,
                "this route leads nowhere: expected `upstream`, here or in `[defaults]`",
            );
        }
        return None;
    };
    let name = field.text(desk, "the name of an upstream")?;
    let found = upstreams.find(name);
    if found.is_none() && !shared.upstreams_unsound {
        field.wrong(desk, no_upstream(name, upstreams));
    }
    found
}

fn exceptions(table: &mut Table<'_>, desk: &mut Desk) -> Exceptions {
    const EXPECTED: &str = "a list of exceptions such as [\"encoded-slash\"]";
    let mut found = Exceptions::NONE;
    if let Some(field) = table.field("allow") {
        for item in field.list(desk, EXPECTED).unwrap_or_default() {
            if let Some(exception) = item.word(desk, &Exceptions::NAMES) {
                found = found.with(exception);
            }
        }
    }
    found
}

fn route_name(text: &str) -> Result<Arc<str>, Unreadable> {
    let fine = (1..=100).contains(&text.len()) && text.bytes().all(|b| (0x20..0x7f).contains(&b));
    if fine && text.trim() == text {
        Ok(Arc::from(text))
    } else {
        Err(Unreadable(
            "expected a name of 1 to 100 plain ASCII characters".to_owned(),
        ))
    }
}
