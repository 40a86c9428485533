//! Rates by GCRA (ITU-T I.371), for whatever is counted: failed authentications of a network, requests of a key.
//!
//! Who is counted has a theoretical arrival time: each one counted moves it on by one interval, and one that would move
//! it further than the burst ahead of now is over the limit. So a bucket is one number, needs no task that refills it,
//! and says by itself when it is full again and can be forgotten. A number of nanoseconds means the same under every
//! rate: when an edit changes the rate, what was used stays used, up to an empty bucket of the new rate.
//!
//! The memory is bounded: there is room for so many buckets, and when it is taken, those that are full again are forgotten. If
//! none is, newcomers share one bucket (each shard has one) until some are.

use crate::policy::Rate;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const SHARDS: usize = 16;
/// How often a full shard looks for buckets that can be forgotten: looking costs more than a refusal should.
const LOOK_EVERY: Duration = Duration::from_millis(100);

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Buckets of all workers. A lock is held for the arithmetic of one request, by whoever has one of the same shard.
pub(super) struct Buckets<K> {
    start: Instant,
    spread: RandomState,
    shards: [Mutex<Shard<K>>; SHARDS],
    /// Most buckets of a shard.
    room: usize,
}

struct Shard<K> {
    /// Theoretical arrival times, in nanoseconds since the start.
    arrivals: HashMap<K, u64>,
    /// Of all that there was no room for.
    crowd: u64,
    /// When it may be looked again which buckets can be forgotten.
    next_look: u64,
}

/// How a bucket stands after it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// How many are allowed at once.
    pub burst: u32,
    /// How many of them are left.
    pub remaining: u32,
    /// When all of them are there again.
    pub reset_after: Duration,
}

/// The limit is exceeded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exceeded {
    /// How the bucket stands.
    pub standing: Standing,
    /// When the next one is allowed.
    pub retry_after: Duration,
}

impl Standing {
    /// Says it as the contract does, in place of what may stand there.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, HeaderValue::from(self.burst));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, seconds(self.reset_after));
    }
}

