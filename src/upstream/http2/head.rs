//! The head of a request as HTTP/2 writes it: the host is in the target, the length of the body in its frames, and a call
//! of gRPC says that its trailers are read.

use crate::http::grpc::is_grpc;
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri, Version, header};

/// The head for HTTP/2; `None` where it cannot be one.
pub(super) fn written(mut request: Request<()>, scheme: Scheme) -> Option<Request<()>> {
    let authority = request.headers_mut().remove(header::HOST);
    *request.uri_mut() = absolute(request.uri(), authority, scheme)?;
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().remove(header::TRANSFER_ENCODING);
    if is_grpc(request.headers()) {
        request
            .headers_mut()
            .insert(header::TE, HeaderValue::from_static("trailers"));
    }
    Some(request)
}

/// The target with scheme and authority.
fn absolute(uri: &Uri, authority: Option<HeaderValue>, scheme: Scheme) -> Option<Uri> {
    let authority = Authority::from_maybe_shared(Bytes::copy_from_slice(authority?.as_bytes()));
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority.ok()?);
    let path = uri.path_and_query().cloned();
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Uri::from_parts(parts).ok()
}
