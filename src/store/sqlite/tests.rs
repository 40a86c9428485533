//! The store over real files.

use super::*;
use crate::key::{
    ApiKey, Authority, KeyChange, KeyId, KeyName, KeyRecord, NewKey, ScopeName, Scopes, ShownKey,
};
use crate::store::{AuditAction, Change, Epoch};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::AtomicI64;
use tempfile::TempDir;
use zeroize::Zeroizing;

/// A folder with a store, a clock that stands still, and a short patience.
struct House {
    folder: TempDir,
    time: Arc<AtomicI64>,
}

impl House {
    fn new() -> Self {
        House {
            folder: tempfile::tempdir().unwrap(),
            time: Arc::new(AtomicI64::new(1_700_000_000)),
        }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("keys.db")
    }

    fn secret(&self) -> PathBuf {
        self.folder.path().join("master")
    }

    fn pass(&self, seconds: i64) {
        self.time.fetch_add(seconds, Ordering::SeqCst);
    }

    fn options(&self, mode: OpenMode) -> OpenOptions {
        OpenOptions {
            path: self.store(),
            secret_file: self.secret(),
            secret_env: None,
            mode,
        }
    }

    fn tuning(&self) -> Tuning {
        let time = Arc::clone(&self.time);
        Tuning {
            busy_timeout: Duration::from_millis(200),
            clock: Arc::new(move || Timestamp::from_unix_seconds(time.load(Ordering::SeqCst))),
        }
    }

    async fn try_open(&self, options: OpenOptions) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(options, self.tuning()).await
    }

    async fn open(&self) -> SqliteStore {
        let options = self.options(OpenMode::CreateOrMigrate);
        self.try_open(options).await.unwrap()
    }

    async fn error(&self, mode: OpenMode) -> StoreError {
        match self.try_open(self.options(mode)).await {
            Ok(_) => panic!("the store was opened"),
            Err(error) => error,
        }
    }

    /// Another program's connection.
    async fn raw(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new()
            .filename(self.store())
            .create_if_missing(true);
        options.connect().await.unwrap()
    }

    async fn raw_sql(&self, sql: &'static str) {
        let mut raw = self.raw().await;
        sqlx::raw_sql(sql).execute(&mut raw).await.unwrap();
        raw.close().await.unwrap();
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn operator() -> Origin {
    Origin {
        actor: Actor::Operator,
        client: None,
        request_id: None,
    }
}

/// `full` includes `auth`; `other` stands alone. Managing keys needs `auth`, so that both may try.
fn authority() -> Arc<Authority> {
    let name = |text| ScopeName::parse(text).unwrap();
    let declared = BTreeMap::from([
        (name("auth"), vec![]),
        (name("full"), vec![name("auth")]),
        (name("other"), vec![]),
    ]);
    Arc::new(Authority {
        scopes: Scopes::new(&declared).unwrap(),
        management: name("auth"),
    })
}

fn by(id: KeyId) -> Origin {
    Origin {
        actor: Actor::Key(authority(), id),
        client: Some("192.0.2.7".parse().unwrap()),
        request_id: Some("request-1".to_owned()),
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

fn rename(name: &str) -> KeyChange {
    KeyChange {
        name: Some(KeyName::parse(name).unwrap()),
        ..KeyChange::default()
    }
}

fn rescope(scope: &str) -> KeyChange {
    KeyChange {
        scope: Some(ScopeName::parse(scope).unwrap()),
        ..KeyChange::default()
    }
}

fn everything() -> AuditQuery {
    AuditQuery {
        key: None,
        since: None,
        limit: 1000,
    }
}

impl SqliteStore {
    async fn act(&self, command: Command, origin: Origin) -> Result<StoredKey, CommandError> {
        let executed = self.execute(command, origin, Reveal::Always).await;
        executed.map(|executed| executed.key)
    }

    async fn make(&self, name: &str, scope: &str) -> StoredKey {
        let command = Command::Create(new_key(name, scope));
        self.act(command, operator()).await.unwrap()
    }

    fn named(&self, text: &str) -> KeySelector {
        KeySelector::parse(text, self.digester())
    }

    fn by_id(&self, key: &StoredKey) -> KeySelector {
        self.named(key.record.id.as_str())
    }

    async fn seen(&self, text: &str) -> Result<StoredKey, CommandError> {
        self.get(&Actor::Operator, &self.named(text)).await
    }

    async fn names(&self, actor: &Actor, search: Option<&str>) -> (Vec<String>, u64) {
        let query = ListQuery {
            scope: None,
            search: search.map(str::to_owned),
            page: 1,
            per_page: 100,
        };
        let page = self.list(actor, &query).await.unwrap();
        let names = page.keys.iter().map(|key| key.record.name.to_string());
        (names.collect(), page.total)
    }
}

fn text(key: &StoredKey) -> &ApiKey {
    match &key.shown {
        ShownKey::Whole(text) => text,
        ShownKey::Masked(masked) => panic!("only {masked} is shown"),
    }
}

fn denial<T>(result: Result<T, CommandError>) -> Denial {
    match result {
        Err(CommandError::Denied(denial)) => denial,
        Err(CommandError::Store(error)) => panic!("the store failed: {error}"),
        Ok(_) => panic!("it was done"),
    }
}

fn failure<T>(result: Result<T, CommandError>) -> StoreError {
    match result {
        Err(CommandError::Store(error)) => *error.downcast::<StoreError>().unwrap(),
        Err(CommandError::Denied(denial)) => panic!("denied: {denial}"),
        Ok(_) => panic!("it was done"),
    }
}

mod opening {
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
            assert_eq!(store.names(&Actor::Operator, None).await.1, peeked.keys);
            store.close().await;
            assert_eq!(house.files(), before, "{what}");
            peeked.keys
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
}

mod commands {
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
            .raw_sql("UPDATE keys SET sealed = (SELECT sealed FROM keys WHERE name = 'a') WHERE name = 'b'")
            .await;
        assert!(text(&store.seen(a.record.id.as_str()).await.unwrap()) == text(&a));
        let seen = store.seen(b.record.id.as_str()).await.unwrap();
        assert!(matches!(seen.shown, ShownKey::Masked(masked) if masked == text(&b).masked()));
    }
}

mod trail {
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
            .raw_sql(
                "CREATE TRIGGER no BEFORE INSERT ON audit BEGIN SELECT raise(ABORT, 'no'); END",
            )
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
}

mod lists {
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
}

mod feed {
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
}

mod trouble {
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
}
