//! Which path does what: from a [`Call`] to a change of the [`Chat`] and a [`Reply`].
//!
//! A file for each kind of thing. A handler reads its whole input before it changes anything, so that a call that is
//! refused has changed nothing.

mod conversations;
mod groups;
mod messages;
mod users;

use super::error::ChatError;
use super::input::{Query, decode};
use super::state::{Chat, Moment};
use http::Method;
use serde_json::{Map, Value, json};

/// A request, read.
pub(super) struct Call {
    pub method: Method,
    /// As the client sent it, for the answer to one that leads nowhere.
    pub path: String,
    pub query: Query,
    /// The header `onBehalfOf`: the user who acts.
    pub on_behalf_of: Option<String>,
    /// The header `authToken`: the user who logs in.
    pub auth_token: Option<String>,
    /// The JSON object in the body; empty where there is none.
    pub body: Map<String, Value>,
    pub at: Moment,
}

/// What is sent back, status 200.
#[derive(Debug)]
pub(super) struct Reply {
    pub data: Value,
    pub meta: Option<Value>,
}

impl From<Value> for Reply {
    fn from(data: Value) -> Self {
        Reply { data, meta: None }
    }
}

type Answer = Result<Reply, ChatError>;

/// Carries a call out.
///
/// # Errors
/// When there is no such path, or the call is refused.
pub(super) fn answer(chat: &mut Chat, call: &Call) -> Answer {
    let nowhere = || ChatError::NoPath(call.path.clone());
    let decoded: Vec<String> = call.path.split('/').skip(1).map(decode).collect();
    let segments: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let Some((&("v3" | "v3.0"), path)) = segments.split_first() else {
        return Err(nowhere());
    };
    if let Some(uid) = &call.on_behalf_of {
        chat.user(uid)?;
    }
    // A HEAD is a GET whose body the server leaves out.
    let method = match call.method.as_str() {
        "HEAD" => "GET",
        other => other,
    };
    let found = match path {
        ["me"] | ["users", ..] if !is_about_messages(path) => {
            users::answer(chat, call, method, path)
        }
        ["groups", ..] if !is_about_messages(path) => groups::answer(chat, call, method, path),
        ["messages", ..]
        | ["bots", _, "messages"]
        | ["users" | "groups", _, "messages"]
        | ["threads"] => messages::answer(chat, call, method, path),
        ["conversations", ..] | ["users" | "groups", _, "conversation", ..] => {
            conversations::answer(chat, call, method, path)
        }
        _ => None,
    };
    found.unwrap_or_else(|| Err(nowhere()))
}

/// `/users/{uid}/messages`, `/groups/{guid}/conversation` and what is below.
fn is_about_messages(path: &[&str]) -> bool {
    matches!(path, [_, _, "messages" | "conversation", ..])
}

/// The user who acts, in the state's spelling.
fn viewer(call: &Call) -> Option<String> {
    call.on_behalf_of
        .as_ref()
        .map(|uid| uid.to_ascii_lowercase())
}

/// As [`viewer`], where one is needed.
fn actor(call: &Call) -> Result<String, ChatError> {
    viewer(call).ok_or_else(|| {
        ChatError::field("onBehalfOf", "The onBehalfOf header is required for this.")
    })
}

/// A stretch of a list: `page`, from 1, and `perPage`, up to 1000.
fn paged<T>(call: &Call, items: Vec<T>, shape: impl FnMut(T) -> Value) -> Answer {
    let per_page = call.query.count("perPage", 100, 1000)?;
    let page = call.query.count("page", 1, usize::MAX)?;
    let total = items.len();
    let skipped = (page - 1).saturating_mul(per_page);
    let data: Vec<Value> = items
        .into_iter()
        .skip(skipped)
        .take(per_page)
        .map(shape)
        .collect();
    let pagination = json!({
        "total": total,
        "count": data.len(),
        "per_page": per_page,
        "current_page": page,
        "total_pages": total.div_ceil(per_page),
    });
    Ok(Reply {
        data: data.into(),
        meta: Some(json!({"pagination": pagination})),
    })
}

/// Whether any of `texts` has the query's `searchKey` in it, letter case ignored; true without one.
fn searched(call: &Call, texts: &[&str]) -> bool {
    let Some(key) = call.query.text("searchKey").map(str::to_lowercase) else {
        return true;
    };
    texts.iter().any(|text| text.to_lowercase().contains(&key))
}

#[cfg(test)]
mod tests;
