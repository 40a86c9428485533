//! Pieces of the path space, as patterns that people read.
//!
//! The pieces of a group are leaves of a tree of classes of segments. From the leaves up, each node is described by what
//! of it belongs to the group, and where that is likely to be most of it also by what does not: `/v3/{*rest}` except
//! `/v3/users` is easier to read than all that `/v3/{*rest}` has beside `/v3/users`. Whichever takes fewer words is kept.
//! Segments below which the same is said are joined.
//!
//! A piece that has no request with the needs of the group may be counted in or out, whatever is shorter.

use super::machine::Class;
use super::product::{Child, LeafKind, Needs, Product, needs_of};
use super::{Entangled, Steps};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

/// One segment of a [`PathPattern`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PathSegment {
    /// This text. Empty: `//`.
    Literal(Box<str>),
    /// Any one segment that is not empty and none of these.
    AnyBut {
        /// What a route calls it; a name for people.
        name: Box<str>,
        but: Vec<Box<str>>,
    },
}

/// How a path goes on after the segments of a [`PathPattern`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PathEnd {
    /// It ends: `/users`.
    Here,
    /// It ends after one slash more: `/users/`.
    Slash,
    /// Either of these: `/users{/}`.
    Either,
    /// A slash and one character or more: `/users/{*rest}`.
    Below,
    /// It ends, or a slash and anything follow: `/users{/*}`.
    Whole,
}

/// A set of canonical paths.
///
/// As text it is a route's pattern, with three things more: `{id!=me,you}` is any segment but these, `/users{/}` is `/users`
/// with a slash at its end or without, `/users{/*}` is `/users`, `/users/` and all below.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PathPattern {
    pub segments: Vec<PathSegment>,
    pub end: PathEnd,
}

impl PathPattern {
    /// The text, with no more than so many names in one list.
    pub fn shortened(&self, most: usize) -> impl fmt::Display {
        Shown {
            pattern: self,
            most: Some(most),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown {
            pattern: self,
            most: None,
        }
        .fmt(f)
    }
}

struct Shown<'p> {
    pattern: &'p PathPattern,
    most: Option<usize>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.pattern.segments {
            match segment {
                PathSegment::Literal(text) => write!(f, "/{text}")?,
                PathSegment::AnyBut { name, but } if but.is_empty() => write!(f, "/{{{name}}}")?,
                PathSegment::AnyBut { name, but } => {
                    let shown = self.most.unwrap_or(but.len()).min(but.len());
                    write!(f, "/{{{name}!={}", but[..shown].join(","))?;
                    if shown < but.len() {
                        write!(f, ",…{} more", but.len() - shown)?;
                    }
                    f.write_str("}")?;
                }
            }
        }
        f.write_str(match self.pattern.end {
            PathEnd::Here => "",
            PathEnd::Slash => "/",
            PathEnd::Either => "{/}",
            PathEnd::Below => "/{*rest}",
            PathEnd::Whole => "{/*}",
        })
    }
}

/// The paths of a pattern, without those of others.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Paths {
    pub of: PathPattern,
    pub except: Vec<PathPattern>,
}

/// A pattern from its end to its start, which is how it grows: the class of each segment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Draft {
    /// The last segment first.
    segments: Vec<DraftSegment>,
    end: PathEnd,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum DraftSegment {
    Literal(Box<str>),
    AnyBut(Vec<Box<str>>),
}

/// Drafts without others.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Part {
    of: Draft,
    except: Vec<Draft>,
}

impl Draft {
    fn of(end: PathEnd) -> Self {
        Draft {
            segments: Vec::new(),
            end,
        }
    }

    fn words(&self) -> usize {
        let names = self.segments.iter().map(|segment| match segment {
            DraftSegment::Literal(_) => 0,
            DraftSegment::AnyBut(but) => but.len(),
        });
        1 + names.sum::<usize>()
    }

