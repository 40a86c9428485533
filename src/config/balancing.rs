//! The part of `[upstreams.NAME]` that says which server a request goes to, and what happens when servers fail.

use super::fields::{Desk, Item, Table};
use super::process::{path_start, time};
use super::settings::{Balance, Balancing, Eject, HealthCheck, Queue, StatusRange, UpstreamServer};
use super::value::{self, Unreadable};
use crate::policy::{Retries, RetryOn};
use http::{HeaderName, StatusCode};
use std::time::Duration;

/// A server: its URL, or `{ url = …, weight = … }`.
pub(super) fn server(item: &Item<'_>, desk: &mut Desk) -> Option<UpstreamServer> {
    if !item.is_table() {
        return server_url(item, desk);
    }
    let mut table = item.table(desk)?;
    let url = table.field("url");
    if url.is_none() {
        table.missing(
            desk,
            "a server needs `url`: expected one such as \"http://127.0.0.1:9000\"",
        );
    }
    let weight = table
        .field("weight")
        .and_then(|f| f.integer(desk, 1, 1000))
        .and_then(|n| u16::try_from(n).ok());
    let server = url.and_then(|item| server_url(&item, desk));
    table.finish(desk);
    Some(UpstreamServer {
        weight: weight.unwrap_or(1),
        ..server?
    })
}

fn server_url(item: &Item<'_>, desk: &mut Desk) -> Option<UpstreamServer> {
    if item.as_text().is_some_and(|t| t.contains('@')) {
        item.hide();
    }
    item.parse(desk, "a server", value::server)
}

/// Everything but the servers.
pub(super) fn balancing(
    table: &mut Table<'_>,
    key_header: &HeaderName,
    desk: &mut Desk,
) -> Balancing {
    let mut found = Balancing::default();
    if let Some(balance) = table.field("balance").and_then(|f| {
        f.parse(
            desk,
            "\"least-loaded\", \"round-robin\", \"hash:key\" or \"hash:header NAME\"",
            |text| balance(text, key_header),
        )
    }) {
        found.balance = balance;
    }
    if let Some(every) = time(table, "resolve", desk) {
        found.resolve = every;
    }
    if let Some(table) = table.field("health").and_then(|f| f.table(desk)) {
        found.health = health(table, desk);
    }
    if let Some(table) = table.field("eject").and_then(|f| f.table(desk)) {
        found.eject = Some(eject(table, desk));
    }
    found.slow_start = time(table, "slow_start", desk);
    found.connections = table
        .field("connections")
        .and_then(|f| f.integer(desk, 1, 1_000_000))
        .and_then(|n| u32::try_from(n).ok());
    if let Some(field) = table.field("queue") {
        if found.connections.is_none() {
            desk.error(
                field.key_place(),
                "`queue` is for those that wait where `connections` is reached: expected `connections` beside it",
            );
        }
        if let Some(table) = field.table(desk) {
            found.queue = queue(table, desk);
        }
    }
    found.retries = retries(table, desk);
    found
}

fn balance(text: &str, key_header: &HeaderName) -> Result<Balance, Unreadable> {
    let wrong = |message: &str| Err(Unreadable(message.to_owned()));
    match (text, text.strip_prefix("hash:header ")) {
        ("least-loaded", _) => Ok(Balance::LeastLoaded),
        ("round-robin", _) => Ok(Balance::RoundRobin),
        ("hash:key", _) => Ok(Balance::HashKey),
        (_, Some(name)) => match HeaderName::from_bytes(name.trim().as_bytes()) {
            Ok(name) if name == *key_header => {
                wrong("the header that carries the key has `hash:key`, which goes by the key's id")
            }
            Ok(name) => Ok(Balance::HashHeader(name)),
            Err(_) => wrong(
                "expected a header's name after `hash:header`, such as \"hash:header X-Room\"",
            ),
        },
        (_, None) => wrong(
            "expected \"least-loaded\", \"round-robin\", \"hash:key\" or \"hash:header NAME\"",
        ),
    }
}

fn health(mut table: Table<'_>, desk: &mut Desk) -> Option<HealthCheck> {
    let path = match table.field("path") {
        Some(field) => field.parse(desk, "a path", check_path),
        None => {
            table.missing(
                desk,
                "`health` needs `path`: expected one such as \"/healthz\"",
            );
            None
        }
    };
    let mut times = |name, or: u64| time(&mut table, name, desk).unwrap_or(Duration::from_secs(or));
    let (interval, timeout) = (times("interval", 5), times("timeout", 2));
    let mut count = |name, or| {
        let field = table.field(name)?;
        u32::try_from(field.integer(desk, 1, 1000)?).ok().or(or)
    };
    let (healthy, unhealthy) = (
        count("healthy", None).unwrap_or(2),
        count("unhealthy", None).unwrap_or(3),
    );
    let status = statuses(&mut table, (100, 599), desk);
    table.finish(desk);
    Some(HealthCheck {
        path: path?,
        interval,
        timeout,
        healthy,
        unhealthy,
        status: status.unwrap_or_else(|| {
            vec![StatusRange {
                first: 200,
                last: 299,
            }]
        }),
    })
}

