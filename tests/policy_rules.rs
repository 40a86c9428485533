//! The rules of the policy language, each through a running gateway: which route decides is read from the access log, what
//! became of the request from the answer and from what the upstream saw.

mod support;

use support::house::House;
use support::{Folder, Upstream};

const HEAD: &str = r#"
[scopes]
authOnly = []
fullAccess = ["authOnly"]
[defaults]
upstream = "chat"
"#;

impl House {
    fn build(main: &str, routes: &str) -> House {
        let upstream = Upstream::echo();
        // Who waits for a new key to be known asks often, and past the limit refusals are not logged.
        let limits = "[limits]\nfailed_auth = { rate = \"1000000/s\", burst = 1000000 }\n";
        let main = &format!("{main}{limits}");
        let head = if routes.contains("[scopes]") {
            ""
        } else {
            HEAD
        };
        House::of(upstream, main, &format!("{head}{routes}"))
    }

    /// What becomes of a request with a fullAccess key: `name` of the route that let it through, or the status and the
    /// route that decided, `403 shut`, `404 -`.
    fn decides(&self, request: &str) -> String {
        self.decides_for("api.test", &self.full, request)
    }

    fn decides_for(&self, host: &str, key: &str, request: &str) -> String {
        let mut client = self.gateway.connect();
        let key = if key.is_empty() {
            String::new()
        } else {
            format!("apikey: {key}\r\n")
        };
        client.send(format!("{request} HTTP/1.1\r\nHost: {host}\r\n{key}\r\n"));
        let answer = client.answer(request.starts_with("HEAD "));
        let id = answer.header("x-request-id").expect(request);
        let line = self
            .gateway
            .wait_for_log(|line| line.contains(id) && line.contains("keygate::access"));
        let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        let route = line["route"].as_str().expect("a route's name");
        match answer.status {
            200 => route.to_owned(),
            405 => {
                let mut allow: Vec<&str> =
                    answer.header("allow").expect(request).split(", ").collect();
                allow.sort_unstable();
                format!("405 {}", allow.join(" "))
            }
            status => format!("{status} {route}"),
        }
    }

    fn assert_rows(&self, rows: &[(&str, &str)]) {
        for (request, expected) in rows {
            assert_eq!(self.decides(request), *expected, "{request}");
        }
    }
}

#[test]
fn a_route_takes_the_methods_that_it_names_or_the_usual_seven_and_get_brings_head() {
    let house = House::build(
        "",
        r#"
[[routes]]
name = "any"
path = "/any"
scope = "fullAccess"
[[routes]]
name = "get"
path = "/get"
methods = ["GET"]
scope = "fullAccess"
[[routes]]
name = "both-get"
path = "/both"
methods = ["GET"]
scope = "fullAccess"
[[routes]]
name = "both-head"
path = "/both"
methods = ["HEAD", "PURGE"]
scope = "fullAccess"
[[routes]]
name = "mixed-post"
path = "/mixed"
methods = ["POST", "GET"]
scope = "fullAccess"
[[routes]]
name = "mixed-rest"
path = "/mixed"
scope = "fullAccess"
"#,
    );
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        assert_eq!(house.decides(&format!("{method} /any")), "any", "{method}");
    }
    house.assert_rows(&[
        ("PURGE /any", "405 DELETE GET HEAD OPTIONS PATCH POST PUT"),
        ("GET /get", "get"),
        ("HEAD /get", "get"),
        ("POST /get", "405 GET HEAD"),
        ("OPTIONS /get", "405 GET HEAD"),
        ("GET /both", "both-get"),
        ("HEAD /both", "both-head"),
        ("PURGE /both", "both-head"),
        ("PROPFIND /both", "405 GET HEAD PURGE"),
        ("POST /mixed", "mixed-post"),
        ("GET /mixed", "mixed-post"),
        ("HEAD /mixed", "mixed-post"),
        ("DELETE /mixed", "mixed-rest"),
        ("PURGE /mixed", "405 DELETE GET HEAD OPTIONS PATCH POST PUT"),
    ]);
    let seen: Vec<String> = house
        .upstream
        .seen()
        .into_iter()
        .map(|seen| seen.line)
        .collect();
    assert!(
        seen.contains(&"PURGE /both HTTP/1.1".to_owned()),
        "{seen:?}"
    );
}

