//! Sockets, threads and the end of them: listeners, a worker per core, connections, drain.
//!
//! One listening socket per address; its accepting task, on the control runtime, hands each connection to the worker with
//! the fewest open. (A socket per worker by `SO_REUSEPORT` would let the kernel spread by hash, unevenly, and reset what
//! waits in a socket that closes.) A worker is one thread with a runtime of its own: its connections, its upstream
//! pools and its counters are its alone, and nothing on the request path is shared between cores but the key cache.
//!
//! [`Server::start`] comes last in the life of a start: keys and policy are loaded by then, so a connection that is
//! accepted can be served. [`Server::drain`] is the reverse: no new connections, idle ones close, requests in flight
//! are answered with `Connection: close`, and what is left at the deadline is cut.
//!
//! Sockets are opened, or they are there before the process: [`Given`] by systemd, or by the gateway whose place this one
//! takes. That one has the other end of it: [`Server::to_hand`] gives its sockets, [`Server::hand_over`] stops accepting
//! by them, [`Server::leave`] sends its clients away without a lost request. Who says when is `cli::handover`.

mod accept;
mod client_io;
mod connection;
#[doc(hidden)]
pub mod fuzzing;
pub mod harden;
mod listen;
mod worker;

pub use listen::{Given, Handed, ListenError, Listening, Use};

