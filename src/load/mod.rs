//! A load generator: sends requests with keys at a rate or as fast as it can, judges every answer, tells latencies.
//!
//! It is a client like any other and shares nothing with a gateway but the policy, by which it knows what each key should
//! get at each route. What it is not for: finding faults in the framing of HTTP (the tests do that), or loading anything
//! but HTTP with keys in a header.
//!
//! One request walked through, under `--mix fullAccess=80,unknown=20`: the `source` draws whose turn it is, a kind of key
//! by its share, one key of that kind, a route by its weight, a number for a parameter; it writes the request into the
//! connection's buffer, with a fresh mark in [`mark::REQUEST`]. `http1` writes that to the socket and reads the answer, which
//! `answer` takes apart. The `expect` table says what this kind of key gets at this route: for a permitted request 200
//! and the digest that the upstream makes of method, target, mark and length of the body, so that an answer out of a cache
//! or one meant for another request is found out; for a refused one the status and `error.code`, and nothing that the
//! upstream has touched. `judge` compares. The latency goes to the `tally`, under the outcome that was expected. When time is
//! up, the tallies of all threads are added to a [`Report`].
//!
//! No request is lost: one that was begun is answered, or failed, or counted as never sent or as abandoned (`seat`).
//!
//! **Open loop** (a rate): the `schedule` says when each request is due, whatever became of the ones before it, and the
//! latency counts from then. So a server that stalls is charged with all that would have been sent meanwhile ("coordinated
//! omission" is what it is called where it is not). **Closed loop** (no rate): each connection sends its next request when it has
//! the answer to the last one.
//!
//! Each thread has a runtime, connections, draws and tallies of its own, and allocates nothing for a request over
//! HTTP/1.1: two system calls, one to send and one to receive, are most of what a request costs.

mod answer;
mod connect;
mod counters;
mod draw;
mod expect;
mod http1;
mod http2;
mod judge;
mod keys;
mod machine;
pub mod mark;
mod pacer;
mod plan;
mod plot;
mod policed;
mod pool;
mod progress;
mod report;
mod route;
mod run;
mod schedule;
mod seat;
mod source;
mod stock;
mod table;
mod tally;
mod target;
mod upstream;
mod worker;

pub use draw::Draw;
pub use expect::{Compare, Deciding, ExpectError};
pub use keys::{Kind, LoadedKey, Mix, read_keys};
pub use machine::TooFewDescriptors;
pub use plan::{LoadError, Plan, Protocol, Settings};
pub use plot::plot;
pub use pool::MixError;
pub use report::{KeyCounts, Lag, Latency, OutcomeReport, Report, Step, Thread};
pub use route::{LoadRoute, RouteAccess, RouteError, size};
pub use run::{Display, run};
pub use schedule::{Pace, Phases};
pub use stock::{Records, Stock, from_store};
pub use table::table;
pub use tally::Sample;
pub use target::{LoadTarget, TargetError};
pub use upstream::{UpstreamSettings, serve};
