//! Routes as a tree of what their hosts and paths have in common.
//!
//! A node is a piece of path; a piece that leads to one other only, and is no route's end, is one with that. `/v3/users` and
//! `/v3/users/{uid}` are a node `/v3/users` with a route, and below it `/{uid}` with one.

use crate::policy::{Listed, Target};

/// A piece of path, or what stands before paths.
pub(super) struct Node<'l> {
    pub label: String,
    /// The routes that end here.
    pub routes: Vec<&'l Listed<'l>>,
    pub below: Vec<Node<'l>>,
}

/// What has no path before it: the management API, each host, any host. The routes come in the order of a listing.
pub(super) fn roots<'l>(routes: &'l [Listed<'l>]) -> Vec<Node<'l>> {
    let mut roots: Vec<Node<'l>> = Vec::new();
    for listed in routes {
        let label = match (&listed.route.target, &listed.route.host) {
            (Target::Management(_), _) => "keygate's own".to_owned(),
            (Target::Upstream(_), Some(host)) => host.to_string(),
            (Target::Upstream(_), None) => "any host".to_owned(),
        };
        if roots.last().is_none_or(|root| root.label != label) {
            roots.push(Node::new(label));
        }
        let mut node = roots.last_mut().expect("one was pushed");
        for segment in listed.segments() {
            node = node.child(format!("/{segment}"));
        }
        node.routes.push(listed);
    }
    for root in &mut roots {
        root.below.iter_mut().for_each(Node::shorten);
    }
    roots
}

impl<'l> Node<'l> {
    fn new(label: String) -> Self {
        Node {
            label,
            routes: Vec::new(),
            below: Vec::new(),
        }
    }

    /// What has this label below it. Of a listing, routes of one node come one after the other; params of one place are one
    /// node, which has the first's name.
    fn child(&mut self, label: String) -> &mut Self {
        let is_it = |last: &Node<'_>| kind(&last.label) == kind(&label);
        if !self.below.last().is_some_and(is_it) {
            self.below.push(Node::new(label));
        }
        self.below.last_mut().expect("one was pushed")
    }

    fn shorten(&mut self) {
        while self.routes.is_empty() && self.below.len() == 1 {
            let only = self.below.remove(0);
            self.label.push_str(&only.label);
            (self.routes, self.below) = (only.routes, only.below);
        }
        self.below.iter_mut().for_each(Node::shorten);
    }
}

/// A label, whatever the names of params.
fn kind(label: &str) -> &str {
    match label.as_bytes() {
        [b'/', b'{', b'*', ..] => "/{*}",
        [b'/', b'{', ..] => "/{}",
        _ => label,
    }
}
