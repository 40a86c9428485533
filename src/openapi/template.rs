//! A path of the document, and what a policy can say of it.
//!
//! `/users/{user.id}/posts` becomes the pattern `/users/{user_id}/posts`: a param is a whole segment, its name is for
//! people. `/img-{id}` has no pattern. What such a path covers is known all the same, roughly and never too little, so
//! that patterns which would let its requests in by another door can be closed: see `overlap`.

use crate::http::{Exceptions, canonical_path};
use std::collections::{HashMap, HashSet};

/// One segment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Segment {
    /// This text, canonical; empty for a path that ends in `/`.
    Literal(Box<str>),
    /// Any text but none.
    Param,
    /// Any text with this beginning and this end; or whatever else it may be.
    Part { begins: Box<str>, ends: Box<str> },
}

/// Where a path leads, whatever its params are called.
pub(super) type Shape = Vec<Segment>;

/// A path of the document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Template {
    /// As the policy has it, below the prefix; as it is in the document where there is no pattern for it.
    pub text: String,
    pub shape: Shape,
    /// Why there is no pattern for it.
    pub odd: Option<String>,
    /// Whether more segments than these may follow; only with `odd`.
    pub open_ended: bool,
    /// Whether it has a param for certain: a path that has none stands before it, says OpenAPI.
    pub templated: bool,
}

impl Template {
    /// Reads a path.
    pub(super) fn read(path: &str) -> Self {
        let mut reader = Reader::default();
        if path.len() > LONGEST {
            reader.refuse(too_long());
            reader.open_ended = true;
            return reader.finish(path);
        }
        let rest = match path.strip_prefix('/') {
            Some(rest) => rest,
            None => {
                reader.refuse("a path starts with `/`");
                path
            }
        };
        let rest = match outside_braces(rest, |c| matches!(c, '?' | '#')) {
            Some((at, c)) => {
                reader.refuse(match c {
                    '?' => "a policy's path has no query: the query is never part of a match",
                    _ => "a fragment is not sent to a server, so no policy can see it",
                });
                &rest[..at]
            }
            None => rest,
        };
        let mut left = Some(rest);
        while let Some(text) = left {
            let (segment, more) = match outside_braces(text, |c| c == '/') {
                Some((at, _)) => (&text[..at], Some(&text[at + 1..])),
                None => (text, None),
            };
            left = more;
            if !reader.segment(segment) {
                break;
            }
        }
        reader.finish(path)
    }
}

/// The first such character that stands outside of braces.
fn outside_braces(text: &str, wanted: impl Fn(char) -> bool) -> Option<(usize, char)> {
    let mut depth = 0usize;
    text.char_indices().find(|(_, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && wanted(*c)
    })
}

#[derive(Default)]
struct Reader {
    text: String,
    shape: Shape,
    names: HashSet<String>,
    /// For a name that is taken, where the search for a free one goes on.
    next: HashMap<String, usize>,
    odd: Option<String>,
    open_ended: bool,
    templated: bool,
}

impl Reader {
    /// The first reason is the one that is told.
    fn refuse(&mut self, why: impl Into<String>) {
        self.odd.get_or_insert_with(|| why.into());
    }

    /// Reads one; false where what it is cannot be known, nor what follows.
    fn segment(&mut self, text: &str) -> bool {
        self.text.push('/');
        if !text.contains(['{', '}']) {
            self.literal(text);
            return true;
        }
        self.templated = true;
        let name = text
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .filter(|name| !name.contains(['{', '}']));
        let shown = super::text::plain(text, 60);
        match name {
            Some("") => {
                self.refuse("`{}` is a parameter without a name");
                self.shape.push(Segment::Param);
                true
            }
            Some(name) if is_simple(name) => {
                let name = self.name(name);
                self.text.push_str(&format!("{{{name}}}"));
                self.shape.push(Segment::Param);
                true
            }
            None if is_whole(text) && text.split(['{', '}']).skip(1).step_by(2).all(is_simple) => {
                self.refuse(format!(
                    "`{shown}` mixes text and braces, and a policy's `{{name}}` is a whole segment"
                ));
                let begins = text.split('{').next().unwrap_or_default();
                let ends = text.rsplit('}').next().unwrap_or_default();
                let part = |text: &str| canonical_literal(text).unwrap_or_default().into();
                self.shape.push(Segment::Part {
                    begins: part(begins),
                    ends: part(ends),
                });
                true
            }
            Some(_) | None => {
                self.refuse(format!(
                    "`{shown}` is not a parameter of one segment, such as `{{id}}`"
                ));
                self.open_ended = true;
                false
            }
        }
    }

    fn literal(&mut self, text: &str) {
        match canonical_literal(text) {
            Ok(literal) => {
                self.text.push_str(&literal);
                self.shape.push(Segment::Literal(literal.into()));
            }
            Err(why) => {
                self.refuse(why);
                self.shape.push(Segment::Part {
                    begins: "".into(),
                    ends: "".into(),
                });
            }
        }
    }

