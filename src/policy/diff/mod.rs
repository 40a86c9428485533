//! What changes between two policies: for whom, which methods on which paths gain or lose access.
//!
//! Computed from the structure of the two route tables, over the whole request space, never from samples. Take a policy with
//! `GET /v3/users/{uid}` for authOnly and `/v3/{*rest}` for fullAccess, and a new one in which the first route also names
//! DELETE:
//!
//! 1. `hosts` puts all hosts into classes that both policies look up alike: here all hosts are one class.
//! 2. `machine` reads both policies' trees as machines, `meaning` numbers what their parts mean, so that equal parts are
//!    seen to be equal.
//! 3. `product` runs both machines over classes of segments: `v3`, `users`, any other segment. At the end of
//!    `/v3/users/{x}` the old policy gives DELETE to the tail, the new one to the route. Who may use the two differs:
//!    authOnly gains. Everywhere else both mean the same, and is not looked into.
//! 4. `describe` turns what was found into patterns: `/v3/users/{uid}`.
//!
//! So each request that is decided otherwise is in one [`Region`] for each who gains or loses by it, and no other request
//! is in any. A test (`proof`) tries every request of a small world on random policies.
//!
//! What is compared is whether a request is permitted: host, method, canonical path, the exceptions that the path needs, and
//! no key or a key of each scope that either policy declares. (A key of another scope gets what is public, as no key does.)
//! A method that neither policy names is taken by no route of either. Where access stays but leads elsewhere (another
//! upstream, another rewriting of the path, the management API), a region says so too: [`Change::Rerouted`]. What else a
//! route sets (limits, timeouts, headers) is not compared.

mod describe;
mod hosts;
mod machine;
mod meaning;
mod product;
#[cfg(test)]
mod proof;
#[cfg(test)]
mod tests;

pub use describe::{PathEnd, PathPattern, PathSegment, Paths};
pub use hosts::Hosts;

use super::{Access, Exceptions, Policy, Route, Who};
use describe::paths;
use http::Method;
use machine::{Class, Machine};
use meaning::{Numbering, People};
use product::{Common, Group, Groups, Half, Leaf, LeafKind, Needs, OF_A_SEGMENT, Product, Takers};
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// How many steps a comparison may take: seconds at most, and far more than ordinary policies need.
const STEPS: usize = 10_000_000;

/// One of the two policies.
#[derive(Clone, Copy, Debug)]
pub struct Side<'s> {
    pub policy: &'s Policy,
    /// The upstreams' names by position. Where there are none, routes are not told apart by their upstreams.
    pub upstreams: &'s [&'s str],
}

/// What changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Disjoint, by path.
    pub regions: Vec<Region>,
}

/// What became of access, all in all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Unchanged,
    /// Someone loses access, no one gains.
    Narrowed,
    /// Someone gains access.
    Widened,
}

/// What happens to the requests of a region.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Change {
    /// They were refused and are permitted.
    Widened,
    /// They were permitted and are refused.
    Narrowed,
    /// They were permitted and still are, but lead elsewhere.
    Rerouted,
}

/// Requests to which the same happens: all for one of these hosts, with one of these methods, a path that is in one of
/// the sets and needs what is said, by one of these who ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Region {
    pub change: Change,
    pub who: Vec<Who>,
    pub hosts: Hosts,
    pub methods: Vec<Method>,
    /// Disjoint.
    pub paths: Vec<Paths>,
    /// The paths need no more exceptions than these…
    pub needs_within: Exceptions,
    /// …and one at least that is not among these.
    pub needs_beyond: Option<Exceptions>,
    pub old: Outcome,
    pub new: Outcome,
    /// One of the requests.
    pub sample: Sample,
}

/// What a policy makes of the requests of a region.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The routes that take them; none, where no route does.
    pub routes: Vec<Arc<Route>>,
    /// How they are refused; empty: they are permitted.
    pub refusals: Vec<u16>,
}

impl PartialEq for Outcome {
    fn eq(&self, other: &Self) -> bool {
        let names = |outcome: &Outcome| -> Vec<Arc<str>> {
            outcome.routes.iter().map(|r| Arc::clone(&r.name)).collect()
        };
        self.refusals == other.refusals && names(self) == names(other)
    }
}

impl Eq for Outcome {}

/// A request.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Sample {
    pub method: String,
    pub host: String,
    /// Canonical.
    pub path: String,
}

/// Why two policies cannot be compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the routes of the two policies overlap in too many ways to be compared: more than {STEPS} steps"
)]
pub struct Entangled;

/// What is left of the steps that a comparison may take.
struct Steps(Cell<usize>);

