//! How a route's requests go up: the fields of `[[routes]]` that say nothing of who may call, laid over their defaults.

use super::defaults::Defaults;
use crate::config::allowance::{self, Own};
use crate::config::balancing;
use crate::config::fields::{Desk, Item, Table};
use crate::config::headers::HeaderReader;
use crate::config::process::{route_cors, size, time};
use crate::config::value::Unreadable;
use crate::http::edits::HeaderEdits;
use crate::policy::{AccessSpec, RouteSettings};
use std::sync::Arc;
use std::time::Duration;

pub(super) fn settings(
    table: &mut Table<'_>,
    access: Option<&AccessSpec>,
    defaults: &Defaults,
    desk: &mut Desk,
) -> RouteSettings {
    let strip_prefix = table
        .field("strip_prefix")
        .and_then(|f| f.parse(desk, "a path", segments));
    let add_prefix = table
        .field("add_prefix")
        .and_then(|f| f.parse(desk, "a path", segments));
    let body_bytes = body_bytes(table, desk);
    let own = table
        .field("timeouts")
        .and_then(|f| f.table(desk))
        .map(|t| route_timeouts(t, desk))
        .unwrap_or_default();
    let general = defaults.timeouts;
    let retries = balancing::retries(table, desk);
    let rate = allowance::rate(table, desk);
    let streams = allowance::streams(table, "streams", desk);
    let keyless = matches!(access, Some(AccessSpec::Public | AccessSpec::Deny));
    for (name, is_set) in [
        ("rate", matches!(rate, Some(Own::Is(_)))),
        ("streams", matches!(streams, Some(Own::Is(_)))),
    ] {
        if keyless
            && is_set
            && let Some(field) = table.field(name)
        {
            let message = format!(
                "`{name}` is counted by key, and this route asks for none; expected `scope` beside it"
            );
            desk.error(field.key_place(), message);
        }
    }
    // A default is meant for the routes that it can hold for.
    let counted = (!keyless).then_some(defaults);
    RouteSettings {
        strip_prefix,
        add_prefix,
        body_bytes: body_bytes.or(defaults.body_bytes),
        connect: own.connect.or(general.connect),
        response: own.response.or(general.response),
        body: own.body.or(general.body),
        stream: own.stream.or(general.stream),
        retries: retries.or_else(|| defaults.retries.clone()),
        rate: Own::over(rate, counted.and_then(|d| d.rate)),
        streams: Own::over(streams, counted.and_then(|d| d.streams)),
        headers: Vec::new(),
        cors: route_cors(table, desk),
        maintenance: Own::over(
            allowance::maintenance(table, desk),
            defaults.maintenance.clone(),
        ),
    }
}

#[derive(Clone, Copy, Default)]
pub(super) struct RouteTimeouts {
    pub connect: Option<Duration>,
    pub response: Option<Duration>,
    pub body: Option<Duration>,
    pub stream: Option<Duration>,
}

pub(super) fn route_timeouts(mut table: Table<'_>, desk: &mut Desk) -> RouteTimeouts {
    let found = RouteTimeouts {
        connect: time(&mut table, "connect", desk),
        response: time(&mut table, "response", desk),
        body: time(&mut table, "body", desk),
        stream: time(&mut table, "stream", desk),
    };
    for name in ["head", "drain", "idle"] {
        let message =
            format!("`{name}` is not of a route: it stands in `[timeouts]` of the main file");
        table.misplaced(desk, name, &message);
    }
    table.finish(desk);
    found
}

pub(super) fn body_bytes(table: &mut Table<'_>, desk: &mut Desk) -> Option<u64> {
    size(table, "body_bytes", (0, 1 << 50), desk)
}

pub(super) fn edits(
    field: Option<Item<'_>>,
    headers: &mut HeaderReader<'_, '_>,
    desk: &mut Desk,
) -> Option<Arc<HeaderEdits>> {
    field.map(|field| Arc::new(headers.edits(Some(field), desk)))
}

/// A canonical path of whole segments, without parameters and without a slash at its end.
fn segments(text: &str) -> Result<Arc<str>, Unreadable> {
    match crate::http::canonical_path(text) {
        Ok((path, needs)) if needs.is_none() && path.len() > 1 && !path.ends_with('/') => {
            Ok(Arc::from(path))
        }
        _ => Err(Unreadable(
            "expected whole segments, such as \"/api\": a plain path that begins with `/` and does not end in one"
                .to_owned(),
        )),
    }
}

/// Whether a path pattern begins with these canonical segments.
pub(super) fn begins_with(path: &str, prefix: &str) -> bool {
    let mut segments = path.split('/');
    prefix.split('/').all(|wanted| {
        segments.next().is_some_and(|segment| {
            let canonical = crate::http::canonical_path;
            segment == wanted
                || canonical(&format!("/{segment}")).is_ok_and(|(path, _)| &path[1..] == wanted)
        })
    })
}
