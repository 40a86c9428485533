//! How fast the changes of another process come into force, from the store into the cache.
//!
//! `cargo bench --bench feed`. A second handle to the same SQLite file does what `keygate keys` does: a third of its
//! changes disable a key, a third delete one, a third make one, each committed for itself. Then the first handle looks at
//! its feed, once, and that is what is measured: from the asking until the cache answers by the new state, which is
//! asserted of every key that was changed.
//!
//! A gateway looks four times a second; what is printed here comes after that. Loading a million keys at once, as at the
//! start, is in `validation`.

mod support {
    pub mod store;
}

use keygate::clock::Timestamp;
use keygate::key::{
    Actor, Command, KeyChange, KeyName, KeySelector, NewKey, Origin, Reveal, ScopeName, ShownKey,
};
use keygate::keycache::{KeyCache, Keys, Unidentified};
use std::time::{Duration, Instant};
use support::store::{keys_of, store_of};
use tokio::runtime::Runtime;

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS: usize = 10_000;

/// Changes between two looks, and how often that is done.
const ROWS: [(usize, usize); 3] = [(1, 100), (100, 11), (1_000, 5)];

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // A runtime of its own, which stands still while others write: the cache does not look until it is asked to.
    let following = runtime();
    let (texts, keys) = following.block_on(store_of(folder.path(), KEYS));
    let writing = runtime();
    let other = writing.block_on(keys_of(folder.path()));
    let mut stock = texts.into_iter();
    println!(
        "{KEYS} keys; from a look at the feed until all is in force, median (fastest to slowest)"
    );
    for (changes, times) in ROWS {
        let mut took: Vec<Duration> = (0..times)
            .map(|_| {
                let made = writing.block_on(make(&other, changes, &mut stock));
                let begun = Instant::now();
                let looked = following.block_on(keys.refresh());
                let took = begun.elapsed();
                looked.expect("the store can be read");
                made.iter().for_each(|one| one.check(keys.cache()));
                assert_eq!(keys.cache().revision(), other.cache().revision());
                took
            })
            .collect();
        took.sort_unstable();
        let (least, most) = (took[0], took[times - 1]);
        let median = took[times / 2];
        let each = median / u32::try_from(changes).expect("few changes");
        println!(
            "{changes:>6} changes: {median:>9.2?} ({least:.2?} to {most:.2?} of {times}), {each:>9.2?} each"
        );
    }
    writing.block_on(other.close());
    following.block_on(keys.close());
}

/// A key that was changed, and how.
enum Made {
    Disabled(String),
    Deleted(String),
    Created(ShownKey),
}

/// Makes changes, one after the other; keys of the stock are disabled and deleted.
async fn make(keys: &Keys, changes: usize, stock: &mut impl Iterator<Item = String>) -> Vec<Made> {
    let mut all = Vec::with_capacity(changes);
    for number in 0..changes {
        let mut one = || stock.next().expect("there are keys enough");
        all.push(match number % 3 {
            0 => {
                let text = one();
                let change = KeyChange {
                    enabled: Some(false),
                    ..KeyChange::default()
                };
                execute(keys, Command::Update(selector(keys, &text), change)).await;
                Made::Disabled(text)
            }
            1 => {
                let text = one();
                execute(keys, Command::Delete(selector(keys, &text))).await;
                Made::Deleted(text)
            }
            _ => Made::Created(
                execute(
                    keys,
                    Command::Create(NewKey {
                        name: KeyName::parse("a customer's").expect("a name"),
                        scope: ScopeName::parse("fullAccess").expect("a scope's name"),
                        enabled: true,
                        expires_at: None,
                        brought: None,
                        if_absent: false,
                    }),
                )
                .await,
            ),
        });
    }
    all
}

fn selector(keys: &Keys, text: &str) -> KeySelector {
    KeySelector::parse(text, keys.digester())
}

async fn execute(keys: &Keys, command: Command) -> ShownKey {
    let origin = Origin {
        actor: Actor::Operator,
        client: None,
        request_id: None,
    };
    let executed = keys.execute(command, origin, Reveal::Once).await;
    executed.expect("it is carried out").shown
}

impl Made {
    /// The cache answers by it.
    fn check(&self, cache: &KeyCache) {
        let ask = |text: &str| cache.identify(text.as_bytes(), Timestamp::now).map(drop);
        let (said, right) = match self {
            Made::Disabled(text) => (ask(text), "disabled"),
            Made::Deleted(text) => (ask(text), "unknown"),
            Made::Created(ShownKey::Whole(key)) => (ask(key.expose()), "in force"),
            Made::Created(ShownKey::Masked(_)) => panic!("a key that was just made is shown"),
        };
        let said = match said {
            Ok(()) => "in force",
            Err(Unidentified::Disabled(_)) => "disabled",
            Err(Unidentified::Unknown) => "unknown",
            Err(Unidentified::Malformed | Unidentified::Expired(_)) => "something else",
        };
        assert_eq!(said, right);
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}
