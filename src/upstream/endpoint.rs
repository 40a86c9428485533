//! One address of one server, as all workers know it: whether it takes requests, and what was held against it.
//!
//! On the way of a request it is a few atomics. Behind them is the [`Standing`], under a lock that is taken only when
//! something about the server changes; whoever changes it says so in the log, so that each change is told once.

use super::gate::Gate;
use super::standing::{Change, Rules, Standing, State};
use crate::config::{Balancing, UpstreamServer};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// One address of one server of one upstream.
pub struct Endpoint {
    /// Of no other endpoint of this process.
    pub(super) id: u64,
    upstream: Arc<str>,
    pub(super) server: UpstreamServer,
    /// `None` where it has no address to be told from others by: a Unix socket.
    pub(super) address: Option<SocketAddr>,
    /// What it is by, in consistent hashing.
    pub(super) seed: u64,
    /// Of `WHOLE`; 0: it takes no requests.
    share: AtomicU32,
    /// Failures in a row.
    failures: AtomicU32,
    /// How many of them there may be; 0: any number.
    most_failures: AtomicU32,
    /// Requests that hold a place; changed only under the gate's lock.
    pub(super) in_use: AtomicU32,
    ejections: AtomicU64,
    standing: Mutex<Standing>,
    pub(super) gate: Arc<Gate>,
    /// Rung when only time will bring it further.
    bell: Arc<Notify>,
}

/// How an endpoint is, for those who look.
#[derive(Clone, Debug)]
pub struct ServerReport {
    /// `host:port`, as it is written.
    pub server: String,
    /// Where that is.
    pub address: String,
    pub state: State,
    /// The part of its weight that it takes, of 1000.
    pub share: u32,
    /// How often it was left out for failed requests.
    pub ejections: u64,
    /// How long it stays out at least.
    pub out_for: Duration,
    /// As the upstream has it.
    pub weight: u32,
    /// Requests that hold a place there, where there is a limit.
    pub in_use: u32,
}

impl Endpoint {
    pub(super) fn new(
        id: u64,
        upstream: Arc<str>,
        server: UpstreamServer,
        address: Option<SocketAddr>,
        (gate, bell): (Arc<Gate>, Arc<Notify>),
        balancing: &Balancing,
    ) -> Self {
        let name = server.to_string();
        let seed = match address {
            Some(address) => super::choose::hash(address.to_string().as_bytes()),
            None => super::choose::hash(name.as_bytes()),
        };
        let rules = Rules::new(balancing);
        let endpoint = Endpoint {
            id,
            upstream,
            server,
            address,
            seed,
            share: AtomicU32::new(super::standing::WHOLE),
            failures: AtomicU32::new(0),
            most_failures: AtomicU32::new(0),
            in_use: AtomicU32::new(0),
            ejections: AtomicU64::new(0),
            standing: Mutex::new(Standing::new(rules)),
            gate,
            bell,
        };
        endpoint.follow(balancing);
        endpoint
    }

    /// Of no other endpoint of this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether it is this server's at this address.
    pub(super) fn is(&self, server: &UpstreamServer, address: Option<SocketAddr>) -> bool {
        let known = &self.server;
        self.address == address
            && (known.scheme, &known.host, known.port) == (server.scheme, &server.host, server.port)
            && known.socket == server.socket
    }

    /// Other settings are in force.
    pub(super) fn follow(&self, balancing: &Balancing) {
        let most = balancing.eject.as_ref().map_or(0, |eject| eject.failures);
        self.most_failures.store(most, Ordering::Relaxed);
        let mut standing = self.standing();
        standing.follow(Rules::new(balancing));
        self.publish(&standing, Instant::now());
    }

    /// The part of its weight that it takes, of `WHOLE`; 0: none.
    pub(super) fn share(&self) -> u32 {
        self.share.load(Ordering::Relaxed)
    }

