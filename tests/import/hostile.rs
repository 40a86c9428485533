//! Documents that nobody means well with.

use super::{Imported, document, import_with, may, policy, sheet};
use serde_json::json;

#[test]
fn yaml_that_has_two_readings_or_none_is_refused_with_line_and_column() {
    let head = "openapi: 3.1.0\npaths:\n  /x:\n    get: {security: []}\n";
    for (rest, said) in [
        ("  /x: {}\n", ":5:3: the key `/x` stands twice in one map"),
        (
            "openapi: 3.0.0\n",
            ":5:1: the key `openapi` stands twice in one map",
        ),
        (
            "? [a, b]\n: c\n",
            ":5:3: a key is a text here, not a list or a map",
        ),
        (
            "a: &a [*a]\n",
            ":5:8: this alias stands within what it names",
        ),
        (
            "# M\u{fc}ller\u{2028}security: [{a: []}]\n",
            ":5:9: U+2028 ends a line in YAML 1.1, and in YAML 1.2 it does not; leave it out, or write \"\\u2028\" in a quoted text",
        ),
        ("a: \u{2029}\n", ":5:4: U+2029 ends a line"),
        ("a: b\n\u{85}c: d\n", ":6:1: U+0085 ends a line"),
        (
            "a: *b\n",
            ":5:4: this is not YAML: while parsing node, found unknown anchor",
        ),
        (
            "a: !include other.yaml\n",
            ":5:13: the tag `!include` is not read",
        ),
        (
            "a: !!binary eA==\n",
            "is not read; expected a document in one file",
        ),
        ("a: [\n", ": this is not YAML: "),
        ("a: b: c\n", ":5:5: this is not YAML: "),
        ("\ta: b\n", ": this is not YAML: "),
        (
            "---\nopenapi: 3.1.0\n",
            ":5:1: a second document begins here",
        ),
        (
            "security: &s [{k: []}]\n<<: {a: b}\n",
            "a merge key has a meaning in YAML 1.1 alone",
        ),
    ] {
        let made = import_with(&format!("{head}{rest}"), "yaml", &[]);
        assert_eq!(made.status.code(), Some(2), "{rest}\n{}", made.stderr);
        assert!(
            made.stderr.contains(said),
            "{rest}: {said}\n{}",
            made.stderr
        );
        assert_eq!(made.stdout, "");
    }
    for (text, said) in [
        ("", "api.yaml:1:1: the document is empty"),
        ("# nothing\n", "the document is empty"),
        (
            "- a\n",
            "api.yaml:1:1: expected an OpenAPI document, an object with `openapi` or `swagger`, found a list",
        ),
        (
            "openapi: 3.1.0\npaths:\n  - /x\n",
            "api.yaml:2:1: expected paths, such as {\"/users\": {…}}, found a list (#/paths)",
        ),
        (
            "openapi: 3.1.0\npaths:\n  /x:\n    get:\n",
            "api.yaml:4:5: expected an operation",
        ),
        (
            "openapi: 3.1.0\nsecurity:\npaths: {/x: {get: {}}}\n",
            "api.yaml:2:1: expected a list of security requirements",
        ),
    ] {
        let made = import_with(text, "yaml", &[]);
        assert_eq!(made.status.code(), Some(2), "{text}\n{}", made.stderr);
        assert!(
            made.stderr.contains(said),
            "{text}: {said}\n{}",
            made.stderr
        );
    }
}

#[test]
fn json_that_has_two_readings_or_none_is_refused() {
    for (text, said) in [
        (
            "{\"openapi\": \"3.1.0\",\n \"openapi\": \"3.0.0\"}",
            "the key `openapi` stands twice in one object",
        ),
        (
            "{\"openapi\": \"3.1.0\",\n",
            "api.json:2:0: this is not JSON",
        ),
        (
            "{\"openapi\": \"3.1.0\"} x",
            "api.json:1:22: this is not JSON in one reading: trailing characters",
        ),
        (
            "{\"a\": {\"/x\": 1, \"/\\u0078\": 2}}",
            "the key `/x` stands twice",
        ),
        ("[1]", "found a list"),
        ("null", "found nothing (null)"),
        ("{'a': 1}", "this is not JSON"),
    ] {
        let made = import_with(text, "json", &[]);
        assert_eq!(made.status.code(), Some(2), "{text}\n{}", made.stderr);
        assert!(
            made.stderr.contains(said),
            "{text}: {said}\n{}",
            made.stderr
        );
    }
    let not_text = sheet::piped_bytes(b"openapi: 3.1.0\n\xff", &["openapi", "-"]);
    assert_eq!(not_text.status.code(), Some(2));
    assert!(
        not_text
            .stderr
            .contains("standard input:2: this is not UTF-8"),
        "{}",
        not_text.stderr
    );
}

