//! One route: what it matches, who may use it, where it leads.

use crate::http::cors::Cors;
use crate::http::edits::HeaderEdits;
use crate::http::{Exceptions, canonical_host};
use crate::key::ScopeName;
use http::Method;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A route as the request path sees it.
#[derive(Clone, Debug)]
pub struct Route {
    /// What metrics and logs call it: its `name`, else its first method (none named: none), host and path as written,
    /// prefix included: `GET /v3/users`, `/v3/{*rest}`, `GET api.example.com/v3/users`.
    pub name: Arc<str>,
    /// The path pattern, prefix included, as `/v3/users/{uid}`.
    pub template: Arc<str>,
    /// The host it is for; `None`: any.
    pub host: Option<HostPattern>,
    /// The methods it takes.
    pub methods: Methods,
    /// Who may use it.
    pub access: Access,
    /// Where a permitted request goes.
    pub target: Target,
    /// Which second readings of a path its upstream needs.
    pub allow: Exceptions,
    /// What else it sets.
    pub settings: RouteSettings,
    /// What it is called across reloads.
    pub identity: RouteIdentity,
    /// Where it is written.
    pub place: Place,
}

impl Route {
    /// On a route of the management API that is about one key: the segment of a matched path that names the key, still
    /// percent-encoded.
    pub fn key_segment<'p>(&self, path: &'p str) -> Option<&'p str> {
        match self.target {
            Target::Management(ManagementOp::Get | ManagementOp::Update | ManagementOp::Delete) => {
                path.rsplit('/').next()
            }
            Target::Management(ManagementOp::Create | ManagementOp::List) | Target::Upstream(_) => {
                None
            }
        }
    }
}

/// A route's position in [`super::Policy::routes`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RouteIndex(pub(super) u32);

impl RouteIndex {
    /// The position.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The position, as small as it is kept.
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

/// One `[[routes]]` table, as what is counted for it across reloads knows it: the same for all its paths and methods,
/// whichever file it stands in and whatever else of it is edited.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RouteIdentity(u64);

impl RouteIdentity {
    /// The identity of the route of these paths, methods and host. No two routes of one policy match the same requests,
    /// so no two have the same.
    pub fn of<'p>(
        host: Option<&HostPattern>,
        methods: &Methods,
        paths: impl IntoIterator<Item = &'p str>,
    ) -> Self {
        let mut words: Vec<String> = paths.into_iter().map(|path| format!("p{path}")).collect();
        words.extend(host.map(|host| format!("h{host}")));
        if let Methods::Named(methods) = methods {
            words.extend(methods.iter().map(|method| format!("m{method}")));
        }
        words.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        for word in words {
            hasher.update(&(word.len() as u64).to_le_bytes());
            hasher.update(word.as_bytes());
        }
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        RouteIdentity(u64::from_le_bytes(first))
    }
}

/// How often something may happen: in the long run once an `interval`, and `burst` times at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Time that one costs (100/s: 10 ms).
    pub interval: Duration,
    /// How many may come at once; at least 1.
    pub burst: u32,
}

/// Who may use a route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// Anyone; no key is needed or judged.
    Public,
    /// No one.
    Deny,
    /// A key of one of these scopes: sorted, and closed over inclusion, so that a lookup is all that is left to do.
    /// (`scope = "authOnly"` where fullAccess includes it gives both.)
    Scopes(Arc<[ScopeName]>),
}

/// Where a permitted request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// keygate's own management API.
    Management(ManagementOp),
    /// The upstream of this position in the snapshot's list.
    Upstream(usize),
}

/// The five operations of the management API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ManagementOp {
    Create,
    List,
    Get,
    Update,
    Delete,
}

/// The methods of a route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Methods {
    /// None written: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.
    Default,
    /// These; never empty.
    Named(Vec<Method>),
}

