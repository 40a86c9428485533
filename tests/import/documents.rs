//! Documents: versions, references, and what is no document.

use super::{Imported, document, may, policy, who_may};
use serde_json::{Value, json};

#[test]
fn a_document_that_has_two_readings_is_refused_with_the_place() {
    let get = json!({"/x": {"get": {}}});
    let with = |key: &str, value: Value| {
        let mut whole = document(get.clone());
        whole[key] = value;
        whole
    };
    for (whole, said) in [
        (
            json!({"paths": get}),
            "says neither `openapi` nor `swagger`",
        ),
        (
            json!({"openapi": "3.1.0", "swagger": "2.0", "paths": get}),
            "expected one of them (#/openapi)",
        ),
        (
            with("openapi", json!("4.0.0")),
            "OpenAPI 4.0.0 is not read; expected OpenAPI 3.0, 3.1 or 3.2, or Swagger 2.0 (#/openapi)",
        ),
        (
            json!({"swagger": "1.2", "paths": get}),
            "Swagger 1.2 is not read",
        ),
        (json!({"openapi": "3.1.0"}), "the document has no `paths`"),
        (
            with("paths", json!([])),
            "expected paths, such as {\"/users\": {…}}, found a list (#/paths)",
        ),
        (
            with("paths", json!({"/x": []})),
            "expected a path item, such as {\"get\": {…}}, found a list (#/paths/~1x)",
        ),
        (
            with("paths", json!({"/x": {"get": null}})),
            "found nothing (null) (#/paths/~1x/get)",
        ),
        (
            with("paths", json!({})),
            "nothing in the document can be opened",
        ),
        (
            with("security", Value::Null),
            "expected a list of security requirements",
        ),
        (
            with("security", json!({"k": []})),
            "found an object (#/security)",
        ),
        (
            with("security", json!(["k"])),
            "expected a security requirement such as {\"oauth\": [\"read\"]}, found a text",
        ),
        (
            with("security", json!([{"k": "r"}])),
            "expected a list of scopes (empty where the scheme has none), found a text, a number or a boolean (#/security/0/k)",
        ),
        (
            with("security", json!([{"k": [null]}])),
            "expected the name of a scope, found nothing (null) (#/security/0/k/0)",
        ),
        (
            with("servers", json!([{"url": "v1"}])),
            "`v1` is relative to where the document was found; say with `--prefix`",
        ),
        (
            with("servers", json!([{"url": "https://a/{v}"}])),
            "`variables` does not say what that is (#/servers/0)",
        ),
        (
            with("servers", json!([{"url": "https://a/b?c"}])),
            "has a query or a fragment",
        ),
        (
            with("servers", json!([{"url": "https://a/../b"}])),
            "cannot stand before a path",
        ),
        (with("servers", json!([{}])), "a server needs `url`"),
        (
            with("paths", json!({"/x": {"$ref": "other.yaml#/x"}})),
            "`other.yaml#/x` leads out of the document, and nothing else is read; bundle all files into one first (#/paths/~1x/$ref)",
        ),
        (
            with("paths", json!({"$ref": "./paths.yaml"})),
            "`./paths.yaml` leads out of the document, and nothing else is read; bundle all files into one first (#/paths/$ref)",
        ),
        (
            with("paths", json!({"$ref": "#/x"})),
            "`paths` cannot be a `$ref`; expected the paths written out (#/paths/$ref)",
        ),
        (
            with(
                "paths",
                json!({"/x": {"$ref": "#/paths/~1y"}, "/y": {"$ref": "#/paths/~1x"}}),
            ),
            "refers to itself",
        ),
        (
            with("paths", json!({"/x": {"$ref": "#/nowhere"}})),
            "`#/nowhere` is nowhere in the document",
        ),
        (
            with(
                "paths",
                json!({"/x": {"$ref": "#/paths/~1y", "get": {}}, "/y": {}}),
            ),
            "`get` stands beside a `$ref`",
        ),
        (
            with("paths", json!({"/x": {"get": {"$ref": "#/y"}}})),
            "an operation cannot be a `$ref`",
        ),
    ] {
        let made = Imported::of(&whole);
        assert_eq!(made.status.code(), Some(2), "{whole}\n{}", made.stderr);
        assert!(made.stderr.contains(said), "{said}\n{}", made.stderr);
        assert_eq!(made.stdout, "");
    }
    // Servers whose paths get in each other's way.
    let mut whole = document(json!({"/v1/x": {"get": {}}, "/x": {"get": {"security": []}}}));
    whole["servers"] = json!([{"url": "https://a"}, {"url": "https://a/v1"}]);
    let made = Imported::of(&whole);
    assert_eq!(made.status.code(), Some(2), "{}", made.stderr);
    assert!(
        made.stderr.contains("get in each other's way")
            && made
                .stderr
                .contains("merge their `[scopes]` and `[defaults]` by hand"),
        "{}",
        made.stderr
    );
}