/// Routes that overlap in every way, in some order.
const OVERLAPPING: &[(&str, &str)] = &[
    ("exact", "host = \"api.example.com\"\npath = \"/{*rest}\""),
    (
        "exact-users",
        "host = \"api.example.com\"\npath = \"/users\"\nmethods = [\"POST\"]",
    ),
    ("long", "host = \"*.eu.example.com\"\npath = \"/{*rest}\""),
    ("suffix", "host = \"*.example.com\"\npath = \"/users\""),
    ("none-rest", "path = \"/{*rest}\""),
    ("none-users", "path = \"/users\"\nmethods = [\"GET\"]"),
    ("none-users-any", "path = \"/users\""),
    ("param", "path = \"/users/{uid}\""),
    ("param-get", "path = \"/users/{uid}\"\nmethods = [\"GET\"]"),
    ("literal", "path = \"/users/me\"\nmethods = [\"GET\"]"),
    ("deep-param", "path = \"/{a}/me/x\""),
    ("deep-literal", "path = \"/users/{uid}/{x}\""),
    ("left-first", "path = \"/a/{b}/{*rest}\""),
    ("left-later", "path = \"/{a}/b/c\""),
];

fn overlapping<'r>(rows: impl Iterator<Item = &'r (&'r str, &'r str)>) -> String {
    rows.map(|(name, text)| {
        format!("[[routes]]\nname = \"{name}\"\nscope = \"fullAccess\"\n{text}\n")
    })
    .collect()
}

#[test]
fn the_most_specific_route_decides_whatever_the_order_of_routes_and_files() {
    // host, request, route
    let rows = [
        // First the host: exact, the longest suffix, none.
        ("api.example.com", "POST /users", "exact-users"),
        ("API.Example.COM:8443", "POST /users", "exact-users"),
        // A route that matches all but the method is passed over, host by host and path by path.
        ("api.example.com", "GET /users", "exact"),
        ("api.example.com", "GET /users/me", "exact"),
        ("x.eu.example.com", "GET /users", "long"),
        ("x.y.eu.example.com", "GET /users", "long"),
        ("eu.example.com", "GET /users", "suffix"),
        ("x.example.com", "GET /users", "suffix"),
        ("x.example.com", "GET /other", "none-rest"),
        ("example.com", "GET /users", "none-users"),
        ("notexample.com", "GET /users", "none-users"),
        ("127.0.0.1:8080", "GET /users", "none-users"),
        // Then the path, segment by segment from the left; then a route that names the method.
        ("a.test", "POST /users", "none-users-any"),
        ("a.test", "HEAD /users", "none-users"),
        ("a.test", "GET /users/me", "literal"),
        ("a.test", "POST /users/me", "param"),
        ("a.test", "GET /users/you", "param-get"),
        ("a.test", "PUT /users/you", "param"),
        ("a.test", "GET /users/me/x", "deep-literal"),
        ("a.test", "GET /other/me/x", "deep-param"),
        ("a.test", "GET /a/b/c", "left-first"),
        ("a.test", "GET /b/b/c", "left-later"),
        ("a.test", "GET /users/me/x/y", "none-rest"),
    ];
    let forward = overlapping(OVERLAPPING.iter());
    let backward = overlapping(OVERLAPPING.iter().rev());
    let odd = overlapping(OVERLAPPING.iter().skip(1).step_by(2));
    let even = overlapping(OVERLAPPING.iter().step_by(2));
    for (order, routes, more) in [
        ("forward", forward, ""),
        ("backward", backward, ""),
        ("in two files", odd, &*even),
    ] {
        let upstream = Upstream::echo();
        let folder = Folder::new(upstream.address, "", &format!("{HEAD}{routes}"));
        let include = std::fs::read_to_string(folder.config()).expect("the main file");
        let include = include.replace(
            "[\"routes.toml\"]",
            "[\"routes.toml\", \"routes.d/*.toml\"]",
        );
        folder.write("keygate.toml", &include);
        if !more.is_empty() {
            std::fs::create_dir(folder.path().join("routes.d")).expect("a folder");
            folder.write("routes.d/0.toml", more);
        }
        let full = folder.new_key("full", "fullAccess");
        let gateway = folder.start();
        let house = House {
            upstream,
            folder,
            gateway,
            full,
            auth: String::new(),
        };
        for (host, request, expected) in rows {
            let decided = house.decides_for(host, &house.full, request);
            assert_eq!(decided, expected, "{order}: {request} to {host}");
        }
    }
}

