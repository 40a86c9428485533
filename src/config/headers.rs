//! `headers` of an upstream and of a route: what is set, added and removed in requests and in answers.
//!
//! ```toml
//! headers.set     = { apikey = "${env:UPSTREAM_KEY}" }      # the same as headers.request.set
//! headers.request  = { set = { X-Account = "${key.name}" }, add = { X-Tag = "a" }, remove = ["Cookie"] }
//! headers.response = { set = { Cache-Control = "no-store" }, remove = ["Server"] }
//! ```

use super::fields::{Desk, Item, Table};
use super::problem::Problem;
use super::process::is_framing;
use super::secret::SecretReader;
use crate::http::edits::{Edits, HeaderEdits, Template};
use crate::policy::Place;
use http::HeaderName;
use std::collections::BTreeMap;

/// Reads `headers`.
pub(super) struct HeaderReader<'a, 'd> {
    pub(super) secrets: &'a mut SecretReader<'d>,
    /// The header that carries the key.
    pub(super) key: &'a HeaderName,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Response,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Set,
    Add,
    Remove,
}

impl Act {
    fn done(self) -> &'static str {
        match self {
            Act::Set => "set",
            Act::Add => "added",
            Act::Remove => "removed",
        }
    }
}

/// What each name of one direction is there for, and where it says so.
type Names = BTreeMap<String, (Act, Place)>;

impl HeaderReader<'_, '_> {
    /// What this field says; without a fault where it is not there.
    pub(super) fn edits(&mut self, field: Option<Item<'_>>, desk: &mut Desk) -> HeaderEdits {
        let mut found = HeaderEdits::default();
        let Some(field) = field else { return found };
        // Whatever is wrong with it: what stands here may be a credential.
        field.hide();
        let Some(mut headers) = field.table(desk) else {
            return found;
        };
        let mut of_requests = Names::new();
        if let Some(field) = headers.field("set") {
            let (into, names) = (&mut found.request, &mut of_requests);
            self.values(&field, (Direction::Request, Act::Set), into, names, desk);
        }
        for (name, direction, into, names) in [
            (
                "request",
                Direction::Request,
                &mut found.request,
                &mut of_requests,
            ),
            (
                "response",
                Direction::Response,
                &mut found.response,
                &mut Names::new(),
            ),
        ] {
            if let Some(table) = headers.field(name).and_then(|f| f.table(desk)) {
                self.direction(table, direction, into, names, desk);
            }
        }
        headers.finish(desk);
        found
    }

    fn direction(
        &mut self,
        mut table: Table<'_>,
        direction: Direction,
        into: &mut Edits,
        names: &mut Names,
        desk: &mut Desk,
    ) {
        for (name, act) in [("set", Act::Set), ("add", Act::Add)] {
            if let Some(field) = table.field(name) {
                self.values(&field, (direction, act), into, names, desk);
            }
        }
        if let Some(field) = table.field("remove") {
            const EXPECTED: &str = "a list of headers' names such as [\"Server\"]";
            for item in field.list(desk, EXPECTED).unwrap_or_default() {
                let Some(text) = item.raw_text(desk, "a header's name") else {
                    continue;
                };
                let what = (direction, Act::Remove);
                into.remove
                    .extend(self.name(text, &item.place(), what, names, desk));
            }
        }
        table.finish(desk);
    }

    fn values(
        &mut self,
        field: &Item<'_>,
        (direction, act): (Direction, Act),
        into: &mut Edits,
        names: &mut Names,
        desk: &mut Desk,
    ) {
        let Some(table) = field.table(desk) else {
            return;
        };
        for (text, item) in table.entries() {
            let what = (direction, act);
            let Some(name) = self.name(text, &item.key_place(), what, names, desk) else {
                continue;
            };
            if let Some(value) = self.value(&item, direction, desk) {
                match act {
                    Act::Set => into.set.push((name, value)),
                    Act::Add => into.add.push((name, value)),
                    Act::Remove => unreachable!("what is removed has no value"),
                }
            }
        }
    }

    fn name(
        &self,
        text: &str,
        place: &Place,
        (direction, act): (Direction, Act),
        names: &mut Names,
        desk: &mut Desk,
    ) -> Option<HeaderName> {
        let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
            desk.error(place.clone(), "expected a header's name");
            return None;
        };
        if let Some(why) = untouchable(&name, direction, act, self.key) {
            desk.error(place.clone(), format!("`{name}` {why}"));
            return None;
        }
        match names.insert(name.to_string(), (act, place.clone())) {
            None => Some(name),
            Some((before, first)) => {
                let message = if before == act {
                    format!("`{name}` is {} twice", act.done())
                } else {
                    let (before, act) = (before.done(), act.done());
                    format!("`{name}` is {before} and {act}; expected one of the two")
                };
                desk.report(
                    Problem::error(place.clone(), message).related(first, "the first stands here"),
                );
                None
            }
        }
    }

    fn value(
        &mut self,
        item: &Item<'_>,
        direction: Direction,
        desk: &mut Desk,
    ) -> Option<Template> {
        const EXPECTED: &str = "a text, in which `${env:NAME}` and `${file:PATH}` are replaced";
        let text = item.raw_text(desk, EXPECTED)?;
        let (parts, secret) = match self.secrets.parts(text) {
            Ok(read) => read,
            Err(error) => {
                item.wrong(desk, format!("`{}`: {error}", item.name));
                return None;
            }
        };
        if parts.is_empty() {
            item.wrong(desk, format!("`{}` is empty", item.name));
            return None;
        }
        // What a request is given is a credential more often than not, also where it stands in plain text.
        let sensitive = secret || direction == Direction::Request;
        let value = Template::of(parts, sensitive);
        if value.is_err() {
            item.wrong(
                desk,
                format!(
                    "`{}` cannot be a header's value: expected visible characters and blanks, in one line",
                    item.name
                ),
            );
        }
        value.ok()
    }
}

/// Why a header cannot be edited by a configuration. Names are compared as CGI-like servers see them.
fn untouchable(
    name: &HeaderName,
    direction: Direction,
    act: Act,
    key: &HeaderName,
) -> Option<&'static str> {
    let folded = fold(name);
    let text = folded.as_str();
    let request = direction == Direction::Request;
    if text == "host" {
        Some("is set by the upstream's `host`")
    } else if is_framing(&folded)
        || text.starts_with("sec-websocket-")
        || matches!(
            text,
            "proxy-authenticate" | "proxy-authorization" | "http2-settings"
        )
    {
        Some("says how the message is framed, which the gateway decides")
    } else if text.starts_with("x-keygate-")
        || text.starts_with("x-forwarded-")
        || matches!(text, "forwarded" | "x-request-id")
        || (request && text == "via")
    {
        Some("is set by the gateway itself")
    } else if folded == fold(key) {
        match (direction, act) {
            // The upstream's own credential.
            (Direction::Request, Act::Set) => None,
            (Direction::Request, Act::Add | Act::Remove) => Some(
                "carries the client's key, which never goes up; `set` gives the upstream its own",
            ),
            (Direction::Response, _) => Some("carries keys, and no answer does"),
        }
    } else {
        None
    }
}

fn fold(name: &HeaderName) -> HeaderName {
    let fold = |b: u8| if b.is_ascii_alphanumeric() { b } else { b'-' };
    let folded: Vec<u8> = name.as_str().bytes().map(fold).collect();
    HeaderName::from_bytes(&folded).expect("letters, digits and dashes make a header's name")
}
