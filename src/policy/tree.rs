//! The segment tree: every path pattern of a policy, one step a segment.
//!
//! A node has its literals, one param child and one tail; the routes that end at a node, or in its tail, hang there as a
//! [`ByMethod`]. A host is the first step down: each host pattern has a root of its own, beside the root for any host.
//! `GET /v3/users/{uid}` for any host is the root's literal `v3`, its literal `users`, its param child, and there the
//! table whose GET slot holds the route.
//!
//! How a request comes down is told in [`super::walk`].

use super::HostPattern;
use super::literals::Literals;
use super::methods::ByMethod;
use super::pattern::{Pattern, Segment};
use std::collections::HashMap;

/// All patterns of a policy.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    ends: Vec<ByMethod>,
    hosts: Hosts,
}

/// A node's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NodeId(u32);

/// The number of a place where routes end: a host and a path pattern, whatever the names of its params.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct EndId(u32);

impl NodeId {
    /// The position in [`Tree::nodes`].
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

impl EndId {
    /// The position in [`Tree::ends`].
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

/// One step of the tree.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub literals: Literals,
    pub param: Option<NodeId>,
    /// Routes whose path ends here.
    pub exact: Option<EndId>,
    /// Routes whose path ends in a tail that begins here.
    pub tail: Option<EndId>,
    /// How a walk comes back up without remembering its way.
    pub up: Up,
}

/// What a node is to the node above it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Up {
    Root,
    LiteralOf(NodeId),
    ParamOf(NodeId),
}

impl Node {
    fn new(up: Up) -> Self {
        Node {
            literals: Literals::default(),
            param: None,
            exact: None,
            tail: None,
            up,
        }
    }
}

/// The root of each host pattern.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    pub exact: HashMap<Box<str>, NodeId>,
    /// By what follows the `*.`.
    pub suffix: HashMap<Box<str>, NodeId>,
    /// Length of the longest suffix: what is longer need not be looked up.
    pub longest_suffix: usize,
    pub any: NodeId,
}

impl Tree {
    /// A tree without a route.
    pub fn new() -> Self {
        let hosts = Hosts {
            exact: HashMap::new(),
            suffix: HashMap::new(),
            longest_suffix: 0,
            any: NodeId(0),
        };
        Tree {
            nodes: vec![Node::new(Up::Root)],
            ends: Vec::new(),
            hosts,
        }
    }

    /// Makes the way that a pattern describes, as far as it is not there yet, and says where it ends.
    pub fn insert(&mut self, host: Option<&HostPattern>, pattern: &Pattern) -> EndId {
        let mut at = self.root_for(host);
        for segment in &pattern.segments {
            at = match segment {
                Segment::Literal(text) => match self.node(at).literals.get(text) {
                    Some(child) => child,
                    None => {
                        let child = self.add(Up::LiteralOf(at));
                        self.node_mut(at).literals.insert(text.clone(), child);
                        child
                    }
                },
                Segment::Param(_) => match self.node(at).param {
                    Some(child) => child,
                    None => {
                        let child = self.add(Up::ParamOf(at));
                        self.node_mut(at).param = Some(child);
                        child
                    }
                },
                Segment::Tail(_) => {
                    let next = self.next_end();
                    let end = *self.node_mut(at).tail.get_or_insert(next);
                    return self.reserve(end);
                }
            };
        }
        let next = self.next_end();
        let end = *self.node_mut(at).exact.get_or_insert(next);
        self.reserve(end)
    }

    /// Hangs the routes of one end there.
    pub fn settle(&mut self, end: EndId, table: ByMethod) {
        self.ends[end.0 as usize] = table;
    }

    /// Every place where routes end, with those routes.
    pub fn ends(&self) -> impl Iterator<Item = (EndId, &ByMethod)> {
        let numbered = self.ends.iter().enumerate();
        numbered.map(|(at, table)| (EndId(number(at)), table))
    }

    fn next_end(&self) -> EndId {
        EndId(number(self.ends.len()))
    }

    fn reserve(&mut self, end: EndId) -> EndId {
        if end.0 as usize == self.ends.len() {
            self.ends.push(ByMethod::default());
        }
        end
    }

    fn add(&mut self, up: Up) -> NodeId {
        self.nodes.push(Node::new(up));
        NodeId(number(self.nodes.len() - 1))
    }

    fn root_for(&mut self, host: Option<&HostPattern>) -> NodeId {
        if let Some(root) = self.root(host) {
            return root;
        }
        let root = self.add(Up::Root);
        match host {
            None => {}
            Some(HostPattern::Exact(name)) => {
                self.hosts.exact.insert(name.clone(), root);
            }
            Some(HostPattern::Suffix(name)) => {
                self.hosts.longest_suffix = self.hosts.longest_suffix.max(name.len());
                self.hosts.suffix.insert(name.clone(), root);
            }
        }
        root
    }

    /// The root of exactly this host pattern, if a route has it.
    pub fn root(&self, host: Option<&HostPattern>) -> Option<NodeId> {
        match host {
            None => Some(self.hosts.any),
            Some(HostPattern::Exact(name)) => self.hosts.exact.get(name).copied(),
            Some(HostPattern::Suffix(name)) => self.hosts.suffix.get(name).copied(),
        }
    }

    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    /// All nodes, by number; a child stands after its parent.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The routes that end at one place.
    pub fn end(&self, id: EndId) -> &ByMethod {
        &self.ends[id.0 as usize]
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index)
        .expect("a policy that fits into memory as text has fewer than 2^32 segments")
}
