//! The tables that say who may call what: `prefix`, `[scopes]`, `[defaults]`, `[[routes]]`, `[[expect]]`.
//!
//! They may stand in every file, the main one included. A file is read in two steps, since `[scopes]` and `[defaults]`
//! hold for all files: [`shared`] gathers those, [`file_routes`] then reads the routes with them at hand. A route that
//! is faulty is left out, so that the policy of the others can still be judged.

use super::allowance::{self, Own};
use super::balancing;
use super::fields::{Desk, Item, Table, nearest};
use super::headers::HeaderReader;
use super::problem::Problem;
use super::process::{path_start, route_cors, route_method, size, time};
use super::syntax::Broken;
use super::upstreams::Upstreams;
use super::value::Unreadable;
use crate::http::edits::HeaderEdits;
use crate::key::{ScopeError, ScopeName, Scopes};
use crate::policy::{
    AccessSpec, Exceptions, Expectation, HostPattern, Maintenance, Methods, Place, Rate, Retries,
    RouteSettings, RouteSpec, Who,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What `[scopes]` and `[defaults]` of all files say.
#[derive(Default)]
pub(super) struct Shared {
    scopes: BTreeMap<ScopeName, DeclaredScope>,
    defaults: Defaults,
    /// Where each name of `[defaults]` stands.
    default_places: BTreeMap<&'static str, Place>,
    /// A scope may be declared that could not be read.
    pub(super) scopes_unsound: bool,
    /// A default may be set that could not be read.
    defaults_unsound: bool,
    /// An upstream may be there that could not be read.
    pub(super) upstreams_unsound: bool,
}

struct DeclaredScope {
    place: Place,
    includes: Vec<(ScopeName, Place)>,
}

#[derive(Default)]
struct Defaults {
    upstream: Option<(String, Place)>,
    body_bytes: Option<u64>,
    timeouts: RouteTimeouts,
    retries: Option<Retries>,
    rate: Option<Rate>,
    streams: Option<u32>,
    headers: Option<Arc<HeaderEdits>>,
    maintenance: Option<Arc<Maintenance>>,
}

#[derive(Clone, Copy, Default)]
struct RouteTimeouts {
    connect: Option<Duration>,
    response: Option<Duration>,
    body: Option<Duration>,
    stream: Option<Duration>,
}

/// Reads `[scopes]` and `[defaults]` of a file.
pub(super) fn shared(
    root: &mut Table<'_>,
    into: &mut Shared,
    headers: &mut HeaderReader<'_, '_>,
    desk: &mut Desk,
) {
    for broken in root.file.broken {
        match broken.table.as_str() {
            "scopes" => into.scopes_unsound = true,
            "defaults" => into.defaults_unsound = true,
            "upstreams" => into.upstreams_unsound = true,
            "" => {
                into.scopes_unsound = true;
                into.defaults_unsound = true;
                into.upstreams_unsound = true;
            }
            _ => {}
        }
    }
    if let Some(field) = root.field("scopes") {
        match field.table(desk) {
            Some(table) => scopes(&table, into, desk),
            None => into.scopes_unsound = true,
        }
    }
    if let Some(field) = root.field("defaults") {
        match field.table(desk) {
            Some(table) => defaults(table, into, headers, desk),
            None => into.defaults_unsound = true,
        }
    }
}

fn scopes(table: &Table<'_>, into: &mut Shared, desk: &mut Desk) {
    for (text, item) in table.entries() {
        let place = item.key_place();
        let includes = included(&item, desk);
        let name = match ScopeName::parse(text) {
            Ok(name) => name,
            Err(error) => {
                desk.error(place, error.to_string());
                into.scopes_unsound = true;
                continue;
            }
        };
        if text == "anyone" {
            desk.error(
                place,
                "`anyone` is what `[[expect]]` calls a request without a key; expected another name",
            );
            continue;
        }
        match into.scopes.get(&name) {
            Some(first) => desk.report(
                Problem::error(place, format!("the scope `{name}` is declared twice"))
                    .related(first.place.clone(), "the first stands here"),
            ),
            None => {
                into.scopes.insert(name, DeclaredScope { place, includes });
            }
        }
    }
}

fn included(item: &Item<'_>, desk: &mut Desk) -> Vec<(ScopeName, Place)> {
    const EXPECTED: &str = "a list of the scopes that it includes, such as [\"authOnly\"] or []";
    let items = item.list(desk, EXPECTED).unwrap_or_default();
    scope_names(&items, desk)
}

fn scope_names(items: &[Item<'_>], desk: &mut Desk) -> Vec<(ScopeName, Place)> {
    items
        .iter()
        .filter_map(|item| {
            let name = item.parse(desk, "a scope's name", ScopeName::parse)?;
            Some((name, item.place()))
        })
        .collect()
}

fn defaults(
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

fn edits(
    field: Option<Item<'_>>,
    headers: &mut HeaderReader<'_, '_>,
    desk: &mut Desk,
) -> Option<Arc<HeaderEdits>> {
    field.map(|field| Arc::new(headers.edits(Some(field), desk)))
}

fn body_bytes(table: &mut Table<'_>, desk: &mut Desk) -> Option<u64> {
    size(table, "body_bytes", (0, 1 << 50), desk)
}

fn route_timeouts(mut table: Table<'_>, desk: &mut Desk) -> RouteTimeouts {
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

impl Shared {
    /// What seems to be undeclared may stand in a file that could not be read: nobody complains of it.
    pub(super) fn nothing_is_missing(&mut self) {
        self.scopes_unsound = true;
        self.defaults_unsound = true;
    }

    /// The declared scopes, closed over inclusion. What does not hold together is reported and left out.
    pub(super) fn close_scopes(&self, desk: &mut Desk) -> Scopes {
        let names: Vec<&str> = self.scopes.keys().map(ScopeName::as_str).collect();
        let mut declared = BTreeMap::new();
        for (name, scope) in &self.scopes {
            let mut includes = Vec::new();
            for (other, place) in &scope.includes {
                if self.scopes.contains_key(other) {
                    includes.push(other.clone());
                } else if !self.scopes_unsound {
                    desk.error(
                        place.clone(),
                        undeclared(other.as_str(), nearest(other.as_str(), &names)),
                    );
                }
            }
            declared.insert(name.clone(), includes);
        }
        loop {
            match Scopes::new(&declared) {
                Ok(scopes) => return scopes,
                Err(error) => {
                    let (ScopeError::Circle { scope } | ScopeError::Undeclared { scope, .. }) =
                        &error;
                    desk.error(
                        self.scopes[scope].place.clone(),
                        format!("{error}, directly or around a circle"),
                    );
                    // Ends, since each round leaves one scope fewer that includes something.
                    declared.insert(scope.clone(), Vec::new());
                }
            }
        }
    }

    /// Checks the default upstream once, where it stands.
    pub(super) fn check_default(&mut self, upstreams: &Upstreams, desk: &mut Desk) {
        if let Some((name, place)) = &self.defaults.upstream
            && upstreams.find(name).is_none()
        {
            if !self.upstreams_unsound {
                desk.error(place.clone(), no_upstream(name, upstreams));
            }
            self.defaults.upstream = None;
            self.defaults_unsound = true;
        }
    }
}

fn undeclared(name: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("the scope `{name}` is not declared; did you mean `{near}`?"),
        None => format!("the scope `{name}` is not declared in `[scopes]`"),
    }
}

fn no_upstream(name: &str, upstreams: &Upstreams) -> String {
    match nearest(name, &upstreams.names()) {
        Some(near) => format!("there is no upstream `{name}`; did you mean `{near}`?"),
        None => format!(
            "there is no upstream `{name}`: expected a table `[upstreams.{name}]` in the main file"
        ),
    }
}

/// What all files say of routes.
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
    /// Tables `[[routes]]`, also faulty ones.
    pub(super) written: usize,
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
        }
    }
}

