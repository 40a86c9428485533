//! Random documents against a naive reading of them.
//!
//! The naive reading looks at one request at a time. Of the paths that it matches, those that have none more concrete beside
//! them count; a method that such a path lacks and a broader one has is nobody's; where two count, they must agree; and a
//! path that no pattern can say must not be contradicted. Who may is kept as what it means: for each set of things that
//! a client may have, whether it is enough.
//!
//! What is imported is never wider than that. Where a request's paths are all more or less concrete forms of one another,
//! and each has a pattern, it is exactly that.

use keygate::config::load_texts;
use keygate::key::ScopeName;
use keygate::openapi::{Form, Options, import};
use keygate::policy::{Asked, NO_LIMITS, Policy};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// What there is to have: credentials of `o`, its scopes `r` and `w` (which are credentials of `o`, too), those of `k`,
/// and what nothing is said of.
const THINGS: [&str; 5] = ["o", "r", "w", "k", "unsaid"];

/// Which sets of things are enough: a bit for each.
type Enough = u32;

fn set_of(things: &[&str]) -> usize {
    let mut set = 0;
    for thing in things {
        let at = THINGS
            .iter()
            .position(|known| known == thing)
            .expect("a thing");
        set |= 1 << at;
        set |= usize::from(matches!(*thing, "r" | "w"));
    }
    set
}

/// Every set that has one of these in it whole.
fn any_of(alternatives: &[Vec<&str>]) -> Enough {
    let mut enough = 0;
    for set in 0..1usize << THINGS.len() {
        let has = |needed: &Vec<&str>| set & set_of(needed) == set_of(needed);
        if alternatives.iter().any(has) {
            enough |= 1 << set;
        }
    }
    enough
}

/// A `security`, and what it means.
fn security() -> impl Strategy<Value = (Value, Enough)> {
    let requirement = prop::sample::subsequence(vec!["o", "r", "w", "k"], 0..=3);
    prop::collection::vec(requirement, 0..=3).prop_map(|alternatives| {
        let shown = alternatives.iter().map(|needed| {
            let scopes: Vec<&str> = needed
                .iter()
                .copied()
                .filter(|t| matches!(*t, "r" | "w"))
                .collect();
            let mut requirement = Map::new();
            if needed.contains(&"o") || !scopes.is_empty() {
                requirement.insert("o".to_owned(), json!(scopes));
            }
            if needed.contains(&"k") {
                requirement.insert("k".to_owned(), json!([]));
            }
            Value::Object(requirement)
        });
        let shown = Value::Array(shown.collect());
        let enough = match &alternatives[..] {
            [] => any_of(&[Vec::new()]),
            several => any_of(several),
        };
        (shown, enough)
    })
}

const METHODS: [&str; 4] = ["get", "head", "put", "delete"];

/// A path, its operations, what each says of security, and whether they are behind `/a`.
type Path = (
    Vec<&'static str>,
    Vec<(&'static str, Option<(Value, Enough)>)>,
    bool,
);

fn path() -> impl Strategy<Value = Path> {
    let segment = prop::sample::select(vec!["a", "b", "a", "{}", "{}", "{}", "a{}"]);
    let operations = prop::sample::subsequence(METHODS.to_vec(), 0..=3).prop_flat_map(|methods| {
        let said = prop::collection::vec(prop::option::weighted(0.8, security()), methods.len());
        said.prop_map(move |said| methods.iter().copied().zip(said).collect())
    });
    let moved = prop::bool::weighted(0.1);
    (prop::collection::vec(segment, 1..=3), operations, moved)
}

/// A path's text, its params named by their place.
fn text(segments: &[&str]) -> String {
    let named = segments
        .iter()
        .enumerate()
        .map(|(at, segment)| format!("/{}", segment.replace("{}", &format!("{{p{at}}}"))));
    named.collect()
}

fn matches(segments: &[&str], request: &[&str]) -> bool {
    let fits = |(segment, text): (&&str, &&str)| match *segment {
        "{}" => true,
        "a{}" => text.starts_with('a'),
        literal => literal == *text,
    };
    segments.len() == request.len() && segments.iter().zip(request).all(fits)
}

/// Whether the first has no request that the second has not.
fn within(one: &[&str], other: &[&str]) -> bool {
    one.iter()
        .zip(other)
        .all(|(one, other)| *other == "{}" || one == other)
}

/// The segments of a path with what stands before them.
fn at(path: &Path) -> Vec<&'static str> {
    let before = path.2.then_some("a");
    before.into_iter().chain(path.0.iter().copied()).collect()
}

struct Reading<'p> {
    paths: &'p [Path],
    default: Enough,
}

