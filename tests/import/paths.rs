//! Paths: what one would open of another, what no pattern can say, what stands before them.

use super::{Imported, document, import_with, may, policy, who_may};
use serde_json::json;

#[test]
fn a_path_is_not_opened_by_a_broader_one() {
    let read = json!({"security": [{"o": ["r"]}]});
    let write = json!({"security": [{"o": ["w"]}]});
    let open = json!({"security": []});
    let who = ["anyone", "r", "w"];
    let none: &[&str] = &[];
    for (paths, request, expected) in [
        // Concrete before templated, also for methods that it has not.
        (
            json!({"/u/me": {"get": read}, "/u/{id}": {"get": read, "delete": write}}),
            "DELETE /u/me",
            none,
        ),
        (
            json!({"/u/me": {"get": read}, "/u/{id}": {"get": read, "delete": write}}),
            "DELETE /u/1",
            &["w"],
        ),
        (
            json!({"/u/me": {"post": read}, "/u/{id}": {"get": open}}),
            "HEAD /u/me",
            none,
        ),
        // Each has requests that the other has not.
        (
            json!({"/a/{x}": {"get": read}, "/{y}/b": {"get": open}}),
            "GET /a/b",
            none,
        ),
        (
            json!({"/a/{x}": {"get": read}, "/{y}/b": {"get": open}}),
            "GET /a/c",
            &["r"],
        ),
        (
            json!({"/a/{x}": {"get": read}, "/{y}/b": {"get": open}}),
            "GET /c/b",
            &who,
        ),
        (
            json!({"/a/{x}": {"get": read}, "/{y}/b": {"get": read}}),
            "GET /a/b",
            &["r"],
        ),
        (
            json!({"/a/{x}": {"get": read}, "/{y}/b": {"put": write}}),
            "PUT /a/b",
            &["w"],
        ),
        // What no pattern can say keeps others from its requests.
        (
            json!({"/f/{id}": {"get": open}, "/f/{id}.pdf": {"get": read}}),
            "GET /f/1.pdf",
            none,
        ),
        (
            json!({"/f/{id}": {"get": open, "put": read}, "/f/{id}.pdf": {"get": read}}),
            "PUT /f/1",
            none,
        ),
        (
            json!({"/f/{id}": {"get": open, "put": read}, "/f/{id}.pdf": {"get": read, "put": read}}),
            "PUT /f/1",
            &["r"],
        ),
        (
            json!({"/f/{id}": {"get": read, "delete": open}, "/f/old;files": {"get": read}}),
            "DELETE /f/1",
            none,
        ),
        (
            json!({"/f/{id}": {"get": read, "delete": open}, "/f/old files": {"get": read}}),
            "DELETE /f/old%20files",
            none,
        ),
        (
            json!({"/f/{id}": {"get": read, "delete": open}, "/f/old files": {"get": read}}),
            "DELETE /f/1",
            &who,
        ),
        (
            json!({"/{x}/{y}": {"get": read, "delete": open}, "/{}/b": {"get": read}}),
            "DELETE /a/b",
            none,
        ),
        (
            json!({"/{x}/{y}": {"get": read, "delete": open}, "/{}/b": {"get": read}}),
            "DELETE /a/c",
            &who,
        ),
        (
            json!({"/f/{id}": {"get": read}, "/f/{id}.pdf": {"get": read}}),
            "GET /f/1",
            &["r"],
        ),
        (
            json!({"/f/x": {"get": open}, "/f/{id}.pdf": {"get": read}}),
            "GET /f/x",
            &who,
        ),
        (
            json!({"/f/x.pdf": {"get": open}, "/f/{id}.pdf": {"get": read}}),
            "GET /f/x.pdf",
            &who,
        ),
        (
            json!({"/f/x": {"get": open}, "/f/x?y=1": {"get": read}}),
            "GET /f/x",
            none,
        ),
        (
            json!({"/f/{x}": {"get": open}, "/f/a.pdf": {}, "/f/{id}.pdf": {"get": read}}),
            "GET /f/a.pdf",
            none,
        ),
        (
            json!({"/f/a/b": {"get": open}, "/f/{rest+}": {"get": read}}),
            "GET /f/a/b",
            none,
        ),
        (
            json!({"/f/a/b": {"get": open}, "/f?x={y}": {"get": read}}),
            "GET /f/a/b",
            &who,
        ),
        (
            json!({"/f": {"get": open}, "/f?x={y}": {"get": read}}),
            "GET /f?x=1",
            none,
        ),
        // A HEAD of its own, and one of a path that no pattern can say.
        (
            json!({"/h": {"get": open, "head": read}}),
            "HEAD /h",
            &["r"],
        ),
        (json!({"/h": {"get": read, "head": open}}), "HEAD /h", &who),
        (json!({"/h": {"get": read, "head": open}}), "GET /h", &["r"]),
        (
            json!({"/{y}": {"get": open}, "/h{x}": {"head": read}}),
            "HEAD /h",
            none,
        ),
        // The same pattern by two names.
        (
            json!({"/u/{a}": {"get": read}, "/u/{b}": {"put": write}}),
            "PUT /u/1",
            &["w"],
        ),
        (
            json!({"/u/{a}": {"get": read}, "/u/{b}": {"get": read}}),
            "GET /u/1",
            &["r"],
        ),
        (
            json!({"/u/{a}": {"get": read}, "/u/{b}": {"get": write}}),
            "GET /u/1",
            none,
        ),
        // Servers of its own, with another path.
        (
            json!({"/s": {"get": {"security": [], "servers": [{"url": "https://x/other"}]}}}),
            "GET /s",
            none,
        ),
        (
            json!({"/s": {"get": {"security": [], "servers": [{"url": "https://y"}]}}}),
            "GET /s",
            &who,
        ),
        // A method that OpenAPI does not know.
        (
            json!({"/s": {"Get": open}, "/{x}": {"get": open}}),
            "GET /s",
            none,
        ),
        (json!({"/s": {}, "/{x}": {"get": open}}), "GET /s", none),
        (
            json!({"/s": {"Get": read, "put": read}, "/{x}": {"get": open}}),
            "GET /s",
            none,
        ),
    ] {
        let mut paths = paths;
        paths["/all/scopes"] = json!({"get": read, "put": write});
        let made = Imported::of(&document(paths.clone()));
        assert_eq!(
            who_may(&policy(&made.stdout), request, &who),
            expected,
            "{request} {paths}"
        );
    }
}

