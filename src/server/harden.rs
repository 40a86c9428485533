//! What keeps secrets inside the process: no core dumps, no debugger, unless the configuration asks for them.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use std::io;

/// Forbids core dumps (`RLIMIT_CORE` 0) and makes the process not dumpable, so that its memory cannot be read by others
/// of the same user either (prctl(2), `PR_SET_DUMPABLE`).
///
/// # Errors
/// As the system says.
pub fn forbid_dumps() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Raises the limit on open files to what the system allows this process.
///
/// # Errors
/// As the system says.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.current.unwrap_or(u64::MAX))
}
