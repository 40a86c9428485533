//! Exchanges that stay open: when they are permitted no longer, they end.
//!
//! A request is judged once, when it comes. One that stays open would keep what its key no longer has, or what the policy
//! no longer gives. So a worker keeps a register of the exchanges that last: upgraded connections, event streams and gRPC
//! from the start, every other once it has been open for [`LASTING`]. Ten times a second the worker looks whether there is
//! a new policy, and whether the key cache has changed at all; only then, or when a key's time is over, are those *of the
//! register* judged again, by the policy in force and with the scope that the key has now. Whoever would be refused today
//! is woken and ends; for all others nothing happens, even where another route or upstream would take them now. An
//! exchange that is shorter finishes.
//!
//! A WebSocket at `/v3/live`, opened with an authOnly key. A reload makes the route ask for fullAccess: within a tenth of a
//! second the worker routes the request again, finds the scope lacking, and the tunnel ends with 1008. Had the reload
//! made the route public instead, the tunnel would go on, and so it would when its key is deleted later.
//!
//! The judgement is the line's own, [`Policy::route`](crate::policy::Policy::route) and
//! [`Policy::judge`](crate::policy::Policy::judge). What was public when it came has no key, also where one was sent: it was
//! not looked at then and is not kept.
//!
//! An upload may outlive its answer. The exchange is over then for the client, and for the log; what is left of the body is
//! not: it is in the register from then on, an [`Upload`], and is left by its upstream when its request would be refused.
//!
//! For a request it costs three words in the lane that it came in, and a clone of what was admitted, which allocates
//! nothing: it shares the head's memory. What lasts gets a copy of its own, so that neither hyper's buffers nor the key in
//! them stay for hours. The register holds nothing of an exchange that is over.

use super::observe::Observation;
use super::upload::Upload;
use super::{Context, Generation, Link};
use crate::clock::Timestamp;
use crate::key::{KeyDigest, KeyId, ScopeName};
use crate::policy::{Policy, Refusal};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// How long an ordinary exchange may be open before it is watched.
pub(super) const LASTING: Duration = Duration::from_secs(10);

/// How often the worker looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why an exchange that was permitted may not go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Revocation {
    /// The key is gone, disabled or expired.
    Key,
    /// The key's scope is another one now, and not one of the route's.
    Scope,
    /// There is another policy, which refuses the request.
    Policy(Box<Refusal>),
}

impl Revocation {
    /// A word for the access log, of an answer that had begun.
    pub(super) fn of_an_answer(&self) -> &'static str {
        match self {
            Revocation::Key | Revocation::Scope => "revoked",
            Revocation::Policy(_) => "policy_changed",
        }
    }

    /// A word for the access log, of a tunnel.
    pub(super) fn of_a_tunnel(&self) -> &'static str {
        match self {
            Revocation::Key | Revocation::Scope => "tunnel_revoked",
            Revocation::Policy(_) => "tunnel_policy_changed",
        }
    }
}

/// A worker's register of exchanges that last.
#[derive(Default)]
pub(super) struct Watch {
    /// Every lane, so that exchanges that have become old are found.
    lanes: RefCell<Vec<Weak<Link>>>,
    /// By key; `None` has what was public when it came.
    holders: RefCell<HashMap<Option<KeyId>, Holder>>,
    /// How many changes the key cache had when it was last looked at.
    changes: Cell<u64>,
    /// The generation by which all were last judged.
    generation: Cell<u64>,
}

/// The exchanges of one key.
struct Holder {
    digest: Option<KeyDigest>,
    /// The scope with which all were last judged; `None`: no key that is in force.
    scope: Option<ScopeName>,
    expires_at: Option<Timestamp>,
    exchanges: Vec<Watched>,
}

struct Watched {
    what: Lasting,
    /// The generation by which it was last judged.
    judged_by: u64,
}

/// What is judged again.
enum Lasting {
    Exchange(Weak<Observation>),
    /// What is left of one.
    Upload(Box<Upload>),
}

impl Watch {
    /// A lane in which exchanges may become old.
    pub(super) fn lane(&self, link: &Rc<Link>) {
        self.lanes.borrow_mut().push(Rc::downgrade(link));
    }
}

impl Context {
    /// From now on the exchange ends when it is permitted no longer.
    pub(super) fn watch(&self, exchange: &Rc<Observation>) {
        if !exchange.begin_watch() {
            return;
        }
        let watched = Watched {
            what: Lasting::Exchange(Rc::downgrade(exchange)),
            judged_by: exchange.remnant().generation,
        };
        self.register(exchange.key(), watched);
    }

    /// From now on what is left of the exchange's upload ends when it is permitted no longer.
    pub(super) fn watch_upload(&self, exchange: &Observation) {
        let Some(upload) = exchange.rest_of_upload() else {
            return;
        };
        let watched = Watched {
            what: Lasting::Upload(Box::new(upload)),
            judged_by: exchange.remnant().generation,
        };
        self.register(exchange.key(), watched);
    }

