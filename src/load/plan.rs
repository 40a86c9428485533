//! What a run is to be, made whole before anything is sent.

use super::connect::Dialer;
use super::draw::Draw;
use super::expect::{Compare, Deciding, ExpectError, Expectations};
use super::keys::{LoadedKey, Mix};
use super::machine::{self, TooFewDescriptors};
use super::pool::{MixError, Pool};
use super::route::LoadRoute;
use super::schedule::{Pace, Phases, Schedule};
use super::source::Stuff;
use super::target::LoadTarget;
use crate::tls::{Alpn, ClientTls, Print, Roots};
use http::HeaderName;
use http::uri::{Authority, Scheme};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

/// Which version of HTTP is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Http1,
    /// With so many requests at once on each connection; without TLS, with prior knowledge.
    Http2 {
        streams: NonZeroUsize,
    },
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Protocol::Http1 => "HTTP/1.1",
            Protocol::Http2 { .. } => "HTTP/2",
        })
    }
}

/// All that an operator says about a run.
pub struct Settings<'c> {
    pub target: LoadTarget,
    /// In place of the target's.
    pub host: Option<Authority>,
    pub protocol: Protocol,
    /// The certificates to believe; `None`: the system's.
    pub roots: Option<Roots>,
    pub connections: NonZeroUsize,
    pub threads: NonZeroUsize,
    pub pace: Pace,
    pub phases: Phases,
    /// The run ends after so many requests.
    pub requests: Option<u64>,
    pub timeout: Duration,
    /// How long answers that are owed at the end are waited for.
    pub grace: Duration,
    pub seed: u64,
    pub key_header: HeaderName,
    pub keys: Vec<LoadedKey>,
    /// Keys of the store that it does not show, and that are therefore not sent.
    pub hidden_keys: usize,
    pub mix: Mix,
    pub draw: Draw,
    /// Never empty.
    pub routes: Vec<LoadRoute>,
    pub deciding: Deciding<'c>,
    pub compare: Compare,
}

/// Why nothing was sent, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Mix(#[from] MixError),
    #[error(transparent)]
    Expect(#[from] ExpectError),
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    #[error("the host `{host}` cannot be resolved")]
    Resolve {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    #[error("{0} cannot be reached; does it listen there?")]
    Connect(String, #[source] io::Error),
    #[error("a thread cannot be started")]
    Thread(#[source] io::Error),
    #[error("a thread of the load generator ended early")]
    Died,
}

impl LoadError {
    /// Whether the operator can mend it by saying something else.
    pub fn is_usage(&self) -> bool {
        match self {
            LoadError::Mix(_) | LoadError::Expect(_) | LoadError::Descriptors(_) => true,
            LoadError::Resolve { .. }
            | LoadError::Tls(_)
            | LoadError::Connect(..)
            | LoadError::Thread(_)
            | LoadError::Died => false,
        }
    }
}

/// A run that can begin.
pub struct Plan {
    pub(super) stuff: Arc<Stuff>,
    pub(super) schedule: Arc<Schedule>,
    pub(super) target: LoadTarget,
    pub(super) protocol: Protocol,
    addresses: Vec<SocketAddr>,
    tls: Option<ClientTls>,
    pub(super) connections: usize,
    pub(super) threads: usize,
    pub(super) requests: Option<u64>,
    pub(super) ramp: Duration,
    pub(super) is_open: bool,
    pub(super) hidden_keys: usize,
    pub(super) timeout: Duration,
    pub(super) grace: Duration,
    pub(super) seed: u64,
}

impl Plan {
    /// Draws nothing and sends nothing, but resolves the target's name.
    ///
    /// # Errors
    /// When the settings do not hold together, or the machine does not give what they need.
    pub fn new(settings: Settings<'_>) -> Result<Self, LoadError> {
        let connections = settings.connections.get();
        // A thread without a connection has nothing to do.
        let threads = settings.threads.get().min(connections);
        machine::allow_connections(connections)?;
        // Unknown keys are made from the seed, but not by the generator that draws.
        let mut random = fastrand::Rng::with_seed(!settings.seed);
        let pool = Pool::new(settings.keys, &settings.mix, settings.draw, &mut random)?;
        let expectations = Expectations::new(
            pool.kinds(),
            &settings.routes,
            settings.deciding,
            settings.compare,
        )?;
        let target = settings.target;
        let authority = settings.host.unwrap_or_else(|| target.authority.clone());
        let resolved = (target.host.as_str(), target.port).to_socket_addrs();
        let addresses: Vec<SocketAddr> = match resolved {
            Ok(addresses) => addresses.collect(),
            Err(source) => {
                return Err(LoadError::Resolve {
                    host: target.host,
                    source,
                });
            }
        };
        let tls = match target.tls {
            true => Some(client_tls(settings.roots)?),
            false => None,
        };
        let scheme = if target.tls {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        let stuff = Stuff::new(
            pool,
            expectations,
            settings.routes,
            settings.key_header,
            (scheme, authority),
        );
        Ok(Plan {
            stuff: Arc::new(stuff),
            is_open: matches!(settings.pace, Pace::Open(_)),
            schedule: Arc::new(Schedule::new(&settings.pace, settings.phases)),
            target,
            protocol: settings.protocol,
            addresses,
            tls,
            connections,
            threads,
            requests: settings.requests,
            ramp: settings.phases.ramp,
            hidden_keys: settings.hidden_keys,
            timeout: settings.timeout,
            grace: settings.grace,
            seed: settings.seed,
        })
    }

    /// How connections are made.
    pub(super) fn dialer(&self) -> Dialer {
        let host = &self.target.host;
        Dialer {
            addresses: self.addresses.clone(),
            tls: self.tls.clone().map(|tls| (tls, host.clone())),
            alpn: match self.protocol {
                Protocol::Http1 => Alpn::Http1,
                Protocol::Http2 { .. } => Alpn::H2,
            },
            timeout: self.timeout,
        }
    }
}

fn client_tls(roots: Option<Roots>) -> Result<ClientTls, LoadError> {
    let roots = match roots {
        Some(roots) => roots,
        None => Roots::system().map_err(LoadError::Tls)?,
    };
    // Nothing is compared by it here.
    let print = Print([0; 32]);
    ClientTls::new(&roots, None, None, print).map_err(|error| LoadError::Tls(error.to_string()))
}
