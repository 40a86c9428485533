//! `/messages`, the lists of them below users and groups, threads and reactions.

use super::{Answer, Call, Reply, actor, paged, viewer};
use crate::demo::error::ChatError;
use crate::demo::input::Fields;
use crate::demo::shapes;
use crate::demo::state::{Chat, Draft, Message, MessageFilter, Receiver, SYSTEM};
use serde_json::{Value, json};

/// Most bytes of a message's data, as JSON.
const DATA_BYTES: usize = 16 * 1024;

pub(super) fn answer(chat: &mut Chat, call: &Call, method: &str, path: &[&str]) -> Option<Answer> {
    Some(match (method, path) {
        ("POST", ["messages"]) => send(chat, call, viewer(call), None),
        ("POST", ["bots", uid, "messages"]) => send(chat, call, Some((*uid).to_owned()), None),
        ("GET", ["messages"]) => list(chat, call, MessageFilter::default()),
        ("GET", ["users", uid, "messages"]) => of_user(chat, call, uid),
        ("GET", ["groups", guid, "messages"]) => of_group(chat, call, guid),
        ("GET", ["messages", id]) => get(chat, id),
        ("PUT", ["messages", id]) => edit(chat, call, id),
        ("DELETE", ["messages", id]) => delete(chat, call, id),
        ("POST", ["messages", id, "thread"]) => {
            number(id).and_then(|id| send(chat, call, viewer(call), Some(id)))
        }
        ("GET", ["messages", id, "thread"]) => thread(chat, call, id),
        ("GET", ["messages", id, "reactions"]) => reactions(chat, call, id, None),
        ("GET", ["messages", id, "reactions", emoji]) => reactions(chat, call, id, Some(emoji)),
        ("POST", ["messages", id, "reactions", emoji]) => react(chat, call, id, emoji),
        ("DELETE", ["messages", id, "reactions", emoji]) => unreact(chat, call, id, emoji),
        ("GET", ["threads"]) => threads(chat, call),
        _ => return None,
    })
}

fn number(id: &str) -> Result<u64, ChatError> {
    id.parse().map_err(|_| ChatError::NoMessage(id.to_owned()))
}

fn send(chat: &mut Chat, call: &Call, sender: Option<String>, parent: Option<u64>) -> Answer {
    if let Some(parent) = parent {
        chat.message(parent)?;
    }
    let mut fields = Fields::of(&call.body);
    let receiver = fields.required("receiver", 100);
    let receiver = match fields.choice("receiverType", &["user", "group"]).as_deref() {
        Some("group") => Receiver::Group(receiver),
        Some(_) => Receiver::User(receiver),
        None => {
            fields.missing("receiverType");
            Receiver::User(receiver)
        }
    };
    let category = fields.choice("category", &["message", "custom", "interactive"]);
    let category = category.unwrap_or_else(|| "message".to_owned());
    let kind = fields.text("type", 100);
    let kind = kind.unwrap_or_else(|| "text".to_owned());
    let data = fields.object("data", DATA_BYTES);
    match &data {
        None => fields.missing("data"),
        Some(data) if category == "message" && kind == "text" => {
            let text = data.get("text").and_then(Value::as_str);
            if text.is_none_or(str::is_empty) {
                fields.missing("data.text");
            }
        }
        Some(_) => {}
    }
    let muid = fields.text("muid", 100);
    let tags = fields.texts("tags", 25).unwrap_or_default();
    fields.done()?;
    let id = (chat.send(
        Draft {
            sender,
            receiver,
            category,
            kind,
            data: data.unwrap_or_default(),
            muid,
            tags,
            parent,
        },
        call.at,
    )?)
    .id;
    Ok(shapes::message(chat, chat.message(id)?).into())
}

fn get(chat: &Chat, id: &str) -> Answer {
    Ok(shapes::message(chat, chat.message(number(id)?)?).into())
}

fn edit(chat: &mut Chat, call: &Call, id: &str) -> Answer {
    let id = number(id)?;
    chat.message(id)?;
    let mut fields = Fields::of(&call.body);
    let data = fields.object("data", DATA_BYTES);
    let tags = fields.texts("tags", 25);
    if data.is_none() && tags.is_none() {
        fields.missing("data");
    }
    fields.done()?;
    let by = viewer(call).unwrap_or_else(|| SYSTEM.to_owned());
    chat.edit(id, data.unwrap_or_default(), tags, &by, call.at.now)?;
    let number = chat.passing_number();
    let message = chat.message(id)?;
    let shown = shapes::message(chat, message);
    let on = (message, shown);
    Ok(shapes::action(chat, number, "edited", &by, on, call.at.now).into())
}

/// Deletes for good, with or without `permanent`: the action that tells of it is the last that is heard of a message.
fn delete(chat: &mut Chat, call: &Call, id: &str) -> Answer {
    let id = number(id)?;
    let by = viewer(call).unwrap_or_else(|| SYSTEM.to_owned());
    let number = chat.passing_number();
    let message = chat.message(id)?;
    let mut shown = shapes::message(chat, message);
    shown["deletedAt"] = call.at.now.unix_seconds().into();
    shown["deletedBy"] = by.clone().into();
    if let Some(data) = shown["data"].as_object_mut() {
        data.retain(|name, _| name == "entities");
    }
    let on = (message, shown);
    let action = shapes::action(chat, number, "deleted", &by, on, call.at.now);
    chat.delete_message(id)?;
    Ok(action.into())
}

