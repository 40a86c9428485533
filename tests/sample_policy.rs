//! The sample policy against the table of routes that it stands for, both ways: every row is open to whom the table says and
//! to no one else, and nothing is open that is not a row.

use http::Method;
use keygate::config::{self, Loaded, Secrets};
use keygate::key::ScopeName;
use keygate::policy::{Access, Expectation, Methods, Place, Who};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

const TABLE: &str = include_str!("data/routes.tsv");
const PREFIXES: [&str; 2] = ["/v3", "/v3.0"];
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A row of the table, for one prefix.
struct Row {
    method: &'static str,
    template: String,
    scope: &'static str,
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for line in TABLE.lines() {
        let cells: Vec<&str> = line.split('\t').collect();
        let [method, path, _, scope] = cells[..] else {
            panic!("four cells in {line:?}");
        };
        // The gateway's own routes stand without a version too.
        let bare = path.starts_with("/apikeys").then_some("");
        for prefix in PREFIXES.into_iter().chain(bare) {
            rows.push(Row {
                method,
                template: format!("{prefix}{path}"),
                scope,
            });
        }
    }
    assert_eq!(
        rows.len(),
        128 * 2 + 5,
        "the table is the one that is known"
    );
    rows
}

fn sample() -> Loaded {
    let main = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/keygate.toml");
    match config::load(&main, Secrets::Skipped) {
        Ok(loaded) => loaded,
        Err(problems) => panic!(
            "{}",
            problems
                .0
                .iter()
                .map(|p| p.render(false))
                .collect::<String>()
        ),
    }
}

fn scope(name: &str) -> Who {
    Who::Scope(ScopeName::parse(name).expect(name))
}

/// What the policy does otherwise than expected: `least` is the least scope that is let through, if any is.
fn wrong(sample: &Loaded, method: &str, target: &str, least: Option<&str>) -> Vec<String> {
    let (allow, deny) = match least {
        Some("authOnly") => (vec!["authOnly", "fullAccess"], vec![]),
        Some(_) => (vec!["fullAccess"], vec!["authOnly"]),
        None => (vec![], vec!["authOnly", "fullAccess"]),
    };
    let mut deny: Vec<Who> = deny.into_iter().map(scope).collect();
    deny.push(Who::Anyone);
    let expectation = Expectation {
        name: None,
        requests: vec![(
            Method::from_bytes(method.as_bytes()).expect(method),
            target.to_owned(),
        )],
        hosts: Vec::new(),
        status: None,
        route: None,
        upstream: None,
        allow: allow.into_iter().map(scope).collect(),
        deny,
        place: Place {
            file: Arc::new("routes.tsv".into()),
            span: 0..0,
            line: 1,
            column: 1,
        },
    };
    let failures = sample.hot.policy.check(&expectation);
    failures.into_iter().map(|failure| failure.what).collect()
}

/// A path that a template matches: each parameter filled in.
fn filled(template: &str, with: &str) -> String {
    let fill = |segment: &str| match segment.starts_with('{') {
        true => with.to_owned(),
        false => segment.to_owned(),
    };
    template.split('/').map(fill).collect::<Vec<_>>().join("/")
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<&str>, Vec<&str>) =
        (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template.iter().zip(&path).all(|(t, p)| {
            if t.starts_with('{') {
                !p.is_empty()
            } else {
                t == p
            }
        })
}

/// What the table says of a request, by trying every row: the least scope, of the row with the most literals from the left.
fn oracle(rows: &[Row], method: &str, path: &str) -> Option<&'static str> {
    let read_as = if method == "HEAD" { "GET" } else { method };
    let parameters = |row: &&Row| -> Vec<bool> {
        let segments = row.template.split('/');
        segments.map(|s| s.starts_with('{')).collect()
    };
    rows.iter()
        .filter(|row| row.method == read_as && matches(&row.template, path))
        .min_by_key(parameters)
        .map(|row| row.scope)
}