impl Steps {
    fn take(&self, steps: usize) -> Result<(), Entangled> {
        self.0
            .set(self.0.get().checked_sub(steps).ok_or(Entangled)?);
        Ok(())
    }
}

/// A set of those who may ask, by their numbers in `People`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct WhoSet(Box<[u64]>);

impl WhoSet {
    fn none(count: usize) -> Self {
        WhoSet(vec![0; count.div_ceil(64)].into())
    }

    fn insert(&mut self, who: usize) {
        self.0[who / 64] |= 1 << (who % 64);
    }

    fn contains(&self, who: usize) -> bool {
        self.0[who / 64] >> (who % 64) & 1 == 1
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn without(&self, other: &WhoSet) -> WhoSet {
        WhoSet(self.0.iter().zip(&other.0).map(|(a, b)| a & !b).collect())
    }

    fn common(a: &WhoSet, b: &WhoSet) -> WhoSet {
        WhoSet(a.0.iter().zip(&b.0).map(|(a, b)| a & b).collect())
    }
}

impl Difference {
    /// What became of access, all in all.
    pub fn verdict(&self) -> Verdict {
        let has = |change: Change| self.regions.iter().any(|region| region.change == change);
        if has(Change::Widened) {
            Verdict::Widened
        } else if has(Change::Narrowed) {
            Verdict::Narrowed
        } else {
            Verdict::Unchanged
        }
    }
}

/// A group's requests that are said together.
struct Gathered {
    hosts: BTreeSet<usize>,
    old: Takers,
    new: Takers,
    sample: Sample,
}

/// What tells gathered requests apart: the group, positions of the methods, the paths.
type Together = (u32, Vec<usize>, Vec<Paths>);

/// Compares two policies.
///
/// # Errors
/// When their routes overlap in so many ways that it would take too long.
pub fn compare(old: Side<'_>, new: Side<'_>) -> Result<Difference, Entangled> {
    compare_in(old, new, STEPS)
}

fn compare_in(old: Side<'_>, new: Side<'_>, steps: usize) -> Result<Difference, Entangled> {
    let machines = (Machine::new(old.policy), Machine::new(new.policy));
    let mut numbering = Numbering::new(People::of(old.policy, new.policy));
    let meanings = (
        numbering.of(&machines.0, &old, false),
        numbering.of(&machines.1, &new, true),
    );
    let halves = (
        Half {
            machine: &machines.0,
            meanings: &meanings.0,
        },
        Half {
            machine: &machines.1,
            meanings: &meanings.1,
        },
    );
    let methods = methods(&machines);
    let classes = hosts::classes(old.policy, new.policy);
    let mut groups = Groups::default();
    let steps = Steps(Cell::new(steps));
    let mut gathered: HashMap<Together, Gathered> = HashMap::new();
    for (at, class) in classes.iter().enumerate() {
        let start = (machines.0.start(class), machines.1.start(class));
        let product = Product::build(halves, start, &methods, &mut groups, &steps)?;
        for ((group, leaves), mut member) in by_leaves(&product) {
            let needs = groups.all[group as usize].needs;
            let (path, least) = sample_path(&product, &leaves, needs);
            let sample = Sample {
                method: methods[member.methods[0]].to_string(),
                host: class.sample.clone(),
                path,
            };
            debug_assert!(least, "a group has a request");
            member.methods.sort_unstable();
            let key = (
                group,
                member.methods,
                paths(&product, &leaves, needs, &steps)?,
            );
            let together = gathered.entry(key).or_insert_with(|| Gathered {
                hosts: BTreeSet::new(),
                old: Takers::default(),
                new: Takers::default(),
                sample: sample.clone(),
            });
            together.hosts.insert(at);
            together.old.merge(&member.old);
            together.new.merge(&member.new);
            // Of several, the broadest class: it stands last.
            together.sample = sample;
        }
    }
    let mut regions = Vec::with_capacity(gathered.len());
    for ((group, of_methods, paths), together) in gathered {
        let group = &groups.all[group as usize];
        for (change, who) in changes(group, &numbering.people) {
            let who = numbering.people.named(&who);
            let outcome = |policy: &Policy, takers: &Takers, permitted: bool| Outcome {
                routes: takers
                    .routes
                    .iter()
                    .map(|route| Arc::clone(&policy.routes()[route.index()]))
                    .collect(),
                refusals: if permitted {
                    Vec::new()
                } else {
                    refusals(policy, takers, group.needs, &who)
                },
            };
            let old = outcome(old.policy, &together.old, change != Change::Widened);
            let new = outcome(new.policy, &together.new, change != Change::Narrowed);
            let mut paths = paths.clone();
            name_params(&mut paths, new.routes.iter().chain(&old.routes));
            regions.push(Region {
                change,
                who,
                hosts: Hosts::of(&classes, &together.hosts),
                methods: of_methods.iter().map(|at| methods[*at].clone()).collect(),
                paths,
                needs_within: group.needs.within,
                needs_beyond: group.needs.beyond,
                old,
                new,
                sample: together.sample.clone(),
            });
        }
    }
    regions.sort_by(|a, b| order(a).cmp(&order(b)));
    Ok(Difference { regions })
}

fn order(region: &Region) -> impl Ord + '_ {
    let methods: Vec<&str> = region.methods.iter().map(Method::as_str).collect();
    (
        &region.paths,
        &region.hosts,
        region.change,
        methods,
        region.needs_within,
        region.needs_beyond,
    )
}

