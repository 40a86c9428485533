//! The rules of HTTP that keygate holds, as pure functions: nothing here does I/O, knows a key or a policy.
//!
//! A request comes as hyper parsed it: a head and a body that nobody has polled. [`admit`] looks at the head as a whole
//! and either gives an [`Admitted`], which says in one way only what is asked for (method, host, canonical target), or
//! refuses; it never repairs. What no later step may see differently is fixed here: the policy matches
//! [`Admitted::path`], and the upstream is sent exactly [`Admitted::path_and_query`]. On the way to the upstream
//! [`headers::sanitize_request`] takes out what is hop-by-hop, what claims an identity and what could be read as a
//! second target; [`forwarded`] puts in what keygate itself knows of the client, and [`edits`] what the operator wants.
//!
//! `GET /v3/users/%63yclops2?x=%zz` becomes the path `/v3/users/cyclops2` and keeps its query as it is;
//! `GET /v3/users/..;/admin` is refused, since a server that cuts parameters would read a dot segment.

mod admit;
pub mod cors;
pub mod edits;
pub mod error_body;
mod exceptions;
pub mod forwarded;
pub mod grpc;
pub mod headers;
mod host;
mod request_id;
mod target;

pub use exceptions::Exceptions;
pub use host::{HostError, canonical_host, parse_host};

pub use admit::{
    AdmitError, AdmitRules, Admitted, UnderscoreRule, admit, is_spelled_as_methods_are,
};
pub use request_id::{RequestId, RequestIds};
pub use target::{TargetError, canonical_path};
