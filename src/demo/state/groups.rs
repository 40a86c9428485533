//! Groups, who is a member, who is banned.

use super::{Chat, ChatError, Moment, Receiver, User, owned, pair};
use crate::clock::Timestamp;
use serde_json::{Map, Value};

/// One group.
pub(in crate::demo) struct Group {
    pub guid: String,
    pub name: String,
    /// `public`, `password` or `private`.
    pub kind: String,
    pub icon: Option<String>,
    pub description: Option<String>,
    pub owner: Option<String>,
    pub metadata: Option<Map<String, Value>>,
    pub tags: Vec<String>,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
    /// Of the order in which things were made.
    pub number: u64,
}

/// What a group is made with, or changed to; `None` leaves a field as it is.
#[derive(Default)]
pub(in crate::demo) struct GroupChange {
    pub name: Option<String>,
    pub kind: Option<String>,
    pub icon: Option<String>,
    pub description: Option<String>,
    pub owner: Option<String>,
    pub metadata: Option<Map<String, Value>>,
    pub tags: Option<Vec<String>>,
    /// Of `icon`, `description`, `metadata`: what becomes empty.
    pub unset: Vec<String>,
}

/// What a member may do in a group (the API says "scope").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::demo) enum Role {
    Participant,
    Moderator,
    Admin,
}

impl Role {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "participant" => Some(Role::Participant),
            "moderator" => Some(Role::Moderator),
            "admin" => Some(Role::Admin),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Participant => "participant",
            Role::Moderator => "moderator",
            Role::Admin => "admin",
        }
    }
}

/// A membership: of a member, or the one that a ban ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::demo) struct Member {
    pub role: Role,
    /// When it began; of a ban: when that was.
    pub since: Timestamp,
}

impl Group {
    fn take(&mut self, change: GroupChange) {
        for name in &change.unset {
            match name.as_str() {
                "icon" => self.icon = None,
                "description" => self.description = None,
                "metadata" => self.metadata = None,
                _ => {}
            }
        }
        self.name = change
            .name
            .unwrap_or_else(|| std::mem::take(&mut self.name));
        self.kind = change
            .kind
            .unwrap_or_else(|| std::mem::take(&mut self.kind));
        self.icon = change.icon.or(self.icon.take());
        self.description = change.description.or(self.description.take());
        self.owner = change.owner.or(self.owner.take());
        self.metadata = change.metadata.or(self.metadata.take());
        self.tags = change
            .tags
            .unwrap_or_else(|| std::mem::take(&mut self.tags));
    }
}

impl Chat {
    /// Makes a group; its owner, if it has one, becomes its first admin.
    ///
    /// # Errors
    /// [`ChatError::GroupExists`], [`ChatError::NoUser`] for the owner, [`ChatError::Full`]
    pub fn create_group(
        &mut self,
        guid: &str,
        mut fields: GroupChange,
        owner: Option<&str>,
        at: Moment,
    ) -> Result<&Group, ChatError> {
        if self.groups.contains_key(guid) {
            return Err(ChatError::GroupExists(guid.to_owned()));
        }
        let owner = owner.map(str::to_owned).or(fields.owner.take());
        fields.owner = match owner {
            Some(uid) => Some(self.user(&uid)?.uid.clone()),
            None => None,
        };
        self.room_for(2)?;
        if let Some(uid) = &fields.owner {
            let admin = Member {
                role: Role::Admin,
                since: at.now,
            };
            self.members.insert(pair(guid, uid), admin);
        }
        let mut group = Group {
            guid: guid.to_owned(),
            name: String::new(),
            kind: "public".to_owned(),
            icon: None,
            description: None,
            owner: None,
            metadata: None,
            tags: Vec::new(),
            created_at: at.now,
            updated_at: None,
            number: self.next_number(),
        };
        group.take(fields);
        Ok(self.groups.entry(guid.to_owned()).or_insert(group))
    }

    /// # Errors
    /// [`ChatError::NoGroup`]
    pub fn group(&self, guid: &str) -> Result<&Group, ChatError> {
        self.groups
            .get(&guid.to_ascii_lowercase())
            .ok_or_else(|| ChatError::NoGroup(guid.to_owned()))
    }

