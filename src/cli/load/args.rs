//! The arguments, and how rates, sizes and times are written in them.

use super::help;
use crate::load::{Draw, LoadRoute, LoadTarget, Mix};
use http::HeaderName;
use http::uri::Authority;
use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

/// Send requests with keys, at a rate or as fast as possible, judge every answer, tell latencies
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = help::LOAD
)]
pub struct LoadArgs {
    #[command(subcommand)]
    pub(super) action: Option<LoadAction>,
    /// Where to send requests; its path, if there is one, is what is asked for where no route is given
    #[arg(value_name = "URL", required = true)]
    pub(super) target: Option<LoadTarget>,
    /// Keys, one a line: KEY, or KEY KIND; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub(super) keys: Option<PathBuf>,
    /// A gateway's configuration: its policy says what is right, its key store has the keys
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Kinds of keys and their shares [default: valid=1, or missing=1 where there are no keys]
    #[arg(long, value_name = "KIND=SHARE,…")]
    pub(super) mix: Option<Mix>,
    /// How keys of a kind are drawn: uniform, or zipf:S
    #[arg(long, value_name = "HOW", default_value = "uniform")]
    pub(super) draw: Draw,
    /// The header that carries the key [default: what --config says, or apikey]
    #[arg(long, value_name = "NAME")]
    pub(super) key_header: Option<HeaderName>,
    /// A route: METHOD TARGET and words; may be given several times
    #[arg(long, value_name = "ROUTE")]
    pub(super) route: Vec<LoadRoute>,
    /// A file of routes, one a line
    #[arg(long, value_name = "FILE")]
    pub(super) routes: Option<PathBuf>,
    /// The host to ask for, in place of the URL's
    #[arg(long, value_name = "HOST")]
    pub(super) host: Option<Authority>,
    /// Requests per second (open loop)
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(super) rate: Option<f64>,
    /// Rates, one after the other, each for --duration (open loop)
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = rate, conflicts_with = "rate")]
    pub(super) steps: Vec<f64>,
    /// How long is measured, for each step [default: 10s, or with --requests as long as they take]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) duration: Option<Duration>,
    /// How long is run before, without measuring
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    pub(super) warmup: Duration,
    /// How long the rate (or the number of connections at work) rises before that
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    pub(super) ramp: Duration,
    /// End after so many requests
    #[arg(long, value_name = "N")]
    pub(super) requests: Option<NonZeroU64>,
    /// Connections, over all threads
    #[arg(long, short = 'c', value_name = "N", default_value = "64")]
    pub(super) connections: NonZeroUsize,
    /// Threads
    #[arg(long, short = 't', value_name = "N", default_value = "1")]
    pub(super) threads: NonZeroUsize,
    /// Speak HTTP/2: by ALPN over TLS, else with prior knowledge
    #[arg(long)]
    pub(super) http2: bool,
    /// Requests at once on each HTTP/2 connection
    #[arg(long, value_name = "N", default_value = "10", requires = "http2")]
    pub(super) streams: NonZeroUsize,
    /// Certificates to believe, as PEM, in place of the system's
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// How long an answer may take before it counts as missing
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub(super) timeout: Duration,
    /// How long answers that are owed at the end are waited for [default: as long as --timeout]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) grace: Option<Duration>,
    /// The same seed draws the same keys and routes
    #[arg(long, value_name = "N", default_value = "1")]
    pub(super) seed: u64,
    /// Do not compare `error.code` of refusals
    #[arg(long)]
    pub(super) no_codes: bool,
    /// Do not compare digests: the upstream makes none
    #[arg(long)]
    pub(super) no_marks: bool,
    /// Write the report as JSON; `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write a plot of latency by percentile
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
    /// Show nothing while it runs
    #[arg(long, short)]
    pub(super) quiet: bool,
}

#[derive(clap::Subcommand, Debug)]
pub(super) enum LoadAction {
    Upstream(UpstreamArgs),
}

/// Run a small, fast upstream that answers each request with its digest
#[derive(clap::Args, Debug)]
#[command(after_help = help::UPSTREAM)]
pub(super) struct UpstreamArgs {
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    pub(super) listen: SocketAddr,
    /// Bytes of each answer's body, at least 16
    #[arg(long, value_name = "SIZE", default_value = "100", value_parser = size)]
    pub(super) body: usize,
    /// Threads
    #[arg(long, value_name = "N", default_value = "1")]
    pub(super) threads: NonZeroUsize,
    /// Answer every Nth request of a thread wrongly, to see that it is found
    #[arg(long, value_name = "N")]
    pub(super) wrong_every: Option<NonZeroU64>,
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
