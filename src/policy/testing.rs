//! Short ways to write policies, for the tests of this module.

use super::{
    AccessSpec, Exceptions, ManagementSpec, Methods, Place, Policy, PolicyError, PolicySpec,
    RouteSettings, RouteSpec,
};
use crate::key::{ScopeName, Scopes};
use std::path::PathBuf;
use std::sync::Arc;

/// A place on a line of a file that does not exist.
pub fn place(line: usize) -> Place {
    Place {
        file: Arc::new(PathBuf::from("routes.toml")),
        span: line..line + 1,
        line,
        column: 1,
    }
}

pub fn scope(name: &str) -> ScopeName {
    ScopeName::parse(name).unwrap()
}

/// `admin` includes `full` includes `auth`; `other` stands beside them.
pub fn scopes() -> Scopes {
    let declared = [
        ("auth", vec![]),
        ("full", vec![scope("auth")]),
        ("admin", vec![scope("full")]),
        ("other", vec![]),
    ];
    Scopes::new(
        &declared
            .into_iter()
            .map(|(name, includes)| (scope(name), includes))
            .collect(),
    )
    .unwrap()
}

/// A route at line 1: methods and paths separated by blanks; `public`, `deny` or scopes.
pub fn route(methods: &str, paths: &str, access: &str) -> RouteSpec {
    let place = place(1);
    RouteSpec {
        paths: paths
            .split_whitespace()
            .map(|path| (path.to_owned(), place.clone()))
            .collect(),
        methods: match methods {
            "" => Methods::Default,
            named => Methods::Named(
                named
                    .split_whitespace()
                    .map(|m| m.parse().unwrap())
                    .collect(),
            ),
        },
        host: None,
        access: match access {
            "public" => AccessSpec::Public,
            "deny" => AccessSpec::Deny,
            names => AccessSpec::AnyOf(
                names
                    .split_whitespace()
                    .map(|n| (scope(n), place.clone()))
                    .collect(),
            ),
        },
        name: None,
        upstream: 0,
        allow: Exceptions::NONE,
        settings: RouteSettings::default(),
        place,
    }
}

/// Routes in the order given, each with its position, from 1, as its line.
pub fn routes(rows: &[(&str, &str, &str)]) -> Vec<RouteSpec> {
    let routes = rows
        .iter()
        .enumerate()
        .map(|(i, (methods, paths, access))| at_line(i + 1, route(methods, paths, access)));
    routes.collect()
}

/// The route with all its places on this line.
pub fn at_line(line: usize, mut spec: RouteSpec) -> RouteSpec {
    spec.place = place(line);
    for (_, p) in &mut spec.paths {
        *p = place(line);
    }
    if let AccessSpec::AnyOf(scopes) = &mut spec.access {
        for (_, p) in scopes {
            *p = place(line);
        }
    }
    spec
}

pub fn compile(routes: Vec<RouteSpec>) -> Result<Policy, Vec<PolicyError>> {
    Policy::compile(PolicySpec {
        scopes: scopes(),
        routes,
        management: None,
    })
}

/// With the management API at these paths, from line 101, for `full`.
pub fn compile_with_management(
    paths: &[&str],
    routes: Vec<RouteSpec>,
) -> Result<Policy, Vec<PolicyError>> {
    let paths = paths
        .iter()
        .enumerate()
        .map(|(i, path)| ((*path).to_owned(), place(101 + i)));
    let management = Some(ManagementSpec {
        paths: paths.collect(),
        scope: (scope("full"), place(100)),
    });
    Policy::compile(PolicySpec {
        scopes: scopes(),
        routes,
        management,
    })
}

/// Each error as its line, the line of the other place (or 0), and its sentence.
pub fn errors(result: Result<Policy, Vec<PolicyError>>) -> Vec<(usize, usize, String)> {
    let errors = result.err().unwrap_or_default();
    let lines = |e: &PolicyError| {
        (
            e.place().line,
            e.other_place().map_or(0, |place| place.line),
        )
    };
    errors
        .iter()
        .map(|e| (lines(e).0, lines(e).1, e.to_string()))
        .collect()
}

/// Whether these are the errors, each as [`errors`] gives it.
pub fn assert_errors(result: Result<Policy, Vec<PolicyError>>, expected: &[(usize, usize, &str)]) {
    let got = errors(result);
    let got: Vec<_> = got
        .iter()
        .map(|(a, b, text)| (*a, *b, text.as_str()))
        .collect();
    assert_eq!(got, expected);
}
