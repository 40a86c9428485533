//! What commands do, and to whom.

use super::*;

#[tokio::test]
async fn a_key_lives_from_create_to_delete() {
    let house = House::new();
    let store = house.open().await;
    let made = store.make("Rest API Key", "full").await;
    assert_eq!(made.record.created_at.unix_seconds(), 1_700_000_000);
    let by_text = store.seen(text(&made).expose()).await.unwrap();
    assert!(by_text.record == made.record && text(&by_text) == text(&made));

    house.pass(10);
    let change = KeyChange {
        expires_at: Some(Some(Timestamp::from_unix_seconds(1_800_000_000))),
        ..rename("Other")
    };
    let updated = store
        .act(Command::Update(store.by_id(&made), change), operator())
        .await
        .unwrap();
    assert_eq!(updated.record.name.as_str(), "Other");
    assert_eq!(updated.record.created_at, made.record.created_at);
    assert!(updated.record.revision > made.record.revision);
    assert!(text(&updated) == text(&made));

    let gone = store
        .act(
            Command::Delete(store.named(text(&made).expose())),
            operator(),
        )
        .await
        .unwrap();
    assert!(gone.record == updated.record && text(&gone) == text(&made));
    for name in [text(&made).expose(), made.record.id.as_str()] {
        assert_eq!(denial(store.seen(name).await), Denial::NotFound);
    }
    let again = store.act(Command::Delete(store.by_id(&made)), operator());
    assert_eq!(denial(again.await), Denial::NotFound);
}

#[tokio::test]
async fn keys_act_downwards_only_and_never_on_themselves() {
    let house = House::new();
    let store = house.open().await;
    let full = store.make("full", "full").await;
    let full_2 = store.make("full 2", "full").await;
    let auth = store.make("auth", "auth").await;
    let other = store.make("other", "other").await;
    let selector = |key: &StoredKey| store.by_id(key);
    let update = |key: &StoredKey, change| Command::Update(selector(key), change);
    let unknown = || store.named("00000000000000000000");
    let own_text = || store.named(text(&auth).expose());
    use Denial::*;
    let rows: [(&str, &StoredKey, Command, Option<Denial>); 17] = [
        (
            "create below",
            &full,
            Command::Create(new_key("x", "auth")),
            None,
        ),
        (
            "create beside",
            &full,
            Command::Create(new_key("x", "full")),
            None,
        ),
        (
            "create above",
            &auth,
            Command::Create(new_key("x", "full")),
            Some(TargetAbove),
        ),
        (
            "create elsewhere",
            &full,
            Command::Create(new_key("x", "other")),
            Some(TargetAbove),
        ),
        (
            "create undeclared",
            &full,
            Command::Create(new_key("x", "nowhere")),
            Some(TargetAbove),
        ),
        (
            "update above",
            &auth,
            update(&full, rename("x")),
            Some(TargetAbove),
        ),
        (
            "update above, nothing",
            &auth,
            update(&full, KeyChange::default()),
            Some(TargetAbove),
        ),
        ("raise below", &full, update(&auth, rescope("full")), None),
        (
            "lower it again",
            &full,
            update(&auth, rescope("auth")),
            None,
        ),
        (
            "move elsewhere",
            &full,
            update(&auth, rescope("other")),
            Some(TargetAbove),
        ),
        (
            "update unknown",
            &auth,
            Command::Update(unknown(), rename("x")),
            Some(NotFound),
        ),
        (
            "update oneself by id",
            &full,
            update(&full, rename("x")),
            Some(SelfAction),
        ),
        (
            "update oneself, nothing",
            &full,
            update(&full, KeyChange::default()),
            Some(SelfAction),
        ),
        (
            "delete oneself by key",
            &auth,
            Command::Delete(own_text()),
            Some(SelfAction),
        ),
        (
            "delete above",
            &auth,
            Command::Delete(selector(&full)),
            Some(TargetAbove),
        ),
        (
            "delete elsewhere",
            &full,
            Command::Delete(selector(&other)),
            Some(TargetAbove),
        ),
        (
            "delete beside",
            &full,
            Command::Delete(selector(&full_2)),
            None,
        ),
    ];
    for (what, actor, command, expected) in rows {
        let before = store.position().await.unwrap();
        let result = store.act(command, by(actor.record.id)).await;
        match expected {
            None => assert!(result.is_ok(), "{what}"),
            Some(expected) => {
                assert_eq!(denial(result), expected, "{what}");
                assert_eq!(store.position().await.unwrap(), before, "{what}");
            }
        }
    }
    // Reading, too.
    let actor = |key: &StoredKey| Actor::Key(authority(), key.record.id);
    let above = store.get(&actor(&auth), &selector(&full)).await;
    assert_eq!(denial(above), TargetAbove);
    assert!(store.get(&actor(&auth), &selector(&auth)).await.is_ok());
    assert_eq!(
        store.names(&actor(&auth), None).await,
        (vec!["auth".to_owned(), "x".to_owned()], 2)
    );
    let weak = store.get(&actor(&other), &selector(&auth)).await;
    assert_eq!(denial(weak), ActorTooWeak);
}

