//! Messages, their threads and the reactions to them.
//!
//! A message that is deleted is gone, with its replies and reactions; one that is edited keeps its place.

use super::{Chat, ChatError, Moment};
use crate::clock::Timestamp;
use serde_json::{Map, Value};

/// Who sends when no user is named.
pub(in crate::demo) const SYSTEM: &str = "app_system";

/// To whom a message goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::demo) enum Receiver {
    User(String),
    Group(String),
}

impl Receiver {
    pub fn id(&self) -> &str {
        match self {
            Receiver::User(id) | Receiver::Group(id) => id,
        }
    }

    /// As the API's `receiverType`.
    pub fn kind(&self) -> &'static str {
        match self {
            Receiver::User(_) => "user",
            Receiver::Group(_) => "group",
        }
    }

    /// The conversation between this receiver and `sender`: both users' names in order, or the group's.
    pub fn conversation_with(&self, sender: &str) -> String {
        match self {
            Receiver::Group(guid) => format!("group_{guid}"),
            Receiver::User(uid) if sender <= uid.as_str() => format!("{sender}_user_{uid}"),
            Receiver::User(uid) => format!("{uid}_user_{sender}"),
        }
    }
}

/// A message that is to be sent.
pub(in crate::demo) struct Draft {
    /// `None`: the system.
    pub sender: Option<String>,
    pub receiver: Receiver,
    pub category: String,
    pub kind: String,
    pub data: Map<String, Value>,
    pub muid: Option<String>,
    pub tags: Vec<String>,
    /// The message that it replies to.
    pub parent: Option<u64>,
}

/// A message that was sent.
pub(in crate::demo) struct Message {
    pub id: u64,
    pub conversation: String,
    pub sender: String,
    pub receiver: Receiver,
    pub category: String,
    pub kind: String,
    pub data: Map<String, Value>,
    pub muid: Option<String>,
    pub tags: Vec<String>,
    pub parent: Option<u64>,
    pub sent_at: Timestamp,
    /// When, and by whom.
    pub edited: Option<(Timestamp, String)>,
}

impl Message {
    /// Whether this user wrote it or it was written to them alone.
    pub fn concerns_user(&self, uid: &str) -> bool {
        self.sender == uid || matches!(&self.receiver, Receiver::User(to) if to == uid)
    }
}

/// Which messages a list shows.
#[derive(Default)]
pub(in crate::demo) struct MessageFilter {
    pub conversation: Option<String>,
    /// Written by or to this user, or to a group that they are in.
    pub seen_by: Option<String>,
    /// Written by or to this user.
    pub concerning: Option<String>,
    pub sender: Option<String>,
    pub receiver_kind: Option<String>,
    pub category: Option<String>,
    pub kind: Option<String>,
    /// In the text, letter case ignored.
    pub search: Option<String>,
    /// Replies to this message.
    pub parent: Option<u64>,
    pub hide_replies: bool,
}

impl Chat {
    /// # Errors
    /// [`ChatError::NoUser`], [`ChatError::NoGroup`], [`ChatError::NoMessage`] for the one that it replies to
    pub fn send(&mut self, draft: Draft, at: Moment) -> Result<&Message, ChatError> {
        let sender = match draft.sender {
            Some(uid) => self.user(&uid)?.uid.clone(),
            None => SYSTEM.to_owned(),
        };
        let receiver = match draft.receiver {
            Receiver::User(uid) => Receiver::User(self.user(&uid)?.uid.clone()),
            Receiver::Group(guid) => Receiver::Group(self.group(&guid)?.guid.clone()),
        };
        if let Some(parent) = draft.parent {
            self.message(parent)?;
        }
        self.make_room_for_a_message();
        let id = self.next_number();
        Ok(self.messages.entry(id).or_insert(Message {
            id,
            conversation: receiver.conversation_with(&sender),
            sender,
            receiver,
            category: draft.category,
            kind: draft.kind,
            data: draft.data,
            muid: draft.muid,
            tags: draft.tags,
            parent: draft.parent,
            sent_at: at.now,
            edited: None,
        }))
    }

    /// Forgets the oldest eighth of the messages when all places are taken.
    fn make_room_for_a_message(&mut self) {
        let most = self.limits.messages;
        if self.messages.len() < most {
            return;
        }
        let oldest_kept = self.messages.keys().nth(most.div_ceil(8)).copied();
        self.forget_messages(|message| oldest_kept.is_none_or(|kept| message.id < kept));
    }

