//! What a configuration means, after it was read: every value in the type that its users need.
//!
//! [`Cold`] is kept until a restart; [`Hot`] is in force as soon as it was read whole and compiled. A [`Snapshot`] is
//! one generation of what is hot; a request works with exactly one.

use super::hosts::Hosts;
use super::shadow::Shadow;
use crate::clock::Timestamp;
use crate::http::AdmitRules;
pub use crate::http::UnderscoreRule as Underscores;
pub use crate::http::cors::{Cors, CorsOrigins};
use crate::http::edits::HeaderEdits;
use crate::http::forwarded::SpokenBy;
use crate::key::{Authority, Reveal};
use crate::net::Peer;
pub use crate::net::ProxyProtocol;
use crate::policy::{Policy, Rate, Retries};
use crate::tls::{Certificate, ClientTls, ServerTls};
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What stays as it is until a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cold {
    /// Where clients connect; never empty.
    pub listen: Vec<Listener>,
    /// How many worker threads.
    pub workers: NonZeroUsize,
    /// Whether debuggers may attach and cores may be dumped.
    pub dumpable: bool,
    /// Peers whose forwarding headers and request ids are believed.
    pub trusted_proxies: TrustedProxies,
    /// By which header they say for whom they speak.
    pub forwarded: SpokenBy,
    /// What happens to header names with an underscore.
    pub underscores: Underscores,
    /// Where a successor asks for the listening sockets: a Unix socket. `None`: nowhere.
    pub handover: Option<ListenAddress>,
    /// `[admin]`.
    pub admin: AdminSettings,
    /// `[keys]`, but `reveal`.
    pub keys: KeySettings,
    /// `reload.folder`: where accepted generations are kept; absolute.
    pub kept: PathBuf,
}

/// One entry of `server.listen`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    pub address: ListenAddress,
    /// Whether clients speak TLS. Without a word of its own, a TCP listener does where `[server] tls` is set.
    pub tls: bool,
    /// Whether each connection begins with a header that says for whom it is made, and of which version.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// Where to listen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListenAddress {
    /// An address and a port; port 0 for a free one.
    Tcp(SocketAddr),
    /// A socket in a file, made absolute against the folder of the main configuration file, with its permissions.
    Unix { path: PathBuf, mode: u32 },
    /// The sockets that systemd passes by this name (`FileDescriptorName=` of a socket unit).
    Systemd(Box<str>),
}

impl ListenAddress {
    /// Whether no two can listen on both.
    pub(super) fn is_place_of(&self, other: &ListenAddress) -> bool {
        match (self, other) {
            (ListenAddress::Tcp(a), ListenAddress::Tcp(b)) => a == b && a.port() != 0,
            (ListenAddress::Unix { path: a, .. }, ListenAddress::Unix { path: b, .. }) => a == b,
            (ListenAddress::Systemd(a), ListenAddress::Systemd(b)) => a == b,
            (ListenAddress::Tcp(_) | ListenAddress::Unix { .. } | ListenAddress::Systemd(_), _) => {
                false
            }
        }
    }
}

/// As the configuration has it, with a whole path.
impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(f),
            ListenAddress::Unix { path, .. } => write!(f, "unix:{}", path.display()),
            ListenAddress::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// `server.trusted_proxies`: who may speak for others.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TrustedProxies {
    pub networks: Vec<Network>,
    /// Whether every process that may connect to a Unix listener is trusted.
    pub unix: bool,
}

impl TrustedProxies {
    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// Whether this peer may speak for others.
    pub fn trusts(&self, peer: Peer) -> bool {
        match peer {
            Peer::Ip(address) => self.networks.iter().any(|n| n.contains(address)),
            Peer::Unix => self.unix,
        }
    }
}

/// `[admin]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdminSettings {
    /// `None` (`listen = ""`): no admin listener.
    pub listen: Option<ListenAddress>,
    /// The file of the token that what changes something asks for, made absolute. `None`: nothing can be changed there.
    pub token: Option<PathBuf>,
}

/// `[keys]`, but `reveal`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeySettings {
    /// The header that carries the key; lower case.
    pub header: HeaderName,
    /// The SQLite file, made absolute against the folder of the main configuration file.
    pub store: PathBuf,
    /// The master secret's file, made absolute likewise. `KEYGATE_SECRET` is the store's business.
    pub secret: PathBuf,
}

