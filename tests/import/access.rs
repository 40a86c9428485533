//! What is asked for, and who may then.

use super::{Imported, document, import_with, policy, who_may};
use serde_json::{Value, json};

#[test]
fn who_may_is_what_the_security_requirement_says() {
    // What stands in the operation, at the top, and who may.
    let all = ["anyone", "fullAccess", "r", "w", "k", "r_and_w", "k_and_r"];
    for (own, above, expected) in [
        (
            json!([]),
            json!([{"o": ["r"]}]),
            "anyone fullAccess r w k r_and_w k_and_r",
        ),
        (
            json!([{}]),
            Value::Null,
            "anyone fullAccess r w k r_and_w k_and_r",
        ),
        (
            json!([{"o": ["r"]}, {}]),
            Value::Null,
            "anyone fullAccess r w k r_and_w k_and_r",
        ),
        (
            json!([{"o": ["r"]}]),
            json!([]),
            "fullAccess r r_and_w k_and_r",
        ),
        (
            json!([{"o": ["r"]}, {"o": ["w"]}]),
            Value::Null,
            "fullAccess r w r_and_w k_and_r",
        ),
        (
            json!([{"o": ["r", "w"]}]),
            Value::Null,
            "fullAccess r_and_w",
        ),
        (
            json!([{"o": ["r", "w"]}, {"k": []}]),
            Value::Null,
            "fullAccess k r_and_w k_and_r",
        ),
        (
            json!([{"k": [], "o": ["r"]}]),
            Value::Null,
            "fullAccess k_and_r",
        ),
        // Whoever has both has one.
        (
            json!([{"o": ["r", "w"]}, {"o": ["w"]}]),
            Value::Null,
            "fullAccess w r_and_w",
        ),
        (Value::Null, json!([{"k": []}]), "fullAccess k k_and_r"),
        (
            Value::Null,
            json!([]),
            "anyone fullAccess r w k r_and_w k_and_r",
        ),
        (Value::Null, Value::Null, "fullAccess"),
    ] {
        let mut paths = json!({
            // So that every scope is there.
            "/r": {"get": {"security": [{"o": ["r"]}]}},
            "/w": {"get": {"security": [{"o": ["w"]}]}},
            "/k": {"get": {"security": [{"k": []}]}},
            "/rw": {"get": {"security": [{"o": ["r", "w"]}]}},
            "/kr": {"get": {"security": [{"o": ["r"], "k": []}]}},
            "/x": {"post": {}},
        });
        if !own.is_null() {
            paths["/x"]["post"]["security"] = own.clone();
        }
        let mut whole = document(paths);
        if !above.is_null() {
            whole["security"] = above.clone();
        }
        let made = Imported::of(&whole);
        let policy = policy(&made.stdout);
        let expected: Vec<&str> = expected.split(' ').collect();
        assert_eq!(who_may(&policy, "POST /x", &all), expected, "{own} {above}");
        assert_eq!(who_may(&policy, "GET /x", &all), [""; 0], "{own} {above}");
    }
}

#[test]
fn credentials_with_a_scope_are_credentials() {
    let made = Imported::of(&document(json!({
        "/any": {"get": {"security": [{"o": []}]}},
        "/read": {"get": {"security": [{"o": ["read"]}]}},
    })));
    let policy = policy(&made.stdout);
    assert_eq!(who_may(&policy, "GET /any", &["o", "read"]), ["o", "read"]);
    assert_eq!(who_may(&policy, "GET /read", &["o", "read"]), ["read"]);
}

#[test]
fn names_that_a_policy_does_not_take_become_others_and_never_one_of_theirs() {
    let scopes = [
        "read it",
        "read_it",
        "read/it",
        "fullAccess",
        "anyone",
        "1st",
        "",
        "é",
        "https://x.example/auth/very/long/scope/name/that/goes/on",
        "https://x.example/auth/very/long/scope/name/that/goes/on/and/on",
    ];
    let paths: serde_json::Map<String, Value> = (scopes.iter().enumerate())
        .map(|(at, scope)| {
            (
                format!("/{at}"),
                json!({"get": {"security": [{"o": [scope]}]}}),
            )
        })
        .collect();
    let made = Imported::of(&document(Value::Object(paths)));
    let policy = policy(&made.stdout);
    let names: Vec<String> = policy.scopes().names().map(ToString::to_string).collect();
    assert_eq!(names.len(), scopes.len() + 1, "{names:?}");
    for at in 0..scopes.len() {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let may = who_may(&policy, &format!("GET /{at}"), &names);
        assert_eq!(may.len(), 2, "{at} {may:?}");
        assert!(may.contains(&"fullAccess"));
    }
    assert!(made.stdout.contains("# read it of o"), "{}", made.stdout);
}

