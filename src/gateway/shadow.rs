//! Beside the decision in force: what the policy in shadow would have decided about the same request.
//!
//! It is asked after the same head was admitted, about the same key, by the functions that decide in force, and it changes
//! nothing of what the client or the upstream gets. Where there is no shadow policy, all this is one test of an `Option`.
//!
//! `GET /reports` without a key, public in force and tried with a scope: in force does not identify anyone. The shadow's
//! route needs a key, so one is looked for now; a good one is judged, and where there is none it would be 401. No failed
//! authentication is counted of it, by network or in metrics, and no line of the log names the key.
//!
//! What is counted is bounded. Requests that the two decide alike are counted by their routes; those that they do not, by
//! key too, up to [`ROWS`] different ones, and then all together. Both policies' routes and the keys of the store are the
//! operator's, and who has no good key has no name here: no client makes rows.

use super::generation::route_name;
use super::identify::{Identified, holder};
use super::metrics::NO_ROUTE;
use super::permit::Allowed;
use super::route::Matched;
use super::{Exchange, Reject, Request};
use crate::clock::Timestamp;
use crate::config::{Shadow, Snapshot};
use crate::http::Admitted;
use crate::key::{KeyId, KeyRecord};
use crate::policy::{Comparison, Identity, Refusal, RouteIndex, Routed};
use http::StatusCode;
use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

/// Most rows that a worker keeps of requests that are decided alike, and as many of others: some 100 bytes each.
const ROWS: usize = 1024;

/// A shadow policy as one worker tries it.
pub(super) struct Trial {
    shadow: Arc<Shadow>,
    counts: RefCell<Counts>,
}

/// What one policy says of a request.
#[derive(Clone, Copy)]
struct Ruling {
    route: u32,
    /// Of the refusal; `None`: it is let through.
    refused: Option<StatusCode>,
}

/// What the shadow policy would have said, and whose key it was.
struct Would {
    ruling: Ruling,
    key: Option<KeyId>,
}

impl Trial {
    /// The one of a snapshot. Where it is the one before, so are the counts.
    pub(super) fn of(snapshot: &Snapshot, before: Option<&Rc<Trial>>) -> Option<Rc<Trial>> {
        let shadow = snapshot.hot.shadow.as_ref()?;
        match before {
            Some(before) if Arc::ptr_eq(&before.shadow, shadow) => Some(Rc::clone(before)),
            Some(_) | None => Some(Rc::new(Trial {
                shadow: Arc::clone(shadow),
                counts: RefCell::default(),
            })),
        }
    }

    /// Takes note of a request whose client could not be identified in force.
    #[inline(never)]
    pub(super) fn unidentified(&self, matched: &Matched) {
        let would = self.would(&matched.admitted, |_| None);
        let in_force = Ruling::refused(&matched.routed, Refusal::Unidentified.status());
        self.count(in_force, would);
    }

    /// Has the policy in force decide, and takes note of what the two say.
    #[inline(never)]
    pub(super) fn beside(
        &self,
        exchange: Exchange<Identified>,
        decide: impl FnOnce(Exchange<Identified>) -> Result<Exchange<Allowed>, Reject>,
    ) -> Result<Exchange<Allowed>, Reject> {
        // Before the proofs are used up.
        let Identified {
            admitted,
            routed,
            identity,
        } = &exchange.proof;
        let would = match identity {
            Identity::Key(principal) => self.would(admitted, |_| Some(principal.record())),
            Identity::Anonymous => self.would_anonymous(admitted, &exchange),
        };
        let mut in_force = Ruling::passed(routed);
        let decided = decide(exchange);
        match &decided {
            Ok(_) => {}
            Err(Reject::Refused(refusal)) => in_force.refused = Some(refusal.status()),
            // The policy decides about nothing else.
            Err(_) => return decided,
        }
        self.count(in_force, would);
        decided
    }

