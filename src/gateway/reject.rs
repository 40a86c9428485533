//! Why a request is not served, and the one place where that becomes HTTP.
//!
//! Two voices: the log hears [`Reject::reason`], the client hears a fixed sentence. Every `match` here is exhaustive: a
//! new reason stops the build until it has a status, a code and a sentence.

use super::gcra::{self, Exceeded};
use super::metrics::Outcome;
use super::watch::Revocation;
use crate::http::cors::Cors;
use crate::http::error_body::{ErrorBody, ErrorCode};
use crate::http::{AdmitError, HostError, TargetError};
use crate::keycache::Unidentified;
use crate::management::ManagementError;
use crate::policy::{Maintenance, Refusal};
use crate::proxy::ForwardError;
use crate::upstream::Refused;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::sync::Arc;

/// Why a request goes no further.
#[derive(Debug, thiserror::Error)]
pub enum Reject {
    /// A CORS preflight: no refusal, but the gateway's to answer.
    #[error("a preflight is answered by the gateway")]
    Preflight(Arc<Cors>),
    #[error("the head has no single reading")]
    Admit(#[from] AdmitError),
    #[error("as many requests are open as may be")]
    Overloaded,
    #[error("no key was sent")]
    NoKey,
    #[error("more than one key was sent")]
    SeveralKeys,
    #[error("the key opens nothing")]
    Unidentified(Unidentified),
    #[error("too many failed authentications of one client network")]
    TooManyFailures(Exceeded),
    #[error("the policy does not permit it")]
    Refused(#[from] Refusal),
    #[error("the key makes more requests than the route's rate")]
    RateLimited(Exceeded),
    #[error("the key has as many exchanges open as it may")]
    TooManyStreams,
    #[error("the route does not serve for the time being")]
    Maintenance(Arc<Maintenance>),
    #[error("the body is larger than the limit")]
    BodyTooLarge,
    #[error("what permitted it is there no longer")]
    Revoked(Revocation),
    #[error("the upstream did not answer")]
    Forward(#[from] ForwardError),
    #[error("the management request was not carried out")]
    Management(#[from] ManagementError),
    #[error("the body of a management request could not be read")]
    ManagementBody,
    #[error("the body of a management request did not progress in time")]
    ManagementBodyTooSlow,
}

impl Reject {
    /// How metrics and the log call it.
    pub fn outcome(&self) -> Outcome {
        match self {
            Reject::Preflight(_) => Outcome::Preflight,
            Reject::Admit(_) => Outcome::Invalid,
            Reject::Overloaded => Outcome::Overloaded,
            Reject::NoKey => Outcome::NoKey,
            Reject::SeveralKeys | Reject::Unidentified(_) => Outcome::BadKey,
            Reject::TooManyFailures(_) => Outcome::TooManyFailures,
            Reject::Refused(refusal) => match refusal {
                Refusal::Unidentified => Outcome::NoKey,
                Refusal::NoRoute => Outcome::NoRoute,
                Refusal::MethodNotAllowed { .. } => Outcome::NoMethod,
                Refusal::Denied => Outcome::Denied,
                Refusal::AmbiguousTarget => Outcome::Invalid,
                Refusal::ScopeLacking => Outcome::NoScope,
            },
            Reject::RateLimited(_) => Outcome::RateLimited,
            Reject::TooManyStreams => Outcome::TooManyStreams,
            Reject::Maintenance(_) => Outcome::Maintenance,
            Reject::BodyTooLarge => Outcome::BodyTooLarge,
            Reject::Revoked(_) => Outcome::Revoked,
            Reject::Forward(error) => match error {
                ForwardError::Connect(_)
                | ForwardError::Refused(..)
                | ForwardError::BrokenOff(_)
                | ForwardError::Nonsense(_)
                | ForwardError::Framing
                | ForwardError::UnaskedUpgrade
                | ForwardError::NoHandshake => Outcome::UpstreamUnavailable,
                ForwardError::ConnectTimeout | ForwardError::ResponseTimeout => {
                    Outcome::UpstreamTimeout
                }
                ForwardError::BodyTooLarge => Outcome::BodyTooLarge,
                ForwardError::BodyTooSlow => Outcome::BodyTooSlow,
                ForwardError::ClientGone => Outcome::ClientGone,
                ForwardError::Revoked => Outcome::Revoked,
                ForwardError::Target => Outcome::Internal,
            },
            Reject::Management(error) => match error {
                ManagementError::StoreUnavailable(_) => Outcome::StoreUnavailable,
                ManagementError::Invalid(_)
                | ManagementError::ActorGone
                | ManagementError::ActorTooWeak
                | ManagementError::TargetAbove
                | ManagementError::SelfAction { .. }
                | ManagementError::KeyNotFound { .. } => Outcome::ManagementRefused,
            },
            Reject::ManagementBody => Outcome::ClientGone,
            Reject::ManagementBodyTooSlow => Outcome::BodyTooSlow,
        }
    }

    /// A word for the access log: the exact cause, where the outcome does not say it.
    pub fn reason(&self) -> &'static str {
        match self {
            Reject::Preflight(_) => "preflight",
            Reject::Admit(error) => match error {
                AdmitError::Method => "method",
                AdmitError::Host(HostError::Missing) => "host_missing",
                AdmitError::Host(HostError::Repeated) => "host_repeated",
                AdmitError::Host(HostError::Malformed) => "host_malformed",
                AdmitError::Target(error) => match error {
                    TargetError::NotOriginForm => "target_form",
                    TargetError::DotSegment => "target_dot_segment",
                    TargetError::Backslash => "target_backslash",
                    TargetError::Control => "target_control",
                    TargetError::RawCharacter => "target_raw_character",
                    TargetError::IncompleteEscape => "target_escape",
                    TargetError::InvalidUtf8 => "target_utf8",
                    TargetError::QueryCharacter => "query_character",
                    TargetError::TooLong => "target_too_long",
                    TargetError::OtherAuthority => "target_authority",
                    TargetError::NoPath => "target_no_path",
                    TargetError::TooManyReadings => "target_too_many_readings",
                },
                AdmitError::TargetTooLong => "target_too_long",
                AdmitError::TooManyHeaders => "too_many_headers",
                AdmitError::HeadTooLarge => "head_too_large",
                AdmitError::Underscore => "header_underscore",
                AdmitError::HeaderName => "header_name",
                AdmitError::BlankEnd => "header_blank_end",
                AdmitError::Framing => "framing",
                AdmitError::Expectation => "expectation",
            },
            Reject::Overloaded => "requests_limit",
            Reject::NoKey => "key_missing",
            Reject::SeveralKeys => "key_repeated",
            Reject::Unidentified(error) => match error {
                Unidentified::Malformed => "key_malformed",
                Unidentified::Unknown => "key_unknown",
                Unidentified::Disabled(_) => "key_disabled",
                Unidentified::Expired(_) => "key_expired",
            },
            Reject::TooManyFailures(_) => "failed_auth_limit",
            Reject::Refused(refusal) => match refusal {
                Refusal::Unidentified => "key_missing",
                Refusal::NoRoute => "no_route",
                Refusal::MethodNotAllowed { .. } => "method_not_allowed",
                Refusal::Denied => "denied",
                Refusal::AmbiguousTarget => "target_exception",
                Refusal::ScopeLacking => "scope",
            },
            Reject::RateLimited(_) => "rate_limit",
            Reject::TooManyStreams => "streams_limit",
            Reject::Maintenance(_) => "maintenance",
            Reject::BodyTooLarge => "body_too_large",
            Reject::Revoked(Revocation::Key) => "key_revoked",
            Reject::Revoked(Revocation::Scope) => "scope_revoked",
            Reject::Revoked(Revocation::Policy(_)) => "policy_changed",
            Reject::Forward(error) => match error {
                ForwardError::Connect(_) => "upstream_connect",
                ForwardError::Refused(Refused::Out, _) => "upstream_all_out",
                ForwardError::Refused(Refused::QueueFull, _) => "upstream_queue_full",
                ForwardError::Refused(Refused::QueueTimeout, _) => "upstream_queue_timeout",
                ForwardError::ConnectTimeout => "upstream_connect_timeout",
                ForwardError::ResponseTimeout => "upstream_response_timeout",
                ForwardError::BrokenOff(_) => "upstream_broke_off",
                ForwardError::Nonsense(_) => "upstream_nonsense",
                ForwardError::Framing => "upstream_framing",
                ForwardError::UnaskedUpgrade => "upstream_unasked_upgrade",
                ForwardError::NoHandshake => "upstream_no_handshake",
                ForwardError::Revoked => "revoked",
                ForwardError::BodyTooLarge => "body_too_large",
                ForwardError::BodyTooSlow => "body_too_slow",
                ForwardError::ClientGone => "client_gone",
                ForwardError::Target => "rewritten_target",
            },
            Reject::Management(error) => match error {
                ManagementError::Invalid(_) => "management_invalid",
                ManagementError::ActorGone => "management_actor_gone",
                ManagementError::ActorTooWeak => "management_actor_scope",
                ManagementError::TargetAbove => "management_target_scope",
                ManagementError::SelfAction { .. } => "management_self_action",
                ManagementError::KeyNotFound { .. } => "management_key_not_found",
                ManagementError::StoreUnavailable(_) => "store_unavailable",
            },
            Reject::ManagementBody => "client_gone",
            Reject::ManagementBodyTooSlow => "body_too_slow",
        }
    }

    /// The answer's body: status, code and sentences. `None` for a preflight, which is 204 without one.
    pub fn body(self) -> Option<ErrorBody> {
        use ErrorCode as C;
        use StatusCode as S;
        let (status, code, message, dev) = match self {
            Reject::Preflight(_) => return None,
            Reject::Admit(error) => return Some(admit_body(error)),
            Reject::Overloaded => (
                S::SERVICE_UNAVAILABLE,
                C::UpstreamUnavailable,
                "The service is busy.",
                "The gateway has as many requests open as it may: wait for the time that Retry-After gives.",
            ),
            Reject::NoKey => no_key(),
            Reject::SeveralKeys | Reject::Unidentified(_) => return Some(unknown_key()),
            Reject::TooManyFailures(_) => (
                S::TOO_MANY_REQUESTS,
                C::TooManyRequests,
                "Too many requests without a valid API key.",
                "Wait for the time that Retry-After gives, and send a valid API key.",
            ),
            Reject::Refused(ref refusal) => match refusal {
                Refusal::Unidentified => no_key(),
                Refusal::NoRoute => (
                    refusal.status(),
                    C::ApiNotFound,
                    "This API does not exist.",
                    "No route of the gateway's policy matches this path.",
                ),
                Refusal::MethodNotAllowed { .. } => (
                    refusal.status(),
                    C::ApiNotFound,
                    "This API does not take this method.",
                    "The header Allow lists the methods that this path takes.",
                ),
                Refusal::Denied | Refusal::ScopeLacking => return Some(no_access()),
                Refusal::AmbiguousTarget => (
                    refusal.status(),
                    C::BadRequest,
                    "The request's target is not acceptable.",
                    "The path could be read in more than one way.",
                ),
            },
            Reject::RateLimited(_) => (
                S::TOO_MANY_REQUESTS,
                C::TooManyRequests,
                "Too many requests.",
                "The API key has used up its rate for this route: wait for the time that Retry-After gives.",
            ),
            Reject::TooManyStreams => (
                S::TOO_MANY_REQUESTS,
                C::TooManyRequests,
                "Too many requests at once.",
                "The API key has as many requests and streams open as it may: let one end first.",
            ),
            Reject::Maintenance(maintenance) => {
                return Some(ErrorBody {
                    message: maintenance.message.to_string().into(),
                    ..plain(
                        maintenance.status,
                        C::UpstreamUnavailable,
                        "",
                        "The operator has taken this route out of service for the time being.",
                    )
                });
            }
            Reject::BodyTooLarge | Reject::Forward(ForwardError::BodyTooLarge) => (
                S::PAYLOAD_TOO_LARGE,
                C::BadRequest,
                "The request's body is too large.",
                "The body has more bytes than the gateway's limit for this route.",
            ),
            Reject::Revoked(Revocation::Key) | Reject::Forward(ForwardError::Revoked) => {
                return Some(unknown_key());
            }
            Reject::Revoked(Revocation::Scope) => return Some(no_access()),
            Reject::Revoked(Revocation::Policy(refusal)) => {
                return Reject::Refused(*refusal).body();
            }
            Reject::Forward(error) => match error {
                ForwardError::Connect(_)
                | ForwardError::BrokenOff(_)
                | ForwardError::Nonsense(_)
                | ForwardError::Framing
                | ForwardError::UnaskedUpgrade
                | ForwardError::NoHandshake
                | ForwardError::Revoked
                | ForwardError::BodyTooLarge => (
                    S::BAD_GATEWAY,
                    C::UpstreamUnavailable,
                    "The service is not available.",
                    "The upstream refused the connection, broke off, or did not answer in HTTP.",
                ),
                ForwardError::Refused(..) => (
                    S::SERVICE_UNAVAILABLE,
                    C::UpstreamUnavailable,
                    "The service is not available.",
                    "No server of the upstream takes the request now: wait for the time that Retry-After gives.",
                ),
                ForwardError::ConnectTimeout | ForwardError::ResponseTimeout => (
                    S::GATEWAY_TIMEOUT,
                    C::UpstreamTimeout,
                    "The service did not answer in time.",
                    "The upstream took longer than the gateway waits.",
                ),
                ForwardError::BodyTooSlow => too_slow(),
                ForwardError::ClientGone => broken_body(),
                ForwardError::Target => (
                    S::INTERNAL_SERVER_ERROR,
                    C::Internal,
                    "The gateway failed.",
                    "The route's prefixes do not make a valid target of this path.",
                ),
            },
            Reject::Management(error) => return Some(management_body(error)),
            Reject::ManagementBody => broken_body(),
            Reject::ManagementBodyTooSlow => too_slow(),
        };
        Some(plain(status, code, message, dev))
    }

    /// The headers that belong to this answer besides the body's. `challenge` is what asks for a key.
    pub fn headers(&self, challenge: &HeaderValue, headers: &mut HeaderMap) {
        match self {
            Reject::NoKey
            | Reject::SeveralKeys
            | Reject::Unidentified(_)
            | Reject::Revoked(Revocation::Key)
            | Reject::Forward(ForwardError::Revoked)
            | Reject::Management(ManagementError::ActorGone) => {
                headers.insert(header::WWW_AUTHENTICATE, challenge.clone());
            }
            Reject::TooManyFailures(over) => {
                headers.insert(header::RETRY_AFTER, gcra::seconds(over.retry_after));
                over.standing.write(headers);
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            // How its bucket stands is said on every answer of such a route.
            Reject::RateLimited(over) => {
                headers.insert(header::RETRY_AFTER, gcra::seconds(over.retry_after));
            }
            Reject::Maintenance(maintenance) => {
                if let Some(time) = maintenance.retry_after {
                    headers.insert(header::RETRY_AFTER, gcra::seconds(time));
                }
            }
            // Nobody knows when one of them ends.
            Reject::TooManyStreams | Reject::Overloaded => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Reject::Forward(ForwardError::Refused(_, after)) => {
                headers.insert(header::RETRY_AFTER, gcra::seconds(*after));
            }
            Reject::Refused(refusal) => refusal_headers(refusal, challenge, headers),
            Reject::Revoked(Revocation::Policy(refusal)) => {
                refusal_headers(refusal, challenge, headers);
            }
            Reject::Management(ManagementError::StoreUnavailable(_)) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            // Where its body ends has no single reading either: what follows on the connection is nobody's request
            // (RFC 9112, section 6.3).
            Reject::Admit(AdmitError::Framing) => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Reject::Preflight(_)
            | Reject::Admit(_)
            | Reject::BodyTooLarge
            | Reject::Revoked(Revocation::Scope)
            | Reject::Forward(_)
            | Reject::Management(
                ManagementError::Invalid(_)
                | ManagementError::ActorTooWeak
                | ManagementError::TargetAbove
                | ManagementError::SelfAction { .. }
                | ManagementError::KeyNotFound { .. },
            )
            | Reject::ManagementBody
            | Reject::ManagementBodyTooSlow => {}
        }
    }
}

/// The headers that belong to the policy's refusal.
fn refusal_headers(refusal: &Refusal, challenge: &HeaderValue, headers: &mut HeaderMap) {
    match refusal {
        Refusal::Unidentified => {
            headers.insert(header::WWW_AUTHENTICATE, challenge.clone());
        }
        Refusal::MethodNotAllowed { allow } => {
            headers.insert(header::ALLOW, allow.clone());
        }
        Refusal::NoRoute | Refusal::Denied | Refusal::AmbiguousTarget | Refusal::ScopeLacking => {}
    }
}

type Plain = (StatusCode, ErrorCode, &'static str, &'static str);

fn plain(
    status: StatusCode,
    code: ErrorCode,
    message: &'static str,
    dev: &'static str,
) -> ErrorBody {
    ErrorBody {
        status,
        code,
        message: message.into(),
        dev_message: dev.into(),
        details: None,
    }
}

fn no_key() -> Plain {
    (
        StatusCode::UNAUTHORIZED,
        ErrorCode::EmptyApiKey,
        "The API key is missing.",
        "Send the API key in the header that WWW-Authenticate names.",
    )
}

fn too_slow() -> Plain {
    (
        StatusCode::REQUEST_TIMEOUT,
        ErrorCode::BadRequest,
        "The request's body came too slowly.",
        "No byte of the body came for longer than the gateway waits.",
    )
}

fn broken_body() -> Plain {
    (
        StatusCode::BAD_REQUEST,
        ErrorCode::BadRequest,
        "The request's body is not acceptable.",
        "The body broke off, or its framing is not that of HTTP/1.1.",
    )
}

fn no_access() -> ErrorBody {
    plain(
        StatusCode::FORBIDDEN,
        ErrorCode::NoAccess,
        "The API key has no access to this API.",
        "The scope of the API key does not include what this API needs.",
    )
}

fn unknown_key() -> ErrorBody {
    plain(
        StatusCode::UNAUTHORIZED,
        ErrorCode::UnknownApiKey,
        "The API key does not exist.",
        "The header must hold one API key, one that exists and is in force.",
    )
}

fn admit_body(error: AdmitError) -> ErrorBody {
    let (message, dev) = match error {
        AdmitError::Method => (
            "The request's method is not acceptable.",
            "A method is in upper case, and neither TRACE nor CONNECT.",
        ),
        AdmitError::Host(_) => (
            "The request's host is not acceptable.",
            "A request has one Host header, with a name or an address and at most a port.",
        ),
        AdmitError::Target(_) => (
            "The request's target is not acceptable.",
            "The target could be read in more than one way.",
        ),
        AdmitError::TargetTooLong => (
            "The request's target is too long.",
            "The target has more bytes than the gateway's limit.",
        ),
        AdmitError::TooManyHeaders | AdmitError::HeadTooLarge => (
            "The request's headers are too large.",
            "The headers are more, or have more bytes, than the gateway's limits.",
        ),
        AdmitError::Underscore => (
            "The request's headers are not acceptable.",
            "A header's name has no underscore.",
        ),
        AdmitError::HeaderName => (
            "The request's headers are not acceptable.",
            "A header's name has no quotation mark.",
        ),
        AdmitError::BlankEnd => (
            "The request's headers are not acceptable.",
            "A header's value neither begins nor ends with a blank.",
        ),
        AdmitError::Framing => (
            "The request's framing is not acceptable.",
            "The length of a body is given once: by Content-Length, or by chunked transfer.",
        ),
        AdmitError::Expectation => (
            "The request's expectation cannot be met.",
            "The only expectation that can be met is 100-continue.",
        ),
    };
    plain(error.status(), ErrorCode::BadRequest, message, dev)
}

fn management_body(error: ManagementError) -> ErrorBody {
    match error {
        ManagementError::Invalid(faults) => ErrorBody {
            details: Some(
                serde_json::to_value(faults).expect("faults are strings and lists of strings"),
            ),
            ..plain(
                StatusCode::BAD_REQUEST,
                ErrorCode::BadRequest,
                "The request is not valid.",
                "The member details lists what is wrong, field by field.",
            )
        },
        ManagementError::ActorGone => unknown_key(),
        ManagementError::ActorTooWeak | ManagementError::TargetAbove => no_access(),
        ManagementError::SelfAction { shown } => ErrorBody {
            message: format!("The API key {shown} cannot change or delete itself.").into(),
            ..plain(
                StatusCode::FORBIDDEN,
                ErrorCode::NoSelfAction,
                "",
                "Use another API key for this operation.",
            )
        },
        ManagementError::KeyNotFound { shown } => ErrorBody {
            message: format!("The API key {shown} does not exist.").into(),
            ..plain(
                StatusCode::NOT_FOUND,
                ErrorCode::ApiKeyNotFound,
                "",
                "Name an existing key by its id or by the key itself.",
            )
        },
        ManagementError::StoreUnavailable(_) => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::StoreUnavailable,
            "The key store is not available.",
            "A change may or may not have been made: wait for the time that Retry-After gives, and look before you try again.",
        ),
    }
}
