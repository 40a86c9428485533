//! What can be opened, and what cannot.

use super::*;

#[tokio::test]
async fn a_new_store_and_its_secret_are_private_and_open_again() {
    let house = House::new();
    let store = house.open().await;
    let made = store.make("a", "auth").await;
    for file in ["keys.db", "keys.db-wal", "keys.db-shm", "master"] {
        let mode = fs::metadata(house.folder.path().join(file)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o600, "{file}");
    }
    store.close().await;
    for mode in [
        OpenMode::ReadOnly,
        OpenMode::ReadWrite,
        OpenMode::CreateOrMigrate,
    ] {
        let store = house.try_open(house.options(mode)).await.unwrap();
        let seen = store.seen(made.record.id.as_str()).await.unwrap();
        assert!(text(&seen) == text(&made), "{mode:?}");
        store.close().await;
    }
}

#[tokio::test]
async fn a_store_in_a_folder_that_does_not_exist_is_made_with_it() {
    let house = House::new();
    let options = OpenOptions {
        path: house.folder.path().join("data/deeper/keys.db"),
        secret_file: house.folder.path().join("secret/master"),
        ..house.options(OpenMode::CreateOrMigrate)
    };
    house
        .try_open(options)
        .await
        .unwrap()
        .make("a", "auth")
        .await;
    assert_eq!(house.files(), ["data", "secret"]);
}

#[tokio::test]
async fn what_is_missing_is_only_made_when_that_is_asked_for() {
    let house = House::new();
    for mode in [OpenMode::ReadOnly, OpenMode::ReadWrite] {
        assert!(house.error(mode).await.is_missing(), "{mode:?}");
    }
    assert!(peek(&house.store()).await.unwrap_err().is_missing());
    assert!(house.files().is_empty());
}

#[tokio::test]
async fn a_secret_without_its_store_is_an_error_and_nothing_is_made() {
    let house = House::new();
    house.open().await.close().await;
    fs::remove_file(house.store()).unwrap();
    for mode in [OpenMode::ReadWrite, OpenMode::CreateOrMigrate] {
        let error = house.error(mode).await;
        assert!(
            matches!(error, StoreError::SecretWithoutStore { .. }),
            "{error}"
        );
    }
    assert_eq!(house.files(), ["master"]);
    // Neither does an empty file pass for a new store.
    fs::write(house.store(), b"").unwrap();
    let error = house.error(OpenMode::CreateOrMigrate).await;
    assert!(
        matches!(error, StoreError::SecretWithoutStore { .. }),
        "{error}"
    );
    assert_eq!(fs::metadata(house.store()).unwrap().len(), 0);
}

#[tokio::test]
async fn a_start_that_was_killed_before_its_end_is_finished_by_the_next() {
    // After the file, after the tables, after the secret's file.
    for step in 0..3 {
        let house = House::new();
        if step >= 1 {
            house.open().await.close().await;
            house.raw_sql("DELETE FROM secrets").await;
        } else {
            fs::write(house.store(), b"").unwrap();
        }
        if step < 2 {
            let _ = fs::remove_file(house.secret());
        }
        for mode in [OpenMode::ReadOnly, OpenMode::ReadWrite] {
            let error = house.error(mode).await;
            assert!(
                matches!(error, StoreError::Unfinished { .. }),
                "{step}: {error}"
            );
        }
        let store = house.open().await;
        let made = store.make("a", "auth").await;
        store.close().await;
        assert!(house.open().await.seen(text(&made).expose()).await.is_ok());
    }
}

