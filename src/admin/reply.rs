//! An answer of the admin listener.

use super::status::json;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use serde::Serialize;

/// What is answered.
pub(super) struct Reply {
    status: StatusCode,
    kind: &'static str,
    body: String,
    /// One header besides.
    more: Option<(header::HeaderName, &'static str)>,
}

/// Why something was not done, for programs and people.
#[derive(Serialize)]
struct Refusal<'a> {
    outcome: &'static str,
    message: &'a str,
}

impl Reply {
    pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Reply::of(status, "text/plain; charset=utf-8", body.into())
    }

    pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Self {
        Reply::of(status, "application/json", json(value))
    }

    /// The text format of Prometheus.
    pub(super) fn metrics(body: String) -> Self {
        let kind = "text/plain; version=0.0.4; charset=utf-8";
        Reply::of(StatusCode::OK, kind, body)
    }

    /// Something that was not done, and why.
    pub(super) fn refusal(status: StatusCode, outcome: &'static str, message: &str) -> Self {
        Reply::json(status, &Refusal { outcome, message })
    }

    fn of(status: StatusCode, kind: &'static str, body: String) -> Self {
        Reply {
            status,
            kind,
            body,
            more: None,
        }
    }

    pub(super) fn with(mut self, name: header::HeaderName, value: &'static str) -> Self {
        self.more = Some((name, value));
        self
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some((name, value)) = self.more {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
