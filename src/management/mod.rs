//! `/apikeys`: the management API. Parse the whole request to a command, then act.
//!
//! What it is not for: the gateway has routed, identified, permitted and limited the request before it comes here, and
//! turns what comes back into HTTP. There is no second way in, and no status, no header is decided here.
//!
//! One request walked through. `POST /v3/apikeys` with `{"name": "Rest API Key", "scope": "fullAccess"}` arrives as a
//! [`Call`] with the operation `Create`. `request` looks at the content type and hands the body to `body`, which
//! makes members of it: `name` is a text, `scope` is a text. `command` gives each member its type, the name is a
//! `KeyName`, the scope is one that the policy declares, and collects everything that is wrong on the way (`faults`).
//! Only a command without a fault reaches `service`, which lets the key cache carry it out in the name of the key that
//! asked; whether that key may is decided inside the transaction, not here. What was made is written by `json`.

mod body;
mod command;
mod error;
mod faults;
mod json;
mod query;
mod request;
mod service;

pub use error::ManagementError;
pub use faults::Faults;
pub(crate) use json::KeyJson;
pub use service::answer;

/// The fuzzers' door: what a call is read as, with nothing done about it.
#[doc(hidden)]
pub mod fuzzing {
    pub use super::request::Request;
}

use crate::clock::Timestamp;
use crate::key::{Authority, KeyId, Reveal, ScopeName};
use crate::net::Peer;
use crate::policy::ManagementOp;
use bytes::Bytes;
use std::sync::Arc;

/// A request to the management API that was routed, identified, permitted and read.
#[derive(Clone)]
pub struct Call<'a> {
    pub op: ManagementOp,
    /// What stands for `{apiKey}` in the canonical path, still percent-encoded.
    pub selector: Option<&'a str>,
    /// The query, without its `?`.
    pub query: Option<&'a str>,
    pub content_type: ContentType<'a>,
    /// The whole body; at most 64 KiB.
    pub body: Bytes,
    /// The key that asks.
    pub actor: KeyId,
    /// The client, for the audit trail.
    pub client: Option<Peer>,
    /// The request's id, for the audit trail.
    pub request_id: &'a str,
    pub now: Timestamp,
}

/// What a request says of its body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContentType<'a> {
    Absent,
    One(&'a [u8]),
    /// More than one header: nothing that can be believed.
    Several,
}

impl<'a> ContentType<'a> {
    /// What these headers say.
    pub fn of(headers: &'a ::http::HeaderMap) -> Self {
        let mut values = headers.get_all(::http::header::CONTENT_TYPE).iter();
        match (values.next(), values.next()) {
            (None, _) => ContentType::Absent,
            (Some(value), None) => ContentType::One(value.as_bytes()),
            (Some(_), Some(_)) => ContentType::Several,
        }
    }
}

/// What the policy in force says of keys; of the request's snapshot.
#[derive(Clone)]
pub struct Settings {
    /// The declared scopes, and which keys may manage which.
    pub authority: Arc<Authority>,
    /// The scope of a new key when the request names none.
    pub default_scope: Option<ScopeName>,
    /// Whether new keys are kept so that they can be shown again.
    pub reveal: Reveal,
}

/// An answer: always 200, `application/json`, and `Cache-Control: no-store`, since it may hold keys.
pub struct Answer {
    /// JSON, wiped when its last handle goes.
    pub body: Bytes,
}
