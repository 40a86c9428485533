//! What is said of a client's network once a minute at most, so that whoever makes the same mistake without end fills no
//! log.

use super::failures::ClientNetwork;
use super::gcra::Buckets;
use crate::net::Peer;
use crate::policy::Rate;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Most networks remembered, each once for each thing that was said of it.
const NETWORKS: usize = 65_536;

/// How often the same is said of a network.
const SAID: Rate = Rate {
    interval: Duration::from_secs(60),
    burst: 1,
};

/// Remembers of which networks what was said lately.
pub struct News<W>(Buckets<(ClientNetwork, W)>);

impl<W: Hash + Eq> News<W> {
    /// Nothing said yet.
    pub fn new(now: Instant) -> Self {
        News(Buckets::new(now, NETWORKS))
    }

    /// Whether this is to be said now of the client's network: once a minute.
    pub fn is_news(&self, client: Peer, what: W, now: Instant) -> bool {
        let network = ClientNetwork::of(client);
        self.0.take((network, what), SAID, now).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_of_one_network_is_news_once_a_minute() {
        let start = Instant::now();
        let news = News::new(start);
        let client = |text: &str| Peer::Ip(text.parse().unwrap());
        let (one, other) = (client("192.0.2.1"), client("192.0.2.2"));
        for minute in 0..3 {
            let at = |second: u64| start + Duration::from_secs(60 * minute + second);
            assert!(news.is_news(one, 'a', at(0)));
            assert!(!news.is_news(one, 'a', at(1)) && !news.is_news(one, 'a', at(59)));
            assert!(news.is_news(one, 'b', at(59)));
            assert!(news.is_news(other, 'a', at(59)));
        }
    }
}
