//! What can go wrong for a client of the chat API, and how it is told.

use http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Field to what is wrong with it.
pub(super) type Details = BTreeMap<String, Vec<String>>;

/// Why a call was not answered with data.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum ChatError {
    #[error("The user {0} does not exist.")]
    NoUser(String),
    #[error("The user {0} exists already.")]
    UserExists(String),
    #[error("The group {0} does not exist.")]
    NoGroup(String),
    #[error("The group {0} exists already.")]
    GroupExists(String),
    #[error("The user {uid} is not a member of the group {guid}.")]
    NoMember { guid: String, uid: String },
    #[error("The user {uid} is not banned from the group {guid}.")]
    NotBanned { guid: String, uid: String },
    #[error("The message {0} does not exist.")]
    NoMessage(String),
    #[error("The conversation {0} does not exist.")]
    NoConversation(String),
    #[error("The user {0} has no such auth token.")]
    NoToken(String),
    #[error("The auth token is missing or unknown.")]
    NotLoggedIn,
    #[error("The request is not valid.")]
    Invalid(Details),
    #[error("The body is not a JSON object.")]
    NotJson,
    #[error("The body is larger than this API takes.")]
    TooLarge,
    #[error("There is nothing at {0}.")]
    NoPath(String),
    #[error("This demo is full: delete something first.")]
    Full,
}

impl ChatError {
    /// A single field's fault.
    pub fn field(name: &str, sentence: &str) -> Self {
        ChatError::Invalid(Details::from([(
            name.to_owned(),
            vec![sentence.to_owned()],
        )]))
    }

    /// The status and the code of the real API.
    pub fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            ChatError::NoUser(_) => (StatusCode::NOT_FOUND, "ERR_UID_NOT_FOUND"),
            ChatError::UserExists(_) => (StatusCode::BAD_REQUEST, "ERR_UID_ALREADY_EXISTS"),
            ChatError::NoGroup(_) => (StatusCode::NOT_FOUND, "ERR_GUID_NOT_FOUND"),
            ChatError::GroupExists(_) => (StatusCode::BAD_REQUEST, "ERR_GUID_ALREADY_EXISTS"),
            ChatError::NoMember { .. } => (StatusCode::NOT_FOUND, "ERR_NOT_A_MEMBER"),
            ChatError::NotBanned { .. } => (StatusCode::NOT_FOUND, "ERR_NOT_BANNED_USER"),
            ChatError::NoMessage(_) => (StatusCode::NOT_FOUND, "ERR_MESSAGE_ID_NOT_FOUND"),
            ChatError::NoConversation(_) => (StatusCode::NOT_FOUND, "ERR_CONVERSATION_NOT_FOUND"),
            ChatError::NoToken(_) => (StatusCode::NOT_FOUND, "ERR_AUTH_TOKEN_NOT_FOUND"),
            ChatError::NotLoggedIn => (StatusCode::UNAUTHORIZED, "AUTH_ERR_AUTH_TOKEN_NOT_FOUND"),
            ChatError::Invalid(_) | ChatError::NotJson => {
                (StatusCode::BAD_REQUEST, "ERR_BAD_REQUEST")
            }
            ChatError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "ERR_BAD_REQUEST"),
            ChatError::NoPath(_) => (StatusCode::NOT_FOUND, "ERR_API_NOT_FOUND"),
            ChatError::Full => (StatusCode::PAYMENT_REQUIRED, "ERR_PLAN_QUOTA_RESTRICTION"),
        }
    }

    /// The `error` object, as it stands in an envelope or beside one user in a list of outcomes.
    pub fn object(&self) -> Value {
        let message = self.to_string();
        let mut object = json!({
            "message": message,
            "devMessage": message,
            "source": "chat-api",
            "code": self.kind().1,
        });
        if let ChatError::Invalid(details) = self {
            object["details"] = json!(details);
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_its_code_and_its_source_and_details_only_for_fields() {
        let missing = ChatError::NoUser("rogue".into()).object();
        assert_eq!(missing["code"], "ERR_UID_NOT_FOUND");
        assert_eq!(missing["source"], "chat-api");
        assert!(missing.get("details").is_none());
        let invalid = ChatError::field("uid", "The uid field is required.").object();
        assert_eq!(invalid["code"], "ERR_BAD_REQUEST");
        assert_eq!(invalid["details"]["uid"][0], "The uid field is required.");
    }
}
