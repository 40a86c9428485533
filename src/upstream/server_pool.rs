//! One worker's connections to one server.

use super::connect::{ConnectError, connect};
use super::http1::Http1;
use super::http2::{Connection, Place};
use super::io::{Open, UpstreamIo};
use super::lease::{Lease, Over};
use crate::config::{Http2, Scheme, UpstreamServer, UpstreamSettings};
use crate::deadline::{Deadline, Sweeper, Wait};
use crate::tls::{Alpn, ClientTls, Print, Stream};
use bytes::Bytes;
use http_body::Body;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

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

impl PoolStats {
    /// Adds another pool's.
    pub fn add(&mut self, other: PoolStats) {
        self.opened += other.opened;
        self.failed += other.failed;
        self.reused += other.reused;
        self.open += other.open;
        self.idle += other.idle;
    }
}

/// How connections to the servers of an upstream are made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct How {
    http2: Http2,
    /// `None` where no server speaks TLS.
    tls: Option<Arc<ClientTls>>,
}

impl How {
    /// As the upstream's settings have it.
    pub fn of(settings: &UpstreamSettings) -> Self {
        How {
            http2: settings.http2,
            tls: settings.tls.clone(),
        }
    }
}

/// What a pool's connections have in common: how they are made, and with whom. A request may go out on any of them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PoolKey {
    scheme: Scheme,
    host: Box<str>,
    port: u16,
    socket: Option<Box<Path>>,
    http2: Http2,
    tls: Option<Print>,
}

impl PoolKey {
    /// That of a server of this upstream.
    pub fn new(settings: &UpstreamSettings, server: &UpstreamServer) -> Self {
        PoolKey {
            scheme: server.scheme,
            host: server.host.clone(),
            port: server.port,
            socket: server.socket.clone(),
            http2: settings.http2,
            tls: settings.tls.as_ref().map(|tls| tls.print()),
        }
    }
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
    how: How,
    idle: RefCell<Vec<Idle<B>>>,
    /// Those of HTTP/2, the oldest first.
    shared: RefCell<Vec<Rc<Connection>>>,
    /// Whoever opens a connection of HTTP/2 has it.
    turn: Semaphore,
    /// The server was last offered HTTP/2, and took HTTP/1.1.
    settled_on_http1: Cell<bool>,
    /// The server took HTTP/2, and wanted HTTP/1.1 later.
    http1_required: Cell<bool>,
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

/// A connection that serves no request.
pub(super) struct Idle<B> {
    pub(super) connection: Http1<B>,
    /// In the sweeper's milliseconds.
    pub(super) until: u64,
}

/// Which version of HTTP a server is spoken with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Speaks {
    Http1,
    Http2,
    /// The one that it settles on in its TLS handshake.
    Either,
}

impl<B> ServerPool<B> {
    fn speaks(&self, choice: Choice) -> Speaks {
        match (self.server.scheme, self.how.http2, choice) {
            (Scheme::Http, _, _) => Speaks::Http1,
            // Servers of HTTP/2 in clear text tell the two apart by the first bytes.
            (Scheme::H2c | Scheme::Https, _, Choice::Http1) => Speaks::Http1,
            (Scheme::H2c, _, Choice::Any | Choice::New) => Speaks::Http2,
            (Scheme::Https, Http2::Never, _) => Speaks::Http1,
            (Scheme::Https, Http2::Always, _) => Speaks::Http2,
            (Scheme::Https, Http2::Offered, _) if self.http1_required.get() => Speaks::Http1,
            (Scheme::Https, Http2::Offered, _) => Speaks::Either,
        }
    }

    /// The server wants no more requests over HTTP/2, where it can be asked otherwise.
    pub(super) fn require_http1(&self) {
        self.http1_required.set(true);
    }

    /// As a request of HTTP/2 names it.
    pub(super) fn uri_scheme(&self) -> http::uri::Scheme {
        match self.server.scheme {
            Scheme::Http | Scheme::H2c => http::uri::Scheme::HTTP,
            Scheme::Https => http::uri::Scheme::HTTPS,
        }
    }

    /// The server.
    pub fn server(&self) -> &UpstreamServer {
        &self.server
    }

