//! Arguments → command → exit code.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// An API-key gateway: checks each request's key in memory, decides by TOML route policies, forwards what is permitted.
#[derive(Parser)]
#[command(name = "keygate", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Keys(keygate::cli::keys::KeysArgs),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Keys(args) => keygate::cli::keys::run(args),
    }
}
