//! `keygate routes`: the whole policy at a glance, in the order in which routes are asked.
//!
//! What is listed is [`Policy::listing`](crate::policy::Policy::listing), of files or of a gateway that runs; here it is
//! filtered, and written as a table, as JSON or as a drawing.

mod drawing;
mod json;
mod table;
mod tree;

use super::operator::{fail, print};
use super::subject::{self, Subject};
use crate::http::{HostError, canonical_host, is_spelled_as_methods_are, parse_host};
use crate::key::ScopeName;
use crate::policy::{Access, HostPattern, Listed, PathFilter, Target};
use http::Method;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

/// List the routes in the order in which they are asked, and who may use each
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The order is that of the decision: of two routes that match a request the first decides, wherever
they are written. Each is shown with the methods that are left to it: what a route of the same host
and path names, one that names none does not get. (usual) stands for GET, HEAD, POST, PUT, PATCH,
DELETE and OPTIONS.

A scope stands for all keys that have it or one that includes it. With --scope or --anyone only
routes are listed that let such a request through; with --path those that match the path or
something below it, broader ones too: `keygate explain` says which one decides about a request.

Exit code 0 when they were listed, 1 if a gateway cannot be asked, 2 if arguments or configuration are wrong.

Examples:
  keygate routes --config gateway/keygate.toml
  keygate routes --scope authOnly                  # what a key of that scope may do
  keygate routes --anyone                          # what is open to the public
  keygate routes --path /v3/users --method POST
  keygate routes http://127.0.0.1:9901             # what a running gateway has in force
  keygate routes --svg > routes.svg                # a drawing: who reaches what
  keygate routes --json | jq -r '.routes[] | select(.access == \"public\") | .path'")]
pub struct RoutesArgs {
    /// A main file, a folder that holds keygate.toml, or a gateway's http://HOST:PORT or unix:PATH [default: --config]
    #[arg(value_name = "POLICY")]
    policy: Option<String>,
    /// The main configuration file
    #[arg(
        long,
        value_name = "FILE",
        env = "KEYGATE_CONFIG",
        default_value = "keygate.toml"
    )]
    config: PathBuf,
    /// Only what a key of this scope may use
    #[arg(long, value_name = "SCOPE", value_parser = ScopeName::parse)]
    scope: Option<ScopeName>,
    /// Only what may be used without a key
    #[arg(long, conflicts_with = "scope")]
    anyone: bool,
    /// Only what matches this path or one below it, `{params}` and all
    #[arg(long, value_name = "PATH")]
    path: Option<PathFilter>,
    /// Only what takes requests for this host
    #[arg(long, value_name = "HOST")]
    host: Option<HostFilter>,
    /// Only what takes this method
    #[arg(long, value_name = "METHOD", value_parser = method)]
    method: Option<Method>,
    /// Only what leads to this upstream
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print a drawing, as SVG
    #[arg(long, conflicts_with = "json")]
    svg: bool,
}

/// Runs the command.
pub fn run(args: RoutesArgs) -> ExitCode {
    let subject = match &args.policy {
        Some(named) => subject::read(named),
        None => subject::load(&args.config).map(Subject::from),
    };
    let subject = match subject {
        Ok(subject) => subject,
        Err(code) => return code,
    };
    if let Err(message) = args.knows(&subject) {
        return fail(&message, 2);
    }
    let mut listing = subject.policy.listing();
    let all = listing.len();
    listing.retain(|listed| args.wants(listed, &subject));
    if listing.is_empty() && all > 0 {
        say!("keygate: none of the {all} routes is like that");
    }
    let table = Listing {
        subject: &subject,
        routes: listing,
        all,
    };
    if args.json {
        print(&format!("{:#}\n", table.json()))
    } else if args.svg {
        print(&table.drawing())
    } else {
        print(&table.text())
    }
}

/// What is written.
struct Listing<'s> {
    subject: &'s Subject,
    /// Those that are wanted.
    routes: Vec<Listed<'s>>,
    /// How many there are.
    all: usize,
}

