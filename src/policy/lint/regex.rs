//! `looks-like-pattern`: a path that would mean something as a regular expression, as a glob, or in another router, and here
//! is a text that no client sends.

use super::{Finding, Lint, Subject};

pub(super) fn check(subject: Subject<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for route in &subject.spec.routes {
        for (path, place) in &route.paths {
            if let Some((what, help)) = looks_like_a_pattern(path) {
                let message = format!("`{path}` is taken letter by letter, and looks like {what}");
                findings.push(Finding::new(Lint::LooksLikePattern, place, message).help(help));
            }
        }
    }
    findings
}

/// What a path looks like that is none of our patterns, and what to write instead.
pub fn looks_like_a_pattern(path: &str) -> Option<(&'static str, String)> {
    const REGEX: &str = "a regular expression";
    let whole = "`{name}` is one whole segment of any text, `{*rest}` all that follows";
    if path.starts_with('^') || path.starts_with("~") || path.ends_with('$') {
        let help = format!("a path is always matched whole, and case counts; {whole}");
        return Some((REGEX, help));
    }
    for segment in path.split('/') {
        let name = |prefix: &str, suffix: &str| {
            let inner = segment.strip_prefix(prefix)?.strip_suffix(suffix)?;
            let mut letters = inner.chars();
            let fine = letters.next().is_some_and(|c| c.is_ascii_alphabetic())
                && letters.all(|c| c.is_ascii_alphanumeric() || c == '_');
            fine.then(|| inner.to_owned())
        };
        if let Some(name) = name(":", "") {
            let help = format!("write `{{{name}}}` for one segment of any text");
            return Some(("a parameter of another router", help));
        }
        if let Some(name) = name("<", ">") {
            let help = format!("write `{{{name}}}` for one segment of any text");
            return Some(("a parameter of another router", help));
        }
        let regex = [".*", ".+", "\\", "(?", "[^", "[a-z", "[0-9", "[A-Z"];
        if regex.iter().any(|part| segment.contains(part))
            || (segment.contains('(') && segment.contains('|'))
        {
            return Some((REGEX, whole.to_owned()));
        }
        if segment.contains('*') && !segment.starts_with('{') {
            return Some(("a glob", whole.to_owned()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_routers_understand_is_noticed_and_what_clients_send_is_not() {
        for (path, expected) in [
            ("/v3/users/*", Some("a glob")),
            ("/v3/**/x", Some("a glob")),
            ("/files/*.png", Some("a glob")),
            ("/v3/users/:uid", Some("a parameter of another router")),
            ("/v3/users/<uid>", Some("a parameter of another router")),
            ("^/v3/users$", Some("a regular expression")),
            ("/v3/users$", Some("a regular expression")),
            ("~/v3", Some("a regular expression")),
            ("/v3/.*", Some("a regular expression")),
            ("/v3/[0-9]+", Some("a regular expression")),
            ("/v3/(a|b)", Some("a regular expression")),
            ("/v3/users/{uid}", None),
            ("/v3/{*rest}", None),
            ("/odata/$metadata", None),
            ("/v1/users:batchGet", None),
            ("/v1/Users(1)", None),
            ("/v3.0/a+b", None),
            ("/v3/.well-known/x", None),
            ("/v1/a:1", None),
        ] {
            let found = looks_like_a_pattern(path).map(|(what, _)| what);
            assert_eq!(found, expected, "{path}");
        }
    }
}
