//! The fields that are described, held to the readers: a value is put into each, and both say what they think of it.

use super::shape::{Field, Shape, Table};
use super::{SchemaOf, json, policy, process, root, schema};
use crate::config::fields::asked;
use crate::config::load::PROCESS_TABLES;
use crate::config::{Loaded, Problems, load_texts};
use jsonschema::Validator;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// A way on into a document.
#[derive(Clone, PartialEq, Debug)]
enum Step {
    Key(&'static str),
    /// The first item of a list.
    Item,
    /// A field whose name is the operator's.
    Name,
}

/// A field that is described, and the tables that it stands in.
struct Spot {
    steps: Vec<Step>,
    tables: Vec<(Vec<Step>, Table)>,
    field: Field,
}

impl Spot {
    /// As readers call it: `upstreams.*.health.path`.
    fn name(&self) -> String {
        name(&self.steps)
    }
}

fn name(steps: &[Step]) -> String {
    let names = steps.iter().filter_map(|step| match step {
        Step::Key(name) => Some(*name),
        Step::Name => Some("*"),
        Step::Item => None,
    });
    names.collect::<Vec<_>>().join(".")
}

/// The name of the one upstream, and of the first scope.
const CHAT: &str = "chat";

fn spots() -> Vec<Spot> {
    let mut spots = Vec::new();
    of_table(&root(SchemaOf::Main), &[], &[], &mut spots);
    spots
}

fn of_table(table: &Table, steps: &[Step], above: &[(Vec<Step>, Table)], spots: &mut Vec<Spot>) {
    let tables = [above, &[(steps.to_vec(), table.clone())]].concat();
    for field in &table.fields {
        let steps = [steps, &[Step::Key(field.name)]].concat();
        spots.push(Spot {
            steps: steps.clone(),
            tables: tables.clone(),
            field: field.clone(),
        });
        of_shape(&field.shape, &steps, &tables, spots);
    }
}

fn of_shape(shape: &Shape, steps: &[Step], tables: &[(Vec<Step>, Table)], spots: &mut Vec<Spot>) {
    match shape {
        Shape::Table(table) => of_table(table, steps, tables, spots),
        Shape::List(of, _) => of_shape(of, &[steps, &[Step::Item]].concat(), tables, spots),
        Shape::Names(_, of) => of_shape(of, &[steps, &[Step::Name]].concat(), tables, spots),
        Shape::Any(shapes) => shapes
            .iter()
            .for_each(|s| of_shape(s, steps, tables, spots)),
        Shape::Text(_) | Shape::Words(_) | Shape::Whole(..) | Shape::Bool | Shape::False => {}
    }
}

/// A configuration that is fine, in which every example is too.
fn base() -> Value {
    json!({
        "server": { "tls": { "cert": "cert.pem", "key": "key.pem" } },
        "upstreams": { CHAT: { "servers": ["https://chat.internal"] } },
        "scopes": { "authOnly": [], "fullAccess": ["authOnly"] },
        "defaults": { "upstream": CHAT },
        "routes": [
            { "path": ["/api/{*rest}", "/{*rest}"], "scope": "fullAccess" },
            { "path": "/another", "scope": "fullAccess" },
        ],
    })
}

/// What stands at a place that is made where it is not there.
fn at<'d>(document: &'d mut Value, steps: &[Step]) -> &'d mut Value {
    let mut here = document;
    for step in steps {
        here = match step {
            Step::Item => {
                if !here.is_array() {
                    *here = json!([{}]);
                }
                &mut here[0]
            }
            Step::Key(name) => &mut here[*name],
            Step::Name => &mut here[CHAT],
        };
    }
    here
}

/// A document with all that a field needs around it, but for the field itself.
fn around(spot: &Spot) -> Value {
    let mut document = base();
    for (steps, table) in &spot.tables {
        let here = at(&mut document, steps);
        if !here.is_object() {
            *here = json!({});
        }
        let on_the_way = match spot.steps[steps.len()] {
            Step::Key(name) => name,
            _ => unreachable!("a field of a table has a name"),
        };
        let mut wanted: Vec<&str> = Vec::new();
        for field in &table.fields {
            if field.required {
                wanted.push(field.name);
            }
            if field.name == on_the_way {
                wanted.extend(field.needs);
            }
        }
        if table.one_of.contains(&on_the_way) {
            let others = here.as_object_mut().unwrap();
            others.retain(|name, _| name == on_the_way || !table.one_of.contains(&&**name));
        }
        for names in [table.one_of, table.any_of] {
            let is_there = |name: &&str| *name == on_the_way || here.get(*name).is_some();
            if !names.iter().any(is_there) {
                wanted.extend(names.first());
            }
        }
        for name in wanted {
            if name != on_the_way && here.get(name).is_none() {
                let field = table.fields.iter().find(|f| f.name == name).unwrap();
                here[name] = good(field).remove(0);
            }
        }
    }
    let (last, before) = spot.steps.split_last().unwrap();
    if let (Step::Key(name), Value::Object(table)) = (last, at(&mut document, before)) {
        table.remove(*name);
    }
    document
}