impl Reading<'_> {
    /// What the operation of a path says, a HEAD without one as the GET.
    fn said(&self, path: &Path, method: &str) -> Option<Enough> {
        let operation = |method| path.1.iter().find(|(name, _)| *name == method);
        let found = operation(method);
        let found = found.or_else(|| (method == "head").then(|| operation("get")).flatten());
        found.map(|(_, said)| said.as_ref().map_or(self.default, |(_, enough)| *enough))
    }

    /// Which sets are enough at most, and whether that is exact.
    fn of(&self, method: &str, request: &[&str]) -> (Enough, bool) {
        let all = self.paths.iter().filter(|path| matches(&at(path), request));
        let (odd, good): (Vec<&Path>, Vec<&Path>) =
            all.partition(|path| path.2 || path.0.contains(&"a{}"));
        let counts = |path: &&&Path| {
            let mut others = good.iter();
            !others.any(|other| other.0 != path.0 && within(&other.0, &path.0))
        };
        let mut said: Vec<Enough> = Vec::new();
        for path in good.iter().filter(counts) {
            let broader = good.iter().any(|other| {
                other.0 != path.0 && within(&path.0, &other.0) && self.said(other, method).is_some()
            });
            match self.said(path, method) {
                Some(enough) => said.push(enough),
                None if broader => said.push(0),
                None => {}
            }
        }
        let mut enough = match &said[..] {
            [first, rest @ ..] if rest.iter().all(|other| other == first) => *first,
            _ => 0,
        };
        let is_concrete = |path: &&Path| path.0.iter().all(|segment| !segment.contains('{'));
        for path in &odd {
            // Concrete before templated, of paths that begin at one place.
            if !path.2 && good.iter().any(is_concrete) {
                continue;
            }
            let at = at(path);
            let broader = good.iter().any(|other| {
                other.0 != at && within(&at, &other.0) && self.said(other, method).is_some()
            });
            match self.said(path, method) {
                Some(said) if said != enough => enough = 0,
                None if broader => enough = 0,
                _ => {}
            }
        }
        let chain = good.iter().all(|one| {
            good.iter()
                .all(|other| within(&one.0, &other.0) || within(&other.0, &one.0))
        });
        let sayable = (self.paths.iter()).all(|path| !path.2 && !path.0.contains(&"a{}"));
        (enough, chain && sayable)
    }
}

/// What a key of the scope has.
fn held(policy: &Policy, scope: &ScopeName) -> usize {
    let included = policy.scopes().included_by(scope);
    let things: Vec<&str> = included
        .flat_map(|scope| scope.as_str().split("_and_"))
        .collect();
    match things.contains(&"fullAccess") {
        true => (1 << THINGS.len()) - 1,
        false => set_of(&things),
    }
}

fn requests() -> Vec<Vec<&'static str>> {
    let words = ["a", "b", "c", "ab"];
    let mut all: Vec<Vec<&str>> = words.iter().map(|word| vec![*word]).collect();
    for length in 1..3 {
        let longer: Vec<Vec<&str>> = (all.iter().filter(|request| request.len() == length))
            .flat_map(|request| words.iter().map(|word| [&request[..], &[*word]].concat()))
            .collect();
        all.extend(longer);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whom_the_document_lets_in_the_policy_does_and_no_one_else(
        mut paths in prop::collection::vec(path(), 1..=5),
        above in prop::option::of(security()),
    ) {
        paths.sort_by(|one, other| one.0.cmp(&other.0));
        paths.dedup_by(|one, other| one.0 == other.0);
        let mut items = Map::new();
        for (segments, operations, moved) in &paths {
            let mut item = Map::new();
            if *moved {
                item.insert("servers".to_owned(), json!([{"url": "/a"}]));
            }
            for (method, said) in operations {
                let operation = match said {
                    Some((security, _)) => json!({"security": security}),
                    None => json!({}),
                };
                item.insert((*method).to_owned(), operation);
            }
            items.insert(text(segments), item.into());
        }
        let mut document = json!({"openapi": "3.1.0", "paths": items});
        if let Some((security, _)) = &above {
            document["security"] = security.clone();
        }
        let scope = ScopeName::parse("fullAccess").unwrap();
        let options = Options { name: "x", upstream: "app", scope: &scope, prefixes: &[], management: &[] };
        let made = match import(&document.to_string(), Form::Json, &options) {
            Ok(made) => made,
            Err(faults) => {
                prop_assert_eq!(&*faults[0].what, "nothing in the document can be opened by a policy");
                return Ok(());
            }
        };
        let main = "include = [\"r.toml\"]\n[upstreams.app]\nservers = [\"http://127.0.0.1:9\"]\n";
        let loaded = load_texts(main, &[("r.toml", &made.text)])
            .map_err(|problems| TestCaseError::fail(format!("{problems}\n{}", made.text)))?;
        let policy = loaded.hot.policy;
        let reading = Reading {
            paths: &paths,
            default: above.as_ref().map_or_else(|| any_of(&[vec!["unsaid"]]), |(_, enough)| *enough),
        };
        for request in requests() {
            for method in METHODS {
                let (enough, exact) = reading.of(method, &request);
                let asked = Asked {
                    method: method.to_ascii_uppercase().parse().unwrap(),
                    target: format!("/{}", request.join("/")),
                    host: None,
                };
                let may = |scope| policy.verdict(&asked, &NO_LIMITS, scope).outcome.is_ok();
                let known = policy.scopes().names().map(|scope| (held(&policy, scope), Some(scope)));
                for (held, scope) in known.chain([(0, None)]) {
                    let expected = enough & (1 << held) != 0;
                    let got = may(scope);
                    prop_assert!(expected || !got, "{asked} is open to {scope:?}\n{document:#}\n{}", made.text);
                    prop_assert!(!exact || got == expected, "{asked} is not open to {scope:?}\n{document:#}\n{}", made.text);
                }
            }
        }
    }
}
