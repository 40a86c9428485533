//! `keygate load`: from arguments to a run, and from its report to standard output and an exit code.

mod act;
mod args;
mod help;
mod input;
mod output;

pub use args::LoadArgs;

use super::chain;
use crate::load::{LoadError, UpstreamSettings, serve};
use args::{LoadAction, UpstreamArgs};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// The arguments or the configuration cannot be used.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Run(String),
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Failed {
    fn exit_code(&self) -> ExitCode {
        match self {
            Failed::Usage(_) => ExitCode::from(2),
            Failed::Load(error) if error.is_usage() => ExitCode::from(2),
            Failed::Load(_) | Failed::Run(_) => ExitCode::FAILURE,
        }
    }
}

/// Runs the command.
pub fn run(args: LoadArgs) -> ExitCode {
    let done = match args {
        LoadArgs {
            action: Some(LoadAction::Upstream(args)),
            ..
        } => upstream(&args),
        args => load(args),
    };
    done.unwrap_or_else(|error| {
        say!("keygate: {}", chain(&error));
        error.exit_code()
    })
}

fn upstream(args: &UpstreamArgs) -> Result<ExitCode, Failed> {
    let listen = args.listen;
    let listener = TcpListener::bind(listen)
        .map_err(|error| Failed::Run(format!("{listen} cannot be listened on: {error}")))?;
    let settings = UpstreamSettings {
        body_bytes: args.body,
        threads: args.threads,
        wrong_every: args.wrong_every,
    };
    let ready = |address: SocketAddr| {
        // Whoever reads it knows that it may begin; whoever does not has no need to.
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "http://{address}").and_then(|()| out.flush());
    };
    serve(&listener, settings, ready).map_err(|error| Failed::Run(error.to_string()))?;
    Ok(ExitCode::SUCCESS)
}

fn load(args: LoadArgs) -> Result<ExitCode, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::Run(format!("no runtime can be started: {error}")))?;
    let (report, outputs) = runtime.block_on(act::ran(&args))?;
    outputs.tell(&report)?;
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
