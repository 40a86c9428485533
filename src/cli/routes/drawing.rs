//! A listing as a drawing: the tree of paths at the left, and for each route who may use it, a column for each scope.
//!
//! It is one SVG without scripts, fonts or images of its own, to be opened in any browser, light or dark, or laid beside
//! documents. Whoever reads a column from top to bottom sees how far one scope reaches; a route's tooltip says where it is
//! written.

use super::Listing;
use super::table::methods;
use super::tree::{Node, roots};
use crate::key::ScopeName;
use crate::policy::{Access, Listed};
use std::fmt::Write;

/// Height of a line, in pixels, as all that follows.
const LINE: usize = 20;
/// How far a piece of path is moved to the right of what is above it.
const INDENT: usize = 16;
/// Width of a character.
const LETTER: usize = 8;
/// Width of a scope's column.
const COLUMN: usize = 26;
/// Around everything.
const MARGIN: usize = 16;
/// Between the parts of a line.
const GAP: usize = 24;

const STYLE: &str = "\
.keygate { background: #fff; color: #1c1e21; font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.keygate text { fill: currentColor; }
.keygate .title { font-weight: bold; font-size: 15px; }
.keygate .pale { opacity: .6; }
.keygate .stripe { fill: currentColor; opacity: .05; }
.keygate .branch { stroke: currentColor; opacity: .35; fill: none; }
.keygate .none { fill: currentColor; opacity: .15; }
.keygate .may { fill: #2463c9; }
.keygate .anyone { fill: #c2570c; }
.keygate .deny { stroke: #c1272d; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  .keygate { background: #16181b; color: #e4e6e9; }
  .keygate .may { fill: #6ea8fe; } .keygate .anyone { fill: #fb9a4b; } .keygate .deny { stroke: #ff6b6b; }
}
";

/// One line of the drawing.
struct Line<'l> {
    depth: usize,
    /// A piece of path, where the line begins one.
    label: Option<&'l str>,
    /// Whether the piece has more beside it, further down: for each piece above this line and for itself.
    more: Vec<bool>,
    route: Option<&'l Listed<'l>>,
    /// Whether something of its own stands below a further route of a piece.
    leads_on: bool,
}

/// Where the parts of a line begin.
struct Places {
    methods: usize,
    scopes: usize,
    upstream: usize,
    /// Of the whole.
    width: usize,
    /// Of what stands above the lines.
    head: usize,
}

impl Listing<'_> {
    /// The drawing.
    pub(super) fn drawing(&self) -> String {
        let roots = roots(&self.routes);
        let mut lines = Vec::new();
        for root in &roots {
            unfold(root, &mut Vec::new(), &mut lines);
        }
        let reach = self.reach();
        let places = self.places(&lines, &reach);
        let height = places.head + lines.len() * LINE + MARGIN;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{height}\" viewBox=\"0 0 {0} {height}\" \
             class=\"keygate\" role=\"img\" aria-label=\"Who may use which route\">\n<style>\n{STYLE}</style>\n",
            places.width,
        );
        self.head(&mut out, &places, &reach);
        for (at, line) in lines.iter().enumerate() {
            self.line(&mut out, &places, &reach, at, line);
        }
        out.push_str("</svg>\n");
        out
    }

    fn places(&self, lines: &[Line<'_>], reach: &[(Option<&ScopeName>, usize)]) -> Places {
        let widest =
            |width: &dyn Fn(&Line<'_>) -> usize| lines.iter().map(width).max().unwrap_or(0);
        let tree = widest(&|line| {
            line.depth * INDENT + line.label.map_or(0, |label| label.chars().count() * LETTER)
        });
        let asked = widest(&|line| line.route.map_or(0, |route| methods(route).len() * LETTER));
        let leads = widest(&|line| {
            let name = line.route.map_or("", |route| self.leads_to(route));
            name.chars().count() * LETTER
        });
        let names = reach.iter().map(|(who, _)| name(*who).chars().count());
        let title = self.count().len() * (LETTER + 2);
        let methods = MARGIN + tree.max(title) + GAP;
        let scopes = methods + asked + GAP;
        let upstream = scopes + reach.len() * COLUMN + GAP;
        // Names stand upright by 60 degrees; 7 and 4 of 8 are more than their sine and cosine.
        let longest = names.max().unwrap_or(0) * LETTER;
        Places {
            methods,
            scopes,
            upstream,
            width: (upstream + leads).max(upstream + longest * 4 / 8) + MARGIN,
            head: MARGIN + longest * 7 / 8 + 2 * LINE,
        }
    }

    fn head(&self, out: &mut String, places: &Places, reach: &[(Option<&ScopeName>, usize)]) {
        let above = places.head - LINE;
        text(out, MARGIN, above, "title", &self.count());
        for (column, (who, count)) in reach.iter().enumerate() {
            let x = places.scopes + column * COLUMN + COLUMN / 2;
            let _ = writeln!(
                out,
                "<text transform=\"translate({},{}) rotate(-60)\">{}</text>",
                x + 4,
                above - LINE / 2,
                escaped(name(*who)),
            );
            let _ = writeln!(
                out,
                "<text class=\"pale\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\" font-size=\"10\">{count}</text>",
                above + 8,
            );
        }
    }

    fn line(
        &self,
        out: &mut String,
        places: &Places,
        reach: &[(Option<&ScopeName>, usize)],
        at: usize,
        line: &Line<'_>,
    ) {
        let top = places.head + at * LINE;
        let base = top + LINE * 7 / 10;
        branches(out, line, top);
        if let Some(label) = line.label {
            let class = if line.depth == 0 { "pale" } else { "path" };
            text(out, MARGIN + line.depth * INDENT, base, class, label);
        }
        let Some(listed) = line.route else {
            return;
        };
        let route = listed.route;
        let _ = writeln!(
            out,
            "<g><title>{}, for {}: {}:{}</title>",
            escaped(&route.name),
            escaped(&self.who(listed)),
            escaped(&route.place.file.display().to_string()),
            route.place.line,
        );
        let _ = writeln!(
            out,
            "<rect class=\"stripe\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"3\"/>",
            places.methods - 6,
            top + 1,
            places.width - places.methods - MARGIN + 12,
            LINE - 2,
        );
        text(out, places.methods, base, "methods", &methods(listed));
        for (column, (who, _)) in reach.iter().enumerate() {
            let x = places.scopes + column * COLUMN + COLUMN / 2;
            let y = top + LINE / 2;
            let _ = match (&route.access, listed.permits(*who)) {
                (Access::Deny, _) => writeln!(
                    out,
                    "<path class=\"deny\" d=\"M{0} {1}l8 8m0 -8l-8 8\"/>",
                    x - 4,
                    y - 4
                ),
                (Access::Public, _) => {
                    writeln!(
                        out,
                        "<circle class=\"anyone\" cx=\"{x}\" cy=\"{y}\" r=\"6\"/>"
                    )
                }
                (Access::Scopes(_), true) => {
                    writeln!(out, "<circle class=\"may\" cx=\"{x}\" cy=\"{y}\" r=\"6\"/>")
                }
                (Access::Scopes(_), false) => {
                    writeln!(
                        out,
                        "<circle class=\"none\" cx=\"{x}\" cy=\"{y}\" r=\"2\"/>"
                    )
                }
            };
        }
        text(out, places.upstream, base, "pale", self.leads_to(listed));
        out.push_str("</g>\n");
    }
}

/// The lines of a node and of all below it.
fn unfold<'l>(node: &'l Node<'l>, more: &mut Vec<bool>, lines: &mut Vec<Line<'l>>) {
    let own = |label: Option<&'l str>, route| Line {
        depth: more.len(),
        label,
        more: more.clone(),
        route,
        leads_on: label.is_none() && !node.below.is_empty(),
    };
    let mut routes = node.routes.iter();
    lines.push(own(Some(node.label.as_str()), routes.next().copied()));
    lines.extend(routes.map(|route| own(None, Some(*route))));
    for (at, below) in node.below.iter().enumerate() {
        more.push(at + 1 < node.below.len());
        unfold(below, more, lines);
        more.pop();
    }
}

