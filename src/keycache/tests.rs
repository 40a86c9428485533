//! The cache and its keeper over real SQLite files.

use super::*;
use crate::clock::Timestamp;
use crate::key::*;
use crate::store::{self, KeyStore, OpenMode, OpenOptions};
use std::path::Path;
use std::sync::Arc;

async fn store(folder: &Path) -> Arc<dyn KeyStore> {
    store::open(OpenOptions {
        path: folder.join("keys.db"),
        secret_file: folder.join("master"),
        secret_env: None,
        mode: OpenMode::CreateOrMigrate,
    })
    .await
    .unwrap()
}

fn operator() -> Origin {
    Origin {
        actor: Actor::Operator,
        client: None,
        request_id: None,
    }
}

fn new_key(name: &str, scope: &str) -> NewKey {
    NewKey {
        name: KeyName::parse(name).unwrap(),
        scope: ScopeName::parse(scope).unwrap(),
        enabled: true,
        expires_at: None,
        brought: None,
        if_absent: false,
    }
}

async fn create(keys: &Keys, new: NewKey) -> (KeyId, ApiKey) {
    let made = keys
        .execute(Command::Create(new), operator(), Reveal::Always)
        .await
        .unwrap();
    (made.record.id, whole(made))
}

fn whole(key: StoredKey) -> ApiKey {
    match key.shown {
        ShownKey::Whole(text) => text,
        ShownKey::Masked(masked) => panic!("only {masked} is shown"),
    }
}

fn named(keys: &Keys, text: &str) -> KeySelector {
    KeySelector::parse(text, keys.digester())
}

fn identify(keys: &Keys, key: &ApiKey) -> Result<Principal, Unidentified> {
    keys.cache()
        .identify(key.expose().as_bytes(), Timestamp::now())
}

/// That the cache holds what the store holds, by loading the store into another cache.
async fn assert_same(keys: &Keys, store: &Arc<dyn KeyStore>) {
    let mut loaded = entries::Loaded::new();
    let position = store.load(&mut loaded).await.unwrap();
    let fresh = KeyCache::new(store.digester().clone());
    fresh.replace(loaded, position.revision);
    let sorted = |cache: &KeyCache| {
        let mut all = cache.all();
        all.sort_by_key(|(digest, _)| *digest);
        all
    };
    assert!(
        sorted(keys.cache()) == sorted(&fresh),
        "cache and store differ"
    );
    assert_eq!(keys.cache().revision(), position.revision);
}

#[tokio::test]
async fn a_change_is_in_force_when_it_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let keys = Keys::start(store.clone()).await.unwrap();
    let (id, key) = create(&keys, new_key("a", "authOnly")).await;
    assert_eq!(identify(&keys, &key).unwrap().record().id, id);

    let change = KeyChange {
        enabled: Some(false),
        ..KeyChange::default()
    };
    let update = Command::Update(named(&keys, id.as_str()), change);
    keys.execute(update, operator(), Reveal::Always)
        .await
        .unwrap();
    assert_eq!(
        identify(&keys, &key).unwrap_err(),
        Unidentified::Disabled(id)
    );

    let delete = Command::Delete(named(&keys, key.expose()));
    keys.execute(delete, operator(), Reveal::Always)
        .await
        .unwrap();
    assert_eq!(identify(&keys, &key).unwrap_err(), Unidentified::Unknown);
    assert_same(&keys, &store).await;
    keys.close().await;
}
