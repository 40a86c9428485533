//! JSON to a [`Node`]: no key twice, no deeper and no more than a document may be.
//!
//! RFC 8259 leaves open what two equal keys mean; the parsers of others take the first or the last. A document that has
//! them is read in two ways, and so not at all.

use super::node::{DEPTH, Fault, Field, Node, Spot, VALUES, Value, Where};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

/// Reads a document.
///
/// # Errors
/// Where it is not JSON, or not in one reading.
pub(super) fn read(text: &str) -> Result<Node, Fault> {
    let left = Cell::new(VALUES);
    let mut reader = serde_json::Deserializer::from_str(text);
    let root = Seed {
        left: &left,
        depth: DEPTH,
    };
    let node = root.deserialize(&mut reader);
    node.and_then(|node| reader.end().map(|()| node))
        .map_err(|error| fault(&error))
}

fn fault(error: &serde_json::Error) -> Fault {
    let whole = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let what = whole.strip_suffix(&*place).unwrap_or(&whole);
    let short = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Fault {
        place: Where {
            pointer: String::new(),
            spot: Spot {
                line: short(error.line()),
                column: short(error.column()),
            },
        },
        what: format!("this is not JSON in one reading: {what}"),
    }
}

/// A value that is to be read, so deep at most.
#[derive(Clone, Copy)]
struct Seed<'l> {
    left: &'l Cell<usize>,
    depth: usize,
}

impl Seed<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Seed { depth, ..self }),
            None => Err(E::custom(format_args!(
                "values stand more than {DEPTH} deep in one another"
            ))),
        }
    }

    fn text<E>(self, text: impl Into<Box<str>>) -> Result<Node, E> {
        Ok(node(Value::Text(text.into())))
    }
}

fn node(value: Value) -> Node {
    Node {
        value,
        at: Spot::default(),
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => {
                return Err(de::Error::custom(format_args!(
                    "a document has {VALUES} values at most"
                )));
            }
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(node(Value::Null))
    }

    fn visit_bool<E: de::Error>(self, it: bool) -> Result<Node, E> {
        self.text(it.to_string())
    }

    fn visit_i64<E: de::Error>(self, it: i64) -> Result<Node, E> {
        self.text(it.to_string())
    }

    fn visit_u64<E: de::Error>(self, it: u64) -> Result<Node, E> {
        self.text(it.to_string())
    }

    fn visit_f64<E: de::Error>(self, it: f64) -> Result<Node, E> {
        self.text(format!("{it:?}"))
    }

    fn visit_str<E: de::Error>(self, it: &str) -> Result<Node, E> {
        self.text(it)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let deeper = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(deeper)? {
            list.push(item);
        }
        Ok(node(Value::List(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let deeper = self.deeper()?;
        let mut fields: Vec<Field> = Vec::new();
        let mut keys = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if !keys.insert(key.clone()) {
                let key = super::text::plain(&key, 60);
                return Err(de::Error::custom(format_args!(
                    "the key `{key}` stands twice in one object"
                )));
            }
            let node = entries.next_value_seed(deeper)?;
            fields.push(Field {
                key: key.into(),
                at: Spot::default(),
                node,
            });
        }
        Ok(node(Value::Map(fields)))
    }
}