    /// A request to it failed in a way that speaks against the server.
    pub fn failed(&self) {
        let most = self.most_failures.load(Ordering::Relaxed);
        if most == 0 || self.failures.fetch_add(1, Ordering::Relaxed) + 1 < most {
            return;
        }
        let now = Instant::now();
        let mut standing = self.standing();
        let change = standing.failed(now);
        if change.is_some() {
            self.ejections.fetch_add(1, Ordering::Relaxed);
        }
        self.changed(&standing, change, now, None);
    }

    /// A request to it was answered.
    pub fn succeeded(&self) {
        // Looked at before it is written: a write would take the line of the cache from every other worker.
        if self.most_failures.load(Ordering::Relaxed) != 0
            && self.failures.load(Ordering::Relaxed) != 0
        {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A check of it ended; why it failed, if it did.
    pub(super) fn checked(self: &Arc<Self>, outcome: Result<(), String>) {
        let now = Instant::now();
        let mut standing = self.standing();
        let change = standing.checked(outcome.is_ok(), now);
        self.changed(&standing, change, now, outcome.err());
        drop(standing);
        self.offer(change);
    }

    /// Time has passed. Whether more of it is needed.
    pub(super) fn tick(self: &Arc<Self>, now: Instant) -> bool {
        let mut standing = self.standing();
        if !standing.needs_ticks() {
            return false;
        }
        let change = standing.tick(now);
        if change == Some(Change::Returned) {
            // On probation: the first failure ejects it again, the first answer forgives.
            let most = self.most_failures.load(Ordering::Relaxed);
            self.failures
                .store(most.saturating_sub(1), Ordering::Relaxed);
        }
        self.changed(&standing, change, now, None);
        let more = standing.needs_ticks();
        drop(standing);
        self.offer(change);
        more
    }

    /// Who waits for a place may have one here, if it is back.
    fn offer(self: &Arc<Self>, change: Option<Change>) {
        match change {
            Some(Change::Returned | Change::ChecksSucceed) => self.gate.fill(self),
            Some(Change::Ejected(_) | Change::ChecksFail) | None => {}
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, standing: &Standing, now: Instant) {
        self.share.store(standing.share(now), Ordering::Relaxed);
        if standing.needs_ticks() {
            self.bell.notify_one();
        }
    }

    /// Puts what has changed in force, and tells it.
    fn changed(
        &self,
        standing: &Standing,
        change: Option<Change>,
        now: Instant,
        reason: Option<String>,
    ) {
        self.publish(standing, now);
        let (upstream, server, address) = (&*self.upstream, self.name(), self.place());
        let state = standing.state().as_str();
        match change {
            None => {}
            Some(Change::Ejected(lasts)) => tracing::warn!(
                upstream,
                server,
                address,
                state,
                seconds = lasts.as_secs_f64(),
                "a server is left out: its requests failed"
            ),
            Some(Change::ChecksFail) => tracing::warn!(
                upstream,
                server,
                address,
                state,
                reason,
                "a server is left out: its health checks fail"
            ),
            Some(Change::Returned) => {
                tracing::info!(
                    upstream,
                    server,
                    address,
                    state,
                    "a server's time out is over"
                );
            }
            Some(Change::ChecksSucceed) => tracing::info!(
                upstream,
                server,
                address,
                state,
                "a server's health checks succeed again"
            ),
        }
    }

    /// `host:port`, as it is written.
    pub(super) fn name(&self) -> String {
        self.server.to_string()
    }

    /// Where it is.
    fn place(&self) -> String {
        self.address
            .map_or_else(|| self.name(), |address| address.to_string())
    }

    /// How long it stays out at least.
    pub(super) fn out_for(&self, now: Instant) -> Duration {
        self.standing().out_for(now)
    }

    pub(super) fn report(&self, weight: u32, now: Instant) -> ServerReport {
        let standing = self.standing();
        ServerReport {
            server: self.name(),
            address: self.place(),
            state: standing.state(),
            share: standing.share(now),
            ejections: self.ejections.load(Ordering::Relaxed),
            out_for: standing.out_for(now),
            weight,
            in_use: self.in_use.load(Ordering::Relaxed),
        }
    }
}
