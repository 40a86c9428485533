//! The literal children of a node: the one lookup that grows with the policy.
//!
//! Most nodes have a few literals, which are compared one after the other: lengths first, so that most comparisons end
//! there. A node with many has a hash map. Its hash function is quick and not keyed: what is in the map is the operator's
//! text, so a client that guesses collisions finds no longer chain than the operator wrote.

use super::tree::NodeId;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Above this many, a map is faster than looking at each (measured with `benches/decision.rs`).
const FEW: usize = 8;

/// Literals and where they lead.
#[derive(Clone, Debug)]
pub(super) enum Literals {
    Few(Vec<(Box<str>, NodeId)>),
    Many(HashMap<Box<str>, NodeId, BuildHasherDefault<SegmentHasher>>),
}

impl Default for Literals {
    fn default() -> Self {
        Literals::Few(Vec::new())
    }
}

impl Literals {
    /// The child for exactly this text.
    pub fn get(&self, text: &str) -> Option<NodeId> {
        match self {
            Literals::Few(children) => {
                let found = children.iter().find(|(literal, _)| **literal == *text);
                found.map(|(_, child)| *child)
            }
            Literals::Many(children) => children.get(text).copied(),
        }
    }

    /// Adds a child for a text that has none.
    pub fn insert(&mut self, text: Box<str>, child: NodeId) {
        match self {
            Literals::Few(children) if children.len() < FEW => children.push((text, child)),
            Literals::Few(children) => {
                let more = std::iter::once((text, child));
                *self = Literals::Many(children.drain(..).chain(more).collect());
            }
            Literals::Many(children) => {
                children.insert(text, child);
            }
        }
    }

    /// All texts with their children, in no order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, NodeId)> {
        let (few, many) = match self {
            Literals::Few(children) => (
                Some(children.iter().map(|(text, child)| (text, child))),
                None,
            ),
            Literals::Many(children) => (None, Some(children.iter())),
        };
        let all = few.into_iter().flatten().chain(many.into_iter().flatten());
        all.map(|(text, child)| (&**text, *child))
    }

    /// All children, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let (few, many) = match self {
            Literals::Few(children) => (Some(children.iter().map(|(_, child)| *child)), None),
            Literals::Many(children) => (None, Some(children.values().copied())),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten())
    }
}

/// Eight bytes a step, each multiplied into the next.
#[derive(Default)]
pub(super) struct SegmentHasher(u64);

impl SegmentHasher {
    fn mix(&mut self, word: u64) {
        // Both odd constants are digits of pi; the product's halves are folded so that each bit counts everywhere.
        let product = u128::from(self.0 ^ word ^ 0x243f_6a88_85a3_08d3) * 0x1319_8a2e_0370_7345;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
}

impl Hasher for SegmentHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let last = rest.iter().fold(bytes.len() as u64, |word, byte| {
            word << 8 | u64::from(*byte)
        });
        self.mix(last);
    }

    /// What ends a string's hash; the length is in it already.
    fn write_u8(&mut self, _: u8) {}
}

#[cfg(test)]
mod tests {
    use super::super::tree::Tree;
    use super::*;

    #[test]
    fn each_of_many_literals_leads_to_its_own_child() {
        let nodes = Tree::new();
        let any = nodes.hosts().any;
        let mut literals = Literals::default();
        for i in 0..1000 {
            let text = format!("literal-{i}");
            assert_eq!(literals.get(&text), None, "{text} before it is there");
            literals.insert(text.into(), any);
            assert_eq!(literals.nodes().count(), i + 1);
            for j in [0, i / 2, i] {
                assert_eq!(
                    literals.get(&format!("literal-{j}")),
                    Some(any),
                    "{j} of {i}"
                );
            }
            for text in ["", "literal", "literal-", "LITERAL-0", "literal-0 "] {
                assert_eq!(literals.get(text), None, "{text:?} of {i}");
            }
        }
    }

    #[test]
    fn texts_that_differ_little_have_hashes_that_differ_much() {
        let hash = |text: &str| {
            let mut hasher = SegmentHasher::default();
            hasher.write(text.as_bytes());
            hasher.finish()
        };
        let hashes: Vec<u64> = (0..4096).map(|i| hash(&format!("resource-{i}"))).collect();
        for (what, bits) in [("low", 0), ("high", 52)] {
            let mut filled: Vec<u64> = hashes.iter().map(|h| h >> bits & 0xFFF).collect();
            filled.sort_unstable();
            filled.dedup();
            // A random function fills 63 of 100 slots.
            assert!(
                filled.len() > 4096 * 58 / 100,
                "{what} bits: {}",
                filled.len()
            );
        }
    }
}
