//! One connection of HTTP/2, with several requests under way at once.
//!
//! Each of its lanes sends one request after another, as an HTTP/1.1 connection does. When the connection ends, all lanes
//! come back and it is made again.

use super::answer::KEPT_BYTES;
use super::connect::Dialer;
use super::seat::{Answer, Seat, Turn};
use super::source::Ticket;
use super::tally::Failure;
use crate::tls::Stream;
use bytes::Bytes;
use h2::client::SendRequest;
use http::HeaderMap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long a connection waits after it could not be made.
const PAUSE: Duration = Duration::from_millis(20);
/// How much may be under way to us on one stream, and on a connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Why a lane came back.
enum Lane {
    /// There is nothing more to send.
    Over,
    /// The connection takes no more requests.
    Ended,
}

/// Sends requests on a connection, and on those that take its place, until there are none to send.
pub(super) async fn run(
    first: Stream,
    streams: usize,
    seat: Rc<Seat<'static>>,
    dialer: Rc<Dialer>,
) {
    let mut stream = Some(first);
    while !seat.is_over() {
        let connected = match stream.take() {
            Some(stream) => Ok(stream),
            None => dialer.dial().await,
        };
        let shaken = match connected {
            Ok(stream) => shake(stream).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let (send, driver) = match shaken {
            Ok(shaken) => shaken,
            Err(why) => {
                // A request is owed an answer, and gets none.
                let Some(turn) = seat.turn(Instant::now()).await else {
                    return;
                };
                let (ticket, _, _) = seat.request();
                seat.failed(&turn, &ticket, Failure::Connect, &why);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let mut lanes = JoinSet::new();
        for _ in 0..streams {
            lanes.spawn_local(lane(send.clone(), Rc::clone(&seat)));
        }
        drop(send);
        let mut is_over = false;
        while let Some(lane) = lanes.join_next().await {
            is_over |= matches!(lane, Ok(Lane::Over));
        }
        driver.abort();
        if is_over {
            return;
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

async fn lane(mut send: SendRequest<Bytes>, seat: Rc<Seat<'static>>) -> Lane {
    let mut now = Instant::now();
    loop {
        send = match send.ready().await {
            Ok(send) => send,
            Err(_) => return Lane::Ended,
        };
        let Some(turn) = seat.turn(now).await else {
            return Lane::Over;
        };
        let (ticket, request, body) = seat.request();
        seat.sent(&turn, Instant::now());
        let exchange = exchange(&mut send, &seat, &turn, &ticket, request, body);
        let outcome = tokio::time::timeout(seat.timeout, exchange).await;
        now = Instant::now();
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                seat.failed(&turn, &ticket, Failure::Closed, &error.to_string());
                if error.is_io() || error.is_go_away() {
                    return Lane::Ended;
                }
            }
            Err(_) => seat.failed(&turn, &ticket, Failure::Timeout, "no answer in time"),
        }
    }
}

async fn exchange(
    send: &mut SendRequest<Bytes>,
    seat: &Seat<'_>,
    turn: &Turn,
    ticket: &Ticket,
    request: http::Request<()>,
    body: Bytes,
) -> Result<(), h2::Error> {
    let (response, mut upload) = send.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        // All of it is handed over at once; it goes out as the peer's windows open.
        upload.send_data(body, true)?;
    }
    let (head, mut stream) = response.await?.into_parts();
    let mut kept = Vec::new();
    let mut total = 0;
    while let Some(data) = stream.data().await {
        let data = data?;
        let _ = stream.flow_control().release_capacity(data.len());
        total += data.len() as u64;
        let room = KEPT_BYTES - kept.len();
        kept.extend_from_slice(&data[..data.len().min(room)]);
    }
    let answer = Answer {
        status: head.status.as_u16(),
        digest: digest(&head.headers),
        body: &kept,
        body_bytes: total,
    };
    seat.answered(turn, ticket, &answer, Instant::now());
    Ok(())
}

fn digest(headers: &HeaderMap) -> Option<[u8; super::mark::LEN]> {
    headers.get(super::mark::ANSWER)?.as_bytes().try_into().ok()
}
