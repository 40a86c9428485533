//! What has to be confirmed before it is in force, where `reload.widening = "confirm"` is.
//!
//! What lets someone do more, by the regions of [`crate::policy::diff`]; what leads requests elsewhere, since what is there
//! is not known; what lifts the guard itself; scopes that include more, since a key manages those that its scope includes;
//! and what says whom the gateway listens to and believes, in force after a restart or at once. Limits, timeouts, headers,
//! CORS, and where an upstream's servers are (`servers`, `host`, `[server] hosts`) are not judged.

use super::history::AccessChange;
use super::load::Loaded;
use super::settings::{Cold, Hot, Widening};
use crate::clock::Timestamp;
use crate::key::{Authority, Reveal, ScopeName};
use crate::tls::ClientAuth;
use std::path::Path;

/// A configuration that waits for an operator to confirm it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiting {
    /// By which it is confirmed.
    pub hash: String,
    pub since: Timestamp,
    /// What it would change.
    pub access: AccessChange,
    /// Settings for whose change it waits, besides.
    pub settings: Vec<&'static str>,
}

impl Waiting {
    /// What a configuration waits for, if it has to: the one in force, which is given, wants widening confirmed.
    pub(super) fn of(
        (cold, hot): (&Cold, &Hot),
        new: &Loaded,
        access: AccessChange,
        now: Timestamp,
    ) -> Option<Self> {
        let mut settings = differences(cold, &new.cold);
        // How many threads there are is nobody's access.
        settings.retain(|name| *name != "server.workers");
        if new.hot.widening == Widening::Allow {
            settings.push("reload.widening");
        }
        if (hot.reveal, new.hot.reveal) == (Reveal::Once, Reveal::Always) {
            settings.push("keys.reveal");
        }
        // Another file may have others vouch for clients; what the same one holds is followed, as all certificates are.
        fn clients(hot: &Hot) -> Option<Option<(&Path, ClientAuth)>> {
            hot.tls.as_ref().map(|tls| tls.clients())
        }
        if clients(hot) != clients(&new.hot) {
            settings.push("server.tls_client_auth");
        }
        if lets_keys_do_more(&hot.authority, &new.hot.authority) {
            settings.push("scopes");
        }
        let waits = access.may_widen() || access.rerouted > 0 || !settings.is_empty();
        waits.then(|| Waiting {
            hash: new.hash.clone(),
            since: now,
            access,
            settings,
        })
    }

    /// For what it waits, in words.
    pub fn reasons(&self) -> String {
        let mut reasons = Vec::new();
        if self.access.may_widen() {
            reasons.push("it lets someone do more".to_owned());
        }
        if self.access.rerouted > 0 {
            reasons.push("it leads requests elsewhere".to_owned());
        }
        if !self.settings.is_empty() {
            let names: Vec<String> = self.settings.iter().map(|s| format!("`{s}`")).collect();
            reasons.push(format!("it changes {}", names.join(", ")));
        }
        reasons.join("; ")
    }
}

/// Whether keys of some scope may manage keys of another one that they could not manage before. Routes are compared
/// apart: this is what only the management of keys looks at.
fn lets_keys_do_more(old: &Authority, new: &Authority) -> bool {
    let known = |scope: &&ScopeName| old.scopes.declares(scope);
    new.scopes.names().filter(known).any(|holder| {
        let mut included = new.scopes.included_by(holder).filter(known);
        included.any(|other| !old.scopes.includes(holder, other))
    })
}

/// The cold settings that differ, by name.
pub(super) fn differences(now: &Cold, new: &Cold) -> Vec<&'static str> {
    // Taken apart, so that a new field cannot be forgotten here.
    let Cold {
        listen,
        workers,
        dumpable,
        trusted_proxies,
        forwarded,
        underscores,
        handover,
        admin,
        keys,
        kept,
    } = now;
    let all = [
        ("server.listen", *listen != new.listen),
        ("server.workers", *workers != new.workers),
        ("server.dumpable", *dumpable != new.dumpable),
        (
            "server.trusted_proxies",
            *trusted_proxies != new.trusted_proxies,
        ),
        ("server.forwarded", *forwarded != new.forwarded),
        ("server.underscores", *underscores != new.underscores),
        ("server.handover", *handover != new.handover),
        ("admin.listen", admin.listen != new.admin.listen),
        ("admin.token", admin.token != new.admin.token),
        ("keys.header", keys.header != new.keys.header),
        ("keys.store", keys.store != new.keys.store),
        ("keys.secret", keys.secret != new.keys.secret),
        ("reload.folder", *kept != new.kept),
    ];
    let differing = all.into_iter().filter(|(_, differs)| *differs);
    differing.map(|(name, _)| name).collect()
}