    /// Until when a connection that is given back may be used, in the sweeper's milliseconds.
    pub(super) fn until(&self, keep: Option<Duration>) -> u64 {
        let keep = keep.map_or(IDLE, |said| {
            said.saturating_sub(Duration::from_secs(1)).min(IDLE)
        });
        self.sweeper.now_ms() + u64::try_from(keep.as_millis()).unwrap_or(0)
    }

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
        how: How,
        sweeper: Sweeper,
    ) -> Self {
        ServerPool {
            server,
            address,
            how,
            idle: RefCell::new(Vec::new()),
            shared: RefCell::new(Vec::new()),
            turn: Semaphore::new(1),
            settled_on_http1: Cell::new(false),
            http1_required: Cell::new(false),
            sweeper,
            opened: Cell::new(0),
            failed: Cell::new(0),
            reused: Cell::new(0),
            open: Rc::default(),
            suspect_until: Cell::new(0),
        }
    }

    pub(super) fn stats(&self) -> PoolStats {
        let shared = self.shared.borrow();
        let idle_shared = shared.iter().filter(|connection| connection.is_idle());
        PoolStats {
            opened: self.opened.get(),
            failed: self.failed.get(),
            reused: self.reused.get(),
            open: self.open.get(),
            idle: (self.idle.borrow().len() + idle_shared.count()) as u64,
        }
    }

    pub(super) fn tidy(&self) {
        let now = self.sweeper.now_ms();
        self.idle
            .borrow_mut()
            .retain(|idle| now < idle.until && !idle.connection.sender.is_closed());
        self.shared.borrow_mut().retain(|connection| {
            connection.listen();
            let stays =
                !connection.is_idle() || now < connection.idle_since() + IDLE.as_millis() as u64;
            stays && !connection.is_retired()
        });
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.sweeper.now_ms() < self.suspect_until.get()
    }

    pub(super) async fn lease(
        self: &Rc<Self>,
        choice: Choice,
        deadline: &Deadline,
    ) -> Result<Lease<B>, ConnectError> {
        let speaks = self.speaks(choice);
        match speaks {
            Speaks::Http1 => {}
            Speaks::Http2 | Speaks::Either => return self.lease_stream(choice, deadline).await,
        }
        if choice == Choice::Any
            && let Some(lease) = self.take_idle().await
        {
            return Ok(lease);
        }
        self.open(speaks, deadline).await
    }

    /// The youngest idle connection that is still open.
    async fn take_idle(self: &Rc<Self>) -> Option<Lease<B>> {
        loop {
            let Idle {
                mut connection,
                until,
            } = self.idle.borrow_mut().pop()?;
            if self.sweeper.now_ms() >= until {
                continue;
            }
            // Given back at the end of its body: hyper may need one more turn before it can take the next request.
            let sender = &mut connection.sender;
            if sender.is_ready() || sender.ready().await.is_ok() {
                connection.probe.lend(true);
                self.reused.set(self.reused.get() + 1);
                return Some(Lease::new(Over::Http1(connection), Rc::clone(self), true));
            }
        }
    }

    /// A stream on a connection that has room for it: the oldest, so that those that were opened in a rush end soon.
    fn take_stream(self: &Rc<Self>) -> Option<Lease<B>> {
        let mut all = self.shared.borrow_mut();
        all.retain(|connection| !connection.is_retired());
        let connection = all.iter().find(|connection| connection.has_room())?;
        let used = connection.is_used();
        if used {
            self.reused.set(self.reused.get() + 1);
        }
        let place = Over::Http2(Place::on(connection));
        Some(Lease::new(place, Rc::clone(self), used))
    }

    /// A stream, or a connection of HTTP/1.1 where the server does not settle on HTTP/2. One request connects, the others
    /// wait for it, as long as they may wait for a connection: else each of a burst would open one of its own.
    async fn lease_stream(
        self: &Rc<Self>,
        choice: Choice,
        deadline: &Deadline,
    ) -> Result<Lease<B>, ConnectError> {
        if let Some(lease) = self.take_stream() {
            return Ok(lease);
        }
        if choice == Choice::Any
            && let Some(lease) = self.take_idle().await
        {
            return Ok(lease);
        }
        if self.settled_on_http1.get() {
            return self.open(self.speaks(choice), deadline).await;
        }
        let _turn = self.turn.acquire().await.expect("it is never closed");
        match self.take_stream() {
            Some(lease) => Ok(lease),
            None => self.open(self.speaks(choice), deadline).await,
        }
    }

    async fn open(
        self: &Rc<Self>,
        speaks: Speaks,
        deadline: &Deadline,
    ) -> Result<Lease<B>, ConnectError> {
        let attempt = Attempt {
            pool: self,
            deadline,
        };
        // Boxed: rare, and some hundred bytes of every request that needs none.
        let made = Box::pin(self.handshake(speaks)).await;
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

    async fn handshake(self: &Rc<Self>, speaks: Speaks) -> Result<Lease<B>, ConnectError> {
        let socket = connect(&self.server, self.address).await?;
        let stream = match self.server.scheme {
            Scheme::Http | Scheme::H2c => Stream::from(socket),
            Scheme::Https => {
                let alpn = match speaks {
                    Speaks::Http1 => Alpn::Http1,
                    Speaks::Http2 => Alpn::H2,
                    Speaks::Either => Alpn::Both,
                };
                let tls = self.how.tls.as_ref().ok_or(ConnectError::NoTls)?;
                let shaken = tls.connect(&self.server.host, socket, alpn).await;
                shaken.map_err(|source| ConnectError::Tls {
                    authority: self.server.to_string(),
                    source,
                })?
            }
        };
        let http2 = match speaks {
            Speaks::Http1 => false,
            Speaks::Http2 if stream.is_tls() && stream.alpn() != Some(b"h2") => {
                return Err(ConnectError::NotHttp2);
            }
            Speaks::Http2 => true,
            Speaks::Either => {
                let http2 = stream.alpn() == Some(b"h2");
                self.settled_on_http1.set(!http2);
                http2
            }
        };
        let (io, probe) = UpstreamIo::new(stream, Open::count(&self.open));
        let over = if http2 {
            let connection = Connection::begin(io, probe, self.sweeper.clone()).await?;
            let connection = Rc::new(connection);
            let place = Place::on(&connection);
            self.shared.borrow_mut().push(connection);
            Over::Http2(place)
        } else {
            Over::Http1(Http1::begin(io, probe).await?)
        };
        Ok(Lease::new(over, Rc::clone(self), false))
    }

    pub(super) fn put_back(&self, idle: Idle<B>) {
        let mut all = self.idle.borrow_mut();
        if all.len() < IDLE_MAX {
            all.push(idle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::TICK;
    use std::time::Instant;
    use tokio::io::AsyncWriteExt;

    fn pool(port: u16) -> ServerPool<http_body_util::Empty<Bytes>> {
        let server = UpstreamServer {
            scheme: crate::config::Scheme::Http,
            host: "127.0.0.1".into(),
            port,
            socket: None,
            authority: http::HeaderValue::from_static("localhost"),
            weight: 1,
        };
        let how = How {
            http2: Http2::Offered,
            tls: None,
        };
        ServerPool::new(server, None, how, Sweeper::new(Instant::now()))
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
            let answer = lease.send(request).await.ok().unwrap();
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
