//! The six actions, each from its arguments to what it prints.

use super::args::{AuditArgs, CreateArgs, DeleteArgs, GetArgs, KeysAction, ListArgs, UpdateArgs};
use super::door::{Door, Need};
use super::error::KeysError;
use super::input;
use super::print::{self, Show};
use crate::clock::Timestamp;
use crate::key::{
    Actor, Command, CommandError, Denial, KeyChange, KeyId, KeySelector, ListQuery, NewKey, Origin,
    ShownKey, StoredKey,
};
use crate::store::{AuditQuery, KeyStore};
use std::collections::HashSet;
use std::path::Path;
use zeroize::Zeroizing;

/// Keys that are read from the store at once.
const PER_PAGE: u64 = 1_000;

/// Carries out an action; what comes back is for standard output.
pub(super) async fn act(
    config: &Path,
    action: KeysAction,
    json: bool,
    now: Timestamp,
) -> Result<Zeroizing<String>, KeysError> {
    match action {
        KeysAction::Create(args) => create(config, args, json, now).await,
        KeysAction::List(args) => list(config, args, json, now).await,
        KeysAction::Get(args) => get(config, args, json, now).await,
        KeysAction::Update(args) => update(config, args, json, now).await,
        KeysAction::Delete(args) => delete(config, args, json, now).await,
        KeysAction::Audit(args) => audit(config, args, json, now).await,
    }
}

async fn create(
    config: &Path,
    args: CreateArgs,
    json: bool,
    now: Timestamp,
) -> Result<Zeroizing<String>, KeysError> {
    let door = Door::read(config, Need::Scopes)?;
    let scope = match args.scope {
        Some(scope) => scope,
        None => door.default_scope()?,
    };
    door.must_declare(&scope)?;
    let expires_at = args
        .expires_at
        .or(args.expires_in.map(|span| span.after(now)));
    must_be_ahead(expires_at, now)?;
    let brought = args.key_stdin.then(input::brought_key).transpose()?;
    let shown = brought.as_ref().map(|key| key.masked());

    let store = door.open_or_make().await?;
    let brought_as = brought
        .as_ref()
        .map(|key| KeySelector::parse(key.expose(), store.digester()));
    let new = NewKey {
        name: args.name,
        scope: scope.clone(),
        enabled: !args.disabled,
        expires_at,
        brought,
        if_absent: args.if_absent,
    };
    let executed = store
        .execute(Command::Create(new), operator(), door.reveal())
        .await
        .map_err(|e| KeysError::of(e, shown.as_deref().unwrap_or("that was made")))?;
    let key = executed.key;
    let record = &key.record;
    let existed = executed.change.is_none();
    if existed {
        if let Some(brought) = &brought_as {
            must_be_the_same(store.as_ref(), brought, &key).await?;
        }
        say!(
            "keygate: a key named `{}` exists already and stays as it is: id {}, scope {}{}",
            record.name,
            record.id,
            record.scope,
            if record.is_in_force(now) {
                ""
            } else {
                ", disabled or expired"
            }
        );
        if record.scope != scope {
            say!("keygate: warning: its scope is not {scope}, which was asked for");
        }
    }
    store.close().await;
    if json {
        return Ok(print::key_json(&key, Show::Whole));
    }
    match &key.shown {
        ShownKey::Whole(text) => {
            if !existed {
                say!(
                    "keygate: made the key `{}`: id {}, scope {}",
                    record.name,
                    record.id,
                    record.scope
                );
            }
            Ok(Zeroizing::new(format!("{}\n", text.expose())))
        }
        ShownKey::Masked(masked) => Err(KeysError::Refused(format!(
            "the key {masked} (id {}) cannot be shown again, since it was made with `reveal = \"once\"`; \
             take it from where it was stored, or delete it and make another",
            record.id
        ))),
    }
}

/// With `--if-absent --key-stdin`: the key of that name must be the one that is brought in.
async fn must_be_the_same(
    store: &dyn KeyStore,
    brought: &KeySelector,
    key: &StoredKey,
) -> Result<(), KeysError> {
    match store.get(&Actor::Operator, brought).await {
        Ok(found) if found.record.id == key.record.id => Ok(()),
        Ok(_) | Err(CommandError::Denied(Denial::NotFound)) => Err(KeysError::Refused(format!(
            "a key named `{}` exists already (id {}), and it is another one than that on standard input; nothing was changed",
            key.record.name, key.record.id
        ))),
        Err(error) => Err(KeysError::of(error, &brought.shown)),
    }
}