#[test]
fn what_would_grow_without_bound_is_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        bomb.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            [&*before; 9].join(", ")
        ));
    }
    let deep_json = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let large = " ".repeat((64 << 20) + 1);
    for (text, ending, said) in [
        (
            &*bomb,
            "yaml",
            "a document has 4000000 values at most, its aliases written out",
        ),
        (&"[".repeat(10_000), "yaml", "this is not YAML"),
        (&"- ".repeat(10_000), "yaml", "deep in one another"),
        (&"{a: ".repeat(10_000), "yaml", "this is not YAML"),
        (&deep_json, "json", "recursion limit exceeded"),
        (&large, "yaml", "is more than 64 MiB"),
    ] {
        let made = import_with(text, ending, &[]);
        assert_eq!(made.status.code(), Some(2), "{said}\n{}", made.stderr);
        assert!(made.stderr.contains(said), "{said}\n{}", made.stderr);
    }
    // Twelve patterns of params and literals overlap in thousands of ways.
    let paths: serde_json::Map<_, _> = (0..4096u32)
        .map(|at| {
            let segment = |bit: u32| {
                if at >> bit & 1 == 1 {
                    format!("/{{p{bit}}}")
                } else {
                    "/l".to_owned()
                }
            };
            let path: String = (0..12).map(segment).collect();
            (
                path,
                json!({"get": {"security": [{"k": [format!("s{}", at % 7)]}]}}),
            )
        })
        .collect();
    let made = Imported::of(&document(paths.into()));
    assert_eq!(made.status.code(), Some(2), "{}", made.stderr);
    assert!(
        made.stderr.contains("the paths overlap too often"),
        "{}",
        made.stderr
    );
}

#[test]
fn what_would_take_long_is_refused_before_it_does() {
    let open = json!({"security": []});
    // A path of many params, and one that may be anything.
    let long = "/{a}".repeat(20_000);
    let read = json!({"security": [{"k": []}]});
    let made = Imported::of(&document(
        json!({long: {"get": read}, "/x": {"get": open, "put": open}, "/y": {"get": read}}),
    ));
    made.succeeds();
    let said = "a path of more than 4096 bytes is not imported";
    assert!(made.stderr.contains(said), "{}", made.stderr);
    let policy = policy(&made.stdout);
    assert!(!may(&policy, "GET /x", "anyone"), "{}", made.stdout);
    assert!(may(&policy, "PUT /x", "anyone") && may(&policy, "GET /y", "k"));
    // Methods of one path, and of paths that are one.
    let methods = |from: usize, to: usize| -> serde_json::Map<_, _> {
        let name = |at: usize| -> String {
            at.to_string()
                .bytes()
                .map(|b| char::from(b - b'0' + b'A'))
                .collect()
        };
        (from..to)
            .map(|at| (format!("M{}", name(at)), open.clone()))
            .collect()
    };
    let of = |paths: serde_json::Value| Imported::of(&json!({"openapi": "3.2.0", "paths": paths}));
    of(json!({"/x": {"additionalOperations": methods(0, 64)}})).succeeds();
    for (paths, said) in [
        (
            json!({"/x": {"additionalOperations": methods(0, 40_000)}}),
            "expected 64 operations of one path at most (#/paths/~1x)",
        ),
        (
            json!({"/{a}": {"additionalOperations": methods(0, 50)}, "/{b}": {"additionalOperations": methods(50, 100)}}),
            "/{a} has more than 64 methods",
        ),
    ] {
        let made = of(paths);
        assert_eq!(made.status.code(), Some(2), "{said}\n{}", made.stderr);
        assert!(made.stderr.contains(said), "{said}\n{}", made.stderr);
    }
    // One path item with many fields, by many references.
    let mut shared: serde_json::Map<_, _> = (0..20_000)
        .map(|at| (format!("x-{at}"), json!(1)))
        .collect();
    shared.insert("get".to_owned(), open.clone());
    let paths: serde_json::Map<_, _> = (0..2_000)
        .map(|at| {
            (
                format!("/{at}"),
                json!({"$ref": "#/components/pathItems/a"}),
            )
        })
        .collect();
    let made = Imported::of(
        &json!({"openapi": "3.2.0", "paths": paths, "components": {"pathItems": {"a": shared}}}),
    );
    assert_eq!(made.status.code(), Some(2), "{}", made.stderr);
    let said = "paths and operations have 8000000 fields at most, those that are referred to counted each time";
    assert!(made.stderr.contains(said), "{}", made.stderr);
    assert_eq!(made.stderr.lines().count(), 1, "{}", made.stderr);
    // Paths that are in many places each.
    let servers: Vec<_> = (0..16)
        .map(|at| json!({"url": format!("/p{at}")}))
        .collect();
    let paths: serde_json::Map<_, _> = (0..20_000)
        .map(|at| {
            (
                format!("/{at}"),
                json!({"$ref": "#/components/pathItems/a"}),
            )
        })
        .collect();
    let shared = json!({"servers": servers, "get": open});
    let made = Imported::of(
        &json!({"openapi": "3.2.0", "paths": paths, "components": {"pathItems": {"a": shared}}}),
    );
    assert_eq!(made.status.code(), Some(2), "{}", made.stderr);
    let said = "the servers of paths and operations put them in more than 400000 places";
    assert!(made.stderr.contains(said), "{}", made.stderr);
}