#[test]
fn references_within_the_document_are_followed() {
    for reference in [
        "#/components/pathItems/a~1b",
        "#/paths/~1y",
        "#/paths/%7E1y",
        "#/x-items/1",
    ] {
        let item = json!({"get": {"security": [{"k": []}]}});
        let whole = json!({"openapi": "3.1.0", "paths": {"/x": {"$ref": reference, "summary": "s"}, "/y": item},
            "components": {"pathItems": {"a/b": item}}, "x-items": [{}, item]});
        let made = Imported::of(&whole);
        made.succeeds();
        let policy = policy(&made.stdout);
        assert_eq!(
            who_may(&policy, "GET /x", &["anyone", "k"]),
            ["k"],
            "{reference}"
        );
    }
}

#[test]
fn methods_of_each_version_are_read() {
    let open = json!({"security": []});
    for (version, item, request, expected) in [
        (
            json!({"openapi": "3.2.0"}),
            json!({"query": open}),
            "QUERY /x",
            true,
        ),
        (
            json!({"openapi": "3.2.0"}),
            json!({"additionalOperations": {"COPY": open}}),
            "COPY /x",
            true,
        ),
        (
            json!({"openapi": "3.2.0"}),
            json!({"additionalOperations": {"Copy": open}}),
            "COPY /x",
            false,
        ),
        (
            json!({"openapi": "3.2.0"}),
            json!({"additionalOperations": {"*": open}}),
            "PUT /x",
            false,
        ),
        (
            json!({"openapi": "3.2.0"}),
            json!({"additionalOperations": {"A+B": open}}),
            "PUT /x",
            false,
        ),
        (
            json!({"openapi": "3.1.0"}),
            json!({"query": open}),
            "QUERY /x",
            false,
        ),
        (
            json!({"openapi": "3.0.0"}),
            json!({"additionalOperations": {"COPY": open}}),
            "COPY /x",
            false,
        ),
        (
            json!({"openapi": "3.0"}),
            json!({"patch": open}),
            "PATCH /x",
            true,
        ),
        (
            json!({"openapi": "3.0.3"}),
            json!({"options": open}),
            "OPTIONS /x",
            true,
        ),
        (
            json!({"swagger": "2.0"}),
            json!({"head": open}),
            "HEAD /x",
            true,
        ),
        (
            json!({"swagger": "2.0"}),
            json!({"head": open}),
            "GET /x",
            false,
        ),
    ] {
        let mut whole = version.clone();
        whole["paths"] = json!({"/x": item, "/fine": {"put": open}});
        let made = Imported::of(&whole);
        made.succeeds();
        assert_eq!(
            may(&policy(&made.stdout), request, "anyone"),
            expected,
            "{whole}"
        );
        let told = made.stderr.contains("is left out");
        assert_eq!(
            told,
            !expected && request != "GET /x",
            "{whole}\n{}",
            made.stderr
        );
    }
}
