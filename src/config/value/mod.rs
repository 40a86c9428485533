//! Texts as values: durations, sizes, rates, networks, addresses. Pure; each error is a sentence that says what was expected.
//!
//! `quantity` reads what is measured, `local` where the gateway's own things are (what it listens on, whom it trusts, its
//! store), `server` the names by which HTTP calls other machines: servers, hosts, origins.

mod local;
mod quantity;
mod server;

pub(super) use local::{Written, listen, mode, network, store};
pub(super) use quantity::{duration, rate, size};
pub(super) use server::{authority, is_host_name, origin, server};

/// A text does not say what it should; the sentence says what that is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreadable(pub(super) String);

fn unreadable<T>(message: impl Into<String>) -> Result<T, Unreadable> {
    Err(Unreadable(message.into()))
}
