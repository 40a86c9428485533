//! `keygate run`: the gateway, from its configuration to its drain.
//!
//! The order of a start: read everything; forbid dumps; open the store; load every key; put the policy in force; then, and
//! only then, listen. Whatever fails on the way ends the start with nothing open. A gateway that takes another's place asks
//! for its sockets at that point and not before ([`super::handover`]): what fails until then leaves the other as it was.
//!
//! The order of an end: `/readyz` turns, and the service manager hears of it; everything is served as before for
//! `drain_delay`, so that who watches can send clients elsewhere; then the server drains.

use super::handover::{self, Handover, Predecessor, TakeOverError};
use super::logging::Log;
use super::{chain, service};
use crate::admin::{Admin, Refusals, State, Token, TokenError};
use crate::config::{Cold, ListenAddress, Live, Start, StartError, WholeHash};
use crate::keycache::Keys;
use crate::net::{Address, ListeningSocket};
use crate::server::{Given, Handed, ListenError, Listening, Server, ServerError, Use, harden};
use crate::store::{OpenMode, OpenOptions, StoreError, secret_from_env};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

/// Runs the gateway until SIGTERM or SIGINT; SIGHUP reloads.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Signals: SIGTERM and SIGINT drain and exit 0 (a second one cuts the drain short); SIGHUP looks at the files at once;
SIGUSR2 starts the binary again, as it is on the disk now, with --take-over.

Examples:
  keygate run --config gateway/keygate.toml
  keygate run --config gateway/keygate.toml --take-over   take the place of the gateway that runs, without a lost connection
  keygate run --config gateway/keygate.toml --confirm \"$HASH\"   where the configuration waits and nothing runs that could be asked")]
pub struct RunArgs {
    /// The main configuration file.
    #[arg(
        long,
        value_name = "FILE",
        env = "KEYGATE_CONFIG",
        default_value = "keygate.toml"
    )]
    config: PathBuf,
    /// Take the listening sockets of the gateway that runs with `[server] handover`, which then drains; where none runs,
    /// open them.
    #[arg(long)]
    take_over: bool,
    /// Run the files if this is their hash, whatever is pinned or waits to be confirmed
    #[arg(long, value_name = "HASH")]
    confirm: Option<WholeHash>,
    /// Keep accepted configurations here, whatever the files say of it [default: `[reload] folder`]
    #[arg(long, value_name = "DIR", env = "KEYGATE_GENERATIONS")]
    generations: Option<PathBuf>,
}

/// Whose sockets a gateway begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Its own.
    Own,
    /// Those of the gateway that runs, if one does.
    TakenOver,
}

