//! One `[[expect]]`: requests, and who may make them; the policy is tested by these when it is loaded.

use super::Context;
use super::shared::{no_upstream, undeclared};
use crate::config::fields::{Desk, Item, Table, nearest};
use crate::config::problem::Problem;
use crate::config::process::route_method;
use crate::config::value::Unreadable;
use crate::key::ScopeName;
use crate::policy::{Expectation, HostPattern, Place, Who};
use http::StatusCode;

const REQUEST: &str = "a method and a path, such as \"GET /v3/users\", or a list of them";
const HOST: &str = "a host's name, or a list of them";

pub(super) fn expectation(
    mut table: Table<'_>,
    context: &Context<'_>,
    desk: &mut Desk,
) -> Option<Expectation> {
    let before = desk.problems.len();
    let place = table.place();
    let name = table
        .field("name")
        .and_then(|f| f.text(desk, "what is tested, in words"));
    let name = name.map(Box::from);
    let requests = match table.field("request") {
        Some(field) => several(&field, desk, REQUEST, request),
        None => {
            table.missing(
                desk,
                format!("an expectation needs `request`: expected {REQUEST}"),
            );
            Vec::new()
        }
    };
    let host = table.field("host");
    let hosts = host.map_or_else(Vec::new, |field| several(&field, desk, HOST, exact_host));
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
    let status = table.field("status").and_then(|field| {
        let code = field.integer(desk, 400, 599)?;
        if deny.is_empty() {
            let message = "`status` is what those in `deny` get, and there is no `deny`";
            desk.error(field.key_place(), message);
        }
        StatusCode::from_u16(u16::try_from(code).ok()?).ok()
    });
    let route = table.field("route").and_then(|field| {
        let text = field.text(desk, "the name of a route, as metrics and logs have it")?;
        Some(Box::from(text))
    });
    let upstream = table.field("upstream").and_then(|field| {
        let text = field.text(desk, "the name of an upstream")?;
        match context.upstreams.find(text) {
            Some(index) => Some((index, Box::from(text))),
            None => {
                if !context.shared.upstreams_unsound {
                    field.wrong(desk, no_upstream(text, context.upstreams));
                }
                None
            }
        }
    });
    table.finish(desk);
    let without_places = |list: Vec<(Who, Place)>| list.into_iter().map(|(who, _)| who).collect();
    (desk.problems.len() == before).then(|| Expectation {
        name,
        requests,
        hosts,
        allow: without_places(allow),
        deny: without_places(deny),
        status,
        route,
        upstream,
        place,
    })
}

/// One text or a list of texts, never empty.
fn several<T>(
    field: &Item<'_>,
    desk: &mut Desk,
    expected: &str,
    read: impl Fn(&str) -> Result<T, Unreadable>,
) -> Vec<T> {
    let Some(items) = field.one_or_list(desk, expected) else {
        return Vec::new();
    };
    if items.is_empty() {
        field.wrong(desk, format!("expected {expected}"));
    }
    let read = |item: &Item<'_>| item.parse(desk, expected, &read);
    items.iter().filter_map(read).collect()
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
