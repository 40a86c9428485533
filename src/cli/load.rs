//! `keygate load`: from arguments to a run, and from its report to standard output and an exit code.

use super::chain;
use crate::clock::Timestamp;
use crate::config::{self, Loaded, Secrets};
use crate::load::{
    Compare, Deciding, Display, Draw, Kind, LoadError, LoadRoute, LoadTarget, LoadedKey, Mix, Pace,
    Phases, Plan, Protocol, Records, Report, Settings, UpstreamSettings, from_store, plot,
    read_keys, run as run_plan, serve, table,
};
use crate::store::{self, KeyStore, OpenMode, OpenOptions};
use crate::tls::Roots;
use http::HeaderName;
use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long is measured where nothing is said.
const STEP: Duration = Duration::from_secs(10);
/// How long at most where a number of requests is to be sent.
const AS_LONG_AS_IT_TAKES: Duration = Duration::from_secs(7 * 24 * 3600);

/// Send requests with keys, at a rate or as fast as possible, judge every answer, tell latencies
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Each answer is compared with what its key should get at its route: the status, `error.code` of a refusal, and for a
permitted request a digest that the upstream makes of it (`keygate load upstream` is such an upstream). What is right is
decided by the policy of --config, else by the words of each route. Marks of requests are in `x-load-mark`.

A mix names kinds of keys and their shares: scopes, valid (any scope), unknown, deleted, disabled, expired, malformed,
missing (no key). Unknown and malformed keys are made where none are given; all others come from --keys (one a line, KEY
or KEY KIND) or from the key store of --config, as far as it can show them.

A route is METHOD TARGET and words: weight=3, scope=authOnly,fullAccess (who may, without --config), public, body=1KiB
(bytes of the request's body), n=1000 ({n} in the target becomes a number below this; 1000000 if not given).

Without a rate each connection sends as fast as answers come (closed loop). With --rate or --steps requests are due at
their times whatever became of the others, and latency counts from when a request was due (open loop).

Exit codes: 0 all answers were right, 1 some were wrong or missing, 2 bad arguments or configuration. Ctrl-C ends a run
early; what was measured until then is reported.

Examples:
  keygate load upstream --listen 127.0.0.1:9000
  keygate load http://127.0.0.1:8080 --config gateway/keygate.toml --route 'GET /v3/users/{n}'
  keygate load http://127.0.0.1:8080 --keys keys.txt --mix fullAccess=80,authOnly=10,unknown=5,malformed=5 \\
      --route 'GET /v3/users/{n} weight=9 scope=fullAccess' --route 'POST /v3/users body=1KiB scope=fullAccess,authOnly'
  keygate load https://api.example.com --ca ca.pem --http2 --keys keys.txt --steps 1000,2000,4000 --warmup 5s --svg latency.svg"
)]
pub struct LoadArgs {
    #[command(subcommand)]
    action: Option<LoadAction>,
    /// Where to send requests; its path, if there is one, is what is asked for where no route is given
    #[arg(value_name = "URL", required = true)]
    target: Option<LoadTarget>,
    /// Keys, one a line: KEY, or KEY KIND; `-` for standard input
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// A gateway's configuration: its policy says what is right, its key store has the keys
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Kinds of keys and their shares [default: valid=1, or missing=1 where there are no keys]
    #[arg(long, value_name = "KIND=SHARE,…")]
    mix: Option<Mix>,
    /// How keys of a kind are drawn: uniform, or zipf:S
    #[arg(long, value_name = "HOW", default_value = "uniform")]
    draw: Draw,
    /// The header that carries the key [default: what --config says, or apikey]
    #[arg(long, value_name = "NAME")]
    key_header: Option<HeaderName>,
    /// A route: METHOD TARGET and words; may be given several times
    #[arg(long, value_name = "ROUTE")]
    route: Vec<LoadRoute>,
    /// A file of routes, one a line
    #[arg(long, value_name = "FILE")]
    routes: Option<PathBuf>,
    /// The host to ask for, in place of the URL's
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Requests per second (open loop)
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// Rates, one after the other, each for --duration (open loop)
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = rate, conflicts_with = "rate")]
    steps: Vec<f64>,
    /// How long is measured, for each step [default: 10s, or with --requests as long as they take]
    #[arg(long, value_name = "TIME", value_parser = time)]
    duration: Option<Duration>,
    /// How long is run before, without measuring
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    warmup: Duration,
    /// How long the rate (or the number of connections at work) rises before that
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    ramp: Duration,
    /// End after so many requests
    #[arg(long, value_name = "N")]
    requests: Option<NonZeroU64>,
    /// Connections, over all threads
    #[arg(long, short = 'c', value_name = "N", default_value = "64")]
    connections: NonZeroUsize,
    /// Threads
    #[arg(long, short = 't', value_name = "N", default_value = "1")]
    threads: NonZeroUsize,
    /// Speak HTTP/2: by ALPN over TLS, else with prior knowledge
    #[arg(long)]
    http2: bool,
    /// Requests at once on each HTTP/2 connection
    #[arg(long, value_name = "N", default_value = "10", requires = "http2")]
    streams: NonZeroUsize,
    /// Certificates to believe, as PEM, in place of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How long an answer may take before it counts as missing
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    timeout: Duration,
    /// The same seed draws the same keys and routes
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// Do not compare `error.code` of refusals
    #[arg(long)]
    no_codes: bool,
    /// Do not compare digests: the upstream makes none
    #[arg(long)]
    no_marks: bool,
    /// Write the report as JSON; `-` for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a plot of latency by percentile
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Show nothing while it runs
    #[arg(long, short)]
    quiet: bool,
}

