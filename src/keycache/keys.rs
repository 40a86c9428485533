//! The handle by which the rest of the process reaches keys.

use super::entries::KeyCache;
use super::keeper::{Keeper, Message, Order};
use crate::key::{
    Actor, Command, CommandError, Digester, KeySelector, ListQuery, Origin, Page, Reveal, Revision,
    StoredKey,
};
use crate::store::{Epoch, KeyStore, Position, StoreError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};

/// How many commands may wait for the keeper.
const QUEUE: usize = 256;

/// The keys: the cache that requests are checked against, and the way to change them. Cheap to clone.
///
/// It may be used from any thread and any runtime: what touches the store runs on the runtime on which it was started.
#[derive(Clone)]
pub struct Keys {
    cache: Arc<KeyCache>,
    store: Arc<dyn KeyStore>,
    feed: Arc<Feed>,
    keeper: mpsc::Sender<Message>,
    runtime: runtime::Handle,
}

impl Keys {
    /// Loads every key and starts the keeper on the current tokio runtime.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(store: Arc<dyn KeyStore>) -> Result<Self, StoreError> {
        let cache = Arc::new(KeyCache::new(store.digester().clone()));
        let feed = Arc::new(Feed::new());
        let keeper =
            Keeper::start(Arc::clone(&store), Arc::clone(&cache), Arc::clone(&feed)).await?;
        let (sender, messages) = mpsc::channel(QUEUE);
        let runtime = runtime::Handle::current();
        // Ends by itself when the last handle is dropped, or by `close`.
        runtime.spawn(keeper.run(messages));
        Ok(Keys {
            cache,
            store,
            feed,
            keeper: sender,
            runtime,
        })
    }

    /// The copy of every key that requests are checked against.
    pub fn cache(&self) -> &Arc<KeyCache> {
        &self.cache
    }

    /// What digests keys for this store.
    pub fn digester(&self) -> &Digester {
        self.store.digester()
    }

    /// Carries out a command. When this returns, it is in force; when this is dropped, it is carried out all the same.
    /// For a deletion the key comes back as it was.
    ///
    /// # Errors
    /// When it is refused, or the store fails: then nothing was changed, unless the error says that this is unknown.
    pub async fn execute(
        &self,
        command: Command,
        origin: Origin,
        reveal: Reveal,
    ) -> Result<StoredKey, CommandError> {
        let (answer, result) = oneshot::channel();
        let order = Order {
            command,
            origin,
            reveal,
            asked: Instant::now(),
            answer,
        };
        let message = Message::Execute(Box::new(order));
        if self.keeper.send(message).await.is_err() {
            return Err(StoreError::Closed.into());
        }
        result.await.unwrap_or(Err(StoreError::Closed.into()))
    }

    /// One key, from the store.
    ///
    /// # Errors
    /// When the actor may not see it, there is none, or the store fails.
    pub async fn get(
        &self,
        actor: &Actor,
        selector: &KeySelector,
    ) -> Result<StoredKey, CommandError> {
        let (store, actor, selector) = (self.store.clone(), actor.clone(), selector.clone());
        self.runtime
            .spawn(async move { store.get(&actor, &selector).await })
            .await
            .unwrap_or(Err(StoreError::Closed.into()))
    }

    /// A page of keys, from the store.
    ///
    /// # Errors
    /// When the actor may not list keys, or the store fails.
    pub async fn list(&self, actor: &Actor, query: &ListQuery) -> Result<Page, CommandError> {
        let (store, actor, query) = (self.store.clone(), actor.clone(), query.clone());
        self.runtime
            .spawn(async move { store.list(&actor, &query).await })
            .await
            .unwrap_or(Err(StoreError::Closed.into()))
    }

    /// Looks at the feed now, after what was asked before.
    ///
    /// # Errors
    /// When the store fails; the cache stays as it is.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let (answer, result) = oneshot::channel();
        if self.keeper.send(Message::Refresh { answer }).await.is_err() {
            return Err(StoreError::Closed);
        }
        result.await.unwrap_or(Err(StoreError::Closed))
    }

    /// How well the cache follows the store.
    pub fn feed(&self) -> FeedStatus {
        self.feed.status()
    }

    /// Carries out what was asked before, then closes the store. Later commands fail.
    pub async fn close(&self) {
        let (answer, closed) = oneshot::channel();
        if self.keeper.send(Message::Close { answer }).await.is_ok() {
            let _ = closed.await; // an error means that the keeper has ended already
        }
    }
}

/// How well the cache follows the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeedStatus {
    /// The store's.
    pub epoch: Option<Epoch>,
    /// Every change up to this one is in force.
    pub revision: Revision,
    /// Time since the cache was last known to be where the store is.
    pub age: Duration,
    /// Why the last look failed, if it did.
    pub last_error: Option<String>,
}

/// What the keeper notes of each look.
pub(super) struct Feed(Mutex<Noted>);

struct Noted {
    position: Option<Position>,
    good: Instant,
    error: Option<String>,
}

impl Feed {
    pub fn new() -> Self {
        Feed(Mutex::new(Noted {
            position: None,
            good: Instant::now(),
            error: None,
        }))
    }

    fn with<T>(&self, change: impl FnOnce(&mut Noted) -> T) -> T {
        // Nothing in here panics, and a note half written would be read as such at worst.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The cache is where the store is.
    pub fn good_look(&self, position: Position) {
        let recovered = self.with(|noted| {
            noted.position = Some(position);
            noted.good = Instant::now();
            noted.error.take()
        });
        if recovered.is_some() {
            tracing::info!(
                revision = position.revision.0,
                "the key store can be read again"
            );
        }
    }

    /// The cache moved on by a change of our own.
    pub fn moved(&self, position: Position) {
        self.with(|noted| noted.position = Some(position));
    }

    /// The store could not be read.
    pub fn bad_look(&self, error: &StoreError) {
        let text = error.to_string();
        let news = self.with(|noted| noted.error.replace(text.clone()).as_ref() != Some(&text));
        if news {
            tracing::error!(error = %text, "the key store cannot be read: the keys known so far stay in force");
        }
    }

    fn status(&self) -> FeedStatus {
        self.with(|noted| FeedStatus {
            epoch: noted.position.map(|position| position.epoch),
            revision: noted
                .position
                .map(|position| position.revision)
                .unwrap_or_default(),
            age: noted.good.elapsed(),
            last_error: noted.error.clone(),
        })
    }
}
