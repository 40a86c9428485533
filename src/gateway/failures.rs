//! The limit on failed authentications, per client network.
//!
//! It changes only the answer to requests that fail anyway: the key is looked up first, a good key always passes. What
//! is remembered is one number a network, for a bounded number of networks: see [`super::gcra`].

use super::gcra::{Buckets, Exceeded};
use super::news::News;
use crate::net::Peer;
use crate::policy::Rate;
use std::net::IpAddr;
use std::time::Instant;

/// Most networks remembered.
const NETWORKS: usize = 65_536;

/// A client's network: an IPv4 address or an IPv6 /64. All clients on Unix sockets together are one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClientNetwork(u64);

impl ClientNetwork {
    /// The network of a client.
    pub fn of(client: Peer) -> Self {
        let Some(address) = client.address() else {
            // No network in use has this /64: it is in the range of multicast.
            return ClientNetwork(u64::MAX);
        };
        match address.to_canonical() {
            // No IPv6 /64 that is in use begins with 32 zero bits: the two kinds do not meet.
            IpAddr::V4(v4) => ClientNetwork(u64::from(u32::from(v4))),
            IpAddr::V6(v6) => ClientNetwork((u128::from(v6) >> 64) as u64),
        }
    }
}

/// Remembers failed authentications of all workers.
pub(super) struct Failures {
    counted: Buckets<ClientNetwork>,
    said: News<()>,
}

impl Failures {
    /// Nothing remembered yet.
    pub(super) fn new(now: Instant) -> Self {
        Failures {
            counted: Buckets::new(now, NETWORKS),
            said: News::new(now),
        }
    }

    /// Counts one failure of this network at `now`.
    ///
    /// # Errors
    /// When it is over the limit; it is not counted then.
    pub(super) fn count(
        &self,
        network: ClientNetwork,
        rate: Rate,
        now: Instant,
    ) -> Result<(), Exceeded> {
        self.counted.take(network, rate, now).map(drop)
    }

    /// Whether it is to be said now that this client's network is over the limit: once a minute.
    pub(super) fn is_news(&self, client: Peer, now: Instant) -> bool {
        self.said.is_news(client, (), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_is_its_64_bits_and_a_mapped_one_is_ipv4() {
        let network = |text: &str| ClientNetwork::of(Peer::Ip(text.parse().unwrap()));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }
}