#[test]
fn scopes_of_two_schemes_are_two() {
    let made = Imported::of(&document(json!({
        "/a": {"get": {"security": [{"a": ["read"]}]}},
        "/b": {"get": {"security": [{"b": ["read"]}]}},
    })));
    let policy = policy(&made.stdout);
    let who = ["a:read", "b:read"];
    assert_eq!(who_may(&policy, "GET /a", &who), ["a:read"]);
    assert_eq!(who_may(&policy, "GET /b", &who), ["b:read"]);
}

#[test]
fn what_the_document_says_nothing_of_is_for_the_scope_of_the_option() {
    let whole =
        document(json!({"/x": {"get": {}}, "/y": {"get": {"security": [{"o": ["read"]}]}}}));
    let who = ["anyone", "mine", "read", "fullAccess"];
    for (scope, x, y) in [
        (None, &["fullAccess"][..], &["read", "fullAccess"][..]),
        (
            Some("mine"),
            &["mine", "fullAccess"],
            &["read", "fullAccess"],
        ),
        // One of the document's own.
        (
            Some("read"),
            &["read", "fullAccess"],
            &["read", "fullAccess"],
        ),
    ] {
        let arguments: Vec<&str> = scope
            .into_iter()
            .flat_map(|scope| ["--scope", scope])
            .collect();
        let made = import_with(&whole.to_string(), "json", &arguments);
        made.succeeds();
        let policy = policy(&made.stdout);
        assert_eq!(who_may(&policy, "GET /x", &who), x, "{scope:?}");
        assert_eq!(who_may(&policy, "GET /y", &who), y, "{scope:?}");
    }
    for wrong in ["anyone", "no scope", ""] {
        let made = import_with(&whole.to_string(), "json", &["--scope", wrong]);
        assert_eq!(made.status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn what_may_be_meant_for_security_and_is_not_read_is_a_fault() {
    let need = json!([{"k": []}]);
    for key in [
        "Security",
        "securty",
        "security ",
        "securities",
        "securityRequirements",
    ] {
        let whole = document(json!({"/x": {"get": {key: need}}}));
        let made = Imported::of(&whole);
        assert_eq!(made.status.code(), Some(2), "{key}\n{}", made.stderr);
        let said = "looks like `security`, which decides who may";
        assert!(made.stderr.contains(said), "{key}\n{}", made.stderr);
    }
    for key in ["security", "Security", "secruity"] {
        for item in [
            json!({key: need, "get": {}}),
            json!({key: need, "$ref": "#/paths/~1y"}),
        ] {
            let made = Imported::of(&document(json!({"/x": item, "/y": {"get": {}}})));
            assert_eq!(made.status.code(), Some(2), "{item}\n{}", made.stderr);
            let said = format!(
                "`{key}` is not read at a path; put `security` in each operation, or at the top of the document (#/paths/~1x/{key})"
            );
            assert!(made.stderr.contains(&said), "{item}\n{}", made.stderr);
        }
    }
    let mut whole = document(json!({"/x": {"get": {}}}));
    whole["securty"] = need.clone();
    let made = Imported::of(&whole);
    assert_eq!(made.status.code(), Some(2), "{}", made.stderr);
    let swagger = json!({"swagger": "2.0", "paths": {"/x": {"get": {"consumes": [], "security": need}}},
        "securityDefinitions": {"k": {"type": "basic"}}});
    Imported::of(&swagger).succeeds();
}

#[test]
fn other_fields_that_are_not_known_are_told() {
    let made = Imported::of(&document(json!({
        "/x": {"get": {"auth": 1, "x-auth": 2, "tags": []}},
        "/y": {"$ref": "#/paths/~1x", "nonsense": 1, "x-sense": 2},
    })));
    made.succeeds();
    for said in [
        "`auth` is no field of an operation, and nothing is made of it (#/paths/~1x/get/auth)",
        "`nonsense` stands beside a `$ref`, and nothing is made of it (#/paths/~1y/nonsense)",
    ] {
        assert!(made.stderr.contains(said), "{said}\n{}", made.stderr);
    }
    assert_eq!(made.stderr.matches("note:").count(), 2, "{}", made.stderr);
}
