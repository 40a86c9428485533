//! The body of every error that keygate answers, in the shape of the contract.

use http::StatusCode;
use serde::Serialize;
use std::borrow::Cow;

/// The codes of the contract's table of errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum ErrorCode {
    #[serde(rename = "AUTH_ERR_EMPTY_APIKEY")]
    EmptyApiKey,
    #[serde(rename = "AUTH_ERR_APIKEY_NOT_FOUND")]
    UnknownApiKey,
    #[serde(rename = "AUTH_ERR_NO_ACCESS")]
    NoAccess,
    #[serde(rename = "ERR_APIKEY_NOT_FOUND")]
    ApiKeyNotFound,
    #[serde(rename = "ERR_APIKEY_NO_SELF_ACTION")]
    NoSelfAction,
    #[serde(rename = "ERR_BAD_REQUEST")]
    BadRequest,
    #[serde(rename = "ERR_API_NOT_FOUND")]
    ApiNotFound,
    #[serde(rename = "ERR_TOO_MANY_REQUESTS")]
    TooManyRequests,
    #[serde(rename = "ERR_UPSTREAM_UNAVAILABLE")]
    UpstreamUnavailable,
    #[serde(rename = "ERR_STORE_UNAVAILABLE")]
    StoreUnavailable,
    #[serde(rename = "ERR_UPSTREAM_TIMEOUT")]
    UpstreamTimeout,
    #[serde(rename = "ERR_INTERNAL")]
    Internal,
}

/// One error as the client sees it.
#[derive(Clone, Debug)]
pub struct ErrorBody {
    pub status: StatusCode,
    pub code: ErrorCode,
    /// One sentence for the one who reads the screen.
    pub message: Cow<'static, str>,
    /// One sentence for the one who writes the client.
    pub dev_message: Cow<'static, str>,
    /// Faults by field, field to sentences; present for validation only.
    pub details: Option<serde_json::Value>,
}

impl ErrorBody {
    /// The JSON text.
    pub fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Outer<'a> {
            error: Inner<'a>,
        }
        #[derive(Serialize)]
        struct Inner<'a> {
            message: &'a str,
            #[serde(rename = "devMessage")]
            dev_message: &'a str,
            source: &'static str,
            code: ErrorCode,
            #[serde(skip_serializing_if = "Option::is_none")]
            details: Option<&'a serde_json::Value>,
        }
        let outer = Outer {
            error: Inner {
                message: &self.message,
                dev_message: &self.dev_message,
                source: "keygate",
                code: self.code,
                details: self.details.as_ref(),
            },
        };
        let mut text = Vec::with_capacity(self.message.len() + self.dev_message.len() + 128);
        serde_json::to_writer(&mut text, &outer).expect("strings and maps of strings serialize");
        text
    }
}
