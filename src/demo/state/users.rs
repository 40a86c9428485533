//! Users, their auth tokens, whom they block and who their friends are.
//!
//! A user is active, deactivated (unknown to every call but the one that reactivates) or gone.

use super::{Chat, ChatError, Moment, owned, pair};
use crate::clock::Timestamp;
use serde_json::{Map, Value};

/// One user.
pub(in crate::demo) struct User {
    pub uid: String,
    pub name: String,
    pub avatar: Option<String>,
    pub link: Option<String>,
    pub role: String,
    pub status_message: Option<String>,
    pub metadata: Option<Map<String, Value>>,
    pub tags: Vec<String>,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
    pub deactivated_at: Option<Timestamp>,
    /// Of the order in which things were made.
    pub number: u64,
}

/// What a user is made with, or changed to; `None` leaves a field as it is.
#[derive(Default)]
pub(in crate::demo) struct UserChange {
    pub name: Option<String>,
    pub avatar: Option<String>,
    pub link: Option<String>,
    pub role: Option<String>,
    pub status_message: Option<String>,
    pub metadata: Option<Map<String, Value>>,
    pub tags: Option<Vec<String>>,
    /// Of `avatar`, `link`, `metadata`: what becomes empty.
    pub unset: Vec<String>,
}

/// What a client SDK logs a user in with.
pub(in crate::demo) struct AuthToken {
    pub token: String,
    pub uid: String,
    pub created_at: Timestamp,
    /// What its client said of itself: `platform`, `userAgent`, `appInfo`.
    pub client: Map<String, Value>,
    pub number: u64,
}

impl User {
    fn take(&mut self, change: UserChange) {
        for name in &change.unset {
            match name.as_str() {
                "avatar" => self.avatar = None,
                "link" => self.link = None,
                "metadata" => self.metadata = None,
                _ => {}
            }
        }
        self.name = change
            .name
            .unwrap_or_else(|| std::mem::take(&mut self.name));
        self.role = change
            .role
            .unwrap_or_else(|| std::mem::take(&mut self.role));
        self.avatar = change.avatar.or(self.avatar.take());
        self.link = change.link.or(self.link.take());
        self.status_message = change.status_message.or(self.status_message.take());
        self.metadata = change.metadata.or(self.metadata.take());
        self.tags = change
            .tags
            .unwrap_or_else(|| std::mem::take(&mut self.tags));
    }
}

impl Chat {
    /// # Errors
    /// [`ChatError::UserExists`], of a deactivated user too; [`ChatError::Full`].
    pub fn create_user(
        &mut self,
        uid: &str,
        fields: UserChange,
        at: Moment,
    ) -> Result<&User, ChatError> {
        if self.users.contains_key(uid) {
            return Err(ChatError::UserExists(uid.to_owned()));
        }
        self.room_for(1)?;
        let mut user = User {
            uid: uid.to_owned(),
            name: String::new(),
            avatar: None,
            link: None,
            role: "default".to_owned(),
            status_message: None,
            metadata: None,
            tags: Vec::new(),
            created_at: at.now,
            updated_at: None,
            deactivated_at: None,
            number: self.next_number(),
        };
        user.take(fields);
        Ok(self.users.entry(uid.to_owned()).or_insert(user))
    }

    /// An active user.
    ///
    /// # Errors
    /// [`ChatError::NoUser`]
    pub fn user(&self, uid: &str) -> Result<&User, ChatError> {
        self.users
            .get(&uid.to_ascii_lowercase())
            .filter(|user| user.deactivated_at.is_none())
            .ok_or_else(|| ChatError::NoUser(uid.to_owned()))
    }

    /// All users, deactivated ones too, youngest first.
    pub fn users(&self) -> Vec<&User> {
        let mut users: Vec<&User> = self.users.values().collect();
        users.sort_by_key(|user| std::cmp::Reverse(user.number));
        users
    }

    /// # Errors
    /// [`ChatError::NoUser`]
    pub fn update_user(
        &mut self,
        uid: &str,
        change: UserChange,
        now: Timestamp,
    ) -> Result<&User, ChatError> {
        let uid = self.user(uid)?.uid.clone();
        let user = self
            .users
            .get_mut(&uid)
            .ok_or_else(|| ChatError::NoUser(uid.clone()))?;
        user.take(change);
        user.updated_at = Some(now);
        Ok(user)
    }

