//! What the chat API's things look like as JSON; a field without a value is left out.

use super::state::{AuthToken, Chat, Conversation, Group, Member, Message, Receiver, SYSTEM, User};
use crate::clock::Timestamp;
use serde_json::{Map, Value, json};

fn put(object: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object[name] = value.into();
    }
}

fn seconds(at: Timestamp) -> i64 {
    at.unix_seconds()
}

/// A user; `viewer` adds the conversation between the two.
pub(super) fn user(user: &User, viewer: Option<&str>) -> Value {
    let mut object = json!({
        "uid": user.uid,
        "name": user.name,
        "role": user.role,
        "status": "offline",
        "createdAt": seconds(user.created_at),
    });
    put(&mut object, "avatar", user.avatar.clone());
    put(&mut object, "link", user.link.clone());
    put(&mut object, "statusMessage", user.status_message.clone());
    put(&mut object, "metadata", user.metadata.clone());
    put(&mut object, "updatedAt", user.updated_at.map(seconds));
    let deactivated_at = user.deactivated_at.map(seconds);
    put(&mut object, "deactivatedAt", deactivated_at);
    let tags = (!user.tags.is_empty()).then(|| user.tags.clone());
    put(&mut object, "tags", tags);
    let with = viewer.map(|uid| Receiver::User(user.uid.clone()).conversation_with(uid));
    put(&mut object, "conversationId", with);
    object
}

/// A token, as only its owner's server sees it.
pub(super) fn auth_token(token: &AuthToken) -> Value {
    let mut object = Value::Object(token.client.clone());
    object["uid"] = token.uid.clone().into();
    object["authToken"] = token.token.clone().into();
    object["createdAt"] = seconds(token.created_at).into();
    object
}

/// A group; `viewer` adds their place in it.
pub(super) fn group(chat: &Chat, group: &Group, viewer: Option<&str>) -> Value {
    let mut object = json!({
        "guid": group.guid,
        "name": group.name,
        "type": group.kind,
        "membersCount": chat.members(&group.guid).count(),
        "conversationId": format!("group_{}", group.guid),
        "createdAt": seconds(group.created_at),
    });
    put(&mut object, "icon", group.icon.clone());
    put(&mut object, "description", group.description.clone());
    put(&mut object, "owner", group.owner.clone());
    put(&mut object, "metadata", group.metadata.clone());
    put(&mut object, "updatedAt", group.updated_at.map(seconds));
    let tags = (!group.tags.is_empty()).then(|| group.tags.clone());
    put(&mut object, "tags", tags);
    if let Some(uid) = viewer {
        let membership = chat.membership(&group.guid, uid);
        object["hasJoined"] = membership.is_some().into();
        put(&mut object, "scope", membership.map(|m| m.role.as_str()));
        let joined_at = membership.map(|m| seconds(m.since));
        put(&mut object, "joinedAt", joined_at);
    }
    object
}

/// A user as a member of a group.
pub(super) fn member((who, member): (&User, Member)) -> Value {
    let mut object = user(who, None);
    object["scope"] = member.role.as_str().into();
    object["joinedAt"] = seconds(member.since).into();
    object
}

/// A user as someone banned from a group.
pub(super) fn banned((who, former): (&User, Member)) -> Value {
    let mut object = user(who, None);
    object["scope"] = former.role.as_str().into();
    object["bannedAt"] = seconds(former.since).into();
    object
}

/// A user as someone blocked by `by`.
pub(super) fn blocked(who: &User, since: Timestamp, by: &str) -> Value {
    let mut object = user(who, Some(by));
    object["blockedByMe"] = true.into();
    object["blockedByMeAt"] = seconds(since).into();
    object["blockedAt"] = seconds(since).into();
    object
}

/// A message with the users and groups that it names.
pub(super) fn message(chat: &Chat, message: &Message) -> Value {
    let mut data = message.data.clone();
    data.insert(
        "entities".to_owned(),
        json!({
            "sender": entity(sender(chat, &message.sender), "user"),
            "receiver": entity(
                receiver(chat, &message.receiver, Some(&message.sender)),
                message.receiver.kind(),
            ),
        }),
    );
    let reactions = reaction_counts(chat, message.id);
    if !reactions.is_empty() {
        data.insert("reactions".to_owned(), reactions.into());
    }
    let updated_at = message.edited.as_ref().map_or(message.sent_at, |e| e.0);
    let mut object = json!({
        "id": message.id.to_string(),
        "conversationId": message.conversation,
        "sender": message.sender,
        "receiverType": message.receiver.kind(),
        "receiver": message.receiver.id(),
        "category": message.category,
        "type": message.kind,
        "data": data,
        "sentAt": seconds(message.sent_at),
        "updatedAt": seconds(updated_at),
    });
    put(&mut object, "muid", message.muid.clone());
    let parent = message.parent.map(|id| id.to_string());
    put(&mut object, "parentId", parent);
    if let Some((at, by)) = &message.edited {
        object["editedAt"] = seconds(*at).into();
        object["editedBy"] = by.clone().into();
    }
    let tags = (!message.tags.is_empty()).then(|| message.tags.clone());
    put(&mut object, "tags", tags);
    let replies = chat.replies(message.id);
    put(&mut object, "replyCount", (replies > 0).then_some(replies));
    object
}

