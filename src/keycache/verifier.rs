//! One worker's way to the keys: the ones that it saw last are found without a write to memory that others use.
//!
//! A look-up in the shared map takes a shard's lock and a count of the entry, and both are writes: two cores that check the
//! same keys would pass these lines of memory to and fro, and be slower together than one alone. So a worker remembers
//! entries that came twice, in sets of one line of memory each, and counts their holders by itself.
//!
//! What is remembered is good for as long as nothing of the entry's stripe has changed, which is one read of a counter that
//! is written to by changes alone. The counter is read before the map is: a change that comes between makes what was
//! remembered old at once. So a revoked key is refused by the request that follows, as without all this.
//!
//! Into a set that is full, a key is let in when it is seen a second time while no other one was looked up there in vain.
//! A million keys in turn thus cost a look at one more line each, and drive nothing out.

use super::entries::KeyCache;
use super::principal::{Principal, Seen, Unidentified};
use crate::clock::Timestamp;
use crate::key::KeyDigest;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// Sets that a worker may have: with [`WAYS`] each, of ten thousand busy keys one in a hundred and fifty finds no room.
const SETS: usize = 16_384;

/// Sets that are made together when the first of them is needed, a page of memory: few keys take little.
const TOGETHER: usize = 64;

/// Entries in a set: with the candidate, one line of memory.
const WAYS: usize = 3;

/// Identifies keys for one worker.
pub struct Verifier {
    cache: Arc<KeyCache>,
    sets: RefCell<Box<[Option<Box<Page>>]>>,
}

type Page = [Set; TOGETHER];

#[derive(Default)]
#[repr(align(64))]
struct Set {
    /// The tag that was looked up last in vain; 0 for none.
    candidate: u64,
    ways: [Way; WAYS],
}

#[derive(Default)]
struct Way {
    tag: u64,
    seen: Option<Rc<Seen>>,
}

impl Verifier {
    /// A worker's way to these keys.
    pub fn new(cache: Arc<KeyCache>) -> Self {
        let sets = std::iter::repeat_with(|| None).take(SETS / TOGETHER);
        Verifier {
            cache,
            sets: RefCell::new(sets.collect()),
        }
    }

    /// Whose key this is, as [`KeyCache::identify`] has it.
    ///
    /// # Errors
    /// As there.
    pub fn identify(
        &self,
        value: &[u8],
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Principal, Unidentified> {
        let digest = self.cache.digest(value)?;
        let stamp = self.cache.stamp(&digest);
        let mut sets = self.sets.borrow_mut();
        let (place, tag) = place(&digest);
        let page = sets[place / TOGETHER].get_or_insert_with(|| Box::new(empty()));
        let set = &mut page[place % TOGETHER];
        let seen = match set.find(tag, &digest, stamp) {
            Some(seen) => seen,
            None => {
                let entry = self.cache.entry(&digest).ok_or(Unidentified::Unknown)?;
                set.meet(tag, Seen { entry, stamp })
            }
        };
        Principal::prove(seen, now)
    }
}

impl Set {
    /// The entry of this digest, if it is here and as it was.
    fn find(&mut self, tag: u64, digest: &KeyDigest, stamp: u64) -> Option<Rc<Seen>> {
        let at = self.ways.iter().position(|way| way.tag == tag)?;
        let seen = self.ways[at].seen.as_ref()?;
        if seen.stamp != stamp || seen.entry.digest != *digest {
            return None;
        }
        let seen = Rc::clone(seen);
        // What is asked for more often moves away from the end, where others are let in.
        if at > 0 {
            self.ways.swap(at, at - 1);
        }
        Some(seen)
    }

    /// Takes note of what was looked up, and remembers it if it is here already, there is room, or it comes again.
    fn meet(&mut self, tag: u64, seen: Seen) -> Rc<Seen> {
        let seen = Rc::new(seen);
        let known = self.ways.iter().position(|way| way.tag == tag);
        let place = known.or_else(|| self.ways.iter().position(|way| way.tag == 0));
        let way = match place {
            Some(at) => &mut self.ways[at],
            None if self.candidate == tag => {
                self.candidate = 0;
                &mut self.ways[WAYS - 1]
            }
            None => {
                self.candidate = tag;
                return seen;
            }
        };
        *way = Way {
            tag,
            seen: Some(Rc::clone(&seen)),
        };
        seen
    }
}

fn empty() -> Page {
    std::array::from_fn(|_| Set::default())
}

/// The set of a digest, and what it is told by there: other bits than those that find it in the map. Never 0.
fn place(digest: &KeyDigest) -> (usize, u64) {
    let [.., a, b, c, d, e, f, g, h] = *digest.as_bytes();
    let number = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let place = usize::try_from(number % SETS as u64).expect("a set's number is small");
    (place, number | 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::*;
    use crate::keycache::entries::ScopeNames;
    use crate::store::Change;
    use zeroize::Zeroizing;

    /// More than a worker remembers, and enough for sets that are full.
    const KEYS: usize = 2 * SETS * WAYS;

    fn text(number: usize) -> Vec<u8> {
        format!("key-number-{number:0>20}").into_bytes()
    }

    fn put(cache: &KeyCache, number: usize, revision: u64, enabled: bool) -> Change {
        let record = KeyRecord {
            id: format!("{number:0>20}").parse().unwrap(),
            name: KeyName::parse(&number.to_string()).unwrap(),
            scope: ScopeName::parse("authOnly").unwrap(),
            enabled,
            created_at: Timestamp::from_unix_seconds(0),
            expires_at: None,
            revision: Revision(revision),
        };
        let digest = cache.digest(&text(number)).unwrap();
        Change::Put { digest, record }
    }

    #[test]
    fn every_key_is_itself_however_many_there_are_and_however_often_each_is_asked_for() {
        let cache = Arc::new(KeyCache::new(Digester::new(Zeroizing::new([7; 32]))));
        let mut scopes = ScopeNames::default();
        for number in 0..KEYS {
            cache.apply(put(&cache, number, 1, true), &mut scopes);
        }
        let verifier = Verifier::new(Arc::clone(&cache));
        let ask = |number: usize| {
            let found = verifier.identify(&text(number), || unreachable!("no key has an end"));
            found.map(|principal| principal.name.as_str().parse::<usize>().unwrap())
        };
        for often in [1, 2, 3] {
            for number in 0..KEYS {
                for _ in 0..often {
                    assert_eq!(ask(number), Ok(number));
                }
            }
        }
        for number in (0..KEYS).step_by(3) {
            let before = ask(number);
            cache.apply(put(&cache, number, 2, false), &mut scopes);
            let after = ask(number);
            assert_eq!(before, Ok(number));
            assert!(
                matches!(after, Err(Unidentified::Disabled(_))),
                "{number}: {after:?}"
            );
        }
        assert_eq!(ask(KEYS), Err(Unidentified::Unknown));
    }
}
