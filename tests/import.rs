//! `keygate import`: what it makes of documents, through the binary, and that what is made lets in whom the document does.
//!
//! `KEYGATE_BLESS=1 cargo test --test import` writes the policy that is kept beside its document anew; read the difference.

#[path = "import/access.rs"]
mod access;
#[path = "import/command.rs"]
mod command;
#[path = "import/documents.rs"]
mod documents;
#[path = "import/hostile.rs"]
mod hostile;
#[path = "import/paths.rs"]
mod paths;
#[path = "import/property.rs"]
mod property;
#[path = "import/sheet.rs"]
mod sheet;
mod support;

use keygate::config::load_texts;
use keygate::key::ScopeName;
use keygate::policy::{Asked, NO_LIMITS, Policy};
use serde_json::{Value, json};
use sheet::{Imported, import, import_with};
use std::path::Path;
use support::Folder;

const MAIN: &str = "include = [\"routes.toml\"]\n[upstreams.app]\nservers = [\"http://127.0.0.1:9000\"]\n[keys]\nstore = \"sqlite:keys.db\"\nsecret = \"secret\"\n";

/// A document of the tests' data.
fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/openapi")
        .join(name)
}

/// The policy of a configuration's text.
fn policy(routes: &str) -> Policy {
    match load_texts(MAIN, &[("routes.toml", routes)]) {
        Ok(loaded) => loaded.hot.policy,
        Err(problems) => panic!("{problems}\n{routes}"),
    }
}

/// Whether a key of the scope (`anyone`: no key) may make the request.
fn may(policy: &Policy, request: &str, who: &str) -> bool {
    let (method, target) = request.split_once(' ').expect(request);
    let asked = Asked {
        method: method.parse().expect("a method"),
        target: target.to_owned(),
        host: None,
    };
    let scope = (who != "anyone").then(|| ScopeName::parse(who).expect(who));
    policy
        .verdict(&asked, &NO_LIMITS, scope.as_ref())
        .outcome
        .is_ok()
}

/// Those of these who may.
fn who_may<'w>(policy: &Policy, request: &str, who: &[&'w str]) -> Vec<&'w str> {
    who.iter()
        .copied()
        .filter(|who| may(policy, request, who))
        .collect()
}

fn document(paths: Value) -> Value {
    json!({"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": paths})
}

#[test]
fn the_policy_of_a_document_is_the_one_that_is_kept_and_says_what_it_leaves_out() {
    let made = import(&data("shelter.yaml"), &[]);
    made.succeeds();
    let kept = data("shelter.toml");
    if std::env::var_os("KEYGATE_BLESS").is_some() {
        std::fs::write(&kept, &made.stdout).unwrap();
    }
    assert_eq!(made.stdout, std::fs::read_to_string(&kept).unwrap());
    for said in [
        "shelter.yaml:88:5: GET /animals/{animal.id}/photo-{size}.jpg is left out: `photo-{size}.jpg` mixes text and braces",
        "shelter.yaml:96:5: TRACE /health is left out: this method is never let through (#/paths/~1health/trace)",
        "webhooks are requests that the API makes",
        "12 operations have routes",
        "3 of them need no key, as the document says: GET /v1/animals, HEAD /v1/animals/{animal_id}, GET /v1/health",
    ] {
        assert!(made.stderr.contains(said), "{said}\n{}", made.stderr);
    }
}

#[test]
fn what_is_imported_is_clean_to_check_and_every_route_is_tested() {
    for name in ["shelter.yaml", "chat.json"] {
        let made = import(&data(name), &[]);
        let folder = Folder::with_main(MAIN, &made.stdout);
        let checked = folder.keygate(&["check", "--deny", "warnings"]);
        assert!(checked.status.success(), "{name}: {}", checked.stderr);
        assert!(!checked.stderr.contains("warning"), "{}", checked.stderr);
        let tested = folder.keygate(&["test", "--coverage=100"]);
        assert!(tested.status.success(), "{name}: {}", tested.stdout);
    }
}

#[test]
fn what_is_closed_of_two_paths_is_clean_to_check() {
    let of = |scope: &str| json!({"security": [{"o": [scope]}]});
    let made = Imported::of(&document(json!({
        "/orders/{id}": {"get": of("r"), "delete": of("w")},
        "/{kind}/orders": {"get": of("w"), "put": of("w")},
        "/{any}/{thing}": {"patch": of("r")},
    })));
    made.succeeds();
    let folder = Folder::with_main(MAIN, &made.stdout);
    let checked = folder.keygate(&["check", "--deny", "warnings"]);
    assert!(checked.status.success(), "{}", checked.stderr);
    let policy = policy(&made.stdout);
    for method in ["GET", "DELETE", "PUT", "PATCH"] {
        let request = format!("{method} /orders/orders");
        assert_eq!(
            who_may(&policy, &request, &["r", "w"]),
            [""; 0],
            "{request}"
        );
    }
}

#[test]
fn the_chat_api_described_is_the_sample_policy() {
    let made = import(&data("chat.json"), &[]);
    made.succeeds();
    let imported = policy(&made.stdout);
    let sample = include_str!("../config/routes.toml").replace("\"chat\"", "\"app\"");
    let sample = policy(&sample);
    let mut rows = 0;
    for line in include_str!("data/routes.tsv").lines() {
        let cells: Vec<&str> = line.split('\t').collect();
        let filled: Vec<&str> = (cells[1].split('/'))
            .map(|segment| {
                if segment.starts_with('{') {
                    "17"
                } else {
                    segment
                }
            })
            .collect();
        for prefix in ["/v3", "/v3.0"] {
            let request = format!("{} {prefix}{}", cells[0], filled.join("/"));
            let who = ["anyone", "authOnly", "fullAccess"];
            let [ours, theirs] = [&imported, &sample].map(|policy| who_may(policy, &request, &who));
            assert_eq!(ours, theirs, "{request}");
            rows += 1;
        }
    }
    assert_eq!(rows, 256);
}
