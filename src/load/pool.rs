//! All keys of a run, ready to be drawn by the shares of a mix.

use super::draw::{Draw, Picker};
use super::keys::{Kind, LoadedKey, Mix};
use crate::key::ScopeName;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// How many unknown keys are made where none are given.
const UNKNOWN: usize = 10_000;

/// Why a mix cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum MixError {
    #[error(
        "the mix wants keys of scope `{scope}` and there are none{}; make some with `keygate keys create --scope {scope}`, or give them by `--keys FILE`, one a line: KEY {scope}",
        having(.there)
    )]
    NoScope {
        scope: ScopeName,
        there: Vec<String>,
    },
    #[error(
        "the mix wants {kind} keys and there are none{}; give them by `--keys FILE`, one a line: KEY {kind}",
        having(.there)
    )]
    NoKind { kind: Kind, there: Vec<String> },
    #[error("there are more than 4,000,000,000 keys")]
    TooMany,
}

fn having(there: &[String]) -> String {
    match there {
        [] => String::new(),
        some => format!(" (there are: {})", some.join(", ")),
    }
}

/// The position of a kind among those of a run.
pub(super) type KindIndex = u16;

/// All keys of a run, ready to be drawn. Wiped when dropped.
pub(super) struct Pool {
    /// Of all keys, one after the other.
    text: Zeroizing<Vec<u8>>,
    count: usize,
    kinds: Vec<Kind>,
    mix: Picker,
    groups: Vec<Group>,
}

/// A key that was drawn: where its text is, and its kind.
#[derive(Clone, Copy)]
pub(super) struct Drawn {
    start: usize,
    len: u32,
    pub(super) kind: KindIndex,
}

/// The keys that one part of the mix draws from.
struct Group {
    /// Copies, so that a draw has one look less to wait for.
    keys: Vec<Drawn>,
    picker: Picker,
}

impl Pool {
    /// # Errors
    /// When the mix wants what is not there and cannot be made.
    pub(super) fn new(
        mut given: Vec<LoadedKey>,
        mix: &Mix,
        draw: Draw,
        random: &mut fastrand::Rng,
    ) -> Result<Self, MixError> {
        let wanted = |kind: &Kind| mix.0.iter().any(|(other, _)| other == kind);
        let given_of = |given: &[LoadedKey], kind: &Kind| given.iter().any(|key| key.kind == *kind);
        let mut make = |kind: Kind, texts: Vec<String>| {
            if wanted(&kind) && !given_of(&given, &kind) {
                given.extend(texts.into_iter().map(|text| LoadedKey {
                    text: Zeroizing::new(text),
                    kind: kind.clone(),
                }));
            }
        };
        make(Kind::Missing, vec![String::new()]);
        make(Kind::Malformed, malformed());
        let unknown = |random: &mut fastrand::Rng| {
            format!(
                "{:016x}{:016x}{:08x}",
                random.u64(..),
                random.u64(..),
                random.u32(..)
            )
        };
        make(
            Kind::Unknown,
            (0..UNKNOWN).map(|_| unknown(random)).collect(),
        );

        let mut counts: BTreeMap<&Kind, usize> = BTreeMap::new();
        for key in &given {
            *counts.entry(&key.kind).or_default() += 1;
        }
        let there = counts.iter().map(|(kind, count)| format!("{count} {kind}"));
        let there: Vec<String> = there.collect();
        // What the mix does not want is no part of the run, nor is what such a key should get.
        let any = wanted(&Kind::Valid(None));
        given.retain(|key| wanted(&key.kind) || (any && matches!(key.kind, Kind::Valid(_))));
        let mut by_kind: BTreeMap<&Kind, Vec<u32>> = BTreeMap::new();
        for (number, key) in given.iter().enumerate() {
            let number = u32::try_from(number).map_err(|_| MixError::TooMany)?;
            by_kind.entry(&key.kind).or_default().push(number);
        }
        let mut chosen = Vec::new();
        for (kind, _) in &mix.0 {
            let keys: Vec<u32> = match kind {
                // All that are in force, in the order in which they were given.
                Kind::Valid(None) => {
                    let valid = by_kind
                        .iter()
                        .filter(|(kind, _)| matches!(kind, Kind::Valid(_)));
                    let mut keys: Vec<u32> = valid.flat_map(|(_, keys)| keys).copied().collect();
                    keys.sort_unstable();
                    keys
                }
                kind => by_kind.get(kind).cloned().unwrap_or_default(),
            };
            if keys.is_empty() {
                return Err(match kind {
                    Kind::Valid(Some(scope)) => MixError::NoScope {
                        scope: scope.clone(),
                        there,
                    },
                    kind => MixError::NoKind {
                        kind: kind.clone(),
                        there,
                    },
                });
            }
            chosen.push(keys);
        }
        let kinds: Vec<Kind> = by_kind.keys().map(|kind| (*kind).clone()).collect();
        let mut text = Zeroizing::new(Vec::with_capacity(given.iter().map(|k| k.text.len()).sum()));
        let mut all = Vec::with_capacity(given.len());
        for key in &given {
            let kind = kinds
                .binary_search(&key.kind)
                .expect("each key's kind is in the list");
            all.push(Drawn {
                start: text.len(),
                len: key.text.len() as u32,
                kind: KindIndex::try_from(kind).map_err(|_| MixError::TooMany)?,
            });
            text.extend_from_slice(key.text.as_bytes());
        }
        let groups = chosen.into_iter().map(|keys| Group {
            picker: Picker::of(keys.len(), draw),
            keys: keys
                .into_iter()
                .map(|number| all[number as usize])
                .collect(),
        });
        let shares: Vec<f64> = mix.0.iter().map(|(_, share)| *share).collect();
        Ok(Pool {
            mix: Picker::weighted(&shares),
            groups: groups.collect(),
            count: given.len(),
            text,
            kinds,
        })
    }

