//! The most recent refusals of a worker, so that an operator can ask why a certain request was refused.
//!
//! A refusal is kept with what it is needed to judge the same request again: method, host and path, never a query and
//! never a header; of the management API not even the path, since a key may stand in it. A worker has a ring of
//! [`KEPT`]: the newest takes the oldest's place, and its memory. Floods of bad keys past their limit are not kept, so
//! that they cannot push out everything else.

use super::metrics::Outcome;
use super::observe::{Head, Observation};
use super::reject::Reject;
use crate::clock::Timestamp;
use crate::http::AdmitError;
use crate::key::{KeyDigest, KeyId};
use crate::keycache::Unidentified;
use crate::net::{Peer, causes};
use crate::policy::{Refusal, Route};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, header};
use std::cell::RefCell;
use std::sync::Arc;

/// How many refusals a worker remembers.
pub const KEPT: usize = 512;

/// How much of a path or a host is kept: more has no reading that a route takes, or is refused for its length.
const MOST_BYTES: usize = 1024;

/// What a request asks for that was refused before its head had one reading.
pub(super) struct Unread {
    method: Method,
    target: Option<PathAndQuery>,
    host: Host,
}

enum Host {
    None,
    Header(HeaderValue),
    Authority(Authority),
}

impl Unread {
    pub(super) fn of(head: &Head, headers: &HeaderMap) -> Self {
        Unread {
            method: head.method.clone(),
            target: head.uri.path_and_query().cloned(),
            host: match (head.uri.authority(), headers.get(header::HOST)) {
                (Some(authority), _) => Host::Authority(authority.clone()),
                (None, Some(host)) => Host::Header(host.clone()),
                (None, None) => Host::None,
            },
        }
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn path(&self) -> &str {
        self.target.as_ref().map_or("", PathAndQuery::path)
    }

    pub(super) fn host(&self) -> &str {
        match &self.host {
            Host::None => "",
            Host::Header(value) => value.to_str().unwrap_or_default(),
            Host::Authority(authority) => authority.as_str(),
        }
    }
}

/// A worker's last refusals.
#[derive(Default)]
pub(super) struct Refusals(RefCell<Ring>);

#[derive(Default)]
struct Ring {
    slots: Vec<Slot>,
    /// Where the next one goes, once all are taken.
    next: usize,
}

struct Slot {
    id: String,
    at: Timestamp,
    client: Peer,
    method: Method,
    /// Empty: not kept.
    path: String,
    host: String,
    route: Option<Arc<Route>>,
    key: Option<(KeyId, KeyDigest)>,
    generation: u64,
    status: u16,
    refused: Refused,
}

/// What is kept of a [`Reject`].
pub(super) struct Refused {
    outcome: Outcome,
    reason: &'static str,
    caller: RefusedCaller,
    cause: Cause,
}

/// Made words only when someone asks, where it comes with every stranger's request.
enum Cause {
    Admit(AdmitError),
    Policy(Refusal),
    Key(Unidentified),
    Told(String),
}

impl Refused {
    /// What is to be kept; `None` of what nobody asks about: answers, clients that have gone, floods.
    pub(super) fn of(reject: &Reject) -> Option<Self> {
        let outcome = reject.outcome();
        let caller = match reject {
            Reject::NoKey | Reject::Refused(Refusal::Unidentified) => RefusedCaller::Anyone,
            Reject::Unidentified(Unidentified::Malformed) => RefusedCaller::Malformed,
            Reject::Unidentified(Unidentified::Unknown) => RefusedCaller::Unknown,
            _ => RefusedCaller::Other,
        };
        let cause = match (outcome, reject) {
            (Outcome::Preflight | Outcome::ClientGone | Outcome::TooManyFailures, _) => {
                return None;
            }
            (_, Reject::Admit(error)) => Cause::Admit(*error),
            (_, Reject::Refused(refusal)) => Cause::Policy(refusal.clone()),
            (_, Reject::Unidentified(error)) => Cause::Key(*error),
            (_, other) => Cause::Told(causes(other)),
        };
        Some(Refused {
            outcome,
            reason: reject.reason(),
            caller,
            cause,
        })
    }