#[tokio::test]
async fn two_processes_that_make_the_same_store_at_once_agree() {
    let house = House::new();
    let options = || house.options(OpenMode::CreateOrMigrate);
    let patient = || Tuning {
        busy_timeout: Duration::from_secs(20),
        ..house.tuning()
    };
    let (a, b) = tokio::join!(
        SqliteStore::open(options(), patient()),
        SqliteStore::open(options(), patient())
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    let made = a.make("a", "auth").await;
    assert!(b.seen(text(&made).expose()).await.is_ok());
    assert_eq!(a.position().await.unwrap(), b.position().await.unwrap());
}

#[tokio::test]
async fn another_no_or_a_second_secret_is_an_error_in_every_mode() {
    let house = House::new();
    let store = house.open().await;
    store.make("a", "auth").await;
    store.close().await;
    let right = fs::read_to_string(house.secret()).unwrap();
    let wrong = "ab".repeat(32);
    let env = |text: &str| Some(Zeroizing::new(text.to_owned()));
    type Expected = fn(&StoreError) -> bool;
    type Row<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<Expected>);
    let rows: [Row<'_>; 8] = [
        ("the right file", Some(&right), None, None),
        ("the right text", None, Some(&right), None),
        (
            "both",
            Some(&right),
            Some(&right),
            Some(|e| matches!(e, StoreError::SecretDoubled { .. })),
        ),
        (
            "another file",
            Some(&wrong),
            None,
            Some(|e| matches!(e, StoreError::SecretWrong { .. })),
        ),
        (
            "another text",
            None,
            Some(&wrong),
            Some(|e| matches!(e, StoreError::SecretWrong { .. })),
        ),
        (
            "none",
            None,
            None,
            Some(|e| matches!(e, StoreError::SecretMissing { .. })),
        ),
        (
            "an empty text",
            None,
            Some(""),
            Some(|e| matches!(e, StoreError::SecretMalformed { .. })),
        ),
        (
            "half a file",
            Some(&right[..32]),
            None,
            Some(|e| matches!(e, StoreError::SecretMalformed { .. })),
        ),
    ];
    for (what, file, text, expected) in rows {
        let _ = fs::remove_file(house.secret());
        if let Some(file) = file {
            fs::write(house.secret(), file).unwrap();
            fs::set_permissions(house.secret(), fs::Permissions::from_mode(0o600)).unwrap();
        }
        for mode in [
            OpenMode::ReadOnly,
            OpenMode::ReadWrite,
            OpenMode::CreateOrMigrate,
        ] {
            let options = OpenOptions {
                secret_env: text.and_then(env),
                ..house.options(mode)
            };
            let opened = house.try_open(options).await;
            match (opened, expected) {
                (Ok(_), None) => {}
                (Ok(_), Some(_)) => panic!("{what}, {mode:?}: opened"),
                (Err(e), None) => panic!("{what}, {mode:?}: {e}"),
                (Err(e), Some(expected)) => {
                    assert!(expected(&e), "{what}, {mode:?}: {e}");
                    assert!(!e.to_string().contains(right.trim()), "{what}: {e}");
                    assert!(!e.to_string().contains(&wrong), "{what}: {e}");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_store_of_this_keygate_is_refused_and_left_as_it_is() {
    type Expected = fn(&StoreError) -> bool;
    let rows: [(&str, &'static str, Expected); 3] = [
        ("newer", "PRAGMA user_version = 99", |e| {
            matches!(e, StoreError::Newer { found: 99, .. })
        }),
        ("foreign", "PRAGMA application_id = 1", |e| {
            matches!(e, StoreError::Foreign { .. })
        }),
        (
            "a row that cannot be read",
            "INSERT INTO keys VALUES ('x', zeroblob(32), NULL, '', '', '', '', 1, 0, NULL, 1, 1)",
            |e| matches!(e, StoreError::Corrupt { .. }),
        ),
    ];
    for (what, sql, expected) in rows {
        let house = House::new();
        house.open().await.close().await;
        house.raw_sql(sql).await;
        let before = fs::read(house.store()).unwrap();
        for mode in [
            OpenMode::ReadOnly,
            OpenMode::ReadWrite,
            OpenMode::CreateOrMigrate,
        ] {
            let error = match house.try_open(house.options(mode)).await {
                Ok(store) => {
                    let error = store.load(&mut Nothing).await.unwrap_err();
                    store.close().await;
                    error
                }
                Err(error) => error,
            };
            assert!(expected(&error), "{what}, {mode:?}: {error}");
            assert!(error.to_string().contains("keys.db"), "{what}: {error}");
        }
        assert!(fs::read(house.store()).unwrap() == before, "{what}");
    }
}

struct Nothing;
impl Sink for Nothing {
    fn expect(&mut self, _: usize) {}
    fn key(&mut self, _: crate::key::KeyDigest, _: KeyRecord) {}
}

#[tokio::test]
async fn a_damaged_file_is_said_to_be_one() {
    let house = House::new();
    let store = house.open().await;
    for i in 0..200 {
        store.make(&format!("key {i}"), "auth").await;
    }
    store.close().await;
    let whole = fs::read(house.store()).unwrap();
    let mut holed = whole.clone();
    holed[4096..].fill(0xA5);
    let garbage = b"this is no database at all, but long enough to be looked at".repeat(20);
    for (what, bytes) in [
        ("no database", garbage.as_slice()),
        ("cut off", &whole[..whole.len() / 2]),
        ("overwritten", &holed),
    ] {
        fs::write(house.store(), bytes).unwrap();
        let error = match house.try_open(house.options(OpenMode::ReadWrite)).await {
            Ok(store) => {
                let error = store.load(&mut Nothing).await.unwrap_err();
                store.close().await;
                error
            }
            Err(error) => error,
        };
        assert!(
            matches!(error, StoreError::Corrupt { .. }),
            "{what}: {error}"
        );
    }
    fs::remove_file(house.store()).unwrap();
    fs::create_dir(house.store()).unwrap();
    let error = house.error(OpenMode::CreateOrMigrate).await;
    assert!(matches!(error, StoreError::File { .. }), "{error}");
}

#[tokio::test]
async fn looking_makes_no_file_whatever_state_the_store_is_in() {
    let house = House::new();
    let look = async |what: &str| {
        let before = house.files();
        let peeked = peek(&house.store()).await.unwrap();
        let store = house.try_open(house.options(OpenMode::ReadOnly)).await;
        let store = store.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(store.names(&Actor::Operator, None).await.1, peeked.keys());
        store.close().await;
        assert_eq!(house.files(), before, "{what}");
        peeked.keys()
    };
    let store = house.open().await;
    store.make("a", "auth").await;
    assert_eq!(look("while another process has it open").await, 1);

    // What kill -9 leaves: the log with a change in it, and its index.
    let aside = tempfile::tempdir().unwrap();
    for file in ["keys.db", "keys.db-wal", "keys.db-shm"] {
        fs::copy(house.folder.path().join(file), aside.path().join(file)).unwrap();
    }
    store.close().await;
    assert_eq!(house.files(), ["keys.db", "master"]);
    assert_eq!(look("closed").await, 1);
    for file in ["keys.db", "keys.db-wal", "keys.db-shm"] {
        fs::copy(aside.path().join(file), house.folder.path().join(file)).unwrap();
    }
    assert_eq!(look("killed").await, 1);
}

#[tokio::test]
async fn a_store_opened_for_reading_takes_no_command() {
    let house = House::new();
    house.open().await.close().await;
    let store = house
        .try_open(house.options(OpenMode::ReadOnly))
        .await
        .unwrap();
    let refused = store.act(Command::Create(new_key("a", "auth")), operator());
    let error = failure(refused.await);
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    assert!(error.is_unwritable());
}
