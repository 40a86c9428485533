//! Pages of keys.

use super::*;

#[tokio::test]
async fn the_newest_comes_first_and_within_a_second_the_newer_revision() {
    let house = House::new();
    let store = house.open().await;
    let first = store.make("1", "auth").await;
    store.make("2", "full").await;
    house.pass(-5);
    store.make("0", "auth").await;
    house.pass(60);
    store.make("9", "auth").await;
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let all = store.names(&Actor::Operator, None).await;
    assert_eq!(all, (names(&["9", "2", "1", "0"]), 4));
    store
        .act(
            Command::Update(store.by_id(&first), rename("1b")),
            operator(),
        )
        .await
        .unwrap();
    let all = store.names(&Actor::Operator, None).await;
    assert_eq!(all, (names(&["9", "1b", "2", "0"]), 4));

    let page = async |page, per_page, scope: Option<&str>| {
        let query = ListQuery {
            scope: scope.map(|s| ScopeName::parse(s).unwrap()),
            search: None,
            page,
            per_page,
        };
        let page = store.list(&Actor::Operator, &query).await.unwrap();
        let names = page.keys.iter().map(|k| k.record.name.to_string());
        (names.collect::<Vec<_>>(), page.total)
    };
    assert_eq!(page(2, 3, None).await, (names(&["0"]), 4));
    assert_eq!(page(3, 3, None).await, (names(&[]), 4));
    assert_eq!(page(u64::MAX, 1000, None).await, (names(&[]), 4));
    assert_eq!(page(1, 2, Some("auth")).await, (names(&["9", "1b"]), 3));
    assert_eq!(page(1, 2, Some("nowhere")).await, (names(&[]), 0));
}

#[tokio::test]
async fn a_search_is_for_a_part_in_any_case_and_knows_no_wildcards() {
    let house = House::new();
    let store = house.open().await;
    for name in ["100% sure", "under_score", "ÄRGER Straße", "ΣΟΦΟΣ", "plain"] {
        store.make(name, "auth").await;
    }
    for (search, expected) in [
        ("%", vec!["100% sure"]),
        ("_", vec!["under_score"]),
        ("ärger", vec!["ÄRGER Straße"]),
        ("STRASSE", vec![]),
        ("σοφος", vec![]),
        ("σοφοσ", vec!["ΣΟΦΟΣ"]),
        ("ΟΦΟΣ", vec!["ΣΟΦΟΣ"]),
        ("S", vec!["under_score", "100% sure", "ÄRGER Straße"]),
        ("' OR 1=1 --", vec![]),
        ("\0", vec![]),
    ] {
        let (mut found, total) = store.names(&Actor::Operator, Some(search)).await;
        let mut expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
        found.sort();
        expected.sort();
        assert_eq!(total, expected.len() as u64, "{search:?}");
        assert_eq!(found, expected, "{search:?}");
    }
    assert_eq!(store.names(&Actor::Operator, Some("")).await.1, 5);
}