/// A network of addresses, `10.0.0.0/8`; a bare address is a network of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    /// An address of it.
    pub address: IpAddr,
    /// How many leading bits its addresses share.
    pub prefix_len: u8,
}

impl Network {
    /// Whether the network has this address; IPv4 addresses mapped into IPv6 count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.prefix_len.min(32));
                (u32::from(net) ^ u32::from(ip))
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.prefix_len.min(128));
                (u128::from(net) ^ u128::from(ip))
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

/// What may change while the gateway runs.
#[derive(Clone, Debug)]
pub struct Hot {
    /// `[log]`.
    pub log: LogSettings,
    /// Whether keys are shown after they were made.
    pub reveal: Reveal,
    /// What happens to a change that lets someone do more.
    pub widening: Widening,
    pub timeouts: Timeouts,
    /// `[limits]`.
    pub limits: Limits,
    /// Certificates and what belongs to them; `None` where `[server]` has no `tls`, or secrets were not read.
    pub tls: Option<Arc<ServerTls>>,
    /// `[cors]`; `None`: off.
    pub cors: Option<Arc<Cors>>,
    /// By position: `policy::Target::Upstream` holds an index into this.
    pub upstreams: Vec<Arc<UpstreamSettings>>,
    /// `[server] hosts`: addresses of upstreams' names that are asked of nobody else.
    pub hosts: Arc<Hosts>,
    /// The routes, management paths included, and the scopes.
    pub policy: Policy,
    /// What is tried beside it.
    pub shadow: Option<Arc<Shadow>>,
    /// Which keys may manage which.
    pub authority: Arc<Authority>,
    /// The scope of a new key when the request names none: `authOnly` where declared.
    pub default_scope: Option<crate::key::ScopeName>,
}

impl Hot {
    /// What a head may be, with the rule for underscores that is cold.
    pub fn admit_rules(&self, cold: &Cold) -> AdmitRules {
        AdmitRules {
            target_bytes: self.limits.target_bytes,
            head_bytes: self.limits.head_bytes,
            headers: self.limits.headers,
            underscores: cold.underscores,
        }
    }

    /// All certificates that are shown to anyone, each file once.
    pub fn certificates(&self) -> Vec<&Certificate> {
        let servers = self.tls.iter().flat_map(|tls| tls.certificates());
        let clients = self.upstreams.iter().filter_map(|u| u.tls.as_ref());
        let mut found: Vec<&Certificate> = servers
            .chain(clients.filter_map(|tls| tls.certificate()))
            .collect();
        found.sort_by(|a, b| a.file.cmp(&b.file));
        found.dedup_by(|a, b| a.file == b.file);
        found
    }

    /// Takes over from the generation before what TLS settings hold besides settings, the sessions that can be resumed,
    /// where these are the same. Where the new one has no certificates, the old ones stay: whether TLS is spoken is
    /// decided at the start, and listeners that speak it do not fall back to clear text.
    pub(super) fn keep_sessions(&mut self, before: &Hot) {
        match (&self.tls, &before.tls) {
            (None, Some(_)) => self.tls = before.tls.clone(),
            (Some(new), Some(old)) if new.is_same(old) => self.tls = before.tls.clone(),
            (Some(_), Some(_) | None) | (None, None) => {}
        }
        for upstream in &mut self.upstreams {
            let same = before.upstreams.iter().find(|old| {
                old.name == upstream.name && old.tls.is_some() && old.tls == upstream.tls
            });
            if let Some(old) = same {
                Arc::make_mut(upstream).tls.clone_from(&old.tls);
            }
        }
    }
}

impl Hot {
    /// Takes the shadow policy over from the generation before where nothing of what is compared has changed, so that what
    /// was counted goes on; whether it did.
    pub(super) fn keep_shadow(&mut self, before: &Hot) -> bool {
        match (&self.shadow, &before.shadow) {
            (Some(new), Some(old)) if new.continues(old) => {
                self.shadow = Some(Arc::clone(old));
                true
            }
            (Some(_) | None, _) => false,
        }
    }
}

