//! An OpenAPI document of a stranger's: a policy that loads and opens no more than is said, or faults that say where.
//!
//! An input is the document. One that begins with `{` is JSON, any other YAML, as the command takes standard input.

use keygate::config::load_texts;
use keygate::key::ScopeName;
use keygate::openapi::{Form, Imported, Note, Options, Where, import};
use keygate::policy::{Access, Target};

const MAIN: &str =
    "include = [\"routes.toml\"]\n[upstreams.app]\nservers = [\"http://127.0.0.1:9000\"]\n";

/// Tries one input.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let form = match text.trim_start().starts_with('{') {
        true => Form::Json,
        false => Form::Yaml,
    };
    let scope = ScopeName::parse("unsaid").expect("a name");
    let options = Options {
        name: "fuzz",
        upstream: "app",
        scope: &scope,
        prefixes: &[],
        management: &["/apikeys", "/v3/apikeys", "/v3.0/apikeys"],
    };
    match import(text, form, &options) {
        Ok(imported) => {
            check_policy(text, &imported);
            let again = import(text, form, &options).expect("what was read is read again");
            assert_eq!(again.text, imported.text);
            assert_eq!(again.notes, imported.notes);
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            for fault in &faults {
                check_place(&fault.place, text);
                check_sentence(&fault.what);
            }
        }
    }
}

fn check_policy(document: &str, imported: &Imported) {
    for Note { place, what } in &imported.notes {
        if let Some(place) = place {
            check_place(place, document);
        }
        check_sentence(what);
    }
    let lines_are_whole = |c: char| c.is_control() && c != '\n';
    assert!(
        !imported.text.contains(lines_are_whole),
        "{}",
        imported.text
    );
    let loaded = load_texts(MAIN, &[("routes.toml", &imported.text)]);
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{problems}\n{}", imported.text),
    };
    let routes = loaded.hot.policy.routes().iter();
    let routes = routes.filter(|route| matches!(route.target, Target::Upstream(_)));
    let public = routes
        .clone()
        .filter(|route| route.access == Access::Public)
        .count();
    assert_eq!(public > 0, imported.public.0 > 0, "{}", imported.text);
    // Without the word nothing can be said to be open; an escape could spell it.
    if !document.contains("security") && !document.contains('\\') {
        assert_eq!(public, 0, "{}", imported.text);
        for route in routes {
            match &route.access {
                Access::Public => panic!("public: {}", route.name),
                Access::Deny => {}
                Access::Scopes(scopes) => assert!(
                    scopes
                        .iter()
                        .all(|s| matches!(s.as_str(), "unsaid" | "fullAccess"))
                ),
            }
        }
    }
}

fn check_place(place: &Where, document: &str) {
    let lines = document.split(['\n', '\r']).count();
    assert!(place.spot.line as usize <= lines + 1, "{place:?}");
    assert!(
        !place.shown_pointer().contains(|c: char| c.is_control()),
        "{place:?}"
    );
}

fn check_sentence(what: &str) {
    assert!(
        !what.is_empty() && !what.contains(|c: char| c.is_control()),
        "{what:?}"
    );
}
