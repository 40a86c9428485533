//! `/readyz` and `/status` as JSON.

use super::State;
use crate::config::{AccessChange, Past, Waiting};
use crate::upstream::{GroupReport, ServerReport};
use serde::Serialize;
use std::collections::BTreeMap;

/// The feed of key changes counts as behind when it was not heard of for this long.
const FEED_BEHIND_SECONDS: f64 = 5.0;

/// Whether requests should be sent here, and why.
#[derive(Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    keys: Check,
    policy: Check,
    feed: Check,
    drain: Check,
}

#[derive(Serialize)]
struct Check {
    ok: bool,
    reason: String,
}

/// Keys and policy are loaded before anything listens, so what can be wrong later is a drain. A feed that is behind is
/// told but does not make the gateway unready: the cache is complete, and taking all gateways out for a store that is
/// away would turn a part of the service off and help nobody.
pub(super) fn readiness(state: &State) -> Readiness {
    let (reload, feed) = (state.live.status(), state.keys.feed());
    let draining = state.is_draining();
    let age = feed.age.as_secs_f64();
    Readiness {
        ready: !draining,
        keys: Check {
            ok: true,
            reason: format!("{} keys in memory", state.keys.cache().len()),
        },
        policy: Check {
            ok: reload.last_error.is_none()
                && reload.unconfirmed.is_none()
                && reload.kept_error.is_none(),
            reason: format!(
                "generation {} is {}{}",
                reload.generation,
                if reload.pinned { "pinned" } else { "in force" },
                match (&reload.last_error, &reload.unconfirmed, &reload.kept_error) {
                    (Some(_), _, _) => "; newer files were refused, see /status",
                    (None, Some(_), _) => "; newer files wait to be confirmed, see /status",
                    (None, None, Some(_)) => "; it is not kept on disk, see /status",
                    (None, None, None) => "",
                }
            ),
        },
        feed: Check {
            ok: age < FEED_BEHIND_SECONDS,
            reason: match feed.last_error {
                None => format!("changes were looked for {age:.1} s ago"),
                Some(error) => format!("no changes known for {age:.1} s: {error}"),
            },
        },
        drain: Check {
            ok: !draining,
            reason: if draining { "draining" } else { "serving" }.to_owned(),
        },
    }
}

/// What the gateway is and has.
#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    uptime_seconds: u64,
    draining: bool,
    pub(super) policy: Policy,
    keys: Keys,
    workers: usize,
    connections: Vec<usize>,
    certificates: Vec<Certificate>,
    upstreams: BTreeMap<String, Upstream>,
}

#[derive(Serialize)]
struct Certificate {
    file: String,
    names: Vec<String>,
    not_before: Option<i64>,
    not_after: Option<i64>,
}

impl From<&crate::tls::Certificate> for Certificate {
    fn from(certificate: &crate::tls::Certificate) -> Self {
        let validity = certificate.validity;
        Certificate {
            file: certificate.file.display().to_string(),
            names: certificate.names.clone(),
            not_before: validity.map(|v| v.not_before.unix_seconds()),
            not_after: validity.map(|v| v.not_after.unix_seconds()),
        }
    }
}

/// One upstream, by its name.
#[derive(Serialize)]
struct Upstream {
    waiting: usize,
    refused: BTreeMap<&'static str, u64>,
    servers: Vec<UpstreamServer>,
}

#[derive(Serialize)]
struct UpstreamServer {
    server: String,
    address: String,
    /// "up", "returning", "ejected", "down".
    state: &'static str,
    weight: u32,
    share: f64,
    ejections: u64,
    in_flight: u32,
    out_for_seconds: f64,
}

#[derive(Serialize)]
pub(super) struct Policy {
    generation: u64,
    hash: String,
    loaded_at: i64,
    age_seconds: i64,
    routes: usize,
    generations_held: usize,
    reloads_accepted: u64,
    reloads_refused: u64,
    last_error: Option<String>,
    last_attempt: Option<i64>,
    waiting_for_restart: Vec<String>,
    /// "allow", "confirm".
    widening: &'static str,
    /// Files that let someone do more, and wait to be confirmed.
    unconfirmed: Option<Unconfirmed>,
    /// Whether the generation in force stays until `keygate reload`.
    pinned: bool,
    kept_error: Option<String>,
    /// The last generations, the one in force at the end.
    history: Vec<Generation>,
}

impl Policy {
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}