fn of_user(chat: &Chat, call: &Call, uid: &str) -> Answer {
    let uid = chat.user(uid)?.uid.clone();
    // On behalf of someone: what those two wrote to each other.
    let conversation =
        viewer(call).map(|viewer| Receiver::User(uid.clone()).conversation_with(&viewer));
    let concerning = conversation.is_none().then_some(uid);
    list(
        chat,
        call,
        MessageFilter {
            conversation,
            concerning,
            ..MessageFilter::default()
        },
    )
}

fn of_group(chat: &Chat, call: &Call, guid: &str) -> Answer {
    let conversation = Some(format!("group_{}", chat.group(guid)?.guid));
    list(
        chat,
        call,
        MessageFilter {
            conversation,
            ..MessageFilter::default()
        },
    )
}

fn thread(chat: &Chat, call: &Call, id: &str) -> Answer {
    let parent = Some(chat.message(number(id)?)?.id);
    list(
        chat,
        call,
        MessageFilter {
            parent,
            ..MessageFilter::default()
        },
    )
}

/// Messages after (`affix=append`, the default) or before (`prepend`) the message `id`, oldest first; without an `id`
/// the youngest ones. `meta.next` has what asks for the next stretch in the same direction.
fn list(chat: &Chat, call: &Call, base: MessageFilter) -> Answer {
    let query = &call.query;
    let text = |name: &str| query.text(name).map(str::to_owned);
    let limit = query.count("limit", 100, 1000)?;
    let from: Option<u64> = match query.text("id").map(str::parse) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Err(ChatError::field("id", "The id field must be a number.")),
    };
    let backwards = match query.text("affix") {
        None => from.is_none(),
        Some("append") => false,
        Some("prepend") => true,
        Some(_) => {
            return Err(ChatError::field(
                "affix",
                "The affix field is append or prepend.",
            ));
        }
    };
    let seen_by = (base.conversation.is_none() && base.parent.is_none())
        .then(|| viewer(call))
        .flatten();
    let filter = MessageFilter {
        conversation: base.conversation.or_else(|| text("conversationId")),
        seen_by,
        sender: text("sender"),
        receiver_kind: text("receiverType"),
        category: text("category"),
        kind: text("type"),
        search: text("searchKey"),
        hide_replies: query.flag("hideReplies"),
        ..base
    };
    let all = chat.messages(filter);
    let found: Vec<&Message> = if backwards {
        let before = |m: &&Message| from.is_none_or(|id| m.id < id);
        let mut found: Vec<_> = all.rev().filter(before).take(limit).collect();
        found.reverse();
        found
    } else {
        let after = |m: &&Message| from.is_none_or(|id| m.id > id);
        all.filter(after).take(limit).collect()
    };
    let mut meta = json!({"current": {"limit": limit, "count": found.len()}});
    let edge = if backwards {
        found.first()
    } else {
        found.last()
    };
    if let Some(edge) = edge {
        meta["next"] = json!({
            "affix": if backwards { "prepend" } else { "append" },
            "sentAt": edge.sent_at.unix_seconds(),
            "id": edge.id.to_string(),
        });
    }
    let data: Vec<Value> = (found.into_iter())
        .map(|message| shapes::message(chat, message))
        .collect();
    Ok(Reply {
        data: data.into(),
        meta: Some(meta),
    })
}

fn threads(chat: &Chat, call: &Call) -> Answer {
    let filter = MessageFilter {
        seen_by: viewer(call),
        hide_replies: true,
        ..MessageFilter::default()
    };
    let found: Vec<&Message> = (chat.messages(filter).rev())
        .filter(|message| chat.replies(message.id) > 0)
        .collect();
    paged(call, found, |message| shapes::message(chat, message))
}

fn reactions(chat: &Chat, call: &Call, id: &str, emoji: Option<&str>) -> Answer {
    let id = chat.message(number(id)?)?.id;
    let found = (chat.reactions(id))
        .filter(|(have, _, _)| emoji.is_none_or(|wanted| wanted == *have))
        .collect();
    paged(call, found, |reaction| shapes::reaction(chat, id, reaction))
}

fn react(chat: &mut Chat, call: &Call, id: &str, emoji: &str) -> Answer {
    let (id, uid) = (number(id)?, actor(call)?);
    if emoji.is_empty() || emoji.chars().count() > 45 {
        return Err(ChatError::field(
            "reaction",
            "The reaction has 1 to 45 characters.",
        ));
    }
    chat.react(id, emoji, &uid, call.at.now)?;
    Ok(shapes::message(chat, chat.message(id)?).into())
}

fn unreact(chat: &mut Chat, call: &Call, id: &str, emoji: &str) -> Answer {
    let (id, uid) = (number(id)?, actor(call)?);
    chat.message(id)?;
    chat.unreact(id, emoji, &uid);
    Ok(shapes::message(chat, chat.message(id)?).into())
}
