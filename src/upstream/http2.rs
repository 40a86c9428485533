//! HTTP/2 to a server: one connection, many streams, and what a stream may make us hold.
//!
//! The crate `h2` is used as it is, not by way of hyper: a request costs no task unless its body has to wait, whether the
//! server has processed it can be told, and a stream that was reset is never mistaken for one that ended.
//!
//! A connection is ready when the server's first SETTINGS have come: from then on its limit on streams is known, and no
//! request is sent that it would have to refuse. Once it said GOAWAY, or failed, it is *retired*: it takes no new stream,
//! those that it has go on. One on which nothing is heard while streams are open is asked with a PING, and is over when
//! that is not answered. One on which a stream was given up after nothing was heard for a while is *doubted*: it is asked
//! at once, and takes no new stream until it has answered.

use super::connect::ConnectError;
use super::io::{Probe, UpstreamIo};
use crate::deadline::Sweeper;
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, Reason, RecvStream, SendStream};
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version, header};
use http_body::{Body, Frame, SizeHint};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
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

/// A connection with streams on which nothing was heard for this many seconds is asked whether it is alive.
const ASK_AFTER: u32 = 15;

/// One on which nothing was heard for this many seconds is dead.
const DEAD_AFTER: u32 = 30;

/// A stream that ends after so many milliseconds in which nothing was heard casts doubt on its connection.
const DOUBT_AFTER: u64 = 200;

/// What a server cannot allow: stands for "its first SETTINGS have not come yet".
const UNSETTLED: usize = usize::MAX - 1;

