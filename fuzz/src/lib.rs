//! What must hold whatever the bytes are: one module for each fuzz target, with its oracle.
//!
//! A target hands its bytes to `check` and does nothing else, so an input that was found can be tried from anywhere. Each
//! oracle says again, by other means than the code that it watches, what must be true of the result: where the two differ,
//! one of them is wrong.

pub mod commands;
pub mod connection;
pub mod headers;
pub mod key;
pub mod openapi;
pub mod policy_toml;
pub mod target;
mod text;
