//! `keygate import`: a first policy from what describes an API already.
//!
//! `openapi` has what is read, and what is said of it on standard error; the policy goes to standard output, or to a file
//! that is not there yet. What is made is read back by the loader that `run` uses before anything is written: so a policy
//! that does not load is a fault of keygate's, and nobody's file.

mod input;
mod openapi;
mod output;

use std::process::ExitCode;

/// Make a first policy from a description of the API
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Example:
  keygate import openapi api.yaml --output gateway/api.toml")]
pub struct ImportArgs {
    #[command(subcommand)]
    from: From,
}

#[derive(clap::Subcommand, Debug)]
enum From {
    Openapi(openapi::OpenapiArgs),
}

/// Runs the command.
pub fn run(args: ImportArgs) -> ExitCode {
    match args.from {
        From::Openapi(args) => openapi::run(args),
    }
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error("{name} cannot be read: {source}")]
    Unreadable {
        name: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{name} is more than 64 MiB, and no description of an API is")]
    TooLarge { name: String },
    #[error("{name}:{line}: this is not UTF-8; expected JSON or YAML in UTF-8")]
    NotUtf8 { name: String, line: usize },
    #[error("{0}")]
    Faults(String),
    #[error(
        "{0:?} exists already; nothing was overwritten. Write to another file and compare: `keygate diff` says what an edit changes"
    )]
    Exists(std::path::PathBuf),
    #[error(
        "{name}: the policy would have more than 16 MiB, and a file of the configuration has no more; import the document in parts, and merge their `[scopes]` and `[defaults]` by hand: a policy has each once"
    )]
    TooMuch { name: String },
    #[error("{name} cannot be written: {source}")]
    Unwritable {
        name: String,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the policy that was made does not load, which is a fault of keygate's; nothing was written:\n{0}"
    )]
    DoesNotLoad(String),
}

impl ImportError {
    /// 2 for what was asked wrongly or is wrong in the document, 1 for what failed.
    fn exit_code(&self) -> u8 {
        match self {
            ImportError::TooLarge { .. }
            | ImportError::NotUtf8 { .. }
            | ImportError::Faults(_)
            | ImportError::TooMuch { .. }
            | ImportError::Exists(_) => 2,
            ImportError::Unreadable { .. }
            | ImportError::Unwritable { .. }
            | ImportError::DoesNotLoad(_) => 1,
        }
    }
}