    /// What it would say to a client that in force need not say who it is.
    fn would_anonymous(&self, admitted: &Admitted, request: &Request) -> Would {
        let mut found = None;
        self.would(admitted, |needs_key| {
            if needs_key {
                found = holder(request).ok();
            }
            found.as_ref().map(|principal| principal.record())
        })
    }

    fn would<'r>(
        &self,
        admitted: &Admitted,
        who: impl FnOnce(bool) -> Option<&'r KeyRecord>,
    ) -> Would {
        let policy = &self.shadow.policy;
        let routed = policy.route(admitted);
        let key = who(routed.needs_key());
        let mut ruling = Ruling::passed(&routed);
        let judged = policy.judge(routed, key.map(|key| &key.scope));
        ruling.refused = judged.err().map(|refusal| refusal.status());
        Would {
            ruling,
            key: key.map(|key| key.id),
        }
    }

    fn count(&self, in_force: Ruling, would: Would) {
        let now = Timestamp::now();
        self.counts.borrow_mut().add(in_force, would, now);
    }

    /// What was counted, by route: of the one that lets a request through or, where none does, would.
    pub(super) fn totals(&self, snapshot: &Snapshot) -> BTreeMap<(Comparison, Arc<str>), u64> {
        let mut totals = BTreeMap::new();
        for ((comparison, route), count) in &self.counts.borrow().totals {
            let name = match comparison {
                Comparison::WouldDeny | Comparison::Agree => route_name(snapshot, *route),
                Comparison::WouldAllow => self.shadow_route(*route),
            };
            *totals.entry((*comparison, name)).or_insert(0) += count;
        }
        totals
    }

    /// What was counted, in whole.
    pub(super) fn report(&self, snapshot: &Snapshot) -> ShadowReport {
        let counts = self.counts.borrow();
        let rows = counts.alike.iter().chain(&counts.otherwise);
        let rows = rows.map(|(row, count)| {
            let row = ShadowRow {
                comparison: row.comparison,
                route: route_name(snapshot, row.route),
                shadow_route: self.shadow_route(row.shadow_route),
                key: row.key,
                refused: row.refused,
                would_be_refused: row.would_be_refused,
            };
            (row, *count)
        });
        ShadowReport {
            shadow: Arc::clone(&self.shadow),
            rows: rows.collect(),
            others: counts.others.clone(),
        }
    }

    fn shadow_route(&self, route: u32) -> Arc<str> {
        match self.shadow.policy.routes().get(route as usize) {
            Some(found) => Arc::clone(&found.name),
            None => Arc::from("-"),
        }
    }
}

impl Ruling {
    fn passed(routed: &Routed) -> Self {
        Ruling {
            route: routed.route_index().map_or(NO_ROUTE, RouteIndex::as_u32),
            refused: None,
        }
    }

    fn refused(routed: &Routed, status: StatusCode) -> Self {
        Ruling {
            refused: Some(status),
            ..Ruling::passed(routed)
        }
    }
}

/// What one worker has counted.
#[derive(Default)]
struct Counts {
    /// By the route in force; of what would be allowed, by the shadow's. As many as there are routes.
    totals: HashMap<(Comparison, u32), u64>,
    /// Decided alike: without the key.
    alike: HashMap<Row, Tally>,
    otherwise: HashMap<Row, Tally>,
    /// What there was no row for.
    others: BTreeMap<Comparison, Tally>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Row {
    comparison: Comparison,
    route: u32,
    shadow_route: u32,
    key: Option<KeyId>,
    refused: Option<StatusCode>,
    would_be_refused: Option<StatusCode>,
}

/// How often, and when last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tally {
    pub count: u64,
    pub last_seen: Timestamp,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.count += other.count;
        self.last_seen = self.last_seen.max(other.last_seen);
    }
}

