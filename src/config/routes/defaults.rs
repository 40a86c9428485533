//! `[defaults]`: what holds for a route that does not say it itself. Each stands once in all files.

use super::settings::{RouteTimeouts, body_bytes, edits, route_timeouts};
use super::shared::Shared;
use crate::config::allowance::{self, Own};
use crate::config::balancing;
use crate::config::fields::{Desk, Table};
use crate::config::headers::HeaderReader;
use crate::config::problem::Problem;
use crate::http::edits::HeaderEdits;
use crate::policy::{Maintenance, Place, Rate, Retries};
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Defaults {
    pub upstream: Option<(String, Place)>,
    pub body_bytes: Option<u64>,
    pub timeouts: RouteTimeouts,
    pub retries: Option<Retries>,
    pub rate: Option<Rate>,
    pub streams: Option<u32>,
    pub headers: Option<Arc<HeaderEdits>>,
    pub maintenance: Option<Arc<Maintenance>>,
}

pub(super) fn defaults(
    mut table: Table<'_>,
    into: &mut Shared,
    headers: &mut HeaderReader<'_, '_>,
    desk: &mut Desk,
) {
    for name in [
        "upstream",
        "body_bytes",
        "timeouts",
        "retries",
        "rate",
        "streams",
        "headers",
        "maintenance",
    ] {
        let Some(field) = table.field(name) else {
            continue;
        };
        if let Some(first) = into.default_places.insert(name, field.key_place()) {
            desk.report(
                Problem::error(
                    field.key_place(),
                    format!("the default `{name}` is set twice; it holds for all files"),
                )
                .related(first, "the first stands here"),
            );
            continue;
        }
        match name {
            "upstream" => {
                let upstream = field.text(desk, "the name of an upstream");
                into.defaults_unsound |= upstream.is_none();
                into.defaults.upstream = upstream.map(|u| (u.to_owned(), field.place()));
            }
            "body_bytes" => into.defaults.body_bytes = body_bytes(&mut table, desk),
            "retries" => into.defaults.retries = balancing::retries(&mut table, desk),
            "rate" => into.defaults.rate = Own::over(allowance::rate(&mut table, desk), None),
            "streams" => {
                let streams = allowance::streams(&mut table, "streams", desk);
                into.defaults.streams = Own::over(streams, None);
            }
            "maintenance" => {
                let maintenance = allowance::maintenance(&mut table, desk);
                into.defaults.maintenance = Own::over(maintenance, None);
            }
            "headers" => into.defaults.headers = edits(Some(field), headers, desk),
            _ => {
                if let Some(timeouts) = field.table(desk) {
                    into.defaults.timeouts = route_timeouts(timeouts, desk);
                }
            }
        }
    }
    for name in ["scope", "access"] {
        table.misplaced(
            desk,
            name,
            "there is no default for who may call: each route says it",
        );
    }
    let general = "what holds for all routes stands in `[cors]` of the main file";
    table.misplaced(desk, "cors", general);
    table.finish(desk);
}