#[test]
fn an_operation_with_servers_of_its_own_is_kept_from_others_where_it_is() {
    let adm = json!({"security": [{"adm": []}]});
    let usr = json!({"security": [{"usr": []}]});
    let at = |operation: &serde_json::Value, url: &str| {
        let mut operation = operation.clone();
        operation["servers"] = json!([{"url": url}]);
        operation
    };
    let servers = |url: &str| json!([{"url": url}]);
    let none: &[&str] = &[];
    for (above, paths, arguments, request, expected) in [
        // Of the path, of the operation.
        (
            "https://h",
            json!({"/users": {"servers": servers("https://h/admin"), "get": adm}, "/{area}/{item}": {"get": usr}}),
            &[][..],
            "GET /admin/users",
            none,
        ),
        (
            "https://h",
            json!({"/users": {"get": at(&adm, "https://h/admin")}, "/{area}/{item}": {"get": usr}}),
            &[],
            "GET /admin/users",
            none,
        ),
        (
            "https://h",
            json!({"/users": {"get": at(&adm, "https://h/admin")}, "/{area}/{item}": {"get": usr}}),
            &[],
            "GET /other/users",
            &["usr"],
        ),
        (
            "https://h",
            json!({"/users": {"get": at(&usr, "https://h/admin")}, "/{area}/{item}": {"get": usr}}),
            &[],
            "GET /admin/users",
            &["usr"],
        ),
        // It is not where the others are.
        (
            "https://h",
            json!({"/users": {"get": at(&adm, "https://h/admin")}, "/{item}": {"get": usr}}),
            &[],
            "GET /users",
            &["usr"],
        ),
        (
            "https://h",
            json!({"/users": {"get": at(&adm, "https://h/admin"), "put": adm}, "/{item}": {"get": usr}}),
            &[],
            "GET /users",
            none,
        ),
        // Further in, further out, beside.
        (
            "https://h/v1",
            json!({"/users": {"get": at(&adm, "https://h/v1/admin")}, "/admin/{x}": {"get": usr}}),
            &[],
            "GET /v1/admin/users",
            none,
        ),
        (
            "https://h/v1",
            json!({"/v1/users": {"get": at(&adm, "https://h")}, "/{x}": {"get": usr}}),
            &[],
            "GET /v1/users",
            none,
        ),
        (
            "https://h/v1",
            json!({"/{version}/users": {"get": at(&adm, "https://h")}, "/{x}": {"get": usr}}),
            &[],
            "GET /v1/users",
            none,
        ),
        (
            "https://h/v1",
            json!({"/users": {"get": at(&adm, "https://h/v2")}, "/{x}": {"get": usr}}),
            &[],
            "GET /v1/users",
            &["usr"],
        ),
        // Where the option puts something else before the paths.
        (
            "https://h/v1",
            json!({"/users": {"get": at(&adm, "https://h/v1/admin")}, "/{x}/{y}": {"get": usr}}),
            &["--prefix", "/w"],
            "GET /w/admin/users",
            none,
        ),
        (
            "v1",
            json!({"/users": {"get": at(&adm, "https://h/v1/admin")}, "/{x}/{y}": {"get": usr}}),
            &["--prefix", "/v1"],
            "GET /v1/admin/users",
            none,
        ),
        // Where it is cannot be known.
        (
            "https://h/v1",
            json!({"/users": {"get": at(&usr, "./v2")}, "/{x}/{y}": {"get": usr}}),
            &[],
            "GET /v1/users",
            none,
        ),
        (
            "https://h/v1",
            json!({"/users": {"get": at(&usr, "./v2"), "put": usr}}),
            &["--prefix", "/"],
            "PUT /users",
            &["usr"],
        ),
    ] {
        let mut paths = paths;
        paths["/all/the/scopes"] = json!({"get": adm, "put": usr});
        let mut whole = document(paths.clone());
        whole["servers"] = servers(above);
        let made = import_with(&whole.to_string(), "json", arguments);
        made.succeeds();
        assert_eq!(
            who_may(&policy(&made.stdout), request, &["anyone", "adm", "usr"]),
            expected,
            "{request} {whole} {arguments:?}\n{}",
            made.stdout
        );
    }
}

