//! The limit on failed authentications, per client network.
//!
//! It changes only the answer to requests that fail anyway: the key is looked up first, a good key always passes. The
//! rule is GCRA (ITU-T I.371): a network has a theoretical arrival time that each failure moves on by one interval; a
//! failure that would move it further than the burst ahead of now is over the limit. What is remembered is one number a
//! network, for a bounded number of networks; when there are more, those whose time has passed are forgotten, and if
//! none has, newcomers share one number until some have.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Most networks remembered in one shard.
const NETWORKS: usize = 4096;
const SHARDS: usize = 16;
/// How often a full shard looks for networks that can be forgotten.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A client's network: an IPv4 address or an IPv6 /64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClientNetwork(u64);

impl ClientNetwork {
    /// The network of an address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            // No IPv6 /64 that is in use begins with 32 zero bits: the two kinds do not meet.
            IpAddr::V4(v4) => ClientNetwork(u64::from(u32::from(v4))),
            IpAddr::V6(v6) => ClientNetwork((u128::from(v6) >> 64) as u64),
        }
    }
}

/// Remembers failed authentications of all workers.
pub struct Failures {
    start: Instant,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    /// Theoretical arrival times, in nanoseconds since the start.
    networks: HashMap<ClientNetwork, u64>,
    /// Of all networks that there was no room for.
    crowd: u64,
    /// When it may be looked again which networks can be forgotten: looking costs more than a refusal should.
    next_look: u64,
}

/// The limit is exceeded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exceeded {
    /// How many failures are allowed at once.
    pub burst: u32,
    /// When the next one is allowed.
    pub retry_after: Duration,
    /// When all of them are allowed again.
    pub reset_after: Duration,
}

impl Failures {
    /// Nothing remembered yet.
    pub fn new(now: Instant) -> Self {
        Failures {
            start: now,
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Counts one failure of this network at `now`; each costs `interval`, and `burst` may come at once.
    ///
    /// # Errors
    /// When it is over the limit; it is not counted then.
    pub fn count(
        &self,
        network: ClientNetwork,
        interval: Duration,
        burst: u32,
        now: Instant,
    ) -> Result<(), Exceeded> {
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        let now = nanos(now.saturating_duration_since(self.start));
        let cost = nanos(interval);
        let ahead = cost.saturating_mul(u64::from(burst.max(1)));
        let shard = &self.shards[(network.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60) as usize];
        let mut shard = shard
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let Shard {
            networks,
            crowd,
            next_look,
        } = &mut *shard;
        if networks.len() >= NETWORKS && now >= *next_look && !networks.contains_key(&network) {
            networks.retain(|_, arrival| *arrival > now);
            *next_look = now.saturating_add(nanos(LOOK_EVERY));
        }
        let room = networks.len() < NETWORKS;
        let arrival = match networks.get_mut(&network) {
            Some(known) => known,
            None if room => networks.entry(network).or_insert(0),
            None => crowd,
        };
        let next = (*arrival).max(now).saturating_add(cost);
        if next > now.saturating_add(ahead) {
            return Err(Exceeded {
                burst,
                retry_after: Duration::from_nanos(next - now - ahead),
                reset_after: Duration::from_nanos((*arrival).saturating_sub(now)),
            });
        }
        *arrival = next;
        Ok(())
    }

    /// How many networks are remembered.
    pub fn networks(&self) -> usize {
        self.shards
            .iter()
            .map(|s| {
                s.lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .networks
                    .len()
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(10);

    fn network(text: &str) -> ClientNetwork {
        ClientNetwork::of(text.parse().unwrap())
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let start = Instant::now();
        let failures = Failures::new(start);
        let a = network("192.0.2.1");
        for n in 0..5 {
            assert_eq!(failures.count(a, INTERVAL, 5, start), Ok(()), "{n}");
        }
        let over = failures.count(a, INTERVAL, 5, start).unwrap_err();
        assert_eq!(over.retry_after, INTERVAL);
        assert_eq!(over.reset_after, INTERVAL * 5);
        assert_eq!(
            failures.count(network("192.0.2.2"), INTERVAL, 5, start),
            Ok(())
        );
        assert_eq!(failures.count(a, INTERVAL, 5, start + INTERVAL), Ok(()));
        assert!(failures.count(a, INTERVAL, 5, start + INTERVAL).is_err());
    }

    #[test]
    fn an_ipv6_client_is_its_64_bits_and_a_mapped_one_is_ipv4() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }

    #[test]
    fn the_memory_is_bounded_whoever_comes() {
        let start = Instant::now();
        let failures = Failures::new(start);
        for n in 0..1_000_000u32 {
            let _ = failures.count(ClientNetwork(u64::from(n)), INTERVAL, 1000, start);
        }
        assert!(failures.networks() <= NETWORKS * SHARDS);
        let later = start + Duration::from_secs(1);
        assert_eq!(
            failures.count(network("198.51.100.7"), INTERVAL, 1000, later),
            Ok(())
        );
    }
}
