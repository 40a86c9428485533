//! Tails that no request can reach: what `{*rest}` could take, routes with `{param}`s take before it.
//!
//! Take `/v3/{*rest}` beside `/v3/{x}` and `/v3/{x}/{*more}`, all without methods. One segment after `/v3/` goes to the
//! first, two and more to the second, and `/v3/a/` is not given to a tail since `/v3/a` has its own route. Nothing is
//! left.
//!
//! Literals do not count: whatever literals there are, a request can have segments that are none of them. So what covers
//! a tail is found on the one chain of param children below its node. Where that chain is `j` long, a request with `j + 1`
//! fresh segments is like any longer one; so `j + 1` requests for each method tell it exactly. A tail that allows
//! `double-slash` can be reached by `/v3//…`, which no param takes, and is left alone.

use super::compile::Written;
use super::pattern::Segment;
use super::problem::PolicyError;
use super::tree::{NodeId, Tree};
use super::{Exceptions, Route, RouteIndex};
use http::Method;

/// An error for each route with a tail that has nothing left.
pub(super) fn covered_tails(
    tree: &Tree,
    written: &[Written],
    routes: &[Route],
) -> Vec<PolicyError> {
    let mut errors = Vec::new();
    for tail in written
        .iter()
        .filter(|written| written.pattern.ends_in_tail())
    {
        let Some(chain) = param_chain(tree, tail) else {
            continue;
        };
        let table = tree.end(tail.end);
        for route in table.routes() {
            if routes[route.index()].allow.cover(Exceptions::DOUBLE_SLASH) {
                continue;
            }
            let mut methods = table
                .taken()
                .filter(|(_, taker)| taker == route)
                .map(|(method, _)| method);
            let Some(first) = methods.next() else {
                continue;
            };
            let Some(by) = taker_of_all(tree, &chain, first) else {
                continue;
            };
            if methods.all(|method| taker_of_all(tree, &chain, method).is_some()) {
                let (route, by) = (&routes[route.index()], &routes[by.index()]);
                errors.push(PolicyError::Unreachable {
                    pattern: route.template.to_string(),
                    host: route.host.clone(),
                    by: by.name.to_string(),
                    place: route.place.clone(),
                    other: by.place.clone(),
                });
            }
        }
    }
    errors
}

/// The param child of the node where the tail begins, that one's param child, and so on; `None` without any.
fn param_chain(tree: &Tree, tail: &Written) -> Option<Vec<NodeId>> {
    let mut at = tree.root(tail.host.as_ref())?;
    for segment in &tail.pattern.segments {
        at = match segment {
            Segment::Literal(text) => tree.node(at).literals.get(text)?,
            Segment::Param(_) => tree.node(at).param?,
            Segment::Tail(_) => break,
        };
    }
    let mut chain = Vec::new();
    while let Some(child) = tree.node(at).param {
        chain.push(child);
        at = child;
    }
    if chain.is_empty() { None } else { Some(chain) }
}

/// Whether, for every number of fresh segments, something on the chain takes the method; if so, who takes the first.
fn taker_of_all(tree: &Tree, chain: &[NodeId], method: &Method) -> Option<RouteIndex> {
    let mut first = None;
    let mut tail_above = None;
    for node in chain {
        let node = tree.node(*node);
        let takes = |end: Option<_>| end.and_then(|end| tree.end(end).route(method));
        let taker = takes(node.exact).or(tail_above)?;
        first = first.or(Some(taker));
        tail_above = tail_above.or(takes(node.tail));
    }
    // More segments than the chain is long.
    tail_above.and(first)
}
