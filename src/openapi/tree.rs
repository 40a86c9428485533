//! Which patterns have requests in common with a path: the patterns as a tree, walked along the path.

use super::table::End;
use super::template::Segment;
use std::collections::HashMap;

#[derive(Default)]
struct Node {
    literals: HashMap<Box<str>, usize>,
    param: Option<usize>,
    end: Option<usize>,
}

/// The patterns, segment by segment.
pub(super) struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    pub(super) fn of(ends: &[End]) -> Self {
        let mut tree = Tree {
            nodes: vec![Node::default()],
        };
        for (at, end) in ends.iter().enumerate() {
            let mut node = 0;
            for segment in &end.shape {
                let fresh = tree.nodes.len();
                let here = &mut tree.nodes[node];
                let next = match segment {
                    Segment::Literal(text) => *here.literals.entry(text.clone()).or_insert(fresh),
                    Segment::Param | Segment::Part { .. } => *here.param.get_or_insert(fresh),
                };
                if next == fresh {
                    tree.nodes.push(Node::default());
                }
                node = next;
            }
            tree.nodes[node].end = Some(at);
        }
        tree
    }

    /// All ends that have a request in common with this shape, and whatever may follow it; `None` when the steps are used
    /// up.
    pub(super) fn overlapping(
        &self,
        shape: &[Segment],
        open_ended: bool,
        steps: &mut usize,
    ) -> Option<Vec<usize>> {
        let mut found = Vec::new();
        let mut open = vec![(0usize, 0usize)];
        while let Some((node, depth)) = open.pop() {
            *steps = steps.checked_sub(1)?;
            let node = &self.nodes[node];
            let Some(segment) = shape.get(depth) else {
                found.extend(node.end);
                if open_ended {
                    let below = node.literals.values().copied().chain(node.param);
                    open.extend(below.map(|child| (child, depth)));
                }
                continue;
            };
            match segment {
                Segment::Literal(text) => {
                    let literal = node.literals.get(text).copied();
                    let param = node.param.filter(|_| !text.is_empty());
                    open.extend(literal.into_iter().chain(param).map(|n| (n, depth + 1)));
                }
                Segment::Param | Segment::Part { .. } => {
                    *steps = steps.checked_sub(node.literals.len())?;
                    for (text, child) in &node.literals {
                        if may_be(segment, text) {
                            open.push((*child, depth + 1));
                        }
                    }
                    open.extend(node.param.map(|child| (child, depth + 1)));
                }
            }
        }
        found.sort_unstable();
        Some(found)
    }
}

/// Whether a segment's text may be this.
pub(super) fn may_be(segment: &Segment, text: &str) -> bool {
    match segment {
        Segment::Literal(literal) => **literal == *text,
        Segment::Param => !text.is_empty(),
        Segment::Part { begins, ends } => text.starts_with(&**begins) && text.ends_with(&**ends),
    }
}

/// Whether the second has all requests of the first; they have some in common.
pub(super) fn is_broader(shape: &[Segment], other: &[Segment]) -> bool {
    shape
        .iter()
        .zip(other)
        .all(|(one, other)| matches!(other, Segment::Param) || one == other)
}

/// The pattern of what two have in common, as narrow as a pattern can be: the first may be no pattern, and shorter than
/// what it stands for.
pub(super) fn meet(shape: &[Segment], pattern: &[Segment]) -> Vec<Segment> {
    let both = pattern
        .iter()
        .enumerate()
        .map(|(at, segment)| match (segment, shape.get(at)) {
            (Segment::Param, Some(literal @ Segment::Literal(_))) => literal.clone(),
            (segment, _) => segment.clone(),
        });
    both.collect()
}

/// A pattern's text.
pub(super) fn text_of(shape: &[Segment]) -> String {
    let mut text = String::new();
    for (at, segment) in shape.iter().enumerate() {
        text.push('/');
        match segment {
            Segment::Literal(literal) => text.push_str(literal),
            Segment::Param | Segment::Part { .. } => text.push_str(&format!("{{p{}}}", at + 1)),
        }
    }
    text
}