#[derive(clap::Subcommand, Debug)]
enum LoadAction {
    Upstream(UpstreamArgs),
}

/// Run a small, fast upstream that answers each request with its digest
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The digest is the 64-bit FNV-1a hash of `METHOD TARGET MARK LENGTH`, as 16 hexadecimal digits, where MARK is the value of
x-load-mark and LENGTH that of the request's body. It is in x-load-digest and at the beginning of the body.
It serves until it is killed.

Example:
  keygate load upstream --listen 127.0.0.1:9000 --body 1KiB")]
struct UpstreamArgs {
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Bytes of each answer's body, at least 16
    #[arg(long, value_name = "SIZE", default_value = "100", value_parser = size)]
    body: usize,
    /// Threads
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroUsize,
    /// Answer every Nth request of a thread wrongly, to see that it is found
    #[arg(long, value_name = "N")]
    wrong_every: Option<NonZeroU64>,
}

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
        eprintln!("keygate: {}", chain(&error));
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
    let report = runtime.block_on(ran(&args))?;
    tell(&args, &report)?;
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn ran(args: &LoadArgs) -> Result<Report, Failed> {
    let Some(target) = args.target.clone() else {
        return Err(Failed::Usage("a URL is needed".to_owned()));
    };
    let loaded = match &args.config {
        Some(config) => {
            let loaded = config::load(config, Secrets::Skipped);
            Some(loaded.map_err(|problems| Failed::Usage(problems.to_string()))?)
        }
        None => None,
    };
    let keys = keys(args, loaded.as_ref()).await?;
    let mix = args.mix.clone().unwrap_or_else(|| {
        Mix::only(match keys.is_empty() {
            true => Kind::Missing,
            false => Kind::Valid(None),
        })
    });
    let authority = args.host.as_ref().unwrap_or(&target.authority).clone();
    let settings = Settings {
        host: args.host.clone(),
        protocol: match args.http2 {
            true => Protocol::Http2 {
                streams: args.streams,
            },
            false => Protocol::Http1,
        },
        roots: args.ca.as_deref().map(roots).transpose()?,
        connections: args.connections,
        threads: args.threads,
        pace: match (args.rate, &args.steps[..]) {
            (Some(rate), _) => Pace::Open(vec![rate]),
            (None, []) => Pace::Closed,
            (None, steps) => Pace::Open(steps.to_vec()),
        },
        phases: Phases {
            ramp: args.ramp,
            warmup: args.warmup,
            step: args.duration.unwrap_or(match args.requests {
                Some(_) => AS_LONG_AS_IT_TAKES,
                None => STEP,
            }),
        },
        requests: args.requests.map(NonZeroU64::get),
        timeout: args.timeout,
        seed: args.seed,
        key_header: match (&args.key_header, &loaded) {
            (Some(name), _) => name.clone(),
            (None, Some(loaded)) => loaded.cold.keys.header.clone(),
            (None, None) => HeaderName::from_static("apikey"),
        },
        keys,
        mix,
        draw: args.draw,
        routes: routes(args, &target)?,
        deciding: match &loaded {
            Some(loaded) => Deciding::Policy(loaded, &authority),
            None => Deciding::Words,
        },
        compare: Compare {
            codes: !args.no_codes,
            marks: !args.no_marks,
        },
        target,
    };
    if settings.phases.step.is_zero() {
        return Err(Failed::Usage("--duration is above 0".to_owned()));
    }
    let plan = Plan::new(settings)?;
    let display = match !args.quiet && io::stderr().is_terminal() {
        true => Display::Live,
        false => Display::None,
    };
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    Ok(run_plan(plan, display, interrupted).await?)
}