/// The same with a value in the field.
fn with(spot: &Spot, value: &Value) -> Value {
    let mut document = around(spot);
    *at(&mut document, &spot.steps) = value.clone();
    document
}

/// The values that are said to be good.
fn good(field: &Field) -> Vec<Value> {
    let written = field.examples.iter().copied().chain(field.default);
    let written = written.map(|toml| serde_json::to_value(json::value(toml)).unwrap());
    written.chain(words(&field.shape)).collect()
}

fn words(shape: &Shape) -> Vec<Value> {
    match shape {
        Shape::Words(words) => words.iter().map(|w| json!(w)).collect(),
        Shape::Bool => vec![json!(true), json!(false)],
        Shape::False => vec![json!(false)],
        Shape::Any(shapes) => shapes.iter().flat_map(words).collect(),
        Shape::List(of, _) => words(of).into_iter().map(|w| json!([w])).collect(),
        _ => Vec::new(),
    }
}

/// The bounds of a number, and what lies just past them.
fn bounds(shape: &Shape) -> Vec<Value> {
    match shape {
        Shape::Whole(least, most) => {
            let below = i64::try_from(*least).unwrap() - 1;
            vec![json!(below), json!(least), json!(most), json!(most + 1)]
        }
        Shape::Any(shapes) => shapes.iter().flat_map(bounds).collect(),
        Shape::List(of, _) => bounds(of).into_iter().map(|n| json!([n])).collect(),
        _ => Vec::new(),
    }
}

/// Values of every type, that are wrong nearly everywhere.
fn strange() -> Vec<Value> {
    let alone = [
        json!("?"),
        json!(""),
        json!(7),
        json!(1.5),
        json!(true),
        json!(false),
        json!({}),
        json!({ "?": 7 }),
    ];
    let listed = alone.iter().map(|value| json!([value]));
    let mut all: Vec<Value> = listed.collect();
    all.extend(alone);
    all.push(json!([]));
    all.push(json!([[]]));
    all
}

fn toml(document: &Value) -> String {
    let entries = document.as_object().unwrap().iter();
    entries
        .map(|(name, v)| format!("{} = {}\n", json!(name), inline(v)))
        .collect()
}