    /// # Errors
    /// [`ChatError::NoMessage`]
    pub fn message(&self, id: u64) -> Result<&Message, ChatError> {
        let message = self.messages.get(&id);
        message.ok_or_else(|| ChatError::NoMessage(id.to_string()))
    }

    /// Lays new data over a message's, field by field.
    ///
    /// # Errors
    /// [`ChatError::NoMessage`]
    pub fn edit(
        &mut self,
        id: u64,
        data: Map<String, Value>,
        tags: Option<Vec<String>>,
        by: &str,
        now: Timestamp,
    ) -> Result<&Message, ChatError> {
        let message = self
            .messages
            .get_mut(&id)
            .ok_or_else(|| ChatError::NoMessage(id.to_string()))?;
        message.data.extend(data);
        message.tags = tags.unwrap_or_else(|| std::mem::take(&mut message.tags));
        message.edited = Some((now, by.to_owned()));
        Ok(message)
    }

    /// Removes a message, its replies and all reactions to them.
    ///
    /// # Errors
    /// [`ChatError::NoMessage`]
    pub fn delete_message(&mut self, id: u64) -> Result<(), ChatError> {
        self.message(id)?;
        self.forget_messages(|message| message.id == id || message.parent == Some(id));
        Ok(())
    }

    /// Messages that a filter lets through, oldest first.
    pub fn messages(&self, filter: MessageFilter) -> impl DoubleEndedIterator<Item = &Message> {
        let search = filter.search.as_ref().map(|text| text.to_lowercase());
        self.messages
            .values()
            .filter(move |message| self.passes(message, &filter, search.as_deref()))
    }

    fn passes(&self, message: &Message, filter: &MessageFilter, search: Option<&str>) -> bool {
        let is = |wanted: &Option<String>, have: &str| wanted.as_deref().is_none_or(|w| w == have);
        let text = || message.data.get("text").and_then(Value::as_str);
        let sees = |uid: &String| {
            message.concerns_user(uid)
                || matches!(&message.receiver, Receiver::Group(guid) if self.membership(guid, uid).is_some())
        };
        is(&filter.conversation, &message.conversation)
            && is(&filter.sender, &message.sender)
            && is(&filter.receiver_kind, message.receiver.kind())
            && is(&filter.category, &message.category)
            && is(&filter.kind, &message.kind)
            && filter.seen_by.as_ref().is_none_or(sees)
            && (filter.concerning.as_ref()).is_none_or(|uid| message.concerns_user(uid))
            && (filter.parent.is_none() || filter.parent == message.parent)
            && !(filter.hide_replies && message.parent.is_some())
            && search.is_none_or(|key| text().is_some_and(|text| text.to_lowercase().contains(key)))
    }

    /// How many replies a message has.
    pub fn replies(&self, id: u64) -> usize {
        let replies = self.messages.range(id..).map(|(_, message)| message);
        replies.filter(|m| m.parent == Some(id)).count()
    }

    /// # Errors
    /// [`ChatError::NoMessage`], [`ChatError::NoUser`], [`ChatError::Full`]
    pub fn react(
        &mut self,
        id: u64,
        emoji: &str,
        uid: &str,
        now: Timestamp,
    ) -> Result<(), ChatError> {
        self.message(id)?;
        let uid = self.user(uid)?.uid.clone();
        self.room_for(1)?;
        let key = (id, emoji.to_owned(), uid);
        self.reactions.entry(key).or_insert(now);
        Ok(())
    }

    /// True if there was such a reaction.
    pub fn unreact(&mut self, id: u64, emoji: &str, uid: &str) -> bool {
        let key = (id, emoji.to_owned(), uid.to_owned());
        self.reactions.remove(&key).is_some()
    }

    /// Who reacted to a message with what, and when; by emoji and user.
    pub fn reactions(&self, id: u64) -> impl Iterator<Item = (&str, &str, Timestamp)> {
        self.reactions
            .range((id, String::new(), String::new())..)
            .take_while(move |((message, _, _), _)| *message == id)
            .map(|((_, emoji, uid), at)| (emoji.as_str(), uid.as_str(), *at))
    }

