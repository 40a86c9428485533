//! Conversations: what the messages between two users, or to a group, add up to.

use super::{Chat, ChatError, Message, MessageFilter, Receiver, pair};

/// What a user did with a conversation.
#[derive(Clone, Default)]
pub(in crate::demo) struct Mark {
    /// The last message that was read.
    pub read: u64,
    /// The last message that was delivered.
    pub delivered: u64,
    /// The last message that was put out of sight by deleting the conversation.
    pub hidden: u64,
    pub tags: Vec<String>,
}

/// A conversation as one user, or the system, sees it.
pub(in crate::demo) struct Conversation<'a> {
    pub first: &'a Message,
    pub last: &'a Message,
    /// Whom it is with, seen from the one who asks.
    pub with: Receiver,
    pub unread: usize,
    pub mark: Mark,
}

impl Chat {
    /// The conversations that `viewer` takes part in, or all of them; the one with the youngest message first.
    pub fn conversations(&self, viewer: Option<&str>) -> Vec<Conversation<'_>> {
        let filter = MessageFilter {
            seen_by: viewer.map(str::to_owned),
            ..MessageFilter::default()
        };
        let mut found: Vec<Conversation<'_>> = Vec::new();
        let mut place = std::collections::BTreeMap::new();
        for message in self.messages(filter) {
            let mark = viewer.and_then(|uid| self.marks.get(&pair(uid, &message.conversation)));
            if mark.is_some_and(|mark| message.id <= mark.hidden) {
                continue;
            }
            let index = *place
                .entry(message.conversation.as_str())
                .or_insert_with(|| {
                    found.push(Conversation {
                        first: message,
                        last: message,
                        with: seen_from(message, viewer),
                        unread: 0,
                        mark: mark.cloned().unwrap_or_default(),
                    });
                    found.len() - 1
                });
            let conversation = &mut found[index];
            conversation.last = message;
            let unread = viewer.is_some_and(|uid| message.sender != uid)
                && message.id > conversation.mark.read;
            conversation.unread += usize::from(unread);
        }
        found.sort_by_key(|conversation| std::cmp::Reverse(conversation.last.id));
        found
    }

    /// One conversation as `viewer` sees it.
    ///
    /// # Errors
    /// [`ChatError::NoConversation`]
    pub fn conversation(
        &self,
        viewer: Option<&str>,
        id: &str,
    ) -> Result<Conversation<'_>, ChatError> {
        self.conversations(viewer)
            .into_iter()
            .find(|conversation| conversation.last.conversation == id)
            .ok_or_else(|| ChatError::NoConversation(id.to_owned()))
    }

    /// Changes what a user did with a conversation; `change` gets the mark and the last message's number.
    ///
    /// # Errors
    /// [`ChatError::NoConversation`], [`ChatError::Full`]
    pub fn mark(
        &mut self,
        viewer: &str,
        id: &str,
        change: impl FnOnce(&mut Mark, u64),
    ) -> Result<(), ChatError> {
        let last = self.conversation(Some(viewer), id)?.last.id;
        self.room_for(1)?;
        change(self.marks.entry(pair(viewer, id)).or_default(), last);
        Ok(())
    }
}

/// Whom a message's conversation is with, for `viewer`.
fn seen_from(message: &Message, viewer: Option<&str>) -> Receiver {
    match (&message.receiver, viewer) {
        (Receiver::User(to), Some(viewer)) if to == viewer => {
            Receiver::User(message.sender.clone())
        }
        (receiver, _) => receiver.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Draft;
    use super::super::fixtures::{at, chat_of};
    use super::*;

    fn exchange() -> Chat {
        let mut chat = chat_of(&["a", "b", "c"]);
        for (from, to, second) in [("a", "b", 1), ("b", "a", 2), ("c", "a", 3)] {
            chat.send(
                Draft::text(from, Receiver::User(to.into()), "hi"),
                at(second),
            )
            .unwrap();
        }
        chat
    }

    #[test]
    fn each_user_sees_whom_they_talk_with_and_what_they_have_not_read() {
        let mut chat = exchange();
        let seen = |chat: &Chat, uid: &str| -> Vec<(String, usize)> {
            let all = chat.conversations(Some(uid));
            all.iter()
                .map(|c| (c.with.id().to_owned(), c.unread))
                .collect()
        };
        assert_eq!(seen(&chat, "a"), [("c".to_owned(), 1), ("b".to_owned(), 1)]);
        assert_eq!(seen(&chat, "b"), [("a".to_owned(), 1)]);
        chat.mark("a", "a_user_c", |mark, last| mark.read = last)
            .unwrap();
        assert_eq!(seen(&chat, "a"), [("c".to_owned(), 0), ("b".to_owned(), 1)]);
        assert_eq!(chat.conversations(None).len(), 2);
    }

    #[test]
    fn a_deleted_conversation_is_gone_for_one_until_the_next_message() {
        let mut chat = exchange();
        chat.mark("a", "a_user_b", |mark, last| mark.hidden = last)
            .unwrap();
        assert!(chat.conversation(Some("a"), "a_user_b").is_err());
        assert!(chat.conversation(Some("b"), "a_user_b").is_ok());
        chat.send(
            Draft::text("b", Receiver::User("a".into()), "still?"),
            at(4),
        )
        .unwrap();
        let back = chat.conversation(Some("a"), "a_user_b").unwrap();
        assert_eq!(back.first.id, back.last.id, "only what came after");
    }
}
