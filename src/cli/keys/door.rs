//! From a configuration to an open store.
//!
//! Of the configuration, the key commands need `[keys]` and, where a scope is named, the declared scopes. Secrets of
//! upstreams are not asked for. A policy with faults does not stand in the way of a command that names no scope: a key can
//! be disabled or deleted, and the trail read, whatever state the routes are in.

use super::error::KeysError;
use crate::config::{self, KeySettings, Problems, Secrets};
use crate::key::{Reveal, ScopeName, Scopes};
use crate::store::{self, KeyStore, OpenMode, OpenOptions, StoreError};
use std::path::Path;
use std::sync::Arc;

/// What a command needs of the configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// `[keys]`.
    Store,
    /// `[keys]` and the declared scopes.
    Scopes,
}

/// The way to a store, and what may be made there.
pub(super) struct Door {
    keys: KeySettings,
    reveal: Reveal,
    /// The declared scopes and the default among them; nothing where they are not needed.
    declared: Option<(Scopes, Option<ScopeName>)>,
}

impl Door {
    /// Reads the configuration as far as `need` says.
    pub(super) fn read(config: &Path, need: Need) -> Result<Door, KeysError> {
        let unusable = |problems: Problems| KeysError::Configuration(problems.to_string());
        match need {
            Need::Store => {
                let (keys, reveal) = config::load_keys(config).map_err(unusable)?;
                Ok(Door {
                    keys,
                    reveal,
                    declared: None,
                })
            }
            Need::Scopes => {
                let loaded = config::load(config, Secrets::Skipped).map_err(unusable)?;
                let hot = loaded.hot;
                Ok(Door {
                    keys: loaded.cold.keys,
                    reveal: hot.reveal,
                    declared: Some((hot.authority.scopes.clone(), hot.default_scope)),
                })
            }
        }
    }

    /// Whether new keys are kept so that they can be shown again.
    pub(super) fn reveal(&self) -> Reveal {
        self.reveal
    }

    /// The scope of a key that is made without one.
    pub(super) fn default_scope(&self) -> Result<ScopeName, KeysError> {
        match &self.declared {
            Some((_, Some(default))) => Ok(default.clone()),
            _ => Err(KeysError::Usage(format!(
                "`--scope` is needed: one of {}",
                self.names()
            ))),
        }
    }

    /// Refuses a scope that the configuration does not declare.
    pub(super) fn must_declare(&self, scope: &ScopeName) -> Result<(), KeysError> {
        match &self.declared {
            Some((scopes, _)) if scopes.declares(scope) => Ok(()),
            _ => Err(KeysError::Usage(format!(
                "the scope `{scope}` is not declared; the configuration declares {}",
                self.names()
            ))),
        }
    }

    fn names(&self) -> String {
        let names = self.declared.iter().flat_map(|(scopes, _)| scopes.names());
        let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    }

    /// Opens the store for changes, and makes it where there is none.
    pub(super) async fn open_or_make(&self) -> Result<Arc<dyn KeyStore>, KeysError> {
        match self.open(OpenMode::ReadWrite).await {
            Err(StoreError::Missing { .. } | StoreError::Unfinished { .. }) => {
                let store = self.open(OpenMode::CreateOrMigrate).await?;
                say!("keygate: made the key store {:?}", self.keys.store);
                Ok(store)
            }
            opened => Ok(opened?),
        }
    }

    /// Opens the store for changes.
    pub(super) async fn open_to_write(&self) -> Result<Arc<dyn KeyStore>, KeysError> {
        Ok(self.open(OpenMode::ReadWrite).await?)
    }

    /// Opens the store for reading.
    pub(super) async fn open_to_read(&self) -> Result<Arc<dyn KeyStore>, KeysError> {
        Ok(self.open(OpenMode::ReadOnly).await?)
    }

    /// Opens the store for reading, or says that there is none yet and that this is no fault.
    pub(super) async fn open_if_there(&self) -> Result<Option<Arc<dyn KeyStore>>, KeysError> {
        match self.open(OpenMode::ReadOnly).await {
            Err(StoreError::Missing { path }) => {
                say!(
                    "keygate: there is no key store {path:?} yet: `keygate keys create` or `keygate run` makes it"
                );
                Ok(None)
            }
            opened => Ok(Some(opened?)),
        }
    }

    async fn open(&self, mode: OpenMode) -> Result<Arc<dyn KeyStore>, StoreError> {
        store::open(OpenOptions {
            path: self.keys.store.clone(),
            secret_file: self.keys.secret.clone(),
            secret_env: store::secret_from_env(),
            mode,
        })
        .await
    }
}