    /// Deactivates a user; true if there is an active one.
    pub fn deactivate(&mut self, uid: &str, now: Timestamp) -> bool {
        match self.users.get_mut(uid) {
            Some(user) if user.deactivated_at.is_none() => {
                user.deactivated_at = Some(now);
                self.tokens.retain(|_, token| token.uid != uid);
                true
            }
            _ => false,
        }
    }

    /// Makes a deactivated user active again; true if there is such a user, deactivated or not.
    pub fn reactivate(&mut self, uid: &str) -> bool {
        let user = self.users.get_mut(uid);
        user.map(|user| user.deactivated_at = None).is_some()
    }

    /// Removes a user, active or not, with all that belongs to them.
    ///
    /// # Errors
    /// [`ChatError::NoUser`]
    pub fn delete_user(&mut self, uid: &str) -> Result<(), ChatError> {
        if self.users.remove(uid).is_none() {
            return Err(ChatError::NoUser(uid.to_owned()));
        }
        self.tokens.retain(|_, token| token.uid != uid);
        self.blocks.retain(|(a, b), _| a != uid && b != uid);
        self.friends.retain(|(a, b), _| a != uid && b != uid);
        self.members.retain(|(_, member), _| member != uid);
        self.bans.retain(|(_, member), _| member != uid);
        self.marks.retain(|(owner, _), _| owner != uid);
        self.reactions.retain(|(_, _, by), _| by != uid);
        for group in self.groups.values_mut() {
            group.owner.take_if(|owner| owner == uid);
        }
        self.forget_messages(|message| message.concerns_user(uid));
        Ok(())
    }

    /// # Errors
    /// [`ChatError::NoUser`], [`ChatError::Full`]
    pub fn create_token(&mut self, uid: &str, at: Moment) -> Result<&AuthToken, ChatError> {
        let uid = self.user(uid)?.uid.clone();
        self.room_for(1)?;
        let token = format!("{uid}_{}{:032x}", at.now, at.random);
        let number = self.next_number();
        Ok(self.tokens.entry(token.clone()).or_insert(AuthToken {
            token,
            uid,
            created_at: at.now,
            client: Map::new(),
            number,
        }))
    }

    /// A user's tokens, youngest first.
    ///
    /// # Errors
    /// [`ChatError::NoUser`]
    pub fn tokens(&self, uid: &str) -> Result<Vec<&AuthToken>, ChatError> {
        let uid = &self.user(uid)?.uid;
        let mut tokens: Vec<&AuthToken> = self.tokens.values().filter(|t| t.uid == *uid).collect();
        tokens.sort_by_key(|token| std::cmp::Reverse(token.number));
        Ok(tokens)
    }

    /// One of a user's tokens.
    ///
    /// # Errors
    /// [`ChatError::NoUser`], [`ChatError::NoToken`]
    pub fn token(&mut self, uid: &str, token: &str) -> Result<&mut AuthToken, ChatError> {
        let uid = self.user(uid)?.uid.clone();
        self.tokens
            .get_mut(token)
            .filter(|t| t.uid == uid)
            .ok_or(ChatError::NoToken(uid))
    }

    /// # Errors
    /// [`ChatError::NoUser`], [`ChatError::NoToken`]
    pub fn delete_token(&mut self, uid: &str, token: &str) -> Result<(), ChatError> {
        let token = self.token(uid, token)?.token.clone();
        self.tokens.remove(&token);
        Ok(())
    }

    /// # Errors
    /// [`ChatError::NoUser`]
    pub fn delete_tokens(&mut self, uid: &str) -> Result<(), ChatError> {
        let uid = self.user(uid)?.uid.clone();
        self.tokens.retain(|_, token| token.uid != uid);
        Ok(())
    }

    /// Who logs in with a token.
    ///
    /// # Errors
    /// [`ChatError::NotLoggedIn`]
    pub fn logged_in(&self, token: Option<&str>) -> Result<(&User, &AuthToken), ChatError> {
        let token = token.and_then(|token| self.tokens.get(token));
        let token = token.ok_or(ChatError::NotLoggedIn)?;
        let user = self.user(&token.uid).map_err(|_| ChatError::NotLoggedIn)?;
        Ok((user, token))
    }

    /// # Errors
    /// [`ChatError::NoUser`] for either, [`ChatError::Full`]
    pub fn block(&mut self, uid: &str, whom: &str, now: Timestamp) -> Result<(), ChatError> {
        let key = pair(&self.user(uid)?.uid, &self.user(whom)?.uid);
        self.room_for(1)?;
        self.blocks.entry(key).or_insert(now);
        Ok(())
    }

