//! What has to be confirmed before it is in force, where `reload.widening = "confirm"` is.
//!
//! What lets someone do more, by the regions of [`crate::policy::diff`]; what leads requests elsewhere, since what is there
//! is not known; what lifts the guard itself; and what is cold, since that says whom the gateway listens to and believes,
//! and is in force after a restart. Limits, timeouts, headers, CORS and the addresses of an upstream's servers are not
//! judged.

use super::history::AccessChange;
use super::load::Loaded;
use super::settings::{Cold, Hot, Widening};
use crate::clock::Timestamp;
use crate::key::Reveal;

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
