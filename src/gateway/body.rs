//! The body of an answer: keygate's own text, or the upstream's stream; with it lives the request's observation, which
//! hears when an answer breaks off after its head had promised a whole one.

use super::metrics::Outcome;
use super::observe::Observation;
use crate::deadline::Wait;
use crate::proxy::ResponseBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The body of an answer.
pub struct ReplyBody {
    content: Content,
    /// Dropped with the body: that is the end of the request.
    observation: Option<Rc<Observation>>,
    /// The end was reached, or why not was noted.
    ended: bool,
}

enum Content {
    Text(Option<Bytes>),
    Upstream(ResponseBody),
}

impl ReplyBody {
    /// Text of keygate's own, perhaps none.
    pub(super) fn text(text: impl Into<Bytes>) -> Self {
        let text = text.into();
        ReplyBody {
            content: Content::Text((!text.is_empty()).then_some(text)),
            observation: None,
            ended: false,
        }
    }

    /// An upstream's stream.
    pub(super) fn upstream(body: ResponseBody) -> Self {
        ReplyBody {
            content: Content::Upstream(body),
            observation: None,
            ended: false,
        }
    }

    /// The same body, with the observation that ends with it.
    pub(super) fn observed(mut self, observation: Rc<Observation>) -> Self {
        self.observation = Some(observation);
        self
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        // Over HTTP/2 nobody polls a body whose client does not take what it was sent: that wait is for the client.
        let lane = self
            .observation
            .as_ref()
            .map(|observation| observation.link())
            .filter(|link| link.is_http2())
            .cloned();
        if let Some(lane) = &lane
            && lane.deadline.waits() == Some(Wait::ClientWrite)
        {
            lane.deadline.disarm();
        }
        if let Some(observation) = &self.observation
            && matches!(self.content, Content::Upstream(_))
            && let Some(why) = observation.link().revocation()
        {
            observation.cut(Outcome::Revoked, why.of_an_answer());
            self.ended = true;
            return Poll::Ready(Some(Err(io::ErrorKind::PermissionDenied.into())));
        }
        let polled = match &mut self.content {
            Content::Text(text) => Poll::Ready(text.take().map(|t| Ok(Frame::data(t)))),
            Content::Upstream(body) => Pin::new(body).poll_frame(cx),
        };
        if let (Poll::Ready(item), Some(observation)) = (&polled, &self.observation) {
            match item {
                Some(Ok(frame)) => {
                    observation.passed(frame.data_ref().map_or(0, |data| data.len() as u64));
                    if let Some(lane) = &lane {
                        lane.deadline.arm(Wait::ClientWrite, lane.timeouts().body);
                    }
                }
                Some(Err(error)) => {
                    let (outcome, reason) = match error.kind() {
                        io::ErrorKind::TimedOut => (Outcome::UpstreamTimeout, "answer_stalled"),
                        _ => (Outcome::UpstreamUnavailable, "answer_broke_off"),
                    };
                    observation.cut(outcome, reason);
                    self.ended = true;
                }
                None => self.ended = true,
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Text(text) => text.is_none(),
            Content::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Content::Upstream(body) => body.size_hint(),
        }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        let streams = matches!(self.content, Content::Upstream(_));
        if let Some(observation) = &self.observation
            && streams
            && !self.ended
            && !self.is_end_stream()
        {
            match observation.link().revocation() {
                Some(why) => observation.refused(Outcome::Revoked, why.of_an_answer()),
                None => observation.refused(Outcome::ClientGone, "answer_not_taken"),
            }
        }
    }
}