#[tokio::test]
async fn the_key_that_asks_is_judged_as_it_is_in_the_transaction() {
    let house = House::new();
    let store = house.open().await;
    let target = store.make("target", "auth").await;
    type Spoil = fn(&mut NewKey);
    let rows: [(&str, Spoil, Denial); 3] = [
        ("disabled", |k| k.enabled = false, Denial::ActorGone),
        (
            "expires now",
            |k| k.expires_at = Some(Timestamp::from_unix_seconds(1_700_000_000)),
            Denial::ActorGone,
        ),
        (
            "too weak",
            |k| k.scope = ScopeName::parse("other").unwrap(),
            Denial::ActorTooWeak,
        ),
    ];
    for (what, spoil, expected) in rows {
        let mut new = new_key(what, "full");
        spoil(&mut new);
        let made = store.act(Command::Create(new), operator()).await.unwrap();
        let origin = by(made.record.id);
        let before = store.position().await.unwrap();
        for command in [
            Command::Create(new_key("x", "auth")),
            Command::Update(store.by_id(&target), rename("x")),
            Command::Delete(store.by_id(&target)),
            Command::Delete(store.named("nobody")),
        ] {
            assert_eq!(
                denial(store.act(command, origin.clone()).await),
                expected,
                "{what}"
            );
        }
        let seen = store.get(&origin.actor, &store.by_id(&target)).await;
        assert_eq!(denial(seen), expected, "{what}");
        assert_eq!(store.position().await.unwrap(), before, "{what}");
    }
    let gone = store.make("gone", "full").await;
    let origin = by(gone.record.id);
    store
        .act(Command::Delete(store.by_id(&gone)), operator())
        .await
        .unwrap();
    let create = store.act(Command::Create(new_key("x", "auth")), origin);
    assert_eq!(denial(create.await), Denial::ActorGone);
}

