//! What is said of differences that a person can check.

use super::super::testing::{compile, compile_with_management, routes};
use super::super::{HostPattern, Policy, RouteSpec};
use super::*;

type Rows<'r> = &'r [(&'r str, &'r str, &'r str)];

fn side(policy: &Policy) -> Side<'_> {
    Side {
        policy,
        upstreams: &["one", "two"],
    }
}

/// Each region in one line: what, methods, hosts unless any, paths, who, request.
fn told(old: &Policy, new: &Policy) -> Vec<String> {
    let difference = compare(side(old), side(new)).unwrap();
    let regions = difference.regions.iter().map(|region| {
        let methods: Vec<&str> = region.methods.iter().map(Method::as_str).collect();
        let paths = region.paths.iter().map(|paths| {
            let except: Vec<String> = paths.except.iter().map(|p| format!(" -{p}")).collect();
            format!("{}{}", paths.of, except.concat())
        });
        let who = region.who.iter().map(|who| match who {
            Who::Anyone => "anyone".to_owned(),
            Who::Scope(scope) => scope.to_string(),
        });
        let hosts = match region.hosts.is_any() {
            true => String::new(),
            false => format!(" [{}]", region.hosts),
        };
        format!(
            "{:?} {}{hosts} {}: {}; {}",
            region.change,
            methods.join(","),
            paths.collect::<Vec<_>>().join(" + "),
            who.collect::<Vec<_>>().join(","),
            region.sample.path,
        )
    });
    regions.collect()
}

fn told_of(old: Rows<'_>, new: Rows<'_>) -> Vec<String> {
    told(
        &compile(routes(old)).unwrap(),
        &compile(routes(new)).unwrap(),
    )
}

#[test]
fn a_difference_is_told_in_the_patterns_of_routes() {
    let base = [
        ("GET", "/v3/users/{uid}", "auth"),
        ("", "/v3/{*rest}", "full"),
    ];
    let rows: &[(Rows<'_>, Rows<'_>, &[&str])] = &[
        // The essay's example.
        (
            &base,
            &[("GET DELETE", "/v3/users/{uid}", "auth"), base[1]],
            &["Widened DELETE /v3/users/{uid}: auth; /v3/users/x"],
        ),
        // A literal within a param: the rest keeps what it had.
        (
            &base,
            &[base[0], base[1], ("GET", "/v3/users/me", "full")],
            &["Narrowed GET,HEAD /v3/users/me: auth; /v3/users/me"],
        ),
        (
            &[("GET", "/u/{id}", "auth"), ("GET", "/u/me", "full")],
            &[("GET", "/u/{id}", "public"), ("GET", "/u/me", "full")],
            &["Widened GET,HEAD /u/{id!=me}: anyone,other; /u/x"],
        ),
        // A tail, without what more specific routes take from it.
        (
            &[("POST", "/v3/users", "auth"), base[1]],
            &[("POST", "/v3/users", "auth"), ("", "/v3/{*rest}", "auth")],
            &[
                "Widened GET,HEAD,PUT,PATCH,DELETE,OPTIONS /v3/{*rest} -/v3/users/: auth; /v3/users",
                "Widened POST /v3/{*rest} -/v3/users{/}: auth; /v3/x",
            ],
        ),
        // A new route takes `/v3/users/` from the tail, though it is not for it.
        (
            &[base[1]],
            &[base[1], ("GET", "/v3/users", "full")],
            &["Narrowed GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS /v3/users/: full,admin; /v3/users/"],
        ),
        (
            &[("", "/a/{*rest}", "auth")],
            &[("", "/a/{*rest}", "auth"), ("GET", "/a", "public")],
            &["Widened GET,HEAD /a: anyone,auth,full,admin,other; /a"],
        ),
        // What is written in another way and means the same is no difference.
        (
            &[("", "/a", "auth"), ("", "/b", "auth")],
            &[("GET POST", "/a /b", "full auth"), ("", "/a /b", "auth")],
            &[],
        ),
        (
            &[("", "/{*rest}", "auth")],
            &[("", "/{*all}", "auth"), ("", "/x", "deny")],
            &[
                "Narrowed GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS /x: auth,full,admin; /x",
                "Narrowed GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS /x/: auth,full,admin; /x/",
            ],
        ),
        (
            &[("", "/a", "deny")],
            &[("", "/b", "public"), ("", "/a", "deny")],
            &[
                "Widened GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS /b: anyone,auth,full,admin,other; /b",
            ],
        ),
    ];
    let sorted = |mut lines: Vec<String>| {
        for line in &mut lines {
            *line = line.replace("admin,auth,full,other", "auth,full,admin,other");
            *line = line.replace("admin,auth,full", "auth,full,admin");
            *line = line.replace("admin,full", "full,admin");
        }
        lines
    };
    for (old, new, expected) in rows {
        assert_eq!(sorted(told_of(old, new)), *expected, "{old:?} and {new:?}");
    }
}

#[test]
fn hosts_are_told_as_far_as_they_differ() {
    let hosted = |host: &str, row: (&str, &str, &str)| -> RouteSpec {
        let mut spec = routes(&[row]).remove(0);
        spec.host = Some(HostPattern::parse(host).unwrap());
        spec
    };
    let any = || routes(&[("GET", "/a", "full")]).remove(0);
    let old = compile(vec![any()]).unwrap();
    let new = compile(vec![any(), hosted("*.e", ("GET", "/a", "other"))]).unwrap();
    assert_eq!(
        told(&old, &new),
        [
            "Widened GET,HEAD [*.e] /a: other; /a",
            "Narrowed GET,HEAD [*.e] /a: admin,full; /a",
        ]
    );
    // The change is that of the routes for any host, which `q.e` falls to and `*.x.e` does not.
    let with = |access: &str| {
        let mut specs = routes(&[("GET", "/a", access)]);
        specs.push(hosted("q.e", ("GET", "/b", "full")));
        specs.push(hosted("*.x.e", ("GET", "/{*rest}", "full")));
        compile(specs).unwrap()
    };
    assert_eq!(
        told(&with("other"), &with("auth other")),
        ["Widened GET,HEAD [any host but not *.x.e] /a: admin,auth,full; /a"]
    );
}

#[test]
fn the_management_api_is_compared_like_routes() {
    let with = |paths: &[&str]| {
        compile_with_management(paths, routes(&[("", "/{*rest}", "public")])).unwrap()
    };
    // What the management API did not serve goes to the tail, and the keys with it.
    let (most, all) = ("anyone,auth,other", "anyone,admin,auth,full,other");
    assert_eq!(
        told(&with(&["/apikeys"]), &with(&[])),
        [
            &format!("Widened POST /apikeys: {most}; /apikeys"),
            "Rerouted POST /apikeys: admin,full; /apikeys",
            &format!("Widened GET,HEAD /apikeys + /apikeys/{{apiKey}}: {most}; /apikeys"),
            "Rerouted GET,HEAD /apikeys + /apikeys/{apiKey}: admin,full; /apikeys",
            &format!("Widened POST /apikeys/ + /apikeys/{{*rest}}: {all}; /apikeys/"),
            &format!(
                "Widened GET,HEAD /apikeys/ + /apikeys/{{*rest}} -/apikeys/{{x}}: {all}; /apikeys/"
            ),
            &format!("Widened PATCH,OPTIONS /apikeys{{/*}}: {all}; /apikeys"),
            &format!("Widened PUT,DELETE /apikeys{{/*}} -/apikeys/{{x}}: {all}; /apikeys"),
            &format!("Widened PUT,DELETE /apikeys/{{apiKey}}: {most}; /apikeys/x"),
            "Rerouted PUT,DELETE /apikeys/{apiKey}: admin,full; /apikeys/x",
        ]
    );
    assert_eq!(told(&with(&["/apikeys"]), &with(&["/apikeys"])), [""; 0]);
}

#[test]
fn policies_that_are_too_entangled_are_an_error_and_no_endless_search() {
    // One literal in each route, at another place: every set of literals is a piece of its own.
    let entangled = |access: &str| {
        let rows: Vec<String> = (0..24)
            .map(|literal| {
                let segments = (0..24).map(|at| match at == literal {
                    true => "/x".to_owned(),
                    false => format!("/{{p{at}}}"),
                });
                segments.collect()
            })
            .collect();
        let rows: Vec<(&str, &str, &str)> = rows
            .iter()
            .map(|path| ("GET", path.as_str(), access))
            .collect();
        compile(routes(&rows)).unwrap()
    };
    let (old, new) = (entangled("full"), entangled("auth"));
    assert_eq!(compare_in(side(&old), side(&new), 100_000), Err(Entangled));
    assert_eq!(compare(side(&old), side(&old)).unwrap().regions, []);
}