/// A connection, shared by the requests on it. It ends when nobody has it any more.
pub(super) struct Connection {
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
    pub(super) async fn begin(
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
            .handshake::<_, Bytes>(io)
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
    pub(super) fn has_room(&self) -> bool {
        let theirs = self.sender.current_max_send_streams();
        !self.is_retired()
            && !self.shared.doubted.get()
            && self.streams.get() < theirs.min(self.limit.get())
    }

    pub(super) fn is_retired(&self) -> bool {
        self.shared.retired.get()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// In the sweeper's milliseconds; only of one that is idle.
    pub(super) fn idle_since(&self) -> u64 {
        self.idle_since.get()
    }

    /// Whether it has had a stream before the one that is asked for.
    pub(super) fn is_used(&self) -> bool {
        self.used.get()
    }

    /// To be called about once a second: asks a silent connection whether it is alive, and ends a dead one.
    pub(super) fn listen(&self) {
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

    /// A place for one stream, which [`Connection::has_room`] said that there is.
    pub(super) fn place<B>(self: &Rc<Self>) -> Place<B> {
        self.streams.set(self.streams.get() + 1);
        Place {
            held: Rc::new(Held {
                connection: Rc::clone(self),
                begun: self.sweeper.now_ms(),
            }),
            upload: None,
        }
    }
}

/// Drives a connection until it ends. Whoever has a stream on it hears of its errors.
async fn drive(
    mut connection: h2::client::Connection<UpstreamIo, Bytes>,
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
struct Held {
    connection: Rc<Connection>,
    /// In the sweeper's milliseconds.
    begun: u64,
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

/// A place for one stream on a connection. Dropped, it resets the stream, if that is not over.
pub(super) struct Place<B> {
    held: Rc<Held>,
    upload: Option<Upload<B>>,
}

/// A request's body on its way, and the task that sends it.
struct Upload<B> {
    pipe: Rc<RefCell<Option<Pipe<B>>>>,
    task: AbortHandle,
    /// It goes on by itself.
    let_go: bool,
}

impl<B> Drop for Upload<B> {
    fn drop(&mut self) {
        if !self.let_go {
            // At once, and not when the task is run again: whoever asks for the body back must find it.
            let pipe = self.pipe.try_borrow_mut().ok().and_then(|mut p| p.take());
            drop(pipe);
            self.task.abort();
        }
    }
}

impl<B> Place<B> {
    pub(super) fn connection(&self) -> &Connection {
        &self.held.connection
    }

    /// Leaves the stream to the request that is still being sent.
    pub(super) fn let_go(mut self) {
        if let Some(upload) = &mut self.upload {
            upload.let_go = true;
        }
    }

    /// Whether the connection is open at this instant. One that is not is used for nothing new.
    pub(super) fn is_quiet(&self) -> bool {
        let connection = self.connection();
        // While others are on it, something to read says nothing.
        let quiet = connection.streams.get() > 1 || connection.probe.is_quiet();
        if !quiet {
            connection.shared.retired.set(true);
        }
        quiet && !connection.is_retired()
    }

    /// What a failure of this stream says of its connection.
    fn note(&self, error: &h2::Error) {
        let connection = self.connection();
        if is_refused(error) && error.is_reset() {
            let others = connection.streams.get() - 1;
            connection.limit.set(others.max(1));
        }
        if error.is_go_away() || error.is_io() {
            connection.shared.retired.set(true);
        }
    }
}

/// Whether the server has certainly not processed the request (RFC 9113, section 8.7): it refused the stream, or said
/// GOAWAY with an earlier one as the last.
pub(super) fn is_refused(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.is_go_away()
            || error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM))
}

/// Whether the server wants the request over HTTP/1.1.
pub(super) fn wants_http1(error: &h2::Error) -> bool {
    error.is_remote() && error.reason() == Some(Reason::HTTP_1_1_REQUIRED)
}

/// Why a request on a stream was not answered.
pub(super) enum Unanswered<B> {
    /// Nothing of it was sent.
    Unsent(Box<Request<B>>, h2::Error),
    /// Its head cannot be one of HTTP/2.
    Unfit,
    Failed(h2::Error),
}

impl<B: Body<Data = Bytes> + Unpin + 'static> Place<B>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Sends the request and waits for the head of its answer.
    pub(super) async fn send(
        &mut self,
        request: Request<B>,
        scheme: UriScheme,
    ) -> Result<Response<Receiving>, Unanswered<B>> {
        let connection = self.connection();
        connection.used.set(true);
        let mut sender = connection.sender.clone();
        if let Err(error) = poll_fn(|cx| sender.poll_ready(cx)).await {
            self.note(&error);
            return Err(Unanswered::Unsent(Box::new(request), error));
        }
        let (head, body) = request.into_parts();
        let mut request = Request::from_parts(head, ());
        let authority = request.headers_mut().remove(header::HOST);
        *request.uri_mut() = absolute(request.uri(), authority, scheme).ok_or(Unanswered::Unfit)?;
        *request.version_mut() = Version::HTTP_2;
        // The length of the body is in its frames.
        request.headers_mut().remove(header::TRANSFER_ENCODING);
        if is_grpc(request.headers()) {
            request
                .headers_mut()
                .insert(header::TE, HeaderValue::from_static("trailers"));
        }
        let ends = body.is_end_stream();
        let (mut answer, stream) = sender.send_request(request, ends).map_err(|error| {
            self.note(&error);
            Unanswered::Failed(error)
        })?;
        if !ends {
            self.upload(Pipe {
                stream,
                waiting: None,
                _held: Rc::clone(&self.held),
                ended: false,
                body,
            })
            .await;
        }
        match poll_fn(|cx| Pin::new(&mut answer).poll(cx)).await {
            Ok(answer) => {
                let (head, stream) = answer.into_parts();
                let body = Receiving::new(stream, &head.headers);
                Ok(Response::from_parts(head, body))
            }
            Err(error) => {
                self.note(&error);
                Err(Unanswered::Failed(error))
            }
        }
    }

    /// Sends what of the body is there; the rest is sent by a task.
    async fn upload(&mut self, mut pipe: Pipe<B>) {
        let begun = poll_fn(|cx| Poll::Ready(Pin::new(&mut pipe).poll(cx))).await;
        if begun.is_ready() {
            return;
        }
        let pipe = Rc::new(RefCell::new(Some(pipe)));
        let piped = Rc::clone(&pipe);
        let task = tokio::task::spawn_local(poll_fn(move |cx| {
            let mut slot = piped.borrow_mut();
            let Some(pipe) = slot.as_mut() else {
                return Poll::Ready(());
            };
            ready!(Pin::new(pipe).poll(cx));
            let over = slot.take();
            drop(slot);
            drop(over);
            Poll::Ready(())
        }));
        self.upload = Some(Upload {
            pipe,
            task: task.abort_handle(),
            let_go: false,
        });
    }
}

/// The target with scheme and authority.
fn absolute(uri: &Uri, authority: Option<HeaderValue>, scheme: UriScheme) -> Option<Uri> {
    let authority = Authority::from_maybe_shared(Bytes::copy_from_slice(authority?.as_bytes()));
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority.ok()?);
    let path = uri.path_and_query().cloned();
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Uri::from_parts(parts).ok()
}

/// Whether the message is gRPC's.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// A request's body on its way into its stream. Dropped before its end, it resets the stream: half a body must not look
/// whole.
struct Pipe<B> {
    stream: SendStream<Bytes>,
    /// What was taken from the body and waits for room.
    waiting: Option<Bytes>,
    _held: Rc<Held>,
    ended: bool,
    body: B,
}

impl<B> Drop for Pipe<B> {
    fn drop(&mut self) {
        if !self.ended {
            self.stream.send_reset(Reason::CANCEL);
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Future for Pipe<B> {
    type Output = ();

    /// Whoever waits for the answer hears why the stream ended.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            if this.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(());
            }
            if let Some(data) = this.waiting.take() {
                let room = this.stream.capacity();
                if room == 0 {
                    this.waiting = Some(data);
                    match ready!(this.stream.poll_capacity(cx)) {
                        Some(Ok(_)) => continue,
                        Some(Err(_)) | None => return Poll::Ready(()),
                    }
                }
                if this.send(data).is_err() {
                    return Poll::Ready(());
                }
                if this.ended {
                    return Poll::Ready(());
                }
                continue;
            }
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {
                        if this.body.is_end_stream() && this.send(data).is_err() {
                            return Poll::Ready(());
                        }
                    }
                    Ok(data) => {
                        // Asked for when there is something to send: room that a stream holds and does not use is
                        // missed by its neighbours.
                        this.stream.reserve_capacity(1);
                        this.waiting = Some(data);
                    }
                    Err(frame) => {
                        let Ok(trailers) = frame.into_trailers() else {
                            continue;
                        };
                        this.stream.reserve_capacity(0);
                        this.ended = this.stream.send_trailers(trailers).is_ok();
                        return Poll::Ready(());
                    }
                },
                None => {
                    let _ = this.send(Bytes::new());
                    return Poll::Ready(());
                }
                // Dropping resets.
                Some(Err(_)) => return Poll::Ready(()),
            }
            if this.ended {
                return Poll::Ready(());
            }
        }
    }
}

