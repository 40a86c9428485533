//! A document as it was read, JSON or YAML alike: nothing, a text, a list, or fields in their order.
//!
//! Numbers and booleans are the text that they were written with: nothing that is asked of a document here is a number.
//! A [`Cursor`] is a value with the way to it, so that whatever is wrong can be said with its place.

use std::fmt;

/// How deep values may stand in one another; more than any description of an API needs.
pub(super) const DEPTH: usize = 128;

/// How many values a document may have, aliases written out: some hundreds of MiB of memory at most.
pub(super) const VALUES: usize = 4_000_000;

/// A value, and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub value: Value,
    pub at: Spot,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Text(Box<str>),
    List(Vec<Node>),
    Map(Vec<Field>),
}

/// One field of a map; its key is there once.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub key: Box<str>,
    /// Where the key stands.
    pub at: Spot,
    pub node: Node,
}

/// Line and column, counted from 1; zeroes where the reader does not know them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Spot {
    pub line: u32,
    pub column: u32,
}

/// A place in a document: a JSON pointer, and the line where the reader knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Where {
    pub pointer: String,
    pub spot: Spot,
}

impl Where {
    /// The pointer as a line may hold it.
    pub fn shown_pointer(&self) -> String {
        super::text::plain(&self.pointer, 200)
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.spot.line > 0 {
            write!(f, "line {}, ", self.spot.line)?;
        }
        write!(f, "#{}", self.shown_pointer())
    }
}

/// Something that keeps a document from being read in one way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    pub place: Where,
    /// What is wrong and what was expected; lower case, no full stop.
    pub what: String,
}

/// A value in a document, with the way to it.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'d> {
    pub node: &'d Node,
    pub place: Where,
}

impl<'d> Cursor<'d> {
    pub(super) fn root(node: &'d Node) -> Self {
        Cursor {
            node,
            place: Where {
                pointer: String::new(),
                spot: node.at,
            },
        }
    }

    /// A fault here.
    pub(super) fn fault(&self, what: impl Into<String>) -> Fault {
        Fault {
            place: self.place.clone(),
            what: what.into(),
        }
    }

    /// All fields.
    ///
    /// # Errors
    /// When this is no map, or one with a merge key: YAML 1.1 would fill it with fields that YAML 1.2 does not see.
    pub(super) fn fields(&self, expected: &str) -> Result<Vec<(&'d str, Cursor<'d>)>, Fault> {
        self.fields_where(expected, |_| true)
    }

    /// The fields whose keys are wanted.
    ///
    /// # Errors
    /// As [`Cursor::fields`].
    pub(super) fn fields_where(
        &self,
        expected: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<(&'d str, Cursor<'d>)>, Fault> {
        let Value::Map(fields) = &self.node.value else {
            return Err(self.fault(format!("expected {expected}, found {}", self.kind())));
        };
        if fields.iter().any(|field| &*field.key == "<<") {
            return Err(self.child("<<", self.node).fault(
                "a merge key has a meaning in YAML 1.1 alone: write the fields out in its place",
            ));
        }
        let wanted = fields.iter().filter(|field| wanted(&field.key));
        Ok(wanted
            .map(|field| (&*field.key, self.of_field(field)))
            .collect())
    }

    /// A field.
    ///
    /// # Errors
    /// As [`Cursor::fields`].
    pub(super) fn field(&self, key: &str, expected: &str) -> Result<Option<Cursor<'d>>, Fault> {
        if let Value::Map(fields) = &self.node.value
            && !fields.iter().any(|field| &*field.key == "<<")
        {
            let found = fields.iter().find(|field| &*field.key == key);
            return Ok(found.map(|field| self.of_field(field)));
        }
        self.fields(expected).map(|_| None)
    }

    /// How many values there are in it, itself too.
    pub(super) fn weight(&self) -> usize {
        fn of(node: &Node) -> usize {
            1 + match &node.value {
                Value::Null | Value::Text(_) => 0,
                Value::List(items) => items.iter().map(of).sum(),
                Value::Map(fields) => fields.iter().map(|field| of(&field.node)).sum(),
            }
        }
        of(self.node)
    }

    /// How many fields or items it has.
    pub(super) fn len(&self) -> usize {
        match &self.node.value {
            Value::Null | Value::Text(_) => 0,
            Value::List(items) => items.len(),
            Value::Map(fields) => fields.len(),
        }
    }

    /// All items.
    ///
    /// # Errors
    /// When this is no list.
    pub(super) fn items(&self, expected: &str) -> Result<Vec<Cursor<'d>>, Fault> {
        match &self.node.value {
            Value::List(items) => Ok(items
                .iter()
                .enumerate()
                .map(|(at, node)| self.child(&at.to_string(), node))
                .collect()),
            _ => Err(self.fault(format!("expected {expected}, found {}", self.kind()))),
        }
    }

    /// The text.
    ///
    /// # Errors
    /// When this is none.
    pub(super) fn text(&self, expected: &str) -> Result<&'d str, Fault> {
        self.as_text()
            .ok_or_else(|| self.fault(format!("expected {expected}, found {}", self.kind())))
    }

    pub(super) fn as_text(&self) -> Option<&'d str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self.node.value {
            Value::Null => "nothing (null)",
            Value::Text(_) => "a text, a number or a boolean",
            Value::List(_) => "a list",
            Value::Map(_) => "an object",
        }
    }

    fn of_field(&self, field: &'d Field) -> Cursor<'d> {
        let mut child = self.child(&field.key, &field.node);
        child.place.spot = field.at;
        child
    }

    fn child(&self, key: &str, node: &'d Node) -> Cursor<'d> {
        let key = key.replace('~', "~0").replace('/', "~1");
        Cursor {
            node,
            place: Where {
                pointer: format!("{}/{key}", self.place.pointer),
                spot: node.at,
            },
        }
    }

    /// The value at a JSON pointer (RFC 6901), as a `$ref` has it after `#`.
    pub(super) fn at_pointer(&self, pointer: &str) -> Option<Cursor<'d>> {
        let mut here = self.clone();
        if pointer.is_empty() {
            return Some(here);
        }
        for part in pointer.strip_prefix('/')?.split('/') {
            let key = part.replace("~1", "/").replace("~0", "~");
            here = match &here.node.value {
                Value::Map(fields) => {
                    let field = fields.iter().find(|field| *field.key == *key)?;
                    here.of_field(field)
                }
                Value::List(items) => here.child(&key, items.get(key.parse::<usize>().ok()?)?),
                Value::Null | Value::Text(_) => return None,
            };
        }
        Some(here)
    }
}