fn inline(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(table) => {
            let entries = table
                .iter()
                .map(|(name, v)| format!("{} = {}", json!(name), inline(v)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        // Text, numbers and booleans are written alike.
        scalar => scalar.to_string(),
    }
}

fn read(document: &Value) -> Result<Loaded, Problems> {
    let included = "[[routes]]\npath = \"/included\"\nscope = \"fullAccess\"\n";
    let hosts = "10.0.0.7 chat.internal\n";
    load_texts(
        &toml(document),
        &[("routes.toml", included), ("hosts", hosts)],
    )
}

fn validator(of: SchemaOf) -> Validator {
    let schema: Value = serde_json::from_str(&schema(of)).unwrap();
    jsonschema::draft7::new(&schema).unwrap()
}

/// What the schemas say against the texts of a main file and of those that it includes.
pub(in crate::config) fn refusals(main: &str, included: &[&str]) -> Vec<String> {
    static SCHEMAS: LazyLock<[Validator; 2]> =
        LazyLock::new(|| [SchemaOf::Main, SchemaOf::Routes].map(validator));
    let [of_main, of_routes] = &*SCHEMAS;
    let included = included.iter().map(|text| (of_routes, *text));
    let texts = std::iter::once((of_main, main)).chain(included);
    let said = texts.flat_map(|(schema, text)| {
        let text = text.trim_start_matches('\u{feff}');
        let document = serde_json::to_value(json::document_of(text)).unwrap();
        let errors = schema.iter_errors(&document);
        errors
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect::<Vec<_>>()
    });
    said.collect()
}

#[test]
fn every_field_says_what_it_is_for_and_shows_a_value() {
    let spots = spots();
    for spot in &spots {
        let (field, name) = (&spot.field, spot.name());
        assert!(field.about.ends_with('.'), "{name}");
        let has_fields = spots.iter().any(|inner| {
            inner.steps.len() > spot.steps.len() && inner.steps.starts_with(&spot.steps)
        });
        assert!(has_fields || !good(field).is_empty(), "{name}");
        let same = |other: &&Spot| other.steps == spot.steps;
        // What may stand alone or in a list is described once for each.
        assert_eq!(spots.iter().filter(same).count(), 1, "{name}");
    }
}

#[test]
fn every_default_and_example_and_word_loads_and_the_schema_takes_it() {
    let validator = validator(SchemaOf::Main);
    let mut wrong = Vec::new();
    for spot in spots() {
        for value in good(&spot.field) {
            let document = with(&spot, &value);
            if let Err(problems) = read(&document) {
                wrong.push(format!("{} = {value}: {problems}", spot.name()));
            }
            for error in validator.iter_errors(&document) {
                wrong.push(format!("{} = {value}: the schema: {error}", spot.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What a reader has by default in another way than it would be written: statuses as one range.
const WRITTEN_OTHERWISE: &str = "upstreams.*.eject.status";

#[test]
fn a_default_is_what_holds_without_the_field() {
    let mut compared = 0;
    for spot in spots() {
        let Some(default) = spot.field.default else {
            continue;
        };
        if spot.name() == WRITTEN_OTHERWISE {
            continue;
        }
        let default = serde_json::to_value(json::value(default)).unwrap();
        let means = |document: Value| {
            let loaded = read(&document).unwrap_or_else(|p| panic!("{}: {p}", spot.name()));
            let (cold, hot) = (&loaded.cold, &loaded.hot);
            let routes = hot.policy.routes().iter();
            let routes: Vec<_> = routes.map(|r| (&r.template, &r.settings)).collect();
            let process = (
                &hot.log,
                hot.reveal,
                hot.widening,
                &hot.timeouts,
                &hot.limits,
                &hot.tls,
            );
            let policy = (
                &hot.upstreams,
                &hot.cors,
                &hot.authority,
                routes,
                &loaded.lints,
            );
            format!("{cold:?} {process:?} {policy:?}")
        };
        assert_eq!(
            means(with(&spot, &default)),
            means(around(&spot)),
            "{}",
            spot.name()
        );
        compared += 1;
    }
    assert!(compared > 50, "{compared}");
}

/// What is said of what stands elsewhere, or not where a schema could see it.
const ELSEWHERE: [&str; 8] = [
    "there is no such file",
    "there is no upstream",
    "there is no route",
    "this route leads nowhere",
    "does not declare",
    "is not declared",
    "the expectation does not hold",
    "no certificate can be for this name",
];

#[test]
fn what_the_readers_refuse_by_itself_the_schema_refuses_and_nothing_else() {
    let validator = validator(SchemaOf::Main);
    let mut wrong = Vec::new();
    let mut refused = 0;
    for spot in spots() {
        for value in strange().into_iter().chain(bounds(&spot.field.shape)) {
            let document = with(&spot, &value);
            let (name, takes) = (spot.name(), validator.is_valid(&document));
            match read(&document) {
                Ok(_) if takes => {}
                Ok(_) => wrong.push(format!("{name} = {value} loads; the schema refuses it")),
                Err(problems) => {
                    let here = |message: &str| !ELSEWHERE.iter().any(|e| message.contains(e));
                    let said = problems.0.iter().find(|p| here(&p.message));
                    refused += usize::from(said.is_some());
                    if let (Some(problem), true) = (said, takes) {
                        let message = &problem.message;
                        wrong.push(format!("{name} = {value}: {message}; the schema takes it"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(refused > 2000, "{refused}");
}

/// What a reader asks for to say that it does not stand there.
const ASKED_TO_REFUSE: [&str; 2] = ["admin.listen.tls", "admin.listen.proxy_protocol"];

#[test]
fn what_is_described_is_what_the_readers_ask_for() {
    let spots = spots();
    let described: BTreeSet<String> = spots.iter().map(Spot::name).collect();
    asked::take();
    for spot in &spots {
        for value in good(&spot.field).into_iter().chain(strange()) {
            let _ = read(&with(spot, &value));
        }
    }
    let asked: BTreeSet<String> = asked::take()
        .into_iter()
        .map(|(table, name)| match table.as_str() {
            "" => name.to_owned(),
            table => format!("{table}.{name}"),
        })
        .map(|name| name.replacen("upstreams.chat", "upstreams.*", 1))
        // What the strange values name.
        .filter(|name| !name.starts_with("upstreams.?"))
        .filter(|name| !ASKED_TO_REFUSE.contains(&name.as_str()))
        .collect();
    let missing: Vec<_> = asked.difference(&described).collect();
    assert!(
        missing.is_empty(),
        "a reader asks for these; describe them: {missing:?}"
    );
    // Names of lints are the keys of a map for their reader.
    let unknown: Vec<_> = described
        .difference(&asked)
        .filter(|name| !name.starts_with("lints."))
        .collect();
    assert!(unknown.is_empty(), "no reader asks for these: {unknown:?}");
}

#[test]
fn the_tables_of_the_main_file_alone_are_those_that_an_included_one_is_refused() {
    let names = |fields: Vec<Field>| fields.iter().map(|f| f.name).collect::<BTreeSet<_>>();
    assert_eq!(names(process::fields()), BTreeSet::from(PROCESS_TABLES));
    assert!(names(policy::fields()).is_disjoint(&BTreeSet::from(PROCESS_TABLES)));
}

#[test]
fn what_is_shared_is_the_same_wherever_it_stands() {
    let spots = spots();
    for spot in &spots {
        for other in &spots {
            if spot.field.shared.is_some() && spot.field.shared == other.field.shared {
                let (one, other) = (format!("{:?}", spot.field), format!("{:?}", other.field));
                assert_eq!(one, other, "{}", spot.name());
            }
        }
    }
}