/// Every method that some route of either policy takes, the usual ones first.
fn methods(machines: &(Machine<'_>, Machine<'_>)) -> Vec<Method> {
    let mut usual = [false; super::methods::DEFAULT.len()];
    let mut others = BTreeSet::new();
    for machine in [&machines.0, &machines.1] {
        for (method, _) in machine
            .ends
            .iter()
            .filter_map(|end| end.table)
            .flat_map(|t| t.taken())
        {
            match super::methods::DEFAULT.iter().position(|m| m == method) {
                Some(at) => usual[at] = true,
                None => {
                    others.insert(method.as_str());
                }
            }
        }
    }
    let usual = super::methods::DEFAULT.iter().zip(usual);
    let usual = usual
        .filter(|(_, taken)| *taken)
        .map(|(method, _)| method.clone());
    let others = others
        .into_iter()
        .map(|name| Method::from_bytes(name.as_bytes()).expect("it was a method before"));
    usual.chain(others).collect()
}

/// Methods of a group that have the same leaves.
struct SameLeaves {
    methods: Vec<usize>,
    old: Takers,
    new: Takers,
}

fn by_leaves(product: &Product<'_>) -> HashMap<(u32, Vec<u32>), SameLeaves> {
    let mut same: HashMap<(u32, Vec<u32>), SameLeaves> = HashMap::new();
    for ((group, method), members) in &product.members {
        let key = (*group, members.leaves.clone());
        let entry = same.entry(key).or_insert_with(|| SameLeaves {
            methods: Vec::new(),
            old: Takers::default(),
            new: Takers::default(),
        });
        entry.methods.push(*method);
        entry.old.merge(&members.old);
        entry.new.merge(&members.new);
    }
    same
}

/// What happens to whom in the requests of a group.
fn changes(group: &Group, people: &People) -> Vec<(Change, WhoSet)> {
    let nobody = people.nobody();
    // Where paths need more than one of the two allows, that one refuses them, whoever asks.
    let limited = group.needs.beyond.is_some();
    let who = |side: &Option<Common>| match side {
        Some(side) if !limited || side.allow.cover(group.needs.within) => (*side.who).clone(),
        _ => nobody.clone(),
    };
    let (old, new) = (who(&group.old), who(&group.new));
    let stays = if group.elsewhere {
        WhoSet::common(&old, &new)
    } else {
        nobody.clone()
    };
    let changes = [
        (Change::Widened, new.without(&old)),
        (Change::Narrowed, old.without(&new)),
        (Change::Rerouted, stays),
    ];
    changes
        .into_iter()
        .filter(|(_, who)| !who.is_empty())
        .collect()
}

/// The statuses with which these who ask are refused.
fn refusals(policy: &Policy, takers: &Takers, needs: Needs, who: &[Who]) -> Vec<u16> {
    let mut statuses = BTreeSet::new();
    for who in who {
        for route in &takers.routes {
            let route = &policy.routes()[route.index()];
            statuses.insert(match (&route.access, who) {
                (Access::Scopes(_) | Access::Deny, Who::Anyone) => 401,
                (Access::Deny, Who::Scope(_)) => 403,
                _ if needs.beyond.is_some() => 400,
                _ => 403,
            });
        }
        match who {
            Who::Anyone if takers.not_found || takers.not_allowed => {
                statuses.insert(401);
            }
            Who::Anyone => {}
            Who::Scope(_) => {
                statuses.extend(takers.not_found.then_some(404));
                statuses.extend(takers.not_allowed.then_some(405));
            }
        }
    }
    statuses.into_iter().collect()
}

