//! CORS (the Fetch standard, section 3.2): preflights are answered here, and answers get the gateway's own headers.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use std::time::Duration;

/// `[cors]`, or a route's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cors {
    /// Whose pages may read answers.
    pub origins: CorsOrigins,
    /// Value of `Access-Control-Allow-Methods`.
    pub methods: HeaderValue,
    /// Value of `Access-Control-Allow-Headers`.
    pub headers: HeaderValue,
    /// Value of `Access-Control-Expose-Headers`, if any.
    pub expose: Option<HeaderValue>,
    /// `Access-Control-Allow-Credentials: true`; never together with any origin.
    pub credentials: bool,
    /// `Access-Control-Max-Age`.
    pub max_age: Duration,
    /// Whether answers of the management API get CORS headers too.
    pub management: bool,
}

/// Whose pages may read answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CorsOrigins {
    Any,
    /// Compared byte for byte.
    These(Vec<HeaderValue>),
}

const OURS: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

/// What a preflight (`OPTIONS` with `Origin` and `Access-Control-Request-Method`) asks about; `None` for another request.
pub fn preflight<'h>(method: &Method, headers: &'h HeaderMap) -> Option<&'h HeaderValue> {
    let asks = *method == Method::OPTIONS && headers.contains_key(header::ORIGIN);
    headers
        .get(header::ACCESS_CONTROL_REQUEST_METHOD)
        .filter(|_| asks)
}

/// The headers of a preflight's answer.
pub fn answer_preflight(cors: &Cors, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    mark(cors, origin, headers);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, cors.methods.clone());
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, cors.headers.clone());
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from(cors.max_age.as_secs()),
    );
}

/// Puts the gateway's CORS headers in place of the upstream's.
pub fn mark(cors: &Cors, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
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
pub fn strip(headers: &mut HeaderMap) {
    for name in OURS {
        headers.remove(name);
    }
}
