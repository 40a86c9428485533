//! `/groups`, their members and who is banned.

use super::{Answer, Call, paged, searched, viewer};
use crate::demo::error::ChatError;
use crate::demo::input::Fields;
use crate::demo::shapes;
use crate::demo::state::{Chat, GroupChange, Role};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

pub(super) fn answer(chat: &mut Chat, call: &Call, method: &str, path: &[&str]) -> Option<Answer> {
    Some(match (method, path) {
        ("POST", ["groups"]) => create(chat, call),
        ("GET", ["groups"]) => list(chat, call),
        ("GET", ["groups", guid]) => get(chat, call, guid),
        ("PUT", ["groups", guid]) => update(chat, call, guid),
        ("DELETE", ["groups", guid]) => delete(chat, guid),
        ("POST", ["groups", guid, "members"]) => add_members(chat, call, guid),
        ("GET", ["groups", guid, "members"]) => members(chat, call, guid),
        ("PUT", ["groups", guid, "members", uid]) => change_role(chat, call, guid, uid),
        ("DELETE", ["groups", guid, "members", uid]) => kick(chat, guid, uid),
        ("GET", ["groups", guid, "bannedusers"]) => banned(chat, call, guid),
        ("POST", ["groups", guid, "bannedusers", uid]) => ban(chat, call, guid, uid),
        ("DELETE", ["groups", guid, "bannedusers", uid]) => unban(chat, guid, uid),
        _ => return None,
    })
}

fn change(fields: &mut Fields<'_>) -> GroupChange {
    GroupChange {
        name: fields.text("name", 100),
        kind: fields.choice("type", &["public", "password", "private"]),
        icon: fields.text("icon", 3000),
        description: fields.text("description", 1000),
        owner: fields.text("owner", 100),
        metadata: fields.object("metadata", 4096),
        tags: fields.texts("tags", 25),
        unset: fields.texts("unset", 3).unwrap_or_default(),
    }
}