impl<B: Body<Data = Bytes>> Pipe<B> {
    fn send(&mut self, data: Bytes) -> Result<(), h2::Error> {
        let end = data.is_empty() || self.body.is_end_stream();
        self.stream.send_data(data, end)?;
        self.ended = end;
        Ok(())
    }
}

/// An answer's body, out of its stream.
pub struct Receiving {
    stream: RecvStream,
    /// Only trailers may still come.
    data_ended: bool,
    /// How many bytes are to come, if that was said.
    length: Option<u64>,
}

impl Receiving {
    fn new(stream: RecvStream, headers: &HeaderMap) -> Self {
        let length = headers.get(header::CONTENT_LENGTH);
        Receiving {
            stream,
            data_ended: false,
            length: length.and_then(|value| value.to_str().ok()?.parse().ok()),
        }
    }
}

impl Body for Receiving {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if !this.data_ended {
            match ready!(this.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    let bytes = data.len();
                    if let Some(length) = &mut this.length {
                        *length = length.saturating_sub(bytes as u64);
                    }
                    // Whoever takes it from here has room for it: the server may send as much again.
                    let _ = this.stream.flow_control().release_capacity(bytes);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
                None => this.data_ended = true,
            }
        }
        Poll::Ready(match ready!(this.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(None) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            _ if self.is_end_stream() => SizeHint::with_exact(0),
            Some(length) => SizeHint::with_exact(length),
            None => SizeHint::new(),
        }
    }
}
