//! A request's body on its way into its stream, no faster than the server takes it.
//!
//! What is there at once is sent by whoever sends the request; only a body that has to wait is given a task, in an
//! [`Upload`]. Whoever drops that ends both, unless the request was let go to its end by itself.

use super::connection::Held;
use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::task::AbortHandle;

/// A body that has to wait, and the task that sends it.
pub(super) struct Upload<B> {
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

impl<B> Upload<B> {
    /// Leaves the body to its task.
    pub(super) fn let_go(&mut self) {
        self.let_go = true;
    }
}

impl<B: Body<Data = Bytes> + Unpin + 'static> Upload<B> {
    /// Sends what of the body is there; the rest, if any, is sent by a task.
    pub(super) async fn begin(mut pipe: Pipe<B>) -> Option<Self> {
        let begun = poll_fn(|cx| Poll::Ready(Pin::new(&mut pipe).poll(cx))).await;
        if begun.is_ready() {
            return None;
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
        Some(Upload {
            pipe,
            task: task.abort_handle(),
            let_go: false,
        })
    }
}

/// A request's body on its way into its stream. Dropped before its end, it resets the stream: half a body must not look
/// whole.
pub(super) struct Pipe<B> {
    stream: SendStream<Bytes>,
    /// What was taken from the body and waits for room.
    waiting: Option<Bytes>,
    _held: Rc<Held>,
    ended: bool,
    body: B,
}

impl<B> Pipe<B> {
    /// The way of this body into this stream, which is held until the body is over.
    pub(super) fn new(body: B, stream: SendStream<Bytes>, held: Rc<Held>) -> Self {
        Pipe {
            stream,
            waiting: None,
            _held: held,
            ended: false,
            body,
        }
    }
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