#[test]
fn paths_that_are_left_out_are_told_with_their_place() {
    let get = || json!({"get": {"security": []}});
    for (path, why) in [
        ("/img-{id}", "`img-{id}` mixes text and braces"),
        ("/{a}{b}", "`{a}{b}` mixes text and braces"),
        ("/x/{}", "a parameter without a name"),
        ("/x/{id:[0-9]+}", "is not a parameter of one segment"),
        ("/x/{path*}", "is not a parameter of one segment"),
        ("/x/{a", "is not a parameter of one segment"),
        ("/x?y=1", "a policy's path has no query"),
        ("/x#y", "a fragment is not sent"),
        ("x", "a path starts with `/`"),
        ("/a/../b", "a path has no `.` or `..` segment"),
        ("/a/%2E%2e/b", "a path has no `.` or `..` segment"),
        ("/a%2fb", "it needs `allow = [\"encoded-slash\"]`"),
        ("/a;b", "it needs `allow = [\"semicolon\"]`"),
        ("/a//b", "it needs `allow = [\"double-slash\"]`"),
        ("/a\\b", "a path has no backslash"),
        ("/a%4", "two hexadecimal digits"),
        ("/a\nb", "a path has no control character"),
        (
            "/apikeys",
            "/apikeys is where the gateway serves its management API",
        ),
        (
            "/v3/%61pikeys/{id}",
            "/v3/apikeys is where the gateway serves its management API",
        ),
    ] {
        let mut paths = json!({"/fine": get()});
        paths[path] = get();
        let made = Imported::of(&document(paths));
        made.succeeds();
        let pointer = path.replace('~', "~0").replace('/', "~1");
        let pointer = pointer.split_whitespace().collect::<Vec<_>>().join(" ");
        for said in [why, "is left out", &format!("(#/paths/{pointer}/get)")] {
            assert!(
                made.stderr.contains(said),
                "{path}: {said}\n{}",
                made.stderr
            );
        }
        assert!(made.stdout.contains(why), "{path}\n{}", made.stdout);
    }
}

