//! Closes what one path of the document would open of another.
//!
//! A gateway gives a request to the most specific route that takes its method, so a request that one path refuses may be
//! let in by another: of `/users/me` with GET and `/users/{id}` with GET and DELETE, `DELETE /users/me` would fall to the
//! second. The document says that the first is looked at before the second ("concrete" before "templated"), and it has no
//! DELETE. So a route that denies is written wherever patterns overlap and the document does not say the same of both:
//!
//! 1. where one pattern has all requests of another, methods that only the broader one has are closed for the narrower, also
//!    where that has none at all (OpenAPI lets a path be empty for those who may not see its operations);
//! 2. where each has requests that the other has not (`/a/{x}`, `/{y}/b`), OpenAPI leaves open which one counts: what both
//!    have and does not ask for the same is closed for their common requests (`/a/b`);
//! 3. where the document has a path that no pattern can say (`/files/{id}.pdf` beside `/files/{id}`), or that is behind
//!    another prefix, an operation that lets in other clients than that one's is closed as far as they may overlap. So is one
//!    of a method that it has not, where the pattern is the broader one, as in 1. A path without params stands before one
//!    that has them, so `/files/a.pdf` is not closed for `/files/{id}.pdf`.
//!
//! So a request is let in only where all that the document says of it is fulfilled. It may be more than is needed, where
//! three patterns overlap, and is never less: `tests/import.rs` holds it against a naive reading.

use super::access::Access;
use super::document::PathItem;
use super::table::{Ends, Taken, with_head};
use super::template::Segment;
use super::tree::{Tree, is_broader, meet, text_of};

/// How many steps the search may take: seconds.
const STEPS: usize = 20_000_000;

/// How many patterns may be added.
const ADDED: usize = 10_000;

/// The document's paths overlap so often that they cannot be held against one another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entangled;

/// Something that was closed and that the document opens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ambiguous {
    pub method: Box<str>,
    /// Where.
    pub pattern: String,
    /// The two that say it differently.
    pub of: [String; 2],
}

/// Closes what has to be closed, and answers what the document opens all the same.
pub(super) fn close(ends: &mut Ends, odd: &[&PathItem]) -> Result<Vec<Ambiguous>, Entangled> {
    let tree = Tree::of(&ends.ends);
    let written = ends.ends.len();
    let mut steps = STEPS;
    let mut ambiguous = Vec::new();
    for item in odd {
        let template = &item.template;
        let others = tree.overlapping(&template.shape, template.open_ended, &mut steps);
        let mut methods: Vec<Taken> = item.operations.iter().map(Taken::of).collect();
        with_head(&mut methods);
        let others = others.ok_or(Entangled)?;
        for other in &others {
            let end = &ends.ends[*other];
            let broader = !template.open_ended
                && template.shape != end.shape
                && is_broader(&template.shape, &end.shape);
            if broader {
                let missing = only(&end.methods, &methods).into_iter();
                methods.extend(missing.map(|method| Taken::closed(&method, "")));
            }
        }
        for other in others {
            let end = &ends.ends[other];
            let literal = |segment: &Segment| matches!(segment, Segment::Literal(_));
            if template.templated && end.shape.iter().all(literal) {
                continue;
            }
            let is_open = |method: &str| end.get(method).is_some_and(|it| it.access.is_open());
            let mut differing = differing(&methods, &end.methods);
            differing.retain(|method| is_open(method));
            if differing.is_empty() {
                continue;
            }
            let shape = meet(&template.shape, &ends.ends[other].shape);
            // Another path of the document: it is held against this one itself.
            if ends
                .find(&shape)
                .is_some_and(|at| at < written && at != other)
            {
                continue;
            }
            let of = [ends.ends[other].text.clone(), template.text.clone()];
            shut(ends, &shape, differing, of, written + ADDED, &mut ambiguous)?;
        }
    }
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for one in 0..written {
        let others = tree.overlapping(&ends.ends[one].shape, false, &mut steps);
        let others = others.ok_or(Entangled)?;
        steps = steps.checked_sub(others.len()).ok_or(Entangled)?;
        pairs.extend(others.into_iter().filter(|o| *o != one).map(|o| (one, o)));
    }
    for (one, other) in &pairs {
        let [narrow, broad] = [&ends.ends[*one], &ends.ends[*other]];
        if !is_broader(&narrow.shape, &broad.shape) {
            continue;
        }
        // What is closed here adds up.
        steps = steps.checked_sub(narrow.methods.len()).ok_or(Entangled)?;
        let why = format!("taken by {} otherwise", broad.text);
        let missing = only(&broad.methods, &narrow.methods);
        let narrow = &mut ends.ends[*one];
        narrow.has_broader = true;
        for method in missing {
            narrow.close(&method, why.clone());
        }
    }
    for (one, other) in pairs {
        let [first, second] = [&ends.ends[one], &ends.ends[other]];
        if one > other
            || is_broader(&first.shape, &second.shape)
            || is_broader(&second.shape, &first.shape)
        {
            continue;
        }
        let differing = differing(&first.methods, &second.methods);
        if differing.is_empty() {
            continue;
        }
        let shape = meet(&first.shape, &second.shape);
        if ends.find(&shape).is_some_and(|at| at < written) {
            continue;
        }
        let of = [first.text.clone(), second.text.clone()];
        let mut closing = differing;
        // What one of them has alone would be opened beside what is closed.
        closing.extend(only(&first.methods, &second.methods));
        closing.extend(only(&second.methods, &first.methods));
        shut(ends, &shape, closing, of, written + ADDED, &mut ambiguous)?;
    }
    Ok(ambiguous)
}

/// Methods that are open in the first, and that the second has not.
fn only(one: &[Taken], other: &[Taken]) -> Vec<Box<str>> {
    let opened = one.iter().filter(|taken| taken.access.is_open());
    opened
        .filter(|taken| other.iter().all(|other| other.method != taken.method))
        .map(|taken| taken.method.clone())
        .collect()
}

/// Methods that both have and that are not for the same clients; of what is closed in both nothing is said.
fn differing(one: &[Taken], other: &[Taken]) -> Vec<Box<str>> {
    let differs = |taken: &&Taken| {
        let same = other.iter().find(|other| other.method == taken.method);
        same.is_some_and(|other| other.access != taken.access)
    };
    let differing = one.iter().filter(differs);
    differing.map(|taken| taken.method.clone()).collect()
}

fn shut(
    ends: &mut Ends,
    shape: &[Segment],
    methods: Vec<Box<str>>,
    of: [String; 2],
    most: usize,
    ambiguous: &mut Vec<Ambiguous>,
) -> Result<(), Entangled> {
    let at = ends.at(shape, || text_of(shape));
    if ends.ends.len() > most {
        return Err(Entangled);
    }
    let end = &mut ends.ends[at];
    let why = format!("{} and {} differ", of[0], of[1]);
    for method in &methods {
        let was_open = end
            .get(method)
            .is_none_or(|taken| taken.access != Access::Closed);
        end.close(method, why.clone());
        // A HEAD is told with its GET.
        let told = **method == *"HEAD" && methods.iter().any(|other| **other == *"GET");
        if was_open && !told {
            ambiguous.push(Ambiguous {
                method: method.clone(),
                pattern: end.text.clone(),
                of: of.clone(),
            });
        }
    }
    Ok(())
}
