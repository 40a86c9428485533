//! From the TOML that operators write to what the gateway works with, and again whenever the files change.
//!
//! [`load`] reads a main file and what it includes, whole or not at all: it answers a [`Loaded`], or every [`Problem`]
//! that it found, each with file, line, column and a sentence that says what was expected. [`Live`] keeps the
//! [`Snapshot`] in force equal to the files while the gateway runs. What this module does not do: decide about requests
//! (`policy/`), open the key store, or listen on anything.
//!
//! A value walked through, `body = "30s"` in `[timeouts]`: `source` reads the file and knows where its lines begin;
//! `syntax` parses it, and where it does not parse cuts out what is faulty; `process` asks the table for `body`
//! through `fields`, which remembers what was asked for, so that `bdoy` is found out; `value` makes a `Duration` of the
//! text; `load` puts it into [`Hot`] with the rest, `compile` judges the policy, and `live` swaps the snapshot.
//!
//! [`Start`] decides which generation a start puts in force, the files' or one that was accepted before; `kept` has those on
//! disk, as `texts`; `waiting` says what has to be confirmed, and `live` takes what an operator asks. [`Shadow`] is a policy
//! that is tried; `schema` describes both files to editors.
//!
//! The main file holds the tables of the process, and may hold those of the policy too (a small set-up is one file);
//! an included file holds only those of the policy, and includes nothing itself.

mod allowance;
mod alone;
mod balancing;
mod compile;
mod fields;
mod files;
mod hash;
mod headers;
mod hints;
mod history;
mod hosts;
mod kept;
mod lints;
mod listeners;
mod live;
#[cfg(test)]
mod live_tests;
mod load;
mod problem;
mod process;
#[cfg(test)]
mod robustness;
mod routes;
mod schema;
mod secret;
mod settings;
mod shadow;
mod source;
mod start;
mod syntax;
#[cfg(test)]
mod tests;
mod texts;
mod tls;
mod upstreams;
mod value;
mod waiting;

pub use alone::{load_admin, load_keys};
pub use files::{FileSet, Look};
pub use hash::{HashPrefix, NoGeneration, NoHash, Wanted, WholeHash};
pub use history::{AccessChange, History, Past, Trigger};
pub use hosts::Hosts;
pub use kept::{KeptError, UnreadableError};
pub use live::{Answer, Ask, Live, ReloadStatus, Stopped};
pub use load::{Loaded, Purpose, Spot, load, load_for, load_texts};
pub use problem::{Problem, Problems, Severity};
pub use process::MANAGEMENT_PATHS;
pub use schema::{SchemaOf, schema};
pub use secret::Secrets;
pub use settings::{
    AccessLog, AdminSettings, Balance, Balancing, Cold, Cors, CorsOrigins, Eject, HealthCheck,
    HostRule, Hot, Http2, KeySettings, Limits, ListenAddress, Listener, LogFormat, LogLevel,
    LogSettings, Network, ProxyProtocol, Queue, Scheme, Snapshot, StatusRange, Timeouts,
    TrustedProxies, Underscores, UpstreamServer, UpstreamSettings, Widening,
};
pub use shadow::{Shadow, ShadowOrigin};
pub use source::{Excerpt, MOST_BYTES};
pub use start::{Start, StartError};
pub use waiting::Waiting;

/// Whether this is a server of an upstream, `http://host:port`; else a sentence that says what was expected.
///
/// # Errors
/// When it is not.
pub fn check_server(text: &str) -> Result<(), String> {
    value::server(text).map(drop).map_err(|e| e.to_string())
}