    /// The name as a policy takes it, and not twice in one path.
    fn name(&mut self, name: &str) -> String {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let mut base: String = (name.chars())
            .map(|c| if fits(c) { c } else { '_' })
            .collect();
        if !base.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            base.insert(0, '_');
        }
        let mut name = base.clone();
        let next = self.next.entry(base.clone()).or_insert(2);
        while !self.names.insert(name.clone()) {
            name = format!("{base}_{next}");
            *next += 1;
        }
        name
    }

    fn finish(mut self, path: &str) -> Template {
        // An empty segment before the last one is a `//`.
        let inner = self.shape.len().saturating_sub(1);
        let empty =
            |segment: &Segment| matches!(segment, Segment::Literal(text) if text.is_empty());
        if self.shape[..inner].iter().any(empty) {
            self.refuse(needs("double-slash"));
        }
        if self.odd.is_none() && self.text.len() > LONGEST {
            self.refuse(too_long());
        }
        Template {
            text: match self.odd {
                Some(_) => path.to_owned(),
                None => self.text,
            },
            shape: self.shape,
            odd: self.odd,
            open_ended: self.open_ended,
            templated: self.templated && !self.open_ended,
        }
    }
}

/// Longer targets are not served by default.
const LONGEST: usize = 4096;

fn too_long() -> String {
    format!("a path of more than {LONGEST} bytes is not imported")
}

/// A name that is nothing but a name: no pattern, no list, no second segment.
fn is_simple(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '@'))
}

/// Whether braces open and close by turns.
fn is_whole(text: &str) -> bool {
    let mut inside = false;
    for c in text.chars() {
        match (c, inside) {
            ('{', false) => inside = true,
            ('}', true) => inside = false,
            ('{', true) | ('}', false) => return false,
            _ => {}
        }
    }
    !inside
}

fn needs(exception: &str) -> String {
    format!(
        "it needs `allow = [\"{exception}\"]`, which only you can tell whether the upstream reads in one way: write the route yourself"
    )
}

/// The one reading of a segment's text.
fn canonical_literal(text: &str) -> Result<String, String> {
    // A client sends it so: a blank, too, and what else no path may have as it is.
    let mut path = String::from("/");
    for c in text.chars() {
        if c.is_ascii() && !matches!(c, ' ' | '"' | '<' | '>' | '^' | '`' | '|') {
            path.push(c);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                path.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    let (canonical, exceptions) = canonical_path(&path).map_err(|error| error.to_string())?;
    if let Some((name, _)) = Exceptions::NAMES
        .iter()
        .find(|(_, exception)| exceptions.cover(*exception))
    {
        return Err(needs(name));
    }
    Ok(canonical[1..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str) -> (String, bool, bool) {
        let template = Template::read(path);
        let shape: Vec<String> = (template.shape.iter())
            .map(|segment| match segment {
                Segment::Literal(text) => text.to_string(),
                Segment::Param => "{}".to_owned(),
                Segment::Part { begins, ends } => format!("{begins}*{ends}"),
            })
            .collect();
        let text = match template.odd {
            Some(_) => shape.join("/"),
            None => template.text,
        };
        (text, template.odd.is_some(), template.open_ended)
    }

    #[test]
    fn a_path_is_a_pattern_or_is_known_well_enough_to_keep_others_from_it() {
        for (path, text, odd, open_ended) in [
            ("/", "/", false, false),
            ("/users/{id}", "/users/{id}", false, false),
            ("/users/", "/users/", false, false),
            ("/users/{user.id}", "/users/{user_id}", false, false),
            ("/u/{1}/{$id}", "/u/{_1}/{_id}", false, false),
            ("/u/{id}/{id}", "/u/{id}/{id_2}", false, false),
            ("/café/{naïve}", "/caf%C3%A9/{na_ve}", false, false),
            ("/%61/caf%c3%a9", "/a/caf%C3%A9", false, false),
            ("/v1:batch", "/v1:batch", false, false),
            ("/img-{id}", "img-*", true, false),
            ("/{a}.{b}/x", "*/x", true, false),
            ("/a-{x}-{y}.png", "a-*.png", true, false),
            ("/{}/x", "{}/x", true, false),
            ("/x?a={b}", "x", true, false),
            ("/x{?a,b}", "", true, true),
            ("/x/{a?}", "x", true, true),
            ("/x#y", "x", true, false),
            ("/x/{proxy+}", "x", true, true),
            ("/x/{path*}/y", "x", true, true),
            ("/v1/{name=shelves/*}:move", "v1", true, true),
            ("/x/{id:[0-9]+}", "x", true, true),
            ("/x/{a", "x", true, true),
            ("/x/a}", "x", true, true),
            ("/x/{{a}}", "x", true, true),
            ("/a/../b", "a/*/b", true, false),
            ("/a/%2e/b", "a/*/b", true, false),
            ("/a b", "/a%20b", false, false),
            ("/a\"<b>^`|", "/a%22%3Cb%3E%5E%60%7C", false, false),
            ("/a\tb", "*", true, false),
            ("/a\\b", "*", true, false),
            ("/a%2fb", "*", true, false),
            ("/a;b", "*", true, false),
            ("/a//b", "a//b", true, false),
            ("//", "/", true, false),
            ("x/y", "x/y", true, false),
            ("", "", true, false),
        ] {
            assert_eq!(shown(path), (text.to_owned(), odd, open_ended), "{path}");
        }
    }
}
