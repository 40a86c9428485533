//! Accepting: each connection goes to the worker with the fewest open.

use super::AcceptCounters;
use super::worker::Worker;
use crate::config::{Listener, Snapshot};
use crate::net::{Acceptor, Peer, StdSocket};
use arc_swap::ArcSwap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long accepting rests when the system has no descriptors or memory left for a connection.
const REST: Duration = Duration::from_millis(20);

/// A connection on its way to a worker.
pub(super) struct Accepted {
    pub(super) socket: StdSocket,
    pub(super) peer: Peer,
    /// What it came in by.
    pub(super) listener: Arc<Listener>,
}

/// What becomes of connections that wait to be accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Queue {
    /// They are accepted: closed with them in it, the socket would reset them.
    Take,
    /// Another process has the socket, too.
    Leave,
}

/// The task that accepts from one socket.
pub(super) struct Accepting {
    stop: oneshot::Sender<Queue>,
    task: JoinHandle<()>,
}

impl Accepting {
    pub(super) fn start(
        acceptor: Acceptor,
        listener: Arc<Listener>,
        workers: &Arc<[Worker]>,
        snapshots: Arc<ArcSwap<Snapshot>>,
        counters: &Arc<AcceptCounters>,
    ) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let desk = Desk {
            listener,
            workers: Arc::clone(workers),
            snapshots,
            counters: Arc::clone(counters),
        };
        let task = tokio::spawn(async move {
            // Told once when it begins: it may last, and a line for each attempt would bury all others.
            let mut resting = false;
            let queue = loop {
                let accepted = tokio::select! {
                    accepted = acceptor.accept() => accepted,
                    queue = &mut stopped => break queue.unwrap_or(Queue::Take),
                };
                match accepted {
                    Ok((socket, peer)) => {
                        if std::mem::take(&mut resting) {
                            tracing::info!("connections are accepted again");
                        }
                        desk.hand_on(socket, peer).await;
                    }
                    Err(error) => {
                        desk.counters.errors.fetch_add(1, Ordering::Relaxed);
                        if !concerns_one_connection(&error) {
                            if !std::mem::replace(&mut resting, true) {
                                tracing::warn!(%error, "no connections can be accepted");
                            }
                            tokio::time::sleep(REST).await;
                        }
                    }
                }
            };
            while queue == Queue::Take
                && let Some((socket, peer)) = acceptor.accept_waiting()
            {
                desk.hand_on(socket, peer).await;
            }
        });
        Accepting { stop, task }
    }

    /// Ends it; every connection that it accepted is with a worker then.
    pub(super) async fn stop(self, queue: Queue) {
        let _ = self.stop.send(queue);
        let _ = self.task.await;
    }
}

/// What an accepted connection is judged by.
struct Desk {
    listener: Arc<Listener>,
    workers: Arc<[Worker]>,
    snapshots: Arc<ArcSwap<Snapshot>>,
    counters: Arc<AcceptCounters>,
}

impl Desk {
    async fn hand_on(&self, socket: StdSocket, peer: Peer) {
        let open: usize = self.workers.iter().map(Worker::open).sum();
        if open >= self.snapshots.load().hot.limits.connections {
            self.counters.shed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        if let Some(worker) = self
            .workers
            .iter()
            .filter(|worker| worker.is_alive())
            .min_by_key(|worker| worker.open())
        {
            let listener = Arc::clone(&self.listener);
            let accepted = Accepted {
                socket,
                peer,
                listener,
            };
            worker.take(accepted).await;
        }
    }
}

/// Whether the error is about the connection that was to be accepted, not about accepting.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    )
}
