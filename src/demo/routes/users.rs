//! `/me`, `/users` and what hangs below a user: auth tokens, the block list, friends.

use super::{Answer, Call, paged, searched, viewer};
use crate::demo::error::ChatError;
use crate::demo::input::Fields;
use crate::demo::shapes;
use crate::demo::state::{Chat, UserChange};
use serde_json::{Value, json};

pub(super) fn answer(chat: &mut Chat, call: &Call, method: &str, path: &[&str]) -> Option<Answer> {
    Some(match (method, path) {
        ("PUT", ["me"]) => log_in(chat, call),
        ("POST", ["users"]) => create(chat, call),
        ("GET", ["users"]) => list(chat, call),
        ("PUT", ["users"]) => reactivate(chat, call),
        ("DELETE", ["users"]) => deactivate(chat, call),
        ("GET", ["users", uid]) => get(chat, call, uid),
        ("PUT", ["users", uid]) => update(chat, call, uid),
        ("DELETE", ["users", uid]) => delete(chat, call, uid),
        ("POST", ["users", uid, "auth_tokens"]) => create_token(chat, call, uid),
        ("GET", ["users", uid, "auth_tokens"]) => tokens(chat, call, uid),
        ("DELETE", ["users", uid, "auth_tokens"]) => delete_tokens(chat, uid),
        ("GET", ["users", uid, "auth_tokens", token]) => get_token(chat, uid, token),
        ("PUT", ["users", uid, "auth_tokens", token]) => update_token(chat, call, uid, token),
        ("DELETE", ["users", uid, "auth_tokens", token]) => delete_token(chat, uid, token),
        ("POST", ["users", uid, "blockedusers"]) => block(chat, call, uid),
        ("GET", ["users", uid, "blockedusers"]) => blocked(chat, call, uid),
        ("DELETE", ["users", uid, "blockedusers"]) => unblock(chat, call, uid),
        ("POST", ["users", uid, "friends"]) => befriend(chat, call, uid),
        ("GET", ["users", uid, "friends"]) => friends(chat, call, uid),
        ("DELETE", ["users", uid, "friends"]) => unfriend(chat, call, uid),
        _ => return None,
    })
}

fn change(fields: &mut Fields<'_>) -> UserChange {
    UserChange {
        name: fields.text("name", 100),
        avatar: fields.text("avatar", 3000),
        link: fields.text("link", 3000),
        role: fields.text("role", 100),
        status_message: fields.text("statusMessage", 500),
        metadata: fields.object("metadata", 4096),
        tags: fields.texts("tags", 25),
        unset: fields.texts("unset", 3).unwrap_or_default(),
    }
}

fn create(chat: &mut Chat, call: &Call) -> Answer {
    let mut fields = Fields::of(&call.body);
    let uid = fields.identifier("uid");
    let with_token = fields.flag("withAuthToken");
    let change = change(&mut fields);
    if change.name.as_deref().is_none_or(str::is_empty) {
        fields.missing("name");
    }
    fields.done()?;

    let mut data = shapes::user(chat.create_user(&uid, change, call.at)?, None);
    if with_token {
        data["authToken"] = chat.create_token(&uid, call.at)?.token.clone().into();
    }
    Ok(data.into())
}

fn list(chat: &Chat, call: &Call) -> Answer {
    let query = &call.query;
    let viewer = viewer(call);
    let found: Vec<_> = (chat.users().into_iter())
        .filter(|user| match user.deactivated_at {
            Some(_) => query.flag("withDeactivated") || query.flag("onlyDeactivated"),
            None => !query.flag("onlyDeactivated"),
        })
        .filter(|user| query.text("role").is_none_or(|role| role == user.role))
        .filter(|user| {
            let tagged = |tags: &str| tags.split(',').any(|t| user.tags.iter().any(|u| u == t));
            query.text("tags").is_none_or(tagged)
        })
        .filter(|user| searched(call, &[&user.uid, &user.name]))
        .collect();
    paged(call, found, |user| shapes::user(user, viewer.as_deref()))
}

fn get(chat: &Chat, call: &Call, uid: &str) -> Answer {
    Ok(shapes::user(chat.user(uid)?, viewer(call).as_deref()).into())
}

fn update(chat: &mut Chat, call: &Call, uid: &str) -> Answer {
    chat.user(uid)?;
    let mut fields = Fields::of(&call.body);
    let change = change(&mut fields);
    if change.name.as_deref() == Some("") {
        fields.refuse("name", "The name field must not be empty.");
    }
    fields.done()?;
    Ok(shapes::user(chat.update_user(uid, change, call.at.now)?, None).into())
}

fn delete(chat: &mut Chat, call: &Call, uid: &str) -> Answer {
    let mut fields = Fields::of(&call.body);
    let permanent = fields.flag("permanent");
    fields.done()?;
    let uid = uid.to_ascii_lowercase();
    if permanent {
        chat.delete_user(&uid)?;
    } else if !chat.deactivate(&uid, call.at.now) {
        return Err(ChatError::NoUser(uid));
    }
    Ok(shapes::success(format!("The user {uid} was deleted.")).into())
}

