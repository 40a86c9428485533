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

mod accept;
mod client_io;
mod connection;
pub mod harden;
mod worker;

use crate::config::{Cold, ListenAddress, Live};
use crate::gateway::{Report, Shared};
use crate::keycache::Keys;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use worker::Worker;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot listen on {address}{}", hint(.source))]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot start a worker thread")]
    Worker(#[source] io::Error),
}

/// What to do about an address that cannot be listened on, where that is known.
pub fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            ": another process uses this port; choose another one, or port 0 for a free one"
        }
        io::ErrorKind::PermissionDenied => {
            ": ports below 1024 need a privilege (CAP_NET_BIND_SERVICE)"
        }
        io::ErrorKind::AddrNotAvailable => ": no interface of this machine has this address",
        _ => "",
    }
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
    addresses: Vec<SocketAddr>,
    workers: Arc<[Worker]>,
    acceptors: std::sync::Mutex<Vec<JoinHandle<()>>>,
    counters: Arc<AcceptCounters>,
    shared: Arc<Shared>,
    /// Told by workers whenever a connection ends during a drain.
    ended: Arc<Notify>,
}

impl Server {
    /// Opens the listeners and starts the workers. Must be called on the control runtime, where the accepting tasks run.
    ///
    /// # Errors
    /// When an address cannot be listened on, or a thread cannot be started.
    pub fn start(cold: &Arc<Cold>, keys: &Keys, live: &Arc<Live>) -> Result<Self, ServerError> {
        let listeners = cold
            .listen
            .iter()
            .map(listen)
            .collect::<Result<Vec<_>, _>>()?;
        let shared = Arc::new(Shared::new(Instant::now()));
        let ended = Arc::new(Notify::new());
        let workers: Arc<[Worker]> = (0..cold.workers.get())
            .map(|number| {
                Worker::start(number, cold, keys, live.shared(), &shared, &ended)
                    .map_err(ServerError::Worker)
            })
            .collect::<Result<_, _>>()?;
        let counters = Arc::new(AcceptCounters::default());
        let mut addresses = Vec::new();
        let mut acceptors = Vec::new();
        for listener in listeners {
            let (address, task) = accept::start(listener, &workers, live.shared(), &counters)?;
            addresses.push(address);
            acceptors.push(task);
        }
        Ok(Server {
            addresses,
            workers,
            acceptors: std::sync::Mutex::new(acceptors),
            counters,
            shared,
            ended,
        })
    }

    /// Where it listens, in the order of the configuration, ports that were 0 filled in.
    pub fn addresses(&self) -> &[SocketAddr] {
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

    /// Ends the server: stops accepting at once, lets requests in flight finish for at most this long, then cuts.
    pub async fn drain(&self, at_most: Duration) {
        let acceptors: Vec<_> = {
            let mut held = self
                .acceptors
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            held.drain(..).collect()
        };
        for acceptor in acceptors {
            acceptor.abort();
            let _ = acceptor.await;
        }
        for worker in self.workers.iter() {
            worker.drain().await;
        }
        let empty = async {
            loop {
                let ended = self.ended.notified();
                if self.workers.iter().all(|worker| worker.open() == 0) {
                    return;
                }
                ended.await;
            }
        };
        if tokio::time::timeout(at_most, empty).await.is_err() {
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

fn listen(address: &ListenAddress) -> Result<TcpListener, ServerError> {
    let ListenAddress::Tcp(address) = *address;
    open(address).map_err(|source| ServerError::Listen { address, source })
}

/// A listening socket for this address.
///
/// # Errors
/// As the system says.
pub fn open(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A port whose last owner's connections linger in TIME_WAIT can be used again; one that is in use cannot.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}
