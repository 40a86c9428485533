//! One server out of several: the choosers, pure.
//!
//! A chooser gets the weights of the servers that a request may go to, 0 for those that it may not, and answers the
//! position of one. Weights are shares of the load, so that a server that comes back slowly is one whose weight grows.

/// Random numbers of one worker: xorshift64*. They spread load; nobody's secret rests on them.
pub(super) struct Dice(u64);

impl Dice {
    /// Dice that fall as this seed says.
    pub(super) fn new(seed: u64) -> Self {
        Dice(seed | 1)
    }

    /// A number below `bound`, which is more than 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        let high = (u128::from(drawn) * u128::from(bound)) >> 64;
        u64::try_from(high).expect("a product's upper half is below the bound")
    }
}

/// Of two servers drawn by weight, the one with less load for its weight; the first drawn when they are alike, so that
/// servers without load share by weight too.
pub(super) fn least_loaded(
    weights: &[u32],
    load: impl Fn(usize) -> u32,
    dice: &mut Dice,
) -> Option<usize> {
    let first = draw(weights, None, dice)?;
    let Some(second) = draw(weights, Some(first), dice) else {
        return Some(first);
    };
    let scaled = |one: usize, other: usize| u64::from(load(one)) * u64::from(weights[other]);
    if scaled(second, first) < scaled(first, second) {
        Some(second)
    } else {
        Some(first)
    }
}

/// A position drawn by weight, another one than `not`.
fn draw(weights: &[u32], not: Option<usize>, dice: &mut Dice) -> Option<usize> {
    let weight = |at: usize| match not {
        Some(not) if not == at => 0,
        _ => u64::from(weights[at]),
    };
    let sum: u64 = (0..weights.len()).map(weight).sum();
    if sum == 0 {
        return None;
    }
    let mut left = dice.below(sum);
    (0..weights.len()).find(|at| {
        let weight = weight(*at);
        let found = left < weight;
        left = left.saturating_sub(weight);
        found
    })
}

/// The next in turn: smooth weighted round robin, as nginx has it. `turns` is what each server has saved up; a server
/// of weight 3 beside two of 1 comes up three times in five, never three times in a row.
pub(super) fn round_robin(
    weights: &[u32],
    turns: impl Fn(usize) -> i64,
    set: impl Fn(usize, i64),
) -> Option<usize> {
    let mut sum = 0;
    let mut best: Option<(usize, i64)> = None;
    for (at, weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0) {
        let turn = turns(at) + i64::from(*weight);
        sum += i64::from(*weight);
        set(at, turn);
        if best.is_none_or(|(_, most)| turn > most) {
            best = Some((at, turn));
        }
    }
    let (at, turn) = best?;
    set(at, turn - sum);
    Some(at)
}

/// The server of this hash: weighted rendezvous hashing. When a server goes, only what was its own moves, and to all
/// others by weight; when it is back, the same comes back.
pub(super) fn by_hash(weights: &[u32], seed: impl Fn(usize) -> u64, hash: u64) -> Option<usize> {
    let score = |at: usize| {
        // In (0, 1]: so the logarithm is finite and not above 0.
        let unit = ((mix(seed(at) ^ hash) >> 11) + 1) as f64 / (1u64 << 53) as f64;
        f64::from(weights[at]) / -unit.ln().min(-f64::MIN_POSITIVE)
    };
    (0..weights.len())
        .filter(|at| weights[*at] > 0)
        .max_by(|a, b| score(*a).total_cmp(&score(*b)))
}

/// splitmix64's last step: every bit of the input changes half of the output's.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A text as a number that is the same in every process and on every machine.
pub(super) fn hash(text: &[u8]) -> u64 {
    let digest = blake3::hash(text);
    let (first, _) = digest
        .as_bytes()
        .split_first_chunk()
        .expect("a digest has more than 8 bytes");
    u64::from_le_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn counts(
        of: usize,
        times: usize,
        mut choose: impl FnMut(usize) -> Option<usize>,
    ) -> Vec<usize> {
        let mut counts = vec![0; of];
        for time in 0..times {
            counts[choose(time).expect("one of them")] += 1;
        }
        counts
    }

    #[test]
    fn servers_without_load_share_by_weight() {
        let mut dice = Dice::new(7);
        let weights = [1, 3, 0, 6];
        let counts = counts(4, 100_000, |_| least_loaded(&weights, |_| 0, &mut dice));
        for (at, expected) in [(0, 10_000), (1, 30_000), (2, 0), (3, 60_000usize)] {
            // Six standard deviations of a binomial count: at most 930.
            assert!(counts[at].abs_diff(expected) < 1000, "{counts:?}");
        }
    }

    #[test]
    fn the_less_loaded_of_two_is_taken_for_its_weight() {
        let mut dice = Dice::new(7);
        // (weights, loads, who is never taken)
        for (weights, loads, never) in [
            ([1, 1], [5, 4], 0),
            ([1, 3], [1, 2], 0),
            ([1, 3], [1, 4], 1),
            ([0, 3], [0, 900], 0),
        ] {
            let counts = counts(2, 100, |_| {
                least_loaded(&weights, |at| loads[at], &mut dice)
            });
            assert_eq!(counts[never], 0, "{weights:?} {loads:?}");
        }
        assert_eq!(least_loaded(&[0, 0], |_| 0, &mut dice), None);
        assert_eq!(least_loaded(&[], |_| 0, &mut dice), None);
    }

    #[test]
    fn turns_are_exact_and_spread() {
        let saved = RefCell::new(vec![0i64; 4]);
        let weights = [3, 1, 0, 1];
        let order: Vec<usize> = (0..10)
            .map(|_| {
                round_robin(
                    &weights,
                    |at| saved.borrow()[at],
                    |at, turn| saved.borrow_mut()[at] = turn,
                )
                .expect("one of them")
            })
            .collect();
        assert_eq!(order, [0, 1, 0, 3, 0, 0, 1, 0, 3, 0]);
    }

    #[test]
    fn a_hash_stays_with_its_server_while_that_is_there_and_moves_alone() {
        let seeds: Vec<u64> = ["a", "b", "c", "d"].map(|s| hash(s.as_bytes())).into();
        let of = |weights: &[u32], key: usize| {
            by_hash(weights, |at| seeds[at], hash(&key.to_le_bytes())).expect("one of them")
        };
        let (all, without) = ([1, 1, 1, 2], [1, 0, 1, 2]);
        let shares = counts(4, 10_000, |key| Some(of(&all, key)));
        for (at, expected) in [(0, 2000), (1, 2000), (2, 2000), (3, 4000usize)] {
            assert!(shares[at].abs_diff(expected) < 300, "{shares:?}");
        }
        for key in 0..10_000 {
            let before = of(&all, key);
            if before != 1 {
                assert_eq!(of(&without, key), before, "key {key} moved for nothing");
            }
        }
        assert_eq!(by_hash(&[0, 0], |_| 1, 2), None);
    }

    #[test]
    fn a_hash_is_the_same_in_every_process() {
        assert_eq!(hash(b"chat"), hash(b"chat"));
        assert_ne!(hash(b"chat"), hash(b"chas"));
    }
}