#[test]
fn no_text_of_a_document_becomes_policy() {
    let evil = "x\"\n[[routes]]\npath = \"/evil\"\naccess = \"public\"\n#\u{2028}\r\u{202e}\u{7f}\\\"\"\"'''";
    let mut whole = document(json!({
        "/fine": {"get": {"operationId": evil, "summary": evil, "security": [{evil: [evil]}]}},
        "/more": {"get": {"operationId": evil, "security": [{evil: [], "b": [evil]}]}, "put": {"summary": evil}},
        format!("/img-{{{evil}}}"): {"get": {}},
        format!("/{evil}"): {"get": {}},
        "/x": {evil: {"get": {}}},
    }));
    whole["info"]["title"] = json!(evil);
    whole["openapi"] = json!(format!("3.1.{evil}"));
    let made = Imported::of(&whole);
    made.succeeds();
    let policy = policy(&made.stdout);
    for path in ["/evil", "/fine", "/more", "/x"] {
        assert!(!may(&policy, &format!("GET {path}"), "anyone"), "{path}");
    }
    let routes = policy
        .routes()
        .iter()
        .filter(|route| !route.template.contains("apikeys"));
    assert_eq!(routes.count(), 3, "{}", made.stdout);
    for text in [&made.stdout, &made.stderr] {
        let odd = text
            .chars()
            .find(|c| (c.is_control() && *c != '\n') || matches!(c, '\u{2028}' | '\u{202e}'));
        assert_eq!(odd, None, "{text}");
        assert!(
            !text.lines().any(|line| line == "path = \"/evil\""),
            "{text}"
        );
    }
}

#[test]
fn yaml_is_read_as_its_second_version_says() {
    // No is a text, 0x10 is a text, a key of digits is one, and an alias is what it names.
    let text = "\
openapi: 3.1
x-common: &need [{No: [0x10]}]
paths:
  /x:
    get:
      security: *need
      responses: {200: {description: !!str yes}}
  /y: {put: {security: *need}}
";
    let made = import_with(text, "yaml", &[]);
    made.succeeds();
    let policy = policy(&made.stdout);
    let names: Vec<String> = policy.scopes().names().map(ToString::to_string).collect();
    assert_eq!(names, ["fullAccess", "s_0x10"]);
    for request in ["GET /x", "PUT /y"] {
        assert!(may(&policy, request, "s_0x10"), "{request}");
        assert!(!may(&policy, request, "anyone"), "{request}");
    }
    // JSON in a file that is called YAML, with a character outside of the first plane.
    let json = "{\"openapi\": \"3.1.0\", \"info\": {\"title\": \"\\ud83d\\ude00\"}, \"paths\": {\"/x\": {\"get\": {\"security\": []}}}}";
    for ending in ["yaml", "json", "txt"] {
        let made = import_with(json, ending, &[]);
        made.succeeds();
        assert!(made.stdout.contains("\u{1f600}"), "{}", made.stdout);
    }
}
