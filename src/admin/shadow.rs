//! `/shadow`: what the policy in shadow would have decided otherwise, by route and key.
//!
//! Names of routes, ids of keys and counts: no request, no key and no key's name.

use super::State;
use crate::config::Shadow;
use crate::gateway::{ShadowReport, ShadowRow, Tally};
use crate::policy::Comparison;
use http::StatusCode;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Told {
    /// `None`: nothing is tried.
    shadow: Option<Tried>,
    /// Since when it is counted; a time of this process.
    since: Option<i64>,
    requests: u64,
    agree: u64,
    would_deny: u64,
    would_allow: u64,
    /// What is decided otherwise first, then by count.
    decisions: Vec<Decision>,
    /// What there was no place for among those.
    others: Vec<Others>,
}

#[derive(Serialize)]
struct Tried {
    /// "files", "routes".
    origin: &'static str,
    /// Tables `[[routes]]` that are tried.
    routes: usize,
}

#[derive(Serialize)]
struct Decision {
    /// "would_deny", "would_allow", "agree".
    decision: &'static str,
    count: u64,
    /// In force; "-" where none takes the request.
    route: String,
    /// Of the refusal in force; `None`: it is let through.
    status: Option<u16>,
    shadow_route: String,
    /// Of the refusal that it would be.
    shadow_status: Option<u16>,
    /// The id of the key; `None` without a good one, and where both agree.
    key: Option<String>,
    last_seen: i64,
}

#[derive(Serialize)]
struct Others {
    decision: &'static str,
    count: u64,
    last_seen: i64,
}

pub(super) async fn told(state: &State) -> Told {
    let snapshot = state.live.snapshot();
    match &snapshot.hot.shadow {
        None => Told::nothing(),
        Some(shadow) => {
            let report = state.server.shadow_report(shadow).await;
            let since = snapshot.shadow_since.unix_seconds();
            Told::of(shadow, since, report)
        }
    }
}

impl Told {
    fn nothing() -> Self {
        Told {
            shadow: None,
            since: None,
            requests: 0,
            agree: 0,
            would_deny: 0,
            would_allow: 0,
            decisions: Vec::new(),
            others: Vec::new(),
        }
    }

    fn of(shadow: &Shadow, since: i64, report: ShadowReport) -> Self {
        let sum = |of: Comparison| {
            let rows = report.rows.iter().filter(|(row, _)| row.comparison == of);
            let others = report.others.get(&of).map_or(0, |tally| tally.count);
            rows.map(|(_, tally)| tally.count).sum::<u64>() + others
        };
        let [would_deny, would_allow, agree] = Comparison::ALL.map(sum);
        let others = report.others.iter().map(|(comparison, tally)| Others {
            decision: comparison.as_str(),
            count: tally.count,
            last_seen: tally.last_seen.unix_seconds(),
        });
        let others = others.collect();
        let mut rows: Vec<(ShadowRow, Tally)> = report.rows.into_iter().collect();
        let rank = |row: &ShadowRow| row.comparison == Comparison::Agree;
        rows.sort_by_key(|(row, tally)| (rank(row), std::cmp::Reverse(tally.count)));
        Told {
            shadow: Some(Tried {
                origin: shadow.origin.as_str(),
                routes: shadow.routes,
            }),
            since: Some(since),
            requests: would_deny + would_allow + agree,
            agree,
            would_deny,
            would_allow,
            decisions: rows.into_iter().map(Decision::from).collect(),
            others,
        }
    }
}

impl From<(ShadowRow, Tally)> for Decision {
    fn from((row, tally): (ShadowRow, Tally)) -> Self {
        Decision {
            decision: row.comparison.as_str(),
            count: tally.count,
            route: row.route.to_string(),
            status: row.refused.as_ref().map(StatusCode::as_u16),
            shadow_route: row.shadow_route.to_string(),
            shadow_status: row.would_be_refused.as_ref().map(StatusCode::as_u16),
            key: row.key.map(|key| key.to_string()),
            last_seen: tally.last_seen.unix_seconds(),
        }
    }
}
