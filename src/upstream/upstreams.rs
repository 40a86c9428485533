//! Which servers an upstream has, and which of them a request is sent to.

use super::connect::ConnectError;
use super::lease::Lease;
use super::server_pool::{Choice, PoolKey, PoolStats, ServerPool};
use crate::config::UpstreamSettings;
use crate::deadline::{Deadline, Sweeper};
use bytes::Bytes;
use http_body::Body;
use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// All of one worker's pools, by server. `B` is the body of the requests that are sent.
pub struct Upstreams<B> {
    pools: HashMap<PoolKey, Rc<ServerPool<B>>>,
    sweeper: Sweeper,
}

impl<B: Body<Data = Bytes> + 'static> Upstreams<B>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// No pools yet.
    pub fn new(sweeper: Sweeper) -> Self {
        Upstreams {
            pools: HashMap::new(),
            sweeper,
        }
    }

    /// The upstreams of a new generation, on the pools that exist already; pools that none of them uses are closed.
    pub fn adopt(&mut self, settings: &[Arc<UpstreamSettings>]) -> Vec<Upstream<B>> {
        let mut kept = HashMap::new();
        let upstreams = settings
            .iter()
            .map(|settings| {
                let servers = settings
                    .servers
                    .iter()
                    .map(|server| {
                        let key = PoolKey::new(settings, server);
                        let pool = kept.entry(key.clone()).or_insert_with(|| {
                            self.pools.remove(&key).unwrap_or_else(|| {
                                Rc::new(ServerPool::new(server.clone(), None, self.sweeper.clone()))
                            })
                        });
                        Rc::clone(pool)
                    })
                    .collect();
                Upstream {
                    settings: Arc::clone(settings),
                    servers,
                    next: Cell::new(0),
                }
            })
            .collect();
        self.pools = kept;
        upstreams
    }

    /// Closes what has been idle for too long. To be called about once a second.
    pub fn tidy(&self) {
        for pool in self.pools.values() {
            pool.tidy();
        }
    }

    /// The counters of each server, by authority.
    pub fn stats(&self) -> impl Iterator<Item = (String, PoolStats)> {
        self.pools
            .values()
            .map(|pool| (pool.server().to_string(), pool.stats()))
    }
}

/// One upstream of a generation, as one worker sees it.
pub struct Upstream<B> {
    settings: Arc<UpstreamSettings>,
    servers: Vec<Rc<ServerPool<B>>>,
    next: Cell<usize>,
}

impl<B: Body<Data = Bytes> + 'static> Upstream<B>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// What the configuration says of it.
    pub fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// How many servers it has.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// A connection on which a request can be sent: an idle one of the server whose turn it is, else a new one, of the
    /// next server if one cannot be reached. A server that could not be reached lately is asked after the others. The
    /// caller ends it when `deadline` fires; called again after that, the turn is another server's.
    ///
    /// # Errors
    /// When no server can be reached: the last one's error.
    pub async fn lease(
        &self,
        choice: Choice,
        deadline: &Deadline,
    ) -> Result<Lease<B>, ConnectError> {
        let count = self.servers.len();
        let first = self.next.get();
        self.next.set((first + 1) % count);
        let mut last = None;
        let mut suspects = Vec::new();
        for pool in self.servers.iter().cycle().skip(first).take(count) {
            if count > 1 && pool.is_suspect() {
                suspects.push(pool);
                continue;
            }
            match pool.lease(choice, deadline).await {
                Ok(lease) => return Ok(lease),
                Err(error) => last = Some(error),
            }
        }
        for pool in suspects {
            match pool.lease(choice, deadline).await {
                Ok(lease) => return Ok(lease),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("an upstream has at least one server, and each try ended in an error"))
    }
}