#[test]
fn a_host_has_one_spelling_so_none_falls_to_a_broader_route() {
    let house = House::build(
        "",
        r#"
[[routes]]
name = "closed"
host = "admin.example.com"
path = "/{*rest}"
access = "deny"
[[routes]]
name = "open"
path = "/{*rest}"
access = "public"
"#,
    );
    for host in [
        "admin.example.com",
        "ADMIN.example.com",
        "admin.example.com:80",
        "Admin.Example.Com:8080",
    ] {
        let decided = house.decides_for(host, &house.full, "GET /x");
        assert_eq!(decided, "403 closed", "{host}");
    }
    for host in [
        "admin.example.com.",
        "Admin.Example.Com.:8080",
        "admin.example.com..",
        ".admin.example.com",
        "admin..example.com",
    ] {
        let decided = house.decides_for(host, &house.full, "GET /x");
        assert_eq!(decided, "400 -", "{host}");
    }
    assert_eq!(house.decides_for("other.example.com", "", "GET /x"), "open");
}

#[test]
fn no_route_is_404_and_405_only_where_none_of_all_that_match_takes_the_method() {
    let house = House::build(
        "",
        r#"
[[routes]]
name = "get"
path = "/v3/users/{uid}"
methods = ["GET"]
scope = "fullAccess"
[[routes]]
name = "me"
path = "/v3/users/me"
methods = ["PUT"]
scope = "fullAccess"
[[routes]]
name = "tail"
path = "/v3/{*rest}"
methods = ["DELETE"]
scope = "fullAccess"
[[routes]]
name = "host"
host = "only.test"
path = "/elsewhere"
scope = "fullAccess"
"#,
    );
    house.assert_rows(&[
        ("PUT /v3/users/me", "me"),
        ("GET /v3/users/me", "get"),
        ("DELETE /v3/users/me", "tail"),
        ("POST /v3/users/me", "405 DELETE GET HEAD PUT"),
        ("POST /v3/users/you", "405 DELETE GET HEAD"),
        ("POST /v3/x", "405 DELETE"),
        ("GET /v3", "404 -"),
        ("POST /v4/users", "404 -"),
        ("GET /elsewhere", "404 -"),
    ]);
    assert_eq!(
        house.decides_for("only.test", &house.full, "GET /elsewhere"),
        "host"
    );
}

