//! A request's way down the tree: every end that matches host and path, the most specific first.
//!
//! First the roots of the hosts that match (exact, suffixes from the longest, any), then at each node its literal for
//! the segment at hand, its param child, its tail. `/v3/users/` below routes for `/v3/users/{uid}` and `/v3/{*rest}`:
//! down to `v3`, down to `users`, where the empty segment is no param's, back up to `v3`, whose tail takes `users/`.
//!
//! A walk allocates nothing and needs no stack: a node knows the one above it, and the text says where its segment
//! began. It visits a node once at most, so a request costs no more than the part of the tree that it matches, however
//! deep its path; where many routes mix literals and params at the same depth that is the operator's doing, not the
//! client's.
//!
//! One rule is about two paths: one that ends in `/` is not given to a tail when the same path without it has a more
//! specific route. The walk passes the node of that shorter path on its way to the empty segment, so it only has to
//! remember that routes end there. Only routes that end at the path count, whatever their methods: a more specific
//! tail takes both paths alike, and stands before a broader one anyway.

use super::tree::{EndId, Hosts, NodeId, Tree, Up};

/// The ends that match a host and a canonical path, the most specific first.
pub(super) struct Walk<'t, 'q> {
    tree: &'t Tree,
    path: &'q str,
    roots: Roots<'t, 'q>,
    /// `None`: at the next root.
    node: Option<NodeId>,
    /// Where the segment at hand begins; beyond the end of the path when all are used.
    at: usize,
    next: Next,
    /// Routes end at the path without its last slash.
    shorter_has_routes: bool,
    /// Whether that matters.
    heeds_shorter: bool,
}

/// What is to be tried next at a node.
#[derive(Clone, Copy)]
enum Next {
    Arrive,
    Param,
    Tail,
    Up,
}

impl<'t, 'q> Walk<'t, 'q> {
    /// The walk of a request for this host (lower case, no port) and canonical path. What is no path (the `*` of
    /// `OPTIONS *`) matches nothing.
    pub fn new(tree: &'t Tree, host: Option<&'q str>, path: &'q str) -> Self {
        Walk {
            tree,
            path,
            roots: Roots::new(tree.hosts(), host, path),
            node: None,
            at: 1,
            next: Next::Arrive,
            shorter_has_routes: false,
            heeds_shorter: true,
        }
    }

    /// With the tails, too, that a path with a slash at its end is not given to: for those who want to know why.
    pub fn with_kept_out(mut self) -> Self {
        self.heeds_shorter = false;
        self
    }

    fn segment(&self) -> &'q str {
        let rest = &self.path[self.at..];
        match rest.as_bytes().iter().position(|b| *b == b'/') {
            Some(end) => &rest[..end],
            None => rest,
        }
    }

    fn descend(&mut self, child: NodeId, segment: &str) {
        self.node = Some(child);
        self.at += segment.len() + 1;
        self.next = Next::Arrive;
    }

    /// To the parent, whose next choice is what comes after the child that we leave.
    fn ascend(&mut self, up: Up) {
        let (parent, next) = match up {
            Up::Root => {
                self.node = None;
                return;
            }
            Up::LiteralOf(parent) => (parent, Next::Param),
            Up::ParamOf(parent) => (parent, Next::Tail),
        };
        self.node = Some(parent);
        self.next = next;
        // The slash before the segment that led down; the path begins with one.
        let before = self.path[..self.at - 1].rfind('/');
        self.at = before.map_or(1, |slash| slash + 1);
    }
}

impl Iterator for Walk<'_, '_> {
    type Item = EndId;

    fn next(&mut self) -> Option<EndId> {
        loop {
            let Some(id) = self.node else {
                self.node = Some(self.roots.next()?);
                self.at = 1;
                self.next = Next::Arrive;
                continue;
            };
            let node = self.tree.node(id);
            match self.next {
                Next::Arrive if self.at > self.path.len() => {
                    self.next = Next::Up;
                    if node.exact.is_some() {
                        return node.exact;
                    }
                }
                Next::Arrive => {
                    let segment = self.segment();
                    if self.at == self.path.len() && node.exact.is_some() && self.heeds_shorter {
                        self.shorter_has_routes = true;
                    }
                    match node.literals.get(segment) {
                        Some(child) => self.descend(child, segment),
                        None => self.next = Next::Param,
                    }
                }
                Next::Param => {
                    let segment = self.segment();
                    match node.param {
                        // A canonical path has no dot segments; a param would not take one either.
                        Some(child) if !matches!(segment, "" | "." | "..") => {
                            self.descend(child, segment);
                        }
                        _ => self.next = Next::Tail,
                    }
                }
                Next::Tail => {
                    self.next = Next::Up;
                    let rest_is_empty = self.at >= self.path.len();
                    if node.tail.is_some() && !rest_is_empty && !self.shorter_has_routes {
                        return node.tail;
                    }
                }
                Next::Up => self.ascend(node.up),
            }
        }
    }
}

/// The roots of the hosts that match, the most specific first.
struct Roots<'t, 'q> {
    hosts: &'t Hosts,
    next: NextRoot<'q>,
}

enum NextRoot<'q> {
    Exact(&'q str),
    /// What is left of the host, from after a dot.
    Suffix(&'q str),
    Any,
    Done,
}

impl<'t, 'q> Roots<'t, 'q> {
    fn new(hosts: &'t Hosts, host: Option<&'q str>, path: &str) -> Self {
        let next = match host {
            _ if !path.starts_with('/') => NextRoot::Done,
            // `example.com.` is `example.com` to whoever resolves it: it must not slip past that host's routes.
            Some(host) => NextRoot::Exact(host.strip_suffix('.').unwrap_or(host)),
            None => NextRoot::Any,
        };
        Roots { hosts, next }
    }

    fn next(&mut self) -> Option<NodeId> {
        loop {
            match self.next {
                NextRoot::Exact(host) => {
                    self.next = self.first_suffix(host);
                    if let Some(root) = lookup(&self.hosts.exact, host) {
                        return Some(root);
                    }
                }
                NextRoot::Suffix(name) => {
                    self.next = after_dot(name);
                    if let Some(root) = lookup(&self.hosts.suffix, name) {
                        return Some(root);
                    }
                }
                NextRoot::Any => {
                    self.next = NextRoot::Done;
                    return Some(self.hosts.any);
                }
                NextRoot::Done => return None,
            }
        }
    }

    /// What follows the first dot that leaves no more than the longest suffix; at least one character stands before it.
    fn first_suffix(&self, host: &'q str) -> NextRoot<'q> {
        let longest = self.hosts.longest_suffix;
        if longest == 0 {
            return NextRoot::Any;
        }
        let from = host.len().saturating_sub(longest + 1).max(1);
        match host
            .as_bytes()
            .get(from..)
            .and_then(|rest| rest.iter().position(|b| *b == b'.'))
        {
            Some(dot) => NextRoot::Suffix(&host[from + dot + 1..]),
            None => NextRoot::Any,
        }
    }
}

fn after_dot(name: &str) -> NextRoot<'_> {
    match name.split_once('.') {
        Some((_, rest)) => NextRoot::Suffix(rest),
        None => NextRoot::Any,
    }
}

fn lookup(roots: &std::collections::HashMap<Box<str>, NodeId>, name: &str) -> Option<NodeId> {
    if roots.is_empty() {
        None
    } else {
        roots.get(name).copied()
    }
}
