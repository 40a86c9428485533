//! What one worker counts. Plain numbers, written by one thread; a scrape asks each worker for a copy and adds them up.
//!
//! A request is counted by its route's place in the generation, which costs no look at a name. When a generation is replaced,
//! its counters become counters by name, since places change; with many routes that takes milliseconds, so it is done a few at
//! a time between requests ([`Metrics::fold_some`]), never by the request that found the new generation.

use crate::policy::Comparison;
use crate::upstream::PoolStats;
use std::collections::{BTreeMap, HashMap, hash_map};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::time::Duration;

/// How a request ended, as metrics and the access log have it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Outcome {
    /// Answered by its upstream.
    Forwarded,
    /// Answered by the management API.
    Managed,
    /// A CORS preflight, answered by the gateway.
    Preflight,
    /// Not readable in one way, or over a limit of the head.
    Invalid,
    /// As many requests are open as may be.
    Overloaded,
    /// No key where one is needed.
    NoKey,
    /// Not one key that exists and is in force.
    BadKey,
    /// No route matches the path.
    NoRoute,
    /// Routes match the path, none takes the method.
    NoMethod,
    /// The route is closed for everyone.
    Denied,
    /// The key's scope is not one of the route's.
    NoScope,
    /// No good key, from a network that had too many of these.
    TooManyFailures,
    /// More requests of the key than the route's rate.
    RateLimited,
    /// More open exchanges of the key than its limit.
    TooManyStreams,
    /// The operator has taken the route out of service.
    Maintenance,
    /// More body than the route's limit.
    BodyTooLarge,
    /// A body without progress for too long.
    BodyTooSlow,
    /// The upstream refused, broke off, or did not answer in HTTP.
    UpstreamUnavailable,
    /// The upstream took too long.
    UpstreamTimeout,
    /// A management request that could not be carried out.
    ManagementRefused,
    /// A change that the key store could not take.
    StoreUnavailable,
    /// The key lost what it had while the exchange was open.
    Revoked,
    /// The client went before it had its answer.
    ClientGone,
    /// A fault of keygate's own.
    Internal,
}

impl Outcome {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Forwarded => "forwarded",
            Outcome::Managed => "managed",
            Outcome::Preflight => "preflight",
            Outcome::Invalid => "invalid",
            Outcome::Overloaded => "overloaded",
            Outcome::NoKey => "no_key",
            Outcome::BadKey => "bad_key",
            Outcome::NoRoute => "no_route",
            Outcome::NoMethod => "no_method",
            Outcome::Denied => "denied",
            Outcome::NoScope => "no_scope",
            Outcome::TooManyFailures => "too_many_failures",
            Outcome::RateLimited => "rate_limited",
            Outcome::TooManyStreams => "too_many_streams",
            Outcome::Maintenance => "maintenance",
            Outcome::BodyTooLarge => "body_too_large",
            Outcome::BodyTooSlow => "body_too_slow",
            Outcome::UpstreamUnavailable => "upstream_unavailable",
            Outcome::UpstreamTimeout => "upstream_timeout",
            Outcome::ManagementRefused => "management_refused",
            Outcome::StoreUnavailable => "store_unavailable",
            Outcome::Revoked => "revoked",
            Outcome::ClientGone => "client_gone",
            Outcome::Internal => "internal",
        }
    }

    /// Whether the request got what it asked for, as far as the gateway is concerned.
    pub fn is_served(self) -> bool {
        matches!(
            self,
            Outcome::Forwarded | Outcome::Managed | Outcome::Preflight
        )
    }
}

/// Upper bounds of the histograms' buckets, in microseconds; the last bucket has none.
pub const BUCKETS_US: [u64; 18] = [
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000, 60_000_000,
];

/// How long something took, in buckets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Histogram {
    /// One for each bound, then what is above the last.
    pub counts: [u64; BUCKETS_US.len() + 1],
    /// Nanoseconds in all.
    pub sum_ns: u64,
}

impl Histogram {
    /// Counts one.
    pub fn record(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|bound| *bound < us);
        self.counts[bucket] += 1;
        self.sum_ns = self
            .sum_ns
            .saturating_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    fn add(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }
}

