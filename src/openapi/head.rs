//! The first lines of a policy that was made: what it is, and what stands before its paths.

use super::Options;
use super::document::Document;
use super::text::{list, plain, quoted};

/// Writes them.
pub(super) fn head(document: &Document, options: &Options<'_>) -> String {
    let title = match &document.title {
        Some(title) => format!("\"{}\", ", title.replace('"', "'")),
        None => String::new(),
    };
    let mut out = format!(
        "\
#:schema ./routes.schema.json
# Who may call what: made by `keygate import openapi` of {} ({title}{}).
#
# Closed is the start: what no route here opens is refused. This opens what the document opens, to keys of the scopes that it asks
# for, and nothing else: an operation that the document comes to have later is refused until it has a route. It is yours to edit.
#
#   {{id}}     one whole segment, whatever the document says of its form
#   methods  GET brings HEAD with it; one that a path does not name is refused
#
# Read it, name it in `include` of keygate.toml in place of routes.toml, and after each edit: keygate check --config keygate.toml
",
        plain(options.name, 100),
        document.version
    );
    let prefixes: Vec<String> = document
        .prefixes
        .iter()
        .map(|prefix| quoted(prefix))
        .collect();
    match &prefixes[..] {
        [one] if one == "\"\"" => {}
        [one] => out.push_str(&format!(
            "\n# Put before each path of this file.\nprefix = {one}\n"
        )),
        several => out.push_str(&format!(
            "\n# Put before each path of this file, each in turn.\nprefix = {}\n",
            list(several)
        )),
    }
    out
}