#[test]
fn a_management_path_owns_itself_and_everything_below_it() {
    let house = House::build(
        "[management]\npaths = [\"/apikeys\", \"/v3/apikeys\"]\n",
        r#"
[[routes]]
name = "all"
path = ["/{*rest}", "/"]
access = "public"
allow = ["encoded-slash", "semicolon", "double-slash", "encoded-percent"]
[[routes]]
name = "hosted"
host = "api.test"
path = "/{a}/{*rest}"
methods = ["GET", "PURGE"]
access = "public"
"#,
    );
    // request, what becomes of it with a key, and without
    for (request, expected, without) in [
        ("GET /apikeys", "GET /apikeys", "401 GET /apikeys"),
        ("GET /v3/apikeys", "GET /v3/apikeys", "401 GET /v3/apikeys"),
        ("GET /%61pikeys", "GET /apikeys", "401 GET /apikeys"),
        ("POST /apikeys", "400 POST /apikeys", "401 POST /apikeys"),
        ("PATCH /apikeys", "405 GET HEAD POST", "401 -"),
        ("PURGE /apikeys", "405 GET HEAD POST", "401 -"),
        ("OPTIONS /v3/apikeys/x", "405 DELETE GET HEAD PUT", "401 -"),
        (
            "GET /apikeys/x",
            "404 GET /apikeys/{apiKey}",
            "401 GET /apikeys/{apiKey}",
        ),
        ("GET /apikeys/", "404 -", "401 -"),
        ("GET /apikeys/x/", "404 -", "401 -"),
        ("GET /apikeys/x/y", "404 -", "401 -"),
        ("POST /v3/apikeys/x/y/z", "404 -", "401 -"),
        (
            "GET /apikeys/a%2Fb",
            "400 GET /apikeys/{apiKey}",
            "401 GET /apikeys/{apiKey}",
        ),
        (
            "GET /apikeys/a;b",
            "400 GET /apikeys/{apiKey}",
            "401 GET /apikeys/{apiKey}",
        ),
        ("GET /apikeys//", "404 -", "401 -"),
    ] {
        assert_eq!(house.decides(request), expected, "{request}");
        let decided = house.decides_for("any.test", "", request);
        assert_eq!(decided, without, "{request}: without a key nothing is said");
    }
    assert_eq!(
        house.upstream.connections(),
        0,
        "none of it reaches an upstream"
    );
    house.assert_rows(&[
        ("GET /apikeysx", "all"),
        ("GET /apikey", "all"),
        ("GET /APIKEYS", "all"),
        ("GET /v3.0/apikeys", "hosted"),
        ("POST /v3.0/apikeys", "all"),
        ("GET /v3/other/apikeys", "hosted"),
        ("GET /", "all"),
    ]);
}

#[test]
fn params_tails_slashes_and_case() {
    let house = House::build(
        "",
        r#"
[[routes]]
name = "param"
path = "/p/{id}/end"
scope = "fullAccess"
[[routes]]
name = "tail"
path = "/t/{*rest}"
scope = "fullAccess"
[[routes]]
name = "plain"
path = "/x"
scope = "fullAccess"
[[routes]]
name = "slash"
path = "/y/"
scope = "fullAccess"
[[routes]]
name = "both"
path = "/z"
scope = "fullAccess"
[[routes]]
name = "both-slash"
path = "/z/"
scope = "fullAccess"
[[routes]]
name = "broad"
path = "/b/{*rest}"
access = "public"
[[routes]]
name = "narrow"
path = "/b/users"
methods = ["GET"]
scope = "fullAccess"
[[routes]]
name = "narrow-param"
path = "/b/groups/{guid}"
scope = "fullAccess"
[[routes]]
name = "cafe"
path = "/caf%c3%A9/%7eme"
scope = "fullAccess"
"#,
    );
    house.assert_rows(&[
        ("GET /p/1/end", "param"),
        ("GET /p/%F0%9F%98%8A/end", "param"),
        ("GET /p/.../end", "param"),
        ("GET /p/{id}/end", "400 -"),
        ("GET /p//end", "404 -"),
        ("GET /p/./end", "400 -"),
        ("GET /p/../end", "400 -"),
        ("GET /p/%2e%2e/end", "400 -"),
        ("GET /p/a/b/end", "404 -"),
        ("GET /p/a/end/", "404 -"),
        // A tail is one character or more.
        ("GET /t/a", "tail"),
        ("GET /t/a/", "tail"),
        ("GET /t/a/b/c/", "tail"),
        ("GET /t", "404 -"),
        ("GET /t/", "404 -"),
        // With and without a slash at the end are two paths.
        ("GET /x", "plain"),
        ("GET /x/", "404 -"),
        ("GET /y", "404 -"),
        ("GET /y/", "slash"),
        ("GET /z", "both"),
        ("GET /z/", "both-slash"),
        // A path that ends in a slash is not given to a tail when the same path without it has a more specific route.
        ("GET /b/other/", "broad"),
        ("GET /b/users", "narrow"),
        ("GET /b/users/", "404 -"),
        ("POST /b/users", "broad"),
        ("POST /b/users/", "404 -"),
        ("GET /b/users/x", "broad"),
        ("GET /b/users/x/", "broad"),
        ("GET /b/groups/g", "narrow-param"),
        ("GET /b/groups/g/", "404 -"),
        ("GET /b/groups/", "broad"),
        // Letter case counts, and literals are what requests become.
        ("GET /X", "404 -"),
        ("GET /P/1/end", "404 -"),
        ("GET /caf%C3%A9/~me", "cafe"),
        ("GET /caf%c3%a9/%7Eme", "cafe"),
        ("GET /cafe/~me", "404 -"),
        ("GET /%78", "plain"),
        // The query is never part of a match.
        ("GET /x?/y/", "plain"),
        ("GET /x?", "plain"),
        ("GET /z?a=../b%2F", "both"),
        ("GET /?/x", "404 -"),
    ]);
    for path in ["/b/users/", "/b/groups/g/"] {
        let decided = house.decides_for("api.test", "", &format!("GET {path}"));
        assert_eq!(decided, "401 -", "{path}: the public tail does not take it");
    }
}

