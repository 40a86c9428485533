//! One worker's connections to one server.

use super::connect::{ConnectError, connect};
use super::io::{Open, Probe, UpstreamIo};
use crate::config::UpstreamServer;
use crate::deadline::{Deadline, Sweeper, Wait};
use bytes::Bytes;
use http_body::Body;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::task::AbortHandle;

/// An idle connection is not used again after this long: most servers close theirs after a minute or more, and a
/// server that says otherwise in `Keep-Alive: timeout=` is believed.
const IDLE: Duration = Duration::from_secs(60);

/// How long a server that could not be reached is asked after the others.
const SUSPECT: Duration = Duration::from_secs(5);

/// Most idle connections to one server.
const IDLE_MAX: usize = 1024;

/// Counters of one worker's pools, since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolStats {
    /// Connections made.
    pub opened: u64,
    /// Connections that could not be made.
    pub failed: u64,
    /// Requests sent on a connection that had served one before.
    pub reused: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections idle now.
    pub idle: u64,
}

/// Which connections will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// An idle one or a new one.
    Any,
    /// Only one that was never used.
    New,
    /// Only one that was never used and speaks HTTP/1.1, whatever else the server speaks: it is to change its protocol.
    Http1,
}

/// One worker's connections to one server.
pub struct ServerPool<B> {
    server: UpstreamServer,
    /// Where it is, if that is known before a connection is made.
    address: Option<SocketAddr>,
    idle: RefCell<Vec<Idle<B>>>,
    sweeper: Sweeper,
    opened: Cell<u64>,
    failed: Cell<u64>,
    reused: Cell<u64>,
    open: Rc<Cell<u64>>,
    /// In the sweeper's milliseconds.
    suspect_until: Cell<u64>,
}

/// An attempt to connect. One that ends without a connection, by an error or by its deadline, makes the server suspect.
/// One whose client has left says nothing of the server.
struct Attempt<'p, B> {
    pool: &'p ServerPool<B>,
    deadline: &'p Deadline,
}

impl<B> Drop for Attempt<'_, B> {
    fn drop(&mut self) {
        if self.deadline.fired() == Some(Wait::Connect) {
            self.pool.suspect();
        }
    }
}

/// The task that drives a connection. It ends with whoever holds the connection, whatever it is still sending.
struct Driver(Option<AbortHandle>);

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

struct Idle<B> {
    sender: http1::SendRequest<B>,
    driver: Driver,
    probe: Probe,
    /// In the sweeper's milliseconds.
    until: u64,
}

impl<B> ServerPool<B> {
    /// It is asked after the others for a while.
    fn suspect(&self) {
        let lasts = SUSPECT.as_millis() as u64;
        self.suspect_until.set(self.sweeper.now_ms() + lasts);
    }
}