fn check_path(text: &str) -> Result<http::uri::PathAndQuery, Unreadable> {
    let path = path_start(text)?;
    path.parse().map_err(|_| {
        Unreadable("expected a path, with or without a query, such as \"/healthz\"".to_owned())
    })
}

fn eject(mut table: Table<'_>, desk: &mut Desk) -> Eject {
    let failures = table
        .field("failures")
        .and_then(|f| f.integer(desk, 1, 100_000))
        .and_then(|n| u32::try_from(n).ok());
    let lasts = time(&mut table, "for", desk);
    let status = statuses(&mut table, (400, 599), desk);
    table.finish(desk);
    Eject {
        failures: failures.unwrap_or(5),
        lasts: lasts.unwrap_or(Duration::from_secs(10)),
        status: status.unwrap_or_else(|| {
            vec![StatusRange {
                first: 502,
                last: 504,
            }]
        }),
    }
}

fn queue(mut table: Table<'_>, desk: &mut Desk) -> Queue {
    let or = Queue::default();
    let size = table
        .field("size")
        .and_then(|f| f.integer(desk, 0, 1_000_000))
        .and_then(|n| usize::try_from(n).ok());
    let timeout = time(&mut table, "timeout", desk);
    table.finish(desk);
    Queue {
        size: size.unwrap_or(or.size),
        timeout: timeout.unwrap_or(or.timeout),
    }
}

/// `status = [200, "3xx"]`, or one of them alone.
fn statuses(
    table: &mut Table<'_>,
    (least, most): (u16, u16),
    desk: &mut Desk,
) -> Option<Vec<StatusRange>> {
    const EXPECTED: &str = "statuses such as [200, 204] or \"2xx\"";
    let field = table.field("status")?;
    let items = if field.as_integer().is_some() {
        vec![field.clone()]
    } else {
        field.one_or_list(desk, EXPECTED)?
    };
    if items.is_empty() {
        field.wrong(
            desk,
            format!("`{}` is empty; expected {EXPECTED}", field.name),
        );
    }
    let range = |item: &Item<'_>, desk: &mut Desk| {
        if item.as_integer().is_some() {
            let status = item.integer(desk, least.into(), most.into())?;
            let status = u16::try_from(status).ok()?;
            return Some(StatusRange {
                first: status,
                last: status,
            });
        }
        item.parse(desk, EXPECTED, |text| status_range(text, (least, most)))
    };
    Some(items.iter().filter_map(|item| range(item, desk)).collect())
}

fn status_range(text: &str, (least, most): (u16, u16)) -> Result<StatusRange, Unreadable> {
    let range = match text.strip_suffix("xx").map(str::parse::<u16>) {
        Some(Ok(class)) if text.len() == 3 => Some((class * 100, class * 100 + 99)),
        _ => text.parse().ok().map(|status: u16| (status, status)),
    };
    match range {
        Some((first, last)) if (least..=most).contains(&first) => Ok(StatusRange { first, last }),
        _ => Err(Unreadable(format!(
            "expected a status from {least} to {most}, or a class such as \"{}xx\"",
            most / 100
        ))),
    }
}

/// `retries`, of an upstream, of a route or of `[defaults]`.
pub(super) fn retries(table: &mut Table<'_>, desk: &mut Desk) -> Option<Retries> {
    let mut table = table.field("retries")?.table(desk)?;
    let mut found = Retries::default();
    if let Some(attempts) = table
        .field("attempts")
        .and_then(|f| f.integer(desk, 1, 10))
        .and_then(|n| u8::try_from(n).ok())
    {
        found.attempts = attempts;
    }
    if let Some(field) = table.field("on") {
        const EXPECTED: &str = "a list such as [\"connect\", \"reset\", \"503\"]";
        let items = field.one_or_list(desk, EXPECTED).unwrap_or_default();
        let mut on = RetryOn::default();
        for item in items {
            item.parse(desk, EXPECTED, |text| retry_on(text, &mut on));
        }
        found.on = on;
    }
    if let Some(budget) = table
        .field("budget")
        .and_then(|f| f.parse(desk, "a share of requests such as \"20%\"", percent))
    {
        found.budget_percent = budget;
    }
    table.finish(desk);
    Some(found)
}

fn retry_on(text: &str, on: &mut RetryOn) -> Result<(), &'static str> {
    match text {
        "connect" => on.connect = true,
        "reset" => on.reset = true,
        _ => match text.parse::<StatusCode>() {
            Ok(status) if status.as_u16() == 429 || (500..=599).contains(&status.as_u16()) => {
                if !on.status.contains(&status.as_u16()) {
                    on.status.push(status.as_u16());
                }
            }
            _ => {
                return Err(
                    "expected \"connect\", \"reset\", or a status that another attempt may better: 429, 500 to 599",
                );
            }
        },
    }
    Ok(())
}

fn percent(text: &str) -> Result<u32, Unreadable> {
    match text.strip_suffix('%').map(|n| n.trim_end().parse::<u32>()) {
        Some(Ok(percent)) if percent <= 100 => Ok(percent),
        _ => Err(Unreadable(
            "expected a share of requests from \"0%\" to \"100%\"".to_owned(),
        )),
    }
}
