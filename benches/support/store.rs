//! A store full of keys, made in one transaction.

use keygate::key::ApiKey;
use keygate::keycache::Keys;
use keygate::store::{OpenMode, OpenOptions, open};
use sqlx::{ConnectOptions, Connection};
use std::fmt::Write;
use std::path::Path;
use zeroize::Zeroizing;

/// How many keys one statement brings.
const BATCH: usize = 10_000;

/// Makes a store in this folder (`data/keygate.db`, `secret/master`) with this many keys of scope fullAccess, and gives
/// their texts, in the order of their rows, and the cache that was loaded from it.
pub async fn store_of(folder: &Path, count: usize) -> (Vec<String>, Keys) {
    let keys = keys_of(folder).await;
    let random = aws_lc_rs::rand::SystemRandom::new();
    let texts: Vec<String> = (0..count)
        .map(|_| ApiKey::generate(&random).expose().to_owned())
        .collect();
    let mut raw = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(folder.join("data/keygate.db"))
        // In KiB: without it a million digests, in no order, would be sorted into an index on the disk.
        .pragma("cache_size", "-500000")
        .connect()
        .await
        .expect("the store opens");
    let mut writing = raw.begin_with("BEGIN IMMEDIATE").await.expect("begin");
    for (batch, texts) in texts.chunks(BATCH).enumerate() {
        let digests: Vec<String> = texts
            .iter()
            .map(|text| hex(keys.digester().digest(text.as_bytes()).as_bytes()))
            .collect();
        sqlx::query(
            "INSERT INTO keys SELECT printf('%020d', ?2 + key), unhex(value), NULL, 'masked', \
             printf('customer %07d', ?2 + key), printf('customer %07d', ?2 + key), 'fullAccess', 1, 1700000000, \
             NULL, ?2 + key + 1, 1 FROM json_each(?1)",
        )
        .bind(serde_json::json!(digests).to_string())
        .bind(number(batch * BATCH))
        .execute(&mut *writing)
        .await
        .expect("insert");
    }
    sqlx::query("UPDATE meta SET revision = ?")
        .bind(number(count))
        .execute(&mut *writing)
        .await
        .expect("revision");
    writing.commit().await.expect("commit");
    keys.refresh().await.expect("the cache follows");
    assert_eq!(keys.cache().len(), count);
    (texts, keys)
}

/// The keys of the store in this folder, loaded; where there is no store, it is made.
pub async fn keys_of(folder: &Path) -> Keys {
    let options = OpenOptions {
        path: folder.join("data/keygate.db"),
        secret_file: folder.join("secret/master"),
        secret_env: None::<Zeroizing<String>>,
        mode: OpenMode::CreateOrMigrate,
    };
    Keys::start(open(options).await.expect("the store opens"))
        .await
        .expect("the store loads")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn number(count: usize) -> i64 {
    i64::try_from(count).expect("a small number")
}
