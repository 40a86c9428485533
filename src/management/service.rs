//! Act: a request that was read whole is carried out, in the name of the key that asked.

use super::error::ManagementError;
use super::json;
use super::request::Request;
use super::{Answer, Call, Settings};
use crate::key::{Actor, Command, Origin, StoredKey};
use crate::keycache::Keys;
use std::sync::Arc;

/// Answers a request to the management API. What it changed is committed, and in force, when this returns.
///
/// # Errors
/// See [`ManagementError`]. Only with [`ManagementError::StoreUnavailable`] can it be that a change was made.
pub async fn answer(
    call: Call<'_>,
    keys: &Keys,
    settings: &Settings,
) -> Result<Answer, ManagementError> {
    let request = Request::read(&call, settings, keys.digester())?;
    let desk = Desk {
        call: &call,
        keys,
        settings,
    };
    let body = match request {
        Request::Create(new) => json::one(&desk.execute(Command::Create(new), "").await?),
        Request::List(query) => {
            let page = keys.list(&desk.actor(), &query).await;
            let page = page.map_err(|error| ManagementError::of(error, ""))?;
            json::list(&page, query.page, query.per_page)
        }
        Request::Get(selector) => {
            let found = keys.get(&desk.actor(), &selector).await;
            json::one(&found.map_err(|error| ManagementError::of(error, &selector.shown))?)
        }
        Request::Update(selector, change) => {
            let shown = selector.shown.clone();
            let command = Command::Update(selector, change);
            json::one(&desk.execute(command, &shown).await?)
        }
        Request::Delete(selector) => {
            let shown = selector.shown.clone();
            json::deleted(&desk.execute(Command::Delete(selector), &shown).await?)
        }
    };
    Ok(Answer { body })
}

/// One call, and where it is carried out.
struct Desk<'a> {
    call: &'a Call<'a>,
    keys: &'a Keys,
    settings: &'a Settings,
}

