//! gRPC, as far as the gateway speaks it itself: it passes calls on as it does any request, and refuses them in their own
//! words (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>). A client of gRPC looks at `grpc-status`; an
//! HTTP status it can only guess from.

use super::error_body::ErrorBody;
use super::error_body::ErrorCode as Code;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether a head is a gRPC message's: `application/grpc`, with a format after `+` or parameters, but not gRPC-Web,
/// which is another protocol.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    const NAME: &[u8] = b"application/grpc";
    match value.as_bytes().split_at_checked(NAME.len()) {
        Some((name, rest)) => {
            name.eq_ignore_ascii_case(NAME)
                && matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'))
        }
        None => false,
    }
}

/// Says an error in the headers of an answer without a body ("Trailers-Only"), whose HTTP status is 200.
pub fn write_error(error: &ErrorBody, headers: &mut HeaderMap) {
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(STATUS, HeaderValue::from(status_of(error)));
    headers.insert(MESSAGE, encoded(&error.message));
}

/// The status of an error, from <https://grpc.io/docs/guides/status-codes>. A new code stops the build.
fn status_of(error: &ErrorBody) -> u16 {
    const INVALID_ARGUMENT: u16 = 3;
    const DEADLINE_EXCEEDED: u16 = 4;
    const NOT_FOUND: u16 = 5;
    const PERMISSION_DENIED: u16 = 7;
    const RESOURCE_EXHAUSTED: u16 = 8;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    const UNAUTHENTICATED: u16 = 16;
    match error.code {
        Code::EmptyApiKey | Code::UnknownApiKey => UNAUTHENTICATED,
        Code::NoAccess | Code::NoSelfAction => PERMISSION_DENIED,
        Code::ApiKeyNotFound => NOT_FOUND,
        Code::ApiNotFound => UNIMPLEMENTED,
        Code::TooManyRequests => RESOURCE_EXHAUSTED,
        Code::UpstreamUnavailable | Code::StoreUnavailable => UNAVAILABLE,
        Code::UpstreamTimeout => DEADLINE_EXCEEDED,
        Code::Internal => INTERNAL,
        Code::BadRequest => match error.status {
            StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::URI_TOO_LONG
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => RESOURCE_EXHAUSTED,
            StatusCode::REQUEST_TIMEOUT => DEADLINE_EXCEEDED,
            _ => INVALID_ARGUMENT,
        },
    }
}

/// A message as `grpc-message` has it: everything but printable ASCII, and `%`, percent-encoded UTF-8.
fn encoded(message: &str) -> HeaderValue {
    let mut text = String::with_capacity(message.len());
    for b in message.bytes() {
        match b {
            b' '..=b'~' if b != b'%' => text.push(char::from(b)),
            _ => text.push_str(&format!("%{b:02X}")),
        }
    }
    HeaderValue::from_str(&text).expect("printable ASCII is a header's value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_by_its_content_type() {
        for (value, expected) in [
            (Some("application/grpc"), true),
            (Some("application/grpc+proto"), true),
            (Some("Application/gRPC; x=y"), true),
            (Some("application/grpc-web"), false),
            (Some("application/grpc-web+proto"), false),
            (Some("application/grpcs"), false),
            (Some("application/json"), false),
            (Some(""), false),
            (None, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            }
            assert_eq!(is_grpc(&headers), expected, "{value:?}");
        }
    }

    #[test]
    fn an_error_is_said_in_headers() {
        for (status, code, expected) in [
            (401, Code::EmptyApiKey, "16"),
            (401, Code::UnknownApiKey, "16"),
            (403, Code::NoAccess, "7"),
            (404, Code::ApiNotFound, "12"),
            (405, Code::ApiNotFound, "12"),
            (429, Code::TooManyRequests, "8"),
            (400, Code::BadRequest, "3"),
            (408, Code::BadRequest, "4"),
            (413, Code::BadRequest, "8"),
            (414, Code::BadRequest, "8"),
            (431, Code::BadRequest, "8"),
            (502, Code::UpstreamUnavailable, "14"),
            (503, Code::UpstreamUnavailable, "14"),
            (504, Code::UpstreamTimeout, "4"),
            (500, Code::Internal, "13"),
        ] {
            let error = ErrorBody {
                status: StatusCode::from_u16(status).unwrap(),
                code,
                message: "100 % für\nalle".into(),
                dev_message: "".into(),
                details: None,
            };
            let mut headers = HeaderMap::new();
            write_error(&error, &mut headers);
            assert_eq!(headers[STATUS], expected, "{status} {code:?}");
            assert_eq!(headers[MESSAGE], "100 %25 f%C3%BCr%0Aalle");
            assert_eq!(headers[header::CONTENT_TYPE], "application/grpc");
        }
    }
}
