//! Path patterns: what stands in `path = "…"`, read once.
//!
//! A pattern is a list of segments, each a literal, `{param}` or, last, `{*rest}`. The literals go through the function
//! that canonicalizes request paths, so that `/caf%c3%a9` and a request for `/caf%C3%A9` meet. `/v3/users/{uid}` becomes
//! `[Literal("v3"), Literal("users"), Param("uid")]`; `/x/` has an empty last literal and is another path than `/x`.

use crate::http::{Exceptions, TargetError, canonical_path};

/// One segment of a pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Segment {
    /// This text, canonical. Empty: a path that ends in `/`, or (with an exception) one that has `//`.
    Literal(Box<str>),
    /// Any one segment that is not empty. The name is for people.
    Param(Box<str>),
    /// One character or more, slashes too. Only the last segment.
    Tail(Box<str>),
}

/// A path pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pattern {
    /// Never empty: `/` has one, empty, literal.
    pub segments: Vec<Segment>,
    /// Which exceptions its literals need: every request that matches needs them too.
    pub needs: Exceptions,
}

/// Why a text is not a path pattern.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PatternError {
    #[error("a path starts with `/`")]
    NoSlash,
    #[error("a route's path has no query: the query is never part of a match")]
    Query,
    #[error("`{segment}` mixes text and braces: `{{name}}` is a whole segment")]
    PartOfSegment { segment: String },
    #[error("`{segment}` needs a name in its braces, as in `{{id}}` or `{{*rest}}`")]
    NoName { segment: String },
    #[error("the name `{name}` is not a letter or `_`, then letters, digits, `_` or `-`")]
    BadName { name: String },
    #[error("the name `{name}` stands twice in one path")]
    RepeatedName { name: String },
    #[error("`{segment}` takes all that follows, so it can only be the last segment")]
    TailNotLast { segment: String },
    #[error(transparent)]
    Literal(#[from] TargetError),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is not one: see [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(PatternError::NoSlash);
        };
        if text.contains('?') {
            return Err(PatternError::Query);
        }
        let mut segments: Vec<Segment> = path
            .split('/')
            .map(read_segment)
            .collect::<Result<_, _>>()?;
        check_names(&segments)?;
        let needs = canonicalize_literals(&mut segments)?;
        Ok(Pattern { segments, needs })
    }

    /// Whether the last segment is `{*rest}`.
    pub fn ends_in_tail(&self) -> bool {
        matches!(self.segments.last(), Some(Segment::Tail(_)))
    }
}

/// Tells literals, not yet canonical, from what stands in braces.
fn read_segment(segment: &str) -> Result<Segment, PatternError> {
    if !segment.contains(['{', '}']) {
        return Ok(Segment::Literal(segment.into()));
    }
    let inner = segment
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .filter(|inner| !inner.contains(['{', '}']))
        .ok_or_else(|| PatternError::PartOfSegment {
            segment: segment.to_owned(),
        })?;
    let (name, tail) = match inner.strip_prefix('*') {
        Some(name) => (name, true),
        None => (inner, false),
    };
    let mut letters = name.bytes();
    match letters.next() {
        None => {
            return Err(PatternError::NoName {
                segment: segment.to_owned(),
            });
        }
        Some(first) => {
            let fine = (first.is_ascii_alphabetic() || first == b'_')
                && letters.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
            if !fine {
                return Err(PatternError::BadName {
                    name: name.to_owned(),
                });
            }
        }
    }
    Ok(if tail {
        Segment::Tail(name.into())
    } else {
        Segment::Param(name.into())
    })
}

/// Each name once, the tail last.
fn check_names(segments: &[Segment]) -> Result<(), PatternError> {
    for (i, segment) in segments.iter().enumerate() {
        let name = match segment {
            Segment::Literal(_) => continue,
            Segment::Tail(name) if i + 1 < segments.len() => {
                return Err(PatternError::TailNotLast {
                    segment: format!("{{*{name}}}"),
                });
            }
            Segment::Param(name) | Segment::Tail(name) => name,
        };
        let before = segments[..i].iter();
        if before
            .into_iter()
            .any(|s| matches!(s, Segment::Param(other) if other == name))
        {
            return Err(PatternError::RepeatedName {
                name: name.to_string(),
            });
        }
    }
    Ok(())
}