/// One generation of what is hot.
#[derive(Debug)]
pub struct Snapshot {
    /// Counted from 1.
    pub generation: u64,
    /// Of all files that it was read from, in hexadecimal.
    pub hash: String,
    /// When it came into force.
    pub loaded_at: Timestamp,
    /// Since when its shadow policy is compared with its policy, over generations that changed neither.
    pub shadow_since: Timestamp,
    /// What it says.
    pub hot: Hot,
}

/// `reload.widening`: what happens to a change that lets someone do more. The setting in force decides about a change of
/// itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Widening {
    /// It is in force like any other.
    Allow,
    /// It waits until an operator confirms it by its hash.
    Confirm,
}

impl Widening {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Widening::Allow => "allow",
            Widening::Confirm => "confirm",
        }
    }
}

/// `[log]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogSettings {
    /// How lines are written.
    pub format: LogFormat,
    /// Which requests get a line.
    pub access: AccessLog,
    /// From which level on.
    pub level: LogLevel,
}

/// How log lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    Text,
    Json,
}

/// Which requests get an access line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessLog {
    All,
    /// Those that keygate refused or could not serve.
    Refused,
    Off,
}

/// The least level that is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `[timeouts]`, with upstream's and route's own values laid over it where they have some.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// For a whole request head, and for TLS and the protocol sniff before it.
    pub head: Duration,
    /// Without progress of a body, either way.
    pub body: Duration,
    /// For a connection to an upstream.
    pub connect: Duration,
    /// Until the head of the upstream's answer.
    pub response: Duration,
    /// Keep-alive without a request.
    pub idle: Duration,
    /// An open stream without a byte.
    pub stream: Duration,
    /// How long everything is served as before after `/readyz` has turned, when keygate is told to stop. It may be nothing.
    pub drain_delay: Duration,
    /// What a drain waits for.
    pub drain: Duration,
}

/// `[limits]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Most client connections at one time.
    pub connections: usize,
    /// Most bytes of a request's headers.
    pub head_bytes: usize,
    /// Most header lines of a request.
    pub headers: usize,
    /// Most bytes of a request's target.
    pub target_bytes: usize,
    /// Most bytes of a request's body.
    pub body_bytes: u64,
    /// How many failed authentications a client network may have.
    pub failed_auth: Rate,
    /// How many requests of one key may be open at once, over all routes to upstreams.
    pub streams_per_key: Option<u32>,
    /// Most connections of one client network at one time; trusted proxies are not counted.
    pub connections_per_network: Option<u32>,
    /// Most requests that are open at one time, over all connections.
    pub requests: usize,
    /// Most streams that a client may have open at once on an HTTP/2 connection.
    pub streams: u32,
    /// How many frames of HTTP/2 that bring nothing further a connection may have.
    pub frames: Rate,
}

/// `[upstreams.NAME]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamSettings {
    /// `NAME`.
    pub name: Arc<str>,
    /// Never empty.
    pub servers: Vec<UpstreamServer>,
    /// Which `Host` its servers get.
    pub host: HostRule,
    /// Whether they are sent `Forwarded` besides `X-Forwarded-*`.
    pub forwarded: bool,
    /// What is set, added and removed; the route's own goes over it.
    pub headers: HeaderEdits,
    /// The general timeouts with this upstream's own laid over them.
    pub timeouts: Timeouts,
    /// Which of its servers a request goes to, and what happens when they fail.
    pub balancing: Balancing,
    /// How its `https` servers are met; `None` where it has none, or secrets were not read.
    pub tls: Option<Arc<ClientTls>>,
    /// `http2`.
    pub http2: Http2,
}

impl UpstreamSettings {
    /// Whether an answer with this status speaks against the server that gave it.
    pub fn is_failure(&self, status: http::StatusCode) -> bool {
        let eject = self.balancing.eject.as_ref();
        eject.is_some_and(|eject| StatusRange::any(&eject.status, status))
    }
}

/// A server of an upstream: `http://host:port`, `https://host:port`, `h2c://host:port`, `unix:/path`, `h2c+unix:/path`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamServer {
    /// What is spoken with it.
    pub scheme: Scheme,
    /// A name or an address (IPv6 without brackets).
    pub host: Box<str>,
    /// The scheme's own where none was written.
    pub port: u16,
    /// The Unix socket that it is reached by, in place of a host and a port.
    pub socket: Option<Box<Path>>,
    /// As a `Host` header has it: the port only where it is not the scheme's own.
    pub authority: HeaderValue,
    /// How many times as much it takes as a server of weight 1; from 1 to 1000.
    pub weight: u16,
}