    fn finish(self) -> PathPattern {
        let segments = self.segments.into_iter().rev();
        let segments = segments.map(|segment| match segment {
            DraftSegment::Literal(text) => PathSegment::Literal(text),
            DraftSegment::AnyBut(but) => PathSegment::AnyBut {
                name: "x".into(),
                but,
            },
        });
        PathPattern {
            segments: segments.collect(),
            end: self.end,
        }
    }
}

impl Part {
    fn of(end: PathEnd) -> Self {
        Part {
            of: Draft::of(end),
            except: Vec::new(),
        }
    }

    fn words(&self) -> usize {
        self.of.words() + self.except.iter().map(Draft::words).sum::<usize>()
    }

    fn below(mut self, segment: &DraftSegment) -> Self {
        for draft in self.except.iter_mut().chain([&mut self.of]) {
            draft.segments.push(segment.clone());
        }
        self
    }
}

/// What of a node is meant.
#[derive(Clone, Debug)]
enum Extent {
    Nothing,
    /// Everything, or what is not has no request.
    All,
    Parts(Vec<Part>),
}

/// A node that has members.
#[derive(Default)]
struct Touched {
    here: bool,
    slash: bool,
    /// All of it.
    whole: bool,
    /// By position among the children: what is of the group, and what is not, where that is asked for.
    children: Vec<(u32, Extent, Option<Extent>)>,
    /// Whether what is not of the group is to be found out.
    complement: bool,
}

/// The paths of a group's leaves.
///
/// # Errors
/// When the steps are used up.
pub(super) fn paths(
    product: &Product<'_>,
    leaves: &[u32],
    needs: Needs,
    steps: &Steps,
) -> Result<Vec<Paths>, Entangled> {
    let describer = Describer {
        product,
        needs,
        steps,
    };
    let mut touched = describer.touch(leaves);
    let mut result = Vec::new();
    while let Some((at, node)) = touched.pop_last() {
        let wanted = node.complement;
        let (present, absent) = describer.describe(at, node, wanted)?;
        match product.nodes[at as usize].up {
            Some((above, slot)) => {
                if let Some(above) = touched.get_mut(&above) {
                    above.children.push((slot, present, absent));
                }
            }
            None => result = describer.at_root(present),
        }
    }
    let finished = result.into_iter().map(|part| {
        let mut except: Vec<PathPattern> = part.except.into_iter().map(Draft::finish).collect();
        except.sort();
        Paths {
            of: part.of.finish(),
            except,
        }
    });
    let mut finished: Vec<Paths> = finished.collect();
    finished.sort();
    Ok(finished)
}

struct Describer<'a, 'p> {
    product: &'a Product<'p>,
    needs: Needs,
    steps: &'a Steps,
}

impl Describer<'_, '_> {
    /// Every node on the way to a leaf; those of which most is likely to be of the group, and all below them, are asked
    /// what is not.
    fn touch(&self, leaves: &[u32]) -> BTreeMap<u32, Touched> {
        let mut touched: BTreeMap<u32, Touched> = BTreeMap::new();
        let mut open: HashSet<u32> = HashSet::new();
        for leaf in leaves {
            let leaf = self.product.leaves[*leaf as usize];
            let mut known = touched.contains_key(&leaf.node);
            let node = touched.entry(leaf.node).or_default();
            match leaf.kind {
                LeafKind::Here => node.here = true,
                LeafKind::Slash => node.slash = true,
                LeafKind::Whole => node.whole = true,
            }
            let mut at = leaf.node;
            while !known {
                let Some((above, slot)) = self.product.nodes[at as usize].up else {
                    break;
                };
                let (class, _) = self.product.nodes[above as usize].children[slot as usize];
                if class == Class::Other {
                    open.insert(above);
                }
                known = touched.contains_key(&above);
                touched.entry(above).or_default();
                at = above;
            }
        }
        let nodes: Vec<u32> = touched.keys().copied().collect();
        for at in nodes {
            let above = self.product.nodes[at as usize].up.map(|(above, _)| above);
            let inherited = above.is_some_and(|above| touched[&above].complement);
            if inherited || open.contains(&at) {
                touched.entry(at).or_default().complement = true;
            }
        }
        touched
    }

