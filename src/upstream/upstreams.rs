//! Which of an upstream's servers a request is sent to, as one worker sees it.

use super::budget::Budget;
use super::choose::{self, Dice};
use super::connect::ConnectError;
use super::endpoint::Endpoint;
use super::fleet::{Fleet, Group, Members};
use super::gate::{Place, Queued, Refused};
use super::lease::Lease;
use super::server_pool::{Choice, How, PoolKey, PoolStats, ServerPool};
use crate::config::{Balance, Hosts, UpstreamSettings};
use crate::deadline::{Deadline, Sweeper, Wait};
use crate::key::KeyId;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// All of one worker's upstreams, with their pools. `B` is the body of the requests that are sent.
pub struct Upstreams<B> {
    fleet: Arc<Fleet>,
    bench: Rc<Bench<B>>,
    budgets: HashMap<Arc<str>, Rc<Budget>>,
}

/// What a worker's upstreams share. It outlives generations, so that a reload loses no connection and no count.
struct Bench<B> {
    /// By endpoint, and by how it is spoken with.
    servers: RefCell<Servers<B>>,
    sweeper: Sweeper,
    dice: RefCell<Dice>,
    /// For the choice in hand, so that it costs no allocation.
    weights: RefCell<Vec<u32>>,
}

type Servers<B> = HashMap<(u64, PoolKey), Rc<Server<B>>>;

/// One endpoint, as one worker sees it.
struct Server<B> {
    tally: Rc<Tally>,
    pool: Rc<ServerPool<B>>,
}

/// What a worker counts at an endpoint.
struct Tally {
    endpoint: Arc<Endpoint>,
    /// This worker's requests there.
    in_flight: Cell<u32>,
    /// What it has saved up, in round robin.
    turn: Cell<i64>,
}

/// A request at a server: counted there for as long as this is held.
pub struct Ticket {
    tally: Rc<Tally>,
    /// Where there is a limit.
    _place: Option<Place>,
}

impl Ticket {
    fn new(tally: &Rc<Tally>, place: Option<Place>) -> Self {
        tally.in_flight.set(tally.in_flight.get() + 1);
        Ticket {
            tally: Rc::clone(tally),
            _place: place,
        }
    }

    /// Where the request is.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.tally.endpoint
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.tally.in_flight.set(self.tally.in_flight.get() - 1);
    }
}

impl<B: Body<Data = Bytes> + 'static> Upstreams<B>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// No pools yet.
    pub fn new(fleet: Arc<Fleet>, sweeper: Sweeper) -> Self {
        let seed = RandomState::new().hash_one("which server");
        Upstreams {
            fleet,
            bench: Rc::new(Bench {
                servers: RefCell::default(),
                sweeper,
                dice: RefCell::new(Dice::new(seed)),
                weights: RefCell::default(),
            }),
            budgets: HashMap::new(),
        }
    }

    /// The upstreams of a new generation, on the servers and pools that exist already.
    pub fn adopt(
        &mut self,
        generation: u64,
        settings: &[Arc<UpstreamSettings>],
        hosts: &Arc<Hosts>,
    ) -> Vec<Upstream<B>> {
        let groups = self.fleet.adopt(generation, settings, hosts);
        let mut budgets = HashMap::new();
        let upstreams = settings
            .iter()
            .zip(groups)
            .map(|(settings, group)| {
                let name = &settings.name;
                let now = self.bench.sweeper.now_ms();
                let budget = self.budgets.remove(name);
                let budget = budget.unwrap_or_else(|| Rc::new(Budget::new(now)));
                budgets.insert(Arc::clone(name), Rc::clone(&budget));
                Upstream::new(Arc::clone(settings), group, Rc::clone(&self.bench), budget)
            })
            .collect();
        self.budgets = budgets;
        upstreams
    }

    /// Closes what has been idle for too long, and forgets servers that no upstream has any more. To be called about
    /// once a second.
    pub fn tidy(&self) {
        let mut servers = self.bench.servers.borrow_mut();
        servers.retain(|_, server| Rc::strong_count(server) > 1);
        for server in servers.values() {
            server.pool.tidy();
        }
    }

    /// The counters of each server, by authority.
    pub fn stats(&self) -> BTreeMap<String, PoolStats> {
        let mut all = BTreeMap::<String, PoolStats>::new();
        for server in self.bench.servers.borrow().values() {
            let name = server.tally.endpoint.name();
            all.entry(name).or_default().add(server.pool.stats());
        }
        all
    }
}

