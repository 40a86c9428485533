//! The cache and its keeper over real SQLite files.

use super::*;
use crate::clock::Timestamp;
use crate::key::*;
use crate::store::{self, KeyStore, OpenMode, OpenOptions};
use std::cell::RefCell;
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

thread_local! {
    /// One worker's memory for each cache that this thread has to do with.
    static VERIFIERS: RefCell<Vec<(Arc<KeyCache>, Verifier)>> = RefCell::default();
}

/// As a worker does that was asked for this key before: what it remembers must be as good as the cache.
fn identify(keys: &Keys, key: &ApiKey) -> Result<Principal, Unidentified> {
    VERIFIERS.with_borrow_mut(|verifiers| {
        let cache = keys.cache();
        let known = verifiers.iter().position(|(of, _)| Arc::ptr_eq(of, cache));
        let at = known.unwrap_or_else(|| {
            verifiers.push((Arc::clone(cache), Verifier::new(Arc::clone(cache))));
            verifiers.len() - 1
        });
        let verifier = &verifiers[at].1;
        let ask = || verifier.identify(key.expose().as_bytes(), Timestamp::now);
        let _ = ask(); // the next would find what this one let in
        ask()
    })
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

#[tokio::test]
async fn what_is_no_key_and_what_is_unknown_identify_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::start(store(folder.path()).await).await.unwrap();
    let (id, _) = create(&keys, new_key("a", "authOnly")).await;
    for (value, expected) in [
        (&b""[..], Unidentified::Malformed),
        (&[b'a'; 19], Unidentified::Malformed),
        (&[b'a'; 129], Unidentified::Malformed),
        (&[0xff; 40], Unidentified::Malformed),
        (b"0123456789 abcdef0123", Unidentified::Malformed),
        (&[b'a'; 40], Unidentified::Unknown),
        (id.as_str().as_bytes(), Unidentified::Unknown),
    ] {
        let identified = keys.cache().identify(value, Timestamp::now);
        assert_eq!(identified.unwrap_err(), expected, "{value:?}");
    }
}

#[tokio::test]
async fn a_key_ends_at_its_second_without_anyone_changing_it() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::start(store(folder.path()).await).await.unwrap();
    let end = 2_000_000_000;
    let new = NewKey {
        expires_at: Some(Timestamp::from_unix_seconds(end)),
        ..new_key("a", "authOnly")
    };
    let (id, key) = create(&keys, new).await;
    let verifier = Verifier::new(Arc::clone(keys.cache()));
    let at = |second| {
        let now = Timestamp::from_unix_seconds(second);
        verifier.identify(key.expose().as_bytes(), || now)
    };
    assert!(at(end - 2).is_ok());
    let principal = at(end - 1).unwrap();
    assert_eq!(at(end).unwrap_err(), Unidentified::Expired(id));
    assert_eq!(
        principal.name.as_str(),
        "a",
        "what was identified stays as it was"
    );
    assert_eq!(format!("{principal:?}"), format!("Principal({id:?})"));
}

#[tokio::test]
async fn what_another_process_changes_is_in_force_after_a_look() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (store(folder.path()).await, store(folder.path()).await);
    let keys = Keys::start(ours.clone()).await.unwrap();
    let there = async |command| {
        let executed = theirs.execute(command, operator(), Reveal::Always).await;
        let key = executed.unwrap().key;
        keys.refresh().await.unwrap();
        key
    };
    let made = there(Command::Create(new_key("a", "authOnly"))).await;
    let key = whole(made.clone());
    assert_eq!(identify(&keys, &key).unwrap().name.as_str(), "a");
    let change = KeyChange {
        name: Some(KeyName::parse("b").unwrap()),
        ..KeyChange::default()
    };
    there(Command::Update(named(&keys, key.expose()), change)).await;
    assert_eq!(identify(&keys, &key).unwrap().name.as_str(), "b");
    there(Command::Delete(named(&keys, key.expose()))).await;
    assert_eq!(identify(&keys, &key).unwrap_err(), Unidentified::Unknown);
    // The same text again, brought by them, then deleted by us between two looks.
    let new = NewKey {
        brought: Some(key.clone()),
        ..new_key("c", "authOnly")
    };
    theirs
        .execute(Command::Create(new), operator(), Reveal::Always)
        .await
        .unwrap();
    let delete = Command::Delete(named(&keys, key.expose()));
    keys.execute(delete, operator(), Reveal::Always)
        .await
        .unwrap();
    assert_eq!(identify(&keys, &key).unwrap_err(), Unidentified::Unknown);
    assert_same(&keys, &ours).await;
}

