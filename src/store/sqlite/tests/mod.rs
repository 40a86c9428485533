//! The store over real files.

mod commands;
mod feed;
mod lists;
mod opening;
mod trail;
mod trouble;

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
        client: Some(crate::net::Peer::Ip([192, 0, 2, 7].into())),
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