    /// Drops messages, and the reactions and marks that nothing stands behind any more.
    pub(super) fn forget_messages(&mut self, gone: impl Fn(&Message) -> bool) {
        self.messages.retain(|_, message| !gone(message));
        let messages = &self.messages;
        self.reactions
            .retain(|(id, _, _), _| messages.contains_key(id));
        if !self.marks.is_empty() {
            let alive: std::collections::BTreeSet<&str> =
                messages.values().map(|m| m.conversation.as_str()).collect();
            self.marks
                .retain(|(_, conversation), _| alive.contains(conversation.as_str()));
        }
    }

    /// A number for a message that is told but not kept.
    pub fn passing_number(&mut self) -> u64 {
        self.next_number()
    }
}

#[cfg(test)]
impl Draft {
    pub fn text(sender: &str, receiver: Receiver, text: &str) -> Self {
        Draft {
            sender: Some(sender.to_owned()),
            receiver,
            category: "message".to_owned(),
            kind: "text".to_owned(),
            data: Map::from_iter([("text".to_owned(), Value::from(text))]),
            muid: None,
            tags: Vec::new(),
            parent: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::GroupChange;
    use super::super::fixtures::{at, chat_of};
    use super::*;

    fn to(uid: &str) -> Receiver {
        Receiver::User(uid.to_owned())
    }

    #[test]
    fn both_directions_are_one_conversation() {
        assert_eq!(to("b").conversation_with("a"), "a_user_b");
        assert_eq!(to("a").conversation_with("b"), "a_user_b");
        assert_eq!(
            Receiver::Group("g".into()).conversation_with("a"),
            "group_g"
        );
    }

    #[test]
    fn an_edit_is_laid_over_what_was_written() {
        let mut chat = chat_of(&["a", "b"]);
        let id = chat
            .send(Draft::text("a", to("b"), "hi"), at(1))
            .unwrap()
            .id;
        let data = Map::from_iter([("text".to_owned(), Value::from("hello"))]);
        let message = chat.edit(id, data, None, "a", at(2).now).unwrap();
        assert_eq!(message.data["text"], "hello");
        assert_eq!(message.edited, Some((at(2).now, "a".to_owned())));
    }

    #[test]
    fn a_deleted_message_takes_its_replies_and_reactions_along() {
        let mut chat = chat_of(&["a", "b"]);
        let id = chat
            .send(Draft::text("a", to("b"), "hi"), at(1))
            .unwrap()
            .id;
        let reply = Draft {
            parent: Some(id),
            ..Draft::text("b", to("a"), "ho")
        };
        let reply = chat.send(reply, at(2)).unwrap().id;
        assert_eq!(chat.replies(id), 1);
        chat.react(reply, "+1", "a", at(3).now).unwrap();
        chat.delete_message(id).unwrap();
        assert!(chat.messages.is_empty());
        assert!(chat.reactions.is_empty());
        assert!(matches!(
            chat.delete_message(id),
            Err(ChatError::NoMessage(_))
        ));
    }

    #[test]
    fn filters_choose_by_what_they_name() {
        let mut chat = chat_of(&["a", "b", "c"]);
        chat.create_group("g", GroupChange::named("G"), Some("c"), at(1))
            .unwrap();
        chat.send(Draft::text("a", to("b"), "One"), at(1)).unwrap();
        chat.send(Draft::text("b", to("c"), "two"), at(2)).unwrap();
        chat.send(
            Draft::text("a", Receiver::Group("g".into()), "three"),
            at(3),
        )
        .unwrap();
        let some = |text: &str| Some(text.to_owned());
        for (filter, texts) in [
            (
                MessageFilter {
                    conversation: some("a_user_b"),
                    ..Default::default()
                },
                vec!["One"],
            ),
            (
                MessageFilter {
                    seen_by: some("c"),
                    ..Default::default()
                },
                vec!["two", "three"],
            ),
            (
                MessageFilter {
                    concerning: some("c"),
                    ..Default::default()
                },
                vec!["two"],
            ),
            (
                MessageFilter {
                    search: some("ONE"),
                    ..Default::default()
                },
                vec!["One"],
            ),
            (
                MessageFilter {
                    receiver_kind: some("group"),
                    sender: some("a"),
                    ..Default::default()
                },
                vec!["three"],
            ),
        ] {
            let found: Vec<&str> = chat
                .messages(filter)
                .filter_map(|m| m.data["text"].as_str())
                .collect();
            assert_eq!(found, texts);
        }
    }
}