impl<B: Body<Data = Bytes> + 'static> ServerPool<B>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) fn new(
        server: UpstreamServer,
        address: Option<SocketAddr>,
        sweeper: Sweeper,
    ) -> Self {
        ServerPool {
            server,
            address,
            idle: RefCell::new(Vec::new()),
            sweeper,
            opened: Cell::new(0),
            failed: Cell::new(0),
            reused: Cell::new(0),
            open: Rc::default(),
            suspect_until: Cell::new(0),
        }
    }

    /// The server.
    pub fn server(&self) -> &UpstreamServer {
        &self.server
    }

    pub(super) fn stats(&self) -> PoolStats {
        PoolStats {
            opened: self.opened.get(),
            failed: self.failed.get(),
            reused: self.reused.get(),
            open: self.open.get(),
            idle: self.idle.borrow().len() as u64,
        }
    }

    pub(super) fn tidy(&self) {
        let now = self.sweeper.now_ms();
        self.idle
            .borrow_mut()
            .retain(|idle| now < idle.until && !idle.sender.is_closed());
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.sweeper.now_ms() < self.suspect_until.get()
    }

    pub(super) async fn lease(
        self: &Rc<Self>,
        choice: Choice,
        deadline: &Deadline,
    ) -> Result<Lease<B>, ConnectError> {
        if choice == Choice::Any
            && let Some(lease) = self.take_idle().await
        {
            return Ok(lease);
        }
        self.open(deadline).await
    }

    /// The youngest idle connection that is still open.
    async fn take_idle(self: &Rc<Self>) -> Option<Lease<B>> {
        loop {
            let Idle {
                mut sender,
                driver,
                probe,
                until,
            } = self.idle.borrow_mut().pop()?;
            if self.sweeper.now_ms() >= until {
                continue;
            }
            // Given back at the end of its body: hyper may need one more turn before it can take the next request.
            if sender.is_ready() || sender.ready().await.is_ok() {
                probe.lend(true);
                self.reused.set(self.reused.get() + 1);
                return Some(Lease {
                    sender,
                    driver,
                    probe,
                    pool: Rc::clone(self),
                    used: true,
                });
            }
        }
    }

    async fn open(self: &Rc<Self>, deadline: &Deadline) -> Result<Lease<B>, ConnectError> {
        let attempt = Attempt {
            pool: self,
            deadline,
        };
        let made = self.handshake().await;
        std::mem::forget(attempt);
        let count = if made.is_ok() {
            self.suspect_until.set(0);
            &self.opened
        } else {
            self.suspect();
            &self.failed
        };
        count.set(count.get() + 1);
        made
    }

    async fn handshake(self: &Rc<Self>) -> Result<Lease<B>, ConnectError> {
        let stream = connect(&self.server, self.address).await?;
        let (io, probe) = UpstreamIo::new(stream, Open::count(&self.open));
        let (sender, connection) = http1::Builder::new()
            .writev(false)
            .handshake::<_, B>(TokioIo::new(io))
            .await
            .map_err(ConnectError::Handshake)?;
        let task = tokio::task::spawn_local(drive(connection, probe.clone()));
        Ok(Lease {
            sender,
            driver: Driver(Some(task.abort_handle())),
            probe,
            pool: Rc::clone(self),
            used: false,
        })
    }

    fn put_back(&self, idle: Idle<B>) {
        let mut all = self.idle.borrow_mut();
        if all.len() < IDLE_MAX {
            all.push(idle);
        }
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

/// A connection on loan, for one request. Dropped, it closes.
pub struct Lease<B> {
    sender: http1::SendRequest<B>,
    driver: Driver,
    probe: Probe,
    pool: Rc<ServerPool<B>>,
    used: bool,
}

impl<B: Body<Data = Bytes> + 'static> Lease<B>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Whether the connection has served a request before.
    pub fn used(&self) -> bool {
        self.used
    }

    /// The server that it leads to.
    pub fn server(&self) -> &UpstreamServer {
        &self.pool.server
    }

    /// hyper's handle, for one request.
    pub fn sender(&mut self) -> &mut http1::SendRequest<B> {
        &mut self.sender
    }

    /// Whether the connection is open and silent at this instant, by asking the kernel.
    pub fn is_quiet(&self) -> bool {
        self.probe.is_quiet()
    }

    /// The connection itself, and what was read of it already, after an answer whose status was 101: HTTP is over on it.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn into_upgraded(self) -> io::Result<(UpstreamIo, Bytes)> {
        self.probe.take().await
    }

    /// Leaves the connection to the request that is still being sent on it.
    pub fn let_go(mut self) {
        self.driver.0 = None;
    }

    /// Returns the connection for the next request; `keep` is how long the server said that it keeps it.
    pub fn give_back(self, keep: Option<Duration>) {
        let keep = keep.map_or(IDLE, |said| {
            said.saturating_sub(Duration::from_secs(1)).min(IDLE)
        });
        let until = self.pool.sweeper.now_ms() + u64::try_from(keep.as_millis()).unwrap_or(0);
        self.probe.lend(false);
        self.pool.put_back(Idle {
            sender: self.sender,
            driver: self.driver,
            probe: self.probe,
            until,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::TICK;
    use std::time::Instant;

    fn pool(port: u16) -> ServerPool<http_body_util::Empty<Bytes>> {
        let server = UpstreamServer {
            scheme: crate::config::Scheme::Http,
            host: "127.0.0.1".into(),
            port,
            authority: http::HeaderValue::from_static("localhost"),
            weight: 1,
        };
        ServerPool::new(server, None, Sweeper::new(Instant::now()))
    }

    #[test]
    fn a_server_is_suspect_when_its_time_is_over_and_not_when_its_client_leaves() {
        let pool = pool(1);
        let (sweeper, start) = (pool.sweeper.clone(), Instant::now());
        let deadline = sweeper.deadline();
        deadline.arm(Wait::Connect, TICK);
        let attempt = || Attempt {
            pool: &pool,
            deadline: &deadline,
        };
        drop(attempt());
        assert!(!pool.is_suspect(), "the client left");
        for tick in 1..=2 {
            sweeper.sweep(start + TICK * tick);
        }
        drop(attempt());
        assert!(pool.is_suspect(), "the time was over");
    }

    #[test]
    fn a_connection_that_changed_its_protocol_is_handed_over_with_what_was_read_of_it() {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let peer = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                peer.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello";
            peer.write_all(answer.as_bytes()).unwrap();
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            all
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            use tokio::io::AsyncReadExt;
            let pool = Rc::new(pool(port));
            let deadline = pool.sweeper.deadline();
            let mut lease = pool.lease(Choice::Any, &deadline).await.unwrap();
            let request = http::Request::get("/")
                .header("connection", "upgrade")
                .header("upgrade", "echo")
                .body(http_body_util::Empty::<Bytes>::new())
                .unwrap();
            let answer = lease.sender().send_request(request).await.unwrap();
            assert_eq!(answer.status(), 101);
            drop(answer);
            let (mut io, read) = lease.into_upgraded().await.unwrap();
            let mut heard = read.to_vec();
            while heard.len() < 5 {
                io.read_buf(&mut heard).await.unwrap();
            }
            assert_eq!(heard, b"hello");
            io.write_all(b"good bye").await.unwrap();
            assert_eq!(pool.stats().open, 1);
            drop(io);
            assert_eq!((pool.stats().open, pool.stats().idle), (0, 0));
        });
        assert_eq!(peer.join().unwrap(), b"good bye");
    }
}
