//! What the service manager is told, if there is one (sd_notify(3)): systemd, or whatever else sets `NOTIFY_SOCKET`.
//!
//! Nothing depends on it: where it cannot be told, that is logged and all goes on.

use sd_notify::NotifyState;
use std::time::Duration;
use tokio::task::JoinHandle;

/// We serve. A process that took another's place says which one is the service now.
pub(super) fn ready(took_over: bool) {
    let mut states = vec![NotifyState::Ready];
    if took_over {
        states.insert(0, NotifyState::MainPid(std::process::id()));
    }
    tell(&states);
}

/// We look at the configuration again; [`ready`] ends it.
pub(super) fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now());
    tell(&states);
}

/// We drain.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells that we live, twice in each period that the manager waits for it, from the runtime that this is called on.
pub(super) fn watchdog() -> Option<JoinHandle<()>> {
    let period = sd_notify::watchdog_enabled()?;
    let half = (period / 2).max(Duration::from_millis(1));
    Some(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(half);
        loop {
            ticks.tick().await;
            tell(&[NotifyState::Watchdog]);
        }
    }))
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
