//! One key of the store, for the commands that ask about it and do nothing to it.

use super::door::{Door, Need};
use super::error::KeysError;
use super::input;
use crate::key::{Actor, ApiKey, CommandError, Denial, KeyId, KeyRecord, KeySelector};
use std::path::Path;
use std::process::ExitCode;
use zeroize::Zeroizing;

/// What was looked for.
pub(in crate::cli) enum Found {
    Key(KeyRecord),
    /// There is none.
    None,
    /// What came on standard input cannot be a key.
    Malformed,
}

/// The key of this id, or, where none is given, the key on standard input: its text, never an id.
///
/// # Errors
/// A sentence, and the exit code that goes with it.
pub(in crate::cli) fn look_up(
    config: &Path,
    id: Option<KeyId>,
) -> Result<Found, (String, ExitCode)> {
    let said = |error: KeysError| (error.report(), error.exit_code());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| said(KeysError::Runtime(error)))?;
    runtime.block_on(found(config, id)).map_err(said)
}

async fn found(config: &Path, id: Option<KeyId>) -> Result<Found, KeysError> {
    let text = match id {
        Some(id) => Zeroizing::new(id.to_string()),
        None => input::line(std::io::stdin())?,
    };
    if id.is_none() && ApiKey::check(text.as_bytes()).is_err() {
        return Ok(Found::Malformed);
    }
    let Some(store) = Door::read(config, Need::Store)?.open_if_there().await? else {
        return Ok(Found::None);
    };
    // The gateway never takes an id for a key.
    let selector = KeySelector {
        id,
        ..KeySelector::parse(&text, store.digester())
    };
    let key = store.get(&Actor::Operator, &selector).await;
    store.close().await;
    match key {
        Ok(key) => Ok(Found::Key(key.record)),
        Err(CommandError::Denied(Denial::NotFound)) => Ok(Found::None),
        Err(error) => Err(KeysError::of(error, &selector.shown)),
    }
}