/// The action that tells of an edit or a deletion: a message about a message.
pub(super) fn action(
    chat: &Chat,
    number: u64,
    name: &str,
    by: &str,
    on: (&Message, Value),
    at: Timestamp,
) -> Value {
    let (about, shown) = on;
    json!({
        "id": number.to_string(),
        "conversationId": about.conversation,
        "sender": by,
        "receiverType": about.receiver.kind(),
        "receiver": about.receiver.id(),
        "category": "action",
        "type": "message",
        "data": {
            "action": name,
            "entities": {
                "by": entity(sender(chat, by), "user"),
                "for": entity(receiver(chat, &about.receiver, None), about.receiver.kind()),
                "on": entity(shown, "message"),
            },
        },
        "sentAt": seconds(at),
        "updatedAt": seconds(at),
    })
}

/// Each emoji on a message with how often it is there.
fn reaction_counts(chat: &Chat, id: u64) -> Vec<Value> {
    let mut counts: Vec<(&str, u64)> = Vec::new();
    for (emoji, _, _) in chat.reactions(id) {
        match counts.last_mut() {
            Some((last, count)) if *last == emoji => *count += 1,
            _ => counts.push((emoji, 1)),
        }
    }
    let shown = |(emoji, count)| json!({"reaction": emoji, "count": count});
    counts.into_iter().map(shown).collect()
}

/// One reaction to a message.
pub(super) fn reaction(chat: &Chat, id: u64, (emoji, uid, at): (&str, &str, Timestamp)) -> Value {
    json!({
        "messageId": id.to_string(),
        "reaction": emoji,
        "uid": uid,
        "reactedAt": seconds(at),
        "reactedBy": sender(chat, uid),
    })
}

/// A conversation as the one who asks sees it.
pub(super) fn conversation(
    chat: &Chat,
    conversation: &Conversation<'_>,
    viewer: Option<&str>,
) -> Value {
    let mut object = json!({
        "conversationId": conversation.last.conversation,
        "conversationType": conversation.with.kind(),
        "unreadMessageCount": conversation.unread.to_string(),
        "createdAt": seconds(conversation.first.sent_at),
        "updatedAt": seconds(conversation.last.sent_at),
        "lastMessage": message(chat, conversation.last),
        "conversationWith": receiver(chat, &conversation.with, viewer),
    });
    let mark = &conversation.mark;
    let read = (mark.read > 0).then(|| mark.read.to_string());
    put(&mut object, "lastReadMessageId", read);
    let delivered = (mark.delivered > 0).then(|| mark.delivered.to_string());
    put(&mut object, "lastDeliveredMessageId", delivered);
    let tags = (!mark.tags.is_empty()).then(|| mark.tags.clone());
    put(&mut object, "tags", tags);
    object
}

fn entity(entity: Value, kind: &str) -> Value {
    json!({"entity": entity, "entityType": kind})
}

/// A sender by name: a user, the system, or someone who is gone.
fn sender(chat: &Chat, uid: &str) -> Value {
    match chat.user(uid) {
        Ok(found) => user(found, None),
        Err(_) if uid == SYSTEM => {
            json!({"uid": uid, "name": "System", "role": "default", "status": "offline"})
        }
        Err(_) => json!({"uid": uid}),
    }
}

fn receiver(chat: &Chat, receiver: &Receiver, viewer: Option<&str>) -> Value {
    match receiver {
        Receiver::User(uid) => match chat.user(uid) {
            Ok(found) => user(found, viewer),
            Err(_) => sender(chat, uid),
        },
        Receiver::Group(guid) => match chat.group(guid) {
            Ok(found) => group(chat, found, viewer),
            Err(_) => json!({"guid": guid}),
        },
    }
}

/// `{"success": true, "message": …}`.
pub(super) fn success(message: impl Into<String>) -> Value {
    json!({"success": true, "message": message.into()})
}

/// What became of each of several names.
pub(super) fn outcomes(
    each: impl IntoIterator<Item = (String, Result<Value, super::error::ChatError>)>,
) -> Map<String, Value> {
    each.into_iter()
        .map(|(name, outcome)| {
            let shown = outcome.unwrap_or_else(|e| json!({"success": false, "error": e.object()}));
            (name, shown)
        })
        .collect()
}