/// Settings of a route that override the upstream's and the general ones.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RouteSettings {
    /// Removed from the front of the canonical path: whole segments, no trailing slash.
    pub strip_prefix: Option<Arc<str>>,
    /// Put before the canonical path, after stripping: whole segments, no trailing slash.
    pub add_prefix: Option<Arc<str>>,
    /// Most bytes of a request body.
    pub body_bytes: Option<u64>,
    /// Time for connecting to the upstream.
    pub connect: Option<Duration>,
    /// Time until the head of the upstream's answer.
    pub response: Option<Duration>,
    /// Time without progress of a body.
    pub body: Option<Duration>,
    /// Time of an open stream without a byte.
    pub stream: Option<Duration>,
    /// When a request is sent again.
    pub retries: Option<Retries>,
    /// How many requests a key may make.
    pub rate: Option<Rate>,
    /// How many requests of a key may be open at once.
    pub streams: Option<u32>,
    /// What is set, added and removed in heads, over what the upstream does: the default's, then its own.
    pub headers: Vec<Arc<HeaderEdits>>,
    /// What browsers are told.
    pub cors: RouteCors,
    /// The route does not serve for the time being.
    pub maintenance: Option<Arc<Maintenance>>,
}

/// What browsers are told of a route.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum RouteCors {
    /// What `[cors]` says.
    #[default]
    General,
    /// Nothing by the gateway: as if there were no `[cors]`.
    Off,
    /// This, in place of the general one.
    Own(Arc<Cors>),
}

/// `maintenance`: how a route says that it does not serve for the time being.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Maintenance {
    /// 503, or another of the 4xx and 5xx.
    pub status: http::StatusCode,
    /// One sentence for clients.
    pub message: Box<str>,
    /// When to come again, if that is known.
    pub retry_after: Option<Duration>,
}

/// `retries`: when a request is sent again, and how often. Only ever one that is idempotent, has no body, and of whose
/// answer nothing was passed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retries {
    /// How often a request is sent in all, the first time included.
    pub attempts: u8,
    pub on: RetryOn,
    /// How many requests of a hundred may be sent again, in the long run.
    pub budget_percent: u32,
}

impl Default for Retries {
    fn default() -> Self {
        Retries {
            attempts: 2,
            on: RetryOn {
                connect: true,
                reset: true,
                status: Vec::new(),
            },
            budget_percent: 20,
        }
    }
}

/// After what a request is sent again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RetryOn {
    /// There was no connection: nothing was sent, so any request goes to the next server, and it is no attempt.
    pub connect: bool,
    /// The connection ended before an answer.
    pub reset: bool,
    /// The answer had one of these statuses.
    pub status: Vec<u16>,
}

/// Where something is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    pub file: Arc<PathBuf>,
    /// Bytes from the start of the file.
    pub span: std::ops::Range<usize>,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// A host as a route names it: lower case, without a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HostPattern {
    /// `api.example.com`.
    Exact(Box<str>),
    /// `*.example.com`, kept as `example.com`: any host that ends in `.example.com`.
    Suffix(Box<str>),
}

impl HostPattern {
    /// Reads `api.example.com` or `*.example.com`.
    ///
    /// # Errors
    /// When the text is neither.
    pub fn parse(text: &str) -> Result<Self, HostPatternError> {
        let (name, wild) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let label_is_fine = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let bracketed = name.starts_with('[')
            && name.ends_with(']')
            && name[1..name.len() - 1]
                .parse::<std::net::Ipv6Addr>()
                .is_ok();
        if (bracketed && !wild) || (name.len() <= 253 && name.split('.').all(label_is_fine)) {
            // In the spelling that requests have, or a route of `[0:0:0:0:0:0:0:1]` would never see one.
            let name = canonical_host(name).into_owned().into_boxed_str();
            Ok(if wild {
                HostPattern::Suffix(name)
            } else {
                HostPattern::Exact(name)
            })
        } else {
            Err(HostPatternError)
        }
    }

    /// Whether it takes a host, as [`canonical_host`] has it and without a port.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            HostPattern::Exact(name) => **name == *host,
            HostPattern::Suffix(suffix) => host
                .strip_suffix(&**suffix)
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(name) => f.write_str(name),
            HostPattern::Suffix(name) => write!(f, "*.{name}"),
        }
    }
}

/// The text is not a host pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a host is a name such as `api.example.com` or `*.example.com`, without a port")]
pub struct HostPatternError;
