//! What routes mean, in numbers that can be compared across two policies.
//!
//! Two parts of two trees that mean the same need not be looked into. So each route is given a number by who may use it,
//! which exceptions it allows and where it leads; each table one by its methods and their routes; each node one by what
//! hangs below it, from the leaves up. Equal numbers are equal behaviour, whichever policy they come from.

use super::machine::{End, Machine, Thread};
use super::{Side, WhoSet};
use crate::key::ScopeName;
use crate::policy::{Access, Exceptions, ManagementOp, Policy, Route, RouteIndex, Target, Who};
use http::Method;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::rc::Rc;

/// Everyone who may ask: first who has no key, then a key of each scope that one of the policies knows.
pub(super) struct People(Vec<ScopeName>);

impl People {
    pub fn of(old: &Policy, new: &Policy) -> Self {
        let scopes: BTreeSet<ScopeName> = old
            .scopes()
            .names()
            .chain(new.scopes().names())
            .cloned()
            .collect();
        People(scopes.into_iter().collect())
    }

    /// Those whom a route lets in.
    fn let_in(&self, access: &Access) -> WhoSet {
        let mut set = WhoSet::none(self.0.len() + 1);
        match access {
            Access::Deny => {}
            Access::Public => (0..=self.0.len()).for_each(|who| set.insert(who)),
            Access::Scopes(scopes) => {
                for (who, scope) in self.0.iter().enumerate() {
                    if scopes.binary_search(scope).is_ok() {
                        set.insert(who + 1);
                    }
                }
            }
        }
        set
    }

    pub fn nobody(&self) -> WhoSet {
        WhoSet::none(self.0.len() + 1)
    }

    pub fn named(&self, set: &WhoSet) -> Vec<Who> {
        let who = (0..=self.0.len()).filter(|who| set.contains(*who));
        who.map(|who| match who.checked_sub(1) {
            None => Who::Anyone,
            Some(scope) => Who::Scope(self.0[scope].clone()),
        })
        .collect()
    }
}

/// Values in the order in which they came, each once.
pub(super) struct Interner<K> {
    numbers: HashMap<K, u32>,
}

impl<K: Hash + Eq> Interner<K> {
    pub fn new() -> Self {
        Interner {
            numbers: HashMap::new(),
        }
    }

    pub fn number(&mut self, key: K) -> u32 {
        let next = super::machine::number(self.numbers.len());
        *self.numbers.entry(key).or_insert(next)
    }
}

/// What one route means.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Meaning {
    pub who: Rc<WhoSet>,
    pub allow: Exceptions,
    /// Number of where it leads.
    pub leads: u32,
    /// Number of the table that it stands in, or of the path in `[management]`.
    pub table: u32,
}

/// The meanings of one policy's routes, tables and nodes.
pub(super) struct Meanings {
    pub routes: Vec<Meaning>,
    ends: Vec<u32>,
    nodes: Vec<u32>,
}

impl Meanings {
    /// Whether two lists of threads, of two machines, mean the same.
    pub fn same(old: (&Meanings, &[Thread]), new: (&Meanings, &[Thread])) -> bool {
        let number = |meanings: &Meanings, thread: &Thread| match thread {
            Thread::At(node) => (0, meanings.nodes[*node as usize]),
            Thread::In(end) => (1, meanings.ends[*end as usize]),
        };
        old.1.len() == new.1.len()
            && old
                .1
                .iter()
                .zip(new.1)
                .all(|(o, n)| number(old.0, o) == number(new.0, n))
    }
}

type TableKey = (Vec<(u32, u32)>, bool);
type NodeKey<'p> = (Vec<(&'p str, u32)>, Option<u32>, Option<u32>, Option<u32>);

/// Gives the numbers; one for both policies.
pub(super) struct Numbering<'p> {
    pub people: People,
    methods: Interner<Method>,
    leads: Interner<(String, String, String)>,
    places: Interner<(std::path::PathBuf, usize, bool)>,
    decisions: Interner<(Rc<WhoSet>, Exceptions, u32)>,
    tables: Interner<TableKey>,
    nodes: Interner<NodeKey<'p>>,
}

impl<'p> Numbering<'p> {
    pub fn new(people: People) -> Self {
        Numbering {
            people,
            methods: Interner::new(),
            leads: Interner::new(),
            places: Interner::new(),
            decisions: Interner::new(),
            tables: Interner::new(),
            nodes: Interner::new(),
        }
    }

    /// The meanings of a policy. `newer` keeps apart what stands at the same place of the two.
    pub fn of(&mut self, machine: &Machine<'p>, side: &Side<'_>, newer: bool) -> Meanings {
        let mut sets: HashMap<WhoSet, Rc<WhoSet>> = HashMap::new();
        let mut routes = Vec::with_capacity(machine.policy.routes().len());
        for route in machine.policy.routes() {
            let who = self.people.let_in(&route.access);
            let who = Rc::clone(
                sets.entry(who)
                    .or_insert_with_key(|set| Rc::new(set.clone())),
            );
            let place = (
                route.place.file.to_path_buf(),
                route.place.span.start,
                newer,
            );
            routes.push(Meaning {
                who,
                allow: route.allow,
                leads: self.leads.number(leads(route, side)),
                table: self.places.number(place),
            });
        }
        let ends: Vec<u32> = machine
            .ends
            .iter()
            .map(|end| self.end(end, &routes))
            .collect();
        let mut nodes = vec![0; machine.nodes.len()];
        // Children first.
        for (at, node) in machine.nodes.iter().enumerate().rev() {
            let number = |child: &u32| nodes[*child as usize];
            let literals = node.literals.iter();
            let literals = literals.map(|(text, child)| (*text, number(child)));
            let end = |end: Option<u32>| end.map(|end| ends[end as usize]);
            let key = (
                literals.collect(),
                node.param.as_ref().map(number),
                end(node.exact),
                end(node.tail),
            );
            nodes[at] = self.nodes.number(key);
        }
        Meanings {
            routes,
            ends,
            nodes,
        }
    }

    fn end(&mut self, end: &End<'_>, routes: &[Meaning]) -> u32 {
        let taken = end.table.into_iter().flat_map(|table| table.taken());
        let mut key: Vec<(u32, u32)> = taken
            .map(|(method, route): (&Method, RouteIndex)| {
                let meaning = &routes[route.index()];
                let decision = if meaning.who.is_empty() {
                    // For no one: what else it says makes no difference.
                    (Rc::clone(&meaning.who), Exceptions::NONE, u32::MAX)
                } else {
                    (Rc::clone(&meaning.who), meaning.allow, meaning.leads)
                };
                (
                    self.methods.number(method.clone()),
                    self.decisions.number(decision),
                )
            })
            .collect();
        key.sort_unstable();
        self.tables.number((key, end.stops))
    }
}

/// Where a route leads: to what, and with which path.
fn leads(route: &Route, side: &Side<'_>) -> (String, String, String) {
    let to = match route.target {
        Target::Upstream(at) => match side.upstreams.get(at) {
            Some(name) => format!("upstream {name}"),
            None => String::new(),
        },
        Target::Management(operation) => {
            let operation = match operation {
                ManagementOp::Create => "create",
                ManagementOp::List => "list",
                ManagementOp::Get => "get",
                ManagementOp::Update => "update",
                ManagementOp::Delete => "delete",
            };
            format!("management {operation}")
        }
    };
    let prefix = |prefix: &Option<std::sync::Arc<str>>| prefix.as_deref().unwrap_or("").to_owned();
    (
        to,
        prefix(&route.settings.strip_prefix),
        prefix(&route.settings.add_prefix),
    )
}
