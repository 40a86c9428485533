//! From arguments to a run.

use super::Failed;
use super::args::LoadArgs;
use super::input::{files, keys, roots, routes};
use super::output::Outputs;
use crate::config::{self, Secrets};
use crate::load::{
    Compare, Deciding, Display, Kind, Mix, Pace, Phases, Plan, Protocol, Report, Settings,
    run as run_plan,
};
use http::HeaderName;
use std::io::{self, IsTerminal};
use std::num::NonZeroU64;
use std::time::Duration;

/// How long is measured where nothing is said.
const STEP: Duration = Duration::from_secs(10);
/// How long at most where a number of requests is to be sent.
const AS_LONG_AS_IT_TAKES: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) async fn ran(args: &LoadArgs) -> Result<(Report, Outputs), Failed> {
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
    // Before all that takes time.
    let outputs = Outputs::open(args, &files(args, loaded.as_ref()))?;
    let stock = keys(args, loaded.as_ref()).await?;
    let mix = match (&args.mix, stock.keys.is_empty(), stock.hidden) {
        (Some(mix), _, _) => mix.clone(),
        (None, false, _) => Mix::only(Kind::Valid(None)),
        (None, true, 0) => Mix::only(Kind::Missing),
        (None, true, hidden) => {
            return Err(Failed::Usage(format!(
                "the key store has {hidden} keys and shows the text of none: give them by --keys, or say --mix missing=1 to send no keys"
            )));
        }
    };
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
        grace: args.grace.unwrap_or(args.timeout),
        seed: args.seed,
        key_header: match (&args.key_header, &loaded) {
            (Some(name), _) => name.clone(),
            (None, Some(loaded)) => loaded.cold.keys.header.clone(),
            (None, None) => HeaderName::from_static("apikey"),
        },
        keys: stock.keys,
        hidden_keys: stock.hidden,
        mix,
        draw: args.draw,
        routes: routes(args, &target)?,
        deciding: match &loaded {
            Some(loaded) => Deciding::Policy(loaded, authority.as_str()),
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
    let display = match (args.quiet, io::stderr().is_terminal()) {
        (true, _) => Display::None,
        (false, true) => Display::Live,
        (false, false) => Display::Lines,
    };
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let report = run_plan(plan, display, interrupted).await?;
    Ok((report, outputs))
}
