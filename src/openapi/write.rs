//! The policy's text.
//!
//! Routes in the order of the document, one for all methods of a path that the same keys may use; then what is closed, then
//! what is left out, as comments, then the expectations. All text that is the document's goes through `text`.

use super::access::Access;
use super::document::Document;
use super::head::head;
use super::scopes::Scopes;
use super::table::{End, Ends, Taken};
use super::text::{list, plain, quoted};
use super::{Imported, Options, expect};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

/// How many public operations are named.
const NAMED: usize = 10;

/// Writes the policy; the notes are for the caller.
pub(super) fn policy(
    document: &Document,
    ends: &Ends,
    scopes: &Scopes,
    options: &Options<'_>,
) -> Imported {
    let mut writer = Writer {
        out: head(document, options),
        names: HashSet::new(),
        prefix: document.prefixes.first().map_or("", String::as_str),
        scopes,
    };
    writer.scopes();
    writer.line(&format!(
        "\n\n# Where routes lead that name no upstream of their own: a table [upstreams.{0}] in keygate.toml.\n[defaults]\nupstream = {1}",
        key(options.upstream),
        quoted(options.upstream)
    ));
    writer.title("what the document opens");
    for end in &ends.ends {
        writer.routes(end);
    }
    writer.closed(&ends.ends);
    writer.left_out(document);
    writer.title("tests of this policy, run by `keygate check` and before each reload");
    let entries = expect::entries(&ends.ends, &document.prefixes, scopes);
    writer.out.push_str(&entries);
    let shown = || {
        ends.ends
            .iter()
            .flat_map(|end| shown_methods(end).into_iter().map(move |t| (end, t)))
    };
    let public = || shown().filter(|(_, taken)| taken.access == Access::Public);
    let unsaid = Access::unsaid();
    Imported {
        notes: Vec::new(),
        operations: shown().filter(|(_, taken)| taken.access.is_open()).count(),
        public: (
            public().count(),
            public()
                .take(NAMED)
                .map(|(end, taken)| format!("{} {}{}", taken.method, writer.prefix, end.text))
                .collect(),
        ),
        unsaid: shown().filter(|(_, taken)| taken.access == unsaid).count(),
        text: writer.out,
    }
}

/// The methods of an end that are written: a HEAD that goes with its GET is not.
pub(super) fn shown_methods(end: &End) -> Vec<&Taken> {
    let get = end.get("GET").map(|get| &get.access);
    let goes_with_get = |taken: &Taken| {
        &*taken.method == "HEAD" && taken.operation.is_none() && get == Some(&taken.access)
    };
    let methods = end.methods.iter();
    methods.filter(|taken| !goes_with_get(taken)).collect()
}

struct Writer<'w> {
    out: String,
    /// Names of routes that are given away.
    names: HashSet<String>,
    prefix: &'w str,
    scopes: &'w Scopes,
}