    /// How many keys there are to draw from.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// How much memory they take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let groups = self
            .groups
            .iter()
            .map(|group| group.keys.capacity() * size_of::<Drawn>() + group.picker.bytes());
        self.text.capacity() + groups.sum::<usize>()
    }

    /// The kinds of the keys that there are, sorted.
    pub(super) fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    pub(super) fn draw(&self, random: &mut fastrand::Rng) -> Drawn {
        let group = &self.groups[self.mix.draw(random)];
        group.keys[group.picker.draw(random)]
    }

    /// The text of a key of this pool; empty where no key is sent.
    pub(super) fn text(&self, key: Drawn) -> &[u8] {
        &self.text[key.start..key.start + key.len as usize]
    }
}

/// Texts that are no key: too short, too long, with a blank inside.
fn malformed() -> Vec<String> {
    let mut texts: Vec<String> = (1..20).map(|length| "a".repeat(length)).collect();
    texts.extend([129, 200, 512].map(|length| "b".repeat(length)));
    texts.extend((1..20).map(|at| format!("{} {}", "c".repeat(at), "d".repeat(40 - at))));
    texts
}

#[cfg(test)]
mod tests {
    use super::super::keys::read_keys;
    use super::*;
    use crate::key::ApiKey;

    fn pool(keys: &str, mix: &str) -> Result<Pool, MixError> {
        let mut random = fastrand::Rng::with_seed(1);
        let keys = read_keys(keys).unwrap();
        Pool::new(keys, &mix.parse().unwrap(), Draw::Uniform, &mut random)
    }

    fn shares(pool: &Pool) -> BTreeMap<String, f64> {
        let mut random = fastrand::Rng::with_seed(2);
        let mut seen = BTreeMap::new();
        for _ in 0..100_000 {
            let kind = &pool.kinds()[usize::from(pool.draw(&mut random).kind)];
            *seen.entry(kind.to_string()).or_insert(0.0) += 1e-5;
        }
        seen
    }

    #[test]
    fn kinds_are_drawn_in_their_shares() {
        let pool = pool(
            "k1 fullAccess\nk2 fullAccess\n# a comment\n\nk3 authOnly\nk4 deleted\n",
            "fullAccess=70,authOnly=10,deleted=10,unknown=5,malformed=4,missing=1",
        );
        let shares = shares(&pool.ok().unwrap());
        for (kind, share) in [
            ("fullAccess", 0.7),
            ("authOnly", 0.1),
            ("deleted", 0.1),
            ("unknown", 0.05),
            ("malformed", 0.04),
            ("missing", 0.01),
        ] {
            assert!((shares[kind] - share).abs() < 0.01, "{kind}: {shares:?}");
        }
    }

    #[test]
    fn valid_is_every_key_that_is_in_force() {
        let pool = pool("k1 fullAccess\nk2 authOnly\nk3\nk4 disabled\n", "valid=1");
        let shares = shares(&pool.ok().unwrap());
        assert_eq!(shares.len(), 3, "{shares:?}");
    }

    #[test]
    fn what_the_mix_wants_and_is_not_there_is_said_with_what_is() {
        for (keys, mix, expected) in [
            (
                "k1 authOnly\n",
                "fullAccess=1",
                "keys create --scope fullAccess",
            ),
            ("k1 authOnly\n", "fullAccess=1", "there are: 1 authOnly"),
            ("", "deleted=1", "KEY deleted"),
            ("", "valid=1", "KEY valid"),
        ] {
            let said = pool(keys, mix).err().unwrap().to_string();
            assert!(said.contains(expected), "{mix}: {said}");
        }
    }

    #[test]
    fn what_is_made_as_malformed_is_no_key_and_can_stand_in_a_header() {
        for text in malformed() {
            assert!(ApiKey::check(text.as_bytes()).is_err(), "{text}");
            assert!(http::HeaderValue::from_str(&text).is_ok(), "{text}");
        }
    }
}
