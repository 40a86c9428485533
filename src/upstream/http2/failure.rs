//! What an error of h2 says of the request whose stream it ended.

use h2::Reason;

/// Whether the server has certainly not processed the request (RFC 9113, section 8.7): it refused the stream, or said
/// GOAWAY with an earlier one as the last.
pub(in crate::upstream) fn is_refused(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.is_go_away()
            || error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM))
}

/// Whether the server wants the request over HTTP/1.1.
pub(in crate::upstream) fn wants_http1(error: &h2::Error) -> bool {
    error.is_remote() && error.reason() == Some(Reason::HTTP_1_1_REQUIRED)
}
