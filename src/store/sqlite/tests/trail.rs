//! Who changed what.

use super::*;

#[tokio::test]
async fn every_change_leaves_one_row_and_no_row_holds_a_key() {
    let house = House::new();
    let store = house.open().await;
    let actor = store.make("actor", "full").await;
    house.pass(60);
    let made = store
        .act(Command::Create(new_key("a", "auth")), by(actor.record.id))
        .await
        .unwrap();
    let change = KeyChange {
        enabled: Some(false),
        ..rename("b")
    };
    let named = store.named(text(&made).expose());
    store
        .act(Command::Update(named.clone(), change), by(actor.record.id))
        .await
        .unwrap();
    house.pass(60);
    store.act(Command::Delete(named), operator()).await.unwrap();

    let all = store.audit(&everything()).await.unwrap();
    assert_eq!(
        all.iter().map(|e| e.revision).collect::<Vec<_>>(),
        [4, 3, 2, 1]
    );
    let update = &all[1];
    assert_eq!(update.time, 1_700_000_060);
    assert_eq!(update.actor, actor.record.id.as_str());
    assert_eq!(update.client.as_deref(), Some("192.0.2.7"));
    assert_eq!(update.request_id.as_deref(), Some("request-1"));
    assert_eq!(update.action, AuditAction::Update);
    assert_eq!(update.key_id, made.record.id.as_str());
    let expected = serde_json::json!({
        "name": { "old": "a", "new": "b" },
        "enabled": { "old": true, "new": false },
    });
    assert_eq!(update.changes, expected);
    assert_eq!(all[0].actor, "operator");
    assert_eq!(
        all[0].changes["name"],
        serde_json::json!({ "old": "b", "new": null })
    );
    let written = serde_json::to_string(&all).unwrap();
    for key in [&actor, &made] {
        assert!(!written.contains(text(key).expose()));
    }

    let of_key = AuditQuery {
        key: Some(made.record.id),
        ..everything()
    };
    assert_eq!(store.audit(&of_key).await.unwrap().len(), 3);
    let late = AuditQuery {
        since: Some(Timestamp::from_unix_seconds(1_700_000_060)),
        limit: 2,
        ..everything()
    };
    let late = store.audit(&late).await.unwrap();
    assert_eq!(late.iter().map(|e| e.revision).collect::<Vec<_>>(), [4, 3]);
}

#[tokio::test]
async fn a_change_whose_row_cannot_be_written_is_not_made() {
    let house = House::new();
    let store = house.open().await;
    let made = store.make("a", "auth").await;
    let before = store.position().await.unwrap();
    house
        .raw_sql("CREATE TRIGGER no BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'no'); END")
        .await;
    for command in [
        Command::Create(new_key("x", "auth")),
        Command::Update(store.by_id(&made), rename("x")),
        Command::Delete(store.by_id(&made)),
    ] {
        failure(store.act(command, operator()).await);
    }
    assert_eq!(store.position().await.unwrap(), before);
    assert_eq!(
        store.names(&Actor::Operator, None).await,
        (vec!["a".to_owned()], 1)
    );
    house.raw_sql("DROP TRIGGER no").await;
    store.make("b", "auth").await;
}