/// The keys that there are, each with its kind.
async fn keys(args: &LoadArgs, loaded: Option<&Loaded>) -> Result<Vec<LoadedKey>, Failed> {
    let mut keys = Vec::new();
    if let Some(path) = &args.keys {
        let shown = path.display();
        let mut text = zeroize::Zeroizing::new(String::new());
        let read = match path.as_os_str() == "-" {
            true => io::stdin().read_to_string(&mut text).map(drop),
            false => fs::File::open(path)
                .and_then(|mut file| file.read_to_string(&mut text))
                .map(drop),
        };
        read.map_err(|error| Failed::Usage(format!("--keys {shown}: {error}")))?;
        keys = read_keys(&text).map_err(|why| Failed::Usage(format!("--keys {shown}: {why}")))?;
    }
    let Some(loaded) = loaded else {
        return Ok(keys);
    };
    let is_complete = !keys.iter().any(|key| key.kind == Kind::Valid(None));
    if args.keys.is_some() && is_complete {
        // The file says all that there is to know.
        return Ok(keys);
    }
    let store = open(loaded).await?;
    let now = Timestamp::now();
    if args.keys.is_some() {
        let records = Records::load(store.as_ref(), now).await;
        let records = records.map_err(|error| Failed::Run(chain(&error)))?;
        records.complete(&mut keys);
    } else {
        keys = from_store(store.as_ref(), now)
            .await
            .map_err(|error| Failed::Run(chain(&error)))?;
    }
    store.close().await;
    Ok(keys)
}

async fn open(loaded: &Loaded) -> Result<Arc<dyn KeyStore>, Failed> {
    let keys = &loaded.cold.keys;
    let opened = store::open(OpenOptions {
        path: keys.store.clone(),
        secret_file: keys.secret.clone(),
        secret_env: store::secret_from_env(),
        mode: OpenMode::ReadOnly,
    });
    opened.await.map_err(|error| Failed::Usage(chain(&error)))
}

fn routes(args: &LoadArgs, target: &LoadTarget) -> Result<Vec<LoadRoute>, Failed> {
    let mut routes = args.route.clone();
    if let Some(path) = &args.routes {
        let shown = path.display();
        let text = fs::read_to_string(path)
            .map_err(|error| Failed::Usage(format!("--routes {shown}: {error}")))?;
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let route = line.parse().map_err(|error| {
                Failed::Usage(format!("--routes {shown}: line {}: {error}", at + 1))
            })?;
            routes.push(route);
        }
    }
    if routes.is_empty() {
        let path = target.path.as_deref().unwrap_or("/");
        routes.push(LoadRoute::get(path).map_err(|error| Failed::Usage(error.to_string()))?);
    } else if let Some(path) = &target.path {
        return Err(Failed::Usage(format!(
            "the URL has a path, {path}, and there are routes: write it into them"
        )));
    }
    Ok(routes)
}

fn roots(path: &Path) -> Result<Roots, Failed> {
    let wrong = |why: String| Failed::Usage(format!("--ca {}: {why}", path.display()));
    let pem = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    Roots::from_pem(&pem).map_err(|error| wrong(chain(&error)))
}

/// Writes what was found where it is wanted.
fn tell(args: &LoadArgs, report: &Report) -> Result<(), Failed> {
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

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok();
    rate.filter(|rate| (0.001..=100_000_000.0).contains(rate))
        .ok_or_else(|| "expected requests per second, such as 1000".to_owned())
}

fn size(text: &str) -> Result<usize, String> {
    crate::load::size(text).ok_or_else(|| "expected a size such as 512, 1KiB or 1MiB".to_owned())
}

/// Reads `500ms`, `10s`, `2m`.
fn time(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[number.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => 0.0,
    };
    let seconds = number.parse::<f64>().ok().map(|number| number * factor);
    seconds
        .filter(|seconds| factor > 0.0 && (0.0..=604_800.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected a time such as 500ms, 10s or 2m, at most a week".to_owned())
}
