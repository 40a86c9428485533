//! Programs that others wrote, which a machine may not have. A test without its program says so and does nothing, or fails
//! where `KEYGATE_PEERS=required` is set; nothing is fetched.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether this can be run. When it cannot, that is said, past the test harness that keeps what a passing test prints.
pub fn is_here(what: &str, command: &mut Command) -> bool {
    let run = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let here = run.is_ok_and(|status| status.success());
    if !here {
        let required = std::env::var("KEYGATE_PEERS").is_ok_and(|v| v == "required");
        assert!(!required, "no {what} here, and KEYGATE_PEERS=required");
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        let _ = writeln!(std::io::stderr(), "SKIPPED {name}: no {what} here");
    }
    here
}

/// Python, of `target/peers` where that was made.
pub fn python() -> Command {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/bin/python");
    Command::new(if own.exists() { own } else { "python3".into() })
}