#[derive(Serialize)]
pub(super) struct Unconfirmed {
    hash: String,
    since: i64,
    #[serde(flatten)]
    access: Access,
    /// Settings for whose change it waits.
    settings: Vec<&'static str>,
    /// All of it, in words.
    why: String,
}

impl From<Waiting> for Unconfirmed {
    fn from(waiting: Waiting) -> Self {
        Unconfirmed {
            why: waiting.reasons(),
            hash: waiting.hash,
            since: waiting.since.unix_seconds(),
            access: Access::from(Some(&waiting.access)),
            settings: waiting.settings,
        }
    }
}

#[derive(Serialize)]
struct Access {
    /// "unchanged", "narrowed", "widened", "unknown"; none where there is nothing to compare with.
    access: Option<&'static str>,
    widened: usize,
    narrowed: usize,
    rerouted: usize,
}

impl From<Option<&AccessChange>> for Access {
    fn from(change: Option<&AccessChange>) -> Self {
        let count = |of: fn(&AccessChange) -> usize| change.map_or(0, of);
        Access {
            access: change.map(AccessChange::as_str),
            widened: count(|access| access.widened),
            narrowed: count(|access| access.narrowed),
            rerouted: count(|access| access.rerouted),
        }
    }
}

#[derive(Serialize)]
struct Generation {
    generation: u64,
    hash: String,
    loaded_at: i64,
    /// "start", "files", "asked", "reload", "confirmed", "rollback".
    trigger: &'static str,
    routes: usize,
    #[serde(flatten)]
    access: Access,
}

impl From<&Past> for Generation {
    fn from(past: &Past) -> Self {
        Generation {
            generation: past.generation,
            hash: past.hash.clone(),
            loaded_at: past.loaded_at.unix_seconds(),
            trigger: past.trigger.as_str(),
            routes: past.routes,
            access: past.access.as_ref().into(),
        }
    }
}

#[derive(Serialize)]
struct Keys {
    count: usize,
    revision: u64,
    epoch: Option<String>,
    feed_age_seconds: f64,
    feed_error: Option<String>,
}

pub(super) fn status(state: &State) -> Status {
    let (reload, feed) = (state.live.status(), state.keys.feed());
    let now = crate::clock::Timestamp::now().unix_seconds();
    let snapshot = state.live.snapshot();
    let fleet = state.server.fleet().report();
    Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: state.started.elapsed().as_secs(),
        draining: state.is_draining(),
        policy: Policy {
            generation: reload.generation,
            hash: reload.hash,
            loaded_at: reload.loaded_at.unix_seconds(),
            age_seconds: now - reload.loaded_at.unix_seconds(),
            routes: snapshot.hot.policy.routes().len(),
            generations_held: reload.generations_held,
            reloads_accepted: reload.accepted,
            reloads_refused: reload.refused,
            last_error: reload.last_error,
            last_attempt: reload.last_attempt.map(|at| at.unix_seconds()),
            history: reload.history.iter().map(Generation::from).collect(),
            waiting_for_restart: reload.waiting,
            widening: reload.widening.as_str(),
            unconfirmed: reload.unconfirmed.map(Unconfirmed::from),
            pinned: reload.pinned,
            kept_error: reload.kept_error,
        },
        keys: Keys {
            count: state.keys.cache().len(),
            revision: feed.revision.0,
            epoch: feed.epoch.map(|epoch| epoch.to_string()),
            feed_age_seconds: feed.age.as_secs_f64(),
            feed_error: feed.last_error,
        },
        workers: state.server.workers(),
        connections: state.server.connections(),
        certificates: snapshot
            .hot
            .certificates()
            .into_iter()
            .map(Certificate::from)
            .collect(),
        upstreams: fleet.into_iter().map(upstream).collect(),
    }
}

fn upstream(group: GroupReport) -> (String, Upstream) {
    let server = |server: ServerReport| UpstreamServer {
        server: server.server,
        address: server.address,
        state: server.state.as_str(),
        weight: server.weight,
        share: f64::from(server.share) / 1000.0,
        ejections: server.ejections,
        in_flight: server.in_use,
        out_for_seconds: server.out_for.as_secs_f64(),
    };
    let upstream = Upstream {
        waiting: group.waiting,
        refused: group.refused.into_iter().collect(),
        servers: group.servers.into_iter().map(server).collect(),
    };
    (group.upstream.to_string(), upstream)
}

pub(super) fn json(value: &impl Serialize) -> String {
    let mut text =
        serde_json::to_string_pretty(value).expect("structs of numbers and strings serialize");
    text.push('\n');
    text
}