    /// True if there was something to lift.
    pub fn unblock(&mut self, uid: &str, whom: &str) -> bool {
        self.blocks.remove(&pair(uid, whom)).is_some()
    }

    /// Whom a user blocks, and since when.
    pub fn blocked_by<'a>(
        &'a self,
        uid: &'a str,
    ) -> impl Iterator<Item = (&'a User, Timestamp)> + 'a {
        owned(&self.blocks, uid).filter_map(|(whom, since)| Some((self.user(whom).ok()?, *since)))
    }

    /// # Errors
    /// [`ChatError::NoUser`] for either, [`ChatError::Full`]
    pub fn befriend(&mut self, uid: &str, whom: &str, now: Timestamp) -> Result<(), ChatError> {
        let (a, b) = pair(&self.user(uid)?.uid, &self.user(whom)?.uid);
        self.room_for(2)?;
        self.friends.entry((b.clone(), a.clone())).or_insert(now);
        self.friends.entry((a, b)).or_insert(now);
        Ok(())
    }

    /// True if they were friends.
    pub fn unfriend(&mut self, uid: &str, whom: &str) -> bool {
        self.friends.remove(&pair(whom, uid));
        self.friends.remove(&pair(uid, whom)).is_some()
    }

    /// A user's friends.
    pub fn friends_of<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = &'a User> + 'a {
        owned(&self.friends, uid).filter_map(|(friend, _)| self.user(friend).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{at, chat_of, create};
    use super::*;

    #[test]
    fn a_uid_is_taken_until_its_user_is_deleted_for_good() {
        let mut chat = chat_of(&["a"]);
        let exists = Err(ChatError::UserExists("a".into()));
        assert_eq!(create(&mut chat, "a"), exists);
        assert!(chat.deactivate("a", at(2).now));
        assert!(chat.user("a").is_err());
        assert_eq!(create(&mut chat, "a"), exists);
        assert!(chat.reactivate("a"));
        assert!(chat.user("A").is_ok(), "letter case does not count");
        chat.delete_user("a").unwrap();
        create(&mut chat, "a").unwrap();
    }

    #[test]
    fn an_update_changes_what_it_names_and_empties_what_it_unsets() {
        let mut chat = chat_of(&["a"]);
        let change = |avatar: Option<&str>, unset: &[&str]| UserChange {
            avatar: avatar.map(str::to_owned),
            unset: unset.iter().map(|&s| s.to_owned()).collect(),
            ..UserChange::default()
        };
        let user = chat.update_user("a", change(Some("x"), &[]), at(5).now);
        let user = user.unwrap();
        assert_eq!(
            (user.name.as_str(), user.avatar.as_deref()),
            ("The a", Some("x"))
        );
        assert_eq!(user.updated_at, Some(at(5).now));
        let user = chat.update_user("a", change(None, &["avatar"]), at(6).now);
        assert_eq!(user.unwrap().avatar, None);
    }

    #[test]
    fn a_token_logs_its_user_in_until_it_is_deleted_or_its_user_deactivated() {
        let mut chat = chat_of(&["a", "b"]);
        let token = chat.create_token("a", at(2)).unwrap().token.clone();
        assert!(token.starts_with("a_2"));
        assert_eq!(chat.logged_in(Some(&token)).unwrap().0.uid, "a");
        assert!(chat.token("b", &token).is_err(), "another user's token");
        chat.delete_token("a", &token).unwrap();
        assert!(chat.logged_in(Some(&token)).is_err());
        let token = chat.create_token("a", at(3)).unwrap().token.clone();
        chat.deactivate("a", at(4).now);
        chat.reactivate("a");
        assert!(chat.logged_in(Some(&token)).is_err());
    }

    #[test]
    fn friendship_goes_both_ways_and_blocking_does_not() {
        let mut chat = chat_of(&["a", "b"]);
        chat.befriend("a", "b", at(2).now).unwrap();
        chat.block("a", "b", at(2).now).unwrap();
        assert_eq!(chat.friends_of("b").count(), 1);
        assert_eq!(chat.blocked_by("a").count(), 1);
        assert_eq!(chat.blocked_by("b").count(), 0);
        assert!(chat.unfriend("b", "a"));
        assert_eq!(chat.friends_of("a").count(), 0);
    }
}
