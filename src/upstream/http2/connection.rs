//! What the streams to a server share: the connection, the task that drives it, and how it stands.
//!
//! A stream is counted from the moment it is promised until its request and its answer are both over: whoever has one
//! keeps a [`Held`]. The driving task says whether the server's limit is known, whether the connection is retired, and
//! when something was heard last; everything else is decided here when somebody asks.

use super::failure::is_refused;
use crate::deadline::Sweeper;
use crate::net::{End, FrameBudget, Metered};
use crate::upstream::connect::ConnectError;
use crate::upstream::io::{Probe, UpstreamIo};
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, Reason};
use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// Most streams at one time on a connection, where the server allows as many.
const STREAMS: usize = 100;

/// Most bytes of an answer that may be here before its client takes them.
const STREAM_WINDOW: u32 = 256 * 1024;

/// As much as all streams together may have: one whose client does not read holds up no other.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS as u32;

/// Most bytes of a request's body that wait here for the server to take them.
const SEND_BUFFER: usize = 64 * 1024;

/// Most bytes of an answer's head, as HTTP/2 counts them.
const HEAD_BYTES: u32 = 64 * 1024;

/// How many streams that we reset are remembered, so that what was on its way for them is dropped quietly.
const RESETS: usize = 1024;

/// How many frames a server may send that bring nothing further, and in which time it may send one more.
const FRAMES: u32 = 1000;
const FRAME_EVERY: Duration = Duration::from_millis(10);

/// A connection with streams on which nothing was heard for this many seconds is asked whether it is alive.
const ASK_AFTER: u32 = 15;

/// One on which nothing was heard for this many seconds is dead.
const DEAD_AFTER: u32 = 30;

/// A stream that ends after so many milliseconds in which nothing was heard casts doubt on its connection.
const DOUBT_AFTER: u64 = 200;

/// What a server cannot allow: stands for "its first SETTINGS have not come yet".
const UNSETTLED: usize = usize::MAX - 1;

/// A connection, shared by the requests on it. It ends when nobody has it any more.
pub(in crate::upstream) struct Connection {
    sender: SendRequest<Bytes>,
    driver: AbortHandle,
    probe: Probe,
    shared: Rc<Shared>,
    streams: Cell<usize>,
    /// Ours, where the server's refusals showed that it takes fewer than it says.
    limit: Cell<usize>,
    used: Cell<bool>,
    sweeper: Sweeper,
    /// Since when it has no streams, in the sweeper's milliseconds.
    idle_since: Cell<u64>,
    heard: Cell<u32>,
    silent_seconds: Cell<u32>,
}

