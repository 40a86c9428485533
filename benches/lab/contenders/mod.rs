//! Who is compared. All that check keys do the same job; each file here says it in one contender's words.
//!
//! The job: the key in `apikey` is looked up in a table of all keys. Without a key, or with an unknown one, 401. A path that
//! is none of the routes': 404. A key of scope authOnly at a route that asks for fullAccess: 403. Else the request goes to
//! the upstream over a kept connection, without `apikey`, with `X-Keygate-Key-Id`, `X-Keygate-Key-Name`,
//! `X-Keygate-Scope`, `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`, `Via` and a new `X-Request-Id`, whatever
//! of these the client sent, and the upstream's own `Host`; the answer gets `X-Request-Id`. No access log, bodies are
//! streamed, one worker.
//!
//! Where a contender has several usual ways to say it, the one here is the fastest of those that were tried: routes are
//! looked up by prefix, and a pattern then sees to it that a parameter is one segment; keys of a lesser scope stand in a
//! table of their own, and there is one; buffers are as large as bodies like. A way that is faster still is welcome.

pub mod caddy;
pub mod envoy;
pub mod haproxy;
pub mod keygate;
pub mod nginx;
pub mod relay;
pub mod upstream;

use crate::case::{Case, Routes, Traffic, Wire};
use crate::keys::Keys;
use crate::process::Process;
use crate::tls::Certificate;
use anyhow::Result;
use keygate::Variant;
use std::path::Path;
use std::time::Duration;

/// How long one may take to start, with a million keys too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a contender stands.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// For its files.
    pub folder: &'a Path,
    pub keys: &'a Keys,
    pub routes: Routes,
    pub wire: Wire,
    pub certificate: &'a Certificate,
    pub port: u16,
    /// What it forwards to, in clear text.
    pub upstream: u16,
    /// The same upstream, spoken to as clients speak.
    pub upstream_on_wire: u16,
    pub traffic: Traffic,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contender {
    Keygate,
    Nginx,
    Haproxy,
    Envoy,
    Caddy,
    Relay,
    Upstream,
    /// keygate, with an access log in a file.
    Logging,
    /// keygate, and every route is public: no key is looked at.
    Public,
}

impl Contender {
    pub const ALL: [Contender; 9] = [
        Contender::Keygate,
        Contender::Nginx,
        Contender::Haproxy,
        Contender::Envoy,
        Contender::Caddy,
        Contender::Relay,
        Contender::Upstream,
        Contender::Logging,
        Contender::Public,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Contender::Keygate => "keygate",
            Contender::Nginx => "nginx",
            Contender::Haproxy => "HAProxy",
            Contender::Envoy => "Envoy",
            Contender::Caddy => "Caddy",
            Contender::Relay => "TCP relay",
            Contender::Upstream => "no proxy",
            Contender::Logging => "keygate logging",
            Contender::Public => "keygate public",
        }
    }

    /// For the legend.
    pub fn how(self) -> &'static str {
        match self {
            Contender::Keygate => "its key store",
            Contender::Nginx => "a `map` of keys, a `location` for each route",
            Contender::Haproxy => "map files of keys and of routes",
            Contender::Envoy => "`api_key_auth`, `rbac`, a matcher tree of routes",
            Contender::Caddy => {
                "a `map` of keys (which it searches from its beginning), a `handle` for each route"
            }
            Contender::Relay => "HAProxy in TCP mode: looks into nothing, checks nothing",
            Contender::Upstream => {
                "the upstream itself, in the place of a contender: checks nothing"
            }
            Contender::Logging => "keygate, with a JSON line for each request in a file",
            Contender::Public => "keygate, with every route public: no key is looked at",
        }
    }

    /// Whether it checks keys.
    pub fn is_gateway(self) -> bool {
        !matches!(
            self,
            Contender::Relay | Contender::Upstream | Contender::Public
        )
    }

    /// What it needs, if that is missing.
    pub fn missing(self) -> Option<String> {
        let program = self.program()?;
        let found = std::process::Command::new("sh")
            .args(["-c", "command -v \"$0\" >&2", &program])
            .output();
        let found = found.is_ok_and(|out| out.status.success());
        (!found).then_some(program)
    }

    fn program(self) -> Option<String> {
        match self {
            Contender::Keygate | Contender::Logging | Contender::Public => None,
            Contender::Nginx | Contender::Upstream => Some("nginx".to_owned()),
            Contender::Haproxy | Contender::Relay => Some("haproxy".to_owned()),
            Contender::Envoy => Some(envoy::program()),
            Contender::Caddy => Some("caddy".to_owned()),
        }
    }

    /// What it says its version is.
    pub fn version(self) -> String {
        let (program, argument) = match self {
            Contender::Keygate | Contender::Logging | Contender::Public => {
                (env!("CARGO_BIN_EXE_keygate").to_owned(), "--version")
            }
            Contender::Nginx | Contender::Upstream => ("nginx".to_owned(), "-v"),
            Contender::Haproxy | Contender::Relay => ("haproxy".to_owned(), "-v"),
            Contender::Envoy => (envoy::program(), "--version"),
            Contender::Caddy => ("caddy".to_owned(), "version"),
        };
        let Ok(said) = std::process::Command::new(program).arg(argument).output() else {
            return String::new();
        };
        let said = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
        // The first word with a digit and a point: `nginx/1.22.1`, `v2.6`, `…/1.40.0/Clean/…`.
        let words = said.split(|c: char| c.is_whitespace() || c == '/');
        let is_version =
            |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
        words.into_iter().find(is_version).unwrap_or("").to_owned()
    }

    /// Why a case says nothing about it, or cannot be done by it.
    pub fn lacks(self, case: &Case) -> Option<&'static str> {
        let base = &crate::case::BASE;
        match self {
            Contender::Keygate | Contender::Nginx | Contender::Haproxy | Contender::Envoy => None,
            Contender::Caddy if case.keys > 10 * base.keys => Some(
                "its `map` is a list, searched from its beginning: see how it does with 1 and 10,000 keys",
            ),
            Contender::Caddy => None,
            Contender::Logging | Contender::Public if case.name != base.name => {
                Some("it shows what a part costs: see the base case")
            }
            Contender::Logging | Contender::Public => None,
            Contender::Relay | Contender::Upstream if case.traffic == Traffic::Refused => {
                Some("it refuses nothing")
            }
            Contender::Relay | Contender::Upstream
                if case.keys != base.keys || case.routes != base.routes =>
            {
                Some("it knows neither keys nor routes: as in the base case")
            }
            Contender::Relay | Contender::Upstream => None,
        }
    }

    /// Starts it, and waits until it listens.
    ///
    /// # Errors
    /// When it does not come to listen.
    pub fn start(self, site: &Site) -> Result<Process> {
        let process = match self {
            Contender::Keygate => keygate::start(site, Variant::Usual),
            Contender::Logging => keygate::start(site, Variant::Logging),
            Contender::Public => keygate::start(site, Variant::Public),
            Contender::Nginx => nginx::start(site),
            Contender::Haproxy => haproxy::start(site),
            Contender::Envoy => envoy::start(site),
            Contender::Caddy => caddy::start(site),
            Contender::Relay => relay::start(site),
            Contender::Upstream => upstream::contender(site),
        };
        process?.listening(site.port, PATIENCE)
    }
}
