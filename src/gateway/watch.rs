//! Exchanges that stay open, by key: when a key is deleted, disabled, expires or loses the scope, they end.
//!
//! A request is judged once, when it comes. One that stays open would keep what its key no longer has. So a worker keeps
//! a register of the exchanges that last: upgraded connections, event streams and gRPC from the start, every other once it
//! has been open for [`LASTING`]. Ten times a second the worker looks whether the key cache has changed at all; only then,
//! or when a key's time is over, are the keys *of the register* looked up again, and only those exchanges that must end
//! are woken. An exchange that is shorter finishes.
//!
//! For a request it costs two words in the lane that it came in; the register holds nothing of one that is over.

use super::observe::Observation;
use super::{Context, Link};
use crate::clock::Timestamp;
use crate::key::{KeyDigest, KeyId};
use crate::policy::Access;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// How long an ordinary exchange may be open before its key is watched.
pub(super) const LASTING: Duration = Duration::from_secs(10);

/// How often the worker looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why an exchange that was permitted may not go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Revocation {
    /// The key is gone, disabled or expired.
    Key,
    /// The key's scope is not one of the route's any more.
    Scope,
}

/// A worker's register of exchanges that last.
#[derive(Default)]
pub(super) struct Watch {
    /// Every lane, so that exchanges that have become old are found.
    lanes: RefCell<Vec<Weak<Link>>>,
    keys: RefCell<HashMap<KeyId, Watched>>,
    /// How many changes the key cache had when it was last looked at.
    changes: Cell<u64>,
}

struct Watched {
    digest: KeyDigest,
    expires_at: Option<Timestamp>,
    exchanges: Vec<Weak<Observation>>,
}

impl Watch {
    /// A lane in which exchanges may become old.
    pub(super) fn lane(&self, link: &Rc<Link>) {
        self.lanes.borrow_mut().push(Rc::downgrade(link));
    }
}

impl Context {
    /// From now on the exchange ends with what its key may do. Nothing is watched on a public route.
    pub(super) fn watch(&self, exchange: &Rc<Observation>) {
        let Some((id, digest)) = exchange.key() else {
            return;
        };
        if !exchange.begin_watch() {
            return;
        }
        let mut keys = self.watch.keys.borrow_mut();
        let watched = keys.entry(id).or_insert_with(|| Watched {
            digest,
            expires_at: None,
            exchanges: Vec::new(),
        });
        watched.exchanges.push(Rc::downgrade(exchange));
        // The key may have changed since it was identified.
        self.judge(watched, Timestamp::now());
    }

    /// Ends what must end. To be called every [`LOOK_EVERY`].
    pub fn look_at_keys(&self) {
        self.find_lasting();
        let changes = self.keys.cache().changes();
        let moved = self.watch.changes.replace(changes) != changes;
        let now = Timestamp::now();
        self.watch.keys.borrow_mut().retain(|_, watched| {
            watched.exchanges.retain(|weak| weak.strong_count() > 0);
            let over = watched.expires_at.is_some_and(|end| end <= now);
            if moved || over {
                self.judge(watched, now);
            }
            !watched.exchanges.is_empty()
        });
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

    /// Looks a key up again and ends those of its exchanges that it no longer carries.
    fn judge(&self, watched: &mut Watched, now: Timestamp) {
        let found = self.keys.cache().look_up(&watched.digest, now);
        watched.expires_at = found.as_ref().and_then(|record| record.expires_at);
        for exchange in watched.exchanges.iter().filter_map(Weak::upgrade) {
            let revoked = match &found {
                None => Some(Revocation::Key),
                Some(record) => exchange.route().and_then(|route| match &route.access {
                    Access::Scopes(scopes) if !scopes.contains(&record.scope) => {
                        Some(Revocation::Scope)
                    }
                    _ => None,
                }),
            };
            if let Some(why) = revoked {
                exchange.link().revoke(why);
            }
        }
    }
}