fn uids(call: &Call, field: &str) -> Result<Vec<String>, ChatError> {
    let mut fields = Fields::of(&call.body);
    let listed = fields.texts(field, 100);
    if listed.is_none() {
        fields.missing(field);
    }
    fields.done()?;
    let mut listed = listed.unwrap_or_default();
    listed.iter_mut().for_each(|uid| uid.make_ascii_lowercase());
    Ok(listed)
}

fn deactivate(chat: &mut Chat, call: &Call) -> Answer {
    let mut done = uids(call, "uidsToDeactivate")?;
    done.retain(|uid| chat.deactivate(uid, call.at.now));
    Ok(json!({"deactivatedUids": done}).into())
}

fn reactivate(chat: &mut Chat, call: &Call) -> Answer {
    let mut done = uids(call, "uidsToActivate")?;
    done.retain(|uid| chat.reactivate(uid));
    Ok(json!({"nonDeactivatedUids": done}).into())
}

fn log_in(chat: &Chat, call: &Call) -> Answer {
    let (user, token) = chat.logged_in(call.auth_token.as_deref())?;
    let mut data = shapes::user(user, None);
    data["authToken"] = token.token.clone().into();
    Ok(data.into())
}

fn create_token(chat: &mut Chat, call: &Call, uid: &str) -> Answer {
    Ok(shapes::auth_token(chat.create_token(uid, call.at)?).into())
}

fn tokens(chat: &Chat, call: &Call, uid: &str) -> Answer {
    paged(call, chat.tokens(uid)?, shapes::auth_token)
}

fn get_token(chat: &mut Chat, uid: &str, token: &str) -> Answer {
    Ok(shapes::auth_token(chat.token(uid, token)?).into())
}

fn update_token(chat: &mut Chat, call: &Call, uid: &str, token: &str) -> Answer {
    let mut fields = Fields::of(&call.body);
    let platform = fields.text("platform", 100).map(Value::from);
    let user_agent = fields.text("userAgent", 1000).map(Value::from);
    let app_info = fields.object("appInfo", 4096).map(Value::from);
    fields.done()?;
    let token = chat.token(uid, token)?;
    for (name, value) in [
        ("platform", platform),
        ("userAgent", user_agent),
        ("appInfo", app_info),
    ] {
        (token.client).extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(shapes::auth_token(token).into())
}

fn delete_token(chat: &mut Chat, uid: &str, token: &str) -> Answer {
    chat.delete_token(uid, token)?;
    Ok(shapes::success(format!("An auth token of the user {uid} was deleted.")).into())
}

fn delete_tokens(chat: &mut Chat, uid: &str) -> Answer {
    chat.delete_tokens(uid)?;
    Ok(shapes::success(format!("All auth tokens of the user {uid} were deleted.")).into())
}

/// Does something for each user that a field of the body lists, and tells what became of each.
fn for_each(
    call: &Call,
    field: &str,
    mut act: impl FnMut(&str) -> Result<String, ChatError>,
) -> Result<Value, ChatError> {
    let listed = uids(call, field)?;
    let each = listed.into_iter().map(|whom| {
        let outcome = act(&whom).map(shapes::success);
        (whom, outcome)
    });
    Ok(shapes::outcomes(each).into())
}

fn block(chat: &mut Chat, call: &Call, uid: &str) -> Answer {
    let uid = chat.user(uid)?.uid.clone();
    let outcomes = for_each(call, "blockedUids", |whom| {
        chat.block(&uid, whom, call.at.now)?;
        Ok(format!("The user {uid} blocks the user {whom}."))
    })?;
    Ok(outcomes.into())
}

fn unblock(chat: &mut Chat, call: &Call, uid: &str) -> Answer {
    let uid = chat.user(uid)?.uid.clone();
    let outcomes = for_each(call, "blockedUids", |whom| {
        chat.user(whom)?;
        Ok(match chat.unblock(&uid, whom) {
            true => format!("The user {uid} no longer blocks the user {whom}."),
            false => format!("The user {uid} did not block the user {whom}."),
        })
    })?;
    Ok(outcomes.into())
}

fn blocked(chat: &Chat, call: &Call, uid: &str) -> Answer {
    let uid = &chat.user(uid)?.uid;
    let found = chat.blocked_by(uid).collect();
    paged(call, found, |(whom, since)| {
        shapes::blocked(whom, since, uid)
    })
}

fn befriend(chat: &mut Chat, call: &Call, uid: &str) -> Answer {
    let uid = chat.user(uid)?.uid.clone();
    let outcomes = for_each(call, "accepted", |whom| {
        chat.befriend(&uid, whom, call.at.now)?;
        Ok(format!("The users {uid} and {whom} are friends."))
    })?;
    Ok(json!({"accepted": outcomes}).into())
}

fn unfriend(chat: &mut Chat, call: &Call, uid: &str) -> Answer {
    let uid = chat.user(uid)?.uid.clone();
    let outcomes = for_each(call, "friends", |whom| {
        chat.user(whom)?;
        Ok(match chat.unfriend(&uid, whom) {
            true => format!("The users {uid} and {whom} are no longer friends."),
            false => format!("The users {uid} and {whom} were no friends."),
        })
    })?;
    Ok(outcomes.into())
}

fn friends(chat: &Chat, call: &Call, uid: &str) -> Answer {
    let uid = &chat.user(uid)?.uid;
    let found: Vec<_> = chat.friends_of(uid).collect();
    paged(call, found, |friend| shapes::user(friend, Some(uid)))
}