impl RoutesArgs {
    /// What is asked for by name is there.
    fn knows(&self, subject: &Subject) -> Result<(), String> {
        let scopes = subject.policy.scopes();
        if let Some(scope) = &self.scope
            && !scopes.declares(scope)
        {
            let names = listed(scopes.names().map(ScopeName::as_str));
            return Err(format!(
                "--scope: the policy declares no scope `{scope}`; it has {names}"
            ));
        }
        if let Some(upstream) = &self.upstream
            && !subject.upstreams.contains(upstream)
        {
            let names = listed(subject.upstreams.iter().map(String::as_str));
            return Err(format!(
                "--upstream: there is no upstream `{upstream}`; there is {names}"
            ));
        }
        Ok(())
    }

    fn wants(&self, listed: &Listed<'_>, subject: &Subject) -> bool {
        let restricted = self.anyone || self.scope.is_some();
        let who = !restricted || listed.permits(self.scope.as_ref());
        let path = self.path.as_ref();
        let managed = path.is_some_and(|path| subject.policy.is_all_managements(path));
        let owned = managed && subject.leads_to(&listed.route.target).is_some();
        let method = self.method.as_ref();
        let upstream = self.upstream.as_deref();
        who && !owned
            && path.is_none_or(|path| listed.is_at_or_below(path))
            && method.is_none_or(|method| listed.methods.contains(&method))
            && upstream.is_none_or(|name| subject.leads_to(&listed.route.target) == Some(name))
            && self.takes_host(listed.route.host.as_ref())
    }

    fn takes_host(&self, pattern: Option<&HostPattern>) -> bool {
        match (&self.host, pattern) {
            (None, _) | (_, None) => true,
            (Some(HostFilter(host)), Some(pattern)) => pattern.matches(host),
        }
    }
}

/// A host as requests have it: without a port, in its one spelling.
#[derive(Clone, Debug)]
struct HostFilter(String);

impl FromStr for HostFilter {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let host = parse_host(text.as_bytes())?;
        Ok(HostFilter(canonical_host(host).into_owned()))
    }
}

fn method(text: &str) -> Result<Method, &'static str> {
    match text.parse() {
        Ok(method) if is_spelled_as_methods_are(&method) => Ok(method),
        Ok(_) | Err(_) => Err("a method is written in upper case, as GET"),
    }
}

impl Subject {
    /// The name of the upstream that a target is; `None` for the management API.
    fn leads_to(&self, target: &Target) -> Option<&str> {
        match target {
            Target::Upstream(at) => self.upstreams.get(*at).map(String::as_str),
            Target::Management(_) => None,
        }
    }
}

impl Listing<'_> {
    /// Who may use a route, as short as it can be said.
    fn who(&self, listed: &Listed<'_>) -> String {
        match listed.route.access {
            Access::Public => "anyone".to_owned(),
            Access::Deny => "no one".to_owned(),
            Access::Scopes(_) => {
                let scopes = listed.least_scopes(self.subject.policy.scopes());
                let names: Vec<&str> = scopes.into_iter().map(ScopeName::as_str).collect();
                names.join(" or ")
            }
        }
    }

    /// How many of the routes a key of each scope may use, in the order of these numbers; first, who has no key.
    fn reach(&self) -> Vec<(Option<&ScopeName>, usize)> {
        let count = |who: Option<&ScopeName>| {
            let routes = self.routes.iter();
            routes.filter(|listed| listed.permits(who)).count()
        };
        let scopes = self.subject.policy.scopes().names();
        let mut reach: Vec<_> = scopes
            .map(|scope| (Some(scope), count(Some(scope))))
            .collect();
        reach.sort_by_key(|(_, count)| *count);
        reach.insert(0, (None, count(None)));
        reach
    }

    /// Where a route leads, in a word.
    fn leads_to(&self, listed: &Listed<'_>) -> &str {
        let upstream = self.subject.leads_to(&listed.route.target);
        upstream.unwrap_or("(management)")
    }

    /// `3 of 61 routes`.
    fn count(&self) -> String {
        let one = |count: usize| if count == 1 { "route" } else { "routes" };
        let (shown, all) = (self.routes.len(), self.all);
        if shown == all {
            format!("{all} {}", one(all))
        } else {
            format!("{shown} of {all} {}", one(all))
        }
    }
}

/// Names in a sentence, no more than a sentence holds.
fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.as_slice() {
        [] => "none".to_owned(),
        names if names.len() > 12 => {
            let more = names.len() - 12;
            format!("{} and {more} more", names[..12].join(", "))
        }
        names => names.join(", "),
    }
}
