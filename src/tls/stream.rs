//! A connection in clear text or in TLS, and the handshake of clients.

use crate::net::Socket;
use rustls::ServerConfig;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::{TlsAcceptor, TlsStream};

/// The first byte of every TLS connection: a handshake record (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// What a client is told that speaks clear text where TLS is spoken.
const SPEAK_TLS: &str = "this port speaks TLS; expected https\n";

/// A connection in clear text or in TLS.
#[derive(Debug)]
pub enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        Stream::Plain(socket)
    }
}

/// Why there is no TLS with a client.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("the client left before the handshake was done")]
    Gone(#[source] io::Error),
    #[error("the client spoke clear text")]
    ClearText,
    #[error("the client's certificate was refused, or it showed none")]
    ClientCertificate(#[source] io::Error),
    #[error("client and gateway did not come to terms")]
    Tls(#[source] io::Error),
}

impl HandshakeError {
    /// As a label.
    pub fn reason(&self) -> &'static str {
        match self {
            HandshakeError::Gone(_) => "tls_gone",
            HandshakeError::ClearText => "tls_clear_text",
            HandshakeError::ClientCertificate(_) => "tls_client_certificate",
            HandshakeError::Tls(_) => "tls_handshake",
        }
    }
}

/// Does the handshake with a client. The caller holds the deadline.
///
/// # Errors
/// When there is none. A client that speaks HTTP in clear text was told so in clear text.
pub async fn accept(
    config: Arc<ServerConfig>,
    mut socket: Socket,
) -> Result<Stream, HandshakeError> {
    // Looked at before rustls reads it, which would answer a request in clear text with an alert that nobody can read.
    match socket.first_byte().await.map_err(HandshakeError::Gone)? {
        None => Err(HandshakeError::Gone(io::ErrorKind::UnexpectedEof.into())),
        Some(byte) if byte != HANDSHAKE_RECORD && byte.is_ascii_uppercase() => {
            // Whether it hears it is its own affair.
            let _ = tell_to_speak_tls(&mut socket).await;
            Err(HandshakeError::ClearText)
        }
        Some(_) => match TlsAcceptor::from(config).accept(socket).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream.into()))),
            Err(error) => Err(judge(error)),
        },
    }
}

async fn tell_to_speak_tls(socket: &mut Socket) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{SPEAK_TLS}",
        SPEAK_TLS.len()
    );
    socket.write_all(answer.as_bytes()).await?;
    socket.shutdown().await?;
    // Closed with bytes unread, the socket would be reset, and the client might lose what it was told.
    let mut scratch = [0u8; 1024];
    while socket.read(&mut scratch).await? > 0 {}
    Ok(())
}

fn judge(error: io::Error) -> HandshakeError {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)) => {
            HandshakeError::ClientCertificate(error)
        }
        Some(_) => HandshakeError::Tls(error),
        None => HandshakeError::Gone(error),
    }
}

impl Stream {
    /// The protocol that was settled on in the handshake, if it was spoken of.
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Stream::Plain(_) => None,
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// Whether nobody between the two ends can read it.
    pub fn is_tls(&self) -> bool {
        match self {
            Stream::Plain(_) => false,
            Stream::Tls(_) => true,
        }
    }

    /// The socket underneath.
    pub fn socket(&self) -> &Socket {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }

    /// From now on dropping the stream resets the connection instead of closing it in the ordinary way.
    pub fn reset_on_drop(&self) {
        self.socket().reset_on_drop();
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Stream::Tls(stream) => {
                let is_client = matches!(**stream, TlsStream::Server(_));
                match Pin::new(&mut **stream).poll_read(cx, buf) {
                    // Many clients close without saying so in TLS. Requests say themselves where they end; an answer
                    // may end with its connection, so a server must say it.
                    Poll::Ready(Err(error))
                        if is_client && error.kind() == io::ErrorKind::UnexpectedEof =>
                    {
                        Poll::Ready(Ok(()))
                    }
                    polled => polled,
                }
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// In TLS what was written may still be here: unlike a socket's, this can wait for the peer.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    /// In TLS says first that nothing more will come (`close_notify`).
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}
