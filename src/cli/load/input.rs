//! What a run is made of, besides arguments: keys from a file or a store, routes and certificates from files.

use super::super::chain;
use super::Failed;
use super::args::LoadArgs;
use super::output::store_files;
use crate::clock::Timestamp;
use crate::config::Loaded;
use crate::load::{Kind, LoadRoute, LoadTarget, LoadedKey, Records, Stock, from_store, read_keys};
use crate::store::{self, KeyStore, OpenMode, OpenOptions};
use crate::tls::Roots;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All files that a run reads, or that belong to the gateway whose configuration it reads.
pub(super) fn files(args: &LoadArgs, loaded: Option<&Loaded>) -> Vec<PathBuf> {
    let named = [&args.keys, &args.routes, &args.ca];
    let mut files: Vec<PathBuf> = named.into_iter().flatten().cloned().collect();
    if let Some(loaded) = loaded {
        files.extend(loaded.files.paths());
        files.extend(store_files(&loaded.cold.keys.store));
        files.push(loaded.cold.keys.secret.clone());
    }
    files
}

/// The keys that there are, each with its kind.
pub(super) async fn keys(args: &LoadArgs, loaded: Option<&Loaded>) -> Result<Stock, Failed> {
    let of_file = |keys: Vec<LoadedKey>| Stock { keys, hidden: 0 };
    let mut keys = Vec::new();
    if let Some(path) = &args.keys {
        let shown = path.display();
        let mut text = zeroize::Zeroizing::new(String::new());
        let read = match path.as_os_str() == "-" {
            true => io::stdin().read_to_string(&mut text).map(drop),
            false => fs::File::open(path)
                .and_then(|mut file| file.read_to_string(&mut text))
                .map(drop),
        };
        read.map_err(|error| Failed::Usage(format!("--keys {shown}: {error}")))?;
        keys = read_keys(&text).map_err(|why| Failed::Usage(format!("--keys {shown}: {why}")))?;
    }
    let Some(loaded) = loaded else {
        return Ok(of_file(keys));
    };
    let is_complete = !keys.iter().any(|key| key.kind == Kind::Valid(None));
    if args.keys.is_some() && is_complete {
        // The file says all that there is to know.
        return Ok(of_file(keys));
    }
    let store = open(loaded).await?;
    let now = Timestamp::now();
    let stock = if args.keys.is_some() {
        let records = Records::load(store.as_ref(), now).await;
        records.map(|records| {
            records.complete(&mut keys);
            of_file(keys)
        })
    } else {
        from_store(store.as_ref(), now).await
    };
    store.close().await;
    stock.map_err(|error| Failed::Run(chain(&error)))
}

async fn open(loaded: &Loaded) -> Result<Arc<dyn KeyStore>, Failed> {
    let keys = &loaded.cold.keys;
    let opened = store::open(OpenOptions {
        path: keys.store.clone(),
        secret_file: keys.secret.clone(),
        secret_env: store::secret_from_env(),
        mode: OpenMode::ReadOnly,
    });
    opened.await.map_err(|error| Failed::Usage(chain(&error)))
}

pub(super) fn routes(args: &LoadArgs, target: &LoadTarget) -> Result<Vec<LoadRoute>, Failed> {
    let mut routes = args.route.clone();
    if let Some(path) = &args.routes {
        let shown = path.display();
        let text = fs::read_to_string(path)
            .map_err(|error| Failed::Usage(format!("--routes {shown}: {error}")))?;
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let route = line.parse().map_err(|error| {
                Failed::Usage(format!("--routes {shown}: line {}: {error}", at + 1))
            })?;
            routes.push(route);
        }
    }
    if routes.is_empty() {
        let path = target.path.as_deref().unwrap_or("/");
        routes.push(LoadRoute::get(path).map_err(|error| Failed::Usage(error.to_string()))?);
    } else if let Some(path) = &target.path {
        return Err(Failed::Usage(format!(
            "the URL has a path, {path}, and there are routes: write it into them"
        )));
    }
    Ok(routes)
}

pub(super) fn roots(path: &Path) -> Result<Roots, Failed> {
    let wrong = |why: String| Failed::Usage(format!("--ca {}: {why}", path.display()));
    let pem = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    Roots::from_pem(&pem).map_err(|error| wrong(chain(&error)))
}
