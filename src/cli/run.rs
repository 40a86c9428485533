//! `keygate run`: the gateway, from its configuration to its drain.
//!
//! The order of a start: read everything; forbid dumps; open the store; load every key; put the policy in force; then, and
//! only then, listen. Whatever fails on the way ends the start with nothing open.

use super::chain;
use super::logging::Log;
use crate::admin::{Admin, State};
use crate::config::{Live, Problems, Secrets, load};
use crate::keycache::Keys;
use crate::net::Address;
use crate::server::{ListenError, Listening, Server, ServerError, harden};
use crate::store::{OpenMode, OpenOptions, StoreError, secret_from_env};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs the gateway until SIGTERM or SIGINT; SIGHUP reloads.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Signals: SIGTERM and SIGINT drain and exit 0 (a second one cuts the drain short); SIGHUP looks at the files at once.

Example:
  keygate run --config gateway/keygate.toml")]
pub struct RunArgs {
    /// The main configuration file.
    #[arg(
        long,
        value_name = "FILE",
        env = "KEYGATE_CONFIG",
        default_value = "keygate.toml"
    )]
    config: PathBuf,
}

/// Runs the command.
pub fn run(args: RunArgs) -> ExitCode {
    match start(&args.config) {
        Ok(running) => {
            running.wait_for_signal_and_drain();
            ExitCode::SUCCESS
        }
        Err(error) => {
            match &error {
                RunError::Config(problems) => eprintln!("{problems}"),
                other => eprintln!("keygate: {}", chain(other)),
            }
            error.exit_code()
        }
    }
}

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the configuration is not valid")]
    Config(Problems),
    #[error("the process cannot be protected against core dumps")]
    Harden(#[source] io::Error),
    #[error("the key store cannot be used")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("the admin listener cannot be opened")]
    AdminListen(#[source] ListenError),
    #[error("the admin listener cannot be used")]
    Admin(#[source] io::Error),
    #[error("the control runtime cannot be started")]
    Runtime(#[source] io::Error),
}

impl RunError {
    /// 2 for a bad configuration, 1 for what fails at run time.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            RunError::Config(_) => ExitCode::from(2),
            RunError::Harden(_)
            | RunError::Store(_)
            | RunError::Server(_)
            | RunError::AdminListen(_)
            | RunError::Admin(_)
            | RunError::Runtime(_) => ExitCode::from(1),
        }
    }
}

/// A gateway that serves.
pub struct Running {
    runtime: Runtime,
    state: Arc<State>,
    admin: Option<Admin>,
    signals: Signals,
    log: Arc<Log>,
}

/// Starts a gateway; when this returns, it serves.
///
/// # Errors
/// The first thing that failed; nothing is open then.
pub fn start(config: &Path) -> Result<Running, RunError> {
    let mut loaded = load(config, Secrets::Required).map_err(RunError::Config)?;
    for warning in loaded.warnings.drain(..) {
        eprintln!("{}", warning.render(io::stderr().is_terminal()));
    }
    if !loaded.cold.dumpable {
        harden::forbid_dumps().map_err(RunError::Harden)?;
    }
    let log = Arc::new(Log::start(loaded.hot.log));
    if let Err(error) = harden::raise_open_files() {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    let started = runtime.block_on(serve(config, loaded, &log))?;
    let (state, admin, signals) = started;
    Ok(Running {
        runtime,
        state,
        admin,
        signals,
        log,
    })
}

async fn serve(
    config: &Path,
    loaded: crate::config::Loaded,
    log: &Arc<Log>,
) -> Result<(Arc<State>, Option<Admin>, Signals), RunError> {
    // Before anything takes time, so that a signal is never answered by the default, which is to die at once.
    let signals = Signals::new().map_err(RunError::Runtime)?;
    let cold = Arc::new(loaded.cold.clone());
    let begun = Instant::now();
    let store = crate::store::open(OpenOptions {
        path: cold.keys.store.clone(),
        secret_file: cold.keys.secret.clone(),
        secret_env: secret_from_env(),
        mode: OpenMode::CreateOrMigrate,
    })
    .await?;
    let keys = Keys::start(store).await?;
    tracing::info!(
        keys = keys.cache().len(),
        ms = begun.elapsed().as_millis() as u64,
        "keys loaded"
    );
    let live = Live::start(config, loaded, &tokio::runtime::Handle::current());
    let server = Arc::new(Server::start(&cold, &keys, &live)?);
    let dropped = log.dropped();
    let state = Arc::new(State {
        live: Arc::clone(&live),
        keys,
        server,
        started: Instant::now(),
        draining: AtomicBool::new(false),
        dropped_log_lines: Box::new(move || dropped.dropped_lines() as u64),
    });
    let admin = match &cold.admin.listen {
        None => None,
        Some(address) => {
            let socket = Listening::open(address).map_err(RunError::AdminListen)?;
            Some(Admin::start(socket, Arc::clone(&state)).map_err(RunError::Admin)?)
        }
    };
    follow_log_settings(&live, log);
    let snapshot = live.snapshot();
    let addresses: Vec<String> = state
        .server
        .addresses()
        .iter()
        .map(ToString::to_string)
        .collect();
    tracing::info!(
        gateway = addresses.join(","),
        admin = admin.as_ref().map(|admin| admin.address().to_string()),
        workers = state.server.workers(),
        routes = snapshot.hot.policy.routes().len(),
        generation = snapshot.generation,
        "ready"
    );
    Ok((state, admin, signals))
}

fn follow_log_settings(live: &Arc<Live>, log: &Arc<Log>) {
    let (live, log) = (Arc::downgrade(live), Arc::downgrade(log));
    let Some(mut judged) = live.upgrade().map(|live| live.judged()) else {
        return;
    };
    // Ends when either of the two is gone.
    tokio::spawn(async move {
        while judged.changed().await.is_ok() {
            let (Some(live), Some(log)) = (live.upgrade(), log.upgrade()) else {
                return;
            };
            log.follow(live.snapshot().hot.log);
        }
    });
}

impl Running {
    /// Where clients connect.
    pub fn gateway(&self) -> &[Address] {
        self.state.server.addresses()
    }

    /// Where operators look.
    pub fn admin(&self) -> Option<&Address> {
        self.admin.as_ref().map(Admin::address)
    }

    /// The keys in force.
    pub fn keys(&self) -> &Keys {
        &self.state.keys
    }

    /// Serves until SIGTERM or SIGINT, then drains. SIGHUP reloads.
    pub fn wait_for_signal_and_drain(self) {
        let Running {
            runtime,
            state,
            admin,
            mut signals,
            log,
        } = self;
        runtime.block_on(async {
            signals.until_end(|| state.live.reload()).await;
            state.draining.store(true, Ordering::Relaxed);
            let at_most = state.live.snapshot().hot.timeouts.drain;
            tracing::info!(deadline_seconds = at_most.as_secs_f64(), "draining");
            tokio::select! {
                () = state.server.drain(at_most) => {}
                () = signals.until_end(|| ()) => {
                    tracing::warn!("second signal: connections are cut");
                    state.server.drain(std::time::Duration::ZERO).await;
                }
            }
            if let Some(admin) = &admin {
                admin.stop();
            }
            state.live.stop().await;
            state.keys.close().await;
            tracing::info!("stopped");
        });
        drop(state);
        drop(runtime);
        drop(log);
    }
}

/// The signals that concern a running gateway.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGTERM or SIGINT; does `reload` at each SIGHUP before.
    async fn until_end(&mut self, reload: impl Fn()) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => reload(),
            }
        }
    }
}
