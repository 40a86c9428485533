#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::print_stderr))]
//! keygate: an API-key gateway. It stands in front of an HTTP API and lets through only what an API key may do.
//!
//! For those who run it there is `README.md`. This page is for those who read or change the code: the life of a request,
//! the house and its floors, the words, and where to start reading.
//!
//! # Five promises, in this order
//!
//! 1. **Closed.** What no policy opens is refused. What cannot be read in one way only is refused. What fails, fails closed.
//! 2. **Now.** When a change to a key is answered, it is in force. A reload applies whole or not at all.
//! 3. **Fast.** A request costs no timer, no buffered body, and no lock shared between cores but a shard of the key cache's.
//! 4. **Plain.** An operator can see why a request was let through or refused.
//! 5. **Kept.** What was acknowledged survives `kill -9`, a full disk and a lost configuration.
//!
//! Where two of them pull in different directions, the earlier one wins.
//!
//! # The life of a request
//!
//! `POST /v3/users HTTP/1.1` with `apikey: 8d2f…` comes in. Before it, [`cli::run`] has read the configuration, loaded every
//! key, put the policy in force and, last of all, opened the listeners.
//!
//! ```text
//! socket → server → observe → answer → admit → route → identify → permit → limit → dispatch → upstream
//!                                                                                     └──→ management → keycache → store
//! ```
//!
//! 1. **[`server`]** accepts the connection and hands it to the worker that has the fewest. A worker is one thread with a
//!    runtime, connections, upstream pools and counters of its own. What is spoken is found out under a [`deadline`] that
//!    costs no timer: the head of the PROXY protocol where the listener wants one, **[`tls`]** where it has it, then
//!    HTTP/1.1 or HTTP/2. hyper reads the head of the request. From here on both protocols are one: a request has a *lane*
//!    ([`gateway::Link`]), which an HTTP/1.1 connection is for one request after another, and each stream of an HTTP/2
//!    connection for its own.
//! 2. **[`gateway`]** is the line that it now goes down, a tower stack with one file a layer. `observe` gives the request its
//!    id and the worker's current [`config::Snapshot`], which it keeps for all its decisions, and begins the observation that
//!    will be counted and logged whatever happens. Below it stands `answer`, the one place where a [`gateway::Reject`]
//!    becomes an HTTP answer; what was refused is remembered for a while, so that an operator can ask why.
//! 3. `admit` asks **[`http`]** whether the head has one reading: one method, one host, one canonical target, one framing.
//!    The proof is an [`http::Admitted`]. Nothing is repaired: what has a second reading is 400.
//! 4. `route` asks the **[`policy`]** for the most specific route of this host, path and method. "No route" and "not this
//!    method" are results here, kept in a [`policy::Routed`], and not yet answers: a stranger must not learn which routes
//!    there are.
//! 5. `identify`, unless the route is public, takes the value of the one `apikey` header to the **[`keycache`]**: the
//!    [`key::Digester`] turns it into a [`key::KeyDigest`], the map has the [`key::KeyRecord`] of that digest, and it is
//!    judged at this instant, enabled and not expired. Out comes a [`keycache::Principal`], or 401. The store is not asked.
//! 6. `permit` takes what was routed and who asks to [`policy::Policy::permit`]. First what the route found (404, 405, denied),
//!    then the key's scope (403). The proof is a [`policy::Permitted`], and it holds the route that was matched: nothing is
//!    looked up twice. Where another policy is tried in shadow ([`config::Shadow`]), what it would have said is counted here,
//!    and nothing comes of it.
//! 7. `limit` compares the body's length with the route's limit and makes a [`gateway::Cleared`], the only thing that can be
//!    dispatched. So a stack that leaves a step out does not compile.
//! 8. `dispatch` gives it to **[`proxy`]**, which takes the key, the hop-by-hop fields and everything that claims an identity
//!    out of the head, puts keygate's own in, and sends it, the target exactly as it was matched, on a connection that
//!    **[`upstream`]** lends. Bodies stream in both directions, with deadlines on progress. When the answer's body has ended,
//!    the connection goes back to the worker's pool, and the observation is dropped: then it is counted and logged.
//!
//! `POST /v3/apikeys` goes the same way, through the same steps, to its end: its route's target is **[`management`]**, which
//! makes a [`key::Command`] of the whole request. [`keycache::Keys::execute`] hands that to the one task that writes: the
//! **[`store`]** commits the row, the audit row and the new revision in one transaction, the cache takes the change, and only
//! then is it answered. There is no second way in; `keygate keys` is another process at the same store, and the cache
//! follows it by the store's feed.
//!
//! A request that asks for WebSocket goes the same way and is judged as a `GET`; when the upstream has agreed, HTTP is over on
//! both connections and a [`gateway::Tunnel`] carries bytes. What stays open, a tunnel, an event stream, any answer of more
//! than ten seconds, what is left of an upload after its answer, is kept in a register of the worker's by key, and ends when
//! the key loses what it had or a new policy would refuse it: promise 2 holds for what is already under way.
//!
//! Meanwhile [`config::Live`] looks at the files. When they changed and hold together, it makes the next snapshot and swaps
//! it whole; requests that are under way keep theirs, and those that last are judged again. What lets someone do more may
//! have to wait for an operator, and what was accepted is kept on disk, to go back to. **[`admin`]** tells how all of it is,
//! and takes what operators ask.
//!
//! # The house
//!
//! From the ground up. A module names only floors below its own; `tests/floors.rs` reads the sources and fails on a path
//! that points up.
//!
//! | floor | what it is for |
//! | --- | --- |
//! | [`clock`] | time as an argument |
//! | [`private`] | files that only their owner may read |
//! | [`log`] | where log lines go: one bounded queue, one thread that writes |
//! | [`deadline`] | deadlines that cost a request nothing, swept once a tick |
//! | [`net`] | sockets, TCP and Unix, as one type |
//! | [`tls`] | certificates and keys from files; TLS to clients and to upstreams |
//! | [`key`] | keys as data: what they are, how they are named, digested, masked, commanded |
//! | [`http`] | the rules of HTTP that keygate holds, as pure functions |
//! | [`store`] | keys that survive: SQLite, sealed at rest, audit trail, feed of changes |
//! | [`keycache`] | every key in memory, and the one task that writes |
//! | [`policy`] | scopes, routes, the decision about a request |
//! | [`config`] | from TOML to meaning, and again whenever the files change |
//! | [`openapi`] | from a description of an API to a first policy |
//! | [`upstream`] | connections to upstreams, each worker its own |
//! | [`proxy`] | a permitted request goes up, its answer streams back |
//! | [`management`] | `/apikeys`: the whole request to a command, then act |
//! | [`gateway`] | the line of a request, a layer for each step |
//! | [`server`] | listeners, workers, connections, drain |
//! | [`explain`] | what would be decided about a request, told step by step |
//! | [`admin`] | health, readiness, metrics, status, the policy in force; what operators may have done |
//! | [`demo`] | a small chat API in memory, to stand behind a gateway |
//! | [`load`] | requests at a rate, each answer judged, latencies told |
//! | [`cli`] | arguments to a command, a command to an exit code |
//!
//! Each module opens with an essay of its own: what it is for, what it is not for, one value walked through it.
//!
//! Three threads of execution run through the house, and they meet in few places. **Workers** serve requests; nothing on
//! their way needs a lock shared between cores but the shards of the key cache, for a key that the worker does not remember. The **control runtime** has the listeners,
//! the store, the keeper of the cache, the watcher of the files and the admin listener, so that a slow disk never delays a
//! request. The **log** has a thread that writes. They meet in the key cache, in the snapshot (swapped whole), in the
//! bounded queues between them, and in the counters of failed authentications.
//!
//! # Words
//!
//! - **Upstream**: a service behind keygate, with one or more servers: a table `[upstreams.NAME]`.
//! - **Route**: a host, a path pattern and methods, and who may use them: a table `[[routes]]`.
//! - **Credential**: what proves who asks, here the text of an API key. It stops at the gateway and is never logged.
//! - **Principal**: the key that a request was found to have, as a proof that it was in force then. Its record, not its text.
//! - **Scope**: what a key has one of and a route asks for; a scope may include others.
//! - **Hop-by-hop**: header fields that belong to one connection and are never passed on (RFC 9110, section 7.6.1).
//! - **Lane**: what requests that follow one another have in common: an HTTP/1.1 connection, or one stream of HTTP/2.
//! - **Tunnel**: a client's and an upstream's connection, joined, after HTTP is over on both.
//! - **Lease**: a connection to a server, or a stream of one, lent to one request.
//! - **Shadow**: where a policy is tried: it is asked about each request, and what it says is only counted.
//! - **Snapshot**: all that is hot in the configuration, as one value that never changes.
//! - **Generation**: the number of a snapshot, counted from 1 in each folder of kept configurations.
//! - **Drain**: from the signal to the end: no new connections, what is in flight is finished, up to a deadline.
//! - **Feed**: how a cache learns of changes that another process made: "what changed after revision R?"
//! - **Revision**: the number of a change to the store, bumped in the transaction that makes the change.
//! - **Epoch**: a random mark that a store is made with. Revisions can be compared only within one.
//!
//! # Where to start reading
//!
//! - For a decision: [`policy`] and its `permit`, then [`gateway`], whose `stack` is the line above in ten lines of code;
//!   [`explain`] tells one step by step, and `policy::diff` all that differ between two policies.
//! - For a key's life: [`key`], [`keycache`], then the essay of [`store`].
//! - For what must never get through: [`http::admit`], [`http::headers`], and `tests/`, where a recording upstream keeps every
//!   byte that it was sent.
//! - For the file format: `config/keygate.toml` and `config/routes.toml`, then [`config`].
//! - For a whole process: [`cli::run`], from its configuration to its drain.

// From the ground up; the blank lines keep the order.
pub mod clock;

pub mod private;

pub mod log;

pub mod deadline;

pub mod net;

pub mod tls;

pub mod key;

pub mod http;

pub mod store;

pub mod keycache;

pub mod policy;

pub mod config;

pub mod openapi;

pub mod upstream;

pub mod proxy;

pub mod management;

pub mod gateway;

pub mod server;

pub mod explain;

pub mod admin;

pub mod demo;

pub mod load;

pub mod cli;
