//! A policy as a machine that reads a path segment by segment.
//!
//! [`super::super::walk`] comes down the tree for one request and turns back where a way ends. Here all ways are followed
//! at once: what is reached after some segments is a list of [`Thread`]s, in the order in which the walk would try them,
//! each a node, or a tail that has begun and takes whatever comes. For `/v3/users` below routes for `/v3/users/{uid}` and
//! `/v3/{*rest}`: the node of `users`, then the tail of `v3`.
//!
//! The management paths, which stand before the tree, are nodes of the machine too, and come first. What ends there stops
//! the search, whether it takes the method or not.

use super::hosts::HostClass;
use crate::policy::methods::ByMethod;
use crate::policy::tree::Tree;
use crate::policy::{HostPattern, Policy, RouteIndex};
use http::Method;
use std::collections::BTreeMap;

/// One policy's machine.
pub(super) struct Machine<'p> {
    pub policy: &'p Policy,
    /// The tree's nodes by their numbers, then those of the management paths; a child stands after its parent.
    pub nodes: Vec<Node<'p>>,
    /// The tree's ends by their numbers, then those of the management paths.
    pub ends: Vec<End<'p>>,
    management: Option<u32>,
}

/// Where some segments lead.
#[derive(Default)]
pub(super) struct Node<'p> {
    pub literals: BTreeMap<&'p str, u32>,
    pub param: Option<u32>,
    pub exact: Option<u32>,
    pub tail: Option<u32>,
}

/// What there is for a path.
#[derive(Clone, Copy)]
pub(super) struct End<'p> {
    /// `None`: nothing, which is the management API's own nothing.
    pub table: Option<&'p ByMethod>,
    /// Nothing behind it is asked.
    pub stops: bool,
}

/// One of the ways that are followed at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Thread {
    /// At this node.
    At(u32),
    /// In this tail.
    In(u32),
}

/// What the next segment is, where another one follows or the path ends without a slash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Class<'p> {
    /// This text, not empty.
    Literal(&'p str),
    /// Not empty, and none of the literals that lead on from here.
    Other,
    /// Empty, and another segment follows: `//`.
    Empty,
}

/// Who takes a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Taker {
    Route(RouteIndex),
    /// 405.
    NotAllowed,
    /// 404.
    NotFound,
}

impl<'p> Machine<'p> {
    pub fn new(policy: &'p Policy) -> Self {
        let tree: &'p Tree = &policy.tree;
        let nodes = tree.nodes().iter().map(|node| Node {
            literals: node
                .literals
                .entries()
                .map(|(text, child)| (text, child.as_u32()))
                .collect(),
            param: node.param.map(|child| child.as_u32()),
            exact: node.exact.map(|end| end.as_u32()),
            tail: node.tail.map(|end| end.as_u32()),
        });
        let ends = tree.ends().map(|(_, table)| End {
            table: Some(table),
            stops: false,
        });
        let mut machine = Machine {
            policy,
            nodes: nodes.collect(),
            ends: ends.collect(),
            management: None,
        };
        if !policy.management.is_empty() {
            machine.add_management();
        }
        machine
    }

    fn add_management(&mut self) {
        let root = self.add(Node::default());
        self.management = Some(root);
        let nothing = self.add_end(None);
        for owned in &self.policy.management {
            let mut at = root;
            for segment in owned.path.split('/').skip(1) {
                at = match self.nodes[at as usize].literals.get(segment) {
                    Some(child) => *child,
                    None => {
                        let child = self.add(Node::default());
                        self.nodes[at as usize].literals.insert(segment, child);
                        child
                    }
                };
            }
            let on_path = self.add_end(Some(&owned.on_path));
            let on_key = self.add_end(Some(&owned.on_key));
            let key = self.add(Node {
                exact: Some(on_key),
                ..Node::default()
            });
            // The path with a slash at its end: the rest is empty, which is not for the tail.
            let slash = self.add(Node {
                exact: Some(nothing),
                ..Node::default()
            });
            let node = &mut self.nodes[at as usize];
            node.exact = Some(on_path);
            node.param = Some(key);
            node.tail = Some(nothing);
            node.literals.insert("", slash);
        }
    }

    fn add(&mut self, node: Node<'p>) -> u32 {
        self.nodes.push(node);
        number(self.nodes.len() - 1)
    }

    fn add_end(&mut self, table: Option<&'p ByMethod>) -> u32 {
        self.ends.push(End { table, stops: true });
        number(self.ends.len() - 1)
    }

    /// What a request for a host of this class begins with.
    pub fn start(&self, host: &HostClass) -> Vec<Thread> {
        let tree = &self.policy.tree;
        let roots = host
            .matching()
            .filter_map(|pattern: Option<&HostPattern>| tree.root(pattern));
        let roots = roots.map(|root| root.as_u32());
        self.management
            .into_iter()
            .chain(roots)
            .map(Thread::At)
            .collect()
    }

    /// Where one segment more leads.
    pub fn step(&self, from: &[Thread], class: Class<'_>) -> Vec<Thread> {
        let mut to = Vec::with_capacity(from.len() + 1);
        for thread in from {
            let Thread::At(at) = thread else {
                to.push(*thread);
                continue;
            };
            let node = &self.nodes[*at as usize];
            let (literal, param) = match class {
                Class::Literal(text) => (node.literals.get(text), node.param),
                Class::Other => (None, node.param),
                Class::Empty => (node.literals.get(""), None),
            };
            to.extend(literal.copied().map(Thread::At));
            to.extend(param.map(Thread::At));
            to.extend(node.tail.map(Thread::In));
        }
        to
    }

    /// What matches where the path ends here, the most specific first.
    pub fn here(&self, at: &[Thread]) -> Vec<u32> {
        let ends = at.iter().filter_map(|thread| match thread {
            Thread::At(node) => self.nodes[*node as usize].exact,
            Thread::In(tail) => Some(*tail),
        });
        ends.collect()
    }

    /// What matches where one slash follows and ends the path: no tail behind routes of the path without it.
    pub fn slash(&self, at: &[Thread]) -> Vec<u32> {
        let mut ends = Vec::new();
        let mut shorter_has_routes = false;
        for thread in at {
            match thread {
                Thread::At(node) => {
                    let node = &self.nodes[*node as usize];
                    shorter_has_routes |=
                        node.exact.is_some_and(|end| !self.ends[end as usize].stops);
                    let empty = node.literals.get("");
                    ends.extend(empty.and_then(|child| self.nodes[*child as usize].exact));
                }
                Thread::In(tail) => {
                    // What stops is the management API's, which knows no such rule.
                    if !shorter_has_routes || self.ends[*tail as usize].stops {
                        ends.push(*tail);
                    }
                }
            }
        }
        ends
    }

    /// Who takes a method, of ends that match.
    pub fn taker(&self, ends: &[u32], method: &Method) -> Taker {
        let mut matched = false;
        for end in ends {
            let end = &self.ends[*end as usize];
            matched |= end.table.is_some();
            if let Some(route) = end.table.and_then(|table| table.route(method)) {
                return Taker::Route(route);
            }
            if end.stops {
                break;
            }
        }
        if matched {
            Taker::NotAllowed
        } else {
            Taker::NotFound
        }
    }
}

pub(super) fn number(index: usize) -> u32 {
    u32::try_from(index).expect("what is counted here is bounded by the steps of a comparison")
}
