//! HTTP/1.1 to a server: one connection, one request at a time.

use super::connect::ConnectError;
use super::io::{Probe, UpstreamIo};
use bytes::Bytes;
use http_body::Body;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use tokio::io::AsyncWriteExt;
use tokio::task::AbortHandle;

/// Most bytes that are read before they are passed on, and most that the head of an answer may have: as over HTTP/2. A
/// client of HTTP/2 that does not read makes us hold so much for each of its streams.
const BUFFER: usize = 64 * 1024;

/// A connection, and whoever holds it.
pub(super) struct Http1<B> {
    pub(super) sender: http1::SendRequest<B>,
    pub(super) driver: Driver,
    pub(super) probe: Probe,
}

/// The task that drives a connection. It ends with whoever holds the connection, whatever it is still sending.
pub(super) struct Driver(Option<AbortHandle>);

impl Driver {
    /// It goes on by itself.
    pub(super) fn let_go(&mut self) {
        self.0 = None;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl<B: Body<Data = Bytes> + 'static> Http1<B>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Begins HTTP/1.1, which needs no word of the server.
    pub(super) async fn begin(io: UpstreamIo, probe: Probe) -> Result<Self, ConnectError> {
        let (sender, connection) = http1::Builder::new()
            .writev(true)
            .max_buf_size(BUFFER)
            .handshake::<_, B>(TokioIo::new(io))
            .await
            .map_err(ConnectError::Handshake)?;
        let task = tokio::task::spawn_local(drive(connection, probe.clone()));
        Ok(Http1 {
            sender,
            driver: Driver(Some(task.abort_handle())),
            probe,
        })
    }
}

/// Speaks HTTP/1.1 on a connection until it ends. The borrower of the connection hears of its errors; an idle one's end
/// concerns nobody.
async fn drive<B: Body<Data = Bytes> + 'static>(
    mut connection: http1::Connection<TokioIo<UpstreamIo>, B>,
    probe: Probe,
) where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let ended = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    if ended.is_err() {
        return probe.over(None);
    }
    let parts = connection.into_parts();
    probe.over(Some(parts.read_buf));
    // A borrower may go on with another protocol; what it does not take ends with its lease.
    if !probe.is_lent() {
        let _ = parts.io.into_inner().shutdown().await;
    }
}