/// Whole seconds, rounded up: who waits for so long has waited long enough.
pub(super) fn seconds(time: Duration) -> HeaderValue {
    HeaderValue::from(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

impl<K: Hash + Eq> Buckets<K> {
    /// No buckets yet, room for about this many.
    pub(super) fn new(now: Instant, room: usize) -> Self {
        Buckets {
            start: now,
            spread: RandomState::new(),
            shards: std::array::from_fn(|_| {
                Mutex::new(Shard {
                    arrivals: HashMap::new(),
                    crowd: 0,
                    next_look: 0,
                })
            }),
            room: room.div_ceil(SHARDS),
        }
    }

    /// Counts one at `now`, where `rate` holds.
    ///
    /// # Errors
    /// When it is over the limit; it is not counted then.
    pub(super) fn take(&self, key: K, rate: Rate, now: Instant) -> Result<Standing, Exceeded> {
        let now = nanos(now.saturating_duration_since(self.start));
        let cost = nanos(rate.interval).max(1);
        let ahead = cost.saturating_mul(u64::from(rate.burst.max(1)));
        let place = self.spread.hash_one(&key) as usize % SHARDS;
        let mut shard = lock(&self.shards[place]);
        let Shard {
            arrivals,
            crowd,
            next_look,
        } = &mut *shard;
        if arrivals.len() >= self.room && now >= *next_look && !arrivals.contains_key(&key) {
            arrivals.retain(|_, arrival| *arrival > now);
            *next_look = now.saturating_add(nanos(LOOK_EVERY));
        }
        let room = arrivals.len() < self.room;
        let arrival = match arrivals.get_mut(&key) {
            Some(known) => known,
            None if room => arrivals.entry(key).or_insert(0),
            None => crowd,
        };
        // No bucket is emptier than empty, also where the rate was another when it was emptied.
        *arrival = (*arrival).clamp(now, now.saturating_add(ahead));
        let next = arrival.saturating_add(cost);
        let limit = now.saturating_add(ahead);
        let exceeded = next > limit;
        if !exceeded {
            *arrival = next;
        }
        let used = *arrival - now;
        let left = (ahead - used) / cost;
        let standing = Standing {
            burst: rate.burst.max(1),
            remaining: u32::try_from(left).unwrap_or(u32::MAX),
            reset_after: Duration::from_nanos(used),
        };
        if exceeded {
            return Err(Exceeded {
                standing,
                retry_after: Duration::from_nanos(next - limit),
            });
        }
        Ok(standing)
    }

    /// Whether one more would be over the limit at `now`; nothing is counted.
    pub(super) fn is_exhausted(&self, key: &K, rate: Rate, now: Instant) -> bool {
        let now = nanos(now.saturating_duration_since(self.start));
        let cost = nanos(rate.interval).max(1);
        let ahead = cost.saturating_mul(u64::from(rate.burst.max(1)));
        let shard = lock(&self.shards[self.spread.hash_one(key) as usize % SHARDS]);
        let arrival = shard.arrivals.get(key).copied().unwrap_or(0);
        arrival.max(now).saturating_add(cost) > now.saturating_add(ahead)
    }

    /// How many buckets are remembered.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|s| lock(s).arrivals.len()).sum()
    }
}

fn lock<K>(shard: &Mutex<Shard<K>>) -> MutexGuard<'_, Shard<K>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INTERVAL: Duration = Duration::from_millis(10);

    fn rate(interval: Duration, burst: u32) -> Rate {
        Rate { interval, burst }
    }

    fn remaining(taken: Result<Standing, Exceeded>) -> Option<u32> {
        taken.ok().map(|standing| standing.remaining)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let start = Instant::now();
        let buckets = Buckets::new(start, 100);
        let five = rate(INTERVAL, 5);
        for left in (0..5).rev() {
            let standing = buckets.take("a", five, start).unwrap();
            assert_eq!((standing.burst, standing.remaining), (5, left));
            assert_eq!(standing.reset_after, INTERVAL * (5 - left));
        }
        let over = buckets.take("a", five, start).unwrap_err();
        assert_eq!(over.retry_after, INTERVAL);
        assert_eq!(over.standing.remaining, 0);
        assert_eq!(over.standing.reset_after, INTERVAL * 5);
        assert!(buckets.is_exhausted(&"a", five, start));
        assert!(!buckets.is_exhausted(&"a", five, start + INTERVAL));
        assert!(!buckets.is_exhausted(&"b", five, start));
        assert_eq!(remaining(buckets.take("b", five, start)), Some(4));
        let later = start + INTERVAL;
        assert_eq!(remaining(buckets.take("a", five, later)), Some(0));
        assert_eq!(remaining(buckets.take("a", five, later)), None);
    }

    #[test]
    fn another_rate_keeps_what_was_used_up_to_an_empty_bucket_of_its_own() {
        let start = Instant::now();
        let buckets = Buckets::new(start, 100);
        let hour = Duration::from_secs(3600);
        for _ in 0..3 {
            assert!(buckets.take("a", rate(hour, 5), start).is_ok());
        }
        // A smaller burst: three of two were used.
        let over = buckets.take("a", rate(hour, 2), start).unwrap_err();
        assert_eq!(over.retry_after, hour);
        // A wider rate does not make anyone wait for what the narrow one took.
        let wide = rate(INTERVAL, 100);
        let over = buckets.take("a", wide, start).unwrap_err();
        assert_eq!(over.retry_after, INTERVAL);
        assert_eq!(
            remaining(buckets.take("a", wide, start + INTERVAL)),
            Some(0)
        );
    }

    #[test]
    fn the_memory_is_bounded_whoever_comes() {
        let start = Instant::now();
        let buckets = Buckets::new(start, 1000);
        for n in 0..100_000u32 {
            let _ = buckets.take(n, rate(INTERVAL, 1000), start);
        }
        assert!(buckets.len() <= 1000 + SHARDS, "{}", buckets.len());
        let later = start + Duration::from_secs(1);
        assert!(buckets.take(u32::MAX, rate(INTERVAL, 1000), later).is_ok());
    }

    proptest! {
        /// Whatever the times and rates: never more than the burst and what has come back since, and what is said of
        /// waiting is true.
        #[test]
        fn never_more_than_the_burst_and_the_rate(
            interval in 1u64..1_000_000,
            burst in 1u32..50,
            steps in proptest::collection::vec(0u64..3_000_000, 1..200),
        ) {
            let start = Instant::now();
            let buckets = Buckets::new(start, 100);
            let rule = rate(Duration::from_nanos(interval), burst);
            let (mut passed, mut elapsed) = (0u64, 0u64);
            for step in steps {
                elapsed += step;
                let now = start + Duration::from_nanos(elapsed);
                match buckets.take((), rule, now) {
                    Ok(standing) => {
                        passed += 1;
                        prop_assert!(standing.remaining < burst);
                    }
                    Err(over) => {
                        prop_assert!(over.retry_after > Duration::ZERO);
                        prop_assert_eq!(over.standing.remaining, 0);
                        let then = now + over.retry_after;
                        prop_assert!(buckets.take((), rule, then).is_ok());
                        passed += 1;
                        elapsed += nanos(over.retry_after);
                    }
                }
                prop_assert!(passed <= u64::from(burst) + elapsed / interval);
            }
        }

        /// No rate that can be written makes the arithmetic fail.
        #[test]
        fn extremes_do_not_overflow(
            interval in any::<u64>(), burst in any::<u32>(), elapsed in 0u64..u64::MAX / 4,
        ) {
            let start = Instant::now();
            let buckets = Buckets::new(start, 100);
            let rule = rate(Duration::from_nanos(interval), burst);
            prop_assert!(buckets.take((), rule, start).is_ok());
            let _ = buckets.take((), rule, start + Duration::from_nanos(elapsed));
        }
    }
}
