//! Both machines at once: the request paths of two policies, cut into pieces that each policy decides in one way.
//!
//! From what both machines begin with, each literal of either is followed, then "any other segment", then an empty one.
//! Where both have no node left but tails, everything below is decided alike, and is one piece. Where what is reached
//! means the same in both, nothing below can differ, and is left out. The pieces are the leaves of a tree of classes of
//! segments, so they are disjoint, and together with what was left out they are every path.
//!
//! A leaf of which some method is decided differently is kept, in the group of all requests for which the same two routes
//! decide.

use super::machine::{Class, Machine, Taker, Thread, number};
use super::meaning::{Meaning, Meanings};
use super::{Entangled, Steps, WhoSet};
use crate::http::canonical_path;
use crate::policy::{Exceptions, RouteIndex};
use http::Method;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// Which exceptions the requests of a group need.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Needs {
    /// At most these.
    pub within: Exceptions,
    /// And at least one that is not among these.
    pub beyond: Option<Exceptions>,
}

impl Needs {
    /// A least set of needs that fits, of a path that needs `forced` and can be made to need all of `possible`.
    pub fn least(self, forced: Exceptions, possible: Exceptions) -> Option<Exceptions> {
        if !self.within.cover(forced) {
            return None;
        }
        let Some(beyond) = self.beyond else {
            return Some(forced);
        };
        if !beyond.cover(forced) {
            return Some(forced);
        }
        Exceptions::NAMES
            .into_iter()
            .map(|(_, one)| one)
            .find(|one| self.within.common(possible).cover(*one) && !beyond.cover(*one))
            .map(|one| forced.with(one))
    }

    pub fn fits(self, forced: Exceptions, possible: Exceptions) -> bool {
        self.least(forced, possible).is_some()
    }
}

/// Exceptions that one segment can need.
pub(super) const OF_A_SEGMENT: Exceptions = Exceptions::ENCODED_SLASH
    .with(Exceptions::ENCODED_PERCENT)
    .with(Exceptions::SEMICOLON);
const ALL: Exceptions = OF_A_SEGMENT.with(Exceptions::DOUBLE_SLASH);

/// What the requests of a group have in common: who could, who can, and where it is written.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Group {
    pub old: Option<Common>,
    pub new: Option<Common>,
    /// Both let some through, to different ends.
    pub elsewhere: bool,
    pub needs: Needs,
}

/// What the routes of one policy have in common that take the requests of a group.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Common {
    pub who: Rc<WhoSet>,
    pub allow: Exceptions,
    /// See [`Meaning::table`].
    table: u32,
}

impl Common {
    fn of(meaning: &Meaning) -> Self {
        Common {
            who: Rc::clone(&meaning.who),
            allow: meaning.allow,
            table: meaning.table,
        }
    }
}

/// Some segments, of which the last is the class; what can follow.
pub(super) struct Node<'p> {
    /// The node above and the position among its children.
    pub up: Option<(u32, u32)>,
    pub depth: usize,
    /// What each path through it needs.
    pub forced: Exceptions,
    /// Whether one of its segments is a free one.
    pub free: bool,
    /// A path can end here: not before the first segment, nor after an empty one that is to be followed by another.
    pub can_end: bool,
    /// Decided alike, this path and all below it.
    pub whole: bool,
    pub here: Option<u32>,
    pub slash: Option<u32>,
    pub children: Vec<(Class<'p>, Child)>,
    /// How many of the children need something.
    pub special: usize,
}

impl Node<'_> {
    /// What a path that ends here, or all below, can be made to need.
    pub fn possible(&self) -> Exceptions {
        if self.whole {
            ALL
        } else if self.free {
            self.forced.with(OF_A_SEGMENT)
        } else {
            self.forced
        }
    }
}

/// What follows on one class of segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Child {
    Node(u32),
    /// Nothing below differs.
    Same,
}

/// A piece of which something is decided differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leaf {
    pub node: u32,
    pub kind: LeafKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LeafKind {
    Here,
    Slash,
    /// Its node's path and all below it.
    Whole,
}

/// The requests of one group with one method.
#[derive(Default)]
pub(super) struct Members {
    pub leaves: Vec<u32>,
    pub old: Takers,
    pub new: Takers,
}

/// All who take them.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Takers {
    pub routes: BTreeSet<RouteIndex>,
    pub not_allowed: bool,
    pub not_found: bool,
}

impl Takers {
    fn add(&mut self, taker: Taker) {
        match taker {
            Taker::Route(route) => {
                if self.routes.last() != Some(&route) {
                    self.routes.insert(route);
                }
            }
            Taker::NotAllowed => self.not_allowed = true,
            Taker::NotFound => self.not_found = true,
        }
    }