/// Runs the command.
pub fn run(args: RunArgs) -> ExitCode {
    let place = if args.take_over {
        Place::TakenOver
    } else {
        Place::Own
    };
    let generations = args.generations.as_deref();
    let start = Start::decide(&args.config, generations, args.confirm.as_ref());
    let started = start.and_then(|mut start| start.prepare().map(|()| start));
    let started = started.map_err(RunError::from);
    match started.and_then(|start| self::start(&args.config, start, place)) {
        Ok(mut running) => {
            running.generations = args.generations;
            running.wait_for_signal_and_drain();
            ExitCode::SUCCESS
        }
        Err(error) => {
            match &error {
                RunError::Start(StartError::Config(problems)) => say!("{problems}"),
                other => say!("keygate: {}", chain(other)),
            }
            error.exit_code()
        }
    }
}

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the token of the admin listener cannot be used")]
    Token(#[source] TokenError),
    #[error("the process cannot be protected against core dumps")]
    Harden(#[source] io::Error),
    #[error("the thread that writes the log cannot be started")]
    Log(#[source] io::Error),
    #[error("the key store cannot be used")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(
        "--take-over needs to know where the running gateway hands over: set `[server] handover`"
    )]
    NoHandover,
    #[error("the sockets of the running gateway cannot be taken")]
    TakeOver(#[source] TakeOverError),
    #[error("the sockets that systemd passed cannot be used")]
    Inherited(#[source] io::Error),
    #[error("no successor can be waited for")]
    HandoverListen(#[source] ListenError),
    #[error("the handover socket cannot be used")]
    Handover(#[source] io::Error),
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
            RunError::Start(StartError::Config(_) | StartError::OtherHash(_))
            | RunError::NoHandover => ExitCode::from(2),
            RunError::Start(_)
            | RunError::Harden(_)
            | RunError::Token(_)
            | RunError::Log(_)
            | RunError::Store(_)
            | RunError::Server(_)
            | RunError::TakeOver(_)
            | RunError::Inherited(_)
            | RunError::HandoverListen(_)
            | RunError::Handover(_)
            | RunError::AdminListen(_)
            | RunError::Admin(_)
            | RunError::Runtime(_) => ExitCode::from(1),
        }
    }
}

/// How long the end waits for what hangs.
const HANGING: Duration = Duration::from_secs(3);

/// A gateway that serves.
pub struct Running {
    runtime: Runtime,
    config: PathBuf,
    /// What `--generations` names, for a successor.
    generations: Option<PathBuf>,
    parts: Parts,
    log: Arc<Log>,
}

/// What runs on the control runtime.
struct Parts {
    state: Arc<State>,
    admin: Option<Arc<Admin>>,
    handover: Option<Handover>,
    watchdog: Option<JoinHandle<()>>,
    signals: Signals,
}

/// Starts a gateway; when this returns, it serves.
///
/// # Errors
/// The first thing that failed; nothing is open then.
pub fn start(config: &Path, mut start: Start, place: Place) -> Result<Running, RunError> {
    // Before there is a second thread.
    let inherited = ListeningSocket::inherited().map_err(RunError::Inherited)?;
    let loaded = &mut start.loaded;
    for warning in loaded.warnings.drain(..) {
        say!("{}", warning.render(io::stderr().is_terminal()));
    }
    if !loaded.cold.dumpable {
        harden::forbid_dumps().map_err(RunError::Harden)?;
    }
    let log = Arc::new(Log::start(loaded.hot.log).map_err(RunError::Log)?);
    if let Err(error) = harden::raise_open_files() {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    let parts = runtime.block_on(serve(config, start, place, inherited, &log))?;
    Ok(Running {
        runtime,
        config: config.to_owned(),
        generations: None,
        parts,
        log,
    })
}

async fn serve(
    config: &Path,
    start: Start,
    place: Place,
    inherited: Vec<(String, ListeningSocket)>,
    log: &Arc<Log>,
) -> Result<Parts, RunError> {
    // Before anything takes time, so that a signal is never answered by the default, which is to die at once.
    let signals = Signals::new().map_err(RunError::Runtime)?;
    let cold = Arc::new(start.loaded.cold.clone());
    if let Some(path) = &cold.admin.token {
        Token::read_or_make(path).map_err(RunError::Token)?;
    }
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
    let live = Live::start(config, start, &tokio::runtime::Handle::current());
    let (predecessor, handed) = predecessor(&cold, place)?;
    let mut given = Given::new(handed, inherited);
    let server = Arc::new(Server::start(&cold, &keys, &live, log.queue(), &mut given)?);
    let dropped = log.queue().clone();
    let state = Arc::new(State {
        live: Arc::clone(&live),
        keys,
        server,
        started: Instant::now(),
        token: cold.admin.token.clone(),
        refusals: Refusals::new(Instant::now()),
        cold: Arc::clone(&cold),
        draining: AtomicBool::new(false),
        dropped_log_lines: Box::new(move || dropped.dropped()),
    });
    let admin = match &cold.admin.listen {
        None => None,
        Some(address) => {
            let socket =
                one(given.listening(Use::Admin, address)).map_err(RunError::AdminListen)?;
            let admin = Admin::start(socket, Arc::clone(&state)).map_err(RunError::Admin)?;
            Some(Arc::new(admin))
        }
    };
    let handover = match &cold.handover {
        None => None,
        Some(address) => {
            make_folder(address);
            let socket =
                one(given.listening(Use::Handover, address)).map_err(RunError::HandoverListen)?;
            let (server, admin, live) =
                (Arc::clone(&state.server), admin.clone(), Arc::clone(&live));
            Some(Handover::start(socket, server, admin, live).map_err(RunError::Handover)?)
        }
    };
    for name in given.unclaimed() {
        tracing::warn!(name, "systemd passed a socket that no listener names");
    }
    let took_over = predecessor.as_ref().map(Predecessor::pid);
    if let Some(predecessor) = predecessor {
        // Bounded: it waits for an answer for seconds at most.
        let told = tokio::task::spawn_blocking(|| predecessor.tell_ready(given.kept()));
        let _ = told.await;
    }
    live.serves().await;
    service::ready(took_over.is_some());
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
        took_over,
        workers = state.server.workers(),
        routes = snapshot.hot.policy.routes().len(),
        generation = snapshot.generation,
        "ready"
    );
    Ok(Parts {
        state,
        admin,
        handover,
        watchdog: service::watchdog(),
        signals,
    })
}

/// The gateway whose place is taken, and its sockets.
fn predecessor(cold: &Cold, place: Place) -> Result<(Option<Predecessor>, Vec<Handed>), RunError> {
    let path = match (place, &cold.handover) {
        (Place::Own, _) => return Ok((None, Vec::new())),
        (Place::TakenOver, Some(ListenAddress::Unix { path, .. })) => path,
        (Place::TakenOver, _) => return Err(RunError::NoHandover),
    };
    match handover::take(path).map_err(RunError::TakeOver)? {
        Some((predecessor, handed)) => Ok((Some(predecessor), handed)),
        None => {
            tracing::info!(path = %path.display(), "no gateway runs whose place could be taken");
            Ok((None, Vec::new()))
        }
    }
}

/// The first socket: several of one name are of use to the gateway only.
fn one(sockets: Result<Vec<Listening>, ListenError>) -> Result<Listening, ListenError> {
    sockets.map(|mut sockets| sockets.swap_remove(0))
}

/// Makes the folder of the handover socket; if that fails, listening there says why.
fn make_folder(address: &ListenAddress) {
    use std::os::unix::fs::DirBuilderExt;
    if let ListenAddress::Unix { path, .. } = address
        && let Some(folder) = path.parent()
    {
        let _ = std::fs::DirBuilder::new().mode(0o700).create(folder);
    }
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
        self.parts.state.server.addresses()
    }

    /// Where operators look.
    pub fn admin(&self) -> Option<&Address> {
        self.parts.admin.as_ref().map(|admin| admin.address())
    }

    /// The keys in force.
    pub fn keys(&self) -> &Keys {
        &self.parts.state.keys
    }

    /// Serves until SIGTERM or SIGINT, or until a successor does, then drains. SIGHUP reloads.
    pub fn wait_for_signal_and_drain(self) {
        let Running {
            runtime,
            config,
            generations,
            parts,
            log,
        } = self;
        let Parts {
            state,
            admin,
            mut handover,
            watchdog,
            mut signals,
        } = parts;
        let can_hand_over = handover.is_some();
        runtime.block_on(async {
            let end = signals
                .until_end(handover.as_mut(), |asked| match asked {
                    Asked::Reload => reload(&state.live),
                    Asked::Successor => {
                        start_successor(&config, generations.as_deref(), can_hand_over);
                    }
                })
                .await;
            state.draining.store(true, Ordering::Relaxed);
            match end {
                End::Told => service::stopping(),
                // A service that is another process now must not hear from this one that it stops.
                End::TakenOver(_) => {}
            }
            if let Some(watchdog) = watchdog {
                watchdog.abort();
            }
            let timeouts = state.live.snapshot().hot.timeouts;
            tracing::info!(
                deadline_seconds = timeouts.drain.as_secs_f64(),
                successor = match end {
                    End::Told => None,
                    End::TakenOver(pid) => Some(pid),
                },
                "draining"
            );
            let drained = async {
                match end {
                    End::Told => {
                        tokio::time::sleep(timeouts.drain_delay).await;
                        state.server.drain(timeouts.drain).await;
                    }
                    End::TakenOver(_) => state.server.leave(timeouts.drain).await,
                }
            };
            tokio::select! {
                () = drained => {}
                _ = signals.until_end(None, |_| ()) => {
                    tracing::warn!("second signal: connections are cut");
                    state.server.drain(std::time::Duration::ZERO).await;
                }
            }
            if let Some(admin) = &admin {
                admin.stop();
            }
            if let Some(handover) = &handover {
                handover.stop();
            }
            // Something that hangs (a disk, a pipe in place of a file) keeps nothing that was promised.
            let _ = tokio::time::timeout(HANGING, state.live.stop()).await;
            state.keys.close().await;
            tracing::info!("stopped");
        });
        drop(admin);
        drop(state);
        runtime.shutdown_timeout(HANGING);
        drop(log);
    }
}

/// Looks at the files at once, and tells the service manager when that is done.
fn reload(live: &Arc<Live>) {
    let mut judged = live.judged();
    service::reloading();
    live.reload();
    // Ends after a second at the latest: files that have not changed are not judged.
    tokio::spawn(async move {
        let _ = tokio::time::timeout(Duration::from_secs(1), judged.changed()).await;
        service::ready(false);
    });
}

/// Starts the binary again, which takes our place when it serves. Until then, and if it fails, all goes on.
fn start_successor(config: &Path, generations: Option<&Path>, can_hand_over: bool) {
    if !can_hand_over {
        return tracing::warn!("SIGUSR2 needs `[server] handover`; nothing was started");
    }
    let Some(binary) = std::env::args_os().next() else {
        return tracing::warn!("SIGUSR2: it is not known how this process was started");
    };
    let started = std::process::Command::new(binary)
        .args(["run", "--take-over", "--config"])
        .arg(config)
        .envs(generations.map(|folder| ("KEYGATE_GENERATIONS", folder)))
        .stdin(std::process::Stdio::null())
        // Those were for this process.
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_FDNAMES")
        .env_remove("WATCHDOG_PID")
        .spawn();
    match started {
        Ok(mut child) => {
            tracing::info!(pid = child.id(), "a successor was started");
            // A thread of its own: the runtime would wait for it at the end, and the successor is to outlive us.
            std::thread::spawn(move || {
                if let Ok(status) = child.wait() {
                    tracing::warn!(%status, "the successor has ended");
                }
            });
        }
        Err(error) => tracing::warn!(%error, "no successor can be started"),
    }
}

/// Why a gateway ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// It was told to.
    Told,
    /// This process serves in its place.
    TakenOver(u32),
}

/// What a running gateway can be asked by a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Reload,
    Successor,
}

/// The signals that concern a running gateway.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    successor: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            successor: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for SIGTERM or SIGINT, or for a successor; does what is asked before.
    async fn until_end(&mut self, handover: Option<&mut Handover>, act: impl Fn(Asked)) -> End {
        let taken = async {
            match handover {
                Some(handover) => handover.taken().await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(taken);
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return End::Told,
                _ = self.interrupt.recv() => return End::Told,
                pid = &mut taken => return End::TakenOver(pid),
                _ = self.hang_up.recv() => act(Asked::Reload),
                _ = self.successor.recv() => act(Asked::Successor),
            }
        }
    }
}