/// The path of a request of a group, from the first of the leaves that are nearest to the root; and whether it needs what it is to need.
fn sample_path(product: &Product<'_>, leaves: &[u32], needs: Needs) -> (String, bool) {
    let depth = |leaf: &Leaf| product.nodes[leaf.node as usize].depth;
    let leaves = leaves.iter().map(|leaf| product.leaves[*leaf as usize]);
    let least_depth = leaves.clone().map(|leaf| depth(&leaf)).min();
    let leaf = leaves
        .filter(|leaf| Some(depth(leaf)) == least_depth)
        .min_by_key(|leaf| product.way_to(leaf.node))
        .expect("a group has leaves");
    let end = &product.nodes[leaf.node as usize];
    let least = needs.least(end.forced, end.possible());
    let mut missing = match least {
        Some(least) => least,
        None => end.forced,
    };
    let mut segments = Vec::new();
    let mut at = leaf.node;
    while let Some((above, slot)) = product.nodes[at as usize].up {
        let above_node = &product.nodes[above as usize];
        let (class, _) = above_node.children[slot as usize];
        segments.push(match class {
            Class::Literal(text) => text.to_owned(),
            Class::Empty => String::new(),
            Class::Other => {
                let taken = above_node.children.iter();
                let taken: BTreeSet<&str> = taken
                    .filter_map(|(class, _)| match class {
                        Class::Literal(text) => Some(*text),
                        _ => None,
                    })
                    .collect();
                let extra = extra_text(missing.without(end.forced));
                missing = missing.without(OF_A_SEGMENT).with(end.forced);
                let mut free = (0..).map(|n| match n {
                    0 => format!("x{extra}"),
                    n => format!("x{n}{extra}"),
                });
                free.find(|text| !taken.contains(text.as_str()))
                    .expect("there are more texts than literals")
            }
        });
        at = above;
    }
    segments.reverse();
    let mut path = String::new();
    for segment in &segments {
        path.push('/');
        path.push_str(segment);
    }
    match leaf.kind {
        LeafKind::Here => {}
        LeafKind::Slash => path.push('/'),
        LeafKind::Whole => {
            let missing = missing.without(end.forced);
            if missing.cover(Exceptions::DOUBLE_SLASH) {
                path.push('/');
            }
            let extra = extra_text(missing);
            if !end.can_end || !missing.is_none() {
                path.push_str("/x");
                path.push_str(&extra);
            }
        }
    }
    (path, least.is_some())
}

/// What makes a segment need these.
fn extra_text(needs: Exceptions) -> String {
    let texts = [
        (Exceptions::ENCODED_SLASH, "%2Fx"),
        (Exceptions::ENCODED_PERCENT, "%25x"),
        (Exceptions::SEMICOLON, ";x"),
    ];
    let texts = texts.into_iter().filter(|(one, _)| needs.cover(*one));
    texts.map(|(_, text)| text).collect()
}

/// Calls free segments what the routes call them, of which the first that says something of the whole way there counts.
fn name_params<'r>(paths: &mut [Paths], routes: impl Iterator<Item = &'r Arc<Route>>) {
    let templates: Vec<Vec<&str>> = routes
        .take(64)
        .map(|route| route.template.split('/').skip(1).collect())
        .collect();
    let param = |segment: &str| -> Option<String> {
        let inner = segment.strip_prefix('{')?.strip_suffix('}')?;
        (!inner.starts_with('*')).then(|| inner.to_owned())
    };
    for paths in paths {
        for pattern in [&mut paths.of].into_iter().chain(&mut paths.except) {
            // Routes whose patterns have led here so far.
            let mut open: Vec<&[&str]> = templates.iter().map(Vec::as_slice).collect();
            let mut used: Vec<Box<str>> = Vec::new();
            for segment in &mut pattern.segments {
                match segment {
                    PathSegment::Literal(text) => open.retain(|template| {
                        template
                            .first()
                            .is_some_and(|s| **s == **text || param(s).is_some())
                    }),
                    PathSegment::AnyBut { name, .. } => {
                        open.retain(|template| {
                            template.first().is_some_and(|s| param(s).is_some())
                        });
                        let wanted = open.first().and_then(|t| t.first()).and_then(|s| param(s));
                        let wanted = wanted.unwrap_or_else(|| "x".to_owned());
                        let mut own: Box<str> = wanted.as_str().into();
                        let mut number = 2;
                        while used.contains(&own) || &*own == "rest" {
                            own = format!("{wanted}{number}").into();
                            number += 1;
                        }
                        used.push(own.clone());
                        *name = own;
                    }
                }
                for template in &mut open {
                    *template = &template[1..];
                }
            }
        }
    }
}