/// What a request is counted under.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Labels {
    /// The route's name; `-` where none was matched.
    pub route: Arc<str>,
    /// The method; `OTHER` for what has no name of its own here, so that clients cannot make labels.
    pub method: &'static str,
    /// The first digit of the status; 0 where there was no answer.
    pub class: u8,
    pub outcome: Outcome,
}

/// The label of a method.
pub fn method_label(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}

/// A request that is counted but whose route's name is not looked at: the route's place in the generation.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fast {
    route: u32,
    method: &'static str,
    class: u8,
    outcome: Outcome,
}

/// A few thousand combinations at most, all of the gateway's own making: a multiplication spreads them.
impl std::hash::Hash for Fast {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let word = u64::from(self.route) << 32
            | u64::from(self.class) << 16
            | (self.outcome as u64) << 8
            | self.method.bytes().fold(0, |sum, b| sum ^ u64::from(b));
        state.write_u64(word.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }
}

/// Takes the one word that [`Fast`] writes as the hash.
#[derive(Clone, Copy, Default)]
struct Word(u64);

impl std::hash::Hasher for Word {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

/// One worker's counters.
#[derive(Default)]
pub struct Metrics {
    /// Of the generation in force, by the route's place in it.
    current: HashMap<Fast, u64, BuildHasherDefault<Word>>,
    /// Of the one before, as far as they have no names yet.
    replaced: Option<Replaced>,
    /// Of all generations before.
    folded: BTreeMap<Labels, u64>,
    gateway: Histogram,
    upstream: Histogram,
    retries: u64,
    /// Connections ended for what they did or did not do, by reason.
    closed: BTreeMap<&'static str, u64>,
}

/// Counters by place of a generation that was replaced, on their way to counters by name.
struct Replaced {
    counts: hash_map::IntoIter<Fast, u64>,
    name: Box<dyn Fn(u32) -> Arc<str>>,
}

/// No route was matched.
pub const NO_ROUTE: u32 = u32::MAX;

impl Metrics {
    /// Counts a request of the generation in force.
    pub fn request(&mut self, route: u32, method: &'static str, status: u16, outcome: Outcome) {
        let class = u8::try_from(status / 100).unwrap_or(0);
        let key = Fast {
            route,
            method,
            class,
            outcome,
        };
        *self.current.entry(key).or_insert(0) += 1;
    }

    /// Counts a request that began under an earlier generation.
    pub fn late_request(&mut self, labels: Labels) {
        *self.folded.entry(labels).or_insert(0) += 1;
    }

    /// Counts where the time of a request went.
    pub fn took(&mut self, gateway: Duration, upstream: Option<Duration>) {
        self.gateway.record(gateway);
        if let Some(upstream) = upstream {
            self.upstream.record(upstream);
        }
    }

    /// Counts how often a request was sent again.
    pub fn retried(&mut self, times: u8) {
        self.retries += u64::from(times);
    }

    /// Counts a connection that was ended.
    pub fn closed(&mut self, reason: &'static str) {
        *self.closed.entry(reason).or_insert(0) += 1;
    }

    /// Before another generation comes into force: its counters begin at nothing. Those of the one before are kept, to be
    /// folded; their routes are called by these names.
    pub fn replace(&mut self, name: impl Fn(u32) -> Arc<str> + 'static) {
        // Where one reload follows another at once.
        self.fold_all();
        // As many are to be expected; that the table grows meanwhile would cost requests.
        let next = HashMap::with_capacity_and_hasher(self.current.len(), Default::default());
        let counts = std::mem::replace(&mut self.current, next).into_iter();
        let name = Box::new(name);
        self.replaced = Some(Replaced { counts, name });
    }

    /// Makes counters by name of some counters by place of the generation before; whether there are more.
    pub fn fold_some(&mut self, most: usize) -> bool {
        let Some(replaced) = &mut self.replaced else {
            return false;
        };
        for (key, count) in replaced.counts.by_ref().take(most) {
            let labels = labels(key, &replaced.name);
            *self.folded.entry(labels).or_insert(0) += count;
        }
        if replaced.counts.len() == 0 {
            self.replaced = None;
        }
        self.replaced.is_some()
    }

    fn fold_all(&mut self) {
        while self.fold_some(usize::MAX) {}
    }

