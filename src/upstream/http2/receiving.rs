//! An answer's body on its way out of its stream.
//!
//! The server may send on as far as what was sent has been taken from here, so that a client who does not read stops its
//! server. What breaks off is an error, never an end.

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// An answer's body, out of its stream.
pub struct Receiving {
    stream: RecvStream,
    /// Only trailers may still come.
    data_ended: bool,
    /// How many bytes are to come, if that was said.
    length: Option<u64>,
}

impl Receiving {
    pub(super) fn new(stream: RecvStream, headers: &HeaderMap) -> Self {
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
