//! A request on one stream of a connection, from the place that was kept for it to the head of its answer.

use super::connection::{Connection, Held};
use super::head::written;
use super::pipe::{Pipe, Upload};
use super::receiving::Receiving;
use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response};
use http_body::Body;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;

/// A place for one stream on a connection. Dropped, it resets the stream, if that is not over.
pub(in crate::upstream) struct Place<B> {
    held: Rc<Held>,
    upload: Option<Upload<B>>,
}

impl<B> Place<B> {
    /// A place on this connection, which has room.
    pub fn on(connection: &Rc<Connection>) -> Self {
        Place {
            held: connection.hold(),
            upload: None,
        }
    }

    pub fn connection(&self) -> &Connection {
        self.held.connection()
    }

    /// Leaves the stream to the request that is still being sent.
    pub fn let_go(mut self) {
        if let Some(upload) = &mut self.upload {
            upload.let_go();
        }
    }

    /// Whether the connection is open at this instant. One that is not is used for nothing new.
    pub fn is_quiet(&self) -> bool {
        self.connection().is_quiet()
    }
}

/// Why a request on a stream was not answered.
pub(in crate::upstream) enum Unanswered<B> {
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
    pub async fn send(
        &mut self,
        request: Request<B>,
        scheme: Scheme,
    ) -> Result<Response<Receiving>, Unanswered<B>> {
        let mut sender = self.connection().sender();
        if let Err(error) = poll_fn(|cx| sender.poll_ready(cx)).await {
            self.connection().note(&error);
            return Err(Unanswered::Unsent(Box::new(request), error));
        }
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, ());
        let request = written(request, scheme).ok_or(Unanswered::Unfit)?;
        let ends = body.is_end_stream();
        let (mut answer, stream) = sender.send_request(request, ends).map_err(|error| {
            self.connection().note(&error);
            Unanswered::Failed(error)
        })?;
        if !ends {
            let pipe = Pipe::new(body, stream, Rc::clone(&self.held));
            self.upload = Upload::begin(pipe).await;
        }
        match poll_fn(|cx| Pin::new(&mut answer).poll(cx)).await {
            Ok(answer) => {
                let (head, stream) = answer.into_parts();
                let body = Receiving::new(stream, &head.headers);
                Ok(Response::from_parts(head, body))
            }
            Err(error) => {
                self.connection().note(&error);
                Err(Unanswered::Failed(error))
            }
        }
    }
}