/// Found by the random commands below: the answer spoke of a key that the cache had not heard of.
#[tokio::test]
async fn an_answer_that_changed_nothing_is_in_force_too() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (store(folder.path()).await, store(folder.path()).await);
    let keys = Keys::start(ours).await.unwrap();
    let command = Command::Create(new_key("a", "authOnly"));
    let made = theirs.execute(command, operator(), Reveal::Always).await;
    let key = whole(made.unwrap().key);
    let same = Command::Update(named(&keys, key.expose()), KeyChange::default());
    keys.execute(same, operator(), Reveal::Always)
        .await
        .unwrap();
    assert!(identify(&keys, &key).is_ok());
}

#[tokio::test]
async fn the_feed_is_looked_at_without_being_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (store(folder.path()).await, store(folder.path()).await);
    let keys = Keys::start(ours).await.unwrap();
    let command = Command::Create(new_key("a", "authOnly"));
    let made = theirs.execute(command, operator(), Reveal::Always).await;
    let key = whole(made.unwrap().key);
    // It ends when the feed brings the key; a feed that does not is found by the limit, however slow the machine.
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while identify(&keys, &key).is_err() {
        assert!(std::time::Instant::now() < limit, "the feed brings nothing");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_read_leaves_every_key_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::start(store(folder.path()).await).await.unwrap();
    let (_, key) = create(&keys, new_key("a", "authOnly")).await;
    let good = keys.feed();
    assert!(good.last_error.is_none() && good.epoch.is_some());
    assert_eq!(good.revision, Revision(1));

    let path = folder.path().join("keys.db");
    let aside = folder.path().join("aside.db");
    std::fs::rename(&path, &aside).unwrap();
    let error = keys.refresh().await.unwrap_err();
    assert!(error.is_missing(), "{error}");
    assert!(identify(&keys, &key).is_ok());
    let bad = keys.feed();
    assert!(bad.last_error.unwrap().contains("does not exist"));
    assert!(keys.feed().age >= bad.age, "it grows");
    let command = Command::Create(new_key("b", "authOnly"));
    let refused = keys.execute(command, operator(), Reveal::Always).await;
    let refused = refused.err().unwrap();
    assert!(store::StoreError::of(&refused).unwrap().is_unwritable());

    std::fs::rename(&aside, &path).unwrap();
    keys.refresh().await.unwrap();
    assert!(keys.feed().last_error.is_none());
    create(&keys, new_key("b", "authOnly")).await;
    assert_eq!(keys.cache().len(), 2);
}

/// Copies a closed store and its secret.
fn copy_store(from: &Path, to: &Path) {
    for file in ["keys.db", "master"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

#[tokio::test]
async fn after_a_restore_the_keys_of_the_backup_are_in_force_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let backup = tempfile::tempdir().unwrap();
    let first = Keys::start(store(folder.path()).await).await.unwrap();
    let (kept_id, kept) = create(&first, new_key("kept", "authOnly")).await;
    first.close().await;
    copy_store(folder.path(), backup.path());

    let ours = store(folder.path()).await;
    let keys = Keys::start(ours.clone()).await.unwrap();
    let (_, lost) = create(&keys, new_key("lost", "authOnly")).await;
    let delete = Command::Delete(named(&keys, kept_id.as_str()));
    keys.execute(delete, operator(), Reveal::Always)
        .await
        .unwrap();
    let restore = |name: &str| {
        for tail in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(folder.path().join(format!("keys.db{tail}")));
        }
        let beside = folder.path().join(name);
        std::fs::copy(backup.path().join("keys.db"), &beside).unwrap();
        std::fs::rename(&beside, folder.path().join("keys.db")).unwrap();
    };
    restore("one");
    keys.refresh().await.unwrap();
    assert!(identify(&keys, &kept).is_ok(), "it is back");
    assert_eq!(identify(&keys, &lost).unwrap_err(), Unidentified::Unknown);
    assert_same(&keys, &ours).await;

    // A command that is the first to meet the backup is in force when answered, too.
    create(&keys, new_key("more", "authOnly")).await;
    restore("two");
    let delete = Command::Delete(named(&keys, kept.expose()));
    keys.execute(delete, operator(), Reveal::Always)
        .await
        .unwrap();
    assert_eq!(identify(&keys, &kept).unwrap_err(), Unidentified::Unknown);
    assert_eq!(keys.cache().len(), 0);
    assert_same(&keys, &ours).await;
}