#[test]
fn every_row_is_open_to_whom_the_table_says_and_to_no_one_else() {
    let sample = sample();
    let mut failures = Vec::new();
    for row in rows() {
        for with in ["cyclops2", "12", "%F0%9F%98%8A", "a.b~c"] {
            let path = filled(&row.template, with);
            failures.extend(wrong(&sample, row.method, &path, Some(row.scope)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn what_is_not_a_row_is_refused() {
    let (sample, rows) = (sample(), rows());
    let mut paths = BTreeSet::new();
    for row in &rows {
        let path = filled(&row.template, "x1");
        paths.insert(path.clone());
        paths.insert(format!("{path}/"));
        paths.insert(format!("{path}/more"));
        paths.insert(path.to_uppercase());
        for (from, to) in [
            ("/v3", ""),
            ("/v3", "/v2"),
            ("/v3", "/v3.1"),
            ("/v3", "/v3/v3"),
        ] {
            if path.starts_with(from) {
                paths.insert(path.replacen(from, to, 1));
            }
        }
        if let Some((above, _)) = path.rsplit_once('/')
            && !above.is_empty()
        {
            paths.insert(above.to_owned());
        }
    }
    paths.extend(["/", "/v3", "/v3/", "/v3/me", "/me"].map(str::to_owned));
    let mut failures = Vec::new();
    let mut refused = 0;
    for path in &paths {
        for method in METHODS {
            let expected = oracle(&rows, method, path);
            refused += usize::from(expected.is_none());
            failures.extend(wrong(&sample, method, path, expected));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(refused > 3000, "only {refused} requests were to be refused");
}

#[test]
fn every_route_of_the_policy_is_a_row() {
    let sample = sample();
    let rows: BTreeSet<(String, &str, Vec<&str>)> = rows()
        .into_iter()
        .map(|row| {
            let scopes = match row.scope {
                "authOnly" => vec!["authOnly", "fullAccess"],
                scope => vec![scope],
            };
            (row.template, row.method, scopes)
        })
        .collect();
    let mut found = BTreeSet::new();
    for route in sample.hot.policy.routes() {
        let Methods::Named(methods) = &route.methods else {
            panic!("{} takes any method", route.template);
        };
        let Access::Scopes(scopes) = &route.access else {
            panic!("{} asks for no scope", route.template);
        };
        assert_eq!(route.host, None, "{}", route.template);
        for method in methods {
            let scopes: Vec<&str> = scopes.iter().map(ScopeName::as_str).collect();
            let row = rows.iter().find(|(template, have, asked)| {
                same_shape(template, &route.template)
                    && *have == method.as_str()
                    && *asked == scopes
            });
            let row = row.unwrap_or_else(|| panic!("{method} {} {scopes:?}", route.template));
            assert!(
                found.insert(row),
                "{method} {} stands twice",
                route.template
            );
        }
    }
    assert_eq!(found.len(), rows.len());
}

/// The same path but for the names of parameters.
fn same_shape(a: &str, b: &str) -> bool {
    filled(a, "{}") == filled(b, "{}")
}

#[test]
fn the_sample_is_checked_without_a_warning_and_tests_every_group() {
    let sample = sample();
    assert!(
        sample.warnings.is_empty(),
        "{}",
        sample
            .warnings
            .iter()
            .map(|p| p.render(false))
            .collect::<String>()
    );
    let tests = sample.expectations.len();
    assert!(tests >= 30, "{tests} tests");
    let routes = include_str!("../config/routes.toml");
    let (_, tests) = routes
        .split_once("# ---- tests")
        .expect("the part with the tests");
    let groups: BTreeSet<&str> = TABLE
        .lines()
        .filter_map(|line| line.split('\t').nth(2))
        .map(|group| group.trim_end_matches(" (partial)"))
        .collect();
    for group in groups {
        let heading = format!("[[expect]]   # {group}\n");
        assert!(tests.contains(&heading), "no test is headed {heading:?}");
    }
}

/// The sample with commented tables switched on: the lines from `# [[routes]]` to the next that is no comment, where one of them is `with`.
fn switched_on(with: &str) -> Loaded {
    let routes = include_str!("../config/routes.toml");
    let (routes, _) = routes
        .split_once("# ---- tests")
        .expect("the part with the tests");
    let mut text = String::new();
    let mut blocks = 0;
    for paragraph in routes.split("\n\n") {
        if paragraph.contains(with) && paragraph.contains("# [[routes]]") {
            let (_, table) = paragraph
                .split_once("# [[routes]]")
                .expect("a commented table");
            text += "[[routes]]";
            text += &table.replace("\n# ", "\n");
            blocks += 1;
        } else {
            text += paragraph;
        }
        text += "\n\n";
    }
    assert_eq!(blocks, 1, "one commented table has {with:?}");
    let main = include_str!("../config/keygate.toml");
    config::load_texts(main, &[("routes.toml", &text)]).expect("the sample with one more table")
}

#[test]
fn the_commented_tables_do_what_their_comments_say() {
    let login = switched_on("# path    = \"/me\"");
    for prefix in PREFIXES {
        let request = format!("{prefix}/me");
        let failures = wrong(&login, "PUT", &request, None);
        assert_eq!(failures.len(), 3, "{request} is open to keys and to anyone");
        assert!(wrong(&login, "GET", &request, None).is_empty());
    }
    let rest = switched_on("# path  = \"/{*rest}\"");
    for (method, path, least) in [
        ("GET", "/v3/whatever/there/is", Some("fullAccess")),
        ("POST", "/v3/users", Some("authOnly")),
        ("PATCH", "/v3.0/users", Some("fullAccess")),
        ("GET", "/whatever", None),
    ] {
        let failures = wrong(&rest, method, path, least);
        assert!(failures.is_empty(), "{method} {path}: {failures:?}");
    }
}
