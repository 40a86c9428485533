//! Locks, full disks, failed commits, files that are replaced.

use super::*;

#[tokio::test]
async fn a_lock_that_another_process_keeps_is_an_error_and_reading_goes_on() {
    let house = House::new();
    let store = house.open().await;
    store.make("a", "auth").await;
    let mut raw = house.raw().await;
    let lock = raw.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let error = failure(
        store
            .act(Command::Create(new_key("b", "auth")), operator())
            .await,
    );
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert!(error.is_unwritable());
    assert_eq!(store.names(&Actor::Operator, None).await.1, 1);
    lock.rollback().await.unwrap();
    store.make("b", "auth").await;
}

/// Sets something on the one connection that writes.
async fn on_the_writer(store: &SqliteStore, sql: &'static str) {
    let live = store.live().await.unwrap();
    let mut writer = live.writer.as_ref().unwrap().acquire().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut *writer).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_changes_nothing_and_writing_goes_on_when_there_is_room() {
    let house = House::new();
    let store = house.open().await;
    let a = store.make("a", "auth").await;
    on_the_writer(&store, "PRAGMA max_page_count = 1").await;
    let mut error = None;
    for i in 0..500 {
        let name = format!("{i} {}", "x".repeat(90));
        let command = Command::Create(new_key(&name, "auth"));
        if let Err(e) = store.act(command, operator()).await {
            error = Some(failure::<()>(Err(e)));
            break;
        }
    }
    let error = error.expect("the disk is full at some time");
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(error.is_unwritable());
    let before = store.position().await.unwrap();
    assert!(store.seen(text(&a).expose()).await.is_ok());
    // The connection that met the error was given up; a new one has room.
    store.make("b", "auth").await;
    assert_eq!(
        store.position().await.unwrap().revision.0,
        before.revision.0 + 1
    );
    assert_eq!(
        store.audit(&everything()).await.unwrap()[0].revision,
        before.revision.0 + 1
    );
}

#[tokio::test]
async fn a_store_that_takes_no_writes_says_so() {
    let house = House::new();
    let store = house.open().await;
    on_the_writer(&store, "PRAGMA query_only = ON").await;
    let error = failure(
        store
            .act(Command::Create(new_key("b", "auth")), operator())
            .await,
    );
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    assert!(error.is_unwritable());
}

#[tokio::test]
async fn a_commit_that_reports_an_error_is_looked_for() {
    let house = House::new();
    let store = house.open().await;
    store.make("a", "auth").await;
    let live = store.live().await.unwrap();
    let mut reader = live.readers.acquire().await.unwrap();
    let token: Vec<u8> = sqlx::query_scalar("SELECT token FROM audit WHERE revision = 1")
        .fetch_one(&mut *reader)
        .await
        .unwrap();
    drop(reader);
    let token: [u8; 16] = token.try_into().unwrap();
    let broken = || Err(sqlx::Error::WorkerCrashed);
    let settled = |token, revision| {
        let (store, live) = (&store, &live);
        async move {
            store
                .settle(live, broken(), Revision(revision), &token)
                .await
        }
    };
    assert!(settled(token, 1).await.is_ok(), "it is there");
    assert!(
        settled([0; 16], 1).await.is_err(),
        "another took the revision"
    );
    assert!(settled(token, 2).await.is_err(), "it is not there");
    live.readers.close().await;
    let unknown = settled(token, 1).await.unwrap_err();
    assert!(
        matches!(unknown, StoreError::CommitUnknown { .. }),
        "{unknown}"
    );
}

#[tokio::test]
async fn a_commit_that_is_refused_changes_nothing_and_the_next_one_works() {
    let house = House::new();
    let store = house.open().await;
    let live = store.live().await.unwrap();
    let mut writer = live.writer.as_ref().unwrap().acquire().await.unwrap();
    writer
        .lock_handle()
        .await
        .unwrap()
        .set_commit_hook(|| false);
    drop(writer);
    failure(
        store
            .act(Command::Create(new_key("a", "auth")), operator())
            .await,
    );
    assert_eq!(store.position().await.unwrap().revision, Revision(0));
    store.make("b", "auth").await;
    assert_eq!(
        store.names(&Actor::Operator, None).await,
        (vec!["b".to_owned()], 1)
    );
}

#[tokio::test]
async fn another_file_in_the_place_of_the_store_is_followed() {
    let house = House::new();
    let store = house.open().await;
    let kept = store.make("kept", "auth").await;
    let backup = house.folder.path().join("backup.db");
    let mut raw = house.raw().await;
    sqlx::query("VACUUM INTO ?")
        .bind(backup.to_str().unwrap())
        .execute(&mut raw)
        .await
        .unwrap();
    raw.close().await.unwrap();
    let lost = store.make("lost", "auth").await;
    let before = store.position().await.unwrap();

    for tail in ["-wal", "-shm"] {
        fs::remove_file(house.folder.path().join(format!("keys.db{tail}"))).unwrap();
    }
    fs::rename(&backup, house.store()).unwrap();
    let after = store.position().await.unwrap();
    assert_eq!((after.epoch, after.revision), (before.epoch, Revision(1)));
    assert!(after.opening != before.opening);
    assert!(matches!(
        store.changes(before).await.unwrap(),
        Changes::Reload
    ));
    assert!(store.seen(text(&kept).expose()).await.is_ok());
    assert_eq!(
        denial(store.seen(text(&lost).expose()).await),
        Denial::NotFound
    );
    store.make("new", "auth").await;
    assert_eq!(house.open().await.names(&Actor::Operator, None).await.1, 2);
}

#[tokio::test]
async fn a_file_put_beside_the_log_of_another_is_not_touched() {
    let house = House::new();
    let store = house.open().await;
    store.make("a", "auth").await;
    let backup = house.folder.path().join("backup.db");
    let mut raw = house.raw().await;
    sqlx::query("VACUUM INTO ?")
        .bind(backup.to_str().unwrap())
        .execute(&mut raw)
        .await
        .unwrap();
    raw.close().await.unwrap();
    let whole = fs::read(&backup).unwrap();
    fs::rename(&backup, house.store()).unwrap();
    let error = failure(
        store
            .act(Command::Create(new_key("b", "auth")), operator())
            .await,
    );
    assert!(matches!(error, StoreError::Replaced { .. }), "{error}");
    assert!(error.is_unwritable());
    assert!(store.position().await.is_err());
    store.close().await;
    assert!(fs::read(house.store()).unwrap() == whole);
}

#[tokio::test]
async fn a_store_that_is_gone_takes_no_command() {
    let house = House::new();
    let store = house.open().await;
    fs::remove_file(house.store()).unwrap();
    let error = failure(
        store
            .act(Command::Create(new_key("a", "auth")), operator())
            .await,
    );
    assert!(error.is_missing() && error.is_unwritable(), "{error}");
    assert!(store.position().await.unwrap_err().is_missing());

    // Another store, under another secret, is not taken for it.
    let other = House::new();
    other.open().await.close().await;
    for tail in ["-wal", "-shm"] {
        fs::remove_file(house.folder.path().join(format!("keys.db{tail}"))).unwrap();
    }
    fs::rename(other.store(), house.store()).unwrap();
    let error = store.position().await.unwrap_err();
    assert!(matches!(error, StoreError::SecretWrong { .. }), "{error}");
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let house = House::new();
    let store = house.open().await;
    store.close().await;
    let error = failure(
        store
            .act(Command::Create(new_key("a", "auth")), operator())
            .await,
    );
    assert!(matches!(error, StoreError::Closed), "{error}");
    assert_eq!(house.files(), ["keys.db", "master"]);
}