/// What reading routes needs.
pub(super) struct Context<'a> {
    pub(super) shared: &'a Shared,
    pub(super) scopes: &'a Scopes,
    pub(super) upstreams: &'a Upstreams,
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
        rules.written += 1;
        match item.table(desk) {
            Some(table) => route(table, prefixes.as_deref(), context, headers, rules, desk),
            None => rules.all_shapes_known = false,
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
                item.wrong(desk, format!("the prefix `{prefix}` stands twice"));
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

fn route(
    mut table: Table<'_>,
    prefixes: Option<&[String]>,
    context: &Context<'_>,
    headers: &mut HeaderReader<'_, '_>,
    rules: &mut Rules,
    desk: &mut Desk,
) {
    let place = table.place();
    let before = desk.problems.len();
    let paths = paths(&mut table, prefixes, desk);
    let methods = methods(&mut table, desk);
    let host = table
        .field("host")
        .and_then(|f| f.parse(desk, "a host's name", HostPattern::parse));
    let allow = exceptions(&mut table, desk);
    let mut shape_known = !table.is_broken() && desk.problems.len() == before;
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
    rules.all_shapes_known &= shape_known;
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
    if !shape_known {
        rules.shapeless.push(route);
        return;
    }
    if !access_known {
        rules.access_unknown.push(place);
    }
    rules.routes.push(route);
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

fn access(table: &mut Table<'_>, desk: &mut Desk) -> Option<AccessSpec> {
    #[derive(Clone, Copy)]
    enum Word {
        Public,
        Deny,
    }
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
        (None, Some(access)) => {
            match access.word(desk, &[("public", Word::Public), ("deny", Word::Deny)])? {
                Word::Public => Some(AccessSpec::Public),
                Word::Deny => Some(AccessSpec::Deny),
            }
        }
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

fn settings(
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
fn begins_with(path: &str, prefix: &str) -> bool {
    let mut segments = path.split('/');
    prefix.split('/').all(|wanted| {
        segments.next().is_some_and(|segment| {
            let canonical = crate::http::canonical_path;
            segment == wanted
                || canonical(&format!("/{segment}")).is_ok_and(|(path, _)| &path[1..] == wanted)
        })
    })
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

fn expectation(
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