impl Desk<'_> {
    /// The key that asks, under the policy of the request's snapshot.
    fn actor(&self) -> Actor {
        Actor::Key(Arc::clone(&self.settings.authority), self.call.actor)
    }

    /// Carries out a change; `shown` is how an error may name its key.
    async fn execute(&self, command: Command, shown: &str) -> Result<StoredKey, ManagementError> {
        let origin = Origin {
            actor: self.actor(),
            client: self.call.client,
            request_id: Some(self.call.request_id.to_owned()),
        };
        self.keys
            .execute(command, origin, self.settings.reveal)
            .await
            .map_err(|error| ManagementError::of(error, shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::key::{ApiKey, Authority, KeyId, KeyName, NewKey, Reveal, ScopeName, Scopes};
    use crate::management::ContentType;
    use crate::policy::ManagementOp;
    use crate::store::{self, AuditQuery, KeyStore, OpenMode, OpenOptions};
    use bytes::Bytes;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;
    use tempfile::TempDir;

    /// A store with two keys that may manage others, `root` above `fullAccess` above `authOnly`.
    struct House {
        keys: Keys,
        store: Arc<dyn KeyStore>,
        settings: Settings,
        root: StoredKey,
        full: StoredKey,
        _folder: TempDir,
    }

    impl House {
        async fn build(reveal: Reveal) -> House {
            let folder = tempfile::tempdir().unwrap();
            let store = store::open(OpenOptions {
                path: folder.path().join("keys.db"),
                secret_file: folder.path().join("master"),
                secret_env: None,
                mode: OpenMode::CreateOrMigrate,
            })
            .await
            .unwrap();
            let keys = Keys::start(Arc::clone(&store)).await.unwrap();
            let [auth, full, root] = ["authOnly", "fullAccess", "root"].map(scope);
            let scopes = Scopes::new(&BTreeMap::from([
                (auth.clone(), vec![]),
                (full.clone(), vec![auth.clone()]),
                (root, vec![full.clone()]),
            ]));
            let authority = Authority {
                scopes: scopes.unwrap(),
                management: full,
            };
            let root = by_operator(&keys, "root", "root").await;
            let full = by_operator(&keys, "full", "fullAccess").await;
            House {
                keys,
                store,
                settings: Settings {
                    authority: Arc::new(authority),
                    default_scope: Some(auth),
                    reveal,
                },
                root,
                full,
                _folder: folder,
            }
        }

        /// Asks as the key `asking`; the answer's JSON.
        async fn ask_as(
            &self,
            asking: &StoredKey,
            op: ManagementOp,
            rest: (Option<&str>, Option<&str>, &str),
        ) -> Result<Value, ManagementError> {
            let (selector, query, body) = rest;
            let call = Call {
                op,
                selector,
                query,
                content_type: ContentType::Absent,
                body: Bytes::copy_from_slice(body.as_bytes()),
                actor: asking.record.id,
                client: Some(crate::net::Peer::Ip([192, 0, 2, 7].into())),
                request_id: "request-1",
                now: Timestamp::now(),
            };
            let answer = answer(call, &self.keys, &self.settings).await?;
            Ok(serde_json::from_slice(&answer.body).unwrap())
        }

        async fn create(&self, body: &str) -> Result<Value, ManagementError> {
            let rest = (None, None, body);
            self.ask_as(&self.full, ManagementOp::Create, rest).await
        }

        async fn list(&self, query: &str) -> Result<Value, ManagementError> {
            let rest = (None, Some(query), "");
            self.ask_as(&self.full, ManagementOp::List, rest).await
        }

        async fn get(&self, key: &str) -> Result<Value, ManagementError> {
            let rest = (Some(key), None, "");
            self.ask_as(&self.full, ManagementOp::Get, rest).await
        }

        async fn update(&self, key: &str, body: &str) -> Result<Value, ManagementError> {
            let rest = (Some(key), None, body);
            self.ask_as(&self.full, ManagementOp::Update, rest).await
        }

        async fn delete(&self, key: &str) -> Result<Value, ManagementError> {
            let rest = (Some(key), None, "");
            self.ask_as(&self.full, ManagementOp::Delete, rest).await
        }

        fn opens(&self, key: &str) -> bool {
            let cache = self.keys.cache();
            cache.identify(key.as_bytes(), Timestamp::now).is_ok()
        }
    }

    fn scope(text: &str) -> ScopeName {
        ScopeName::parse(text).unwrap()
    }

    async fn by_operator(keys: &Keys, name: &str, scope_name: &str) -> StoredKey {
        let new = NewKey {
            name: KeyName::parse(name).unwrap(),
            scope: scope(scope_name),
            enabled: true,
            expires_at: None,
            brought: None,
            if_absent: false,
        };
        let origin = Origin {
            actor: Actor::Operator,
            client: None,
            request_id: None,
        };
        let made = keys.execute(Command::Create(new), origin, Reveal::Always);
        made.await.ok().unwrap()
    }

    fn text<'a>(answer: &'a Value, field: &str) -> &'a str {
        answer["data"][field].as_str().unwrap()
    }

    fn names(answer: &Value) -> Vec<&str> {
        let keys = answer["data"].as_array().unwrap();
        keys.iter()
            .map(|key| key["name"].as_str().unwrap())
            .collect()
    }

    fn whole(key: &StoredKey) -> &str {
        match &key.shown {
            crate::key::ShownKey::Whole(key) => key.expose(),
            crate::key::ShownKey::Masked(_) => panic!("a key that was just made is whole"),
        }
    }

    #[tokio::test]
    async fn a_key_lives_from_create_to_delete() {
        let house = House::build(Reveal::Always).await;
        let made = house
            .create(r#"{"name":"one","expiresAt":4102444799}"#)
            .await
            .unwrap();
        let (key, id) = (text(&made, "apiKey"), text(&made, "id"));
        assert!(ApiKey::check(key.as_bytes()).is_ok() && id.parse::<KeyId>().is_ok());
        assert_eq!(made["data"]["scope"], "authOnly");
        assert_eq!(made["data"]["enabled"], true);
        assert_eq!(made["data"]["expiresAt"], 4_102_444_799_i64);
        assert!(house.opens(key), "in force when it is answered");

        assert_eq!(house.get(id).await.unwrap(), made, "by its id");
        assert_eq!(house.get(key).await.unwrap(), made, "by itself");
        assert_eq!(house.update(id, "{}").await.unwrap(), made);

        let off = house
            .update(key, r#"{"enabled":false,"expiresAt":null,"name":"two"}"#)
            .await
            .unwrap();
        assert_eq!(off["data"]["enabled"], false);
        assert_eq!(off["data"]["expiresAt"], Value::Null);
        assert_eq!(off["data"]["name"], "two");
        assert_eq!(off["data"]["createdAt"], made["data"]["createdAt"]);
        assert!(!house.opens(key), "off when it is answered");
        assert_eq!(house.get(id).await.unwrap(), off);

        house.update(id, r#"{"enabled":true}"#).await.unwrap();
        assert!(house.opens(key));
        let gone = house.delete(id).await.unwrap();
        assert_eq!(gone["data"]["success"], true);
        assert!(text(&gone, "message").contains(&crate::key::mask(key)));
        assert!(!gone.to_string().contains(key));
        assert!(!house.opens(key), "gone when it is answered");
        for named in [id, key] {
            let Err(ManagementError::KeyNotFound { shown }) = house.get(named).await else {
                panic!("{named} is gone");
            };
            assert_eq!(shown, crate::key::mask(named));
        }
    }

    #[tokio::test]
    async fn with_reveal_once_only_create_shows_the_key() {
        let house = House::build(Reveal::Once).await;
        let made = house.create(r#"{"name":"one"}"#).await.unwrap();
        let (key, id) = (text(&made, "apiKey"), text(&made, "id"));
        assert!(house.opens(key));
        let shown = house.get(id).await.unwrap();
        assert_eq!(text(&shown, "apiKey"), crate::key::mask(key));
        let list = house.list("searchKey=one").await.unwrap();
        assert_eq!(list["data"][0], shown["data"]);
        assert_eq!(house.get(key).await.unwrap(), shown);
    }

    #[tokio::test]
    async fn a_list_is_newest_first_filtered_and_cut_into_pages() {
        let house = House::build(Reveal::Always).await;
        for name in ["Rest 1", "rest_2", "100%"] {
            house
                .create(&json!({ "name": name }).to_string())
                .await
                .unwrap();
        }
        for (query, expected, total) in [
            ("", &["100%", "rest_2", "Rest 1", "full"][..], 4),
            ("scope=authOnly", &["100%", "rest_2", "Rest 1"], 3),
            ("scope=fullAccess", &["full"], 1),
            ("searchKey=REST", &["rest_2", "Rest 1"], 2),
            ("searchKey=%25", &["100%"], 1),
            ("searchKey=_", &["rest_2"], 1),
            ("searchKey=rest+1", &["Rest 1"], 1),
            ("perPage=3", &["100%", "rest_2", "Rest 1"], 4),
            ("perPage=3&page=2", &["full"], 4),
            ("perPage=3&page=3", &[], 4),
            ("page=9007199254740991&perPage=1000", &[], 4),
        ] {
            let list = house.list(query).await.unwrap();
            assert_eq!(names(&list), expected, "{query}");
            let pagination = &list["meta"]["pagination"];
            assert_eq!(pagination["total"], total, "{query}");
            assert_eq!(pagination["count"], expected.len(), "{query}");
        }
    }

    #[tokio::test]
    async fn a_key_acts_downwards_only() {
        let house = House::build(Reveal::Always).await;
        let above = house.root.record.id;
        let above = above.as_str();
        let refused = [
            house.create(r#"{"name":"x","scope":"root"}"#).await,
            house.get(above).await,
            house.get(whole(&house.root)).await,
            house.update(above, r#"{"name":"x"}"#).await,
            house.update(above, "{}").await,
            house.delete(above).await,
        ];
        for (number, answer) in refused.iter().enumerate() {
            assert!(
                matches!(answer, Err(ManagementError::TargetAbove)),
                "{number}"
            );
        }
        let low = house.create(r#"{"name":"low"}"#).await.unwrap();
        let lifted = house.update(text(&low, "id"), r#"{"scope":"root"}"#).await;
        assert!(matches!(lifted, Err(ManagementError::TargetAbove)));
        assert_eq!(names(&house.list("").await.unwrap()), ["low", "full"]);
        let none = house.list("scope=root").await.unwrap();
        assert_eq!(
            names(&none),
            Vec::<&str>::new(),
            "what is above is left out"
        );

        let all = house
            .ask_as(&house.root, ManagementOp::List, (None, None, ""))
            .await;
        assert_eq!(names(&all.unwrap()), ["low", "full", "root"]);
    }

    #[tokio::test]
    async fn a_key_cannot_change_or_delete_itself_in_any_spelling() {
        let house = House::build(Reveal::Always).await;
        let key = whole(&house.full);
        let encoded: String = key.bytes().map(|b| format!("%{b:02X}")).collect();
        for named in [key, house.full.record.id.as_str(), &encoded] {
            for answer in [
                house.update(named, r#"{"name":"x"}"#).await,
                house.update(named, "{}").await,
                house.delete(named).await,
            ] {
                assert!(
                    matches!(answer, Err(ManagementError::SelfAction { .. })),
                    "{named}"
                );
            }
            assert!(house.get(named).await.is_ok(), "looking is no change");
        }
    }

    #[tokio::test]
    async fn a_key_that_lost_its_power_meanwhile_changes_nothing() {
        for (change, gone) in [
            (r#"{"enabled":false}"#, true),
            (r#"{"scope":"authOnly"}"#, false),
        ] {
            let house = House::build(Reveal::Always).await;
            let low = house.create(r#"{"name":"low"}"#).await.unwrap();
            let low = text(&low, "id");
            let rest = (Some(house.full.record.id.as_str()), None, change);
            let weakened = house.ask_as(&house.root, ManagementOp::Update, rest);
            weakened.await.unwrap();
            for answer in [
                house.create(r#"{"name":"x"}"#).await,
                house.list("").await,
                house.get(low).await,
                house.update(low, r#"{"name":"x"}"#).await,
                house.delete(low).await,
            ] {
                match answer {
                    Err(ManagementError::ActorGone) => assert!(gone, "{change}"),
                    Err(ManagementError::ActorTooWeak) => assert!(!gone, "{change}"),
                    _ => panic!("{change} must stop every command"),
                }
            }
            let rest = (None, None, "");
            let all = house.ask_as(&house.root, ManagementOp::List, rest).await;
            let all = all.unwrap();
            let mut all = names(&all);
            all.sort_unstable();
            assert_eq!(all, ["full", "low", "root"], "{change}");
        }
    }

    #[tokio::test]
    async fn a_faulty_request_leaves_no_trace() {
        let house = House::build(Reveal::Always).await;
        let trail = AuditQuery {
            key: None,
            since: None,
            limit: 100,
        };
        let before = house.store.audit(&trail).await.unwrap().len();
        for body in ["", "[]", "{}", r#"{"name":5}"#, r#"{"name":"x","x":1}"#] {
            let answer = house.create(body).await;
            assert!(matches!(answer, Err(ManagementError::Invalid(_))), "{body}");
        }
        assert!(matches!(
            house.list("page=0").await,
            Err(ManagementError::Invalid(_))
        ));
        assert_eq!(house.store.audit(&trail).await.unwrap().len(), before);
    }

    #[tokio::test]
    async fn the_trail_tells_key_client_and_request() {
        let house = House::build(Reveal::Always).await;
        let made = house.create(r#"{"name":"one"}"#).await.unwrap();
        let trail = AuditQuery {
            key: Some(text(&made, "id").parse().unwrap()),
            since: None,
            limit: 10,
        };
        let entries = house.store.audit(&trail).await.unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].actor, house.full.record.id.as_str());
        assert_eq!(entries[0].client.as_deref(), Some("192.0.2.7"));
        assert_eq!(entries[0].request_id.as_deref(), Some("request-1"));
    }

    #[tokio::test]
    async fn a_store_that_is_closed_is_unavailable() {
        let house = House::build(Reveal::Always).await;
        house.keys.close().await;
        for answer in [
            house.create(r#"{"name":"one"}"#).await,
            house.list("").await,
            house.get("abcdefghij0123456789").await,
        ] {
            assert!(matches!(answer, Err(ManagementError::StoreUnavailable(_))));
        }
    }
}
