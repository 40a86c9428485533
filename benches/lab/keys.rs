//! The keys that all contenders know, and where they are kept.

use crate::support::store::store_of;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// That many keys are sent at most. Of a million it is a fifth, in no order: what one of them brought into the processor's
/// caches is gone when its turn comes again.
const SENT: usize = 200_000;

pub struct Keys {
    /// keygate's: its store is in it, and the files of the others.
    pub folder: PathBuf,
    /// Of scope fullAccess. The place in the list makes the id.
    pub full: Vec<String>,
    pub auth_only: String,
    /// Those of `full` that are sent, one a line.
    pub sent: PathBuf,
}

/// What contenders other than keygate call the key of scope authOnly.
pub const AUTH_ONLY_ID: &str = "authOnly-1";

/// A key of the right form that nobody knows.
pub const UNKNOWN: &str = "0000000000000000000000000000000000000000";

impl Keys {
    /// Makes them, in this folder.
    pub fn make(folder: &Path, count: usize) -> Result<Keys> {
        std::fs::create_dir_all(folder)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let full = runtime.block_on(async {
            let (full, handle) = store_of(folder, count).await;
            handle.close().await;
            full
        });
        let sent = folder.join("sent.txt");
        std::fs::write(&sent, full[..count.min(SENT)].join("\n") + "\n")?;
        Ok(Keys {
            folder: folder.to_owned(),
            auth_only: auth_only(folder)?,
            full,
            sent,
        })
    }

    /// As the store of [`store_of`] numbers them.
    pub fn id(number: usize) -> String {
        format!("{number:020}")
    }

    /// Each key with its id, as files of maps have it; `between` and `end` are around the id.
    pub fn map(&self, between: &str, end: &str) -> String {
        let mut text = String::with_capacity(self.full.len() * 70);
        for (number, key) in self.full.iter().enumerate() {
            text.extend([key, between, &Keys::id(number), end]);
        }
        text.extend([&self.auth_only, between, AUTH_ONLY_ID, end]);
        text
    }
}

/// Makes the key of scope authOnly, as an operator does.
fn auth_only(folder: &Path) -> Result<String> {
    let main = folder.join("make.toml");
    std::fs::write(
        &main,
        "include = [\"make-routes.toml\"]\n[upstreams.chat]\nservers = [\"http://127.0.0.1:9\"]\n",
    )?;
    std::fs::write(
        folder.join("make-routes.toml"),
        "[scopes]\nauthOnly = []\nfullAccess = [\"authOnly\"]\n[defaults]\nupstream = \"chat\"\n\
         [[routes]]\npath = \"/{*rest}\"\nscope = \"authOnly\"\n",
    )?;
    let made = Command::new(env!("CARGO_BIN_EXE_keygate"))
        .args([
            "keys", "create", "--name", "customer", "--scope", "authOnly",
        ])
        .arg("--config")
        .arg(&main)
        .output()
        .context("keygate runs")?;
    let said = String::from_utf8_lossy(&made.stderr);
    ensure!(made.status.success(), "keygate keys create: {said}");
    Ok(String::from_utf8(made.stdout)?.trim().to_owned())
}