    /// What of a node belongs to the group, and what does not.
    fn describe(
        &self,
        at: u32,
        touched: Touched,
        wanted: bool,
    ) -> Result<(Extent, Option<Extent>), Entangled> {
        let node = &self.product.nodes[at as usize];
        if touched.whole {
            return Ok((Extent::All, wanted.then_some(Extent::Nothing)));
        }
        let possible = node.possible();
        let fits = self.needs.fits(node.forced, possible);
        let is_open = |is_in: bool| fits && !is_in;
        let (missing_here, missing_slash) = (
            node.can_end && is_open(touched.here),
            is_open(touched.slash),
        );
        let mut given: HashMap<u32, (Extent, Option<Extent>)> = touched
            .children
            .into_iter()
            .map(|(slot, present, absent)| (slot, (present, absent)))
            .collect();
        // Nodes with very many children and few members are not gone through: all are not there.
        let surely_not_all = given.len() + node.special + 1 < node.children.len();
        let mut present_children = Vec::new();
        let mut absent_children = Vec::new();
        let mut all_below = !surely_not_all;
        let mut none_below = true;
        let slots: Vec<u32> = if surely_not_all && !wanted {
            let mut slots: Vec<u32> = given.keys().copied().collect();
            slots.sort_unstable();
            slots
        } else {
            (0..super::machine::number(node.children.len())).collect()
        };
        self.steps.take(slots.len())?;
        for slot in slots {
            let (class, child) = node.children[slot as usize];
            let (present, absent) = match given.remove(&slot) {
                Some((present, absent)) => (present, absent.unwrap_or(Extent::Nothing)),
                None if self.is_void(at, class, child) => continue,
                None => (Extent::Nothing, Extent::All),
            };
            all_below &= matches!(present, Extent::All);
            none_below &= matches!(absent, Extent::All);
            present_children.push((slot, present));
            if wanted {
                absent_children.push((slot, absent));
            }
        }
        let all = all_below && !missing_here && !missing_slash;
        let absent = match (wanted, all) {
            (false, _) => None,
            (true, true) => Some(Extent::Nothing),
            (true, false) => {
                let mut parts = ends(missing_here, missing_slash, none_below);
                if !none_below {
                    parts.extend(self.join(at, absent_children)?);
                }
                Some(Extent::Parts(parts))
            }
        };
        if all {
            return Ok((Extent::All, absent));
        }
        let mut parts = ends(touched.here, touched.slash, all_below);
        if !all_below {
            parts.extend(self.join(at, present_children)?);
        }
        // Or all below, and what is not of the group taken out.
        if let Some(Extent::Parts(missing)) = &absent
            && !none_below
        {
            let mut other = ends(touched.here, touched.slash, true);
            let missing =
                missing
                    .iter()
                    .map(|part| part.of.clone())
                    .filter_map(|draft| match draft.end {
                        // What ends at the node itself is told by `ends`.
                        PathEnd::Here | PathEnd::Slash | PathEnd::Either
                            if draft.segments.is_empty() =>
                        {
                            None
                        }
                        _ => Some(draft),
                    });
            let widest = other.last_mut().expect("all below is always said");
            widest.except = missing.collect();
            let words = |parts: &[Part]| parts.iter().map(Part::words).sum::<usize>();
            if words(&other) <= words(&parts) {
                parts = other;
            }
        }
        Ok((Extent::Parts(parts), absent))
    }

    /// Whether a child without members has no request with the group's needs. (What is below a segment can be made to need
    /// anything, so this hangs on what the segment itself needs.)
    fn is_void(&self, above: u32, class: Class<'_>, child: Child) -> bool {
        let forced = match child {
            Child::Node(node) => self.product.nodes[node as usize].forced,
            Child::Same => {
                let above = &self.product.nodes[above as usize];
                above.forced.with(needs_of(class))
            }
        };
        !self.needs.within.cover(forced)
    }

