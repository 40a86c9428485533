#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used))]
//! keygate: an API-key gateway.

pub mod clock;
pub mod deadline;
pub mod http;
pub mod key;

pub mod store;

pub mod keycache;

pub mod policy;

pub mod config;

pub mod upstream;

pub mod proxy;

pub mod management;

pub mod gateway;

pub mod server;

pub mod admin;

pub mod cli;
pub mod demo;
