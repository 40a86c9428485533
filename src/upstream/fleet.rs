//! All upstreams' servers, as the whole process knows them: one [`Group`] for each upstream, kept across generations.
//!
//! A worker that takes a generation up asks the fleet for its groups; the first to ask makes them, with the endpoints
//! that were known before. Names are resolved and servers are asked how they are by tasks on the control runtime, which
//! the group owns; a change of its members moves its version, and workers look at that before they choose.

use super::endpoint::{Endpoint, ServerReport};
use super::gate::{Gate, Refused};
use super::{check, resolve};
use crate::config::{Balancing, Hosts, UpstreamServer, UpstreamSettings};
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// How often servers that are out, or come back slowly, are looked at.
const TICK: Duration = Duration::from_millis(100);

/// All upstreams' servers.
pub struct Fleet {
    runtime: Handle,
    registry: Mutex<Registry>,
    next_id: AtomicU64,
    /// Rung when the ticker has something to do.
    bell: Arc<Notify>,
    ticker: Mutex<Option<Task>>,
}

#[derive(Default)]
struct Registry {
    generation: u64,
    groups: BTreeMap<Arc<str>, Arc<Group>>,
}

/// A task that ends with its owner.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Fleet {
    /// No upstreams yet; their tasks will run on this runtime.
    pub fn start(runtime: Handle) -> Arc<Self> {
        let bell = Arc::new(Notify::new());
        let fleet = Arc::new(Fleet {
            runtime,
            registry: Mutex::default(),
            next_id: AtomicU64::new(0),
            bell: Arc::clone(&bell),
            ticker: Mutex::default(),
        });
        let ticked = Arc::downgrade(&fleet);
        let task = fleet.runtime.spawn(tick(ticked, bell));
        let task = Task(task.abort_handle());
        *fleet.ticker.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        fleet
    }

    /// The groups of these upstreams of this generation, in the same order.
    pub fn adopt(
        &self,
        generation: u64,
        upstreams: &[Arc<UpstreamSettings>],
        hosts: &Arc<Hosts>,
    ) -> Vec<Arc<Group>> {
        let mut registry = self.registry();
        if generation < registry.generation {
            // A worker that is late: it will be back with the newer one at once.
            return upstreams
                .iter()
                .map(|settings| match registry.groups.get(&settings.name) {
                    Some(group) if group.fits(settings, hosts) => Arc::clone(group),
                    old => self.group(settings, hosts, old),
                })
                .collect();
        }
        registry.generation = generation;
        let mut before = std::mem::take(&mut registry.groups);
        let groups: Vec<_> = upstreams
            .iter()
            .map(|settings| {
                let group = match before.remove(&settings.name) {
                    Some(group) if group.fits(settings, hosts) => {
                        group.settings.store(Arc::clone(settings));
                        group
                    }
                    old => {
                        let group = self.group(settings, hosts, old.as_ref());
                        if let Some(old) = old {
                            old.retire();
                        }
                        group.begin();
                        group
                    }
                };
                registry
                    .groups
                    .insert(Arc::clone(&settings.name), Arc::clone(&group));
                group
            })
            .collect();
        for gone in before.values() {
            gone.retire();
        }
        groups
    }

    /// How all of it is, for those who look.
    pub fn report(&self) -> Vec<GroupReport> {
        let now = Instant::now();
        let registry = self.registry();
        registry.groups.values().map(|g| g.report(now)).collect()
    }

    fn group(
        &self,
        settings: &Arc<UpstreamSettings>,
        hosts: &Arc<Hosts>,
        old: Option<&Arc<Group>>,
    ) -> Arc<Group> {
        let group = Arc::new_cyclic(|this| Group {
            this: Weak::clone(this),
            runtime: self.runtime.clone(),
            bell: Arc::clone(&self.bell),
            servers: settings.servers.clone(),
            balancing: settings.balancing.clone(),
            hosts: Arc::clone(hosts),
            settings: ArcSwap::new(Arc::clone(settings)),
            gate: old.map_or_else(Arc::default, |old| Arc::clone(&old.gate)),
            members: ArcSwap::from_pointee(Members::default()),
            version: AtomicU64::new(0),
            known: Notify::new(),
            names: Mutex::new(old.map_or_else(BTreeMap::new, |old| old.names().clone())),
            tasks: Mutex::default(),
            ids: AtomicU64::new(self.next_id.fetch_add(1 << 32, Ordering::Relaxed)),
        });
        group.learn_from_hosts();
        group.gather(old.map(|old| old.members.load_full()).as_deref());
        let members = group.members.load();
        let endpoints: Vec<_> = members
            .list
            .iter()
            .map(|m| Arc::clone(&m.endpoint))
            .collect();
        for endpoint in &endpoints {
            endpoint.follow(&group.balancing);
        }
        group.gate.follow(&group.balancing, &endpoints);
        group
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets time pass for the servers that only wait for it. Ends with the fleet.
async fn tick(fleet: Weak<Fleet>, bell: Arc<Notify>) {
    loop {
        bell.notified().await;
        loop {
            tokio::time::sleep(TICK).await;
            let Some(fleet) = fleet.upgrade() else {
                return;
            };
            let groups: Vec<_> = fleet.registry().groups.values().cloned().collect();
            let now = Instant::now();
            let mut more = false;
            for group in groups {
                for member in &group.members.load().list {
                    more |= member.endpoint.tick(now);
                }
            }
            if !more {
                break;
            }
        }
    }
}

/// The servers of one upstream.
pub struct Group {
    this: Weak<Group>,
    runtime: Handle,
    bell: Arc<Notify>,
    servers: Vec<UpstreamServer>,
    balancing: Balancing,
    hosts: Arc<Hosts>,
    /// The newest of those that say the same of the servers.
    pub(super) settings: ArcSwap<UpstreamSettings>,
    pub(super) gate: Arc<Gate>,
    members: ArcSwap<Members>,
    version: AtomicU64,
    /// Woken when the members have changed.
    known: Notify,
    /// What is known of the servers' names.
    names: Mutex<BTreeMap<Box<str>, Name>>,
    /// `None` once the group is retired.
    tasks: Mutex<Tasks>,
    /// For the next endpoint that is made here.
    ids: AtomicU64,
}

/// The endpoints that a request may go to.
#[derive(Default)]
pub(super) struct Members {
    pub(super) list: Vec<Member>,
    /// Whether a name was not asked for yet.
    pub(super) pending: bool,
    /// Why a name has no address.
    pub(super) failure: Option<(Box<str>, io::ErrorKind, Arc<str>)>,
}

#[derive(Clone)]
pub(super) struct Member {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) weight: u32,
}

