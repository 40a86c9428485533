//! One `[[expect]]`: a request, and who may make it; the policy is tested by these when it is loaded.

use super::Context;
use super::shared::undeclared;
use crate::config::fields::{Desk, Item, Table, nearest};
use crate::config::problem::Problem;
use crate::config::process::route_method;
use crate::config::value::Unreadable;
use crate::key::ScopeName;
use crate::policy::{Expectation, HostPattern, Place, Who};

pub(super) fn expectation(
    mut table: Table<'_>,
    context: &Context<'_>,
    desk: &mut Desk,
) -> Option<Expectation> {
    let before = desk.problems.len();
    let place = table.place();
    const REQUEST: &str = "a method and a path, such as \"GET /v3/users\"";
    let request = match table.field("request") {
        Some(field) => field.parse(desk, REQUEST, request),
        None => {
            table.missing(desk, format!("an expectation needs `request`: {REQUEST}"));
            None
        }
    };
    let host = table
        .field("host")
        .and_then(|f| f.parse(desk, "a host's name", exact_host));
    let allow_field = table.field("allow");
    let deny_field = table.field("deny");
    if allow_field.is_none() && deny_field.is_none() {
        table.missing(desk, "an expectation needs `allow`, `deny`, or both");
    }
    let allow = who(allow_field, context, desk);
    let deny = who(deny_field, context, desk);
    for (who, place) in &allow {
        if let Some((_, other)) = deny.iter().find(|(other, _)| other == who) {
            desk.report(
                Problem::error(place.clone(), "who is allowed cannot be denied as well")
                    .related(other.clone(), "denied here"),
            );
        }
    }
    table.finish(desk);
    let (method, target) = request?;
    let without_places = |list: Vec<(Who, Place)>| list.into_iter().map(|(who, _)| who).collect();
    (desk.problems.len() == before).then(|| Expectation {
        method,
        target,
        host,
        allow: without_places(allow),
        deny: without_places(deny),
        place,
    })
}

fn request(text: &str) -> Result<(http::Method, String), Unreadable> {
    let wrong = || Unreadable("expected a method and a path, such as \"GET /v3/users\"".to_owned());
    let (method, target) = text.split_once(' ').ok_or_else(wrong)?;
    let target = target.trim_start();
    if !target.starts_with('/') {
        return Err(wrong());
    }
    Ok((route_method(method)?, target.to_owned()))
}

fn exact_host(text: &str) -> Result<String, Unreadable> {
    match HostPattern::parse(text) {
        Ok(HostPattern::Exact(host)) => Ok(host.into()),
        _ => Err(Unreadable(
            "expected a host's name, without a port and without `*`".to_owned(),
        )),
    }
}

fn who(field: Option<Item<'_>>, context: &Context<'_>, desk: &mut Desk) -> Vec<(Who, Place)> {
    const EXPECTED: &str = "a list of scopes, or \"anyone\" for no key";
    let Some(field) = field else {
        return Vec::new();
    };
    let items = field.one_or_list(desk, EXPECTED).unwrap_or_default();
    let mut found = Vec::new();
    for item in items {
        if item.as_text() == Some("anyone") {
            found.push((Who::Anyone, item.place()));
        } else if let Some(name) = item.parse(desk, EXPECTED, ScopeName::parse) {
            if context.scopes.declares(&name) {
                found.push((Who::Scope(name), item.place()));
            } else if !context.shared.scopes_unsound {
                let names: Vec<&str> = context.scopes.names().map(ScopeName::as_str).collect();
                item.wrong(
                    desk,
                    undeclared(name.as_str(), nearest(name.as_str(), &names)),
                );
            }
        }
    }
    found
}
