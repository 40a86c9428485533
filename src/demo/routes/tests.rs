//! The API as a client sees it, without a socket between.

use super::super::state::Limits;
use super::*;
use crate::clock::Timestamp;

struct Client {
    chat: Chat,
    clock: i64,
}

impl Client {
    fn new() -> Self {
        Client {
            chat: Chat::new(Limits::default()),
            clock: 1000,
        }
    }

    /// A client of a chat with these users.
    fn with(uids: &[&str]) -> Self {
        let mut client = Client::new();
        for uid in uids {
            client.ok(
                "POST /v3/users",
                json!({"uid": uid, "name": format!("The {uid}")}),
            );
        }
        client
    }

    fn call_as(&mut self, actor: Option<&str>, request: &str, body: Value) -> Answer {
        let (method, target) = request.split_once(' ').expect("METHOD target");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        self.clock += 1;
        answer(
            &mut self.chat,
            &Call {
                method: method.parse().expect(method),
                path: path.to_owned(),
                query: Query::parse(query),
                on_behalf_of: actor.map(str::to_owned),
                auth_token: None,
                body: body.as_object().cloned().unwrap_or_default(),
                at: Moment {
                    now: Timestamp::from_unix_seconds(self.clock),
                    random: 7,
                },
            },
        )
    }

    fn ok(&mut self, request: &str, body: Value) -> Value {
        self.call_as(None, request, body).expect(request).data
    }

    fn ok_as(&mut self, actor: &str, request: &str, body: Value) -> Value {
        self.call_as(Some(actor), request, body)
            .expect(request)
            .data
    }

    fn refused(&mut self, request: &str, body: Value) -> (u16, &'static str) {
        let error = self.call_as(None, request, body).expect_err(request);
        let (status, code) = error.kind();
        (status.as_u16(), code)
    }
}

#[test]
fn a_user_is_made_found_listed_changed_and_deleted() {
    let mut client = Client::new();
    let body = json!({"uid": "cyclops", "name": "Scott", "tags": ["x-men"]});
    let made = client.ok("POST /v3/users", body.clone());
    assert_eq!(made["createdAt"], 1001);
    assert_eq!(
        client.refused("POST /v3.0/users", body),
        (400, "ERR_UID_ALREADY_EXISTS")
    );
    assert_eq!(client.ok("GET /v3/users/cyclops", json!({})), made);
    let listed = client
        .call_as(None, "GET /v3/users?searchKey=SCO", json!({}))
        .unwrap();
    assert_eq!(listed.data[0]["uid"], "cyclops");
    let pagination = json!({"pagination": {"total": 1, "count": 1, "per_page": 100, "current_page": 1, "total_pages": 1}});
    assert_eq!(listed.meta, Some(pagination));
    let changed = client.ok("PUT /v3/users/cyclops", json!({"name": "Summers"}));
    assert_eq!(
        (&changed["name"], &changed["tags"][0]),
        (&json!("Summers"), &json!("x-men"))
    );
    let gone = client.ok("DELETE /v3/users/cyclops", json!({"permanent": true}));
    assert_eq!(gone["success"], true);
    assert_eq!(
        client.refused("GET /v3/users/cyclops", json!({})),
        (404, "ERR_UID_NOT_FOUND")
    );
}

