//! One key of the store, for the commands that ask about it and do nothing to it.

use super::door::{Door, Need};
use super::error::KeysError;
use super::input;
use crate::key::{Actor, CommandError, Denial, KeyRecord};
use std::path::Path;
use std::process::ExitCode;

/// The record of the key that `named` names: its id, or `-` for the key on standard input; `None` where there is none.
///
/// # Errors
/// A sentence, and the exit code that goes with it.
pub(in crate::cli) fn look_up(
    config: &Path,
    named: &str,
) -> Result<Option<KeyRecord>, (String, ExitCode)> {
    let said = |error: KeysError| (error.report(), error.exit_code());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| said(KeysError::Runtime(error)))?;
    runtime.block_on(record(config, named)).map_err(said)
}

async fn record(config: &Path, named: &str) -> Result<Option<KeyRecord>, KeysError> {
    let Some(store) = Door::read(config, Need::Store)?.open_if_there().await? else {
        return Ok(None);
    };
    let selector = input::selector(named, store.as_ref())?;
    let key = store.get(&Actor::Operator, &selector).await;
    store.close().await;
    match key {
        Ok(key) => Ok(Some(key.record)),
        Err(CommandError::Denied(Denial::NotFound)) => Ok(None),
        Err(error) => Err(KeysError::of(error, &selector.shown)),
    }
}
