//! The tables of the main file that say what the process is: from `[log]` to `[cors]`.
//!
//! Each reader takes the table if it is there and answers with meaning; what is absent or faulty has its default, and
//! the fault is on the desk.

use super::allowance::{self, Own};
use super::fields::{Desk, Item, Table};
use super::problem::Problem;
use super::settings::*;
use super::value::{self, Unreadable};
use crate::key::{Reveal, ScopeName};
use crate::policy::{Place, Rate, RouteCors};
use http::{HeaderName, HeaderValue, Method};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What every browser may do with a chat API of this shape, unless `[cors]` says otherwise.
const CORS_METHODS: [&str; 7] = ["OPTIONS", "HEAD", "GET", "POST", "PUT", "PATCH", "DELETE"];
const CORS_HEADERS: [&str; 9] = [
    "apiKey",
    "appId",
    "authToken",
    "onBehalfOf",
    "Content-Type",
    "Accept",
    "Authorization",
    "resource",
    "sdk",
];

/// Words of `log.format`.
pub(super) const LOG_FORMATS: [(&str, LogFormat); 3] = [
    ("auto", LogFormat::Auto),
    ("text", LogFormat::Text),
    ("json", LogFormat::Json),
];

/// Words of `log.access`.
pub(super) const LOG_ACCESS: [(&str, AccessLog); 3] = [
    ("all", AccessLog::All),
    ("refused", AccessLog::Refused),
    ("off", AccessLog::Off),
];

/// Words of `log.level`.
pub(super) const LOG_LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

/// Words of `keys.reveal`.
pub(super) const REVEAL: [(&str, Reveal); 2] = [("always", Reveal::Always), ("once", Reveal::Once)];

/// Words of `reload.widening`.
pub(super) const WIDENING: [(&str, Widening); 2] =
    [("allow", Widening::Allow), ("confirm", Widening::Confirm)];

/// `[log]`.
pub(super) fn log(root: &mut Table<'_>, desk: &mut Desk) -> LogSettings {
    let mut log = LogSettings {
        format: LogFormat::Auto,
        access: AccessLog::All,
        level: LogLevel::Info,
    };
    let Some(mut table) = table(root, "log", desk) else {
        return log;
    };
    let format = table.field("format");
    if let Some(format) = format.and_then(|f| f.word(desk, &LOG_FORMATS)) {
        log.format = format;
    }
    let access = table.field("access");
    if let Some(access) = access.and_then(|f| f.word(desk, &LOG_ACCESS)) {
        log.access = access;
    }
    let level = table.field("level");
    if let Some(level) = level.and_then(|f| f.word(desk, &LOG_LEVELS)) {
        log.level = level;
    }
    table.finish(desk);
    log
}

/// `[keys]`: what is cold of it, `reveal`, and where the two files are named.
pub(super) struct Keys {
    pub(super) settings: KeySettings,
    pub(super) reveal: Reveal,
    pub(super) store_place: Place,
    pub(super) secret_place: Place,
}

pub(super) fn keys(root: &mut Table<'_>, folder: &Path, desk: &mut Desk) -> Keys {
    let mut keys = Keys {
        settings: KeySettings {
            header: HeaderName::from_static("apikey"),
            store: absolute(folder, "data/keygate.db"),
            secret: absolute(folder, "secret/master"),
        },
        reveal: Reveal::Always,
        store_place: root.place(),
        secret_place: root.place(),
    };
    let Some(mut table) = table(root, "keys", desk) else {
        return keys;
    };
    keys.store_place = table.place();
    keys.secret_place = table.place();
    if let Some(field) = table.field("header")
        && let Some(header) = field.parse(desk, "a header's name", key_header)
    {
        keys.settings.header = header;
    }
    if let Some(field) = table.field("store") {
        if !field.as_text().is_some_and(|t| t.starts_with("sqlite:")) {
            // The address of a database holds a password.
            field.hide();
        }
        keys.store_place = field.place();
        if let Some(path) = field.parse(desk, "\"sqlite:PATH\"", |t| {
            value::store(t).map(|p| absolute(folder, p))
        }) {
            keys.settings.store = path;
        }
    }
    if let Some(field) = table.field("secret") {
        keys.secret_place = field.place();
        if let Some(path) = secret_path(&field, folder, desk) {
            keys.settings.secret = path;
        }
    }
    if keys.settings.store == keys.settings.secret {
        table.missing(
            desk,
            "`keys.store` and `keys.secret` are the same file; expected two",
        );
    }
    let reveal = table.field("reveal");
    if let Some(reveal) = reveal.and_then(|f| f.word(desk, &REVEAL)) {
        keys.reveal = reveal;
    }
    table.finish(desk);
    keys
}

