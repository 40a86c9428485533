//! The words for parts of a region, the same in text and Markdown.

use crate::http::Exceptions;
use crate::policy::diff::{Change, Difference, Outcome, PathPattern, Paths, Region, Verdict};
use crate::policy::{Access, Route, Target, Who};
use http::Method;

/// What is needed to say it.
pub(super) struct Words<'w> {
    /// Names of the upstreams of both, by position.
    pub upstreams: (&'w [&'w str], &'w [&'w str]),
    /// So much of a list is shown.
    pub most: usize,
}

pub(super) fn change(change: Change) -> &'static str {
    match change {
        Change::Widened => "widened",
        Change::Narrowed => "narrowed",
        Change::Rerouted => "rerouted",
    }
}

pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Unchanged => "unchanged",
        Verdict::Narrowed => "narrowed",
        Verdict::Widened => "widened",
    }
}

/// `anyone, authOnly and fullAccess gain`.
pub(super) fn who_and_what(region: &Region) -> String {
    let names: Vec<String> = region.who.iter().map(who).collect();
    let one = names.len() == 1;
    let verb = match (region.change, one) {
        (Change::Widened, true) => "gains",
        (Change::Widened, false) => "gain",
        (Change::Narrowed, true) => "loses",
        (Change::Narrowed, false) => "lose",
        (Change::Rerouted, true) => "is led elsewhere",
        (Change::Rerouted, false) => "are led elsewhere",
    };
    let names = match names.as_slice() {
        [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
        names => names.concat(),
    };
    format!("{names} {verb}")
}

pub(super) fn who(who: &Who) -> String {
    match who {
        Who::Anyone => "anyone".to_owned(),
        Who::Scope(scope) => scope.to_string(),
    }
}

pub(super) fn methods(methods: &[Method]) -> String {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    names.join(", ")
}

/// `for api.example.com`, or nothing for any host.
pub(super) fn hosts(region: &Region) -> String {
    if region.hosts.is_any() {
        String::new()
    } else {
        format!("for {}", region.hosts)
    }
}

/// What the paths need, where that is not usual.
pub(super) fn needs(region: &Region) -> String {
    let names = |set: Exceptions| set.names().collect::<Vec<_>>().join(" or ");
    match region.needs_beyond {
        None => String::new(),
        Some(beyond) => {
            let only = names(region.needs_within.without(beyond));
            let also = region.needs_within.common(beyond);
            if also.is_none() {
                format!("only where the path needs {only}")
            } else {
                format!(
                    "only where the path needs {only}, with {} or not",
                    names(also)
                )
            }
        }
    }
}

impl Words<'_> {
    pub fn path(&self, pattern: &PathPattern) -> String {
        pattern.shortened(self.most).to_string()
    }

    /// The parts that are shown, twice as many as of other lists, and how many more there are.
    pub fn parts<'r>(&self, region: &'r Region) -> (&'r [Paths], usize) {
        let shown = region.paths.len().min(self.most.saturating_mul(2));
        (&region.paths[..shown], region.paths.len() - shown)
    }

    /// The paths that are taken out, and how many more there are.
    pub fn except(&self, paths: &Paths) -> (Vec<String>, usize) {
        let shown = paths.except.len().min(self.most);
        let texts = paths.except[..shown].iter().map(|path| self.path(path));
        (texts.collect(), paths.except.len() - shown)
    }

    /// `403 by `/v3/{*rest}` at routes.toml:12:1`, of the old policy.
    pub fn before(&self, region: &Region) -> String {
        self.outcome(&region.old, self.upstreams.0, region.change)
    }

    pub fn after(&self, region: &Region) -> String {
        self.outcome(&region.new, self.upstreams.1, region.change)
    }

    fn outcome(&self, outcome: &Outcome, upstreams: &[&str], change: Change) -> String {
        let what = if outcome.refusals.is_empty() {
            "let through".to_owned()
        } else {
            let statuses = outcome.refusals.iter().map(u16::to_string);
            statuses.collect::<Vec<_>>().join(" or ")
        };
        let Some(route) = outcome.routes.first() else {
            return format!("{what}, no route");
        };
        let mut text = format!("{what} by `{}`", route.name);
        if outcome.routes.len() > 1 {
            text.push_str(&format!(" and {} more", outcome.routes.len() - 1));
        }
        match change {
            Change::Rerouted => text.push_str(&format!(", {}", leads(route, upstreams))),
            Change::Widened | Change::Narrowed => {
                text.push_str(&format!(" ({})", access(&route.access)));
            }
        }
        text.push_str(&format!(", {}", route.place));
        text
    }
}

/// Who may use a route.
fn access(access: &Access) -> String {
    match access {
        Access::Public => "public".to_owned(),
        Access::Deny => "closed for everyone".to_owned(),
        Access::Scopes(scopes) => {
            let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
            names.join(", ")
        }
    }
}

/// Where a route leads.
pub(super) fn leads(route: &Route, upstreams: &[&str]) -> String {
    let mut text = match route.target {
        Target::Upstream(at) => format!("to upstream {}", upstreams.get(at).unwrap_or(&"?")),
        Target::Management(_) => "to the management API".to_owned(),
    };
    if let Some(prefix) = &route.settings.strip_prefix {
        text.push_str(&format!(" without {prefix}"));
    }
    if let Some(prefix) = &route.settings.add_prefix {
        text.push_str(&format!(" below {prefix}"));
    }
    text
}

/// How it came out, in one line.
pub(super) fn summary(difference: &Difference) -> String {
    let counted = [Change::Widened, Change::Narrowed, Change::Rerouted].map(|kind| {
        let regions = difference.regions.iter();
        let count = regions.filter(|region| region.change == kind).count();
        match count {
            0 => None,
            1 => Some(format!("1 region {}", change(kind))),
            _ => Some(format!("{count} regions {}", change(kind))),
        }
    });
    let counted: Vec<String> = counted.into_iter().flatten().collect();
    let verdict = match difference.verdict() {
        Verdict::Unchanged => "access is unchanged",
        Verdict::Narrowed => "access is narrowed",
        Verdict::Widened => "access is WIDENED",
    };
    match counted.as_slice() {
        [] => verdict.to_owned(),
        counted => format!("{verdict}: {}", counted.join(", ")),
    }
}