impl<B: Body<Data = Bytes> + 'static> Bench<B>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// This worker's servers of these members.
    fn seats(&self, settings: &UpstreamSettings, members: &Members) -> Rc<[Seat<B>]> {
        let mut servers = self.servers.borrow_mut();
        let seat = |member: &super::fleet::Member| {
            let endpoint = &member.endpoint;
            let key = PoolKey::new(settings, &endpoint.server);
            let server = servers.entry((endpoint.id, key)).or_insert_with(|| {
                Rc::new(Server {
                    tally: Rc::new(Tally {
                        endpoint: Arc::clone(endpoint),
                        in_flight: Cell::new(0),
                        turn: Cell::new(0),
                    }),
                    pool: Rc::new(ServerPool::new(
                        endpoint.server.clone(),
                        endpoint.address,
                        How::of(settings),
                        self.sweeper.clone(),
                    )),
                })
            });
            Seat {
                server: Rc::clone(server),
                weight: member.weight,
            }
        };
        members.list.iter().map(seat).collect()
    }
}

/// One upstream of a generation, as one worker sees it.
pub struct Upstream<B> {
    settings: Arc<UpstreamSettings>,
    group: Arc<Group>,
    bench: Rc<Bench<B>>,
    budget: Rc<Budget>,
    /// The only server that there is and will be, of which nobody asks how it is: there is nothing to choose or to count.
    only: Option<Rc<Server<B>>>,
    /// The servers, and the version of the group's members that they are of.
    seats: RefCell<(u64, Rc<[Seat<B>]>)>,
}

/// A server with its weight in one upstream.
struct Seat<B> {
    server: Rc<Server<B>>,
    weight: u32,
}

/// What a request wants of its server.
pub struct Wish<'a> {
    /// Which connections will do.
    pub choice: Choice,
    /// What decides, where the upstream goes by a hash.
    pub hash: Option<u64>,
    /// The endpoint that it was sent to in vain: another will be asked, if there is one.
    pub not: Option<u64>,
    /// Whether the next server is asked when one cannot be reached.
    pub next: bool,
    /// For a connection to each server.
    pub connect: Duration,
    /// Where the waiting is noted.
    pub deadline: &'a Deadline,
}

/// Why a request has no connection.
#[derive(Debug)]
pub enum LeaseError {
    /// The last server that was asked could not be reached.
    Connect(ConnectError),
    /// It did not accept the connection in time.
    ConnectTimeout,
    /// There was no server to ask. There may be one after this time.
    Refused(Refused, Duration),
}

/// What came of choosing.
enum Picked {
    /// The server of this position.
    One(usize),
    /// There are some, all with as many requests as they may have.
    Full,
    /// All are out.
    Out,
    /// All others were asked in vain.
    Exhausted,
}