impl Counts {
    fn add(&mut self, in_force: Ruling, would: Would, now: Timestamp) {
        let tried = would.ruling;
        let comparison = Comparison::of(in_force.refused.is_none(), tried.refused.is_none());
        let (route, rows, key) = match comparison {
            Comparison::Agree => (in_force.route, &mut self.alike, None),
            Comparison::WouldDeny => (in_force.route, &mut self.otherwise, would.key),
            Comparison::WouldAllow => (tried.route, &mut self.otherwise, would.key),
        };
        *self.totals.entry((comparison, route)).or_insert(0) += 1;
        let row = Row {
            comparison,
            route: in_force.route,
            shadow_route: tried.route,
            key,
            refused: in_force.refused,
            would_be_refused: tried.refused,
        };
        let one = Tally {
            count: 1,
            last_seen: now,
        };
        let has_room = rows.len() < ROWS;
        match rows.entry(row) {
            Entry::Occupied(known) => known.into_mut().add(one),
            Entry::Vacant(new) if has_room => {
                new.insert(one);
            }
            Entry::Vacant(_) => add(&mut self.others, comparison, one),
        }
    }
}

fn add<K: Ord>(to: &mut BTreeMap<K, Tally>, key: K, tally: Tally) {
    to.entry(key)
        .and_modify(|known| known.add(tally))
        .or_insert(tally);
}

/// What requests are counted together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ShadowRow {
    pub comparison: Comparison,
    /// In force; `-` where none takes the request.
    pub route: Arc<str>,
    /// In the shadow policy, likewise.
    pub shadow_route: Arc<str>,
    /// Of requests that are decided alike, none; else the key, if there was a good one.
    pub key: Option<KeyId>,
    /// The status of the refusal in force; `None`: it was let through.
    pub refused: Option<StatusCode>,
    /// What it would be.
    pub would_be_refused: Option<StatusCode>,
}

/// What one worker, or all of them together, have counted of one shadow policy.
pub struct ShadowReport {
    pub shadow: Arc<Shadow>,
    pub rows: BTreeMap<ShadowRow, Tally>,
    /// What there was no row for.
    pub others: BTreeMap<Comparison, Tally>,
}

impl ShadowReport {
    /// Nothing yet.
    pub fn new(shadow: Arc<Shadow>) -> Self {
        ShadowReport {
            shadow,
            rows: BTreeMap::new(),
            others: BTreeMap::new(),
        }
    }

    /// Adds another worker's, if it is of the same shadow policy.
    pub fn add(&mut self, other: ShadowReport) {
        if !Arc::ptr_eq(&self.shadow, &other.shadow) {
            return;
        }
        for (row, tally) in other.rows {
            add(&mut self.rows, row, tally);
        }
        for (comparison, tally) in other.others {
            add(&mut self.others, comparison, tally);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Option<KeyId> {
        Some(format!("{number:020}").parse().unwrap())
    }

    #[test]
    fn rows_are_bounded_and_no_request_is_lost() {
        let passed = Ruling {
            route: 1,
            refused: None,
        };
        let refused = Ruling {
            route: 2,
            refused: Some(StatusCode::FORBIDDEN),
        };
        let mut counts = Counts::default();
        for round in 0..2 {
            for number in 0..3 * ROWS {
                let ruling = refused;
                let would = Would {
                    ruling,
                    key: key(number),
                };
                counts.add(passed, would, Timestamp::from_unix_seconds(round));
                let ruling = passed;
                let would = Would {
                    ruling,
                    key: key(number),
                };
                counts.add(passed, would, Timestamp::from_unix_seconds(round));
            }
        }
        assert_eq!(counts.otherwise.len(), ROWS);
        assert!(counts.otherwise.values().all(|tally| tally.count == 2));
        let others = counts.others[&Comparison::WouldDeny];
        assert_eq!(others.count as usize, 4 * ROWS);
        assert_eq!(others.last_seen, Timestamp::from_unix_seconds(1));
        let alike: Vec<_> = counts.alike.iter().collect();
        assert_eq!(alike.len(), 1, "keys are not told apart there");
        assert_eq!(alike[0].1.count as usize, 6 * ROWS);
        let totals = &counts.totals;
        assert_eq!(totals[&(Comparison::WouldDeny, 1)] as usize, 6 * ROWS);
        assert_eq!(totals[&(Comparison::Agree, 1)] as usize, 6 * ROWS);
    }
}
