//! What stands before each path: the paths of the document's servers, `basePath` in Swagger 2.0.
//!
//! `https://api.example.com/{version}` with `version` of `v1` and `v2` gives `/v1` and `/v2`. A URL that is relative to
//! where the document was found has no path that could be known here.

use super::node::{Cursor, Fault};
use super::template::{Segment, Template};
use std::collections::BTreeSet;

/// How many URLs the variables of one server may make, and how many prefixes all of them together.
const URLS: usize = 1024;
const PREFIXES: usize = 16;

/// The prefixes of a list of servers; `""` is one.
///
/// # Errors
/// When a path cannot be known, or is no path that a policy could have.
pub(super) fn prefixes(at: Option<&Cursor<'_>>) -> Result<BTreeSet<String>, Fault> {
    match at {
        Some(at) => listed(at)?,
        None => Ok(BTreeSet::from([String::new()])),
    }
}

/// The prefixes of a path's servers, or an operation's; `None` where they cannot be known, or no policy could have them.
///
/// # Errors
/// When this is no list of servers.
pub(super) fn own(at: &Cursor<'_>) -> Result<Option<BTreeSet<String>>, Fault> {
    Ok(listed(at)?.ok())
}

/// The prefixes, or why there is one that is none; the outer fault is of what is no list of servers.
fn listed(at: &Cursor<'_>) -> Result<Result<BTreeSet<String>, Fault>, Fault> {
    let mut found = BTreeSet::new();
    let mut unknown = None;
    for server in
        at.items("a list of servers, such as [{\"url\": \"https://api.example.com/v1\"}]")?
    {
        let url = server.field(
            "url",
            "a server, such as {\"url\": \"https://api.example.com/v1\"}",
        )?;
        let Some(url) = url else {
            return Err(server.fault("a server needs `url`"));
        };
        let text = url.text("a URL")?;
        for whole in expanded(text, &server)? {
            match path_of(&whole) {
                Ok(path) => {
                    found.insert(path);
                }
                Err(why) => {
                    unknown.get_or_insert_with(|| url.fault(why));
                }
            }
        }
        if found.len() > PREFIXES {
            unknown.get_or_insert_with(|| at.fault(format!(
                "the servers have more than {PREFIXES} different paths; say those that are meant with `--prefix`"
            )));
            break;
        }
    }
    if found.is_empty() {
        found.insert(String::new());
    }
    Ok(unknown.map_or(Ok(found), Err))
}

/// The prefix of `basePath`.
///
/// # Errors
/// As [`prefixes`].
pub(super) fn base_path(at: Option<&Cursor<'_>>) -> Result<BTreeSet<String>, Fault> {
    let Some(at) = at else {
        return Ok(BTreeSet::from([String::new()]));
    };
    let text = at.text("a path such as \"/v1\"")?;
    let prefix = prefix(text).map_err(|why| at.fault(why))?;
    Ok(BTreeSet::from([prefix]))
}

/// A prefix as a policy has it: no slash at its end, canonical.
///
/// # Errors
/// A sentence, when it is none.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    if path.is_empty() {
        return Ok(String::new());
    }
    let template = Template::read(path);
    let shown = super::text::plain(text, 80);
    if let Some(why) = template.odd {
        return Err(format!("`{shown}` cannot stand before a path: {why}"));
    }
    let literal = |segment: &Segment| matches!(segment, Segment::Literal(_));
    if !template.shape.iter().all(literal) {
        return Err(format!(
            "`{shown}` cannot stand before a path: it has a parameter of no known value"
        ));
    }
    Ok(template.text)
}

/// The path of a URL.
fn path_of(url: &str) -> Result<String, String> {
    let shown = super::text::plain(url, 80);
    let after_scheme = match url.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => Some(rest),
        _ => url.strip_prefix("//"),
    };
    let path = match after_scheme {
        Some(rest) => rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]),
        None if url.starts_with('/') => url,
        None => {
            return Err(format!(
                "`{shown}` is relative to where the document was found; say with `--prefix` what stands before each path (`--prefix /` for nothing)"
            ));
        }
    };
    if path.contains(['?', '#']) {
        return Err(format!(
            "`{shown}` has a query or a fragment, which no path can be put behind; say with `--prefix` what stands before each path"
        ));
    }
    prefix(path)
}

/// The URL with each value of its variables.
fn expanded(url: &str, server: &Cursor<'_>) -> Result<Vec<String>, Fault> {
    let variables = server.field("variables", "a server")?;
    let mut urls = vec![String::new()];
    let mut rest = url;
    while let Some(open) = rest.find('{') {
        let Some(length) = rest[open..].find('}') else {
            return Err(server.fault("a `{` in the URL of this server has no `}`"));
        };
        let name = &rest[open + 1..open + length];
        let values = values(name, variables.as_ref(), server)?;
        let before = &rest[..open];
        urls = urls
            .iter()
            .flat_map(|url| {
                values
                    .iter()
                    .map(move |value| format!("{url}{before}{value}"))
            })
            .take(URLS + 1)
            .collect();
        if urls.len() > URLS {
            return Err(server.fault(
                "the variables of this server make too many URLs; say with `--prefix` what stands before each path",
            ));
        }
        rest = &rest[open + length + 1..];
    }
    for url in &mut urls {
        url.push_str(rest);
    }
    Ok(urls)
}

/// All that a variable may be: its `enum`, else its `default`.
fn values<'d>(
    name: &str,
    variables: Option<&Cursor<'d>>,
    server: &Cursor<'d>,
) -> Result<BTreeSet<&'d str>, Fault> {
    const VARIABLE: &str = "a server variable, such as {\"default\": \"v1\"}";
    let shown = super::text::plain(name, 60);
    let variable = match variables {
        Some(variables) => variables.field(name, "server variables by name")?,
        None => None,
    };
    let Some(variable) = variable else {
        return Err(server.fault(format!(
            "the URL of this server has `{{{shown}}}`, and `variables` does not say what that is"
        )));
    };
    let mut values = BTreeSet::new();
    if let Some(list) = variable.field("enum", VARIABLE)? {
        for value in list.items("a list of values")? {
            values.insert(value.text("a value")?);
        }
    }
    let default = variable.field("default", VARIABLE)?;
    match default {
        Some(default) => {
            values.insert(default.text("a value")?);
        }
        None if values.is_empty() => {
            return Err(variable.fault("a server variable needs `default`"));
        }
        None => {}
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_server_is_its_prefix() {
        for (url, expected) in [
            ("https://api.example.com/v1", Some("/v1")),
            ("https://api.example.com/v1/", Some("/v1")),
            ("https://api.example.com", Some("")),
            ("https://api.example.com/", Some("")),
            ("//api.example.com/a/b", Some("/a/b")),
            ("/", Some("")),
            ("/v1", Some("/v1")),
            ("/%61", Some("/a")),
            ("https://a/b?x=/y", None),
            ("https://a/b#y", None),
            ("https://a?x=/y", None),
            ("https://a/../b", None),
            ("https://a/b//c", None),
            ("https://a/{b}", None),
            ("v1", None),
            ("../v1", None),
            (".", None),
            ("", None),
        ] {
            assert_eq!(path_of(url).ok().as_deref(), expected, "{url}");
        }
    }
}
