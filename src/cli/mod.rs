//! The command line: arguments to a command, a command to an exit code.
//!
//! Exit codes are the same everywhere: 0 when done, 1 for what fails at run time, 2 for bad usage or a bad configuration.
//! `diff` has two more: 10 and 11, for what became of access; `reload` and `rollback` have 11, for what was not confirmed.

#[macro_use]
mod say;

pub mod check;
pub mod demo;
pub mod diff;
pub mod explain;
mod handover;
pub mod import;
pub mod init;
pub mod keys;
pub mod load;
mod logging;
pub mod operator;
pub mod routes;
pub mod run;
pub mod schema;
mod service;
mod subject;
pub mod test;

/// An error with all its causes, on one line: as the gateway's log has it.
pub(crate) use crate::net::causes as chain;

use clap::{CommandFactory, Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;

/// An API-key gateway: checks each request's key in memory, decides by TOML route policies, forwards what is permitted.
#[derive(Parser)]
#[command(
    name = "keygate",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  keygate demo                                     everything on embedded defaults, nothing to set up
  keygate init gateway --upstream http://127.0.0.1:9000
  keygate import openapi api.yaml                  a first policy from a description of the API
  keygate check --config gateway/keygate.toml
  keygate test  --config gateway/keygate.toml --coverage
  keygate explain GET /v3/users --config gateway/keygate.toml --scope authOnly
  keygate routes --config gateway/keygate.toml     every route, and who may use it; --svg draws it
  keygate diff  /etc/keygate gateway               who gains and who loses access by an edit
  keygate run   --config gateway/keygate.toml
  keygate history --config gateway/keygate.toml    what was in force, and what each change did
  keygate rollback --config gateway/keygate.toml   back to what was in force before
  keygate shadow --config gateway/keygate.toml     what a policy that is tried would decide otherwise
  keygate schema > keygate.schema.json             what an editor completes and checks by
  keygate keys create --config gateway/keygate.toml --name 'Mobile app' --scope authOnly
  keygate load http://127.0.0.1:8080 --config gateway/keygate.toml --route 'GET /v3/users/{uid}'

Exit codes: 0 done, 1 failed at run time, 2 bad usage or bad configuration;
`diff` has two more, for access that was narrowed or widened; `reload` and `rollback` one, for what is not confirmed."
)]
struct Arguments {
    #[command(subcommand)]
    command: CommandLine,
}

#[derive(Subcommand)]
enum CommandLine {
    /// Run the gateway.
    Run(run::RunArgs),
    Check(check::CheckArgs),
    Test(test::TestArgs),
    Explain(explain::ExplainArgs),
    Routes(routes::RoutesArgs),
    Diff(diff::DiffArgs),
    Reload(operator::reload::ReloadArgs),
    Rollback(operator::rollback::RollbackArgs),
    History(operator::history::HistoryArgs),
    Shadow(operator::shadow::ShadowArgs),
    Init(init::InitArgs),
    Import(import::ImportArgs),
    Schema(schema::SchemaArgs),
    Keys(keys::KeysArgs),
    Demo(demo::DemoArgs),
    Load(Box<load::LoadArgs>),
    /// Print a shell's completion script.
    #[command(after_help = "Example:\n  keygate completion bash > /etc/bash_completion.d/keygate")]
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Runs what the arguments say.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        CommandLine::Run(args) => run::run(args),
        CommandLine::Check(args) => check::run(args),
        CommandLine::Test(args) => test::run(args),
        CommandLine::Explain(args) => explain::run(args),
        CommandLine::Routes(args) => routes::run(args),
        CommandLine::Diff(args) => diff::run(args),
        CommandLine::Reload(args) => operator::reload::run(args),
        CommandLine::Rollback(args) => operator::rollback::run(args),
        CommandLine::History(args) => operator::history::run(args),
        CommandLine::Shadow(args) => operator::shadow::run(args),
        CommandLine::Init(args) => init::run(args),
        CommandLine::Import(args) => import::run(args),
        CommandLine::Schema(args) => schema::run(args),
        CommandLine::Keys(args) => keys::run(args),
        CommandLine::Demo(args) => demo::run(args),
        CommandLine::Load(args) => load::run(*args),
        CommandLine::Completion { shell } => {
            // Into memory first: clap_complete panics where it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "keygate", &mut script);
            match std::io::stdout().lock().write_all(&script) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    say!("keygate: standard output cannot be written: {error}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}