#[test]
fn users_are_deactivated_and_reactivated_in_numbers() {
    let mut client = Client::with(&["a", "b"]);
    let data = client.ok("DELETE /v3/users", json!({"uidsToDeactivate": ["a", "x"]}));
    assert_eq!(data["deactivatedUids"], json!(["a"]));
    assert_eq!(
        client
            .ok("GET /v3/users", json!({}))
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let only = client.ok("GET /v3/users?onlyDeactivated=true", json!({}));
    assert_eq!(only[0]["uid"], "a");
    client.ok("PUT /v3/users", json!({"uidsToActivate": ["a"]}));
    client.ok("GET /v3/users/a", json!({}));
}

#[test]
fn a_message_is_sent_found_listed_changed_and_deleted() {
    let mut client = Client::with(&["a", "b"]);
    let body = json!({"receiver": "b", "receiverType": "user", "category": "message", "type": "text", "data": {"text": "hi"}});
    let sent = client.ok_as("a", "POST /v3/messages", body);
    assert_eq!(
        (&sent["sender"], &sent["conversationId"]),
        (&json!("a"), &json!("a_user_b"))
    );
    let entities = &sent["data"]["entities"];
    assert_eq!(entities["receiver"]["entity"]["name"], "The b");
    let path = format!("/v3/messages/{}", sent["id"].as_str().unwrap());
    assert_eq!(client.ok(&format!("GET {path}"), json!({})), sent);
    let edited = client.ok_as("a", &format!("PUT {path}"), json!({"data": {"text": "ho"}}));
    let on = &edited["data"]["entities"]["on"]["entity"];
    assert_eq!(
        (&on["data"]["text"], &on["editedBy"]),
        (&json!("ho"), &json!("a"))
    );
    let listed = client.ok_as("b", "GET /v3/users/a/messages", json!({}));
    assert_eq!(listed[0]["data"]["text"], "ho");
    let deleted = client.ok(&format!("DELETE {path}"), json!({}));
    assert_eq!(deleted["data"]["action"], "deleted");
    assert_eq!(
        client.refused(&format!("GET {path}"), json!({})),
        (404, "ERR_MESSAGE_ID_NOT_FOUND")
    );
}

#[test]
fn a_list_of_messages_is_walked_both_ways_by_its_cursor() {
    let mut client = Client::with(&["a", "b"]);
    for text in ["1", "2", "3", "4", "5"] {
        let body = json!({"receiver": "b", "receiverType": "user", "data": {"text": text}});
        client.ok_as("a", "POST /v3/messages", body);
    }
    let mut walk = |affix: &str| {
        let mut texts = Vec::new();
        let mut from = String::new();
        loop {
            let request = format!("GET /v3/messages?limit=2&affix={affix}{from}");
            let reply = client.call_as(None, &request, json!({})).unwrap();
            let page = reply.data.as_array().unwrap().clone();
            let Some(next) = reply.meta.as_ref().and_then(|meta| meta.get("next")) else {
                return texts;
            };
            from = format!("&id={}", next["id"].as_str().unwrap());
            let page: Vec<String> = page
                .iter()
                .map(|m| m["data"]["text"].as_str().unwrap().to_owned())
                .collect();
            texts.push(page.concat());
        }
    };
    assert_eq!(walk("append"), ["12", "34", "5"]);
    assert_eq!(walk("prepend"), ["45", "23", "1"]);
}

#[test]
fn a_group_has_members_roles_bans_and_messages() {
    let mut client = Client::with(&["a", "b", "c"]);
    let body =
        json!({"guid": "g", "name": "G", "type": "public", "members": {"participants": ["b"]}});
    let made = client.ok_as("a", "POST /v3/groups", body);
    assert_eq!(
        (&made["owner"], &made["scope"], &made["membersCount"]),
        (&json!("a"), &json!("admin"), &json!(2))
    );
    let added = client.ok(
        "POST /v3/groups/g/members",
        json!({"moderators": ["c"], "participants": ["c", "x"]}),
    );
    assert_eq!(added["moderators"]["c"]["success"], true);
    assert!(
        added["participants"].get("c").is_none(),
        "the higher counts"
    );
    let unknown = &added["participants"]["x"]["error"]["code"];
    assert_eq!(unknown, "ERR_UID_NOT_FOUND");
    client.ok("PUT /v3/groups/g/members/b", json!({"scope": "admin"}));
    client.ok("POST /v3/groups/g/bannedusers/c", json!({}));
    let members = client.ok("GET /v3/groups/g/members", json!({}));
    let roles: Vec<_> = members
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (m["uid"].clone(), m["scope"].clone()))
        .collect();
    assert_eq!(
        roles,
        [(json!("a"), json!("admin")), (json!("b"), json!("admin"))]
    );
    assert_eq!(
        client.ok("GET /v3/groups/g/bannedusers", json!({}))[0]["uid"],
        "c"
    );
    let body = json!({"receiver": "g", "receiverType": "group", "data": {"text": "hi"}});
    client.ok_as("b", "POST /v3/messages", body);
    let conversations = client.ok_as("a", "GET /v3/conversations", json!({}));
    assert_eq!(conversations[0]["conversationId"], "group_g");
    assert_eq!(conversations[0]["unreadMessageCount"], "1");
    client.ok("DELETE /v3/groups/g", json!({}));
    assert_eq!(
        client.refused("GET /v3/groups/g", json!({})),
        (404, "ERR_GUID_NOT_FOUND")
    );
}