    fn register(&self, key: Option<(KeyId, KeyDigest)>, mut watched: Watched) {
        let (id, digest) = key.unzip();
        let found = self.in_force(digest.as_ref(), Timestamp::now());
        let (scope, expires_at) = found.unzip();
        // Key and policy may have changed since the request was judged.
        watched.judge(&self.generation(), id.is_some(), scope.as_ref());
        let mut holders = self.watch.holders.borrow_mut();
        // Where it is there already, and its key has changed, the next look finds that out for all of them.
        let holder = holders.entry(id).or_insert_with(|| Holder {
            digest,
            scope,
            expires_at: expires_at.flatten(),
            exchanges: Vec::new(),
        });
        holder.exchanges.push(watched);
    }

    /// Ends what must end. To be called every [`LOOK_EVERY`].
    pub fn look_again(&self) {
        self.find_lasting();
        let generation = self.generation();
        let number = generation.snapshot.generation;
        let new_policy = self.watch.generation.replace(number) != number;
        let changes = self.keys.cache().changes();
        let new_keys = self.watch.changes.replace(changes) != changes;
        let now = Timestamp::now();
        let mut ended = 0;
        self.watch.holders.borrow_mut().retain(|id, holder| {
            holder.exchanges.retain(|watched| watched.what.goes_on());
            let mut again = new_policy;
            if new_keys || holder.expires_at.is_some_and(|end| end <= now) {
                let (scope, expires_at) = self.in_force(holder.digest.as_ref(), now).unzip();
                holder.expires_at = expires_at.flatten();
                again |= holder.scope != scope;
                holder.scope = scope;
            }
            if again {
                for watched in &mut holder.exchanges {
                    let scope = holder.scope.as_ref();
                    ended += usize::from(watched.judge(&generation, id.is_some(), scope));
                }
            }
            !holder.exchanges.is_empty()
        });
        if new_policy {
            let workers = self.cold.workers;
            if let Some(told) = self.shared.endings.judged(number, ended, workers) {
                tracing::info!(
                    generation = told.generation,
                    ended = told.exchanges,
                    "open exchanges that the policy in force permits no longer have ended"
                );
            }
        }
    }

    /// Finds the exchanges that have become old.
    fn find_lasting(&self) {
        let mut lasting = Vec::new();
        self.watch.lanes.borrow_mut().retain(|weak| {
            let Some(link) = weak.upgrade() else {
                return false;
            };
            if let Some(exchange) = link.exchange()
                && exchange.is_older_than(LASTING)
            {
                lasting.push(exchange);
            }
            true
        });
        for exchange in lasting {
            self.watch(&exchange);
        }
    }

    /// The scope of a key that is in force, and until when it is.
    fn in_force(
        &self,
        digest: Option<&KeyDigest>,
        now: Timestamp,
    ) -> Option<(ScopeName, Option<Timestamp>)> {
        let record = self.keys.cache().look_up(digest?, now)?;
        Some((record.scope, record.expires_at))
    }
}

impl Watched {
    /// Judges it by this generation, with a key of this scope or none now; `keyed`: it had one when it came. Whether it ends
    /// because of the policy.
    fn judge(&mut self, generation: &Generation, keyed: bool, scope: Option<&ScopeName>) -> bool {
        let number = generation.snapshot.generation;
        let new_policy = std::mem::replace(&mut self.judged_by, number) != number;
        let policy = &generation.snapshot.hot.policy;
        let Some(refusal) = self.what.refusal(policy, scope) else {
            return false;
        };
        let why = match refusal {
            Refusal::Unidentified if keyed => Revocation::Key,
            Refusal::ScopeLacking if !new_policy => Revocation::Scope,
            refusal => Revocation::Policy(Box::new(refusal)),
        };
        let by_policy = matches!(why, Revocation::Policy(_));
        self.what.end(why) && by_policy
    }
}

impl Lasting {
    fn goes_on(&self) -> bool {
        match self {
            Lasting::Exchange(exchange) => exchange.strong_count() > 0,
            Lasting::Upload(upload) => upload.goes_on(),
        }
    }

    /// Why this policy refuses it now, if it does and there is something to end.
    fn refusal(&self, policy: &Policy, scope: Option<&ScopeName>) -> Option<Refusal> {
        match self {
            Lasting::Exchange(exchange) => exchange.upgrade()?.refusal(policy, scope),
            Lasting::Upload(upload) => upload.refusal(policy, scope),
        }
    }

    /// Ends it; whether that was news to it.
    fn end(&self, why: Revocation) -> bool {
        match self {
            Lasting::Exchange(exchange) => exchange
                .upgrade()
                .is_some_and(|exchange| exchange.link().revoke(why)),
            Lasting::Upload(upload) => upload.end(&why),
        }
    }
}
