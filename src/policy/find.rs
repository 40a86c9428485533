//! Which route decides about a request: the pure core of every decision.
//!
//! First the management paths, then the tree; of the ends that match host and path the first that takes the method
//! decides. None takes it: 405, with what all of them take together. None matches: 404. The data plane, `[[expect]]` and
//! the checks of a policy all come through [`Policy::find`].

use super::management::Ownership;
use super::methods::ByMethod;
use super::walk::Walk;
use super::{Policy, RouteIndex};
use http::{HeaderValue, Method};

/// What the policy looks at in a request.
#[derive(Clone, Copy, Debug)]
pub struct Query<'q> {
    /// The method.
    pub method: &'q Method,
    /// The host in lower case, without a port.
    pub host: Option<&'q str>,
    /// The canonical path.
    pub path: &'q str,
}

/// What the policy has for a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// This route decides.
    Route(RouteIndex),
    /// Routes match host and path, but none takes the method; the value of `Allow`: what they do take, sorted.
    MethodNotAllowed(HeaderValue),
    /// No route matches host and path.
    NotFound,
}

impl Policy {
    /// The route that decides about a request. Costs no allocation but for [`Found::MethodNotAllowed`].
    pub fn find(&self, query: Query<'_>) -> Found {
        for owned in &self.management {
            match owned.claim(query.path) {
                None => {}
                Some(Ownership::Nothing) => return Found::NotFound,
                Some(Ownership::Operations(end)) => {
                    return match end.route(query.method) {
                        Some(route) => Found::Route(route),
                        None => Found::MethodNotAllowed(allow([end])),
                    };
                }
            }
        }
        let mut matched = false;
        for end in self.walk(query) {
            matched = true;
            if let Some(route) = self.tree.end(end).route(query.method) {
                return Found::Route(route);
            }
        }
        if matched {
            Found::MethodNotAllowed(allow(self.walk(query).map(|end| self.tree.end(end))))
        } else {
            Found::NotFound
        }
    }

    /// Whether the management API owns this canonical path, served there or not.
    pub fn is_managements(&self, path: &str) -> bool {
        self.management
            .iter()
            .any(|owned| owned.claim(path).is_some())
    }

    /// The ends of the tree that match host and path, the most specific first.
    pub(super) fn walk<'q>(&self, query: Query<'q>) -> Walk<'_, 'q> {
        Walk::new(&self.tree, query.host, query.path)
    }
}