#[test]
fn a_conversation_is_read_tagged_and_deleted_by_one_of_the_two() {
    let mut client = Client::with(&["a", "b"]);
    let body = json!({"receiver": "b", "receiverType": "user", "data": {"text": "hi"}});
    client.ok_as("a", "POST /v3/messages", body);
    let path = "/v3/users/a/conversation";
    assert_eq!(
        client.ok_as("b", &format!("GET {path}"), json!({}))["unreadMessageCount"],
        "1"
    );
    client.ok_as("b", &format!("POST {path}/read"), json!({}));
    let tagged = client.ok_as("b", &format!("PUT {path}"), json!({"tags": ["later"]}));
    assert_eq!(
        (&tagged["unreadMessageCount"], &tagged["tags"][0]),
        (&json!("0"), &json!("later"))
    );
    client.ok_as("b", &format!("DELETE {path}"), json!({}));
    let gone = client.call_as(Some("b"), &format!("GET {path}"), json!({}));
    assert_eq!(gone.unwrap_err().kind().1, "ERR_CONVERSATION_NOT_FOUND");
    client.ok_as("a", "GET /v3/conversations/a_user_b", json!({}));
}

#[test]
fn reactions_are_emoji_in_the_path() {
    let mut client = Client::with(&["a", "b"]);
    let body = json!({"receiver": "b", "receiverType": "user", "data": {"text": "hi"}});
    let sent = client.ok_as("a", "POST /v3/messages", body);
    let path = format!("/v3/messages/{}/reactions", sent["id"].as_str().unwrap());
    let reacted = client.ok_as("b", &format!("POST {path}/%F0%9F%98%8A"), json!({}));
    assert_eq!(
        reacted["data"]["reactions"],
        json!([{"reaction": "\u{1f60a}", "count": 1}])
    );
    assert_eq!(client.ok(&format!("GET {path}"), json!({}))[0]["uid"], "b");
    client.ok_as("b", &format!("DELETE {path}/%F0%9F%98%8A"), json!({}));
    assert_eq!(client.ok(&format!("GET {path}"), json!({})), json!([]));
}

#[test]
fn what_is_wrong_is_refused_with_the_code_of_the_real_api() {
    let mut client = Client::with(&["a"]);
    client.ok(
        "POST /v3/groups",
        json!({"guid": "g", "name": "G", "type": "public"}),
    );
    let message = json!({"receiver": "x", "receiverType": "user", "data": {"text": "hi"}});
    for (request, body, expected) in [
        ("GET /v3/nothing", json!({}), (404, "ERR_API_NOT_FOUND")),
        ("GET /users", json!({}), (404, "ERR_API_NOT_FOUND")),
        ("PATCH /v3/users/a", json!({}), (404, "ERR_API_NOT_FOUND")),
        ("GET /v3/users/x", json!({}), (404, "ERR_UID_NOT_FOUND")),
        ("PUT /v3/users/x", json!({}), (404, "ERR_UID_NOT_FOUND")),
        ("DELETE /v3/users/x", json!({}), (404, "ERR_UID_NOT_FOUND")),
        (
            "POST /v3/users/x/auth_tokens",
            json!({}),
            (404, "ERR_UID_NOT_FOUND"),
        ),
        (
            "GET /v3/users/a/auth_tokens/t",
            json!({}),
            (404, "ERR_AUTH_TOKEN_NOT_FOUND"),
        ),
        (
            "PUT /v3/me",
            json!({}),
            (401, "AUTH_ERR_AUTH_TOKEN_NOT_FOUND"),
        ),
        (
            "POST /v3/users",
            json!({"uid": "b"}),
            (400, "ERR_BAD_REQUEST"),
        ),
        (
            "GET /v3/users?perPage=0",
            json!({}),
            (400, "ERR_BAD_REQUEST"),
        ),
        (
            "POST /v3/groups",
            json!({"guid": "g", "name": "G", "type": "public"}),
            (400, "ERR_GUID_ALREADY_EXISTS"),
        ),
        (
            "POST /v3/groups",
            json!({"guid": "h", "name": "H", "type": "open"}),
            (400, "ERR_BAD_REQUEST"),
        ),
        (
            "PUT /v3/groups/g/members/a",
            json!({"scope": "admin"}),
            (404, "ERR_NOT_A_MEMBER"),
        ),
        (
            "DELETE /v3/groups/g/bannedusers/a",
            json!({}),
            (404, "ERR_NOT_BANNED_USER"),
        ),
        ("POST /v3/messages", message, (404, "ERR_UID_NOT_FOUND")),
        ("POST /v3/messages", json!({}), (400, "ERR_BAD_REQUEST")),
        (
            "GET /v3/messages/x",
            json!({}),
            (404, "ERR_MESSAGE_ID_NOT_FOUND"),
        ),
        (
            "GET /v3/users/a/conversation",
            json!({}),
            (400, "ERR_BAD_REQUEST"),
        ),
    ] {
        assert_eq!(client.refused(request, body), expected, "{request}");
    }
    let stranger = client.call_as(Some("x"), "GET /v3/users", json!({}));
    assert_eq!(stranger.unwrap_err().kind().1, "ERR_UID_NOT_FOUND");
}
