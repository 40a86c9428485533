//! Reloads as events: each generation says what it changed, who asked for it, and stays told for a while.

mod support;

use serde_json::Value;
use support::{Folder, Gateway, ROUTES};

fn policy(gateway: &Gateway) -> Value {
    gateway.admin("/status").json()["policy"].clone()
}

/// The last generation, once there are so many and it is known what it changed.
fn generation(gateway: &Gateway, number: u64) -> Value {
    let known = |history: &Value| {
        let last = history.as_array().and_then(|all| all.last());
        last.is_some_and(|last| last["generation"] == number && !last["access"].is_null())
    };
    let history = gateway.eventually(|| policy(gateway)["history"].clone(), known);
    history
        .as_array()
        .expect("a list")
        .last()
        .expect("one")
        .clone()
}

fn told(past: &Value) -> (String, u64, u64, u64) {
    let count = |name: &str| past[name].as_u64().expect(name);
    (
        past["access"].as_str().expect("a word").to_owned(),
        count("widened"),
        count("narrowed"),
        count("rerouted"),
    )
}

#[test]
fn a_generation_says_what_it_changed_and_a_refused_edit_is_none() {
    let folder = Folder::new(([127, 0, 0, 1], 9).into(), "", ROUTES);
    let gateway = folder.start();
    let first = &policy(&gateway)["history"][0];
    assert_eq!(
        (first["generation"].as_u64(), first["trigger"].as_str()),
        (Some(1), Some("start"))
    );
    assert!(first["access"].is_null(), "{first}");

    let wider = format!("{ROUTES}[[routes]]\npath = \"/reports\"\nscope = \"authOnly\"\n");
    folder.write("routes.toml", &wider);
    let second = generation(&gateway, 2);
    assert_eq!(told(&second), ("widened".to_owned(), 1, 0, 0), "{second}");
    assert_eq!(second["trigger"], "files");
    assert_eq!(second["hash"], policy(&gateway)["hash"]);
    assert_eq!(
        second["routes"].as_u64(),
        first["routes"].as_u64().map(|n| n + 1)
    );
    let line = gateway.wait_for_log(|line| line.contains("what the configuration changed"));
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        (line["access"].as_str(), line["widened"].as_u64()),
        (Some("widened"), Some(1)),
        "{line}"
    );

    folder.write("routes.toml", "no policy");
    gateway.eventually(|| policy(&gateway), |p| p["reloads_refused"] == 1);
    folder.write("routes.toml", ROUTES);
    let third = generation(&gateway, 3);
    assert_eq!(told(&third), ("narrowed".to_owned(), 0, 1, 0), "{third}");

    let elsewhere = ROUTES.replace(
        "path = \"/only-get\"",
        "path = \"/only-get\"\nadd_prefix = \"/v9\"",
    );
    folder.write("routes.toml", &elsewhere);
    let fourth = generation(&gateway, 4);
    assert_eq!(told(&fourth), ("unchanged".to_owned(), 0, 0, 1), "{fourth}");

    folder.write("routes.toml", &format!("# no rule\n{elsewhere}"));
    let fifth = generation(&gateway, 5);
    assert_eq!(told(&fifth), ("unchanged".to_owned(), 0, 0, 0), "{fifth}");
    let history = policy(&gateway)["history"]
        .as_array()
        .expect("a list")
        .len();
    assert_eq!(history, 5);
}

#[test]
fn the_last_twenty_stay_told() {
    let folder = Folder::new(([127, 0, 0, 1], 9).into(), "", ROUTES);
    let gateway = folder.start();
    for number in 2..=23 {
        folder.write("routes.toml", &format!("# {number}\n{ROUTES}"));
        generation(&gateway, number);
    }
    let history = policy(&gateway)["history"].clone();
    let numbers: Vec<u64> = history
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|past| past["generation"].as_u64())
        .collect();
    assert_eq!(numbers, (4..=23).collect::<Vec<_>>());
}
