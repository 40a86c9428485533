//! What the two files may hold, told to editors: the JSON Schemas that `keygate schema` prints.
//!
//! An editor completes, explains and checks while one writes; whether a configuration holds together is still for
//! [`load`](super::load()) to say. So a schema refuses unknown fields, other types, other words and numbers out of bounds,
//! and knows nothing of what stands elsewhere: whether a scope is declared, or a file is there, nor how large a size of `"1GiB"`
//! is. What loads, the schema takes.
//!
//! The fields are described here once more, beside their readers: [`process`] has those of the main file alone, [`policy`]
//! those of both, in the words of [`shape`], which [`json`] writes down as draft-07, the latest that Taplo reads. They cannot
//! drift apart: tests put values of every type, and each bound and word, into each field that is described, and hold what a
//! reader says of them against the schema; and every name that a reader asks its table for is to be found here. Words are
//! the readers' own constants.
//!
//! A field walked through, `head` of `[timeouts]`: [`process`] has a line with its name, what it may be, what it is for, and
//! its default; the line becomes `{"description": …, "type": "string", "pattern": …, "default": "10s"}`; a test writes
//! `head = "10s"`, `head = 1`, `head = []` and so on, and asks the loader and the schema. **For a new field, write such a line.**

mod json;
mod policy;
mod process;
mod shape;
#[cfg(test)]
pub(super) mod tests;

use shape::{Field, Table};

/// The files that there is a schema of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SchemaOf {
    /// `keygate.toml`.
    Main,
    /// A file that it includes.
    Routes,
}

/// The JSON Schema (draft-07) of a file, with a line break at its end.
pub fn schema(of: SchemaOf) -> String {
    let (title, about) = match of {
        SchemaOf::Main => (
            "keygate.toml",
            "The main file of keygate: what the process is. It may hold the tables of routes too.",
        ),
        SchemaOf::Routes => (
            "routes.toml",
            "A file of routes that keygate.toml includes: who may call what.",
        ),
    };
    json::document(title, about, &root(of))
}

/// All that a file may hold.
fn root(of: SchemaOf) -> Table {
    let process: Vec<Field> = match of {
        SchemaOf::Main => process::fields(),
        SchemaOf::Routes => Vec::new(),
    };
    Table::of(process.into_iter().chain(policy::fields()))
}