    pub fn merge(&mut self, other: &Takers) {
        self.routes.extend(&other.routes);
        self.not_allowed |= other.not_allowed;
        self.not_found |= other.not_found;
    }
}

/// The groups of all hosts, and which pairs of routes they come from.
#[derive(Default)]
pub(super) struct Groups {
    pub all: Vec<Group>,
    numbers: HashMap<Group, u32>,
    pairs: HashMap<(Taker, Taker), Rc<[u32]>>,
}

impl Groups {
    /// The groups of requests that are decided by these two: none, if there is no difference.
    fn of(&mut self, old: (&Meanings, Taker), new: (&Meanings, Taker)) -> Rc<[u32]> {
        if let Some(groups) = self.pairs.get(&(old.1, new.1)) {
            return Rc::clone(groups);
        }
        let found: Rc<[u32]> = differences(meaning(old), meaning(new))
            .into_iter()
            .map(|group| {
                *self.numbers.entry(group).or_insert_with_key(|group| {
                    self.all.push(group.clone());
                    number(self.all.len() - 1)
                })
            })
            .collect();
        self.pairs.insert((old.1, new.1), Rc::clone(&found));
        found
    }
}

fn meaning((meanings, taker): (&Meanings, Taker)) -> Option<&Meaning> {
    match taker {
        Taker::Route(route) => Some(&meanings.routes[route.index()]),
        Taker::NotAllowed | Taker::NotFound => None,
    }
}

/// The groups of two routes, or of one and none.
fn differences(old: Option<&Meaning>, new: Option<&Meaning>) -> Vec<Group> {
    let opens = |meaning: Option<&Meaning>| meaning.is_some_and(|m| !m.who.is_empty());
    let elsewhere = match (old, new) {
        (Some(old), Some(new)) => {
            old.leads != new.leads && !WhoSet::common(&old.who, &new.who).is_empty()
        }
        _ => false,
    };
    let group = |within: Exceptions, beyond: Option<Exceptions>| Group {
        old: old.map(Common::of),
        new: new.map(Common::of),
        elsewhere: elsewhere && beyond.is_none(),
        needs: Needs { within, beyond },
    };
    match (old, new) {
        (Some(o), Some(n)) if opens(old) && opens(new) => {
            let mut groups = Vec::new();
            let both = o.allow.common(n.allow);
            if o.who != n.who || elsewhere {
                groups.push(group(both, None));
            }
            for allow in [o.allow, n.allow] {
                if !both.cover(allow) {
                    groups.push(group(allow, Some(both)));
                }
            }
            groups
        }
        (Some(o), _) if opens(old) => vec![group(o.allow, None)],
        (_, Some(n)) if opens(new) => vec![group(n.allow, None)],
        _ => Vec::new(),
    }
}

/// The pieces for one class of hosts.
pub(super) struct Product<'p> {
    pub nodes: Vec<Node<'p>>,
    pub leaves: Vec<Leaf>,
    /// By group and the method's position.
    pub members: BTreeMap<(u32, usize), Members>,
}

/// One policy, as it is needed here.
#[derive(Clone, Copy)]
pub(super) struct Half<'a, 'p> {
    pub machine: &'a Machine<'p>,
    pub meanings: &'a Meanings,
}

struct Builder<'a, 'p> {
    old: Half<'a, 'p>,
    new: Half<'a, 'p>,
    methods: &'a [Method],
    groups: &'a mut Groups,
    steps: &'a Steps,
    product: Product<'p>,
    /// Nodes that are still to be filled, with what is reached there.
    open: Vec<(u32, Vec<Thread>, Vec<Thread>)>,
}

impl<'p> Product<'p> {
    /// The positions among children that lead to a node.
    pub fn way_to(&self, node: u32) -> Vec<u32> {
        let mut way = Vec::new();
        let mut at = node;
        while let Some((above, slot)) = self.nodes[at as usize].up {
            way.push(slot);
            at = above;
        }
        way.reverse();
        way
    }

    /// Cuts the paths, of requests that begin with these threads.
    pub fn build<'a>(
        (old, new): (Half<'a, 'p>, Half<'a, 'p>),
        start: (Vec<Thread>, Vec<Thread>),
        methods: &'a [Method],
        groups: &'a mut Groups,
        steps: &'a Steps,
    ) -> Result<Self, Entangled> {
        let mut builder = Builder {
            old,
            new,
            methods,
            groups,
            steps,
            product: Product {
                nodes: Vec::new(),
                leaves: Vec::new(),
                members: BTreeMap::new(),
            },
            open: Vec::new(),
        };
        if let Child::Node(_) = builder.child(None, start)? {
            while let Some((node, old, new)) = builder.open.pop() {
                builder.fill(node, &old, &new)?;
            }
        }
        Ok(builder.product)
    }
}