/// A field that names a file of a secret.
pub(super) fn secret_path(field: &Item<'_>, folder: &Path, desk: &mut Desk) -> Option<PathBuf> {
    // Someone will write the secret itself here.
    field.hide();
    field.parse(desk, "the path of a file", |text| path(text, folder))
}

fn path(text: &str, folder: &Path) -> Result<PathBuf, Unreadable> {
    if text.is_empty() || text.contains('\0') {
        return Err(Unreadable("expected the path of a file".to_owned()));
    }
    Ok(absolute(folder, text))
}

/// `[reload]`.
pub(super) struct Reload {
    pub(super) widening: Widening,
    pub(super) kept: PathBuf,
    /// Of `widening`, or of the table.
    pub(super) place: Place,
}

/// `[reload]`; the store's file says where generations are kept by default, beside it.
pub(super) fn reload(root: &mut Table<'_>, store: &Path, folder: &Path, desk: &mut Desk) -> Reload {
    let mut reload = Reload {
        widening: Widening::Allow,
        kept: store.with_file_name("generations"),
        place: root.place(),
    };
    let Some(mut table) = table(root, "reload", desk) else {
        return reload;
    };
    reload.place = table.place();
    if let Some(word) = table.field("widening").and_then(|field| {
        reload.place = field.place();
        field.word(desk, &WIDENING)
    }) {
        reload.widening = word;
    }
    if let Some(path) = table
        .field("folder")
        .and_then(|field| field.parse(desk, "the path of a folder", |text| path(text, folder)))
    {
        reload.kept = path;
    }
    table.finish(desk);
    reload
}

pub(super) fn absolute(folder: &Path, path: &str) -> PathBuf {
    let joined = folder.join(path);
    std::path::absolute(&joined).unwrap_or(joined)
}

fn key_header(text: &str) -> Result<HeaderName, Unreadable> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| Unreadable("expected a header's name, such as \"apikey\"".to_owned()))?;
    if is_framing(&name) || name == "host" || name == "date" || name == "content-type" {
        return Err(Unreadable(format!(
            "`{name}` has a meaning of its own in HTTP; expected another header"
        )));
    }
    // With any other character, an upstream that folds names to variables would take another header for it.
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(Unreadable(
            "expected a header's name of letters, digits and `-`, such as \"apikey\"".to_owned(),
        ));
    }
    Ok(name)
}