#[derive(Clone, Default)]
struct Name {
    addresses: Vec<IpAddr>,
    failure: Option<(io::ErrorKind, Arc<str>)>,
}

#[derive(Default)]
struct Tasks {
    retired: bool,
    names: Vec<Task>,
    checks: BTreeMap<u64, Task>,
}

/// How a group is, for those who look.
#[derive(Clone, Debug)]
pub struct GroupReport {
    pub upstream: Arc<str>,
    /// Requests that wait for a place.
    pub waiting: usize,
    /// Requests that found no server, by reason.
    pub refused: [(&'static str, u64); 3],
    pub servers: Vec<ServerReport>,
}

impl Group {
    /// Moves whenever the members change.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Whether the members can change without another generation.
    pub(super) fn is_fixed(&self) -> bool {
        self.names_asked().next().is_none()
    }

    /// The endpoints that a request may go to.
    pub(super) fn members(&self) -> Arc<Members> {
        self.members.load_full()
    }

    /// Waits until there is a member, or it is known that there is none.
    pub(super) async fn known(&self) {
        loop {
            let known = self.known.notified();
            let waits = {
                let members = self.members.load();
                members.list.is_empty() && members.pending
            };
            if !waits {
                return;
            }
            known.await;
        }
    }

    /// When the first of its servers may be back, at the earliest.
    pub(super) fn out_for(&self) -> Duration {
        let now = Instant::now();
        let members = self.members.load();
        let times = members.list.iter().map(|m| m.endpoint.out_for(now));
        times.min().unwrap_or(Duration::ZERO)
    }

    /// Whether these settings say the same of the servers as those that it was made of.
    fn fits(&self, settings: &UpstreamSettings, hosts: &Arc<Hosts>) -> bool {
        self.servers == settings.servers
            && self.balancing == settings.balancing
            && self.hosts == *hosts
    }

    /// The names that someone must be asked for.
    fn names_asked(&self) -> impl Iterator<Item = &str> {
        let asked = |server: &&UpstreamServer| {
            resolve::is_name(server) && self.hosts.addresses(&server.host).is_none()
        };
        self.servers
            .iter()
            .filter(asked)
            .map(|server| &*server.host)
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Name>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn_from_hosts(&self) {
        let mut names = self.names();
        for server in &self.servers {
            if let Some(addresses) = self.hosts.addresses(&server.host) {
                let known = names.entry(server.host.clone()).or_default();
                *known = Name {
                    addresses: addresses.to_vec(),
                    failure: None,
                };
            }
        }
    }

    /// What a resolver said of a name. A failure leaves the addresses that were known.
    pub(super) fn learn(&self, name: &str, answer: io::Result<Vec<IpAddr>>) {
        let upstream = &*self.settings.load().name.clone();
        let mut names = self.names();
        let known = names.entry(name.into()).or_default();
        match answer {
            Ok(mut addresses) => {
                // Resolvers shuffle; an order of our own keeps the same members the same.
                addresses.sort_unstable();
                addresses.dedup();
                if known.failure.take().is_some() {
                    tracing::info!(upstream, name, "a server's name can be resolved again");
                }
                if known.addresses == addresses {
                    return;
                }
                let first = known.addresses.is_empty();
                let before = std::mem::replace(&mut known.addresses, addresses);
                if !first {
                    tracing::info!(
                        upstream,
                        name,
                        before = ?before,
                        now = ?known.addresses,
                        "a server's name has other addresses"
                    );
                }
            }
            Err(error) => {
                let news = known.failure.is_none();
                known.failure = Some((error.kind(), Arc::from(error.to_string())));
                if !news {
                    return;
                }
                tracing::warn!(
                    upstream,
                    name,
                    %error,
                    kept = ?known.addresses,
                    "a server's name cannot be resolved; the addresses that were known stay in use"
                );
            }
        }
        drop(names);
        let before = self.members.load_full();
        self.gather(Some(&before));
        self.watch_members();
    }

    /// Makes the members of what is known, of these endpoints where they are the same.
    fn gather(&self, before: Option<&Members>) {
        let mut members = Members::default();
        let names = self.names();
        for server in &self.servers {
            let addresses: Vec<Option<SocketAddr>> = match resolve::literal(server) {
                Some(address) => vec![address],
                None => match names.get(&server.host) {
                    None => {
                        members.pending = true;
                        continue;
                    }
                    Some(name) => {
                        if let Some((kind, text)) = &name.failure {
                            members.failure = Some((server.host.clone(), *kind, Arc::clone(text)));
                        }
                        let with_port = |ip: &IpAddr| Some(SocketAddr::new(*ip, server.port));
                        name.addresses.iter().map(with_port).collect()
                    }
                },
            };
            for address in addresses {
                let weight = u32::from(server.weight);
                let mut known = members.list.iter_mut();
                match known.find(|m| m.endpoint.is(server, address)) {
                    // Written twice: it takes twice as much.
                    Some(member) => member.weight += weight,
                    None => {
                        let endpoint = before
                            .and_then(|b| b.list.iter().find(|m| m.endpoint.is(server, address)))
                            .map(|m| Arc::clone(&m.endpoint))
                            .unwrap_or_else(|| self.endpoint(server, address));
                        members.list.push(Member { endpoint, weight });
                    }
                }
            }
        }
        drop(names);
        self.members.store(Arc::new(members));
        self.version.fetch_add(1, Ordering::Release);
        self.known.notify_waiters();
        for member in &self.members.load().list {
            self.gate.fill(&member.endpoint);
        }
    }

    fn endpoint(&self, server: &UpstreamServer, address: Option<SocketAddr>) -> Arc<Endpoint> {
        Arc::new(Endpoint::new(
            self.ids.fetch_add(1, Ordering::Relaxed),
            Arc::clone(&self.settings.load().name),
            server.clone(),
            address,
            (Arc::clone(&self.gate), Arc::clone(&self.bell)),
            &self.balancing,
        ))
    }

    /// Starts its tasks.
    fn begin(&self) {
        let asked: Vec<Box<str>> = self.names_asked().map(Box::from).collect();
        let spawn = |name: Box<str>| {
            let task = resolve::follow(Weak::clone(&self.this), name, self.balancing.resolve);
            Task(self.runtime.spawn(task).abort_handle())
        };
        let names = asked.into_iter().map(spawn).collect();
        self.tasks().names = names;
        self.watch_members();
    }

    /// Has every member asked how it is, and nobody else, if servers are asked.
    fn watch_members(&self) {
        let Some(health) = &self.balancing.health else {
            return;
        };
        let members = self.members.load_full();
        let mut tasks = self.tasks();
        if tasks.retired {
            return;
        }
        let mut before = std::mem::take(&mut tasks.checks);
        for Member { endpoint, .. } in &members.list {
            let task = before.remove(&endpoint.id).unwrap_or_else(|| {
                let this = Weak::clone(&self.this);
                let task = check::follow(this, Arc::clone(endpoint), health.clone());
                Task(self.runtime.spawn(task).abort_handle())
            });
            tasks.checks.insert(endpoint.id, task);
        }
    }

    /// Ends its tasks: another group has its place, or none.
    fn retire(&self) {
        let mut tasks = self.tasks();
        *tasks = Tasks {
            retired: true,
            ..Tasks::default()
        };
    }

    fn report(&self, now: Instant) -> GroupReport {
        let members = self.members.load();
        GroupReport {
            upstream: Arc::clone(&self.settings.load().name),
            waiting: self.gate.waiting(),
            refused: Refused::ALL.map(|(why, name)| (name, self.gate.refused(why))),
            servers: members
                .list
                .iter()
                .map(|Member { endpoint, weight }| endpoint.report(*weight, now))
                .collect(),
        }
    }
}