impl<'p> Builder<'_, 'p> {
    /// What follows on one more segment: nothing of interest, or a node that is to be filled.
    fn child(
        &mut self,
        up: Option<((u32, u32), Class<'p>)>,
        (old, new): (Vec<Thread>, Vec<Thread>),
    ) -> Result<Child, Entangled> {
        self.steps.take(1 + old.len() + new.len())?;
        if Meanings::same((self.old.meanings, &old), (self.new.meanings, &new)) {
            return Ok(Child::Same);
        }
        let mut node = Node {
            up: up.map(|(up, _)| up),
            depth: 0,
            forced: Exceptions::NONE,
            free: false,
            can_end: false,
            whole: false,
            here: None,
            slash: None,
            children: Vec::new(),
            special: 0,
        };
        if let Some(((above, _), class)) = up {
            let above = &self.product.nodes[above as usize];
            node.depth = above.depth + 1;
            node.forced = above.forced.with(needs_of(class));
            node.free = above.free || class == Class::Other;
            node.can_end = class != Class::Empty;
            node.whole = old.iter().chain(&new).all(|t| matches!(t, Thread::In(_)));
        }
        let at = number(self.product.nodes.len());
        self.product.nodes.push(node);
        self.open.push((at, old, new));
        Ok(Child::Node(at))
    }

    fn fill(&mut self, at: u32, old: &[Thread], new: &[Thread]) -> Result<(), Entangled> {
        let (old_machine, new_machine) = (self.old.machine, self.new.machine);
        let node = &self.product.nodes[at as usize];
        if node.whole {
            let ends = (old_machine.here(old), new_machine.here(new));
            self.leaf(at, LeafKind::Whole, &ends)?;
            return Ok(());
        }
        if node.can_end {
            let ends = (old_machine.here(old), new_machine.here(new));
            let leaf = self.leaf(at, LeafKind::Here, &ends)?;
            self.product.nodes[at as usize].here = leaf;
        }
        let ends = (old_machine.slash(old), new_machine.slash(new));
        let leaf = self.leaf(at, LeafKind::Slash, &ends)?;
        self.product.nodes[at as usize].slash = leaf;

        let mut literals: BTreeSet<&'p str> = BTreeSet::new();
        for (machine, threads) in [(old_machine, old), (new_machine, new)] {
            for thread in threads {
                if let Thread::At(node) = thread {
                    literals.extend(machine.nodes[*node as usize].literals.keys());
                }
            }
        }
        literals.remove("");
        let classes = literals.into_iter().map(Class::Literal);
        let classes: Vec<Class<'p>> = classes.chain([Class::Other, Class::Empty]).collect();
        let mut children = Vec::with_capacity(classes.len());
        let mut special = 0;
        for (slot, class) in classes.into_iter().enumerate() {
            let next = (old_machine.step(old, class), new_machine.step(new, class));
            let child = self.child(Some(((at, number(slot)), class)), next)?;
            special += usize::from(!needs_of(class).is_none());
            children.push((class, child));
        }
        let node = &mut self.product.nodes[at as usize];
        node.children = children;
        node.special = special;
        Ok(())
    }

    /// Keeps a piece if some method of it is decided differently.
    fn leaf(
        &mut self,
        node: u32,
        kind: LeafKind,
        (old, new): &(Vec<u32>, Vec<u32>),
    ) -> Result<Option<u32>, Entangled> {
        self.steps.take(self.methods.len())?;
        let Node { forced, .. } = self.product.nodes[node as usize];
        let possible = self.product.nodes[node as usize].possible();
        let this = number(self.product.leaves.len());
        let mut kept = false;
        for (at, method) in self.methods.iter().enumerate() {
            let by_old = self.old.machine.taker(old, method);
            let by_new = self.new.machine.taker(new, method);
            let groups = self
                .groups
                .of((self.old.meanings, by_old), (self.new.meanings, by_new));
            for group in groups.iter() {
                let needs = self.groups.all[*group as usize].needs;
                if !needs.fits(forced, possible) {
                    continue;
                }
                kept = true;
                let members = self.product.members.entry((*group, at)).or_default();
                members.leaves.push(this);
                members.old.add(by_old);
                members.new.add(by_new);
            }
        }
        if kept {
            self.product.leaves.push(Leaf { node, kind });
        }
        Ok(kept.then_some(this))
    }
}

/// What a segment of this class makes every path need.
pub(super) fn needs_of(class: Class<'_>) -> Exceptions {
    match class {
        Class::Other => Exceptions::NONE,
        Class::Empty => Exceptions::DOUBLE_SLASH,
        Class::Literal(text) if text.contains(['%', ';']) => {
            canonical_path(&format!("/{text}")).map_or(Exceptions::NONE, |(_, needs)| needs)
        }
        Class::Literal(_) => Exceptions::NONE,
    }
}
