//! Shapes as JSON Schema, draft-07.
//!
//! Beside a `$ref` that draft ignores whatever stands there, and Taplo shows no description beside an `allOf`; so what is
//! shared is a whole field, with its description. Alternatives of different types are one schema where that says the same:
//! then an editor says "does not match" with a reason, and not that it is none of several.

use super::shape::{Field, Shape, Table};
use serde::ser::{Serialize, SerializeMap, Serializer};
use toml::de::{DeTable, DeValue};

/// A JSON value whose tables keep their order.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Json {
    Text(String),
    Whole(u64),
    Bool(bool),
    List(Vec<Json>),
    Table(Keywords),
}

/// A table, by name in the order of writing.
type Keywords = Vec<(String, Json)>;

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Text(text) => text.serialize(serializer),
            Json::Whole(number) => number.serialize(serializer),
            Json::Bool(value) => value.serialize(serializer),
            Json::List(items) => items.serialize(serializer),
            Json::Table(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (name, value) in entries {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

/// The whole schema of a file.
pub(super) fn document(title: &str, about: &str, root: &Table) -> String {
    let mut definitions = Keywords::new();
    let mut schema = vec![
        entry("$schema", text("http://json-schema.org/draft-07/schema#")),
        entry("title", text(title)),
        entry("description", text(about)),
    ];
    schema.extend(table(root, &mut definitions));
    if !definitions.is_empty() {
        schema.push(entry("definitions", Json::Table(definitions)));
    }
    let mut written = serde_json::to_string_pretty(&Json::Table(schema))
        .expect("text, numbers, lists and tables can be written");
    written.push('\n');
    written
}

fn entry(name: &str, value: Json) -> (String, Json) {
    (name.to_owned(), value)
}

fn text(text: &str) -> Json {
    Json::Text(text.to_owned())
}

fn texts<'t>(texts: impl IntoIterator<Item = &'t str>) -> Json {
    Json::List(texts.into_iter().map(text).collect())
}

fn of_type(name: &str) -> Keywords {
    vec![entry("type", text(name))]
}

fn field(field: &Field, definitions: &mut Keywords) -> Json {
    let Some(name) = field.shared else {
        return Json::Table(described(field, definitions));
    };
    if !definitions.iter().any(|(known, _)| known == name) {
        let definition = described(field, definitions);
        definitions.push(entry(name, Json::Table(definition)));
    }
    let reference = text(&format!("#/definitions/{name}"));
    Json::Table(vec![entry("$ref", reference)])
}

/// A field's description, then what it may be, then its default and examples.
fn described(field: &Field, definitions: &mut Keywords) -> Keywords {
    // Not every editor shows a default or an example by itself.
    let shown = match (field.default, field.examples.first()) {
        (Some(default), _) => format!(" Default: `{default}`."),
        (None, Some(example)) => format!(" Example: `{example}`."),
        (None, None) => String::new(),
    };
    let about = format!("{}{shown}", field.about);
    let mut keywords = vec![entry("description", text(&about))];
    keywords.extend(shape(&field.shape, definitions));
    if let Some(default) = field.default {
        keywords.push(entry("default", value(default)));
    }
    if !field.examples.is_empty() {
        let examples = field.examples.iter().map(|toml| value(toml)).collect();
        keywords.push(entry("examples", Json::List(examples)));
    }
    keywords
}

fn shape(of: &Shape, definitions: &mut Keywords) -> Keywords {
    match of {
        Shape::Text(pattern) => {
            let mut keywords = of_type("string");
            if !pattern.is_empty() {
                keywords.push(entry("pattern", text(pattern)));
            }
            keywords
        }
        Shape::Words(words) => {
            let mut keywords = of_type("string");
            keywords.push(entry("enum", texts(words.iter().copied())));
            keywords
        }
        Shape::Whole(least, most) => {
            let mut keywords = of_type("integer");
            keywords.push(entry("minimum", Json::Whole(*least)));
            keywords.push(entry("maximum", Json::Whole(*most)));
            keywords
        }
        Shape::Bool => of_type("boolean"),
        Shape::False => vec![entry("const", Json::Bool(false))],
        Shape::List(of, least) => {
            let mut keywords = of_type("array");
            keywords.push(entry("items", Json::Table(shape(of, definitions))));
            if *least > 0 {
                keywords.push(entry("minItems", Json::Whole(*least as u64)));
            }
            keywords
        }
        Shape::Table(of) => table(of, definitions),
        Shape::Names(pattern, of) => {
            let mut keywords = of_type("object");
            let of = Json::Table(shape(of, definitions));
            keywords.push(entry(
                "patternProperties",
                Json::Table(vec![entry(pattern, of)]),
            ));
            keywords.push(entry("additionalProperties", Json::Bool(false)));
            keywords
        }
        Shape::Any(shapes) => any(shapes, definitions),
    }
}

fn table(of: &Table, definitions: &mut Keywords) -> Keywords {
    let mut keywords = of_type("object");
    let fields = &of.fields;
    let properties = fields.iter().map(|f| entry(f.name, field(f, definitions)));
    let properties = properties.collect();
    keywords.push(entry("properties", Json::Table(properties)));
    keywords.push(entry("additionalProperties", Json::Bool(false)));
    let required: Vec<&str> = (fields.iter().filter(|f| f.required))
        .map(|f| f.name)
        .collect();
    if !required.is_empty() {
        keywords.push(entry("required", texts(required)));
    }
    let needs = fields
        .iter()
        .filter_map(|f| Some(entry(f.name, texts([f.needs?]))));
    let needs: Keywords = needs.collect();
    if !needs.is_empty() {
        keywords.push(entry("dependencies", Json::Table(needs)));
    }
    for (keyword, names) in [("oneOf", of.one_of), ("anyOf", of.any_of)] {
        if !names.is_empty() {
            let alternatives = names
                .iter()
                .map(|name| Json::Table(vec![entry("required", texts([*name]))]));
            keywords.push(entry(keyword, Json::List(alternatives.collect())));
        }
    }
    keywords
}

/// One of several shapes: as one schema of several types as far as no keyword of one speaks of another.
fn any(shapes: &[Shape], definitions: &mut Keywords) -> Keywords {
    let mut types = Vec::new();
    let mut joined = Keywords::new();
    let mut others = Vec::new();
    for of in flat(shapes) {
        let mut keywords = shape(of, definitions);
        match of {
            Shape::Words(_) | Shape::False => others.push(Json::Table(keywords)),
            _ => {
                let (_, of_type) = keywords.remove(0);
                assert!(
                    !types.contains(&of_type),
                    "alternatives differ by type: {of:?}"
                );
                types.push(of_type);
                joined.extend(keywords);
            }
        }
    }
    let of_type = match types.len() {
        1 => types.remove(0),
        _ => Json::List(types),
    };
    joined.insert(0, entry("type", of_type));
    if others.is_empty() {
        return joined;
    }
    others.push(Json::Table(joined));
    vec![entry("anyOf", Json::List(others))]
}

fn flat(shapes: &[Shape]) -> Vec<&Shape> {
    let each = shapes.iter().map(|shape| match shape {
        Shape::Any(inner) => flat(inner),
        _ => vec![shape],
    });
    each.flatten().collect()
}

/// A value that is written as TOML.
pub(super) fn value(toml: &str) -> Json {
    let text = format!("value = {toml}");
    let table = DeTable::parse(&text).expect("defaults and examples are TOML");
    let (_, value) = table.get_ref().iter().next().expect("there is a value");
    json(value.get_ref())
}

/// A whole file.
#[cfg(test)]
pub(super) fn document_of(toml: &str) -> Json {
    let table = DeTable::parse(toml).expect("TOML").into_inner();
    json(&DeValue::Table(table))
}

fn json(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => Json::Text(text.to_string()),
        DeValue::Integer(number) => {
            let number = u64::from_str_radix(number.as_str(), number.radix());
            Json::Whole(number.expect("a number of 64 bits"))
        }
        DeValue::Boolean(value) => Json::Bool(*value),
        DeValue::Array(items) => Json::List(items.iter().map(|v| json(v.get_ref())).collect()),
        DeValue::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(name, _)| name.span().start);
            let entries = entries.into_iter();
            Json::Table(
                entries
                    .map(|(name, v)| entry(name.get_ref(), json(v.get_ref())))
                    .collect(),
            )
        }
        DeValue::Float(_) | DeValue::Datetime(_) => {
            unreachable!("no field is a fraction or a date")
        }
    }
}
