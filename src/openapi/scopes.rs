//! The policy's scopes, from what the operations ask for.
//!
//! A key has one scope. So what is needed alone becomes a scope of its own, and what is needed together becomes one that
//! includes them: `read` and `write` give `read_and_write = ["read", "write"]`, and a route that needs both asks for that
//! one. A list of both would let in who has either. `fullAccess` includes every other; no scope of a document is called
//! that, since the management API asks for it.
//!
//! Two schemes may each have a scope `read`, and these are two: they become `a:read` and `b:read`.

use super::access::{Access, Grant, Together, covered};
use super::text;
use crate::key::ScopeName;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The scope that may do everything, in the document and at the management API.
pub(super) const FULL: &str = "fullAccess";

/// How many scopes a policy made here has at most: each is in the list of the one that includes all.
pub(super) const MOST: usize = 2_000;

/// One line of `[scopes]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Declared {
    pub name: String,
    pub includes: Vec<String>,
    /// What it is, where the name alone does not say it.
    pub comment: Option<String>,
    holds: Together,
}

/// All scopes, and what each access is in them.
#[derive(Debug)]
pub(super) struct Scopes {
    pub declared: Vec<Declared>,
    by_access: HashMap<Access, Vec<String>>,
}

impl Scopes {
    /// The scopes of these accesses, in their order; `unsaid` is for operations whose document says nothing.
    ///
    /// `None`: there are more than [`MOST`].
    pub(super) fn of<'a>(
        accesses: impl Iterator<Item = &'a Access>,
        unsaid: &ScopeName,
    ) -> Option<Self> {
        let mut different: Vec<&Access> = Vec::new();
        let mut seen = HashSet::new();
        let mut wanted: Vec<&Together> = Vec::new();
        let mut wanted_seen = HashSet::new();
        for access in accesses {
            if !seen.insert(access) {
                continue;
            }
            different.push(access);
            if let Access::AnyOf(alternatives) = access {
                let new = alternatives.iter().filter(|one| wanted_seen.insert(*one));
                wanted.extend(new);
            }
            if wanted.len() > MOST {
                return None;
            }
        }
        let grants: Vec<&Grant> = {
            let mut seen = HashSet::new();
            let all = wanted.iter().flat_map(|together| together.iter());
            all.filter(|grant| seen.insert(*grant)).collect()
        };
        let mut names = Names::default();
        let named = names.of_grants(&grants, unsaid.as_str());
        let mut declared: Vec<Declared> = Vec::new();
        let mut by_together: HashMap<&Together, String> = HashMap::new();
        // What is needed alone first, then what is needed together.
        let (alone, together): (Vec<&Together>, Vec<&Together>) =
            wanted.iter().partition(|one| one.len() == 1);
        for one in alone {
            let grant = one.first().expect("it has one");
            let name = named[grant].clone();
            by_together.insert(one, name.clone());
            // The one of the option may be one of the document, too.
            if name != FULL && !declared.iter().any(|other| other.name == name) {
                declared.push(Declared {
                    comment: comment_on(grant, &name),
                    name,
                    includes: Vec::new(),
                    holds: one.clone(),
                });
            }
        }
        for several in together {
            let parts: Vec<&str> = several.iter().map(|grant| &*named[grant]).collect();
            let name = names.free(&parts.join("_and_"));
            by_together.insert(several, name.clone());
            let words: Vec<String> = several.iter().map(words).collect();
            declared.push(Declared {
                name,
                includes: Vec::new(),
                comment: Some(text::plain(&words.join(", and "), 300)),
                holds: several.clone(),
            });
        }
        let includes: Vec<Vec<String>> = (declared.iter())
            .map(|holder| {
                let others = declared.iter().filter(|other| other.name != holder.name);
                let included = others.filter(|other| covered(&other.holds, &holder.holds));
                included.map(|other| other.name.clone()).collect()
            })
            .collect();
        for (scope, includes) in declared.iter_mut().zip(includes) {
            scope.includes = includes;
        }
        declared.push(Declared {
            name: FULL.to_owned(),
            includes: declared.iter().map(|scope| scope.name.clone()).collect(),
            comment: None,
            holds: Together::new(),
        });
        let by_access = different.into_iter().filter_map(|access| match access {
            Access::AnyOf(alternatives) => {
                let names: BTreeSet<&String> =
                    alternatives.iter().map(|one| &by_together[one]).collect();
                Some((access.clone(), names.into_iter().cloned().collect()))
            }
            Access::Public | Access::Closed => None,
        });
        Some(Scopes {
            by_access: by_access.collect(),
            declared,
        })
    }

    /// What a route of this access names as `scope`.
    pub(super) fn of_access(&self, access: &Access) -> &[String] {
        self.by_access.get(access).map_or(&[], Vec::as_slice)
    }

    /// Whether a key of the scope may use what asks for one of these.
    pub(super) fn may(scope: &Declared, asked: &[String]) -> bool {
        scope.name == FULL
            || asked
                .iter()
                .any(|one| *one == scope.name || scope.includes.contains(one))
    }
}

