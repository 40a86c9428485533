//! What the requests of one worker share.

use super::access_line::AccessLines;
use super::decisions::{Decision, Refusals, WantedDecisions};
use super::failures::ClientNetwork;
use super::generation::{Generation, route_name};
use super::metrics::{Metrics, Report};
use super::open::{Seat, Who};
use super::shadow::ShadowReport;
use super::shared::Shared;
use super::watch::Watch;
use crate::config::{Cold, Snapshot};
use crate::deadline::Sweeper;
use crate::http::RequestIds;
use crate::keycache::{Keys, Verifier};
use crate::net::Peer;
use crate::proxy::{BodyState, RequestBody};
use crate::upstream::Upstreams;
use arc_swap::{ArcSwap, Cache};
use http::HeaderValue;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

/// What one worker works with.
pub struct Context {
    pub(super) keys: Keys,
    pub(super) verifier: Verifier,
    pub(super) cold: Arc<Cold>,
    pub(super) shared: Arc<Shared>,
    pub(super) metrics: RefCell<Metrics>,
    pub(super) access: AccessLines,
    pub(super) ids: RefCell<RequestIds>,
    pub(super) sweeper: Sweeper,
    upstreams: RefCell<Upstreams<RequestBody>>,
    snapshots: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    generation: RefCell<Rc<Generation>>,
    /// A generation was replaced whose counters are to be folded.
    replaced: Notify,
    /// Clients are to go elsewhere.
    pub(super) leaving: Cell<bool>,
    /// Exchanges that last.
    pub(super) watch: Watch,
    /// What was refused of late.
    pub(super) refusals: Refusals,
    /// What a request without a good key is told to send: the scheme, and the header that carries the key (RFC 9110,
    /// section 11.6.1).
    pub(super) challenge: HeaderValue,
    /// Connections that rest.
    pub(super) resting: Cell<u64>,
    /// Requests that are open.
    requests: Cell<usize>,
    /// How far the body is of requests that have none.
    pub(super) no_body: Rc<BodyState>,
}

/// Why a client network may have no new connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionRefused {
    /// It has as many as it may.
    TooMany,
    /// Too many of its last ones were flooded.
    Flood,
}

impl ConnectionRefused {
    /// What it is counted under.
    pub fn reason(self) -> &'static str {
        match self {
            ConnectionRefused::TooMany => "network_limit",
            ConnectionRefused::Flood => "network_floods",
        }
    }
}

/// How many counters a worker folds before it serves again: some tens of microseconds.
const FOLDED_AT_ONCE: usize = 64;

impl Context {
    /// A worker's context, on the snapshot in force.
    pub fn new(
        cold: Arc<Cold>,
        keys: Keys,
        snapshots: Arc<ArcSwap<Snapshot>>,
        shared: Arc<Shared>,
        sweeper: Sweeper,
    ) -> Self {
        let mut upstreams = Upstreams::new(Arc::clone(&shared.fleet), sweeper.clone());
        let mut snapshots = Cache::new(snapshots);
        let snapshot = Arc::clone(snapshots.load());
        let hot = &snapshot.hot;
        let adopted = upstreams.adopt(snapshot.generation, &hot.upstreams, &hot.hosts);
        let generation = Rc::new(Generation::new(snapshot, adopted, &cold, None));
        let challenge = format!("ApiKey realm=\"keygate\", header=\"{}\"", cold.keys.header);
        Context {
            challenge: HeaderValue::from_str(&challenge)
                .expect("a header's name is made of visible ASCII characters"),
            verifier: Verifier::new(Arc::clone(keys.cache())),
            keys,
            cold,
            access: AccessLines::new(shared.log.clone()),
            shared,
            metrics: RefCell::default(),
            ids: RefCell::default(),
            sweeper,
            upstreams: RefCell::new(upstreams),
            snapshots: RefCell::new(snapshots),
            generation: RefCell::new(generation),
            replaced: Notify::new(),
            leaving: Cell::new(false),
            watch: Watch::default(),
            refusals: Refusals::default(),
            resting: Cell::new(0),
            requests: Cell::new(0),
            no_body: Rc::default(),
        }
    }

    /// The generation in force at this instant.
    pub(super) fn generation(&self) -> Rc<Generation> {
        let mut snapshots = self.snapshots.borrow_mut();
        let newest = snapshots.load();
        let mut generation = self.generation.borrow_mut();
        if !Arc::ptr_eq(newest, &generation.snapshot) {
            let old = Arc::clone(&generation.snapshot);
            self.metrics
                .borrow_mut()
                .replace(move |route| route_name(&old, route));
            self.replaced.notify_one();
            let hot = &newest.hot;
            let mut upstreams = self.upstreams.borrow_mut();
            let adopted = upstreams.adopt(newest.generation, &hot.upstreams, &hot.hosts);
            let newest = Arc::clone(newest);
            let next = Generation::new(newest, adopted, &self.cold, Some(&generation));
            *generation = Rc::new(next);
        }
        Rc::clone(&generation)
    }