/// The branches that lead to a line, and those that pass it.
fn branches(out: &mut String, line: &Line<'_>, top: usize) {
    let passing = |out: &mut String, level: usize| {
        let x = MARGIN + level * INDENT + 4;
        writeln!(out, "<path class=\"branch\" d=\"M{x} {top}v{LINE}\"/>")
    };
    if line.leads_on {
        let _ = passing(out, line.depth);
    }
    for (level, more) in line.more.iter().enumerate() {
        let x = MARGIN + level * INDENT + 4;
        let is_own = level + 1 == line.depth;
        let end = if *more { LINE } else { LINE / 2 };
        let _ = match (is_own, line.label.is_some(), more) {
            (true, true, _) => writeln!(
                out,
                "<path class=\"branch\" d=\"M{x} {top}v{end}M{x} {}h{}\"/>",
                top + LINE / 2,
                INDENT - 7,
            ),
            (_, _, true) => passing(out, level),
            (_, _, false) => Ok(()),
        };
    }
}

fn name(who: Option<&ScopeName>) -> &str {
    who.map_or("anyone", ScopeName::as_str)
}

fn text(out: &mut String, x: usize, y: usize, class: &str, text: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>",
        escaped(text)
    );
}

/// As it may stand between tags (XML 1.0, sections 2.2 and 2.4).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
