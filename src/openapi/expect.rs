//! `[[expect]]`: tests of what was read, one entry for all requests that the same keys may make.
//!
//! Behind each prefix, so that `keygate test --coverage` finds every route touched.

use super::access::Access;
use super::scopes::{FULL, Scopes};
use super::table::End;
use super::template::Segment;
use super::text::{list, quoted};
use super::write::shown_methods;
use std::collections::{HashMap, HashSet};

/// How many scopes that may not are named; of more, the first.
const NAMED: usize = 32;

/// The entries of all ends.
pub(super) fn entries(ends: &[End], prefixes: &[String], scopes: &Scopes) -> String {
    let sample = sample(ends);
    let mut groups: Vec<(&Access, Vec<String>)> = Vec::new();
    let mut by_access: HashMap<&Access, usize> = HashMap::new();
    for end in ends {
        let path = path_of(&end.shape, &sample);
        for taken in shown_methods(end) {
            let at = *by_access.entry(&taken.access).or_insert_with(|| {
                groups.push((&taken.access, Vec::new()));
                groups.len() - 1
            });
            let whole = |prefix: &String| quoted(&format!("{} {prefix}{path}", taken.method));
            groups[at].1.extend(prefixes.iter().map(whole));
        }
    }
    // What is closed comes last, as it does above.
    groups.sort_by_key(|(access, _)| !access.is_open());
    let mut out = String::new();
    for (access, requests) in groups {
        let asked = scopes.of_access(access);
        let (name, allow, deny) = match access {
            Access::Public => (
                "open to anyone".to_owned(),
                some(&["anyone", FULL]),
                Vec::new(),
            ),
            Access::Closed => ("closed".to_owned(), Vec::new(), some(&[FULL, "anyone"])),
            Access::AnyOf(_) => {
                let mut allow: Vec<String> = asked.to_vec();
                if !allow.iter().any(|name| name == FULL) {
                    allow.push(FULL.to_owned());
                }
                let others = scopes.declared.iter();
                let may_not = others.filter(|scope| !Scopes::may(scope, asked));
                let mut deny: Vec<String> = may_not
                    .take(NAMED)
                    .map(|scope| scope.name.clone())
                    .collect();
                deny.push("anyone".to_owned());
                (format!("for {}", asked.join(" or ")), allow, deny)
            }
        };
        out.push_str(&format!(
            "\n[[expect]]\nname    = {}\n",
            quoted(&shortened(&name))
        ));
        let request = match &requests[..] {
            [one] => one.clone(),
            several => list(several),
        };
        out.push_str(&format!("request = {request}\n"));
        for (field, who) in [("allow  ", allow), ("deny   ", deny)] {
            if !who.is_empty() {
                let who: Vec<String> = who.iter().map(|name| quoted(name)).collect();
                out.push_str(&format!("{field} = {}\n", list(&who)));
            }
        }
    }
    out
}

fn some(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn shortened(name: &str) -> String {
    super::text::plain(name, 100)
}

/// A segment that no path has as a literal, so that it is a param's value wherever it stands.
fn sample(ends: &[End]) -> String {
    let literals: HashSet<&str> = (ends.iter())
        .flat_map(|end| &end.shape)
        .filter_map(|segment| match segment {
            Segment::Literal(text) => Some(&**text),
            Segment::Param | Segment::Part { .. } => None,
        })
        .collect();
    let mut numbers = (1u32..).map(|number| number.to_string());
    let free = numbers.find(|number| !literals.contains(&**number));
    free.expect("there are more numbers than paths")
}

fn path_of(shape: &[Segment], sample: &str) -> String {
    let mut path = String::new();
    for segment in shape {
        path.push('/');
        path.push_str(match segment {
            Segment::Literal(text) => text,
            Segment::Param | Segment::Part { .. } => sample,
        });
    }
    path
}
