//! Connections to the target.

use super::seat::Seat;
use crate::net::Socket;
use crate::tls::{Alpn, ClientTls, Stream};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// How long it is waited after a connection could not be made; each time twice as long, up to the longest.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What came of making a connection in place of another.
pub(super) enum Redialled {
    Connected(Stream),
    /// There was none by the time that was given.
    Late(io::Error),
    /// The run has ended.
    Over,
}

/// How connections are made.
pub(super) struct Dialer {
    /// Tried in this order; never empty.
    pub(super) addresses: Vec<SocketAddr>,
    /// For TLS: whom to believe, and the name that the certificate must have.
    pub(super) tls: Option<(ClientTls, String)>,
    pub(super) alpn: Alpn,
    pub(super) timeout: Duration,
}

impl Dialer {
    /// A connection, with TLS where the target has it.
    pub(super) async fn dial(&self) -> io::Result<Stream> {
        match tokio::time::timeout(self.timeout, self.connected()).await {
            Ok(connected) => connected,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "no connection in time",
            )),
        }
    }

    /// A connection in place of one that has ended; tried again until there is one, or until a time. All is counted.
    pub(super) async fn redial(&self, seat: &Seat, until: Instant) -> Redialled {
        let mut pause = PAUSE;
        loop {
            let dialled = tokio::time::timeout_at(seat.latest().into(), self.dial()).await;
            let Ok(dialled) = dialled else {
                return Redialled::Over;
            };
            let error = match dialled {
                Ok(_) if seat.is_ended() => return Redialled::Over,
                Ok(stream) => {
                    seat.reconnected();
                    return Redialled::Connected(stream);
                }
                Err(error) => error,
            };
            seat.connect_failed();
            let again = Instant::now() + pause;
            if again >= until {
                return Redialled::Late(error);
            }
            tokio::time::sleep_until(again.min(seat.latest()).into()).await;
            if seat.is_ended() {
                return Redialled::Over;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// To be waited after a connection that ended before it was of any use, so that the next is not made at once.
    pub(super) async fn pause() {
        tokio::time::sleep(PAUSE).await;
    }

    async fn connected(&self) -> io::Result<Stream> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in &self.addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let socket = Socket::Tcp(stream);
                    let Some((tls, host)) = &self.tls else {
                        return Ok(socket.into());
                    };
                    let stream = tls.connect(host, socket, self.alpn).await?;
                    if self.alpn == Alpn::H2 && stream.alpn() != Some(b"h2") {
                        return Err(io::Error::other("the server does not speak HTTP/2"));
                    }
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
