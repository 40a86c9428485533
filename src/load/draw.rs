//! Which one of many is next: uniformly, by Zipf's law, or by weights; each draw one random number and one look.

use std::str::FromStr;

/// How keys of one kind are drawn.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Draw {
    /// Each as often as any other.
    Uniform,
    /// The one at place `r`, counted from 1, in proportion to `r` to the power of minus this.
    Zipf(f64),
}

impl FromStr for Draw {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected `uniform`, or `zipf:S` with S from 0 to 10, such as zipf:1.1";
        match (text, text.strip_prefix("zipf:")) {
            ("uniform", _) => Ok(Draw::Uniform),
            (_, Some(exponent)) => match exponent.parse::<f64>() {
                Ok(s) if (0.0..=10.0).contains(&s) => Ok(Draw::Zipf(s)),
                _ => Err(expected().to_owned()),
            },
            _ => Err(expected().to_owned()),
        }
    }
}

/// Draws numbers below a bound.
#[derive(Debug)]
pub(super) enum Picker {
    Uniform(u32),
    /// Walker's alias method: each slot stands for itself below its threshold, else for its alias.
    Weighted(Box<[Slot]>),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    threshold: u32,
    alias: u32,
}

impl Picker {
    /// Of so many, in this way.
    pub(super) fn of(count: usize, draw: Draw) -> Self {
        match draw {
            Draw::Uniform => Picker::Uniform(u32::try_from(count).unwrap_or(u32::MAX)),
            Draw::Zipf(s) => {
                let weights: Vec<f64> = (1..=count).map(|r| (r as f64).powf(-s)).collect();
                Picker::weighted(&weights)
            }
        }
    }

    /// Each in proportion to its weight. The weights are not negative, and not all 0.
    pub(super) fn weighted(weights: &[f64]) -> Self {
        if let [_] = weights {
            return Picker::Uniform(1);
        }
        let total: f64 = weights.iter().sum();
        let scale = weights.len() as f64 / total;
        let mut left: Vec<f64> = weights.iter().map(|weight| weight * scale).collect();
        let whole = Slot {
            threshold: u32::MAX,
            alias: 0,
        };
        let mut slots = vec![whole; weights.len()];
        for (i, slot) in slots.iter_mut().enumerate() {
            slot.alias = i as u32;
        }
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|&i| left[i] < 1.0);
        while let (Some(&poor), Some(&rich)) = (small.last(), large.last()) {
            small.pop();
            slots[poor] = Slot {
                threshold: (left[poor] * f64::from(u32::MAX)) as u32,
                alias: rich as u32,
            };
            left[rich] -= 1.0 - left[poor];
            if left[rich] < 1.0 {
                large.pop();
                small.push(rich);
            }
        }
        Picker::Weighted(slots.into())
    }

    /// How much memory it takes besides its own, in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Picker::Uniform(_) => 0,
            Picker::Weighted(slots) => size_of_val(&**slots),
        }
    }

    /// The next one.
    pub(super) fn draw(&self, random: &mut fastrand::Rng) -> usize {
        match self {
            Picker::Uniform(1) => 0,
            Picker::Uniform(count) => below(random.u64(..) >> 32, *count),
            Picker::Weighted(slots) => {
                let number = random.u64(..);
                let at = below(number >> 32, slots.len() as u32);
                let slot = slots[at];
                // Below, not at: a weight of 0 has a threshold of 0 and is never drawn.
                if (number as u32) < slot.threshold {
                    at
                } else {
                    slot.alias as usize
                }
            }
        }
    }
}

/// 32 random bits as a number below a bound.
fn below(random: u64, bound: u32) -> usize {
    ((random * u64::from(bound)) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(picker: &Picker, of: usize) -> Vec<f64> {
        let mut random = fastrand::Rng::with_seed(7);
        let mut seen = vec![0u32; of];
        for _ in 0..400_000 {
            seen[picker.draw(&mut random)] += 1;
        }
        seen.into_iter().map(|n| f64::from(n) / 400_000.0).collect()
    }

    #[test]
    fn each_is_drawn_in_proportion_to_its_weight() {
        for weights in [
            vec![80.0, 10.0, 5.0, 5.0],
            vec![0.0, 1.0, 0.0, 3.0],
            vec![1.0; 10],
            vec![5.0],
        ] {
            let total: f64 = weights.iter().sum();
            let got = shares(&Picker::weighted(&weights), weights.len());
            for (weight, share) in weights.iter().zip(got) {
                let wanted = weight / total;
                assert!((share - wanted).abs() < 0.005, "{weights:?}: {share}");
                assert!(*weight > 0.0 || share == 0.0, "{weights:?}");
            }
        }
    }

    #[test]
    fn by_zipf_the_first_is_drawn_most_and_by_the_law() {
        let got = shares(&Picker::of(100, Draw::Zipf(1.0)), 100);
        let harmonic: f64 = (1..=100).map(|r| 1.0 / f64::from(r)).sum();
        for (rank, share) in (1..).zip(got).take(5) {
            let wanted = 1.0 / f64::from(rank) / harmonic;
            assert!((share - wanted).abs() < 0.005, "{rank}: {share}, {wanted}");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let picker = Picker::of(1000, Draw::Zipf(1.1));
        let draws = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            (0..50)
                .map(|_| picker.draw(&mut random))
                .collect::<Vec<_>>()
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }

    #[test]
    fn a_way_of_drawing_is_read() {
        assert_eq!("uniform".parse(), Ok(Draw::Uniform));
        assert_eq!("zipf:1.1".parse(), Ok(Draw::Zipf(1.1)));
        for text in ["", "zipf", "zipf:", "zipf:-1", "zipf:NaN", "zipf:11"] {
            assert!(text.parse::<Draw>().is_err(), "{text}");
        }
    }
}
