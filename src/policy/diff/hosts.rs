//! The hosts of two policies, in classes: all hosts of one are looked up alike in both.
//!
//! A host is matched exactly, by suffixes, and by routes for any host. So hosts are told apart by the most specific of all
//! host patterns that matches them: with `api.example.com` and `*.example.com` written somewhere there are three classes,
//! that one host, the others below `example.com`, and all others.

use crate::policy::{HostPattern, Policy};
use std::collections::BTreeSet;
use std::fmt;

/// The hosts for which one pattern is the most specific.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct HostClass {
    /// Every pattern that matches these hosts, the most specific first; routes for any host (`None`) at the end.
    matching: Vec<Option<HostPattern>>,
    /// A host of the class.
    pub sample: String,
}

impl HostClass {
    pub fn matching(&self) -> impl Iterator<Item = Option<&HostPattern>> {
        self.matching.iter().map(Option::as_ref)
    }

    /// What tells the class from others.
    fn own(&self) -> Option<&HostPattern> {
        self.matching.first().and_then(Option::as_ref)
    }

    /// The class that it would belong to if its own pattern were not there.
    fn broader(&self) -> Option<&Option<HostPattern>> {
        self.matching.get(1)
    }
}

/// All classes, by their patterns: names, then suffixes from the shortest, then all other hosts.
pub(super) fn classes(old: &Policy, new: &Policy) -> Vec<HostClass> {
    let mut patterns = BTreeSet::new();
    for policy in [old, new] {
        let hosts = policy.tree.hosts();
        patterns.extend(hosts.exact.keys().cloned().map(HostPattern::Exact));
        patterns.extend(hosts.suffix.keys().cloned().map(HostPattern::Suffix));
    }
    let mut classes = Vec::with_capacity(patterns.len() + 1);
    for pattern in patterns.iter().map(Some).chain([None]) {
        let sample = match pattern {
            Some(HostPattern::Exact(name)) => name.to_string(),
            Some(HostPattern::Suffix(name)) => {
                let free = ["x", "y", "z"].iter().map(|label| (*label).to_owned());
                let free = free.chain((1..).map(|n| format!("x{n}")));
                first_of(free.map(|label| format!("{label}.{name}")), |host| {
                    matching(&patterns, host)[0].as_ref() == pattern
                })
            }
            None => {
                let free = (1..).map(|n| format!("host{n}.example"));
                first_of(["example.com".to_owned()].into_iter().chain(free), |host| {
                    matching(&patterns, host)[0].is_none()
                })
            }
        };
        // A name has 253 characters at most: a suffix can be so long that nothing fits before it.
        if sample.len() <= 253 {
            classes.push(HostClass {
                matching: matching(&patterns, &sample),
                sample,
            });
        }
    }
    classes
}

fn first_of(mut candidates: impl Iterator<Item = String>, fits: impl Fn(&str) -> bool) -> String {
    candidates
        .find(|host| fits(host))
        .expect("the candidates do not end, and all patterns together match only some of them")
}

/// The patterns of a set that match a host, the most specific first, and any host.
fn matching(patterns: &BTreeSet<HostPattern>, host: &str) -> Vec<Option<HostPattern>> {
    let mut found = Vec::new();
    let exact = HostPattern::Exact(host.into());
    if patterns.contains(&exact) {
        found.push(Some(exact));
    }
    for (dot, _) in host.match_indices('.').filter(|(dot, _)| *dot > 0) {
        let suffix = HostPattern::Suffix(host[dot + 1..].into());
        if patterns.contains(&suffix) {
            found.push(Some(suffix));
        }
    }
    found.push(None);
    found
}

/// A set of hosts. Of all patterns of both lists that match a host, the most specific (a name, then the longest suffix,
/// then any) says whether the host is in the set: it is if that pattern stands in `of`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Hosts {
    /// Patterns whose hosts are in the set; `None` is any host.
    pub of: Vec<Option<HostPattern>>,
    /// Patterns whose hosts are not.
    pub but: Vec<Option<HostPattern>>,
}

impl Hosts {
    /// The union of some classes, in as few patterns as say it.
    pub(super) fn of(classes: &[HostClass], chosen: &BTreeSet<usize>) -> Self {
        let is_in = |pattern: Option<&HostPattern>| {
            let at = classes.iter().position(|class| class.own() == pattern);
            at.is_some_and(|at| chosen.contains(&at))
        };
        let mut hosts = Hosts {
            of: Vec::new(),
            but: Vec::new(),
        };
        for (at, class) in classes.iter().enumerate() {
            let inside = chosen.contains(&at);
            let by_default = class
                .broader()
                .is_some_and(|broader| is_in(broader.as_ref()));
            if inside != by_default {
                let list = if inside {
                    &mut hosts.of
                } else {
                    &mut hosts.but
                };
                list.push(class.own().cloned());
            }
        }
        hosts
    }

    /// Whether the set has every host.
    pub fn is_any(&self) -> bool {
        self.of == [None] && self.but.is_empty()
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |patterns: &[Option<HostPattern>]| {
            let names = patterns.iter().map(|pattern| match pattern {
                Some(pattern) => pattern.to_string(),
                None => "any host".to_owned(),
            });
            names.collect::<Vec<_>>().join(", ")
        };
        f.write_str(&list(&self.of))?;
        if !self.but.is_empty() {
            write!(f, " but not {}", list(&self.but))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{compile, routes};
    use super::*;

    fn policy(hosts: &[&str]) -> Policy {
        let mut specs = Vec::new();
        for host in hosts {
            let mut spec = routes(&[("", "/{*rest}", "public")]).remove(0);
            spec.host = Some(HostPattern::parse(host).unwrap());
            specs.push(spec);
        }
        compile(specs).unwrap()
    }

    #[test]
    fn a_set_of_hosts_is_said_in_as_few_patterns_as_say_it() {
        let policy = policy(&["a.x.e", "*.x.e", "*.e", "y.e", "x.x.e"]);
        let classes = classes(&policy, &policy);
        let named: Vec<(String, &str)> = classes
            .iter()
            .map(|class| {
                let own = class.own().map_or("any".to_owned(), HostPattern::to_string);
                (own, class.sample.as_str())
            })
            .collect();
        let named: Vec<(&str, &str)> = named.iter().map(|(own, s)| (own.as_str(), *s)).collect();
        assert_eq!(
            named,
            [
                ("a.x.e", "a.x.e"),
                ("x.x.e", "x.x.e"),
                ("y.e", "y.e"),
                ("*.e", "x.e"),
                ("*.x.e", "y.x.e"),
                ("any", "example.com"),
            ]
        );
        for (chosen, expected) in [
            (&[0, 1, 2, 3, 4, 5][..], "any host"),
            (&[5], "any host but not *.e"),
            (&[0, 1, 2, 4, 5], "y.e, *.x.e, any host but not *.e"),
            (&[0, 1, 2, 3, 4], "*.e"),
            (&[3], "*.e but not y.e, *.x.e"),
            (&[0, 1, 4], "*.x.e"),
            (&[1, 4], "*.x.e but not a.x.e"),
            (&[0, 2], "a.x.e, y.e"),
        ] {
            let hosts = Hosts::of(&classes, &chosen.iter().copied().collect());
            assert_eq!(hosts.to_string(), expected, "{chosen:?}");
            assert_eq!(hosts.is_any(), expected == "any host");
        }
    }
}