#[test]
fn scopes_include_one_another_and_access_opens_or_closes_for_all() {
    let house = House::build(
        "",
        r#"
[scopes]
authOnly = []
reader = []
fullAccess = ["authOnly"]
root = ["fullAccess", "reader"]
[defaults]
upstream = "chat"
[[routes]]
name = "auth"
path = "/auth"
scope = "authOnly"
[[routes]]
name = "full"
path = "/full"
scope = "fullAccess"
[[routes]]
name = "any-of"
path = "/any-of"
scope = ["reader", "authOnly"]
[[routes]]
name = "reader"
path = "/reader"
scope = ["reader"]
[[routes]]
name = "open"
path = "/open"
access = "public"
[[routes]]
name = "shut"
path = "/shut"
access = "deny"
"#,
    );
    let key = |name: &str| {
        let key = house.folder.new_key(name, name);
        let decide = || house.decides_for("a", &key, "GET /shut");
        house
            .gateway
            .eventually(decide, |decided| decided == "403 shut");
        key
    };
    let (reader, root) = (key("reader"), key("root"));
    // path, then: no key, authOnly, fullAccess, reader, root
    for (path, expected) in [
        ("/auth", [401, 200, 200, 403, 200]),
        ("/full", [401, 403, 200, 403, 200]),
        ("/any-of", [401, 200, 200, 200, 200]),
        ("/reader", [401, 403, 403, 200, 200]),
        ("/open", [200, 200, 200, 200, 200]),
        ("/shut", [401, 403, 403, 403, 403]),
    ] {
        let keys = ["", &house.auth, &house.full, &reader, &root];
        let decided = keys.map(|key| {
            let decided = house.decides_for("a", key, &format!("GET {path}"));
            match decided.split_once(' ') {
                Some((status, _)) => status.parse().expect("a status"),
                None => 200,
            }
        });
        assert_eq!(decided, expected, "{path}");
    }
}