/// Makes the literals canonical, all at once: what stands in braces is played by an ordinary segment meanwhile.
fn canonicalize_literals(segments: &mut [Segment]) -> Result<Exceptions, PatternError> {
    let mut path = String::new();
    for segment in segments.iter() {
        path.push('/');
        path.push_str(match segment {
            Segment::Literal(text) => text,
            Segment::Param(_) | Segment::Tail(_) => "x",
        });
    }
    let (canonical, needs) = canonical_path(&path)?;
    // The canonical path has as many segments: a slash is neither made nor removed.
    for (segment, text) in segments.iter_mut().zip(canonical[1..].split('/')) {
        if let Segment::Literal(literal) = segment {
            *literal = text.into();
        }
    }
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, PatternError> {
        let pattern = Pattern::parse(text)?;
        let parts = pattern.segments.iter().map(|segment| match segment {
            Segment::Literal(text) => format!("={text}"),
            Segment::Param(name) => format!(":{name}"),
            Segment::Tail(name) => format!("*{name}"),
        });
        Ok(parts.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_pattern_is_literals_params_and_a_tail_at_the_end() {
        for (text, expected) in [
            ("/", "="),
            ("/x", "=x"),
            ("/x/", "=x ="),
            ("/v3/users/{uid}", "=v3 =users :uid"),
            ("/{a}/{b-2}/{_c}", ":a :b-2 :_c"),
            ("/{a}/", ":a ="),
            ("/{*rest}", "*rest"),
            ("/v3/{x}/{*rest}", "=v3 :x *rest"),
            ("/%61%2d/caf%c3%a9", "=a- =caf%C3%A9"),
            ("/%7Bid%7d", "=%7Bid%7D"),
            ("/A/a", "=A =a"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_an_error_that_says_why() {
        let part = |s: &str| PatternError::PartOfSegment { segment: s.into() };
        let no_name = |s: &str| PatternError::NoName { segment: s.into() };
        let bad = |s: &str| PatternError::BadName { name: s.into() };
        let repeated = |s: &str| PatternError::RepeatedName { name: s.into() };
        let not_last = |s: &str| PatternError::TailNotLast { segment: s.into() };
        for (text, expected) in [
            ("", PatternError::NoSlash),
            ("x", PatternError::NoSlash),
            ("{x}", PatternError::NoSlash),
            ("/x?y=1", PatternError::Query),
            ("/img-{id}", part("img-{id}")),
            ("/{id}.png", part("{id}.png")),
            ("/{a}{b}", part("{a}{b}")),
            ("/{a", part("{a")),
            ("/a}", part("a}")),
            ("/{{a}}", part("{{a}}")),
            ("/{}", no_name("{}")),
            ("/{*}", no_name("{*}")),
            ("/{1a}", bad("1a")),
            ("/{a b}", bad("a b")),
            ("/{**a}", bad("*a")),
            ("/{a}/x/{a}", repeated("a")),
            ("/{a}/{*a}", repeated("a")),
            ("/{*rest}/x", not_last("{*rest}")),
            ("/{*rest}/", not_last("{*rest}")),
            ("/a/../b", PatternError::Literal(TargetError::DotSegment)),
            ("/a/%2e", PatternError::Literal(TargetError::DotSegment)),
            ("/a\\b", PatternError::Literal(TargetError::Backslash)),
            ("/a b", PatternError::Literal(TargetError::RawCharacter)),
            ("/é", PatternError::Literal(TargetError::RawCharacter)),
            ("/a%4", PatternError::Literal(TargetError::IncompleteEscape)),
            ("/a#b", PatternError::Literal(TargetError::RawCharacter)),
        ] {
            assert_eq!(Pattern::parse(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn a_literal_says_which_exceptions_it_needs() {
        for (text, expected) in [
            ("/a/b/", Exceptions::NONE),
            ("/a%2fb", Exceptions::ENCODED_SLASH),
            ("/a%25b", Exceptions::ENCODED_PERCENT),
            ("/a;b", Exceptions::SEMICOLON),
            ("/a//{b}", Exceptions::DOUBLE_SLASH),
        ] {
            assert_eq!(
                Pattern::parse(text).map(|p| p.needs),
                Ok(expected),
                "{text}"
            );
        }
    }
}