/// The value of `Allow`: all methods that these ends take, by name.
#[cold]
fn allow<'e>(ends: impl IntoIterator<Item = &'e ByMethod>) -> HeaderValue {
    let mut names: Vec<&str> = Vec::new();
    for end in ends {
        names.extend(end.taken().map(|(method, _)| method.as_str()));
    }
    names.sort_unstable();
    names.dedup();
    HeaderValue::from_str(&names.join(", "))
        .expect("a method is made of characters that a header value may have")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{compile, compile_with_management, route, routes};
    use super::super::{HostPattern, ManagementOp, RouteSpec, Target};
    use super::*;

    /// What was found, as text: the route's line, `405` with `Allow`, `404`.
    fn found(policy: &Policy, request: &str) -> String {
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let method: Method = method.parse().unwrap();
        let query = Query {
            method: &method,
            host: words.next(),
            path,
        };
        match policy.find(query) {
            Found::Route(route) => match policy.routes()[route.index()].target {
                Target::Upstream(_) => policy.routes()[route.index()].place.line.to_string(),
                Target::Management(operation) => format!("{operation:?}"),
            },
            Found::MethodNotAllowed(allow) => format!("405 {}", allow.to_str().unwrap()),
            Found::NotFound => "404".to_owned(),
        }
    }

    fn assert_rows(policy: &Policy, rows: &[(&str, &str)]) {
        for (request, expected) in rows {
            assert_eq!(found(policy, request), *expected, "{request}");
        }
    }

    #[test]
    fn the_example_of_the_policy_page_decides_as_it_says() {
        let policy = compile(routes(&[
            ("POST", "/v3/users /v3.0/users", "auth"),
            ("POST", "/v3/users/{uid}/auth_tokens", "auth"),
            ("", "/v3/{*rest} /v3.0/{*rest}", "full"),
        ]));
        assert_rows(
            &policy.unwrap(),
            &[
                ("POST /v3/users", "1"),
                ("POST /v3.0/users", "1"),
                ("GET /v3/users", "3"),
                ("HEAD /v3/users", "3"),
                ("POST /v3/users/u/auth_tokens", "2"),
                ("POST /v3.0/users/u/auth_tokens", "3"),
                ("DELETE /v3/users/cyclops2", "3"),
                (
                    "PURGE /v3/users",
                    "405 DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
                ),
                ("GET /v3/a/", "3"),
                ("GET /v3", "404"),
                ("GET /v3/", "404"),
                ("GET /", "404"),
                ("GET /V3/users", "404"),
                ("OPTIONS *", "404"),
            ],
        );
    }

    #[test]
    fn a_literal_stands_before_a_param_before_a_tail_from_the_left() {
        let policy = compile(routes(&[
            ("GET", "/a/b", "full"),
            ("GET", "/a/{x}", "full"),
            ("GET", "/{x}/b", "full"),
            ("GET", "/{x}/{y}", "full"),
            ("GET", "/a/{*rest}", "full"),
            ("GET", "/{*rest}", "full"),
            ("GET", "/a/{x}/c", "full"),
            ("POST", "/{x}/b", "full"),
            ("GET", "/deep/{a}/{b}/{c}/end", "full"),
            ("GET", "/deep/x/y/z/other", "full"),
        ]));
        assert_rows(
            &policy.unwrap(),
            &[
                ("GET /a/b", "1"),
                ("GET /a/z", "2"),
                ("GET /z/b", "3"),
                ("GET /z/z", "4"),
                ("GET /a/b/c", "7"),
                ("GET /a/b/d", "5"),
                ("GET /z", "6"),
                ("GET /z/y/x", "6"),
                ("POST /a/b", "8"),
                ("POST /a/z", "405 GET, HEAD"),
                ("PUT /a/b", "405 GET, HEAD, POST"),
                ("GET /deep/x/y/z/end", "9"),
                ("GET /deep/x/y/z/other", "10"),
                ("GET /deep/x/y/z/neither", "6"),
            ],
        );
    }

    #[test]
    fn a_param_is_one_segment_and_a_tail_is_a_character_or_more() {
        let policy = compile(routes(&[
            ("", "/p/{x}", "full"),
            ("", "/t/{*rest}", "full"),
            ("", "/s/", "full"),
        ]));
        assert_rows(
            &policy.unwrap(),
            &[
                ("GET /p/a", "1"),
                ("GET /p/a%20b", "1"),
                ("GET /p/", "404"),
                ("GET /p", "404"),
                ("GET /p/a/", "404"),
                ("GET /p//", "404"),
                ("GET /p/.", "404"),
                ("GET /p/..", "404"),
                ("GET /t/a", "2"),
                ("GET /t/a/", "2"),
                ("GET /t/a/b/", "2"),
                ("GET /t/", "404"),
                ("GET /t", "404"),
                ("GET /s/", "3"),
                ("GET /s", "404"),
            ],
        );
    }

    #[test]
    fn a_path_that_ends_in_a_slash_is_not_given_to_a_tail_where_the_shorter_one_has_a_route() {
        let policy = compile(routes(&[
            ("POST", "/v3/users", "full"),
            ("", "/v3/{*rest}", "full"),
            ("GET", "/v3/{x}/files/{*rest}", "full"),
            ("GET", "/{a}/users", "full"),
            ("GET", "/{*rest}", "public"),
            ("GET", "/v3/both", "full"),
            ("GET", "/v3/both/", "full"),
        ]));
        assert_rows(
            &policy.unwrap(),
            &[
                ("POST /v3/users/", "404"),
                // Whatever the method of that route.
                ("GET /v3/users/", "404"),
                ("GET /v3/other/", "2"),
                // The route of `/v4/users` is more specific than the tail, that of `/{a}/users` is not more so than `/v3/…`.
                ("GET /v4/users/", "404"),
                // A more specific tail takes both or neither.
                ("GET /v3/x/files/y/", "3"),
                ("PUT /v3/x/files/y", "2"),
                ("PUT /v3/x/files/y/", "2"),
                ("GET /v3/both/", "7"),
                ("PUT /v3/both/", "405 GET, HEAD"),
            ],
        );
    }

    fn of_host(host: &str, mut spec: RouteSpec) -> RouteSpec {
        spec.host = Some(HostPattern::parse(host).unwrap());
        spec
    }

    #[test]
    fn the_host_goes_before_the_path_and_the_longest_suffix_before_a_shorter() {
        let mut specs = routes(&[
            ("GET", "/{*rest}", "full"),
            ("GET", "/{*rest}", "full"),
            ("GET", "/{*rest}", "full"),
            ("GET POST", "/a", "full"),
        ]);
        specs[0] = of_host("api.example.com", specs[0].clone());
        specs[1] = of_host("*.example.com", specs[1].clone());
        specs[2] = of_host("*.eu.example.com", specs[2].clone());
        let policy = compile(specs).unwrap();
        assert_rows(
            &policy,
            &[
                ("GET /a api.example.com", "1"),
                ("GET /a api.example.com.", "1"),
                ("GET /a other.example.com", "2"),
                ("GET /a x.y.example.com", "2"),
                ("GET /a x.eu.example.com", "3"),
                ("GET /a eu.example.com", "2"),
                ("GET /a example.com", "4"),
                ("GET /a .example.com", "4"),
                ("GET /a notexample.com", "4"),
                ("GET /a localhost", "4"),
                ("GET /a", "4"),
                ("POST /a api.example.com", "4"),
                ("PUT /a api.example.com", "405 GET, HEAD, POST"),
                ("GET /b localhost", "404"),
                // The shorter path has a route, but of a less specific host than the tail's.
                ("GET /a/ api.example.com", "1"),
                ("GET /a/ localhost", "404"),
            ],
        );
    }

    #[test]
    fn a_management_path_owns_itself_and_all_below_for_every_method_and_host() {
        let mut specs = routes(&[("", "/{*rest} /v3/{*rest}", "public")]);
        specs.push(of_host("a.example", route("PURGE", "/{*rest}", "public")));
        let policy = compile_with_management(&["/apikeys", "/v3/apikeys"], specs).unwrap();
        assert_rows(
            &policy,
            &[
                ("POST /apikeys", "Create"),
                ("GET /apikeys", "List"),
                ("HEAD /v3/apikeys a.example", "List"),
                ("GET /v3/apikeys/k", "Get"),
                ("HEAD /apikeys/k", "Get"),
                ("PUT /apikeys/k", "Update"),
                ("DELETE /apikeys/k a.example", "Delete"),
                ("DELETE /apikeys", "405 GET, HEAD, POST"),
                ("PURGE /apikeys a.example", "405 GET, HEAD, POST"),
                ("POST /apikeys/k", "405 DELETE, GET, HEAD, PUT"),
                ("OPTIONS /apikeys/k", "405 DELETE, GET, HEAD, PUT"),
                ("GET /apikeys/", "404"),
                ("GET /apikeys/k/", "404"),
                ("GET /apikeys/k/l", "404"),
                ("PURGE /apikeys/k/l a.example", "404"),
                ("GET /apikeysx", "1"),
                ("GET /APIKEYS", "1"),
                ("GET /v4/apikeys", "1"),
            ],
        );
    }

    #[test]
    fn the_key_of_a_management_request_is_read_from_its_path() {
        let policy = compile_with_management(&["/v3/apikeys"], Vec::new()).unwrap();
        for (method, path, expected) in [
            (Method::GET, "/v3/apikeys", None),
            (Method::POST, "/v3/apikeys", None),
            (Method::GET, "/v3/apikeys/abc", Some("abc")),
            (Method::DELETE, "/v3/apikeys/a%20c", Some("a%20c")),
        ] {
            let method = &method;
            let query = Query {
                method,
                host: None,
                path,
            };
            let Found::Route(route) = policy.find(query) else {
                panic!("{method} {path} has a route");
            };
            let route = &policy.routes()[route.index()];
            assert_eq!(route.key_segment(path), expected, "{method} {path}");
            assert!(matches!(
                (route.target, expected),
                (
                    Target::Management(ManagementOp::Create | ManagementOp::List),
                    None
                ) | (Target::Management(_), Some(_))
            ));
        }
    }

    #[test]
    fn a_request_costs_no_more_than_the_tree_is_large() {
        // Literal and param at each level, and a path that fits all of them but for its end.
        let both = ["a", "{x}"];
        let mut paths = vec![String::new()];
        for level in 0..8 {
            paths = (paths.iter())
                .flat_map(|path| {
                    both.map(|s| format!("{path}/{}", s.replace('x', &format!("x{level}"))))
                })
                .collect();
        }
        let specs: Vec<RouteSpec> = paths
            .iter()
            .map(|p| route("GET", &format!("{p}/end"), "full"))
            .collect();
        let policy = compile(specs).unwrap();
        let deep = "/a".repeat(100_000);
        let nearly = format!("{}/no", "/a".repeat(8));
        assert_rows(
            &policy,
            &[
                (&format!("GET {deep}"), "404"),
                (&format!("GET {nearly}"), "404"),
                (&format!("GET {}/end", "/a".repeat(8)), "1"),
                (&format!("GET {}", "/".repeat(10_000)), "404"),
                (&format!("GET / {}", "a.".repeat(10_000)), "404"),
            ],
        );
    }
}