#[tokio::test]
async fn another_epoch_replaces_everything() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let ours = store(folder.path()).await;
    std::fs::copy(folder.path().join("master"), other.path().join("master")).unwrap();
    let keys = Keys::start(ours.clone()).await.unwrap();
    let (_, old) = create(&keys, new_key("old", "authOnly")).await;
    let epoch = keys.feed().epoch;
    // A store of its own, with the same secret and at the same revision.
    let secret = std::fs::read_to_string(other.path().join("master")).unwrap();
    let theirs = store::open(OpenOptions {
        path: other.path().join("keys.db"),
        secret_file: other.path().join("none"),
        secret_env: Some(zeroize::Zeroizing::new(secret)),
        mode: OpenMode::CreateOrMigrate,
    })
    .await
    .unwrap();
    let command = Command::Create(new_key("new", "authOnly"));
    let made = theirs.execute(command, operator(), Reveal::Always).await;
    let new = whole(made.unwrap().key);
    theirs.close().await;
    for tail in ["-wal", "-shm"] {
        std::fs::remove_file(folder.path().join(format!("keys.db{tail}"))).unwrap();
    }
    std::fs::rename(other.path().join("keys.db"), folder.path().join("keys.db")).unwrap();
    keys.refresh().await.unwrap();
    assert!(identify(&keys, &old).is_err() && identify(&keys, &new).is_ok());
    assert!(keys.feed().epoch != epoch);
    assert_same(&keys, &ours).await;
}

#[tokio::test]
async fn a_command_is_carried_out_though_nobody_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let ours = store(folder.path()).await;
    let keys = Keys::start(ours.clone()).await.unwrap();
    let command = Command::Create(new_key("a", "authOnly"));
    let mut waiting = Box::pin(keys.execute(command, operator(), Reveal::Always));
    // Polled once, so that it is on its way, and dropped.
    assert!(futures_poll(waiting.as_mut()).await.is_pending());
    drop(waiting);
    keys.refresh().await.unwrap();
    assert_eq!(keys.cache().len(), 1);
    assert_same(&keys, &ours).await;
}

async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx))).await
}

#[test]
fn keys_are_used_from_threads_whose_runtimes_have_neither_io_nor_time() {
    let folder = tempfile::tempdir().unwrap();
    let control = tokio::runtime::Runtime::new().unwrap();
    let keys = control
        .block_on(async { Keys::start(store(folder.path()).await).await })
        .unwrap();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let keys = keys.clone();
            scope.spawn(move || {
                let bare = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                bare.block_on(async {
                    for i in 0..10 {
                        let (id, key) = create(&keys, new_key(&format!("{worker} {i}"), "x")).await;
                        assert!(identify(&keys, &key).is_ok());
                        let selector = named(&keys, id.as_str());
                        assert!(keys.get(&Actor::Operator, &selector).await.is_ok());
                        let delete = Command::Delete(selector.clone());
                        keys.execute(delete, operator(), Reveal::Always)
                            .await
                            .unwrap();
                        assert!(identify(&keys, &key).is_err());
                        assert!(keys.get(&Actor::Operator, &selector).await.is_err());
                    }
                    let query = ListQuery {
                        scope: None,
                        search: None,
                        page: 1,
                        per_page: 10,
                    };
                    keys.list(&Actor::Operator, &query).await.unwrap();
                });
            });
        }
    });
    control.block_on(keys.close());
    let late = control.block_on(keys.execute(
        Command::Create(new_key("late", "x")),
        operator(),
        Reveal::Always,
    ));
    assert!(matches!(late, Err(CommandError::Store(_))));
}