#[test]
fn prefixes_and_lists_of_paths_multiply_and_targets_are_rewritten() {
    let house = House::build(
        "",
        r#"
prefix = ["/v3", "/v3.0", ""]
[scopes]
authOnly = []
fullAccess = ["authOnly"]
[defaults]
upstream = "chat"
[[routes]]
name = "list"
path = ["/a", "/b/{id}"]
methods = ["GET"]
scope = "fullAccess"
"#,
    );
    house.assert_rows(&[
        ("GET /v3/a", "list"),
        ("GET /v3.0/a", "list"),
        ("GET /a", "list"),
        ("GET /v3/b/1", "list"),
        ("GET /v3.0/b/1", "list"),
        ("GET /b/1", "list"),
        ("GET /v4/a", "404 -"),
        ("GET /v3/v3/a", "404 -"),
        ("GET /v3", "404 -"),
    ]);

    let house = House::build(
        "",
        r#"
[[routes]]
path = ["/strip", "/strip/{*rest}"]
scope = "fullAccess"
strip_prefix = "/strip"
[[routes]]
path = "/add/{*rest}"
scope = "fullAccess"
add_prefix = "/api/v1"
[[routes]]
path = "/both/{*rest}"
scope = "fullAccess"
strip_prefix = "/both"
add_prefix = "/other"
[[routes]]
path = "/odd/{*rest}"
scope = "fullAccess"
strip_prefix = "/odd"
allow = ["double-slash", "encoded-slash"]
"#,
    );
    for (target, expected) in [
        ("/strip", "/"),
        ("/strip?q=/strip/x", "/?q=/strip/x"),
        ("/strip/x", "/x"),
        ("/strip/strip/x/", "/strip/x/"),
        ("/strip/%F0%9F%98%8A?a=%zz", "/%F0%9F%98%8A?a=%zz"),
        ("/%73trip/%7Ex", "/~x"),
        ("/add/x", "/api/v1/add/x"),
        ("/add/x?y", "/api/v1/add/x?y"),
        ("/both/x/y", "/other/x/y"),
        ("/both/x/", "/other/x/"),
        ("/odd/a%2fb", "/a%2Fb"),
        ("/odd/a//b", "/a//b"),
    ] {
        let answer = house.gateway.call(
            &format!("GET {target}"),
            &[&format!("apikey: {}", house.full)],
            "",
        );
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        assert_eq!(house.upstream.last().target(), expected, "{target}");
    }
}

#[test]
fn exceptions_hold_where_they_are_allowed_and_nowhere_else() {
    let mut routes = String::from(
        "[[routes]]\nname = \"none\"\npath = \"/none/{*rest}\"\nscope = \"fullAccess\"\n",
    );
    let kinds = [
        "encoded-slash",
        "encoded-percent",
        "semicolon",
        "double-slash",
    ];
    for kind in kinds {
        routes += &format!(
            "[[routes]]\nname = \"{kind}\"\npath = \"/{kind}/{{*rest}}\"\nscope = \"fullAccess\"\nallow = [\"{kind}\"]\n"
        );
    }
    routes += "[[routes]]\nname = \"all\"\npath = \"/all/{*rest}\"\naccess = \"public\"\nallow = [\"encoded-slash\", \"encoded-percent\", \"semicolon\", \"double-slash\"]\n";
    let house = House::build("", &routes);
    for (rest, needs) in [
        ("a%2Fb", "encoded-slash"),
        ("a%2fb", "encoded-slash"),
        ("a%25b", "encoded-percent"),
        ("a;b", "semicolon"),
        ("a%3Bb", "semicolon"),
        ("a//b", "double-slash"),
    ] {
        for route in ["none", "all"].iter().chain(&kinds) {
            let decided = house.decides(&format!("GET /{route}/{rest}"));
            if *route == needs || *route == "all" {
                assert_eq!(decided, *route, "{rest}");
                let upper = format!("/{route}/{}", rest.replace("%2f", "%2F"));
                assert_eq!(house.upstream.last().target(), upper, "{rest}");
            } else {
                assert_eq!(decided, format!("400 {route}"), "{rest}");
                let without = house.decides_for("a", "", &format!("GET /{route}/{rest}"));
                assert_eq!(without, format!("401 {route}"), "{rest}: after 401");
            }
        }
    }
    // Where a second reading would climb, no exception helps.
    for rest in [
        "..",
        "%2e%2e/x",
        "a/%2E%2E",
        "a%2F..%2Fb",
        "..%2Fb",
        "%252e%252e/x",
        "a%252F..%252Fb",
        "..;/x",
        "..;a=b/x",
        ".%3B/x",
        "a//../b",
        "a%5Cb",
        "a%00b",
        "%c0%ae%c0%ae/x",
    ] {
        let decided = house.decides(&format!("GET /all/{rest}"));
        assert!(decided.starts_with("400"), "{rest}: {decided}");
    }
}