impl Writer<'_> {
    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn title(&mut self, text: &str) {
        let rule = "-".repeat(120usize.saturating_sub(text.len()));
        self.line(&format!("\n\n# ---- {text} {rule}"));
    }

    fn scopes(&mut self) {
        self.line(
            "\n\n# A key has one scope. What stands at the right is included: a key of the scope may do all that a key of those may.\n[scopes]",
        );
        let keys = self.scopes.declared.iter().map(|scope| key(&scope.name));
        let keys: Vec<String> = keys.collect();
        let widths = keys.iter().map(String::len);
        let width = widths.filter(|width| *width <= 40).max().unwrap_or(0);
        for (scope, key) in self.scopes.declared.iter().zip(keys) {
            let includes: Vec<String> = scope.includes.iter().map(|name| quoted(name)).collect();
            let comment = scope
                .comment
                .as_ref()
                .map(|comment| format!("   # {comment}"));
            let comment = comment.unwrap_or_default();
            self.line(&format!("{key:width$} = {}{comment}", list(&includes)));
        }
    }

    /// All routes of an end that open something.
    fn routes(&mut self, end: &End) {
        let mut groups: Vec<(&Access, Vec<&Taken>)> = Vec::new();
        for taken in shown_methods(end) {
            if !taken.access.is_open() {
                continue;
            }
            match groups
                .iter_mut()
                .find(|(access, _)| *access == &taken.access)
            {
                Some((_, group)) => group.push(taken),
                None => groups.push((&taken.access, vec![taken])),
            }
        }
        for (access, group) in groups {
            self.route(end, access, &group);
        }
    }

    fn route(&mut self, end: &End, access: &Access, group: &[&Taken]) {
        self.line("");
        for taken in group {
            let Some(said) = &taken.operation else {
                continue;
            };
            let summary = said
                .summary
                .as_deref()
                .map(|text| plain(text, 110))
                .unwrap_or_default();
            let id = said
                .id
                .as_deref()
                .map(|text| plain(text, 60))
                .unwrap_or_default();
            let told = match (group.len(), &*id, &*summary) {
                (1, _, summary) => summary.to_owned(),
                (_, "", "") => String::new(),
                (_, id, "") => format!("{}: {id}", taken.method),
                (_, "", summary) => format!("{}: {summary}", taken.method),
                (_, id, summary) => format!("{}: {id}: {summary}", taken.method),
            };
            if !told.is_empty() {
                self.line(&format!("# {told}"));
            }
        }
        self.line("[[routes]]");
        if let Some(name) = self.name(end, group) {
            self.line(&format!("name    = {}", quoted(&name)));
        }
        let methods: Vec<String> = group.iter().map(|taken| quoted(&taken.method)).collect();
        self.line(&format!("path    = {}", quoted(&end.text)));
        self.line(&format!("methods = {}", list(&methods)));
        let asked = self.scopes.of_access(access);
        match asked {
            [] => self.line("access  = \"public\""),
            [one] => self.line(&format!("scope   = {}", quoted(one))),
            several => {
                let names: Vec<String> = several.iter().map(|name| quoted(name)).collect();
                self.line(&format!("scope   = {}", list(&names)));
            }
        }
    }

    /// The operation's own name, where the route is one operation. A route that another path's would stand in for has one
    /// in any case: `check` takes it for a route that is to be counted apart.
    fn name(&mut self, end: &End, group: &[&Taken]) -> Option<String> {
        let fits = |name: &str| {
            let letters =
                |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-');
            (1..=100).contains(&name.len()) && name.bytes().all(letters)
        };
        if let [only] = group
            && let Some(id) = only.operation.as_ref().and_then(|said| said.id.as_deref())
            && fits(id)
            && self.names.insert(id.to_owned())
        {
            return Some(id.to_owned());
        }
        let methods: Vec<&str> = group.iter().map(|taken| &*taken.method).collect();
        let name = format!("{} {}{}", methods.join("+"), self.prefix, end.text);
        (end.has_broader && name.len() <= 100 && self.names.insert(name.clone())).then_some(name)
    }

    /// Routes that deny, one for all paths that are closed for the same methods.
    fn closed(&mut self, ends: &[End]) {
        let mut groups: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
        for end in ends {
            let closed = shown_methods(end)
                .into_iter()
                .filter(|taken| !taken.access.is_open());
            let closed: Vec<&Taken> = closed.collect();
            let Some(first) = closed.first() else {
                continue;
            };
            let why = first.why.as_deref().unwrap_or_default();
            let methods = closed.iter().map(|taken| quoted(&taken.method)).collect();
            let path = format!("    {},   # {}", quoted(&end.text), plain(why, 200));
            groups.entry(methods).or_default().push(path);
        }
        if groups.is_empty() {
            return;
        }
        self.title("what is closed, and why: broader paths do not open it");
        for (methods, paths) in groups {
            self.line("\n[[routes]]\npath    = [");
            for path in paths {
                self.line(&path);
            }
            self.line(&format!(
                "]\nmethods = {}\naccess  = \"deny\"",
                list(&methods)
            ));
        }
    }

    fn left_out(&mut self, document: &Document) {
        if document.left_out.is_empty() {
            return;
        }
        self.title("left out: what the document has and this file does not open");
        self.line("");
        for left in &document.left_out {
            let mut line = String::new();
            write!(line, "# {} ({}): {}", left.what, left.place, left.why)
                .expect("a String takes what is written");
            self.line(&line);
        }
    }
}

/// A key of a table, in quotes where it needs them.
fn key(name: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    match name.bytes().all(bare) {
        true => name.to_owned(),
        false => quoted(name),
    }
}
