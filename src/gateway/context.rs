//! What the requests of one worker, and of one connection, share.

use super::access_line::AccessLines;
use super::decisions::{Decision, Refusals, WantedDecisions};
use super::failures::ClientNetwork;
use super::generation::{Generation, route_name};
use super::metrics::{Metrics, Report};
use super::observe::Observation;
use super::open::{Seat, Who};
use super::shadow::ShadowReport;
use super::shared::Shared;
use super::tunnel::Tunnel;
use super::watch::{Revocation, Watch};
use crate::config::{Cold, Snapshot};
use crate::deadline::{Deadline, Sweeper, Wait};
use crate::http::RequestIds;
use crate::http::forwarded::{Client, Proto};
use crate::keycache::{Keys, Verifier};
use crate::net::Peer;
use crate::proxy::{BodyState, RequestBody};
use crate::tls::ServerTls;
use crate::upstream::Upstreams;
use arc_swap::{ArcSwap, Cache};
use http::{HeaderValue, Version};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
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
    sweeper: Sweeper,
    upstreams: RefCell<Upstreams<RequestBody>>,
    snapshots: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    generation: RefCell<Rc<Generation>>,
    /// A generation was replaced whose counters are to be folded.
    replaced: Notify,
    /// Clients are to go elsewhere.
    leaving: Cell<bool>,
    /// Exchanges that last.
    pub(super) watch: Watch,
    /// What was refused of late.
    pub(super) refusals: Refusals,
    /// What a request without a good key is told to send: the scheme, and the header that carries the key (RFC 9110,
    /// section 11.6.1).
    pub(super) challenge: HeaderValue,
    /// Connections that rest.
    resting: Cell<u64>,
    /// Requests that are open.
    requests: Cell<usize>,
    /// How far the body is of requests that have none.
    no_body: Rc<BodyState>,
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

/// How long an HTTP/1.1 connection is idle before it rests: before it gives back what serves requests.
const REST_AFTER: Duration = Duration::from_secs(1);

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

/// A connection that rests, counted as long as this is there.
pub struct Resting<'l>(&'l Cell<u64>);

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// What the requests of one lane share: those of an HTTP/1.1 connection, one after the other; over HTTP/2 each stream is a
/// lane of its own, and the connection has one for itself.
pub struct Link {
    pub(super) context: Rc<Context>,
    pub(super) peer: Peer,
    /// How the peer came.
    proto: Proto,
    /// The peer as the client, made once.
    pub(super) client: Rc<Client>,
    /// Whether the peer may speak for others.
    pub(super) trusted: bool,
    /// By what the request in hand waits, and what is between requests.
    pub(super) deadline: Deadline,
    /// By what the body of the request in hand waits: it may be on its way at the same time as the answer.
    pub(super) upload: Deadline,
    /// The body of the request in hand.
    body: RefCell<Option<Rc<BodyState>>>,
    /// What the request in hand is written in.
    version: Cell<Version>,
    /// How long a next request may still be waited for once the connection rests.
    rest: Cell<Duration>,
    /// An answer was cut whose end is the connection's: it must not end as if it were whole.
    cut: Cell<bool>,
    /// The exchange in hand, while it is one with an upstream.
    exchange: RefCell<Weak<Observation>>,
    /// Why the exchange in hand may not go on.
    revoked: RefCell<Option<Revocation>>,
    /// What begins when the answer's head was sent.
    tunnel: RefCell<Option<Tunnel>>,
}

impl Link {
    /// A connection of this peer, who comes in this way, and its first lane.
    pub fn new(context: Rc<Context>, peer: Peer, proto: Proto) -> Rc<Self> {
        let trusted = context.trusts(peer);
        let client = Rc::new(Client::peer(peer, proto));
        Link::lane(context, peer, proto, client, trusted)
    }

    /// A connection that a peer forwards for somebody it does not name: whatever it says, it is not the peer that says it.
    pub fn of_someone(context: Rc<Context>, behind: Peer, proto: Proto) -> Rc<Self> {
        let client = Rc::new(Client::peer(behind, proto));
        Link::lane(context, behind, proto, client, false)
    }

    /// Another lane of the same connection.
    pub fn new_lane(&self) -> Rc<Self> {
        Link::lane(
            Rc::clone(&self.context),
            self.peer,
            self.proto,
            Rc::clone(&self.client),
            self.trusted,
        )
    }

    fn lane(
        context: Rc<Context>,
        peer: Peer,
        proto: Proto,
        client: Rc<Client>,
        trusted: bool,
    ) -> Rc<Self> {
        let link = Rc::new(Link {
            deadline: context.sweeper.deadline(),
            upload: context.sweeper.deadline(),
            client,
            context,
            peer,
            proto,
            trusted,
            body: RefCell::new(None),
            version: Cell::new(Version::HTTP_11),
            rest: Cell::new(Duration::ZERO),
            cut: Cell::new(false),
            exchange: RefCell::default(),
            revoked: RefCell::new(None),
            tunnel: RefCell::new(None),
        });
        link.context.watch.lane(&link);
        link
    }

    /// How the peer came.
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// What clients are met with that come in TLS.
    pub fn tls(&self) -> Option<Arc<ServerTls>> {
        self.context.generation().snapshot.hot.tls.clone()
    }

    /// By what the lane waits, but for the body of its request.
    pub fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    /// The task to wake when someone was waited for too long.
    pub fn wake_by(&self, waker: &Waker) {
        self.deadline.wake_by(waker);
        self.upload.wake_by(waker);
    }

    /// On whom was waited too long, if the request in hand could not act on it. An idle lane is not overdue.
    pub fn overdue(&self) -> Option<Wait> {
        self.upload
            .fired()
            .or_else(|| self.deadline.fired())
            .filter(|wait| *wait != Wait::Idle)
    }

