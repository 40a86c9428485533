//! What the benchmarks share: a store full of keys, made in one transaction.

use keygate::key::ApiKey;
use keygate::keycache::Keys;
use keygate::store::{OpenMode, OpenOptions, open};
use sqlx::ConnectOptions;
use std::path::Path;
use zeroize::Zeroizing;

/// Makes a store in this folder (`data/keygate.db`, `secret/master`) with this many keys of scope fullAccess, and gives
/// their texts and the cache that was loaded from it.
pub async fn store_of(folder: &Path, count: usize) -> (Vec<String>, Keys) {
    let path = folder.join("data/keygate.db");
    let options = OpenOptions {
        path: path.clone(),
        secret_file: folder.join("secret/master"),
        secret_env: None::<Zeroizing<String>>,
        mode: OpenMode::CreateOrMigrate,
    };
    let keys = Keys::start(open(options).await.expect("a new store"))
        .await
        .expect("an empty store loads");
    let random = aws_lc_rs::rand::SystemRandom::new();
    let texts: Vec<String> = (0..count)
        .map(|_| ApiKey::generate(&random).expose().to_owned())
        .collect();
    let mut raw = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&path)
        .connect()
        .await
        .expect("the store opens");
    let run = |text: &'static str| sqlx::raw_sql(text);
    run("BEGIN IMMEDIATE")
        .execute(&mut raw)
        .await
        .expect("begin");
    for (i, text) in texts.iter().enumerate() {
        let digest = keys.digester().digest(text.as_bytes());
        sqlx::query(
            "INSERT INTO keys VALUES (?, ?, NULL, ?, ?, ?, 'fullAccess', 1, 1700000000, NULL, ?, 1)",
        )
        .bind(format!("{i:020}"))
        .bind(digest.as_bytes().to_vec())
        .bind("masked")
        .bind(format!("customer {i:07}"))
        .bind(format!("customer {i:07}"))
        .bind(i64::try_from(i).expect("a small number") + 1)
        .execute(&mut raw)
        .await
        .expect("insert");
    }
    sqlx::query("UPDATE meta SET revision = ?")
        .bind(i64::try_from(count).expect("a small number"))
        .execute(&mut raw)
        .await
        .expect("revision");
    run("COMMIT").execute(&mut raw).await.expect("commit");
    keys.refresh().await.expect("the cache follows");
    assert_eq!(keys.cache().len(), count);
    (texts, keys)
}