/// Users to be added, by what they become; a user who is named twice becomes the higher.
struct Additions(Vec<(&'static str, Option<Role>, Vec<String>)>);

impl Additions {
    fn read(fields: &mut Fields<'_>) -> Self {
        let mut seen = BTreeSet::new();
        let lists = [
            ("admins", Some(Role::Admin)),
            ("moderators", Some(Role::Moderator)),
            ("participants", Some(Role::Participant)),
            ("usersToBan", None),
        ];
        let read = lists.map(|(name, role)| {
            let mut uids = fields.texts(name, 25).unwrap_or_default();
            uids.iter_mut().for_each(|uid| uid.make_ascii_lowercase());
            uids.retain(|uid| seen.insert(uid.clone()));
            (name, role, uids)
        });
        Additions(read.into())
    }

    fn carry_out(self, chat: &mut Chat, call: &Call, guid: &str) -> Value {
        let mut data = Map::new();
        for (name, role, uids) in self.0 {
            let each = uids.into_iter().map(|uid| {
                let outcome = match role {
                    Some(role) => chat.join(guid, &uid, role, call.at.now),
                    None => chat.ban(guid, &uid, call.at.now),
                };
                (uid, outcome.map(|()| json!({"success": true})))
            });
            let outcomes = shapes::outcomes(each);
            if !outcomes.is_empty() {
                data.insert(name.to_owned(), outcomes.into());
            }
        }
        data.into()
    }
}

fn create(chat: &mut Chat, call: &Call) -> Answer {
    let mut fields = Fields::of(&call.body);
    let guid = fields.identifier("guid");
    let change = change(&mut fields);
    if change.name.as_deref().is_none_or(str::is_empty) {
        fields.missing("name");
    }
    if change.kind.is_none() {
        fields.missing("type");
    }
    let password = fields.text("password", 100);
    if change.kind.as_deref() == Some("password") && password.is_none() {
        fields.missing("password");
    }
    let listed = fields.object("members", 16 * 1024).unwrap_or_default();
    fields.done()?;
    let mut listed = Fields::of(&listed);
    let additions = Additions::read(&mut listed);
    listed.done()?;

    let actor = viewer(call);
    chat.create_group(&guid, change, actor.as_deref(), call.at)?;
    let members = additions.carry_out(chat, call, &guid);
    let mut data = shapes::group(chat, chat.group(&guid)?, actor.as_deref());
    if members.as_object().is_some_and(|map| !map.is_empty()) {
        data["members"] = members;
    }
    Ok(data.into())
}

fn list(chat: &Chat, call: &Call) -> Answer {
    let viewer = viewer(call);
    let joined = |guid: &str| {
        let viewer = viewer.as_deref();
        viewer.is_some_and(|uid| chat.membership(guid, uid).is_some())
    };
    let query = &call.query;
    let found: Vec<_> = (chat.groups().into_iter())
        .filter(|group| query.text("type").is_none_or(|kind| kind == group.kind))
        .filter(|group| !query.flag("hasJoined") || joined(&group.guid))
        .filter(|group| {
            let tagged = |tags: &str| tags.split(',').any(|t| group.tags.iter().any(|u| u == t));
            query.text("tags").is_none_or(tagged)
        })
        .filter(|group| searched(call, &[&group.guid, &group.name]))
        .collect();
    paged(call, found, |group| {
        shapes::group(chat, group, viewer.as_deref())
    })
}

fn get(chat: &Chat, call: &Call, guid: &str) -> Answer {
    Ok(shapes::group(chat, chat.group(guid)?, viewer(call).as_deref()).into())
}

fn update(chat: &mut Chat, call: &Call, guid: &str) -> Answer {
    chat.group(guid)?;
    let mut fields = Fields::of(&call.body);
    let change = change(&mut fields);
    if change.name.as_deref() == Some("") {
        fields.refuse("name", "The name field must not be empty.");
    }
    fields.done()?;
    chat.update_group(guid, change, call.at.now)?;
    get(chat, call, guid)
}

fn delete(chat: &mut Chat, guid: &str) -> Answer {
    chat.delete_group(guid)?;
    Ok(shapes::success(format!("The group {guid} was deleted.")).into())
}

fn add_members(chat: &mut Chat, call: &Call, guid: &str) -> Answer {
    let guid = chat.group(guid)?.guid.clone();
    let mut fields = Fields::of(&call.body);
    let additions = Additions::read(&mut fields);
    if additions.0.iter().all(|(_, _, uids)| uids.is_empty()) {
        fields.missing("participants");
    }
    fields.done()?;
    Ok(additions.carry_out(chat, call, &guid).into())
}

fn members(chat: &Chat, call: &Call, guid: &str) -> Answer {
    let guid = &chat.group(guid)?.guid;
    let scopes = call.query.text("scopes").map(|s| s.split(','));
    let found = (chat.members(guid))
        .filter(|(_, member)| {
            let scopes = scopes.clone();
            scopes.is_none_or(|mut wanted| wanted.any(|s| Role::parse(s) == Some(member.role)))
        })
        .filter(|(user, _)| searched(call, &[&user.uid, &user.name]))
        .collect();
    paged(call, found, shapes::member)
}

fn change_role(chat: &mut Chat, call: &Call, guid: &str, uid: &str) -> Answer {
    let mut fields = Fields::of(&call.body);
    let scope = fields.choice("scope", &["participant", "moderator", "admin"]);
    let role = scope.as_deref().and_then(Role::parse);
    if role.is_none() {
        fields.missing("scope");
    }
    fields.done()?;
    let role = role.ok_or_else(|| ChatError::field("scope", "The scope field is required."))?;
    chat.change_role(guid, uid, role)?;
    let role = role.as_str();
    Ok(shapes::success(format!("The user {uid} is a {role} of the group {guid}.")).into())
}

fn kick(chat: &mut Chat, guid: &str, uid: &str) -> Answer {
    chat.kick(guid, uid)?;
    Ok(shapes::success(format!("The user {uid} left the group {guid}.")).into())
}

fn banned(chat: &Chat, call: &Call, guid: &str) -> Answer {
    let guid = &chat.group(guid)?.guid;
    paged(call, chat.banned(guid).collect(), shapes::banned)
}

fn ban(chat: &mut Chat, call: &Call, guid: &str, uid: &str) -> Answer {
    chat.ban(guid, uid, call.at.now)?;
    Ok(shapes::success(format!("The user {uid} is banned from the group {guid}.")).into())
}

fn unban(chat: &mut Chat, guid: &str, uid: &str) -> Answer {
    chat.unban(guid, uid)?;
    Ok(shapes::success(format!(
        "The user {uid} is no longer banned from the group {guid}."
    ))
    .into())
}
