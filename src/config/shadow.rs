//! The policy in shadow: one that is tried on the requests that come, beside the one in force, and decides nothing.
//!
//! There are two ways to one. `[shadow] include` names files that make a whole policy, with the upstreams and the management
//! API of the main file: `include` of tomorrow. Or some tables `[[routes]]` say `shadow = true`: then it is the policy in
//! force with these laid over it. Both at once is an error: whether a tried route should be laid over the policy in force or
//! over the one that is tried, only its operator could say.
//!
//! `[[expect]]` of the shadow's files are held against it. Those of the files in force are not held against routes that are
//! tried: a changed scope is what they would fail on.

use super::fields::{Desk, Item, Table};
use super::problem::Problem;
use crate::policy::{Place, Policy};
use std::sync::Arc;

/// A policy that is tried.
#[derive(Debug)]
pub struct Shadow {
    /// Where its requests would lead is not to be asked of it: its upstreams may be those of an earlier generation.
    pub policy: Policy,
    pub origin: ShadowOrigin,
    /// Tables `[[routes]]` that are tried.
    pub routes: usize,
    /// Tables `[[expect]]` that are held against it.
    pub expectations: usize,
    /// Of what it decides and what the policy in force does.
    decisions: blake3::Hash,
}

/// Where a policy that is tried comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShadowOrigin {
    /// `[shadow] include`: it is whole.
    Files,
    /// `shadow = true`: the one in force with these routes over it.
    Routes,
}

impl ShadowOrigin {
    /// As `/shadow` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            ShadowOrigin::Files => "files",
            ShadowOrigin::Routes => "routes",
        }
    }
}

impl Shadow {
    pub(super) fn new(
        policy: Policy,
        in_force: &Policy,
        origin: ShadowOrigin,
        (routes, expectations): (usize, usize),
    ) -> Arc<Self> {
        let mut decisions = blake3::Hasher::new();
        in_force.hash_decisions(&mut decisions);
        decisions.update(b"\0beside it\0");
        policy.hash_decisions(&mut decisions);
        Arc::new(Shadow {
            policy,
            origin,
            routes,
            expectations,
            decisions: decisions.finalize(),
        })
    }

    /// Whether what was counted with the other one can be counted on: neither it nor the policy in force decides otherwise.
    pub(super) fn continues(&self, before: &Shadow) -> bool {
        self.decisions == before.decisions && self.origin == before.origin
    }
}

/// The field `include` of `[shadow]`.
pub(super) fn include<'t>(root: &mut Table<'t>, desk: &mut Desk) -> Option<Item<'t>> {
    let mut table = root.field("shadow")?.table(desk)?;
    let include = table.field("include");
    if include.is_none() {
        table.missing(
            desk,
            "`[shadow]` needs `include`: expected a list of files such as [\"next/routes.toml\"]",
        );
    }
    table.finish(desk);
    include
}

/// Says that there are both.
pub(super) fn both(include: Place, route: Place, desk: &mut Desk) {
    desk.report(
        Problem::error(
            include,
            "`[shadow] include` makes a whole policy, and a route with `shadow = true` is laid over the one in force; expected one of the two",
        )
        .related(route, "this route is tried")
        .help("write the route into a file of `[shadow] include`, or leave `[shadow]` out"),
    );
}
