//! Request → `Admitted`: see [`crate::http::admit`]. A preflight leaves the line here, once it can be read in one way.

use super::observe::Head;
use super::{Exchange, Reject, cors};
use crate::http::Admitted;

pub(super) fn admit(exchange: Exchange<Head>) -> Result<Exchange<Admitted>, Reject> {
    let head = &exchange.proof;
    let rules = &exchange.generation.admit;
    let admitted = crate::http::admit(
        &head.method,
        &head.uri,
        head.version,
        &exchange.headers,
        rules,
    )?;
    let cors = &exchange.generation.snapshot.hot.cors;
    if cors.is_some() && cors::is_preflight(&head.method, &exchange.headers) {
        return Err(Reject::Preflight);
    }
    exchange.try_map(|_| Ok(admitted))
}