    /// All groups, youngest first.
    pub fn groups(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.groups.values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.number));
        groups
    }

    /// # Errors
    /// [`ChatError::NoGroup`], [`ChatError::NoUser`] for a new owner
    pub fn update_group(
        &mut self,
        guid: &str,
        change: GroupChange,
        now: Timestamp,
    ) -> Result<&Group, ChatError> {
        let guid = self.group(guid)?.guid.clone();
        if let Some(owner) = &change.owner {
            self.user(owner)?;
        }
        let group = self
            .groups
            .get_mut(&guid)
            .ok_or_else(|| ChatError::NoGroup(guid.clone()))?;
        group.take(change);
        group.updated_at = Some(now);
        Ok(group)
    }

    /// Removes a group with all that belongs to it.
    ///
    /// # Errors
    /// [`ChatError::NoGroup`]
    pub fn delete_group(&mut self, guid: &str) -> Result<(), ChatError> {
        let guid = self.group(guid)?.guid.clone();
        self.groups.remove(&guid);
        self.members.retain(|(group, _), _| *group != guid);
        self.bans.retain(|(group, _), _| *group != guid);
        self.forget_messages(|message| message.receiver == Receiver::Group(guid.clone()));
        Ok(())
    }

    /// Makes a user a member, or gives a member another role; a ban ends with it.
    ///
    /// # Errors
    /// [`ChatError::NoGroup`], [`ChatError::NoUser`], [`ChatError::Full`]
    pub fn join(
        &mut self,
        guid: &str,
        uid: &str,
        role: Role,
        now: Timestamp,
    ) -> Result<(), ChatError> {
        let key = pair(&self.group(guid)?.guid, &self.user(uid)?.uid);
        self.room_for(1)?;
        self.bans.remove(&key);
        let member = self
            .members
            .entry(key)
            .or_insert(Member { role, since: now });
        member.role = role;
        Ok(())
    }

    /// # Errors
    /// [`ChatError::NoGroup`], [`ChatError::NoMember`]
    pub fn change_role(&mut self, guid: &str, uid: &str, role: Role) -> Result<(), ChatError> {
        let key = self.member_key(guid, uid)?;
        if let Some(member) = self.members.get_mut(&key) {
            member.role = role;
        }
        Ok(())
    }

    /// Ends a membership.
    ///
    /// # Errors
    /// [`ChatError::NoGroup`], [`ChatError::NoMember`]
    pub fn kick(&mut self, guid: &str, uid: &str) -> Result<(), ChatError> {
        let key = self.member_key(guid, uid)?;
        self.members.remove(&key);
        Ok(())
    }

    /// Ends a membership, if there is one, and notes the ban.
    ///
    /// # Errors
    /// [`ChatError::NoGroup`], [`ChatError::NoUser`], [`ChatError::Full`]
    pub fn ban(&mut self, guid: &str, uid: &str, now: Timestamp) -> Result<(), ChatError> {
        let key = pair(&self.group(guid)?.guid, &self.user(uid)?.uid);
        self.room_for(1)?;
        let former = self.members.remove(&key);
        let role = former.map_or(Role::Participant, |member| member.role);
        self.bans.insert(key, Member { role, since: now });
        Ok(())
    }

    /// # Errors
    /// [`ChatError::NoGroup`], [`ChatError::NotBanned`]
    pub fn unban(&mut self, guid: &str, uid: &str) -> Result<(), ChatError> {
        let key = pair(&self.group(guid)?.guid, &uid.to_ascii_lowercase());
        match self.bans.remove(&key) {
            Some(_) => Ok(()),
            None => Err(ChatError::NotBanned {
                guid: key.0,
                uid: key.1,
            }),
        }
    }

    /// The members of a group, by uid.
    pub fn members<'a>(&'a self, guid: &'a str) -> impl Iterator<Item = (&'a User, Member)> + 'a {
        owned(&self.members, guid).filter_map(|(uid, m)| Some((self.user(uid).ok()?, *m)))
    }

    /// Who is banned from a group, by uid.
    pub fn banned<'a>(&'a self, guid: &'a str) -> impl Iterator<Item = (&'a User, Member)> + 'a {
        owned(&self.bans, guid).filter_map(|(uid, m)| Some((self.user(uid).ok()?, *m)))
    }

    /// A user's membership in a group, if they are in it.
    pub fn membership(&self, guid: &str, uid: &str) -> Option<Member> {
        self.members.get(&pair(guid, uid)).copied()
    }

    fn member_key(&self, guid: &str, uid: &str) -> Result<(String, String), ChatError> {
        let key = pair(&self.group(guid)?.guid, &uid.to_ascii_lowercase());
        if self.members.contains_key(&key) {
            Ok(key)
        } else {
            Err(ChatError::NoMember {
                guid: key.0,
                uid: key.1,
            })
        }
    }
}

#[cfg(test)]
impl GroupChange {
    /// A public group of this name.
    pub fn named(name: &str) -> Self {
        GroupChange {
            name: Some(name.to_owned()),
            ..GroupChange::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Draft;
    use super::super::fixtures::{at, chat_of};
    use super::*;

    #[test]
    fn the_owner_is_the_first_admin_and_must_exist() {
        let mut chat = chat_of(&["a"]);
        let nobody = chat.create_group("g", GroupChange::named("G"), Some("x"), at(1));
        assert!(matches!(nobody, Err(ChatError::NoUser(_))));
        chat.create_group("g", GroupChange::named("G"), Some("a"), at(1))
            .unwrap();
        assert_eq!(chat.membership("g", "a").unwrap().role, Role::Admin);
        let again = chat.create_group("g", GroupChange::named("G"), None, at(2));
        assert!(matches!(again, Err(ChatError::GroupExists(_))));
    }

    #[test]
    fn members_join_change_leave_and_are_banned() {
        let mut chat = chat_of(&["a", "b"]);
        chat.create_group("g", GroupChange::named("G"), None, at(1))
            .unwrap();
        chat.join("g", "a", Role::Participant, at(2).now).unwrap();
        chat.change_role("g", "a", Role::Moderator).unwrap();
        chat.ban("g", "a", at(3).now).unwrap();
        assert_eq!(chat.members("g").count(), 0);
        let (user, former) = chat.banned("g").next().unwrap();
        assert_eq!((user.uid.as_str(), former.role), ("a", Role::Moderator));
        chat.unban("g", "a").unwrap();
        assert!(matches!(
            chat.unban("g", "a"),
            Err(ChatError::NotBanned { .. })
        ));
        assert!(matches!(
            chat.kick("g", "b"),
            Err(ChatError::NoMember { .. })
        ));
    }

    #[test]
    fn a_deleted_group_takes_its_members_and_messages_along() {
        let mut chat = chat_of(&["a"]);
        let before = chat.others();
        chat.create_group("g", GroupChange::named("G"), Some("a"), at(1))
            .unwrap();
        chat.send(Draft::text("a", Receiver::Group("g".into()), "hi"), at(2))
            .unwrap();
        chat.delete_group("G").unwrap();
        assert_eq!(chat.others(), before);
        assert!(chat.messages.is_empty());
    }
}
