//! The TOML of operators: a policy, or problems that say where.
//!
//! An input is the main file, a line `=== routes.toml`, and what it may include. One that begins with a line
//! `=== routes.toml` stands under a main file that is good.

use http::Method;
use keygate::config::{Loaded, Problem, Problems, load_texts};
use keygate::policy::{Access, Found, Methods, Place, Policy, Query, Route, Target};

const CUT: &str = "=== routes.toml\n";

const MAIN: &str = "include = [\"routes.toml\"]\n[upstreams.chat]\nservers = [\"http://127.0.0.1:9000\"]\n";

/// Tries one input.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (main, routes) = match text.split_once(CUT) {
        Some(("", routes)) => (MAIN, routes),
        Some((main, routes)) => (main, routes),
        None => (text, ""),
    };
    let read = || load_texts(main, &[("routes.toml", routes)]);
    match read() {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                check_problem(warning, main, routes);
            }
            check_policy(&loaded);
            let again = read().expect("what was read is read again");
            assert_eq!(again.hash, loaded.hash);
            assert_eq!(again.routes, loaded.routes);
            assert_eq!(again.hot.policy.routes().len(), loaded.hot.policy.routes().len());
        }
        Err(problems) => check_problems(&problems, main, routes),
    }
}

fn check_problems(problems: &Problems, main: &str, routes: &str) {
    let (errors, _) = problems.count();
    assert!(errors > 0, "a reading without an error is a configuration");
    for problem in &problems.0 {
        check_problem(problem, main, routes);
    }
    assert!(!problems.to_string().is_empty() && !problems.summary().is_empty());
}

fn check_problem(problem: &Problem, main: &str, routes: &str) {
    assert!(!problem.message.is_empty());
    check_place(&problem.place, main, routes);
    for (place, note) in &problem.related {
        check_place(place, main, routes);
        assert!(!note.is_empty());
    }
    if let Some(excerpt) = &problem.excerpt {
        assert!(excerpt.width >= 1);
        assert!(!excerpt.text.contains(|c: char| c.is_control()), "{problem}");
        assert!(excerpt.indent <= excerpt.text.chars().count());
    }
    assert!(problem.render(true).ends_with('\n'));
    assert!(!problem.to_string().is_empty());
}

/// A place is where it says that it is.
fn check_place(place: &Place, main: &str, routes: &str) {
    let text = match place.file.to_str() {
        Some("keygate.toml") => main,
        Some("routes.toml") => routes,
        other => panic!("a problem of no file that was read: {other:?}"),
    };
    let Place { span, line, column, .. } = place;
    assert!(span.start <= span.end, "{place:?}");
    let before = text.get(..span.start).expect("a span begins in the text");
    assert!(text.get(span.clone()).is_some(), "a span ends in the text: {place:?}");
    assert_eq!(before.matches('\n').count() + 1, *line, "{place:?}");
    let on_line = before.rsplit('\n').next().unwrap_or_default();
    let columns = on_line.chars().filter(|c| *c != '\u{feff}').count();
    assert_eq!(columns + 1, *column, "{place:?}");
}

/// What a route's own path is, with something in place of what varies.
fn example(template: &str) -> String {
    let fill = |segment: &str| {
        if segment.starts_with('{') {
            "zz9".to_owned()
        } else {
            segment.to_owned()
        }
    };
    let all: Vec<String> = template.split('/').map(fill).collect();
    all.join("/")
}

fn check_policy(loaded: &Loaded) {
    let policy = &loaded.hot.policy;
    assert!(!policy.routes().is_empty());
    for route in policy.routes() {
        if let Target::Upstream(at) = route.target {
            assert!(at < loaded.hot.upstreams.len());
        }
        if let Access::Scopes(scopes) = &route.access {
            assert!(!scopes.is_empty(), "{}: a route that no key can use says so", route.name);
            assert!(scopes.is_sorted());
            for scope in scopes.iter() {
                assert!(policy.scopes().declares(scope));
                // Who includes a scope of the route's is one of them.
                let including = policy.scopes().including(scope);
                assert!(including.into_iter().all(|holder| scopes.contains(holder)));
            }
        }
        check_found(policy, route);
    }
    assert!(
        policy.scopes().names().count() == 0
            || policy.scopes().declares(&loaded.hot.authority.management)
            || policy.routes().iter().all(|r| !matches!(r.target, Target::Management(_))),
        "the management API asks for a scope that there is"
    );
}

/// A route is found by its own path and method, or one that is as good or better stands before it.
fn check_found(policy: &Policy, route: &Route) {
    let path = example(&route.template);
    let method = match &route.methods {
        Methods::Default => Method::GET,
        Methods::Named(methods) => methods[0].clone(),
    };
    if route.host.is_some() || path.contains("//") {
        return;
    }
    let query = Query {
        method: &method,
        host: Some("some.example"),
        path: &path,
    };
    let found = policy.find(query);
    // A management path owns what is below it.
    let managed = policy.is_managements(&path);
    match found {
        Found::Route(index) => {
            let found = &policy.routes()[index.index()];
            let segments = |template: &str| template.split('/').count();
            let tail = found.template.contains("{*");
            assert!(
                tail || segments(&found.template) == segments(&path),
                "{path} is a path of {}, not of {}",
                route.template,
                found.template
            );
        }
        Found::MethodNotAllowed(_) | Found::NotFound => {
            assert!(managed, "{method} {path} is a path of {}", route.template);
        }
    }
}
