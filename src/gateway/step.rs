//! A layer of one decision: go on with a better proof, or stop with a [`Reject`].

use super::Reject;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};
use tower::Service;
use tower::layer::{LayerFn, layer_fn};

/// A decision, then the rest of the line.
#[derive(Clone)]
pub(super) struct Step<D, S> {
    decide: D,
    rest: S,
}

/// The layer that puts this decision before the rest of the line.
pub(super) fn layer<D: Clone, S>(decide: D) -> LayerFn<impl Fn(S) -> Step<D, S>> {
    layer_fn(move |rest| Step {
        decide: decide.clone(),
        rest,
    })
}

impl<In, Out, D, S> Service<In> for Step<D, S>
where
    D: Fn(In) -> Result<Out, Reject>,
    S: Service<Out, Error = Reject>,
{
    type Response = S::Response;
    type Error = Reject;
    type Future = StepFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reject>> {
        self.rest.poll_ready(cx)
    }

    fn call(&mut self, request: In) -> Self::Future {
        match (self.decide)(request) {
            Ok(next) => StepFuture::Passed {
                rest: self.rest.call(next),
            },
            Err(reject) => StepFuture::Stopped {
                reject: Some(reject),
            },
        }
    }
}

pin_project! {
    /// What became of a request at a step.
    #[project = StepProjection]
    pub(super) enum StepFuture<F> {
        Passed { #[pin] rest: F },
        Stopped { reject: Option<Reject> },
    }
}

impl<T, F: Future<Output = Result<T, Reject>>> Future for StepFuture<F> {
    type Output = Result<T, Reject>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            StepProjection::Passed { rest } => rest.poll(cx),
            StepProjection::Stopped { reject } => Poll::Ready(Err(reject
                .take()
                .expect("a future is not polled after it was ready"))),
        }
    }
}