/// Headers by which one hop says how it speaks.
pub(super) fn is_framing(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "expect"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Where the management API is, unless `[management] paths` says otherwise.
pub const MANAGEMENT_PATHS: [&str; 3] = ["/apikeys", "/v3/apikeys", "/v3.0/apikeys"];

/// `[management]`: its paths and its scope, each with its place.
#[derive(Clone)]
pub(super) struct Management {
    pub(super) paths: Vec<(String, Place)>,
    pub(super) scope: (ScopeName, Place),
    /// Whether the scope stands in the file.
    pub(super) scope_written: bool,
}

pub(super) fn management(root: &mut Table<'_>, desk: &mut Desk) -> Management {
    let here = root.place();
    let full_access = ScopeName::parse("fullAccess").expect("a name of letters is a scope's name");
    let mut found = Management {
        paths: MANAGEMENT_PATHS
            .map(|p| (p.to_owned(), here.clone()))
            .into(),
        scope: (full_access, here),
        scope_written: false,
    };
    let Some(mut table) = table(root, "management", desk) else {
        return found;
    };
    found.scope.1 = table.place();
    for (_, place) in &mut found.paths {
        *place = table.place();
    }
    if let Some(field) = table.field("paths") {
        const PATHS: &str = "a list of paths such as [\"/apikeys\"]";
        let items = field.list(desk, PATHS).unwrap_or_default();
        found.paths = items
            .iter()
            .filter_map(|item| {
                let path = item.parse(desk, "a path", path_start)?;
                Some((path, item.place()))
            })
            .collect();
    }
    if let Some(field) = table.field("scope")
        && let Some(scope) = field.parse(desk, "a scope's name", ScopeName::parse)
    {
        found.scope = (scope, field.place());
        found.scope_written = true;
    }
    table.finish(desk);
    found
}

/// Text that begins with `/`; what else makes a path is the policy's to say.
pub(super) fn path_start(text: &str) -> Result<String, Unreadable> {
    if text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err(Unreadable(
            "expected a path that begins with `/`".to_owned(),
        ))
    }
}

/// `[timeouts]`.
pub(super) fn timeouts(root: &mut Table<'_>, desk: &mut Desk) -> Timeouts {
    let seconds = Duration::from_secs;
    let mut t = Timeouts {
        head: seconds(10),
        body: seconds(30),
        connect: seconds(3),
        response: seconds(60),
        idle: seconds(75),
        stream: seconds(300),
        drain_delay: Duration::ZERO,
        drain: seconds(30),
    };
    let Some(mut table) = table(root, "timeouts", desk) else {
        return t;
    };
    for (name, place) in [
        ("head", &mut t.head),
        ("body", &mut t.body),
        ("connect", &mut t.connect),
        ("response", &mut t.response),
        ("idle", &mut t.idle),
        ("stream", &mut t.stream),
        ("drain", &mut t.drain),
    ] {
        if let Some(time) = time(&mut table, name, desk) {
            *place = time;
        }
    }
    // The one that may be nothing.
    if let Some(delay) = table.field("drain_delay").and_then(|field| {
        field.parse(desk, "a duration such as \"5s\"", |text| match text {
            "0s" => Ok(Duration::ZERO),
            text => value::duration(text),
        })
    }) {
        t.drain_delay = delay;
    }
    table.finish(desk);
    t
}

/// A field that is a duration.
pub(super) fn time(table: &mut Table<'_>, name: &'static str, desk: &mut Desk) -> Option<Duration> {
    table
        .field(name)?
        .parse(desk, "a duration such as \"30s\"", value::duration)
}

/// A field that is a size: text with a unit, or a whole number of bytes.
pub(super) fn size(
    table: &mut Table<'_>,
    name: &'static str,
    (least, most): (u64, u64),
    desk: &mut Desk,
) -> Option<u64> {
    let field = table.field(name)?;
    if field.as_integer().is_some() {
        return field.integer(desk, least, most);
    }
    field.parse(
        desk,
        "a size such as \"64KiB\", or a number of bytes",
        |text| {
            let bytes = value::size(text)?;
            if (least..=most).contains(&bytes) {
                Ok(bytes)
            } else {
                Err(Unreadable(format!(
                    "expected a size from {least} to {most} bytes"
                )))
            }
        },
    )
}