impl<B: Body<Data = Bytes> + 'static> Upstream<B>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn new(
        settings: Arc<UpstreamSettings>,
        group: Arc<Group>,
        bench: Rc<Bench<B>>,
        budget: Rc<Budget>,
    ) -> Self {
        let version = group.version();
        let seats = bench.seats(&settings, &group.members());
        let balancing = &settings.balancing;
        let watched = balancing.health.is_some()
            || balancing.eject.is_some()
            || balancing.connections.is_some();
        let only = match &*seats {
            [only] if group.is_fixed() && !watched => Some(Rc::clone(&only.server)),
            _ => None,
        };
        Upstream {
            settings,
            group,
            bench,
            budget,
            only,
            seats: RefCell::new((version, seats)),
        }
    }

    /// What the configuration says of it.
    pub fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// What decides where this request goes, if the upstream goes by a hash and the request has what is hashed.
    pub fn hash_of(&self, key: Option<&KeyId>, headers: &HeaderMap) -> Option<u64> {
        match &self.settings.balancing.balance {
            Balance::LeastLoaded | Balance::RoundRobin => None,
            Balance::HashKey => key.map(|key| choose::hash(key.as_str().as_bytes())),
            Balance::HashHeader(name) => headers.get(name).map(|v| choose::hash(v.as_bytes())),
        }
    }

    /// A request was made of which so many percent may be sent again.
    pub fn pay_in(&self, percent: u32) {
        self.budget.pay_in(percent);
    }

    /// Whether one more may be sent again.
    pub fn may_retry(&self) -> bool {
        self.budget.take(self.bench.sweeper.now_ms())
    }

    /// A connection on which a request can be sent: an idle one of the server that is chosen, else a new one; of another
    /// server if that cannot be reached, as long as the wish says so and there is one. A server that could not be
    /// reached lately is asked after the others, and one that is out is not asked.
    ///
    /// # Errors
    /// When no server can be reached: what the last one said. When there was none to ask: why.
    pub async fn lease(&self, wish: &Wish<'_>) -> Result<Lease<B>, LeaseError> {
        if let Some(only) = &self.only {
            return connect(&only.pool, wish).await;
        }
        let mut tried: Vec<u64> = wish.not.into_iter().collect();
        let mut last = None;
        loop {
            let seats = self.seats().await?;
            let (server, place) = match self.pick(&seats, wish, &tried) {
                Picked::One(at) => {
                    let server = &seats[at].server;
                    if self.settings.balancing.connections.is_none() {
                        (server, None)
                    } else {
                        match self.group.gate.enter(&server.tally.endpoint) {
                            Some(place) => (server, Some(place)),
                            None => match self.wait(&seats, wish, &tried).await? {
                                Some((at, place)) => (&seats[at].server, Some(place)),
                                None => continue,
                            },
                        }
                    }
                }
                Picked::Full => match self.wait(&seats, wish, &tried).await? {
                    Some((at, place)) => (&seats[at].server, Some(place)),
                    None => continue,
                },
                Picked::Out => return Err(self.refuse(Refused::Out)),
                Picked::Exhausted => match last {
                    Some(error) => return Err(error),
                    // There is no other than the one that was to be avoided.
                    None => {
                        tried.clear();
                        continue;
                    }
                },
            };
            let ticket = Ticket::new(&server.tally, place);
            match connect(&server.pool, wish).await {
                Ok(lease) => return Ok(lease.with(ticket)),
                Err(error) => {
                    server.tally.endpoint.failed();
                    if !wish.next {
                        return Err(error);
                    }
                    tried.push(server.tally.endpoint.id);
                    last = Some(error);
                }
            }
        }
    }

    /// The servers as they are known now. Waits only until something is known at all.
    async fn seats(&self) -> Result<Rc<[Seat<B>]>, LeaseError> {
        loop {
            let version = self.group.version();
            if self.seats.borrow().0 != version {
                let seats = self.bench.seats(&self.settings, &self.group.members());
                self.seats.replace((version, seats));
            }
            let seats = Rc::clone(&self.seats.borrow().1);
            if !seats.is_empty() {
                return Ok(seats);
            }
            let members = self.group.members();
            if members.pending {
                self.group.known().await;
                continue;
            }
            let (host, source) = match &members.failure {
                Some((host, kind, text)) => (host.clone(), io::Error::new(*kind, text.to_string())),
                None => ("".into(), io::ErrorKind::NotFound.into()),
            };
            return Err(LeaseError::Connect(ConnectError::Resolve { host, source }));
        }
    }

    fn pick(&self, seats: &[Seat<B>], wish: &Wish<'_>, tried: &[u64]) -> Picked {
        let balancing = &self.settings.balancing;
        let mut weights = self.bench.weights.borrow_mut();
        let (mut out, mut full) = (true, false);
        for asked_last in [false, true] {
            weights.clear();
            weights.extend(seats.iter().map(|seat| {
                let endpoint = &seat.server.tally.endpoint;
                let share = endpoint.share();
                out &= share == 0;
                if share == 0 || tried.contains(&endpoint.id) {
                    return 0;
                }
                let in_use = endpoint.in_use.load(std::sync::atomic::Ordering::Relaxed);
                if balancing.connections.is_some_and(|most| in_use >= most) {
                    full = true;
                    return 0;
                }
                if seat.server.pool.is_suspect() == asked_last {
                    seat.weight * share
                } else {
                    0
                }
            }));
            let tally = |at: usize| &seats[at].server.tally;
            let load = |at: usize| tally(at).in_flight.get();
            let least_loaded =
                || choose::least_loaded(&weights, load, &mut self.bench.dice.borrow_mut());
            let chosen = match (&balancing.balance, wish.hash) {
                (Balance::HashKey | Balance::HashHeader(_), Some(hash)) => {
                    choose::by_hash(&weights, |at| tally(at).endpoint.seed, hash)
                }
                (Balance::LeastLoaded | Balance::HashKey | Balance::HashHeader(_), _) => {
                    least_loaded()
                }
                (Balance::RoundRobin, _) => choose::round_robin(
                    &weights,
                    |at| tally(at).turn.get(),
                    |at, turn| tally(at).turn.set(turn),
                ),
            };
            if let Some(at) = chosen {
                return Picked::One(at);
            }
        }
        match (out, full) {
            (true, _) => Picked::Out,
            (false, true) => Picked::Full,
            (false, false) => Picked::Exhausted,
        }
    }

    /// Waits for a place at any of the servers. `None`: there is something new to choose from.
    async fn wait(
        &self,
        seats: &[Seat<B>],
        wish: &Wish<'_>,
        tried: &[u64],
    ) -> Result<Option<(usize, Place)>, LeaseError> {
        let untried = |endpoint: &&Arc<Endpoint>| !tried.contains(&endpoint.id);
        let endpoints = seats.iter().map(|seat| &seat.server.tally.endpoint);
        let place = match self.group.gate.join(endpoints.filter(untried)) {
            Queued::Full => return Err(self.refuse(Refused::QueueFull)),
            Queued::Place(place) => place,
            Queued::Waiting(waiting) => {
                let deadline = wish.deadline;
                deadline.arm(Wait::Queue, self.settings.balancing.queue.timeout);
                let mut waiting = pin!(waiting);
                let handed = poll_fn(|cx| match waiting.as_mut().poll(cx) {
                    Poll::Pending if deadline.fired() == Some(Wait::Queue) => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(handed) => Poll::Ready(Some(handed)),
                })
                .await;
                match handed {
                    None => return Err(self.refuse(Refused::QueueTimeout)),
                    Some(Err(_)) => return Ok(None),
                    Some(Ok(place)) => place,
                }
            }
        };
        let id = place.endpoint().id;
        if tried.contains(&id) {
            return Ok(None);
        }
        let at = seats.iter().position(|s| s.server.tally.endpoint.id == id);
        Ok(at.map(|at| (at, place)))
    }

    fn refuse(&self, why: Refused) -> LeaseError {
        self.group.gate.refuse(why);
        let after = match why {
            Refused::Out => self.group.out_for(),
            Refused::QueueFull | Refused::QueueTimeout => Duration::ZERO,
        };
        LeaseError::Refused(why, after.max(Duration::from_secs(1)))
    }
}

/// A connection of this pool, within the time that connecting may take.
async fn connect<B: Body<Data = Bytes> + 'static>(
    pool: &Rc<ServerPool<B>>,
    wish: &Wish<'_>,
) -> Result<Lease<B>, LeaseError>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let deadline = wish.deadline;
    deadline.arm(Wait::Connect, wish.connect);
    let mut leased = pin!(pool.lease(wish.choice, deadline));
    let leased = poll_fn(|cx| match leased.as_mut().poll(cx) {
        Poll::Pending if deadline.fired() == Some(Wait::Connect) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
        Poll::Ready(result) => Poll::Ready(Some(result)),
    })
    .await;
    match leased {
        Some(result) => result.map_err(LeaseError::Connect),
        None => Err(LeaseError::ConnectTimeout),
    }
}
