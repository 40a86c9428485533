//! CORS (the Fetch standard, section 3.2): preflights are answered here, and answers get the gateway's own headers.

use crate::config::{Cors, CorsOrigins};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

const OURS: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

/// Whether this request is a preflight: `OPTIONS` with `Origin` and `Access-Control-Request-Method`.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The headers of a preflight's answer, the same for every path.
pub(super) fn answer_preflight(cors: &Cors, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    mark(cors, origin, headers);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, cors.methods.clone());
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, cors.headers.clone());
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from(cors.max_age.as_secs()),
    );
}

/// Puts the gateway's CORS headers in place of the upstream's.
pub(super) fn mark(cors: &Cors, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    strip(headers);
    match (&cors.origins, origin) {
        (CorsOrigins::Any, _) => {
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_ORIGIN,
                HeaderValue::from_static("*"),
            );
        }
        (CorsOrigins::These(allowed), origin) => {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
            let Some(allowed) = allowed.iter().find(|a| Some(*a) == origin) else {
                return;
            };
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone());
        }
    }
    if cors.credentials {
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
    }
    if let Some(expose) = &cors.expose {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
    }
}

/// Takes every CORS header out of an answer.
pub(super) fn strip(headers: &mut HeaderMap) {
    for name in OURS {
        headers.remove(name);
    }
}