/// `[limits]`.
pub(super) fn limits(root: &mut Table<'_>, desk: &mut Desk) -> Limits {
    let mut limits = Limits {
        connections: 10_000,
        head_bytes: 32 << 10,
        headers: 96,
        target_bytes: 8 << 10,
        body_bytes: 128 << 20,
        failed_auth: Rate {
            interval: Duration::from_millis(10),
            burst: 1000,
        },
        streams_per_key: None,
        connections_per_network: None,
        requests: 20_000,
        streams: 128,
        frames: Rate {
            interval: Duration::from_millis(10),
            burst: 300,
        },
    };
    let Some(mut table) = table(root, "limits", desk) else {
        return limits;
    };
    let as_usize = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let mut count = |name, most, place: &mut usize, desk: &mut Desk| {
        if let Some(n) = table.field(name).and_then(|f| f.integer(desk, 1, most)) {
            *place = as_usize(n);
        }
    };
    count("connections", 10_000_000, &mut limits.connections, desk);
    count("headers", 1000, &mut limits.headers, desk);
    count("requests", 10_000_000, &mut limits.requests, desk);
    let as_u32 = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    // RFC 9113, section 5.1.2, advises against fewer; each holds some kilobytes.
    if let Some(n) = table
        .field("streams")
        .and_then(|f| f.integer(desk, 1, 10_000))
    {
        limits.streams = as_u32(n);
    }
    if let Some(n) = table
        .field("connections_per_network")
        .and_then(|f| f.integer(desk, 1, 10_000_000))
    {
        limits.connections_per_network = Some(as_u32(n));
    }
    // The bounds are those within which the parser can hold a head, and `http::Uri` a target.
    if let Some(n) = size(&mut table, "head_bytes", (1 << 10, 1 << 20), desk) {
        limits.head_bytes = as_usize(n);
    }
    if let Some(n) = size(&mut table, "target_bytes", (64, 65_000), desk) {
        limits.target_bytes = as_usize(n);
    }
    if let Some(n) = size(&mut table, "body_bytes", (0, 1 << 50), desk) {
        limits.body_bytes = n;
    }
    rate(&mut table, "failed_auth", &mut limits.failed_auth, desk);
    rate(&mut table, "frames", &mut limits.frames, desk);
    if let Some(Own::Is(streams)) = allowance::streams(&mut table, "streams_per_key", desk) {
        limits.streams_per_key = Some(streams);
    }
    table.finish(desk);
    limits
}

/// `{ rate = "100/s", burst = 1000 }`: what is not said stays as it is.
fn rate(table: &mut Table<'_>, name: &'static str, place: &mut Rate, desk: &mut Desk) {
    let Some(mut table) = table.field(name).and_then(|f| f.table(desk)) else {
        return;
    };
    let rate = table.field("rate");
    if let Some(rate) = rate.and_then(|f| f.parse(desk, allowance::RATE, value::rate)) {
        place.interval = rate.interval;
    }
    let burst = table.field("burst");
    if let Some(burst) = burst.and_then(|f| f.integer(desk, 1, 1_000_000_000)) {
        place.burst = u32::try_from(burst).unwrap_or(u32::MAX);
    }
    table.finish(desk);
}

/// `[cors]`; `None` without the table.
pub(super) fn cors(root: &mut Table<'_>, desk: &mut Desk) -> Option<Arc<Cors>> {
    let mut table = table(root, "cors", desk)?;
    let management = table.field("management").and_then(|f| f.boolean(desk));
    let cors = cors_table(table, desk);
    Some(Arc::new(Cors {
        management: management.unwrap_or(false),
        ..cors
    }))
}

/// `cors` of a route: a table, or `false`.
pub(super) fn route_cors(table: &mut Table<'_>, desk: &mut Desk) -> RouteCors {
    let Some(field) = table.field("cors") else {
        return RouteCors::General;
    };
    if field.is_false() {
        return RouteCors::Off;
    }
    if !field.is_table() {
        field.mistyped(desk, "a table with the fields of `[cors]`, or false");
        return RouteCors::General;
    }
    match field.table(desk) {
        Some(table) => RouteCors::Own(Arc::new(cors_table(table, desk))),
        None => RouteCors::General,
    }
}

