//! `/conversations`, and the conversation with one user or group as the one who asks sees it.

use super::{Answer, Call, actor, paged, viewer};
use crate::demo::error::ChatError;
use crate::demo::input::Fields;
use crate::demo::shapes;
use crate::demo::state::{Chat, Mark, Receiver};

pub(super) fn answer(chat: &mut Chat, call: &Call, method: &str, path: &[&str]) -> Option<Answer> {
    Some(match (method, path) {
        ("GET", ["conversations"]) => list(chat, call),
        (_, ["conversations", "pinned"]) => return None,
        ("GET", ["conversations", id]) => get(chat, call, id),
        ("DELETE", ["conversations", id]) => hide(chat, call, id),
        (_, [kind, name, "conversation", below @ ..]) => match with(chat, call, kind, name) {
            Ok(id) => return one(chat, call, method, &id, below),
            Err(refused) => Err(refused),
        },
        _ => return None,
    })
}

/// The conversation between the one who asks and the user or group of the path.
fn with(chat: &Chat, call: &Call, kind: &str, name: &str) -> Result<String, ChatError> {
    let actor = actor(call)?;
    let receiver = match kind {
        "users" => Receiver::User(chat.user(name)?.uid.clone()),
        _ => Receiver::Group(chat.group(name)?.guid.clone()),
    };
    Ok(receiver.conversation_with(&actor))
}

fn one(chat: &mut Chat, call: &Call, method: &str, id: &str, below: &[&str]) -> Option<Answer> {
    Some(match (method, below) {
        ("GET", []) => get(chat, call, id),
        ("PUT", []) => update(chat, call, id),
        ("DELETE", []) => hide(chat, call, id),
        ("POST", ["read"]) => {
            let told = "The messages up to this one are read.";
            up_to(chat, call, id, told, |mark, number| mark.read = number)
        }
        ("DELETE", ["read"]) => {
            let told = "The messages from this one on are unread.";
            up_to(chat, call, id, told, |mark, number| {
                mark.read = number.saturating_sub(1);
            })
        }
        ("POST", ["delivered"]) => {
            let told = "The messages up to this one are delivered.";
            up_to(chat, call, id, told, |mark, number| mark.delivered = number)
        }
        _ => return None,
    })
}

fn list(chat: &Chat, call: &Call) -> Answer {
    let viewer = viewer(call);
    let kind = call.query.text("conversationType");
    let found: Vec<_> = (chat.conversations(viewer.as_deref()).into_iter())
        .filter(|conversation| kind.is_none_or(|kind| kind == conversation.with.kind()))
        .filter(|conversation| !call.query.flag("unread") || conversation.unread > 0)
        .collect();
    paged(call, found, |conversation| {
        shapes::conversation(chat, &conversation, viewer.as_deref())
    })
}

fn get(chat: &Chat, call: &Call, id: &str) -> Answer {
    let viewer = viewer(call);
    let conversation = chat.conversation(viewer.as_deref(), id)?;
    Ok(shapes::conversation(chat, &conversation, viewer.as_deref()).into())
}

fn update(chat: &mut Chat, call: &Call, id: &str) -> Answer {
    let mut fields = Fields::of(&call.body);
    let tags = fields.texts("tags", 25);
    if tags.is_none() {
        fields.missing("tags");
    }
    fields.done()?;
    chat.mark(&actor(call)?, id, |mark, _| {
        mark.tags = tags.unwrap_or_default();
    })?;
    get(chat, call, id)
}

fn hide(chat: &mut Chat, call: &Call, id: &str) -> Answer {
    let actor = actor(call)?;
    chat.mark(&actor, id, |mark, last| mark.hidden = last)?;
    Ok(shapes::success(format!(
        "The conversation {id} was deleted for the user {actor}."
    ))
    .into())
}

/// Moves one of a user's marks to the body's `messageId`, or to the last message.
fn up_to(
    chat: &mut Chat,
    call: &Call,
    id: &str,
    told: &str,
    change: impl FnOnce(&mut Mark, u64),
) -> Answer {
    let mut fields = Fields::of(&call.body);
    let named = fields.number("messageId");
    fields.done()?;
    chat.mark(&actor(call)?, id, |mark, last| {
        change(mark, named.unwrap_or(last).min(last));
    })?;
    Ok(shapes::success(told).into())
}
