//! The body of every error that keygate answers, in the shape of the contract.

use http::StatusCode;
use serde::Serialize;
use std::borrow::Cow;

/// The codes of the contract's table of errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorCode {
    EmptyApiKey,
    UnknownApiKey,
    NoAccess,
    ApiKeyNotFound,
    NoSelfAction,
    BadRequest,
    ApiNotFound,
    TooManyRequests,
    UpstreamUnavailable,
    StoreUnavailable,
    UpstreamTimeout,
    Internal,
}

impl ErrorCode {
    /// As clients read it.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorCode::EmptyApiKey => "AUTH_ERR_EMPTY_APIKEY",
            ErrorCode::UnknownApiKey => "AUTH_ERR_APIKEY_NOT_FOUND",
            ErrorCode::NoAccess => "AUTH_ERR_NO_ACCESS",
            ErrorCode::ApiKeyNotFound => "ERR_APIKEY_NOT_FOUND",
            ErrorCode::NoSelfAction => "ERR_APIKEY_NO_SELF_ACTION",
            ErrorCode::BadRequest => "ERR_BAD_REQUEST",
            ErrorCode::ApiNotFound => "ERR_API_NOT_FOUND",
            ErrorCode::TooManyRequests => "ERR_TOO_MANY_REQUESTS",
            ErrorCode::UpstreamUnavailable => "ERR_UPSTREAM_UNAVAILABLE",
            ErrorCode::StoreUnavailable => "ERR_STORE_UNAVAILABLE",
            ErrorCode::UpstreamTimeout => "ERR_UPSTREAM_TIMEOUT",
            ErrorCode::Internal => "ERR_INTERNAL",
        }
    }
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
        match (&self.message, &self.dev_message, &self.details) {
            // Our own sentences are made of characters that JSON takes as they are, and refusals come in floods.
            (Cow::Borrowed(message), Cow::Borrowed(dev), None) => {
                debug_assert!(is_plain(message) && is_plain(dev), "{message} {dev}");
                let parts = [
                    "{\"error\":{\"message\":\"",
                    message,
                    "\",\"devMessage\":\"",
                    dev,
                    "\",\"source\":\"keygate\",\"code\":\"",
                    self.code.as_str(),
                    "\"}}",
                ];
                parts.concat().into_bytes()
            }
            _ => self.serialized(),
        }
    }

    fn serialized(&self) -> Vec<u8> {
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
            code: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            details: Option<&'a serde_json::Value>,
        }
        let outer = Outer {
            error: Inner {
                message: &self.message,
                dev_message: &self.dev_message,
                source: "keygate",
                code: self.code.as_str(),
                details: self.details.as_ref(),
            },
        };
        let mut text = Vec::with_capacity(self.message.len() + self.dev_message.len() + 128);
        serde_json::to_writer(&mut text, &outer).expect("strings and maps of strings serialize");
        text
    }
}

/// Whether a text is the same between the quotes of JSON.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b >= b' ' && b != b'"' && b != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_sentence_is_written_as_any_other() {
        let fixed = ErrorBody {
            status: StatusCode::UNAUTHORIZED,
            code: ErrorCode::UnknownApiKey,
            message: "The API key does not exist.".into(),
            dev_message: "Send one, \u{e4} too.".into(),
            details: None,
        };
        assert_eq!(fixed.to_json(), fixed.serialized());
        let quoted = ErrorBody {
            message: "\"\\".to_owned().into(),
            ..fixed
        };
        let value: serde_json::Value = serde_json::from_slice(&quoted.to_json()).expect("JSON");
        assert_eq!(value["error"]["message"], "\"\\");
    }
}
