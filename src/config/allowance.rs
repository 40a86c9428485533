//! How much of a route may be used: `rate`, `streams` and `maintenance`, there and in `[defaults]`.

use super::fields::{Desk, Item, Table};
use super::process::time;
use super::value::{self, Unreadable};
use crate::policy::{Maintenance, Rate};
use http::StatusCode;
use std::sync::Arc;

pub(super) const RATE: &str = "a rate such as \"100/s\"";

/// What a route says of something that also has a default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Own<T> {
    /// `false`: there is none here, whatever the default is.
    None,
    Is(T),
}

impl<T> Own<T> {
    /// What holds where this is said, or nothing, and that is the default.
    pub(super) fn over(own: Option<Self>, default: Option<T>) -> Option<T> {
        match own {
            Some(Own::Is(value)) => Some(value),
            Some(Own::None) => None,
            None => default,
        }
    }
}

/// `rate = "100/s"`, `rate = { rate = "100/s", burst = 200 }`, `rate = false`.
pub(super) fn rate(table: &mut Table<'_>, desk: &mut Desk) -> Option<Own<Rate>> {
    let field = table.field("rate")?;
    if field.is_false() {
        return Some(Own::None);
    }
    if !field.is_table() {
        let expected = format!("{RATE}, or a table such as {{ rate = \"100/s\", burst = 200 }}");
        return field.parse(desk, &expected, value::rate).map(Own::Is);
    }
    let mut table = field.table(desk)?;
    let rate = match table.field("rate") {
        Some(rate) => rate.parse(desk, RATE, value::rate),
        None => {
            let message = format!("`{}` needs `rate`: expected {RATE}", table.name);
            table.missing(desk, message);
            None
        }
    };
    let burst = table
        .field("burst")
        .and_then(|f| number(&f, 1_000_000_000, desk));
    table.finish(desk);
    rate.map(|rate| {
        Own::Is(Rate {
            burst: burst.unwrap_or(rate.burst),
            ..rate
        })
    })
}

/// `streams = 4`, `streams = false`.
pub(super) fn streams(
    table: &mut Table<'_>,
    name: &'static str,
    desk: &mut Desk,
) -> Option<Own<u32>> {
    let field = table.field(name)?;
    if field.is_false() {
        return Some(Own::None);
    }
    number(&field, 1_000_000, desk).map(Own::Is)
}

/// `maintenance = { status = 503, message = "…", retry_after = "5m" }`, `maintenance = false`.
pub(super) fn maintenance(table: &mut Table<'_>, desk: &mut Desk) -> Option<Own<Arc<Maintenance>>> {
    let field = table.field("maintenance")?;
    if field.is_false() {
        return Some(Own::None);
    }
    if !field.is_table() {
        let expected =
            "a table such as { message = \"Back at noon.\", retry_after = \"5m\" }, or false";
        field.mistyped(desk, expected);
        return None;
    }
    let mut table = field.table(desk)?;
    let status = table
        .field("status")
        .and_then(|f| f.integer(desk, 400, 599))
        .and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
    let message = table
        .field("message")
        .and_then(|f| f.parse(desk, "a sentence", sentence));
    let retry_after = time(&mut table, "retry_after", desk);
    table.finish(desk);
    Some(Own::Is(Arc::new(Maintenance {
        status: status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
        message: message.unwrap_or_else(|| "This API is under maintenance.".into()),
        retry_after,
    })))
}

fn sentence(text: &str) -> Result<Box<str>, Unreadable> {
    if (1..=500).contains(&text.len()) && !text.chars().any(char::is_control) {
        Ok(text.into())
    } else {
        Err(Unreadable(
            "expected a sentence of 1 to 500 bytes without control characters".to_owned(),
        ))
    }
}

fn number(field: &Item<'_>, most: u32, desk: &mut Desk) -> Option<u32> {
    let number = field.integer(desk, 1, u64::from(most))?;
    u32::try_from(number).ok()
}
