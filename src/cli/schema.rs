//! `keygate schema`: what the configuration files may hold, as JSON Schemas for editors.

use crate::config::{SchemaOf, schema};
use std::io::Write;
use std::process::ExitCode;

/// Print the JSON Schema of a configuration file, for editors
#[derive(clap::Args, Debug)]
#[command(after_help = "\
With it an editor completes, explains and checks while you write: Taplo, and Even Better TOML in VS Code, take the schema
that the first line of a file names, `#:schema ./keygate.schema.json`. `keygate init` writes both schemas and these lines.
A schema sees one file; `keygate check` reads them all, and what they mean together.

Exit codes: 0 done, 1 the schema cannot be written, 2 bad usage.

Examples:
  keygate schema > keygate.schema.json
  keygate schema routes > routes.schema.json")]
pub struct SchemaArgs {
    /// The file: keygate.toml, or one that it includes
    #[arg(value_enum, value_name = "FILE", default_value_t = File::Main)]
    file: File,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum File {
    /// keygate.toml, which may hold the tables of routes too
    Main,
    /// A file of routes that keygate.toml includes
    Routes,
}

/// Runs the command.
pub fn run(args: SchemaArgs) -> ExitCode {
    let of = match args.file {
        File::Main => SchemaOf::Main,
        File::Routes => SchemaOf::Routes,
    };
    let mut out = std::io::stdout().lock();
    let written = out.write_all(schema(of).as_bytes());
    match written.and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("keygate: standard output cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}
