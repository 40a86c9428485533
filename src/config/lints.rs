//! `[lints]`: how loud each finding of `keygate check` is.

use super::fields::{Desk, Table, nearest};
use crate::policy::lint::{Level, Levels, Lint};

/// Words of each lint.
pub(super) const LEVELS: [(&str, Level); 3] = [
    ("allow", Level::Allow),
    ("note", Level::Note),
    ("warn", Level::Warn),
];

/// Reads `[lints]` of the main file.
pub(super) fn lints(root: &mut Table<'_>, desk: &mut Desk) -> Levels {
    const EXPECTED: &str = "\"allow\" (not said), \"note\" or \"warn\"";
    let mut levels = Levels::default();
    let Some(table) = root.field("lints").and_then(|field| field.table(desk)) else {
        return levels;
    };
    for (name, item) in table.entries() {
        let Some((_, lint)) = Lint::NAMES.iter().find(|(known, _)| *known == name) else {
            let names: Vec<&str> = Lint::NAMES.iter().map(|(name, _)| *name).collect();
            let near = match nearest(name, &names) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => format!("; there are {}", names.join(", ")),
            };
            desk.error(item.key_place(), format!("there is no lint `{name}`{near}"));
            continue;
        };
        let Some(text) = item.text(desk, EXPECTED) else {
            continue;
        };
        match LEVELS.iter().find(|(word, _)| *word == text) {
            Some((_, level)) => levels.set(*lint, *level),
            None => item.wrong(desk, format!("`{}`: expected {EXPECTED}", item.name)),
        }
    }
    levels
}