/// As it is told apart from others in logs and metrics: `host:port`, with the scheme before it where that is not `http`.
impl fmt::Display for UpstreamServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.socket {
            let plain = self.scheme == Scheme::Http;
            let scheme = if plain { "unix" } else { "h2c+unix" };
            return write!(f, "{scheme}:{}", path.display());
        }
        f.write_str(match self.scheme {
            Scheme::Http => "",
            Scheme::Https => "https://",
            Scheme::H2c => "h2c://",
        })?;
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Whether HTTP/2 is spoken with servers that speak TLS. (What others speak is said by their scheme.)
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Http2 {
    /// Where a server settles on it.
    #[default]
    Offered,
    /// Nothing else.
    Always,
    Never,
}

/// What is spoken with a server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    /// HTTP/1.1 in clear text.
    Http,
    /// TLS, and in it the version of HTTP that ALPN settles on.
    Https,
    /// HTTP/2 in clear text, by prior knowledge.
    H2c,
}

impl Scheme {
    /// The port of a server that names none.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http | Scheme::H2c => 80,
            Scheme::Https => 443,
        }
    }
}

/// Which of an upstream's servers a request goes to, and what happens when they fail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Balancing {
    pub balance: Balance,
    /// How often names are resolved again.
    pub resolve: Duration,
    /// `None`: servers are not asked how they are.
    pub health: Option<HealthCheck>,
    /// `None`: no server is left out for what its answers were.
    pub eject: Option<Eject>,
    /// Over how long a server that is back comes to its full share; `None`: at once.
    pub slow_start: Option<Duration>,
    /// Most requests at one time at each address of a server, all workers together; `None`: no limit.
    pub connections: Option<u32>,
    /// Where requests wait when all servers have as many as they may.
    pub queue: Queue,
    /// Of routes that say nothing of it.
    pub retries: Option<Retries>,
}

impl Default for Balancing {
    fn default() -> Self {
        Balancing {
            balance: Balance::LeastLoaded,
            resolve: Duration::from_secs(30),
            health: None,
            eject: None,
            slow_start: None,
            connections: None,
            queue: Queue::default(),
            retries: None,
        }
    }
}

/// How a server is chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Balance {
    /// Of two drawn by weight, the one with fewer requests in flight for its weight.
    LeastLoaded,
    /// In turn, by weight, evenly spread.
    RoundRobin,
    /// The same one for the same key.
    HashKey,
    /// The same one for the same value of this header.
    HashHeader(HeaderName),
}

/// `health`: how servers are asked how they are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthCheck {
    pub path: http::uri::PathAndQuery,
    /// From one check to the next.
    pub interval: Duration,
    /// For one check, from connecting to the head of the answer.
    pub timeout: Duration,
    /// How many checks in a row must succeed before a server is used again.
    pub healthy: u32,
    /// How many must fail before it is not used any more.
    pub unhealthy: u32,
    /// What a healthy server answers.
    pub status: Vec<StatusRange>,
}

/// `eject`: when a server is left out for its failures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Eject {
    /// How many failures in a row it takes.
    pub failures: u32,
    /// How long it is left out the first time; twice as long each time that it fails again when it is back.
    pub lasts: Duration,
    /// Which answers count as failures.
    pub status: Vec<StatusRange>,
}

/// Statuses from the first to the last, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatusRange {
    pub first: u16,
    pub last: u16,
}

impl StatusRange {
    /// Whether one of these has this status.
    pub fn any(ranges: &[StatusRange], status: http::StatusCode) -> bool {
        let status = status.as_u16();
        ranges.iter().any(|r| (r.first..=r.last).contains(&status))
    }
}

/// `queue`: how many may wait for a server, and how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Queue {
    pub size: usize,
    pub timeout: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Queue {
            size: 100,
            timeout: Duration::from_secs(1),
        }
    }
}

/// Which `Host` an upstream gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostRule {
    /// Its own authority.
    Upstream,
    /// The client's.
    Client,
    /// This one.
    Name(HeaderValue),
}