    /// Whether no path that ends here, with a slash or without, can have the group's needs.
    fn only_below(&self, child: Child) -> bool {
        let Child::Node(node) = child else {
            return false;
        };
        let node = &self.product.nodes[node as usize];
        !node.whole && !self.needs.fits(node.forced, node.possible())
    }

    /// What is said below some segments, each thing once for all segments below which it is said.
    fn join(&self, at: u32, children: Vec<(u32, Extent)>) -> Result<Vec<Part>, Entangled> {
        let node = &self.product.nodes[at as usize];
        let mut joined: BTreeMap<Part, Vec<u32>> = BTreeMap::new();
        let most = children.iter().any(|(slot, extent)| {
            matches!(extent, Extent::All) && node.children[*slot as usize].0 == Class::Other
        });
        for (slot, extent) in children {
            match extent {
                Extent::Nothing => {}
                Extent::All => {
                    let (class, child) = node.children[slot as usize];
                    let parts = if !most && self.only_below(child) {
                        vec![Part::of(PathEnd::Below)]
                    } else {
                        whole(class != Class::Empty).collect()
                    };
                    for part in parts {
                        joined.entry(part).or_default().push(slot);
                    }
                }
                Extent::Parts(parts) => {
                    for part in parts {
                        joined.entry(part).or_default().push(slot);
                    }
                }
            }
        }
        let mut parts = Vec::with_capacity(joined.len());
        for (part, slots) in joined {
            let classes = slots.iter().map(|slot| node.children[*slot as usize].0);
            let classes: Vec<Class<'_>> = classes.collect();
            if classes.contains(&Class::Empty) {
                parts.push(part.clone().below(&DraftSegment::Literal("".into())));
            }
            if classes.contains(&Class::Other) {
                self.steps.take(node.children.len())?;
                let taken: HashSet<u32> = slots.into_iter().collect();
                let but = node
                    .children
                    .iter()
                    .enumerate()
                    .filter_map(|(slot, child)| {
                        let (Class::Literal(text), below) = *child else {
                            return None;
                        };
                        let slot = super::machine::number(slot);
                        let void = || self.is_void(at, child.0, below);
                        (!taken.contains(&slot) && !void()).then(|| text.into())
                    });
                parts.push(part.below(&DraftSegment::AnyBut(but.collect())));
                continue;
            }
            for class in classes {
                if let Class::Literal(text) = class {
                    parts.push(part.clone().below(&DraftSegment::Literal(text.into())));
                }
            }
        }
        Ok(parts)
    }

    fn at_root(&self, extent: Extent) -> Vec<Part> {
        match extent {
            Extent::Nothing => Vec::new(),
            Extent::All => whole(false).collect(),
            Extent::Parts(parts) => parts,
        }
    }
}

/// All of a node: after an empty segment, and before the first, a path cannot end.
fn whole(can_end: bool) -> impl Iterator<Item = Part> {
    let parts = if can_end {
        [Some(PathEnd::Whole), None]
    } else {
        [Some(PathEnd::Slash), Some(PathEnd::Below)]
    };
    parts.into_iter().flatten().map(Part::of)
}

/// The ways in which a path ends at a node, and all below it; what is widest stands last.
fn ends(here: bool, slash: bool, below: bool) -> Vec<Part> {
    use PathEnd as E;
    let ends: &[PathEnd] = match (here, slash, below) {
        (false, false, false) => &[],
        (true, false, false) => &[E::Here],
        (false, true, false) => &[E::Slash],
        (true, true, false) => &[E::Either],
        (false, false, true) => &[E::Below],
        (true, false, true) => &[E::Here, E::Below],
        (false, true, true) => &[E::Slash, E::Below],
        (true, true, true) => &[E::Whole],
    };
    ends.iter().copied().map(Part::of).collect()
}
