//! Accepting: each connection goes to the worker with the fewest open.

use super::worker::Worker;
use super::{AcceptCounters, ServerError};
use crate::config::Snapshot;
use arc_swap::ArcSwap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long accepting rests when the system has no descriptors or memory left for a connection.
const REST: Duration = Duration::from_millis(20);

pub(super) fn start(
    listener: TcpListener,
    workers: &Arc<[Worker]>,
    snapshots: Arc<ArcSwap<Snapshot>>,
    counters: &Arc<AcceptCounters>,
) -> Result<(SocketAddr, JoinHandle<()>), ServerError> {
    let unnamed = SocketAddr::from(([0, 0, 0, 0], 0));
    let fail = |source| ServerError::Listen {
        address: unnamed,
        source,
    };
    let address = listener.local_addr().map_err(fail)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(fail)?;
    let (workers, counters) = (Arc::clone(workers), Arc::clone(counters));
    let task = tokio::spawn(async move {
        // Told once when it begins: it may last, and a line for each attempt would bury all others.
        let mut resting = false;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    if std::mem::take(&mut resting) {
                        tracing::info!("connections are accepted again");
                    }
                    let open: usize = workers.iter().map(Worker::open).sum();
                    if open >= snapshots.load().hot.limits.connections {
                        counters.shed.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    counters.accepted.fetch_add(1, Ordering::Relaxed);
                    if let Ok(stream) = stream.into_std()
                        && let Some(worker) = workers
                            .iter()
                            .filter(|worker| worker.is_alive())
                            .min_by_key(|worker| worker.open())
                    {
                        worker.take(stream, peer.ip()).await;
                    }
                }
                Err(error) => {
                    counters.errors.fetch_add(1, Ordering::Relaxed);
                    if !concerns_one_connection(&error) {
                        if !std::mem::replace(&mut resting, true) {
                            tracing::warn!(%error, "no connections can be accepted");
                        }
                        tokio::time::sleep(REST).await;
                    }
                }
            }
        }
    });
    Ok((address, task))
}

/// Whether the error is about the connection that was to be accepted, not about accepting.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    )
}