    fn why(&self) -> String {
        match &self.cause {
            Cause::Admit(error) => causes(error),
            Cause::Policy(refusal) => refusal.to_string(),
            Cause::Key(error) => error.to_string(),
            Cause::Told(text) => text.clone(),
        }
    }
}

/// A refusal, told.
#[derive(Clone)]
pub struct Decision {
    /// The request's id.
    pub id: String,
    pub at: Timestamp,
    pub client: Peer,
    pub method: Method,
    /// `None` where there was none that could be read.
    pub host: Option<String>,
    /// Without its query; `None` for the management API, and where it is very long.
    pub path: Option<String>,
    pub route: Option<Arc<Route>>,
    /// Of the key that was found, if one was.
    pub key: Option<(KeyId, KeyDigest)>,
    /// The generation that decided.
    pub generation: u64,
    pub status: u16,
    /// As the access log has it.
    pub outcome: &'static str,
    pub reason: &'static str,
    /// The exact cause.
    pub why: String,
    /// Whether the caller showed no key, one that is none, or one that nobody has.
    pub caller: RefusedCaller,
}

/// What is known of who was refused, besides the key that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusedCaller {
    /// It showed no key.
    Anyone,
    /// It showed what cannot be a key.
    Malformed,
    /// It showed a key that nobody has.
    Unknown,
    /// It was refused before its key was looked for, or has a key.
    Other,
}

/// Which refusals are wanted.
#[derive(Clone, Debug)]
pub enum WantedDecisions {
    /// That of the request with this id.
    Id(String),
    /// The newest, so many at most.
    Newest(usize),
}

impl Refusals {
    /// Keeps a refusal.
    pub(super) fn keep(
        &self,
        observation: &Observation,
        generation: u64,
        status: u16,
        refused: Refused,
    ) {
        observation.asked(|method, host, path| {
            self.put(
                observation,
                (method, host, path),
                generation,
                status,
                refused,
            );
        });
    }

    fn put(
        &self,
        observation: &Observation,
        (method, host, path): (&Method, &str, &str),
        generation: u64,
        status: u16,
        refused: Refused,
    ) {
        let is_management = observation.is_management();
        let path = match is_management || path.len() > MOST_BYTES {
            true => "",
            false => path,
        };
        let host = if host.len() > MOST_BYTES { "" } else { host };
        let mut ring = self.0.borrow_mut();
        let mut slot = match ring.slots.len() < KEPT {
            true => None,
            false => {
                let next = ring.next;
                ring.next = (next + 1) % KEPT;
                Some(next)
            }
        };
        // The oldest one's memory is the newest one's.
        let (mut id, mut kept_path, mut kept_host) = match slot.map(|at| &mut ring.slots[at]) {
            Some(old) => (
                std::mem::take(&mut old.id),
                std::mem::take(&mut old.path),
                std::mem::take(&mut old.host),
            ),
            None => Default::default(),
        };
        for (text, new) in [
            (&mut id, observation.id().as_str()),
            (&mut kept_path, path),
            (&mut kept_host, host),
        ] {
            text.clear();
            text.push_str(new);
        }
        let new = Slot {
            id,
            at: Timestamp::now(),
            client: observation.client(),
            method: method.clone(),
            path: kept_path,
            host: kept_host,
            route: observation.remnant().route.clone(),
            key: observation.key(),
            generation,
            status,
            refused,
        };
        match slot.take() {
            Some(at) => ring.slots[at] = new,
            None => ring.slots.push(new),
        }
    }

    /// Tells those that are wanted, the newest first.
    pub(super) fn tell(&self, wanted: &WantedDecisions) -> Vec<Decision> {
        let ring = self.0.borrow();
        let (older, newer) = ring.slots.split_at(ring.next);
        let newest_first = older.iter().rev().chain(newer.iter().rev());
        match wanted {
            WantedDecisions::Id(id) => {
                let mut found = newest_first.filter(|slot| slot.id == *id);
                found.next().map(Slot::tell).into_iter().collect()
            }
            WantedDecisions::Newest(most) => newest_first.take(*most).map(Slot::tell).collect(),
        }
    }
}

impl Slot {
    fn tell(&self) -> Decision {
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        Decision {
            id: self.id.clone(),
            at: self.at,
            client: self.client,
            method: self.method.clone(),
            host: some(&self.host),
            path: some(&self.path),
            route: self.route.clone(),
            key: self.key,
            generation: self.generation,
            status: self.status,
            outcome: self.refused.outcome.as_str(),
            reason: self.refused.reason,
            why: self.refused.why(),
            caller: self.refused.caller,
        }
    }
}