use crate::config::{Cold, Live, Shadow};
use crate::gateway::{Decision, Report, ShadowReport, Shared, WantedDecisions};
use crate::keycache::Keys;
use crate::log::LogQueue;
use crate::net::{Acceptor, Address};
use crate::upstream::Fleet;
use accept::{Accepting, Queue};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use worker::Worker;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("a listening socket cannot be used")]
    Accept(#[source] io::Error),
    #[error("cannot start a worker thread")]
    Worker(#[source] io::Error),
}

/// Counters of the listeners.
#[derive(Debug, Default)]
pub struct AcceptCounters {
    /// Connections accepted and handed to a worker.
    pub accepted: AtomicU64,
    /// Connections closed at once, since as many as allowed were open.
    pub shed: AtomicU64,
    /// Failed attempts to accept (no descriptors left, for example).
    pub errors: AtomicU64,
}

/// A running server.
pub struct Server {
    addresses: Vec<Address>,
    workers: Arc<[Worker]>,
    /// Empty once it drains.
    open: std::sync::Mutex<Vec<(Listening, Accepting)>>,
    counters: Arc<AcceptCounters>,
    shared: Arc<Shared>,
    /// Told by workers whenever a connection ends during a drain.
    ended: Arc<Notify>,
}

impl Server {
    /// Opens the listeners that were not given, and starts the workers. Must be called on the control runtime, where the accepting tasks run.
    ///
    /// # Errors
    /// When an address cannot be listened on, or a thread cannot be started.
    pub fn start(
        cold: &Arc<Cold>,
        keys: &Keys,
        live: &Arc<Live>,
        log: &LogQueue,
        given: &mut Given,
    ) -> Result<Self, ServerError> {
        let mut sockets = Vec::new();
        for listener in &cold.listen {
            let listener = Arc::new(listener.clone());
            for socket in given.listening(Use::Gateway, &listener.address)? {
                sockets.push((socket, Arc::clone(&listener)));
            }
        }
        let shared = Arc::new(Shared::new(
            Instant::now(),
            Fleet::start(tokio::runtime::Handle::current()),
            log.clone(),
        ));
        let ended = Arc::new(Notify::new());
        let workers: Arc<[Worker]> = (0..cold.workers.get())
            .map(|number| {
                Worker::start(number, cold, keys, live.shared(), &shared, &ended)
                    .map_err(ServerError::Worker)
            })
            .collect::<Result<_, _>>()?;
        let counters = Arc::new(AcceptCounters::default());
        let mut addresses = Vec::new();
        let mut open = Vec::new();
        for (socket, listener) in sockets {
            let acceptor = socket.socket().and_then(Acceptor::new);
            let accepting = Accepting::start(
                acceptor.map_err(ServerError::Accept)?,
                listener,
                &workers,
                live.shared(),
                &counters,
            );
            addresses.push(socket.address().clone());
            open.push((socket, accepting));
        }
        Ok(Server {
            addresses,
            workers,
            open: std::sync::Mutex::new(open),
            counters,
            shared,
            ended,
        })
    }

    /// Where it listens, in the order of the configuration, ports that were 0 filled in.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Connections open now, by worker.
    pub fn connections(&self) -> Vec<usize> {
        self.workers.iter().map(Worker::open).collect()
    }

    /// Counters of the listeners.
    pub fn accept_counters(&self) -> &AcceptCounters {
        &self.counters
    }

    /// The upstreams' servers.
    pub fn fleet(&self) -> &Fleet {
        self.shared.fleet()
    }

    /// How many buckets of rates are remembered.
    pub fn rate_buckets(&self) -> usize {
        self.shared.rate_buckets()
    }

    /// What all workers have counted, together.
    pub async fn report(&self) -> Report {
        let mut sum = Report::default();
        for worker in self.workers.iter() {
            if let Some(report) = worker.report().await {
                sum.add(report);
            }
        }
        sum
    }

    /// The refusals that are wanted, of all workers, the newest first.
    pub async fn decisions(&self, wanted: &WantedDecisions) -> Vec<Decision> {
        let mut all = Vec::new();
        for worker in self.workers.iter() {
            all.extend(worker.decisions(wanted.clone()).await);
        }
        all.sort_by_key(|decision| std::cmp::Reverse((decision.at, decision.order)));
        if let WantedDecisions::Newest(most) = wanted {
            all.truncate(*most);
        }
        all
    }

    /// What all workers have counted of this shadow policy: nothing any more where it was replaced meanwhile.
    pub async fn shadow_report(&self, shadow: &Arc<Shadow>) -> ShadowReport {
        let mut sum = ShadowReport::new(Arc::clone(shadow));
        for worker in self.workers.iter() {
            if let Some(report) = worker.shadow_report().await {
                sum.add(report);
            }
        }
        sum
    }

    /// The listening sockets, for a successor.
    ///
    /// # Errors
    /// As the system says.
    pub fn to_hand(&self) -> io::Result<Vec<Handed>> {
        let open = self.open.lock();
        let open = open.unwrap_or_else(std::sync::PoisonError::into_inner);
        open.iter().map(|(socket, _)| socket.to_hand()).collect()
    }

    /// Accepts no more, since a successor does by the sockets that it kept.
    pub async fn hand_over(&self, kept: &[String]) {
        for (socket, accepting) in self.take_open() {
            let queue = if socket.let_go(kept) {
                Queue::Leave
            } else {
                Queue::Take
            };
            accepting.stop(queue).await;
        }
    }

    fn take_open(&self) -> Vec<(Listening, Accepting)> {
        let open = self.open.lock();
        std::mem::take(&mut *open.unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Ends a server whose place another has: idle connections have half of the time to send one more request, which is
    /// answered with `Connection: close`. Then it drains for the other half.
    pub async fn leave(&self, at_most: Duration) {
        for worker in self.workers.iter() {
            worker.leave().await;
        }
        let _ = tokio::time::timeout(at_most / 2, self.empty()).await;
        self.drain(at_most / 2).await;
    }

    /// Waits until no connection is left.
    async fn empty(&self) {
        loop {
            let ended = self.ended.notified();
            if self.workers.iter().all(|worker| worker.open() == 0) {
                return;
            }
            ended.await;
        }
    }

    /// Ends the server: stops accepting at once, lets requests in flight finish for at most this long, then cuts.
    pub async fn drain(&self, at_most: Duration) {
        for (socket, accepting) in self.take_open() {
            accepting.stop(Queue::Take).await;
            drop(socket);
        }
        for worker in self.workers.iter() {
            worker.drain().await;
        }
        if tokio::time::timeout(at_most, self.empty()).await.is_err() {
            let left: usize = self.connections().iter().sum();
            tracing::warn!(
                connections = left,
                "drain deadline reached, connections are cut"
            );
        }
        for worker in self.workers.iter() {
            worker.stop().await;
        }
    }

    /// Counters as numbers: accepted, shed, errors.
    pub fn accepted(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &self.counters;
        (read(&c.accepted), read(&c.shed), read(&c.errors))
    }
}
