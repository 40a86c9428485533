//! The one task that writes: it runs commands in turn and follows the feed.
//!
//! While a command waits for its commit, the feed goes on being looked at: another process that keeps the store's lock
//! must not keep its own changes from us. Both end in the same task, so the cache has one writer.

use super::entries::{KeyCache, Loaded, ScopeNames};
use super::keys::Feed;
use crate::key::{Command, CommandError, Origin, Reveal, StoredKey};
use crate::store::{Change, Changes, Executed, KeyStore, Position, StoreError};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

/// How often the feed is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How long a command may wait behind others; then it is refused instead of begun. Behind a lock that another process
/// keeps, each command waits for its own time, one after the other: the last of many would be answered minutes later.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);

/// What the keeper is asked.
pub(super) enum Message {
    Execute(Box<Order>),
    /// Look at the feed now.
    Refresh {
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
    /// Carry out what was asked before, then end.
    Close {
        answer: oneshot::Sender<()>,
    },
}

/// A command on its way.
pub(super) struct Order {
    pub command: Command,
    pub origin: Origin,
    pub reveal: Reveal,
    /// When it was asked for.
    pub asked: Instant,
    pub answer: oneshot::Sender<Result<StoredKey, CommandError>>,
}

/// The state of the task.
pub(super) struct Keeper {
    store: Arc<dyn KeyStore>,
    cache: Arc<KeyCache>,
    feed: Arc<Feed>,
    position: Position,
    scopes: ScopeNames,
}

impl Keeper {
    /// Loads every key.
    pub async fn start(
        store: Arc<dyn KeyStore>,
        cache: Arc<KeyCache>,
        feed: Arc<Feed>,
    ) -> Result<Self, StoreError> {
        let mut loaded = Loaded::new();
        let position = store.load(&mut loaded).await?;
        let scopes = std::mem::take(&mut loaded.scopes);
        cache.replace(loaded, position.revision);
        feed.good_look(position);
        Ok(Keeper {
            store,
            cache,
            feed,
            position,
            scopes,
        })
    }

    /// Works until all handles are gone or one closes it.
    pub async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                message = messages.recv() => message,
                _ = ticks.tick() => {
                    self.look_and_note().await;
                    continue;
                }
            };
            match message {
                Some(Message::Execute(order)) => self.execute(*order, &mut ticks).await,
                Some(Message::Refresh { answer }) => {
                    let _ = answer.send(self.look_and_report().await); // whoever asked may be gone
                }
                Some(Message::Close { answer }) => {
                    messages.close();
                    while let Some(message) = messages.recv().await {
                        self.last(message, &mut ticks).await;
                    }
                    self.store.close().await;
                    let _ = answer.send(()); // likewise
                    return;
                }
                None => {
                    self.store.close().await;
                    return;
                }
            }
        }
    }

    /// What was asked before the end, or at the same time.
    async fn last(&mut self, message: Message, ticks: &mut tokio::time::Interval) {
        // Nobody who has gone is an error here: the change stands.
        match message {
            Message::Execute(order) => self.execute(*order, ticks).await,
            Message::Refresh { answer } => {
                let _ = answer.send(self.look_and_report().await);
            }
            Message::Close { answer } => {
                let _ = answer.send(());
            }
        }
    }

    /// Commit, then cache, then answer.
    async fn execute(&mut self, order: Order, ticks: &mut tokio::time::Interval) {
        let Order {
            command,
            origin,
            reveal,
            asked,
            answer,
        } = order;
        let waited = asked.elapsed();
        let result = if waited > BEGIN_WITHIN {
            Err(StoreError::Behind { waited }.into())
        } else {
            self.carry_out(command, origin, reveal, ticks).await
        };
        let _ = answer.send(result); // whoever asked may be gone; the change stands
    }

    async fn carry_out(
        &mut self,
        command: Command,
        origin: Origin,
        reveal: Reveal,
        ticks: &mut tokio::time::Interval,
    ) -> Result<StoredKey, CommandError> {
        let store = Arc::clone(&self.store);
        let mut committing = store.execute(command, origin, reveal);
        let Executed { key, change } = loop {
            tokio::select! {
                executed = &mut committing => break executed?,
                _ = ticks.tick() => {
                    // Beside the command, never in its place: each may hold what the other waits for.
                    let mut executed = None;
                    let mut look = pin!(self.look_and_note());
                    poll_fn(|cx| {
                        if executed.is_none()
                            && let Poll::Ready(result) = committing.as_mut().poll(cx)
                        {
                            executed = Some(result);
                        }
                        look.as_mut().poll(cx)
                    })
                    .await;
                    if let Some(executed) = executed {
                        break executed?;
                    }
                }
            }
        };
        match change {
            Some((change, now)) => self.bring_in(change, now).await?,
            // Nothing to change, but the answer tells of what another process did just before: that is in force first.
            None if key.record.revision > self.position.revision => self.look_and_note().await,
            None => {}
        }
        Ok(key)
    }

    /// Brings a committed change into the cache.
    ///
    /// # Errors
    /// When the store went another way than the cache knows, and cannot be read: then what is in force is not known.
    async fn bring_in(&mut self, change: Change, now: Position) -> Result<(), StoreError> {
        let known = self.position;
        if (now.epoch, now.opening) == (known.epoch, known.opening) {
            self.cache.apply(change, &mut self.scopes);
            if now.revision.0 == known.revision.0 + 1 {
                self.position = now;
                self.cache.reached(now.revision);
                self.feed.moved(now);
                return Ok(());
            }
            if now.revision > known.revision {
                // Others changed something between; the change itself is in, whatever this look says.
                self.look_and_note().await;
                return Ok(());
            }
        }
        // Either the feed has brought it already, or another store stands in the place of ours.
        self.look_and_report().await
    }

    /// Looks at the feed; an error is remembered, and nothing else: what is known stays in force.
    async fn look_and_note(&mut self) {
        let _ = self.look_and_report().await; // it is noted in `feed`
    }

    async fn look_and_report(&mut self) -> Result<(), StoreError> {
        let looked = self.look().await;
        match &looked {
            Ok(()) => self.feed.good_look(self.position),
            Err(error) => self.feed.bad_look(error),
        }
        looked
    }

    /// Brings the cache to where the store is.
    async fn look(&mut self) -> Result<(), StoreError> {
        if self.store.position().await? == self.position {
            return Ok(());
        }
        loop {
            match self.store.changes(self.position).await? {
                Changes::Steps {
                    steps,
                    position,
                    more,
                } => {
                    for step in steps {
                        self.cache.apply(step, &mut self.scopes);
                    }
                    self.position = position;
                    self.cache.reached(position.revision);
                    if !more {
                        return Ok(());
                    }
                }
                Changes::Reload => {
                    tracing::warn!(
                        epoch = %self.position.epoch,
                        revision = self.position.revision.0,
                        "the key store went another way than the keys in memory: all are loaded again"
                    );
                    let mut loaded = Loaded::new();
                    let position = self.store.load(&mut loaded).await?;
                    self.scopes = std::mem::take(&mut loaded.scopes);
                    self.cache.replace(loaded, position.revision);
                    self.position = position;
                    return Ok(());
                }
            }
        }
    }
}
