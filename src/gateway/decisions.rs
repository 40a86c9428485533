//! The most recent refusals of a worker, so that an operator can ask why a certain request was refused.
//!
//! A refusal is kept with what it is needed to judge the same request again: method, host and path, never a query and
//! never a header; of the management API not even the path, since a key may stand in it. A worker has a ring of
//! [`KEPT`] for each of three kinds, so that what strangers can make without end, heads that have no reading and keys that
//! are none, does not push out the refusals of those who have a key. The newest takes the oldest's place, and its memory.

use super::metrics::Outcome;
use super::observe::{Head, Observation};
use super::reject::Reject;
use super::watch::Revocation;
use crate::clock::Timestamp;
use crate::http::AdmitError;
use crate::key::{KeyDigest, KeyId};
use crate::keycache::Unidentified;
use crate::net::{Peer, causes};
use crate::policy::{Refusal, Route};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, header};
use std::cell::RefCell;
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

/// How many refusals of each kind a worker remembers.
pub const KEPT: usize = 512;

/// A longer path or host is not kept.
const MOST_BYTES: usize = 1024;

/// How many copies wait to be used again: those of requests that are refused at one time.
const SPARE: usize = 64;

/// A longer method is not kept: no registered one is half as long.
const MOST_METHOD_BYTES: usize = 40;

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

/// A worker's last refusals, by [`Kind`].
#[derive(Default)]
pub(super) struct Refusals {
    rings: [RefCell<Ring>; 3],
    #[expect(
        clippy::vec_box,
        reason = "the boxes move between here, requests and rings"
    )]
    spare: RefCell<Vec<Box<Copied>>>,
}

/// What a refused request asked for, in memory of its own.
#[derive(Default)]
pub(super) struct Copied {
    id: String,
    /// `None`: not kept.
    method: Option<Method>,
    /// Empty: not kept.
    host: String,
    /// Empty: not kept.
    path: String,
}

/// What kinds of refusals are remembered apart.
#[derive(Clone, Copy)]
enum Kind {
    /// Of heads that have no one reading.
    Head,
    /// Of who has no key.
    Stranger,
    /// All others.
    Other,
}

#[derive(Default)]
struct Ring {
    slots: Vec<Slot>,
    /// Where the next one goes, once all are taken.
    next: usize,
}

struct Slot {
    asked: Box<Copied>,
    at: Timestamp,
    /// What had gone by of that second.
    order: Duration,
    client: Peer,
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
            (_, Reject::Revoked(Revocation::Policy(refusal))) => Cause::Policy((**refusal).clone()),
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

    fn kind(&self) -> Kind {
        match (&self.cause, self.caller) {
            (Cause::Admit(_), _) => Kind::Head,
            (_, RefusedCaller::Anyone | RefusedCaller::Malformed | RefusedCaller::Unknown) => {
                Kind::Stranger
            }
            (_, RefusedCaller::Other) => Kind::Other,
        }
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
    /// Within the same second, the greater is the newer.
    pub order: Duration,
    pub client: Peer,
    /// `None` where it is very long.
    pub method: Option<Method>,
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
    /// A copy of what is asked for: the head's own memory is let go, since the next head shall have it. The copy's memory
    /// is that of an earlier one.
    pub(super) fn copy(&self, method: &Method, host: &str, path: &str) -> Box<Copied> {
        let mut copied = self.spare.borrow_mut().pop().unwrap_or_default();
        let bounded = |text: &'_ str| text.len() <= MOST_BYTES;
        copied.method = (method.as_str().len() <= MOST_METHOD_BYTES).then(|| method.clone());
        for (text, new) in [(&mut copied.host, host), (&mut copied.path, path)] {
            text.clear();
            text.push_str(if bounded(new) { new } else { "" });
        }
        copied
    }

    /// Keeps a refusal.
    pub(super) fn keep(
        &self,
        observation: &Observation,
        generation: u64,
        status: u16,
        refused: Refused,
    ) {
        let mut asked = observation.copied(self);
        if observation.is_management() {
            asked.path.clear();
        }
        asked.id.clear();
        asked.id.push_str(observation.id().as_str());
        let (at, order) = Timestamp::now_and_fraction();
        let mut ring = self.rings[refused.kind() as usize].borrow_mut();
        let new = Slot {
            asked,
            at,
            order,
            client: observation.client(),
            route: observation.remnant().route.clone(),
            key: observation.key(),
            generation,
            status,
            refused,
        };
        if ring.slots.len() < KEPT {
            return ring.slots.push(new);
        }
        let next = ring.next;
        ring.next = (next + 1) % KEPT;
        let old = std::mem::replace(&mut ring.slots[next], new);
        self.give_back(old.asked);
    }

    /// Takes a copy back that nobody needs.
    pub(super) fn give_back(&self, copied: Box<Copied>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE {
            spare.push(copied);
        }
    }

    /// Tells those that are wanted, the newest first.
    pub(super) fn tell(&self, wanted: &WantedDecisions) -> Vec<Decision> {
        let rings = self.rings.iter().map(RefCell::borrow);
        let mut told: Vec<Decision> = rings.flat_map(|ring| ring.tell(wanted)).collect();
        told.sort_by_key(|decision| Reverse((decision.at, decision.order)));
        told
    }
}

impl Ring {
    fn tell(&self, wanted: &WantedDecisions) -> Vec<Decision> {
        let (older, newer) = self.slots.split_at(self.next);
        let newest_first = older.iter().rev().chain(newer.iter().rev());
        match wanted {
            WantedDecisions::Id(id) => {
                let mut found = newest_first.filter(|slot| slot.asked.id == *id);
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
            id: self.asked.id.clone(),
            at: self.at,
            client: self.client,
            order: self.order,
            method: self.asked.method.clone(),
            host: some(&self.asked.host),
            path: some(&self.asked.path),
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
