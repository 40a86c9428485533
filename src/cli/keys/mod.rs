//! `keygate keys`: an operator's way to the key store.
//!
//! It works on the store itself, with no gateway between: what it changes is committed when it returns, and a gateway
//! that runs on the same store follows within a second. Whoever can read the store and its master secret is trusted with
//! every key; the trail names them `operator`.
//!
//! One command walked through. `keygate keys create --name ci --scope authOnly`: `args` gives the words their types;
//! `door` reads the configuration, of which it needs `[keys]` and the declared scopes, and opens the store, or makes it
//! where there is none; `act` has the store carry out the command; `print` shapes what comes back. The key, alone, goes
//! to standard output, so that `KEY=$(keygate keys create …)` works; all that is said about it goes to standard error.

mod act;
mod args;
mod door;
mod error;
mod input;
mod lookup;
mod print;
mod time;

pub use args::KeysArgs;
pub(super) use lookup::{Found, look_up};

use crate::clock::Timestamp;
use error::KeysError;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// Carries out `keygate keys …`: 0 when done, 1 when it failed, 2 when the arguments or the configuration are wrong.
pub fn run(args: KeysArgs) -> ExitCode {
    match carried_out(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("keygate: {}", error.report());
            error.exit_code()
        }
    }
}

fn carried_out(args: KeysArgs) -> Result<(), KeysError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(KeysError::Runtime)?;
    let must_arrive = matches!(args.action, args::KeysAction::Create(_));
    let text = runtime.block_on(act::act(
        &args.config,
        args.action,
        args.json,
        Timestamp::now(),
    ))?;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads has read enough (`| head`); but a new key must not get lost unheard.
        Err(error) if error.kind() == ErrorKind::BrokenPipe && !must_arrive => Ok(()),
        written => written.map_err(KeysError::Output),
    }
}