/// What the task that drives a connection has to say.
#[derive(Default)]
struct Shared {
    settled: Cell<bool>,
    retired: Cell<bool>,
    /// A PING is to be sent.
    ask: Cell<bool>,
    /// It takes no new stream until a PING is answered.
    doubted: Cell<bool>,
    /// When something was heard last, in the sweeper's milliseconds.
    heard_at: Cell<u64>,
    failure: Cell<Option<h2::Error>>,
    waiting: Cell<Option<Waker>>,
    driver: Cell<Option<Waker>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Begins HTTP/2 and waits for the server's SETTINGS. The caller holds the deadline.
    pub async fn begin(
        io: UpstreamIo,
        probe: Probe,
        sweeper: Sweeper,
    ) -> Result<Self, ConnectError> {
        let (sender, connection) = Builder::new()
            .initial_max_send_streams(UNSETTLED)
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(HEAD_BYTES)
            .max_concurrent_reset_streams(RESETS)
            // Counted over a connection's whole life: clients that leave would end one that is well.
            .max_local_error_reset_streams(None)
            .handshake::<_, Bytes>(Metered::new(io, frames()))
            .await
            .map_err(ConnectError::Http2)?;
        let shared = Rc::new(Shared::default());
        let task = tokio::task::spawn_local(drive(
            connection,
            sender.clone(),
            Rc::clone(&shared),
            (probe.clone(), sweeper.clone()),
        ));
        let connection = Connection {
            sender,
            driver: task.abort_handle(),
            probe,
            shared,
            streams: Cell::new(0),
            limit: Cell::new(STREAMS),
            used: Cell::new(false),
            idle_since: Cell::new(sweeper.now_ms()),
            sweeper,
            heard: Cell::new(0),
            silent_seconds: Cell::new(0),
        };
        let shared = &connection.shared;
        poll_fn(|cx| {
            if shared.settled.get() || shared.retired.get() {
                return Poll::Ready(());
            }
            shared.waiting.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        match shared.failure.take() {
            Some(error) => Err(ConnectError::Http2(error)),
            None if connection.has_room() => Ok(connection),
            None => Err(ConnectError::NoStreams),
        }
    }

    /// Whether it takes another stream.
    pub fn has_room(&self) -> bool {
        let theirs = self.sender.current_max_send_streams();
        !self.is_retired()
            && !self.shared.doubted.get()
            && self.streams.get() < theirs.min(self.limit.get())
    }

    pub fn is_retired(&self) -> bool {
        self.shared.retired.get()
    }

    pub fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// In the sweeper's milliseconds; only of one that is idle.
    pub fn idle_since(&self) -> u64 {
        self.idle_since.get()
    }

    /// Whether it has had a stream before the one that is asked for.
    pub fn is_used(&self) -> bool {
        self.used.get()
    }

    /// To be called about once a second: asks a silent connection whether it is alive, and ends a dead one.
    pub fn listen(&self) {
        let heard = self.probe.heard();
        let waits = !self.is_idle() || self.shared.doubted.get();
        if heard != self.heard.replace(heard) || !waits {
            self.silent_seconds.set(0);
            return;
        }
        let seconds = self.silent_seconds.get() + 1;
        self.silent_seconds.set(seconds);
        if seconds == ASK_AFTER {
            self.ask();
        } else if seconds >= DEAD_AFTER {
            self.shared.retired.set(true);
            // Its streams hear of it.
            self.driver.abort();
        }
    }

    fn ask(&self) {
        self.shared.ask.set(true);
        if let Some(driver) = self.shared.driver.take() {
            driver.wake();
        }
    }

    /// Counts one stream more, which [`Connection::has_room`] said that there is room for.
    pub(super) fn hold(self: &Rc<Self>) -> Rc<Held> {
        self.streams.set(self.streams.get() + 1);
        Rc::new(Held {
            connection: Rc::clone(self),
            begun: self.sweeper.now_ms(),
        })
    }

    /// What sends a request on it. From now on it is used.
    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.used.set(true);
        self.sender.clone()
    }

    /// Whether it is open at this instant, for one that has a stream on it. One that is not is used for nothing new.
    pub(super) fn is_quiet(&self) -> bool {
        // While others are on it, something to read says nothing.
        let quiet = self.streams.get() > 1 || self.probe.is_quiet();
        if !quiet {
            self.shared.retired.set(true);
        }
        quiet && !self.is_retired()
    }

    /// What a failure of one of its streams says of it.
    pub(super) fn note(&self, error: &h2::Error) {
        if is_refused(error) && error.is_reset() {
            let others = self.streams.get() - 1;
            self.limit.set(others.max(1));
        }
        if error.is_go_away() || error.is_io() {
            self.shared.retired.set(true);
        }
    }
}

/// What a server may send that brings nothing further.
fn frames() -> FrameBudget {
    FrameBudget::new(End::Client, FRAMES, FRAME_EVERY, Instant::now())
}

/// Drives a connection until it ends. Whoever has a stream on it hears of its errors.
async fn drive(
    mut connection: h2::client::Connection<Metered<UpstreamIo>, Bytes>,
    mut sender: SendRequest<Bytes>,
    shared: Rc<Shared>,
    (probe, sweeper): (Probe, Sweeper),
) {
    let mut heard = probe.heard();
    let mut pings = connection.ping_pong().expect("taken once");
    let mut asked = false;
    let ended = poll_fn(|cx| {
        shared.driver.set(Some(cx.waker().clone()));
        if shared.ask.take() && !asked {
            asked = pings.send_ping(Ping::opaque()).is_ok();
        }
        let polled = Pin::new(&mut connection).poll(cx);
        if heard != probe.heard() {
            heard = probe.heard();
            shared.heard_at.set(sweeper.now_ms());
        }
        if asked && pings.poll_pong(cx).is_ready() {
            asked = false;
            shared.doubted.set(false);
        }
        if let Poll::Ready(ended) = polled {
            return Poll::Ready(ended);
        }
        if !shared.settled.get() && sender.current_max_send_streams() != UNSETTLED {
            shared.settled.set(true);
            wake(&shared.waiting);
        }
        // GOAWAY: those who look for a connection must not find it any more.
        if matches!(sender.poll_ready(cx), Poll::Ready(Err(_))) {
            shared.retired.set(true);
        }
        Poll::Pending
    })
    .await;
    shared.retired.set(true);
    shared.failure.set(Some(match ended {
        Ok(()) => Reason::NO_ERROR.into(),
        Err(error) => error,
    }));
    wake(&shared.waiting);
}

fn wake(waiting: &Cell<Option<Waker>>) {
    if let Some(waiting) = waiting.take() {
        waiting.wake();
    }
}

/// Counts a stream, until its request and its answer are both over.
pub(super) struct Held {
    connection: Rc<Connection>,
    /// In the sweeper's milliseconds.
    begun: u64,
}

impl Held {
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get() - 1);
        // Whoever gave it up, by a deadline or by leaving: the next request is not to wait for the same silence.
        let heard_at = connection.shared.heard_at.get().max(self.begun);
        if connection.sweeper.now_ms() >= heard_at + DOUBT_AFTER && !connection.is_retired() {
            connection.shared.doubted.set(true);
            connection.ask();
        }
        if connection.is_idle() {
            connection.idle_since.set(connection.sweeper.now_ms());
        }
    }
}