    /// Counts a stream of the connection that was ended, by reason.
    pub fn stream_cut(&self, reason: &'static str) {
        self.context.connection_closed(reason);
    }

    /// The version of HTTP that the request in hand came over.
    pub(super) fn version(&self) -> Version {
        self.version.get()
    }

    /// Whether the answer in hand must say that the connection ends with it. Over HTTP/2 the connection says so itself.
    pub(super) fn ends_with_answer(&self) -> bool {
        self.context.leaving.get() && !self.is_http2()
    }

    /// Whether the request in hand came over HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.version.get() == Version::HTTP_2
    }

    /// The limits in force at this instant.
    pub fn limits(&self) -> crate::config::Limits {
        self.context.limits()
    }

    /// Notes the version and the body of the request that begins; `None` for no body.
    pub(super) fn begin_request(&self, version: Version, body: Option<Rc<BodyState>>) {
        self.version.set(version);
        self.deadline.disarm();
        if let Some(before) = self.body.replace(body) {
            before.abandon();
            self.upload.renew();
        }
    }

    /// Notes that the request in hand has its answer, or gets none: the next may take this long to begin.
    pub(super) fn end_request(&self, idle: Duration) {
        self.exchange.take();
        if self.revoked.take().is_some() {
            self.deadline.renew();
        }
        if !self.body_goes_on() {
            self.upload.disarm();
        }
        self.wait_for_next(idle);
    }

    /// From now on a next request may take this long to begin.
    pub fn wait_for_next(&self, idle: Duration) {
        let awake = if self.is_http2() {
            idle
        } else {
            idle.min(REST_AFTER)
        };
        self.rest.set(idle - awake);
        self.deadline.arm(Wait::Idle, awake);
    }

    /// Goes on waiting for a next request where the wait is not over, but only has come to where the connection may rest.
    pub fn may_rest(&self) -> bool {
        let rest = self.rest.take();
        if rest.is_zero() {
            return false;
        }
        self.deadline.arm(Wait::Idle, rest);
        true
    }

    /// The connection rests, until what is returned is dropped.
    pub fn rest(&self) -> Resting<'_> {
        let count = &self.context.resting;
        count.set(count.get() + 1);
        Resting(count)
    }

    /// Notes the exchange that may come to last.
    pub(super) fn begin_exchange(&self, exchange: &Rc<Observation>) {
        self.exchange.replace(Rc::downgrade(exchange));
    }

    /// The exchange in hand, if it is one with an upstream.
    pub(super) fn exchange(&self) -> Option<Rc<Observation>> {
        self.exchange.borrow().upgrade()
    }

    /// The exchange in hand may not go on. Said once: by then it is ending, under a deadline that is not to be lost. Whether
    /// it was said now.
    pub(super) fn revoke(&self, why: Revocation) -> bool {
        let mut revoked = self.revoked.borrow_mut();
        if revoked.is_some() {
            return false;
        }
        *revoked = Some(why);
        self.deadline.revoke();
        true
    }

    /// What is left of an answered request's body may not go on: the lane is to end.
    pub(super) fn revoke_upload(&self) {
        self.upload.revoke();
    }

    /// From now on the exchange ends when it is permitted no longer.
    pub(super) fn watch(&self, exchange: &Rc<Observation>) {
        self.context.watch(exchange);
    }

    /// Why the exchange in hand may not go on.
    pub(super) fn revocation(&self) -> Option<Revocation> {
        self.revoked.borrow().clone()
    }

    pub(super) fn dig(&self, tunnel: Tunnel) {
        self.tunnel.replace(Some(tunnel));
    }

    /// What is to be joined with the client's end, now that HTTP is over on it.
    pub fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.take()
    }

    /// Notes that the answer in hand broke off.
    pub(super) fn cut_answer(&self) {
        // In HTTP/1.1 a missing chunk or byte tells; in HTTP/1.0 the end of the connection is the end of the answer.
        self.cut.set(self.version.get() == Version::HTTP_10);
    }

    /// Whether the connection must end by a reset.
    pub fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// The body of the request in hand, if it has one.
    pub(super) fn body(&self) -> Option<Rc<BodyState>> {
        self.body.borrow().clone()
    }

    /// How far the body of the request in hand is.
    pub(super) fn body_state(&self) -> Rc<BodyState> {
        self.body()
            .unwrap_or_else(|| Rc::clone(&self.context.no_body))
    }

    /// The deadlines in force at this instant: an edit holds for connections that are open already.
    pub fn timeouts(&self) -> crate::config::Timeouts {
        self.context.timeouts()
    }

    /// Whether the body of an answered request is still on its way.
    pub fn body_goes_on(&self) -> bool {
        self.body
            .borrow()
            .as_ref()
            .is_some_and(|body| body.goes_on())
    }

    /// Waits for the end of a body that outlives its answer, and gives up what keeps us waiting for too long: why.
    pub async fn end_of_body(&self) -> Option<Wait> {
        poll_fn(|cx| {
            self.wake_by(cx.waker());
            // Whoever says so abandons the body, too.
            if self.upload.fired() == Some(Wait::Revoked) {
                return Poll::Ready(Some(Wait::Revoked));
            }
            if !self.body_goes_on() {
                return Poll::Ready(None);
            }
            let Some(wait) = self.upload.fired() else {
                return Poll::Pending;
            };
            if let Some(body) = self.body() {
                body.abandon();
            }
            Poll::Ready(Some(wait))
        })
        .await
    }

    /// Whether a request's body was not read to its end: the client may still be sending it.
    pub fn has_unread_body(&self) -> bool {
        self.body
            .borrow()
            .as_ref()
            .is_some_and(|body| !body.finished())
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