#[tokio::test]
async fn a_brought_key_is_taken_once_and_never_shadows_an_id() {
    let house = House::new();
    let store = house.open().await;
    let bring = |text: &str| {
        Command::Create(NewKey {
            brought: Some(ApiKey::parse(text).unwrap()),
            ..new_key("brought", "auth")
        })
    };
    let made = store
        .act(bring("customer-key-of-1999"), operator())
        .await
        .unwrap();
    assert_eq!(text(&made).expose(), "customer-key-of-1999");
    assert!(store.seen("customer-key-of-1999").await.is_ok());
    for text in ["customer-key-of-1999", made.record.id.as_str()] {
        assert_eq!(
            denial(store.act(bring(text), operator()).await),
            Denial::Duplicate
        );
    }
    // Deleted, it may come again.
    let delete = Command::Delete(store.by_id(&made));
    store.act(delete, operator()).await.unwrap();
    assert!(
        store
            .act(bring("customer-key-of-1999"), operator())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn if_absent_gives_the_oldest_of_the_name_and_writes_nothing() {
    let house = House::new();
    let store = house.open().await;
    let wanted = || {
        Command::Create(NewKey {
            if_absent: true,
            ..new_key("entry", "auth")
        })
    };
    let first = store.act(wanted(), operator()).await.unwrap();
    house.pass(5);
    store.make("entry", "auth").await;
    let before = store.position().await.unwrap();
    let again = store.act(wanted(), operator()).await.unwrap();
    assert!(again.record == first.record && text(&again) == text(&first));
    assert_eq!(store.position().await.unwrap(), before);
    // Not for one who may not see it.
    let above = store.make("high", "full").await;
    let low = store.make("low", "auth").await;
    let command = Command::Create(NewKey {
        if_absent: true,
        ..new_key("high", "auth")
    });
    assert_eq!(
        denial(store.act(command, by(low.record.id)).await),
        Denial::TargetAbove
    );
    assert!(store.seen(above.record.id.as_str()).await.is_ok());
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing() {
    let house = House::new();
    let store = house.open().await;
    let made = store.make("a", "auth").await;
    let before = store.position().await.unwrap();
    for change in [KeyChange::default(), rename("a"), rescope("auth")] {
        let update = Command::Update(store.by_id(&made), change);
        let executed = store.execute(update, operator(), Reveal::Always).await;
        assert!(executed.unwrap().change.is_none());
    }
    assert_eq!(store.position().await.unwrap(), before);
    assert_eq!(store.audit(&everything()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn with_reveal_once_nothing_is_kept_to_unseal() {
    let house = House::new();
    let store = house.open().await;
    for brought in [None, Some(ApiKey::parse("customer-key-of-1999").unwrap())] {
        let command = Command::Create(NewKey {
            brought,
            ..new_key("once", "auth")
        });
        let made = store.execute(command, operator(), Reveal::Once).await;
        let made = made.unwrap().key;
        let seen = store.seen(text(&made).expose()).await.unwrap();
        match &seen.shown {
            ShownKey::Masked(masked) => assert_eq!(*masked, text(&made).masked()),
            ShownKey::Whole(_) => panic!("it was kept"),
        }
    }
    let mut raw = house.raw().await;
    let kept: i64 = sqlx::query_scalar("SELECT count(sealed) FROM keys")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert_eq!(kept, 0);
}

#[tokio::test]
async fn no_file_holds_a_key_in_the_clear() {
    let house = House::new();
    let store = house.open().await;
    let made = store.make("a", "auth").await;
    let key = text(&made).expose().as_bytes().to_vec();
    let update = Command::Update(store.named(text(&made).expose()), rename("b"));
    store.act(update, operator()).await.unwrap();
    for file in ["keys.db", "keys.db-wal"] {
        let bytes = fs::read(house.folder.path().join(file)).unwrap();
        assert!(!bytes.windows(key.len()).any(|part| part == key), "{file}");
    }
}

#[tokio::test]
async fn a_sealed_text_that_was_moved_or_changed_is_shown_masked() {
    let house = House::new();
    let store = house.open().await;
    let (a, b) = (store.make("a", "auth").await, store.make("b", "auth").await);
    house
        .raw_sql(
            "UPDATE keys SET sealed = (SELECT sealed FROM keys WHERE name = 'a') WHERE name = 'b'",
        )
        .await;
    assert!(text(&store.seen(a.record.id.as_str()).await.unwrap()) == text(&a));
    let seen = store.seen(b.record.id.as_str()).await.unwrap();
    assert!(matches!(seen.shown, ShownKey::Masked(masked) if masked == text(&b).masked()));
}
