//! YAML 1.2 to a [`Node`]: one document, no key twice, texts as keys, aliases written out within a bound.
//!
//! The parser gives events, each with its line. What it makes of `*alias` is bounded here: an alias costs as many values
//! as it stands for, so that nine lists of nine aliases each end at [`VALUES`] and not at 9⁹. Tags would change what a
//! value is, and mean something to one program and nothing to another; but for those of texts, lists and maps they are
//! refused.

use super::node::{DEPTH, Fault, Field, Node, Spot, VALUES, Value, Where};
use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use std::collections::{HashMap, HashSet};

/// Reads a document.
///
/// # Errors
/// Where it is not YAML, or not in one reading.
pub(super) fn read(text: &str) -> Result<Node, Fault> {
    let mut builder = Builder {
        root: None,
        open: Vec::new(),
        anchors: HashMap::new(),
        left: VALUES,
    };
    one_kind_of_break(text)?;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| not_yaml(&error))?;
        builder.take(event, spot(&span))?;
    }
    builder.root.ok_or_else(|| {
        fault(
            Spot { line: 1, column: 1 },
            "the document is empty; expected an OpenAPI document",
        )
    })
}

/// Refuses characters that end a line in YAML 1.1 and none in YAML 1.2: what follows them is a field to some readers.
fn one_kind_of_break(text: &str) -> Result<(), Fault> {
    let ends_a_line = |c: char| matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}');
    let Some(at) = text.find(ends_a_line) else {
        return Ok(());
    };
    let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let line = text[..at].rsplit('\n').next().unwrap_or_default();
    let place = Spot {
        line: short(1 + text[..at].matches('\n').count()),
        column: short(1 + line.chars().count()),
    };
    let code = text[at..].chars().next().map_or(0, u32::from);
    Err(fault(
        place,
        format!(
            "U+{code:04X} ends a line in YAML 1.1, and in YAML 1.2 it does not; leave it out, or write \"\\u{code:04X}\" in a quoted text"
        ),
    ))
}

fn spot(span: &Span) -> Spot {
    let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Spot {
        line: short(span.start.line()),
        column: short(span.start.col().saturating_add(1)),
    }
}

fn fault(at: Spot, what: impl Into<String>) -> Fault {
    Fault {
        place: Where {
            pointer: String::new(),
            spot: at,
        },
        what: what.into(),
    }
}

fn not_yaml(error: &ScanError) -> Fault {
    let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let at = Spot {
        line: short(error.marker().line()),
        column: short(error.marker().col().saturating_add(1)),
    };
    let why = super::text::plain(&error.info(), 200);
    fault(at, format!("this is not YAML: {why}"))
}

/// A list or a map that has not ended.
struct Open {
    at: Spot,
    anchor: usize,
    kind: Kind,
    /// How many values it has so far, itself too.
    values: usize,
}

enum Kind {
    List(Vec<Node>),
    Map {
        fields: Vec<Field>,
        keys: HashSet<Box<str>>,
        /// A key whose value has not come.
        key: Option<(Box<str>, Spot)>,
    },
}

struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    /// What an alias stands for, and how many values that is.
    anchors: HashMap<usize, (Node, usize)>,
    left: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, at: Spot) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => Err(fault(
                at,
                "a second document begins here; expected one document in a file",
            )),
            Event::Scalar(text, style, anchor, tag) => {
                self.pay(1, at)?;
                let value = scalar(&text, style, tag.as_deref(), at)?;
                let node = Node { value, at };
                self.keep(anchor, &node, 1, at)?;
                self.place(node, 1)
            }
            Event::SequenceStart(_, anchor, tag) => {
                allow(tag.as_deref(), "seq", at)?;
                self.begin(anchor, at, Kind::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                allow(tag.as_deref(), "map", at)?;
                let kind = Kind::Map {
                    fields: Vec::new(),
                    keys: HashSet::new(),
                    key: None,
                };
                self.begin(anchor, at, kind)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => {
                let Some((node, values)) = self.anchors.get(&anchor) else {
                    return Err(fault(at, "this alias stands within what it names"));
                };
                let (node, values) = (node.clone(), *values);
                self.pay(values, at)?;
                self.place(node, values)
            }
            _ => Ok(()),
        }
    }

    /// Each value counts, and one that an alias brings counts again.
    fn pay(&mut self, values: usize, at: Spot) -> Result<(), Fault> {
        match self.left.checked_sub(values) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(fault(
                at,
                format!("a document has {VALUES} values at most, its aliases written out"),
            )),
        }
    }

    fn begin(&mut self, anchor: usize, at: Spot, kind: Kind) -> Result<(), Fault> {
        self.pay(1, at)?;
        let is_key = |open: &Open| matches!(&open.kind, Kind::Map { key: None, .. });
        if self.open.last().is_some_and(is_key) {
            return Err(fault(at, "a key is a text here, not a list or a map"));
        }
        if self.open.len() >= DEPTH {
            let what = format!("values stand more than {DEPTH} deep in one another");
            return Err(fault(at, what));
        }
        self.open.push(Open {
            at,
            anchor,
            kind,
            values: 1,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let ended = self.open.pop().expect("the parser ends what it began");
        let value = match ended.kind {
            Kind::List(items) => Value::List(items),
            Kind::Map { fields, .. } => Value::Map(fields),
        };
        let node = Node {
            value,
            at: ended.at,
        };
        self.keep(ended.anchor, &node, ended.values, ended.at)?;
        self.place(node, ended.values)
    }

    /// What has an anchor is kept for its aliases, and paid for.
    fn keep(&mut self, anchor: usize, node: &Node, values: usize, at: Spot) -> Result<(), Fault> {
        if anchor > 0 {
            self.pay(values, at)?;
            self.anchors.insert(anchor, (node.clone(), values));
        }
        Ok(())
    }

    /// Puts a value where the next one belongs.
    fn place(&mut self, node: Node, values: usize) -> Result<(), Fault> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.values += values;
        match &mut open.kind {
            Kind::List(items) => items.push(node),
            Kind::Map { fields, keys, key } => match key.take() {
                Some((key, at)) => fields.push(Field { key, at, node }),
                None => {
                    let text: Box<str> = match node.value {
                        Value::Text(text) => text,
                        Value::Null => "null".into(),
                        Value::List(_) | Value::Map(_) => {
                            let what = "a key is a text here, not a list or a map";
                            return Err(fault(node.at, what));
                        }
                    };
                    if !keys.insert(text.clone()) {
                        let shown = super::text::plain(&text, 60);
                        let what = format!("the key `{shown}` stands twice in one map");
                        return Err(fault(node.at, what));
                    }
                    *key = Some((text, node.at));
                }
            },
        }
        Ok(())
    }
}

/// Nothing, or the text. What the core schema reads as a number or a boolean stays as it is written.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Spot) -> Result<Value, Fault> {
    allow(tag, "str", at)?;
    let plain = matches!(style, ScalarStyle::Plain) && tag.is_none();
    if plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Ok(Value::Null);
    }
    Ok(Value::Text(text.into()))
}

/// A tag may say what the value is anyway.
fn allow(tag: Option<&Tag>, kind: &str, at: Spot) -> Result<(), Fault> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix() == kind) => {
            let shown = super::text::plain(&tag.to_string(), 60);
            let what = format!(
                "the tag `{shown}` is not read; expected a document in one file, its values written out"
            );
            Err(fault(at, what))
        }
        _ => Ok(()),
    }
}