    /// A copy for a scrape.
    pub fn report(&mut self, name: impl Fn(u32) -> Arc<str>) -> Report {
        self.fold_all();
        let mut requests = self.folded.clone();
        for (key, count) in &self.current {
            *requests.entry(labels(*key, &name)).or_insert(0) += count;
        }
        Report {
            requests,
            shadow: BTreeMap::new(),
            gateway: self.gateway.clone(),
            upstream: self.upstream.clone(),
            retries: self.retries,
            closed: self.closed.clone(),
            pools: BTreeMap::new(),
            connections: 0,
            resting: 0,
        }
    }
}

fn labels(key: Fast, name: impl Fn(u32) -> Arc<str>) -> Labels {
    Labels {
        route: name(key.route),
        method: key.method,
        class: key.class,
        outcome: key.outcome,
    }
}

/// What one worker, or all of them together, have counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    pub requests: BTreeMap<Labels, u64>,
    /// How the policy in shadow compares, by the route that lets the request through, or would.
    pub shadow: BTreeMap<(Comparison, Arc<str>), u64>,
    /// From the head of a request to the head of its answer, less what the upstream took.
    pub gateway: Histogram,
    /// From sending a request to the head of its answer.
    pub upstream: Histogram,
    /// Times that a request was sent again to an upstream.
    pub retries: u64,
    pub closed: BTreeMap<&'static str, u64>,
    /// By server.
    pub pools: BTreeMap<String, PoolStats>,
    /// Client connections open now, and how many of them rest.
    pub connections: u64,
    pub resting: u64,
}

impl Report {
    /// Adds another worker's.
    pub fn add(&mut self, other: Report) {
        for (labels, count) in other.requests {
            *self.requests.entry(labels).or_insert(0) += count;
        }
        for (labels, count) in other.shadow {
            *self.shadow.entry(labels).or_insert(0) += count;
        }
        self.gateway.add(&other.gateway);
        self.upstream.add(&other.upstream);
        self.retries += other.retries;
        for (reason, count) in other.closed {
            *self.closed.entry(reason).or_insert(0) += count;
        }
        for (server, stats) in other.pools {
            self.pools.entry(server).or_default().add(stats);
        }
        self.connections += other.connections;
        self.resting += other.resting;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker's counters, with what the report has to say by route.
    fn counted(metrics: &mut Metrics, name: fn(u32) -> Arc<str>) -> BTreeMap<String, u64> {
        let report = metrics.report(name);
        let requests = report.requests.into_iter();
        requests
            .map(|(labels, count)| (labels.route.to_string(), count))
            .collect()
    }

    fn request(metrics: &mut Metrics, route: u32) {
        metrics.request(route, "GET", 200, Outcome::Forwarded);
    }

    #[test]
    fn no_count_is_lost_or_doubled_however_far_it_was_folded() {
        // The second generation has the routes of the first, each one place further.
        let first = |route: u32| Arc::from(format!("{route:03}"));
        let second = |route: u32| Arc::from(format!("{:03}", route - 1));
        for folds in [0, 1, 3, 4, 10] {
            let mut metrics = Metrics::default();
            for route in 0..100 {
                request(&mut metrics, route);
            }
            metrics.replace(first);
            for route in 1..101 {
                request(&mut metrics, route);
            }
            for fold in 0..folds {
                assert_eq!(metrics.fold_some(25), fold < 3, "{fold} of {folds}");
            }
            let all = counted(&mut metrics, second);
            assert_eq!(all.len(), 100, "{folds} folds");
            assert!(all.values().all(|count| *count == 2), "{folds}: {all:?}");
            assert!(!metrics.fold_some(1), "a report has folded all");
        }
    }

    #[test]
    fn a_second_reload_at_once_loses_nothing() {
        let mut metrics = Metrics::default();
        for name in [|_| Arc::from("a"), |_| Arc::from("b"), |_| Arc::from("c")] {
            request(&mut metrics, 7);
            metrics.replace(name);
        }
        let all = counted(&mut metrics, |_| Arc::from("d"));
        let all: Vec<_> = all.iter().map(|(name, count)| (&**name, *count)).collect();
        assert_eq!(all, [("a", 1), ("b", 1), ("c", 1)]);
    }
}