#[test]
fn a_route_has_its_own_upstream_and_limits_and_defaults_hold_for_all_files() {
    let other = Upstream::start(|_, stream| support::respond(stream, 200, &[], "[\"other\"]", 9));
    let silent = Upstream::start(|_, _| true);
    let main = format!(
        "[upstreams.other]\nservers = [\"http://{}\"]\nhost = \"client\"\nheaders.set = {{ apikey = \"of-the-upstream\", X-Plain = \"${{file:token}}\" }}\n\
         [upstreams.silent]\nservers = [\"http://{}\"]\nhost = \"named.test\"\ntimeouts = {{ response = \"200ms\" }}\n",
        other.address, silent.address
    );
    let upstream = Upstream::echo();
    let routes = r#"
[[routes]]
name = "chat"
path = "/chat"
scope = "fullAccess"
[[routes]]
name = "other"
path = "/other"
scope = "fullAccess"
upstream = "other"
body_bytes = "20B"
[[routes]]
name = "silent"
path = "/silent"
scope = "fullAccess"
upstream = "silent"
"#;
    // `[scopes]` in the main file, `[defaults]` in another than the routes.
    let defaults = "[defaults]\nupstream = \"chat\"\nbody_bytes = \"10B\"\n[[routes]]\nname = \"slow\"\npath = \"/slow\"\nscope = \"fullAccess\"\nupstream = \"silent\"\ntimeouts = { response = \"100ms\" }\n";
    let scopes = "[scopes]\nauthOnly = []\nfullAccess = [\"authOnly\"]\n";
    let folder = Folder::new(upstream.address, &format!("{main}{scopes}"), routes);
    let text = std::fs::read_to_string(folder.config()).expect("the main file");
    folder.write(
        "keygate.toml",
        &text.replace("[\"routes.toml\"]", "[\"routes.toml\", \"more.toml\"]"),
    );
    folder.write("more.toml", defaults);
    folder.write("token", "from-a-file\n");
    let full = folder.new_key("full", "fullAccess");
    let gateway = folder.start();
    let key = format!("apikey: {full}");
    for (path, length, status) in [
        ("/chat", 10, 200),
        ("/chat", 11, 413),
        ("/other", 20, 200),
        ("/other", 21, 413),
        ("/silent", 0, 504),
        ("/slow", 0, 504),
    ] {
        let answer = gateway.call(&format!("POST {path}"), &[&key], &"x".repeat(length));
        assert_eq!(answer.status, status, "{path} {length}: {}", answer.text());
    }
    assert_eq!(
        upstream.last().header("host"),
        Some(&*upstream.address.to_string())
    );
    assert_eq!(upstream.last().header("x-plain"), None);
    let seen = other.last();
    assert_eq!(seen.header("host"), Some("gateway.test"));
    assert_eq!(seen.header("apikey"), Some("of-the-upstream"));
    assert_eq!(seen.header("x-plain"), Some("from-a-file"));
    assert_eq!(silent.last().header("host"), Some("named.test"));
    // Files of secrets are watched too.
    folder.write("token", "another");
    gateway.eventually(
        || {
            gateway.call("POST /other", &[&key], "");
            other.last().header("x-plain") == Some("another")
        },
        |other| *other,
    );
}

#[test]
fn a_host_that_is_an_address_is_one_host_however_it_is_spelt() {
    let upstream = support::Upstream::echo();
    let routes = "[scopes]\nfullAccess = []\n[defaults]\nupstream = \"chat\"\n\
        [[routes]]\npath = \"/a\"\nhost = \"[0:0:0:0:0:0:0:1]\"\naccess = \"deny\"\n\
        [[routes]]\npath = \"/a\"\naccess = \"public\"\n";
    let folder = support::Folder::new(upstream.address, "", routes);
    let key = folder.new_key("full", "fullAccess");
    let gateway = folder.start();
    for host in ["[::1]", "[0:0:0:0:0:0:0:1]", "[::0001]:80"] {
        let mut client = gateway.connect();
        client.send(format!(
            "GET /a HTTP/1.1\r\nHost: {host}\r\napikey: {key}\r\n\r\n"
        ));
        assert_eq!(client.answer(false).status, 403, "{host}");
    }
    let mut client = gateway.connect();
    client.send(format!(
        "GET /a HTTP/1.1\r\nHost: [::2]\r\napikey: {key}\r\n\r\n"
    ));
    assert_eq!(client.answer(false).status, 200);
}