/// What a grant is, in words.
fn words(grant: &Grant) -> String {
    match grant {
        Grant::Unsaid => "what the document says nothing of".to_owned(),
        Grant::Scheme(scheme) => format!("the scheme {}", text::plain(scheme, 100)),
        Grant::Scope { scheme, scope } => {
            let (scope, scheme) = (text::plain(scope, 100), text::plain(scheme, 100));
            format!("{scope} of {scheme}")
        }
    }
}

fn comment_on(grant: &Grant, name: &str) -> Option<String> {
    match grant {
        Grant::Scope { scope, .. } if **scope == *name => None,
        grant => Some(words(grant)),
    }
}

/// Names that are given away.
struct Names {
    taken: HashSet<String>,
    /// Where the search for a free one goes on.
    next: HashMap<String, usize>,
}

impl Default for Names {
    fn default() -> Self {
        // In `[[expect]]`, anyone is who has no key.
        let reserved = [FULL, "anyone"].map(str::to_owned);
        Names {
            taken: HashSet::from(reserved),
            next: HashMap::new(),
        }
    }
}

impl Names {
    /// A name for each: its own where that is a scope's name and nobody else's.
    fn of_grants<'g>(&mut self, grants: &[&'g Grant], unsaid: &str) -> BTreeMap<&'g Grant, String> {
        let mut bearers: HashMap<&str, usize> = HashMap::new();
        for grant in grants {
            *bearers.entry(own_name(grant)).or_default() += 1;
        }
        let preferred = |grant: &Grant| match grant {
            Grant::Scope { scheme, scope } if bearers[own_name(grant)] > 1 => {
                format!("{scheme}:{scope}")
            }
            grant => own_name(grant).to_owned(),
        };
        if grants.contains(&&Grant::Unsaid) {
            self.taken.insert(unsaid.to_owned());
        }
        let mut names = BTreeMap::new();
        let mut others = Vec::new();
        for &grant in grants {
            let name = preferred(grant);
            if *grant == Grant::Unsaid {
                names.insert(grant, unsaid.to_owned());
            } else if ScopeName::parse(&name).is_ok() && self.taken.insert(name.clone()) {
                names.insert(grant, name);
            } else {
                others.push((grant, name));
            }
        }
        for (grant, name) in others {
            names.insert(grant, self.free(&name));
        }
        names
    }

    /// A scope's name like this text that nobody has yet.
    fn free(&mut self, like: &str) -> String {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-');
        let mut base: String = (like.chars().take(54))
            .map(|c| if fits(c) { c } else { '_' })
            .collect();
        if !base.starts_with(|c: char| c.is_ascii_alphabetic()) {
            base.insert_str(0, "s_");
        }
        if self.taken.insert(base.clone()) {
            return base;
        }
        let mut number = self.next.get(&base).copied().unwrap_or(2);
        loop {
            let name = format!("{base}_{number}");
            number += 1;
            if self.taken.insert(name.clone()) {
                self.next.insert(base, number);
                return name;
            }
        }
    }
}

fn own_name(grant: &Grant) -> &str {
    match grant {
        // No text of a document is empty and reaches this: see `security`.
        Grant::Unsaid => "",
        Grant::Scheme(scheme) => scheme,
        Grant::Scope { scope, .. } => scope,
    }
}
