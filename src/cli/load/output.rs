//! Where what was found goes: a table, JSON, a plot.

use super::Failed;
use super::args::LoadArgs;
use crate::load::{Report, plot, table};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Writes what was found where it is wanted.
pub(super) fn tell(args: &LoadArgs, report: &Report) -> Result<(), Failed> {
    let unwritten = |path: &Path, error: io::Error| {
        Failed::Run(format!("{} cannot be written: {error}", path.display()))
    };
    let text = table(report);
    let json_out = args.json.as_deref().filter(|path| path.as_os_str() == "-");
    match json_out {
        // Standard output is for the JSON.
        Some(_) => eprint!("{text}"),
        None => write_out(text.as_bytes())?,
    }
    if let Some(path) = &args.json {
        let mut json = serde_json::to_vec_pretty(report)
            .map_err(|error| Failed::Run(format!("the report is no JSON: {error}")))?;
        json.push(b'\n');
        match json_out {
            Some(_) => write_out(&json)?,
            None => fs::write(path, json).map_err(|error| unwritten(path, error))?,
        }
    }
    if let Some(path) = &args.svg {
        fs::write(path, plot(report)).map_err(|error| unwritten(path, error))?;
    }
    Ok(())
}

fn write_out(bytes: &[u8]) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        // Whoever reads has read enough (`| head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written
            .map_err(|error| Failed::Run(format!("standard output cannot be written: {error}"))),
    }
}