    /// Whether this is the number of the generation that counters by place are kept for.
    pub(super) fn is_current(&self, generation: u64) -> bool {
        generation == self.generation.borrow().snapshot.generation
    }

    /// The deadlines in force for connections as such.
    pub fn timeouts(&self) -> crate::config::Timeouts {
        self.generation().snapshot.hot.timeouts
    }

    /// The limits in force for connections as such.
    pub fn limits(&self) -> crate::config::Limits {
        self.generation().snapshot.hot.limits
    }

    /// The worker's deadlines.
    pub fn sweeper(&self) -> &Sweeper {
        &self.sweeper
    }

    /// Says that this client's network is over the limit of failed authentications, unless that was said less than a minute
    /// ago.
    pub(super) fn warn_of_flood(&self, client: Peer) {
        let failures = &self.shared.failures;
        if failures.is_news(client, Instant::now()) {
            tracing::warn!(
                %client,
                "failed authentications over the limit, answered 429; see keygate_requests_total{{outcome=\"too_many_failures\"}}"
            );
        }
    }

    /// From now on each answer over HTTP/1 says that the connection ends with it.
    pub fn leave(&self) {
        self.leaving.set(true);
    }

    /// A place for a connection of this client among those of its network, where these have a limit. Trusted proxies carry
    /// the connections of others, and Unix sockets those of programs of this machine: they are not counted.
    ///
    /// # Errors
    /// When its network may have no new connection now.
    pub fn seat_connection(&self, peer: Peer) -> Result<Option<Seat>, ConnectionRefused> {
        if !self.is_counted(peer) {
            return Ok(None);
        }
        let network = ClientNetwork::of(peer);
        if self.shared.floods.refuses(network, Instant::now()) {
            return Err(ConnectionRefused::Flood);
        }
        let Some(most) = self.limits().connections_per_network else {
            return Ok(None);
        };
        let seat = self.shared.open.enter(Who::Network(network), most);
        seat.map(Some).ok_or(ConnectionRefused::TooMany)
    }

    /// Counts a connection of this client that was ended because it was flooded.
    pub fn flooded(&self, peer: Peer) {
        self.connection_closed("flood");
        if self.is_counted(peer) {
            let now = Instant::now();
            self.shared.floods.count(ClientNetwork::of(peer), now);
        }
    }

    /// Whether what is counted by network is counted of this client.
    fn is_counted(&self, peer: Peer) -> bool {
        peer.address().is_some() && !self.trusts(peer)
    }

    /// Whether this worker has more requests open than its share of what the process may have.
    pub(super) fn is_overloaded(&self) -> bool {
        let all = self.generation.borrow().snapshot.hot.limits.requests;
        self.requests.get() > all.div_ceil(self.cold.workers.get())
    }

    /// Counts a request that is open, until it is said to be over.
    pub(super) fn request_begins(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    pub(super) fn request_ends(&self) {
        self.requests.set(self.requests.get() - 1);
    }

    /// Counts a connection that was ended, by reason.
    pub fn connection_closed(&self, reason: &'static str) {
        self.metrics.borrow_mut().closed(reason);
    }

    /// Lines of the access log that were kept back go to the log.
    pub fn flush_access_lines(&self) {
        self.access.flush();
    }

    /// What to do about once a second: follow the snapshot when no request does, close what is idle for too long.
    pub fn tidy(&self) {
        let _ = self.generation();
        self.upstreams.borrow().tidy();
    }

    /// Makes counters by name of what replaced generations have counted, a few at a time, so that no request waits for it.
    /// Has no end.
    pub async fn fold_counters(&self) {
        loop {
            self.replaced.notified().await;
            while self.metrics.borrow_mut().fold_some(FOLDED_AT_ONCE) {
                // Sockets are looked at before this goes on.
                tokio::task::yield_now().await;
            }
        }
    }

    /// What was counted so far.
    pub fn report(&self, connections: u64) -> Report {
        let generation = self.generation();
        let mut report = self
            .metrics
            .borrow_mut()
            .report(|route| route_name(&generation.snapshot, route));
        report.pools = self.upstreams.borrow().stats();
        report.connections = connections;
        report.resting = self.resting.get();
        if let Some(trial) = &generation.trial {
            report.shadow = trial.totals(&generation.snapshot);
        }
        report
    }

    /// The refusals that are wanted, the newest first.
    pub fn decisions(&self, wanted: &WantedDecisions) -> Vec<Decision> {
        self.refusals.tell(wanted)
    }

    /// What was counted of the shadow policy, if there is one.
    pub fn shadow_report(&self) -> Option<ShadowReport> {
        let generation = self.generation();
        let trial = generation.trial.as_ref()?;
        Some(trial.report(&generation.snapshot))
    }
}

impl Context {
    /// Whether this peer may say in a PROXY header for whom it connects.
    pub fn may_forward(&self, peer: Peer) -> bool {
        self.cold.trusted_proxies.is_empty() || self.trusts(peer)
    }

    /// Whether this peer may speak for others.
    pub(super) fn trusts(&self, peer: Peer) -> bool {
        self.cold.trusted_proxies.trusts(peer)
    }
}
