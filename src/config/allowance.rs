//! How much a key may use of a route: `rate` and `streams`, here and in `[defaults]`.

use super::fields::{Desk, Item, Table};
use super::value;
use crate::policy::Rate;

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

fn number(field: &Item<'_>, most: u32, desk: &mut Desk) -> Option<u32> {
    let number = field.integer(desk, 1, u64::from(most))?;
    u32::try_from(number).ok()
}