/// What `[cors]` and a route's `cors` have in common.
fn cors_table(mut table: Table<'_>, desk: &mut Desk) -> Cors {
    let name = table.name.clone();
    const ORIGINS: &str = "[\"*\"] or a list of origins";
    let mut any = None;
    let mut origins = Vec::new();
    match table.field("origins") {
        Some(field) => {
            let items = field.one_or_list(desk, ORIGINS);
            if items.as_ref().is_some_and(Vec::is_empty) {
                field.wrong(
                    desk,
                    format!("`{name}.origins` is empty; leave out `{name}` to switch it off"),
                );
            }
            for item in items.unwrap_or_default() {
                if item.as_text() == Some("*") {
                    any = Some(item);
                } else {
                    origins.extend(item.parse(desk, "an origin", value::origin));
                }
            }
            if any.is_some() && !origins.is_empty() {
                field.wrong(
                    desk,
                    format!("`{name}.origins` has \"*\" and others; expected either \"*\" alone or a list"),
                );
            }
        }
        None => table.missing(
            desk,
            format!("`{name}` needs `origins`: expected {ORIGINS}"),
        ),
    }
    let methods = words(
        &mut table,
        "methods",
        "a method such as \"GET\"",
        method,
        desk,
    )
    .unwrap_or_else(|| CORS_METHODS.map(str::to_owned).into());
    let headers = words(&mut table, "headers", "a header's name", header, desk)
        .unwrap_or_else(|| CORS_HEADERS.map(str::to_owned).into());
    let expose = words(&mut table, "expose", "a header's name", header, desk).unwrap_or_default();
    let credentials_field = table.field("credentials");
    let credentials = credentials_field.as_ref().and_then(|f| f.boolean(desk));
    if let (Some(true), Some(field), Some(any)) = (credentials, &credentials_field, &any) {
        desk.report(
            Problem::error(
                field.place(),
                format!("`{name}.credentials` goes only with exact origins, not with \"*\""),
            )
            .related(any.place(), "any origin is let in here"),
        );
    }
    let max_age = time(&mut table, "max_age", desk);
    table.finish(desk);
    Cors {
        origins: if any.is_some() {
            CorsOrigins::Any
        } else {
            CorsOrigins::These(origins)
        },
        methods: joined(&methods),
        headers: joined(&headers),
        expose: (!expose.is_empty()).then(|| joined(&expose)),
        credentials: credentials.unwrap_or(false),
        max_age: max_age.unwrap_or(Duration::from_secs(600)),
        management: false,
    }
}

fn words(
    table: &mut Table<'_>,
    name: &'static str,
    expected: &str,
    read: fn(&str) -> Result<String, Unreadable>,
    desk: &mut Desk,
) -> Option<Vec<String>> {
    let field = table.field(name)?;
    let items = field.list(desk, &format!("a list, each item {expected}"))?;
    Some(
        items
            .iter()
            .filter_map(|item| item.parse(desk, expected, read))
            .collect(),
    )
}

fn method(text: &str) -> Result<String, Unreadable> {
    route_method(text).map(|m| m.to_string())
}

/// A method as requests have it: upper case.
pub(super) fn route_method(text: &str) -> Result<Method, Unreadable> {
    let wrong = |message: String| Err(Unreadable(message));
    match Method::from_bytes(text.as_bytes()) {
        Ok(Method::CONNECT | Method::TRACE) => wrong(format!(
            "{text} is never let through; expected another method"
        )),
        Ok(_) if text.bytes().any(|b| b.is_ascii_lowercase()) => wrong(format!(
            "methods are upper case; expected \"{}\"",
            text.to_ascii_uppercase()
        )),
        Ok(method) => Ok(method),
        Err(_) => wrong("expected a method such as \"GET\"".to_owned()),
    }
}

fn header(text: &str) -> Result<String, Unreadable> {
    HeaderName::from_bytes(text.as_bytes())
        .map(|_| text.to_owned())
        .map_err(|_| Unreadable("expected a header's name".to_owned()))
}

fn joined(words: &[String]) -> HeaderValue {
    HeaderValue::from_str(&words.join(", ")).expect("methods and header names are visible ASCII")
}

/// A table of the main file, if it is there and is one.
pub(super) fn table<'a>(
    root: &mut Table<'a>,
    name: &'static str,
    desk: &mut Desk,
) -> Option<Table<'a>> {
    root.field(name)?.table(desk)
}
