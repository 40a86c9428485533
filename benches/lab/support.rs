//! What the lab shares with the other benchmarks.

#[path = "../support/gateway.rs"]
#[allow(dead_code, reason = "other benchmarks configure and wait by it")]
pub mod gateway;
#[path = "../support/store.rs"]
#[allow(dead_code, reason = "other benchmarks read the cache")]
pub mod store;