#[tokio::test]
async fn a_lock_that_another_process_keeps_does_not_stop_the_feed() {
    use sqlx::{ConnectOptions, Connection};
    let folder = tempfile::tempdir().unwrap();
    let ours = store(folder.path()).await;
    let keys = Keys::start(ours.clone()).await.unwrap();
    let (_, key) = create(&keys, new_key("a", "authOnly")).await;
    let mut raw = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(folder.path().join("keys.db"))
        .connect()
        .await
        .unwrap();
    let mut lock = raw.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let waiting = {
        let keys = keys.clone();
        let command = Command::Create(new_key("b", "authOnly"));
        tokio::spawn(async move { keys.execute(command, operator(), Reveal::Always).await })
    };
    let looked = keys.feed().age;
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(60);
    // The command cannot end before the lock does, so a look that succeeds now was made beside it.
    while keys.feed().age >= looked || keys.feed().last_error.is_some() {
        assert!(std::time::Instant::now() < limit, "the feed stands still");
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    sqlx::raw_sql("UPDATE keys SET enabled = 0, revision = 2; UPDATE meta SET revision = 2")
        .execute(&mut *lock)
        .await
        .unwrap();
    lock.commit().await.unwrap();
    waiting.await.unwrap().unwrap();
    assert!(matches!(
        identify(&keys, &key),
        Err(Unidentified::Disabled(_))
    ));
    assert_same(&keys, &ours).await;
}

#[tokio::test]
async fn a_record_that_is_replaced_is_never_missing_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::start(store(folder.path()).await).await.unwrap();
    let (id, key) = create(&keys, new_key("0", "authOnly")).await;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::SeqCst;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut last = Revision(0);
            while !stop.load(order) {
                let revision = identify(&keys, &key).unwrap().record().revision;
                assert!(revision >= last);
                last = revision;
            }
        });
        let mut scopes = entries::ScopeNames::default();
        let mut record = identify(&keys, &key).unwrap().record().clone();
        let digest = keys.digester().digest(key.expose().as_bytes());
        for revision in 2..20_000 {
            record.revision = Revision(revision);
            let record = record.clone();
            keys.cache()
                .apply(crate::store::Change::Put { digest, record }, &mut scopes);
        }
        stop.store(true, order);
        reader.join().unwrap();
    });
    assert_eq!(identify(&keys, &key).unwrap().record().id, id);
}

/// What a random step does, with the number of a key where it names one.
#[derive(Clone, Debug)]
enum Step {
    Create(u8),
    Rename(u8, u8),
    Toggle(u8, bool),
    Delete(u8),
    /// The same text comes back after it was deleted.
    Bring(u8),
    Look,
}

mod random {
    use super::*;
    use proptest::prelude::*;

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => any::<u8>().prop_map(Step::Create),
            2 => (any::<u8>(), any::<u8>()).prop_map(|(k, n)| Step::Rename(k, n)),
            2 => (any::<u8>(), any::<bool>()).prop_map(|(k, on)| Step::Toggle(k, on)),
            2 => any::<u8>().prop_map(Step::Delete),
            1 => any::<u8>().prop_map(Step::Bring),
            1 => Just(Step::Look),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn two_processes_and_any_commands_end_with_caches_that_equal_the_store(
            steps in proptest::collection::vec((any::<bool>(), step()), 1..40)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(steps));
        }
    }

    async fn run(steps: Vec<(bool, Step)>) {
        let folder = tempfile::tempdir().unwrap();
        let stores = [store(folder.path()).await, store(folder.path()).await];
        let both = [
            Keys::start(stores[0].clone()).await.unwrap(),
            Keys::start(stores[1].clone()).await.unwrap(),
        ];
        let mut texts: Vec<ApiKey> = Vec::new();
        for (second, step) in steps {
            let keys = &both[usize::from(second)];
            let text = |number: u8| texts.get(usize::from(number) % texts.len().max(1));
            let change = |number, change| {
                let selector = named(keys, text(number)?.expose());
                Some(Command::Update(selector, change))
            };
            let command = match step {
                Step::Create(n) => Some(Command::Create(new_key(&format!("{n}"), "authOnly"))),
                Step::Rename(k, n) => change(
                    k,
                    KeyChange {
                        name: Some(KeyName::parse(&format!("{n}")).unwrap()),
                        ..KeyChange::default()
                    },
                ),
                Step::Toggle(k, enabled) => change(
                    k,
                    KeyChange {
                        enabled: Some(enabled),
                        ..KeyChange::default()
                    },
                ),
                Step::Delete(k) => text(k).map(|t| Command::Delete(named(keys, t.expose()))),
                Step::Bring(k) => text(k).map(|t| {
                    Command::Create(NewKey {
                        brought: Some(t.clone()),
                        ..new_key("brought", "fullAccess")
                    })
                }),
                Step::Look => {
                    keys.refresh().await.unwrap();
                    None
                }
            };
            let Some(command) = command else { continue };
            let deleted = matches!(command, Command::Delete(_));
            match keys.execute(command, operator(), Reveal::Always).await {
                Ok(key) => {
                    let enabled = key.record.enabled;
                    let text = whole(key);
                    // In force on the handle that made it, at once.
                    assert_eq!(identify(keys, &text).is_ok(), enabled && !deleted);
                    texts.push(text);
                }
                Err(CommandError::Denied(Denial::NotFound | Denial::Duplicate)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        for (keys, store) in both.iter().zip(&stores) {
            keys.refresh().await.unwrap();
            assert_same(keys, store).await;
        }
        for keys in &both {
            keys.close().await;
        }
    }
}