#[test]
fn prefixes_come_from_the_servers_or_from_the_option() {
    let get = json!({"/x": {"get": {"security": []}}});
    for (servers, arguments, expected) in [
        (json!([]), &[][..], &["/x"][..]),
        (json!([{"url": "/"}]), &[], &["/x"]),
        (json!([{"url": "https://a.example/v1/"}]), &[], &["/v1/x"]),
        (
            json!([{"url": "https://a/v1"}, {"url": "http://b/v2"}, {"url": "//c/v1"}]),
            &[],
            &["/v1/x", "/v2/x"],
        ),
        (
            json!([{"url": "https://a/{v}", "variables": {"v": {"default": "v1"}}}]),
            &[],
            &["/v1/x"],
        ),
        (
            json!([{"url": "{base}/p", "variables": {"base": {"default": "https://a/q"}}}]),
            &[],
            &["/q/p/x"],
        ),
        (json!([{"url": "v1"}]), &["--prefix", "/v1"], &["/v1/x"]),
        (
            json!([{"url": "https://a/v1"}]),
            &["--prefix", "/", "--prefix", "/w"],
            &["/x", "/w/x"],
        ),
    ] {
        let mut whole = document(get.clone());
        whole["servers"] = servers.clone();
        let made = import_with(&whole.to_string(), "json", arguments);
        made.succeeds();
        let policy = policy(&made.stdout);
        let all = ["/x", "/v1/x", "/v2/x", "/w/x", "/q/p/x"];
        let open = all
            .iter()
            .filter(|path| may(&policy, &format!("GET {path}"), "anyone"));
        assert!(
            open.eq(expected),
            "{servers} {arguments:?}\n{}",
            made.stdout
        );
    }
    let swagger = json!({"swagger": "2.0", "basePath": "/api/", "paths": get,
        "securityDefinitions": {"k": {"type": "apiKey"}}});
    let made = Imported::of(&swagger);
    assert!(may(&policy(&made.stdout), "GET /api/x", "anyone"));
}

#[test]
fn what_is_there_twice_is_told_with_both_and_the_reason() {
    let [a, b] = ["a", "b"].map(|name| json!({"security": [{name: []}]}));
    for (paths, said) in [
        (
            json!({"/caf%c3%a9": {"get": a}, "/café": {"get": b}}),
            "GET /café is left out: no request can tell it from /caf%c3%a9, and they ask for different things: both are closed",
        ),
        (
            json!({"/u/{x}": {"get": a}, "/u/{y}": {"get": b}}),
            "GET /u/{y} is left out: no request can tell it from /u/{x}, and they ask for different things: both are closed",
        ),
        (
            json!({"/u/{x}": {"get": a}, "/u/{y}": {"get": a}}),
            "GET /u/{y}: no request can tell it from /u/{x}, and both ask for the same",
        ),
        (
            json!({"/x": {"get": a, "additionalOperations": {"GET": b}}}),
            "GET /x is left out: the path has this method twice, and they ask for different things: both are closed",
        ),
    ] {
        let mut paths = paths;
        paths["/fine"] = json!({"get": a});
        let made = Imported::of(&json!({"openapi": "3.2.0", "paths": paths}));
        made.succeeds();
        assert!(made.stderr.contains(said), "{said}\n{}", made.stderr);
    }
}

#[test]
fn it_is_said_what_would_open_a_path_of_the_management_api_if_that_were_elsewhere() {
    let open = json!({"get": {"security": []}});
    let need = json!({"get": {"security": [{"k": []}]}});
    let said = "if you change these, /{a}/{b} opens it to others";
    for (other, told) in [(&open, true), (&need, false)] {
        let made = Imported::of(&document(json!({"/apikeys/{id}": need, "/{a}/{b}": other})));
        made.succeeds();
        for text in [&made.stdout, &made.stderr] {
            assert_eq!(text.contains(said), told, "{text}");
        }
    }
}
