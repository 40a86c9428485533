//! What the feed tells, and when it gives up.

use super::*;

fn steps(changes: Changes) -> (Vec<Change>, Position, bool) {
    match changes {
        Changes::Steps {
            steps,
            position,
            more,
        } => (steps, position, more),
        Changes::Reload => panic!("all should be loaded again"),
    }
}

#[tokio::test]
async fn changes_come_in_order_with_deletions() {
    let house = House::new();
    let (store, other) = (house.open().await, house.open().await);
    let start = store.position().await.unwrap();
    let a = other.make("a", "auth").await;
    let b = other.make("b", "auth").await;
    other
        .act(Command::Update(other.by_id(&a), rename("a2")), operator())
        .await
        .unwrap();
    other
        .act(Command::Delete(other.by_id(&b)), operator())
        .await
        .unwrap();
    let (steps, position, more) = steps(store.changes(start).await.unwrap());
    assert_eq!(
        steps.iter().map(|s| s.revision().0).collect::<Vec<_>>(),
        [3, 4]
    );
    assert!(matches!(&steps[0], Change::Put { record, .. } if record.name.as_str() == "a2"));
    assert!(matches!(&steps[1], Change::Gone { digest, .. }
            if *digest == store.digester().digest(text(&b).expose().as_bytes())));
    assert_eq!(position.revision, Revision(4));
    assert!(!more);
    let (steps, _, _) = self::steps(store.changes(position).await.unwrap());
    assert!(steps.is_empty());
}

#[tokio::test]
async fn what_the_kept_tombstones_do_not_cover_is_loaded_again() {
    let house = House::new();
    let store = house.open().await;
    let a = store.make("a", "auth").await;
    let old = store.position().await.unwrap();
    store
        .act(Command::Delete(store.by_id(&a)), operator())
        .await
        .unwrap();
    let deleted = store.position().await.unwrap();
    house.pass(7 * 24 * 60 * 60);
    store.make("b", "auth").await;
    assert_eq!(
        steps(store.changes(old).await.unwrap()).0.len(),
        2,
        "kept 7 days"
    );
    house.pass(1);
    store.make("c", "auth").await;
    assert!(matches!(store.changes(old).await.unwrap(), Changes::Reload));
    assert_eq!(steps(store.changes(deleted).await.unwrap()).0.len(), 2);
    // Other lives of a store.
    let here = store.position().await.unwrap();
    for (what, since) in [
        (
            "a higher revision",
            Position {
                revision: Revision(99),
                ..here
            },
        ),
        (
            "another epoch",
            Position {
                epoch: Epoch([0; 16]),
                ..here
            },
        ),
        ("another file", Position { opening: 7, ..here }),
    ] {
        assert!(
            matches!(store.changes(since).await.unwrap(), Changes::Reload),
            "{what}"
        );
    }
}

#[tokio::test]
async fn many_changes_come_in_pieces_and_none_is_left_out() {
    let house = House::new();
    let store = house.open().await;
    let mut at = store.position().await.unwrap();
    // Deletions and keys in turn, more of each than fit into one piece.
    house
            .raw_sql(
                "BEGIN; \
                 WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 25000) \
                 INSERT INTO keys SELECT printf('%020d', i), randomblob(32), NULL, '*', 'n', 'n', 'auth', 1, 0, NULL, \
                 2 * i, 1 FROM n; \
                 WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 25000) \
                 INSERT INTO tombstones SELECT 2 * i - 1, randomblob(32), 1700000000 FROM n; \
                 UPDATE meta SET revision = 50000; COMMIT",
            )
            .await;
    let mut seen = Vec::new();
    loop {
        let (steps, position, more) = steps(store.changes(at).await.unwrap());
        assert!(position.revision > at.revision);
        seen.extend(steps.iter().map(|step| step.revision().0));
        at = position;
        if !more {
            break;
        }
    }
    assert_eq!(seen, (1..=50_000).collect::<Vec<_>>());
    assert_eq!(at, store.position().await.unwrap());
}
