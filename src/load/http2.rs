//! One connection of HTTP/2, with several requests under way at once.
//!
//! Each of its lanes sends one request after another, as an HTTP/1.1 connection does. When the connection ends, all lanes
//! come back and it is made again. A server that ends it says by GOAWAY which requests it has not looked at (RFC 9113,
//! section 8.7); they are sent again. All others that are without an answer then have failed.

use super::answer::KEPT_BYTES;
use super::connect::{Dialer, Redialled};
use super::judge::Answer;
use super::mark::{self, Told};
use super::seat::{Asked, Seat};
use super::tally::Failure;
use crate::tls::Stream;
use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use http::HeaderMap;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How much may be under way to us on one stream, and on a connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// How often a request is sent at most, where it was refused unseen.
const SENDINGS: u8 = 3;
/// As good as never.
const FOREVER: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why a lane came back.
enum Lane {
    /// There is nothing more to send.
    Over,
    /// The connection takes no more requests.
    Ended,
}

/// What the lanes of a connection share with those of the next.
#[derive(Default)]
struct Shared {
    /// Requests that were refused unseen.
    again: RefCell<Vec<Asked>>,
    /// Whether this connection has given an answer.
    is_in_use: Cell<bool>,
}

/// Sends requests on a connection, and on those that take its place, until there are none to send.
pub(super) async fn run(first: Stream, streams: usize, seat: Rc<Seat>, dialer: Rc<Dialer>) {
    let shared = Rc::new(Shared::default());
    let mut stream = Some(first);
    let mut is_over = seat.is_over();
    while !is_over || !shared.again.borrow().is_empty() {
        let connected = match stream.take() {
            Some(stream) => stream,
            None => match dialer.redial(&seat, Instant::now() + FOREVER).await {
                Redialled::Connected(stream) => stream,
                // What is to be sent again stays where it is, and is counted there.
                Redialled::Late(_) | Redialled::Over => return,
            },
        };
        shared.is_in_use.set(false);
        let Ok((send, driver)) = shake(connected).await else {
            seat.connect_failed();
            Dialer::pause().await;
            continue;
        };
        let mut lanes = JoinSet::new();
        for _ in 0..streams {
            lanes.spawn_local(lane(send.clone(), Rc::clone(&seat), Rc::clone(&shared)));
        }
        drop(send);
        while let Some(lane) = lanes.join_next().await {
            is_over |= matches!(lane, Ok(Lane::Over));
        }
        driver.abort();
        if !shared.is_in_use.get() && !is_over {
            seat.connect_failed();
            Dialer::pause().await;
        }
    }
}

type Shaken = (SendRequest<Bytes>, tokio::task::JoinHandle<()>);

async fn shake(stream: Stream) -> Result<Shaken, h2::Error> {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .enable_push(false);
    let (send, connection) = builder.handshake(stream).await?;
    let driver = tokio::task::spawn_local(async move {
        // Each of its streams hears of its end.
        let _ = connection.await;
    });
    Ok((send, driver))
}

async fn lane(mut send: SendRequest<Bytes>, seat: Rc<Seat>, shared: Rc<Shared>) -> Lane {
    let mut now = Instant::now();
    loop {
        send = match send.ready().await {
            Ok(send) => send,
            Err(_) => return Lane::Ended,
        };
        let refused = shared.again.borrow_mut().pop();
        let mut asked = match refused {
            Some(asked) => asked,
            None => match seat.turn(now).await {
                Some(turn) => seat.draw(turn),
                None => return Lane::Over,
            },
        };
        now = Instant::now();
        asked.sent(now);
        let deadline = asked.deadline(now);
        let exchange = exchange(&mut send, &asked);
        let outcome = tokio::time::timeout_at(deadline.into(), exchange).await;
        now = Instant::now();
        match outcome {
            Ok(Ok(received)) => {
                shared.is_in_use.set(true);
                asked.answered(&received.answer(), now);
            }
            Ok(Err(broken)) => {
                let is_ended = broken.error.is_io() || broken.error.is_go_away();
                if broken.is_unseen && asked.sendings < SENDINGS {
                    shared.again.borrow_mut().push(asked);
                } else {
                    asked.failed(Failure::Closed, &broken.error.to_string());
                }
                if is_ended {
                    return Lane::Ended;
                }
            }
            Err(_) => asked.failed(Failure::Timeout, "no answer in time"),
        }
    }
}

/// A whole answer.
struct Received {
    status: u16,
    told: Told,
    kept: Vec<u8>,
    body_bytes: u64,
}

impl Received {
    fn answer(&self) -> Answer<'_> {
        Answer {
            status: self.status,
            told: self.told,
            body: &self.kept,
            body_bytes: self.body_bytes,
        }
    }
}

/// Why there is none.
struct Broken {
    error: h2::Error,
    /// The server has not looked at the request.
    is_unseen: bool,
}

impl From<h2::Error> for Broken {
    fn from(error: h2::Error) -> Self {
        let is_farewell = error.is_go_away() && error.is_remote();
        let is_unseen = match error.reason() {
            Some(Reason::NO_ERROR) => is_farewell,
            Some(Reason::REFUSED_STREAM) => error.is_reset(),
            _ => false,
        };
        Broken { error, is_unseen }
    }
}

async fn exchange(send: &mut SendRequest<Bytes>, asked: &Asked) -> Result<Received, Broken> {
    let (request, body) = asked.request();
    let (response, mut upload) = send.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        // All of it is handed over at once; it goes out as the peer's windows open. Where the server wants no more of it, that
        // is said by its answer.
        let _ = upload.send_data(body, true);
    }
    let (head, mut stream) = response.await?.into_parts();
    let mut received = Received {
        status: head.status.as_u16(),
        told: told(&head.headers),
        kept: Vec::new(),
        body_bytes: 0,
    };
    while let Some(data) = stream.data().await {
        // What has an answer begun was seen.
        let data = data.map_err(|error| Broken {
            error,
            is_unseen: false,
        })?;
        let _ = stream.flow_control().release_capacity(data.len());
        received.body_bytes += data.len() as u64;
        let room = KEPT_BYTES - received.kept.len();
        received
            .kept
            .extend_from_slice(&data[..data.len().min(room)]);
    }
    Ok(received)
}

fn told(headers: &HeaderMap) -> Told {
    let mut told = Told::default();
    for value in headers.get_all(mark::ANSWER) {
        told.digest(value.as_bytes());
    }
    for value in headers.get_all(mark::LENGTH) {
        told.length(value.as_bytes());
    }
    told
}
