//! What stands before all paths: whether a path with it is one of the gateway's own, and whether prefixes get in each
//! other's way.

use super::document::PathItem;
use super::table::End;
use super::template::{Segment, Shape, Template};
use super::tree::{Tree, may_be};
use std::collections::BTreeSet;

/// The management path that this path is at or below, with one of the prefixes.
pub(super) fn managed<'m>(
    template: &Template,
    prefixes: &[String],
    management: &[&'m str],
) -> Option<&'m str> {
    let whole: Vec<Shape> = (prefixes.iter())
        .map(|prefix| behind(&shape(prefix), &template.shape))
        .collect();
    let mut management = management.iter().copied();
    management.find(|path| whole.iter().any(|whole| whole.starts_with(&shape(path))))
}

fn shape(prefix: &str) -> Shape {
    match prefix {
        "" => Shape::new(),
        prefix => Template::read(prefix).shape,
    }
}

fn behind(prefix: &[Segment], path: &[Segment]) -> Shape {
    prefix.iter().chain(path).cloned().collect()
}

/// The path with another prefix before it, as it is seen from behind those of the file: nothing where no prefix leads to it.
///
/// `/users` behind `/v1/admin` is `/admin/users` to a file whose prefix is `/v1`; behind nothing it is none of that file's.
pub(super) fn seen_from(
    bases: &BTreeSet<&str>,
    prefix: &str,
    template: &Template,
) -> Vec<Template> {
    let whole = behind(&shape(prefix), &template.shape);
    let mut seen: Vec<Template> = Vec::new();
    for base in bases {
        let base = shape(base);
        let leads = base.iter().zip(&whole).all(|(base, segment)| match base {
            Segment::Literal(text) => may_be(segment, text),
            Segment::Param | Segment::Part { .. } => false,
        });
        let rest = whole.get(base.len()..).unwrap_or_default();
        if !leads || (rest.is_empty() && !template.open_ended) {
            continue;
        }
        if seen.iter().all(|other| other.shape != rest) {
            seen.push(Template {
                text: format!("{prefix}{}", template.text),
                shape: rest.to_vec(),
                // What stands before what is said of paths behind one prefix.
                templated: false,
                ..template.clone()
            });
        }
    }
    seen
}

/// Holds the paths behind one prefix against those behind another.
///
/// Prefixes are literal, so only where one goes on where another ends (`""` and `/v1`) may a path of the one be a path of
/// the other: `/v1/users` with the first is `/users` with the second.
///
/// # Errors
/// A sentence, when they have requests in common: the file has one list of prefixes for all its paths.
pub(super) fn are_apart(prefixes: &[String], ends: &[End], odd: &[PathItem]) -> Result<(), String> {
    let shapes: Vec<Shape> = prefixes.iter().map(|prefix| shape(prefix)).collect();
    let tree = Tree::of(ends);
    let mut steps = 10_000_000;
    for (short, shorter) in shapes.iter().enumerate() {
        for (long, longer) in shapes.iter().enumerate() {
            let Some(rest) = longer.strip_prefix(&shorter[..]).filter(|r| !r.is_empty()) else {
                continue;
            };
            let further = |shape: &Shape| behind(rest, shape);
            let moved: Vec<End> = (ends.iter())
                .map(|end| End::new(end.text.clone(), further(&end.shape)))
                .collect();
            let written = moved
                .iter()
                .map(|end| (&end.text, end.shape.clone(), false));
            let unsayable = odd.iter().map(|item| {
                let template = &item.template;
                (
                    &template.text,
                    further(&template.shape),
                    template.open_ended,
                )
            });
            // The longer prefix's paths among the shorter's, then what is unsayable of the shorter's among the longer's.
            let mut apart = true;
            let mut first = None;
            for (text, shape, open_ended) in written.chain(unsayable) {
                let found = tree.overlapping(&shape, open_ended, &mut steps);
                if found.is_none_or(|found| !found.is_empty()) {
                    apart = false;
                    first.get_or_insert_with(|| text.clone());
                }
            }
            let moved = Tree::of(&moved);
            for item in odd {
                let template = &item.template;
                let found = moved.overlapping(&template.shape, template.open_ended, &mut steps);
                if found.is_none_or(|found| !found.is_empty()) {
                    apart = false;
                    first.get_or_insert_with(|| template.text.clone());
                }
            }
            if !apart {
                return Err(format!(
                    "the servers' paths `{}/` and `{}/` get in each other's way, by {}; say with `--prefix` which one is meant, import once for each, and merge their `[scopes]` and `[defaults]` by hand: a policy has each once",
                    prefixes[short],
                    prefixes[long],
                    super::text::plain(&first.unwrap_or_default(), 100)
                ));
            }
        }
    }
    Ok(())
}
