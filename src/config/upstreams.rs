//! `[upstreams.NAME]`: where permitted requests go, and with which credential of our own.

use super::balancing;
use super::fields::{Desk, Item, Table};
use super::problem::Problem;
use super::process::{is_framing, time};
use super::secret::SecretReader;
use super::settings::{Balancing, HostRule, Timeouts, UpstreamSettings};
use super::value;
use crate::policy::Place;
use http::{HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All upstreams by position, and where each is written.
#[derive(Default)]
pub(super) struct Upstreams {
    pub(super) settings: Vec<Arc<UpstreamSettings>>,
    pub(super) places: Vec<Place>,
}

impl Upstreams {
    /// The position of the upstream of this name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.settings.iter().position(|u| &*u.name == name)
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.settings.iter().map(|u| &*u.name).collect()
    }
}

/// Reads `[upstreams]`. A faulty upstream still has its position, so that routes that name it are not faulted too.
pub(super) fn upstreams(
    root: &mut Table<'_>,
    general: Timeouts,
    key_header: &HeaderName,
    secrets: &mut SecretReader<'_>,
    desk: &mut Desk,
) -> Upstreams {
    let mut found = Upstreams::default();
    let Some(table) = root.field("upstreams").and_then(|f| f.table(desk)) else {
        return found;
    };
    for (name, item) in table.entries() {
        let fine = (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if !fine {
            desk.error(
                item.key_place(),
                "an upstream's name has 1 to 64 letters, digits or `_ - .`",
            );
        }
        found.places.push(item.key_place());
        found.settings.push(Arc::new(upstream(
            name, &item, general, key_header, secrets, desk,
        )));
    }
    found
}

fn upstream(
    name: &str,
    item: &Item<'_>,
    general: Timeouts,
    key_header: &HeaderName,
    secrets: &mut SecretReader<'_>,
    desk: &mut Desk,
) -> UpstreamSettings {
    let mut found = UpstreamSettings {
        name: Arc::from(name),
        servers: Vec::new(),
        host: HostRule::Upstream,
        set: Vec::new(),
        timeouts: general,
        balancing: Balancing::default(),
    };
    let Some(mut table) = item.table(desk) else {
        item.hide();
        return found;
    };
    const SERVERS: &str = "a list of servers such as [\"http://127.0.0.1:9000\"]";
    match table.field("servers") {
        Some(field) => {
            let items = field.one_or_list(desk, SERVERS);
            if items.as_ref().is_some_and(Vec::is_empty) {
                field.wrong(
                    desk,
                    format!("`{}` is empty; expected at least one server", field.name),
                );
            }
            for item in items.unwrap_or_default() {
                found.servers.extend(balancing::server(&item, desk));
            }
        }
        None => table.missing(
            desk,
            format!("`{}` needs `servers`: expected {SERVERS}", table.name),
        ),
    }
    if let Some(field) = table.field("host") {
        match field.as_text() {
            Some("upstream") => found.host = HostRule::Upstream,
            Some("client") => found.host = HostRule::Client,
            _ => {
                let host = field.parse(
                    desk,
                    "\"upstream\", \"client\", or a host name",
                    value::authority,
                );
                found.host = host.map_or(HostRule::Upstream, HostRule::Name);
            }
        }
    }
    found.balancing = balancing::balancing(&mut table, key_header, desk);
    if let Some(mut timeouts) = table.field("timeouts").and_then(|f| f.table(desk)) {
        let t = &mut found.timeouts;
        for (name, place) in [
            ("connect", &mut t.connect),
            ("response", &mut t.response),
            ("body", &mut t.body),
            ("stream", &mut t.stream),
            ("idle", &mut t.idle),
        ] {
            if let Some(time) = time(&mut timeouts, name, desk) {
                *place = time;
            }
        }
        for name in ["head", "drain"] {
            let message = format!(
                "`{name}` is the gateway's own: it stands only in `[timeouts]` of the main file"
            );
            timeouts.misplaced(desk, name, &message);
        }
        timeouts.finish(desk);
    }
    if let Some(field) = table.field("headers") {
        // Whatever is wrong with it: what stands here may be a credential.
        field.hide();
        if let Some(mut headers) = field.table(desk) {
            if let Some(set) = headers.field("set").and_then(|f| f.table(desk)) {
                found.set = set_headers(&set, secrets, desk);
            }
            headers.finish(desk);
        }
    }
    table.finish(desk);
    found
}

fn set_headers(
    table: &Table<'_>,
    secrets: &mut SecretReader<'_>,
    desk: &mut Desk,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut set = Vec::new();
    let mut places = BTreeMap::<String, Place>::new();
    for (text, item) in table.entries() {
        let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
            desk.error(item.key_place(), "expected a header's name");
            continue;
        };
        if let Some(why) = ours(&name) {
            desk.error(item.key_place(), format!("`{name}` {why}"));
            continue;
        }
        if let Some(first) = places.insert(name.to_string(), item.key_place()) {
            desk.report(
                Problem::error(item.key_place(), format!("`{name}` is set twice"))
                    .related(first, "the first stands here"),
            );
            continue;
        }
        let Some(text) = item.raw_text(
            desk,
            "a text, in which `${env:NAME}` and `${file:PATH}` are replaced",
        ) else {
            continue;
        };
        match secrets.expand(text) {
            Err(error) => item.wrong(desk, format!("`{}`: {error}", item.name)),
            Ok(value) if value.is_empty() => {
                item.wrong(desk, format!("`{}` is empty", item.name));
            }
            Ok(value) => match HeaderValue::from_str(&value) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    set.push((name, value));
                }
                Err(_) => item.wrong(
                    desk,
                    format!(
                        "`{}` cannot be a header's value: expected visible characters and blanks, in one line",
                        item.name
                    ),
                ),
            },
        }
    }
    set
}

/// Why a header cannot be set by a configuration.
fn ours(name: &HeaderName) -> Option<&'static str> {
    let text = name.as_str();
    if text == "host" {
        Some("is set by the upstream's `host`")
    } else if is_framing(name) {
        Some("says how the message is framed, which the gateway decides")
    } else if text.starts_with("x-keygate-")
        || text.starts_with("x-forwarded-")
        || matches!(text, "forwarded" | "via" | "x-request-id")
    {
        Some("is set by the gateway itself")
    } else {
        None
    }
}