async fn list(
    config: &Path,
    args: ListArgs,
    json: bool,
    now: Timestamp,
) -> Result<Zeroizing<String>, KeysError> {
    let door = Door::read(config, Need::Store)?;
    let mut keys = Vec::new();
    if let Some(store) = door.open_if_there().await? {
        let mut seen = HashSet::new();
        let mut query = ListQuery {
            scope: args.scope,
            search: args.search.filter(|text| !text.is_empty()),
            page: 1,
            per_page: PER_PAGE,
        };
        loop {
            let page = store
                .list(&Actor::Operator, &query)
                .await
                .map_err(|e| KeysError::of(e, ""))?;
            let last = page.keys.is_empty() || query.page.saturating_mul(PER_PAGE) >= page.total;
            // A key that was made meanwhile moves the others down, onto the next page.
            keys.extend(
                page.keys
                    .into_iter()
                    .filter(|key| seen.insert(key.record.id)),
            );
            if last {
                break;
            }
            query.page += 1;
        }
        store.close().await;
    }
    let show = show(args.reveal);
    Ok(if json {
        print::keys_json(&keys, show)
    } else {
        print::keys_table(&keys, show, now)
    })
}

async fn get(
    config: &Path,
    args: GetArgs,
    json: bool,
    now: Timestamp,
) -> Result<Zeroizing<String>, KeysError> {
    let store = Door::read(config, Need::Store)?.open_to_read().await?;
    let selector = input::selector(&args.key.key, store.as_ref())?;
    let key = store
        .get(&Actor::Operator, &selector)
        .await
        .map_err(|e| KeysError::of(e, &selector.shown))?;
    store.close().await;
    Ok(printed(&key, show(args.reveal), json, now))
}

async fn update(
    config: &Path,
    args: UpdateArgs,
    json: bool,
    now: Timestamp,
) -> Result<Zeroizing<String>, KeysError> {
    // Only a new scope needs the policy: a key can be disabled whatever state that is in.
    let need = if args.scope.is_some() {
        Need::Scopes
    } else {
        Need::Store
    };
    let door = Door::read(config, need)?;
    if let Some(scope) = &args.scope {
        door.must_declare(scope)?;
    }
    let end = args
        .expires_at
        .or(args.expires_in.map(|span| span.after(now)));
    must_be_ahead(end, now)?;
    let change = KeyChange {
        name: args.name,
        scope: args.scope,
        enabled: match (args.enable, args.disable) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        },
        expires_at: if args.no_expiry {
            Some(None)
        } else {
            end.map(Some)
        },
    };
    let store = door.open_to_write().await?;
    let selector = input::selector(&args.key.key, store.as_ref())?;
    let shown = selector.shown.clone();
    let command = Command::Update(selector, change);
    let executed = store
        .execute(command, operator(), door.reveal())
        .await
        .map_err(|e| KeysError::of(e, &shown))?;
    store.close().await;
    Ok(printed(&executed.key, Show::Masked, json, now))
}

async fn delete(
    config: &Path,
    args: DeleteArgs,
    json: bool,
    now: Timestamp,
) -> Result<Zeroizing<String>, KeysError> {
    let door = Door::read(config, Need::Store)?;
    let store = door.open_to_write().await?;
    let selector = input::selector(&args.key.key, store.as_ref())?;
    let shown = selector.shown.clone();
    let executed = store
        .execute(Command::Delete(selector), operator(), door.reveal())
        .await
        .map_err(|e| KeysError::of(e, &shown))?;
    store.close().await;
    say!("keygate: deleted:");
    Ok(printed(&executed.key, Show::Masked, json, now))
}

async fn audit(
    config: &Path,
    args: AuditArgs,
    json: bool,
    now: Timestamp,
) -> Result<Zeroizing<String>, KeysError> {
    let door = Door::read(config, Need::Store)?;
    let mut entries = Vec::new();
    if let Some(store) = door.open_if_there().await? {
        let key = match &args.key {
            Some(argument) => Some(audited(argument, store.as_ref()).await?),
            None => None,
        };
        let query = AuditQuery {
            key,
            since: args.since.map(|since| since.resolve(now)),
            limit: args.limit,
        };
        entries = store.audit(&query).await?;
        store.close().await;
    }
    Ok(if json {
        print::audit_json(&entries)
    } else {
        print::audit_table(&entries)
    })
}

/// The id whose trail is asked for: the trail of a deleted key is still there, but only its id leads to it.
async fn audited(argument: &str, store: &dyn KeyStore) -> Result<KeyId, KeysError> {
    let selector = input::selector(argument, store)?;
    match (store.get(&Actor::Operator, &selector).await, selector.id) {
        (Ok(key), _) => Ok(key.record.id),
        (Err(CommandError::Denied(Denial::NotFound)), Some(id)) => Ok(id),
        (Err(error), _) => Err(KeysError::of(error, &selector.shown)),
    }
}

fn must_be_ahead(end: Option<Timestamp>, now: Timestamp) -> Result<(), KeysError> {
    match end {
        Some(end) if end <= now => Err(KeysError::Usage(
            "a key cannot end in the past: `keygate keys update ID --disable` switches one off"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

fn operator() -> Origin {
    Origin {
        actor: Actor::Operator,
        client: None,
        request_id: None,
    }
}

fn show(reveal: bool) -> Show {
    if reveal { Show::Whole } else { Show::Masked }
}

fn printed(key: &StoredKey, show: Show, json: bool, now: Timestamp) -> Zeroizing<String> {
    if json {
        print::key_json(key, show)
    } else {
        print::keys_table(std::slice::from_ref(key), show, now)
    }
}
