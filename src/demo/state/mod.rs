//! What the chat API remembers, and what may happen to it: a state machine without clock, sockets or JSON envelopes.
//!
//! Everything lives in flat maps keyed by what names it: a membership by group and user, a reaction by message, emoji
//! and user. So how much is stored is the sum of their lengths, what belongs to a user or a group is found by asking
//! each map, and deleting it leaves nothing behind. Conversations are not stored: they are what the messages say, less
//! what a user has put out of sight ([`Mark`]).

mod conversations;
mod groups;
mod messages;
mod users;

pub(super) use conversations::{Conversation, Mark};
pub(super) use groups::{Group, GroupChange, Member, Role};
pub(super) use messages::{Draft, Message, MessageFilter, Receiver, SYSTEM};
pub(super) use users::{AuthToken, User, UserChange};

use super::error::ChatError;
use crate::clock::Timestamp;
use std::collections::BTreeMap;

/// When something happens, and 128 random bits for it.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub now: Timestamp,
    pub random: u128,
}

/// Two names, the owner's first.
type Pair = (String, String);

/// The whole chat.
pub(super) struct Chat {
    users: BTreeMap<String, User>,
    /// By the token's text.
    tokens: BTreeMap<String, AuthToken>,
    /// Who blocked whom, since when.
    blocks: BTreeMap<Pair, Timestamp>,
    /// Both ways round.
    friends: BTreeMap<Pair, Timestamp>,
    groups: BTreeMap<String, Group>,
    /// By group and user.
    members: BTreeMap<Pair, Member>,
    /// By group and user, with the membership that ended.
    bans: BTreeMap<Pair, Member>,
    messages: BTreeMap<u64, Message>,
    /// By message, emoji and user.
    reactions: BTreeMap<(u64, String, String), Timestamp>,
    /// By user and conversation.
    marks: BTreeMap<Pair, Mark>,
    last_number: u64,
    limits: Limits,
}

/// How much a chat keeps.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Past it the oldest are forgotten.
    pub messages: usize,
    /// Everything else together; past it [`ChatError::Full`].
    pub others: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            messages: 10_000,
            others: 50_000,
        }
    }
}

impl Chat {
    pub fn new(limits: Limits) -> Self {
        Chat {
            users: BTreeMap::new(),
            tokens: BTreeMap::new(),
            blocks: BTreeMap::new(),
            friends: BTreeMap::new(),
            groups: BTreeMap::new(),
            members: BTreeMap::new(),
            bans: BTreeMap::new(),
            messages: BTreeMap::new(),
            reactions: BTreeMap::new(),
            marks: BTreeMap::new(),
            last_number: 0,
            limits,
        }
    }

    /// Numbers count up over everything that has one; a higher one is younger.
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// How many things are stored, messages apart.
    fn others(&self) -> usize {
        self.users.len()
            + self.tokens.len()
            + self.blocks.len()
            + self.friends.len()
            + self.groups.len()
            + self.members.len()
            + self.bans.len()
            + self.reactions.len()
            + self.marks.len()
    }

    /// # Errors
    /// When there is no room for `more` things.
    fn room_for(&self, more: usize) -> Result<(), ChatError> {
        if self.others() + more > self.limits.others {
            Err(ChatError::Full)
        } else {
            Ok(())
        }
    }
}

/// All entries whose owner is `owner`, by the second name.
fn owned<'a, T>(
    map: &'a BTreeMap<Pair, T>,
    owner: &'a str,
) -> impl Iterator<Item = (&'a str, &'a T)> {
    map.range((owner.to_owned(), String::new())..)
        .take_while(move |((first, _), _)| first == owner)
        .map(|((_, second), value)| (second.as_str(), value))
}

fn pair(owner: &str, other: &str) -> Pair {
    (owner.to_owned(), other.to_owned())
}

#[cfg(test)]
pub(super) mod fixtures {
    use super::*;

    /// The given second, and always the same random bits.
    pub fn at(second: i64) -> Moment {
        Moment {
            now: Timestamp::from_unix_seconds(second),
            random: 0xfeed,
        }
    }

    /// A chat in which these users exist.
    pub fn chat_of(uids: &[&str]) -> Chat {
        let mut chat = Chat::new(Limits::default());
        for uid in uids {
            create(&mut chat, uid).expect(uid);
        }
        chat
    }

    pub fn create(chat: &mut Chat, uid: &str) -> Result<(), ChatError> {
        let named = UserChange {
            name: Some(format!("The {uid}")),
            ..UserChange::default()
        };
        chat.create_user(uid, named, at(1)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::{at, chat_of, create};
    use super::*;

    #[test]
    fn a_full_chat_takes_no_more_users_until_one_is_gone() {
        let mut chat = Chat::new(Limits {
            messages: 1,
            others: 2,
        });
        create(&mut chat, "a").unwrap();
        create(&mut chat, "b").unwrap();
        assert_eq!(create(&mut chat, "c"), Err(ChatError::Full));
        chat.delete_user("a").unwrap();
        create(&mut chat, "c").unwrap();
    }

    #[test]
    fn the_oldest_messages_make_room_for_the_next() {
        let mut chat = chat_of(&["a", "b"]);
        chat.limits.messages = 2;
        for second in 1..=3 {
            chat.send(
                Draft::text("a", Receiver::User("b".into()), "hi"),
                at(second),
            )
            .unwrap();
        }
        let sent: Vec<i64> = chat
            .messages
            .values()
            .map(|m| m.sent_at.unix_seconds())
            .collect();
        assert_eq!(sent, [2, 3]);
    }

    #[test]
    fn a_user_who_is_deleted_leaves_nothing_behind() {
        let mut chat = chat_of(&["a", "b"]);
        chat.create_group("g", GroupChange::named("G"), Some("a"), at(1))
            .unwrap();
        chat.create_token("a", at(2)).unwrap();
        chat.block("a", "b", at(3).now).unwrap();
        chat.befriend("a", "b", at(3).now).unwrap();
        let id = chat
            .send(Draft::text("b", Receiver::User("a".into()), "hi"), at(4))
            .unwrap()
            .id;
        chat.react(id, "+1", "a", at(5).now).unwrap();
        let before = chat_of(&["b"]).others() + 1;
        chat.delete_user("a").unwrap();
        assert_eq!(chat.others(), before, "b and the group");
        assert!(chat.messages.is_empty());
    }
}
