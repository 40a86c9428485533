//! `[upstreams.NAME]`: where permitted requests go, and with which credential of our own.

use super::balancing;
use super::fields::{Desk, Item, Table};
use super::headers::HeaderReader;
use super::process::time;
use super::settings::{
    Balancing, HostRule, Http2, Scheme, Timeouts, UpstreamServer, UpstreamSettings,
};
use super::value;
use crate::http::edits::HeaderEdits;
use crate::policy::Place;
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
    headers: &mut HeaderReader<'_, '_>,
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
        found
            .settings
            .push(Arc::new(upstream(name, &item, general, headers, desk)));
    }
    found
}

fn upstream(
    name: &str,
    item: &Item<'_>,
    general: Timeouts,
    headers: &mut HeaderReader<'_, '_>,
    desk: &mut Desk,
) -> UpstreamSettings {
    let mut found = UpstreamSettings {
        name: Arc::from(name),
        servers: Vec::new(),
        host: HostRule::Upstream,
        forwarded: false,
        headers: HeaderEdits::default(),
        timeouts: general,
        balancing: Balancing::default(),
        tls: None,
        http2: Http2::default(),
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
    found.balancing = balancing::balancing(&mut table, headers.key, desk);
    if let Some(field) = table.field("http2") {
        found.http2 = http2(&field, &found.servers, desk);
    }
    if let Some(forwarded) = table.field("forwarded").and_then(|f| f.boolean(desk)) {
        found.forwarded = forwarded;
    }
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
    found.headers = headers.edits(table.field("headers"), desk);
    found.tls = super::tls::client(&mut table, &found.servers, headers.secrets, desk);
    table.finish(desk);
    found
}

/// `http2`, which has to agree with what the servers' schemes say.
fn http2(field: &Item<'_>, servers: &[UpstreamServer], desk: &mut Desk) -> Http2 {
    let Some(wanted) = field.boolean(desk) else {
        return Http2::default();
    };
    for server in servers {
        match (server.scheme, wanted) {
            (Scheme::Https, _) | (Scheme::Http, false) | (Scheme::H2c, true) => {}
            (Scheme::Http, true) => field.wrong(
                desk,
                "`http2` is about TLS; a server that speaks HTTP/2 in clear text is written \"h2c://host:port\"",
            ),
            (Scheme::H2c, false) => field.wrong(
                desk,
                "`http2 = false` contradicts a server that is written \"h2c:\"; expected \"http:\"",
            ),
        }
    }
    if wanted { Http2::Always } else { Http2::Never }
}
