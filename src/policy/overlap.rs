//! Which ends of the tree have requests in common, and such requests.
//!
//! `/a/{x}` and `/{y}/b` have `/a/b` in common; `/a/{*rest}` has every request of `/a/{x}`, and more. From one end all others
//! that overlap it are found by walking the tree with its pattern; a request for both is made of their literals, and of a
//! text that is no literal of the policy where neither has one.

use super::compile::Written;
use super::methods::DEFAULT;
use super::pattern::{Pattern, Segment};
use super::tree::{EndId, NodeId};
use super::{HostPattern, Policy};
use http::Method;
use std::collections::{BTreeSet, HashMap};

/// What a search for overlaps needs to know of a policy.
pub(super) struct Overlaps<'p> {
    pub policy: &'p Policy,
    pub written: HashMap<EndId, &'p Written>,
    /// Every method that some request of interest may have.
    pub methods: Vec<Method>,
    /// Every host pattern of the policy with its root.
    roots: Vec<(Option<&'p HostPattern>, NodeId)>,
    /// A segment that is no literal of the policy.
    fresh: String,
    /// A label that makes a host longer than all that the policy names.
    fresh_label: String,
}

impl<'p> Overlaps<'p> {
    pub fn new(policy: &'p Policy, written: &'p [Written]) -> Self {
        let mut methods = DEFAULT.to_vec();
        let mut hosts = BTreeSet::new();
        let mut longest = 0;
        for end in written {
            for (method, _) in policy.tree.end(end.end).taken() {
                if !methods.contains(method) {
                    methods.push(method.clone());
                }
            }
            hosts.insert(end.host.as_ref());
            for segment in &end.pattern.segments {
                if let Segment::Literal(text) = segment {
                    longest = longest.max(text.len());
                }
            }
        }
        let longest_host = hosts
            .iter()
            .flatten()
            .map(|host| host.to_string().len())
            .max();
        let roots = hosts
            .into_iter()
            .filter_map(|host| Some((host, policy.tree.root(host)?)))
            .collect();
        Overlaps {
            policy,
            written: written.iter().map(|end| (end.end, end)).collect(),
            methods,
            roots,
            // Longer than any literal, so equal to none.
            fresh: "x".repeat(longest + 1),
            fresh_label: "x".repeat(longest_host.unwrap_or(0)),
        }
    }

    /// The other ends, of this host or a broader one, that have a request in common with this one; `None` when the
    /// steps are used up.
    pub fn of(&self, specific: &Written, steps: &mut usize) -> Option<Vec<EndId>> {
        let segments = &specific.pattern.segments;
        let mut found = Vec::new();
        *steps = steps.checked_sub(self.roots.len())?;
        for (host, root) in &self.roots {
            if !covers(*host, specific.host.as_ref()) {
                continue;
            }
            // Nodes, with how many of the pattern's segments led there; beyond its tail any way goes on.
            let mut open = vec![(*root, 0)];
            while let Some((id, used)) = open.pop() {
                *steps = steps.checked_sub(1)?;
                let node = self.policy.tree.node(id);
                match segments.get(used) {
                    None => {
                        found.extend(node.exact);
                        continue;
                    }
                    Some(Segment::Literal(text)) => {
                        open.extend(node.literals.get(text).map(|child| (child, used + 1)));
                        open.extend(
                            node.param
                                .filter(|_| !text.is_empty())
                                .map(|child| (child, used + 1)),
                        );
                    }
                    Some(Segment::Param(_)) => {
                        open.extend(node.literals.nodes().map(|child| (child, used + 1)));
                        open.extend(node.param.map(|child| (child, used + 1)));
                    }
                    Some(Segment::Tail(_)) => {
                        found.extend(node.exact);
                        open.extend(node.literals.nodes().map(|child| (child, used)));
                        open.extend(node.param.map(|child| (child, used)));
                    }
                }
                found.extend(node.tail);
            }
        }
        found.retain(|end| *end != specific.end);
        Some(found)
    }

    /// A host that a host pattern matches, and no longer one.
    pub fn host_of(&self, pattern: &HostPattern) -> String {
        match pattern {
            HostPattern::Exact(name) => name.to_string(),
            HostPattern::Suffix(name) => format!("{}.{name}", self.fresh_label),
        }
    }

    /// A path that matches both patterns, which overlap.
    pub fn request_for_both(&self, one: &Pattern, other: &Pattern) -> String {
        let mut path = String::new();
        for at in 0..one.segments.len().max(other.segments.len()) {
            path.push('/');
            let at = |pattern: &'_ Pattern| pattern.segments.get(at).cloned();
            match (at(one), at(other)) {
                (Some(Segment::Literal(text)), _) | (_, Some(Segment::Literal(text))) => {
                    path.push_str(&text);
                }
                _ => path.push_str(&self.fresh),
            }
        }
        path
    }
}

/// Whether every host of `narrow` is also one of `broad`.
pub(super) fn covers(broad: Option<&HostPattern>, narrow: Option<&HostPattern>) -> bool {
    let below = |name: &str, suffix: &str| {
        name.strip_suffix(suffix)
            .is_some_and(|rest| rest.ends_with('.'))
    };
    match (broad, narrow) {
        (None, _) => true,
        (Some(HostPattern::Exact(a)), Some(HostPattern::Exact(b))) => a == b,
        (Some(HostPattern::Suffix(a)), Some(HostPattern::Suffix(b))) => a == b || below(b, a),
        (Some(HostPattern::Suffix(a)), Some(HostPattern::Exact(b))) => below(b, a),
        (Some(_), _) => false,
    }
}

/// Whether every path of `narrow` is also one of `broad`.
pub(super) fn covers_path(broad: &Pattern, narrow: &Pattern) -> bool {
    let mut rest = narrow.segments.iter();
    for segment in &broad.segments {
        match (segment, rest.next()) {
            // A tail has a character at least.
            (Segment::Tail(_), Some(Segment::Literal(text))) => {
                return !text.is_empty() || rest.next().is_some();
            }
            (Segment::Tail(_), Some(_)) => return true,
            (Segment::Param(_), Some(Segment::Param(_))) => {}
            (Segment::Param(_), Some(Segment::Literal(text))) if !text.is_empty() => {}
            (Segment::Literal(a), Some(Segment::Literal(b))) if a == b => {}
            _ => return false,
        }
    }
    rest.next().is_none()
}
